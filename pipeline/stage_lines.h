/* stage_lines.h - what the journals of a stage hold: of every unit the line that counts. For later stages, exports,
 * checks. */
#ifndef VM_STAGE_LINES_H
#define VM_STAGE_LINES_H
#include "io/keymap.h"
#include "pipeline/stage.h"

typedef struct {
    stage_state state;
    bool more;
    int t;
    char h[17];
    char *line;  /* the object without its crc; NULL where it was not kept */
    int part;    /* which file */
} stage_entry;

typedef struct {
    keymap key;          /* number i is entry i's */
    stage_entry *entry;
    int64_t n, cap;
    char **part;         /* names of the files */
    int64_t parts, cap_parts;
    int64_t stale;       /* lines that do not count, of other configurations */
} stage_lines;

/* All journals of RUN/NAME. tags NULL: those of the manifest. keep: also the texts of final lines. VM_EINPUT: a damaged
 * line, a line that is none of ours. A stage that never ran is empty. */
vm_status stage_lines_load(stage_lines *l, const char *run, const char *name, const run_tags *tags, bool keep,
                           vm_error *e);
void stage_lines_free(stage_lines *l);

/* Calls each for the records of all units that are "ok", units in the order of their keys, records in theirs. */
typedef vm_status (*stage_record_fn)(void *ctx, const char *key, json_value rec, vm_error *e);
vm_status stage_records(const char *run, const char *name, stage_record_fn each, void *ctx, vm_error *e);
/* Numbers of the entries in the order of their keys; vm_free. */
int64_t *stage_order(const stage_lines *l, vm_error *e);
extern const char *const stage_state_name[]; /* "new", "ok", "void", "error" */
#endif

/* run_dir.h - a run directory: everything of one data set.
 *
 *   manifest.json                    of each stage: its configuration, the command, when it began
 *   STAGE/part-0003-of-0015.jsonl    journals (io/journal.h), one line for each finished try of a unit (stage.h)
 *   STAGE/part-0003-of-0015.done     counts and hash of that journal, written when all its units are done
 *   STAGE/rejects-0003-of-0015.jsonl answers that nothing could be made of
 *
 * A configuration is a JSON object of everything that results depend on: hashes of prompts, the model, decoding, the
 * seed. The first eight digits of its SHA-256 are its tag; every line of a journal bears the tag of its configuration,
 * and only lines with a tag that the manifest lists count. A stage that is started with another configuration is
 * refused, unless --new-run makes that the only one or --resume ignore-config adds it to the list. */
#ifndef VM_RUN_DIR_H
#define VM_RUN_DIR_H
#include "pipeline/command.h"

enum { RUN_TAGS = 32 };
typedef struct {
    char tag[RUN_TAGS][9]; /* the newest one last */
    int n;
} run_tags;
bool run_tag_counts(const run_tags *t, const char *h); /* h begins with one of them */

/* Makes the directory and STAGE in it, compares with the manifest and writes it where it changes. VM_EINPUT: another
 * configuration, which member, what it was. */
vm_status run_dir_enter(run_tags *tags, const char *run, const char *stage, const char *config, const vm_args *a,
                        vm_error *e);
/* The tags of a stage; n = 0 when it never ran here. */
vm_status run_dir_tags(run_tags *tags, const char *run, const char *stage, vm_error *e);
/* The configuration of a stage as its manifest has it, compact JSON, vm_free; NULL and no error when there is none. */
char *run_dir_config(const char *run, const char *stage, vm_error *e);

/* --no-lock: said once, and from then on nothing is locked. For commands that have the option, before they open anything of a run. */
void run_dir_locks(const vm_args *a);

#define NO_LOCK_OPT                                                                                                    \
    { "no-lock", OPT_FLAG, NULL, NULL,                                                                                 \
      "for file systems without working locks: nothing keeps a second worker off this shard's journal", 0, 0 }
#define RUN_DIR_OPTS                                                                                                   \
    { "new-run", OPT_FLAG, NULL, NULL, "the configuration has changed: what is there does not count any more", 0, 0 }, \
        { "resume", OPT_STR, "auto", "HOW", "ignore-config: what was made with another configuration counts too", 0, 0 }, NO_LOCK_OPT
#endif

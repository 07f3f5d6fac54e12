/* export.h - what a stage has made in the layout of the original project, and back. One line for each stage in the
 * table of export.c. */
#ifndef VM_EXPORT_H
#define VM_EXPORT_H
#include "pipeline/stage_lines.h"

typedef struct {
    const char *stage;
    /* One whole JSON value. */
    vm_status (*write)(json_writer *w, const char *run, vm_error *e);
    /* The published file as lines of s. NULL: it cannot be read back. */
    vm_status (*read)(stage *s, json_value root, vm_error *e);
    /* Instead of write: a folder of files. */
    vm_status (*folder)(const char *run, const char *dir, vm_error *e);
} export_layout;

extern const export_layout export_instruct, export_vet;                /* pipeline/export_edits.c */
extern const export_layout export_layouts, export_magic, export_ask; /* pipeline/export_text.c */
extern const export_layout export_inpaint;              /* pipeline/export_pictures.c */

/* {"A": {"B": [records]}} from records that come sorted: opens and closes the levels as their names change. All-zero
 * begins. */
typedef struct {
    char *outer, *inner;
    bool list; /* the innermost is an array */
} export_nest;
/* inner NULL: one level */
vm_status export_level(export_nest *n, json_writer *w, const char *outer, const char *inner, vm_error *e);
void export_end(export_nest *n, json_writer *w);
#endif

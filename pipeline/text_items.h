/* text_items.h - what the stages behind `vet` and `layout` work on: accepted edits and layouts of a run directory. */
#ifndef VM_TEXT_ITEMS_H
#define VM_TEXT_ITEMS_H
#include "pipeline/command.h"
#include "pipeline/layout.h"

/* An edit, or a layout (then the texts of edits are NULL). */
typedef struct {
    char *id;     /* edit_id or layout_id */
    char *image;  /* of the edit; of a layout its id */
    char *caption, *edited_caption, *input_phrase, *edited_phrase, *region /* may be NULL */, *category;
    char *layout; /* its JSON */
} text_item;

typedef struct {
    text_item *item; /* edits first, each kind in the order of its stage */
    int64_t n, cap;
    int64_t edits;
} text_items;

/* By --of and --unvetted of a. VM_EINPUT: nothing there; edits that nobody has vetted. */
vm_status text_items_read(text_items *l, const char *run, const vm_args *a, vm_error *e);
void text_items_free(text_items *l);
vm_status text_item_layout(layout *l, const text_item *x, vm_error *e);

#define TEXT_ITEMS_OPTS                                                                                                \
    { "of", OPT_STR, "both", "WHICH", "edits, layouts or both (what RUN has of them)", 0, 0 }, {                       \
        "unvetted", OPT_FLAG, NULL, NULL, "all edits of `instruct`, not only those that `vet` has accepted", 0, 0      \
    }
#endif

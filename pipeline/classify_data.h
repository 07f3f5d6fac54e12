/* classify_data.h - pictures with one class each, and the names of the classes. */
#ifndef VM_CLASSIFY_DATA_H
#define VM_CLASSIFY_DATA_H
#include "pipeline/eval_set.h"

typedef struct {
    eval_set *set;    /* the different pictures; the records that were left out */
    keymap keys;      /* of the classes: what folders and labels call them */
    keymap names;     /* the different names of the classes, as prompts have them */
    int32_t *name;    /* of each class: number in names */
    int64_t n_classes;
    int32_t *image;   /* of each picture: number in set->images */
    int32_t *label;   /* its class */
    int64_t n;
    int64_t *n_of;    /* pictures of each class that are taken */
    int64_t cap_name, cap_image, cap_label;
    bool named;       /* the classes come from a file */
    bool by_order;    /* folders are classes because of their order, not of their names */
} classify_data;

typedef struct {
    media_places places;                 /* of the pictures of a table */
    const char *classes;                 /* file with the names of the classes; NULL = folders and labels are names */
    const char *image_key, *label_key;   /* columns; NULL: those of io/samples.h; label, class, category, target */
    int64_t limit;                       /* at most so many pictures of a class; 0 = all */
    eval_on_error on_error;
} classify_source;

/* data: a folder with one folder per class (pictures at any depth below), or a table with a picture and its label in each
 * row. The file of classes has one name per line, or a JSON array of texts; class i is the i-th. A line KEY TAB NAME says
 * that folders and labels call the class KEY. Without keys a folder is the class of its name; when that fails for one of
 * them and there are as many folders as classes, folder i in the order of names (bytes) is class i (by_order). A label
 * is a key, a name, or the number of a class from 0. VM_EINPUT, VM_EUSAGE. */
vm_status classify_load(classify_data *d, const char *data, const classify_source *src, vm_error *e);
void classify_free(classify_data *d);
static inline const char *class_name(const classify_data *d, int64_t c) { return keymap_at(&d->names, d->name[c], NULL); }
static inline const char *class_key(const classify_data *d, int64_t c) { return keymap_at(&d->keys, c, NULL); }
#endif

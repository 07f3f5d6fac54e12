/* boxes.h - boxes with names in pictures, as COCO's annotation files have them, and boxes that a detector found.
 *
 *   {"images":     [{"id": 7, "file_name": "7.jpg", "width": 640, "height": 480, "neg_category_ids": [3]}],
 *    "categories": [{"id": 1, "name": "red cup"}],
 *    "annotations":[{"image_id": 7, "category_id": 1, "bbox": [x, y, w, h], "area": 120.5, "iscrowd": 0}]}
 *   results:       [{"image_id": 7, "category_id": 1, "bbox": [x, y, w, h], "score": 0.9}]
 *
 * A category's name is the phrase that is looked for. A picture with `neg_category_ids` (as LVIS has them: phrases that are
 * known to be absent) is asked for these and for the categories of its annotations; one without is asked for all. */
#ifndef VM_BOXES_H
#define VM_BOXES_H
#include "kernels/base.h"

typedef struct {
    int64_t image, category;   /* places in a boxes_set */
    double box[4];             /* x, y, width, height in pixels */
    double area;               /* of what is in it; of a found one its width x height */
    double score;              /* 0 of annotations */
    bool crowd;                /* a region of many: found boxes within it count neither way */
} boxes_item;
typedef struct {
    int64_t id;
    char *file;
    int64_t w, h;
    int64_t *asked, n_asked;   /* categories, ascending; NULL = all */
    int64_t first, end;        /* its annotations in `truth` */
    bool left_out;             /* asks for nothing (boxes_leave_out) */
} boxes_image;
typedef struct {
    int64_t id;
    char *name;
} boxes_category;
typedef struct {
    boxes_image *image;        /* by id */
    boxes_category *category;  /* by id */
    boxes_item *truth;         /* by picture, then in the order of the file */
    int64_t n_images, n_categories, n_truths;
} boxes_set;

/* VM_EINPUT names file, line and member of what is wrong: ids twice, ids that nothing has, boxes without four numbers. */
vm_status boxes_open(boxes_set *s, const char *path, vm_error *e);
void boxes_close(boxes_set *s); /* accepts all-zero */
/* Results of a detector on the set, in the order of the file; vm_free. */
vm_status boxes_read_found(const boxes_set *s, const char *path, boxes_item **found, int64_t *n, vm_error *e);
/* A picture that cannot be read: neither its annotations nor its questions count. */
void boxes_leave_out(boxes_set *s, int64_t image);
bool boxes_asks(const boxes_image *im, int64_t category);
int64_t boxes_asked(const boxes_set *s, const boxes_image *im); /* how many */
/* The same file as results: written whole or not at all. */
vm_status boxes_write_found(const boxes_set *s, const boxes_item *found, int64_t n, const char *path, vm_error *e);

/* Intersection over union of x, y, w, h; with a crowd over the area of a alone. */
double boxes_overlap(const double *a, const double *b, bool b_is_crowd);
#endif

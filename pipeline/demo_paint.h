/* demo_paint.h - the instructions of the text stages become pictures, by the small inpainting model, for `vismin demo`. */
#ifndef VM_DEMO_PAINT_H
#define VM_DEMO_PAINT_H
#include "pipeline/page.h"

typedef struct demo_paint demo_paint;
/* In the run directory DIR, which begins anew: `edits` of those that RUN/instruct proposed and RUN/vet accepted, and a third as many removals; painted
 * once without (DIR/first) and once with ranking, and looked at by the oracle. weights: the folder that holds inpaint/ and clip-hn/. */
vm_status demo_paint_run(demo_paint **out, const char *dir, const char *run, const char *weights, int64_t edits, int64_t seed, vm_error *e);
void demo_paint_free(demo_paint *p); /* accepts NULL */
/* A section of the page, with a sheet of pairs; a line for the terminal. */
void demo_paint_page(page *p, const demo_paint *d);
void demo_paint_print(const demo_paint *d);
#endif

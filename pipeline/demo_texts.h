/* demo_texts.h - the text stages on captions of the miniature world, with the small language model, for `vismin demo`.
 */
#ifndef VM_DEMO_TEXTS_H
#define VM_DEMO_TEXTS_H
#include "kernels/base.h"
#include "pipeline/page.h"

typedef struct demo_texts demo_texts;
/* captions, instruct, vet and ask in the run directory DIR, which begins anew; weights: the folder that holds llm/. */
vm_status demo_texts_run(demo_texts **out, const char *dir, const char *weights, int64_t captions, int64_t seed,
                         vm_error *e);
void demo_texts_free(demo_texts *t); /* accepts NULL */
/* A section of the page; a line for the terminal. */
void demo_texts_page(page *p, const demo_texts *t);
void demo_texts_print(const demo_texts *t);
#endif

/* scene_texts.h - the miniature world as texts for a language model. */
#ifndef VM_SCENE_TEXTS_H
#define VM_SCENE_TEXTS_H
#include "kernels/base.h"
#include "models/scene.h"

typedef struct {
    const char *prompts; /* folder of the templates */
    scene_split split;
    uint64_t first; /* number of the first seed */
    int64_t n;
    bool curriculum; /* one object per caption in the first 5 %, two until 15 % */
    bool model; /* also DIR/model: configuration and tokenizer of the small language model, every word of the texts one
                   token */
    const char *task; /* only this one; NULL = a mix */
} scene_texts;

/* DIR/texts.jsonl: {"prompt","completion","task"}; DIR exists. VM_ESTOP after a signal. */
vm_status scene_write_texts(const char *dir, const scene_texts *o, vm_error *e);
#endif

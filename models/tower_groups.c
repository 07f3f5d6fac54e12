/* tower_groups.c - see tower_groups.h. */
#include "models/tower_groups.h"

#include "models/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NO_TOWER, VISION, TEXT };

typedef struct {
    int tower;
    int64_t depth; /* 0 embeddings, 1 + number of the layer, -1 head */
} place;

static place place_of(const vm_param *p) {
    static const char *const embeddings[] = { "token_embed", "pos", "class", "patch", "pre", "stem" };
    place at = { NO_TOWER, -1 };
    const char *rest = p->name;
    if (!strncmp(rest, "vision.", 7)) at.tower = VISION, rest += 7;
    else if (!strncmp(rest, "text.", 5)) at.tower = TEXT, rest += 5;
    else return at;
    size_t word = strcspn(rest, ".");
    char *end;
    int64_t layer = strtoll(rest, &end, 10);
    if (end != rest && *end == '.') at.depth = 1 + layer;
    for (int k = 0; k < VM_LEN(embeddings); k++)
        if (strlen(embeddings[k]) == word && !strncmp(rest, embeddings[k], word)) at.depth = 0;
    return at;
}

vm_status tower_groups_apply(towers *m, const tower_groups *c, vm_error *e) {
    const struct { const char *name; bool frozen; int64_t unlock; double lr; } of[] = {
        { NULL, c->scale, -1, 1 }, { "vision", c->vision, c->unlock_vision, c->lr_vision }, { "text", c->text, c->unlock_text, c->lr_text }
    };
    int64_t layers[3] = { 0 }, learn = 0;
    for (int64_t i = 0; i < m->w->n; i++) {
        place at = place_of(m->w->p[i]);
        layers[at.tower] = VM_MAX(layers[at.tower], at.depth);
    }
    for (int k = VISION; k <= TEXT; k++)
        if (of[k].unlock > layers[k])
            return vm_fail(e, VM_EUSAGE, "--unlock-last-%s %lld: the %s tower has %lld layers", of[k].name, (long long)of[k].unlock, of[k].name,
                           (long long)layers[k]);
    for (int64_t i = 0; i < m->w->n; i++) {
        vm_param *p = m->w->p[i];
        place at = place_of(p);
        int64_t L = layers[at.tower], below = at.depth < 0 ? 0 : L + 1 - at.depth; /* steps down from the head */
        p->trainable = !p->state && (!m->lora || lora_has(p)) && !of[at.tower].frozen && !(c->embeddings && at.depth == 0) &&
                       (of[at.tower].unlock < 0 || below <= of[at.tower].unlock);
        p->lr_scale = (float)(of[at.tower].lr * pow(c->layer_decay, (double)below));
        learn += p->trainable ? vm_param_count(p) : 0;
    }
    m->stats = c->stats ? TOWERS_GIVEN : TOWERS_TRACKED;
    return learn ? VM_OK : vm_fail(e, VM_EUSAGE, "everything is frozen: nothing is left to learn");
}

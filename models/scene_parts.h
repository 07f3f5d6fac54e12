/* scene_parts.h - what the files of the miniature world share and nobody else needs. */
#ifndef VM_SCENE_PARTS_H
#define VM_SCENE_PARTS_H
#include "kernels/philox.h"
#include "models/scene.h"

/* Streams of the generator below one seed: what is where, the noise, captions, edits, questions. The variant numbers further
 * scenes of the same seed. */
enum { SCENE_STREAM_OBJECTS, SCENE_STREAM_NOISE, SCENE_STREAM_CAPTION, SCENE_STREAM_EDIT, SCENE_STREAM_PICK, SCENE_STREAM_ASK };
static inline vm_rng scene_rng(uint64_t seed, uint64_t variant, int stream) {
    return vm_rng_at(seed, variant << 3 | (unsigned)stream);
}
static inline bool scene_chance(vm_rng *r, int percent) { return vm_rng_below(r, 100) < (uint32_t)percent; }

void scene_sample_variant(uint64_t seed, uint64_t variant, const scene_opts *o, scene *s);

/* 1/256 pixel. */
static inline int32_t scene_radius(int size, int32_t jitter) {
    return (size ? 2688 : 1792) * jitter / 256; /* 10.5, 7 px */
}
/* Inside the frame, and apart from all other objects of the scene but those in `except` (bits). */
bool scene_fits(const scene *s, const scene_object *o, unsigned except);
/* Moves the centre into the frame. */
void scene_clamp(scene_object *o);

/* One more object over a picture. */
void scene_draw_object(uint8_t rgb[SCENE_BYTES], const scene_object *o);

/* Says what the phrases, relation and background of *t are, without text; then the text of it. */
void scene_describe(const scene *s, vm_rng *r, scene_mode mode, scene_text *t);
void scene_write(scene_text *t);

#endif

/* scene_boxes.h - scenes of the miniature world with phrases to look for, as annotations in COCO's format (boxes.h). */
#ifndef VM_SCENE_BOXES_H
#define VM_SCENE_BOXES_H
#include "io/json.h"
#include "io/keymap.h"
#include "models/scene.h"

/* All-zero at first. */
typedef struct {
    keymap phrases;            /* category k + 1 */
    json_writer images, annotations;
    int64_t n;                 /* annotations so far */
    bool open;
} scene_boxes;

/* A picture with its questions (scene_ask) of that seed. */
vm_status scene_boxes_add(scene_boxes *b, int64_t id, const char *file, const scene *s, uint64_t seed, vm_error *e);
vm_status scene_boxes_save(scene_boxes *b, const char *dir, const char *name, vm_error *e);
void scene_boxes_free(scene_boxes *b);
#endif

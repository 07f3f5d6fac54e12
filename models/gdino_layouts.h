/* gdino_layouts.h - Grounding DINO in the files of those who trained it: IDEA-Research's checkpoints (groundingdino_swint_ogc.pth) and
 * MMDetection's (mm-grounding-dino), whose sizes are seen in their tensors. */
#ifndef VM_GDINO_LAYOUTS_H
#define VM_GDINO_LAYOUTS_H
#include "models/grounding_dino.h"

typedef enum { GDINO_NO_LAYOUT, GDINO_IDEA, GDINO_MMDET } gdino_layout;
/* Which of them the tensors are named by, and what stands before all names ("", "model.module.", "state_dict."). */
gdino_layout gdino_layout_find(const weight_source *s, const char **prefix);
/* The model of such a file. VM_EMODEL names what is missing or of another shape. */
vm_status gdino_open_layout(gdino **out, vm_backend *be, const weight_source *s, gdino_layout layout, const char *prefix, vm_error *e);
/* DIR/config.json as Hugging Face has it. (gdino_config.c) */
vm_status gdino_config_save(const gdino_config *c, const char *dir, vm_error *e);
/* DIR/preprocessor_config.json: shorter side to `shortest` unless the longer one then passes 1333, numbers as of ImageNet. */
vm_status gdino_processor_save(const char *dir, int64_t shortest, vm_error *e);
#endif

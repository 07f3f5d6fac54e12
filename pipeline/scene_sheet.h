/* scene_sheet.h - contact sheets of the miniature world: pictures twice as large, one or two beside each other,
 * captions below in a small font of our own. */
#ifndef VM_SCENE_SHEET_H
#define VM_SCENE_SHEET_H
#include "io/image.h"
#include "models/scene.h"

typedef struct {
    vm_image im;
    int columns, across; /* cells per row; pictures per cell */
    int next;            /* cell */
} scene_sheet;

/* A sheet of n cells of `across` pictures (1 or 2). Freed by image_free(&s->im). */
vm_status sheet_new(scene_sheet *s, int n, int columns, int across, vm_error *e);
/* One cell more: pictures, captions, and the bytes of each caption to set off (begin = end: none). */
void sheet_add_scene(scene_sheet *s, const scene *a, const scene_text *t);
void sheet_add_pair(scene_sheet *s, const scene_pair *p);
/* The same for pictures that were made elsewhere: rgb[k] SCENE_BYTES. */
typedef struct {
    const uint8_t *rgb;
    const char *text;
    int begin, end;
} sheet_half;
void sheet_add_halves(scene_sheet *s, const sheet_half half[2]);

#endif

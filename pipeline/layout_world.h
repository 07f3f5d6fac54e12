/* layout_world.h - the tables behind layout_enum.h, as they are read. */
#ifndef VM_LAYOUT_WORLD_H
#define VM_LAYOUT_WORLD_H
#include "io/keymap.h"
#include "pipeline/layout_enum.h"

enum { WORLD_NAME = 64 };

typedef struct {
    char name[WORLD_NAME], phrase[WORLD_NAME + 4], plural[WORLD_NAME + 8], head[WORLD_NAME]; /* cup, a cup, cups, cup */
    int size, aspect;  /* 1 ... 5; 100 * width / height */
    uint64_t contexts; /* bits of layout_world.context */
    bool stackable, countable;
} thing;

typedef struct {
    char place[2 * WORLD_NAME], background[2 * WORLD_NAME];
    uint64_t contexts;
} scene;

typedef struct {
    int a, b;
} thing_pair; /* of things; or a thing and a scene */

struct layout_world {
    thing *thing;
    scene *scene;
    thing_pair *pair, *spot; /* things that stand together; countable things and their scenes */
    int64_t things, scenes, pairs, spots, cap[4];
    keymap context;
    bool listed; /* pair and spot are those of the tables */
};

/* Fills pair and spot. */
vm_status layout_world_list(layout_world *w, vm_error *e);
/* The i-th of the scenes that fit both things (one twice: it alone), counted by *n; NULL when there are none. */
const scene *layout_world_scene(const layout_world *w, const thing *a, const thing *b, uint32_t i, int *n);
#endif

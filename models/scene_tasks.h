/* scene_tasks.h - what a language model is asked about captions of the miniature world, with a right answer: the stages
 * of the pipeline (instruct, vet, layout, magic, ask) in small. The prompts stand in templates of the stages; here are
 * the values of their places.
 *
 *   instruct  the edits of a caption: one or two, [] when an attribute is wanted and the caption has none
 *   vet       accept: one thing of the wanted category changes; reject, as often: another category, two things,
 * nothing, something added layout    boxes on a canvas of 512 x 512, on a grid of 16, for two objects in a relation or
 * two to five alike magic     two or three richer wordings of a phrase ask       questions about an edit (global: the
 * caption and what it was before; local: the new phrase and the old one) or about a layout: is the new thing there, is
 * the old one gone, which of both is it, how many, where; judge: the right letter for one of these questions */
#ifndef VM_SCENE_TASKS_H
#define VM_SCENE_TASKS_H
#include "io/json.h"
#include "models/scene.h"

typedef enum {
    TASK_EDIT_OBJECT,
    TASK_EDIT_ATTRIBUTE,
    TASK_VET_OBJECT,
    TASK_VET_ATTRIBUTE,
    TASK_LAYOUT,
    TASK_MAGIC,
    TASK_ASK_GLOBAL,
    TASK_ASK_LOCAL,
    TASK_ASK_LAYOUT,
    TASK_ASK_JUDGE,
    SCENE_TASKS
} scene_task;
extern const char *const scene_task_name[SCENE_TASKS]; /* of the template: "instruct.object", ... */

enum { SCENE_TASK_FIELDS = 3 };
typedef struct {
    int n;
    struct {
        const char *name; /* of a place in the stage's prompt: "caption", "edited_caption", "before", "phrase", ... */
        char value[SCENE_TEXT];
    } field[SCENE_TASK_FIELDS];
    char *answer; /* compact JSON; vm_free */
} scene_exercise;

/* The same seed gives the same question. max_objects as in scene_opts. VM_EDEVICE when memory is out. */
vm_status scene_task_make(scene_exercise *q, uint64_t seed, scene_task task, int max_objects, vm_error *e);
/* A task of the seed, drawn by how much there is to learn: edits .38, vet .28, layout .11, ask .19, magic .04. */
scene_task scene_task_pick(uint64_t seed);
#endif

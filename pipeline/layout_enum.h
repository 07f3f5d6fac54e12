/* layout_enum.h - layouts without a language model: every pair of things, relation and wording of a table; every number
 * of a thing at a place.
 *
 * A world is two tables (pipeline/tables/objects.csv, scenes.csv; columns by name):
 *     objects   name, article, plural (empty: by rule), size_class 1 ... 5, aspect (100 * width / height), contexts,
 *               stackable, countable
 *     scenes    place ("on a wooden table"), background, contexts
 *
 * Things that share a context and whose sizes are equal or neighbours make a pair; top, bottom and under need two
 * stackable ones. Numbers are 2 ... 9. The layouts of a kind are numbered; each is a function of (world, seed, number),
 * and satisfies L02 to L14 by itself and with all others, as does its swapped twin. The seed permutes them, so any part
 * of them is balanced. */
#ifndef VM_LAYOUT_ENUM_H
#define VM_LAYOUT_ENUM_H
#include "pipeline/layout.h"

typedef enum { LAYOUTS_RELATION, LAYOUTS_COUNTING, LAYOUT_KINDS } layout_kind;
extern const char *const layout_kind_name[LAYOUT_KINDS];

typedef struct layout_world layout_world;

/* objects, scenes: the text of the tables, under these names in messages. VM_EINPUT with file and line. */
vm_status layout_world_new(layout_world **out, const char *objects, const char *objects_name, const char *scenes,
                           const char *scenes_name, vm_error *e);
/* Adds the objects of another table; one with a name that is there takes its place. */
vm_status layout_world_add(layout_world *w, const char *objects, const char *name, vm_error *e);
void layout_world_free(layout_world *w); /* accepts NULL */

/* How many there are with at most per_pair captions of a pair. */
vm_status layout_world_count(layout_world *w, layout_kind kind, int per_pair, int64_t *n, vm_error *e);
/* Number i (0 ... n - 1) in the order of the seed. VM_EINPUT when the rules leave no room for the two things. */
vm_status layout_world_make(layout_world *w, layout_kind kind, const layout_rules *r, uint64_t seed, int64_t i,
                            layout *l, vm_error *e);
/* Things to choose from, for somebody else who makes layouts: four that go together in pairs (on each other when rel is
 * top, bottom or under), or three that can be counted. "a cup, a plate, ..."; a function of seed and i. "" when the
 * tables have none. */
vm_status layout_world_topic(layout_world *w, layout_kind kind, relation rel, uint64_t seed, int64_t i,
                             char out[LAYOUT_TEXT], vm_error *e);
/* The relation, or the number, that draw i is about: all come up, in the proportions of the enumeration. */
relation layout_kind_relation(uint64_t seed, int64_t i);
int layout_kind_number(uint64_t seed, int64_t i);
#endif

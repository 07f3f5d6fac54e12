/* eval_command.h - what `vismin eval`, `eval retrieval` and `eval classify` share: options of models and pictures, the
 * folder of the results, what is said about records that were left out. */
#ifndef VM_EVAL_COMMAND_H
#define VM_EVAL_COMMAND_H
#include "pipeline/command.h"
#include "pipeline/eval_files.h"

/* Rows of option tables. */
#define EVAL_MODEL_OPTS                                                                                                \
    { "name", OPT_STR, NULL, "NAME", "the model's name in tables and folders (default: its folder's)", 0, 0 },         \
        RUN_ACTIVATION,                                                                                                \
        { "embed-cache", OPT_STR, NULL, "DIR",                                                                         \
          "keep vectors of pictures and texts in DIR for later runs of the same model", 0, 0 }
#define EVAL_PLACE_OPTS                                                                                                \
    { "images", OPT_LIST, NULL, "DIR", "look for pictures here first (repeatable)", 0, 0 },                            \
        { "map", OPT_LIST, NULL, "PREFIX=DIR", "picture names that begin with PREFIX stand in DIR (repeatable)", 0,    \
          0 },                                                                                                         \
        { "allow-absolute", OPT_FLAG, NULL, NULL,                                                                      \
          "picture names that begin with / may stand anywhere on this machine", 0, 0 }
#define EVAL_PICTURE_OPTS                                                                                              \
    { "allow-truncated", OPT_FLAG, NULL, NULL, "use the part of a truncated picture that is there", 0, 0 },            \
        { "exif-rotate", OPT_FLAG, NULL, NULL, "turn pictures as their EXIF orientation says", 0, 0 },                 \
        { "alpha", OPT_STR, "drop", "HOW", "transparency is dropped, or laid over white or black", 0, 0 },             \
        { "max-pixels", OPT_INT, "0", "N", "refuse larger pictures; 0 = 268435456", 0, 268435456 }

/* The first positional argument as a model; NULL and e. */
eval_model *eval_open_model(const vm_args *a, vm_error *e);
/* The same for commands that need vectors, with the cache of --embed-cache (NULL = none). */
vm_status eval_open_vectors(const vm_args *a, eval_model **m, embed_cache **cache, vm_error *e);
/* The number of the option's value among n words; an error names them all. */
int eval_word(const vm_args *a, const char *option, const char *const *words, int n, vm_error *e);
media_places eval_places(const vm_args *a);                                       /* of EVAL_PLACE_OPTS */
vm_status eval_picture_options(const vm_args *a, eval_options *o, vm_error *e); /* of EVAL_PICTURE_OPTS */
/* OUT/TASK/MODEL, made; NULL and no error without --out. */
char *eval_make_folder(const vm_args *a, const char *task, const eval_model *m, vm_error *e);
/* Warns of the first faults: those of the set, then n more. dir: where skipped.jsonl stands, or NULL. */
void eval_say_faults(const eval_set *s, int64_t n, const eval_fault *fault, int64_t records, const char *dir);
#endif

/* preset.h - how each kind of request is decoded: pipeline/tables/decoding.csv, which options of the command
 * override. */
#ifndef VM_PRESET_H
#define VM_PRESET_H
#include "pipeline/complete.h"

typedef struct {
    decoding how;           /* stop lies in text */
    double temperature_to;  /* drawn from how.temperature to this for each request, */
    int64_t top_k_to;       /* and from how.top_k to this */
    bool turns;             /* demonstrations are turns of the conversation */
    int samples, tries, shots; /* answers to one prompt; prompts of a unit, at most; demonstrations */
    char *text;
} preset;

/* Row NAME of decoding.csv of --prompt-dir, else of the program's own. VM_EINPUT, VM_EUSAGE. */
vm_status preset_read(preset *p, const char *name, const vm_args *a, vm_error *e);
void preset_free(preset *p);
decoding preset_draw(const preset *p, uint64_t seed); /* for one request */
void preset_put(const preset *p, json_writer *w, const char *key); /* for the configuration of a stage */

#define PRESET_OPTS                                                                                                    \
    { "prompt-dir", OPT_STR, NULL, "DIR",                                                                              \
      "prompts, demonstrations and decoding.csv that stand here replace the program's own", 0, 0 },                    \
        { "temperature", OPT_FLOAT, NULL, "X", "0 = the most likely token (default: decoding.csv)", 0, 100 },          \
        { "top-k", OPT_INT, NULL, "K", "draw from the K most likely tokens; 0 = all", 0, 1 << 24 },                    \
        { "top-p", OPT_FLOAT, NULL, "P", "draw from the fewest tokens that reach P together", 0, 1 },                  \
        { "min-p", OPT_FLOAT, NULL, "P", "draw from tokens with at least P times the largest probability", 0, 1 },     \
        { "max-new", OPT_INT, NULL, "N", "tokens of an answer at most", 1, 1 << 20 },                                  \
        { "samples", OPT_INT, NULL, "N", "answers to each prompt", 1, 64 },                                            \
        { "tries", OPT_INT, NULL, "N", "prompts for one unit, with other demonstrations each time", 1, 64 },           \
        { "shots", OPT_INT, NULL, "N", "demonstrations in a prompt", 0, 256 }
#endif

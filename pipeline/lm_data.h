/* lm_data.h - texts for the training of a language model: JSON Lines of
 *     {"prompt": "...", "completion": "..."}     the completion and the end token behind it are learnt
 *     {"messages": [{"role", "content"}, ...]}   in the model's layout of conversations; what the assistant says is
 * learnt
 *     {"text": "..."}                            all of it is learnt
 * as tokens in memory with a mark for each that is learnt. */
#ifndef VM_LM_DATA_H
#define VM_LM_DATA_H
#include "io/chat.h"
#include "io/tokenizer.h"
#include "models/llm_train.h"

typedef struct {
    int64_t at, n; /* tokens of the text */
} lm_text;

typedef struct {
    lm_text *text;
    int64_t n, cap;
    int32_t *id;     /* of all texts, one behind the other */
    uint8_t *learnt; /* is this token a target? */
    int64_t n_ids, cap_ids, cap_marks;
    int64_t marked;          /* tokens that are learnt */
    int64_t bad, cut, empty; /* lines that cannot be read; texts that were shortened to the longest length; texts with
                                nothing to learn, left out */
    char first_bad[400];     /* "FILE:LINE: what", the first of them */
    char digest[65];         /* SHA-256 of tokens and marks */
} lm_data;

typedef struct {
    const chat_layout *chat; /* for messages; NULL = such lines are bad */
    int32_t end;             /* token behind a completion, a text and the last answer; -1 = none */
    int64_t longest;         /* tokens of a text at most: its end is cut off */
} lm_options;

/* Adds the lines of the files, in their order. VM_EINPUT when there is no text at all. */
vm_status lm_data_read(lm_data *d, const char *const *paths, int n, tok *t, const lm_options *o, vm_error *e);
void lm_data_free(lm_data *d);
#endif

/* text_model.h - a language model with its tokenizer and its layout of conversations, as generate and serve have it;
 * and an answer that comes token by token: whole characters, up to a stop text. */
#ifndef VM_TEXT_MODEL_H
#define VM_TEXT_MODEL_H
#include "io/chat.h"
#include "io/grammar.h"
#include "io/tokenizer.h"
#include "models/llm_queue.h"
#include "pipeline/command.h"
#include "pipeline/text_out.h"

typedef struct {
    llm *m;
    tok *t;
    const chat_layout *chat; /* NULL: prompts are texts as they are */
    token_trie *trie;        /* text_form_begin's; NULL before the first */
    vm_type dtype;
    bool rounded;            /* --act-bits 8 on the processor, and there are weights in 8 or 4 bits */
} text_model;

/* Reads --dtype, --act-bits, --chat-template and --adapter (TEXT_MODEL_OPTS). The layout's own stop token joins the model's. */
vm_status text_model_open(text_model *x, const vm_args *a, const char *dir, vm_error *e);
void text_model_close(text_model *x);
#define TEXT_MODEL_OPTS                                                                                                \
    { "act-bits", OPT_INT, "8", "8|16",                                                                                \
      "on the processor, what weights in 8 or 4 bits are multiplied by: activations rounded to 8 bits by groups of "   \
      "32, or (16, slower) as they are",                                                                               \
      8, 16 },                                                                                                         \
    { "adapter", OPT_STR, NULL, "DIR", "a PEFT adapter (LoRA) of the model, applied as it runs", 0, 0 }, {             \
        "chat-template", OPT_STR, "auto", "NAME",                                                                      \
            "layout of a conversation: auto (the model's own), none, or mistral, mixtral, llama2, llama3, vicuna, "    \
            "chatml, phi3, gemma, raw",                                                                                \
            0, 0                                                                                                       \
    }

/* The prompt of a conversation: its text (vm_free) and its tokens. Without a layout, of one message: its text as it is.
 * What stands in the messages is text: marks of the layout in it are no control tokens. */
vm_status text_model_lay_out(const text_model *x, const chat_message *m, int n, char **text, tok_ids *ids, vm_error *e);
/* The tokens of a text as it is, in which special tokens count. */
vm_status text_model_ids(const text_model *x, const char *text, tok_ids *ids, vm_error *e);

/* What answers must look like: a schema or a grammar, built when the first answer begins and given up behind the last
 * one. */
typedef struct {
    char *text, *name; /* vm_alloc'ed; name: in messages */
    bool schema;
    int64_t wanted;    /* the caller's count of answers to come */
    grammar *g;
    constraint_form *form;
} text_form;
/* The start of an answer of at most `most` tokens. VM_EINPUT: the text is no schema or grammar, or so few tokens are
 * not enough. */
vm_status text_form_begin(text_model *x, text_form *f, int64_t most, constraint **c, vm_error *e);
void text_form_give_up(text_form *f); /* what was built */
void text_form_free(text_form *f);

/* An answer on its way. All-zero but for the first three is its start; text.s is released by the caller. */
typedef struct {
    const text_model *x;
    const char *const *stops;
    int n_stops;
    tok_stream st;
    text_out text;  /* so far, without the stop text */
    int64_t given;  /* bytes that answer_part has given */
    bool stopped;   /* a stop text came */
} answer;
bool answer_add(answer *a, int32_t id); /* true when it ends here: a stop text, or memory (text.failed) */
void answer_end(answer *a);             /* no more tokens: what was held back */
/* What came since the last call and is certain to stay: what may begin a stop text waits, unless last. Its length; *s
 * is valid until the next token. */
size_t answer_part(answer *a, bool last, const char **s);
#endif

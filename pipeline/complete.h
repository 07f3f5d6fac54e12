/* complete.h - text from a language model, wherever it runs. One interface, four places:
 *
 *   native:DIR   a model directory on our engine (complete_native.c): batches that share beginnings, answers held to a
 *                schema
 *   http:URL     a server with OpenAI's interface (complete_http.c): N requests in flight, retries, a circuit breaker
 *   replay:FILE  answers from a file (complete_replay.c): tests, demonstrations without a model
 *   none         no model
 *
 *     completer *c;
 *     complete_open(&c, a, e);                  // options COMPLETE_OPTS
 *     complete(c, list, n, e);                  // done() of each is called as soon as its answer is there
 */
#ifndef VM_COMPLETE_H
#define VM_COMPLETE_H
#include "pipeline/command.h"

typedef enum {
    COMPLETE_STOP,        /* whole */
    COMPLETE_CUT,         /* max_new or the context ended it */
    COMPLETE_LOOP,        /* it repeated itself without end and was cut there */
    COMPLETE_REFUSED,     /* by the model or the server's filter */
    COMPLETE_FAILED,      /* the server gave none, however often it was asked; `text` says why */
    COMPLETE_INTERRUPTED, /* not asked or not answered when the run was stopped */
    COMPLETE_TOO_LONG     /* the server says that the prompt does not fit its context */
} complete_end;
extern const char *const complete_end_name[]; /* "stop", "cut", "loop", "refused", "failed", ... */

typedef struct {
    int64_t max_new;     /* tokens of an answer */
    double temperature, top_p, min_p;
    int64_t top_k;       /* 0 = all */
    const char *stop;    /* ends an answer before it; NULL = none */
} decoding;

#define COMPLETE_TURN "\x1e" /* a control character, which no field of a prompt has */

typedef struct completion {
    const char *key;     /* of the unit that asks, */
    int t, sample;       /* its try, and the number of the answer among those to the same prompt */
    const char *prompt;  /* the user's turn, or a conversation: COMPLETE_TURN between its turns */
    const char *schema;  /* JSON schema that the answer obeys; NULL = any text */
    decoding how;
    uint64_t seed;
    void (*done)(struct completion *c); /* called in the thread of complete(), in any order; NULL = nobody */
    void *ctx;
    /* results */
    char *text;          /* vm_free */
    complete_end end;
    int64_t in, out, cached; /* tokens: prompt, answer, of the prompt computed before; -1 = not known */
    double ms;
} completion;

typedef struct completer completer;
/* --llm and its companions. *out NULL and no error with "none". */
vm_status complete_open(completer **out, const vm_args *a, vm_error *e);
void complete_close(completer *c); /* accepts NULL */
/* Which model this is, for manifests: kind, name, a hash of its files where they are here. */
const char *complete_id(const completer *c);
/* Does the prompt, with an answer of max_new tokens, fit the model's context? Exact with native, by --llm-context and 3
 * bytes a token elsewhere. */
bool complete_fits(completer *c, const char *prompt, int64_t max_new);
/* The whole text that the model gets for a prompt, marks of the conversation included; vm_free. */
vm_status complete_shown(char **text, completer *c, const char *prompt, vm_error *e);
/* All n. Prompts that begin alike should stand together. VM_EIO: the server does not answer any more; VM_EINPUT: it
 * refuses the request as such; VM_EMODEL: the model gives no numbers. When run_stopping(), the rest is
 * COMPLETE_INTERRUPTED and the status VM_OK. */
vm_status complete(completer *c, completion *list, int64_t n, vm_error *e);
/* Called from a done(): the rest is not asked any more. */
void complete_stop(completer *c);
/* Values that an "enum" of a schema may have which differs from unit to unit (phrases of a caption); 0 = none. */
int complete_spans(const completer *c);
bool complete_groups(const completer *c); /* does it pay that prompts which begin alike stand together? */

#define COMPLETE_OPTS                                                                                                  \
    { "llm", OPT_STR, "none", "WHERE", "native:DIR, http:URL, replay:FILE or none", 0, 0 },                            \
        { "llm-model", OPT_STR, NULL, "NAME",                                                                          \
          "http: the model's name there (default: the first one of /v1/models)", 0, 0 },                               \
        { "llm-key-env", OPT_STR, NULL, "VAR", "http: environment variable that holds the key", 0, 0 },                \
        { "llm-flight", OPT_INT, "16", "N", "http: requests in flight", 1, 256 },                                      \
        { "llm-timeout", OPT_INT, "300", "S", "http: seconds for one answer", 1, 86400 },                              \
        { "llm-backoff", OPT_INT, "500", "MS", "http: wait before the second try, doubled each time", 1, 60000 },      \
        { "llm-context", OPT_INT, "0", "N", "tokens of prompt and answer together; 0 = the model's own", 0, 1 << 24 }, \
        { "llm-batch", OPT_INT, "16", "N", "native: texts that are worked on together", 1, 32 },                       \
        { "act-bits", OPT_INT, "8", "8|16", "native: as in `vismin generate`", 8, 16 },                                \
        { "adapter", OPT_STR, NULL, "DIR", "native: a PEFT adapter (LoRA) of the model", 0, 0 },                       \
        { "chat-template", OPT_STR, "auto", "NAME",                                                                    \
          "native: layout of a conversation; auto (the model's own), none or a name of `vismin generate`", 0, 0 },     \
        { "turns", OPT_FLAG, NULL, NULL, "demonstrations are turns of the conversation, not one long text", 0, 0 },    \
        { "no-schema", OPT_FLAG, NULL, NULL, "answers are not held to a schema", 0, 0 }
#endif

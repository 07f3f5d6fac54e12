/* serve_parts.h - what the files of `vismin serve` share: a request as OpenAI's interface has it (serve_api.c), its
 * answers (serve_reply.c), the loop that works on them (serve_work.c). */
#ifndef VM_SERVE_PARTS_H
#define VM_SERVE_PARTS_H
#include "io/json.h"
#include "pipeline/serve_http.h"
#include "pipeline/text_model.h"

enum { SERVE_STOPS = 16, SERVE_CHOICES = 128, SERVE_TOP = 20 };

/* --- a request ---------------------------------------------------------------------------------------------------- */
typedef struct {
    json_doc *doc;         /* texts live in it */
    bool chat, stream, usage;
    const char **prompt;   /* completions: n_prompts texts */
    chat_message *message; /* chat: n_messages */
    int n_prompts, n_messages, n; /* n: answers to each prompt */
    int64_t most;          /* tokens of an answer; 0 = what the context has room for */
    int top;               /* alternatives that log-probabilities are wanted with; -1 = none wanted */
    llm_sampling how;
    const char *stop[SERVE_STOPS];
    int n_stops;
    text_form form;        /* text NULL = any */
    char **owned;          /* texts that are not in the document */
    int n_owned;
    const char *param;     /* the field that is wrong */
} serve_request;

/* The request of a body. Errors: VM_EINPUT with r->param. model: the name that this server has. */
vm_status serve_parse(serve_request *r, const char *body, size_t bytes, bool chat, const char *model, vm_error *e);
void serve_request_free(serve_request *r);

/* --- its answers -------------------------------------------------------------------------------------------------- */
typedef struct {
    int32_t id, top[SERVE_TOP];
    float p, top_p[SERVE_TOP]; /* natural logarithms */
    int n;
} serve_score;

typedef struct serve_call serve_call;
typedef struct {
    serve_call *of;
    int index;
    llm_request r;
    answer a;
    bool over;
    serve_score *score; /* of each token, where they are wanted */
    int64_t n_scores, scores_cap, scores_given;
} serve_choice;

typedef struct serve_loop serve_loop;
struct serve_call {
    serve_loop *loop;
    http_call *c;
    serve_request r;
    serve_choice *choice;
    tok_ids *ids;       /* of each prompt */
    int n_choices, left; /* left: that are not over */
    char id[48];
    const char *model;
    int64_t created;
    double from, until; /* seconds */
    const text_model *x;
    vm_error error;     /* of the first one that failed */
    bool late, gone;    /* the time limit is over; the client has gone */
    serve_call *next;
};

void serve_score_token(serve_choice *k, int32_t id, const float *logits,
                       int64_t V); /* natural log-probabilities of a token and the likeliest */
char *serve_whole(serve_call *s, vm_error *e);                                      /* the answer to a call; vm_free */
/* An event of a stream: `text` is new; first: nothing came before; finish: why it ends, NULL = it goes on. */
char *serve_chunk(serve_choice *k, const char *text, size_t bytes, bool first, const char *finish, vm_error *e);
char *serve_usage_chunk(serve_call *s, vm_error *e);
const char *serve_finish_name(const serve_choice *k);

/* --- the loop ----------------------------------------------------------------------------------------------------- */
typedef struct {
    text_model *x;
    const char *model;      /* its name for clients */
    int slots;
    int64_t context, cache; /* tokens of a text; of all texts */
    int64_t most_waiting;   /* calls */
    double most_seconds, grace; /* of a call; for those that are there when the server ends */
    bool deterministic;
} serve_options;
vm_status serve_loop_new(serve_loop **out, const serve_options *o, vm_error *e);
void serve_loop_free(serve_loop *s); /* accepts NULL */
void serve_handle(http_call *c, void *loop); /* http_options.handle: any thread */
/* Works until run_stopping() and what is there is done, or the grace is over; door: no new connections from then on. */
void serve_loop_run(serve_loop *s, http_server *door);
const llm_counts *serve_loop_counts(const serve_loop *s);
#endif

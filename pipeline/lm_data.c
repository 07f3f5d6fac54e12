/* lm_data.c - see lm_data.h. */
#include "pipeline/lm_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "io/json_lines.h"

enum { MESSAGES = 256 };

typedef struct {
    lm_data *d;
    tok *t;
    const lm_options *o;
    tok_ids a, b; /* of the text at hand */
} reader;

/* --- one text ---------------------------------------------------------------------------------------------------- */
static bool add(lm_data *d, int32_t id, bool learnt) {
    if (!vm_grow(&d->id, &d->cap_ids, d->n_ids + 1, sizeof *d->id) ||
        !vm_grow(&d->learnt, &d->cap_marks, d->n_ids + 1, 1))
        return false;
    d->id[d->n_ids] = id, d->learnt[d->n_ids++] = learnt;
    return true;
}

static bool add_ids(lm_data *d, const tok_ids *ids, int64_t from, bool learnt) {
    for (int64_t i = from; i < ids->n; i++)
        if (!add(d, ids->id[i], learnt)) return false;
    return true;
}

static vm_status encode(reader *r, const char *text, int flags, tok_ids *out, vm_error *e) {
    return tok_encode(r->t, text, strlen(text), flags, 0, out, e);
}

/* The prompt as a model will get it. Encoded with the completion behind it, it may tell more about the completion's
 * first token (whether it begins a word), unless both grow together there. */
static vm_status add_pair(reader *r, const char *prompt, const char *completion, vm_error *e) {
    char *whole = vm_asprintf("%s%s", prompt, completion);
    if (!whole) return vm_nomem(e, strlen(prompt) + strlen(completion), "a text");
    if (!encode(r, prompt, 0, &r->b, e) && !encode(r, whole, 0, &r->a, e)) {
        bool apart = r->a.n >= r->b.n && (!r->b.n || !memcmp(r->a.id, r->b.id, (size_t)r->b.n * sizeof *r->b.id));
        if (!apart) encode(r, completion, TOK_NO_SPECIAL, &r->a, e);
        if (!e->status && (!add_ids(r->d, &r->b, 0, false) || !add_ids(r->d, &r->a, apart ? r->b.n : 0, true) ||
                           (r->o->end >= 0 && !add(r->d, r->o->end, true))))
            vm_nomem(e, 64, "texts");
    }
    vm_free(whole);
    return e->status;
}

static vm_status add_plain(reader *r, const char *text, vm_error *e) {
    if (encode(r, text, 0, &r->a, e)) return e->status;
    return add_ids(r->d, &r->a, 0, true) && (r->o->end < 0 || add(r->d, r->o->end, true)) ? VM_OK
                                                                                          : vm_nomem(e, 64, "texts");
}

/* A stretch of the conversation's text. */
static vm_status add_stretch(reader *r, const char *text, size_t n, bool learnt, vm_error *e) {
    bool own = r->d->n_ids == r->d->text[r->d->n].at &&
               !chat_has_bos(r->o->chat); /* the tokenizer's start token stands first */
    char *part = vm_strndup(text, n);
    if (!part) return vm_nomem(e, n, "a text");
    if (n && !encode(r, part, own ? 0 : TOK_NO_SPECIAL, &r->a, e) && !add_ids(r->d, &r->a, 0, learnt))
        vm_nomem(e, n, "texts");
    vm_free(part);
    return e->status;
}

/* The text of the conversation up to each answer, and with it: what both begin with was said before, the rest is
 * learnt, the mark that ends an answer included. */
static vm_status add_turn(reader *r, const chat_message *m, int k, size_t *done, vm_error *e) {
    char *before = NULL, *with = NULL;
    if (!chat_text(&before, r->o->chat, m, k, e) && !chat_text(&with, r->o->chat, m, k + 1, e)) {
        size_t same = *done;
        while (before[same] && before[same] == with[same]) same++;
        if (!add_stretch(r, with + *done, same - *done, false, e))
            add_stretch(r, with + same, strlen(with + same), true, e);
        *done = strlen(with);
    }
    vm_free(before), vm_free(with);
    return e->status;
}

static vm_status add_talk(reader *r, json_value list, vm_error *e) {
    chat_message m[MESSAGES];
    int n = 0, turns = 0;
    size_t done = 0;
    lm_data *d = r->d;
    if (!r->o->chat)
        return json_fail(list, e,
                         "messages need the layout of a conversation, which this model states none of; give "
                         "--chat-template");
    if (json_len(list) < 1 || json_len(list) > MESSAGES)
        return json_fail(list, e, "%lld messages, 1 to %d are possible", (long long)json_len(list), MESSAGES);
    for (json_iter it = json_each(list); json_next(&it); n++)
        m[n] = (chat_message){ json_as_str(json_need(it.value, "role", JSON_STRING, e), e),
                               json_as_str(json_need(it.value, "content", JSON_STRING, e), e) };
    for (int k = 0; k < n && !e->status; k++)
        if (!strcmp(m[k].role, "assistant")) add_turn(r, m, k, &done, e), turns++;
    if (e->status) return e->status;
    if (!turns) return json_fail(list, e, "no message is the assistant's, so there is nothing to learn");
    bool open = !chat_stop(r->o->chat) && r->o->end >= 0 &&
                d->id[d->n_ids - 1] != r->o->end; /* a layout without a mark of its own */
    return open && !add(d, r->o->end, true) ? vm_nomem(e, 64, "texts") : VM_OK;
}

static vm_status add_line(reader *r, json_value root, vm_error *e) {
    json_value messages = json_get(root, "messages"), text = json_get(root, "text");
    if (json_has(messages)) return add_talk(r, messages, e);
    if (json_has(text)) {
        const char *s = json_as_str(text, e);
        return e->status ? e->status : add_plain(r, s, e);
    }
    const char *prompt = json_as_str(json_need(root, "prompt", JSON_STRING, e), e),
               *completion = e->status ? NULL : json_as_str(json_need(root, "completion", JSON_STRING, e), e);
    return e->status ? e->status : add_pair(r, prompt, completion, e);
}

/* The text that was added: cut to size, counted, or taken back. */
static void settle(reader *r) {
    lm_data *d = r->d;
    lm_text *x = &d->text[d->n];
    int64_t marked = 0;
    x->n = d->n_ids - x->at;
    if (x->n > r->o->longest) d->cut++, x->n = r->o->longest;
    for (int64_t i = 1; i < x->n; i++) marked += d->learnt[x->at + i]; /* nothing stands before the first token */
    d->n_ids = x->at + (marked ? x->n : 0);
    d->empty += !marked;
    d->n += marked > 0;
    d->marked += marked;
}

static vm_status read_file(reader *r, const char *path, vm_error *e) {
    json_lines *lines = NULL;
    json_doc *doc = NULL;
    lm_data *d = r->d;
    if (json_lines_open(&lines, path, 0, e)) return e->status;
    for (int rc; !e->status && (rc = json_lines_next(lines, &doc, e));) {
        if (!vm_grow(&d->text, &d->cap, d->n + 1, sizeof *d->text)) vm_nomem(e, 64, "texts");
        else {
            d->text[d->n].at = d->n_ids;
            if (rc > 0 && !add_line(r, json_root(doc), e)) settle(r);
            if (e->status == VM_EINPUT) { /* passed over */
                if (!d->bad++) snprintf(d->first_bad, sizeof d->first_bad, "%.399s", e->msg);
                d->n_ids = d->text[d->n].at;
                vm_error_clear(e);
            }
        }
        if (rc > 0) json_free(doc);
    }
    json_lines_close(lines);
    return e->status;
}

vm_status lm_data_read(lm_data *d, const char *const *paths, int n, tok *t, const lm_options *o, vm_error *e) {
    reader r = { .d = d, .t = t, .o = o };
    sha256 s;
    uint8_t sum[32];
    for (int k = 0; k < n && !e->status; k++) read_file(&r, paths[k], e);
    tok_ids_free(&r.a), tok_ids_free(&r.b);
    if (e->status) return e->status;
    if (!d->n && d->bad)
        return vm_fail(e, VM_EINPUT, "%s: none of %lld lines can be used; the first: %s", paths[0], (long long)d->bad,
                       d->first_bad);
    if (!d->n)
        return vm_fail(e, VM_EINPUT,
                       "%s: no text to learn from; expected JSON lines with prompt and completion, messages, or text",
                       paths[0]);
    sha256_start(&s);
    sha256_add(&s, d->id, (size_t)d->n_ids * sizeof *d->id);
    sha256_add(&s, d->learnt, (size_t)d->n_ids);
    sha256_end(&s, sum);
    hex_text(d->digest, sum, sizeof sum);
    return VM_OK;
}

void lm_data_free(lm_data *d) {
    vm_free(d->text), vm_free(d->id), vm_free(d->learnt);
    *d = (lm_data){ 0 };
}

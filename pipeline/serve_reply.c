/* serve_reply.c - answers in OpenAI's form: whole, in parts, with log-probabilities. */
#include <math.h>
#include <string.h>

#include "io/utf8.h"
#include "pipeline/serve_parts.h"

/* --- log-probabilities -------------------------------------------------------------------------------------------- */
void serve_score_token(serve_choice *k, int32_t id, const float *logits, int64_t V) {
    if (!vm_grow(&k->score, &k->scores_cap, k->n_scores + 1, sizeof *k->score)) {
        k->a.text.failed = true;
        return;
    }
    serve_score *s = &k->score[k->n_scores++];
    *s = (serve_score){ .id = id };
    int want = (int)VM_MIN((int64_t)k->of->r.top, V);
    float top = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < V; i++) top = logits[i] > top ? logits[i] : top;
    for (int64_t i = 0; i < V; i++) sum += exp((double)(logits[i] - top));
    float all = top + (float)log(sum);
    s->p = logits[id] - all;
    for (int64_t i = 0; i < V && want; i++) { /* kept in order; few are wanted */
        float p = logits[i] - all;
        if (s->n == want && p <= s->top_p[s->n - 1]) continue;
        int at = s->n < want ? s->n++ : s->n - 1;
        for (; at && s->top_p[at - 1] < p; at--) s->top_p[at] = s->top_p[at - 1], s->top[at] = s->top[at - 1];
        s->top_p[at] = p, s->top[at] = (int32_t)i;
    }
}

/* A token's text; with bytes: also as numbers, for those that are no whole characters. */
static void put_token(json_writer *w, const text_model *x, const char *key, int32_t id, bool bytes, vm_error *e) {
    const char *s;
    size_t n;
    if (tok_spell(x->t, id, &s, &n, e)) return;
    if (!n) s = tok_entry(x->t, id, &n); /* special */
    json_put_text(w, key, s ? s : "", s ? n : 0);
    if (!bytes) return;
    json_begin_array(w, "bytes");
    for (size_t i = 0; i < n && s; i++) json_put_int(w, NULL, (uint8_t)s[i]);
    json_close_array(w);
}

static void put_score(json_writer *w, const text_model *x, int32_t id, float p, vm_error *e) {
    put_token(w, x, "token", id, true, e);
    json_put_f32(w, "logprob", p);
}

static void put_chat_scores(json_writer *w, const serve_choice *k, int64_t from, vm_error *e) {
    json_begin_object(w, "logprobs");
    json_begin_array(w, "content");
    for (int64_t i = from; i < k->n_scores; i++) {
        const serve_score *s = &k->score[i];
        json_begin_object(w, NULL);
        put_score(w, k->of->x, s->id, s->p, e);
        json_begin_array(w, "top_logprobs");
        for (int t = 0; t < s->n; t++) {
            json_begin_object(w, NULL);
            put_score(w, k->of->x, s->top[t], s->top_p[t], e);
            json_close_object(w);
        }
        json_close_array(w), json_close_object(w);
    }
    json_close_array(w), json_close_object(w);
}

static void put_scores(json_writer *w, const serve_choice *k, int64_t from, vm_error *e) {
    const text_model *x = k->of->x;
    json_begin_object(w, "logprobs");
    json_begin_array(w, "tokens");
    for (int64_t i = from; i < k->n_scores; i++) put_token(w, x, NULL, k->score[i].id, false, e);
    json_close_array(w);
    json_begin_array(w, "token_logprobs");
    for (int64_t i = from; i < k->n_scores; i++) json_put_f32(w, NULL, k->score[i].p);
    json_close_array(w);
    json_begin_array(w, "top_logprobs");
    for (int64_t i = from; i < k->n_scores; i++) {
        const serve_score *s = &k->score[i];
        json_begin_object(w, NULL);
        for (int t = 0; t < s->n; t++) {
            const char *text;
            size_t n;
            if (tok_spell(x->t, s->top[t], &text, &n, e)) break;
            if (!n && !(text = tok_entry(x->t, s->top[t], &n))) continue;
            char *key = vm_strndup(text, n);
            if (key && utf8_bad(key, strlen(key)) == strlen(key)) json_put_f32(w, key, s->top_p[t]);
            vm_free(key);
        }
        json_close_object(w);
    }
    json_close_array(w), json_close_object(w);
}

static void put_logprobs(json_writer *w, serve_choice *k, vm_error *e) {
    int64_t from = k->scores_given;
    k->scores_given = k->n_scores;
    if (k->of->r.top < 0) json_put_null(w, "logprobs");
    else if (k->of->r.chat) put_chat_scores(w, k, from, e);
    else put_scores(w, k, from, e);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */
const char *serve_finish_name(const serve_choice *k) { return k->r.finish == LLM_STOPPED ? "stop" : "length"; }

static void begin(json_writer *w, const serve_call *s, const char *object) {
    json_begin_object(w, NULL);
    json_put_str(w, "id", s->id), json_put_str(w, "object", object), json_put_int(w, "created", s->created),
        json_put_str(w, "model", s->model);
    json_begin_array(w, "choices");
}

static void put_usage(json_writer *w, const serve_call *s) {
    int64_t in = 0, out = 0, shared = 0;
    for (int k = 0; k < s->r.n_prompts; k++) in += s->ids[k].n;
    for (int k = 0; k < s->n_choices; k++)
        out += s->choice[k].r.n_out, shared += k % s->r.n ? 0 : s->choice[k].r.shared;
    json_begin_object(w, "usage");
    json_put_int(w, "prompt_tokens", in), json_put_int(w, "completion_tokens", out),
        json_put_int(w, "total_tokens", in + out);
    json_begin_object(w, "prompt_tokens_details");
    json_put_int(w, "cached_tokens", shared);
    json_close_object(w), json_close_object(w);
}

static char *finish(json_writer *w, vm_error *e) {
    json_close_object(w);
    char *s = json_take(w, NULL, e);
    if (s && e->status) vm_free(s), s = NULL;
    return s;
}

char *serve_whole(serve_call *s, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    begin(&w, s, s->r.chat ? "chat.completion" : "text_completion");
    for (int i = 0; i < s->n_choices; i++) {
        serve_choice *k = &s->choice[i];
        const char *text = k->a.text.s ? k->a.text.s : "";
        json_begin_object(&w, NULL);
        json_put_int(&w, "index", i);
        if (s->r.chat) {
            json_begin_object(&w, "message");
            json_put_str(&w, "role", "assistant"), json_put_text(&w, "content", text, (size_t)k->a.text.n),
                json_put_null(&w, "refusal");
            json_close_object(&w);
        } else json_put_text(&w, "text", text, (size_t)k->a.text.n);
        put_logprobs(&w, k, e);
        json_put_str(&w, "finish_reason", serve_finish_name(k));
        json_close_object(&w);
    }
    json_close_array(&w);
    put_usage(&w, s);
    return finish(&w, e);
}

char *serve_chunk(serve_choice *k, const char *text, size_t bytes, bool first, const char *why, vm_error *e) {
    const serve_call *s = k->of;
    json_writer w = json_to_memory(JSON_COMPACT);
    begin(&w, s, s->r.chat ? "chat.completion.chunk" : "text_completion");
    json_begin_object(&w, NULL);
    json_put_int(&w, "index", k->index);
    if (s->r.chat) {
        json_begin_object(&w, "delta");
        if (first) json_put_str(&w, "role", "assistant");
        if (first || bytes) json_put_text(&w, "content", text, bytes);
        json_close_object(&w);
    } else json_put_text(&w, "text", text, bytes);
    put_logprobs(&w, k, e);
    json_put_str(&w, "finish_reason", why);
    json_close_object(&w), json_close_array(&w);
    if (s->r.usage) json_put_null(&w, "usage");
    return finish(&w, e);
}

char *serve_usage_chunk(serve_call *s, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    begin(&w, s, s->r.chat ? "chat.completion.chunk" : "text_completion");
    json_close_array(&w);
    put_usage(&w, s);
    return finish(&w, e);
}

/* text_model.c - see text_model.h. */
#include "pipeline/text_model.h"

#include <string.h>

#include "io/log.h"
#include "pipeline/run.h"

static bool in_codes(const llm *m) {
    for (int64_t i = 0; i < m->w.n; i++)
        if (m->w.p[i]->quant) return true;
    return false;
}

vm_status text_model_open(text_model *x, const vm_args *a, const char *dir, vm_error *e) {
    const char *layout = arg_str(a, "chat-template"), *adapter = arg_str(a, "adapter");
    vm_backend *be = dir ? run_backend(a, e) : NULL;
    int64_t bits = arg_int(a, "act-bits");
    if (bits != 8 && bits != 16)
        return vm_fail(e, VM_EUSAGE, "--act-bits %lld: expected 8 (rounded) or 16 (as they are)", (long long)bits);
    if (!be || run_dtype(a, true, &x->dtype, e)) return e->status;
    if (!strcmp(layout, "auto")) chat_of(&x->chat, dir, e);
    else if (strcmp(layout, "none")) x->chat = chat_by_name(layout, e);
    if (e->status || llm_open(&x->m, be, dir, false, e) || tok_open(&x->t, dir, e)) return e->status;
    if (x->m->unused) vm_warn("%s", x->m->unused);
    if (adapter && llm_adapt(x->m, NULL, adapter, e)) return e->status;
    x->rounded = bits == 8 && be->device == VM_CPU_DEV && in_codes(x->m);
    const char *stop = x->chat ? chat_stop(x->chat) : NULL;
    int32_t id = stop ? tok_find(x->t, stop, strlen(stop)) : -1;
    if (id >= 0 && x->m->c.stops < LLM_STOPS) x->m->c.stop[x->m->c.stops++] = id;
    return VM_OK;
}

void text_model_close(text_model *x) {
    token_trie_free(x->trie);
    llm_free(x->m);
    tok_free(x->t);
    *x = (text_model){ 0 };
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */
static vm_status encode(const text_model *x, const char *text, int flags, const tok_span *plain, int64_t n,
                        tok_ids *ids, vm_error *e) {
    if (tok_encode_plain(x->t, text, strlen(text), flags, 0, plain, n, ids, e)) return e->status;
    if (!ids->n && !tok_ids_add(ids, VM_MAX(x->m->c.bos, 0))) return vm_nomem(e, 8, "a prompt");
    return VM_OK;
}

vm_status text_model_ids(const text_model *x, const char *text, tok_ids *ids, vm_error *e) {
    return encode(x, text, 0, NULL, 0, ids, e);
}

vm_status text_model_lay_out(const text_model *x, const chat_message *m, int n, char **text, tok_ids *ids,
                             vm_error *e) {
    *text = NULL;
    if (!x->chat) {
        if (n != 1)
            return vm_fail(
                e, VM_EINPUT,
                "messages need the layout of a conversation, which this model states none of; give --chat-template");
        *text = vm_strdup(m->text);
        return *text ? text_model_ids(x, *text, ids, e) : vm_nomem(e, strlen(m->text), "a prompt");
    }
    tok_span *said = vm_alloc((size_t)(n + 1) * sizeof *said);
    int64_t spans = 0;
    if (!said) return vm_nomem(e, (size_t)n * sizeof *said, "a prompt");
    if (!chat_text_said(text, said, &spans, x->chat, m, n, e))
        encode(x, *text, chat_has_bos(x->chat) ? TOK_NO_SPECIAL : 0, said, spans, ids, e);
    vm_free(said);
    return e->status;
}

/* --- forms -------------------------------------------------------------------------------------------------------- */
static vm_status build(text_model *x, text_form *f, vm_error *e) {
    if (f->form) return VM_OK;
    if (!x->trie && token_trie_new(&x->trie, x->t, x->m->c.vocab, e)) return e->status;
    if (f->schema) grammar_from_schema(&f->g, f->text, strlen(f->text), f->name, e);
    else grammar_from_text(&f->g, f->text, strlen(f->text), f->name, e);
    return e->status || constraint_form_new(&f->form, f->g, x->trie, e) ? text_form_give_up(f), e->status : VM_OK;
}

vm_status text_form_begin(text_model *x, text_form *f, int64_t most, constraint **c, vm_error *e) {
    *c = NULL;
    if (build(x, f, e) || constraint_new(c, f->form, e)) return e->status;
    int64_t needs = constraint_needs(*c, e);
    if (!e->status && needs > most)
        vm_fail(e, VM_EINPUT, "%s: a text of this form has at least %lld tokens, and %lld are allowed", f->name,
                (long long)needs, (long long)most);
    if (e->status) constraint_free(*c), *c = NULL;
    return e->status;
}

void text_form_give_up(text_form *f) {
    constraint_form_free(f->form), grammar_free(f->g);
    f->form = NULL, f->g = NULL;
}

void text_form_free(text_form *f) {
    text_form_give_up(f);
    vm_free(f->text), vm_free(f->name);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */
/* Looks for stop texts in what a token has added: the first one ends the text. */
static bool find_stop(answer *a, int64_t before) {
    const char *first = NULL;
    for (int k = 0; k < a->n_stops && a->text.s; k++) {
        int64_t from = VM_MAX(before - (int64_t)strlen(a->stops[k]) + 1, (int64_t)0);
        const char *at = strstr(a->text.s + from, a->stops[k]);
        if (at && (!first || at < first)) first = at;
    }
    if (!first) return false;
    a->text.n = first - a->text.s, a->text.s[a->text.n] = 0;
    return a->stopped = true;
}

static bool add(answer *a, int32_t id) {
    vm_error e = { 0 };
    const char *part = "";
    size_t n = 0;
    int64_t before = a->text.n;
    if (tok_decode_next(a->x->t, &a->st, id, false, &part, &n, &e)) return a->text.failed = true;
    text_add(&a->text, part, n);
    return a->text.failed || find_stop(a, before);
}

bool answer_add(answer *a, int32_t id) { return add(a, id); }
void answer_end(answer *a) {
    if (!a->stopped && !a->text.failed) add(a, -1);
}

size_t answer_part(answer *a, bool last, const char **s) {
    int64_t n = a->text.n;
    for (int k = 0; k < a->n_stops && !last; k++) {
        int64_t len = (int64_t)strlen(a->stops[k]);
        for (int64_t i = VM_MIN(len - 1, a->text.n); i > 0; i--)
            if (!memcmp(a->text.s + a->text.n - i, a->stops[k], (size_t)i)) {
                n = VM_MIN(n, a->text.n - i);
                break;
            }
    }
    size_t got = n > a->given ? (size_t)(n - a->given) : 0;
    *s = a->text.s ? a->text.s + a->given : "";
    a->given += (int64_t)got;
    return got;
}

/* chat.c - see chat.h. */
#include "io/chat.h"

#include <string.h>

#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"

/* What stands around the texts. A system text without a place of its own goes before the first user text, joined by a blank line. */
struct chat_layout {
    const char *name, *mark; /* mark: what only this layout's template says */
    const char *begin;       /* the whole text */
    bool bos;                /* begin holds the start token */
    const char *system[2], *user[2], *assistant[2]; /* system[0] NULL: no place */
    const char *first_user;  /* instead of user[0] for the first one; NULL = the same */
    const char *no_system;   /* a system text where none is given; NULL = none */
    const char *generate;    /* before the assistant's next words */
    const char *stop;
    bool inside;             /* the system text stands inside of the first user text, between system[0] and system[1] */
};

static const char vicuna_system[] = "A chat between a curious user and an artificial intelligence assistant. "
                                    "The assistant gives helpful, detailed, and polite answers to the user's questions.";

/* In the order of the search: what is more special comes first. */
static const chat_layout layouts[] = {
    { .name = "idefics2", .mark = "end_of_utterance", .system = { "System: ", "<end_of_utterance>\n" }, .user = { "User: ", "<end_of_utterance>\n" },
      .assistant = { "Assistant: ", "<end_of_utterance>\n" }, .generate = "Assistant:", .stop = "<end_of_utterance>" },
    { .name = "llama3", .mark = "start_header_id", .begin = "<|begin_of_text|>", .bos = true,
      .system = { "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>" }, .user = { "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>" },
      .assistant = { "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>" }, .generate = "<|start_header_id|>assistant<|end_header_id|>\n\n",
      .stop = "<|eot_id|>" },
    { .name = "chatml", .mark = "im_start", .system = { "<|im_start|>system\n", "<|im_end|>\n" }, .user = { "<|im_start|>user\n", "<|im_end|>\n" },
      .assistant = { "<|im_start|>assistant\n", "<|im_end|>\n" }, .generate = "<|im_start|>assistant\n", .stop = "<|im_end|>" },
    { .name = "gemma", .mark = "start_of_turn", .begin = "<bos>", .bos = true, .user = { "<start_of_turn>user\n", "<end_of_turn>\n" },
      .assistant = { "<start_of_turn>model\n", "<end_of_turn>\n" }, .generate = "<start_of_turn>model\n", .stop = "<end_of_turn>" },
    { .name = "phi3", .mark = "<|assistant|>", .system = { "<|system|>\n", "<|end|>\n" }, .user = { "<|user|>\n", "<|end|>\n" },
      .assistant = { "<|assistant|>\n", "<|end|>\n" }, .generate = "<|assistant|>\n", .stop = "<|end|>" },
    { .name = "llama2", .mark = "<<SYS>>", .system = { "<<SYS>>\n", "\n<</SYS>>\n\n" }, .inside = true, .user = { "<s>[INST] ", " [/INST]" },
      .assistant = { " ", " </s>" }, .generate = "", .bos = true },
    { .name = "mixtral", .mark = "' [INST] '", .begin = "<s>", .bos = true, .user = { " [INST] ", " [/INST]" }, .assistant = { " ", "</s>" }, .generate = "" },
    { .name = "mistral", .mark = "[INST]", .begin = "<s>", .bos = true, .user = { "[INST] ", " [/INST]" }, .assistant = { "", "</s>" }, .generate = "" },
    { .name = "vicuna", .mark = "USER:", .begin = "", .system = { "", " " }, .user = { "USER: ", " ASSISTANT:" }, .assistant = { " ", "</s>" }, .generate = "",
      .no_system = vicuna_system },
    { .name = "raw", .mark = NULL, .user = { "", "" }, .assistant = { "", "" }, .generate = "" },
};

const chat_layout *chat_by_name(const char *name, vm_error *e) {
    char known[200] = "";
    for (int k = 0; k < VM_LEN(layouts); k++) {
        if (!strcmp(layouts[k].name, name)) return &layouts[k];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", k ? ", " : "", layouts[k].name);
    }
    vm_fail(e, VM_EUSAGE, "chat layout %s is not known; known are %s", name, known);
    return NULL;
}

const char *chat_name(const chat_layout *l) { return l->name; }
bool chat_has_bos(const chat_layout *l) { return l->bos; }
const char *chat_stop(const chat_layout *l) { return l->stop; }

/* --- which one a model has ------------------------------------------------------------------------------------------- */
static const chat_layout *recognise(const char *template) {
    for (int k = 0; k < VM_LEN(layouts); k++)
        if (layouts[k].mark && strstr(template, layouts[k].mark)) return &layouts[k];
    return NULL;
}

/* "chat_template" of a JSON file: a text, or a list of named ones of which "default" counts. */
static const char *template_of(json_value root, vm_error *e) {
    json_value v = json_get(root, "chat_template");
    if (v.kind != JSON_ARRAY) return json_has(v) ? json_as_str(v, e) : NULL;
    const char *found = NULL;
    for (json_iter it = json_each(v); json_next(&it);)
        if (!found || !strcmp(json_str(it.value, "name", "", e), "default")) found = json_str(it.value, "template", NULL, e);
    return found;
}

static vm_status unknown(const char *path, vm_error *e) {
    return vm_fail(e, VM_EINPUT, "%s: the chat template is none that is known; name one with --chat-template (raw: the text as it is)", path);
}

static vm_status of_gguf(const chat_layout **layout, const char *path, vm_error *e) {
    gguf *g = NULL;
    const char *template = gguf_open(&g, path, e) ? NULL : gguf_str(g, "tokenizer.chat_template", NULL, e);
    if (template && !(*layout = recognise(template))) unknown(path, e);
    gguf_close(g);
    return e->status;
}

vm_status chat_of(const chat_layout **layout, const char *dir, vm_error *e) {
    static const char *const files[] = { "chat_template.jinja", "chat_template.json", "tokenizer_config.json" };
    bool there = false;
    *layout = NULL;
    if (gguf_is(dir)) return of_gguf(layout, dir, e);
    for (int k = 0; k < VM_LEN(files) && !there && !e->status; k++) {
        char *path = path_join(dir, files[k]), *text = NULL;
        json_doc *d = NULL;
        if (!path) return vm_nomem(e, 256, "a path");
        const char *template = NULL;
        if (file_exists(path) && k == 0) template = file_read(&text, NULL, path, 0, e) ? NULL : text;
        else if (file_exists(path)) template = (d = json_open(path, e)) ? template_of(json_root(d), e) : NULL;
        there = template != NULL;
        if (there && !(*layout = recognise(template))) unknown(path, e);
        json_free(d);
        vm_free(text), vm_free(path);
    }
    return e->status;
}

/* --- laying out ------------------------------------------------------------------------------------------------------- */
typedef struct {
    char *s;
    int64_t n, cap;
    bool failed;
    tok_span *said; /* NULL = not wanted */
    int64_t n_said;
} text_out;

static void put(text_out *o, const char *s) {
    size_t k = s ? strlen(s) : 0;
    if (o->failed || !(o->failed = !vm_grow(&o->s, &o->cap, o->n + (int64_t)k + 1, 1))) {
        if (o->failed) return;
        if (k) memcpy(o->s + o->n, s, k);
        o->n += (int64_t)k;
        o->s[o->n] = 0;
    }
}

static void say(text_out *o, const char *s) {
    size_t from = (size_t)o->n;
    put(o, s);
    if (o->said) o->said[o->n_said++] = (tok_span){ from, (size_t)o->n };
}

static vm_status lay_out(char **text, tok_span *said, int64_t *n_said, const chat_layout *l, const chat_message *m, int n, vm_error *e) {
    text_out o = { .said = said };
    const char *system = n && !strcmp(m[0].role, "system") ? m[0].text : NULL;
    int from = system ? 1 : 0, turn = 0;
    *text = NULL;
    if (!system) system = l->no_system;
    put(&o, l->begin);
    bool own_place = l->system[0] && !l->inside;
    if (system && own_place) put(&o, l->system[0]), say(&o, system), put(&o, l->system[1]);
    for (int k = from; k < n; k++, turn++) {
        bool user = turn % 2 == 0;
        const char *want = user ? "user" : "assistant";
        if (strcmp(m[k].role, want)) {
            vm_free(o.s);
            return vm_fail(e, VM_EINPUT, "message %d is from \"%s\", expected \"%s\": user and assistant take turns behind at most one system text", k + 1, m[k].role, want);
        }
        const char *const *around = user ? l->user : l->assistant;
        put(&o, around[0]);
        if (turn == 0 && system && l->inside) put(&o, l->system[0]), say(&o, system), put(&o, l->system[1]);
        else if (turn == 0 && system && !own_place) say(&o, system), put(&o, "\n\n");
        say(&o, m[k].text);
        put(&o, around[1]);
    }
    if (turn % 2) put(&o, l->generate);
    if (o.failed) return vm_free(o.s), vm_nomem(e, (size_t)o.n, "a conversation");
    if (!o.s && !(o.s = vm_strdup(""))) return vm_nomem(e, 1, "a conversation");
    *text = o.s;
    if (n_said) *n_said = o.n_said;
    return VM_OK;
}

vm_status chat_text(char **text, const chat_layout *l, const chat_message *m, int n, vm_error *e) { return lay_out(text, NULL, NULL, l, m, n, e); }
vm_status chat_text_said(char **text, tok_span *said, int64_t *n_said, const chat_layout *l, const chat_message *m, int n, vm_error *e) {
    return lay_out(text, said, n_said, l, m, n, e);
}

/* scene_texts.c - see scene_texts.h.
 *
 * The tokenizer is byte-level as Llama 3's: 256 bytes, and every word of the texts whole (ignore_merges), so that no
 * merges are needed and any other text is still its bytes. A word is a run of letters with the blank before it, a
 * number, or the marks of JSON around a key: none that both end a prompt and begin an answer, which a model gets apart.
 */
#include "pipeline/scene_texts.h"

#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/keymap.h"
#include "io/progress.h"
#include "io/regex.h"
#include "io/vocab.h"
#include "models/scene_tasks.h"
#include "pipeline/run.h"

static const char word_pattern[] = "[\"\\[\\]{},?)]*\"[A-Za-z_]+\":[\"\\[{]*|[\"\\[\\]{},?)]+| ?[A-Za-z]+|[0-9]+| "
                                   "?[^\\sA-Za-z0-9\"\\[\\]{},?)]+|\\s";

typedef struct {
    char *template[SCENE_TASKS];
    regex *words;
    keymap seen; /* the distinct words */
} maker;

/* --- prompts ----------------------------------------------------------------------------------------------------- */
static vm_status read_templates(maker *m, const char *dir, vm_error *e) {
    for (int k = 0; k < SCENE_TASKS && !e->status; k++) {
        char *name = vm_asprintf("%s.txt", scene_task_name[k]), *path = name ? path_join(dir, name) : NULL;
        size_t n = 0;
        if (!path) vm_nomem(e, 256, "a path");
        else if (!file_read(&m->template[k], &n, path, 0, e) && n && m->template[k][n - 1] == '\n')
            m->template[k][n - 1] = 0;
        vm_free(name), vm_free(path);
    }
    return e->status;
}

/* The template with the values of the question in its places {name}. */
static char *fill(const char *text, const scene_exercise *q, vm_error *e) {
    char *out = vm_strdup("");
    while (out && *text) {
        const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL, *value = NULL;
        for (int k = 0; close && k < q->n; k++)
            if (strlen(q->field[k].name) == (size_t)(close - open - 1) &&
                !strncmp(q->field[k].name, open + 1, (size_t)(close - open - 1)))
                value = q->field[k].value;
        if (close && !value) {
            vm_fail(e, VM_EINPUT, "prompt \"%.60s\": nothing fills the place %.*s", text, (int)(close + 1 - open),
                    open);
            break;
        }
        char *more = vm_asprintf("%s%.*s%s", out, close ? (int)(open - text) : (int)strlen(text), text,
                                 close ? value : "");
        vm_free(out);
        out = more;
        text = close ? close + 1 : text + strlen(text);
    }
    if (!out) vm_nomem(e, 256, "a prompt");
    return out;
}

/* --- words ------------------------------------------------------------------------------------------------------- */
static vm_status collect(maker *m, const char *text, vm_error *e) {
    size_t n = strlen(text), at = 0, from, to;
    while (regex_find(m->words, text, n, at, &from, &to) > 0) {
        if (to - from > 1 && keymap_put(&m->seen, text + from, to - from) < 0) return vm_nomem(e, 64, "words");
        at = to;
    }
    return VM_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The character that stands for a byte in byte-level vocabularies (GPT-2): printable ones of Latin-1 themselves, the
 * others from U+0100 on. */
static void put_byte(char *out, unsigned byte) {
    unsigned c = byte, at = 0;
    for (unsigned b = 0; b <= byte; b++) {
        bool own = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte && !own) c = 0x100 + at;
        at += !own;
    }
    size_t n = strlen(out);
    if (c < 0x80) out[n++] = (char)c;
    else out[n++] = (char)(0xc0 | c >> 6), out[n++] = (char)(0x80 | (c & 63));
    out[n] = 0;
}

static void put_word(json_writer *w, const char *text, int64_t id) {
    char name[512] = "";
    for (const char *p = text; *p && strlen(name) < sizeof name - 8; p++) put_byte(name, (unsigned char)*p);
    json_put_int(w, name, id);
}

/* --- the model's folder ------------------------------------------------------------------------------------------ */
enum { BYTES = 256 };
static const char end_token[] = "<|end|>";

static vm_status write_tokenizer(const char *dir, const char *const *word, int64_t n, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "version", "1.0");
    json_begin_array(&w, "added_tokens");
    json_begin_object(&w, NULL);
    json_put_int(&w, "id", BYTES + n), json_put_str(&w, "content", end_token);
    json_put_bool(&w, "single_word", false), json_put_bool(&w, "lstrip", false), json_put_bool(&w, "rstrip", false);
    json_put_bool(&w, "normalized", false), json_put_bool(&w, "special", true);
    json_close_object(&w);
    json_close_array(&w);
    json_put_null(&w, "normalizer");
    json_begin_object(&w, "pre_tokenizer");
    json_put_str(&w, "type", "Sequence");
    json_begin_array(&w, "pretokenizers");
    json_begin_object(&w, NULL);
    json_put_str(&w, "type", "Split");
    json_begin_object(&w, "pattern");
    json_put_str(&w, "Regex", word_pattern);
    json_close_object(&w);
    json_put_str(&w, "behavior", "Isolated"), json_put_bool(&w, "invert", false);
    json_close_object(&w);
    json_begin_object(&w, NULL);
    json_put_str(&w, "type", "ByteLevel");
    json_put_bool(&w, "add_prefix_space", false), json_put_bool(&w, "trim_offsets", true),
        json_put_bool(&w, "use_regex", false);
    json_close_object(&w);
    json_close_array(&w);
    json_close_object(&w);
    json_put_null(&w, "post_processor");
    json_begin_object(&w, "decoder");
    json_put_str(&w, "type", "ByteLevel");
    json_put_bool(&w, "add_prefix_space", true), json_put_bool(&w, "trim_offsets", true),
        json_put_bool(&w, "use_regex", true);
    json_close_object(&w);
    json_begin_object(&w, "model");
    json_put_str(&w, "type", "BPE");
    json_put_null(&w, "dropout"), json_put_null(&w, "unk_token");
    json_put_bool(&w, "fuse_unk", false), json_put_bool(&w, "byte_fallback", false),
        json_put_bool(&w, "ignore_merges", true);
    json_begin_object(&w, "vocab");
    for (int b = 0; b < BYTES; b++) {
        char name[8] = "";
        put_byte(name, (unsigned)b);
        json_put_int(&w, name, b);
    }
    for (int64_t i = 0; i < n; i++) put_word(&w, word[i], BYTES + i);
    json_close_object(&w);
    json_begin_array(&w, "merges");
    json_close_array(&w);
    json_close_object(&w);
    json_close_object(&w);
    if (json_save(&w, dir, "tokenizer.json", e)) return e->status;
    w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "tokenizer_class", "PreTrainedTokenizerFast");
    json_put_str(&w, "eos_token", end_token), json_put_str(&w, "pad_token", end_token);
    json_put_bool(&w, "clean_up_tokenization_spaces", false);
    json_put_int(&w, "model_max_length", 1024);
    json_close_object(&w);
    return json_save(&w, dir, "tokenizer_config.json", e);
}

static vm_status write_config(const char *dir, int64_t tokens, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures");
    json_put_str(&w, NULL, "LlamaForCausalLM");
    json_close_array(&w);
    json_put_str(&w, "model_type", "llama");
    json_put_int(&w, "vocab_size", tokens);
    json_put_int(&w, "hidden_size", 192), json_put_int(&w, "intermediate_size", 512);
    json_put_int(&w, "num_hidden_layers", 5);
    json_put_int(&w, "num_attention_heads", 6), json_put_int(&w, "num_key_value_heads", 3);
    json_put_int(&w, "max_position_embeddings", 1024);
    json_put_str(&w, "hidden_act", "silu");
    json_put_num(&w, "rms_norm_eps", 1e-5), json_put_num(&w, "rope_theta", 10000),
        json_put_num(&w, "initializer_range", 0.02);
    json_put_bool(&w, "tie_word_embeddings", true), json_put_bool(&w, "attention_bias", false),
        json_put_bool(&w, "mlp_bias", false);
    json_put_null(&w, "bos_token_id");
    json_put_int(&w, "eos_token_id", tokens - 1), json_put_int(&w, "pad_token_id", tokens - 1);
    json_put_str(&w, "torch_dtype", "float32");
    json_close_object(&w);
    return json_save(&w, dir, "config.json", e);
}

static vm_status write_model(const maker *m, const char *parent, vm_error *e) {
    char *dir = path_join(parent, "model");
    int64_t n = m->seen.n;
    const char **word = vm_calloc((size_t)n + 1, sizeof *word);
    if (!dir || !word) vm_nomem(e, (size_t)n * sizeof *word, "words");
    else {
        for (int64_t i = 0; i < n; i++) word[i] = keymap_at(&m->seen, i, NULL);
        qsort(word, (size_t)n, sizeof *word, by_text);
        if (!dir_make(dir, e) && !write_tokenizer(dir, word, n, e)) write_config(dir, BYTES + n + 1, e);
    }
    vm_free(word), vm_free(dir);
    return e->status;
}

/* --- texts ------------------------------------------------------------------------------------------------------- */
static vm_status one(maker *m, const scene_texts *o, int64_t i, scene_task task, vm_out *out, vm_error *e) {
    uint64_t seed = scene_seed(o->split, o->first + (uint64_t)i);
    double at = (double)i / (double)o->n;
    scene_exercise q;
    if (!o->task) task = scene_task_pick(seed);
    if (scene_task_make(&q, seed, task, !o->curriculum || at >= 0.15 ? 0 : at < 0.05 ? 1 : 2, e)) return e->status;
    char *prompt = fill(m->template[task], &q, e), *both = prompt ? vm_asprintf("%s%s", prompt, q.answer) : NULL;
    json_writer w = json_to_out(out, JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "prompt", prompt), json_put_str(&w, "completion", q.answer),
        json_put_str(&w, "task", scene_task_name[task]);
    json_close_object(&w);
    json_newline(&w);
    json_end(&w, e);
    if (!e->status && !both) vm_nomem(e, 256, "a text");
    if (!e->status && o->model) collect(m, both, e);
    vm_free(prompt), vm_free(both), vm_free(q.answer);
    return e->status;
}

static vm_status find_task(scene_task *task, const char *name, vm_error *e) {
    char all[256] = "";
    for (int k = 0; k < SCENE_TASKS; k++) {
        if (!name || !strcmp(name, scene_task_name[k])) return *task = (scene_task)k, VM_OK;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", scene_task_name[k]);
    }
    return vm_fail(e, VM_EUSAGE, "--task %s: known are %s", name, all);
}

vm_status scene_write_texts(const char *dir, const scene_texts *o, vm_error *e) {
    maker m = { 0 };
    vm_out *out = NULL;
    scene_task task = TASK_EDIT_OBJECT;
    char *path = path_join(dir, "texts.jsonl");
    progress *bar = NULL;
    if (!path) vm_nomem(e, 256, "a path");
    if (e->status || find_task(&task, o->task, e) || read_templates(&m, o->prompts, e) ||
        regex_new(&m.words, word_pattern, false, e) || vm_out_open(&out, path, e))
        goto done;
    bar = progress_start("texts", o->n, "texts");
    for (int64_t i = 0; i < o->n && !e->status; i++) {
        if (run_stopping()) e->status = VM_ESTOP;
        else one(&m, o, i, task, out, e), progress_add(bar, 1);
    }
    progress_end(bar);
    if (!e->status && o->model) write_model(&m, dir, e);
    if (e->status) vm_out_abort(out);
    else vm_out_commit(out, e);
done:
    for (int k = 0; k < SCENE_TASKS; k++) vm_free(m.template[k]);
    regex_free(m.words);
    keymap_free(&m.seen);
    vm_free(path);
    return e->status;
}

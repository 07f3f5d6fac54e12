/* tokenize.c - `vismin tokenize DIR`: JSON strings in, arrays of token ids out, one per line. */
#include "io/json.h"
#include "io/tokenizer.h"
#include "pipeline/command.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The text of a line: a JSON string, or the line as it stands with --plain. *d keeps it, freed by the caller. */
static vm_status read_line(const char **text, size_t *bytes, json_doc **d, const char *line, size_t n, int64_t number,
                           bool plain, vm_error *e) {
    if (plain) {
        *text = line;
        *bytes = n;
        return VM_OK;
    }
    char name[48];
    snprintf(name, sizeof name, "standard input line %lld", (long long)number);
    if (!(*d = json_parse(line, n, name, 0, e))) return e->status;
    *text = json_as_text(json_root(*d), bytes, e);
    return e->status;
}

static vm_status encode_line(tok *t, const char *line, size_t n, int64_t number, const vm_args *a, tok_ids *ids,
                             vm_error *e) {
    json_doc *d = NULL;
    const char *text = "";
    size_t bytes = 0;
    int flags = arg_flag(a, "no-special") ? TOK_NO_SPECIAL : 0;
    vm_status s = read_line(&text, &bytes, &d, line, n, number, arg_flag(a, "plain"), e);
    if (!s) s = tok_encode(t, text, bytes, flags, arg_int(a, "max-length"), ids, e);
    json_free(d);
    return s;
}

/* Text of the ids of a line, as a JSON string. */
static vm_status decode_line(tok *t, const char *line, size_t n, int64_t number, const vm_args *a, json_writer *w,
                             tok_ids *ids, vm_error *e) {
    char name[48], *text = NULL;
    size_t bytes;
    snprintf(name, sizeof name, "standard input line %lld", (long long)number);
    json_doc *d = json_parse(line, n, name, 0, e);
    if (!d) return e->status;
    json_value root = json_root(d);
    vm_status s = root.kind == JSON_ARRAY ? VM_OK : json_fail(root, e, "expected an array of token ids");
    ids->n = 0;
    for (json_iter it = json_each(root); !s && json_next(&it);) {
        int64_t id = json_as_int(it.value, 0, tok_get_info(t)->vocab_len - 1, e);
        s = e->status ? e->status : tok_ids_add(ids, (int32_t)id) ? VM_OK : vm_nomem(e, 4, "token ids");
    }
    if (!s) s = tok_decode(t, ids->id, ids->n, arg_flag(a, "keep-special"), &text, &bytes, e);
    if (!s) json_put_text(w, NULL, text, bytes);
    vm_free(text);
    json_free(d);
    return s;
}

static vm_status run(const vm_args *a, vm_error *e) {
    tok *t = NULL;
    tok_ids ids = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    json_writer w = json_to_stream(stdout, JSON_COMPACT);
    const char *dir = arg_model(a, arg_pos(a, 0), e);
    vm_status s = dir ? tok_open(&t, dir, e) : e->status;
    for (int64_t number = 1; !s && (n = getline(&line, &cap, stdin)) >= 0; number++) {
        if (n && line[n - 1] == '\n') n--;
        if (arg_flag(a, "decode")) {
            s = decode_line(t, line, (size_t)n, number, a, &w, &ids, e);
        } else if (!(s = encode_line(t, line, (size_t)n, number, a, &ids, e))) {
            json_begin_array(&w, NULL);
            for (int64_t i = 0; i < ids.n; i++) json_put_int(&w, NULL, ids.id[i]);
            json_close_array(&w);
        }
        if (!s) json_newline(&w);
    }
    if (!s && ferror(stdin)) s = vm_fail(e, VM_EIO, "standard input: %s", strerror(errno));
    vm_status end = json_end(&w, e);
    free(line);
    tok_ids_free(&ids);
    tok_free(t);
    return s ? s : end;
}

static const vm_opt opts[] = {
    {"max-length", OPT_INT, NULL, "N", "cut to N tokens, the end token among them (default: as the files state)", 1,
     1 << 24},
    {"no-special", OPT_FLAG, NULL, NULL, "without start and end tokens", 0, 0},
    {"plain", OPT_FLAG, NULL, NULL, "lines are plain text, not JSON strings", 0, 0},
    {"decode", OPT_FLAG, NULL, NULL, "the other way: JSON arrays of ids in, JSON strings out", 0, 0},
    {"keep-special", OPT_FLAG, NULL, NULL, "with --decode: spell out special tokens", 0, 0},
    {NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0}};

const vm_command cmd_tokenize = {
    .name = "tokenize",
    .summary = "token ids of texts",
    .usage = "DIR [options] < STRINGS",
    .about =
        "Reads one JSON string per line from standard input and writes one JSON array of token ids per line.\n"
        "DIR is a model directory (tokenizer.json, or vocab.json with merges.txt, vocab.txt, or\n"
        "bpe_simple_vocab_16e6.txt.gz) or one of these files. Special tokens, truncation and padding are those that the files state.\n\n"
        "    echo '\"a photo of a cat\"' | vismin tokenize clip-vit-base-patch32\n"
        "    vismin tokenize MODEL --plain < captions.txt",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};

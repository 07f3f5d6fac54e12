/* tok_cases.h - what the tests of tokenizers share: golden lines, and the messages of broken folders. */
#ifndef VM_TESTS_TOK_CASES_H
#define VM_TESTS_TOK_CASES_H
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "io/tokenizer.h"
#include "tests/test.h"

#define GOLDEN "tests/golden/tokenizer/"
static char folder[600]; /* of the test's own files */

static const char *in(const char *name) {
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static tok *open_tok(const char *path) {
    vm_error e = {0};
    tok *t;
    if (tok_open(&t, path, &e)) MISMATCH("%s\n", e.msg);
    return t;
}

static bool same_ids(const tok_ids *got, json_value want) {
    vm_error e = {0};
    bool same = got->n == json_len(want);
    for (int64_t i = 0; i < got->n && same; i++) same = got->id[i] == json_as_int(json_at(want, i), 0, 1 << 22, &e);
    return same;
}

/* Every line of a file of goldens that has them: ids under `key`, and the text of the ids under `decoded` (NULL: not looked at). */
static void check_cases(const char *dir, const char *file, const char *key, const char *decoded) {
    tok *t = open_tok(dir);
    tok_ids ids = {0};
    char *all = NULL;
    vm_error e = {0};
    int lines = 0;
    if (!t || file_read(&all, NULL, file, 0, &e)) {
        MISMATCH("%s\n", e.msg);
        tok_free(t);
        return;
    }
    for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_doc *d = json_parse(line, strlen(line), file, 0, &e);
        json_value root = json_root(d);
        size_t n = 0, want_n = 0, got_n = 0;
        const char *text = json_as_text(json_get(root, "text"), &n, &e);
        if (!json_has(json_get(root, key))) {
            json_free(d);
            continue;
        }
        EXPECT(text && !tok_encode(t, text, n, 0, 0, &ids, &e));
        if (!same_ids(&ids, json_get(root, key))) MISMATCH("%s: %s\n", key, line);
        if (decoded) {
            char *got;
            const char *want = json_as_text(json_get(root, decoded), &want_n, &e);
            EXPECT(!tok_decode(t, ids.id, ids.n, false, &got, &got_n, &e));
            if (got_n != want_n || memcmp(got, want, got_n)) MISMATCH("decoded \"%s\": %s\n", got, line);
            vm_free(got);
        }
        json_free(d);
    }
    EXPECT(lines > 150 && !e.status);
    vm_free(all);
    tok_ids_free(&ids);
    tok_free(t);
}

/* Writes the files (name, content pairs up to NULL), opens the folder, removes them, returns the message. */
static const char *message(const char *const *files) {
    static vm_error e;
    tok *t;
    vm_error_clear(&e);
    for (int i = 0; files[i]; i += 2) EXPECT(!file_write(in(files[i]), files[i + 1], strlen(files[i + 1]), &e));
    vm_status s = tok_open(&t, folder, &e);
    EXPECT(s == VM_EINPUT && !t);
    tok_free(t);
    for (int i = 0; files[i]; i += 2) unlink(in(files[i]));
    return e.msg;
}
#define MESSAGE(...) message((const char *const[]){__VA_ARGS__, NULL})
#endif

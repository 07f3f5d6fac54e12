/* eval_countbench.c - CountBench (arXiv 2302.12066): a caption with a number word, two to ten, and the same with the
 * others.
 *
 * CountBench.json: a list of { image_url, text, number }. The first occurrence of the word counts, in whatever case;
 * the foils take over its case. --option foils= all (default: nine options), or N from 1 to 8 of them drawn by --seed.
 * Pictures are not in the file, only their addresses; each is looked for, in this order, as
 *   the field image, which io/hf_export.py writes
 *   what --option image-map=FILE names: rows "address TAB file"
 *   the last part of the address without its query - unless another address ends alike
 *   SHA1(address) and an ending
 *   the number of the row (0, or 00000) and an ending */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io/sha1.h"
#include "kernels/philox.h"
#include "pipeline/eval_rows.h"

enum { LOW = 2, HIGH = 10, WORDS = HIGH - LOW + 1 };
static const char *const words[WORDS] = { "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten" };
static const eval_file files[] = { { "default", "CountBench.json data.jsonl data.json", false } };
static const char *const options[] = { "foils=all|1|...|8", "image-map=FILE", NULL };
static const char *const foil_counts[] = { "all", "1", "2", "3", "4", "5", "6", "7", "8", NULL };

typedef struct {
    int foils;               /* of each item */
    keymap url, file;        /* of the map: url i belongs to file[i], the number of a name in file */
    int64_t *file_of, cap;
    keymap base;             /* ends of addresses, and how many different addresses have them */
    keymap seen;
    int64_t *n_base, cap_base;
} state;

/* --- pictures ----------------------------------------------------------------------------------------------------- */
static vm_status read_map(state *x, const char *path, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    if (csv_open(&t, path, '\t', 0, e)) return e->status;
    while (!e->status && csv_next(t, &row, e) > 0) {
        if (row.n != 2) {
            vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": found %" PRId64 " fields, expected an address, a tab and a file",
                    path, row.line, row.n);
            break;
        }
        int64_t u = keymap_put_text(&x->url, row.field[0]), f = keymap_put_text(&x->file, row.field[1]);
        if (u < 0 || f < 0 || !vm_grow(&x->file_of, &x->cap, x->url.n, sizeof *x->file_of)) vm_nomem(e, 256, path);
        else x->file_of[u] = f;
    }
    csv_close(t);
    return e->status;
}

/* The last part of the address without query and fragment, into out. */
static void base_of(const char *url, char out[300]) {
    size_t n = strcspn(url, "?#");
    const char *from = url + n;
    while (from > url && from[-1] != '/') from--;
    snprintf(out, 300, "%.*s", (int)VM_MIN(n - (size_t)(from - url), (size_t)299), from);
}

static vm_status see_address(eval_row *r, vm_error *e) {
    state *x = r->of->user;
    char base[300];
    const char *url = row_text(r, "image_url url");
    vm_error_clear(&r->bad); /* said when the record is read */
    if (!url) return VM_OK;
    base_of(url, base);
    int64_t before = x->seen.n, bases = x->base.n, u = keymap_put_text(&x->seen, url),
            b = keymap_put_text(&x->base, base);
    if (u < 0 || b < 0 || !vm_grow(&x->n_base, &x->cap_base, x->base.n, sizeof *x->n_base))
        return vm_nomem(e, 256, "addresses");
    if (b == bases) x->n_base[b] = 0;
    x->n_base[b] += u == before;
    return VM_OK;
}

/* The name of the picture, vm_free: what the record or the map says, else the first of the names under which it is
 * there, else the one to ask for. */
static char *find_picture(eval_row *r, const char *url, vm_error *e) {
    const state *x = r->of->user;
    char base[300], sum[41], row[32], padded[32];
    int64_t u = keymap_find(&x->url, url, strlen(url)), b;
    const char *given = row_text(r, "image");
    if (!given || !*given) given = u < 0 ? NULL : keymap_at(&x->file, x->file_of[u], NULL);
    base_of(url, base);
    b = keymap_find(&x->base, base, strlen(base));
    sha1_hex(sum, url, strlen(url));
    snprintf(row, sizeof row, "%" PRId64, r->number), snprintf(padded, sizeof padded, "%05" PRId64, r->number);
    const char *own = *base && b >= 0 && x->n_base[b] == 1 ? base : NULL, *name[] = { own, sum, row, padded },
               *found = given;
    for (int k = 0; k < VM_LEN(name) && !found; k++) {
        vm_error missing = { 0 };
        char *path = name[k] ? media_find(&r->of->src->places, "images", name[k], &missing) : NULL;
        if (path) found = name[k];
        vm_free(path);
    }
    char *out = vm_strdup(found ? found : own ? own : sum);
    if (!out) vm_nomem(e, 300, "a path");
    return out;
}

/* --- captions ----------------------------------------------------------------------------------------------------- */
/* text with another word in place of the one at `at`, in its case: two, Two, TWO. vm_free */
static char *with_word(const char *text, const char *at, const char *old, const char *new, vm_error *e) {
    char word[16];
    bool all = isupper((unsigned char)at[0]) && isupper((unsigned char)at[1]);
    snprintf(word, sizeof word, "%s", new);
    for (size_t i = 0; word[i]; i++)
        if (all || (i == 0 && isupper((unsigned char)at[0]))) word[i] = (char)toupper((unsigned char)word[i]);
    char *out = vm_asprintf("%.*s%s%s", (int)(at - text), text, word, at + strlen(old));
    if (!out) vm_nomem(e, strlen(text), "a caption");
    return out;
}

/* The numbers that are offered, in their order: the right one and n of the others, drawn without replacement. */
static int choose(int number[WORDS], int right, int n, uint64_t seed, int64_t row) {
    bool taken[WORDS] = { false };
    int m = 0;
    taken[right] = true;
    for (int k = 0; k < n; k++) {
        uint32_t w[4];
        vm_philox(seed, (uint64_t)row, (uint64_t)k, w);
        int left = (int)(w[0] % (uint32_t)(WORDS - 1 - k)), at = 0; /* which of those that are left; bias below 2^-28 */
        for (; taken[at] || left; at++) left -= !taken[at];
        taken[at] = true;
    }
    for (int k = 0; k < WORDS; k++)
        if (taken[k]) number[m++] = k;
    return m;
}

static vm_status record(eval_row *r, vm_error *e) {
    const state *x = r->of->user;
    const char *text = row_need(r, "text caption"), *url = row_need(r, "image_url url"), *at;
    int right = (int)row_need_int(r, "number", LOW, HIGH) - LOW, number[WORDS], gold = 0;
    char *captions[WORDS] = { NULL }, id[32], *image = NULL;
    if (r->bad.status || eval_set_full(r->of->set, r->split)) return e->status;
    snprintf(id, sizeof id, "%" PRId64, r->number);
    if (!(at = eval_find_words(text, words[right]))) {
        char *why = vm_asprintf("%s: id %s: the caption lacks the word \"%s\"", row_where(r), id, words[right]);
        if (why) eval_set_add_fault(r->of->set, r->split, id, why, e);
        else vm_nomem(e, 256, "a sentence");
        vm_free(why);
        return e->status;
    }
    int n = choose(number, right, x->foils, r->of->src->seed, r->number);
    for (int k = 0; k < n && !e->status; k++) {
        captions[k] = with_word(text, at, words[right], words[number[k]], e);
        if (number[k] == right) gold = k;
    }
    if (!e->status) image = find_picture(r, url, e);
    row_add(r,
            &(row_item){ .id = id,
                         .tag = words[right],
                         .gold = gold,
                         .captions = (const char *const *)captions,
                         .n_captions = n,
                         .images = (const char *const *)&image,
                         .n_images = 1,
                         .folders = "images" },
            e);
    for (int k = 0; k < n; k++) vm_free(captions[k]);
    vm_free(image);
    return e->status;
}

/* Malformed records are reported by the second reading. */
static vm_status see_addresses(const eval_reading *of, vm_error *e) {
    eval_set *none = eval_set_new("", e);
    eval_reading first = *of;
    if (!none) return e->status;
    none->on_error = EVAL_SKIP;
    first.set = none, first.split = eval_set_split(none, "");
    eval_read_rows(&first, ROWS_LIST, see_address, e);
    eval_set_free(none);
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *foils = eval_variant(of->src, "foils", "all", foil_counts, e),
               *map = eval_variant(of->src, "image-map", NULL, NULL, e);
    state x = { 0 };
    eval_reading r = *of;
    r.user = &x;
    if (foils) x.foils = *foils == 'a' ? WORDS - 1 : atoi(foils);
    if (foils && (!map || !read_map(&x, map, e)) && !see_addresses(&r, e)) eval_read_rows(&r, ROWS_LIST, record, e);
    keymap_free(&x.url), keymap_free(&x.file), keymap_free(&x.base), keymap_free(&x.seen);
    vm_free(x.file_of), vm_free(x.n_base);
    return e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
}

const eval_dataset eval_countbench = {
    .name = "countbench",
    .summary = "how many, two to ten: CountBench.json, and images/ with what its addresses gave",
    .counts = "default:540",
    .variants = options,
    .load = load,
};

/* pictures.h - for the tests of the picture formats: golden files from pictures.safetensors (make.py there says what they
 * are), and tables of broken files. */
#ifndef VM_TEST_PICTURES_H
#define VM_TEST_PICTURES_H
#include <zlib.h>

#include "io/image.h"
#include "io/safetensors.h"
#include "tests/test.h"

static st_file *pictures;

static void open_pictures(void) {
    vm_error e = {0};
    EXPECT(st_open(&pictures, "tests/golden/image/pictures.safetensors", &e) == VM_OK);
    if (e.status) fprintf(stderr, "%s\n", e.msg), exit(1);
}

static const st_tensor *golden(const char *name, const char *what) {
    char key[128];
    snprintf(key, sizeof key, "%.90s/%s", name, what);
    return st_find(pictures, key);
}

/* How far a picture is from a golden tensor [h, w, c]; 999 when the sizes differ. */
static int distance(const vm_image *im, const st_tensor *want) {
    if (!want || want->nd != 3 || im->h != want->shape[0] || im->w != want->shape[1] || im->c != want->shape[2]) return 999;
    int worst = 0;
    for (int64_t i = 0; i < want->len; i++) worst = VM_MAX(worst, abs(im->px[i] - want->data[i]));
    return worst;
}

/* Every golden file whose name ends so, under the three alpha policies. Returns how many there were. */
static int check_golden(const char *ending, int tolerance) {
    static const char *const policy[] = {"drop", "white", "keep"};
    int n = 0;
    for (int64_t i = 0; i < st_len(pictures); i++) {
        const st_tensor *t = st_at(pictures, i);
        char name[96];
        snprintf(name, sizeof name, "%.90s", t->name);
        char *slash = strchr(name, '/');
        *slash = 0;
        if (strcmp(slash + 1, "file") || strcmp(strchr(name, '.'), ending)) continue;
        n++;
        for (int k = 0; k < 3; k++) {
            vm_image im;
            vm_error e = {0};
            const image_options o = {.alpha = k == 0 ? ALPHA_DROP : k == 1 ? ALPHA_WHITE : ALPHA_KEEP};
            if (image_decode(&im, t->data, t->bytes, name, &o, &e)) MISMATCH("%s\n", e.msg);
            else if (distance(&im, golden(name, policy[k])) > tolerance)
                MISMATCH("%s (%s): off by %d\n", name, policy[k], distance(&im, golden(name, policy[k])));
            test_checks++;
            image_free(&im);
        }
    }
    return n;
}

/* A golden file, changed: cut to `cut` bytes (below 0: so many off the end), then `n` bytes written `at` bytes after the
 * first place where `near` stands (NULL = the start). fix: PNG checksums are made right again. */
typedef struct {
    const char *base;
    int cut;
    const char *near;
    int at;
    const char *bytes;
    int n;
    bool fix;
    const char *want; /* in the message; NULL = it decodes */
} broken;

static void fix_checksums(uint8_t *d, size_t n) {
    for (size_t at = 8; n - at >= 12;) {
        const size_t len = (size_t)d[at] << 24 | d[at + 1] << 16 | d[at + 2] << 8 | d[at + 3];
        if (len > n - at - 12) return;
        const uint32_t crc = (uint32_t)crc32(0, d + at + 4, (uInt)len + 4);
        for (int k = 0; k < 4; k++) d[at + 8 + len + (size_t)k] = (uint8_t)(crc >> (24 - 8 * k));
        at += 12 + len;
    }
}

/* The changed file in a block of exactly its size, so that sanitizers see every read beyond it. */
static uint8_t *make_broken(const broken *b, size_t *n) {
    const st_tensor *t = golden(b->base, "file");
    *n = b->cut > 0 ? (size_t)b->cut : t->bytes - (size_t)-b->cut;
    uint8_t *d = vm_alloc(*n + 1), *exact = malloc(*n ? *n : 1), *at = d;
    memcpy(d, t->data, VM_MIN(*n, t->bytes));
    if (b->near) at = memmem(d, *n, b->near, strlen(b->near));
    if (!at || at + b->at + b->n > d + *n) MISMATCH("%s: no place for the change\n", b->base);
    else memcpy(at + b->at, b->bytes ? b->bytes : "", (size_t)b->n);
    if (b->fix) fix_checksums(d, *n);
    memcpy(exact, d, *n);
    vm_free(d);
    return exact;
}

/* Each gives its message, no pixels, and takes little memory. */
static void check_broken(const broken *table, int rows) {
    for (int i = 0; i < rows; i++) {
        size_t n, before = vm_mem_used();
        uint8_t *d = make_broken(&table[i], &n);
        vm_image im;
        vm_error e = {0};
        const vm_status st = image_decode(&im, d, n, "x", NULL, &e);
        test_checks++;
        if (!table[i].want ? st != VM_OK : st != VM_EINPUT || im.px || !strstr(e.msg, table[i].want))
            MISMATCH("row %d (%s): \"%s\" lacks \"%s\"\n", i, table[i].base, e.msg, table[i].want ? table[i].want : "success");
        image_free(&im);
        free(d);
        if (vm_mem_used() != before) MISMATCH("row %d (%s): %zu bytes leaked\n", i, table[i].base, vm_mem_used() - before);
    }
    EXPECT(vm_mem_peak() < (size_t)64 << 20);
}

#endif

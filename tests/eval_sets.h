/* eval_sets.h - for tests of loaders: small files of a benchmark in a folder of their own, and what a loader makes of
 * them as text. */
#include "io/file.h"
#include "io/log.h"
#include "pipeline/eval_result.h"
#include "tests/test.h"

static const char *root; /* of the files; empty before each case */
static char said[4000];  /* warnings since the last load, one a line */

static void hear(void *ctx, log_level level, const char *text) {
    size_t n = strlen(said);
    if (level == LOG_WARN) snprintf(said + n, sizeof said - n, "%s\n", text);
}

static void put(const char *name, const char *text) {
    char path[600], *dir;
    vm_error e = { 0 };
    snprintf(path, sizeof path, "%s/%s", root, name);
    dir = path_dir(path);
    dir_make(dir, &e), file_write(path, text, strlen(text), &e);
    if (e.status) MISMATCH("%s\n", e.msg);
    vm_free(dir);
}

/* Pictures (loaders look at their names only), separated by blanks. */
static void put_pictures(const char *names) {
    char name[200];
    for (int n; sscanf(names, "%199s%n", name, &n) == 1; names += n) put(name, "x");
}

static void clean(void) {
    dir_remove(root, NULL), dir_make(root, NULL);
    said[0] = 0;
}

/* s without the name of the folder. */
static const char *local(const char *s) {
    static char out[2000];
    size_t n = 0, len = strlen(root);
    for (; *s && n < sizeof out - 1; s++) {
        if (!strncmp(s, root, len)) s += len + (s[len] == '/') - 1;
        else out[n++] = *s;
    }
    out[n] = 0;
    return out;
}

typedef struct {
    const char *data;           /* below the folder; NULL = the folder */
    const char *options[4], *splits[4];
    eval_on_error on_error;     /* EVAL_SKIP_MEDIA by default */
    uint64_t seed;
} how;

/* The set, or NULL with e. */
static eval_set *load_set(const char *dataset, const how *h, vm_error *e) {
    eval_set *s = NULL;
    char data[600];
    snprintf(data, sizeof data, "%s%s%s", root, h->data ? "/" : "", h->data ? h->data : "");
    eval_source src = { .data = data, .variants = h->options, .splits = h->splits, .on_error = h->on_error,
                        .seed = h->seed };
    while (h->options[src.n_variants]) src.n_variants++;
    while (h->splits[src.n_splits]) src.n_splits++;
    const eval_dataset *d = eval_find_dataset(dataset, e);
    said[0] = 0;
    if (d) eval_load(&s, d, &src, e);
    return s;
}

/* One line an item, "SPLIT ID [TAG] {GROUP} gold: caption | caption ; image | image (x y w h)", and one a fault, "-
 * ..."; or "!STATUS the error". Paths without the folder. */
static const char *load(const char *dataset, how h) {
    static char out[8000];
    vm_error e = { 0 };
    eval_set *s = load_set(dataset, &h, &e);
    size_t n = 0;
    out[0] = 0;
#define SAY(...) n += (size_t)snprintf(out + n, sizeof out - n, __VA_ARGS__)
    if (e.status) SAY("!%d %s", e.status, local(e.msg));
    for (int64_t i = 0; s && i < s->n; i++) {
        const eval_item *x = &s->item[i];
        SAY("%s %s", eval_split_name(s, x->split), x->id);
        if (x->tag >= 0) SAY(" [%s]", eval_tag_name(s, x->tag));
        if (x->group) SAY(" {%s}", x->group);
        SAY(" %d:", x->gold);
        for (int k = 0; k < x->n_captions; k++) SAY("%s %s", k ? " |" : "", eval_caption(s, x, k));
        for (int k = 0; k < x->n_images; k++) {
            eval_picture p = eval_image(s, x, k);
            SAY("%s %s", k ? " |" : " ;", local(p.path));
            if (p.boxed) SAY(" (%d %d %d %d)", p.box[0], p.box[1], p.box[2], p.box[3]);
        }
        SAY("\n");
    }
    for (int64_t i = 0; s && i < s->n_faults; i++)
        SAY("- %s%s\n", s->fault[i].malformed ? "malformed " : "", local(s->fault[i].why));
    if (s && s->n_twice) SAY("%d twice\n", (int)s->n_twice);
    eval_set_free(s);
    EXPECT(vm_mem_used() == 0);
    return out;
}

#define LOAD(dataset, ...) load(dataset, (how){ __VA_ARGS__ })

/* Every allocation refused in turn: an error of memory, nothing lost, no crash. */
static void starve(const char *dataset, how h) {
    for (int64_t k = 0; k < 4000; k++) {
        vm_error e = { 0 };
        vm_mem_fail_after(k);
        eval_set *s = load_set(dataset, &h, &e);
        vm_mem_fail_after(-1);
        eval_set_free(s);
        if (vm_mem_used()) MISMATCH("%s: %zu bytes lost after %d allocations\n", dataset, vm_mem_used(), (int)k);
        if (s) return;
        if (e.status != VM_EDEVICE) MISMATCH("%s: allocation %d: %s\n", dataset, (int)k, e.msg);
    }
}

static inline int sets_main(int argc, char **argv, void (*cases)(void)) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/eval_sets-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    char *made = mkdtemp(dir), *real = made ? realpath(made, NULL) : NULL;
    if (!real) return perror(dir), 1;
    root = real;
    log_set(hear, NULL, LOG_INFO);
    cases();
    dir_remove(root, NULL);
    free(real);
    return test_end();
}

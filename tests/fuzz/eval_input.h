/* eval_input.h - for fuzzers of the loaders of benchmarks: any text as the annotation file of one of several data sets.
 *
 * Byte 0 chooses the data set ('a' the first one), byte 1 what becomes of bad records, the rest is the file. It lies in a
 * folder in memory, beside a few pictures. Either there is a sentence that says what is wrong, or every item is one that
 * can be scored; nothing stays allocated. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "pipeline/eval_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct {
    const char *dataset, *file, *options[3];
} eval_target;

static char eval_dir[64];

static void eval_dir_remove(void) { dir_remove(eval_dir, NULL); }

static void eval_dir_make(void) {
    static const char *const pictures[] = { "0.png", "images/1.jpg", "mug_on_table.jpeg", "000000000007.jpg", "7.jpg",
                                            "original_images/a.png", "edited_images/a.png", "MLLM_VLM Images/p/1.jpg",
                                            "count/0.png", "random/0.png" };
    char set[96];
    snprintf(eval_dir, sizeof eval_dir, "/dev/shm/vismin-fuzz-%d", (int)getpid());
    for (int k = 0; k < VM_LEN(pictures); k++) {
        char *path = path_join(eval_dir, pictures[k]), *dir = path_dir(path);
        if (dir_make(dir, NULL) || file_write(path, "x", 1, NULL)) __builtin_trap();
        vm_free(path), vm_free(dir);
    }
    for (int k = 0; k < 10; k++) {
        snprintf(set, sizeof set, "%s/image-sets/v", eval_dir);
        if (dir_make(set, NULL)) __builtin_trap();
        snprintf(set, sizeof set, "%s/image-sets/v/img%d.jpg", eval_dir, 5 * k);
        if (file_write(set, "x", 1, NULL)) __builtin_trap();
    }
    atexit(eval_dir_remove);
}

static void eval_put(const char *path, const uint8_t *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes || close(fd)) __builtin_trap();
}

static void eval_check(const eval_set *s) {
    for (int64_t i = 0; i < s->n; i++) {
        const eval_item *x = &s->item[i];
        bool pair = x->kind == EVAL_PAIR, one = x->n_captions == 1 || x->n_images == 1;
        if (!x->id || x->split < 0 || x->split >= s->splits.n || x->tag >= s->tags.n || x->kind != s->kind) __builtin_trap();
        if (pair ? x->n_captions != 2 || x->n_images != 2 : !one || eval_n_scores(x) < 2) __builtin_trap();
        if (x->gold < 0 || x->gold >= eval_n_scores(x)) __builtin_trap();
        for (int k = 0; k < x->n_captions; k++)
            if (!eval_caption(s, x, k)) __builtin_trap();
        for (int k = 0; k < x->n_images; k++)
            if (eval_image(s, x, k).path[0] != '/') __builtin_trap();
    }
    for (int64_t i = 0; i < s->n_faults; i++)
        if (!s->fault[i].why[0]) __builtin_trap();
}

static int eval_fuzz(const eval_target *targets, int n, const uint8_t *data, size_t bytes) {
    if (!eval_dir[0]) eval_dir_make();
    if (bytes < 2) return 0;
    const eval_target *t = &targets[(uint8_t)(data[0] - 'a') % n];
    char path[128];
    snprintf(path, sizeof path, "%s/%s", eval_dir, t->file);
    eval_source src = { .data = path, .variants = t->options, .seed = 1, .on_error = (eval_on_error)(data[1] & 3),
                        .dup = (eval_dup)(data[1] >> 2 & 3) % 3 };
    while (src.n_variants < 3 && t->options[src.n_variants]) src.n_variants++;
    vm_error e = { 0 };
    eval_set *s = NULL;
    eval_put(path, data + 2, bytes - 2);
    if (eval_load(&s, eval_find_dataset(t->dataset, NULL), &src, &e)) {
        if (e.status != VM_EINPUT || !e.msg[0] || s) __builtin_trap();
    } else {
        eval_check(s);
    }
    eval_set_free(s);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}

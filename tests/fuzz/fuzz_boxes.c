/* fuzz_boxes.c - annotations of boxes and results of detectors; what is read is scored and counted. An array is results. */
#include <stdio.h>
#include <unistd.h>

#include "io/file.h"
#include "pipeline/box_counts.h"
#include "pipeline/box_score.h"

static void use(const boxes_set *s, const boxes_item *found, int64_t n) {
    vm_error e = { 0 };
    box_scores all;
    box_counts counts, *each = vm_calloc((size_t)s->n_categories + 1, sizeof *each);
    if (s->n_images * s->n_categories > 100000) return vm_free(each);
    box_score(s, found, n, false, &all, NULL, &e);
    box_score(s, found, n, true, &all, NULL, &e);
    if (each) box_count(s, found, n, 0.35, 0.5, &counts, each, &e);
    vm_free(each);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char fixed[] = "{\"images\":[{\"id\":1,\"file_name\":\"a\",\"neg_category_ids\":[3]},{\"id\":2,\"file_name\":\"b\"}],"
                                "\"categories\":[{\"id\":3,\"name\":\"a cup\"},{\"id\":5,\"name\":\"a dog\"}],\"annotations\":["
                                "{\"image_id\":1,\"category_id\":5,\"bbox\":[0,0,40,40]},{\"image_id\":2,\"category_id\":3,\"bbox\":[5,5,200,100],\"iscrowd\":1}]}";
    char truth[64], found[64];
    vm_error e = { 0 };
    boxes_set s = { 0 };
    boxes_item *all = NULL;
    int64_t n = 0;
    if (!bytes) return 0;
    const bool results = data[0] == '[';
    snprintf(truth, sizeof truth, "/dev/shm/fuzz_boxes.%d.json", (int)getpid());
    snprintf(found, sizeof found, "/dev/shm/fuzz_found.%d.json", (int)getpid());
    if (!file_write(truth, results ? (const void *)fixed : data, results ? sizeof fixed - 1 : bytes, &e) && !boxes_open(&s, truth, &e)) {
        if (results && !file_write(found, data, bytes, &e)) boxes_read_found(&s, found, &all, &n, &e);
        if (!e.status) use(&s, all, n);
        if (!e.status && s.n_images) boxes_leave_out(&s, s.n_images / 2), use(&s, all, n);
    }
    vm_free(all), boxes_close(&s);
    unlink(truth), unlink(found);
    return 0;
}

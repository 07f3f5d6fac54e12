/* test_kv.c - rows appended to caches of keys: plain and in pages, any types, empty places, several steps, places that do not exist. */
#include "tests/optest.h"

enum { B = 4, T = 3, STEPS = 3 };

/* Three runs; at each, sequence b has 1 + b % T new rows behind what it has, but for b = 2, which is empty. */
static void kv_case(vm_type cache_type, vm_type t, int64_t C, bool paged) {
    op_case c = op_begin(VM_F32);
    const int64_t each = paged ? 2 : 11, many = paged ? 20 : B, n = 5;
    vm_param *cache = vm_param_new(c.g->be, "cache", cache_type, 3, (int64_t[]){ many, each, C }, NULL);
    size_t bytes = (size_t)(many * each * C) * vm_type_size(cache_type);
    char *before = vm_alloc(bytes), *now = vm_alloc(bytes);
    for (int64_t i = 0; i < many * each * C; i++) op_store(before, cache_type, i, 7); /* what is not written stays */
    EXPECT(!vm_param_write(cache, before, NULL));
    cache->trainable = false;
    vm_val k = op_input(&c, t, 3, (int64_t[]){ B, T, C }, -1, 1), at = op_input(&c, VM_I32, 1, (int64_t[]){ B }, 0, 1);
    vm_val len = op_input(&c, VM_I32, 1, (int64_t[]){ B }, 0, 1), pages = op_input(&c, VM_I32, 2, (int64_t[]){ B, n }, 0, 1);
    vm_val all = vm_kv_append(c.g, vm_weight(c.g, cache), k, at, len, paged ? pages : 0), sum = vm_sum(c.g, all);
    vm_output(c.g, "sum", sum);
    for (int i = 0; i < B * n; i++) op_put(&c, 3, i, (i * 7 + 3) % many); /* in no order, each once */
    int has[B] = { 0 };
    for (int s = 0; s < STEPS; s++) {
        for (int b = 0; b < B; b++) {
            int more = b == 2 ? 0 : 1 + b % T;
            op_put(&c, 1, b, has[b]), op_put(&c, 2, b, b == 2 ? 0 : has[b] + more);
            for (int j = 0; j < more; j++, has[b]++)
                for (int64_t e = 0; e < C; e++) {
                    int64_t row = paged ? (int64_t)c.x[3][b * n + has[b] / each] * each + has[b] % each : b * each + has[b];
                    op_store(before, cache_type, row * C + e, c.x[0][(b * T + j) * C + e]);
                }
        }
        EXPECT(op_run(&c) && !vm_param_read(cache, now, NULL));
        EXPECT(!memcmp(before, now, bytes));
        double want = 0;
        for (int64_t i = 0; i < many * each * C; i++) want += op_load(before, cache_type, i);
        EXPECT_NEAR(op_get(&c, sum, 0), want, 1e-5 * (double)(many * each * C) * 7);
    }
    vm_free(before), vm_free(now);
    op_end(&c);
    vm_param_free(cache);
}
TEST(append) {
    for (int a = VM_F32; a <= VM_F16; a++)
        for (int b = VM_F32; b <= VM_F16; b++)
            for (int paged = 0; paged < 2; paged++) {
                kv_case((vm_type)a, (vm_type)b, 40, paged);
                kv_case((vm_type)a, (vm_type)b, 1027, paged);
                kv_case((vm_type)a, (vm_type)b, 1, paged);
            }
}

static void bad(bool paged, int32_t at, int32_t length, int32_t page, const char *words, const char *value) {
    op_case c = op_begin(VM_F32);
    vm_param *cache = vm_param_new(c.g->be, "cache", VM_F32, 3, (int64_t[]){ 1, 4, 2 }, NULL);
    vm_val k = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 2, 2 }, -1, 1), a = op_input(&c, VM_I32, 1, (int64_t[]){ 1 }, 0, 1);
    vm_val len = op_input(&c, VM_I32, 1, (int64_t[]){ 1 }, 0, 1), pages = op_input(&c, VM_I32, 2, (int64_t[]){ 1, 2 }, 0, 1);
    op_put(&c, 1, 0, at), op_put(&c, 2, 0, length), op_put(&c, 3, 1, page);
    vm_output(c.g, "y", vm_kv_append(c.g, vm_weight(c.g, cache), k, a, len, paged ? pages : 0));
    for (int i = 0; i < (paged ? 4 : 3); i++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2", "x3" }[i], c.raw[i]);
    EXPECT((vm_run(c.g) || vm_wait(c.g)) && c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? value : words);
    op_end(&c);
    vm_param_free(cache);
}
TEST(places_that_do_not_exist) {
    bad(false, 3, 5, 0, "kv_append: position 4 of sequence 0, the cache has 4", "op kv_append met the value 4");
    bad(false, -1, 1, 0, "kv_append: position -1", "op kv_append met the value -1");
    bad(true, 3, 5, 1, "kv_append: position 4 of sequence 0 is on page 1, the cache has 1", "op kv_append met the value 4");
    bad(true, 3, 5, -2, "position 4 of sequence 0 is on page -2", "op kv_append met the value 4");
    bad(true, 7, 9, 0, "kv_append: position 8 of sequence 0 is on page -1", "op kv_append met the value 8");
}

/* Texts of several lengths, one token a run, through caches in pages: each row of attention is that of the whole text at once. */
TEST(texts_token_by_token) {
    enum { TEXTS = 3, LONGEST = 9, NH = 4, NKV = 2, HS = 8, BLOCK = 2, PAGES = 15 };
    static const int length[TEXTS] = { 9, 4, 0 };
    op_case whole = op_begin(VM_F32), step = op_begin(VM_F32);
    const vm_attn heads = { .NH = NH, .NKV = NKV, .causal = true };
    vm_val q = op_input(&whole, VM_F32, 3, (int64_t[]){ TEXTS, LONGEST, NH * HS }, -1, 1);
    vm_val k = op_input(&whole, VM_F32, 3, (int64_t[]){ TEXTS, LONGEST, NKV * HS }, -1, 1);
    vm_val v = op_input(&whole, VM_F32, 3, (int64_t[]){ TEXTS, LONGEST, NKV * HS }, -1, 1), want = vm_attention(whole.g, q, k, v, heads);
    vm_output(whole.g, "y", want);
    EXPECT(op_run(&whole));
    vm_param *cache[2];
    for (int i = 0; i < 2; i++) {
        cache[i] = vm_param_new(step.g->be, "cache", VM_F32, 3, (int64_t[]){ PAGES, BLOCK, NKV * HS }, NULL);
        cache[i]->trainable = false;
    }
    for (int i = 0; i < 3; i++) op_input(&step, VM_F32, 3, (int64_t[]){ TEXTS, 1, (i ? NKV : NH) * HS }, 0, 1);
    vm_val at = op_input(&step, VM_I32, 1, (int64_t[]){ TEXTS }, 0, 1), len = op_input(&step, VM_I32, 1, (int64_t[]){ TEXTS }, 0, 1);
    vm_val pages = op_input(&step, VM_I32, 2, (int64_t[]){ TEXTS, 5 }, 0, 1), all[2];
    for (int i = 0; i < TEXTS * 5; i++) op_put(&step, 5, i, (i * 4 + 7) % PAGES);
    for (int i = 0; i < 2; i++) all[i] = vm_kv_append(step.g, vm_weight(step.g, cache[i]), step.v[1 + i], at, len, pages);
    vm_attn paged = heads;
    paged.lengths = len, paged.pages = pages;
    vm_val y = vm_attention(step.g, step.v[0], all[0], all[1], paged);
    vm_output(step.g, "y", y);
    for (int t = 0; t < LONGEST; t++) {
        for (int b = 0; b < TEXTS; b++) {
            bool there = t < length[b];
            op_put(&step, 3, b, there ? t : 0), op_put(&step, 4, b, there ? t + 1 : 0);
            for (int i = 0; i < 3; i++)
                for (int c = 0, C = (i ? NKV : NH) * HS; c < C; c++) op_put(&step, i, b * C + c, whole.x[i][(b * LONGEST + t) * C + c]);
        }
        EXPECT(op_run(&step));
        for (int b = 0; b < TEXTS; b++)
            for (int c = 0; c < NH * HS; c++)
                EXPECT_NEAR(op_get(&step, y, b * NH * HS + c), t < length[b] ? op_get(&whole, want, (b * LONGEST + t) * NH * HS + c) : 0, 1e-5);
    }
    op_end(&whole), op_end(&step);
    vm_param_free(cache[0]), vm_param_free(cache[1]);
}

int main(void) {
    RUN(append);
    RUN(texts_token_by_token);
    RUN(places_that_do_not_exist);
    return test_end();
}

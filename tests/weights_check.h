/* weights_check.h - are the numbers of parameters the same, wherever they lie? */
#ifndef VM_WEIGHTS_CHECK_H
#define VM_WEIGHTS_CHECK_H
#include "models/weights.h"
#include "tests/test.h"

static inline bool same_numbers(const vm_param *a, const vm_param *b) {
    const int64_t n = vm_param_count(a);
    vm_error e = { 0 };
    float *x = vm_alloc((size_t)n * 2 * sizeof *x + 1);
    bool same = x && n == vm_param_count(b) && !weight_read(a, 0, n, x, &e) && !weight_read(b, 0, n, x + n, &e) && !memcmp(x, x + n, (size_t)n * sizeof *x);
    vm_free(x);
    return same;
}
#endif

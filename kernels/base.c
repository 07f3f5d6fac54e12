/* base.c - errors, counted memory. See base.h. */
#include "kernels/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vm_status vm_fail(vm_error *e, vm_status s, const char *fmt, ...) {
    if (!e || e->status) return s;
    e->status = s;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return s;
}

void vm_error_clear(vm_error *e) {
    if (e) e->status = VM_OK, e->msg[0] = 0;
}

/* The 64 bytes before a block hold its size and where the system's block begins; so the block stays aligned for SIMD. */
enum { HEAD = 64 };
typedef struct {
    size_t bytes;
    void *base;
} head;
static atomic_size_t used, peak, limit;
static atomic_int_least64_t fail_after = -1;

static bool refused(void) {
    int_least64_t n = atomic_load(&fail_after);
    if (n < 0) return false;
    if (n == 0) return true;
    atomic_store(&fail_after, n - 1);
    return false;
}

/* Large cleared blocks come from the system as untouched zero pages, which cost nothing until they are written. */
static void *take(size_t bytes, bool clear) {
    size_t total;
    if (refused() || !vm_add_sz(bytes, 2 * HEAD, &total)) return NULL;
    size_t max = atomic_load(&limit);
    if (max && atomic_load(&used) + bytes > max) return NULL;
    char *base = clear ? calloc(1, total) : malloc(total);
    if (!base) return NULL;
    char *p = (char *)(((uintptr_t)base + 2 * HEAD - 1) & ~(uintptr_t)(HEAD - 1));
    head h = { bytes, base };
    memcpy(p - HEAD, &h, sizeof h);
    size_t now = atomic_fetch_add(&used, bytes) + bytes, top = atomic_load(&peak);
    while (now > top && !atomic_compare_exchange_weak(&peak, &top, now)) {}
    return p;
}

void *vm_alloc(size_t bytes) { return take(bytes, false); }

void *vm_calloc(size_t n, size_t bytes_each) {
    size_t bytes;
    return vm_mul_sz(n, bytes_each, &bytes) ? take(bytes, true) : NULL;
}

static head head_of(const void *p) {
    head h;
    memcpy(&h, (const char *)p - HEAD, sizeof h);
    return h;
}

void *vm_realloc(void *p, size_t bytes) {
    void *q = vm_alloc(bytes);
    if (!q || !p) return q;
    memcpy(q, p, VM_MIN(bytes, head_of(p).bytes));
    vm_free(p);
    return q;
}

void vm_free(void *p) {
    if (!p) return;
    head h = head_of(p);
    atomic_fetch_sub(&used, h.bytes);
    free(h.base);
}

char *vm_strndup(const char *s, size_t n) {
    char *p = vm_alloc(n + 1);
    if (p) memcpy(p, s, n), p[n] = 0;
    return p;
}

char *vm_strdup(const char *s) { return vm_strndup(s, strlen(s)); }

char *vm_asprintf(const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *p = n < 0 ? NULL : vm_alloc((size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(ap);
    va_end(again);
    return p;
}

size_t vm_mem_used(void) { return atomic_load(&used); }
size_t vm_mem_peak(void) { return atomic_load(&peak); }
void vm_mem_limit(size_t bytes) { atomic_store(&limit, bytes); }
void vm_mem_fail_after(int64_t n_more) { atomic_store(&fail_after, n_more); }

vm_status vm_nomem(vm_error *e, size_t bytes, const char *what) {
    return vm_fail(e, VM_EDEVICE, "out of memory: %zu bytes for %s were refused (%zu in use); use a smaller batch or free memory",
                   bytes, what, vm_mem_used());
}

bool vm_grow(void *p, int64_t *cap, int64_t n, size_t each) {
    if (n <= *cap) return true;
    int64_t want = VM_MAX(n, *cap + *cap / 2 + 8);
    size_t bytes;
    void *old, *q;
    memcpy(&old, p, sizeof old);
    if (!vm_mul_sz((size_t)want, each, &bytes) || !(q = vm_realloc(old, bytes))) return false;
    memcpy(p, &q, sizeof q);
    *cap = want;
    return true;
}

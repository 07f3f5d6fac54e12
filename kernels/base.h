/* base.h - what every room stands on: status codes, one-sentence errors, counted memory, checked arithmetic.
 *
 * Lowest layer: includes nothing of the project. kernels/, io/, models/ and pipeline/ all include it. */
#ifndef VM_BASE_H
#define VM_BASE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One value per exit code of the program (README "Exit codes"). */
typedef enum {
    VM_OK = 0,       /* done */
    VM_EPARTIAL = 1, /* done, some records in error */
    VM_EUSAGE = 2,   /* wrong command line */
    VM_EINPUT = 3,   /* bad input file, or stopped by a quality limit */
    VM_EIO = 4,      /* disk full, failed read, write or fsync */
    VM_ELOCKED = 5,  /* another worker holds the lock */
    VM_EMODEL = 6,   /* weights missing or unfit, non-finite numbers */
    VM_EDEVICE = 7,  /* device, memory, lost peer rank */
    VM_ESTOP = 130   /* interrupted, resumable (143 when by SIGTERM) */
} vm_status;

/* The first error wins: vm_fail on an error that is already set keeps the older sentence. */
typedef struct {
    vm_status status;
    char msg[1024];
} vm_error;

/* Sets e (unless set already) to one sentence that names file, place, what was found and what to do; returns s.
 * e may be NULL. */
vm_status vm_fail(vm_error *e, vm_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void vm_error_clear(vm_error *e);

/* Memory. Blocks are 64-byte aligned and not cleared (vm_calloc clears); NULL when the limit or the system refuses.
 * vm_free accepts NULL. Every host allocation of the program goes through here: counts, limit, fault injection. */
void *vm_alloc(size_t bytes);
void *vm_calloc(size_t n, size_t bytes_each); /* NULL too when the product overflows */
void *vm_realloc(void *p, size_t bytes);
void vm_free(void *p);
char *vm_strdup(const char *s);
char *vm_strndup(const char *s, size_t n);
char *vm_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
size_t vm_mem_used(void); /* bytes now */
size_t vm_mem_peak(void); /* bytes at most so far */
void vm_mem_limit(size_t bytes);        /* 0 = none */
void vm_mem_fail_after(int64_t n_more); /* fault injection: allocation n_more+1 and all later ones fail; -1 = off */

/* VM_EDEVICE "out of memory: N bytes for WHAT". */
vm_status vm_nomem(vm_error *e, size_t bytes, const char *what);

/* false on overflow, *out untouched then. */
static inline bool vm_mul_sz(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool vm_add_sz(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* Growing array: ensures room for n elements of size each in *p (capacity *cap). false when memory is out. */
bool vm_grow(void *p, int64_t *cap, int64_t n, size_t each);

#define VM_LEN(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define VM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VM_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif

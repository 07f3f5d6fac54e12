/* regex.c - see regex.h. */
#include "io/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { NO_ERROR = 100, NO_HEAP = PCRE2_ERROR_HEAP_FAILED, NO_MEMORY = 121 }; /* codes that mean that memory is out */

struct regex {
    pcre2_general_context *memory;
    pcre2_code *code;
    pcre2_match_data *match;
};

static void *take(PCRE2_SIZE n, void *ctx) { return vm_alloc(n); }
static void give(void *p, void *ctx) { vm_free(p); }

vm_status regex_new(regex **out, const char *pattern, bool literal, vm_error *e) {
    int code = 0;
    PCRE2_SIZE at = 0;
    regex *r = *out = vm_calloc(1, sizeof *r);
    if (r) r->memory = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *c = r && r->memory ? pcre2_compile_context_create(r->memory) : NULL;
    if (c) {
        r->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C), &code, &at, c);
        pcre2_compile_context_free(c);
    }
    if (r && r->code && (r->match = pcre2_match_data_create_from_pattern(r->code, r->memory))) {
        pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where the processor has none, it is interpreted */
        return VM_OK;
    }
    regex_free(r), *out = NULL;
    if (!c || code == 0 || code == NO_ERROR || code == NO_HEAP || code == NO_MEMORY) return vm_nomem(e, strlen(pattern), "a pattern");
    char why[120] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return vm_fail(e, VM_EINPUT, "pattern \"%.80s\", character %zu: %s", pattern, (size_t)at, why);
}

void regex_free(regex *r) {
    if (!r) return;
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
    pcre2_general_context_free(r->memory);
    vm_free(r);
}

int regex_find(regex *r, const char *s, size_t n, size_t at, size_t *from, size_t *to) {
    int got = pcre2_match(r->code, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, r->match, NULL);
    if (got < 0) return got == PCRE2_ERROR_NOMATCH ? 0 : -1;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(r->match);
    *from = v[0], *to = v[1];
    return *to > *from ? 1 : 0; /* \K may turn them round */
}

/* regex.h - regular expressions of tokenizer files over UTF-8 text, through PCRE2 with Unicode classes (\p{L}, \s). */
#ifndef VM_IO_REGEX_H
#define VM_IO_REGEX_H
#include "kernels/base.h"

typedef struct regex regex;

/* literal: the pattern is the text itself. VM_EINPUT with PCRE2's reason and the place in the pattern. */
vm_status regex_new(regex **out, const char *pattern, bool literal, vm_error *e);
void regex_free(regex *r); /* accepts NULL */
/* The first match in s[at, n) that is not empty: 1 and [*from, *to); 0 = none; -1 = it takes too much time or memory. What
 * stands before `at` counts for look-behind. s is valid UTF-8 and at a character's start. */
int regex_find(regex *r, const char *s, size_t n, size_t at, size_t *from, size_t *to);
#endif

/* unicode.h - what the tokenizers need of Unicode: UTF-8 in and out, classes, normal forms, lower case.
 *
 * Text is held as code points (uni_text) while it is normalised and as UTF-8 before and after. The character data are
 * utf8proc's; the rules that it lacks (final sigma, linear-time canonical ordering) are here. */
#ifndef VM_IO_UNICODE_H
#define VM_IO_UNICODE_H
#include "kernels/base.h"

/* A growing array of code points. All-zero is empty; uni_free releases it. Functions that grow it return false when
 * memory is out. */
typedef struct {
    int32_t *c;
    int64_t n, cap;
} uni_text;

void uni_free(uni_text *t);
bool uni_add(uni_text *t, int32_t c);

/* Reads one code point at *p < end and moves *p behind it. Every maximal invalid part gives U+FFFD once, as the
 * Unicode standard recommends (so surrogates, overlong forms and values beyond U+10FFFF never come out). */
int32_t uni_next(const char **p, const char *end);
/* Writes c as UTF-8 to out (room for 4 bytes), returns the length. c must be one that uni_next can return. */
int uni_put(char *out, int32_t c);
/* Bytes of the code point that starts with byte b, were it valid: 1 to 4; 1 for bytes that start nothing. */
int uni_len(unsigned char b);

/* Appends the UTF-8 text to t. */
bool uni_decode(uni_text *t, const char *s, size_t bytes);

bool uni_space(int32_t c);  /* property White_Space */
bool uni_letter(int32_t c); /* category L* */
bool uni_number(int32_t c); /* category N* */
bool uni_punctuation(int32_t c); /* category P* */
bool uni_mark(int32_t c);        /* category Mn */
bool uni_control(int32_t c);     /* categories Cc, Cf, Co */

/* Lower case of one code point, full mapping: one code point, two for U+0130. Returns how many are in out. */
int uni_lower(int32_t c, int32_t out[2]);
/* Appends the lower-cased in to out. final_sigma: a capital sigma that ends a word becomes U+03C2, else U+03C3. */
bool uni_lower_text(uni_text *out, const uni_text *in, bool final_sigma);

/* Brings t into normal form C, or D (canonical decomposition), in place; linear in the length. tmp is scratch. */
bool uni_nfc(uni_text *t, uni_text *tmp);
bool uni_nfd(uni_text *t, uni_text *tmp);
#endif

/* utf8.h - is it UTF-8? The Unicode standard's table 3-7: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef VM_IO_UTF8_H
#define VM_IO_UTF8_H
#include "kernels/base.h"

#include <string.h>

/* Length (1 to 4) of the character that starts at p < end; 0 when the bytes are no character. */
static inline int utf8_char(const char *p, const char *end) {
    const uint8_t *s = (const uint8_t *)p;
    int64_t n = end - p;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < 2) return 0;
    if (s[0] < 0xe0) return (s[1] & 0xc0) == 0x80 ? 2 : 0;
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high || n < 3 || (s[2] & 0xc0) != 0x80) return 0;
    if (s[0] < 0xf0) return 3;
    return n >= 4 && (s[3] & 0xc0) == 0x80 ? 4 : 0;
}

/* Offset of the first byte that is part of no character; bytes when all is well. */
static inline size_t utf8_bad(const char *s, size_t bytes) {
    const char *p = s, *end = s + bytes;
    while (p < end) {
        uint64_t w;
        if (end - p >= 8 && (memcpy(&w, p, 8), !(w & 0x8080808080808080u))) {
            p += 8;
            continue;
        }
        int n = utf8_char(p, end);
        if (!n) break;
        p += n;
    }
    return (size_t)(p - s);
}
#endif

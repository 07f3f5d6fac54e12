/* exif.c - the one EXIF field that changes pixels: Orientation (0x0112), read from the first directory only, so that
 * no offset is followed twice. XMP is the fallback, as in Pillow: the digit after tiff:Orientation=" or >. */
#include "io/codec.h"

#include <string.h>

int exif_orientation(const uint8_t *t, size_t n) {
    if (n < 8) return 0;
    bool big = t[0] == 'M';
    if (memcmp(t, big ? "MM\0\x2a" : "II\x2a\0", 4)) return 0;
    size_t at = big ? be32(t + 4) : le32(t + 4);
    if (at > n - 2) return 0;
    size_t count = big ? be16(t + at) : le16(t + at);
    at += 2;
    for (; count && n - at >= 12; count--, at += 12) {
        const uint8_t *f = t + at;
        if ((big ? be16(f) : le16(f)) != 0x0112) continue;
        uint32_t type = big ? be16(f + 2) : le16(f + 2);
        uint32_t v = type == 3 ? (big ? be16(f + 8) : le16(f + 8)) : type == 4 ? (big ? be32(f + 8) : le32(f + 8)) : 0;
        return v >= 1 && v <= 8 ? (int)v : 0;
    }
    return 0;
}

int xmp_orientation(const uint8_t *text, size_t n) {
    static const char key[] = "tiff:Orientation";
    const uint8_t *end = text + n;
    for (const uint8_t *p = text; (p = memmem(p, (size_t)(end - p), key, sizeof key - 1)); p++) {
        const uint8_t *q = p + sizeof key - 1;
        if (end - q >= 2 && q[0] == '>') q += 1;
        else if (end - q >= 3 && q[0] == '=' && q[1] == '"') q += 2;
        else continue;
        if (*q >= '0' && *q <= '9') return *q >= '1' && *q <= '8' ? *q - '0' : 0;
    }
    return 0;
}

/* markup.c - see markup.h. */
#include "io/markup.h"

#include <string.h>

#include "io/utf8.h"

static const char *reference(char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* XML 1.0 section 2.2: no control characters but tab and line ends, no U+FFFE, U+FFFF. */
static bool allowed(const char *p, int n) {
    uint8_t c = (uint8_t)p[0];
    if (n == 1) return c >= 0x20 || c == '\t' || c == '\n' || c == '\r';
    return !(n == 3 && c == 0xef && (uint8_t)p[1] == 0xbf && (uint8_t)p[2] >= 0xbe);
}

vm_status markup_write(vm_out *o, const char *text, size_t n, vm_error *e) {
    const char *p = text, *end = text + n, *plain = text; /* plain: begin of what is copied as it is */
    vm_status st = VM_OK;
    while (p < end && !st) {
        int k = utf8_char(p, end);
        const char *other = k == 0 || !allowed(p, k) ? "\xef\xbf\xbd" : k == 1 ? reference(*p) : NULL;
        if (other) {
            st = vm_out_write(o, plain, (size_t)(p - plain), e);
            if (!st) st = vm_out_text(o, other, e);
        }
        p += VM_MAX(k, 1);
        if (other) plain = p;
    }
    return st ? st : vm_out_write(o, plain, (size_t)(end - plain), e);
}

vm_status markup_text(vm_out *o, const char *text, vm_error *e) {
    return text ? markup_write(o, text, strlen(text), e) : VM_OK;
}

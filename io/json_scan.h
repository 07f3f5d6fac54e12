/* json_scan.h - JSON token by token: the grammar of RFC 8259, checked, without memory of its own.
 *
 * json.c builds documents from it, safetensors.c reads its headers with it, and large files (annotations of hundreds of
 * megabytes) can be read with it in bounded memory:
 *
 *     json_scan s;
 *     if (json_scan_start(&s, text, bytes, "FILE", 0, e)) return e->status;
 *     for (json_token t; (t = json_scan_next(&s)) > JSON_T_END;) ...        JSON_T_ERROR: e is set
 */
#ifndef VM_IO_JSON_SCAN_H
#define VM_IO_JSON_SCAN_H
#include "kernels/base.h"

enum {
    JSON_STRICT = 1,   /* no byte-order mark, no trailing comma, no lone surrogate (else it counts as U+FFFD) */
    JSON_LENIENT = 2,  /* comments from // to the end of the line; NaN, Infinity and -Infinity are null */
    JSON_MAX_DEPTH = 512
};

/* What was tolerated. */
enum { JSON_ODD_COMMA = 1, JSON_ODD_COMMENT = 2, JSON_ODD_NUMBER = 4, JSON_ODD_TWICE = 8 /* json.h */ };

typedef enum {
    JSON_T_ERROR, JSON_T_END,
    JSON_T_KEY, /* a name with its colon; what follows is its value */
    JSON_T_STRING, JSON_T_NUMBER, JSON_T_TRUE, JSON_T_FALSE, JSON_T_NULL,
    JSON_T_OBJECT, JSON_T_OBJECT_END, JSON_T_ARRAY, JSON_T_ARRAY_END
} json_token;

typedef struct {
    const char *text, *end, *p, *name;
    int64_t line;     /* of the file, in which the text begins */
    const char *from; /* the token: of strings and keys what stands between the quotes */
    size_t len;
    int flags, depth, state;
    unsigned odd; /* JSON_ODD_... so far */
    vm_error *e;
    uint8_t in_object[JSON_MAX_DEPTH / 8]; /* one bit per open container */
} json_scan;

/* Checks that the text is UTF-8. It and the name must outlive the scan. The text begins in this line of its file. */
vm_status json_scan_start_at(json_scan *s, const char *text, size_t bytes, const char *name, int64_t line, int flags,
                             vm_error *e);
static inline vm_status json_scan_start(json_scan *s, const char *text, size_t bytes, const char *name, int flags,
                                        vm_error *e) {
    return json_scan_start_at(s, text, bytes, name, 1, flags, e);
}
json_token json_scan_next(json_scan *s);
/* After JSON_T_OBJECT, JSON_T_ARRAY or JSON_T_KEY: passes over what belongs to it. False on error. */
bool json_scan_skip(json_scan *s, json_token t);

/* The current key or string, unescaped, into out (room for s->len bytes; not terminated). Returns its length. */
size_t json_scan_text(const json_scan *s, char *out);
/* The current number: true and *v when it is an integer that fits. */
bool json_scan_int(const json_scan *s, int64_t *v);
/* The current number; infinite beyond the range of doubles. */
double json_scan_num(const json_scan *s);

/* Sets the error "NAME:LINE:COLUMN: <your words>" for the place `at` in the text (columns count bytes from 1). */
vm_status json_scan_fail(const json_scan *s, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#endif

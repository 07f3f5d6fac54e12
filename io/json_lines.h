/* json_lines.h - JSON Lines: one value a line, read one by one, so that the file may be larger than memory.
 *
 * Lines end in LF or CRLF; empty ones do not count; a byte-order mark is passed over. A bad line is reported with file,
 * line and column and the next call goes on behind it.
 *
 *     for (int rc; (rc = json_lines_next(r, &d, &err));)      // 1 a value, 0 the end
 *         if (rc < 0) count_bad(err.msg), vm_error_clear(&err);
 *         else use(json_root(d)), json_free(d); */
#ifndef VM_IO_JSON_LINES_H
#define VM_IO_JSON_LINES_H
#include "io/json.h"

typedef struct json_lines json_lines;
vm_status json_lines_open(json_lines **out, const char *path, int flags, vm_error *e); /* errors as file_map_open */
/* Text in memory, which must outlive the reader; the name stands in messages. flags: JSON_STRICT, JSON_LENIENT. */
vm_status json_lines_open_text(json_lines **out, const char *text, size_t bytes, const char *name, int flags,
                               vm_error *e);
void json_lines_close(json_lines *r); /* accepts NULL */

int json_lines_next(json_lines *r, json_doc **d, vm_error *e); /* 1 value, 0 end, -1 bad line (e set) */
/* The line that was just read is the last one and has no line feed: where a file that was cut off ends. */
bool json_lines_cut(const json_lines *r);
#endif

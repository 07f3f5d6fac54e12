/* csv.h - tables as text: RFC 4180, with comma, tab or semicolon.
 *
 * Reading: fields in double quotes may hold the delimiter, line ends and doubled quotes; lines end in LF, CRLF or CR; a
 * byte-order mark is passed over; empty lines do not count. Every row must have as many fields as the first. A bad row
 * is reported with file and line and the next call goes on behind it.
 *
 *     for (int rc; (rc = csv_next(r, &row, &err));)      // 1 a row, 0 the end
 *         if (rc < 0) count_bad(err.msg), vm_error_clear(&err);
 *         else use(row.field[column]); */
#ifndef VM_IO_CSV_H
#define VM_IO_CSV_H
#include "io/file.h"

typedef struct csv_reader csv_reader;
typedef struct {
    const char *const *field; /* each NUL-terminated UTF-8; valid until the next call */
    int64_t n;
    int64_t line;             /* where the row begins, from 1 */
} csv_row;

enum {
    CSV_HEADER = 1 /* the first row holds the names of the columns */
};

/* delimiter: ',', '\t', ';', or 0: the first line decides, comma when it has one, else tab, else semicolon. VM_EINPUT:
 * no such file, no UTF-8 (UTF-16 is named), no header row. */
vm_status csv_open(csv_reader **out, const char *path, char delimiter, int flags, vm_error *e);
/* Text in memory, which must outlive the reader; the name stands in messages. */
vm_status csv_open_text(csv_reader **out, const char *text, size_t bytes, const char *name, char delimiter, int flags,
                        vm_error *e);
void csv_close(csv_reader *r); /* accepts NULL */

int csv_next(csv_reader *r, csv_row *row, vm_error *e); /* 1 row, 0 end, -1 bad row (e set) */
int64_t csv_columns(const csv_reader *r);               /* 0 before the first row without header */
const char *csv_column_name(const csv_reader *r, int64_t i);
int64_t csv_column(const csv_reader *r, const char *name);              /* -1 when there is none */
int64_t csv_need_column(const csv_reader *r, const char *name, vm_error *e); /* -1 and an error that lists all */

/* One row, quoted only where needed, ended by LF. NULL is written as an empty field. */
vm_status csv_write_row(vm_out *o, char delimiter, const char *const *field, int64_t n, vm_error *e);
#endif

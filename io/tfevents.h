/* tfevents.h - scalars as TensorBoard reads them: event files, written without its libraries.
 *
 * A file is a row of records (TFRecord): length u64, masked crc of the length, data, masked crc of the data; the mask
 * is crc32c rotated right by 15 bits plus 0xa282ead8, all little-endian. The data is an Event of
 * tensorflow/core/util/event.proto: file_version (3) in the first; in the others wall_time (1, double), step (2,
 * varint) and Summary (5); a Summary holds Values (1) with tag (1) and simple_value (2, float). */
#ifndef VM_IO_TFEVENTS_H
#define VM_IO_TFEVENTS_H
#include "kernels/base.h"

typedef struct tfevents tfevents;

/* Opens for appending, makes the file if needed. Of an older file everything behind the last whole record, and from the
 * first record of a later step than last_step on, is cut off: a run that goes on from a checkpoint has no step twice.
 * VM_EINPUT (not such a file), VM_EIO. */
vm_status tfevents_open(tfevents **out, const char *path, int64_t last_step, vm_error *e);
/* One event of n scalars; it is in the file when this returns. After VM_EIO for want of room the file ends with the
 * record before, and the next call may succeed again. */
vm_status tfevents_put(tfevents *t, double wall_time, int64_t step, int n, const char *const *tags,
                       const double *values, vm_error *e);
void tfevents_close(tfevents *t); /* accepts NULL */

/* Bytes of the whole records at the beginning whose steps are at most last_step; -1 when the first is no record of an
 * event file. For the above, and for fuzzing. */
int64_t tfevents_good(const uint8_t *data, size_t bytes, int64_t last_step);
#endif

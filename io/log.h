/* log.h - what the library has to say to people, through one sink.
 *
 * Without a sink nothing is said. The program sets log_to_stderr or a function of its own at its start. */
#ifndef VM_IO_LOG_H
#define VM_IO_LOG_H
#include "kernels/base.h"

typedef enum {
    LOG_DEBUG, LOG_INFO, LOG_WARN,
    LOG_BAR /* a progress bar: replaces the bar before it, vanishes before the next line */
} log_level;

/* text has no line feed at its end. Called with a lock held: one call at a time. */
typedef void (*log_sink)(void *ctx, log_level level, const char *text);
void log_set(log_sink sink, void *ctx, log_level least); /* NULL = silent; lower levels than least are dropped */
void log_say(log_level level, const char *text);

void vm_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vm_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vm_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* stderr shows it after "warning: " */

/* A sink: lines to stderr, whole ones by one write each; colour and bars when stderr is a terminal (NO_COLOR and
 * TERM=dumb forbid colour). Failing writes are ignored. */
void log_to_stderr(void *ctx, log_level level, const char *text);
bool log_stderr_is_terminal(void);
bool log_stderr_has_colour(void);
#endif

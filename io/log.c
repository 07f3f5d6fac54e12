/* log.c - see log.h. */
#include "io/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink sink_now;
static void *sink_ctx;
static log_level least_now;

void log_set(log_sink sink, void *ctx, log_level least) {
    pthread_mutex_lock(&lock);
    sink_now = sink, sink_ctx = ctx, least_now = least;
    pthread_mutex_unlock(&lock);
}

void log_say(log_level level, const char *text) {
    pthread_mutex_lock(&lock);
    if (sink_now && level >= least_now) sink_now(sink_ctx, level, text);
    pthread_mutex_unlock(&lock);
}

static void say(log_level level, const char *fmt, va_list ap) {
    char text[2048];
    vsnprintf(text, sizeof text, fmt, ap);
    log_say(level, text);
}

#define SAYER(name, level)                                                                                             \
    void name(const char *fmt, ...) {                                                                                  \
        va_list ap;                                                                                                    \
        va_start(ap, fmt);                                                                                             \
        say(level, fmt, ap);                                                                                           \
        va_end(ap);                                                                                                    \
    }
SAYER(vm_debug, LOG_DEBUG)
SAYER(vm_info, LOG_INFO)
SAYER(vm_warn, LOG_WARN)

bool log_stderr_is_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(2) && term && strcmp(term, "dumb");
}

bool log_stderr_has_colour(void) {
    const char *no = getenv("NO_COLOR");
    return log_stderr_is_terminal() && !(no && no[0]);
}

void log_to_stderr(void *ctx, log_level level, const char *text) {
    static bool bar_shown;
    char line[2200];
    const char *clear = bar_shown ? "\r\033[K" : "";
    bool colour = level == LOG_WARN && log_stderr_has_colour();
    bar_shown = level == LOG_BAR && text[0];
    int n = snprintf(line, sizeof line, "%s%s%s%s%s", clear, colour ? "\033[33m" : "",
                     level == LOG_WARN ? "warning: " : "", colour ? "\033[0m" : "", text);
    n = VM_MIN(n, (int)sizeof line - 2);
    if (level != LOG_BAR) line[n++] = '\n';
    if (n > 0 && write(2, line, (size_t)n) < 0) bar_shown = false; /* nobody listens: nothing to be done about it */
}

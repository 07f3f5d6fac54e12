/* progress.c - see progress.h. */
#include "io/progress.h"

#include "io/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SECONDS = 30 };
#define BAR_SECONDS 0.1

struct progress {
    progress_state s;
    pthread_mutex_t lock;
    double started, shown;
    progress_mode mode;
};

static progress_mode mode_now;

void progress_set_mode(progress_mode mode) { mode_now = mode; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void time_text(char out[32], double seconds) {
    long long s = seconds < 0 ? 0 : seconds > 1e9 ? 1000000000 : (long long)(seconds + 0.5);
    if (s >= 3600) snprintf(out, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(out, 32, "%lld:%02lld", s / 60, s % 60);
}

void progress_format(char *out, size_t size, const progress_state *s, double elapsed, int width) {
    char left[64] = "", rate_text[48] = "", bad[48] = "", total[48] = "", bar[64] = "";
    int64_t worked = s->done - s->skipped;
    double rate = elapsed > 0 ? (double)worked / elapsed : 0;
    if (rate > 0) snprintf(rate_text, sizeof rate_text, ", %.*f/s", rate < 10 ? 2 : rate < 100 ? 1 : 0, rate);
    if (s->bad) snprintf(bad, sizeof bad, ", %lld bad", (long long)s->bad);
    if (s->total >= 0) snprintf(total, sizeof total, " of %lld", (long long)s->total);
    if (s->total > s->done && rate > 0) {
        char t[32];
        time_text(t, (double)(s->total - s->done) / rate);
        snprintf(left, sizeof left, ", %s left", t);
    }
    if (width > 0 && s->total > 0) {
        int64_t full = VM_MAX(0, VM_MIN(20, s->done * 20 / s->total));
        snprintf(bar, sizeof bar, "[%.*s%*s] ", (int)full, "####################", (int)(20 - full), "");
    }
    snprintf(out, size, "%s: %s%lld%s %s%s%s%s", s->what, bar, (long long)s->done, total, s->unit, bad, rate_text,
             left);
    if (width > 1 && strlen(out) > (size_t)width - 1) out[width - 1] = 0; /* the last column would wrap the line */
}

static int terminal_width(void) {
    struct winsize w;
    return ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void show(progress *p, double t) {
    char text[256];
    bool bar = p->mode == PROGRESS_BAR;
    progress_format(text, sizeof text, &p->s, t - p->started, bar ? terminal_width() : 0);
    log_say(bar ? LOG_BAR : LOG_INFO, text);
    p->shown = t;
}

progress *progress_start(const char *what, int64_t total, const char *unit) {
    progress *p = vm_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->s = (progress_state){ .what = what, .unit = unit, .total = total };
    pthread_mutex_init(&p->lock, NULL);
    p->started = p->shown = now();
    p->mode = mode_now;
    if (p->mode == PROGRESS_AUTO) p->mode = log_stderr_is_terminal() ? PROGRESS_BAR : PROGRESS_LINES;
    if (p->mode == PROGRESS_BAR) show(p, p->started);
    return p;
}

static void advance(progress *p, int64_t done, int64_t bad, int64_t skipped) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->s.done += done, p->s.bad += bad, p->s.skipped += skipped;
    double t = now();
    if (p->mode != PROGRESS_NONE && t - p->shown >= (p->mode == PROGRESS_BAR ? BAR_SECONDS : LINE_SECONDS)) show(p, t);
    pthread_mutex_unlock(&p->lock);
}

void progress_add(progress *p, int64_t done) { advance(p, done, 0, 0); }
void progress_add_bad(progress *p, int64_t bad) { advance(p, bad, bad, 0); }
void progress_skip(progress *p, int64_t done) { advance(p, done, 0, done); }

void progress_end(progress *p) {
    if (!p) return;
    if (p->mode != PROGRESS_NONE) {
        char text[256], t[32], before[64] = "", bad[48] = "";
        double elapsed = now() - p->started;
        int64_t worked = p->s.done - p->s.skipped;
        time_text(t, elapsed);
        if (p->s.bad) snprintf(bad, sizeof bad, ", %lld bad", (long long)p->s.bad);
        if (p->s.skipped) snprintf(before, sizeof before, " and %lld done before", (long long)p->s.skipped);
        snprintf(text, sizeof text, "%s: %lld %s%s%s, in %s (%.3g/s)", p->s.what, (long long)worked, p->s.unit, before,
                 bad, t, elapsed > 0 ? (double)worked / elapsed : 0.0);
        if (p->mode == PROGRESS_BAR) log_say(LOG_BAR, "");
        log_say(LOG_INFO, text);
    }
    pthread_mutex_destroy(&p->lock);
    vm_free(p);
}

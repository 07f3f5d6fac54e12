/* progress.h - how far it is: a bar with rate and time left on a terminal, one plain line every 30 seconds elsewhere.
 *
 *     progress *p = progress_start("inpaint", n, "images");
 *     ... progress_add(p, 1) ... progress_add_bad(p, 1) ...
 *     progress_end(p);                       // one last line: "inpaint: 900 images, 3 bad, in 1:02:05 (0.24/s)"
 *
 * Goes through the sink of log.h. May be called from several threads; costs a lock and a clock reading. */
#ifndef VM_IO_PROGRESS_H
#define VM_IO_PROGRESS_H
#include "kernels/base.h"

typedef enum { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_NONE } progress_mode;
void progress_set_mode(progress_mode mode); /* for all that start later; auto: a bar when stderr is a terminal */

typedef struct progress progress;
/* total < 0: not known. The strings must outlive it. NULL when memory is out; all functions accept that. */
progress *progress_start(const char *what, int64_t total, const char *unit);
void progress_add(progress *p, int64_t done);     /* so many more are done, */
void progress_add_bad(progress *p, int64_t bad);  /* so many more are done and were bad */
void progress_skip(progress *p, int64_t done);    /* done already before this run: no part of the rate */
void progress_end(progress *p);                   /* last line, frees p */

/* The texts, for tests. elapsed in seconds; width = columns of the terminal for a bar, 0 for a line. */
typedef struct {
    const char *what, *unit;
    int64_t total, done, bad, skipped;
} progress_state;
void progress_format(char *out, size_t size, const progress_state *s, double elapsed, int width);
#endif

/* report.cc - one clear text about a broken rule, then the end of the program; places in the source. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <memory>

#include "tests/emu/core.h"

extern "C" char __executable_start;

namespace emu {
/* --- places: a number below 2^31 is the distance of an instruction from the program's start, above it an entry here  */
enum { TABLE = 1 << 15 };
static struct { const char *file; int line; } table[TABLE];

uint32_t note(place p) {
    if (!p.file) return (uint32_t)((const char *)p.pc - &__executable_start) & 0x7fffffffu;
    static place last; /* loops ask for one place again and again */
    static uint32_t last_noted;
    if (p.file == last.file && p.line == last.line) return last_noted;
    uint32_t h = (uint32_t)(((uintptr_t)p.file >> 3) * 0x9e3779b1u + (unsigned)p.line * 0x85ebca6bu) >> 17;
    while (table[h].file && (table[h].file != p.file || table[h].line != p.line)) h = (h + 1) % TABLE;
    table[h].file = p.file, table[h].line = p.line;
    last = p;
    return last_noted = h | 0x80000000u;
}

static std::string line_of(uint32_t from_start) {
    char cmd[300], out[300] = "", exe[200];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return "?";
    exe[n] = 0;
    /* addresses are those of return: the call itself lies before */
    snprintf(cmd, sizeof cmd, "addr2line -s -e '%s' 0x%x 2>/dev/null", exe, from_start - 1);
    FILE *f = popen(cmd, "r");
    if (!f) return "?";
    if (!fgets(out, sizeof out, f)) out[0] = 0;
    pclose(f);
    out[strcspn(out, " \n")] = 0;
    return out[0] ? out : "?";
}
std::string text(uint32_t noted) {
    if (!noted) return "somewhere";
    if (!(noted >> 31)) return line_of(noted);
    return text(place{ table[noted & (TABLE - 1)].file, table[noted & (TABLE - 1)].line, NULL });
}
std::string text(place p) {
    if (!p.file) return p.pc ? line_of(note(p)) : "?";
    const char *slash = strrchr(p.file, '/');
    return std::string(slash ? slash + 1 : p.file) + ":" + std::to_string(p.line);
}

/* --- the end ----------------------------------------------------------------------------------------------------- */
static void print_where() {
    if (!running) return;
    fprintf(stderr, "  kernel %s, launched at %s, grid (%u,%u,%u), block (%u,%u,%u)\n", running->kernel,
            text(place{ running->file, running->line, NULL }).c_str(), running->grid.x, running->grid.y,
            running->grid.z, running->block.x, running->block.y, running->block.z);
    if (emu_now)
        fprintf(stderr, "  in thread (%u,%u,%u) (number %d: warp %d, lane %d) of block (%u,%u,%u)\n", emu_now->idx.x,
                emu_now->idx.y, emu_now->idx.z, emu_now->n, emu_now->n / WARP, emu_now->lane, emu_here.idx.x,
                emu_here.idx.y, emu_here.idx.z);
}
[[noreturn]] static void end() {
    print_where();
    fprintf(stderr, "  order %s, cp.async %s, sm_%d\n",
            getenv("VISMIN_EMU_ORDER") ? getenv("VISMIN_EMU_ORDER") : "forward",
            getenv("VISMIN_EMU_CPASYNC") ? getenv("VISMIN_EMU_CPASYNC") : "late", arch());
    fflush(NULL);
    _exit(86);
}
void fail(place p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "emu: %s: ", text(p).c_str());
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    end();
}
void fail_here(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("emu: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    end();
}

int setting(const char *name, int otherwise) {
    const char *s = getenv(name);
    return s && *s ? atoi(s) : otherwise;
}

#ifdef __SANITIZE_ADDRESS__
#error the runtime is compiled without sanitizers (EMU_ASAN tells it of theirs)
#endif
#ifdef EMU_ASAN
extern "C" void __asan_set_error_report_callback(void (*f)(const char *));
static void also_where(const char *) { print_where(), fflush(stderr); }
__attribute__((constructor)) static void tell_asan() { __asan_set_error_report_callback(also_where); }
#endif
} /* namespace emu */

void emu_trap(const char *what, const char *file, int line) {
    emu::fail({ file, line, NULL }, "the kernel stops: %s", what);
}

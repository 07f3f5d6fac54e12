/* fiber.cc - stacks that take turns: six saved registers on x86-64, ucontext elsewhere (slow: it calls the system). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <memory>

#include "tests/emu/core.h"

#ifdef EMU_ASAN
extern "C" void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void *fake, const void **old_bottom, size_t *old_size);
#endif
#if defined EMU_ASAN || defined EMU_PTX /* sanitized functions, translated ones with a local for every register */
static const size_t STACK = 256 << 10;
#else
static const size_t STACK = 64 << 10;
#endif

#if defined(__x86_64__)
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n    ret\n"
    ".size emu_switch,.-emu_switch\n");
#elif defined(__aarch64__)
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.globl emu_switch\n.type emu_switch,%function\nemu_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, "
    "#144]\n"
    "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
    "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, "
    "#144]\n"
    "    add sp, sp, #160\n    ret\n.size emu_switch,.-emu_switch\n");
#else
#include <ucontext.h>
static ucontext_t *context(emu::fiber *f) {
    if (!f->sp) f->sp = calloc(1, sizeof(ucontext_t));
    return (ucontext_t *)f->sp;
}
#endif

namespace emu {
static fiber *came_from;

static void arrived(fiber *f) {
#ifdef EMU_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(f->fake, &bottom, &size);
    if (!came_from->stack) came_from->stack = (char *)bottom, came_from->bytes = size; /* the program's own stack */
#else
    (void)f;
#endif
}

void fiber_switch(fiber *from, fiber *to) {
    came_from = from;
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->bytes);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    emu_switch(&from->sp, to->sp);
#else
    swapcontext(context(from), context(to));
#endif
    arrived(from);
}

static void (*start)(); /* the same for all fibers */
static void enter() {
    static fiber fresh;
    arrived(&fresh);
    start();
    abort();
}

void fiber_make(fiber *f, void (*body)()) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    start = body;
    char *p =
        (char *)mmap(NULL, STACK + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p, page, PROT_NONE)) fail_here("no memory for the stack of a thread");
    f->stack = p + page, f->bytes = STACK, f->fake = NULL;
#if defined(__x86_64__)
    void **sp = (void **)(f->stack + STACK) - 1;
    *sp = NULL;                 /* enter() has no caller */
    *--sp = (void *)enter;      /* the first switch returns into it, the stack aligned as after a call */
    memset(sp -= 6, 0, 6 * sizeof *sp);
    f->sp = sp;
#elif defined(__aarch64__)
    char *sp = f->stack + STACK - 160;
    memset(sp, 0, 160);
    void (*first)() = enter;
    memcpy(sp + 88, &first, sizeof first); /* x30 */
    f->sp = sp;
#else
    ucontext_t *c = context(f);
    getcontext(c);
    c->uc_stack.ss_sp = f->stack, c->uc_stack.ss_size = STACK, c->uc_link = NULL;
    makecontext(c, enter, 0);
#endif
}
} /* namespace emu */

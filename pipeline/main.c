/* main.c - the table of commands, process set-up, exit codes. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "pipeline/command.h"
#include "pipeline/commands.h"
#include "pipeline/run.h"

#define DECLARE(name) extern const vm_command cmd_##name;
VM_COMMANDS(DECLARE)
#define LIST(name) &cmd_##name,
static const vm_command *const commands[] = { VM_COMMANDS(LIST) NULL };

static void print_commands(FILE *f) {
    fprintf(f, "vismin - makes, checks, trains on and evaluates visual minimal-change data\n\nusage: vismin COMMAND [options]; `vismin COMMAND --help` says more\n\n");
    for (int k = 0; commands[k]; k++) fprintf(f, "  %-15s %s\n", commands[k]->name, commands[k]->summary);
    fprintf(f, "\nExit codes: 0 done, 1 done with some records in error, 2 usage, 3 bad input, 4 disk, 5 locked, 6 weights or numbers,\n"
               "7 device or memory, 130/143 interrupted and resumable.\n");
}

/* "train clip" is the command named so; the longest name wins. */
static const vm_command *find_command(int argc, char **argv, int *words) {
    char two[128];
    for (int n = 2; n >= 1; n--) {
        if (argc < n + 1) continue;
        snprintf(two, sizeof two, n == 2 ? "%s %s" : "%s", argv[1], n == 2 ? argv[2] : "");
        for (int k = 0; commands[k]; k++)
            if (!strcmp(commands[k]->name, two)) return *words = n, commands[k];
    }
    return NULL;
}

/* The OpenMP runtime reads its spin time before main: threads that wait must not burn the core of another job, nor sleep
 * so fast that each region pays a wake-up. The program starts itself once more with the setting. */
static void settle_threads(char **argv) {
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    setenv("GOMP_SPINCOUNT", "20000", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    settle_threads(argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of write(), not a death */
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_commands(argc < 2 ? stderr : stdout);
        return argc < 2 ? VM_EUSAGE : VM_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("vismin %s\n", VM_VERSION);
        return 0;
    }
    int words = 1;
    const vm_command *c = find_command(argc, argv, &words);
    if (!c) {
        const char *known[64];
        int n = 0;
        for (; commands[n] && n < 64; n++) known[n] = commands[n]->name;
        const char *near = args_nearest(argv[1], known, n);
        fprintf(stderr, "vismin: unknown command %s%s%s%s; see `vismin --help`\n", argv[1], near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        return VM_EUSAGE;
    }
    vm_error e = { 0 };
    vm_args *a = NULL;
    bool done;
    vm_status st = args_parse(&a, c, argc - 1 - words, argv + 1 + words, &done, &e);
    if (!st && !done) {
        vm_threads((int)arg_int(a, "threads"));
        run_start(a);
        st = c->run(a, &e);
        if (!st) run_end();
    }
    args_free(a);
    if (!st && (fflush(stdout) || ferror(stdout))) st = vm_fail(&e, VM_EIO, "stdout could not be written: is the disk full?");
    if (st && e.msg[0]) fprintf(stderr, "vismin: %s\n", e.msg);
    return st == VM_ESTOP ? run_stop_code() : (int)st;
}

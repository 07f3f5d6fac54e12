/* args.c - the command line: option tables in, values or one clear sentence out. See command.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/hub.h"
#include "pipeline/command.h"

static const vm_opt common[] = {
    { "threads", OPT_INT, "0", "N", "threads; 0 = as many as the process may use", 0, 1024 },
    { "device", OPT_STR, "auto", "NAME", "auto, cpu, cuda or cuda:N", 0, 0 },
    { "check", OPT_FLAG, NULL, NULL, "compute every op of a device on the processor too and compare (slow)", 0, 0 },
    { "dtype", OPT_STR, "auto", "TYPE", "type of matrix products: auto, f32 or bf16", 0, 0 },
    { "seed", OPT_INT, "0", "N", "seed of everything random", 0, 0 },
    { "deterministic", OPT_FLAG, NULL, NULL, "same bits for any number of threads (slower)", 0, 0 },
    { "json", OPT_FLAG, NULL, NULL, "machine-readable result on stdout", 0, 0 },
    { "quiet", OPT_FLAG, NULL, NULL, "no progress, no notes", 0, 0 },
    { "help", OPT_FLAG, NULL, NULL, "this text", 0, 0 },
    { 0 },
};

typedef struct {
    const vm_opt *o;
    const char **list; /* all values given, the last one counts unless OPT_LIST */
    int64_t n, cap;
    int64_t i;
    double f;
    bool by_default; /* of a preset */
} value;

struct paths {
    char **path;
    int64_t n, cap;
};

struct vm_args {
    const vm_command *c;
    value *v;
    int n;
    const char **pos;
    int64_t n_pos, cap_pos;
    char *line;
    struct paths *paths; /* of models by name */
};

static int count_opts(const vm_opt *o) {
    int n = 0;
    while (o && o[n].name) n++;
    return n;
}

static value *find(const vm_args *a, const char *name, size_t len) {
    for (int k = 0; k < a->n; k++)
        if (strlen(a->v[k].o->name) == len && !strncmp(a->v[k].o->name, name, len)) return &a->v[k];
    return NULL;
}

/* Levenshtein distance, for "did you mean". */
static int distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 62 || strlen(a) > 62) return 99;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diag = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = row[j], best = VM_MIN(VM_MIN(up, row[j - 1]) + 1, diag + (a[i - 1] != b[j - 1]));
            diag = up, row[j] = best;
        }
    }
    return row[n];
}

const char *args_nearest(const char *name, const char *const *known, int n) {
    int best = 4;
    const char *found = NULL;
    for (int k = 0; k < n; k++) {
        int d = distance(name, known[k]);
        if (d < best) best = d, found = known[k];
    }
    return found;
}

static vm_status unknown(const vm_args *a, const char *given, size_t len, vm_error *e) {
    char name[64];
    const char *known[256] = { NULL };
    int n = 0;
    snprintf(name, sizeof name, "%.*s", (int)VM_MIN(len, (size_t)60), given);
    for (; n < a->n && n < 256; n++) known[n] = a->v[n].o->name;
    const char *near = args_nearest(name, known, n);
    const size_t first = strcspn(name, "-") + 1; /* else one that begins with the same word: max-tokens, max-new */
    for (int k = 0; k < n && !near && first <= strlen(name); k++)
        if (!strncmp(known[k], name, first)) near = known[k];
    return vm_fail(e, VM_EUSAGE, "%s: unknown option --%s%s%s%s; see `vismin %s --help`", a->c->name, name, near ? ", did you mean --" : "",
                   near ? near : "", near ? "?" : "", a->c->name);
}

static vm_status take(value *v, const vm_command *c, const char *text, vm_error *e) {
    const vm_opt *o = v->o;
    char *end = NULL;
    errno = 0;
    if (o->kind == OPT_INT) v->i = strtoll(text, &end, 10);
    if (o->kind == OPT_FLOAT) v->f = strtod(text, &end);
    if (end && (end == text || *end || errno))
        return vm_fail(e, VM_EUSAGE, "%s: --%s %s: not a number", c->name, o->name, text);
    double x = o->kind == OPT_INT ? (double)v->i : v->f;
    if (end && (o->min != 0 || o->max != 0) && !(x >= o->min && x <= o->max))
        return vm_fail(e, VM_EUSAGE, "%s: --%s %s: out of range %g to %g", c->name, o->name, text, o->min, o->max);
    if (!vm_grow(&v->list, &v->cap, v->n + 1, sizeof *v->list)) return vm_nomem(e, 64, "the command line");
    v->list[v->n++] = text;
    return VM_OK;
}

static void print_opts(const vm_opt *o) {
    for (; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-26s %s%s%s%s\n", left, o->help, o->dflt ? " (" : "", o->dflt ? o->dflt : "", o->dflt ? ")" : "");
    }
}

static void print_help(const vm_command *c) {
    printf("vismin %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->about) printf("\n%s\n", c->about);
    if (c->opts && c->opts->name) printf("\nOptions\n");
    print_opts(c->opts);
    printf("\nCommon options\n");
    print_opts(common);
}

static vm_status parse(vm_args *a, int argc, char **argv, bool *done, vm_error *e) {
    const vm_command *c = a->c;
    bool only_pos = false;
    for (int k = 0; k < argc; k++) {
        const char *s = argv[k];
        if (only_pos || s[0] != '-' || !s[1]) {
            if (!vm_grow(&a->pos, &a->cap_pos, a->n_pos + 1, sizeof *a->pos)) return vm_nomem(e, 64, "the command line");
            a->pos[a->n_pos++] = s;
            continue;
        }
        if (!strcmp(s, "--")) {
            only_pos = true;
            continue;
        }
        if (!strcmp(s, "-h")) s = "--help";
        if (s[1] != '-') return vm_fail(e, VM_EUSAGE, "%s: unknown option %s; see `vismin %s --help`", c->name, s, c->name);
        s += 2;
        size_t len = strcspn(s, "=");
        value *v = find(a, s, len);
        if (!v) return unknown(a, s, len, e);
        if (!strcmp(v->o->name, "help")) {
            print_help(c);
            *done = true;
            return VM_OK;
        }
        const char *text = s[len] ? s + len + 1 : NULL;
        if (v->o->kind == OPT_FLAG && text) return vm_fail(e, VM_EUSAGE, "%s: --%s takes no value", c->name, v->o->name);
        if (v->o->kind == OPT_FLAG) text = "1";
        if (!text && ++k < argc) text = argv[k];
        if (!text) return vm_fail(e, VM_EUSAGE, "%s: --%s needs a value", c->name, v->o->name);
        if (take(v, c, text, e)) return e->status;
    }
    if (a->n_pos < c->min_pos || (c->max_pos >= 0 && a->n_pos > c->max_pos))
        return vm_fail(e, VM_EUSAGE, "%s: %s arguments; usage: vismin %s %s", c->name, a->n_pos < c->min_pos ? "too few" : "too many", c->name, c->usage);
    return VM_OK;
}

/* The command line as a shell would take it. */
static char *quote(const vm_command *c, int argc, char **argv) {
    size_t bytes = 64;
    for (int k = 0; k < argc; k++) bytes += 4 * strlen(argv[k]) + 4;
    char *line = vm_alloc(bytes);
    if (!line) return NULL;
    char *p = line + sprintf(line, "vismin %s", c->name);
    for (int k = 0; k < argc; k++) {
        bool plain = argv[k][0] && strspn(argv[k], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%") == strlen(argv[k]);
        p += sprintf(p, plain ? " " : " '");
        for (const char *s = argv[k]; *s; s++) p += sprintf(p, *s == '\'' ? "'\\''" : "%c", *s);
        if (!plain) p += sprintf(p, "'");
    }
    return line;
}

vm_status args_parse(vm_args **out, const vm_command *c, int argc, char **argv, bool *done, vm_error *e) {
    int own = count_opts(c->opts), shared = count_opts(common);
    vm_args *a = vm_calloc(1, sizeof *a);
    *out = NULL, *done = false;
    if (!a || !(a->v = vm_calloc((size_t)(own + shared), sizeof *a->v)) || !(a->line = quote(c, argc, argv)) || !(a->paths = vm_calloc(1, sizeof *a->paths))) {
        args_free(a);
        return vm_nomem(e, sizeof *a, "the command line");
    }
    a->c = c, a->n = own + shared;
    for (int k = 0; k < a->n; k++) {
        a->v[k].o = k < own ? &c->opts[k] : &common[k - own];
        if (a->v[k].o->dflt) a->v[k].i = strtoll(a->v[k].o->dflt, NULL, 10), a->v[k].f = strtod(a->v[k].o->dflt, NULL);
    }
    if (parse(a, argc, argv, done, e)) {
        args_free(a);
        return e->status;
    }
    *out = a;
    return VM_OK;
}

void args_free(vm_args *a) {
    if (!a) return;
    for (int k = 0; a->v && k < a->n; k++) vm_free(a->v[k].list);
    vm_free(a->v);
    vm_free(a->pos);
    for (int64_t k = 0; a->paths && k < a->paths->n; k++) vm_free(a->paths->path[k]);
    if (a->paths) vm_free(a->paths->path);
    vm_free(a->paths);
    vm_free(a->line);
    vm_free(a);
}

static value *get(const vm_args *a, const char *name) {
    value *v = find(a, name, strlen(name));
    if (!v) {
        fprintf(stderr, "vismin: internal error: command %s has no option --%s\n", a->c->name, name);
        abort();
    }
    return v;
}

const char *arg_str(const vm_args *a, const char *name) {
    const value *v = get(a, name);
    return v->n ? v->list[v->n - 1] : v->o->dflt;
}
int64_t arg_int(const vm_args *a, const char *name) { return get(a, name)->i; }
double arg_float(const vm_args *a, const char *name) { return get(a, name)->f; }
bool arg_flag(const vm_args *a, const char *name) { return get(a, name)->n > 0; }
bool arg_given(const vm_args *a, const char *name) { return get(a, name)->n > 0 && !get(a, name)->by_default; }
int arg_list(const vm_args *a, const char *name, const char *const **items) {
    const value *v = get(a, name);
    *items = v->list;
    return (int)v->n;
}
int arg_npos(const vm_args *a) { return (int)a->n_pos; }
const char *arg_pos(const vm_args *a, int i) { return i < a->n_pos ? a->pos[i] : NULL; }
const char *arg_line(const vm_args *a) { return a->line; }

vm_status arg_default(const vm_args *a, const char *name, const char *text, vm_error *e) {
    value *v = get(a, name);
    if (v->n) return VM_OK;
    v->by_default = true;
    return take(v, a->c, text, e);
}

void arg_put_all(const vm_args *a, json_writer *w, const char *key) {
    json_begin_object(w, key);
    for (int k = 0; k < a->n; k++) {
        const value *v = &a->v[k];
        const char *text = v->n ? v->list[v->n - 1] : v->o->dflt;
        if (v->o->kind == OPT_LIST) {
            json_begin_array(w, v->o->name);
            for (int64_t i = 0; i < v->n; i++) json_put_str(w, NULL, v->list[i]);
            json_close_array(w);
        } else if (v->o->kind == OPT_FLAG) json_put_bool(w, v->o->name, v->n > 0);
        else if (!text) json_put_null(w, v->o->name);
        else if (v->o->kind == OPT_INT) json_put_int(w, v->o->name, v->i);
        else if (v->o->kind == OPT_FLOAT) json_put_num(w, v->o->name, v->f);
        else json_put_str(w, v->o->name, text);
    }
    json_close_object(w);
}

const char *arg_model(const vm_args *a, const char *given, vm_error *e) {
    struct paths *p = a->paths;
    if (!given) return NULL;
    if (!vm_grow(&p->path, &p->cap, p->n + 1, sizeof *p->path)) return vm_nomem(e, 256, "the command line"), NULL;
    return hub_resolve(&p->path[p->n], given, e) ? NULL : p->path[p->n++];
}

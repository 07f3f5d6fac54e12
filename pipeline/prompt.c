/* prompt.c - see prompt.h. */
#include "pipeline/prompt.h"

#include <string.h>

#include "io/hash.h"
#include "io/json_lines.h"
#include "pipeline/embedded.h"
#include "pipeline/text_out.h"

struct prompt {
    char *text, *from;       /* the template and its name */
    const char *head, *tail; /* what stands before and behind the demonstrations; tail is the question */
    size_t head_n, tail_n;
    json_doc **demo;
    int64_t n, cap;
    int64_t *set; /* (PROMPT_SETS, shots) */
    int shots;
    char hash[65];
};

/* --- places ------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name; /* not terminated */
    size_t n, whole;  /* of the name; of all with its braces */
    bool json;
} place;

/* A place that begins at p. */
static bool place_at(place *x, const char *p, const char *end) {
    size_t n = 0;
    if (p >= end || *p != '{') return false;
    while (p + 1 + n < end && (p[1 + n] == '_' || (p[1 + n] >= 'a' && p[1 + n] <= 'z'))) n++;
    const char *q = p + 1 + n;
    bool json = end - q > 5 && !memcmp(q, ":json", 5);
    if (json) q += 5;
    if (!n || q >= end || *q != '}') return false;
    *x = (place){ .name = p + 1, .n = n, .whole = (size_t)(q + 1 - p), .json = json };
    return true;
}

static bool is_word(const char *words, const char *name, size_t n) {
    for (const char *p = words; p && *p; p += strspn(p, " ")) {
        size_t k = strcspn(p, " ");
        if (k == n && !memcmp(p, name, n)) return true;
        p += k;
    }
    return false;
}

static vm_status check_places(const prompt *p, const char *fields, vm_error *e) {
    const char *end = p->text + strlen(p->text);
    int64_t line = 1;
    for (const char *s = p->text; s < end && !e->status; s++) {
        place x;
        line += *s == '\n';
        if (place_at(&x, s, end) && !is_word("demos", x.name, x.n) && !is_word(fields, x.name, x.n))
            vm_fail(e, VM_EINPUT, "%s:%lld: nothing fills the place {%.*s}; there are {demos} and: %s", p->from,
                    (long long)line, (int)x.n, x.name, fields);
    }
    return e->status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
static void split(prompt *p) {
    char *at = strstr(p->text, "{demos}\n"), *end = p->text + strlen(p->text);
    bool alone = at && (at == p->text || at[-1] == '\n');
    if (end > p->text && end[-1] == '\n') *--end = 0; /* the line feed that ends the file */
    p->head = p->text, p->head_n = alone ? (size_t)(at - p->text) : 0;
    p->tail = alone ? at + 8 : p->text, p->tail_n = (size_t)(end - p->tail);
    p->shots = alone ? 1 : 0;
}

static vm_status read_demos(prompt *p, const prompt_options *o, const char *text, size_t bytes, const char *from,
                            vm_error *e) {
    json_lines *r = NULL;
    json_doc *d;
    if (json_lines_open_text(&r, text, bytes, from, JSON_STRICT, e)) return e->status;
    while (!e->status && json_lines_next(r, &d, e) > 0) {
        json_value v = json_root(d);
        if (!vm_grow(&p->demo, &p->cap, p->n + 1, sizeof *p->demo)) vm_nomem(e, sizeof *p->demo, from);
        else p->demo[p->n++] = d, d = NULL;
        if (!e->status && !json_has(json_get(v, "answer")))
            json_fail(v, e, "a demonstration needs a member \"answer\"");
        if (!e->status && o->check) o->check(v, o->ctx, e);
        json_free(d);
    }
    json_lines_close(r);
    if (!e->status && !p->n)
        vm_fail(e, VM_EINPUT, "%s: no demonstrations, and the template %s has {demos}", from, p->from);
    return e->status;
}

static uint64_t draw(uint64_t *s) { /* splitmix64 */
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const char *label_of(const prompt *p, int64_t i, const char *member) {
    vm_error e = { 0 };
    return member ? json_str(json_root(p->demo[i]), member, "", &e) : "";
}

/* One set: a random order of all, from which the first of each label are taken in turn, then shuffled once more. */
static void draw_set(prompt *p, int64_t *set, int64_t *order, bool *used, const char *balance, uint64_t seed) {
    for (int64_t i = 0; i < p->n; i++) order[i] = i, used[i] = false;
    for (int64_t i = p->n - 1; i > 0; i--) {
        int64_t j = (int64_t)(draw(&seed) % (uint64_t)(i + 1)), t = order[i];
        order[i] = order[j], order[j] = t;
    }
    int n = 0;
    while (n < p->shots) { /* one round: of every label one that is left */
        int from = n;
        for (int64_t i = 0; i < p->n && n < p->shots; i++) {
            bool seen = used[order[i]];
            for (int k = from; k < n && !seen && balance; k++)
                seen = !strcmp(label_of(p, set[k], balance), label_of(p, order[i], balance));
            if (!seen) used[order[i]] = true, set[n++] = order[i];
        }
    }
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(draw(&seed) % (uint64_t)(i + 1));
        int64_t t = set[i];
        set[i] = set[j], set[j] = t;
    }
}

static vm_status draw_sets(prompt *p, const prompt_options *o, vm_error *e) {
    p->shots = (int)VM_MIN((int64_t)o->shots, p->n);
    p->set = vm_alloc((size_t)(PROMPT_SETS * VM_MAX(p->shots, 1)) * sizeof *p->set);
    int64_t *order = vm_alloc((size_t)p->n * sizeof *order);
    bool *used = vm_alloc((size_t)p->n);
    if (!p->set || !order || !used) vm_nomem(e, (size_t)p->n * sizeof *order, "demonstrations");
    for (int k = 0; k < PROMPT_SETS && !e->status; k++) {
        char name[32];
        snprintf(name, sizeof name, "set %d", k);
        draw_set(p, p->set + (int64_t)k * p->shots, order, used, o->balance,
                 sha256_seed(o->seed, 3, (const char *[]){ o->stage, o->category ? o->category : "", name }));
    }
    vm_free(order), vm_free(used);
    return e->status;
}

vm_status prompt_open(prompt **out, const prompt_options *o, vm_error *e) {
    char name[128], *demos = NULL, *from = NULL;
    size_t bytes = 0, n = 0;
    prompt *p = vm_calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return vm_nomem(e, sizeof *p, "a prompt");
    int len = snprintf(name, sizeof name - 16, "%s%s%s", o->stage, o->category ? "." : "",
                       o->category ? o->category : "");
    char *end = name + VM_MIN(len, (int)sizeof name - 17);
    strcpy(end, ".txt");
    if (!embedded_read(&p->text, &bytes, &p->from, o->dir, name, e) && !p->text)
        vm_fail(e, VM_EINPUT, "%s%s%s: there is no such prompt", o->dir ? o->dir : "", o->dir ? "/" : "", name);
    if (!e->status && strlen(p->text) != bytes) vm_fail(e, VM_EINPUT, "%s: holds a NUL, expected text", p->from);
    if (!e->status && !check_places(p, o->fields, e)) split(p);
    strcpy(end, ".demos.jsonl");
    if (!e->status && p->shots) {
        if (!embedded_read(&demos, &n, &from, o->dir, name, e) && !demos)
            vm_fail(e, VM_EINPUT, "%s has {demos}, and there is no %s", p->from, name);
        if (!e->status && !read_demos(p, o, demos, n, from, e)) draw_sets(p, o, e);
    }
    if (!e->status) sha256_parts(p->hash, 2, (const char *[]){ p->text, demos ? demos : "" });
    vm_free(demos), vm_free(from);
    if (e->status) prompt_free(p);
    else *out = p;
    return e->status;
}

void prompt_free(prompt *p) {
    if (!p) return;
    for (int64_t i = 0; i < p->n; i++) json_free(p->demo[i]);
    vm_free(p->demo), vm_free(p->set), vm_free(p->text), vm_free(p->from);
    vm_free(p);
}

const char *prompt_hash(const prompt *p) { return p->hash; }
int prompt_shots(const prompt *p) { return p->shots; }
int64_t prompt_demos(const prompt *p) { return p->n; }
json_value prompt_demo(const prompt *p, int64_t i) { return json_root(p->demo[i]); }
int prompt_set(const prompt *p, const char *key, int t) {
    uint64_t from = sha256_seed(0, 1, &key);
    return (int)((from + (uint64_t)t) % PROMPT_SETS); /* another set at each try */
}

/* --- texts -------------------------------------------------------------------------------------------------------- */
static void put_json(text_out *o, const char *s) {
    vm_error e = { 0 };
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_str(&w, NULL, s);
    char *text = json_take(&w, NULL, &e);
    if (text) text_put(o, text);
    else o->failed = true;
    vm_free(text);
}

/* Control characters would break the lines that the prompt is made of. */
static void put_plain(text_out *o, const char *s) {
    for (const char *p = s; *p;) {
        size_t n = 0;
        while ((unsigned char)p[n] >= 32 && p[n] != 127) n++;
        text_add(o, p, n);
        if (!p[n]) break;
        text_put(o, " ");
        p += n + 1;
    }
}

static const char *value_of(const prompt_field *f, int n, json_value demo, const place *x) {
    char name[64];
    vm_error e = { 0 };
    for (int k = 0; k < n; k++)
        if (strlen(f[k].name) == x->n && !memcmp(f[k].name, x->name, x->n)) return f[k].value;
    snprintf(name, sizeof name, "%.*s", (int)VM_MIN(x->n, sizeof name - 1), x->name);
    return json_str(demo, name, "", &e);
}

static void put_part(text_out *o, const char *s, size_t len, const prompt_field *f, int n, json_value demo) {
    for (const char *p = s, *end = s + len; p < end;) {
        const char *brace = memchr(p, '{', (size_t)(end - p)), *to = brace ? brace : end;
        place x;
        text_add(o, p, (size_t)(to - p));
        p = to;
        if (p == end) break;
        if (!place_at(&x, p, end)) text_add(o, p++, 1);
        else {
            const char *v = value_of(f, n, demo, &x);
            if (x.json) put_json(o, v);
            else put_plain(o, v);
            p += x.whole;
        }
    }
}

vm_status prompt_text_of(char **text, const prompt *p, const int64_t *demo, int shots, const char *turn,
                         const prompt_field *f, int n, vm_error *e) {
    const char *between = turn ? turn : "\n";
    text_out o = { 0 };
    put_part(&o, p->head, p->head_n, f, n, (json_value){ 0 });
    for (int k = 0; k < shots; k++) {
        json_value d = prompt_demo(p, demo[k]);
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_value(&w, NULL, json_get(d, "answer"));
        char *answer = json_take(&w, NULL, e);
        if (!answer) break;
        put_part(&o, p->tail, p->tail_n, NULL, 0, d);
        text_put(&o, between), text_put(&o, answer), text_put(&o, between);
        vm_free(answer);
    }
    put_part(&o, p->tail, p->tail_n, f, n, (json_value){ 0 });
    if (p->shots && !turn) text_put(&o, "\n"); /* where the answers of the demonstrations begin */
    *text = text_take(&o, e);
    return e->status;
}

vm_status prompt_text(char **text, const prompt *p, int set, int shots, const char *turn, const prompt_field *f, int n,
                      vm_error *e) {
    int k = VM_MIN(shots, p->shots);
    const int64_t *demo = p->set ? p->set + (int64_t)set * p->shots + (p->shots - k) : NULL;
    return prompt_text_of(text, p, demo, k, turn, f, n, e);
}

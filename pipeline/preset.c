/* preset.c - see preset.h. */
#include "pipeline/preset.h"

#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "pipeline/embedded.h"

typedef struct {
    const csv_reader *r;
    const csv_row *row;
    const char *from;
    vm_error *e;
} cells;

static double number(const cells *c, const char *column, double min, double max) {
    int64_t i = csv_need_column(c->r, column, c->e);
    if (i < 0) return min;
    char *end;
    double v = strtod(c->row->field[i], &end);
    if (end == c->row->field[i] || *end || !(v >= min && v <= max))
        vm_fail(c->e, VM_EINPUT, "%s:%lld: %s: found \"%.40s\", expected a number from %g to %g", c->from,
                (long long)c->row->line, column, c->row->field[i], min, max);
    return v;
}

static void take(preset *p, const cells *c) {
    p->how.max_new = (int64_t)number(c, "max_new", 1, 1 << 20);
    p->how.temperature = number(c, "temperature", 0, 100), p->temperature_to = number(c, "temperature_to", 0, 100);
    p->how.top_k = (int64_t)number(c, "top_k", 0, 1 << 24), p->top_k_to = (int64_t)number(c, "top_k_to", 0, 1 << 24);
    p->samples = (int)number(c, "samples", 1, 64), p->tries = (int)number(c, "tries", 1, 64),
    p->shots = (int)number(c, "shots", 0, 256);
    int64_t stop = csv_need_column(c->r, "stop", c->e);
    if (stop >= 0 && c->row->field[stop][0] && !(p->text = vm_strdup(c->row->field[stop])))
        vm_nomem(c->e, 64, "a preset");
    p->how.stop = p->text;
}

static void override(preset *p, const vm_args *a) {
    p->turns = arg_flag(a, "turns");
    if (arg_given(a, "temperature")) p->how.temperature = p->temperature_to = arg_float(a, "temperature");
    if (arg_given(a, "top-k")) p->how.top_k = p->top_k_to = arg_int(a, "top-k");
    if (arg_given(a, "top-p")) p->how.top_p = arg_float(a, "top-p");
    if (arg_given(a, "min-p")) p->how.min_p = arg_float(a, "min-p");
    if (arg_given(a, "max-new")) p->how.max_new = arg_int(a, "max-new");
    if (arg_given(a, "samples")) p->samples = (int)arg_int(a, "samples");
    if (arg_given(a, "tries")) p->tries = (int)arg_int(a, "tries");
    if (arg_given(a, "shots")) p->shots = (int)arg_int(a, "shots");
}

vm_status preset_read(preset *p, const char *name, const vm_args *a, vm_error *e) {
    char *text = NULL, *from = NULL;
    size_t bytes;
    csv_reader *r = NULL;
    csv_row row;
    bool found = false;
    *p = (preset){ 0 };
    if (embedded_read(&text, &bytes, &from, arg_str(a, "prompt-dir"), "decoding.csv", e)) goto done;
    if (csv_open_text(&r, text, bytes, from, ',', CSV_HEADER, e)) goto done;
    int64_t at = csv_need_column(r, "preset", e);
    while (!e->status && !found && csv_next(r, &row, e) > 0)
        if (!strcmp(row.field[at], name)) found = true, take(p, &(cells){ r, &row, from, e });
    if (!e->status && !found) vm_fail(e, VM_EINPUT, "%s: no row \"%s\"", from, name);
    override(p, a);
done:
    csv_close(r);
    vm_free(text), vm_free(from);
    if (e->status) preset_free(p);
    return e->status;
}

void preset_free(preset *p) {
    vm_free(p->text);
    *p = (preset){ 0 };
}

decoding preset_draw(const preset *p, uint64_t seed) {
    decoding d = p->how;
    double u = (double)(seed >> 40) * 0x1p-24,
           v = (double)(seed & 0xffffff) * 0x1p-24; /* two parts of the seed that do not overlap */
    d.temperature += u * (p->temperature_to - d.temperature);
    d.top_k += (int64_t)(v * (double)(p->top_k_to - d.top_k + 1));
    return d;
}

void preset_put(const preset *p, json_writer *w, const char *key) {
    json_begin_object(w, key);
    json_put_int(w, "max_new", p->how.max_new);
    json_put_num(w, "temperature", p->how.temperature), json_put_num(w, "temperature_to", p->temperature_to);
    json_put_int(w, "top_k", p->how.top_k), json_put_int(w, "top_k_to", p->top_k_to);
    json_put_num(w, "top_p", p->how.top_p), json_put_num(w, "min_p", p->how.min_p);
    json_put_int(w, "samples", p->samples), json_put_int(w, "tries", p->tries), json_put_int(w, "shots", p->shots);
    json_put_bool(w, "turns", p->turns);
    json_put_str(w, "stop", p->how.stop);
    json_close_object(w);
}

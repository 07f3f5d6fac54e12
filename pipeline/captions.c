/* captions.c - see captions.h. */
#include "pipeline/captions.h"

#include <string.h>

#include "io/json_lines.h"
#include "io/log.h"
#include "io/unicode.h"
#include "io/words.h"

enum { WARNED = 20 };

static char *copy(const char *s, vm_error *e) {
    char *c = s ? vm_strdup(s) : NULL;
    if (s && !c) vm_nomem(e, strlen(s), "a caption");
    return c;
}

/* Without blanks at the ends, with one blank between words. Line feeds and tabs are blanks; *control: other control
 * characters are there. */
static char *in_order(const char *s, bool *control, vm_error *e) {
    char *out = vm_alloc(strlen(s) + 1), *to = out;
    if (!out) return vm_nomem(e, strlen(s), "a caption"), NULL;
    *control = false;
    for (const char *p = s, *end = s + strlen(s); p < end;) {
        const char *from = p;
        int32_t c = uni_next(&p, end);
        bool space = uni_space(c), joiner = c == 0x200c || c == 0x200d; /* of emoji and of Persian: part of the text */
        *control |= !space && !joiner && uni_control(c);
        if (space && to > out && to[-1] != ' ') *to++ = ' ';
        if (!space) memcpy(to, from, (size_t)(p - from)), to += p - from;
    }
    while (to > out && to[-1] == ' ') to--;
    *to = 0;
    return out;
}

vm_status captions_add(captions *l, const caption *c, vm_error *e) {
    bool control;
    char *text = in_order(c->caption, &control, e);
    if (!text) return e->status;
    int n = word_count(text);
    if (control) l->control++;
    else if (n < CAPTION_LEAST) l->too_short++;
    else if (n > CAPTION_MOST) l->too_long++;
    else if (!vm_grow(&l->c, &l->cap, l->n + 1, sizeof *l->c)) vm_nomem(e, sizeof *l->c, "captions");
    else {
        const char *raw = c->raw ? c->raw : strcmp(text, c->caption) ? c->caption : NULL;
        l->c[l->n++] = (caption){ .image_id = copy(c->image_id, e),
                                  .caption = text,
                                  .raw = copy(raw, e),
                                  .id = copy(c->id, e),
                                  .file = copy(c->file, e),
                                  .source = copy(c->source, e),
                                  .split = copy(c->split, e),
                                  .width = c->width,
                                  .height = c->height };
        return e->status;
    }
    vm_free(text);
    return e->status;
}

vm_status captions_bad(captions *l, const vm_error *why, vm_error *e) {
    if (l->strict || why->status != VM_EINPUT) return *e = *why, e->status;
    if (l->malformed++ < WARNED) vm_warn("%s; the line is left out", why->msg);
    return VM_OK;
}

void captions_free(captions *l) {
    for (int64_t i = 0; i < l->n; i++) {
        caption *c = &l->c[i];
        vm_free(c->image_id), vm_free(c->caption), vm_free(c->raw), vm_free(c->id), vm_free(c->file),
            vm_free(c->source), vm_free(c->split);
    }
    vm_free(l->c);
    *l = (captions){ .strict = l->strict };
}

vm_status captions_read(captions *l, const char *path, vm_error *e) {
    json_lines *r = NULL;
    json_doc *d;
    if (json_lines_open(&r, path, 0, e)) return e->status;
    vm_error own = { 0 };
    for (int rc; !e->status && (rc = json_lines_next(r, &d, &own)); vm_error_clear(&own)) {
        json_value v = json_root(d);
        if (rc > 0 && v.kind != JSON_OBJECT)
            json_fail(v, &own, "found no object, expected {\"image_id\", \"caption\"}");
        caption c = { .image_id = (char *)json_as_str(json_need(v, "image_id", JSON_STRING, &own), &own),
                      .caption = (char *)json_as_str(json_need(v, "caption", JSON_STRING, &own), &own),
                      .raw = (char *)json_str(v, "caption_raw", NULL, &own),
                      .id = (char *)json_str(v, "caption_id", NULL, &own),
                      .file = (char *)json_str(v, "file", NULL, &own),
                      .source = (char *)json_str(v, "source", NULL, &own),
                      .split = (char *)json_str(v, "split", NULL, &own),
                      .width = json_int(v, "width", 0, 0, 1 << 30, &own),
                      .height = json_int(v, "height", 0, 0, 1 << 30, &own) };
        if (own.status) captions_bad(l, &own, e);
        else captions_add(l, &c, e);
        json_free(d);
    }
    json_lines_close(r);
    return e->status;
}

static void put(json_writer *w, const char *key, const char *s) {
    if (s) json_put_str(w, key, s);
}

vm_status captions_write(const captions *l, const char *path, vm_error *e) {
    vm_out *out = NULL;
    if (vm_out_open(&out, path, e)) return e->status;
    json_writer w = json_to_out(out, JSON_COMPACT);
    for (int64_t i = 0; i < l->n; i++) {
        const caption *c = &l->c[i];
        json_begin_object(&w, NULL);
        put(&w, "image_id", c->image_id), put(&w, "caption", c->caption), put(&w, "caption_id", c->id),
            put(&w, "file", c->file);
        if (c->width) json_put_int(&w, "width", c->width), json_put_int(&w, "height", c->height);
        put(&w, "source", c->source), put(&w, "split", c->split), put(&w, "caption_raw", c->raw);
        json_close_object(&w);
        json_newline(&w);
    }
    json_end(&w, e);
    vm_out_finish(out, e);
    return e->status;
}

/* samples_json.c - the layouts that are JSON (samples.h), read token by token: a file of hundreds of megabytes costs
 * only what is kept of it. */
#include <stdio.h>
#include <stdlib.h>

#include "io/json_scan.h"
#include "io/samples_parts.h"

typedef struct {
    samples_builder *b;
    json_scan s;
    char wrong[200]; /* why the record at hand cannot be used; "" = so far it can */
    const char *at;  /* and where that stands */
    int64_t *more, n_more, cap_more; /* the captions of a list behind its first */
} reader;

static void blame(reader *r, const char *what) {
    if (r->wrong[0]) return;
    snprintf(r->wrong, sizeof r->wrong, "%s", what);
    r->at = r->s.from ? r->s.from : r->s.p;
}

/* "FILE:LINE:COLUMN: words" for the place; lines are counted only for faults that are kept. */
static vm_status put_fault(reader *r, const char *at, const char *words) {
    vm_error text = { 0 };
    json_scan s = r->s;
    s.e = &text;
    if (r->b->s->n_faults < SAMPLES_FAULTS) json_scan_fail(&s, at, "%s", words);
    return samples_fault(r->b, "%s", text.msg);
}

static bool is(const json_scan *s, const char *name) {
    return s->len == strlen(name) && !memcmp(s->from, name, s->len);
}

/* The next token as a text of the index; -1 when it is none (blamed, unless member is NULL), or out of memory. */
static int64_t take_text(reader *r, const char *member) {
    json_token t = json_scan_next(&r->s);
    char what[120];
    if (t == JSON_T_STRING) {
        int64_t at = samples_room(r->b, r->s.len);
        if (at < 0) return -1;
        size_t n = json_scan_text(&r->s, r->b->s->text + at);
        if (!memchr(r->b->s->text + at, 0, n)) return samples_close_text(r->b, at, n);
    }
    snprintf(what, sizeof what, "%.60s is no text%s", member ? member : "",
             t == JSON_T_STRING ? ": it holds a NUL" : "");
    if (member) blame(r, what);
    json_scan_skip(&r->s, t);
    return -1;
}

/* A caption, or the first of a list of them; the others go to r->more. -1 when there is none. */
static int64_t take_captions(reader *r) {
    json_scan before = r->s;
    int64_t first = -1;
    r->n_more = 0;
    if (json_scan_next(&r->s) != JSON_T_ARRAY) {
        r->s = before;
        return take_text(r, NULL); /* several members may go by such a name, and not all be texts */
    }
    for (json_token t;;) {
        before = r->s;
        if ((t = json_scan_next(&r->s)) <= JSON_T_END || t == JSON_T_ARRAY_END) return first;
        r->s = before;
        int64_t at = take_text(r, "a caption of the list");
        if (first < 0) first = at;
        else if (vm_grow(&r->more, &r->cap_more, r->n_more + 1, sizeof *r->more)) r->more[r->n_more++] = at;
        else vm_nomem(r->b->e, (size_t)r->n_more * sizeof at, "the captions");
        if (r->b->e->status) return -1;
    }
}

static sample_side *side(reader *r, int64_t k) { return &r->b->s->side[r->b->open.first + k]; }

/* One change: the object that has just begun. */
static bool take_change(reader *r) {
    sample_side x = { .name = -1, .caption = -1, .archive = -1, .category = -1, .valid = true };
    bool unknown = false;
    const char *from = r->s.from;
    for (json_token t; (t = json_scan_next(&r->s)) == JSON_T_KEY;) {
        if (is(&r->s, "edited_image_path")) x.name = take_text(r, "edited_image_path");
        else if (is(&r->s, "edited_caption")) x.caption = take_text(r, "edited_caption");
        else if (is(&r->s, "category")) {
            t = json_scan_next(&r->s);
            x.category = (int8_t)(t == JSON_T_STRING ? samples_category(r->s.from, r->s.len) : -1);
            unknown = x.category < 0 && t != JSON_T_NULL;
            json_scan_skip(&r->s, t);
        } else if (!json_scan_skip(&r->s, JSON_T_KEY)) return false;
    }
    if (r->b->e->status) return false;
    if (unknown)
        return !put_fault(r, from,
                          "a change of an unknown category (object, attribute, relation and counting are known)");
    if (r->b->o->originals_only || (!samples_wanted(r->b, x.category))) return true;
    if (x.name < 0) blame(r, "a change has no edited_image_path"), r->at = from;
    sample_side *to = samples_side(r->b);
    if (to) *to = x;
    return to;
}

static bool take_changes(reader *r) {
    json_token t = json_scan_next(&r->s);
    if (t == JSON_T_NULL) return true;
    if (t != JSON_T_ARRAY) return blame(r, "negatives is no array"), json_scan_skip(&r->s, t);
    while ((t = json_scan_next(&r->s)) > JSON_T_END && t != JSON_T_ARRAY_END) {
        if (t == JSON_T_OBJECT) {
            if (!take_change(r)) return false;
        } else {
            blame(r, "negatives holds something that is no object");
            if (!json_scan_skip(&r->s, t)) return false;
        }
    }
    return t == JSON_T_ARRAY_END;
}

/* valid_caption: five numbers or truth values, of which bit k of the result is the k-th; -1 = something else. */
static int take_valid(reader *r) {
    json_token t = json_scan_next(&r->s);
    int n = 0, bits = 0;
    bool good = t == JSON_T_ARRAY;
    if (!good) return json_scan_skip(&r->s, t), -1;
    while ((t = json_scan_next(&r->s)) > JSON_T_END && t != JSON_T_ARRAY_END) {
        int64_t v = t == JSON_T_TRUE;
        if (t == JSON_T_NUMBER) good = json_scan_int(&r->s, &v) && good;
        else if (t != JSON_T_TRUE && t != JSON_T_FALSE) good = false;
        if (n < 1 + SAMPLES_AUGMENTED) bits |= (v != 0) << n;
        n++;
        if (!json_scan_skip(&r->s, t)) return -1;
    }
    return good && n == 1 + SAMPLES_AUGMENTED ? bits : -1;
}

/* The four changed captions of CE-CLIP as sides, in its order whatever that of the members. */
static bool add_augmented(reader *r, const int64_t *text, int valid) {
    for (int k = 0; k < SAMPLES_AUGMENTED; k++) {
        if (text[k] < 0) return blame(r, "one of the four changed captions is missing"), true;
        sample_side *x = samples_side(r->b);
        if (!x) return false;
        x->caption = text[k], x->valid = (valid >> (1 + k) & 1) && strcmp(sample_text(r->b->s, text[k]), "###");
    }
    return true;
}

/* One record, whose object has just begun, in any of the layouts. False when the text is no JSON, or memory is out. */
static bool take_record(reader *r) {
    samples_builder *b = r->b;
    const char *from = r->s.from;
    int64_t image = -1, caption = -1, id = -1, text[SAMPLES_AUGMENTED] = { -1, -1, -1, -1 };
    int image_rank = 99, caption_rank = 99, rank, augmented = 0, valid = 31;
    int64_t n_more = 0; /* of the caption taken */
    r->wrong[0] = 0;
    if (!samples_begin(b)) return false;
    json_token t;
    while ((t = json_scan_next(&r->s)) == JSON_T_KEY) {
        int k = 0;
        if ((rank = samples_key_rank(sample_image_keys, b->o->image_key, r->s.from, r->s.len)) >= 0) {
            int64_t at = take_text(r, NULL); /* several members may go by such a name, and not all be texts */
            if (at >= 0 && rank < image_rank) image = at, image_rank = rank;
        } else if ((rank = samples_key_rank(sample_caption_keys, b->o->caption_key, r->s.from, r->s.len)) >= 0) {
            int64_t at = rank < caption_rank ? take_captions(r) : (json_scan_skip(&r->s, JSON_T_KEY), -1);
            if (at >= 0) caption = at, caption_rank = rank, n_more = r->n_more;
        } else if (is(&r->s, "negatives")) {
            if (!take_changes(r)) return false;
        } else if (is(&r->s, "valid_caption")) {
            if ((valid = take_valid(r)) < 0 && !b->e->status) blame(r, "valid_caption is no list of five numbers");
        } else if (is(&r->s, "image_id")) {
            t = json_scan_next(&r->s);
            if (t != JSON_T_NUMBER || !json_scan_int(&r->s, &id)) id = -1;
            json_scan_skip(&r->s, t);
        } else {
            for (; k < SAMPLES_AUGMENTED && !is(&r->s, sample_augmented[k]); k++) {}
            if (k == SAMPLES_AUGMENTED) json_scan_skip(&r->s, JSON_T_KEY);
            else text[k] = take_text(r, sample_augmented[k]), augmented++;
        }
        if (b->e->status) return false;
    }
    if (t != JSON_T_OBJECT_END) return false;
    if (image < 0 && !r->wrong[0] && id >= 0) image = samples_image_name(b, id);
    if (augmented && !r->wrong[0] && !b->o->originals_only && !add_augmented(r, text, valid)) return false;
    if (b->e->status) return false;
    side(r, 0)->name = image, side(r, 0)->caption = caption;
    if (r->wrong[0]) {
        samples_drop(b);
        return !put_fault(r, r->at, r->wrong);
    }
    /* what samples_keep finds is told with the place of the record, which is worked out only then */
    int64_t faults = b->s->n_faults, n = b->s->n;
    if (samples_keep(b, "")) return false;
    for (int64_t i = 0; i < n_more && b->s->n > n; i++) { /* the same picture once more */
        if (!samples_begin(b)) return false;
        side(r, 0)->name = image, side(r, 0)->caption = r->more[i];
        char where[120];
        snprintf(where, sizeof where, "%.40s: caption %lld of a list", r->s.name, (long long)i + 1);
        if (samples_keep(b, where)) return false;
    }
    if (b->s->n > n || faults >= SAMPLES_FAULTS) return true;
    char *said = b->s->fault[faults];
    b->s->n_faults = faults;
    bool done = !put_fault(r, from, said + 2); /* behind ": " */
    vm_free(said);
    return done;
}

static vm_status read_array(reader *r) {
    json_token t = json_scan_next(&r->s);
    while ((t = json_scan_next(&r->s)) > JSON_T_END && t != JSON_T_ARRAY_END) {
        if (t == JSON_T_OBJECT ? !take_record(r) : put_fault(r, r->s.from, "no object") || !json_scan_skip(&r->s, t))
            return r->b->e->status;
    }
    if (t == JSON_T_ARRAY_END) json_scan_next(&r->s); /* nothing may follow */
    return r->b->e->status;
}

/* One line, a text of its own: JSON_T_END when it is blank. What is wrong goes to the builder's e. */
static void read_line(reader *r, const char *text, const char *line, size_t bytes, const char *path) {
    vm_error *e = r->b->e, ignored = { 0 };
    bool utf8 = !json_scan_start(&r->s, line, bytes, path, 0, &ignored);
    r->s.text = text, r->s.e = e; /* places are told in lines of the file */
    if (!utf8) {
        json_scan_fail(&r->s, line, "the line is not UTF-8; save the file in UTF-8");
        return;
    }
    for (const char *p = r->s.p;; p++) {
        if (p == r->s.end) return;
        if (*p != ' ' && *p != '\t' && *p != '\r') break;
    }
    json_token t = json_scan_next(&r->s);
    if (t == JSON_T_OBJECT) {
        if (take_record(r)) json_scan_next(&r->s); /* nothing may follow */
    } else if (t != JSON_T_ERROR) {
        json_scan_fail(&r->s, r->s.from, "the line is no JSON object");
    }
}

/* A torn line costs nothing but itself. */
static vm_status read_lines(reader *r, const char *text, size_t bytes, const char *path) {
    samples_builder *b = r->b;
    vm_error *e = b->e;
    const char *end = text + bytes;
    for (const char *line = text, *feed; line < end && !e->status; line = feed + 1) {
        vm_error bad = { 0 };
        int64_t n = b->s->n;
        if (!(feed = memchr(line, '\n', (size_t)(end - line)))) feed = end;
        b->open = (sample_group){ b->s->n_sides, 0 }, b->text_from = b->s->text_len;
        b->e = &bad;
        read_line(r, text, line, (size_t)(feed - line), path);
        b->e = e;
        if (bad.status == VM_EDEVICE) *e = bad;
        else if (bad.status) b->s->n = n, samples_drop(b), samples_fault(b, "%s", bad.msg);
    }
    return e->status;
}

/* --- COCO --------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t id, name;
} picture;
typedef struct {
    int64_t image, caption;
    const char *at;
} annotation;
typedef struct {
    picture *p;
    annotation *a;
    int64_t n_p, n_a, cap_p, cap_a;
} coco;

static int by_id(const void *a, const void *b) {
    int64_t x = ((const picture *)a)->id, y = ((const picture *)b)->id;
    return (x > y) - (x < y);
}

/* The object that has just begun: its two members of the given names. False on error. */
static bool take_two(reader *r, const char *number, const char *text, int64_t *id, int64_t *at) {
    json_token t;
    *id = *at = -1;
    r->wrong[0] = 0;
    while ((t = json_scan_next(&r->s)) == JSON_T_KEY) {
        if (is(&r->s, number)) {
            t = json_scan_next(&r->s);
            if (t != JSON_T_NUMBER || !json_scan_int(&r->s, id)) *id = -1;
            json_scan_skip(&r->s, t);
        } else if (is(&r->s, text)) *at = take_text(r, text);
        else json_scan_skip(&r->s, JSON_T_KEY);
        if (r->b->e->status) return false;
    }
    return t == JSON_T_OBJECT_END;
}

/* The array of pictures, or of annotations. */
static bool take_list(reader *r, coco *c, bool pictures) {
    json_token t = json_scan_next(&r->s);
    if (t != JSON_T_ARRAY)
        return !json_scan_fail(&r->s, r->s.from, "%s is no array", pictures ? "images" : "annotations");
    while ((t = json_scan_next(&r->s)) == JSON_T_OBJECT) {
        const char *from = r->s.from;
        int64_t id, at;
        if (!take_two(r, pictures ? "id" : "image_id", pictures ? "file_name" : "caption", &id, &at)) return false;
        if (id < 0 || at < 0)
            put_fault(r, from,
                      pictures ? "a picture without id or file_name" : "an annotation without image_id or caption");
        else if (pictures && !vm_grow(&c->p, &c->cap_p, c->n_p + 1, sizeof *c->p))
            vm_nomem(r->b->e, sizeof *c->p, "the pictures");
        else if (!pictures && !vm_grow(&c->a, &c->cap_a, c->n_a + 1, sizeof *c->a))
            vm_nomem(r->b->e, sizeof *c->a, "the captions");
        else if (pictures) c->p[c->n_p++] = (picture){ id, at };
        else c->a[c->n_a++] = (annotation){ id, at, from };
        if (r->b->e->status) return false;
    }
    if (t == JSON_T_ARRAY_END) return true;
    return t == JSON_T_ERROR ? false
                             : !json_scan_fail(&r->s, r->s.from, "%s holds something that is no object",
                                               pictures ? "images" : "annotations");
}

/* The strings of all pictures and captions stand in the text already: groups only point to them. */
static vm_status join(reader *r, coco *c) {
    samples_builder *b = r->b;
    if (c->n_p) qsort(c->p, (size_t)c->n_p, sizeof *c->p, by_id);
    for (int64_t k = 0; k < c->n_a && !b->e->status; k++) {
        const picture *p =
            c->n_p ? bsearch(&(picture){ c->a[k].image, 0 }, c->p, (size_t)c->n_p, sizeof *c->p, by_id) : NULL;
        if (!samples_begin(b)) break;
        side(r, 0)->caption = c->a[k].caption;
        side(r, 0)->name = p ? p->name : c->n_p ? -1 : samples_image_name(b, c->a[k].image);
        char where[600];
        snprintf(where, sizeof where, "%.500s: annotation %lld (picture %lld)", r->s.name, (long long)k,
                 (long long)c->a[k].image);
        samples_keep(b, where);
    }
    return b->e->status;
}

static vm_status read_coco(reader *r) {
    coco c = { 0 };
    json_token t = json_scan_next(&r->s);
    while (!r->b->e->status && (t = json_scan_next(&r->s)) == JSON_T_KEY) {
        bool pictures = is(&r->s, "images");
        if (pictures || is(&r->s, "annotations")) {
            if (!take_list(r, &c, pictures)) break;
        } else json_scan_skip(&r->s, JSON_T_KEY);
    }
    if (!r->b->e->status) json_scan_next(&r->s); /* nothing may follow */
    if (!r->b->e->status) join(r, &c);
    vm_free(c.p), vm_free(c.a);
    return r->b->e->status;
}

/* Whether the object at the beginning has a member called annotations: COCO's, and nobody else's. One that has images
 * without annotations is Karpathy's. */
static bool is_coco(const char *text, size_t bytes, bool *karpathy) {
    json_scan s;
    vm_error ignored = { 0 };
    *karpathy = false;
    if (json_scan_start(&s, text, bytes, "", 0, &ignored) || json_scan_next(&s) != JSON_T_OBJECT) return false;
    while (json_scan_next(&s) == JSON_T_KEY) {
        if (is(&s, "annotations")) return true;
        *karpathy |= is(&s, "images"); /* and no annotations */
        if (!json_scan_skip(&s, JSON_T_KEY)) break;
    }
    return false;
}

vm_status samples_read_json(samples_builder *b, const char *text, size_t bytes, const char *path) {
    reader r = { .b = b };
    const char *p = text;
    while (p < text + bytes && *p != '[' && *p != '{') p++;
    bool array = p < text + bytes && *p == '[', karpathy = false, coco_file = !array && is_coco(text, bytes, &karpathy);
    b->s->layout = array ? "VisMin JSON" : coco_file ? "COCO captions" : karpathy ? "Karpathy JSON" : "JSON Lines";
    if (karpathy && !coco_file) return samples_read_karpathy(b, text, bytes, path);
    if (!array && !coco_file) read_lines(&r, text, bytes, path);
    else if (!json_scan_start(&r.s, text, bytes, path, 0, b->e)) array ? read_array(&r) : read_coco(&r);
    vm_free(r.more);
    return b->e->status;
}

/* samples_karpathy.c - the captions of COCO, Flickr30k and Flickr8k in the splits of A. Karpathy and L. Fei-Fei (2015):
 *   {"images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "split": "test",
 *                "sentences": [{"raw": "A man with a red helmet ...", "tokens": [...]}, ...]}, ...], "dataset": "coco"}
 * One group for each sentence; the picture's name is filepath/filename (Flickr's have no filepath). */
#include "io/json_scan.h"
#include "io/samples_parts.h"

typedef struct {
    samples_builder *b;
    json_scan s;
    int64_t *sentence, n, cap; /* of the picture at hand: where they begin in the text */
} karpathy;

static bool is(const json_scan *s, const char *name) {
    return s->len == strlen(name) && !memcmp(s->from, name, s->len);
}

/* The value behind a key as a text of the index, behind `folder/` when that is given; -1 when it is none. */
static int64_t take_text(karpathy *k, int64_t folder) {
    json_token t = json_scan_next(&k->s);
    const char *under = folder < 0 ? "" : sample_text(k->b->s, folder);
    size_t n = strlen(under), with = n ? n + 1 : 0;
    if (t == JSON_T_STRING) {
        int64_t at = samples_room(k->b, with + k->s.len);
        if (at < 0) return -1;
        char *to = k->b->s->text + at;
        if (with) memmove(to, sample_text(k->b->s, folder), n), to[n] = '/'; /* the text may have moved */
        size_t len = json_scan_text(&k->s, to + with);
        return memchr(to + with, 0, len) ? -1 : samples_close_text(k->b, at, with + len);
    }
    json_scan_skip(&k->s, t);
    return -1;
}

static bool take_sentences(karpathy *k) {
    json_token t = json_scan_next(&k->s);
    if (t != JSON_T_ARRAY) return json_scan_skip(&k->s, t);
    while ((t = json_scan_next(&k->s)) == JSON_T_OBJECT) {
        int64_t raw = -1;
        while ((t = json_scan_next(&k->s)) == JSON_T_KEY)
            if (is(&k->s, "raw")) raw = take_text(k, -1);
            else if (!json_scan_skip(&k->s, JSON_T_KEY)) return false;
        if (t != JSON_T_OBJECT_END || k->b->e->status) return false;
        if (!vm_grow(&k->sentence, &k->cap, k->n + 1, sizeof *k->sentence))
            return vm_nomem(k->b->e, (size_t)k->n * sizeof *k->sentence, "the captions"), false;
        k->sentence[k->n++] = raw;
    }
    return t == JSON_T_ARRAY_END || (t != JSON_T_ERROR && !json_scan_fail(&k->s, k->s.from, "sentences holds no object"));
}

/* One picture, whose object has just begun. */
static bool take_picture(karpathy *k, const char *from) {
    samples_builder *b = k->b;
    const char *split = b->o->split;
    int64_t folder = -1, name = -1;
    int64_t text_from = b->s->text_len;
    bool in = !split;
    json_token t;
    k->n = 0;
    /* filepath stands before filename in all published files; if it does not, the name stays without it */
    while ((t = json_scan_next(&k->s)) == JSON_T_KEY) {
        bool good = true;
        if (is(&k->s, "filepath")) folder = take_text(k, -1);
        else if (is(&k->s, "filename")) name = take_text(k, folder);
        else if (is(&k->s, "sentences")) good = take_sentences(k);
        else if (is(&k->s, "split") && split) {
            t = json_scan_next(&k->s);
            in = t == JSON_T_STRING && is(&k->s, split);
            json_scan_skip(&k->s, t);
        } else good = json_scan_skip(&k->s, JSON_T_KEY);
        if (!good || b->e->status) return false;
    }
    if (t != JSON_T_OBJECT_END) return false;
    if (!in) return b->s->text_len = text_from, true;
    for (int64_t i = 0; i < VM_MAX(k->n, (int64_t)1); i++) { /* a picture without sentences is a fault */
        vm_error place = { 0 };
        json_scan at = k->s;
        at.e = &place;
        if (!samples_begin(b)) return false;
        sample_side *x = &b->s->side[b->open.first];
        x->name = name, x->caption = k->n ? k->sentence[i] : -1;
        if (b->s->n_faults < SAMPLES_FAULTS && (x->name < 0 || x->caption < 0)) json_scan_fail(&at, from, "a picture");
        char *words = strstr(place.msg, ": a picture");
        if (words) *words = 0;
        if (samples_keep(b, place.msg)) return false;
    }
    return true;
}

vm_status samples_read_karpathy(samples_builder *b, const char *text, size_t bytes, const char *path) {
    karpathy k = { .b = b };
    json_token t = JSON_T_ERROR;
    if (json_scan_start(&k.s, text, bytes, path, 0, b->e)) return b->e->status;
    json_scan_next(&k.s);
    while (!b->e->status && (t = json_scan_next(&k.s)) == JSON_T_KEY) {
        if (!is(&k.s, "images")) {
            json_scan_skip(&k.s, JSON_T_KEY);
            continue;
        }
        if ((t = json_scan_next(&k.s)) != JSON_T_ARRAY) {
            json_scan_fail(&k.s, k.s.from, "images is no array");
            break;
        }
        while ((t = json_scan_next(&k.s)) == JSON_T_OBJECT && take_picture(&k, k.s.from)) {}
        if (!b->e->status && t != JSON_T_ARRAY_END)
            json_scan_fail(&k.s, k.s.from, "images holds something that is no object");
    }
    if (!b->e->status) json_scan_next(&k.s); /* nothing may follow */
    vm_free(k.sentence);
    return b->e->status;
}

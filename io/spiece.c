/* spiece.c - see spiece.h. A protocol buffer is a list of fields: varint (number << 3 | wire type), then by wire type a
 * varint (0), 8 bytes (1), a varint length and as many bytes (2), or 4 bytes (5). A message within is of type 2. */
#include "io/spiece.h"

#include <string.h>

#include "io/vocab.h"

typedef struct {
    const uint8_t *p, *end, *begin; /* begin: of the file, for places in messages */
    const char *name;
    vm_error *e;
} reader;

typedef struct {
    uint64_t number, value; /* value: of a varint or fixed field */
    int wire;
    const uint8_t *bytes;   /* of a field of type 2 */
    size_t n;
} field;

static bool bad(const reader *r, const char *what) {
    vm_fail(r->e, VM_EINPUT, "%s: byte %zu: %s, expected a SentencePiece model; fetch the file again", r->name, (size_t)(r->p - r->begin), what);
    return false;
}

static bool varint(reader *r, uint64_t *v) {
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end) return bad(r, "the file is cut off within a number");
        uint8_t b = *r->p++;
        *v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) return true;
    }
    return bad(r, "a number of more than 10 bytes");
}

/* The next field; false at the end and on errors. */
static bool next(reader *r, field *f) {
    uint64_t key;
    if (r->p == r->end || r->e->status || !varint(r, &key)) return false;
    *f = (field){ .number = key >> 3, .wire = (int)(key & 7) };
    if (!f->number) return bad(r, "a field of number 0");
    if (f->wire == 0) return varint(r, &f->value);
    if (f->wire == 1 || f->wire == 5) {
        size_t n = f->wire == 1 ? 8 : 4;
        if ((size_t)(r->end - r->p) < n) return bad(r, "the file is cut off within a number");
        for (size_t i = 0; i < n; i++) f->value |= (uint64_t)*r->p++ << 8 * i;
        return true;
    }
    if (f->wire != 2) return bad(r, "a field of a kind that is not used");
    if (!varint(r, &f->value)) return false;
    if (f->value > (uint64_t)(r->end - r->p)) return bad(r, "the file is cut off, or a field states a wrong length");
    f->bytes = r->p, f->n = (size_t)f->value;
    r->p += f->n;
    return true;
}

static reader inside(const reader *r, const field *f) { return (reader){ f->bytes, f->bytes + f->n, r->begin, r->name, r->e }; }

static void read_piece(spiece_file *m, const reader *outer, const field *whole) {
    reader r = inside(outer, whole);
    spiece x = { .kind = SPIECE_NORMAL };
    for (field f; next(&r, &f);) {
        if (f.number == 1 && f.wire == 2) x.text = (const char *)f.bytes, x.bytes = f.n;
        if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&x.score, &bits, sizeof bits);
        }
        if (f.number == 3 && f.wire == 0) x.kind = f.value <= SPIECE_BYTE ? (spiece_kind)f.value : SPIECE_NORMAL;
    }
    if (r.e->status) return;
    if (!x.bytes) bad(&r, "a piece without text");
    else if (!(x.score > -1e30f && x.score < 1e30f)) bad(&r, "a piece whose score is not a number");
    else if (m->n >= VOCAB_MAX_ID) bad(&r, "too many pieces");
    else if (!vm_grow(&m->piece, &m->cap, m->n + 1, sizeof *m->piece)) vm_nomem(r.e, sizeof x, "the pieces");
    else m->piece[m->n++] = x;
}

static void read_trainer(spiece_file *m, const reader *outer, const field *whole) {
    reader r = inside(outer, whole);
    for (field f; next(&r, &f);) {
        if (f.wire) continue;
        if (f.number == 3) m->model = f.value >= SPIECE_UNIGRAM && f.value <= SPIECE_CHAR ? (spiece_model)f.value : SPIECE_UNIGRAM;
        if (f.number == 24) m->suffix = f.value != 0;
        if (f.number == 35) m->byte_fallback = f.value != 0;
    }
}

static void read_normalizer(spiece_file *m, const reader *outer, const field *whole) {
    reader r = inside(outer, whole);
    for (field f; next(&r, &f);) {
        if (f.number == 2 && f.wire == 2) m->charsmap = (const char *)f.bytes, m->charsmap_n = f.n;
        if (f.number == 3 && f.wire == 0) m->dummy_prefix = f.value != 0;
        if (f.number == 4 && f.wire == 0) m->squeeze = f.value != 0;
        if (f.number == 5 && f.wire == 0) m->escape = f.value != 0;
    }
}

vm_status spiece_read(spiece_file *m, const void *data, size_t bytes, const char *name, vm_error *e) {
    reader r = { data, (const uint8_t *)data + bytes, data, name, e };
    *m = (spiece_file){ .model = SPIECE_UNIGRAM, .dummy_prefix = true, .squeeze = true, .escape = true };
    bool trainer = false, normalizer = false;
    for (field f; next(&r, &f);) {
        if (f.number > 3 || f.wire != 2) continue;
        trainer |= f.number == 2, normalizer |= f.number == 3;
        (f.number == 1 ? read_piece : f.number == 2 ? read_trainer : read_normalizer)(m, &r, &f);
    }
    if (!e->status && !m->n) vm_fail(e, VM_EINPUT, "%s: found no pieces, expected a SentencePiece model", name);
    /* they stand behind the pieces: a file cut off between two pieces has none */
    if (!e->status && (!trainer || !normalizer)) vm_fail(e, VM_EINPUT, "%s: found no rules behind %lld pieces, the file is cut off; fetch it again", name, (long long)m->n);
    return e->status;
}

void spiece_free(spiece_file *m) {
    vm_free(m->piece);
    *m = (spiece_file){ 0 };
}

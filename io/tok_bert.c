/* tok_bert.c - WordPiece as BERT has it: normaliser, words, pieces.
 *
 * The normaliser, in this order: control characters go and whitespace becomes a blank; a blank on both sides of every
 * CJK ideograph; canonical decomposition without the marks (accents); lower case of each character on its own. Words
 * stand between whitespace, every punctuation character is a word. A word is cut into the longest entries from its
 * start, all but the first written with ## in front; a word that cannot be cut to its end is one unknown token. What
 * counts as mark, punctuation and control character is what the reference's tables of Unicode say (tok_bert_table.h). */
#include "io/tok_bert_table.h"
#include "io/tok_parts.h"

enum { LETTER = 0, MARK = 'M', PUNCTUATION = 'P', CONTROL = 'C' };

static int kind_of(int32_t c) {
    if (c < 0x80) {
        bool punctuation = (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
        return punctuation ? PUNCTUATION : c < 32 || c == 127 ? CONTROL : LETTER;
    }
    int kind = uni_mark(c) ? MARK : uni_punctuation(c) ? PUNCTUATION : uni_control(c) ? CONTROL : LETTER;
    for (int i = 0; i < VM_LEN(other_kinds); i++)
        if (other_kinds[i].c == c) return other_kinds[i].kind;
    if (kind == LETTER) return kind;
    int lo = 0, hi = VM_LEN(plain_ranges);
    while (lo < hi) { /* the first range that ends at c or behind it */
        int mid = (lo + hi) / 2;
        if (plain_ranges[mid][1] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo < VM_LEN(plain_ranges) && plain_ranges[lo][0] <= c ? LETTER : kind;
}

static bool ideograph(int32_t c) {
    static const int32_t range[][2] = { { 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },
                                        { 0x20000, 0x2a6df }, { 0x2a700, 0x2b81f }, { 0x2b920, 0x2ceaf },
                                        { 0x2f800, 0x2fa1f } };
    for (int i = 0; i < VM_LEN(range); i++)
        if (c >= range[i][0] && c <= range[i][1]) return true;
    return false;
}

/* --- normalisation ----------------------------------------------------------------------------------------------- */
static vm_status out_of_memory(vm_error *e, size_t bytes) { return vm_nomem(e, bytes, "a text to be tokenized"); }

static void clean_controls(uni_text *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) {
        int32_t c = t->c[i];
        bool gap = c == '\t' || c == '\n' || c == '\r';
        if (gap || (c && c != 0xfffd && kind_of(c) != CONTROL)) t->c[n++] = uni_space(c) ? ' ' : c;
    }
    t->n = n;
}

static bool space_ideographs(uni_text *out, const uni_text *in) {
    out->n = 0;
    for (int64_t i = 0; i < in->n; i++) {
        bool apart = ideograph(in->c[i]);
        if ((apart && !uni_add(out, ' ')) || !uni_add(out, in->c[i]) || (apart && !uni_add(out, ' '))) return false;
    }
    return true;
}

static void drop_marks(uni_text *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (kind_of(t->c[i]) != MARK) t->c[n++] = t->c[i];
    t->n = n;
}

static vm_status clean(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    uni_text *a = &t->points, *b = &t->points2;
    a->n = 0;
    if (!uni_decode(a, s, bytes)) return out_of_memory(e, bytes);
    if (t->bert.clean) clean_controls(a);
    if (t->bert.ideographs) {
        if (!space_ideographs(b, a)) return out_of_memory(e, bytes);
        uni_text was = *a;
        *a = *b, *b = was;
    }
    if (t->bert.strip) {
        if (!uni_nfd(a, b)) return out_of_memory(e, bytes);
        drop_marks(a);
    }
    if (t->bert.lower) {
        b->n = 0;
        if (!uni_lower_text(b, a, false)) return out_of_memory(e, bytes);
        a = b;
    }
    if (!vm_grow(&out->s, &out->cap, out->n + 4 * a->n, 1)) return out_of_memory(e, bytes);
    for (int64_t i = 0; i < a->n; i++) out->n += uni_put(out->s + out->n, a->c[i]);
    return VM_OK;
}

/* --- pieces ------------------------------------------------------------------------------------------------------ */
/* The longest entry that a rest of n bytes starts with, its length in *len; -1 when there is none. */
static int32_t longest_piece(tok *t, const char *s, size_t n, bool first, size_t *len) {
    size_t mark = first ? 0 : strlen(t->bert.inside), room = (size_t)t->bert.longest;
    char *piece = t->out_text.s; /* room for the longest entry, made by ready */
    if (room < mark) return -1;
    n = VM_MIN(n, room - mark);
    memcpy(piece, t->bert.inside, mark);
    memcpy(piece + mark, s, n);
    for (; n; n--) {
        int32_t id = vocab_find(&t->words, piece, mark + n);
        if (id < 0) continue;
        *len = n;
        return id;
    }
    return -1;
}

static vm_status add_word(tok *t, const char *s, size_t n, int64_t chars, tok_ids *out, vm_error *e) {
    int64_t before = out->n;
    bool whole = chars <= t->bert.most_chars;
    for (size_t at = 0, len; at < n && whole; at += len) {
        int32_t id = longest_piece(t, s + at, n - at, !at, &len);
        whole = id >= 0;
        if (whole && !tok_ids_add(out, id)) return out_of_memory(e, n);
    }
    if (whole) return VM_OK;
    out->n = before;
    return tok_ids_add(out, t->info.unk) ? VM_OK : out_of_memory(e, n);
}

static vm_status split(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    const char *end = s + bytes, *word = s;
    int64_t chars = 0;
    vm_status st = VM_OK;
    while (s < end && !st) {
        const char *from = s;
        int32_t c = uni_next(&s, end);
        bool space = uni_space(c), alone = kind_of(c) == PUNCTUATION;
        if (!space && !alone) {
            chars++;
            continue;
        }
        if (from > word) st = add_word(t, word, (size_t)(from - word), chars, out, e);
        if (alone && !st) st = add_word(t, from, (size_t)(s - from), 1, out, e);
        word = s, chars = 0;
    }
    if (!st && end > word) st = add_word(t, word, (size_t)(end - word), chars, out, e);
    return st;
}

/* --- back to text ------------------------------------------------------------------------------------------------ */
/* A blank before each entry that begins a word, but before . ? ! and , (as the decoder of tokenizer.json with cleanup). */
static bool spell(const tok *t, int32_t id, tok_text *out, bool *blank) {
    size_t n, mark = strlen(t->bert.inside);
    const char *s = vocab_text(&t->words, id, &n);
    bool inner = mark && n >= mark && !memcmp(s, t->bert.inside, mark);
    *blank = false;
    if (inner) s += mark, n -= mark;
    else if (!(n == 1 && strchr(".?!,", *s)) && !tok_text_add(out, " ", 1)) return false;
    return tok_text_add(out, s, n);
}

static vm_status ready(tok *t, const char *name, vm_error *e) {
    tok_info *info = &t->info;
    info->bos = tok_find_name(t, TOK_CLS, "[CLS]", NULL);
    info->eos = tok_find_name(t, TOK_SEP, "[SEP]", NULL);
    if (info->unk < 0) info->unk = tok_find_name(t, TOK_UNK, "[UNK]", NULL);
    if (info->pad < 0) info->pad = tok_find_name(t, TOK_PADDING, "[PAD]", NULL);
    if (info->unk < 0)
        return vm_fail(e, VM_EINPUT, "%s: vocabulary: found no [UNK], expected the WordPiece vocabulary of BERT", name);
    if (!t->from_json && (info->bos < 0 || info->eos < 0))
        return vm_fail(e, VM_EINPUT, "%s: vocabulary: found no %s, expected the WordPiece vocabulary of BERT", name,
                       info->bos < 0 ? "[CLS]" : "[SEP]");
    if (!t->from_json && (!tok_ids_add(&t->prefix, info->bos) || !tok_ids_add(&t->suffix, info->eos)))
        return out_of_memory(e, 8);
    for (int32_t id = 0; id < t->words.n; id++) {
        size_t n;
        if (vocab_text(&t->words, id, &n)) t->bert.longest = VM_MAX(t->bert.longest, (int64_t)n);
    }
    /* the library that reads these files pads and cuts only when it is asked to, whatever tokenizer.json states */
    t->cut_len = t->pad_len = t->pad_multiple = 0;
    t->bert.longest += (int64_t)strlen(t->bert.inside);
    return vm_grow(&t->out_text.s, &t->out_text.cap, t->bert.longest + 1, 1) ? VM_OK : out_of_memory(e, 64);
}

const tok_family tok_bert = { .clean = clean, .split = split, .spell = spell, .ready = ready, .blank_before = true };

/* token_trie.c - see token_trie.h. */
#include "models/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "io/utf8.h"

typedef struct {
    const char *s;
    int64_t n;
    int32_t id;
} piece;

static int by_bytes(const void *a, const void *b) {
    const piece *x = a, *y = b;
    int d = memcmp(x->s, y->s, (size_t)VM_MIN(x->n, y->n));
    if (d) return d;
    return x->n != y->n ? (x->n < y->n ? -1 : 1) : x->id - y->id;
}

/* Characters of a token that a JSON string may hold as it is; 0 = it is none. */
static int plain_chars(const char *s, int64_t n) {
    int chars = 0;
    if (utf8_bad(s, (size_t)n) != (size_t)n) return 0;
    for (int64_t i = 0; i < n; i++) {
        if ((uint8_t)s[i] < 0x20 || s[i] == '"' || s[i] == '\\') return 0;
        chars += ((uint8_t)s[i] & 0xc0) != 0x80;
    }
    return chars;
}

static vm_status spell_all(token_trie *t, tok *k, vm_error *e) {
    int64_t cap = 0, n = 0;
    if (!(t->at = vm_alloc((size_t)(t->vocab + 1) * sizeof *t->at)))
        return vm_nomem(e, (size_t)t->vocab * sizeof *t->at, "a vocabulary");
    for (int32_t id = 0; id < t->vocab; id++) {
        const char *s;
        size_t len;
        if (tok_spell(k, id, &s, &len, e)) return e->status;
        if (!vm_grow(&t->bytes, &cap, n + (int64_t)len + 1, 1)) return vm_nomem(e, (size_t)n, "a vocabulary");
        memcpy(t->bytes + n, s, len);
        t->at[id] = n, n += (int64_t)len;
        t->longest = VM_MAX(t->longest, (int)len);
        if (len == 1) t->can.byte[(uint8_t)*s] = true;
        if (len == 2 && *s == ' ') t->can.joined[(uint8_t)s[1]] = true;
    }
    t->at[t->vocab] = n;
    return VM_OK;
}

/* The tree of sorted tokens. */
static bool build(trie_nodes *t, const piece *p, int64_t n, int longest) {
    int64_t nodes = 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t same = 0;
        while (i && same < p[i].n && same < p[i - 1].n && p[i].s[same] == p[i - 1].s[same]) same++;
        nodes += p[i].n - same;
    }
    t->byte = vm_calloc((size_t)nodes, 1), t->end = vm_alloc((size_t)nodes * sizeof *t->end);
    t->first = vm_alloc((size_t)(nodes + 1) * sizeof *t->first), t->id = vm_alloc((size_t)(n + 1) * sizeof *t->id);
    int32_t *open = vm_alloc((size_t)(longest + 1) * sizeof *open); /* the way to the last node */
    if (t->byte && t->end && t->first && t->id && open) {
        int64_t depth = 0;
        t->n = 1, t->first[0] = 0, open[0] = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t same = 0;
            while (i && same < p[i].n && same < p[i - 1].n && p[i].s[same] == p[i - 1].s[same]) same++;
            for (; depth > same; depth--) t->end[open[depth]] = (int32_t)t->n;
            while (depth < p[i].n) {
                int32_t at = open[depth + 1] = (int32_t)t->n++;
                t->byte[at] = (uint8_t)p[i].s[depth++];
                t->first[at] = (int32_t)i;
            }
            t->id[i] = p[i].id;
        }
        for (; depth >= 0; depth--) t->end[open[depth]] = (int32_t)t->n;
        t->first[t->n] = (int32_t)n, t->n_ids = n;
        memset(t->head, 0xff, sizeof t->head);
        for (int32_t i = 1; i < t->n; i = t->end[i]) t->head[t->byte[i]] = i;
    }
    vm_free(open);
    return t->n > 0;
}

int32_t trie_child(const trie_nodes *t, int32_t node, uint8_t byte) {
    if (!node) return t->head[byte];
    int32_t i = node + 1, end = t->end[node];
    while (i < end && t->byte[i] < byte) i = t->end[i];
    return i < end && t->byte[i] == byte ? i : -1;
}

vm_status token_trie_new(token_trie **out, tok *k, int64_t vocab, vm_error *e) {
    token_trie *t = *out = NULL;
    int drops = tok_drops_blanks(k);
    if (drops < 0)
        return vm_fail(e, VM_EINPUT,
                       "texts of a given form need a tokenizer whose tokens are the bytes of a text (byte pairs, unigram, "
                       "WordPiece), which CLIP's is not");
    if (!(t = *out = vm_calloc(1, sizeof *t))) return vm_nomem(e, sizeof *t, "a vocabulary");
    t->vocab = vocab, t->words = (vocab + 63) / 64, t->drops = drops;
    piece *p = vm_alloc((size_t)(2 * vocab + 1) * sizeof *p), *other = p ? p + vocab : NULL;
    int64_t n = 0, n_other = 0;
    bool ok = p && !spell_all(t, k, e);
    for (int32_t id = 0; ok && id < vocab; id++) {
        piece x = { t->bytes + t->at[id], t->at[id + 1] - t->at[id], id };
        if (!x.n) continue;
        int chars = plain_chars(x.s, x.n);
        t->longest_plain = VM_MAX(t->longest_plain, chars);
        p[n++] = x;
        if (!chars) other[n_other++] = x;
    }
    if (ok) {
        qsort(p, (size_t)n, sizeof *p, by_bytes), qsort(other, (size_t)n_other, sizeof *p, by_bytes);
        t->plain = vm_calloc((size_t)(t->longest_plain * t->words) + 1, sizeof *t->plain);
        ok = t->plain && build(&t->all, p, n, t->longest) && build(&t->others, other, n_other, t->longest);
    }
    for (int64_t i = 0; ok && i < n; i++)
        for (int c = plain_chars(p[i].s, p[i].n); c > 0 && c <= t->longest_plain; c++)
            t->plain[(c - 1) * t->words + p[i].id / 64] |= (uint64_t)1 << p[i].id % 64;
    vm_free(p);
    if (!ok) {
        token_trie_free(t);
        *out = NULL;
        return e->status ? e->status : vm_nomem(e, (size_t)vocab * sizeof *p, "a vocabulary");
    }
    return VM_OK;
}

static void nodes_free(trie_nodes *t) { vm_free(t->byte), vm_free(t->end), vm_free(t->first), vm_free(t->id); }

void token_trie_free(token_trie *t) {
    if (!t) return;
    nodes_free(&t->all), nodes_free(&t->others);
    vm_free(t->plain), vm_free(t->bytes), vm_free(t->at);
    vm_free(t);
}

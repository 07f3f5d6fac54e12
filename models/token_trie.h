/* token_trie.h - a vocabulary by the bytes of its tokens: prefix trees in the order of a walk, for constrain.c. */
#ifndef VM_TOKEN_TRIE_H
#define VM_TOKEN_TRIE_H
#include "io/grammar_walk.h"
#include "io/tokenizer.h"

/* Nodes in preorder: the children of i begin at i + 1, its next sibling is end[i]. Node 0 is the root, of no byte. */
typedef struct {
    uint8_t *byte;
    int32_t *end;
    int32_t *first;    /* (n + 1): the tokens that end at i are id[first[i]] to id[first[i + 1] - 1] */
    int32_t *id;       /* in the order of their bytes */
    int32_t head[256]; /* children of the root; -1 = none */
    int64_t n, n_ids;
} trie_nodes;

typedef struct {
    int64_t vocab; /* of the model */
    int64_t words; /* of a mask: bit id % 64 of word id / 64 */
    trie_nodes all;
    trie_nodes others; /* without plain tokens: those of whole characters that a JSON string may hold as they are */
    uint64_t *plain;   /* (longest_plain, words): row k has the plain tokens of at most k + 1 characters */
    int longest_plain; /* characters */
    int longest;       /* bytes of the longest token */
    int drops;         /* tok_drops_blanks */
    g_tokens can;      /* bytes that are a token, or one with a blank before them */
    char *bytes;       /* of all tokens; those of id are bytes[at[id]] to bytes[at[id + 1] - 1] */
    int64_t *at;       /* (vocab + 1) */
} token_trie;

/* vocab: rows of the model's head, which may be more or fewer than the tokenizer's entries. Special tokens are in no
 * tree. WordPiece's words have the blank before them, but at the start of a text. VM_EINPUT: a tokenizer whose tokens are
 * not the bytes of a text (CLIP's). */
vm_status token_trie_new(token_trie **out, tok *t, int64_t vocab, vm_error *e);
void token_trie_free(token_trie *t); /* accepts NULL */
int32_t trie_child(const trie_nodes *t, int32_t node, uint8_t byte); /* -1 = none */
#endif

/* constrain.h - texts of a given form from a language model: at each step the tokens that may come next (io/grammar.h).
 *
 *     token_trie_new(&trie, tokenizer, m->c.vocab, e);        // once for a model; read by any number of threads
 *     grammar_from_schema(&g, schema, bytes, "NAME", e);
 *     constraint_form_new(&form, g, trie, e);                 // once for a grammar; keeps masks; one thread at a time
 *     constraint_new(&c, form, e);                            // the place in one text: llm_request.limit (llm_queue.h)
 *
 * Then llm_queue asks, or a loop of the caller's own: constraint_mask(c, tokens_left, e) before each token,
 * constraint_accept(c, id, e) behind it, and the text may end when constraint_done(c).
 *
 * A token may come when its bytes lead from one of the live stacks of the automaton to a place from which a text can be
 * ended with the tokens that are left: so no text is cut inside. The mask of each place is computed by a walk over the
 * prefix tree of the vocabulary and kept; inside a JSON string the tokens of whole, plain characters are one mask that
 * all grammars share, and only the others are walked. Special tokens never come; the end token is the caller's, when
 * constraint_done. */
#ifndef VM_CONSTRAIN_H
#define VM_CONSTRAIN_H
#include "io/grammar.h"
#include "models/token_trie.h"

typedef struct constraint_form constraint_form;
typedef struct constraint constraint;

/* g and trie outlive it. VM_EINPUT: the vocabulary cannot spell the shortest text of the grammar. */
vm_status constraint_form_new(constraint_form **out, const grammar *g, const token_trie *trie, vm_error *e);
void constraint_form_free(constraint_form *f); /* accepts NULL; after its constraints */

vm_status constraint_new(constraint **out, constraint_form *f, vm_error *e);
void constraint_free(constraint *c);  /* accepts NULL */
void constraint_reset(constraint *c); /* back to the start */

/* Tokens that an end needs at most from here: a text has to be given at least as many. */
int64_t constraint_needs(constraint *c, vm_error *e);
/* Tokens that may come next when `left` may still come, that one included: bit id % 64 of word id / 64, (vocab + 63) /
 * 64 words, valid until the next call for the form. No bit is set where the text must end here or left <
 * constraint_needs. NULL and VM_EDEVICE: memory; VM_EINPUT: the grammar has too many ways to read the text. */
const uint64_t *constraint_mask(constraint *c, int64_t left, vm_error *e);
/* VM_EINPUT: not a token that may come. */
vm_status constraint_accept(constraint *c, int32_t id, vm_error *e);
bool constraint_done(const constraint *c); /* the text may end here */
bool constraint_more(const constraint *c); /* something may come */
#endif

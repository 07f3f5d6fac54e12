/* grammar.h - texts of a given form: a JSON schema or a grammar in a small notation becomes one automaton over bytes.
 *
 * The automaton is a set of rules over UTF-8 that call each other (a pushdown automaton); models/constrain.h makes the
 * set of possible next tokens of it. Nothing here knows a vocabulary.
 *
 * JSON schema, what is understood (anything else is an error with a sentence, never passed over):
 *   true, {}             any value
 *   type                 object array string integer number boolean null, or a list of them
 *   properties           in the order of the schema; those that `required` does not name may be left out; no others
 *                        come (additionalProperties: false or absent). An object without properties is any object; its
 *                        names may repeat.
 *   items, minItems, maxItems
 *   minLength, maxLength characters
 *   minimum, maximum     of integers, also exclusive; up to 18 digits
 *   pattern              ^...$: literals, . \d \w \s, [classes], (groups), |, * + ? {m,n}; not with lengths
 *   enum, const          any values; many strings are as cheap as one (a prefix tree)
 *   anyOf, oneOf         one of them (that they exclude each other is not checked); allOf of one
 *   $ref                 "#", "#/$defs/NAME", "#/definitions/NAME", also recursive
 *   title, description, default, examples, $comment, $id, $schema, deprecated, readOnly, writeOnly: nothing
 * The text is JSON without blanks between its parts; a string has no \u0000 and its characters are whole.
 *
 * Notation (that of llama.cpp's GBNF): rules NAME ::= ..., the text is `root`; "literal" with \n \r \t \" \\ \xHH
 * \uHHHH, [a-z] and [^a-z] and . over characters, (groups), |, * + ? {m} {m,} {m,n}; # comments. A rule ends with its
 * line, unless inside a group or where the line ends in | or ::=. A rule that begins with itself is refused. */
#ifndef VM_IO_GRAMMAR_H
#define VM_IO_GRAMMAR_H
#include "io/json.h"

typedef struct grammar grammar; /* never changes: any number of threads and texts may use it */

/* The name stands in messages (VM_EINPUT: NAME:LINE: what). */
vm_status grammar_from_schema(grammar **out, const char *json, size_t bytes, const char *name, vm_error *e);
vm_status grammar_from_value(grammar **out, json_value schema, vm_error *e); /* of a document that is read already */
vm_status grammar_from_text(grammar **out, const char *text, size_t bytes, const char *name, vm_error *e);
void grammar_free(grammar *g); /* accepts NULL */

/* For schemas: "key": {"type":"string","enum":[all runs of 1 to `most` words of the text]}, each once and spelled as in
 * the text, without the punctuation around it. An empty list when the text has no word. */
void grammar_put_spans(json_writer *w, const char *key, const char *text, int most);
#endif

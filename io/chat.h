/* chat.h - how conversations are laid out for a language model: one text with the marks that the model was trained on.
 *
 * Published models carry a template in a language of its own (Jinja). Ours is a list of layouts: the one of a model is recognised by
 * marks in its template, and can be named instead. A layout whose text begins with the start token must be encoded without
 * adding one (chat_has_bos). */
#ifndef VM_IO_CHAT_H
#define VM_IO_CHAT_H
#include "io/tokenizer.h"

typedef struct chat_layout chat_layout;
typedef struct {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} chat_message;

/* By name: mistral, mixtral, llama2, llama3, vicuna, chatml, phi3, gemma, idefics2, raw. NULL and VM_EUSAGE, naming them all. */
const chat_layout *chat_by_name(const char *name, vm_error *e);
/* The layout of a model directory (chat_template.jinja, chat_template.json, tokenizer_config.json); *layout NULL when it has no
 * template, VM_EINPUT when its template is none that is known. */
vm_status chat_of(const chat_layout **layout, const char *dir, vm_error *e);
const char *chat_name(const chat_layout *l);
bool chat_has_bos(const chat_layout *l);
/* What ends an answer, beside the end tokens of the model; NULL = nothing else. */
const char *chat_stop(const chat_layout *l);
/* The text of a conversation, ready for the assistant's next words; vm_free. VM_EINPUT: roles that do not alternate as the layout
 * wants them. */
vm_status chat_text(char **text, const chat_layout *l, const chat_message *m, int n, vm_error *e);
/* The same, with the spans of it (room for n + 1) that the messages are: what is spelled like a mark there is text (tok_encode_plain). */
vm_status chat_text_said(char **text, tok_span *said, int64_t *n_said, const chat_layout *l, const chat_message *m, int n, vm_error *e);
#endif

/* edit.h - minimal changes of captions as language models propose them: reading what they wrote, and the rules V01 to
 * V12.
 *
 * A model writes [{"SelectedPhrase", "EditedPhrase", "EditedRegionPhrase", "EditedCaption", "Category"}]. The first two
 * must be there; what else is missing is derived: the region phrase is the edited phrase with its article, the edited
 * caption the caption with the phrase replaced. */
#ifndef VM_EDIT_H
#define VM_EDIT_H
#include "io/json.h"
#include "pipeline/tally.h"

enum { EDIT_TEXT = 1024, EDIT_MOST = 64, EDIT_ATTRIBUTES = 7 };
/* "color", "pattern", "shape", "appearance", "material", "state", "condition" */
extern const char *const edit_attribute[EDIT_ATTRIBUTES];

typedef struct {
    char selected[EDIT_TEXT], edited[EDIT_TEXT], region[EDIT_TEXT], caption[EDIT_TEXT]; /* caption: after the edit */
    char category[40]; /* "object", "attribute(color)", ... */
    bool repaired;     /* the edited caption was not what the phrases say and was written anew */
    size_t from, to;   /* where it stands in the answer */
} edit;

typedef struct {
    edit *e;
    int n;
    bool none;         /* an empty list: the model says that nothing can be changed */
    bool cut;          /* the last one was cut off and dropped */
} edits;

/* What an answer proposes for a caption. want: "object" or "attribute", the category that was asked for, or NULL for
 * any. why counts what is no edit: "no_phrase" (SelectedPhrase or EditedPhrase missing), "other_caption", "too_long".
 * e: memory. */
vm_status edit_parse(edits *out, const char *answer, size_t bytes, const char *caption, const char *want, tally *why,
                     vm_error *e);
void edits_free(edits *l);

/* The first rule that the edit breaks, "V01" to "V11", or NULL; it may fill in and tidy fields. repair: V03 and V04
 * write the edited caption anew instead of rejecting.
 *   V01  the selected phrase stands in the caption, once; or the edited caption tells which
 *   V02  the edited phrase is another one, but for case, articles, punctuation and plural
 *   V03  the edited caption contains it
 *   V04  nothing else has changed but an article next to it, is/are, has/have, was/were, the first letter, the final
 *        full stop
 *   V05  the edited caption is another one
 *   V06  at most 8 words, and twice as many as before and three more
 *   V07  attribute: the head noun is the same, the kind is known; object: it is another one
 *   V08  no number, size or relation has changed, one thing has not become several
 *   V09  no synonyms (synonyms.csv)
 *   V10  object: not the same with a word more or less before it
 *   V11  no markup, address, control character or rest of a template
 * Edits of one caption that are the same but for case, articles and punctuation are V12, which the caller counts
 * (edit_key). */
const char *edit_check(edit *x, const char *caption, const char *want, bool repair);
/* The caption with the phrase at [from, to) replaced, a or an before it to fit; false when it would be too long. */
bool edit_substitute(char out[EDIT_TEXT], const char *caption, size_t from, size_t to, const char *phrase);
/* 16 digits that name the edit for ever: SHA-256 of picture, caption, category, phrases and edited caption. */
void edit_id(char id[17], const char *image_id, const char *caption, const edit *x);

/* Record of the journal and of later stages: edit_id, image_id, caption, input_phrase, edited_phrase,
 * edited_region_phrase, edited_caption, category. */
void edit_put(json_writer *w, const char *image_id, const char *file, const char *caption, const edit *x);
/* JSON schema of an answer, vm_free. SelectedPhrase is one of the runs of up to eight words of the caption, if there
 * are at most `choices`. */
char *edit_schema(const char *caption, const char *want, int choices, vm_error *e);
#endif

/* text_repair.h - cleaning of captions from the web: character references, common faults of typed text. */
#ifndef VM_IO_TEXT_REPAIR_H
#define VM_IO_TEXT_REPAIR_H
#include "io/unicode.h"

/* Appends in to out with character references replaced by the rules of HTML 5: named (the full table, those valid
 * without semicolon too, longest name first), decimal and hexadecimal; windows-1252 meaning of 128-159; code points
 * that are no characters vanish. False when memory is out. */
bool html_unescape(uni_text *out, const uni_text *in);

/* Repairs t in place until nothing changes: references with semicolon (in lines before the first '<' only), C1 codes
 * read as windows-1252, Latin ligatures and full-width forms taken apart, quotes straightened, line ends unified,
 * terminal colour codes, control characters and U+FEFF dropped, normal form C. Text decoded in a wrong encoding is
 * not recognised. tmp is scratch. False when memory is out. */
bool text_repair(uni_text *t, uni_text *tmp);

/* True when both leave the ASCII text unchanged: printable characters and blanks, no '&'. */
bool text_is_plain(const char *s, size_t bytes);
#endif

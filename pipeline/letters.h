/* letters.h - a small fixed font for pictures: letters (capitals as small ones), digits, point, hyphen, percent. */
#ifndef VM_LETTERS_H
#define VM_LETTERS_H
#include "io/image.h"

/* Dots of a letter, and from one to the next; the last two rows lie below the line. */
enum { LETTER_W = 5, LETTER_H = 9, LETTER_ADVANCE = 6 };

/* One letter with its upper left dot at x, y, a dot being zoom x zoom pixels; what lies outside of the picture is left out, as are
 * characters that the font does not have. colour: im->c bytes. */
void letter_draw(vm_image *im, int x, int y, int zoom, char c, const uint8_t *colour);
void letters_draw(vm_image *im, int x, int y, int zoom, const char *text, const uint8_t *colour); /* a line */
#endif

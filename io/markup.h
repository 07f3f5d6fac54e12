/* markup.h - text into HTML, XHTML and SVG. */
#ifndef VM_IO_MARKUP_H
#define VM_IO_MARKUP_H
#include "io/file.h"

/* Writes n bytes of text so that they are shown as they are, in elements and in quoted attributes: & < > " ' become
 * references; bytes that are no UTF-8 and characters that XML forbids become U+FFFD. */
vm_status markup_write(vm_out *o, const char *text, size_t n, vm_error *e);
vm_status markup_text(vm_out *o, const char *text, vm_error *e); /* NULL writes nothing */
#endif

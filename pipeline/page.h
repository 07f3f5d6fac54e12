/* page.h - one folder with an HTML page that opens from the disk: no scripts, nothing from outside, light and dark.
 *
 *     page *p = page_begin("report", "Title", "one line below it", e);
 *     page_section(p, "scores", "Scores");
 *     page_text(p, "%d pairs.", n);
 *     page_curves(p, &curves);
 *     return page_end(p, e);
 *
 * Errors are sticky: the first one is given by page_end. All functions accept a NULL page. */
#ifndef VM_PAGE_H
#define VM_PAGE_H
#include "pipeline/plot.h"

typedef struct page page;

/* DIR/index.html appears at page_end; pictures go to DIR/images/ at once. NULL on error. */
page *page_begin(const char *dir, const char *title, const char *subtitle, vm_error *e);
vm_status page_end(page *p, vm_error *e); /* frees p */
void page_abort(page *p);                 /* no page; frees p */
bool page_failed(const page *p);

/* A heading, also in the list at the top. id: letters and dashes, unique; not copied, as the title. */
void page_section(page *p, const char *id, const char *title);
void page_subsection(page *p, const char *title);
/* Paragraphs of plain text. Notes stand in a box. */
void page_text(page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void page_note(page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Tiles of a label and a value. */
typedef struct {
    const char *label, *value;
} page_fact;
void page_facts(page *p, int n, const page_fact *facts);
/* Columns are names; text[row * n_columns + column]; the first column is the row's name. Numbers stand at the right. */
void page_table(page *p, int n_columns, const char *const *columns, int n_rows, const char *const *text);
void page_curves(page *p, const plot_curves *c);
void page_bars(page *p, const plot_bars *b);

/* A picture, copied into the folder: as it is up to 512 pixels, smaller else. box (may be NULL): x, y, w, h of the part to
 * show. alt: what those who cannot see it are told. A box that says so stands for a file that cannot be read. */
void page_picture(page *p, const char *path, const int32_t *box, const char *alt);
/* A picture as wide as the page, for contact sheets; as it is up to 2400 pixels. */
void page_sheet(page *p, const char *path, const char *alt);
/* HTML as it is; for the modules that add their own kinds of sections. */
void page_html(page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void page_escaped(page *p, const char *text);
void page_escaped_bytes(page *p, const char *text, size_t bytes);
#endif

/* page.c - see page.h. */
#include "pipeline/page.h"

#include <stdarg.h>
#include <string.h>

#include "io/hash.h"
#include "io/image.h"
#include "io/keymap.h"
#include "io/markup.h"
#include "io/resize.h"
#include "pipeline/page_style.h"
#include "pipeline/run.h"

enum { SECTIONS = 32, PICTURE_SIDE = 512, SHEET_SIDE = 2400, PIXEL_SIDE = 128 };

typedef struct {
    int64_t file; /* number in files, -1 = unreadable */
    bool pixels;  /* so small that it is shown with its pixels as squares */
} copied_picture;

struct page {
    vm_out *o;
    vm_error err;
    char *dir;
    struct {
        const char *id, *title;
    } section[SECTIONS];
    int n_sections;
    bool in_plots;
    keymap paths, files;
    copied_picture *copy; /* one per entry of paths, "LONGEST_SIDE BOX PATH" */
    int64_t cap_copy;
};

bool page_failed(const page *p) { return !p || p->err.status; }

static void raw(page *p, const char *html) {
    if (p) vm_out_text(p->o, html, &p->err);
}

void page_html(page *p, const char *fmt, ...) {
    va_list ap;
    if (!p) return;
    va_start(ap, fmt);
    char buf[1024];
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof buf)
        vm_fail(&p->err, VM_EINPUT, "a piece of HTML is longer than %d bytes", (int)sizeof buf);
    else vm_out_write(p->o, buf, (size_t)n, &p->err);
}

void page_escaped(page *p, const char *text) {
    if (p) markup_text(p->o, text, &p->err);
}

void page_escaped_bytes(page *p, const char *text, size_t bytes) {
    if (p) markup_write(p->o, text, bytes, &p->err);
}

page *page_begin(const char *dir, const char *title, const char *subtitle, vm_error *e) {
    page *p = vm_calloc(1, sizeof *p);
    char *index = path_join(dir, "index.html"), *images = path_join(dir, "images");
    if (!p || !index || !images || !(p->dir = vm_strdup(dir))) vm_nomem(e, sizeof *p, "a page");
    else if (!dir_make(images, e)) vm_out_open(&p->o, index, e);
    vm_free(index), vm_free(images);
    if (e->status) {
        if (p) vm_free(p->dir);
        vm_free(p);
        return NULL;
    }
    raw(p, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src 'self' file:;style-src "
           "'unsafe-inline'\">\n<title>");
    page_escaped(p, title);
    raw(p, "</title>\n<style>\n");
    raw(p, page_style);
    plot_write_colours(p->o, &p->err);
    raw(p, "</style></head>\n<body>\n<header><h1>");
    page_escaped(p, title);
    raw(p, "</h1><p>");
    page_escaped(p, subtitle);
    raw(p, "</p></header>\n<main>\n");
    return p;
}

static void free_page(page *p) {
    keymap_free(&p->paths), keymap_free(&p->files);
    vm_free(p->copy), vm_free(p->dir);
    vm_free(p);
}

static void end_plots(page *p) {
    if (p && p->in_plots) raw(p, "</div>\n");
    if (p) p->in_plots = false;
}

vm_status page_end(page *p, vm_error *e) {
    if (!p) return e->status;
    end_plots(p);
    raw(p, "</main>\n<nav><div>"); /* known only now; the style puts it on top */
    for (int k = 0; k < p->n_sections; k++) {
        page_html(p, "<a href=\"#%s\">", p->section[k].id);
        page_escaped(p, p->section[k].title);
        raw(p, "</a>");
    }
    page_html(p, "</div></nav>\n<footer>vismin %s</footer>\n</body></html>\n", VM_VERSION);
    if (p->err.status) vm_out_abort(p->o), *e = p->err;
    else vm_out_commit(p->o, e);
    free_page(p);
    return e->status;
}

void page_abort(page *p) {
    if (!p) return;
    vm_out_abort(p->o);
    free_page(p);
}

/* --- plain things ------------------------------------------------------------------------------------------------- */
void page_section(page *p, const char *id, const char *title) {
    if (!p) return;
    end_plots(p);
    if (p->n_sections < SECTIONS) p->section[p->n_sections].id = id, p->section[p->n_sections++].title = title;
    page_html(p, "<h2 id=\"%s\">", id);
    page_escaped(p, title);
    raw(p, "</h2>\n");
}

void page_subsection(page *p, const char *title) {
    end_plots(p);
    raw(p, "<h3>");
    page_escaped(p, title);
    raw(p, "</h3>\n");
}

static void paragraph(page *p, const char *fmt, va_list ap) {
    char text[4096];
    vsnprintf(text, sizeof text, fmt, ap);
    raw(p, "<p>");
    page_escaped(p, text);
    raw(p, "</p>\n");
}

void page_text(page *p, const char *fmt, ...) {
    va_list ap;
    end_plots(p);
    va_start(ap, fmt);
    paragraph(p, fmt, ap);
    va_end(ap);
}

void page_note(page *p, const char *fmt, ...) {
    va_list ap;
    end_plots(p);
    raw(p, "<div class=\"note\">");
    va_start(ap, fmt);
    paragraph(p, fmt, ap);
    va_end(ap);
    raw(p, "</div>\n");
}

void page_facts(page *p, int n, const page_fact *facts) {
    end_plots(p);
    raw(p, "<div class=\"facts\">");
    for (int k = 0; k < n; k++) {
        raw(p, "<div class=\"card\"><small>");
        page_escaped(p, facts[k].label);
        raw(p, "</small><b>");
        page_escaped(p, facts[k].value);
        raw(p, "</b></div>");
    }
    raw(p, "</div>\n");
}

/* Cells that are no numbers are read from the left and broken into lines. */
static bool is_words(const char *text) { return *text && !strchr("0123456789+-.", *text); }

void page_table(page *p, int n_columns, const char *const *columns, int n_rows, const char *const *text) {
    end_plots(p);
    raw(p, "<div class=\"wide\"><table><thead><tr>");
    for (int c = 0; c < n_columns; c++) {
        raw(p, c && n_rows && is_words(text[c]) ? "<th class=\"t\">" : "<th>");
        page_escaped(p, columns[c]);
        raw(p, "</th>");
    }
    raw(p, "</tr></thead><tbody>\n");
    for (int r = 0; r < n_rows; r++) {
        raw(p, "<tr>");
        for (int c = 0; c < n_columns; c++) {
            raw(p, !c ? "<th>" : is_words(text[r * n_columns + c]) ? "<td class=\"t\">" : "<td>");
            page_escaped(p, text[r * n_columns + c]);
            raw(p, c ? "</td>" : "</th>");
        }
        raw(p, "</tr>\n");
    }
    raw(p, "</tbody></table></div>\n");
}

/* Plots that follow each other stand side by side where there is room. */
static void begin_plot(page *p) {
    if (!p->in_plots) raw(p, "<div class=\"plots\">\n");
    p->in_plots = true;
    raw(p, "<div class=\"card\">");
}

void page_curves(page *p, const plot_curves *c) {
    if (!p) return;
    begin_plot(p);
    plot_write_curves(p->o, c, &p->err);
    raw(p, "</div>\n");
}

void page_bars(page *p, const plot_bars *b) {
    if (!p) return;
    begin_plot(p);
    plot_write_bars(p->o, b, &p->err);
    raw(p, "</div>\n");
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */
/* The bytes of a picture for the page: those of the file when browsers show it and no side is longer than most. Its
 * ending in *type. */
static uint8_t *encode(const char *data, size_t bytes, const char *path, const int32_t *box, int most, const char **type,
                       size_t *n, bool *pixels) {
    vm_error bad = { 0 };
    vm_image im = { 0 }, small = { 0 };
    uint8_t *out = NULL;
    image_options tolerant = { .tolerant = true };
    bool inside;
    if (image_decode(&im, data, bytes, path, &tolerant, &bad) || (box && image_crop_to(&im, box, &inside, &bad))) {
        image_free(&im);
        return NULL;
    }
    int side = VM_MAX(im.w, im.h);
    bool png = !memcmp(data, "\x89PNG", 4),
         jpeg = !memcmp(data, "\xff\xd8\xff", 3); /* decoded, so it has so many bytes */
    *pixels = side <= PIXEL_SIDE;
    *type = side > most || (jpeg && !box) ? "jpg" : "png";
    if (side > most) {
        double scale = (double)most / side;
        int w = VM_MAX(1, (int)(im.w * scale)), h = VM_MAX(1, (int)(im.h * scale));
        if (!image_resize(&small, &im, w, h, RESIZE_LANCZOS, &bad)) image_encode_jpeg(&out, n, &small, 90, &bad);
    } else if (!box && (png || jpeg)) {
        if ((out = vm_alloc(bytes))) memcpy(out, data, bytes);
        *n = bytes;
    } else {
        image_encode_png(&out, n, &im, NULL, 0, &bad);
    }
    image_free(&im), image_free(&small);
    return out;
}

static copied_picture copy_picture(page *p, const char *path, const int32_t *box, int most) {
    vm_error bad = { 0 };
    copied_picture c = { .file = -1 };
    char *data = NULL, sum[65], name[64];
    const char *type = "png";
    size_t bytes, n = 0;
    uint8_t *out = file_read(&data, &bytes, path, 0, &bad) ? NULL : encode(data, bytes, path, box, most, &type, &n, &c.pixels);
    if (out) {
        sha256_hex(sum, out, n);
        snprintf(name, sizeof name, "images/%.16s.%s", sum, type);
        char *to = path_join(p->dir, name);
        if (!to || (c.file = keymap_put_text(&p->files, name)) < 0) vm_nomem(&p->err, 256, "a picture");
        else if (file_bytes(to) != (int64_t)n) file_write(to, out, n, &p->err);
        vm_free(to);
    }
    vm_free(out), vm_free(data);
    return c;
}

/* The file's copy in the folder, or a box that says that there is none. */
static void put_picture(page *p, const char *path, const int32_t *box, int most, const char *class, const char *alt) {
    if (page_failed(p)) return;
    const int32_t whole[4] = { 0 }, *b = box ? box : whole; /* the same file may stand in two sizes, or parts */
    char *key = vm_asprintf("%d %d %d %d %d %s", most, b[0], b[1], b[2], b[3], path);
    int64_t before = p->paths.n, i = key ? keymap_put_text(&p->paths, key) : -1;
    vm_free(key);
    if (i < 0 || !vm_grow(&p->copy, &p->cap_copy, p->paths.n, sizeof *p->copy)) {
        vm_nomem(&p->err, 64, "the list of pictures");
        return;
    }
    if (p->paths.n > before) p->copy[i] = copy_picture(p, path, box, most);
    if (p->copy[i].file < 0) {
        raw(p, "<div class=\"lost\">picture cannot be read</div>");
        return;
    }
    const char *name = keymap_at(&p->files, p->copy[i].file, NULL);
    if (!class) class = p->copy[i].pixels ? "px" : "ph";
    page_html(p, "<img class=\"%s\" loading=\"lazy\" src=\"%s\" alt=\"", class, name);
    page_escaped(p, alt);
    raw(p, "\">");
}

void page_picture(page *p, const char *path, const int32_t *box, const char *alt) {
    put_picture(p, path, box, PICTURE_SIDE, NULL, alt);
}

void page_sheet(page *p, const char *path, const char *alt) {
    end_plots(p);
    raw(p, "<div class=\"wide\">");
    put_picture(p, path, NULL, SHEET_SIDE, "sheet", alt);
    raw(p, "</div>\n");
}

/* samples_table.c - tables of one picture a row, such as the files of one category that the data maker writes. */
#include "io/csv.h"
#include "io/samples_parts.h"

/* The column of the given name, else of the first known one that is there. */
static int64_t column(const csv_reader *r, const char *const *keys, const char *given, const char *path,
                      const char *option, vm_error *e) {
    if (given) return csv_need_column(r, given, e);
    for (int k = 0; keys[k]; k++)
        if (csv_column(r, keys[k]) >= 0) return csv_column(r, keys[k]);
    vm_fail(e, VM_EINPUT, "%s: no column is called %s, %s or %s; name it by --%s", path, keys[0], keys[1], keys[2],
            option);
    return -1;
}

/* "object" of ".../object.csv"; -1 for other names. */
static int category_of(const char *path) {
    const char *base = path_base(path), *dot = strchr(base, '.');
    return samples_category(base, dot ? (size_t)(dot - base) : strlen(base));
}

vm_status samples_read_table(samples_builder *b, const char *text, size_t bytes, const char *path) {
    csv_reader *r = NULL;
    csv_row row;
    vm_error bad = { 0 };
    int category = category_of(path);
    if (csv_open_text(&r, text, bytes, path, 0, CSV_HEADER, b->e)) return b->e->status;
    int64_t image = column(r, sample_image_keys, b->o->image_key, path, "csv-img-key", b->e);
    int64_t caption = image < 0 ? -1 : column(r, sample_caption_keys, b->o->caption_key, path, "csv-caption-key", b->e);
    for (int rc; caption >= 0 && !b->e->status && (rc = csv_next(r, &row, &bad));) {
        if (rc < 0) {
            if (bad.status == VM_EDEVICE) *b->e = bad;
            else samples_fault(b, "%s", bad.msg);
            vm_error_clear(&bad);
            continue;
        }
        char where[600];
        sample_side x = { .name = -1 };
        snprintf(where, sizeof where, "%.500s:%lld", path, (long long)row.line);
        if (!samples_begin(b)) break;
        x.name = samples_text(b, row.field[image], strlen(row.field[image]));
        x.caption = samples_text(b, row.field[caption], strlen(row.field[caption]));
        if (b->e->status) break;
        sample_side *to = &b->s->side[b->open.first];
        to->name = x.name, to->caption = x.caption, to->category = (int8_t)category;
        samples_keep(b, where);
    }
    csv_close(r);
    return b->e->status;
}

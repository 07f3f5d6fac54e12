/* samples_tar.c - WebDataset shards: the members of a sample stand one after the other and have the same name up to the
 * first dot behind the last slash. */
#include <ctype.h>
#include <stdio.h>

#include "io/json.h"
#include "io/samples_parts.h"
#include "io/tar.h"
#include "io/utf8.h"

typedef struct {
    samples_builder *b;
    const uint8_t *data;
    const char *path;
    char key[TAR_NAME];
    bool open, from_text; /* a sample has begun; its caption comes from .txt */
    sample_side side;
    char wrong[300]; /* why it cannot be used; "" = so far it can */
} shard;

static bool is_one_of(const char *ext, const char *list) { /* list: " jpg png " */
    char padded[16];
    int n = snprintf(padded, sizeof padded, " %s ", ext);
    for (char *p = padded; *p; p++) *p = (char)tolower((unsigned char)*p);
    return n < (int)sizeof padded && strstr(list, padded);
}

/* Ends the sample that is open. */
static vm_status close_sample(shard *t) {
    samples_builder *b = t->b;
    char where[900];
    if (!t->open) return VM_OK;
    t->open = false;
    snprintf(where, sizeof where, "%.500s: %.300s", t->path, t->key);
    b->s->side[b->open.first] = t->side;
    if (!t->wrong[0]) return samples_keep(b, where);
    samples_drop(b);
    return samples_fault(b, "%s: %s", where, t->wrong);
}

static vm_status take_caption(shard *t, const tar_entry *x, bool json) {
    samples_builder *b = t->b;
    const char *text = (const char *)x->data;
    size_t n = x->bytes;
    json_doc *d = NULL;
    vm_error bad = { 0 };
    if (json) {
        if (t->from_text) return VM_OK;
        d = json_parse(text, n, x->name, 0, &bad);
        json_value v = { 0 };
        for (int k = 0; d && !json_has(v) && (b->o->caption_key ? !k : sample_caption_keys[k] != NULL); k++)
            v = json_get(json_root(d), b->o->caption_key ? b->o->caption_key : sample_caption_keys[k]);
        if (d && !json_has(v)) snprintf(bad.msg, sizeof bad.msg, "%s has no caption", x->name), bad.status = VM_EINPUT;
        text = bad.status ? NULL : json_as_text(v, &n, &bad);
    } else {
        while (n && strchr(" \t\r\n", text[n - 1]) && text[n - 1]) n--;
    }
    if (!bad.status && (memchr(text, 0, n) || utf8_bad(text, n) < n))
        snprintf(bad.msg, sizeof bad.msg, "its caption is not UTF-8"), bad.status = VM_EINPUT;
    if (bad.status == VM_EDEVICE) *b->e = bad;
    else if (bad.status) snprintf(t->wrong, sizeof t->wrong, "%.280s", bad.msg);
    else t->side.caption = samples_text(b, text, n), t->from_text = !json;
    json_free(d);
    return b->e->status;
}

static vm_status take_member(shard *t, const tar_entry *x) {
    samples_builder *b = t->b;
    const char *slash = strrchr(x->name, '/'), *dot = strchr(slash ? slash + 1 : x->name, '.');
    if (!dot || dot == x->name || dot[-1] == '/') return VM_OK; /* no ending: no part of a sample */
    size_t n = (size_t)(dot - x->name);
    const char *ext = dot + 1;
    bool image = is_one_of(ext, " jpg jpeg png webp bmp gif "), txt = is_one_of(ext, " txt "),
         json = is_one_of(ext, " json ");
    if (!image && !txt && !json) return VM_OK;
    if (!t->open || strlen(t->key) != n || memcmp(t->key, x->name, n)) {
        if (close_sample(t) || !samples_begin(b)) return b->e->status;
        memcpy(t->key, x->name, n), t->key[n] = 0;
        t->open = true, t->from_text = false, t->wrong[0] = 0, t->side = b->s->side[b->open.first];
    }
    if (!image) return take_caption(t, x, json);
    if (t->side.name >= 0) return snprintf(t->wrong, sizeof t->wrong, "it has two pictures"), VM_OK;
    if (utf8_bad(x->name, strlen(x->name)) < strlen(x->name))
        return snprintf(t->wrong, sizeof t->wrong, "its name is not UTF-8"), VM_OK;
    t->side.name = samples_text(b, x->name, strlen(x->name));
    t->side.at = x->data - t->data, t->side.bytes = (int64_t)x->bytes,
    t->side.archive = (int32_t)(b->s->n_archives - 1);
    return b->e->status;
}

vm_status samples_read_tar(samples_builder *b, const uint8_t *data, size_t bytes, const char *path) {
    samples *s = b->s;
    tar_reader r = tar_open(data, bytes, path);
    tar_entry x;
    shard *t = vm_calloc(1, sizeof *t);
    if (!t || !vm_grow(&s->archive, &s->cap_archives, s->n_archives + 1, sizeof *s->archive) ||
        !vm_grow(&s->archive_from, &s->cap_from, s->n_archives + 1, sizeof *s->archive_from) ||
        !(s->archive[s->n_archives] = vm_strdup(path))) {
        vm_free(t);
        return vm_nomem(b->e, sizeof *t, path);
    }
    s->archive_from[s->n_archives++] = s->n;
    t->b = b, t->data = data, t->path = path;
    for (int rc; (rc = tar_next(&r, &x, b->e)) > 0;)
        if (take_member(t, &x)) break;
    if (!b->e->status) close_sample(t);
    vm_free(t);
    return b->e->status;
}

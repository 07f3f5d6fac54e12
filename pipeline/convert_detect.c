/* convert_detect.c - checkpoints of Grounding DINO as those wrote them who trained it, into folders of Hugging Face transformers. */
#include "io/file.h"
#include "io/log.h"
#include "models/gdino_layouts.h"
#include "models/towers.h"
#include "pipeline/convert.h"

enum { SHORTEST = 800 }; /* the published image processor */

bool convert_is_detect(const weight_source *s) {
    const char *prefix;
    return gdino_layout_find(s, &prefix) != GDINO_NO_LAYOUT;
}

static vm_status report(const vm_args *a, const gdino *m, const char *out, st_dtype type, vm_error *e) {
    const gdino_config *c = &m->c;
    if (!arg_flag(a, "json")) {
        vm_info("%s: %.2f M parameters, %s; %lld queries of width %lld, %lld + %lld layers, Swin of width %lld, BERT of width %lld", out,
                (double)weight_count(&m->w) * 1e-6, c->scaled ? "mm-grounding-dino" : "grounding-dino", (long long)c->queries, (long long)c->width,
                (long long)c->enc_layers, (long long)c->dec_layers, (long long)c->swin.width, (long long)c->bert.width);
        return VM_OK;
    }
    json_writer w = json_to_stream(stdout, JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "out", out), json_put_int(&w, "parameters", weight_count(&m->w));
    json_put_str(&w, "model_type", c->scaled ? "mm-grounding-dino" : "grounding-dino"), json_put_str(&w, "dtype", st_dtype_name(type));
    json_close_object(&w), json_newline(&w);
    return json_end(&w, e);
}

vm_status convert_detect(const vm_args *a, const weight_source *s, const char *out, st_dtype type, vm_error *e) {
    const char *prefix = "", *tokenizer = arg_str(a, "tokenizer");
    const gdino_layout layout = gdino_layout_find(s, &prefix);
    gdino *m = NULL;
    char *tmp = NULL;
    if (gdino_open_layout(&m, vm_backend_cpu(), s, layout, prefix, e)) return e->status;
    if (m->unused) vm_info("%s", m->unused);
    if (!tokenizer) vm_warn("%s: written without a tokenizer, which the model needs: --tokenizer DIR, the folder of bert-base-uncased", out);
    if (!dir_begin(&tmp, out, e)) {
        if (!gdino_save(m, tmp, type, e) && !gdino_config_save(&m->c, tmp, e) && !gdino_processor_save(tmp, SHORTEST, e) && tokenizer)
            towers_copy_processors(tokenizer, tmp, false, e);
        if (!e->status) dir_commit(tmp, out, e);
        if (e->status) dir_abort(tmp);
        else report(a, m, out, type, e);
    }
    vm_free(tmp);
    gdino_free(m);
    return e->status;
}

/* convert_text.c - `vismin convert --text-encoder`: the text half of a CLIP folder as the folder that Stable Diffusion conditions on. */
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "models/clip_text.h"
#include "pipeline/convert.h"
#include "pipeline/run.h"

/* The text half of the configuration, as transformers' CLIPTextModel has it. */
static vm_status write_config(const char *from, const char *out, st_dtype type, vm_error *e) {
    json_doc *d = json_config(from, "a CLIP folder", e);
    json_value text = json_get(json_root(d), "text_config"), own = json_has(text) ? text : json_root(d);
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures"), json_put_str(&w, NULL, "CLIPTextModel"), json_close_array(&w);
    json_put_str(&w, "torch_dtype", type == ST_F16 ? "float16" : type == ST_BF16 ? "bfloat16" : "float32");
    for (json_iter it = json_each(own); json_next(&it);)
        if (strcmp(it.key, "architectures") && strcmp(it.key, "torch_dtype")) json_put_value(&w, it.key, it.value);
    json_close_object(&w);
    json_free(d);
    return json_save(&w, out, "config.json", e);
}

vm_status convert_text(const char *from, const char *out, st_dtype type, vm_error *e) {
    clip_text *m = NULL;
    char *tmp = NULL;
    if (!file_is_dir(from)) return vm_fail(e, VM_EUSAGE, "%s: --text-encoder starts from a CLIP folder of Hugging Face", from);
    if (clip_text_open(&m, vm_backend_cpu(), from, false, e) || dir_begin(&tmp, out, e)) goto done;
    if (!weights_save(&m->map, tmp, "model.safetensors", type, NULL, e) && !write_config(from, tmp, type, e) && !dir_commit(tmp, out, e))
        vm_info("%s: %.2f M parameters, texts of %d tokens", out, (double)weight_count(&m->w) * 1e-6, (int)m->c.context);
    if (e->status) dir_abort(tmp);
done:
    vm_free(tmp);
    clip_text_free(m);
    return e->status;
}

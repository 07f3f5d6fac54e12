/* paint_edit.c - edits of pictures (paint.h): the picture onto a canvas, repainted, back into the picture. */
#include <string.h>

#include "io/resize.h"
#include "pipeline/paint.h"

vm_status paint_edit_read(paint_edit *how, const paint *p, vm_error *e) {
    static const char *const fits[] = { "bucket", "pad", "stretch" };
    const char *fit = arg_str(p->a, "fit"), *composite = arg_str(p->a, "composite");
    int k = 0;
    while (k < VM_LEN(fits) && strcmp(fits[k], fit)) k++;
    if (k == VM_LEN(fits)) return vm_fail(e, VM_EUSAGE, "--fit %s: known are bucket, pad, stretch", fit);
    if (strcmp(composite, "on") && strcmp(composite, "off")) return vm_fail(e, VM_EUSAGE, "--composite %s: on or off", composite);
    *how = (paint_edit){ (edit_fit)k, (int)arg_int(p->a, "size"), (int)arg_int(p->a, "only-masked"), 0, (int)arg_int(p->a, "feather"), !strcmp(composite, "on") };
    return VM_OK;
}

/* A painted canvas as the edited picture, and what changed. */
static vm_status finish(const paint_edit *how, const edit_canvas *c, const vm_image *canvas, const vm_image *im, const vm_image *mask, vm_image *out, edit_change *change,
                        vm_error *e) {
    vm_image whole = { 0 };
    if (!edit_canvas_out(&whole, c, canvas, im, e)) {
        if (how->composite) edit_composite(out, im, &whole, mask, how->feather, e);
        else *out = whole, whole = (vm_image){ 0 };
    }
    image_free(&whole);
    if (!e->status && change) edit_changes(change, im, out, mask, how->feather, e);
    return e->status;
}

vm_status paint_inpaint(paint *p, const paint_edit *how, const vm_image *im, const vm_image *mask, diffusion_call *c, const uint64_t *seeds, vm_image *out,
                        edit_change *changes, diffusion_report *r, vm_error *e) {
    const int unit = (int)diffusion_multiple(p->d), own = (int)diffusion_size(p->d);
    const int size = how->size ? how->size : own;
    edit_canvas canvas = edit_canvas_of(im, mask, how->fit, how->twice ? how->twice : size, 8 * unit, how->only_masked);
    vm_image in = { 0 }, on = { 0 }, *made = vm_calloc((size_t)c->n, sizeof *made);
    if (!made) vm_nomem(e, (size_t)c->n * sizeof *made, "pictures");
    if (!edit_mask_count(mask)) vm_fail(e, VM_EINPUT, "the mask is empty: nothing is white in it");
    if (canvas.cw % unit || canvas.ch % unit) vm_fail(e, VM_EUSAGE, "--size %d: a multiple of %d is needed", canvas.cw, unit);
    if (e->status || edit_canvas_in(&in, &canvas, im, e) || edit_canvas_in(&on, &canvas, mask, e)) goto done;
    if (how->twice) canvas.cw = canvas.ch = canvas.w = canvas.h = size; /* the pipeline scales once more */
    c->image = &in, c->mask = &on, c->width = canvas.cw, c->height = canvas.ch;
    if (paint_run(p, c, seeds, made, r, e)) goto done;
    for (int64_t k = 0; k < c->n && !e->status; k++) finish(how, &canvas, &made[k], im, mask, &out[k], changes ? &changes[k] : NULL, e);
    for (int64_t k = 0; k < c->n && e->status; k++) image_free(&out[k]);
done:
    c->mask = NULL;
    for (int64_t k = 0; made && k < c->n; k++) image_free(&made[k]);
    image_free(&in), image_free(&on);
    vm_free(made);
    return e->status;
}

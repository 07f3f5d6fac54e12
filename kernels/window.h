/* window.h - where the pixels of pictures stand among the tokens of windows. */
#ifndef VM_WINDOW_H
#define VM_WINDOW_H
#include "kernels/both.h"
#include "kernels/graph.h"

/* nh x nw windows of size x size tokens cover a picture of H x W pixels; across: tokens of a window run down its
 * columns. */
typedef struct {
    int32_t B, H, W, size, shift, nh, nw, across;
} vm_window_shape;
vm_window_shape vm_window_of(const vm_node *n);

/* Pixel (b H + r) W + q that token t holds, -1 for padding. The padded grid is rolled up and left by `shift` first. */
VM_BOTH int32_t vm_window_pixel(const vm_window_shape *s, int32_t t) {
    int32_t n = s->size, v = t % n, u = t / n % n, w = t / (n * n) % s->nw, rest = t / (n * n) / s->nw,
            h = rest % s->nh;
    int32_t r = h * n + (s->across ? v : u) + s->shift, q = w * n + (s->across ? u : v) + s->shift;
    r = r < s->nh * n ? r : r - s->nh * n, q = q < s->nw * n ? q : q - s->nw * n;
    return r < s->H && q < s->W ? (rest / s->nh * s->H + r) * s->W + q : -1;
}
/* The token that holds pixel p */
VM_BOTH int32_t vm_window_token(const vm_window_shape *s, int32_t p) {
    int32_t n = s->size, q = p % s->W - s->shift, r = p / s->W % s->H - s->shift, b = p / s->W / s->H;
    r = r < 0 ? r + s->nh * n : r, q = q < 0 ? q + s->nw * n : q;
    int32_t u = s->across ? q % n : r % n, v = s->across ? r % n : q % n;
    return (((b * s->nh + r / n) * s->nw + q / n) * n + u) * n + v;
}

#endif

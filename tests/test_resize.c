/* Resampling against Pillow (exact) and torch (grids), crops and pasting. resize.safetensors is made by make.py beside it. */
#include <string.h>

#include "io/resize.h"
#include "io/safetensors.h"
#include "tests/test.h"

static st_file *cases;

static const st_tensor *find(const char *name, int k, const char *what) {
    char key[64];
    snprintf(key, sizeof key, "%s %d/%s", name, k, what);
    return st_find(cases, key);
}

static vm_image view(const st_tensor *t) {
    return (vm_image){.px = (uint8_t *)t->data, .w = (int)t->shape[1], .h = (int)t->shape[0], .c = (int)t->shape[2]};
}

static void check_filter(const char *name, resize_filter f) {
    int k = 0, differ = 0;
    for (const st_tensor *in; (in = find(name, k, "in")); k++) {
        const st_tensor *want[2] = {find(name, k, "out"), find(name, k, "horizontal_first")};
        const vm_image im = view(in);
        for (int order = 0; order < 2; order++) {
            vm_image out;
            vm_error e = {0};
            const int w = (int)want[order]->shape[1], h = (int)want[order]->shape[0];
            EXPECT(image_resize_order(&out, &im, w, h, f, order ? RESIZE_HORIZONTAL_FIRST : RESIZE_PILLOW_13, &e) == VM_OK);
            EXPECT(out.w == w && out.h == h && out.c == im.c);
            if (out.px && memcmp(out.px, want[order]->data, want[order]->bytes)) MISMATCH("%s %d, order %d differs\n", name, k, order);
            image_free(&out);
        }
        differ += memcmp(want[0]->data, want[1]->data, want[0]->bytes) != 0;
    }
    EXPECT(k == 9);
    if (f != RESIZE_BOX) EXPECT(differ > 0); /* the cases tell the two orders apart */
}

TEST(bilinear_equals_pillow) { check_filter("bilinear", RESIZE_BILINEAR); }
TEST(bicubic_equals_pillow) { check_filter("bicubic", RESIZE_BICUBIC); }
TEST(lanczos_equals_pillow) { check_filter("lanczos", RESIZE_LANCZOS); }
TEST(box_equals_pillow) { check_filter("box", RESIZE_BOX); }

TEST(flat_pictures_stay_flat) {
    for (int v = 0; v < 256; v += 51) {
        vm_image im, out;
        vm_error e = {0};
        EXPECT(image_new(&im, 31, 17, 3, &e) == VM_OK);
        memset(im.px, v, 31 * 17 * 3);
        EXPECT(image_resize(&out, &im, 44, 7, RESIZE_LANCZOS, &e) == VM_OK);
        for (int i = 0; i < 44 * 7 * 3; i++) EXPECT(out.px[i] == v);
        image_free(&im);
        image_free(&out);
    }
}

TEST(same_size_is_a_copy) {
    uint8_t px[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const vm_image im = {.px = px, .w = 2, .h = 2, .c = 3};
    vm_image out;
    vm_error e = {0};
    EXPECT(image_resize(&out, &im, 2, 2, RESIZE_BICUBIC, &e) == VM_OK);
    EXPECT(out.px && out.px != px && !memcmp(out.px, px, 12));
    image_free(&out);
    EXPECT(image_resize(&out, &im, 0, 2, RESIZE_BICUBIC, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "0x2 pixels");
}

TEST(crops_and_pasting) {
    uint8_t px[6] = {1, 2, 3, 4, 5, 6};
    const vm_image im = {.px = px, .w = 3, .h = 2, .c = 1};
    const struct {
        int x, y, w, h;
        uint8_t want[12];
    } table[] = {{1, 0, 2, 2, {2, 3, 5, 6}}, {-1, -1, 3, 2, {9, 9, 9, 9, 1, 2}}, {2, 1, 2, 2, {6, 9, 9, 9}},
                 {-1, 0, 5, 2, {9, 1, 2, 3, 9, 9, 4, 5, 6, 9}}, {7, 7, 1, 1, {9}}, {0, -2, 1, 3, {9, 9, 1}}};
    for (int i = 0; i < VM_LEN(table); i++) {
        vm_image out;
        vm_error e = {0};
        const uint8_t fill = 9;
        EXPECT(image_crop(&out, &im, table[i].x, table[i].y, table[i].w, table[i].h, &fill, &e) == VM_OK);
        EXPECT(out.px && !memcmp(out.px, table[i].want, (size_t)(table[i].w * table[i].h)));
        image_free(&out);
    }
}

TEST(grids_equal_torch) {
    int k = 0;
    for (const st_tensor *in; (in = find("grid", k, "in")); k++)
        for (int aa = 0; aa < 2; aa++) {
            const st_tensor *want = find("grid", k, aa ? "antialias" : "plain");
            float a[24 * 24 * 5], b[24 * 24 * 5], out[24 * 24 * 5];
            vm_error e = {0};
            memcpy(a, in->data, in->bytes);
            memcpy(b, want->data, want->bytes);
            EXPECT(resize_grid_f32(out, (int)want->shape[0], (int)want->shape[1], a, (int)in->shape[0], (int)in->shape[1], 5, aa, &e) ==
                   VM_OK);
            for (int64_t i = 0; i < want->len; i++) EXPECT_NEAR(out[i], b[i], 5e-6);
        }
    EXPECT(k == 5);
}

TEST(memory_refused) {
    const vm_image im = view(find("bicubic", 0, "in"));
    const size_t before = vm_mem_used();
    vm_status st = VM_EDEVICE;
    for (int k = 0; st && k < 100; k++) {
        vm_image out;
        vm_error e = {0};
        vm_mem_fail_after(k);
        st = image_resize(&out, &im, 10, 50, RESIZE_BICUBIC, &e);
        vm_mem_fail_after(-1);
        EXPECT(st ? st == VM_EDEVICE && !out.px : out.px != NULL);
        image_free(&out);
        EXPECT(vm_mem_used() == before);
    }
    EXPECT(!st);
}

/* Parts of a picture against its own pixels; boxes over the edge are cut to it. */
TEST(crop_to_a_box) {
    static const struct {
        int32_t box[4];
        int x, y, w, h; /* what stays; w 0: nothing is inside */
    } t[] = { { { 1, 2, 3, 2 }, 1, 2, 3, 2 }, { { -2, -1, 4, 3 }, 0, 0, 2, 2 }, { { 4, 3, 100, 2147483647 }, 4, 3, 3, 2 },
              { { 0, 0, 7, 5 }, 0, 0, 7, 5 }, { { 7, 0, 2, 2 }, 0, 0, 0, 0 }, { { -5, 0, 5, 5 }, 0, 0, 0, 0 } };
    vm_error e = { 0 };
    for (int k = 0; k < VM_LEN(t); k++) {
        vm_image im;
        EXPECT(!image_new(&im, 7, 5, 3, &e));
        for (int i = 0; i < 7 * 5 * 3; i++) im.px[i] = (uint8_t)i;
        bool any;
        EXPECT(!image_crop_to(&im, t[k].box, &any, &e));
        EXPECT(any == (t[k].w > 0) && im.w == (any ? t[k].w : 7) && im.h == (any ? t[k].h : 5));
        for (int y = 0; y < im.h; y++)
            for (int x = 0; x < 3 * im.w; x++)
                EXPECT(im.px[y * im.w * 3 + x] == (y + t[k].y) * 21 + x + 3 * t[k].x);
        image_free(&im);
    }
}

int main(void) {
    vm_error e = {0};
    if (st_open(&cases, "tests/golden/image/resize.safetensors", &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    RUN(bilinear_equals_pillow);
    RUN(bicubic_equals_pillow);
    RUN(lanczos_equals_pillow);
    RUN(box_equals_pillow);
    RUN(flat_pictures_stay_flat);
    RUN(same_size_is_a_copy);
    RUN(crops_and_pasting);
    RUN(grids_equal_torch);
    RUN(memory_refused);
    st_close(cases);
    RUN(crop_to_a_box);
    return test_end();
}

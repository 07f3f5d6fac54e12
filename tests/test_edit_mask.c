/* test_edit_mask.c - masks of boxes and pictures, canvases, composites (edit_mask.h). */
#include "models/edit_mask.h"
#include "tests/test.h"

static vm_error e;

static vm_image picture(int w, int h, int c, uint8_t (*at)(int x, int y, int k)) {
    vm_image im;
    EXPECT(!image_new(&im, w, h, c, &e));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int k = 0; k < c; k++) im.px[(y * w + x) * c + k] = at(x, y, k);
    return im;
}
static uint8_t noisy(int x, int y, int k) { return (uint8_t)(x * 37 + y * 91 + k * 53); }
static uint8_t other(int x, int y, int k) { return (uint8_t)(200 - x - y - k); }

/* The bounds of what is white, "x0 y0 x1 y1 count". */
static const char *bounds(const vm_image *m) {
    static char text[80];
    int x0 = m->w, x1 = 0, y0 = m->h, y1 = 0;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++)
            if (m->px[y * m->w + x]) x0 = VM_MIN(x0, x), x1 = VM_MAX(x1, x + 1), y0 = VM_MIN(y0, y), y1 = VM_MAX(y1, y + 1);
    snprintf(text, sizeof text, "%d %d %d %d %d", x0, y0, x1, y1, (int)edit_mask_count(m));
    return text;
}

static const char *of_boxes(const float *b, int n, int least, int grow) {
    static vm_image m;
    image_free(&m);
    EXPECT(!edit_mask_boxes(&m, 100, 60, b, n, least, grow, &e));
    return bounds(&m);
}

TEST(boxes) {
    EXPECT_STR(of_boxes((float[]){ 10.9f, 5.9f, 30.9f, 25.9f }, 1, 0, 0), "10 5 30 25 400"); /* cut to whole pixels, not rounded */
    EXPECT_STR(of_boxes((float[]){ -5, -5, 10, 10, 90, 50, 120, 80 }, 2, 0, 0), "0 0 100 60 200"); /* within the picture; their union */
    EXPECT_STR(of_boxes((float[]){ 0, 0, 20, 20, 10, 10, 30, 30 }, 2, 0, 0), "0 0 30 30 700");
    EXPECT_STR(of_boxes((float[]){ 50, 30, 51, 31 }, 1, 8, 0), "47 27 55 35 64"); /* at least 8 a side */
    EXPECT_STR(of_boxes((float[]){ 99, 59, 100, 60 }, 1, 8, 0), "92 52 100 60 64"); /* also in a corner */
    EXPECT_STR(of_boxes((float[]){ 99, 59, 100, 60 }, 1, 0, 0), "99 59 100 60 1");
    EXPECT_STR(of_boxes((float[]){ 20, 20, 30, 30 }, 1, 8, 5), "15 15 35 35 400");
    EXPECT_STR(of_boxes((float[]){ 30, 30, 20, 20, 100, 0, 110, 10, NAN, 0, 50, 50 }, 3, 8, 0), "100 60 0 0 0"); /* nothing inside */
}

TEST(grown_by_squares) {
    vm_image m;
    EXPECT(!edit_mask_boxes(&m, 40, 30, (float[]){ 10, 10, 12, 12 }, 1, 0, 0, &e) && !edit_mask_grow(&m, 3, &e));
    EXPECT_STR(bounds(&m), "7 7 15 15 64");
    EXPECT(!edit_mask_grow(&m, 100, &e));
    EXPECT_STR(bounds(&m), "0 0 40 30 1200");
    image_free(&m);
}

static const char *canvas(int w, int h, edit_fit fit, int size, int unit, int only) {
    static char text[120];
    vm_image im = { .w = w, .h = h, .c = 3 }, m;
    EXPECT(!edit_mask_boxes(&m, w, h, (float[]){ (float)w / 2, (float)h / 2, (float)w / 2 + 20, (float)h / 2 + 10 }, 1, 0, 0, &e));
    edit_canvas c = edit_canvas_of(&im, &m, fit, size, unit, only);
    snprintf(text, sizeof text, "%d,%d,%d,%d > %dx%d: %d,%d,%d,%d", c.window[0], c.window[1], c.window[2], c.window[3], c.cw, c.ch, c.x, c.y, c.w, c.h);
    image_free(&m);
    return text;
}

TEST(canvases) {
    EXPECT_STR(canvas(640, 480, EDIT_STRETCH, 512, 64, -1), "0,0,640,480 > 512x512: 0,0,512,512");
    EXPECT_STR(canvas(640, 480, EDIT_PAD, 512, 64, -1), "0,0,640,480 > 512x512: 0,64,512,384");
    EXPECT_STR(canvas(640, 480, EDIT_BUCKET, 1024, 64, -1), "0,0,640,480 > 1152x896: 0,0,1152,896"); /* SDXL's bucket of 4:3 */
    EXPECT_STR(canvas(480, 640, EDIT_BUCKET, 1024, 64, -1), "0,0,480,640 > 896x1152: 0,0,896,1152");
    EXPECT_STR(canvas(512, 512, EDIT_BUCKET, 512, 64, -1), "0,0,512,512 > 512x512: 0,0,512,512");
    EXPECT_STR(canvas(640, 480, EDIT_STRETCH, 512, 64, 30), "290,205,80,80 > 512x512: 0,0,512,512"); /* as square as the canvas */
    EXPECT_STR(canvas(100, 30, EDIT_STRETCH, 512, 64, 30), "20,0,80,30 > 512x512: 0,0,512,512"); /* as far as there is picture */
}

/* A picture goes in and comes out: what was not repainted is the picture's own. */
TEST(original_pixels) {
    vm_image im = picture(90, 70, 3, noisy), m, in, back, mixed;
    edit_change c;
    EXPECT(!edit_mask_boxes(&m, 90, 70, (float[]){ 30, 20, 60, 50 }, 1, 0, 0, &e));
    edit_canvas fit = edit_canvas_of(&im, &m, EDIT_PAD, 64, 16, 10);
    EXPECT(!edit_canvas_in(&in, &fit, &im, &e) && in.w == 64 && in.h == 64);
    EXPECT(!edit_canvas_out(&back, &fit, &in, &im, &e) && back.w == 90 && back.h == 70);
    EXPECT(!memcmp(back.px, im.px, 90 * 3 * 9)); /* above the window */
    vm_image painted = picture(90, 70, 3, other);
    for (int feather = 0; feather <= 6; feather += 3) {
        EXPECT(!edit_composite(&mixed, &im, &painted, &m, feather, &e) && !edit_changes(&c, &im, &mixed, &m, feather, &e));
        EXPECT(c.changed == 0 && c.most == 0 && c.mean == 0 && c.outside == 90 * 70 - (30 + 2 * feather) * (30 + 2 * feather));
        for (int i = 0; i < 90 * 70 * 3; i++)
            if (m.px[i / 3]) EXPECT(mixed.px[i] == painted.px[i]);
        int64_t at = (35 * 90 + 29) * 3; /* beside the mask: most of the painted one */
        if (feather) EXPECT(abs(mixed.px[at] - painted.px[at]) <= abs(im.px[at] - painted.px[at]) / feather + 1 && mixed.px[at] != im.px[at]);
        image_free(&mixed);
    }
    EXPECT(!edit_changes(&c, &im, &painted, &m, 0, &e) && c.changed > 5000 && c.most > 100 && c.mean > 10);
    image_free(&im), image_free(&m), image_free(&in), image_free(&back), image_free(&painted);
}

TEST(masks_of_pictures) {
    vm_image in = picture(10, 10, 3, other), m;
    for (int i = 0; i < 300; i++) in.px[i] = i / 3 % 10 < 5 ? 127 : 128; /* half and above is white */
    EXPECT(!edit_mask_picture(&m, &in, 10, 10, &e));
    EXPECT_STR(bounds(&m), "5 0 10 10 50");
    image_free(&m);
    EXPECT(!edit_mask_picture(&m, &in, 20, 10, &e) && m.w == 20 && m.c == 1);
    image_free(&m), image_free(&in);
}

int main(void) {
    RUN(boxes);
    RUN(grown_by_squares);
    RUN(canvases);
    RUN(original_pixels);
    RUN(masks_of_pictures);
    return test_end();
}

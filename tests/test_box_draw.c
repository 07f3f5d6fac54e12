/* test_box_draw.c - frames with labels and feathered masks, pixel by pixel. */
#include "models/edit_mask.h"
#include "pipeline/box_draw.h"
#include "pipeline/letters.h"
#include "tests/test.h"

static int at(const vm_image *im, int x, int y) { return im->px[(y * im->w + x) * im->c]; }

TEST(feathered) {
    const float box[] = { 4, 4, 6, 6 }, two[] = { 0, 0, 4, 4, 6, 0, 9, 4 };
    vm_image m;
    vm_error e = { 0 };
    EXPECT(!edit_mask_boxes(&m, 16, 16, box, 1, 0, 1, &e) && !edit_mask_feather(&m, 3, &e)); /* white 3..6 */
    EXPECT(at(&m, 3, 3) == 255 && at(&m, 6, 6) == 255);
    EXPECT(at(&m, 7, 5) == 191 && at(&m, 8, 5) == 128 && at(&m, 9, 5) == 64 && at(&m, 10, 5) == 0); /* 3/4, 2/4, 1/4 */
    EXPECT(at(&m, 2, 5) == 191 && at(&m, 0, 5) == 64 && at(&m, 7, 7) == 191 && at(&m, 9, 9) == 64);
    image_free(&m);
    EXPECT(!edit_mask_boxes(&m, 10, 4, two, 2, 0, 0, &e) && !edit_mask_feather(&m, 3, &e));
    EXPECT(at(&m, 4, 1) == 191 && at(&m, 5, 1) == 191 && at(&m, 6, 1) == 255); /* of the nearer one */
    image_free(&m);
}

static int count(const vm_image *im, const uint8_t *colour) {
    int n = 0;
    for (int i = 0; i < im->w * im->h; i++) n += !memcmp(im->px + 3 * i, colour, 3);
    return n;
}

TEST(frames_with_labels) {
    static const uint8_t red[] = { 230, 25, 75 }, white[] = { 255, 255, 255 };
    vm_image im;
    vm_error e = { 0 };
    EXPECT(!image_new(&im, 60, 40, 3, &e));
    memset(im.px, 7, 60 * 40 * 3);
    box_frame(&im, (const float[]){ 10, 20, 30, 35 }, 0, NULL);
    EXPECT(count(&im, red) == 2 * 20 + 2 * 13 && !memcmp(im.px + (20 * 60 + 10) * 3, red, 3) && im.px[(25 * 60 + 20) * 3] == 7);
    memset(im.px, 7, 60 * 40 * 3);
    box_frame(&im, (const float[]){ 10, 20, 30, 35 }, 0, "I."); /* 13 x 11 above it; 9 + 4 dots of the letters in white */
    EXPECT(!memcmp(im.px + (9 * 60 + 10) * 3, red, 3) && !memcmp(im.px + (19 * 60 + 22) * 3, red, 3) && im.px[(8 * 60 + 10) * 3] == 7 && im.px[(15 * 60 + 23) * 3] == 7);
    EXPECT(count(&im, white) == 13 && count(&im, red) == 66 + 13 * 11 - 13);
    memset(im.px, 7, 60 * 40 * 3);
    box_frame(&im, (const float[]){ 50, 2, 60, 20 }, 0, "wide words"); /* no room above or to the right: below, moved in; cut at the border */
    EXPECT(count(&im, white) > 40 && im.px[(1 * 60 + 55) * 3] == 7 && !memcmp(im.px + (20 * 60 + 0) * 3, red, 3));
    image_free(&im);
}

TEST(letters) {
    static const char all[] = "abcdefghijklmnopqrstuvwxyz0123456789.-%";
    uint8_t ink = 1;
    vm_image im, other;
    vm_error e = { 0 };
    EXPECT(!image_new(&im, 6, 9, 1, &e) && !image_new(&other, 6, 9, 1, &e));
    for (int i = 0; all[i]; i++) { /* each leaves dots, and no two the same */
        memset(im.px, 0, 54), letter_draw(&im, 0, 0, 1, all[i], &ink);
        EXPECT(memchr(im.px, 1, 54) != NULL);
        for (int k = 0; k < i; k++) {
            memset(other.px, 0, 54), letter_draw(&other, 0, 0, 1, all[k], &ink);
            EXPECT(memcmp(im.px, other.px, 54) != 0);
        }
    }
    memset(im.px, 0, 54), letter_draw(&im, 0, 0, 1, 'Q', &ink), memset(other.px, 0, 54), letter_draw(&other, 0, 0, 1, 'q', &ink);
    EXPECT(!memcmp(im.px, other.px, 54));
    memset(im.px, 0, 54), letter_draw(&im, 0, 0, 1, '_', &ink), letter_draw(&im, -40, 100, 3, 'w', &ink);
    EXPECT(memchr(im.px, 1, 54) == NULL);
    image_free(&im), image_free(&other);
}

int main(void) {
    RUN(feathered);
    RUN(frames_with_labels);
    RUN(letters);
    return test_end();
}

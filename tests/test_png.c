/* PNG: every kind as Pillow reads it, broken files by message, the writer read back. */
#include <string.h>

#include "tests/pictures.h"

TEST(kinds_equal_pillow) { EXPECT(check_golden(".png", 0) == 35); }

TEST(broken_files_are_named) {
    static const broken table[] = {
        {"rgb.png", 9, NULL, 0, NULL, 0, false, "truncated: the file ends after 9 bytes"},
        {"rgb.png", 32, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", 33, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", 37, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", 60, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", -40, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", -12, NULL, 0, NULL, 0, false, NULL}, /* only the end chunk is missing */
        {"rgb_adam7.png", -40, NULL, 0, NULL, 0, false, "truncated"},
        {"rgb.png", 0, "IHDR", 0, "JHDR", 4, true, "header chunk IHDR is missing"},
        {"rgb.png", 0, "IHDR", 4, "\0\0\0\0", 4, true, "size of 0x13 pixels"},
        {"rgb.png", 0, "IHDR", 8, "\0\0\0\0", 4, true, "size of 21x0 pixels"},
        {"rgb.png", 0, "IHDR", 4, "\0\0\x40\1", 4, true, "16385x13 pixels, at most 16384 per side"},
        {"rgb.png", 0, "IHDR", 8, "\0\0\x40\1", 4, true, "21x16385 pixels, at most 16384 per side"},
        {"rgb.png", 0, "IHDR", 4, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, true, "4294967295x4294967295 pixels, at most 16384"},
        {"rgb.png", 0, "IHDR", 4, "\0\0\x40\0\0\0\x40\0", 8, true, "decompression bomb"},
        {"gray1.png", 0, "IHDR", 4, "\0\0\x40\0\0\0\x10\0", 8, true, "decompression bomb"},
        {"rgb_adam7.png", 0, "IHDR", 4, "\0\0\x20\0\0\0\x20\0", 8, true, "decompression bomb"},
        {"rgb.png", 0, "IHDR", 4, "\0\0\0\x30", 4, true, "damaged"}, /* wider than the data */
        {"rgb.png", 0, "IHDR", 12, "\3", 1, true, "damaged"},
        {"rgb.png", 0, "IHDR", 13, "\5", 1, true, "damaged"},
        {"palette2.png", 0, "IHDR", 12, "\x10", 1, true, "damaged"},
        {"rgb.png", 0, "IHDR", 14, "\1", 1, true, "damaged"},
        {"rgb.png", 0, "IHDR", 15, "\1", 1, true, "damaged"},
        {"rgb.png", 0, "IHDR", 16, "\2", 1, true, "damaged"},
        {"rgb.png", 0, "IHDR", 17, "\0\0\0\0", 4, false, "CRC error"},
        {"rgb.png", 0, "IDAT", 60, "abcd", 4, false, "damaged"},
        {"rgb.png", 0, "IDAT", 4, "\xff\xff", 2, true, "damaged"},
        {"rgb.png", 0, "IDAT", 0, "IDAX", 4, true, "damaged"},
        {"rgb.png", 0, "IDAT", 0, "idat", 4, true, "damaged"},
        {"rgb.png", 0, "IDAT", -4, "\xff\xff\xff\xff", 4, false, "damaged"},
        {"rgb.png", 0, "IDAT", -4, "\x7f\xff\xff\xff", 4, false, "truncated"},
        {"palette2.png", 0, "PLTE", 0, "pLTE", 4, true, "Missing PLTE"},
        {"palette2.png", 0, "PLTE", -4, "\0\0\0\1", 4, false, "damaged"},
        {"palette8_trns.png", 0, "tRNS", 0, "tXNS", 4, true, NULL},
    };
    check_broken(table, VM_LEN(table));
}

TEST(truncated_files_keep_their_beginning_on_demand) {
    static const char *const names[] = {"rgb.png", "rgb_adam7.png"};
    for (int k = 0; k < 2; k++) {
        const st_tensor *t = golden(names[k], "file"), *want = golden(names[k], "drop");
        vm_image im;
        vm_error e = {0};
        EXPECT(image_decode(&im, t->data, t->bytes - 120, "x", &(image_options){.tolerant = true}, &e) == VM_OK);
        EXPECT(im.partial && im.w == 21 && im.h == 13);
        if (im.px && k == 0) {
            EXPECT(!memcmp(im.px, want->data, 63)); /* first row */
            for (int i = 0; i < 63; i++) EXPECT(im.px[63 * 12 + i] == 0);
        }
        image_free(&im);
    }
}

TEST(limits_are_options) {
    const st_tensor *t = golden("rgb.png", "file");
    vm_image im;
    vm_error e = {0};
    EXPECT(image_decode(&im, t->data, t->bytes, "x", &(image_options){.max_side = 20}, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "x: PNG: found 21x13 pixels, at most 20 per side");
    vm_error_clear(&e);
    EXPECT(image_decode(&im, t->data, t->bytes, "x", &(image_options){.max_pixels = 21 * 13 - 1}, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "at most 272 in all");
    vm_error_clear(&e);
    EXPECT(image_decode(&im, t->data, t->bytes, "x", &(image_options){.max_pixels = 21 * 13, .max_side = 21}, &e) == VM_OK);
    image_free(&im);
}

TEST(written_files_read_back) {
    uint64_t seed = 4;
    for (int c = 1; c <= 4; c++) {
        if (c == 2) continue;
        vm_image im, back;
        vm_error e = {0};
        uint8_t *file[2] = {0};
        size_t n[2] = {0};
        EXPECT(image_new(&im, 37, 11, c, &e) == VM_OK);
        for (int i = 0; i < 37 * 11 * c; i++) im.px[i] = (uint8_t)test_rand(&seed);
        const image_text text[] = {{"Software", "vismin"}, {"seed", "7"}};
        for (int k = 0; k < 2; k++) EXPECT(image_encode_png(&file[k], &n[k], &im, text, 2, &e) == VM_OK);
        EXPECT(n[0] == n[1] && !memcmp(file[0], file[1], n[0]));
        EXPECT(memmem(file[0], n[0], "tEXtseed\0007", 10) != NULL);
        EXPECT(image_decode(&back, file[0], n[0], "x", &(image_options){.alpha = c == 4 ? ALPHA_KEEP : ALPHA_DROP}, &e) == VM_OK);
        EXPECT(back.w == 37 && back.h == 11 && back.c == (c == 4 ? 4 : 3));
        for (int i = 0; i < 37 * 11 && back.px; i++)
            for (int k = 0; k < back.c; k++) EXPECT(back.px[i * back.c + k] == im.px[i * c + (c == 1 ? 0 : k)]);
        image_free(&im);
        image_free(&back);
        vm_free(file[0]);
        vm_free(file[1]);
    }
}

static const char *folder;

TEST(files_are_written_whole) {
    char path[512];
    snprintf(path, sizeof path, "%s/test_png.png", folder);
    uint8_t px[12] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7};
    const vm_image im = {.px = px, .w = 2, .h = 2, .c = 3};
    vm_image back;
    vm_error e = {0};
    EXPECT(image_write_png(path, &im, NULL, 0, &e) == VM_OK);
    EXPECT(image_read(&back, path, NULL, &e) == VM_OK);
    EXPECT(back.px && !memcmp(back.px, px, 12));
    image_free(&back);
    EXPECT(image_write_png("/nonexistent/x.png", &im, NULL, 0, &e) != VM_OK);
    vm_error_clear(&e);
    EXPECT(image_read(&back, "/nonexistent/x.png", NULL, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "/nonexistent/x.png");
    remove(path);
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "build";
    open_pictures();
    RUN(kinds_equal_pillow);
    RUN(broken_files_are_named);
    RUN(truncated_files_keep_their_beginning_on_demand);
    RUN(limits_are_options);
    RUN(written_files_read_back);
    RUN(files_are_written_whole);
    st_close(pictures);
    return test_end();
}

/* Pictures in general: BMP, GIF, lossless WebP; magic bytes; cut, scrambled and memory-starved files of every format. */
#include <string.h>

#include "tests/pictures.h"

TEST(bmp_equals_pillow) { EXPECT(check_golden(".bmp", 0) == 9); }
TEST(gif_equals_pillow) { EXPECT(check_golden(".gif", 0) == 7); }
TEST(webp_equals_pillow) { EXPECT(check_golden(".webp", 0) == 6); }

TEST(broken_files_are_named) {
    static const broken table[] = {
        {"rgb24.bmp", 20, NULL, 0, NULL, 0, false, "BMP: truncated"},
        {"rgb24.bmp", 40, NULL, 0, NULL, 0, false, "BMP: truncated"},
        {"rgb24.bmp", -1, NULL, 0, NULL, 0, false, "BMP: truncated"},
        {"palette8.bmp", 80, NULL, 0, NULL, 0, false, "BMP: truncated"},
        {"rgb565.bmp", 60, NULL, 0, NULL, 0, false, "BMP: truncated"},
        {"rgb24.bmp", 0, NULL, 14, "\x10", 1, false, "header of 16 bytes"},
        {"rgb24.bmp", 0, NULL, 30, "\1", 1, false, "8-bit run-length coding is not supported"},
        {"rgb24.bmp", 0, NULL, 30, "\4", 1, false, "JPEG coding is not supported"},
        {"rgb24.bmp", 0, NULL, 30, "\x77\x77\x77\x77", 4, false, "unknown coding is not supported"},
        {"rgb24.bmp", 0, NULL, 28, "\7", 1, false, "found 7 bits per pixel"},
        {"rgb24.bmp", 0, NULL, 18, "\0", 1, false, "size of 0x13"},
        {"rgb24.bmp", 0, NULL, 18, "\xff\xff\xff\xff", 4, false, "size of -1x13"},
        {"rgb24.bmp", 0, NULL, 22, "\0\0\0\x80", 4, false, "2147483648 pixels, at most 16384"},
        {"rgb24.bmp", 0, NULL, 18, "\0\x40\0\0\0\x40\0\0", 8, false, "decompression bomb"},
        {"rgb24.bmp", 0, NULL, 10, "\xff\xff\xff\xff", 4, false, "BMP: truncated"},
        {"rgb565.bmp", 0, NULL, 54, "\5\0\0\0", 4, false, "channel mask 00000005 is no run of bits"},
        {"rgb565.bmp", 0, NULL, 54, "\0\0\0\0", 4, false, "channel mask 00000000 is no run of bits"},
        {"plain.gif", 10, NULL, 0, NULL, 0, false, "GIF: truncated"},
        {"plain.gif", 30, NULL, 0, NULL, 0, false, "GIF: truncated"},
        {"plain.gif", -20, NULL, 0, NULL, 0, false, "GIF: truncated"},
        {"offset.gif", 38, NULL, 0, NULL, 0, false, "GIF: truncated"},
        {"offset.gif", 0, NULL, 37, "\x99", 1, false, "found block 99"},
        {"offset.gif", 0, NULL, 37, ";", 1, false, "no picture in the file"},
        {"offset.gif", 0, NULL, 6, "\1\x40", 2, false, "16385x12 pixels, at most 16384"},
        {"offset.gif", 0, NULL, 6, "\0\x40\0\x40", 4, false, "decompression bomb"},
        {"offset.gif", 0, NULL, 38, "\xff\xff", 2, false, "at most 16384"},
        {"offset.gif", 0, NULL, 47, "\x0c", 1, false, "code size is not 1..11"},
        {"offset.gif", 0, NULL, 47, "\0", 1, false, "code size is not 1..11"},
        {"offset.gif", 0, NULL, 49, "\xff\xff\xff", 3, false, "not in the table yet"},
        {"rgb.webp", 14, NULL, 0, NULL, 0, false, "WebP: truncated"},
        {"rgb.webp", 22, NULL, 0, NULL, 0, false, "WebP: truncated"},
        {"rgb.webp", 40, NULL, 0, NULL, 0, false, "WebP: truncated"},
        {"rgb.webp", -8, NULL, 0, NULL, 0, false, "WebP: truncated"},
        {"rgb.webp", 0, "VP8L", 0, "VP8 ", 4, false, "lossy WebP is not supported"},
        {"rgb.webp", 0, "VP8L", 0, "ANIM", 4, false, "animated WebP is not supported"},
        {"rgb.webp", 0, "VP8L", 0, "ICCP", 4, false, "WebP: truncated"},
        {"rgb.webp", 0, "VP8L", 8, "\x2e", 1, false, "no lossless signature"},
        {"rgb.webp", 0, "VP8L", 12, "\xe0", 1, false, "version 7 of the bitstream"},
        {"rgb.webp", 0, "VP8L", 9, "\xff\xff\xff\x0f", 4, false, "decompression bomb"},
        {"rgb.webp", 0, "VP8L", 13, "\xff\xff\xff\xff\xff\xff", 6, false, "WebP: damaged"},
        {"rgb.webp", 0, "VP8L", 13, "\0\0\0\0\0\0\0\0\0\0", 10, false, "WebP: damaged"},
    };
    check_broken(table, VM_LEN(table));
}

/* A lossless WebP of w x 1 pixels from "bits:value" words, lowest bit first; zeros follow. */
static size_t write_webp(uint8_t *d, int w, const char *words) {
    size_t bit = 8 * 21;
    memset(d, 0, 256);
    memcpy(d, "RIFF\0\0\0\0WEBPVP8L\xff\xff\xff\x7f/", 21);
    d[21] = (uint8_t)(w - 1), d[24] = 0x10; /* transparency is used */
    bit += 32;
    for (int n, v, used; sscanf(words, "%d:%d%n", &n, &v, &used) == 2; words += used)
        for (int i = 0; i < n; i++, bit++) d[bit / 8] |= (uint8_t)((v >> i & 1) << bit % 8);
    return bit / 8 + 64;
}

/* Bitstreams that no encoder writes. Code lengths are coded by 0 for "1 bit" and 1 for a run of zeros where not said. */
TEST(odd_webp_bitstreams) {
#define LENGTHS_1_AND_RUNS "1:0 4:0 3:0 3:1 3:0 3:1 1:0 "
#define ONE_SYMBOL(v) "1:1 1:0 1:0 1:" #v " "
    static const struct {
        const char *words, *want;
    } table[] = {
        /* three symbols of one bit; two of two bits */
        {"1:0 1:0 1:0 1:0 4:0 3:0 3:0 3:1 3:1 1:0 3:7", "incomplete prefix code"},
        {"1:0 1:0 1:0 1:0 4:1 3:0 3:0 3:1 3:0 3:1 1:0 2:3", "incomplete prefix code"},
        {"1:0 1:0 1:0 " LENGTHS_1_AND_RUNS "1:1 7:127 1:1 7:127 1:1 7:127", "run over the alphabet"},
        /* literal 0 or a copy of two pixels from one to the left; the copy is one pixel too long */
        {"1:0 1:0 1:0 " LENGTHS_1_AND_RUNS "1:0 1:1 7:127 1:1 7:107 1:0 1:1 7:0 1:1 7:0 " ONE_SYMBOL(0) ONE_SYMBOL(0) ONE_SYMBOL(0)
         ONE_SYMBOL(1) "1:0 1:1", "copy from outside the picture"},
        {"1:1 2:2 1:1 2:2", "the same transform twice"},
        {"1:0 1:1 4:15", "colour cache of a size"},
        {"1:0 1:0 1:0 1:0 4:0 3:1 3:0 3:0 3:1 1:1 3:7 16:65535", "more code lengths than symbols"},
    };
    uint8_t d[256];
    vm_image im;
    for (int i = 0; i < VM_LEN(table); i++) {
        vm_error e = {0};
        EXPECT(image_decode(&im, d, write_webp(d, 2, table[i].words), "x", NULL, &e) == VM_EINPUT);
        EXPECT_HAS(e.msg, table[i].want);
    }
    /* a palette of 3 colours, opacity 255, 254, 253; all pixels have index 3: transparent */
    const char *palette = "1:1 2:3 8:2 1:0 " ONE_SYMBOL(0) ONE_SYMBOL(0) ONE_SYMBOL(0) "1:1 1:0 1:1 8:255 " ONE_SYMBOL(0) "1:0 1:0 1:0 "
                          "1:1 1:0 1:1 8:255 " ONE_SYMBOL(0) ONE_SYMBOL(0) ONE_SYMBOL(0) ONE_SYMBOL(0);
    vm_error e = {0};
    EXPECT(image_decode(&im, d, write_webp(d, 4, palette), "x", &(image_options){.alpha = ALPHA_KEEP}, &e) == VM_OK);
    for (int i = 0; i < 16 && im.px; i++) EXPECT(im.px[i] == 0);
    image_free(&im);
}

TEST(other_files_are_named) {
    static const struct {
        const char *bytes;
        size_t n;
        const char *want;
    } table[] = {{"", 0, "empty file"},
                 {"a", 1, "bytes 61 00 00 00"},
                 {"II*\0aaaa", 8, "a TIFF picture"},
                 {"MM\0*aaaa", 8, "a TIFF picture"},
                 {"\0\0\0\x1c" "ftypavif", 12, "an AVIF picture"},
                 {"\0\0\0\x1c" "ftypheic", 12, "a HEIF picture"},
                 {"\xff\x0a....", 6, "a JPEG XL picture"},
                 {"%PDF-1.4", 8, "a PDF file"},
                 {"<svg xmlns", 10, "an SVG drawing"},
                 {"<!DOCTYPE html>", 15, "a web page or XML text"},
                 {"{\"error\": 1}", 12, "JSON text"},
                 {"PK\3\4....", 8, "a zip archive"},
                 {"\x1f\x8b....", 6, "gzip data"},
                 {"version https://git-lfs.github.com/spec/v1\n", 43, "a Git LFS pointer"},
                 {"\x89PNX\r\n\x1a\n", 8, "bytes 89 50 4e 58"},
                 {"RIFF....WAVE", 12, "bytes 52 49 46 46"}};
    for (int i = 0; i < VM_LEN(table); i++) {
        vm_image im;
        vm_error e = {0};
        EXPECT(image_decode(&im, table[i].bytes, table[i].n, "x", NULL, &e) == VM_EINPUT);
        EXPECT_HAS(e.msg, table[i].want);
        EXPECT(im.px == NULL);
    }
}

typedef void (*visit)(const char *name, const uint8_t *d, size_t n);

static void visit_files(visit f) {
    for (int64_t i = 0; i < st_len(pictures); i++) {
        const st_tensor *t = st_at(pictures, i);
        if (strstr(t->name, "/file") && !strstr(t->name, "areas")) f(t->name, t->data, t->bytes);
    }
}

/* Decoding may fail or succeed, but never leaks, crashes or fails without a message. */
static void try_decode(const char *name, const uint8_t *d, size_t n, bool tolerant) {
    const image_options o = {.alpha = ALPHA_KEEP, .tolerant = tolerant, .max_side = 512, .max_pixels = 1 << 16};
    const size_t before = vm_mem_used();
    vm_image im;
    vm_error e = {0};
    const vm_status st = image_decode(&im, d, n, name, &o, &e);
    EXPECT(st ? e.msg[0] && !im.px : im.px && im.c == 4 && im.w > 0 && im.h > 0);
    image_free(&im);
    EXPECT(vm_mem_used() == before);
}

static void cut_short(const char *name, const uint8_t *d, size_t n) {
    for (size_t k = 0; k < n; k += 1 + n / 60) {
        uint8_t *part = malloc(k ? k : 1);
        memcpy(part, d, k);
        try_decode(name, part, k, false);
        try_decode(name, part, k, true);
        free(part);
    }
}

static void scramble(const char *name, const uint8_t *d, size_t n) {
    uint64_t seed = n;
    uint8_t *copy = malloc(n);
    for (int k = 0; k < 60; k++) {
        memcpy(copy, d, n);
        for (int i = 0; i <= k % 4; i++) copy[test_rand(&seed) % n] = (uint8_t)test_rand(&seed);
        if (k % 3) fix_checksums(copy, n);
        try_decode(name, copy, n, k & 1);
    }
    free(copy);
}

/* Each allocation refused in turn: a status and no leak. */
static void starve(const char *name, const uint8_t *d, size_t n) {
    for (int k = 0; k < 400; k++) {
        const size_t before = vm_mem_used();
        vm_image im;
        vm_error e = {0};
        vm_mem_fail_after(k);
        const vm_status st = image_decode(&im, d, n, name, NULL, &e);
        vm_mem_fail_after(-1);
        image_free(&im);
        EXPECT(vm_mem_used() == before);
        if (!st) return;
        if (st != VM_EDEVICE) MISMATCH("%s: allocation %d refused: %s\n", name, k, e.msg);
    }
    MISMATCH("%s: more than 400 allocations\n", name);
}

TEST(files_cut_short) { visit_files(cut_short); }
TEST(files_scrambled) { visit_files(scramble); }
TEST(memory_refused) { visit_files(starve); }

TEST(gray_by_luma) {
    uint8_t px[9] = {255, 0, 0, 0, 255, 0, 10, 20, 30};
    vm_image gray;
    vm_error e = {0};
    EXPECT(image_to_gray(&gray, &(vm_image){.px = px, .w = 3, .h = 1, .c = 3}, &e) == VM_OK);
    EXPECT(gray.px[0] == 76 && gray.px[1] == 150 && gray.px[2] == 18);
    image_free(&gray);
}

TEST(sizes_are_checked) {
    vm_image im;
    vm_error e = {0};
    EXPECT(image_new(&im, 0, 1, 3, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "0x1 pixels with 3 channels");
    EXPECT(image_new(&im, 65536, 1, 3, NULL) == VM_EINPUT);
    EXPECT(image_new(&im, 1, 1, 2, NULL) == VM_EINPUT);
    EXPECT(!im.px);
}

TEST(alpha_over_black) {
    vm_error e = { 0 };
    vm_image im, back;
    uint8_t *file;
    size_t n;
    EXPECT(!image_new(&im, 2, 1, 4, &e));
    memcpy(im.px, (uint8_t[]){ 200, 100, 50, 255, 200, 100, 51, 0 }, 8);
    EXPECT(!image_encode_png(&file, &n, &im, NULL, 0, &e));
    EXPECT(!image_decode(&back, file, n, "x", &(image_options){ .alpha = ALPHA_BLACK }, &e));
    EXPECT(back.c == 3 && !memcmp(back.px, (uint8_t[]){ 200, 100, 50, 0, 0, 0 }, 6));
    image_free(&back);
    EXPECT(!image_decode(&back, file, n, "x", &(image_options){ .alpha = ALPHA_WHITE }, &e) && back.px[3] == 255);
    image_free(&back), image_free(&im), vm_free(file);
}

int main(void) {
    open_pictures();
    RUN(bmp_equals_pillow);
    RUN(gif_equals_pillow);
    RUN(webp_equals_pillow);
    RUN(broken_files_are_named);
    RUN(odd_webp_bitstreams);
    RUN(other_files_are_named);
    RUN(files_cut_short);
    RUN(files_scrambled);
    RUN(memory_refused);
    RUN(gray_by_luma);
    RUN(sizes_are_checked);
    st_close(pictures);
    RUN(alpha_over_black);
    return test_end();
}

/* JPEG: every kind as Pillow reads it, orientation, broken files by message, the writer read back. */
#include <string.h>

#include "tests/pictures.h"

#include <jpeglib.h>

/* Exact with libjpeg-turbo; other transforms stay within 3 levels, and one file tells which it is. */
TEST(kinds_equal_pillow) {
    const st_tensor *t = golden("q95_444.jpg", "file");
    vm_image im;
    vm_error e = {0};
    EXPECT(image_decode(&im, t->data, t->bytes, "x", NULL, &e) == VM_OK);
    const bool same_library = distance(&im, golden("q95_444.jpg", "drop")) == 0;
    image_free(&im);
    EXPECT(check_golden(".jpg", same_library ? 0 : 3) == 26);
}

TEST(orientation_is_applied_unless_asked_not_to) {
    const st_tensor *t = golden("exif6.jpg", "file");
    vm_image im;
    vm_error e = {0};
    EXPECT(image_decode(&im, t->data, t->bytes, "x", NULL, &e) == VM_OK);
    EXPECT(im.w == 5 && im.h == 9);
    image_free(&im);
    EXPECT(image_decode(&im, t->data, t->bytes, "x", &(image_options){.stored_orientation = true}, &e) == VM_OK);
    EXPECT(im.w == 9 && im.h == 5);
    image_free(&im);
}

TEST(broken_files_are_named) {
    static const broken table[] = {
        {"q90_420.jpg", 3, NULL, 0, NULL, 0, false, "truncated: the file ends after 3 bytes"},
        {"q90_420.jpg", 12, NULL, 0, NULL, 0, false, "truncated"},
        {"q90_420.jpg", 200, NULL, 0, NULL, 0, false, "truncated"},
        {"q90_420.jpg", -60, NULL, 0, NULL, 0, false, "truncated"},
        {"progressive.jpg", -30, NULL, 0, NULL, 0, false, "truncated"},
        {"progressive.jpg", -2, NULL, 0, NULL, 0, false, "truncated"},
        {"q90_420.jpg", 0, "\xff\xc0", 4, "\x0c", 1, false, "precision 12"},
        {"q90_420.jpg", 0, "\xff\xc0", 1, "\xc9", 1, false, "arithmetic coding is not supported"},
        {"q90_420.jpg", 0, "\xff\xc0", 1, "\xc3", 1, false, "damaged (Unsupported JPEG process"},
        {"q90_420.jpg", 0, "\xff\xc0", 5, "\0\0", 2, false, "damaged (Empty JPEG image"},
        {"q90_420.jpg", 0, "\xff\xc0", 7, "\0\0", 2, false, "damaged (Empty JPEG image"},
        {"q90_420.jpg", 0, "\xff\xc0", 5, "\x40\1", 2, false, "21x16385 pixels, at most 16384 per side"},
        {"q90_420.jpg", 0, "\xff\xc0", 5, "\x40\0\x40\0", 4, false, "decompression bomb"},
        {"progressive.jpg", 0, "\xff\xc2", 5, "\x40\0\x40\0", 4, false, "decompression bomb"},
        {"q90_420.jpg", 0, "\xff\xc0", 9, "\7", 1, false, "damaged"},
        {"q90_420.jpg", 0, "\xff\xc0", 11, "\0", 1, false, "damaged (Bogus sampling factors"},
        {"q90_420.jpg", 0, "\xff\xc0", 11, "\xff", 1, false, "damaged (Bogus sampling factors"},
        {"q90_420.jpg", 0, "\xff\xc0", 2, "\0\1", 2, false, "damaged (Bogus marker length"},
        {"q90_420.jpg", 0, "\xff\xc4", 5, "\xff\xff\xff", 3, false, "damaged (Bogus Huffman table"},
        {"q90_420.jpg", 0, "\xff\xc4", 4, "\x77", 1, false, "damaged (Bogus DHT index"},
        {"q90_420.jpg", 0, "\xff\xdb", 1, "\xfe", 1, false, "damaged (Quantization table 0x00 was not defined"},
        {"q90_420.jpg", 0, "\xff\xda", 1, "\xfe", 1, false, "damaged (Invalid JPEG file structure: missing SOS"},
        {"q90_420.jpg", 0, "\xff\xda", 5, "\x63", 1, false, "damaged (Invalid component ID"},
        {"q90_420.jpg", 0, "\xff\xd9", 0, "\xff\xd8", 2, false, NULL}, /* what follows the last row is not read */
        {"exif6.jpg", 0, "Exif", 6, "XX", 2, false, NULL},
    };
    check_broken(table, VM_LEN(table));
}

/* A file with a scan per channel, made with libjpeg itself. */
static size_t write_three_scans(uint8_t **d) {
    static const jpeg_scan_info scans[3] = {{1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}};
    struct jpeg_compress_struct c = {0};
    struct jpeg_error_mgr err;
    unsigned long n = 0;
    uint8_t row[16 * 3];
    c.err = jpeg_std_error(&err);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, d, &n);
    c.image_width = c.image_height = 16;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    c.scan_info = scans;
    c.num_scans = 3;
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < 16; y++) {
        for (int i = 0; i < 48; i++) row[i] = (uint8_t)(i * 5 + y * 3);
        jpeg_write_scanlines(&c, (JSAMPROW[]){row}, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return n;
}

/* A copy of a file with its last scan repeated; vm_free. */
static uint8_t *repeat_last_scan(const uint8_t *base, size_t *n, int copies) {
    size_t last = 0;
    for (size_t i = 0; i + 1 < *n; i++)
        if (base[i] == 0xff && base[i + 1] == 0xda) last = i;
    const size_t scan = *n - 2 - last;
    uint8_t *d = vm_alloc(*n + scan * (size_t)copies), *p = d + last;
    memcpy(d, base, last);
    for (int i = 0; i <= copies; i++, p += scan) memcpy(p, base + last, scan);
    memcpy(p, "\xff\xd9", 2);
    *n = (size_t)(p - d) + 2;
    return d;
}

/* Repeated scans are legal in a sequential file, and slow without a limit. */
TEST(endless_scans_are_refused) {
    uint8_t *base = NULL;
    const size_t base_n = write_three_scans(&base);
    for (int copies = 90; copies <= 110; copies += 20) {
        size_t n = base_n;
        uint8_t *d = repeat_last_scan(base, &n, copies);
        vm_image im;
        vm_error e = {0};
        image_decode(&im, d, n, "x", NULL, &e);
        if (copies > 100) EXPECT_HAS(e.msg, "x: JPEG: damaged (more than 100 scans)");
        else EXPECT(im.px != NULL);
        image_free(&im);
        vm_free(d);
    }
    free(base);
}

/* In a progressive one each repetition is a warning. */
TEST(many_warnings_are_refused) {
    const st_tensor *t = golden("progressive.jpg", "file");
    for (int copies = 1; copies <= 31; copies += 30) {
        size_t n = t->bytes;
        uint8_t *d = repeat_last_scan(t->data, &n, copies);
        vm_image im;
        vm_error e = {0};
        image_decode(&im, d, n, "x", NULL, &e);
        if (copies > 1) EXPECT_HAS(e.msg, "x: JPEG: damaged (more than 16 warnings, the last: Inconsistent progression");
        image_free(&im);
        vm_free(d);
    }
}

TEST(truncated_files_keep_their_beginning_on_demand) {
    const st_tensor *t = golden("q95_444.jpg", "file"), *want = golden("q95_444.jpg", "drop");
    vm_image im;
    vm_error e = {0};
    EXPECT(image_decode(&im, t->data, t->bytes - 100, "x", &(image_options){.tolerant = true}, &e) == VM_OK);
    EXPECT(im.partial && im.w == 21 && im.h == 13);
    for (int i = 0; i < 24 && im.px; i++) EXPECT(abs(im.px[i] - want->data[i]) <= 3); /* first block */
    image_free(&im);
}

TEST(written_files_read_back) {
    vm_image im, back;
    vm_error e = {0};
    EXPECT(image_new(&im, 40, 24, 3, &e) == VM_OK);
    for (int i = 0; i < 40 * 24 * 3; i++) im.px[i] = (uint8_t)(128 + 100 * sin(i / 3 % 40 * 0.2 + i % 3) * cos(i / 120 * 0.15));
    size_t last = 0;
    for (int quality = 30; quality <= 95; quality += 65) {
        uint8_t *file[2] = {0};
        size_t n[2] = {0};
        for (int k = 0; k < 2; k++) EXPECT(image_encode_jpeg(&file[k], &n[k], &im, quality, &e) == VM_OK);
        EXPECT(n[0] == n[1] && !memcmp(file[0], file[1], n[0]));
        EXPECT(n[0] > last);
        last = n[0];
        EXPECT(image_decode(&back, file[0], n[0], "x", NULL, &e) == VM_OK);
        EXPECT(back.w == 40 && back.h == 24 && back.c == 3);
        double off = 0;
        for (int i = 0; i < 40 * 24 * 3 && back.px; i++) off += abs(back.px[i] - im.px[i]);
        EXPECT(off / (40 * 24 * 3) < (quality > 90 ? 1.5 : 9));
        image_free(&back);
        vm_free(file[0]);
        vm_free(file[1]);
    }
    uint8_t *file;
    size_t n;
    EXPECT(image_encode_jpeg(&file, &n, &im, 0, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "quality 0, expected 1..100");
    im.c = 4;
    vm_error_clear(&e);
    EXPECT(image_encode_jpeg(&file, &n, &im, 90, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "RGBA");
    image_free(&im);
}

int main(void) {
    open_pictures();
    RUN(kinds_equal_pillow);
    RUN(orientation_is_applied_unless_asked_not_to);
    RUN(broken_files_are_named);
    RUN(endless_scans_are_refused);
    RUN(many_warnings_are_refused);
    RUN(truncated_files_keep_their_beginning_on_demand);
    RUN(written_files_read_back);
    st_close(pictures);
    return test_end();
}

/* test_npy.c - arrays of bytes that numpy saved, as pictures: every accepted shape, every refusal by its words. */
#include "io/image.h"
#include "tests/test.h"

/* Version, header text and n numbers 1, 2, 3 ... as a file in a block of exactly its size. */
static uint8_t *file(int version, const char *header, int n, size_t *bytes) {
    size_t wide = version > 1 ? 4 : 2, len = strlen(header);
    uint8_t *d = calloc(1, *bytes = 8 + wide + len + (size_t)n);
    memcpy(d, "\x93NUMPY", 6);
    d[6] = (uint8_t)version, d[8] = (uint8_t)len, d[9] = (uint8_t)(len >> 8);
    memcpy(d + 8 + wide, header, len);
    for (int i = 0; i < n; i++) d[8 + wide + len + (size_t)i] = (uint8_t)(i + 1);
    return d;
}

#define HEADER(shape) "{'descr': '|u1', 'fortran_order': False, 'shape': " shape ", }          \n"

/* The picture as "WxHxC 1 2 3 ..." or its error. */
static const char *read_as(int version, const char *header, int n, const image_options *o) {
    static char out[1200];
    size_t bytes;
    uint8_t *d = file(version, header, n, &bytes);
    vm_image im;
    vm_error e = { 0 };
    if (image_decode(&im, d, bytes, "x.npy", o, &e)) {
        EXPECT(e.status == VM_EINPUT && !im.px);
        snprintf(out, sizeof out, "%s", e.msg);
    } else {
        int at = snprintf(out, sizeof out, "%dx%dx%d%s", im.w, im.h, im.c, im.partial ? " partial" : "");
        for (int i = 0; i < im.w * im.h * im.c; i++)
            at += snprintf(out + at, sizeof out - (size_t)at, " %d", im.px[i]);
    }
    image_free(&im);
    free(d);
    EXPECT(vm_mem_used() == 0);
    return out;
}

TEST(shapes) {
    EXPECT_STR(read_as(1, HEADER("(1, 2, 3)"), 6, NULL), "2x1x3 1 2 3 4 5 6");
    EXPECT_STR(read_as(2, HEADER("(2, 1, 3)"), 6, NULL), "1x2x3 1 2 3 4 5 6");
    EXPECT_STR(read_as(3, HEADER("(1,1,3,)"), 3, NULL), "1x1x3 1 2 3");
    EXPECT_STR(read_as(1, HEADER("(1, 2)"), 2, NULL), "2x1x3 1 1 1 2 2 2");
    EXPECT_STR(read_as(1, HEADER("(1, 2, 1)"), 2, NULL), "2x1x3 1 1 1 2 2 2");
    EXPECT_STR(read_as(1, HEADER("(1, 2, 4)"), 8, NULL), "2x1x3 1 2 3 5 6 7");
    EXPECT_STR(read_as(1, HEADER("(1, 1, 4)"), 4, &(image_options){ .alpha = ALPHA_KEEP }), "1x1x4 1 2 3 4");
}

TEST(refused) {
    EXPECT_HAS(read_as(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 3), }", 12, NULL),
               "x.npy: NPY: it holds other numbers; expected an array of bytes ('|u1', C order) of H x W x 3 numbers");
    EXPECT_HAS(read_as(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (1, 1, 3), }", 3, NULL), "other numbers");
    EXPECT_HAS(read_as(1, "{'descr': '|u1', 'fortran_order': False, }", 3, NULL), "lacks descr, fortran_order or shape");
    EXPECT_HAS(read_as(1, HEADER("(1, 1, 2)"), 2, NULL), "another shape");
    EXPECT_HAS(read_as(1, HEADER("(3,)"), 3, NULL), "another shape");
    EXPECT_HAS(read_as(1, HEADER("(1, 1, 1, 3)"), 3, NULL), "lacks");
    EXPECT_HAS(read_as(1, HEADER("(99999999999, 1, 3)"), 3, NULL), "lacks");
    EXPECT_HAS(read_as(1, HEADER("(0, 1, 3)"), 3, NULL), "size of 1x0");
    EXPECT_HAS(read_as(1, HEADER("(9000, 9000, 3)"), 3, NULL), "decompression bomb");
    EXPECT_HAS(read_as(1, HEADER("(2, 1, 3)"), 5, NULL), "NPY: truncated");
    EXPECT_STR(read_as(1, HEADER("(2, 1, 3)"), 5, &(image_options){ .tolerant = true }), "1x2x3 partial 1 2 3 0 0 0");
    vm_image im;
    vm_error e = { 0 };
    size_t bytes;
    uint8_t *d = file(1, HEADER("(1, 1, 3)"), 3, &bytes);
    for (size_t n = 6; n < bytes; n++) { /* every shorter file, in a block of its size */
        uint8_t *cut = malloc(n);
        memcpy(cut, d, n);
        EXPECT(image_decode(&im, cut, n, "x", NULL, &e) == VM_EINPUT);
        vm_error_clear(&e);
        free(cut);
    }
    free(d);
    d = file(2, HEADER("(1, 1, 3)"), 3, &bytes), d[10] = 1; /* a header of 65 kB */
    EXPECT(image_decode(&im, d, bytes, "x", NULL, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "longer than 1023 bytes");
    free(d);
}

int main(void) {
    RUN(shapes);
    RUN(refused);
    return test_end();
}

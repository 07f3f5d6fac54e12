/* test_safetensors_bad.c - files that are no safetensors files, and what each of them is told. */
#include "io/safetensors.h"
#include "tests/test.h"

static vm_error err;

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

/* A file with the given header and so many bytes of data; length < 0: that of the header. */
static size_t compose(uint8_t *out, const char *header, size_t bytes, int64_t length, size_t data) {
    uint64_t n = length < 0 ? bytes : (uint64_t)length;
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(n >> 8 * i);
    memcpy(out + 8, header, bytes);
    memset(out + 8 + bytes, 0x40, data);
    return 8 + bytes + data;
}

#define T(dtype, shape, begin, end)                                                                                    \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
#define H(header, data, want) { header, sizeof(header) - 1, -1, data, want }
#define L(length, header, data, want) { header, sizeof(header) - 1, length, data, want }
static const struct {
    const char *header;
    size_t bytes;
    int64_t length;
    size_t data;
    const char *want; /* "" = good */
} files[] = {
    /* good ones, so that the table below can fail */
    H("{}", 0, ""),
    H("{}   ", 0, ""),
    H("{\"__metadata__\":{}}", 0, ""),
    H("{\"a\":" T("F32", "[2]", 0, 8) "}", 8, ""),
    H("{\"a\":" T("F32", "[]", 0, 4) "}", 4, ""),
    H("{\"a\":" T("F32", "[0,5]", 0, 0) "}", 0, ""),
    H("{\"b\":" T("F16", "[1]", 4, 6) ",\"a\":" T("F32", "[1]", 0, 4) ",\"z\":" T("U8", "[0]", 4, 4) "}", 6, ""),
    H("{\"a\":{\"extra\":[{\"x\":1}],\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ""),
    H("{\"a\":" T("F4_NEW", "[7]", 0, 5) "}", 5, ""),
    H("{\"\\u00e9\":" T("U8", "[1,1,1,1,1,1,1,1]", 0, 1) "}", 1, ""),
    /* the frame */
    L(0, "", 0, "t: the header does not begin with '{'; no safetensors file?"),
    L(100, "{}", 0, "t: a header of 100 bytes, but only 2 bytes follow; the file is cut off"),
    L(3, "{}", 0, "t: a header of 3 bytes, but only 2 bytes follow; the file is cut off"),
    L(100000001, "{}", 0, "t: a header of 100000001 bytes, at most 100000000 are accepted; no safetensors file?"),
    L(INT64_MAX, "{}", 0,
      "t: a header of 9223372036854775807 bytes, at most 100000000 are accepted; no safetensors file?"),
    L(1, "{}", 0, "t: header:1:2: found the end, expected a name in double quotes"),
    H(" {}", 0, "t: the header does not begin with '{'; no safetensors file?"),
    H("[]", 0, "t: the header does not begin with '{'; no safetensors file?"),
    H("{} x", 0, "t: header:1:4: found 'x', expected nothing after the end of the text"),
    H("{}\0", 0, "t: header:1:3: found byte 0x00, expected nothing after the end of the text"),
    H("{\"a\":" T("U8", "[1]", 0, 1) ",}", 1, "t: header:1:54: found '}', expected a name in double quotes"),
    H("{\"\xff\":1}", 0, "t: header:1:3: byte 0xff is not UTF-8; save the file in UTF-8"),
    H("{\"a\\ud800\":" T("U8", "[1]", 0, 1) "}", 1,
      "t: header:1:4: found '\\', expected both halves of a surrogate pair"),
    H("{\"a\\u0000\":" T("U8", "[1]", 0, 1) "}", 1, "t: header:1:3: a tensor's name holds the character U+0000"),
    /* fields */
    H("{\"a\":1}", 0, "t: header:1:3: tensor \"a\" is no object"),
    H("{\"a\":null}", 0, "t: header:1:3: tensor \"a\" is no object"),
    H("{\"a\":{}}", 0, "t: header:1:3: tensor \"a\" lacks dtype"),
    H("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, "t: header:1:3: tensor \"a\" lacks shape"),
    H("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "t: header:1:3: tensor \"a\" lacks two data_offsets"),
    H("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0]}}", 0,
      "t: header:1:3: tensor \"a\" lacks two data_offsets"),
    H("{\"a\":{\"dtype\":8,\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
      "t: header:1:15: tensor \"a\": dtype is no string"),
    H("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
      "t: header:1:3: tensor \"a\": dtype stands twice"),
    H("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
      "t: header:1:3: tensor \"a\": shape stands twice"),
    H("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 0,
      "t: header:1:3: tensor \"a\": data_offsets stands twice"),
    H("{\"a\":" T("U8", "3", 0, 3) "}", 3, "t: header:1:28: tensor \"a\": shape is no array of integers"),
    H("{\"a\":" T("U8", "[-1]", 0, 3) "}", 3,
      "t: header:1:29: tensor \"a\": shape holds -1, expected integers from 0 to 2^63-1"),
    H("{\"a\":" T("U8", "[1.0]", 0, 1) "}", 1,
      "t: header:1:29: tensor \"a\": shape holds 1.0, expected integers from 0 to 2^63-1"),
    H("{\"a\":" T("U8", "[\"1\"]", 0, 1) "}", 1,
      "t: header:1:30: tensor \"a\": shape holds 1, expected integers from 0 to 2^63-1"),
    H("{\"a\":" T("U8", "[[1]]", 0, 1) "}", 1,
      "t: header:1:29: tensor \"a\": shape holds [, expected integers from 0 to 2^63-1"),
    H("{\"a\":" T("U8", "[9223372036854775808]", 0, 1) "}", 1,
      "t: header:1:29: tensor \"a\": shape holds 9223372036854775808, expected integers from 0 to 2^63-1"),
    H("{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1,
      "t: header:1:45: tensor \"a\": shape has more than 8 entries"),
    H("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0,0]}}", 0,
      "t: header:1:52: tensor \"a\": data_offsets has more than 2 entries"),
    /* sizes */
    H("{\"a\":" T("F32", "[3]", 0, 8) "}", 8,
      "t: header:1:3: tensor \"a\": 3 elements of F32, but data_offsets span 8 bytes"),
    H("{\"a\":" T("F32", "[1000,1000]", 0, 4) "}", 4,
      "t: header:1:3: tensor \"a\": 1000000 elements of F32, but data_offsets span 4 bytes"),
    H("{\"a\":" T("U8", "[0]", 0, 4) "}", 4,
      "t: header:1:3: tensor \"a\": 0 elements of U8, but data_offsets span 4 bytes"),
    H("{\"a\":" T("U8", "[4294967296,4294967296]", 0, 0) "}", 0,
      "t: header:1:3: tensor \"a\": the product of its shape overflows"),
    H("{\"a\":" T("U8", "[4611686018427387904,2]", 0, 0) "}", 0,
      "t: header:1:3: tensor \"a\": the product of its shape overflows"),
    H("{\"a\":" T("F32", "[4611686018427387904]", 0, 0) "}", 0,
      "t: header:1:3: tensor \"a\": 4611686018427387904 elements of F32, but data_offsets span 0 bytes"),
    H("{\"a\":" T("U8", "[4]", 0, 4) "}", 3,
      "t: header:1:3: tensor \"a\": data_offsets [0, 4] do not lie in the 3 bytes of data"),
    H("{\"a\":" T("U8", "[4]", 4, 0) "}", 4,
      "t: header:1:3: tensor \"a\": data_offsets [4, 0] do not lie in the 4 bytes of data"),
    H("{\"a\":" T("U8", "[1]", 9223372036854775807, 9223372036854775807) "}", 4,
      "t: header:1:3: tensor \"a\": data_offsets [9223372036854775807, 9223372036854775807] do not lie in the 4 bytes "
      "of data"),
    H("{\"a\":" T("NEW", "[1]", 0, 5) "}", 4,
      "t: header:1:3: tensor \"a\": data_offsets [0, 5] do not lie in the 4 bytes of data"),
    /* cover */
    H("{\"a\":" T("U8", "[1]", 0, 1) ",\"b\":" T("U8", "[1]", 0, 1) "}", 1,
      "t: tensor \"b\" begins at byte 0 of the data, expected 1 (it overlaps the one before)"),
    H("{\"a\":" T("U8", "[3]", 0, 3) ",\"b\":" T("U8", "[2]", 2, 4) "}", 4,
      "t: tensor \"b\" begins at byte 2 of the data, expected 3 (it overlaps the one before)"),
    H("{\"a\":" T("U8", "[1]", 0, 1) ",\"b\":" T("U8", "[1]", 2, 3) "}", 3,
      "t: tensor \"b\" begins at byte 2 of the data, expected 1 (the bytes between belong to none)"),
    H("{\"a\":" T("U8", "[1]", 1, 2) "}", 2,
      "t: tensor \"a\" begins at byte 1 of the data, expected 0 (the bytes between belong to none)"),
    H("{\"a\":" T("U8", "[0]", 1, 1) ",\"b\":" T("U8", "[3]", 0, 3) "}", 3,
      "t: tensor \"a\" begins at byte 1 of the data, expected 3 (it overlaps the one before)"),
    H("{\"a\":" T("U8", "[1]", 0, 1) "}", 2, "t: the tensors end at byte 1 of the data, the file at 2"),
    H("{}", 1, "t: the tensors end at byte 0 of the data, the file at 1"),
    H("{\"a\":" T("NEW", "[1]", 1, 2) "}", 2,
      "t: tensor \"a\" begins at byte 1 of the data, expected 0 (the bytes between belong to none)"),
    H("{\"a\":" T("U8", "[1]", 0, 1) ",\"a\":" T("U8", "[1]", 1, 2) "}", 2, "t: header: the name \"a\" stands twice"),
    H("{\"a\":" T("U8", "[1]", 0, 1) ",\"\\u0061\":" T("U8", "[1]", 1, 2) "}", 2,
      "t: header: the name \"a\" stands twice"),
    /* metadata */
    H("{\"__metadata__\":1}", 0, "t: header:1:17: __metadata__ is no object"),
    H("{\"__metadata__\":{\"a\":1}}", 0, "t: header:1:22: __metadata__ holds something else than strings"),
    H("{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "t: header:1:19: __metadata__ holds the character U+0000"),
    H("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "t: header: __metadata__ has \"a\" twice"),
    H("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "t: header:1:21: __metadata__ stands twice"),
};

TEST(malformed_files) {
    static uint8_t buf[4096];
    for (int i = 0; i < VM_LEN(files); i++) {
        size_t n = compose(buf, files[i].header, files[i].bytes, files[i].length, files[i].data);
        uint8_t *exact = vm_alloc(n); /* the sanitizer sees reads beyond the end */
        memcpy(exact, buf, n);
        st_file *f;
        vm_status st = st_open_memory(&f, exact, n, "t", &err);
        EXPECT((st == VM_OK) == !files[i].want[0] && (f != NULL) == !files[i].want[0] && (!st || st == VM_EINPUT));
        EXPECT_STR(message(), files[i].want);
        st_close(f);
        vm_free(exact);
    }
    EXPECT(vm_mem_used() == 0);
}

TEST(every_prefix_is_refused) {
    static uint8_t buf[512];
    const char *header = "{\"a\":" T("F32", "[2]", 0, 8) "}";
    size_t n = compose(buf, header, strlen(header), -1, 8);
    for (size_t k = 0; k <= n; k++) {
        uint8_t *exact = vm_alloc(k);
        memcpy(exact, buf, k);
        st_file *f;
        EXPECT((st_open_memory(&f, exact, k, "t", &err) == VM_OK) == (k == n));
        vm_error_clear(&err);
        st_close(f);
        vm_free(exact);
    }
}

TEST(other_formats_are_named) {
    static const struct {
        const char *bytes, *want;
        size_t n;
    } other[] = {
        { "PK\3\4\0\0\0\0\0\0\0", "a PyTorch or zip file", 11 },
        { "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j", "a pickle file", 11 },
        { "GGUF\3\0\0\0\1\0", "a GGUF file", 10 },
        { "version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", 43 },
        { "<!DOCTYPE html>", "a web page", 15 },
        { "", "0 bytes long, too short", 0 },
        { "1234567", "7 bytes long, too short", 7 },
    };
    st_file *f;
    for (int i = 0; i < VM_LEN(other); i++) {
        EXPECT(st_open_memory(&f, other[i].bytes, other[i].n, "t", &err) == VM_EINPUT);
        EXPECT_HAS(message(), other[i].want);
    }
    /* header lengths whose bytes look like a pickle's or a web page's start */
    static uint8_t buf[2048];
    static char header[0x380];
    memset(header, ' ', sizeof header), memcpy(header, "{}", 2);
    EXPECT(st_open_memory(&f, buf, compose(buf, header, 0x280, -1, 0), "t", &err) == VM_OK);
    st_close(f);
    EXPECT(st_open_memory(&f, buf, compose(buf, header, '<', -1, 0), "t", &err) == VM_OK);
    st_close(f);
}

int main(void) {
    RUN(malformed_files);
    RUN(every_prefix_is_refused);
    RUN(other_formats_are_named);
    EXPECT(vm_mem_used() == 0);
    return test_end();
}

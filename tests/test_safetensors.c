/* test_safetensors.c - values and their conversion, the writer, shards. Malformed files: test_safetensors_bad.c. */
#include "io/file.h"
#include "io/safetensors.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *folder;
static vm_error err;

static const char *in(const char *name) {
    static char paths[4][600];
    static int i;
    char *p = paths[i++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static const char *message(void) {
    static char text[1100];
    const char *p = strstr(err.msg, folder) == err.msg ? err.msg + strlen(folder) + 1 : err.msg;
    snprintf(text, sizeof text, "%s", p);
    vm_error_clear(&err);
    return text;
}

#define T(dtype, shape, begin, end)                                                                                    \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

/* A file with the given header and 8 bytes of data. */
static size_t compose(uint8_t *out, const char *header, const void *data) {
    size_t n = strlen(header);
    memset(out, 0, 8);
    out[0] = (uint8_t)n;
    memcpy(out + 8, header, n);
    memcpy(out + 8 + n, data, 8);
    return 8 + n + 8;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */
static float f16_value(uint32_t h) { /* the definition, in plain arithmetic */
    int exp = h >> 10 & 31, man = h & 0x3ff;
    double v = exp == 31 ? (man ? NAN : INFINITY) : exp ? ldexp(1 + man / 1024.0, exp - 15) : ldexp(man / 1024.0, -14);
    return (float)(h & 0x8000 ? -v : v);
}

static bool same(float a, float b) {
    return isnan(a) ? isnan(b) : !memcmp(&a, &b, 4);
}

TEST(every_half_number_both_ways) {
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t in16 = (uint16_t)h, out16;
        float f, g;
        EXPECT(st_to_f32(&f, ST_F16, &in16, 1) && same(f, f16_value(h)));
        EXPECT(st_from_f32(&out16, ST_F16, &f, 1));
        EXPECT(isnan(f) ? (out16 & 0x7c00) == 0x7c00 && (out16 & 0x3ff) : out16 == in16);
        uint32_t bits = h << 16;
        memcpy(&g, &bits, 4);
        EXPECT(st_to_f32(&f, ST_BF16, &in16, 1) && same(f, g));
        EXPECT(st_from_f32(&out16, ST_BF16, &f, 1));
        EXPECT(isnan(f) ? (out16 & 0x7f80) == 0x7f80 && (out16 & 0x7f) : out16 == in16);
    }
}

TEST(half_numbers_round_to_nearest_even) {
    for (uint32_t h = 0; h < 0x7bff; h++) { /* the middle between neighbours, and a little to both sides */
        double lo = f16_value(h), hi = f16_value(h + 1);
        float mid = (float)((lo + hi) / 2), x[3] = { nextafterf(mid, 0), mid, nextafterf(mid, INFINITY) };
        uint16_t y[3];
        EXPECT(st_from_f32(y, ST_F16, x, 3) && y[0] == h && y[1] == h + (h & 1) && y[2] == h + 1);
    }
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        uint32_t bits[3] = { (h << 16 | 0x8000) - 1, h << 16 | 0x8000, (h << 16 | 0x8000) + 1 };
        float x[3];
        uint16_t y[3];
        memcpy(x, bits, sizeof x);
        EXPECT(st_from_f32(y, ST_BF16, x, 3) && y[0] == h && y[1] == h + (h & 1) && y[2] == h + 1);
    }
    float x[] = { 65504, 65519.996f, 65520, 1e30f, -1e30f, 0x1p-25f, 0x1.000002p-25f, -0.0f, 3.4e38f, 3.40282347e38f };
    uint16_t want[] = { 0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 0, 1, 0x8000 }, y[10];
    EXPECT(st_from_f32(y, ST_F16, x, 8) && !memcmp(y, want, sizeof want));
    EXPECT(st_from_f32(y, ST_BF16, x + 8, 2) && y[0] == 0x7f80 && y[1] == 0x7f80);
}

TEST(every_type_is_read) {
    st_writer *w;
    st_file *f;
    static const struct {
        const char *name;
        st_dtype t;
        uint8_t data[24];
        float want[3];
        bool whole;
    } v[] = {
        { "bool", ST_BOOL, { 0, 1, 255 }, { 0, 1, 1 }, true },
        { "u8", ST_U8, { 0, 1, 255 }, { 0, 1, 255 }, true },
        { "i8", ST_I8, { 0, 127, 128 }, { 0, 127, -128 }, true },
        { "u16", ST_U16, { 1, 0, 255, 255, 0, 128 }, { 1, 65535, 32768 }, true },
        { "i16", ST_I16, { 1, 0, 255, 255, 0, 128 }, { 1, -1, -32768 }, true },
        { "u32", ST_U32, { 1, 0, 0, 0, 0, 0, 0, 128, 255, 255, 255, 255 }, { 1, 2147483648.f, 4294967296.f }, true },
        { "i32", ST_I32, { 1, 0, 0, 0, 0, 0, 0, 128, 255, 255, 255, 255 }, { 1, -2147483648.f, -1 }, true },
        { "i64", ST_I64, { 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 255, 255, 255, 255, 255, 255, 255, 255 },
          { 7, -0x1p63f, -1 }, true },
        { "u64", ST_U64, { 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0 },
          { 7, 256, 0x1p40f }, true },
        { "f16", ST_F16, { 0, 0x3c, 0, 0xc0, 1, 0 }, { 1, -2, 0x1p-24f }, false },
        { "bf16", ST_BF16, { 0x80, 0x3f, 0, 0xc0, 1, 0 }, { 1, -2, 0x1p-133f }, false },
        { "f32", ST_F32, { 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0 }, { 1, -2, 0x1p-149f }, false },
        { "f64", ST_F64, { 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 1, 0, 0, 0x10, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x80 },
          { 1, 0x1.000002p0f, -0.0f }, false }, /* 1 + 2^-24 + 2^-52 rounds up */
        { "f8", ST_F8_E4M3, { 1, 2, 3 }, { 0 }, false },
    };
    int64_t three = 3;
    EXPECT(st_writer_open(&w, in("types.safetensors"), 0, &err) == VM_OK);
    for (int i = 0; i < VM_LEN(v); i++) EXPECT(st_writer_add(w, v[i].name, v[i].t, 1, &three, &err) == VM_OK);
    for (int i = 0; i < VM_LEN(v); i++) EXPECT(st_writer_put(w, v[i].name, v[i].data, &err) == VM_OK);
    EXPECT(st_writer_commit(w, &err) == VM_OK);
    EXPECT(st_open(&f, in("types.safetensors"), &err) == VM_OK && st_len(f) == VM_LEN(v));
    for (int i = 0; i < VM_LEN(v); i++) {
        const st_tensor *t = st_find(f, v[i].name);
        float got[3] = { 0 };
        int64_t n[3] = { 0 };
        EXPECT(t && t->dtype == v[i].t && t->nd == 1 && t->len == 3 && !memcmp(t->data, v[i].data, t->bytes));
        EXPECT((st_read_f32(f, t, 0, 3, got, &err) == VM_OK) == (v[i].t != ST_F8_E4M3));
        if (v[i].t == ST_F8_E4M3) EXPECT_HAS(message(), "tensor \"f8\" of type F8_E4M3 cannot be read as numbers");
        EXPECT(!memcmp(got, v[i].want, sizeof got));
        EXPECT(st_read_f32(f, t, 2, 1, got, NULL) == (v[i].t == ST_F8_E4M3 ? VM_EINPUT : VM_OK));
        EXPECT(same(got[0], v[i].want[2]));
        EXPECT((st_read_i64(f, t, 0, 3, n, NULL) == VM_OK) == v[i].whole);
        for (int k = 0; k < 3 && v[i].whole; k++) EXPECT((float)n[k] == v[i].want[k]);
    }
    EXPECT(st_read_f32(f, st_at(f, 0), 2, 2, NULL, &err) == VM_EINPUT);
    EXPECT_HAS(message(), "2 elements from 2 asked for, it has 3");
    EXPECT(st_read_f32(f, st_at(f, 0), -1, 1, NULL, NULL) == VM_EINPUT);
    EXPECT(st_read_f32(f, st_at(f, 0), 3, 0, NULL, &err) == VM_OK);
    EXPECT(st_find(f, "F32") == NULL && st_find(f, "") == NULL);
    EXPECT(st_total_bytes(f) == 3 * (1 + 1 + 1 + 2 + 2 + 4 + 4 + 8 + 8 + 2 + 2 + 4 + 8 + 1));
    st_release(f, st_find(f, "f64"));
    EXPECT(st_find(f, "f64")->data[7] == 0x3f);
    EXPECT(truncate(in("types.safetensors"), 200) == 0);
    EXPECT(st_read_f32(f, st_find(f, "u8"), 0, 3, (float[3]){ 0 }, &err) == VM_EINPUT);
    EXPECT_HAS(message(), "was cut from");
    st_close(f);
    uint8_t big[8] = { 0, 0, 0, 0, 0, 0, 0, 128 };
    static uint8_t buf[512];
    const char *header = "{\"a\":" T("U64", "[1]", 0, 8) "}";
    size_t n = compose(buf, header, big);
    EXPECT(st_open_memory(&f, buf, n, "t", &err) == VM_OK);
    EXPECT(st_read_i64(f, st_at(f, 0), 0, 1, (int64_t[1]){ 0 }, &err) == VM_EINPUT);
    EXPECT_STR(message(), "t: tensor \"a\": 9223372036854775808 is beyond 2^63-1");
    st_close(f);
}

TEST(names_of_types) {
    for (int t = ST_UNKNOWN + 1; t < ST_NDTYPES; t++) EXPECT(st_dtype_of(st_dtype_name((st_dtype)t)) == (st_dtype)t);
    EXPECT(st_dtype_of("bf16") == ST_BF16 && st_dtype_of("F32x") == ST_UNKNOWN && st_dtype_of("") == ST_UNKNOWN);
    EXPECT(st_dtype_bytes(ST_UNKNOWN) == 0 && st_dtype_of("unknown") == ST_UNKNOWN);
    EXPECT(!st_to_f32(NULL, ST_UNKNOWN, NULL, 0) && !st_from_f32(NULL, ST_I64, NULL, 0));
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */
static void declare(st_writer *w) {
    EXPECT(st_writer_add(w, "b", ST_F32, 2, (int64_t[]){ 1, 2 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "mask", ST_U8, 1, (int64_t[]){ 3 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "a\"\xc3\xa9", ST_F32, 0, NULL, &err) == VM_OK);
    EXPECT(st_writer_add(w, "c", ST_BF16, 1, (int64_t[]){ 2 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "none", ST_I64, 2, (int64_t[]){ 0, 4 }, &err) == VM_OK);
}

TEST(written_bytes) {
    static const char header[] = "{\"__metadata__\":{\"a\":\"1\",\"format\":\"pt\"},"
                                 "\"none\":" T("I64", "[0,4]", 0, 0) ",\"a\\\"\xc3\xa9\":" T("F32", "[]", 0, 4)
                                 ",\"b\":" T("F32", "[1,2]", 4, 12)
                                 ",\"c\":" T("BF16", "[2]", 12, 16)
                                 ",\"mask\":" T("U8", "[3]", 16, 19) "}";
    size_t pad = -(sizeof header - 1) % 8, bytes;
    st_writer *w;
    char *first, *second;
    EXPECT(st_writer_open(&w, in("w.safetensors"), 0, &err) == VM_OK);
    EXPECT(st_writer_meta(w, "format", "pt", &err) == VM_OK && st_writer_meta(w, "a", "1", &err) == VM_OK);
    declare(w);
    EXPECT(st_writer_put(w, "mask", "\1\0\1", &err) == VM_OK);
    EXPECT(st_writer_put_f32(w, "c", (float[]){ 1, -2 }, &err) == VM_OK);
    EXPECT(st_writer_put_part(w, "b", 4, (float[]){ 4 }, 4, &err) == VM_OK);
    EXPECT(!file_exists(in("w.safetensors")));
    EXPECT(st_writer_put_part(w, "b", 0, (float[]){ 3 }, 4, &err) == VM_OK);
    EXPECT(st_writer_put_f32(w, "a\"\xc3\xa9", (float[]){ 5 }, &err) == VM_OK);
    EXPECT(st_writer_commit(w, &err) == VM_OK);
    EXPECT(file_read(&first, &bytes, in("w.safetensors"), 0, &err) == VM_OK);
    EXPECT(bytes == 8 + sizeof header - 1 + pad + 19 && (uint8_t)first[0] == (sizeof header - 1 + pad) % 256);
    EXPECT(!memcmp(first + 8, header, sizeof header - 1));
    EXPECT(!memcmp(first + bytes - 19, (float[]){ 5, 3, 4 }, 12));
    EXPECT(!memcmp(first + bytes - 7, "\x80\x3f\0\xc0\1\0\1", 7));
    /* declared in another order: the same bytes */
    EXPECT(st_writer_open(&w, in("w.safetensors"), 0, &err) == VM_OK);
    EXPECT(st_writer_meta(w, "a", "1", &err) == VM_OK && st_writer_meta(w, "format", "pt", &err) == VM_OK);
    EXPECT(st_writer_add(w, "c", ST_BF16, 1, (int64_t[]){ 2 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "none", ST_I64, 2, (int64_t[]){ 0, 4 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "mask", ST_U8, 1, (int64_t[]){ 3 }, &err) == VM_OK);
    EXPECT(st_writer_add(w, "a\"\xc3\xa9", ST_F32, 0, NULL, &err) == VM_OK);
    EXPECT(st_writer_add(w, "b", ST_F32, 2, (int64_t[]){ 1, 2 }, &err) == VM_OK);
    EXPECT(st_writer_put_f32(w, "a\"\xc3\xa9", (float[]){ 5 }, &err) == VM_OK);
    EXPECT(st_writer_put(w, "none", NULL, &err) == VM_OK);
    EXPECT(st_writer_put_f32(w, "b", (float[]){ 3, 4 }, &err) == VM_OK);
    EXPECT(st_writer_put(w, "mask", "\1\0\1", &err) == VM_OK);
    EXPECT(st_writer_put(w, "c", "\x80\x3f\0\xc0", &err) == VM_OK && st_writer_commit(w, &err) == VM_OK);
    EXPECT(file_read(&second, &bytes, in("w.safetensors"), 0, &err) == VM_OK && !memcmp(first, second, bytes));
    vm_free(first), vm_free(second);
    st_file *f = NULL;
    EXPECT(st_open(&f, in("w.safetensors"), &err) == VM_OK && st_len(f) == 5 && st_meta_len(f) == 2);
    const char *value;
    EXPECT_STR(st_at(f, 0)->name, "a\"\xc3\xa9");
    EXPECT(st_at(f, 0)->nd == 0 && st_at(f, 0)->len == 1 && st_find(f, "none")->len == 0);
    EXPECT_STR(st_meta(f, "format"), "pt");
    EXPECT(st_meta(f, "b") == NULL);
    EXPECT_STR(st_meta_at(f, 0, &value), "a");
    EXPECT_STR(value, "1");
    EXPECT_STR(st_path(f, st_at(f, 0)), in("w.safetensors"));
    st_close(f);
}

TEST(order_of_declaration_is_kept_when_asked) {
    st_writer *w;
    st_file *f = NULL;
    EXPECT(st_writer_open(&w, in("k.safetensors"), ST_KEEP_ORDER, &err) == VM_OK);
    declare(w);
    static const char zeros[16];
    static const char *const names[] = { "b", "mask", "a\"\xc3\xa9", "c" };
    for (int i = 0; i < 4; i++) EXPECT(st_writer_put(w, names[i], zeros, &err) == VM_OK);
    EXPECT(st_writer_commit(w, &err) == VM_OK && st_open(&f, in("k.safetensors"), &err) == VM_OK);
    EXPECT(st_find(f, "mask")->data - st_find(f, "b")->data == 8);
    EXPECT(st_find(f, "c")->data - st_find(f, "b")->data == 15);
    st_close(f);
}

TEST(a_file_is_never_left_half) {
    st_writer *w;
    static const char *const wrong[] = {
        "was declared and not (wholly) written", "was not declared", "is written twice", "is declared twice",
        "is declared after", "has a negative", "a type or rank", "cannot be a tensor's name", "is no UTF-8 name",
        "is set twice", "integer type"
    };
    for (int i = 0; i < VM_LEN(wrong); i++) {
        int64_t two = 2, neg = -1, huge[2] = { INT64_MAX, 4 };
        EXPECT(st_writer_open(&w, in("never.safetensors"), 0, &err) == VM_OK);
        EXPECT(st_writer_add(w, "a", ST_U8, 1, &two, &err) == VM_OK);
        if (i == 1) st_writer_put(w, "b", "xx", &err);
        if (i == 2) st_writer_put(w, "a", "xx", &err), st_writer_put_part(w, "a", 0, "x", 1, &err);
        if (i == 3) st_writer_add(w, "a", ST_U8, 1, &two, &err), st_writer_put(w, "a", "xx", &err);
        if (i == 4) st_writer_put(w, "a", "xx", &err), st_writer_add(w, "b", ST_U8, 1, &two, &err);
        if (i == 5) st_writer_add(w, "b", ST_U8, 1, &neg, &err), st_writer_add(w, "b", ST_U8, 2, huge, NULL);
        if (i == 6) st_writer_add(w, "b", ST_UNKNOWN, 1, &two, &err);
        if (i == 7) st_writer_add(w, "__metadata__", ST_U8, 1, &two, &err);
        if (i == 8) st_writer_add(w, "\xff", ST_U8, 1, &two, &err);
        if (i == 9) st_writer_meta(w, "a", "1", &err), st_writer_meta(w, "a", "1", &err);
        if (i == 10) st_writer_put_f32(w, "a", (float[]){ 1, 2 }, &err);
        if (i) st_writer_abort(w);
        else EXPECT(st_writer_commit(w, &err) == VM_EINPUT);
        EXPECT_HAS(message(), wrong[i]);
        EXPECT(!file_exists(in("never.safetensors")));
    }
    EXPECT(dir_sweep(folder, 0) == 0);
    EXPECT(st_writer_open(&w, in("no/folder.safetensors"), 0, &err) == VM_EIO && !w);
    vm_error_clear(&err);
}

TEST(a_full_disk_shows_before_the_work) {
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100000, 100000 });
        st_writer *w;
        vm_error e = { 0 };
        int64_t n = 1000000;
        static char data[1000000];
        if (st_writer_open(&w, in("full.safetensors"), 0, &e) || st_writer_add(w, "a", ST_U8, 1, &n, &e)) _exit(1);
        if (st_writer_put(w, "a", data, &e) != VM_EIO || !strstr(e.msg, "full.safetensors: no room for its 1000"))
            _exit(2);
        _exit(st_writer_commit(w, &e) == VM_EIO && !file_exists(in("full.safetensors")) ? 0 : 3);
    }
    int status;
    waitpid(pid, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- directories and shards -------------------------------------------------------------------------------------- */
static void write_one(const char *path, const char *a, const char *b, float value) {
    st_writer *w;
    EXPECT(st_writer_open(&w, path, 0, &err) == VM_OK && st_writer_meta(w, "part", a, &err) == VM_OK);
    EXPECT(st_writer_add(w, a, ST_F32, 0, NULL, &err) == VM_OK && st_writer_add(w, b, ST_F32, 0, NULL, &err) == VM_OK);
    EXPECT(st_writer_put(w, a, &value, &err) == VM_OK && st_writer_put(w, b, &value, &err) == VM_OK);
    EXPECT(st_writer_commit(w, &err) == VM_OK);
}

static void write_index(const char *text) {
    EXPECT(file_write(in("m/model.safetensors.index.json"), text, strlen(text), &err) == VM_OK);
}

TEST(shards) {
    st_file *f;
    float v = 0;
    EXPECT(dir_make(in("m"), &err) == VM_OK);
    EXPECT(st_open(&f, in("m"), &err) == VM_EMODEL && !f);
    EXPECT_HAS(message(), "m: holds no weights");
    EXPECT(st_open_base(&f, in("m"), "adapter_model", &err) == VM_EMODEL);
    EXPECT_STR(message(), "m: holds neither adapter_model.safetensors nor adapter_model.safetensors.index.json");
    write_one(in("m/p1.safetensors"), "a", "extra", 1);
    write_one(in("m/p2.safetensors"), "b", "a", 2); /* "a" of p2 is not in the index */
    write_index("{\"metadata\":{\"total_size\":8},\"weight_map\":{\"b\":\"p2.safetensors\",\"a\":\"p1.safetensors\"}}");
    EXPECT(st_open(&f, in("m"), &err) == VM_OK && st_len(f) == 2);
    EXPECT_STR(st_at(f, 0)->name, "a");
    EXPECT(st_read_f32(f, st_find(f, "a"), 0, 1, &v, &err) == VM_OK && v == 1);
    EXPECT(st_read_f32(f, st_find(f, "b"), 0, 1, &v, &err) == VM_OK && v == 2);
    EXPECT_STR(path_base(st_path(f, st_find(f, "b"))), "p2.safetensors");
    EXPECT(st_find(f, "extra") == NULL && st_meta_len(f) == 1 && st_meta(f, "part") != NULL);
    st_close(f);
    static const char *const bad[][2] = {
        { "{}", "m/model.safetensors.index.json:1: weight_map: is missing or no object" },
        { "{\"weight_map\":[]}", "weight_map: is missing or no object" },
        { "{\"weight_map\":{\"a\":1}}", "weight_map.a: found 1, expected a string" },
        { "{\"weight_map\":{\"a\":\"../m/p1.safetensors\"}}", "is no plain file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "is no plain file name" },
        { "{\"weight_map\":{\"a\":\"\"}}", "is no plain file name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "is no plain file name" },
        { "{\"weight_map\":{\"a\":\"p3.safetensors\"}}", "m/p3.safetensors: cannot be opened: No such file" },
        { "{\"weight_map\":{\"a\":\"p1.safetensors\",\"q\":\"p1.safetensors\"}}",
          "weight_map.q: the tensor is not in p1.safetensors (1 such tensors)" },
        { "{\"weight_map\":{\"extra\":\"p2.safetensors\",\"b\":\"p1.safetensors\"}}", "(2 such tensors)" },
        { "{\"weight_map\":{\"a\":\"p1.safetensors\",\"a\":\"p2.safetensors\"}}", "the name \"a\" stands twice" },
        { "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", "" },
    };
    for (int i = 0; i < VM_LEN(bad); i++) {
        write_index(bad[i][0]);
        EXPECT(st_open(&f, in("m/model.safetensors.index.json"), &err) == VM_EINPUT && !f);
        EXPECT_HAS(message(), bad[i][1]);
    }
    write_one(in("m/model.safetensors"), "single", "wins", 3);
    EXPECT(st_open(&f, in("m"), &err) == VM_OK && st_find(f, "wins"));
    st_close(f);
    write_one(in("m/adapter_model.safetensors"), "lora_A", "lora_B", 4);
    EXPECT(st_open_base(&f, in("m"), "adapter_model", &err) == VM_OK && st_find(f, "lora_A"));
    st_close(f);
    EXPECT_STR(message(), "");
}

TEST(many_tensors) {
    st_writer *w;
    st_file *f;
    char name[64];
    int64_t shape[] = { 2, 3 };
    float data[6] = { 0 };
    EXPECT(st_writer_open(&w, in("many.safetensors"), 0, &err) == VM_OK);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", i);
        EXPECT(st_writer_add(w, name, ST_F32, 2, shape, &err) == VM_OK);
    }
    for (int i = 4999; i >= 0; i--) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", i);
        data[5] = (float)i;
        EXPECT(st_writer_put(w, name, data, &err) == VM_OK);
    }
    EXPECT(st_writer_commit(w, &err) == VM_OK && st_open(&f, in("many.safetensors"), &err) == VM_OK);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", i);
        const st_tensor *t = st_find(f, name);
        EXPECT(t && t->shape[1] == 3 && st_read_f32(f, t, 5, 1, data, &err) == VM_OK && data[0] == (float)i);
    }
    st_close(f);
}

TEST(without_memory) {
    static uint8_t buf[512];
    const char *header = "{\"__metadata__\":{\"k\":\"v\"},\"a\":" T("F32", "[2]", 0, 8) "}";
    size_t n = compose(buf, header, "        ");
    for (int64_t i = 0; i < 30; i++) {
        vm_error e = { 0 };
        st_file *f, *dir;
        st_writer *w;
        vm_mem_fail_after(i);
        EXPECT(st_open_memory(&f, buf, n, "t", &e) == (f ? VM_OK : VM_EDEVICE));
        EXPECT(st_open_base(&dir, in("m"), "adapter_model", &e) == (dir ? VM_OK : VM_EDEVICE));
        if (!st_writer_open(&w, in("never.safetensors"), 0, &e)) {
            st_writer_meta(w, "k", "v", &e), st_writer_add(w, "a", ST_F32, 0, NULL, &e);
            st_writer_put_f32(w, "a", (float[]){ 1 }, &e);
            st_writer_abort(w);
        }
        vm_mem_fail_after(-1);
        st_close(f), st_close(dir);
        EXPECT(vm_mem_used() == 0);
    }
}

int main(int argc, char **argv) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/st-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    folder = mkdtemp(dir);
    RUN(every_half_number_both_ways);
    RUN(half_numbers_round_to_nearest_even);
    RUN(every_type_is_read);
    RUN(names_of_types);
    RUN(written_bytes);
    RUN(order_of_declaration_is_kept_when_asked);
    RUN(a_file_is_never_left_half);
    RUN(a_full_disk_shows_before_the_work);
    RUN(shards);
    RUN(many_tensors);
    RUN(without_memory);
    EXPECT(vm_mem_used() == 0);
    dir_remove(folder, NULL);
    return test_end();
}

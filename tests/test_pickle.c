/* test_pickle.c - PyTorch checkpoints: files of torch are read right, whole and damaged ones, with bounded memory. */
#include "io/pickle.h"
#include "io/file.h"
#include "tests/checkpoint_parts.h"
#include "tests/test.h"

#define GOLDEN "tests/golden/pt/"
static vm_error err;
static uint8_t file[1 << 16];

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

static pt_file *open_golden(const char *name) {
    pt_file *f;
    EXPECT(!pt_open(&f, name, &err));
    if (!f) fprintf(stderr, "%s\n", message());
    return f;
}

/* Shape and, when all its elements are at places at[i] of a storage that holds i/2 there, the values; whole and by
 * parts. */
static void expect_tensor(const pt_file *f, const char *name, st_dtype type, int nd, const int64_t *shape, bool in_file,
                          const int *at, double step) {
    const st_tensor *t = pt_find(f, name);
    float x[64], y;
    if (!t) {
        MISMATCH("no tensor %s\n", name);
        return;
    }
    EXPECT(t->dtype == type && t->nd == nd && t->len <= 64 && t->bytes == (size_t)t->len * st_dtype_bytes(type));
    EXPECT((t->data != NULL) == in_file);
    for (int k = 0; k < nd; k++) EXPECT(t->shape[k] == shape[k]);
    EXPECT(!pt_read_f32(f, t, 0, t->len, x, &err));
    for (int64_t i = 0; i < t->len; i++) {
        EXPECT_NEAR(x[i], step * (at ? at[i] : i), 0);
        EXPECT(!pt_read_f32(f, t, i, 1, &y, &err) && y == x[i]);
    }
}
#define SHAPE(...) \
    VM_LEN(((int64_t[]){ __VA_ARGS__ })), (int64_t[]) { __VA_ARGS__ }

TEST(plain) {
    pt_file *f = open_golden(GOLDEN "plain.pt");
    if (!f) return;
    EXPECT(pt_len(f) == 4 && pt_is(GOLDEN "plain.pt") && pt_bytes(f) == (size_t)file_bytes(pt_path(f)));
    expect_tensor(f, "a", ST_F32, SHAPE(2, 3), true, NULL, 0.5);
    expect_tensor(f, "b", ST_F32, SHAPE(4), true, NULL, 0.5);
    expect_tensor(f, "scalar", ST_F32, 0, NULL, true, (int[]){ 15 }, 0.5);
    expect_tensor(f, "empty", ST_F32, SHAPE(0, 5), true, NULL, 0.5);
    const st_tensor *a = pt_find(f, "a");
    float x[8];
    EXPECT(pt_read_f32(f, a, 5, 2, x, &err) == VM_EINPUT);
    EXPECT_HAS(message(), "2 elements from 5 asked for, it has 6");
    EXPECT(pt_read_f32(f, a, -1, 1, x, &err) == VM_EINPUT && pt_read(f, a, 0, -1, x, NULL) == VM_EINPUT &&
           !pt_read(f, a, 6, 0, x, NULL));
    EXPECT(!pt_find(f, "c") && !pt_find(f, ""));
    vm_error_clear(&err);
    pt_release(f, a);
    expect_tensor(f, "a", ST_F32, SHAPE(2, 3), true, NULL, 0.5);
    pt_close(f);
    EXPECT(vm_mem_used() == 0);
}

TEST(views) {
    pt_file *f = open_golden(GOLDEN "views.pt");
    int transposed[24], rows[12], columns[8], step[12], cube[24];
    if (!f) return;
    for (int i = 0; i < 24; i++) transposed[i] = i % 4 * 6 + i / 4, cube[i] = i % 3 * 4 + i / 3 % 2 * 12 + i / 6;
    for (int i = 0; i < 12; i++) rows[i] = 6 + i, step[i] = 1 + 2 * i;
    for (int i = 0; i < 8; i++) columns[i] = i / 2 * 6 + 2 + i % 2;
    expect_tensor(f, "whole", ST_F32, SHAPE(24), true, NULL, 0.5);
    expect_tensor(f, "tied", ST_F32, SHAPE(24), true, NULL, 0.5);
    expect_tensor(f, "transposed", ST_F32, SHAPE(6, 4), false, transposed, 0.5);
    expect_tensor(f, "rows", ST_F32, SHAPE(2, 6), true, rows, 0.5);
    expect_tensor(f, "columns", ST_F32, SHAPE(4, 2), false, columns, 0.5);
    expect_tensor(f, "step", ST_F32, SHAPE(12), false, step, 0.5);
    expect_tensor(f, "cube", ST_F32, SHAPE(4, 2, 3), false, cube, 0.5);
    expect_tensor(f, "unit", ST_F32, SHAPE(4, 1, 1), false, (int[]){ 0, 6, 12, 18 }, 0.5);
    EXPECT(pt_find(f, "whole")->data == pt_find(f, "tied")->data);
    float raw[3];
    EXPECT(
        !pt_read(f, pt_find(f, "transposed"), 4, 3, raw, &err)); /* (1,0), (1,1), (1,2): 1, 7 and 13 of the storage */
    EXPECT(raw[0] == 0.5f && raw[1] == 3.5f && raw[2] == 6.5f);
    pt_close(f);
    EXPECT(vm_mem_used() == 0);
}

TEST(types) {
    static const struct {
        const char *name;
        st_dtype t;
    } all[] = { { "f64", ST_F64 }, { "f16", ST_F16 }, { "bf16", ST_BF16 }, { "i64", ST_I64 },
                { "i32", ST_I32 }, { "i16", ST_I16 }, { "i8", ST_I8 },     { "u8", ST_U8 } };
    pt_file *f = open_golden(GOLDEN "types.pt");
    if (!f) return;
    for (int k = 0; k < VM_LEN(all); k++) expect_tensor(f, all[k].name, all[k].t, SHAPE(5), true, NULL, 1);
    expect_tensor(f, "bool", ST_BOOL, SHAPE(3), true, (int[]){ 1, 0, 1 }, 1);
    for (int64_t i = 1; i < pt_len(f); i++) EXPECT(strcmp(pt_at(f, i - 1)->name, pt_at(f, i)->name) < 0);
    pt_close(f);
}

TEST(training_checkpoint) {
    pt_file *f = open_golden(GOLDEN "training.pt");
    if (!f) return;
    expect_tensor(f, "state_dict.module.weight", ST_F32, SHAPE(2, 3), true, NULL, 0.5);
    expect_tensor(f, "parameter", ST_F32, SHAPE(2, 3), true, NULL, 0.5);
    expect_tensor(f, "optimizer.state.0.step", ST_F32, 0, NULL, true, (int[]){ 1 }, 1);
    EXPECT(pt_find(f, "optimizer.state.1.exp_avg_sq") && pt_find(f, "state_dict.module.bias") && pt_len(f) == 9);
    pt_close(f);
    if (!(f = open_golden(GOLDEN "protocol4.pt"))) return;
    expect_tensor(f, "weight", ST_F32, SHAPE(2, 3), true, NULL, 0.5);
    pt_close(f);
    EXPECT(vm_mem_used() == 0);
}

TEST(other_files) {
    static const char *const files[][2] = {
        { GOLDEN "old.pt", "old.pt: a checkpoint of PyTorch before 1.6 or a bare pickle; load it there" },
        { GOLDEN "script.pt", "script.pt: a TorchScript program, not a checkpoint" },
        { GOLDEN "function.pt", "function.pt: function/data.pkl: byte 176: the name __builtin__.getattr is refused: "
                                "nothing of a pickle is executed" },
        { GOLDEN "make.py", "make.py: no PyTorch checkpoint" },
        { GOLDEN "none.pt", "none.pt: cannot be opened" },
        { GOLDEN, "cannot be opened" },
    };
    for (int k = 0; k < VM_LEN(files); k++) {
        pt_file *f = (pt_file *)&err;
        EXPECT(pt_open(&f, files[k][0], &err) == VM_EINPUT && !f);
        EXPECT_HAS(message(), files[k][1]);
        EXPECT(pt_is(files[k][0]) == (k == 1 || k == 2));
    }
    EXPECT(vm_mem_used() == 0);
}

/* --- anything at all ---------------------------------------------------------------------------------------------- */
static void try_it(const uint8_t *p, size_t n) {
    pt_file *f;
    if (!pt_open_memory(&f, p, n, "t", &err)) {
        for (int64_t i = 0; i < pt_len(f); i++) {
            float x[64];
            pt_read_f32(f, pt_at(f, i), 0, VM_MIN(pt_at(f, i)->len, 64), x, &err);
        }
        pt_close(f);
    } else {
        EXPECT(err.status == VM_EINPUT && err.msg[0]);
    }
    vm_error_clear(&err);
    EXPECT(vm_mem_used() == 0);
}

TEST(damaged_files) {
    static const char *const files[] = { GOLDEN "plain.pt", GOLDEN "views.pt", GOLDEN "training.pt" };
    for (int k = 0; k < VM_LEN(files); k++) {
        char *bytes = NULL;
        size_t n = 0;
        EXPECT(!file_read(&bytes, &n, files[k], 0, &err));
        uint8_t *copy = malloc(n + 1);
        if (bytes) memcpy(copy, bytes, n);
        vm_free(bytes);
        for (size_t i = 0; i < n; i++) { /* exactly sized, so that the sanitizer sees each step too far */
            uint8_t *cut = malloc(i + 1);
            memcpy(cut, copy, i);
            pt_file *f;
            EXPECT(pt_open_memory(&f, cut, i, "t", &err) == VM_EINPUT);
            vm_error_clear(&err);
            free(cut);
            const uint8_t was = copy[i], to[] = { (uint8_t)~was, (uint8_t)(was + 1), 0 };
            for (int m = 0; m < VM_LEN(to); m++) copy[i] = to[m], try_it(copy, n);
            copy[i] = was;
        }
        free(copy);
    }
}

/* Small pickles that ask for much: refused, or read within the memory that is promised. */
TEST(bombs) {
    const size_t most = 2000000;
    uint8_t *p = malloc(most + 4000), *z = malloc(most + 8000);
    static const struct {
        const char *begin, *again, *end;
        size_t n_begin, n_again, n_end;
        const char *want;
    } all[] = {
#define BOMB(begin, again, end, want) { begin, again, end, sizeof(begin) - 1, sizeof(again) - 1, sizeof(end) - 1, want }
        BOMB(PK_BEGIN, "(", ".", "more than 1000000 marks"),
        BOMB(PK_BEGIN, "N", ".", "more objects than"),
        BOMB(PK_BEGIN, "})", ".", "more objects than"),
        BOMB(PK_BEGIN "N", "\x85", ".", "more objects than 2000003 bytes of pickle should hold"),
        BOMB("\x80\4}", "\x94", ".", "more objects than"),
        BOMB(PK_BEGIN "}q\0", "h\0", ".", "more objects than"),
        /* one call of the tensor maker, repeated through the memo: 5 bytes for 150 */
        BOMB(PK_BEGIN "}(X\1\0\0\0a](ctorch._utils\n_rebuild_tensor_v2\nq\0(" PK_STORAGE "K\0))\x89" PK_ODICT "tq\1",
             "h\0h\1R", "eu.", "more objects than"),
        BOMB(PK_BEGIN "}q\0(", "NN", "u.", "more objects than"),
    };
    for (int k = 0; k < VM_LEN(all); k++) {
        size_t n = all[k].n_begin;
        memcpy(p, all[k].begin, n);
        for (; n < most + (size_t)(k == 3 ? 2 : 0); n += all[k].n_again) memcpy(p + n, all[k].again, all[k].n_again);
        memcpy(p + n, all[k].end, all[k].n_end), n += all[k].n_end;
        zip_made made = zip_make(
            z, (zip_part[]){ { "r/data.pkl", p, n }, { "r/data/0", checkpoint_data, sizeof checkpoint_data } }, 2, 0);
        pt_file *f;
        vm_mem_limit((size_t)64 << 20);
        vm_status st = pt_open_memory(&f, z, made.bytes, "t", &err);
        vm_mem_limit(0);
        EXPECT(st == VM_EINPUT && !f); /* not out of memory */
        EXPECT_HAS(message(), all[k].want);
        EXPECT(vm_mem_used() == 0);
    }
    free(p), free(z);
}

/* Dictionaries that hold the one before twice: 2^n tensors in the n-th. */
TEST(doubling) {
    uint8_t p[4000];
    size_t n = 0;
    pt_file *f;
#define ADD(text) memcpy(p + n, text, sizeof(text) - 1), n += sizeof(text) - 1
    for (int most = 6; most <= 30; most += 24) {
        n = 0;
        ADD(PK_BEGIN "}(X\2\0\0\0l0}q\0" PK_W PK_TENSOR("K\0", ")", ")") "s");
        for (uint8_t i = 1; i < most; i++) {
            ADD("X\2\0\0\0l"), p[n++] = (uint8_t)('0' + i);
            ADD("}q"), p[n++] = i;
            ADD("(X\1\0\0\0ah"), p[n++] = (uint8_t)(i - 1);
            ADD("X\1\0\0\0bh"), p[n++] = (uint8_t)(i - 1);
            ADD("u");
        }
        ADD("u.");
        zip_made z = zip_checkpoint(file, p, n, 0);
        vm_mem_limit((size_t)64 << 20);
        vm_status st = pt_open_memory(&f, file, z.bytes, "t", &err);
        vm_mem_limit(0);
        if (most == 6) {
            EXPECT(!st && pt_len(f) == 63 && pt_find(f, "l5.a.b.a.b.b.w")->data == pt_find(f, "l0.w")->data);
            pt_close(f);
            continue;
        }
        EXPECT(st == VM_EINPUT);
        EXPECT_HAS(message(), "too many tensors for the size of the file");
    }
    EXPECT(vm_mem_used() == 0);
}

/* Tensors that share one storage of 40,000 bytes: 3 are fine, 6 are more than 4 times the file. Names of 510 bytes. */
TEST(shared_storages_and_long_names) {
    static uint8_t p[8000], big[40000];
    pt_file *f;
    for (int most = 3; most <= 6; most += 3) {
        size_t n = 0;
        ADD(PK_BEGIN "}(");
        for (int k = 0; k < most; k++) {
            ADD("X\1\0\0\0"), p[n++] = (uint8_t)('a' + k);
            ADD(PK_REBUILD PK_STORAGE_OF("FloatStorage", "0", "M\x10\x27") "K\0"
                                                                           "M\x10\x27\x85"
                                                                           "K\1\x85" PK_TAIL);
        }
        ADD("u.");
        zip_made z = zip_make(file, (zip_part[]){ { "r/data.pkl", p, n }, { "r/data/0", big, sizeof big } }, 2, 0);
        EXPECT(pt_open_memory(&f, file, z.bytes, "t", &err) == (most == 3 ? VM_OK : VM_EINPUT));
        if (most == 3) pt_close(f);
        else EXPECT_HAS(message(), "add up to more than 4 times the file");
    }
    for (size_t len = 254; len <= 256; len += 2) { /* "KEY.KEY" */
        size_t n = 0;
        ADD(PK_BEGIN "}X"), zip_number(p + n, len, 4), memset(p + n + 4, 'k', len), n += 4 + len;
        ADD("q\0}h\0" PK_TENSOR("K\0", ")", ")") "ss.");
        zip_made z = zip_checkpoint(file, p, n, 0);
        EXPECT(pt_open_memory(&f, file, z.bytes, "t", &err) == (len == 254 ? VM_OK : VM_EINPUT));
        if (len == 254) {
            EXPECT(strlen(pt_at(f, 0)->name) == 509);
            pt_close(f);
        } else {
            EXPECT_HAS(message(), "the names below it are longer than 510 bytes");
        }
    }
    EXPECT(vm_mem_used() == 0);
}

TEST(no_memory) {
    zip_made z = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, ZIP_LATER);
    int failed = 0;
    for (int k = 0;; k++, failed++) {
        pt_file *f;
        vm_mem_fail_after(k);
        vm_status st = pt_open_memory(&f, file, z.bytes, "t", &err);
        vm_mem_fail_after(-1);
        if (!st) {
            pt_close(f);
            break;
        }
        EXPECT(st == VM_EDEVICE && !f && vm_mem_used() == 0);
        EXPECT_HAS(message(), "out of memory");
    }
    EXPECT(failed >= 10 && vm_mem_used() == 0);
}

int main(void) {
    RUN(plain);
    RUN(views);
    RUN(types);
    RUN(training_checkpoint);
    RUN(other_files);
    RUN(damaged_files);
    RUN(bombs);
    RUN(doubling);
    RUN(shared_storages_and_long_names);
    RUN(no_memory);
    return test_end();
}

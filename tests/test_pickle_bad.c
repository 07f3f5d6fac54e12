/* test_pickle_bad.c - pickles and archives that are no checkpoints of tensors, and what each of them is told. */
#include "io/pickle.h"
#include "tests/checkpoint_parts.h"
#include "tests/test.h"

static vm_error err;
static uint8_t file[1 << 16];

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

#define P(pickle, want) \
    { pickle, sizeof(pickle) - 1, want }
#define ONE(at, shape, stride) PK_BEGIN "}" PK_W PK_TENSOR(at, shape, stride) "s."
#define STORED(storage)                        \
    PK_BEGIN "}" PK_W PK_REBUILD storage "K\0" \
             "K\2\x85"                         \
             "K\1\x85" PK_TAIL "s."
static const struct {
    const char *pickle;
    size_t bytes;
    const char *want; /* "" = good */
} pickles[] = {
    /* good ones, so that the table below can fail */
    P(PK_GOOD, ""),
    P(PK_BEGIN "}.", ""),
    P(PK_BEGIN PK_ODICT "q\0(" PK_W "q\1" PK_TENSOR("K\0", "K\6\x85", "K\1\x85") "uh\0.", "values on the stack"),
    P(PK_BEGIN PK_ODICT "q\0(" PK_W "q\1" PK_TENSOR("K\0", "K\6\x85", "K\1\x85") "u}X\1\0\0\0mK\1sb.", ""),
    P(PK_BEGIN "}(X\1\0\0\0aNX\1\0\0\0b\x88X\1\0\0\0cG\0\0\0\0\0\0\0\0X\1\0\0\0d](K\1Neu" PK_W PK_TENSOR(
          "K\0", "K\6\x85", "K\1\x85") "s.",
      ""),
    P(PK_BEGIN "}" PK_W PK_TENSOR("\x8a\1\0", "K\6\x85", "M\1\0\x85") "s.", ""),
    P(PK_BEGIN "}J\xff\xff\xff\xff" PK_TENSOR("J\0\0\0\0", "K\6\x85", "K\1\x85") "s.", ""),
    P("\x80\4\x95\1\0\0\0\0\0\0\0}\x94" PK_W PK_TENSOR("K\0", "K\6\x85", "K\1\x85") "s.", ""),
    P("\x80\4}\x8c\1w" PK_TENSOR("K\0", "K\6\x85", "K\1\x85") "s.", ""),
    P(ONE("K\0", ")", ")"), ""),
    P(ONE("K\5", ")", ")"), ""),
    P(ONE("K\6", "K\0\x85", "K\1\x85"), ""),
    P(ONE("K\0", "K\3K\2\x86", "K\1K\3\x86"), ""),
    /* names and calls */
    P(PK_BEGIN "cos\nsystem\nX\4\0\0\0true\x85R.",
      "byte 2: the name os.system is refused: nothing of a pickle is executed"),
    P(PK_BEGIN "cposix\nsystem\nX\4\0\0\0true\x85R.", "the name posix.system is refused"),
    P(PK_BEGIN "c__builtin__\neval\nX\1\0\0\0"
               "1\x85R.",
      "the name __builtin__.eval is refused"),
    P("\x80\4\x8c\2os\x8c\6system\x93.", "byte 14: the name os.system is refused"),
    P("\x80\4K\1\x8c\6system\x93.", "STACK_GLOBAL without two texts"),
    P(PK_BEGIN "cnumpy.core.multiarray\n_reconstruct\n.", "the name numpy.core.multiarray._reconstruct is refused"),
    P(PK_BEGIN "ctorch\nrelu\n.", "the name torch.relu is refused"),
    P(PK_BEGIN "ctorch\nQInt8Storage\n.", "the name torch.QInt8Storage is refused"),
    P(PK_BEGIN "ctorch._utils\n_rebuild_tensor_v3\n.", "the name torch._utils._rebuild_tensor_v3 is refused"),
    P(PK_BEGIN "c\x1b[2J\n\x07\n.", "the name ?[2J.? is refused"),
    P(PK_BEGIN "ccollections\nOrdered", "byte 2: a name without end"),
    P(PK_BEGIN "ccollections", "byte 2: a name without end"),
    P(PK_BEGIN "(ios\nsystem\n.", "byte 3: opcode 0x69 'i' is refused: only what plain tensors need"),
    P(PK_BEGIN "}(X\4\0\0\0trueo.", "opcode 0x6f 'o' is refused"),
    P(PK_BEGIN "})\x81.", "byte 4: opcode 0x81 is refused"),
    P(PK_BEGIN "\x82\1.", "opcode 0x82 is refused"),
    P(PK_BEGIN "P0\n.", "opcode 0x50 'P' is refused"),
    P(PK_BEGIN "S'a'\n.", "opcode 0x53 'S' is refused"),
    P(PK_BEGIN "}0.", "opcode 0x30 '0' is refused"),
    P(PK_BEGIN "}2.", "opcode 0x32 '2' is refused"),
    P(PK_BEGIN "\0", "opcode 0x00 is refused"),
    P(PK_BEGIN "ctorch\nFloatStorage\n)R.", "REDUCE with arguments that are refused"),
    P(PK_BEGIN "ccollections\nOrderedDict\n(](K\1K\2eeR.", "byte "),
    P(PK_BEGIN "ccollections\nOrderedDict\n]\x85R.", "REDUCE with arguments that are refused"),
    P(PK_BEGIN "K\1)R.", "REDUCE of something that is no name"),
    P(PK_BEGIN "ccollections\nOrderedDict\nK\1R.", "REDUCE of something that is no name with arguments"),
    P(PK_BEGIN "ctorch._utils\n_rebuild_parameter\nK\1\x88N\x87R.", "REDUCE with arguments that are refused"),
    P(PK_BEGIN "]}b.", "BUILD of something else than a dictionary is refused"),
    P(PK_BEGIN "}K\1b.", "BUILD of something else than a dictionary is refused"),
    /* the frame */
    P("", "byte 0: the pickle ends without STOP"),
    P("}.", "byte 0: no pickle: the protocol is missing"),
    P("\x80\1}.", "pickle protocol 1; 2 to 5 are read"),
    P("\x80\6}.", "pickle protocol 6; 2 to 5 are read"),
    P(PK_BEGIN PK_BEGIN "}.", "byte 2: pickle protocol 2; 2 to 5 are read, stated once"),
    P("\x80", "byte 0: the pickle is cut off within an opcode"),
    P(PK_BEGIN "}", "byte 3: the pickle ends without STOP"),
    P(PK_BEGIN "}.}", "byte 3: 1 bytes behind the end of the pickle"),
    P(PK_BEGIN ".", "STOP with 0 values on the stack"),
    P(PK_BEGIN "}}.", "STOP with 2 values on the stack"),
    P(PK_BEGIN "(}.", "STOP with 1 values on the stack"),
    P("\x80\4\x95\xff\0\0\0\0\0\0\0}.", "a frame of 255 bytes reaches beyond the end"),
    P("\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xff}.", "a frame of 18446744073709551615 bytes"),
    P(PK_BEGIN "J\1\0", "byte 2: the pickle is cut off within an opcode"),
    P(PK_BEGIN "K\1.", "r/data.pkl: holds no dictionary of tensors"),
    P(PK_BEGIN PK_TENSOR("K\0", "K\6\x85", "K\1\x85") ".", "holds no dictionary of tensors"),
    /* stack, memo, texts */
    P(PK_BEGIN "s.", "byte 2: the stack is empty"),
    P(PK_BEGIN "}(s.", "the stack is empty"),
    P(PK_BEGIN "u.", "no mark on the stack"),
    P(PK_BEGIN "t.", "no mark on the stack"),
    P(PK_BEGIN "(t.", "holds no dictionary of tensors"),
    P(PK_BEGIN "(e.", "elements for something that is no list"),
    P(PK_BEGIN "e.", "no mark on the stack"),
    P(PK_BEGIN "}(K\1u.", "a key without a value"),
    P(PK_BEGIN "](K\1K\2u.", "items for something that is no dictionary"),
    P(PK_BEGIN "}K\1a.", "elements for something that is no list"),
    P(PK_BEGIN "}h\0.", "memo entry 0 is empty"),
    P(PK_BEGIN "}q\5h\4.", "memo entry 4 is empty"),
    P(PK_BEGIN "q\0.", "the stack is empty"),
    P(PK_BEGIN "}r\x40\x42\x0f\0.", "memo entry 1000000, at most 1000000 are kept"),
    P(PK_BEGIN "}r\xff\xff\xff\xff.", "memo entry 4294967295, at most"),
    P(PK_BEGIN "}j\xff\xff\xff\xff.", "memo entry 4294967295 is empty"),
    P(PK_BEGIN "X\xff\xff\xff\x7f"
               "abc.",
      "a text of 2147483647 bytes reaches beyond the end"),
    P("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
      "abc.",
      "a text of 18446744073709551615 bytes reaches beyond the end"),
    P("\x80\4\x8c\x10"
      "abc.",
      "a text of 16 bytes reaches beyond the end"),
    P(PK_BEGIN "X\2\0\0\0\xc3(.", "a text that is not UTF-8"),
    P(PK_BEGIN "\x8a\x09"
               "123456789.",
      "an integer of 9 bytes; at most 8 are read"),
    P(PK_BEGIN "\x8a\x04"
               "12",
      "an integer of 4 bytes"),
    /* storages */
    P(PK_BEGIN "K\1Q.", "BINPERSID of something that is no storage"),
    P(PK_BEGIN ")Q.", "BINPERSID of something that is no storage"),
    P(STORED("((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
             "0X\3\0\0\0cputQ"),
      "BINPERSID of something that is no storage"),
    P(STORED("((X\7\0\0\0stOrageNX\1\0\0\0"
             "0X\3\0\0\0cpuK\6tQ"),
      "BINPERSID of something that is no storage"),
    P(STORED("((X\7\0\0\0storage"
             "ccollections\nOrderedDict\nX\1\0\0\0"
             "0X\3\0\0\0cpuK\6tQ"),
      "BINPERSID of something that is no storage"),
    P(STORED(PK_STORAGE_OF("FloatStorage", "0", "J\xff\xff\xff\xff")), "BINPERSID of something that is no storage"),
    P(STORED(PK_STORAGE_OF("FloatStorage", "1", "K\6")), "the storage r/data/1 is not in the archive"),
    P(STORED(PK_STORAGE_OF("FloatStorage", "0", "K\7")),
      "storage r/data/0: 7 elements of F32, but 24 bytes in the archive"),
    P(STORED(PK_STORAGE_OF("FloatStorage", "0", "K\5")), "storage r/data/0: 5 elements of F32, but 24 bytes"),
    P(STORED(PK_STORAGE_OF("DoubleStorage", "0", "K\6")), "storage r/data/0: 6 elements of F64, but 24 bytes"),
    P(STORED(PK_STORAGE_OF("DoubleStorage", "0", "\x8a\x08\0\0\0\0\0\0\0\x20")),
      "storage r/data/0: 2305843009213693952 elements of F64, but 24 bytes"),
    P(STORED(PK_STORAGE_OF("FloatStorage", "0", "\x8a\x08\6\0\0\0\0\0\0\x40")),
      "4611686018427387910 elements of F32, but 24 bytes"),
    P(PK_BEGIN "}" PK_W PK_TENSOR("K\0", "K\6\x85", "K\1\x85") "sX\1\0\0\0v" PK_REBUILD PK_STORAGE_OF(
          "IntStorage", "0", "K\6") "K\0"
                                    "K\6\x85"
                                    "K\1\x85" PK_TAIL "s.",
      "storage r/data/0 is used as F32 and as I32"),
    /* tensors */
    P(ONE("K\1", "K\2K\3\x86", "K\3K\1\x86"),
      "tensor \"w\": its offset, shape and strides do not stay inside its storage"),
    P(ONE("K\0", "K\7\x85", "K\1\x85"), "do not stay inside"),
    P(ONE("K\0", "K\2K\3\x86", "K\4K\1\x86"), "do not stay inside"),
    P(ONE("K\6", ")", ")"), "do not stay inside"),
    P(ONE("K\7", "K\0\x85", "K\1\x85"), "do not stay inside"),
    P(ONE("K\0", "M\0\1\x85", "K\0\x85"), "do not stay inside"), /* an expanded element: more elements than bytes */
    P(ONE("K\0", "\x8a\x08\0\0\0\0\0\0\0\x40\x85", "K\0\x85"), "do not stay inside"),
    P(ONE("K\0", "K\2\x85", "\x8a\x08\0\0\0\0\0\0\0\x40\x85"), "do not stay inside"),
    P(ONE("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\2\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"),
      "do not stay inside"),
    P(ONE("K\0", "\x8a\x08\0\0\0\0\1\0\0\0\x8a\x08\0\0\0\0\1\0\0\0\x86", "K\1K\1\x86"), "do not stay inside"),
    P(ONE("J\xff\xff\xff\xff", ")", ")"), "_rebuild_tensor_v2 with other arguments"),
    P(ONE("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"), "sizes or strides that are no integers from 0"),
    P(ONE("K\0", "K\2\x85", "J\xff\xff\xff\xff\x85"), "sizes or strides that are no integers from 0"),
    P(ONE("K\0", "K\2\x85", "N\x85"), "sizes or strides that are no integers from 0"),
    P(ONE("K\0", "K\2\x85", "K\2K\1\x86"), "a tensor with 1 sizes and 2 strides"),
    P(ONE("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"),
      "a tensor with 9 sizes and 9 strides; at most 8"),
    P(ONE("N", "K\2\x85", "K\1\x85"), "_rebuild_tensor_v2 with other arguments"),
    P(ONE("K\0", "K\2", "K\1\x85"), "_rebuild_tensor_v2 with other arguments"),
    P(PK_BEGIN PK_REBUILD "K\1\x85R.", "_rebuild_tensor_v2 with other arguments"),
    P(PK_BEGIN PK_REBUILD ")R.", "_rebuild_tensor_v2 with other arguments"),
    /* names of tensors */
    P(PK_BEGIN "}(" PK_W PK_TENSOR("K\0", ")", ")") PK_W PK_TENSOR("K\0", ")", ")") "u.",
      "the name \"w\" stands twice"),
    P(PK_BEGIN "}(X\3\0\0\0a.b" PK_TENSOR("K\0", ")", ")") "X\1\0\0\0a}X\1\0\0\0b" PK_TENSOR("K\0", ")", ")") "su.",
      "the name \"a.b\" stands twice"),
    P(PK_BEGIN "}X\3\0\0\0a\0b" PK_TENSOR("K\0", ")", ")") "s.", "holds the character U+0000"),
    P(PK_BEGIN "}q\0X\1\0\0\0ah\0s.", "dictionaries nested deeper than 32"),
};

TEST(pickles) {
    for (int k = 0; k < VM_LEN(pickles); k++)
        for (int how = 0; how < 8; how += 7) {
            zip_made z = zip_checkpoint(file, pickles[k].pickle, pickles[k].bytes, how);
            pt_file *f = (pt_file *)&err;
            vm_status st = pt_open_memory(&f, file, z.bytes, "t", &err);
            if (pickles[k].want[0]) {
                EXPECT(st == VM_EINPUT && !f);
                if (!strstr(err.msg, pickles[k].want))
                    MISMATCH("pickle %d: \"%s\" lacks \"%s\"\n", k, err.msg, pickles[k].want);
            } else if (st) {
                MISMATCH("pickle %d: %s\n", k, err.msg);
            }
            if (!st) pt_close(f);
            vm_error_clear(&err);
            EXPECT(vm_mem_used() == 0);
        }
}

/* --- archives ----------------------------------------------------------------------------------------------------- */
static zip_made good;
static int flags;
/* The good archive with n bytes of v at a place; what opening says. */
static void broken(size_t at, uint64_t v, int n, const char *want) {
    pt_file *f;
    good = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, flags);
    zip_number(file + at, v, n);
    vm_status st = pt_open_memory(&f, file, good.bytes, "t", &err);
    EXPECT(st == VM_EINPUT && !f);
    if (st == VM_OK) pt_close(f);
    EXPECT_HAS(message(), want);
    EXPECT(vm_mem_used() == 0);
}

TEST(archives) {
    pt_file *f;
    flags = 0;
    good = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, flags);
    EXPECT(!pt_open_memory(&f, file, good.bytes, "t", &err) && pt_len(f) == 1);
    pt_close(f);
    const size_t l = good.local[2], c = good.central[2], end = good.end;
    broken(end, 0, 4, "t: a zip archive without its end record");
    broken(end + 20, 1, 2, "t: a zip archive without its end record");
    broken(end + 4, 1, 2, "the zip archive is spread over several disks");
    broken(end + 8, 2, 2, "the zip archive is spread over several disks");
    broken(end + 16, good.directory - 1, 4, "does not end at byte");
    broken(end + 12, 0xffffffff, 4, "does not end at byte");
    broken(end + 8, 0x00040004, 4, "4 zip entries in a directory of 167 bytes"); /* one more than there are */
    broken(end + 8, 0x00020002, 4, "bytes behind the last record of the zip directory");
    broken(end + 8, 0x40004000, 4, "16384 zip entries in a directory of");
    broken(c, 0, 4, "no record of the zip directory");
    broken(c + 8, 1, 2, "zip entry \"r/data/0\" is encrypted");
    broken(c + 10, 8, 2, "says something else");
    broken(l + 8, 8, 2, "says something else");
    broken(l + 6, 1, 2, "says something else");
    broken(c + 34, 1, 2, "lies on another disk");
    broken(c + 20, 23, 4, "is stored with another size than its own");
    broken(c + 24, 25, 4, "is stored with another size than its own");
    broken(c + 42, l + 1, 4, "has no header of its own where the directory says");
    broken(c + 42, 0xfffffffe, 4, "has no header of its own where the directory says");
    broken(c + 42, good.directory, 4, "has no header of its own where the directory says");
    broken(c + 42, 0xffffffff, 4, "lacks its zip64 sizes");
    broken(c + 28, 60, 2, "a record of the zip directory reaches beyond it");
    broken(c + 32, 1, 2, "a record of the zip directory reaches beyond it");
    broken(c + 46, 0, 1, "has no proper name");
    broken(c + 46, 'x', 1, "zip entry \"x/data/0\" at byte");
    broken(l + 26, 7, 2, "has another name in its own header");
    broken(l + 28, 0xffff, 2, "has another name in its own header");
    broken(l + 22, 25, 4, "has other sizes in its own header");
    broken(l + 28, 1, 2, "reaches into the directory");
    broken(c + 42, good.local[1], 4, "has another name in its own header");
    broken(good.central[0] + 46 + 2, 'e', 1, "has another name in its own header");
    broken(good.local[0], 0, 1, "no PyTorch checkpoint");
}

TEST(archives_of_torch) { /* descriptors and zip64 end records */
    pt_file *f;
    flags = ZIP_LATER | ZIP_64;
    good = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, flags);
    EXPECT(!pt_open_memory(&f, file, good.bytes, "t", &err) && pt_len(f) == 1);
    pt_close(f);
    const size_t l = good.local[2], behind = l + 30 + 8 + 24, e64 = good.end64;
    broken(behind + 8, 23, 4, "has no descriptor with the directory's sizes behind its data");
    broken(behind + 12, 23, 4, "has no descriptor");
    broken(behind + 4, 1, 4, "has no descriptor");
    broken(l + 6, 0, 2, "has other sizes in its own header");
    broken(e64, 0, 4, "the zip64 end record is not where its locator says");
    broken(good.locator + 8, UINT64_MAX, 8, "the zip64 end record is not where its locator says");
    broken(e64 + 32, 2, 8, "contradict each other");
    broken(e64 + 48, 0, 8, "contradict each other");
    broken(e64 + 16, 1, 4, "the zip archive is spread over several disks");
    broken(good.end + 8, 2, 2, "the zip archive is spread over several disks");
}

TEST(archives_of_large_files) { /* zip64 fields */
    pt_file *f;
    flags = ZIP_WIDE;
    good = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, flags);
    EXPECT(!pt_open_memory(&f, file, good.bytes, "t", &err) && pt_len(f) == 1);
    pt_close(f);
    const size_t extra = good.central[2] + 46 + 8; /* behind the name r/data/0 */
    broken(extra, 2, 2, "lacks its zip64 sizes");
    broken(extra + 2, 23, 2, "lacks its zip64 sizes");
    broken(extra + 2, 25, 2, "lacks its zip64 sizes");
    broken(extra + 2, 0xffff, 2, "lacks its zip64 sizes");
    broken(extra + 4, UINT64_MAX, 8, "is stored with another size than its own");
    broken(extra + 20, UINT64_MAX - 29, 8, "has no header of its own where the directory says");
    good = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, flags);
    zip_number(file + extra + 4, UINT64_MAX - 30, 8), zip_number(file + extra + 12, UINT64_MAX - 30, 8);
    EXPECT(pt_open_memory(&f, file, good.bytes, "t", &err) == VM_EINPUT);
    EXPECT_HAS(message(), "reaches into the directory");
}

static const char *refusal(const zip_part *part, int n) {
    pt_file *f;
    zip_made z = zip_make(file, part, n, 0);
    EXPECT(pt_open_memory(&f, file, z.bytes, "t", &err) == VM_EINPUT && !f);
    return message();
}

TEST(contents_of_archives) {
    const zip_part pkl = { "r/data.pkl", PK_GOOD, sizeof PK_GOOD - 1 },
                   d0 = { "r/data/0", checkpoint_data, sizeof checkpoint_data };
    EXPECT_HAS(refusal((zip_part[]){ d0 }, 1), "there is no data.pkl in it");
    EXPECT_HAS(refusal((zip_part[]){ pkl }, 1), "the storage r/data/0 is not in the archive");
    EXPECT_HAS(refusal((zip_part[]){ { "x/data.pkl", PK_GOOD, sizeof PK_GOOD - 1 }, d0 }, 2),
               "the storage x/data/0 is not in the archive");
    EXPECT_HAS(refusal((zip_part[]){ pkl, d0, { "s/data.pkl", "", 0 } }, 3), "holds both r/data.pkl and s/data.pkl");
    EXPECT_HAS(refusal((zip_part[]){ pkl, d0, d0 }, 3), "zip entry \"r/data/0\" stands twice");
    EXPECT_HAS(refusal((zip_part[]){ pkl, d0, { "r/byteorder", "big", 3 } }, 3), "big-endian");
    EXPECT_HAS(refusal((zip_part[]){ pkl, d0, { "r/constants.pkl", "", 0 } }, 3), "a TorchScript program");
    EXPECT_HAS(refusal((zip_part[]){ { "data.pkl", PK_GOOD, sizeof PK_GOOD - 1 }, d0 }, 2),
               "there is no data.pkl in it");
}

/* Two records of the directory for one and the same entry, under its own name and another. */
TEST(overlapping_entries) {
    zip_made z = zip_checkpoint(file, PK_GOOD, sizeof PK_GOOD - 1, 0);
    pt_file *f;
    uint8_t inner[400];
    zip_part part = { "r/data/1", "", 0 };
    zip_made in = zip_make(inner, &part, 1, 0);
    memcpy(file + z.local[2] + 38 + 4, "PK", 2);
    zip_made all = zip_make(file,
                            (zip_part[]){ { "r/data.pkl", PK_GOOD, sizeof PK_GOOD - 1 },
                                          { "r/data/0", checkpoint_data, 24 },
                                          { "r/big", inner, in.directory },
                                          part },
                            4, 0);
    zip_number(file + all.central[3] + 42, all.local[2] + 30 + 5, 4); /* data/1 is now the header inside r/big */
    EXPECT(pt_open_memory(&f, file, all.bytes, "t", &err) == VM_EINPUT);
    EXPECT_HAS(message(), "two zip entries overlap");
}

int main(void) {
    RUN(pickles);
    RUN(archives);
    RUN(archives_of_torch);
    RUN(archives_of_large_files);
    RUN(contents_of_archives);
    RUN(overlapping_entries);
    return test_end();
}

/* test_samples.c - training files in every layout: what is read, and what unfit records and damaged files are told. */
#include "io/samples.h"
#include "io/file.h"
#include "tests/tar_parts.h"
#include "tests/test.h"

static vm_error err;
static char tmp[] = "/tmp/test_samplesXXXXXX";

/* All groups as one text: "name|caption > name|caption/category ; ..." (* = not valid), then "! fault" for each. */
static const char *show(const void *data, size_t bytes, const samples_options *o) {
    static char text[16384];
    samples *s;
    const samples_options none = { 0 };
    char *p = text;
    vm_error_clear(&err);
    *p = 0;
    if (samples_open_memory(&s, data, bytes, "f", o ? o : &none, &err)) {
        EXPECT(!s && vm_mem_used() == 0);
        return err.msg;
    }
    for (int64_t g = 0; g < s->n; g++)
        for (int64_t k = 0; k < s->group[g].n; k++) {
            const sample_side *x = &s->side[s->group[g].first + k];
            p += sprintf(p, "%s%s|%s%s",
                         k   ? " > "
                         : g ? " ; "
                             : "",
                         x->name < 0 ? "-" : sample_text(s, x->name), sample_text(s, x->caption), x->valid ? "" : "*");
            if (x->category >= 0) p += sprintf(p, "/%s", sample_category[x->category]);
        }
    for (int64_t k = 0; k < s->n_faults; k++) p += sprintf(p, "%s! %s", p > text ? " " : "", s->fault[k]);
    samples_free(s);
    EXPECT(vm_mem_used() == 0);
    return text;
}
static const char *text(const char *t) { return show(t, strlen(t), NULL); }

TEST(vismin) {
    const char *two =
        "[{\"image_id\":\"1\",\"image_path\":\"/coco/a.jpg\",\"caption\":\"A dog.\",\"source\":\"coco\",\"negatives\":["
        "{\"edited_image_path\":\"e/1.png\",\"edited_caption\":\"A "
        "\\u0063at.\",\"category\":\"object\",\"edit_id\":\"x\"},"
        "{\"edited_image_path\":\"e/2.png\",\"edited_caption\":\"Two "
        "dogs.\",\"category\":\"counting\"},],\"region_negatives\":[{}]},\n"
        " {\"negatives\":null,\"caption\":\"B\",\"image_path\":\"b.jpg\"},]\n";
    EXPECT_STR(text(two), "/coco/a.jpg|A dog. > e/1.png|A cat./object > e/2.png|Two dogs./counting ; b.jpg|B");
    const char *counting = "counting", *none = "colour";
    EXPECT_STR(show(two, strlen(two), &(samples_options){ .categories = &counting, .n_categories = 1 }),
               "/coco/a.jpg|A dog. > e/2.png|Two dogs./counting ; b.jpg|B");
    EXPECT_STR(show(two, strlen(two), &(samples_options){ .originals_only = true }), "/coco/a.jpg|A dog. ; b.jpg|B");
    EXPECT_STR(show(two, strlen(two), &(samples_options){ .categories = &none, .n_categories = 1 }),
               "category colour: known are object, attribute, relation, counting");
    EXPECT_STR(text("[]"), "");
}
#define OK ",\"caption\":\"C\"}"
TEST(vismin_faults) {
    static const struct {
        const char *json, *want;
    } cases[] = {
        { "[7, {\"image_path\":\"a\"" OK "]", "a|C ! f:1:2: no object" },
        { "[{\"image_path\":\"a\"}]", "! f:1:2: no caption" },
        { "[{\"caption\":\"a\"},\n{\"image_path\":\"a\"" OK "]", "a|C ! f:1:2: no picture" },
        { "[{\"image_path\":\"\"" OK "]", "! f:1:2: the name of the picture is empty" },
        { "[{\"image_path\":\"a\",\"caption\":\" \\n\"}]", "! f:1:2: the caption is empty" },
        { "[{\"image_path\":7" OK "]", "! f:1:2: no picture" },
        { "[{\"image_path\":\"a\\u0000b\"" OK "]", "! f:1:2: no picture" },
        { "[{\"image_path\":\"a\",\n\"negatives\":7" OK "]", "! f:2:13: negatives is no array" },
        { "[{\"image_path\":\"a\",\"negatives\":[7]" OK "]", "! f:1:33: negatives holds something that is no object" },
        { "[{\"image_path\":\"a\",\"negatives\":[{\"edited_caption\":\"x\"}]" OK "]",
          "! f:1:33: a change has no edited_image_path" },
        { "[{\"image_path\":\"a\",\"negatives\":[{\"edited_image_path\":\"x\"}]" OK "]",
          "! f:1:2: a change without a caption" },
        { "[{\"image_path\":\"a\",\"negatives\":[{\"edited_image_path\":\"x\",\"edited_caption\":\"\"}]" OK "]",
          "! f:1:2: the caption of a change is empty" },
        { "[{\"image_path\":\"a\",\"negatives\":[{\"edited_image_path\":\"x\",\"edited_caption\":[1]}]" OK "]",
          "! f:1:75: edited_caption is no text" },
        { "[{\"image_path\":\"a\",\"negatives\":[{\"edited_image_path\":\"x\",\"edited_caption\":\"y\",\"category\":"
          "\"colour\"}]" OK "]",
          "a|C ! f:1:33: a change of an unknown category (object, attribute, relation and counting are known)" },
        /* the file as a whole */
        { "[{\"image_path\":\"a\"" OK, "f:1:34: found the end, expected ',' or ']'" },
        { "[{\"image_path\":\"a\"" OK "] x", "f:1:36: found 'x', expected nothing after the end of the text" },
        { "[{\"image_path\":\"a\"", "f:1:19: found the end, expected ',' or '}'" },
        { "[{\"image_path\":\"\xff\"" OK "]", "f:1:17: byte 0xff is not UTF-8; save the file in UTF-8" },
        { "", "f: the file is empty" },
        { " \n", "f: the file is empty" },
        { "\x1f\x8b\x08", "f: is compressed by gzip; unpack it with gunzip" },
    };
    for (int k = 0; k < VM_LEN(cases); k++) EXPECT_STR(text(cases[k].json), cases[k].want);
}
TEST(json_lines) {
    EXPECT_STR(text("{\"image\":\"a.jpg\",\"text\":\"A\"}\n\n{\"title\":\"B\",\"filepath\":\"b.jpg\",\"image\":{"
                    "\"bytes\":1}}\n"),
               "a.jpg|A ; b.jpg|B");
    /* a torn last line, and damage in the middle */
    EXPECT_STR(text("{\"image\":\"a\",\"text\":\"A\"}\n{\"image\":\"b\",\"te"),
               "a|A ! f:2:17: found the end, expected the closing quote of a string");
    EXPECT_STR(text("{\"image\":\"a\",\"text\":\"A\"}\n[1]\n{\"image\":\"b\",\"text\":\"B\"} "
                    "x\n{\"image\":\"\xff\"}\n{\"image\":\"c\",\"text\":\"C\"}"),
               "a|A ; c|C ! f:2:1: the line is no JSON object ! f:3:26: found 'x', expected nothing after the end of "
               "the text ! f:4:1: the line is not UTF-8; "
               "save the file in UTF-8");
    const char *own = "{\"path\":\"p\",\"image\":\"q\",\"words\":\"w\"}";
    EXPECT_STR(show(own, strlen(own), &(samples_options){ .image_key = "path", .caption_key = "words" }), "p|w");
    EXPECT_STR(text("{\"image_path\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_"
                    "caption\":\"B\"}]}"),
               "a|A > b|B");
}
#define AUG                                                                                                            \
    "\"relation_aug_caption\":\"r\",\"adj_aug_caption\":\"###\",\"noun_aug_caption\":\"n\",\"verb_aug_caption\":\"v\""
TEST(ce_clip) {
    EXPECT_STR(text("{\"image_id\":139,\"caption\":\"A\"," AUG ",\"valid_caption\":[1,1,0,1,0]}"),
               "COCO_train2014_000000000139.jpg|A > -|r > -|###* > -|n > -|v*");
    const char *one = "{\"valid_caption\":[true,true,true,true,true],\"image_id\":7," AUG ",\"caption\":\"A\"}";
    EXPECT_STR(show(one, strlen(one), &(samples_options){ .image_name = "val/{}.png" }),
               "val/000000000007.png|A > -|r > -|###* > -|n > -|v");
    EXPECT_STR(show(one, strlen(one), &(samples_options){ .originals_only = true }),
               "COCO_train2014_000000000007.jpg|A");
    EXPECT_HAS(show(one, strlen(one), &(samples_options){ .image_name = "x.jpg" }),
               "{} must stand for the number of the picture");
    EXPECT_STR(text("{\"image_id\":1,\"caption\":\"A\",\"adj_aug_caption\":\"x\"}"),
               "! f:1:50: one of the four changed captions is missing");
    EXPECT_STR(text("{\"image_id\":1,\"caption\":\"A\"," AUG ",\"valid_caption\":[1,1]}"),
               "! f:1:146: valid_caption is no list of five numbers");
    EXPECT_STR(
        text("{\"image\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\"}]"
             "}\n{\"image_id\":1,\"caption\":\"A\"," AUG "}"),
        "a|A > b|B ! f:2:1: some changes have pictures and some captions only; train on them one after the other");
}
TEST(coco) {
    EXPECT_STR(text("{\"info\":{},\"annotations\":[{\"image_id\":7,\"id\":1,\"caption\":\"S\"},{\"image_id\":9,"
                    "\"caption\":\"N\"},{\"image_id\":8,\"caption\":\"L\"},{\"id\":3}],"
                    "\"images\":[{\"id\":9,\"file_name\":\"n.jpg\"},{\"file_name\":\"s.jpg\",\"id\":7},{\"id\":1}]}"),
               "s.jpg|S ; n.jpg|N ! f:1:121: an annotation without image_id or caption ! f:1:199: a picture without id "
               "or file_name ! f: annotation 2 (picture 8): no picture");
    EXPECT_STR(text("{\"annotations\":[{\"image_id\":7,\"caption\":\"S\"}]}"), "COCO_train2014_000000000007.jpg|S");
    EXPECT_STR(text("{\"annotations\":7}"), "f:1:16: annotations is no array");
    EXPECT_STR(text("{\"annotations\":[7]}"), "f:1:17: annotations holds something that is no object");
    EXPECT_STR(text("{\"annotations\":[],\"images\":[{\"id\":1,"),
               "f:1:37: found the end, expected a name in double quotes");
}
TEST(lists_of_captions) {
    EXPECT_STR(text("[{\"image\":\"a.jpg\",\"caption\":[\"A\",\"B\",\"C\"]},{\"image\":\"b.jpg\",\"caption\":[\"D\"]}]"),
               "a.jpg|A ; a.jpg|B ; a.jpg|C ; b.jpg|D");
    EXPECT_STR(text("{\"captions\":[\"A\",\"B\"],\"image\":\"a.jpg\"}\n{\"image\":\"b.jpg\",\"captions\":\"C\"}\n"),
               "a.jpg|A ; a.jpg|B ; b.jpg|C");
    EXPECT_STR(text("[{\"image\":\"a.jpg\",\"caption\":[]}]"), "! f:1:2: no caption");
    EXPECT_STR(text("[{\"image\":\"a.jpg\",\"caption\":[\"A\",5]}]"), "! f:1:34: a caption of the list is no text");
    EXPECT_STR(text("[{\"image\":\"a.jpg\",\"caption\":[\"A\",\" \"]}]"),
               "a.jpg|A ! f: caption 1 of a list: the caption is empty");
    EXPECT_STR(text("[{\"image\":\"a.jpg\",\"caption\":[\"A\""), "f:1:33: found the end, expected ',' or ']'");
}
TEST(karpathy) {
    const char *two = "{\"images\": [{\"filepath\": \"val2014\", \"sentids\": [1], \"filename\": \"a.jpg\", \"split\": \"test\", "
                      "\"sentences\": [{\"tokens\": [\"x\"], \"raw\": \"A\"}, {\"raw\": \"B\", \"sentid\": 2}]},\n"
                      "{\"sentences\": [{\"raw\": \"C\"}], \"split\": \"train\", \"filename\": \"b.jpg\"}], \"dataset\": \"coco\"}";
    EXPECT_STR(text(two), "val2014/a.jpg|A ; val2014/a.jpg|B ; b.jpg|C");
    EXPECT_STR(show(two, strlen(two), &(samples_options){ .split = "test" }), "val2014/a.jpg|A ; val2014/a.jpg|B");
    EXPECT_STR(show(two, strlen(two), &(samples_options){ .split = "val" }), "");
    EXPECT_STR(text("{\"images\":[{\"filename\":\"a.jpg\",\"sentences\":[{\"raw\":\"A\"},{\"tokens\":[]}]},\n{\"sentences\":[{\"raw\":\"B\"}]},"
                    "{\"filename\":\"c.jpg\"}]}"),
               "a.jpg|A ! f:1:12: no caption ! f:2:1: no picture ! f:2:29: no caption");
    EXPECT_STR(text("{\"images\":7}"), "f:1:11: images is no array");
    EXPECT_STR(text("{\"images\":[7]}"), "f:1:12: images holds something that is no object");
    EXPECT_STR(text("{\"images\":[{\"sentences\":[7]}]}"), "f:1:26: sentences holds no object");
    EXPECT_STR(text("{\"images\":[{\"filename\":\"a.jpg\","), "f:1:32: found the end, expected a name in double quotes");
}
TEST(tables) {
    EXPECT_STR(text("image_path\tcaption\na.jpg\tA dog, red.\nb.jpg\tB\n"), "a.jpg|A dog, red. ; b.jpg|B");
    EXPECT_STR(text("title,filepath,x\n\"A \"\"dog\"\", red\",a.jpg,1\n"), "a.jpg|A \"dog\", red");
    EXPECT_STR(text("image_path,caption\na.jpg\nb.jpg,B\nc.jpg,\n"),
               "b.jpg|B ! f:2: 1 fields, expected 2 as in the first row ! f:4: the caption is empty");
    EXPECT_STR(text("a,caption\n"), "f: no column is called image_path, filepath or image; name it by --csv-img-key");
    EXPECT_STR(text("image_path,b\n"), "f: no column is called caption, title or text; name it by --csv-caption-key");
    EXPECT_STR(show("p,w\nx,y\n", 8, &(samples_options){ .image_key = "p", .caption_key = "w" }), "x|y");
    EXPECT_HAS(show("p,w\nx,y\n", 8, &(samples_options){ .image_key = "q", .caption_key = "w" }), "q");
}

/* --- archives ----------------------------------------------------------------------------------------------------- */
static uint8_t file[1 << 16];
static size_t shard(int from, int n, bool cut) {
    size_t at = 0;
    char name[64], data[64];
    for (int k = from; k < from + n; k++) {
        sprintf(name, "d.x/%03d.JPG", k), sprintf(data, "picture %d", k);
        at = tar_put(file, at, name, '0', data, strlen(data));
        sprintf(name, "d.x/%03d.%s", k, k % 2 ? "txt" : "json"),
            sprintf(data, k % 2 ? "T %d\n" : "{\"caption\":\"J %d\"}", k);
        at = tar_put(file, at, name, '0', data, strlen(data));
    }
    return cut ? at - 510 : tar_finish(file, at);
}
TEST(archives) {
    EXPECT_STR(show(file, shard(0, 2, false), NULL), "d.x/000.JPG|J 0 ; d.x/001.JPG|T 1");
    EXPECT_STR(show(file, shard(0, 2, true), NULL),
               "f: byte 3072: the archive is cut off: d.x/001.txt has 4 bytes and 2 are left");
}
TEST(archive_members) {
    size_t at = tar_put(file, 0, "a.cls", '0', "7", 1);
    at = tar_put(file, at, "a.b.jpg", '0', "p", 1);
    at = tar_put(file, at, "a.json", '0', "{\"caption\":\"json\"}", 18);
    at = tar_put(file, at, "a.txt", '0', "text", 4);
    at = tar_put(file, at, "b.png", '0', "p", 1);
    at = tar_put(file, at, "c.png", '0', "p", 1);
    at = tar_put(file, at, "c.jpg", '0', "p", 1);
    at = tar_put(file, at, "c.txt", '0', "c", 1);
    at = tar_put(file, at, "d.txt", '0', "c", 1);
    at = tar_put(file, at, "e.png", '0', "p", 1);
    at = tar_put(file, at, "e.json", '0', "{", 1);
    at = tar_put(file, at, "f.png", '0', "p", 1);
    at = tar_put(file, at, "f.json", '0', "{\"text\":7}", 10);
    at = tar_put(file, at, "g.png", '0', "p", 1);
    at = tar_put(file, at, "g.txt", '0', "\xff", 1);
    at = tar_put(file, at, ".jpg", '0', "p", 1);
    EXPECT_STR(show(file, tar_finish(file, at), NULL),
               "! f: a: no picture ! f: b: no caption ! f: c: it has two pictures ! f: d: no picture ! f: e: "
               "e.json:1:2: found the end, expected a name in double quotes"
               " ! f: f: f.json:1: text: found 7, expected a string ! f: g: its caption is not UTF-8");
}

/* --- NumPy: what numpy.save writes (numpy 2.3, protocol 4; numpy 1.x with protocol 3 below)
 * ---------------------------- */
#define HEAD "\x93NUMPY\1\0\x38\0{'descr': '|O', 'fortran_order': False, 'shape': (1,),}\n"
#define CALL(multiarray)                                                                                               \
    "c" multiarray "\n_reconstruct\ncnumpy\nndarray\nK\0\x85"                                                          \
    "C\1b\x87R"
#define TYPE(t) "cnumpy\ndtype\nX\2\0\0\0" t "\x89\x88\x87R(K\3X\1\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
#define STATE(n, list) "(K\1" n "\x85" TYPE("O8") "\x89" list "tb."
#define TEXT(n, t) "X" n "\0\0\0" t
#define RECORD                                                                                                         \
    "}(" TEXT("\10", "image_id") "K\7" TEXT("\7", "caption") TEXT("\1", "A") TEXT("\24", "relation_aug_caption")       \
        TEXT("\1", "r") TEXT("\17", "adj_aug_caption") TEXT("\3", "###") TEXT("\20", "noun_aug_caption")               \
            TEXT("\1", "n") TEXT("\20", "verb_aug_caption") TEXT("\1", "v")                                            \
                TEXT("\15", "valid_caption") "](K\1K\1K\1K\0K\1eu"
static const char *npy(const char *pickle, size_t bytes) {
    static uint8_t all[4096];
    memcpy(all, HEAD, sizeof HEAD - 1);
    memcpy(all + sizeof HEAD - 1, pickle, bytes - 1);
    return show(all, sizeof HEAD - 1 + bytes - 1, NULL);
}
#define NPY(pickle) npy(pickle, sizeof(pickle))
TEST(numpy) {
    const char *want = "COCO_train2014_000000000007.jpg|A > -|r > -|###* > -|n* > -|v";
    EXPECT_STR(NPY("\x80\3" CALL("numpy.core.multiarray") STATE("K\1", "](" RECORD "e")), want);
    EXPECT_STR(NPY("\x80\4" CALL("numpy._core.multiarray") STATE("K\1", "]" RECORD "a")), want);
    EXPECT_STR(NPY("\x80\3" CALL("numpy.core.multiarray") STATE("K\3", "](" RECORD "K\1}e")),
               "COCO_train2014_000000000007.jpg|A > -|r > -|###* > -|n* > -|v ! f: record 1: no text is called caption "
               "! f: record 2: no text is called caption");
    /* a number of NumPy's own as image_id */
    EXPECT_STR(NPY("\x80\3" CALL("numpy.core.multiarray") STATE(
                   "K\1", "]}(" TEXT("\7", "caption") TEXT("\1", "A") TEXT(
                              "\10", "image_id") "cnumpy.core.multiarray\nscalar\n" TYPE("i4") "C\4\x0a\1\0\0\x86Ru"
                                                                                               "a")),
               "! f: record 0: one of the four changed captions is missing");
}
TEST(numpy_refused) {
    static const struct {
        const char *pickle;
        size_t bytes;
        const char *want;
    } cases[] = {
#define P(p, want) { p, sizeof(p), want }
        P("\x80\3"
          "cos\nsystem\nX\4\0\0\0true\x85R.",
          "f: byte 2: the name os.system is refused: nothing of a pickle is executed, and arrays of plain records need "
          "only NumPy's own"),
        P("\x80\3"
          "ctorch\nFloatStorage\n.",
          "the name torch.FloatStorage is refused"),
        P("\x80\3"
          "cnumpy\nfrombuffer\n.",
          "the name numpy.frombuffer is refused"),
        P("\x80\3"
          "(ios\nsystem\n.",
          "opcode 0x69 'i' is refused: only what plain records need"),
        P("\x80\3K\1Q.", "opcode 0x51 'Q' is refused"),
        P("\x80\3].", "f: its pickle holds no array"),
        P("\x80\3" CALL("numpy.core.multiarray") STATE("K\2", "](" RECORD "e"),
          "an array whose length is not that of its 1 elements"),
        P("\x80\3" CALL("numpy.core.multiarray") "(K\1K\1K\1\x86" TYPE("O8") "\x89](" RECORD "etb.",
          "no one-dimensional array of objects"),
        P("\x80\3" CALL("numpy.core.multiarray") "(K\1K\1\x85" TYPE("i8") "\x89](" RECORD "etb.",
          "no one-dimensional array of objects"),
        P("\x80\3" CALL("numpy.core.multiarray") "(K\1K\1\x85" TYPE("U8") "\x89](" RECORD "etb.",
          "a NumPy type other than objects, integers, floats and truth is refused"),
        P("\x80\3"
          "cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\0\x85"
          "C\1b\x87R.",
          "_reconstruct of something that is no numpy.ndarray"),
        P("\x80\3"
          "cnumpy.core.multiarray\nscalar\n" TYPE("i8") "C\4\0\0\0\0\x86R.",
          "a NumPy number with other arguments than its type and its bytes"),
        P("\x80\3"
          "cnumpy\ndtype\nX\2\0\0\0i8\x89\x88\x87R(K\3X\1\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb.",
          "a NumPy type that is not little-endian"),
        P("\x80\3"
          "C\xffx",
          "255 bytes reach beyond the end"),
        P("\x80\3" CALL("numpy.core.multiarray"), "the pickle ends without STOP"),
    };
    for (int k = 0; k < VM_LEN(cases); k++) EXPECT_HAS(npy(cases[k].pickle, cases[k].bytes), cases[k].want);
    static const struct {
        const char *file;
        size_t bytes;
        const char *want;
    } heads[] = {
        P("\x93NUMPY\4\0\1\0 ........", "another version than 1.0, 2.0 and 3.0"),
        P("\x93NUMPY\1\0\xff\xff{'descr'", "cut off within its header"),
        P("\x93NUMPY\1\0", "no NumPy file: it does not begin with"),
        P("\x93NUMPY\1\0\x10\0{'descr': '<f8'}........",
          "a NumPy file of numbers; records (an array of objects) are needed"),
    };
    for (int k = 0; k < VM_LEN(heads); k++) EXPECT_HAS(show(heads[k].file, heads[k].bytes - 1, NULL), heads[k].want);
}

/* --- several files ------------------------------------------------------------------------------------------------ */
static const char *paths(int n, const char *const *p) {
    static char out[2000];
    samples *s;
    vm_error_clear(&err);
    if (samples_open(&s, n, p, &(samples_options){ 0 }, &err)) return err.msg;
    char *o = out;
    for (int64_t g = 0; g < s->n; g++) {
        const sample_side *x = &s->side[s->group[g].first];
        uint8_t *bytes = NULL;
        if (x->archive >= 0 && sample_read(s, x, &bytes, &err)) MISMATCH("%s\n", err.msg);
        o += sprintf(o, "%s%s", g ? " " : "", sample_text(s, x->caption));
        if (bytes) o += sprintf(o, "(%d: %.*s)", x->archive, (int)x->bytes, (char *)bytes);
        if (x->category >= 0) o += sprintf(o, "/%s", sample_category[x->category]);
        vm_free(bytes);
    }
    samples_free(s);
    EXPECT(vm_mem_used() == 0);
    return out;
}
static char *at(const char *name, const void *data, size_t bytes) {
    static char path[8][600];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", tmp, name);
    if (data && file_write(p, data, bytes, &err)) MISMATCH("%s\n", err.msg);
    return p;
}
TEST(several_files) {
    at("s08.tar", file, shard(0, 1, false)), at("s09.tar", file, shard(1, 2, false)),
        at("s10.tar", file, shard(3, 1, false));
    const char *range = at("s{08..10}.tar", NULL, 0), *folder = tmp;
    const char *want = "J 0(0: picture 0) T 1(1: picture 1) J 2(1: picture 2) T 3(2: picture 3)";
    EXPECT_STR(paths(1, &range), want);
    EXPECT_STR(paths(1, &folder), want);
    const char *beyond = at("s{09..11}.tar", NULL, 0), *back = at("s{9..8}.tar", NULL, 0);
    EXPECT_HAS(paths(1, &beyond), "s11.tar");
    EXPECT_HAS(paths(1, &back), "the range {9..8} holds no number, or more than a million");
    const char *tables[] = { at("object.csv", "image,text\na,A\n", 15), at("relation.tsv", "image\ttext\nb\tB\n", 15) };
    EXPECT_STR(paths(2, tables), "A/object B/relation");
    const char *mixed[] = { range, tables[0] }, *other[] = { tables[0], range };
    EXPECT_STR(paths(2, mixed), "tar archives and other files cannot be mixed in one training");
    EXPECT_STR(paths(2, other), "tar archives and other files cannot be mixed in one training");
    const char *missing = at("none.json", NULL, 0);
    EXPECT_HAS(paths(1, &missing), "none.json");
    EXPECT(err.status == VM_EINPUT);
    char empty[600];
    snprintf(empty, sizeof empty, "%s/empty", tmp);
    EXPECT(!dir_make(empty, &err));
    const char *e = empty;
    EXPECT_HAS(paths(1, &e), "the folder holds no .tar and no .npy file; name the file itself");
}
TEST(a_shard_that_became_shorter) {
    samples *s;
    uint8_t *bytes;
    const char *p = at("z.tar", file, shard(0, 2, false));
    vm_error_clear(&err);
    EXPECT(!samples_open(&s, 1, &p, &(samples_options){ 0 }, &err));
    at("z.tar", file, 1024);
    EXPECT(sample_read(s, &s->side[1], &bytes, &err) == VM_EIO && !bytes);
    EXPECT_HAS(err.msg, "z.tar: has become shorter: d.x/001.JPG stood at byte 2560");
    samples_free(s);
}
TEST(digests) { /* everything that a training sees changes it, and nothing else */
    static const char *const texts[] = {
        "[{\"image_path\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\","
        "\"category\":\"object\"}]}]",
        "[{\"caption\":\"A\",  "
        "\"image_path\":\"a\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\",\"category\":"
        "\"object\"}]}]",
        "[{\"image_path\":\"x\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\","
        "\"category\":\"object\"}]}]",
        "[{\"image_path\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"x\","
        "\"category\":\"object\"}]}]",
        "[{\"image_path\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\","
        "\"category\":\"relation\"}]}]",
        "[{\"image_path\":\"a\",\"caption\":\"A\"},{\"image_path\":\"b\",\"caption\":\"B\"}]",
    };
    char hex[VM_LEN(texts)][65];
    for (int k = 0; k < VM_LEN(texts); k++) {
        samples *s;
        vm_error_clear(&err);
        EXPECT(!samples_open_memory(&s, texts[k], strlen(texts[k]), "f", &(samples_options){ 0 }, &err));
        samples_digest(s, hex[k]);
        samples_free(s);
        for (int j = 0; j < k; j++) EXPECT(!strcmp(hex[j], hex[k]) == (j == 0 && k == 1));
    }
}
TEST(every_allocation_may_fail) {
    static const char *const texts[] = {
        "[{\"image_path\":\"a\",\"caption\":\"A\",\"negatives\":[{\"edited_image_path\":\"b\",\"edited_caption\":\"B\"}"
        "]}, 7]",
        "{\"annotations\":[{\"image_id\":7,\"caption\":\"S\"}],\"images\":[{\"id\":7,\"file_name\":\"n\"}]}",
        "{\"image\":\"a\",\"text\":\"A\"}\n{\"image\":\"b\"", "image,text\na,A\nb\n",
        "[{\"image\":\"a\",\"captions\":[\"A\",\"B\",\"C\"]}]",
        "{\"images\":[{\"filepath\":\"f\",\"filename\":\"a\",\"sentences\":[{\"raw\":\"A\"},{\"raw\":\"B\"}]}]}"
    };
    for (int k = 0; k <= VM_LEN(texts); k++) {
        size_t bytes = k < VM_LEN(texts) ? strlen(texts[k]) : shard(0, 2, false);
        const void *data = k < VM_LEN(texts) ? (const void *)texts[k] : file;
        for (int64_t n = 0;; n++) {
            samples *s = NULL;
            vm_error_clear(&err);
            vm_mem_fail_after(n);
            vm_status st = samples_open_memory(&s, data, bytes, "f", &(samples_options){ 0 }, &err);
            vm_mem_fail_after(-1);
            samples_free(s);
            EXPECT(vm_mem_used() == 0);
            if (!st) break;
            EXPECT(st == VM_EDEVICE && !s && n < 100);
            if (st != VM_EDEVICE) break;
        }
    }
}

int main(void) {
    if (!mkdtemp(tmp)) return 1;
    RUN(vismin);
    RUN(vismin_faults);
    RUN(json_lines);
    RUN(ce_clip);
    RUN(coco);
    RUN(lists_of_captions);
    RUN(karpathy);
    RUN(tables);
    RUN(archives);
    RUN(archive_members);
    RUN(numpy);
    RUN(numpy_refused);
    RUN(several_files);
    RUN(a_shard_that_became_shorter);
    RUN(digests);
    RUN(every_allocation_may_fail);
    dir_remove(tmp, &err);
    return test_end();
}

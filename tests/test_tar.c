/* test_tar.c - tar archives: members, long names in both ways, and what damaged archives are told. */
#include "io/tar.h"
#include "tests/tar_parts.h"
#include "tests/test.h"

static uint8_t file[1 << 16];
static vm_error err;

/* "name=data name=data", or the error. */
static const char *list(size_t bytes) {
    static char text[20000];
    tar_reader r = tar_open(file, bytes, "a.tar");
    tar_entry x;
    int rc;
    char *o = text;
    vm_error_clear(&err);
    *o = 0;
    while ((rc = tar_next(&r, &x, &err)) > 0)
        o += sprintf(o, "%s%s=%.*s", o > text ? " " : "", x.name, (int)x.bytes, (const char *)x.data);
    EXPECT((rc < 0) == (err.status == VM_EINPUT));
    return rc < 0 ? err.msg : text;
}

TEST(members) {
    size_t n = tar_put(file, 0, "d/", '5', "", 0);
    n = tar_put(file, n, "d/a.txt", '0', "alpha", 5);
    n = tar_put(file, n, "link", '2', "", 0);
    n = tar_put(file, n, "old/", 0, "", 0);
    n = tar_put(file, n, "b", 0, "", 0);
    n = tar_finish(file, n);
    EXPECT_STR(list(n), "d/a.txt=alpha b=");
    EXPECT_STR(list(n - 1024 + 512), "d/a.txt=alpha b="); /* one empty block is enough */
}
TEST(long_names) {
    char name[400], want[500], pax[450];
    memset(name, 'n', sizeof name);
    name[300] = 0;
    size_t n = tar_put(file, 0, "././@LongLink", 'L', name, 301);
    n = tar_put(file, n, "short", '0', "x", 1);
    n = tar_put(file, n, "next", '0', "y", 1);
    snprintf(want, sizeof want, "%s=x next=y", name);
    EXPECT_STR(list(tar_finish(file, n)), want);
    int len = snprintf(pax, sizeof pax, "310 path=%s\n10 size=3\n", name);
    EXPECT(len == 320);
    n = tar_put(file, 0, "pax", 'x', pax, (size_t)len);
    size_t at = n;
    n = tar_put(file, n, "short", '0', "xyz", 3);
    memcpy(file + at + 124, "00000000000", 11), tar_sum(file + at); /* pax's size counts */
    n = tar_put(file, n, "next", '0', "y", 1);
    snprintf(want, sizeof want, "%s=xyz next=y", name);
    EXPECT_STR(list(tar_finish(file, n)), want);
    n = tar_put(file, 0, "name", '0', "z", 1);
    memcpy(file + 345, "a/folder", 9), tar_sum(file);
    EXPECT_STR(list(tar_finish(file, n)), "a/folder/name=z");
}
TEST(sizes_in_base_256) {
    size_t n = tar_put(file, 0, "a", '0', "four", 4);
    memset(file + 124, 0, 12), file[124] = 0x80, file[135] = 4, tar_sum(file);
    EXPECT_STR(list(tar_finish(file, n)), "a=four");
    file[124] = 0xff, tar_sum(file);
    EXPECT_STR(list(n + 1024), "a.tar: byte 0: a size that is no number");
    file[124] = 0x80, file[129] = 1, tar_sum(file);
    EXPECT_HAS(list(n + 1024), "a.tar: byte 0: the archive is cut off: a has ");
}
TEST(cut_off_anywhere) { /* every length but the whole one is an error */
    size_t n = tar_put(file, 0, "a.txt", '0', "alpha", 5), whole;
    n = tar_put(file, n, "b.txt", '0', "beta", 4);
    whole = tar_finish(file, n);
    for (size_t len = 0; len < whole; len++) {
        const char *said = list(len);
        if (len < n + 512) EXPECT(err.status == VM_EINPUT);
        else EXPECT_STR(said, "a.txt=alpha b.txt=beta");
    }
    EXPECT_STR(list(n), "a.tar: byte 2048: the archive is cut off: it ends without its empty blocks");
    EXPECT_STR(list(n - 600), "a.tar: byte 1024: the archive is cut off within a header");
    EXPECT_STR(list(n - 510), "a.tar: byte 1024: the archive is cut off: b.txt has 4 bytes and 2 are left");
    EXPECT_STR(list(0), "a.tar: byte 0: the archive is empty");
    EXPECT_STR(list(100), "a.tar: byte 0: no tar archive: shorter than one block");
}
TEST(damaged) {
    size_t n = tar_put(file, 0, "a.txt", '0', "alpha", 5),
           m = tar_finish(file, tar_put(file, n, "b.txt", '0', "beta", 4));
    file[n + 3] ^= 1;
    EXPECT_STR(list(m), "a.tar: byte 1024: the header's sum does not fit: the archive is damaged");
    file[0] ^= 1;
    EXPECT_STR(list(m), "a.tar: byte 0: no tar archive: the sum of the first header does not fit");
    file[0] = 0x1f, file[1] = 0x8b;
    EXPECT_STR(list(m), "a.tar: byte 0: the archive is compressed by gzip; unpack it with gunzip");
    m = tar_finish(file, tar_put(file, 0, "s", 'S', "", 0));
    EXPECT_HAS(list(m), "a sparse file; pack it without --sparse");
    static const char *const bad_pax[] = { "x",          "5 a=\n",    "99 path=a\n", "10 pathaaa\n",
                                           "0 path=a\n", "9 path=ab", "11 size=x1\n" };
    for (int k = 0; k < (int)(sizeof bad_pax / sizeof *bad_pax); k++) {
        n = tar_put(file, 0, "pax", 'x', bad_pax[k], strlen(bad_pax[k]));
        m = tar_finish(file, tar_put(file, n, "a", '0', "", 0));
        if (k != 1)
            EXPECT_HAS(list(m), k == 6 ? "a size that is no number" : "a pax header that is no list of records");
        else EXPECT_STR(list(m), "a=");
    }
}

int main(void) {
    RUN(members);
    RUN(long_names);
    RUN(sizes_in_base_256);
    RUN(cut_off_anywhere);
    RUN(damaged);
    return test_end();
}

/* test_tfevents.c - event files of TensorBoard: the bytes of a known file, cutting back, torn tails, files that are
 * none. */
#include "io/file.h"
#include "io/tfevents.h"
#include "tests/test.h"

#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

static char path[] = "/tmp/test_tfeventsXXXXXX";
static vm_error err;

static void fresh(void) {
    vm_error_clear(&err);
    unlink(path);
}
static void write_steps(int64_t last, int64_t from, int64_t to) {
    tfevents *t;
    if (tfevents_open(&t, path, last, &err)) MISMATCH("%s\n", err.msg);
    for (int64_t s = from; s <= to; s++) {
        const char *tags[] = { "train/loss", "lr" };
        EXPECT(!tfevents_put(t, 1.5, s, 2, tags, (double[]){ 0.5 * (double)s, 2 }, &err));
    }
    tfevents_close(t);
}
static char *content(size_t *n) {
    char *data = NULL;
    if (file_read(&data, n, path, 0, &err)) MISMATCH("%s\n", err.msg);
    return data;
}

TEST(bytes_as_tensorboard_writes_them) { /* tensorboard 2.20, EventFileWriter, RecordWriter */
    static const uint8_t want[] = { 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6d, 0x53, 0x2b, 0x09, 0x1a,
                                    0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a,
                                    0x32, 0xfc, 0x98, 0x51, 0x29, 0x1e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0xd9, 0xdc, 0x12, 0x32, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f,
                                    0x10, 0xac, 0x02, 0x2a, 0x10, 0x0a, 0x0e, 0x0a, 0x07, 0x6c, 0x6f, 0x73, 0x73,
                                    0x2f, 0x61, 0x62, 0x15, 0x00, 0x00, 0x20, 0x40, 0xda, 0x06, 0x88, 0x9a };
    tfevents *t;
    size_t n;
    fresh();
    EXPECT(!tfevents_open(&t, path, 0, &err));
    const char *tag = "loss/ab";
    EXPECT(!tfevents_put(t, 1.5, 300, 1, &tag, (double[]){ 2.5 }, &err));
    tfevents_close(t);
    char *got = content(&n);
    EXPECT(n == sizeof want);
    for (size_t k = 0; k < n && k < sizeof want; k++)
        if ((uint8_t)got[k] != want[k]) MISMATCH("byte %zu: %02x, want %02x\n", k, (uint8_t)got[k], want[k]);
    vm_free(got);
}
TEST(cut_back_to_a_step) { /* the file of a run that went on at step 5 is that of one that never stopped */
    size_t n, m;
    fresh();
    write_steps(0, 1, 12);
    char *whole = content(&n);
    write_steps(5, 6, 12);
    char *again = content(&m);
    EXPECT(n == m && !memcmp(whole, again, n));
    vm_free(again);
    write_steps(0, 1, 12);
    again = content(&m);
    EXPECT(n == m && !memcmp(whole, again, n));
    for (size_t len = 1; len < n; len++) { /* a torn tail, cut anywhere */
        EXPECT(!file_write(path, whole, len, &err));
        int64_t good = tfevents_good((uint8_t *)whole, len, 100);
        tfevents *t = NULL;
        if (len < 31) EXPECT(good < 0 && tfevents_open(&t, path, 100, &err) == VM_EINPUT && !t);
        else EXPECT(good > 0 && good <= (int64_t)len && !tfevents_open(&t, path, 100, &err));
        tfevents_close(t);
        if (good > 0) EXPECT(file_bytes(path) == good);
        if (!strstr(err.msg, "is no event file of TensorBoard; move it away")) EXPECT(!err.status);
        vm_error_clear(&err);
    }
    whole[60] ^= 1; /* damage: the records before it are kept */
    EXPECT(tfevents_good((uint8_t *)whole, n, 100) == 31);
    vm_free(whole), vm_free(again);
}
TEST(foreign_files) {
    tfevents *t;
    fresh();
    EXPECT(!file_write(path, "a text that is long enough", 26, &err));
    EXPECT(tfevents_open(&t, path, 0, &err) == VM_EINPUT && !t);
    EXPECT_HAS(err.msg, ": is no event file of TensorBoard; move it away");
    EXPECT(file_bytes(path) == 26); /* and stays as it is */
    vm_error_clear(&err);
    EXPECT(tfevents_open(&t, "/nowhere/x", 0, &err) == VM_EIO && !t);
    EXPECT(vm_mem_used() == 0);
}
TEST(no_room) {
    struct rlimit was, small;
    tfevents *t;
    const char *tag = "a";
    fresh();
    signal(SIGXFSZ, SIG_IGN);
    EXPECT(!tfevents_open(&t, path, 0, &err) && !tfevents_put(t, 0, 1, 1, &tag, (double[]){ 1 }, &err));
    int64_t before = file_bytes(path);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was, small.rlim_cur = (rlim_t)before + 10;
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT(tfevents_put(t, 0, 2, 1, &tag, (double[]){ 1 }, &err) == VM_EIO);
    EXPECT(file_bytes(path) == before); /* nothing half */
    setrlimit(RLIMIT_FSIZE, &was);
    vm_error_clear(&err);
    EXPECT(!tfevents_put(t, 0, 3, 1, &tag, (double[]){ 1 }, &err));
    tfevents_close(t);
    size_t n;
    char *got = content(&n);
    EXPECT(tfevents_good((uint8_t *)got, n, 100) == (int64_t)n && (int64_t)n > before);
    vm_free(got);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    RUN(bytes_as_tensorboard_writes_them);
    RUN(cut_back_to_a_step);
    RUN(foreign_files);
    RUN(no_room);
    unlink(path);
    return test_end();
}

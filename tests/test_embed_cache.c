/* The cache of vectors: what was put is found by the next run, torn tails and damage are passed over, nothing of another
 * model is ever given, several processes may write at once. */
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "pipeline/embed_cache.h"

enum { DIM = 5, RECORD = 32 + 4 * DIM + 4 };
static char dir[256], said[4096];
static int warnings;

static void listen(void *ctx, log_level level, const char *text) {
    (void)ctx;
    warnings += level == LOG_WARN;
    snprintf(said, sizeof said, "%.4000s", text);
}

static embed_cache *open_for(const char *identity, int64_t dim) {
    vm_error e = { 0 };
    embed_cache *c = NULL;
    warnings = 0, said[0] = 0;
    if (embed_cache_open(&c, dir, identity, dim, &e)) MISMATCH("%s\n", e.msg);
    return c;
}

static embed_key key_of(int i) {
    char text[32];
    snprintf(text, sizeof text, "text %d", i);
    return embed_key_text(text);
}

static void put(embed_cache *c, int from, int to) {
    for (int i = from; i < to; i++) {
        float v[DIM];
        embed_key k = key_of(i);
        for (int d = 0; d < DIM; d++) v[d] = (float)(i * 10 + d);
        embed_cache_put(c, &k, v);
    }
}

/* How many of from .. to are there; the numbers of those are checked. */
static int found(embed_cache *c, int from, int to) {
    int n = 0;
    for (int i = from; i < to; i++) {
        float v[DIM] = { -1 };
        embed_key k = key_of(i);
        if (!embed_cache_get(c, &k, v)) continue;
        n++;
        for (int d = 0; d < DIM; d++) EXPECT(v[d] == (float)(i * 10 + d));
    }
    return n;
}

static char *only_file(void) {
    static char path[600];
    vm_error e = { 0 };
    char **names;
    int64_t n;
    EXPECT(!dir_list(&names, &n, dir, &e) && n == 1);
    snprintf(path, sizeof path, "%s/%s", dir, names[0]);
    vm_free(names);
    return path;
}

static void start_anew(void) {
    vm_error e = { 0 };
    EXPECT(!dir_remove(dir, &e));
    embed_cache *c = open_for("model", DIM);
    put(c, 0, 70); /* two blocks and a rest */
    embed_cache_close(c);
    EXPECT(warnings == 0);
}

static void cut(int64_t bytes) { EXPECT(!truncate(only_file(), bytes)); }

/* Turns bits of a byte of the file. */
static void spoil(int64_t at, uint8_t bits) {
    uint8_t byte;
    int fd = open(only_file(), O_RDWR);
    EXPECT(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= bits;
    EXPECT(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

TEST(next_run_finds_them) {
    start_anew();
    EXPECT(file_bytes(only_file()) == 64 + 70 * RECORD);
    embed_cache *c = open_for("model", DIM);
    EXPECT(found(c, 0, 100) == 70);
    put(c, 60, 80); /* the known ones are not written again */
    embed_cache_close(c);
    EXPECT_HAS(said, "70 vectors found, 10 added");
    EXPECT(file_bytes(only_file()) == 64 + 80 * RECORD);
}

TEST(models_have_files_of_their_own) {
    start_anew();
    embed_cache *c = open_for("another model", DIM);
    EXPECT(found(c, 0, 70) == 0 && warnings == 0);
    embed_cache_close(c);
}

TEST(torn_tail_is_cut) {
    start_anew();
    cut(64 + 50 * RECORD + 17);
    embed_cache *c = open_for("model", DIM);
    EXPECT(found(c, 0, 70) == 50 && warnings == 0);
    put(c, 50, 51);
    embed_cache_close(c);
    EXPECT(file_bytes(only_file()) == 64 + 51 * RECORD);
    c = open_for("model", DIM);
    EXPECT(found(c, 0, 70) == 51 && warnings == 0);
    embed_cache_close(c);
}

TEST(torn_header_is_written_anew) {
    start_anew();
    cut(20);
    embed_cache *c = open_for("model", DIM);
    EXPECT(c && warnings == 0 && found(c, 0, 70) == 0);
    put(c, 0, 3);
    embed_cache_close(c);
    c = open_for("model", DIM);
    EXPECT(found(c, 0, 70) == 3);
    embed_cache_close(c);
}

TEST(damaged_vectors_are_passed_over) {
    start_anew();
    spoil(64 + 7 * RECORD + 40, 0xff);
    spoil(64 + 9 * RECORD + 3, 0xff); /* in the key */
    embed_cache *c = open_for("model", DIM);
    EXPECT(warnings == 1);
    EXPECT_HAS(said, "2 of 70 vectors are damaged");
    EXPECT(found(c, 0, 70) == 68);
    put(c, 0, 70);
    embed_cache_close(c);
    c = open_for("model", DIM);
    EXPECT(found(c, 0, 70) == 70);
    embed_cache_close(c);
}

static uint32_t sum_of(const char *path) {
    vm_error e = { 0 };
    char *data;
    size_t bytes;
    EXPECT(!file_read(&data, &bytes, path, 0, &e));
    uint32_t sum = crc32c(0, data, bytes);
    vm_free(data);
    return sum;
}

/* One warning, no cache, and the file stays as it is. */
static void expect_ignored(const char *words) {
    uint32_t before = sum_of(only_file());
    embed_cache *c = open_for("model", DIM);
    EXPECT(!c && warnings == 1);
    EXPECT_HAS(said, words);
    EXPECT_HAS(said, "it is ignored");
    put(c, 0, 3);
    EXPECT(found(c, 0, 3) == 0);
    embed_cache_close(c);
    EXPECT(sum_of(only_file()) == before);
}

TEST(other_files_are_ignored) {
    static const struct {
        int at;
        const char *words;
    } t[] = { { 0, "is no file of vectors" },
              { 8, "holds vectors of another model" },  /* version */
              { 12, "holds vectors of another model" }, /* dim */
              { 16, "holds vectors of another model" }, /* identity */
              { 63, "its header is damaged" } };
    for (int k = 0; k < VM_LEN(t); k++) {
        start_anew();
        spoil(t[k].at, 5);
        expect_ignored(t[k].words);
    }
    vm_error e = { 0 };
    EXPECT(!file_write(only_file(), "hello", 5, &e));
    expect_ignored("is no file of vectors");
}

TEST(a_folder_in_its_place) {
    vm_error e = { 0 };
    start_anew();
    char *path = vm_strdup(only_file());
    unlink(path);
    EXPECT(!dir_make(path, &e));
    embed_cache *c = open_for("model", DIM);
    EXPECT(!c && warnings == 1);
    embed_cache_close(c);
    vm_free(path);
}

TEST(no_folder_is_an_error) {
    vm_error e = { 0 };
    embed_cache *c;
    char *path;
    start_anew();
    path = vm_strdup(only_file()); /* a file cannot hold files */
    EXPECT(embed_cache_open(&c, path, "model", DIM, &e) == VM_EIO && !c);
    vm_free(path);
}

TEST(numbers_that_are_none_are_left_out) {
    start_anew();
    embed_cache *c = open_for("model", DIM);
    embed_key k = key_of(1000);
    embed_cache_put(c, &k, (float[DIM]){ 1, 2, NAN, 4, 5 });
    embed_cache_close(c);
    EXPECT(file_bytes(only_file()) == 64 + 70 * RECORD);
}

/* Four processes add overlapping ranges; two of them are killed while they do. */
TEST(processes_together) {
    vm_error e = { 0 };
    pid_t pid[4];
    EXPECT(!dir_remove(dir, &e));
    for (int p = 0; p < 4; p++)
        if (!(pid[p] = fork())) {
            for (int round = 0; p >= 2 || round < 10; round++) { /* the last two go on until they are killed */
                embed_cache *c = open_for("model", DIM);
                put(c, 40 * (p % 2) + 20 * round % 1000, 40 * (p % 2) + 20 * round % 1000 + 100);
                embed_cache_close(c);
            }
            _exit(0);
        }
    for (int p = 0; p < 2; p++) waitpid(pid[p], NULL, 0);
    for (int p = 2; p < 4; p++) kill(pid[p], SIGKILL), waitpid(pid[p], NULL, 0);
    embed_cache *c = open_for("model", DIM);
    EXPECT(warnings == 0);
    EXPECT(found(c, 0, 1200) >= 300);
    EXPECT(found(c, 0, 280) == 280);
    embed_cache_close(c);
}

TEST(keys_tell_contents_apart) {
    const image_options plain = { 0 };
    embed_key k[] = { embed_key_text(""),
                      embed_key_text("a"),
                      embed_key_picture("a", &plain),
                      embed_key_picture("", &plain),
                      embed_key_picture("a", &(image_options){ .tolerant = true }),
                      embed_key_picture("a", &(image_options){ .stored_orientation = true }),
                      embed_key_picture("a", &(image_options){ .alpha = ALPHA_WHITE }),
                      embed_key_picture("a 0 0 4 4", &plain) };
    for (int i = 0; i < VM_LEN(k); i++)
        for (int j = 0; j < i; j++) EXPECT(memcmp(&k[i], &k[j], sizeof k[i]));
    embed_key same = embed_key_picture("a", &(image_options){ .max_pixels = 100 });
    EXPECT(!memcmp(&same, &k[2], sizeof same));
}

TEST(out_of_memory) {
    vm_error e = { 0 };
    embed_cache *c;
    start_anew();
    for (int n = 0; n < 6; n++) {
        size_t before = vm_mem_used();
        vm_error_clear(&e);
        vm_mem_fail_after(n);
        vm_status st = embed_cache_open(&c, dir, "model", DIM, &e);
        vm_mem_fail_after(-1);
        EXPECT(st || c || warnings); /* an error, a cache, or a word about it */
        embed_cache_close(c);
        EXPECT(vm_mem_used() == before);
    }
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/vismin-cache-%d", (int)getpid());
    log_set(listen, NULL, LOG_INFO);
    RUN(next_run_finds_them);
    RUN(models_have_files_of_their_own);
    RUN(torn_tail_is_cut);
    RUN(torn_header_is_written_anew);
    RUN(damaged_vectors_are_passed_over);
    RUN(other_files_are_ignored);
    RUN(a_folder_in_its_place);
    RUN(no_folder_is_an_error);
    RUN(numbers_that_are_none_are_left_out);
    RUN(processes_together);
    RUN(keys_tell_contents_apart);
    RUN(out_of_memory);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}

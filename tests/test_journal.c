/* test_journal.c - nothing acknowledged is lost: torn ends, kill -9, full disks, two writers, damage. */
#include "io/file.h"
#include "io/hash.h"
#include "io/journal.h"
#include "io/json.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char path[600];
static vm_error err;

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

static void put(const char *text, size_t bytes) { /* without syncing: it is done thousands of times */
    FILE *f = fopen(path, "w");
    EXPECT(f && fwrite(text, 1, bytes, f) == bytes && fclose(f) == 0);
}

static char *get(size_t *bytes) {
    char *text = NULL;
    EXPECT(file_read(&text, bytes, path, 0, &err) == VM_OK);
    return text;
}

/* A record as the writer of the tests makes them: number and a filling whose length follows from it. */
static int record(char *out, int64_t i) {
    char fill[300];
    int n = (int)(i * 37 % 300);
    memset(fill, '.', sizeof fill);
    return sprintf(out, "{\"k\":%lld,\"fill\":\"%.*s\"}", (long long)i, n, fill);
}

/* Lines 1.. of the journal are the records 0..; returns how many. */
static int64_t check_records(void) {
    journal_reader *r;
    journal_line line;
    char want[512];
    int64_t n = 0;
    EXPECT(journal_reader_open(&r, path, &err) == VM_OK);
    for (int rc; (rc = journal_next(r, &line, &err)); n++) {
        int len = record(want, n) - 1;
        EXPECT(rc == 1 && line.number == n + 1);
        if (rc < 0) break;
        EXPECT(line.bytes == (size_t)len + 18 && !memcmp(line.text, want, (size_t)len) && line.text[len] == ',');
    }
    journal_reader_close(r);
    return n;
}

static void write_records(int64_t from, int64_t to) {
    journal *j;
    char text[512];
    EXPECT(journal_open(&j, path, &err) == VM_OK);
    for (int64_t i = from; i < to; i++) EXPECT(journal_append(j, text, (size_t)record(text, i), &err) == VM_OK);
    EXPECT(journal_close(j, &err) == VM_OK);
}

TEST(format) {
    journal *j;
    unlink(path);
    EXPECT(journal_open(&j, path, &err) == VM_OK && journal_lines(j) == 0 && journal_bytes(j) == 0);
    EXPECT(journal_append(j, "{\"k\":1}", 7, &err) == VM_OK);
    EXPECT(journal_append(j, "{}", 2, &err) == VM_OK);
    EXPECT(journal_append(j, "{ \t}", 4, &err) == VM_OK);
    EXPECT(journal_lines(j) == 3);
    char want[256], *text;
    size_t n;
    snprintf(want, sizeof want, "{\"k\":1,\"crc\":\"%08x\"}\n{\"crc\":\"%08x\"}\n{\"crc\":\"%08x\"}\n",
             crc32c(0, "{\"k\":1,", 7), crc32c(0, "{", 1), crc32c(0, "{", 1));
    text = get(&n); /* there before any sync */
    EXPECT_STR(text, want);
    EXPECT(journal_bytes(j) == (int64_t)n);
    static const char *const bad[] = { "", "{", "[1]", "{\"a\":\n1}", "{} ", "\"a\"" };
    for (int i = 0; i < VM_LEN(bad); i++) {
        EXPECT(journal_append(j, bad[i], strlen(bad[i]), &err) == VM_EINPUT);
        EXPECT_HAS(message(), "a record must be one JSON object on one line");
    }
    EXPECT(journal_sync(j, &err) == VM_OK && journal_close(j, &err) == VM_OK);
    for (char *p = text, *q; (q = strchr(p, '\n')); p = q + 1) {
        EXPECT(journal_line_ok(p, (size_t)(q - p)));
        json_doc *d = json_parse(p, (size_t)(q - p), "line", JSON_STRICT, &err);
        EXPECT(d && json_len(json_str(json_root(d), "crc", NULL, &err) ? json_root(d) : json_root(NULL)) >= 1);
        json_free(d);
    }
    vm_free(text);
}

TEST(a_missing_journal_is_empty) {
    journal_reader *r;
    journal_line line;
    unlink(path);
    EXPECT(journal_reader_open(&r, path, &err) == VM_OK && journal_next(r, &line, &err) == 0);
    journal_reader_close(r);
    journal *j;
    EXPECT(journal_open(&j, "no/such/folder/j.jsonl", &err) == VM_EIO && !j);
    vm_error_clear(&err);
}

TEST(torn_at_every_byte) {
    unlink(path);
    write_records(0, 3);
    size_t n;
    char *whole = get(&n);
    for (size_t k = 0; k <= n; k++) {
        put(whole, k);
        int64_t lines = 0, good = 0;
        for (size_t i = 0; i < k; i++)
            if (whole[i] == '\n') lines++, good = (int64_t)i + 1;
        EXPECT(check_records() == lines); /* a reader passes over the torn end and leaves it */
        EXPECT(file_bytes(path) == (int64_t)k);
        journal *j;
        EXPECT(journal_open(&j, path, &err) == VM_OK && journal_lines(j) == lines && journal_bytes(j) == good);
        EXPECT(journal_cut(j) == (int64_t)k - good && file_bytes(path) == good);
        char text[512];
        EXPECT(journal_append(j, text, (size_t)record(text, lines), &err) == VM_OK && journal_close(j, &err) == VM_OK);
        EXPECT(check_records() == lines + 1);
    }
    vm_free(whole);
}

TEST(every_damaged_byte_is_found) {
    unlink(path);
    write_records(0, 3);
    size_t n;
    char *whole = get(&n);
    size_t second = (size_t)(strchr(whole, '\n') - whole) + 1;
    size_t third = (size_t)(strchr(whole + second, '\n') - whole) + 1;
    for (size_t k = 0; k < n; k++) {
        if (whole[k] == '\n') continue;
        char *bad = vm_strndup(whole, n), want[64];
        bad[k] ^= 1 << k % 7;
        if (bad[k] == '\n') bad[k] ^= 1;
        put(bad, n);
        vm_free(bad);
        journal *j;
        vm_status st = journal_open(&j, path, &err);
        if (k >= third) { /* the last line: cut */
            EXPECT(st == VM_OK && journal_lines(j) == 2 && journal_cut(j) == (int64_t)(n - third));
            journal_close(j, &err);
            continue;
        }
        EXPECT(st == VM_EINPUT && !j);
        snprintf(want, sizeof want, "journal.jsonl:%d: the line is damaged", k < second ? 1 : 2);
        EXPECT_HAS(message(), want);
        EXPECT(file_bytes(path) == (int64_t)n); /* nothing was cut */
    }
    vm_free(whole);
}

TEST(damaged_ends) {
    static const struct {
        const char *tail;
        size_t n;
        bool stops;
    } tails[] = {
        { "\n", 1, false },
        { "x", 1, false },
        { "{}\n", 3, false },
        { "\0\0\0\0", 4, false },
        { "{\"crc\":\"00000000\"}\n", 19, false },
        { "\n\n", 2, true },
        { "x\ny", 3, true },
        { "\0\n\0\n\0", 5, true },
        { "{\"crc\":\"00000000\"}\nx\n", 21, true },
    };
    for (int i = 0; i < VM_LEN(tails); i++) {
        unlink(path);
        write_records(0, 2);
        size_t n;
        char *text = get(&n), all[1024];
        memcpy(all, text, n), memcpy(all + n, tails[i].tail, tails[i].n);
        vm_free(text);
        put(all, n + tails[i].n);
        journal *j;
        EXPECT(journal_open(&j, path, &err) == (tails[i].stops ? VM_EINPUT : VM_OK));
        if (tails[i].stops) EXPECT_HAS(message(), "journal.jsonl:3: the line is damaged");
        else EXPECT(journal_lines(j) == 2 && journal_cut(j) == (int64_t)tails[i].n);
        journal_close(j, &err);
    }
}

TEST(long_lines_and_many) {
    unlink(path);
    static char big[300000];
    memset(big, 'x', sizeof big);
    memcpy(big, "{\"a\":\"", 6), memcpy(big + sizeof big - 2, "\"}", 2);
    journal *j;
    EXPECT(journal_open(&j, path, &err) == VM_OK);
    for (int i = 0; i < 3; i++) EXPECT(journal_append(j, big, sizeof big, &err) == VM_OK);
    EXPECT(journal_close(j, &err) == VM_OK);
    EXPECT(journal_open(&j, path, &err) == VM_OK && journal_lines(j) == 3);
    EXPECT(journal_close(j, &err) == VM_OK);
    unlink(path);
    write_records(0, 2000);
    EXPECT(check_records() == 2000);
}

TEST(one_writer) {
    journal *a, *b;
    EXPECT(journal_open(&a, path, &err) == VM_OK);
    EXPECT(journal_open(&b, path, &err) == VM_ELOCKED && !b);
    char want[64];
    snprintf(want, sizeof want, "process %ld, since ", (long)getpid());
    EXPECT(strstr(err.msg, want) != NULL);
    EXPECT_HAS(message(), "journal.jsonl: locked by host ");
    EXPECT(journal_close(a, &err) == VM_OK);
    EXPECT(journal_open(&b, path, &err) == VM_OK && journal_close(b, &err) == VM_OK);
    EXPECT(journal_close(NULL, &err) == VM_OK);
}

TEST(full_disk) {
    for (rlim_t limit = 1; limit < 1500; limit += 121) {
        unlink(path);
        fflush(stdout);
        pid_t pid = fork();
        if (!pid) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){ limit, 100000 });
            char text[512];
            journal *j;
            vm_error e = { 0 };
            if (journal_open(&j, path, &e)) _exit(1); /* with no room for the lock's text either */
            int64_t i = 0;
            while (!journal_append(j, text, (size_t)record(text, i), &e)) i++;
            if (e.status != VM_EIO || !strstr(e.msg, "journal.jsonl: ")) _exit(2);
            if (!strstr(e.msg, " bytes of a record were written: ")) _exit(2);
            if (file_bytes(path) != journal_bytes(j) || journal_lines(j) != i) _exit(3); /* cut back */
            vm_error_clear(&e);
            if (journal_append(j, text, (size_t)record(text, i), &e) != VM_EIO) _exit(4);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100000, 100000 }); /* room was made */
            vm_error_clear(&e);
            for (int64_t to = i + 5; i < to; i++)
                if (journal_append(j, text, (size_t)record(text, i), &e)) _exit(5);
            _exit(journal_close(j, &e) ? 6 : 0);
        }
        int status;
        waitpid(pid, &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        EXPECT(check_records() >= 5);
    }
}

/* A child appends and tells each number through a pipe after it was accepted; it dies at a random moment, and the next
 * one goes on where the journal ends. Nothing that was told may be missing, nothing may stand twice. */
TEST(killed_at_any_moment) {
    uint64_t seed = 7;
    int64_t told = 0, torn = 0, rounds = 60;
    unlink(path);
    for (int round = 0; round < rounds; round++) {
        int fds[2];
        EXPECT(pipe(fds) == 0);
        pid_t pid = fork();
        if (!pid) {
            char text[512];
            journal *j;
            vm_error e = { 0 };
            if (journal_open(&j, path, &e)) _exit(1);
            for (int64_t i = journal_lines(j);; i++)
                if (journal_append(j, text, (size_t)record(text, i), &e) || write(fds[1], &i, 8) != 8) _exit(1);
        }
        close(fds[1]);
        struct timespec t = { .tv_nsec = (long)(test_rand(&seed) % 8000000) };
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        EXPECT(WIFSIGNALED(status));
        for (int64_t i; read(fds[0], &i, 8) == 8;) {
            EXPECT(i == told || i == told + 1); /* one may have been written and not told */
            told = i + 1;
        }
        close(fds[0]);
        int64_t n = check_records();
        EXPECT(n == told || n == told + 1);
        told = n;
        journal *j;
        EXPECT(journal_open(&j, path, &err) == VM_OK);
        torn += journal_cut(j) > 0;
        journal_close(j, &err);
    }
    fprintf(stderr, "%lld rounds, %lld records, %lld torn ends\n", (long long)rounds, (long long)told, (long long)torn);
}

TEST(without_memory) {
    for (int64_t i = 0; i < 20; i++) {
        journal *j;
        vm_error e = { 0 };
        unlink(path);
        vm_mem_fail_after(i);
        vm_status st = journal_open(&j, path, &e);
        EXPECT(st == (j ? VM_OK : VM_EDEVICE));
        if (j) st = journal_append(j, "{}", 2, &e);
        EXPECT(!st || st == VM_EDEVICE);
        journal_close(j, &e);
        vm_mem_fail_after(-1);
        EXPECT(vm_mem_used() == 0);
    }
}

int main(int argc, char **argv) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/journal-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    const char *folder = mkdtemp(dir);
    snprintf(path, sizeof path, "%s/journal.jsonl", folder);
    RUN(format);
    RUN(a_missing_journal_is_empty);
    RUN(torn_at_every_byte);
    RUN(every_damaged_byte_is_found);
    RUN(damaged_ends);
    RUN(long_lines_and_many);
    RUN(one_writer);
    RUN(full_disk);
    RUN(killed_at_any_moment);
    RUN(without_memory);
    EXPECT(vm_mem_used() == 0);
    dir_remove(folder, NULL);
    return test_end();
}

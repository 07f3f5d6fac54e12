/* test_file.c - files whole or not at all: reading, mapping, writing, directories, locks, limits. */
#include "io/file.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

static const char *content(const char *path) {
    static char text[256];
    char *data;
    vm_error e = { 0 };
    if (file_read(&data, NULL, path, 0, &e)) return NULL;
    snprintf(text, sizeof text, "%s", data);
    vm_free(data);
    return text;
}

static int64_t entries(const char *path) {
    char **names;
    int64_t n;
    vm_error e = { 0 };
    EXPECT(dir_list(&names, &n, path, &e) == VM_OK);
    vm_free(names);
    return n;
}

/* Runs body in a child whose files may not grow beyond bytes; returns its exit status. */
static int limited(rlim_t bytes, int (*body)(void)) {
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, bytes });
        _exit(body());
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(read_back) {
    vm_error_clear(&err);
    char *data, big[100000];
    size_t n;
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7);
    for (size_t size = 0; size <= sizeof big; size += size < 3 ? 1 : 33331) {
        EXPECT(file_write(in("a"), big, size, &err) == VM_OK);
        EXPECT(file_read(&data, &n, in("a"), 0, &err) == VM_OK && n == size && !memcmp(data, big, n) && !data[n]);
        vm_free(data);
        EXPECT(file_bytes(in("a")) == (int64_t)size);
    }
    EXPECT(entries(folder) == 1);
    EXPECT(file_read(&data, &n, in("a"), 10, &err) == VM_EINPUT && !data);
    EXPECT_HAS(err.msg, "bytes long, at most 10 are accepted");
}

TEST(what_cannot_be_read_is_said) {
    vm_error_clear(&err);
    char *data;
    EXPECT(file_read(&data, NULL, in("missing"), 0, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "missing: cannot be opened: No such file or directory");
    vm_error_clear(&err);
    EXPECT(file_read(&data, NULL, folder, 0, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "Is a directory");
    vm_error_clear(&err);
    EXPECT(file_read(&data, NULL, "/dev/zero", 1000, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "longer than the 1000 bytes");
    file_map m;
    vm_error_clear(&err);
    EXPECT(file_map_open(&m, "/dev/null", &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "no regular file");
}

TEST(pipes_are_read_to_their_end) {
    vm_error_clear(&err);
    int fds[2];
    char name[64], *data;
    size_t n;
    EXPECT(pipe(fds) == 0);
    EXPECT(write(fds[1], "hello", 5) == 5);
    close(fds[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", fds[0]);
    EXPECT(file_read(&data, &n, name, 0, &err) == VM_OK && n == 5);
    EXPECT_STR(data, "hello");
    vm_free(data);
    close(fds[0]);
}

TEST(maps) {
    vm_error_clear(&err);
    file_map m, none;
    EXPECT(file_write(in("a"), "0123456789", 10, &err) == VM_OK);
    EXPECT(file_map_open(&m, in("a"), &err) == VM_OK && m.bytes == 10 && !memcmp(m.data, "0123456789", 10));
    EXPECT_STR(file_of_address(m.data + 9), m.path);
    EXPECT(file_of_address(m.data + 10) == NULL && file_of_address(&m) == NULL);
    file_map_release(&m, m.data + 3, 5);
    EXPECT(m.data[4] == '4');
    EXPECT(file_map_check(&m, &err) == VM_OK);
    EXPECT(truncate(m.path, 9) == 0);
    EXPECT(file_map_check(&m, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "was cut from 10 to 9 bytes while in use");
    const uint8_t *was = m.data;
    file_map_close(&m);
    EXPECT(file_of_address(was) == NULL);
    file_map_close(&m);
    EXPECT(file_write(in("a"), "", 0, &err) == VM_OK);
    EXPECT(file_map_open(&none, in("a"), &err) == VM_OK && none.bytes == 0 && none.data);
    file_map_close(&none);
}

TEST(nothing_is_seen_before_commit) {
    vm_error_clear(&err);
    vm_out *o;
    char tmp[64];
    EXPECT(file_write(in("a"), "old", 3, &err) == VM_OK);
    EXPECT(vm_out_open(&o, in("a"), &err) == VM_OK);
    EXPECT(vm_out_printf(o, &err, "%s %d", "new", 1) == VM_OK && vm_out_bytes(o) == 5);
    EXPECT_STR(content(in("a")), "old");
    snprintf(tmp, sizeof tmp, "a.tmp.%ld", (long)getpid());
    EXPECT(file_exists(in(tmp)));
    EXPECT(vm_out_commit(o, &err) == VM_OK);
    EXPECT_STR(content(in("a")), "new 1");
    EXPECT(vm_out_open(&o, in("a"), &err) == VM_OK);
    EXPECT(vm_out_text(o, "never", &err) == VM_OK);
    vm_out_abort(o);
    EXPECT_STR(content(in("a")), "new 1");
    EXPECT(entries(folder) == 1);
}

TEST(streams_of_all_sizes) {
    vm_error_clear(&err);
    static char big[700001];
    char *data;
    size_t n;
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i % 251);
    size_t steps[] = { 999, 65536, 262143, 262144, 262145, sizeof big };
    for (int k = 0; k < VM_LEN(steps); k++) {
        vm_out *o;
        EXPECT(vm_out_open(&o, in("a"), &err) == VM_OK);
        for (size_t i = 0; i < sizeof big; i += steps[k])
            EXPECT(vm_out_write(o, big + i, VM_MIN(steps[k], sizeof big - i), &err) == VM_OK);
        EXPECT(vm_out_bytes(o) == sizeof big);
        EXPECT(vm_out_commit(o, &err) == VM_OK);
        EXPECT(file_read(&data, &n, in("a"), 0, &err) == VM_OK && n == sizeof big && !memcmp(data, big, n));
        vm_free(data);
    }
    vm_out *o; /* a text longer than the small buffer of printf */
    memset(big, 'x', 5000), big[5000] = 0;
    EXPECT(vm_out_open(&o, in("a"), &err) == VM_OK && vm_out_printf(o, &err, "%s!", big) == VM_OK);
    EXPECT(vm_out_commit(o, &err) == VM_OK && file_bytes(in("a")) == 5001);
}

TEST(places_are_written_in_any_order) {
    vm_error_clear(&err);
    vm_out *o;
    EXPECT(vm_out_open(&o, in("a"), &err) == VM_OK && vm_out_reserve(o, 6, &err) == VM_OK);
    EXPECT(vm_out_write_at(o, 3, "def", 3, &err) == VM_OK && vm_out_write_at(o, 0, "abc", 3, &err) == VM_OK);
    EXPECT(vm_out_commit(o, &err) == VM_OK);
    EXPECT_STR(content(in("a")), "abcdef");
}

TEST(where_nothing_can_be_written) {
    vm_error_clear(&err);
    vm_out *o;
    EXPECT(vm_out_open(&o, in("no/such/folder/a"), &err) == VM_EIO && !o);
    EXPECT_HAS(err.msg, "no/such/folder/a: cannot be written: No such file");
    vm_error_clear(&err);
    EXPECT(file_write("/dev/full", "x", 1, &err) == VM_EIO);
    EXPECT_HAS(err.msg, "/dev/full: writing stopped at byte 0, 1 bytes more were to come: No space left");
    vm_error_clear(&err);
    EXPECT(vm_out_open(&o, "/dev/null", &err) == VM_OK && vm_out_reserve(o, 5, &err) == VM_EIO);
    vm_error_clear(&err);
    EXPECT(vm_out_text(o, "x", &err) == VM_EIO); /* sticky */
    vm_error_clear(&err);
    EXPECT(vm_out_commit(o, &err) == VM_EIO);
}

static int write_50k(void) {
    static char data[50000];
    vm_error e = { 0 };
    if (file_write(in("a"), data, sizeof data, &e) != VM_EIO) return 1;
    return strstr(e.msg, "/a: writing stopped at byte 20000, 30000 bytes more were to come: File too large") ? 0 : 2;
}

static int reserve_50k(void) {
    vm_error e = { 0 };
    vm_out *o;
    if (vm_out_open(&o, in("a"), &e) || vm_out_reserve(o, 50000, &e) != VM_EIO) return 1;
    if (!strstr(e.msg, "no room for its 50000 bytes")) return 2;
    return vm_out_commit(o, &e) == VM_EIO ? 0 : 3;
}

TEST(a_full_disk_leaves_the_old_file) {
    vm_error_clear(&err);
    EXPECT(file_write(in("a"), "old", 3, &err) == VM_OK);
    EXPECT(limited(20000, write_50k) == 0);
    EXPECT(limited(20000, reserve_50k) == 0);
    EXPECT_STR(content(in("a")), "old");
    EXPECT(entries(folder) == 1);
}

TEST(directories) {
    vm_error_clear(&err);
    EXPECT(dir_make(in("x/y//z"), &err) == VM_OK && file_is_dir(in("x/y/z")));
    EXPECT(dir_make(in("x/y/z/"), &err) == VM_OK);
    EXPECT(file_write(in("x/f"), "", 0, &err) == VM_OK && file_write(in("x/B"), "", 0, &err) == VM_OK);
    EXPECT(dir_make(in("x/f/g"), &err) == VM_EIO);
    EXPECT_HAS(err.msg, "x/f");
    vm_error_clear(&err);
    EXPECT(dir_make(in("x/f"), &err) == VM_EIO);
    EXPECT_HAS(err.msg, "a file of this name is in the way");
    vm_error_clear(&err);
    char **names;
    int64_t n;
    EXPECT(dir_list(&names, &n, in("x"), &err) == VM_OK && n == 3);
    EXPECT_STR(names[0], "B");
    EXPECT_STR(names[1], "f");
    EXPECT_STR(names[2], "y");
    vm_free(names);
    EXPECT(dir_list(&names, &n, in("no"), &err) == VM_EINPUT && !names && !n);
    vm_error_clear(&err);
    EXPECT(symlink("/", in("x/root")) == 0);
    EXPECT(dir_remove(in("x"), &err) == VM_OK && !file_exists(in("x")) && file_exists("/"));
    EXPECT(dir_remove(in("x"), &err) == VM_OK);
}

TEST(a_directory_appears_whole) {
    vm_error_clear(&err);
    char *tmp, *p;
    for (int round = 0; round < 3; round++) {
        EXPECT(dir_begin(&tmp, in("ckpt/"), &err) == VM_OK && file_is_dir(tmp));
        EXPECT((p = path_join(tmp, "sub")) && dir_make(p, &err) == VM_OK);
        vm_free(p);
        char text[2] = { (char)('0' + round), 0 };
        EXPECT((p = path_join(tmp, "sub/step")) && file_write(p, text, 1, &err) == VM_OK);
        vm_free(p);
        EXPECT(dir_commit(tmp, in("ckpt/"), &err) == VM_OK);
        EXPECT_STR(content(in("ckpt/sub/step")), text);
        EXPECT(!file_exists(tmp));
        vm_free(tmp);
    }
    EXPECT(dir_begin(&tmp, in("ckpt"), &err) == VM_OK);
    dir_abort(tmp);
    vm_free(tmp);
    EXPECT_STR(content(in("ckpt/sub/step")), "2");
    EXPECT(entries(folder) == 2); /* a, ckpt */
}

TEST(temporaries_of_the_dead_are_swept) {
    vm_error_clear(&err);
    pid_t pid = fork();
    if (!pid) _exit(0);
    waitpid(pid, NULL, 0);
    char dead_file[64], dead_dir[64], mine[64];
    snprintf(dead_file, sizeof dead_file, "f.tmp.%ld", (long)pid);
    snprintf(dead_dir, sizeof dead_dir, "d.tmp.%ld", (long)pid);
    snprintf(mine, sizeof mine, "f.tmp.%ld", (long)getpid());
    const char *keep[] = { mine, "f.tmp", "f.tmp.", "f.tmp.12x", ".tmp.99999999999999999999", "tmp.4" };
    for (int i = 0; i < VM_LEN(keep); i++) EXPECT(file_write(in(keep[i]), "", 0, &err) == VM_OK);
    EXPECT(file_write(in(dead_file), "", 0, &err) == VM_OK && dir_make(in(dead_dir), &err) == VM_OK);
    EXPECT(dir_sweep(folder, 3600) == 0);
    EXPECT(dir_sweep(folder, 0) == 2);
    EXPECT(!file_exists(in(dead_file)) && !file_exists(in(dead_dir)));
    for (int i = 0; i < VM_LEN(keep); i++) EXPECT(file_exists(in(keep[i])) && unlink(in(keep[i])) == 0);
    EXPECT(dir_sweep(in("no"), 0) == 0);
}

TEST(names) {
    vm_error_clear(&err);
    static const char *const join[][3] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "a", "/b", "/b" }
    };
    static const char *const dir[][3] = {
        { "a/b/c", "a/b", "c" }, { "c", ".", "c" }, { "/c", "/", "c" },
        { "a/b/", "a", "" },     { "/", "/", "" },  { "a//b", "a", "b" }
    };
    for (int i = 0; i < VM_LEN(join); i++) {
        char *p = path_join(join[i][0], join[i][1]);
        EXPECT_STR(p, join[i][2]);
        vm_free(p);
    }
    for (int i = 0; i < VM_LEN(dir); i++) {
        char *p = path_dir(dir[i][0]);
        EXPECT_STR(p, dir[i][1]);
        EXPECT_STR(path_base(dir[i][0]), dir[i][2]);
        vm_free(p);
    }
}

TEST(free_space) {
    vm_error_clear(&err);
    int64_t bytes = -1;
    EXPECT(file_disk_free(&bytes, folder, &err) == VM_OK && bytes >= 0);
    EXPECT(file_disk_free(&bytes, in("not/yet/there"), &err) == VM_OK);
}

TEST(one_lock_at_a_time) {
    vm_error_clear(&err);
    file_lock mine = { .fd = -1 }, other = { .fd = -1 };
    EXPECT(file_lock_take(&mine, in("a"), &err) == VM_OK);
    EXPECT(file_lock_take(&other, in("a"), &err) == VM_ELOCKED && other.fd == -1);
    char want[64];
    snprintf(want, sizeof want, "process %ld, since 20", (long)getpid());
    EXPECT_HAS(err.msg, want);
    EXPECT_HAS(err.msg, "/a: locked by host ");
    vm_error_clear(&err);
    file_lock_free(&mine);
    EXPECT(file_lock_take(&other, in("a"), &err) == VM_OK);
    file_lock_free(&other);
    file_lock_free(&other);
    EXPECT(file_lock_take(&mine, in("no/a"), &err) == VM_EIO);
    vm_error_clear(&err);
}

TEST(the_lock_dies_with_its_owner) {
    vm_error_clear(&err);
    int fds[2];
    char c;
    EXPECT(pipe(fds) == 0);
    pid_t pid = fork();
    if (!pid) {
        file_lock l;
        vm_error e = { 0 };
        c = file_lock_take(&l, in("b"), &e) == VM_OK;
        if (write(fds[1], &c, 1) == 1) pause();
        _exit(1);
    }
    EXPECT(read(fds[0], &c, 1) == 1 && c == 1);
    file_lock l;
    EXPECT(file_lock_take(&l, in("b"), &err) == VM_ELOCKED);
    vm_error_clear(&err);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    EXPECT(file_lock_take(&l, in("b"), &err) == VM_OK);
    file_lock_free(&l);
    close(fds[0]), close(fds[1]);
}

TEST(without_memory) {
    vm_error_clear(&err);
    for (int64_t i = 0; i < 12; i++) {
        vm_error e = { 0 };
        char *data = NULL, *tmp = NULL;
        vm_mem_fail_after(i);
        file_write(in("m"), "x", 1, &e);
        if (file_read(&data, NULL, in("a"), 0, &e)) EXPECT(!data);
        if (dir_begin(&tmp, in("mdir"), &e) == VM_OK && dir_commit(tmp, in("mdir"), &e)) dir_abort(tmp);
        vm_mem_fail_after(-1);
        vm_free(data), vm_free(tmp);
        EXPECT(vm_mem_used() == 0);
    }
    dir_sweep(folder, 0);
}

int main(int argc, char **argv) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/file-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    folder = mkdtemp(dir);
    RUN(read_back);
    RUN(what_cannot_be_read_is_said);
    RUN(pipes_are_read_to_their_end);
    RUN(maps);
    RUN(nothing_is_seen_before_commit);
    RUN(streams_of_all_sizes);
    RUN(places_are_written_in_any_order);
    RUN(where_nothing_can_be_written);
    RUN(a_full_disk_leaves_the_old_file);
    RUN(directories);
    RUN(a_directory_appears_whole);
    RUN(temporaries_of_the_dead_are_swept);
    RUN(names);
    RUN(free_space);
    RUN(one_lock_at_a_time);
    RUN(the_lock_dies_with_its_owner);
    RUN(without_memory);
    EXPECT(vm_mem_used() == 0);
    dir_remove(folder, NULL);
    return test_end();
}

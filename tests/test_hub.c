/* test_hub.c - the cache of models, and fetching into it from a server of the test's own. */
#include "pipeline/fetch.h"

#include <signal.h>
#include <sys/stat.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "tests/http.h"
#include "tests/test.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
enum { BIG = 300000 };
static char root[64], big[BIG], big_sha[65], token_seen_at_other[200], token_seen_at_hub[200];
static const char small[] = "{\"a\": 1}\n"; /* small_sha: git hash-object of these bytes */
static char small_sha[41];
static http_server hub, other;
static int fail_first; /* so many answers of the big file are cut or refused */
static enum { PLAIN, CUT, BUSY, WRONG, REDIRECT, NO_RANGE } mode;

static http_answer answer(http_server *s, const http_request *r) {
    static char list[2000];
    if (s == &hub) snprintf(token_seen_at_hub, sizeof token_seen_at_hub, "%s", r->authorization);
    if (strstr(r->path, "/api/models/org/gated")) return (http_answer){ .status = 401 };
    if (strstr(r->path, "/api/models/org/bad/")) {
        static const char text[] = "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"../../etc/x\",\"size\":1,\"blobId\":\"" COMMIT "\"}]}";
        return (http_answer){ .status = 200, .body = text, .bytes = sizeof text - 1 };
    }
    if (strstr(r->path, "/api/models/org/name/revision/main")) {
        snprintf(list, sizeof list, "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":%zu,\"blobId\":\"%s\"},"
                 "{\"rfilename\":\"sub/a b.safetensors\",\"size\":130,\"blobId\":\"" COMMIT "\",\"lfs\":{\"sha256\":\"%s\",\"size\":%d}}]}",
                 sizeof small - 1, small_sha, big_sha, BIG);
        return (http_answer){ .status = 200, .body = list, .bytes = strlen(list) };
    }
    if (strstr(r->path, "/resolve/" COMMIT "/config.json")) return (http_answer){ .status = 200, .body = small, .bytes = sizeof small - 1 };
    if (!strstr(r->path, "/resolve/" COMMIT "/sub/a%20b.safetensors")) return (http_answer){ .status = 404 };
    if (mode == REDIRECT && s == &hub) {
        http_answer a = { .status = 302 };
        snprintf(a.location, sizeof a.location, "http://127.0.0.1:%d%s", other.port, r->path);
        return a;
    }
    if (s == &other) snprintf(token_seen_at_other, sizeof token_seen_at_other, "%s", r->authorization);
    if (mode == BUSY && fail_first-- > 0) return (http_answer){ .status = 503 };
    http_answer a = { .status = r->from >= 0 && mode != NO_RANGE ? 206 : 200, .body = big, .bytes = BIG };
    static char wrong[BIG];
    if (mode == WRONG) a.body = wrong;
    if ((mode == CUT || mode == NO_RANGE) && fail_first-- > 0) a.cut = 100000;
    return a;
}

static bool get(const char *model, vm_error *e, int *fresh) {
    hub_name n;
    fetcher *f = NULL;
    fetch_list l = { 0 };
    *e = (vm_error){ 0 }, *fresh = 0;
    if (!hub_parse(&n, model, e) && !fetch_open(&f, e) && !fetch_files(&l, f, &n, e)) {
        for (int64_t i = 0; i < l.n && !e->status; i++) {
            bool is;
            if (!fetch_one(&is, f, &n, l.commit, &l.file[i], e)) *fresh += is;
        }
        if (!e->status) fetch_finish(&n, l.commit, e);
    }
    fetch_list_free(&l);
    fetch_close(f);
    return !e->status;
}

static void clear(void) {
    vm_error e = { 0 };
    dir_remove(root, &e);
    dir_make(root, &e);
}

static bool big_is_there(void) {
    char path[300], *data = NULL;
    size_t n = 0;
    vm_error e = { 0 };
    snprintf(path, sizeof path, "%s/models--org--name/snapshots/" COMMIT "/sub/a b.safetensors", root);
    bool good = !file_read(&data, &n, path, 0, &e) && n == BIG && !memcmp(data, big, BIG);
    vm_free(data);
    return good;
}

TEST(names) {
    hub_name n;
    vm_error e = { 0 };
    EXPECT(!hub_parse(&n, "openai/clip-vit-base-patch32", &e) && !strcmp(n.repo, "openai/clip-vit-base-patch32") && !strcmp(n.revision, "main"));
    EXPECT(!hub_parse(&n, "a/b@refs/pr/1", &e) && !strcmp(n.repo, "a/b") && !strcmp(n.revision, "refs/pr/1"));
    static const char *const bad[] = { "name", "a/b/c", "../b", "a/..", "a/b@", "/a/b", "a/b@../x", "./a", "a /b", "a/b." };
    for (int k = 0; k < VM_LEN(bad); k++) {
        vm_error_clear(&e);
        EXPECT(hub_parse(&n, bad[k], &e) == VM_EUSAGE);
        EXPECT(!hub_is_name(bad[k]));
    }
    EXPECT(!hub_is_name("tests/http.h") || !file_exists("tests/http.h"));
}

TEST(layout_of_the_cache) {
    int fresh;
    vm_error e = { 0 };
    char path[300], to[300], *dir = NULL;
    struct stat st;
    clear();
    mode = PLAIN;
    EXPECT(get("org/name", &e, &fresh) && fresh == 2);
    if (e.status) fprintf(stderr, "%s\n", e.msg);
    EXPECT(big_is_there());
    snprintf(path, sizeof path, "%s/models--org--name/snapshots/" COMMIT "/sub/a b.safetensors", root);
    ssize_t n = readlink(path, to, sizeof to - 1);
    to[n < 0 ? 0 : n] = 0;
    EXPECT(!strncmp(to, "../../../blobs/", 15) && !strcmp(to + 15, big_sha));
    snprintf(path, sizeof path, "%s/models--org--name/refs/main", root);
    EXPECT(!stat(path, &st) && st.st_size == 40);
    EXPECT(!hub_resolve(&dir, "org/name", &e) && strstr(dir, "/snapshots/" COMMIT));
    vm_free(dir);
    EXPECT(!hub_resolve(&dir, "org/name@" COMMIT, &e) && strstr(dir, "/snapshots/" COMMIT));
    vm_free(dir);
    EXPECT(hub_resolve(&dir, "org/absent", &e) == VM_EINPUT && !dir);
    EXPECT(strstr(e.msg, "vismin weights get org/absent") != NULL);
    vm_error_clear(&e);
    EXPECT(hub_resolve(&dir, "absent", &e) == VM_EINPUT && !dir && strstr(e.msg, "no such file or folder"));
    int before = hub.requests;
    EXPECT(get("org/name", &e, &fresh) && fresh == 0); /* only the list is asked for */
    EXPECT(hub.requests == before + 1);
}

TEST(interrupted_transfers_go_on) {
    int fresh;
    vm_error e = { 0 };
    clear();
    mode = CUT, fail_first = 2;
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
    if (e.status) fprintf(stderr, "%s\n", e.msg);
    clear();
    mode = NO_RANGE, fail_first = 1; /* a server that always sends the whole file */
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
    clear();
    mode = BUSY, fail_first = 1;
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
}

TEST(what_was_there_is_continued) {
    int fresh;
    vm_error e = { 0 };
    char path[300];
    clear();
    mode = PLAIN;
    snprintf(path, sizeof path, "%s/models--org--name/blobs", root);
    dir_make(path, &e);
    snprintf(path, sizeof path, "%s/models--org--name/blobs/%s.incomplete", root, big_sha);
    FILE *f = fopen(path, "wb");
    EXPECT(f && fwrite(big, 1, 1234, f) == 1234 && !fclose(f));
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
    clear(); /* a part that is wrong is found out by the hash, thrown away, and the next attempt is good */
    snprintf(path, sizeof path, "%s/models--org--name/blobs", root);
    dir_make(path, &e);
    snprintf(path, sizeof path, "%s/models--org--name/blobs/%s.incomplete", root, big_sha);
    f = fopen(path, "wb");
    EXPECT(f && fwrite("xxxx", 1, 4, f) == 4 && !fclose(f));
    EXPECT(!get("org/name", &e, &fresh) && strstr(e.msg, "hash"));
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
}

TEST(refusals) {
    int fresh;
    vm_error e = { 0 };
    clear();
    mode = WRONG;
    EXPECT(!get("org/name", &e, &fresh) && e.status == VM_EINPUT && strstr(e.msg, "hash") && !big_is_there());
    EXPECT(!get("org/gated", &e, &fresh) && strstr(e.msg, "HF_TOKEN"));
    EXPECT(!get("org/nothing", &e, &fresh) && strstr(e.msg, "404"));
    EXPECT(!get("org/bad", &e, &fresh) && strstr(e.msg, "leads out of the model's folder"));
    setenv("HF_HUB_OFFLINE", "1", 1);
    EXPECT(!get("org/name", &e, &fresh) && e.status == VM_EUSAGE && strstr(e.msg, "HF_HUB_OFFLINE"));
    unsetenv("HF_HUB_OFFLINE");
}

TEST(the_token_stays_with_the_hub) {
    int fresh;
    vm_error e = { 0 };
    clear();
    setenv("HF_TOKEN", "hf_secret", 1);
    mode = REDIRECT;
    snprintf(token_seen_at_other, sizeof token_seen_at_other, "unset");
    EXPECT(get("org/name", &e, &fresh) && big_is_there());
    EXPECT(!token_seen_at_other[0] && !strcmp(token_seen_at_hub, "Bearer hf_secret"));
    unsetenv("HF_TOKEN");
}

TEST(damage_is_found) {
    int fresh;
    bool good;
    vm_error e = { 0 };
    char path[300];
    clear();
    mode = PLAIN;
    EXPECT(get("org/name", &e, &fresh));
    snprintf(path, sizeof path, "%s/models--org--name/blobs/%s", root, big_sha);
    EXPECT(!hub_verify(&good, path, big_sha, &e) && good);
    FILE *f = fopen(path, "r+b");
    EXPECT(f && fwrite("!", 1, 1, f) == 1 && !fclose(f));
    EXPECT(!hub_verify(&good, path, big_sha, &e) && !good);
    EXPECT(hub_verify(&good, path, "abc", &e) == VM_EINPUT);
}

TEST(hash_of_git) { /* known: git hash-object of an empty file and of "hello\n" */
    static const struct { const char *text, *sum; } known[] = { { "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" },
                                                                { "hello\n", "ce013625030ba8dba906f756967f9e9ca394464a" } };
    char path[300];
    for (int k = 0; k < VM_LEN(known); k++) {
        bool good = false;
        vm_error e = { 0 };
        snprintf(path, sizeof path, "%s/x", root);
        EXPECT(!file_write(path, known[k].text, strlen(known[k].text), &e));
        EXPECT(!hub_verify(&good, path, known[k].sum, &e) && good);
    }
}

int main(void) {
    char endpoint[60];
    for (int i = 0; i < BIG; i++) big[i] = (char)(i * 31 + i / 257);
    sha256_hex(big_sha, big, BIG);
    snprintf(small_sha, sizeof small_sha, "%s", "cb5b2f69babc53f9145b45ad20b9a075d48717ef");
    snprintf(root, sizeof root, "/tmp/vismin-hub-%d", (int)getpid());
    signal(SIGPIPE, SIG_IGN);
    if (!http_start(&hub, answer) || !http_start(&other, answer)) return 1;
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d/", hub.port);
    setenv("HF_ENDPOINT", endpoint, 1);
    setenv("HF_HUB_CACHE", root, 1);
    unsetenv("HF_TOKEN"), unsetenv("HF_HUB_OFFLINE"), setenv("HF_HOME", root, 1);
    RUN(names);
    clear();
    RUN(hash_of_git);
    RUN(layout_of_the_cache);
    RUN(interrupted_transfers_go_on);
    RUN(what_was_there_is_continued);
    RUN(refusals);
    RUN(the_token_stays_with_the_hub);
    RUN(damage_is_found);
    http_stop(&hub), http_stop(&other);
    vm_error e = { 0 };
    dir_remove(root, &e);
    return test_end();
}

/* hub.c - see hub.h. */
#include "io/hub.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/sha1.h"

static bool part_is_good(const char *s, size_t n, const char *more) {
    if (!n || s[0] == '.' || s[0] == '-' || s[n - 1] == '.') return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i])) return false;
    return !memmem(s, n, "..", 2);
}

/* Splits org/name[@revision]; false when it has another form. */
static bool split(hub_name *n, const char *text) {
    const char *slash = strchr(text, '/'), *at = slash ? strchr(slash, '@') : NULL;
    if (!slash) return false;
    size_t org = (size_t)(slash - text), name = at ? (size_t)(at - slash) - 1 : strlen(slash + 1);
    const char *revision = at ? at + 1 : "main";
    if (!part_is_good(text, org, "-_.") || !part_is_good(slash + 1, name, "-_.")) return false;
    if (!part_is_good(revision, strlen(revision), "-_./")) return false;
    if (org + name + 2 > sizeof n->repo || strlen(revision) >= sizeof n->revision) return false;
    snprintf(n->repo, sizeof n->repo, "%.*s/%.*s", (int)org, text, (int)name, slash + 1);
    snprintf(n->revision, sizeof n->revision, "%s", revision);
    return true;
}

bool hub_is_name(const char *text) {
    hub_name n;
    return !file_exists(text) && split(&n, text);
}

vm_status hub_parse(hub_name *n, const char *text, vm_error *e) {
    if (split(n, text)) return VM_OK;
    return vm_fail(e, VM_EUSAGE, "%s: expected a model's name as org/name or org/name@revision", text);
}

bool hub_is_commit(const char *revision) {
    return strlen(revision) == 40 && strspn(revision, "0123456789abcdef") == 40;
}

char *hub_root(void) {
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
    if (cache && cache[0]) return vm_strdup(cache);
    if (home && home[0]) return vm_asprintf("%s/hub", home);
    if (xdg && xdg[0]) return vm_asprintf("%s/huggingface/hub", xdg);
    return vm_asprintf("%s/.cache/huggingface/hub", user && user[0] ? user : ".");
}

char *hub_folder(const char *repo) {
    char *root = hub_root(), *dir = NULL;
    const char *slash = strchr(repo, '/');
    if (root && slash) dir = vm_asprintf("%s/models--%.*s--%s", root, (int)(slash - repo), repo, slash + 1);
    vm_free(root);
    return dir;
}

vm_status hub_commit(char commit[41], const hub_name *n, vm_error *e) {
    char *folder = hub_folder(n->repo), *ref = folder ? vm_asprintf("%s/refs/%s", folder, n->revision) : NULL, *text = NULL;
    commit[0] = 0;
    vm_free(folder);
    if (!ref) return vm_nomem(e, 256, "a path");
    if (hub_is_commit(n->revision)) {
        memcpy(commit, n->revision, 41);
    } else if (file_exists(ref) && !file_read(&text, NULL, ref, 4096, e)) {
        text[strcspn(text, " \t\r\n")] = 0;
        if (hub_is_commit(text)) memcpy(commit, text, 41);
        else vm_fail(e, VM_EINPUT, "%s: found \"%.60s\", expected a commit of 40 hexadecimal digits; remove the file and get the model again", ref, text);
    }
    vm_free(text), vm_free(ref);
    return e->status;
}

vm_status hub_snapshot(char **dir, const hub_name *n, vm_error *e) {
    char commit[41], *folder = hub_folder(n->repo);
    *dir = NULL;
    if (!folder) return vm_nomem(e, 256, "a path");
    if (!hub_commit(commit, n, e)) {
        char *path = vm_asprintf("%s/snapshots/%s", folder, commit[0] ? commit : n->revision);
        if (!path) vm_nomem(e, 256, "a path");
        else if (commit[0] && file_is_dir(path)) *dir = path, path = NULL;
        else vm_fail(e, VM_EINPUT, "%s@%s is no folder here and not in the cache %s; get it with: vismin weights get %s@%s", n->repo, n->revision, folder,
                     n->repo, n->revision);
        vm_free(path);
    }
    vm_free(folder);
    return e->status;
}

vm_status hub_resolve(char **path, const char *model, vm_error *e) {
    hub_name n;
    *path = NULL;
    if (hub_is_name(model)) return split(&n, model), hub_snapshot(path, &n, e);
    if (!file_exists(model)) return vm_fail(e, VM_EINPUT, "%s: no such file or folder; a model of the cache is ORG/NAME (`vismin weights list`)", model);
    *path = vm_strdup(model);
    return *path ? VM_OK : vm_nomem(e, strlen(model) + 1, "a path");
}

static vm_status git_sha1(char out[41], const char *path, vm_error *e) {
    file_map m;
    char head[40];
    uint8_t digest[20];
    sha1 s;
    if (file_map_open(&m, path, e)) return e->status;
    sha1_start(&s);
    sha1_add(&s, head, (size_t)snprintf(head, sizeof head, "blob %zu", m.bytes) + 1);
    sha1_add(&s, m.data, m.bytes);
    sha1_end(&s, digest);
    hex_text(out, digest, sizeof digest);
    file_map_close(&m);
    return VM_OK;
}

vm_status hub_verify(bool *good, const char *path, const char *hash, vm_error *e) {
    char sum[65];
    size_t n = strlen(hash);
    *good = false;
    if (strspn(hash, "0123456789abcdef") != n || (n != 40 && n != 64))
        return vm_fail(e, VM_EINPUT, "%s: \"%s\" is neither a SHA-256 nor a SHA-1", path, hash);
    if (n == 64 ? sha256_file(sum, path, e) : git_sha1(sum, path, e)) return e->status;
    *good = !strcmp(sum, hash);
    return VM_OK;
}

/* weights.c - `vismin weights get|list|verify`: models of the hub in the cache that other programs use as well. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "pipeline/command.h"
#include "pipeline/fetch.h"
#include "pipeline/run.h"

/* --- get ---------------------------------------------------------------------------------------------------------- */
static bool ends_in(const char *path, const char *const *ends, int n) {
    for (int k = 0; k < n; k++) {
        size_t len = strlen(ends[k]), all = strlen(path);
        if (all >= len && !strcmp(path + all - len, ends[k])) return true;
    }
    return false;
}

/* What this program can use: configurations, tokenizers, and weights in the best form that the repository has. */
static bool is_wanted(const fetch_list *l, const char *path) {
    static const char *const small[] = { ".json", ".txt", ".model", ".jinja" }, *const best[] = { ".safetensors" },
                      *const pickled[] = { ".bin", ".pt", ".pth", ".ckpt" };
    bool have_best = false;
    for (int64_t i = 0; i < l->n; i++) have_best = have_best || ends_in(l->file[i].path, best, 1);
    return ends_in(path, small, VM_LEN(small)) || ends_in(path, have_best ? best : pickled, have_best ? 1 : VM_LEN(pickled));
}

static bool matches(const char *path, const char *const *patterns, int n) {
    for (int k = 0; k < n; k++)
        if (!fnmatch(patterns[k], path, 0)) return true;
    return false;
}

/* Keeps what the options ask for; bytes of it that are not in the cache yet. */
static int64_t choose(fetch_list *l, const vm_args *a, const char *folder) {
    const char *const *in, *const *out;
    int n_in = arg_list(a, "include", &in), n_out = arg_list(a, "exclude", &out);
    int64_t n = 0, bytes = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const fetch_file *f = &l->file[i];
        if (n_in ? !matches(f->path, in, n_in) : !arg_flag(a, "all") && !is_wanted(l, f->path)) continue;
        if (matches(f->path, out, n_out)) continue;
        char *blob = vm_asprintf("%s/blobs/%s", folder, f->hash);
        if (f->bytes > 0 && blob && !file_exists(blob)) bytes += f->bytes;
        vm_free(blob);
        l->file[n++] = *f;
    }
    l->n = n;
    return bytes;
}

static vm_status fetch_all(fetcher *f, const hub_name *name, const fetch_list *l, int64_t bytes, const char *folder, vm_error *e) {
    int64_t free_bytes = 0, fresh = 0;
    if (dir_make(folder, e) || file_disk_free(&free_bytes, folder, e)) return e->status;
    if (bytes > free_bytes)
        return vm_fail(e, VM_EIO, "%s: %.2f GB are needed, %.2f GB are free; make room or set HF_HUB_CACHE to another disk", folder, (double)bytes * 1e-9,
                       (double)free_bytes * 1e-9);
    for (int64_t i = 0; i < l->n && !e->status; i++) {
        bool is_fresh;
        if (run_stopping()) return vm_fail(e, VM_ESTOP, "stopped; the same command goes on");
        if (!fetch_one(&is_fresh, f, name, l->commit, &l->file[i], e)) fresh += is_fresh;
    }
    if (!e->status && !fetch_finish(name, l->commit, e))
        vm_info("%s@%s: %" PRId64 " files, %" PRId64 " of them fetched now", name->repo, name->revision, l->n, fresh);
    return e->status;
}

static vm_status get(const vm_args *a, vm_error *e) {
    hub_name name;
    fetcher *f = NULL;
    fetch_list l = { 0 };
    char *folder = NULL, *dir = NULL;
    if (hub_parse(&name, arg_pos(a, 0), e)) return e->status;
    if (!(folder = hub_folder(name.repo))) return vm_nomem(e, 256, "a path");
    if (fetch_open(&f, e) || fetch_files(&l, f, &name, e)) goto done;
    int64_t bytes = choose(&l, a, folder);
    if (!l.n) {
        vm_fail(e, VM_EINPUT, "%s@%s: no file of it is wanted; see --include and --all", name.repo, name.revision);
    } else if (arg_flag(a, "dry-run")) {
        for (int64_t i = 0; i < l.n; i++) printf("%14" PRId64 "  %s\n", l.file[i].bytes, l.file[i].path);
        printf("%14" PRId64 "  bytes to fetch\n", bytes);
    } else if (!fetch_all(f, &name, &l, bytes, folder, e) && !hub_snapshot(&dir, &name, e)) {
        printf("%s\n", dir);
    }
done:
    fetch_list_free(&l);
    fetch_close(f);
    vm_free(folder), vm_free(dir);
    return e->status;
}

static const vm_opt get_opts[] = {
    { "include", OPT_LIST, NULL, "PATTERN", "only files that match, such as '*.json' (repeatable)", 0, 0 },
    { "exclude", OPT_LIST, NULL, "PATTERN", "not these (repeatable)", 0, 0 },
    { "all", OPT_FLAG, NULL, NULL, "every file of the repository", 0, 0 },
    { "dry-run", OPT_FLAG, NULL, NULL, "list what would be fetched", 0, 0 },
    { 0 },
};
const vm_command cmd_weights_get = {
    .name = "weights get", .summary = "fetch a model of the hub into the shared cache", .usage = "ORG/NAME[@REVISION] [options]",
    .about = "Fetches configuration, tokenizer and safetensors files (pickled weights only where there are no others) into the cache folder\n"
             "that Hugging Face's programs use, so nothing is fetched twice. Interrupted transfers go on where they were; every file is\n"
             "checked against the hash that the hub names. Prints the model's folder; ORG/NAME can then be given wherever a command\n"
             "takes a model. HF_HUB_CACHE or HF_HOME: the cache; HF_ENDPOINT: a mirror; HF_TOKEN: for gated models; HF_HUB_OFFLINE: never.\n\n"
             "  vismin weights get openai/clip-vit-large-patch14\n"
             "  vismin eval openai/clip-vit-large-patch14 --data vismin-bench/",
    .opts = get_opts, .min_pos = 1, .max_pos = 1, .run = get,
};

/* --- the cache ---------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t files, bytes, bad;
} count;

/* "models--ORG--NAME" -> "ORG/NAME"; false for other folders. */
static bool repo_of(char repo[200], const char *folder) {
    const char *sep = strncmp(folder, "models--", 8) ? NULL : strstr(folder + 8, "--");
    if (!sep || strlen(folder) > 200) return false;
    snprintf(repo, 200, "%.*s/%s", (int)(sep - folder - 8), folder + 8, sep + 2);
    return true;
}

static vm_status count_blobs(count *c, const char *folder, bool verify, vm_error *e) {
    char *blobs = path_join(folder, "blobs"), **names = NULL;
    int64_t n = 0;
    if (!blobs) return vm_nomem(e, 256, "a path");
    if (file_is_dir(blobs)) dir_list(&names, &n, blobs, e);
    for (int64_t i = 0; i < n && !e->status && !run_stopping(); i++) {
        char *path = path_join(blobs, names[i]);
        size_t len = strlen(names[i]);
        bool good = true;
        if (!path) vm_nomem(e, 256, "a path");
        else if (len == 40 || len == 64) {
            if (verify && !hub_verify(&good, path, names[i], e) && !good)
                vm_warn("%s: the contents do not have the hash of the name; remove it and get the model again", path);
            c->files++, c->bytes += VM_MAX(file_bytes(path), (int64_t)0), c->bad += !good;
        }
        vm_free(path);
    }
    vm_free(names), vm_free(blobs);
    return e->status;
}

/* Every model of the cache, or the one named. */
static vm_status walk(const char *only, bool verify, bool json, vm_error *e) {
    char *root = hub_root(), **names = NULL, repo[200];
    int64_t n = 0, shown = 0, bad = 0;
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    if (!root) return vm_nomem(e, 256, "a path");
    if (file_is_dir(root)) dir_list(&names, &n, root, e);
    if (json) json_begin_array(&w, NULL);
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *folder = repo_of(repo, names[i]) && (!only || !strcmp(only, repo)) ? path_join(root, names[i]) : NULL;
        count c = { 0 };
        if (!folder) continue;
        count_blobs(&c, folder, verify, e);
        vm_free(folder);
        shown++, bad += c.bad;
        if (json) {
            json_begin_object(&w, NULL);
            json_put_str(&w, "model", repo);
            json_put_int(&w, "files", c.files), json_put_int(&w, "bytes", c.bytes);
            if (verify) json_put_int(&w, "bad", c.bad);
            json_close_object(&w);
        } else {
            printf("%-60s %4" PRId64 " files %9.3f GB", repo, c.files, (double)c.bytes * 1e-9);
            if (verify) printf("  %s", c.bad ? "DAMAGED" : "good");
            printf("\n");
        }
    }
    if (json) json_close_array(&w), json_end(&w, e);
    if (!e->status && run_stopping()) vm_fail(e, VM_ESTOP, "stopped");
    if (only && !shown) vm_fail(e, VM_EINPUT, "%s is not in the cache %s; get it with: vismin weights get %s", only, root, only);
    else if (!shown && !json) vm_info("no model in %s", root);
    if (bad) vm_fail(e, VM_EMODEL, "%" PRId64 " damaged files in %s", bad, root);
    vm_free(root), vm_free(names);
    return e->status;
}

static vm_status list(const vm_args *a, vm_error *e) { return walk(NULL, false, arg_flag(a, "json"), e); }

static vm_status verify(const vm_args *a, vm_error *e) {
    hub_name name;
    if (!arg_npos(a)) return walk(NULL, true, arg_flag(a, "json"), e);
    return hub_parse(&name, arg_pos(a, 0), e) ? e->status : walk(name.repo, true, arg_flag(a, "json"), e);
}

const vm_command cmd_weights_list = {
    .name = "weights list", .summary = "the models in the shared cache", .usage = "", .about = "Names, numbers of files and sizes.", .run = list,
};
const vm_command cmd_weights_verify = {
    .name = "weights verify", .summary = "hash the files of the shared cache anew", .usage = "[ORG/NAME]",
    .about = "Every blob must have the hash that is its name (SHA-256 of large files, git's SHA-1 of small ones). Exit code 6 when one has not.",
    .max_pos = 1, .run = verify,
};

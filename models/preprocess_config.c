/* preprocess_config.c - the settings of an image processor from the JSON files of a model directory. */
#include "io/json.h"
#include "models/preprocess.h"

#include <string.h>

enum { MAX_SIDE = 16384 };

/* What a class does beyond its settings. `square`: a plain number as size means both sides. */
static const struct {
    const char *name;
    preprocess_fit two_edges; /* {"shortest_edge", "longest_edge"}; FIT_NONE = not understood */
    bool square, crops;
} classes[] = {
    {"CLIP", FIT_NONE, false, true},           {"Blip", FIT_NONE, true, false},
    {"Siglip", FIT_NONE, true, false},         {"ViT", FIT_NONE, true, false},
    {"GroundingDino", FIT_BETWEEN, true, false}, {"Idefics2", FIT_IDEFICS2, true, false},
    {"LlavaNext", FIT_NONE, false, true},
};

/* Index into classes of "CLIPImageProcessorFast", "CLIPFeatureExtractor", ...; -1 = unknown. */
static int find_class(const char *type) {
    for (int i = 0; i < VM_LEN(classes); i++) {
        const size_t n = strlen(classes[i].name);
        if (strncmp(type, classes[i].name, n)) continue;
        const char *rest = type + n;
        static const char *const ends[] = {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"};
        for (int k = 0; k < VM_LEN(ends); k++)
            if (!strcmp(rest, ends[k])) return i;
    }
    return -1;
}

static int side_of(json_value object, const char *key, vm_error *e) {
    return (int)json_as_int(json_need(object, key, JSON_INT, e), 1, MAX_SIDE, e);
}

/* Pillow's numbers for filters. */
static void read_filter(vm_preprocess *p, json_value s, vm_error *e) {
    static const int filters[] = {-1, RESIZE_LANCZOS, RESIZE_BILINEAR, RESIZE_BICUBIC, RESIZE_BOX, -1};
    const int64_t n = json_as_int(json_need(s, "resample", JSON_INT, e), 0, 5, e);
    if (e->status) return;
    if (filters[n] < 0) json_fail(json_get(s, "resample"), e, "found %d, expected 1 (lanczos), 2 (bilinear), 3 (bicubic) or 4 (box)", (int)n);
    else p->filter = (resize_filter)filters[n];
}

static void read_size(vm_preprocess *p, json_value s, int class, vm_error *e) {
    json_value size = json_get(s, "size");
    if (size.kind == JSON_INT) {
        p->h = p->w = p->shortest = (int)json_as_int(size, 1, MAX_SIDE, e);
        p->fit = classes[class].square ? FIT_EXACT : FIT_SHORTEST;
        return;
    }
    size = json_need(s, "size", JSON_OBJECT, e);
    if (e->status) return;
    if (json_has(json_get(size, "height"))) {
        p->h = side_of(size, "height", e), p->w = side_of(size, "width", e);
        p->fit = FIT_EXACT;
        return;
    }
    p->shortest = side_of(size, "shortest_edge", e);
    p->fit = FIT_SHORTEST;
    if (!json_has(json_get(size, "longest_edge"))) return;
    p->longest = side_of(size, "longest_edge", e);
    p->fit = classes[class].two_edges;
    if (p->fit == FIT_NONE) json_fail(size, e, "%s has no rule for both shortest_edge and longest_edge; remove one", classes[class].name);
}

static void read_crop(vm_preprocess *p, json_value s, vm_error *e) {
    json_value crop = json_get(s, "crop_size");
    if (crop.kind == JSON_INT) {
        p->crop_h = p->crop_w = (int)json_as_int(crop, 1, MAX_SIDE, e);
        return;
    }
    crop = json_need(s, "crop_size", JSON_OBJECT, e);
    p->crop_h = side_of(crop, "height", e), p->crop_w = side_of(crop, "width", e);
}

/* The square that tiles have, and the grids they may form. */
static void read_grids(vm_preprocess *p, json_value s, vm_error *e) {
    json_value grids = json_need(s, "image_grid_pinpoints", JSON_ARRAY, e);
    if (p->fit == FIT_SHORTEST) p->h = p->w = p->shortest;
    if (e->status) return;
    if (p->h != p->w) json_fail(json_get(s, "size"), e, "tiles must be square, found %dx%d", p->h, p->w);
    for (json_iter it = json_each(grids); json_next(&it) && !e->status;) {
        int64_t hw[2];
        if (json_as_ints(it.value, hw, 2, e) < 0) return;
        if (p->n_grids == PREPROCESS_MAX_GRIDS) {
            json_fail(grids, e, "more than %d entries", PREPROCESS_MAX_GRIDS);
            return;
        }
        const bool whole = hw[0] > 0 && hw[1] > 0 && hw[0] <= MAX_SIDE && hw[1] <= MAX_SIDE && !(hw[0] % p->h) && !(hw[1] % p->w);
        if (!whole || hw[0] / p->h * (hw[1] / p->w) >= PREPROCESS_MAX_PIECES) {
            json_fail(it.value, e, "found %lldx%lld, expected multiples of the tile side %d, at most %d tiles", (long long)hw[0],
                      (long long)hw[1], p->h, PREPROCESS_MAX_PIECES - 1);
            return;
        }
        p->grid[p->n_grids][0] = (int)hw[0], p->grid[p->n_grids++][1] = (int)hw[1];
    }
    if (!p->n_grids && !e->status) json_fail(grids, e, "no grid in the list, expected at least one [height, width]");
    p->fit = FIT_TILES;
}

static void read_statistics(vm_preprocess *p, json_value mean, json_value std, vm_error *e) {
    double m[3], s[3];
    if (json_as_nums(mean, m, 3, e) < 0 || json_as_nums(std, s, 3, e) < 0) return;
    for (int c = 0; c < 3; c++) {
        p->mean[c] = (float)m[c], p->std[c] = (float)s[c];
        if (!(p->std[c] > 0)) json_fail(std, e, "found %g, expected numbers greater than 0", s[c]);
    }
}

vm_status preprocess_parse(vm_preprocess *p, json_value s, vm_error *e) {
    *p = (vm_preprocess){.std = {1, 1, 1}};
    json_value type = json_get(s, "image_processor_type");
    if (!json_has(type)) type = json_get(s, "feature_extractor_type");
    if (!json_has(type)) type = json_need(s, "image_processor_type", JSON_STRING, e);
    const char *name = json_as_str(type, e);
    if (e->status) return e->status;
    const int class = find_class(name);
    if (class < 0)
        return json_fail(type, e, "image processor \"%s\" is not known; known are CLIP, Blip, Siglip, ViT, GroundingDino, "
                                  "Idefics2 and LlavaNext processors", name);
    if (json_bool(s, "do_resize", true, e)) {
        read_size(p, s, class, e);
        read_filter(p, s, e);
        if (!strcmp(classes[class].name, "LlavaNext")) read_grids(p, s, e);
    }
    if (p->fit != FIT_TILES && json_bool(s, "do_center_crop", classes[class].crops, e)) read_crop(p, s, e);
    p->split = json_bool(s, "do_image_splitting", false, e) && p->fit == FIT_IDEFICS2;
    const double factor = json_bool(s, "do_rescale", true, e) ? json_num(s, "rescale_factor", 1.0 / 255, 1e-9, 1e9, e) : 1;
    if (json_bool(s, "do_normalize", true, e))
        read_statistics(p, json_need(s, "image_mean", JSON_ARRAY, e), json_need(s, "image_std", JSON_ARRAY, e), e);
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) p->value[c][v] = ((float)(v * factor) - p->mean[c]) / p->std[c];
    return e->status;
}

/* One number for both sides, or [height, width]. */
static void read_open_clip_size(vm_preprocess *p, json_value size, vm_error *e) {
    int64_t hw[2] = {0, 0};
    if (size.kind != JSON_ARRAY) {
        hw[0] = hw[1] = json_as_int(size, 1, MAX_SIDE, e);
    } else if (json_as_ints(size, hw, -2, e) == 1) {
        hw[1] = hw[0];
    }
    if (!e->status && (hw[0] < 1 || hw[1] < 1 || hw[0] > MAX_SIDE || hw[1] > MAX_SIDE))
        json_fail(size, e, "found %lldx%lld, expected sides from 1 to %d", (long long)hw[0], (long long)hw[1], MAX_SIDE);
    p->h = (int)hw[0], p->w = (int)hw[1];
}

vm_status preprocess_parse_open_clip(vm_preprocess *p, json_value config, vm_error *e) {
    *p = (vm_preprocess){.crop_half_even = true};
    json_value s = json_need(config, "preprocess_cfg", JSON_OBJECT, e);
    json_value size = json_get(s, "size");
    if (!json_has(size)) size = json_get(json_get(json_get(config, "model_cfg"), "vision_cfg"), "image_size");
    if (!json_has(size)) return json_fail(s, e, "has no size, and model_cfg.vision_cfg no image_size; add one of them");
    read_open_clip_size(p, size, e);
    read_statistics(p, json_need(s, "mean", JSON_ARRAY, e), json_need(s, "std", JSON_ARRAY, e), e);
    const char *filter = json_str(s, "interpolation", "bicubic", e), *mode = json_str(s, "resize_mode", "shortest", e);
    const int fill = (int)json_int(s, "fill_color", 0, 0, 255, e);
    if (e->status) return e->status;
    if (strcmp(filter, "bicubic") && strcmp(filter, "random") && strcmp(filter, "bilinear"))
        return json_fail(json_get(s, "interpolation"), e, "found \"%s\", expected bicubic, bilinear or random (read as bicubic)", filter);
    p->filter = strcmp(filter, "bilinear") ? RESIZE_BICUBIC : RESIZE_BILINEAR;
    if (!strcmp(mode, "squash")) {
        p->fit = FIT_EXACT;
    } else if (!strcmp(mode, "shortest") || !strcmp(mode, "longest")) {
        p->inside = mode[0] == 'l';
        p->fit = p->inside || p->h != p->w ? FIT_RATIO : FIT_SHORTEST;
        p->shortest = p->h;
        p->crop_h = p->h, p->crop_w = p->w;
        if (p->fit == FIT_RATIO && !p->inside) p->filter = RESIZE_BICUBIC; /* open_clip forgets the setting there */
        if (p->inside) memset(p->fill, fill, 3);
    } else {
        return json_fail(json_get(s, "resize_mode"), e, "found \"%s\", expected shortest, longest or squash", mode);
    }
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) p->value[c][v] = ((float)v / 255.0f - p->mean[c]) / p->std[c];
    return VM_OK;
}

/* 1 = parsed, 0 = not there, -1 = error. key: member that holds the settings, NULL = the file itself. */
static int try_file(vm_preprocess *p, const char *dir, const char *name, const char *key,
                    vm_status (*parse)(vm_preprocess *, json_value, vm_error *), vm_error *e) {
    char *path = path_join(dir, name);
    json_doc *d = NULL;
    int found = 0;
    if (!path) found = (vm_nomem(e, strlen(dir), "a path"), -1);
    else if (file_exists(path)) {
        json_value v = json_root((d = json_open(path, e)));
        if (d && key) v = json_get(v, key);
        if (!d) found = -1;
        else if (!key || json_has(v)) found = parse(p, v, e) ? -1 : 1;
    }
    json_free(d);
    vm_free(path);
    return found;
}

static bool has_file(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    const bool there = path && file_exists(path);
    vm_free(path);
    return there;
}

vm_status preprocess_load(vm_preprocess *p, const char *dir, vm_error *e) {
    const bool open_clip_only = has_file(dir, "open_clip_model.safetensors") && !has_file(dir, "model.safetensors") &&
                                !has_file(dir, "model.safetensors.index.json");
    int found = open_clip_only ? try_file(p, dir, "open_clip_config.json", NULL, preprocess_parse_open_clip, e) : 0;
    if (!found) found = try_file(p, dir, "preprocessor_config.json", NULL, preprocess_parse, e);
    if (!found) found = try_file(p, dir, "processor_config.json", "image_processor", preprocess_parse, e);
    if (!found) found = try_file(p, dir, "open_clip_config.json", NULL, preprocess_parse_open_clip, e);
    if (found > 0) return VM_OK;
    if (found < 0) return e->status;
    return vm_fail(e, VM_EINPUT, "%s: no preprocessor_config.json, no image_processor in processor_config.json and no "
                                 "open_clip_config.json; fetch the model again", dir);
}

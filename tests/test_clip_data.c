/* test_clip_data.c - batches of training files: every way of pairing, what is drawn, what stands in for unreadable
 * pictures, and that neither threads nor the step at which one begins can be seen in a batch. */
#include <unistd.h>

#include "io/file.h"
#include "io/image.h"
#include "pipeline/clip_feed.h"
#include "tests/tar_parts.h"
#include "tests/test.h"

enum { SIDE = 8, GROUPS = 20 };
static char tmp[] = "/tmp/test_clip_dataXXXXXX";
static vm_error err;
static vm_preprocess pp;
static towers model; /* only its sizes are read */

/* "%s/g7.png" and so on: a picture whose red channel is its number, so that a batch can be read back. */
static void paint(const char *name, int number) {
    char path[600];
    vm_image im;
    snprintf(path, sizeof path, "%s/%s", tmp, name);
    if (image_new(&im, SIDE, SIDE, 3, &err)) return;
    for (int k = 0; k < SIDE * SIDE; k++)
        im.px[3 * k] = (uint8_t)number, im.px[3 * k + 1] = (uint8_t)k, im.px[3 * k + 2] = 0;
    if (image_write_png(path, &im, NULL, 0, &err)) MISMATCH("%s\n", err.msg);
    image_free(&im);
}

/* GROUPS originals "g" of numbers 0, 10, 20, ... each with 1 + g % 3 changes of numbers 10 g + 1, 2, 3; one more
 * without. */
static void write_data(void) {
    char name[64];
    char *text = calloc(1, 100000), *p = text;
    p += sprintf(p, "[");
    for (int g = 0; g <= GROUPS; g++) {
        int n = g < GROUPS ? 1 + g % 3 : 0;
        p += sprintf(p, "%s{\"image_path\":\"g%d.png\",\"caption\":\"c %d\",\"negatives\":[", g ? "," : "", 10 * g,
                     10 * g);
        for (int k = 0; k <= n; k++) {
            sprintf(name, "g%d.png", 10 * g + k);
            paint(name, 10 * g + k);
            if (k)
                p += sprintf(p, "%s{\"edited_image_path\":\"%s\",\"edited_caption\":\"c %d\",\"category\":\"%s\"}",
                             k > 1 ? "," : "", name, 10 * g + k, sample_category[k]);
        }
        p += sprintf(p, "]}");
    }
    p += sprintf(p, "]");
    snprintf(name, sizeof name, "%s/d.json", tmp);
    if (file_write(name, text, (size_t)(p - text), &err)) MISMATCH("%s\n", err.msg);
    free(text);
}

static clip_source *open_data(clip_files_options o, int64_t rows) {
    char path[600];
    const char *paths = path, *root = tmp;
    samples *s;
    clip_source *x = NULL;
    snprintf(path, sizeof path, "%s/d.json", tmp);
    o.places.roots = &root, o.places.n_roots = 1;
    vm_error_clear(&err);
    if (samples_open(&s, 1, &paths, &(samples_options){ 0 }, &err) || clip_source_files(&x, s, &o, rows, &err))
        return NULL;
    x->m = &model, x->pp = &pp, x->seed = o.seed;
    return x;
}

/* Numbers that stand in rows: by the caption and by the red channel, which must agree (-1: they do not). */
typedef struct {
    int of[2][64];
    float valid[64], px[64][SIDE * SIDE * 3];
    int64_t sample[32];
    int64_t n_bad;
    vm_status status;
} shown;
static void show(shown *x, const clip_source *s, int64_t step) {
    memset(x, 0, sizeof *x);
    for (int64_t i = 0; i < s->n_orig && !x->status; i++) {
        clip_slot slot = { 0 };
        for (int64_t k = 0; k <= s->K; k++)
            slot.valid[k] = 1, slot.pixels[k] = k && s->text_only ? NULL : x->px[i + k * s->n_orig];
        x->status = s->fill(s, step, i, &slot, &err);
        x->sample[i] = slot.sample, x->n_bad += slot.bad.n;
        for (int64_t k = 0; k <= s->K && !x->status; k++) {
            int64_t r = i + k * s->n_orig;
            x->valid[r] = slot.valid[k];
            sscanf(slot.text[k], "c %d", &x->of[0][r]);
            x->of[1][r] = slot.pixels[k] ? (int)lrintf(x->px[r][0] * 255) : x->of[0][r];
            EXPECT(x->of[0][r] == x->of[1][r]);
        }
        for (int k = 0; k <= CLIP_CHANGES; k++) vm_free(slot.text[k]);
        clip_bad_free(&slot.bad);
    }
}

TEST(grouped) {
    clip_source *s = open_data((clip_files_options){ .seed = 3 }, 8);
    static shown a, b;
    EXPECT(s && s->n_orig == 4 && s->n_twins == 4 && s->K == 1 && s->n_groups == GROUPS && clip_source_epoch(s) == 5 &&
           !s->fills);
    if (!s) return;
    int order[3][GROUPS], drawn[GROUPS][4] = { { 0 } };
    for (int epoch = 0; epoch < 3; epoch++) {
        int seen[GROUPS] = { 0 };
        for (int step = 0; step < 5; step++) {
            show(&a, s, 5 * epoch + step);
            for (int i = 0; i < 4; i++) {
                int g = a.of[0][i] / 10, edit = a.of[0][4 + i] % 10;
                EXPECT(a.of[0][i] % 10 == 0 && a.of[0][4 + i] / 10 == g); /* a group stands in one batch */
                EXPECT(edit >= 1 && edit <= 1 + g % 3);
                seen[g]++, drawn[g][edit]++, order[epoch][4 * step + i] = g;
            }
        }
        for (int g = 0; g < GROUPS; g++) EXPECT(seen[g] == 1); /* every one once an epoch */
    }
    EXPECT(memcmp(order[0], order[1], sizeof order[0]) && memcmp(order[1], order[2], sizeof order[0]));
    int several = 0;
    for (int g = 0; g < GROUPS; g++) several += (drawn[g][1] > 0) + (drawn[g][2] > 0) + (drawn[g][3] > 0) > 1;
    EXPECT(several > 4); /* drawn anew */
    show(&a, s, 7), show(&b, s, 7);
    EXPECT(!memcmp(&a, &b, sizeof a)); /* a function of the step */
    s->free(s);
    clip_source *t = open_data((clip_files_options){ .seed = 4 }, 8);
    show(&b, t, 7);
    EXPECT(memcmp(a.of, b.of, sizeof a.of));
    t->free(t);
}
TEST(several_changes) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .K = 3 }, 16);
    static shown a;
    EXPECT(s && s->n_orig == 4 && s->n_twins == 12 && s->fills);
    for (int step = 0; s && step < 10; step++) {
        show(&a, s, step);
        for (int i = 0; i < 4; i++) {
            int g = a.of[0][i] / 10, n = 1 + g % 3, mask = 0;
            for (int k = 1; k <= 3; k++) {
                EXPECT(a.of[0][i + 4 * k] / 10 == g && a.valid[i + 4 * k] == (k <= n));
                if (k <= n) mask |= 1 << a.of[0][i + 4 * k] % 10;
            }
            EXPECT(mask == (2 << n) - 2); /* all that there are, each once */
        }
    }
    if (s) s->free(s);
}
TEST(one_change_for_good) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .sole = true }, 8);
    static shown a;
    int edit[GROUPS] = { 0 };
    for (int step = 0; s && step < 20; step++) {
        show(&a, s, step);
        for (int i = 0; i < 4; i++) {
            int *e = &edit[a.of[0][i] / 10];
            EXPECT(!*e || *e == a.of[0][4 + i]);
            *e = a.of[0][4 + i];
        }
    }
    if (s) s->free(s);
}
TEST(adjacent_rows) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .pairing = CLIP_ADJACENT }, 6);
    static shown a, b;
    int rows = 0, last = -1, seen[300] = { 0 };
    for (int g = 0; g <= GROUPS; g++) rows += g < GROUPS ? 2 + g % 3 : 1;
    EXPECT(s && s->n_orig == 6 && s->n_twins == 0 && s->n_groups == rows);
    for (int step = 0; s && step < rows / 6; step++) {
        show(&a, s, step), show(&b, s, step + clip_source_epoch(s));
        EXPECT(!memcmp(a.of, b.of, sizeof a.of)); /* the same in every epoch */
        for (int i = 0; i < 6; i++) {
            int v = a.of[0][i];
            EXPECT(v % 10 == 0 || v == last + 1); /* behind its original */
            EXPECT(!seen[v]++);
            last = v;
        }
    }
    EXPECT(last >= 0);
    if (s) s->free(s);
    s = open_data((clip_files_options){ .seed = 3, .pairing = CLIP_ADJACENT, .sole = true }, 6);
    EXPECT(s && s->n_groups == 2 * GROUPS + 1); /* the original without changes is kept */
    if (s) s->free(s);
}
TEST(scattered_rows) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .pairing = CLIP_SCATTER }, 6);
    static shown a;
    int seen[300] = { 0 }, together = 0, first[2][6];
    for (int step = 0; s && step < clip_source_epoch(s); step++) {
        show(&a, s, step);
        if (!step) memcpy(first[0], a.of[0], sizeof first[0]);
        for (int i = 0; i < 6; i++) EXPECT(!seen[a.of[0][i]]++);
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++)
                together += a.of[0][i] % 10 == 0 && j != i && a.of[0][j] / 10 == a.of[0][i] / 10;
    }
    EXPECT(together < GROUPS); /* by chance only */
    show(&a, s, clip_source_epoch(s));
    EXPECT(memcmp(first[0], a.of[0], sizeof first[0]));
    if (s) s->free(s);
}
TEST(limits) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .limit = 7 }, 8);
    EXPECT(s && s->n_groups <= 7 && s->n_groups >= 6); /* one of them may be that without changes */
    if (s) s->free(s);
    s = open_data((clip_files_options){ .originals_only = true }, 21);
    EXPECT(s && s->n_groups == 21 && s->n_twins == 0 && s->n_orig == 21);
    if (s) s->free(s);
    EXPECT(!open_data((clip_files_options){ 0 }, 60));
    EXPECT_STR(err.msg, "20 samples do not fill a batch of 30 originals; use a smaller --batch");
    EXPECT(!open_data((clip_files_options){ .K = 3 }, 3));
    EXPECT_STR(err.msg, "20 samples do not fill a batch of 0 originals; use a larger --batch");
    EXPECT(!open_data((clip_files_options){ .pairing = CLIP_SCATTER }, 200));
    EXPECT_STR(err.msg, "60 samples do not fill a batch of 200 rows; use a smaller --batch");
    EXPECT(!open_data((clip_files_options){ .K = CLIP_CHANGES + 1 }, 64) && err.status == VM_EUSAGE);
}
TEST(crops) { /* another one each time, the same for the same row of a step */
    clip_source *s = open_data((clip_files_options){ .seed = 3, .augment = true }, 8);
    static shown a, b, c;
    show(&a, s, 2), show(&b, s, 2), show(&c, s, 3);
    EXPECT(!memcmp(a.px, b.px, sizeof a.px));
    int differ = 0;
    for (int i = 0; i < 8; i++) differ += memcmp(&a.px[i][1], &c.px[i][1], 8) != 0;
    EXPECT(differ > 2);
    s->free(s);
}

/* --- bad pictures ------------------------------------------------------------------------------------------------- */
static void spoil(const char *name, const char *with) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", tmp, name);
    if (with ? file_write(path, with, strlen(with), &err) != VM_OK : unlink(path) != 0) MISMATCH("%s\n", err.msg);
}
TEST(unreadable_pictures) {
    clip_source *s = open_data((clip_files_options){ .seed = 3 }, 8);
    static shown before[5], a, b;
    for (int step = 0; step < 5; step++) show(&before[step], s, step);
    spoil("g40.png", "no picture"), spoil("g71.png", NULL); /* an original, and a change of group 7 (which has two) */
    int bad = 0;
    for (int step = 0; step < 5; step++) {
        show(&a, s, step), show(&b, s, step);
        EXPECT(a.status == VM_OK && !memcmp(&a, &b, sizeof a)); /* again the same */
        for (int i = 0; i < 4; i++) {
            bool lost = before[step].of[0][i] == 40 || before[step].of[0][4 + i] == 71;
            if (!lost) EXPECT(a.of[0][i] == before[step].of[0][i] && a.of[0][4 + i] == before[step].of[0][4 + i]);
            else EXPECT(a.of[0][i] == before[(step + 1) % 5].of[0][i]); /* from the same place of the next batch */
            bad += lost;
            for (int j = 0; j < i; j++) EXPECT(a.of[0][j] != a.of[0][i]);
        }
    }
    EXPECT(bad >= 1);
    s->free(s);
    /* who is passed over is told, with the reason */
    s = open_data((clip_files_options){ .seed = 3 }, 40);
    clip_slot slot = { .valid = { 1, 1 } };
    static float px[2][SIDE * SIDE * 3];
    int told = 0;
    for (int i = 0; i < 20; i++) {
        slot.pixels[0] = px[0], slot.pixels[1] = px[1];
        vm_error_clear(&err);
        EXPECT(s->fill(s, 0, i, &slot, &err) == VM_OK ||
               err.status == VM_EINPUT); /* a batch of all: its own place is the next one */
        if (slot.bad.n && slot.bad.v[0].sample == 4) {
            EXPECT_HAS(slot.bad.v[0].what, "g40.png");
            EXPECT_STR(s->name(s, 4), "g40.png");
            EXPECT(slot.bad.n == 100);
            EXPECT_HAS(err.msg, "step 0: 100 unreadable samples one after the other; the last: ");
            told++;
        }
        clip_bad_free(&slot.bad);
        for (int k = 0; k < 2; k++) vm_free(slot.text[k]), slot.text[k] = NULL;
    }
    EXPECT(told == 1);
    s->free(s);
    paint("g40.png", 40), paint("g71.png", 71);
}

/* --- archives ----------------------------------------------------------------------------------------------------- */
TEST(archives_are_read_one_after_the_other) {
    static uint8_t file[1 << 17];
    char path[600], name[64], text[64];
    uint8_t *png = NULL;
    size_t n_png;
    for (int shard = 0; shard < 3; shard++) {
        size_t at = 0;
        for (int k = 0; k < 5; k++) {
            vm_image im;
            EXPECT(!image_new(&im, SIDE, SIDE, 3, &err));
            memset(im.px, 10 * shard + k, (size_t)SIDE * SIDE * 3);
            EXPECT(!image_encode_png(&png, &n_png, &im, NULL, 0, &err));
            image_free(&im);
            sprintf(name, "%d.png", k), at = tar_put(file, at, name, '0', png, n_png);
            sprintf(name, "%d.txt", k), sprintf(text, "c %d", 10 * shard + k),
                at = tar_put(file, at, name, '0', text, strlen(text));
            vm_free(png);
        }
        snprintf(path, sizeof path, "%s/s%d.tar", tmp, shard);
        EXPECT(!file_write(path, file, tar_finish(file, at), &err));
    }
    snprintf(path, sizeof path, "%s/s{0..2}.tar", tmp);
    const char *paths = path;
    samples *d;
    clip_source *s = NULL;
    vm_error_clear(&err);
    EXPECT(!samples_open(&d, 1, &paths, &(samples_options){ 0 }, &err) &&
           !clip_source_files(&s, d, &(clip_files_options){ .seed = 1 }, 5, &err));
    if (!s) return;
    s->m = &model, s->pp = &pp;
    EXPECT(s->n_groups == 15 && s->n_orig == 5 && s->n_twins == 0);
    int shards[4][3], inside = 0;
    static shown a;
    for (int epoch = 0; epoch < 4; epoch++) {
        int seen[30] = { 0 };
        for (int step = 0; step < 3; step++) {
            show(&a, s, 3 * epoch + step);
            shards[epoch][step] = a.of[0][0] / 10;
            for (int i = 0; i < 5; i++) {
                EXPECT(a.of[0][i] / 10 == shards[epoch][step] && !seen[a.of[0][i]]++);
                inside += i && a.of[0][i] != a.of[0][i - 1] + 1;
            }
        }
    }
    EXPECT(inside > 10); /* shuffled within */
    EXPECT(memcmp(shards[0], shards[1], sizeof shards[0]) || memcmp(shards[0], shards[2], sizeof shards[0]) ||
           memcmp(shards[0], shards[3], sizeof shards[0]));
    s->free(s);
}
TEST(captions_without_pictures) {
    static const char two[] = "{\"image_path\":\"g0.png\",\"caption\":\"c 0\",\"relation_aug_caption\":\"c "
                              "1\",\"adj_aug_caption\":\"###\",\"noun_aug_caption\":\"c 3\","
                              "\"verb_aug_caption\":\"c 4\",\"valid_caption\":[1,1,0,1,1]}\n";
    samples *d;
    clip_source *s = NULL;
    const char *root = tmp;
    vm_error_clear(&err);
    clip_files_options o = { .places.roots = &root, .places.n_roots = 1 };
    EXPECT(!samples_open_memory(&d, two, sizeof two - 1, "f", &(samples_options){ 0 }, &err) &&
           !clip_source_files(&s, d, &o, 1, &err));
    if (!s) return;
    s->m = &model, s->pp = &pp;
    EXPECT(s->text_only && s->K == 4 && s->n_orig == 1 && s->n_twins == 4 && s->fills);
    static shown a;
    show(&a, s, 0);
    EXPECT(a.of[0][0] == 0 && a.of[0][1] == 1 && a.of[0][3] == 3 && a.of[0][4] == 4);
    EXPECT(a.valid[1] == 1 && a.valid[2] == 0 && a.valid[3] == 1 && a.valid[4] == 1);
    s->free(s);
    o.pairing = CLIP_ADJACENT;
    EXPECT(!samples_open_memory(&d, two, sizeof two - 1, "f", &(samples_options){ 0 }, &err) &&
           clip_source_files(&s, d, &o, 1, &err) == VM_EUSAGE);
}

/* --- the feed ----------------------------------------------------------------------------------------------------- */
static int64_t text_rows(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *mask0, int32_t *at,
                         int32_t *mask) {
    for (int64_t b = 0; b < B; b++) at[b] = 0;
    return T;
}
/* Pixels and flags of steps from..from+n-1, one behind the other. */
static float *fed(const clip_source *s, int64_t from, int n, int workers, int64_t *bad) {
    size_t each = (size_t)(s->n_orig + s->n_twins) * SIDE * SIDE * 3;
    float *all = calloc(each * (size_t)n, sizeof *all);
    clip_feed *f;
    vm_error_clear(&err);
    *bad = 0;
    if (clip_feed_open(&f, s, from, from + n, workers, &err)) MISMATCH("%s\n", err.msg);
    for (int k = 0; k < n; k++) {
        const clip_batch *b;
        clip_bad_list l = { 0 };
        double waited;
        if (clip_feed_next(f, &b, &l, &waited, &err)) MISMATCH("%s\n", err.msg);
        memcpy(all + each * (size_t)k, b->pixels, each * sizeof *all);
        EXPECT(waited >= 0);
        *bad = *bad * 31 + l.n;
        for (int64_t j = 0; j < l.n; j++) *bad = *bad * 31 + l.v[j].sample;
        clip_bad_free(&l);
    }
    clip_feed_free(f);
    return all;
}
TEST(threads_cannot_be_seen) {
    const towers_family family = { .text_rows = text_rows };
    model.family = &family;
    for (int way = 0; way < 2; way++) {
        clip_source *s = open_data((clip_files_options){ .seed = 3, .augment = true, .K = way ? 2 : 1 }, way ? 12 : 8);
        if (!s) continue;
        if (way) spoil("g40.png", "no picture");
        size_t bytes = (size_t)(s->n_orig + s->n_twins) * SIDE * SIDE * 3 * sizeof(float);
        char path[600];
        snprintf(path, sizeof path, "%s/tok", tmp);
        const char *words[] = { "c" };
        EXPECT(!dir_make(path, &err) && !tok_write_word_vocab(path, words, 1, NULL, &err) &&
               !tok_open(&s->t, path, &err));
        int64_t want_bad, bad;
        float *want = fed(s, 0, 11, 0, &want_bad);
        for (int workers = 1; workers <= 5; workers += 2) {
            float *got = fed(s, 0, 11, workers, &bad);
            EXPECT(!memcmp(got, want, 11 * bytes) && bad == want_bad);
            free(got);
            got = fed(s, 6, 5, workers, &bad); /* from the middle */
            EXPECT(!memcmp(got, want + 6 * bytes / sizeof *want, 5 * bytes));
            free(got);
        }
        free(want);
        /* left in the middle of the work */
        clip_feed *f;
        EXPECT(!clip_feed_open(&f, s, 0, 100, 3, &err));
        clip_feed_free(f);
        if (way) paint("g40.png", 40);
        tok_free(s->t);
        s->free(s);
    }
}
TEST(errors_come_through) {
    clip_source *s = open_data((clip_files_options){ .seed = 3, .most_in_row = 2 }, 8);
    char name[64];
    for (int g = 0; g < GROUPS; g++) sprintf(name, "g%d.png", 10 * g), spoil(name, "bad");
    char text[2][1024];
    for (int workers = 0; workers <= 3; workers += 3) {
        clip_feed *f;
        const clip_batch *b;
        clip_bad_list l = { 0 };
        double waited;
        vm_error_clear(&err);
        EXPECT(!clip_feed_open(&f, s, 0, 9, workers, &err));
        EXPECT(clip_feed_next(f, &b, &l, &waited, &err) == VM_EINPUT);
        EXPECT_HAS(err.msg, "step 0: 2 unreadable samples one after the other; the last: ");
        snprintf(text[workers > 0], sizeof text[0], "%s", err.msg);
        EXPECT(l.n == 8);
        clip_bad_free(&l);
        clip_feed_free(f);
    }
    EXPECT_STR(text[1], text[0]); /* that of the lowest slot */
    s->free(s);
    for (int g = 0; g < GROUPS; g++) sprintf(name, "g%d.png", 10 * g), paint(name, 10 * g);
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    if (!mkdtemp(tmp)) return 1;
    model = (towers){ .image_size = SIDE, .context = 8, .vocab = 1000 };
    pp = (vm_preprocess){ .fit = FIT_NONE };
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 256; k++) pp.value[c][k] = (float)k / 255;
    write_data();
    RUN(grouped);
    RUN(several_changes);
    RUN(one_change_for_good);
    RUN(adjacent_rows);
    RUN(scattered_rows);
    RUN(limits);
    RUN(crops);
    RUN(unreadable_pictures);
    RUN(archives_are_read_one_after_the_other);
    RUN(captions_without_pictures);
    RUN(threads_cannot_be_seen);
    RUN(errors_come_through);
    vm_error_clear(&err);
    dir_remove(tmp, &err);
    return test_end();
}

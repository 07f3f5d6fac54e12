/* Pages: escaping, plots, reports. Whatever the captions say, the markup stays well-formed and theirs stays text. */
#include "tests/test.h"

#include <unistd.h>

#include "io/file.h"
#include "io/image.h"
#include "io/keymap.h"
#include "io/markup.h"
#include "pipeline/report_eval.h"
#include "tests/markup_check.h"

static char dir[256];

static char *in_dir(const char *name) {
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static vm_out *out_open(vm_error *e) {
    vm_out *o = NULL;
    vm_out_open(&o, in_dir("out"), e);
    return o;
}

static char *out_text(vm_out *o, vm_error *e) { return vm_out_commit(o, e) ? NULL : slurp(in_dir("out")); }

/* --- escaping ----------------------------------------------------------------------------------------------------- */
TEST(markup_escapes) {
    static const char *const t[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "<script>alert(\"1\" & '2')</script>",
          "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;" },
        { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "a\xff"
          "b\xc3",
          "a\xef\xbf\xbd"
          "b\xef\xbf\xbd" },
        { "a\x01\x1f"
          "b\t\n",
          "a\xef\xbf\xbd\xef\xbf\xbd"
          "b\t\n" },
        { "\xef\xbf\xbf", "\xef\xbf\xbd" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    };
    for (int k = 0; k < VM_LEN(t); k++) {
        vm_error e = { 0 };
        vm_out *o = out_open(&e);
        EXPECT(!markup_text(o, t[k][0], &e));
        char *got = out_text(o, &e);
        EXPECT_STR(got, t[k][1]);
        free(got);
    }
}

/* --- plots -------------------------------------------------------------------------------------------------------- */
static void expect_ticks(double lo, double hi, bool log_axis, int max, const char *want) {
    double t[16];
    char got[200] = "";
    int n = plot_ticks(lo, hi, log_axis, max, t);
    for (int k = 0; k < n; k++) snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.10g", k ? " " : "", t[k]);
    EXPECT_STR(got, want);
    EXPECT(n <= max);
}

TEST(ticks_are_round) {
    expect_ticks(0, 100, false, 7, "0 20 40 60 80 100");
    expect_ticks(-0.3, 5.2, false, 7, "0 1 2 3 4 5");
    expect_ticks(0.0012, 0.0031, false, 7, "0.0015 0.002 0.0025 0.003");
    expect_ticks(-7, -3, false, 5, "-7 -6 -5 -4 -3");
    expect_ticks(1e6, 9e6, false, 6, "2000000 4000000 6000000 8000000");
    expect_ticks(1, 1000, true, 7, "1 10 100 1000");
    expect_ticks(0.02, 0.3, true, 8, "0.02 0.05 0.1 0.2");
    expect_ticks(1e-10, 1e10, true, 8, "1e-10 1e-07 0.0001 0.1 100 100000 100000000");
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *s = text; (s = strstr(s, what)); s += strlen(what)) n++;
    return n;
}

TEST(curves_are_well_formed) {
    static double x[5000], y[5000], nan_y[4] = { 1, NAN, 3, -INFINITY }, few_x[4] = { 0, 1, 2, 3 };
    for (int i = 0; i < 5000; i++) x[i] = i, y[i] = 5.0 / (1 + i / 100.0);
    y[2500] = 40; /* survives thinning */
    plot_series s[] = {
        { "long <b>", x, y, 5000 }, { "gaps & \"quotes\"", few_x, nan_y, 4 }, { "empty", x, y, 0 }, { "one", x, y, 1 }
    };
    for (int logs = 0; logs < 4; logs++) {
        vm_error e = { 0 };
        vm_out *o = out_open(&e);
        plot_curves c = { .title = "Loss <i>",
                          .x_label = "step",
                          .y_label = "it's",
                          .series = s,
                          .n = 4,
                          .log_x = logs & 1,
                          .log_y = logs & 2,
                          .level_name = "level",
                          .level = 2 };
        EXPECT(!plot_write_curves(o, &c, &e));
        char *svg = out_text(o, &e);
        EXPECT(!markup_fault(svg));
        EXPECT(!strstr(svg, "nan") && !strstr(svg, "inf") && !strstr(svg, "script"));
        EXPECT_HAS(svg, "long &lt;b&gt;");
        EXPECT_HAS(svg, "prefers-color-scheme:dark");
        EXPECT(count(svg, "<path class=\"li") == 4 && strlen(svg) < 60000);
        free(svg);
    }
}

TEST(curves_without_points) {
    vm_error e = { 0 };
    double x = 0, y = NAN;
    plot_series s = { "none", &x, &y, 1 };
    for (int n = 0; n < 2; n++) {
        vm_out *o = out_open(&e);
        EXPECT(!plot_write_curves(o, &(plot_curves){ .series = &s, .n = n }, &e));
        char *svg = out_text(o, &e);
        EXPECT(!markup_fault(svg) && !strstr(svg, "nan"));
        free(svg);
    }
}

TEST(thinning_keeps_extremes) {
    static double x[20000], y[20000];
    vm_error e = { 0 };
    for (int i = 0; i < 20000; i++) x[i] = i, y[i] = 1;
    y[12345] = 9;
    plot_series s = { "s", x, y, 20000 };
    vm_out *o = out_open(&e);
    EXPECT(!plot_write_curves(o, &(plot_curves){ .series = &s, .n = 1, .y_min = 0, .y_max = 9 }, &e));
    char *svg = out_text(o, &e), *peak = strstr(svg, " 18.0L"); /* the top of the frame */
    EXPECT(peak != NULL);
    free(svg);
}

TEST(bars_are_well_formed) {
    vm_error e = { 0 };
    const char *const group[] = { "object", "a<b" }, *const series[] = { "m & n", "two" };
    const double v[] = { 10, NAN, -5, 30 }, low[] = { 5, NAN, -8, 20 }, high[] = { 15, NAN, NAN, 40 };
    vm_out *o = out_open(&e);
    plot_bars b = { .title = "t",
                    .group = group,
                    .n_groups = 2,
                    .series = series,
                    .n_series = 2,
                    .value = v,
                    .low = low,
                    .high = high,
                    .level_name = "chance",
                    .level = 16.7 };
    EXPECT(!plot_write_bars(o, &b, &e));
    char *svg = out_text(o, &e);
    EXPECT(!markup_fault(svg) && !strstr(svg, "nan"));
    EXPECT(count(svg, "class=\"er\"") == 2); /* the interval with a NaN is left out */
    EXPECT(count(svg, "<g>") == 3);
    EXPECT_HAS(svg, "m &amp; n, a&lt;b: -5<");
    free(svg);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */
TEST(page_holds_text_as_text) {
    vm_error e = { 0 };
    const char *bad = "<script>alert(1)</script>\"'&\xff";
    char *where = in_dir("page");
    page *p = page_begin(where, bad, bad, &e);
    page_section(p, "one", bad);
    page_subsection(p, bad);
    page_text(p, "%s", bad);
    page_note(p, "%s", bad);
    page_facts(p, 1, &(page_fact){ bad, bad });
    page_table(p, 2, (const char *const[]){ bad, bad }, 1, (const char *const[]){ bad, bad });
    page_curves(p, &(plot_curves){ .title = bad });
    page_picture(p, "no such picture", NULL, bad);
    EXPECT(!page_end(p, &e));
    char *html = slurp(in_dir("page/index.html"));
    EXPECT(!markup_fault(html));
    EXPECT(!strstr(html, "<script"));
    EXPECT(count(html, "&lt;script&gt;") >= 12);
    EXPECT_HAS(html, "picture cannot be read");
    free(html);
}

/* The longer side of the only picture of a page. */
static int side_of_picture(const char *folder) {
    vm_error e = { 0 };
    vm_image im = { 0 };
    char **names, path[600];
    int64_t n = 0;
    EXPECT(!dir_list(&names, &n, folder, &e) && n == 1);
    snprintf(path, sizeof path, "%s/%s", folder, names[0]);
    EXPECT(!image_read(&im, path, NULL, &e));
    int side = VM_MAX(im.w, im.h);
    image_free(&im), vm_free(names);
    return side;
}

TEST(page_sheets_stay_large) {
    vm_error e = { 0 };
    vm_image large;
    char a[300];
    snprintf(a, sizeof a, "%s/sheet.png", dir);
    EXPECT(!image_new(&large, 700, 300, 3, &e));
    memset(large.px, 200, 700 * 300 * 3);
    EXPECT(!image_write_png(a, &large, NULL, 0, &e));
    image_free(&large);
    page *p = page_begin(in_dir("sheets"), "t", "s", &e);
    page_sheet(p, a, "sheet");
    EXPECT(!page_end(p, &e));
    EXPECT(side_of_picture(in_dir("sheets/images")) == 700);
    p = page_begin(in_dir("small"), "t", "s", &e);
    page_picture(p, a, NULL, "small");
    EXPECT(!page_end(p, &e));
    EXPECT(side_of_picture(in_dir("small/images")) == 512);
}

TEST(page_copies_pictures_once) {
    vm_error e = { 0 };
    vm_image small, large;
    char a[300], b[300], **names;
    int64_t n;
    EXPECT(!image_new(&small, 20, 10, 3, &e) && !image_new(&large, 700, 300, 3, &e));
    memset(small.px, 90, 20 * 10 * 3), memset(large.px, 200, 700 * 300 * 3);
    snprintf(a, sizeof a, "%s/a.png", dir), snprintf(b, sizeof b, "%s/b.png", dir);
    EXPECT(!image_write_png(a, &small, NULL, 0, &e) && !image_write_png(b, &large, NULL, 0, &e));
    page *p = page_begin(in_dir("pictures"), "t", "s", &e);
    page_picture(p, a, NULL, "first"), page_picture(p, a, NULL, "again"), page_picture(p, b, NULL, "large");
    EXPECT(!page_end(p, &e));
    EXPECT(!dir_list(&names, &n, in_dir("pictures/images"), &e));
    EXPECT(n == 2);
    for (int64_t i = 0; i < n; i++) {
        char path[500];
        vm_image im;
        snprintf(path, sizeof path, "%s/pictures/images/%s", dir, names[i]);
        EXPECT(!image_read(&im, path, NULL, &e) && (im.w == 20 || (im.w == 512 && im.h == 219)));
        image_free(&im);
    }
    char *html = slurp(in_dir("pictures/index.html"));
    EXPECT(count(html, "<img") == 3 && count(html, "class=\"px\"") == 2);
    free(html);
    vm_free(names), image_free(&small), image_free(&large);
}

TEST(page_reports_its_first_error) {
    vm_error e = { 0 };
    EXPECT(page_begin("/proc/nowhere", "t", "s", &e) == NULL);
    EXPECT(e.status == VM_EIO || e.status == VM_EINPUT);
    page_text(NULL, "nothing happens");
    page_section(NULL, "x", "y");
    page_picture(NULL, "x", NULL, "y");
    EXPECT(page_end(NULL, &e) == e.status);
}

/* --- reports ------------------------------------------------------------------------------------------------------ */
static eval_set *make_set(vm_error *e) {
    eval_set *s = eval_set_new("vismin", e);
    const char *const splits[] = { "relation", "counting" };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 3; i++) {
            char id[16], left[64], other[64];
            snprintf(id, sizeof id, "%d", i);
            snprintf(left, sizeof left, "two %d dogs <b> on a mat", i),
                snprintf(other, sizeof other, "one %d dog <b> on a mat", i);
            const eval_record record = { .id = id, .n_captions = 2, .n_images = 2,
                                         .captions = (const char *const[]){ left, other },
                                         .images = (const char *const[]){ "x.png", "y.png" } };
            eval_set_add(s, eval_set_split(s, splits[k]), EVAL_PAIR, &record, "test", e);
        }
    return s;
}

static eval_result *make_result(const eval_set *s, const char *name, int right, vm_error *e) {
    eval_result *r = eval_result_new(s, eval_find_rule(EVAL_PAIR, NULL, e), name, e);
    for (int64_t i = 0; i < s->n; i++) {
        bool good = i < right;
        r->score[i].scored = true;
        r->s[s->item[i].at] = r->s[s->item[i].at + 3] = good ? 1 : 0;
    }
    eval_result_tally(r, e);
    return r;
}

TEST(report_of_two_models) {
    vm_error e = { 0 };
    eval_set *s = make_set(&e);
    eval_result *a = make_result(s, "plain <x>", 1, &e), *b = make_result(s, "tuned", 5, &e);
    report_eval v = { .model = (const eval_result *const[]){ a, b }, .n = 2, .control = 0, .shown = 2 };
    page *p = page_begin(in_dir("report"), "t", "s", &e);
    EXPECT(!report_scores(p, &v, &e) && !report_differences(p, &v, &e) && !report_gallery(p, &v, &e));
    report_meaning(p, EVAL_PAIR);
    EXPECT(!page_end(p, &e));
    char *html = slurp(in_dir("report/index.html"));
    const char *fault = markup_fault(html);
    EXPECT_STR(fault ? fault : "well-formed", "well-formed");
    EXPECT_HAS(html, "plain &lt;x&gt;");
    EXPECT_HAS(html, "mean without relation");
    EXPECT_HAS(html, "<span class=\"up\">+66.7</span>");
    EXPECT_HAS(html, "<mark>two</mark> 1 <mark>dogs</mark> &lt;b&gt; on a mat");
    EXPECT(count(html, "<article") == 4);
    free(html);
    eval_result_free(a), eval_result_free(b), eval_set_free(s);
}

TEST(report_of_one_model_has_no_differences) {
    vm_error e = { 0 };
    eval_set *s = make_set(&e);
    eval_result *a = make_result(s, "only", 6, &e);
    report_eval v = { .model = (const eval_result *const[]){ a }, .n = 1, .control = -1, .shown = 1 };
    page *p = page_begin(in_dir("one"), "t", "s", &e);
    EXPECT(!report_scores(p, &v, &e) && !report_differences(p, &v, &e) && !report_gallery(p, &v, &e) &&
           !page_end(p, &e));
    char *html = slurp(in_dir("one/index.html"));
    EXPECT(!markup_fault(html) && !strstr(html, "bootstrap"));
    free(html);
    eval_result_free(a), eval_set_free(s);
}

/* Models are compared on the pairs that both have scored. */
TEST(difference_on_common_pairs) {
    vm_error e = { 0 };
    eval_set *s = make_set(&e);
    eval_result *a = make_result(s, "a", 0, &e), *b = make_result(s, "b", 6, &e);
    estimate each[2], mean;
    b->score[0].scored = b->score[1].scored = false, b->s[s->item[2].at] = NAN; /* of relation one is left, and wrong */
    EXPECT(!eval_result_tally(b, &e));
    EXPECT(b->tally[0].n == 1 && b->tally[0].n_scored == 1 && b->tally[0].n_skipped == 2 && b->tally[0].n_invalid == 1);
    EXPECT(!eval_difference(b, a, PAIR_GROUP, NULL, 0, each, &mean, &e));
    EXPECT(each[0].value == 0 && each[1].value == 1 && mean.value == 0.5);
    EXPECT(!eval_difference(b, a, PAIR_GROUP, "relation", 0, NULL, &mean, &e));
    EXPECT(mean.value == 1);
    eval_result_free(a), eval_result_free(b), eval_set_free(s);
}

TEST(curve_of_a_log) {
    vm_error e = { 0 };
    double *x, *y;
    int64_t n;
    const char *log = "{\"step\":1,\"loss\":5.5}\n{\"step\":2,\"lr\":1}\n{\"step\":3,\"loss\":null}\n{\"step\":4,"
                      "\"loss\":4}\n{\"step\":5,\"lo";
    EXPECT(!file_write(in_dir("log.jsonl"), log, strlen(log), &e));
    EXPECT(!report_read_curve(in_dir("log.jsonl"), "step", "loss", &x, &y, &n, &e));
    EXPECT(n == 2 && x[0] == 1 && y[0] == 5.5 && x[1] == 4 && y[1] == 4);
    vm_free(x), vm_free(y);
    EXPECT(report_read_curve(in_dir("none"), "step", "loss", &x, &y, &n, &e) == VM_EINPUT);
}

/* --- numbered strings --------------------------------------------------------------------------------------------- */
TEST(keymap_numbers_strings) {
    keymap m = { 0 };
    char key[32];
    EXPECT(keymap_find(&m, "x", 1) == -1);
    const char *first = NULL;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key %d", i);
        EXPECT(keymap_put_text(&m, key) == i);
        if (!i) first = keymap_at(&m, 0, NULL);
    }
    EXPECT(first == keymap_at(&m, 0, NULL)); /* stays where it is */
    for (int i = 19999; i >= 0; i -= 7) {
        snprintf(key, sizeof key, "key %d", i);
        EXPECT(keymap_put_text(&m, key) == i && keymap_find(&m, key, strlen(key)) == i);
    }
    EXPECT(keymap_put(&m, "a\0b", 3) == 20000 && keymap_put(&m, "a\0c", 3) == 20001 && keymap_put(&m, "", 0) == 20002 &&
           m.n == 20003);
    vm_mem_fail_after(0);
    EXPECT(keymap_find(&m, "key 5", 5) == 5);
    vm_mem_fail_after(-1);
    keymap_free(&m);
}

int main(int argc, char **argv) {
    snprintf(dir, sizeof dir, "%s/page.XXXXXX", argc > 1 ? argv[1] : "build");
    if (!mkdtemp(dir)) return 1;
    RUN(markup_escapes);
    RUN(ticks_are_round);
    RUN(curves_are_well_formed);
    RUN(curves_without_points);
    RUN(thinning_keeps_extremes);
    RUN(bars_are_well_formed);
    RUN(page_holds_text_as_text);
    RUN(page_sheets_stay_large);
    RUN(page_copies_pictures_once);
    RUN(page_reports_its_first_error);
    RUN(report_of_two_models);
    RUN(report_of_one_model_has_no_differences);
    RUN(difference_on_common_pairs);
    RUN(curve_of_a_log);
    RUN(keymap_numbers_strings);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}

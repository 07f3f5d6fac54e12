/* test_layout_enum.c - enumerated layouts: ten thousand of them satisfy every rule, as do their twins; balance, order,
 * own tables. */
#include "pipeline/layout_enum.h"

#include "tests/test.h"

static vm_error err;

static char *table(const char *name) {
    char path[200], *text = NULL;
    snprintf(path, sizeof path, "pipeline/tables/%s", name);
    EXPECT(!file_read(&text, NULL, path, 0, &err));
    return text;
}

static layout_world *world(void) {
    char *objects = table("objects.csv"), *scenes = table("scenes.csv");
    layout_world *w = NULL;
    EXPECT(!layout_world_new(&w, objects, "objects.csv", scenes, "scenes.csv", &err));
    if (err.status) fprintf(stderr, "%s\n", err.msg);
    vm_free(objects), vm_free(scenes);
    return w;
}

static bool same(const layout *a, const layout *b) {
    if (strcmp(a->caption, b->caption) || strcmp(a->background, b->background) || strcmp(a->category, b->category) ||
        a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++) {
        const layout_object *p = &a->object[i], *q = &b->object[i];
        if (strcmp(p->name, q->name) || p->x != q->x || p->y != q->y || p->w != q->w || p->h != q->h) return false;
    }
    return true;
}

static void removals(const layout *l, const layout_rules *r) {
    layout_rules one = *r;
    int which[LAYOUT_OBJECTS], n = layout_isolated(l, 50, which);
    char why[LAYOUT_WHY];
    one.min_count = 1;
    EXPECT(n >= 1);
    for (int k = 1; k <= VM_MIN(3, l->n - 1) && k <= n; k++) {
        layout less;
        bool ok = layout_remove(&less, l, which, k);
        EXPECT(ok);
        if (!ok) continue;
        EXPECT(less.n == l->n - k && layout_number(&less) == less.n && strcmp(less.caption, l->caption));
        if (layout_check(&less, &one, why)) MISMATCH("%s -> %s: %s\n", l->caption, less.caption, why);
    }
}

TEST(ten_thousand) {
    layout_world *w = world();
    layout_rules r = layout_rules_default;
    layout_seen *seen;
    char why[LAYOUT_WHY];
    int64_t n[2], label[REL_KINDS] = { 0 }, number[11] = { 0 };
    EXPECT(!layout_seen_new(&seen, &err));
    for (int k = 0; k < 2; k++) EXPECT(!layout_world_count(w, (layout_kind)k, r.per_pair, &n[k], &err));
    EXPECT(n[0] >= 7000 && n[1] >= 3000);
    for (int i = 0; i < 10000; i++) {
        layout l, twin, back, again;
        layout_kind kind = i < 7000 ? LAYOUTS_RELATION : LAYOUTS_COUNTING;
        if (layout_world_make(w, kind, &r, 7, i < 7000 ? i : i - 7000, &l, &err)) {
            MISMATCH("%s\n", err.msg);
            vm_error_clear(&err);
            continue;
        }
        layout_code c = layout_check(&l, &r, why);
        if (!c) c = layout_seen_add(seen, &l, &r, why, &err);
        if (c || why[0]) MISMATCH("L%02d %s: %s\n", c, l.caption, why);
        if (kind == LAYOUTS_COUNTING) {
            number[layout_number(&l)]++;
            removals(&l, &r);
            continue;
        }
        label[layout_relation(&l)]++;
        bool swapped = layout_swap(&twin, &l) && layout_swap(&back, &twin);
        EXPECT(swapped && same(&back, &l) && !same(&twin, &l) && strcmp(twin.caption, l.caption));
        if (swapped && layout_check(&twin, &r, why)) MISMATCH("twin %s: %s\n", twin.caption, why);
        EXPECT(!layout_world_make(w, kind, &r, 7, i, &again, &err) && same(&again, &l));
    }
    EXPECT(label[REL_LEFT] > 1200 && label[REL_RIGHT] > 1200 && label[REL_ABOVE] > 1200 && label[REL_BELOW] > 1200);
    EXPECT(label[REL_TOP] > 100 && label[REL_BOTTOM] > 100 && label[REL_UNDER] > 100);
    for (int k = 2; k <= 9; k++) EXPECT(llabs(number[k] - (k < 6 ? 450 : 300)) < 90);
    layout_seen_free(seen);
    layout_world_free(w);
    EXPECT(vm_mem_used() == 0);
}

TEST(seeds_and_bounds) {
    layout_world *w = world();
    layout_rules r = layout_rules_default;
    layout a, b;
    int64_t n, fewer;
    EXPECT(!layout_world_make(w, LAYOUTS_RELATION, &r, 1, 0, &a, &err) &&
           !layout_world_make(w, LAYOUTS_RELATION, &r, 2, 0, &b, &err));
    EXPECT(!same(&a, &b));
    EXPECT(!layout_world_count(w, LAYOUTS_RELATION, 20, &n, &err) &&
           !layout_world_count(w, LAYOUTS_RELATION, 5, &fewer, &err) && n == 4 * fewer);
    EXPECT(layout_world_make(w, LAYOUTS_RELATION, &r, 1, n, &a, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "there are");
    vm_error_clear(&err);
    layout_rule_set(&r, "min_area=500", &err);
    EXPECT(layout_world_make(w, LAYOUTS_RELATION, &r, 1, 0, &a, &err) == VM_EINPUT);
    EXPECT_HAS(err.msg, "within the rules (");
    vm_error_clear(&err);
    layout_world_free(w);
}

TEST(own_tables) {
    const char *objects = "name,size_class,aspect,contexts,stackable,article\nowl,1,80,barn,no,\nhay "
                          "bale,1,120,barn,no,\nheirloom,1,,barn loft,no,\n";
    const char *scenes = "place,background,contexts\nin a barn,an old barn,barn\nin a loft,a dark loft,loft\n";
    layout_world *w = NULL;
    int64_t n;
    layout l;
    EXPECT(!layout_world_new(&w, objects, "o", scenes, "s", &err));
    EXPECT(!layout_world_count(w, LAYOUTS_RELATION, 1, &n, &err) && n == 3);
    EXPECT(!layout_world_count(w, LAYOUTS_COUNTING, 1, &n, &err) && n == 4 * 20);
    EXPECT(!layout_world_add(w, "name,size_class,contexts\nowl,5,barn\ncrow,1,barn\n", "more", &err));
    EXPECT(!layout_world_count(w, LAYOUTS_RELATION, 1, &n, &err) && n == 3); /* owl is too large now */
    for (int i = 0; i < 3; i++) {
        EXPECT(!layout_world_make(w, LAYOUTS_RELATION, &layout_rules_default, 3, i, &l, &err));
        if (strstr(l.caption, "heirloom")) EXPECT(strstr(l.caption, "n heirloom")); /* an */
        EXPECT_STR(l.background, "an old barn");
    }
    layout_world_free(w);
    static const char *const bad[][2] = {
        { "name,size_class,contexts\nowl,6,x\n", "o:2: size_class: found \"6\", expected 1 to 5" },
        { "name,size_class,contexts,aspect\nowl,1,x,9\n", "o:2: aspect: found \"9\"" },
        { "name,size_class,contexts\nan owl,1,x\n", "o:2: name: found \"an owl\"" },
        { "name,size_class,contexts\nowl,1,\n", "o:2: no contexts" },
        { "name,contexts\nowl,1\n", "size_class" },
    };
    for (int i = 0; i < VM_LEN(bad); i++) {
        EXPECT(layout_world_new(&w, bad[i][0], "o", scenes, "s", &err) == VM_EINPUT && !w);
        EXPECT_HAS(err.msg, bad[i][1]);
        vm_error_clear(&err);
    }
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    RUN(ten_thousand);
    RUN(seeds_and_bounds);
    RUN(own_tables);
    return test_end();
}

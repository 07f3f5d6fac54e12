/* test_plans.c - plans that are kept for shapes: which one makes room, what belongs to a place, failures. */
#include "kernels/ops.h"
#include "kernels/plans.h"
#include "tests/test.h"

enum { PLACES = 3 };
typedef struct { int64_t rows, by; } shape;
typedef struct {
    int built, forgotten[PLACES], stands[PLACES];
    bool refuse;
} notes;

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    notes *l = ctx;
    const shape *s = key;
    l->built++, l->stands[place]++;
    if (l->refuse) return vm_fail(e, VM_EDEVICE, "no room for %d rows", (int)s->rows);
    vm_output(g, "y", vm_scale(g, vm_input(g, "x", VM_F32, 1, &s->rows), (float)s->by, 0));
    if (s->by == 0) vm_bad(g, "nothing to multiply by");
    return VM_OK;
}
static void forget(void *ctx, int place) {
    notes *l = ctx;
    l->forgotten[place]++, l->stands[place]--;
}

/* The place of a plan that makes by of 1. */
static int use(vm_plans *p, int64_t rows, int64_t by) {
    const shape key = { rows, by };
    float x[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, y[8] = { 0 };
    int place = -1;
    vm_error e = { 0 };
    vm_graph *g = vm_plans_get(p, &key, sizeof key, &place, &e);
    if (!g) MISMATCH("%s\n", e.msg);
    else if (vm_set(g, "x", x) || vm_run(g) || vm_get(g, "y", y)) MISMATCH("%s\n", g->err.msg);
    EXPECT(y[0] == (float)by && y[rows - 1] == (float)by && (rows == 8 || y[rows] == 0));
    EXPECT(vm_plans_last(p) == g);
    return place;
}

static void begin(vm_plans *p, notes *l, vm_arena *arena) {
    *l = (notes){ 0 };
    *p = (vm_plans){ .be = vm_backend_cpu(), .dtype = VM_F32, .most = PLACES, .arena = arena, .build = build, .forget = forget, .ctx = l };
}

TEST(bytes_of_a_plan_that_is_not_kept) {
    vm_plans p;
    notes l;
    vm_error e = { 0 };
    begin(&p, &l, NULL);
    EXPECT(use(&p, 4, 2) == 0);
    const size_t bytes = vm_plans_bytes(&p, &(shape){ 5, 2 }, sizeof(shape), &e);
    EXPECT(l.built == 2 && l.forgotten[1] == 1 && l.stands[1] == 0); /* at a free place */
    EXPECT(use(&p, 4, 2) == 0 && l.built == 2 && use(&p, 5, 2) == 1 && l.built == 3);
    EXPECT(bytes > 0 && bytes == vm_plans_last(&p)->arena_bytes);
    EXPECT(vm_plans_bytes(&p, &(shape){ 5, 2 }, sizeof(shape), &e) == bytes && !e.status);
    EXPECT(vm_plans_bytes(&p, &(shape){ 6, 0 }, sizeof(shape), &e) == 0 && strstr(e.msg, "nothing to multiply by"));
    e = (vm_error){ 0 }, l.refuse = true;
    EXPECT(vm_plans_bytes(&p, &(shape){ 7, 2 }, sizeof(shape), &e) == 0 && e.status == VM_EDEVICE);
    vm_plans_free(&p);
}

TEST(the_one_not_used_for_longest_makes_room) {
    vm_plans p;
    notes l;
    vm_arena arena = { 0 };
    begin(&p, &l, &arena);
    EXPECT(vm_plans_last(&p) == NULL);
    EXPECT(use(&p, 4, 2) == 0 && use(&p, 4, 3) == 1 && use(&p, 5, 2) == 2 && l.built == 3);
    EXPECT(use(&p, 4, 2) == 0 && use(&p, 5, 2) == 2 && l.built == 3); /* kept */
    EXPECT(use(&p, 8, 2) == 1 && l.built == 4 && l.forgotten[1] == 1); /* in place of (4,3) */
    EXPECT(use(&p, 4, 3) == 0 && l.built == 5 && l.forgotten[0] == 1); /* of (4,2) */
    EXPECT(use(&p, 5, 2) == 2 && use(&p, 8, 2) == 1 && l.built == 5);
    vm_plans_forget(&p, 2);
    vm_plans_forget(&p, 2); /* once is enough */
    EXPECT(l.forgotten[2] == 1);
    EXPECT(use(&p, 6, 2) == 2 && l.built == 6 && use(&p, 4, 3) == 0 && use(&p, 8, 2) == 1 && l.built == 6); /* a free place first */
    for (int k = 0; k < PLACES; k++) EXPECT(p.kept[k].g->arena == arena.p && l.stands[k] == 1);
    vm_plans_free(&p);
    for (int k = 0; k < PLACES; k++) EXPECT(!p.kept[k].g && l.stands[k] == 0);
    EXPECT(vm_plans_last(&p) == NULL);
    vm_arena_free(&arena);
}

TEST(failures_leave_a_free_place) {
    vm_plans p;
    notes l;
    vm_error e = { 0 };
    begin(&p, &l, NULL);
    const size_t before = vm_mem_used();
    EXPECT(use(&p, 4, 2) == 0);
    l.refuse = true;
    EXPECT(!vm_plans_get(&p, &(shape){ 7, 2 }, sizeof(shape), NULL, &e) && e.status == VM_EDEVICE);
    EXPECT_STR(e.msg, "no room for 7 rows");
    l.refuse = false, vm_error_clear(&e);
    EXPECT(!vm_plans_get(&p, &(shape){ 7, 0 }, sizeof(shape), NULL, &e) && e.status == VM_EMODEL);
    EXPECT_STR(e.msg, "nothing to multiply by");
    EXPECT(!p.kept[1].g && l.stands[1] == 0 && l.forgotten[1] == 2);
    vm_error_clear(&e);
    vm_mem_fail_after(0);
    EXPECT(!vm_plans_get(&p, &(shape){ 7, 2 }, sizeof(shape), NULL, &e) && e.status == VM_EDEVICE);
    vm_mem_fail_after(-1);
    EXPECT(use(&p, 7, 2) == 1 && use(&p, 4, 2) == 0 && l.built == 4);
    EXPECT(p.kept[0].g->arena != p.kept[1].g->arena); /* without an arena each has its own */
    vm_plans_free(&p);
    EXPECT(vm_mem_used() == before);
}

int main(void) {
    RUN(bytes_of_a_plan_that_is_not_kept);
    RUN(the_one_not_used_for_longest_makes_room);
    RUN(failures_leave_a_free_place);
    return test_end();
}

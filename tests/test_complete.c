/* test_complete.c - answers of language models: texts that go round in circles. */
#include "pipeline/complete_parts.h"

#include "tests/test.h"

/* Tokens until a loop is seen; 0 = never. */
static int loops_at(int n, int period, int jump) {
    loop_watch w = { 0 };
    int at = 0;
    for (int i = 0; i < n && !at; i++)
        if (loop_step(&w, i < 10 ? 1000 + i : i % period + jump * (i / period))) at = i + 1;
    loop_free(&w);
    return at;
}

TEST(loops) {
    EXPECT(loops_at(200, 1, 0) == 10 + 1 + 3 + 11);    /* one token: three turns and eleven more behind the first */
    EXPECT(loops_at(200, 20, 0) == 10 + 20 + 60 + 11); /* twenty: four turns and eleven more */
    EXPECT(loops_at(200, 20, 1) == 0);                 /* lists whose entries differ are none */
    EXPECT(loops_at(60, 20, 0) == 0);
}

int main(void) {
    RUN(loops);
    return test_end();
}

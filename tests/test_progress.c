/* test_progress.c - what people get to read: messages through the sink, bars and lines. */
#include "io/log.h"
#include "io/progress.h"
#include "tests/test.h"

static char heard[4096];

static void collect(void *ctx, log_level level, const char *text) {
    size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%d:%s\n", (int)level, text);
}

static const char *formatted(progress_state s, double elapsed, int width) {
    static char text[256];
    progress_format(text, sizeof text, &s, elapsed, width);
    return text;
}

TEST(messages_go_through_the_sink) {
    heard[0] = 0;
    vm_info("nobody listens");
    log_set(collect, NULL, LOG_INFO);
    vm_debug("too low");
    vm_info("%d of %s", 3, "four");
    vm_warn("careful");
    log_set(NULL, NULL, LOG_INFO);
    vm_warn("nobody listens");
    EXPECT_STR(heard, "1:3 of four\n2:careful\n");
}

TEST(lines) {
    EXPECT_STR(formatted((progress_state){ "ask", "records", 200, 50, 0, 0 }, 25, 0),
               "ask: 50 of 200 records, 2.00/s, 1:15 left");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 200, 50, 4, 0 }, 25, 0),
               "ask: 50 of 200 records, 4 bad, 2.00/s, 1:15 left");
    EXPECT_STR(formatted((progress_state){ "ask", "records", -1, 50, 0, 0 }, 1, 0), "ask: 50 records, 50.0/s");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 100, 0, 0, 0 }, 0, 0), "ask: 0 of 100 records");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 100, 100, 0, 0 }, 1, 0), "ask: 100 of 100 records, 100/s");
}

TEST(what_was_done_before_is_no_part_of_the_rate) {
    EXPECT_STR(formatted((progress_state){ "ask", "records", 7400, 200, 0, 190 }, 10, 0),
               "ask: 200 of 7400 records, 1.00/s, 2:00:00 left");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 100, 60, 0, 60 }, 10, 0), "ask: 60 of 100 records");
}

TEST(bars) {
    EXPECT_STR(formatted((progress_state){ "ask", "records", 200, 50, 0, 0 }, 25, 100),
               "ask: [#####               ] 50 of 200 records, 2.00/s, 1:15 left");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 2, 2, 0, 0 }, 1, 100),
               "ask: [####################] 2 of 2 records, 2.00/s");
    EXPECT_STR(formatted((progress_state){ "ask", "records", 2, 3, 0, 0 }, 1, 100),
               "ask: [####################] 3 of 2 records, 3.00/s");
    EXPECT(strlen(formatted((progress_state){ "ask", "records", 200, 50, 0, 0 }, 25, 30)) == 29);
}

TEST(a_short_run_says_one_line) {
    heard[0] = 0;
    log_set(collect, NULL, LOG_INFO);
    progress_set_mode(PROGRESS_LINES);
    progress *p = progress_start("ask", 5, "records");
    progress_skip(p, 2);
    progress_add(p, 2);
    progress_add_bad(p, 1);
    progress_end(p);
    EXPECT(strncmp(heard, "1:ask: 3 records and 2 done before, 1 bad, in 0:00 (", 52) == 0);
    heard[0] = 0;
    progress_set_mode(PROGRESS_BAR);
    progress_end(progress_start("ask", 5, "records"));
    EXPECT(strncmp(heard, "3:ask: [                    ] 0 of 5 records\n3:\n1:ask: 0 records, in ", 69) == 0);
    heard[0] = 0;
    progress_set_mode(PROGRESS_NONE);
    progress_end(progress_start("ask", 5, "records"));
    EXPECT_STR(heard, "");
    progress_add(NULL, 1);
    progress_end(NULL);
    log_set(NULL, NULL, LOG_INFO);
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    RUN(messages_go_through_the_sink);
    RUN(lines);
    RUN(what_was_done_before_is_no_part_of_the_rate);
    RUN(bars);
    RUN(a_short_run_says_one_line);
    return test_end();
}

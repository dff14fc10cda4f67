/* SPDX-License-Identifier: MIT
 * The display of progress: the line of a terminal, the lines of a log. */
#include "orchestrator/cli/cli_parts.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static organ_terminal half_done(size_t width, bool utf8)
{
    organ_terminal terminal = {.page = {.width = width, .utf8 = utf8},
                               .what = "pruning",
                               .bytes = 2000000000,
                               .done = 1000000000,
                               .started = 100};
    snprintf(terminal.finished, sizeof terminal.finished, "model.layers.12.mlp.down_proj.weight");
    snprintf(terminal.remark, sizeof terminal.remark, "22.41 %% killed");
    return terminal;
}

static void expect_line(const organ_terminal *terminal, double now, const char *requested)
{
    char *const line = organ_terminal_line(terminal, now);
    ck_assert_str_eq(line, requested);
    free(line);
}

START_TEST(the_living_line)
{
    organ_terminal terminal = half_done(120, true);
    expect_line(&terminal, 110,
                "pruning ━━━━━━━━━━━━━━━───────────────  50.0 %  100 MB/s  10 s left  "
                "model.layers.12.mlp.down_proj.weight 22.41 % killed");
    terminal = half_done(80, false);
    expect_line(&terminal, 110, "pruning #######.......  50.0 %  100 MB/s  10 s left  model.layers..._proj.weight");
    terminal.done = 0;
    *terminal.finished = '\0';
    expect_line(&terminal, 110, "pruning ..............   0.0 %");
    terminal.done = terminal.bytes;
    expect_line(&terminal, 101, "pruning ############## 100.0 %  2.0 GB/s");
    terminal.done = 1;
    terminal.bytes = 0;
    expect_line(&terminal, 100.1, "pruning ############## 100.0 %");
}
END_TEST

/* A resumed run reports finished work at once; the time left is then computed from the speed of new work. */
START_TEST(the_time_left_follows_the_speed)
{
    organ_terminal terminal = half_done(80, false);
    terminal.speed = 1e7;
    *terminal.finished = '\0';
    expect_line(&terminal, 110, "pruning #######.......  50.0 %  10.0 MB/s  1 min 40 s left");
    terminal.speed = 2e9;
    expect_line(&terminal, 110, "pruning #######.......  50.0 %  2.0 GB/s  1 s left");
}
END_TEST

START_TEST(the_living_line_fits)
{
    for (size_t width = 20; width < 200; width++) {
        const organ_terminal terminal = half_done(width, true);
        char *const line = organ_terminal_line(&terminal, 110);
        ck_assert_msg(organ_text_width(line) <= width, "%zu columns: '%s'", width, line);
        free(line);
    }
}
END_TEST

/* The clock of the displays below, in seconds. */
static double clock_now;
static double read_clock(void) { return clock_now; }

/* --progress lines. `out` is no terminal. */
START_TEST(lines_are_one_per_tensor)
{
    for (int quiet = 0; quiet < 2; quiet++) {
        organ_text text;
        organ_error error = {0};
        organ_terminal terminal = {0};
        char *log = NULL;
        ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
        terminal = (organ_terminal){.out = text.out, .now = read_clock, .quiet = quiet, .each = true};
        const organ_progress progress = organ_terminal_progress(&terminal);
        organ_progress_note(&progress, "resumed: %d tensors", 3);
        organ_progress_begin(&progress, "pruning", 100, 2);
        organ_progress_advance(&progress, 0, "a\033", "22.41 % killed");
        organ_progress_advance(&progress, 0, NULL, NULL);
        organ_progress_advance(&progress, 0, "b", NULL);
        organ_progress_end(&progress);
        ck_assert_int_eq(organ_text_finish(&text, &log, &error), ORGAN_OK);
        ck_assert_str_eq(log, quiet ? "" : "note: resumed: 3 tensors\n[1/2] a\\x1b 22.41 % killed\n[2/2] b\n");
        free(log);
    }
}
END_TEST

/* The log of a stage of 1,000 tensors of `bytes`, each of which takes `seconds`; it ends after `count` of them. */
static char *log_of(uint64_t bytes, double seconds, int count, bool quiet)
{
    organ_text text;
    organ_error error = {0};
    char *log = NULL;
    ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
    organ_terminal terminal = {.out = text.out, .now = read_clock, .quiet = quiet};
    const organ_progress progress = organ_terminal_progress(&terminal);
    clock_now = 1000;
    organ_progress_begin(&progress, "pruning", 1000 * bytes, 1000);
    for (int k = 0; k < count; k++) {
        clock_now += seconds;
        organ_progress_advance(&progress, bytes, "tensor", "22.41 % killed");
    }
    organ_progress_warn(&progress, "%d of 4 threads", 3);
    organ_progress_end(&progress);
    ck_assert_int_eq(organ_text_finish(&text, &log, &error), ORGAN_OK);
    return log;
}

START_TEST(a_log_has_a_line_every_ten_seconds)
{
    static const struct {
        uint64_t bytes; /* of each tensor; 0: the stage counts tensors only */
        double seconds; /* for each tensor */
        int count;
        const char *log;
    } rows[] = {{1000000, 1.0 / 128, 1000, "warning: 3 of 4 threads\n"},
                {0, 6, 3,
                 "pruning   0.2 %  2 of 1000 tensors\n"
                 "warning: 3 of 4 threads\n"
                 "pruning ended at 0.3 % after 18.0 s  3 of 1000 tensors\n"},
                {1000000, 0.03125, 1000,
                 "pruning  32.0 %  32.0 MB/s  21 s left  320 of 1000 tensors\n"
                 "pruning  64.0 %  32.0 MB/s  11 s left  640 of 1000 tensors\n"
                 "pruning  96.0 %  32.0 MB/s  1 s left  960 of 1000 tensors\n"
                 "warning: 3 of 4 threads\n"
                 "pruning done after 31.3 s  32.0 MB/s  1000 of 1000 tensors\n"},
                {1000000, 16, 2,
                 "pruning   0.1 %  62.5 kB/s  4 h 26 min left  1 of 1000 tensors\n"
                 "pruning   0.2 %  62.5 kB/s  4 h 26 min left  2 of 1000 tensors\n"
                 "warning: 3 of 4 threads\n"
                 "pruning ended at 0.2 % after 32.0 s  62.5 kB/s  2 of 1000 tensors\n"}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char *const log = log_of(rows[k].bytes, rows[k].seconds, rows[k].count, false);
        ck_assert_str_eq(log, rows[k].log);
        free(log);
        char *const quiet = log_of(rows[k].bytes, rows[k].seconds, rows[k].count, true);
        ck_assert_str_eq(quiet, "");
        free(quiet);
    }
}
END_TEST

START_TEST(a_terminal_has_one_line)
{
    organ_text text;
    organ_error error = {0};
    char *shown = NULL;
    ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
    organ_terminal terminal = {.out = text.out, .now = read_clock, .live = true};
    const organ_progress progress = organ_terminal_progress(&terminal);
    organ_progress_begin(&progress, "pruning", 100, 1000);
    for (int k = 0; k < 1000; k++) {
        clock_now += 0.001;
        organ_progress_advance(&progress, 0, "tensor", NULL);
    }
    organ_progress_note(&progress, "a note");
    organ_progress_end(&progress);
    ck_assert_int_eq(organ_text_finish(&text, &shown, &error), ORGAN_OK);
    size_t lines = 0;
    for (const char *p = shown; *p; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(lines, 1); /* the note */
    ck_assert_ptr_nonnull(strstr(shown, "\r\033[Knote: a note\n"));
    ck_assert_str_eq(shown + strlen(shown) - 4, "\r\033[K");
    ck_assert_uint_lt(strlen(shown), 2000);
    free(shown);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"terminal",
         {the_living_line, the_time_left_follows_the_speed, the_living_line_fits, lines_are_one_per_tensor,
          a_log_has_a_line_every_ten_seconds, a_terminal_has_one_line}}};
    return run_suites((Suite *const[]){suite_of("terminal", cases, 1, NULL, NULL), NULL});
}

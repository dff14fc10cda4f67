/* SPDX-License-Identifier: MIT
 * Whatever happens to a conversion, nothing half-done stands under the name of its output. */
#include "tests/convert_rig.h"
#include "tests/suite_table.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Both verbs, the second on what the first made. */
static convert_way way_of(int verb)
{
    return verb ? (convert_way){.model = scratch_path("packed"), .most = 60000} : (convert_way){.scheme = "fp8-block128", .most = 60000};
}
static const char *const reports[] = {"quantize.json", "dequantize.json"};

static void make_references(void)
{
    must_convert("packed", way_of(0));
    must_convert("reference0", way_of(0));
    must_convert("reference1", way_of(1));
    fault_clear();
}

static const char *reference(int verb) { return verb ? "reference1" : "reference0"; }

static organ_status convert_once(const void *way, const char *output, organ_error *error)
{
    return convert(output, *(const convert_way *)way, error);
}

START_TEST(full_disk_at_any_moment)
{
    make_references();
    for (int verb = 0; verb < 2; verb++) {
        const convert_way way = way_of(verb);
        full_disk_leaves_nothing(convert_once, &way);
        must_convert("out", way);
        convert_same(reference(verb), "out", reports[verb]);
        ck_assert_int_eq(rename(scratch_path("out"), scratch_path("done%d", verb)), 0);
    }
}
END_TEST

START_TEST(donor_changed_under_the_run)
{
    static void (*const changes[])(void) = {touch_donor, cut_donor};
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    organ_error error;
    for (size_t k = 0; k < 2; k++)
        for (long n = 5; n < 20; n += 7) {
            convert_teardown();
            convert_setup();
            fault_at(FAULT_PREAD, n, 0, false, changes[k]);
            ck_assert_int_eq(convert("out", way_of(0), &error), ORGAN_BAD_INPUT);
            ck_assert_msg(strstr(error.message, names[k]), "%s", error.message);
            ck_assert(!scratch_left("out"));
            fault_clear();
        }
}
END_TEST

START_TEST(unreadable_donor)
{
    organ_error error;
    make_references();
    for (int verb = 0; verb < 2; verb++)
        for (long n = 1; n < 30; n += 6) {
            fault_at(FAULT_PREAD, n, EIO, true, NULL);
            ck_assert_int_eq(convert("out", way_of(verb), &error), ORGAN_IO);
            ck_assert_msg(strstr(error.message, "Input/output error"), "%s", error.message);
            ck_assert(!scratch_left("out"));
            fault_clear();
        }
}
END_TEST

static organ_stop stop;
static void ask_to_stop(void) { organ_stop_ask(&stop); }

START_TEST(interrupted_run_leaves_nothing)
{
    organ_error error;
    make_references();
    for (int verb = 0; verb < 2; verb++) {
        for (long n = 8; n < 30; n += 9) {
            convert_way way = way_of(verb);
            way.stop = &stop;
            stop = (organ_stop){0};
            fault_at(FAULT_PWRITE, n, 0, false, ask_to_stop);
            ck_assert_int_eq(convert("out", way, &error), ORGAN_INTERRUPTED);
            ck_assert(!scratch_left("out"));
            fault_clear();
        }
        must_convert("out", way_of(verb));
        convert_same(reference(verb), "out", reports[verb]);
        ck_assert_int_eq(rename(scratch_path("out"), scratch_path("done%d", verb)), 0);
    }
}
END_TEST

START_TEST(killed_run_is_begun_anew)
{
    make_references();
    for (int verb = 0; verb < 2; verb++) {
        const pid_t child = fork();
        int status;
        if (child == 0) {
            organ_error error;
            fault_at(FAULT_PWRITE, 20, -1, false, NULL);
            _exit(convert("out", way_of(verb), &error));
        }
        waitpid(child, &status, 0);
        ck_assert(WIFSIGNALED(status) && !exists(scratch_path("out")) && exists(scratch_path(".out.organ-partial")));
        must_convert("out", way_of(verb));
        convert_same(reference(verb), "out", reports[verb]);
        ck_assert(!exists(scratch_path(".out.organ-partial")));
        ck_assert_int_eq(rename(scratch_path("out"), scratch_path("done%d", verb)), 0);
    }
}
END_TEST

Suite *convert_faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {full_disk_at_any_moment, donor_changed_under_the_run, unreadable_donor, interrupted_run_leaves_nothing,
          killed_run_is_begun_anew}},
    };
    return suite_of("convert faults", cases, sizeof cases / sizeof *cases, convert_setup, convert_teardown);
}

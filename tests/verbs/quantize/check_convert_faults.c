/* SPDX-License-Identifier: MIT
 * A failed conversion leaves no incomplete output under its final name. */
#include "tests/verbs/quantize/convert_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns the run of a verb: quantize, dequantize of its output, or the scheme whose scales need a separate pass. */
static convert_way way_of(int verb)
{
    static const char *const schemes[] = {"fp8-block128", NULL, "fp8-tensor", "int4-group32"};
    static char packed[4096]; /* a copy, since scratch_path reuses its buffers */
    snprintf(packed, sizeof packed, "%s", scratch_path("packed"));
    return (convert_way){.scheme = schemes[verb], .model = verb == 1 ? packed : NULL, .max = 60000};
}

static organ_status convert_once(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                                 organ_error *error)
{
    convert_way here = *(const convert_way *)way;
    here.resume = resume;
    here.threads = threads;
    here.stop = stop;
    return convert(output, here, error);
}

/* Returns the rig of a verb, which keeps `way`. */
static resumed_verb verb_of(int verb, convert_way *way)
{
    must_convert("packed", way_of(0));
    *way = way_of(verb);
    return (resumed_verb){.run = convert_once, .way = way, .report = verb == 1 ? "dequantize.json" : "quantize.json"};
}

START_TEST(killed_run_is_resumed_to_the_same_bytes)
{
    convert_way way;
    const resumed_verb verb = verb_of(_i, &way);
    killed_anywhere_goes_on(&verb);
}
END_TEST

START_TEST(full_disk_at_any_moment)
{
    convert_way way;
    const resumed_verb verb = verb_of(_i, &way);
    full_disk_goes_on(&verb);
}
END_TEST

START_TEST(interrupted_run_goes_on)
{
    convert_way way;
    const resumed_verb verb = verb_of(_i, &way);
    stopped_run_goes_on(&verb);
}
END_TEST

START_TEST(damaged_partial_output_is_made_again)
{
    convert_way way;
    const resumed_verb verb = verb_of(_i, &way);
    damaged_output_is_mended(&verb);
}
END_TEST

static void extend(const char *path)
{
    FILE *const file = fopen(path, "a");
    ck_assert(file && fputc('\n', file) == '\n' && fclose(file) == 0);
}

START_TEST(resume_refuses_another_run)
{
    convert_way way, other;
    const resumed_verb verb = verb_of(_i, &way), changed = {.run = convert_once, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    other = way;
    other.max = 70000;
    is_refused(&changed, "out", "its parameters was ");
    other = way_of(_i == 1 ? 0 : 1);
    is_refused(&changed, "out", "its definition was ");
    other = way;
    *(_i == 1 ? &other.dtype : &other.scheme) = _i == 1 ? "f16" : "fp8-channel";
    is_refused(&changed, "out", "its parameters was ");
    if (_i == 0) { /* a run that an earlier version of the definition began */
        change_journal("out", "\"quantize/2\"", "\"quantize/1\"");
        is_refused(&verb, "out", "its definition was \"quantize/1\" and is now \"quantize/2\"");
        change_journal("out", "\"quantize/1\"", "\"quantize/2\"");
    }
    const char *const model = way.model ? way.model : scratch_path("donor");
    char path[5000];
    snprintf(path, sizeof path, "%s/config.json", model);
    extend(path);
    is_refused(&verb, "out", "its model '");
    change_journal("out", "\"organ\":\"", "\"organ\":\"0.");
    is_refused(&verb, "out", "its organ was ");
    organ_error error;
    way.force = true;
    ck_assert_msg(convert_once(&way, "out", false, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!exists(scratch_path(".out.organ-partial")));
}
END_TEST

/* Files left by a verb without a journal cannot be resumed and are not part of this output. */
START_TEST(leftovers_of_another_verb_go)
{
    convert_way way = way_of(0);
    must_convert("reference", way);
    ck_assert_int_eq(mkdir(scratch_path(".out.organ-partial"), 0777), 0);
    spill(scratch_path(".out.organ-partial/.organ-growing"), "", 0);
    spill(scratch_path(".out.organ-partial/stray.safetensors"), "x", 1);
    way.resume = true;
    must_convert("out", way);
    same_trees("reference", "out", "quantize.json");
}
END_TEST

/* A single-file output can be resumed too, and its journal is removed at the end. */
START_TEST(single_file_is_resumed)
{
    organ_error error;
    convert_way way = {0};
    must_convert("reference.safetensors", way);
    fault_at(FAULT_FSYNC, 2, ENOSPC, true, NULL); /* the first fsync writes the mark */
    ck_assert_int_eq(convert("out.safetensors", way, &error), ORGAN_IO);
    fault_clear();
    ck_assert_msg(strstr(error.message, "`resume` continues"), "%s", error.message);
    way.resume = true;
    must_convert("out.safetensors", way);
    ck_assert(same_files(scratch_path("reference.safetensors"), scratch_path("out.safetensors")));
    ck_assert(!exists(scratch_path(".out.safetensors.organ-partial")) && !exists(scratch_path("organ")));
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
    must_convert("packed", way_of(0));
    for (int verb = 0; verb < 2; verb++)
        for (long n = 1; n < 30; n += 6) {
            char output[64];
            snprintf(output, sizeof output, "out%d-%ld", verb, n);
            fault_at(FAULT_PREAD, n, EIO, true, NULL);
            ck_assert_int_eq(convert(output, way_of(verb), &error), ORGAN_IO);
            ck_assert_msg(strstr(error.message, "Input/output error"), "%s", error.message);
            const bool left = strstr(error.message, "`resume` continues") != NULL;
            ck_assert(!exists(scratch_path("%s", output)) && scratch_left(output) == left);
            fault_clear();
        }
}
END_TEST

Suite *convert_faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {donor_changed_under_the_run, unreadable_donor, leftovers_of_another_verb_go, single_file_is_resumed}},
    };
    Suite *const suite =
        suite_of("convert faults", cases, sizeof cases / sizeof *cases, convert_setup, convert_teardown);
    TCase *const resumed = tcase_create("resume");
    tcase_set_timeout(resumed, 60);
    tcase_add_checked_fixture(resumed, convert_setup, convert_teardown);
    tcase_add_loop_test(resumed, killed_run_is_resumed_to_the_same_bytes, 0, 3);
    tcase_add_loop_test(resumed, full_disk_at_any_moment, 0, 2);
    tcase_add_loop_test(resumed, interrupted_run_goes_on, 0, 2);
    tcase_add_loop_test(resumed, damaged_partial_output_is_made_again, 1, 4);
    tcase_add_loop_test(resumed, resume_refuses_another_run, 0, 2);
    suite_add_tcase(suite, resumed);
    return suite;
}

/* SPDX-License-Identifier: MIT
 * Taking apart, putting together and grafting while the disk fails, is full, or a model changes: nothing is left, and the next try is as if
 * nothing had been. */
#include "orchestrator/surgery/organs/assemble.h"
#include "orchestrator/surgery/organs/extract.h"
#include "orchestrator/surgery/organs/graft.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef organ_status run(const char *output, organ_error *error);

static organ_status run_extract(const char *output, organ_error *error)
{
    const organ_extract_options options = {.model = scratch_path("donor"), .output = scratch_path("%s", output)};
    json_t *report = NULL;
    *error = (organ_error){0};
    organ_extract(&options, NULL, NULL, &report, error);
    ck_assert_int_eq(report != NULL, error->status == ORGAN_OK);
    json_decref(report);
    return error->status;
}

static organ_status run_assemble(const char *output, organ_error *error)
{
    const organ_assemble_options options = {.directory = scratch_path("apart"), .output = scratch_path("%s.safetensors", output)};
    json_t *report = NULL;
    *error = (organ_error){0};
    organ_assemble(&options, NULL, NULL, &report, error);
    ck_assert_int_eq(report != NULL, error->status == ORGAN_OK);
    json_decref(report);
    return error->status;
}

static organ_status run_graft(const char *output, organ_error *error)
{
    const organ_graft_options options = {
        .source = scratch_path("apart"), .target = scratch_path("donor"), .output = scratch_path("%s", output), .types = "organ"};
    json_t *report = NULL;
    const char *why;
    *error = (organ_error){0};
    organ_graft(&options, organ_kernels_choose(organ_cpu_detect(), NULL, &why), NULL, NULL, &report, error);
    ck_assert_int_eq(report != NULL, error->status == ORGAN_OK);
    json_decref(report);
    return error->status;
}

static run *const runs[] = {run_extract, run_assemble, run_graft};

static bool left(const char *name)
{
    return exists(scratch_path("%s", name)) || exists(scratch_path(".%s.organ-partial", name)) ||
           exists(scratch_path("%s.safetensors", name)) || exists(scratch_path(".%s.safetensors.organ-partial", name));
}

static void setup(void)
{
    organ_error error;
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 1, 64);
    ck_assert_msg(run_extract("apart", &error) == ORGAN_OK, "%s", error.message);
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* Each call of each function fails once. Some failures have another way around them: then the run is whole. */
static void each_call_fails(run *go, fault_call call, int errnum)
{
    organ_error error;
    char name[32];
    for (long n = 1; n < 400; n++) {
        fault_clear();
        fault_at(call, n, errnum, false, NULL);
        snprintf(name, sizeof name, "out%ld", n);
        const organ_status status = go(name, &error);
        const bool reached = fault_count(call) >= n;
        fault_clear();
        ck_assert_msg(status == ORGAN_OK || status == ORGAN_IO, "call %ld: %s", n, error.message);
        /* The last thing synchronised is the directory in which the whole output has just got its name. */
        if (call != FAULT_FSYNC || status == ORGAN_OK)
            ck_assert_int_eq(left(name), status == ORGAN_OK);
        ck_assert(!exists(scratch_path(".%s.organ-partial", name)) && !exists(scratch_path(".%s.safetensors.organ-partial", name)));
        if (!reached)
            return;
    }
}

START_TEST(reads_fail) { each_call_fails(runs[_i], FAULT_PREAD, EIO); }
END_TEST
START_TEST(writes_fail) { each_call_fails(runs[_i], FAULT_PWRITE, ENOSPC); }
END_TEST
START_TEST(syncs_fail) { each_call_fails(runs[_i], FAULT_FSYNC, EIO); }
END_TEST
START_TEST(renames_fail) { each_call_fails(runs[_i], FAULT_RENAME, EACCES); }
END_TEST

static int turn; /* which of the runs, for what has no argument */

/* A killed run leaves its hidden directory; the next one clears it away. */
START_TEST(killed)
{
    organ_error error;
    int status;
    turn = _i;
    const pid_t child = fork();
    if (child == 0) {
        fault_at(FAULT_PWRITE, 3, -1, false, NULL);
        _exit(runs[turn]("out", &error));
    }
    waitpid(child, &status, 0);
    ck_assert(WIFSIGNALED(status));
    ck_assert(!exists(scratch_path("out")) && !exists(scratch_path("out.safetensors")) && left("out"));
    ck_assert_msg(runs[_i]("out", &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!exists(scratch_path(".out.organ-partial")) && !exists(scratch_path(".out.safetensors.organ-partial")));
}
END_TEST

static void lengthen_donor(void)
{
    FILE *file =
        fopen(scratch_path(turn ? "apart/organs/model_layers_0_mlp_up_proj.bin" : "donor/model-00002-of-00002.safetensors"), "r+b");
    ck_assert(file && fseek(file, 0, SEEK_END) == 0 && fputc(1, file) == 1 && fclose(file) == 0);
}

START_TEST(inputs_that_change)
{
    organ_error error;
    turn = _i;
    fault_at(FAULT_PWRITE, 4, 0, false, lengthen_donor);
    ck_assert_msg(runs[_i]("out", &error) == ORGAN_BAD_INPUT, "%d: %s", (int)error.status, error.message);
    ck_assert(!left("out"));
}
END_TEST

int main(void)
{
    const struct {
        const char *name;
        const TTest *test;
    } cases[] = {{"reads", reads_fail},     {"writes", writes_fail}, {"syncs", syncs_fail},
                 {"renames", renames_fail}, {"killed", killed},      {"changes", inputs_that_change}};
    Suite *const suite = suite_create("organ_faults");
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        TCase *const one = tcase_create(cases[k].name);
        tcase_add_checked_fixture(one, setup, teardown);
        tcase_set_timeout(one, 60);
        tcase_add_loop_test(one, cases[k].test, 0, (int)(sizeof runs / sizeof *runs));
        suite_add_tcase(suite, one);
    }
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}

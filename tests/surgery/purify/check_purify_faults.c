/* SPDX-License-Identifier: MIT
 * Whatever happens to a purification, nothing half-done stands under the name of its output. */
#include "tests/surgery/purify/purify_rig.h"
#include "tests/kit/suite_table.h"

#include "formats/model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static organ_status purify_once(const void *way, const char *output, organ_error *error)
{
    return purify(output, *(const purify_way *)way, error);
}

START_TEST(full_disk_at_any_moment)
{
    must_purify("reference", (purify_way){0});
    full_disk_leaves_nothing(purify_once, &(purify_way){0});
    must_purify("out", (purify_way){0});
    purify_same("reference", "out");
}
END_TEST

START_TEST(donor_changed_under_the_run)
{
    static void (*const changes[])(void) = {touch_donor, cut_donor};
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    organ_error error;
    for (size_t k = 0; k < 2; k++)
        for (long n = 12; n < 30; n += 8) {
            scratch_remove();
            purify_setup();
            fault_at(FAULT_PREAD, n, 0, false, changes[k]);
            ck_assert_int_eq(purify("out", (purify_way){0}, &error), ORGAN_BAD_INPUT);
            ck_assert_msg(strstr(error.message, names[k]), "%s", error.message);
            ck_assert(!scratch_left("out"));
        }
}
END_TEST

START_TEST(unreadable_donor)
{
    organ_error error;
    for (long n = 1; n < 40; n += 6) {
        fault_at(FAULT_PREAD, n, EIO, true, NULL);
        ck_assert_int_eq(purify("out", (purify_way){0}, &error), ORGAN_IO);
        ck_assert_msg(strstr(error.message, "Input/output error"), "%s", error.message);
        ck_assert(!scratch_left("out"));
        fault_clear();
    }
}
END_TEST

/* Writes an F32 value into the middle of a tensor of the donor. */
static void poison(const char *name, uint32_t bits)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &model, &error), ORGAN_OK);
    const organ_tensor *tensor = organ_model_find(model, name);
    const int fd = open(model->files[tensor->file].path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, &bits, 4, (off_t)(tensor->offset + tensor->bytes / 8 * 4)), 4);
    close(fd);
    organ_model_close(model);
}

START_TEST(values_that_are_not_finite)
{
    static const uint32_t bad[] = {0x7fc00000, 0xff800000, 0x7f800001};
    static const char *const methods[] = {"haar", "fft"};
    organ_error error;
    for (size_t k = 0; k < 3; k++)
        for (size_t m = 0; m < 2; m++) {
            poison("model.layers.1.self_attn.v_proj.weight", bad[k]);
            ck_assert_int_eq(purify("out", (purify_way){.options = {.method = methods[m]}}, &error), ORGAN_BAD_INPUT);
            ck_assert_msg(strstr(error.message, "'model.layers.1.self_attn.v_proj.weight' has values that are NaN or infinite"), "%s",
                          error.message);
            ck_assert(!scratch_left("out"));
        }
    must_purify("out", (purify_way){.options = {.layers = "0"}}); /* what is not selected may hold anything */
    poison("model.layers.1.self_attn.v_proj.weight", 0x7f7fffff);
    for (size_t m = 0; m < 2; m++) /* sums of neighbours are beyond FP32, or not */
        if (purify("large", (purify_way){.options = {.method = methods[m], .force = true}}, &error) != ORGAN_OK)
            ck_assert_msg(strstr(error.message, "so large"), "%s", error.message);
}
END_TEST

static organ_stop stop;
static void ask_to_stop(void) { organ_stop_ask(&stop); }

START_TEST(interrupted_run_leaves_nothing)
{
    organ_error error;
    must_purify("reference", (purify_way){0});
    for (long n = 2; n < 30; n += 9) {
        stop = (organ_stop){0};
        fault_at(FAULT_PWRITE, n, 0, false, ask_to_stop);
        ck_assert_int_eq(purify("out", (purify_way){.stop = &stop}, &error), ORGAN_INTERRUPTED);
        ck_assert(!scratch_left("out"));
        fault_clear();
    }
    must_purify("out", (purify_way){0});
    purify_same("reference", "out");
}
END_TEST

START_TEST(killed_run_is_begun_anew)
{
    must_purify("reference", (purify_way){0});
    for (long n = 1; n < 20; n += 6) {
        const pid_t child = fork();
        int status;
        if (child == 0) {
            organ_error error;
            fault_at(FAULT_PWRITE, n, -1, false, NULL);
            _exit(purify("out", (purify_way){0}, &error));
        }
        waitpid(child, &status, 0);
        ck_assert(WIFSIGNALED(status) && !exists(scratch_path("out")));
        must_purify("out", (purify_way){0});
        purify_same("reference", "out");
        ck_assert(!exists(scratch_path(".out.organ-partial")));
        ck_assert_int_eq(rename(scratch_path("out"), scratch_path("old%ld", n)), 0);
    }
}
END_TEST

Suite *purify_faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {full_disk_at_any_moment, donor_changed_under_the_run, unreadable_donor, values_that_are_not_finite,
          interrupted_run_leaves_nothing, killed_run_is_begun_anew}},
    };
    return suite_of("purify faults", cases, sizeof cases / sizeof *cases, purify_setup, purify_teardown);
}

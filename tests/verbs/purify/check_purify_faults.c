/* SPDX-License-Identifier: MIT
 * A failed purification leaves no incomplete output under its final name. */
#include <organ/organs.h>
#include "tests/verbs/purify/purify_rig.h"
#include "tests/kit/resume_rig.h"
#include "tests/kit/suite_table.h"

#include <organ/models.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A strength too small for a warning, which would name the output. */
static const purify_way usual = {.options = {.strength = 0.02}};

static organ_status purify_once(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                                organ_error *error)
{
    purify_way here = *(const purify_way *)way;
    here.options.write.resume = resume;
    here.threads = threads;
    here.stop = stop;
    return purify(output, here, error);
}

START_TEST(resume_refuses_another_run)
{
    purify_way way = usual, other;
    const resumed_verb verb = {.run = purify_once, .way = &way, .report = "purify.json"},
                       changed = {.run = purify_once, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    other = way;
    other.options.strength = 0.03;
    is_refused(&changed, "out", "its parameters was ");
    other = way;
    other.options.layers = "1";
    is_refused(&changed, "out", "its parameters was ");
    other = way;
    other.options.method = "fft";
    is_refused(&changed, "out", "its definition was ");
    touch_donor();
    is_refused(&verb, "out", "its model '");
    change_journal("out", "\"organ\":\"", "\"organ\":\"0.");
    is_refused(&verb, "out", "its organ was ");
    way.options.write.force = true;
    must_purify("out", way);
    ck_assert(!exists(scratch_path(".out.organ-partial")));
}
END_TEST

/* A single-file output can be resumed too, and its journal is removed at the end. */
START_TEST(single_file_is_resumed)
{
    organ_error error;
    purify_way way = usual;
    static char model[4096];
    snprintf(model, sizeof model, "%s", scratch_path("donor/model-00001-of-00002.safetensors"));
    way.model = model;
    must_purify("reference.safetensors", way);
    const long writes = fault_count(FAULT_PWRITE);
    fault_at(FAULT_PWRITE, writes, ENOSPC, true, NULL);
    ck_assert_int_eq(purify("out.safetensors", way, &error), ORGAN_IO);
    fault_clear();
    ck_assert_msg(strstr(error.message, "`resume` continues"), "%s", error.message);
    way.options.write.resume = true;
    must_purify("out.safetensors", way);
    ck_assert(json_is_true(json_object_get(json_object_get(purify_result, "run"), "resumed")));
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
        char output[32];
        snprintf(output, sizeof output, "out%ld", n);
        fault_at(FAULT_PREAD, n, EIO, true, NULL);
        ck_assert_int_eq(purify(output, (purify_way){0}, &error), ORGAN_IO);
        ck_assert_msg(strstr(error.message, "Input/output error"), "%s", error.message);
        const bool left = strstr(error.message, "`resume` continues") != NULL;
        ck_assert(!exists(scratch_path("%s", output)) && scratch_left(output) == left);
        fault_clear();
    }
}
END_TEST

/* Writes an FP32 value into the middle of a tensor of the donor. */
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
            ck_assert_msg(
                strstr(error.message, "'model.layers.1.self_attn.v_proj.weight' has values that are NaN or infinite"),
                "%s", error.message);
            ck_assert(!scratch_left("out"));
        }
    must_purify("out", (purify_way){.options = {.layers = "0"}}); /* other tensors may have any values */
    poison("model.layers.1.self_attn.v_proj.weight", 0x7f7fffff);
    for (size_t m = 0; m < 2; m++) /* sums of neighbours overflow in FP32, or not */
        if (purify("large", (purify_way){.options = {.method = methods[m], .write.force = true}}, &error) != ORGAN_OK)
            ck_assert_msg(strstr(error.message, "so large"), "%s", error.message);
}
END_TEST

Suite *purify_faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {donor_changed_under_the_run, unreadable_donor, values_that_are_not_finite, resume_refuses_another_run,
          single_file_is_resumed}},
    };
    return suite_of("purify faults", cases, sizeof cases / sizeof *cases, purify_setup, purify_teardown);
}

/* SPDX-License-Identifier: MIT
 * A failed run leaves no incomplete output under its final name, and a resumed one writes the same bytes. */
#include "tests/verbs/prune/prune_rig.h"
#include "orchestrator/output/journal.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs in a child that is killed in the n-th write; returns whether it was. */
static bool killed_at(long n, way w)
{
    const pid_t child = fork();
    int status;
    if (child == 0) {
        organ_error error;
        fault_at(FAULT_PWRITE, n, -1, false, NULL);
        _exit(prune("out", w, &error));
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* Returns whether the journal of the unfinished output has a line of the unit. */
static bool is_recorded(const char *unit)
{
    char text[1 << 16];
    FILE *const in = fopen(scratch_path(".out.organ-partial/%s", ORGAN_JOURNAL_NAME), "r");
    const size_t length = in ? fread(text, 1, sizeof text - 1, in) : 0;
    text[length] = 0;
    if (in)
        fclose(in);
    return strstr(text, unit) != NULL;
}

START_TEST(damaged_partial_output_is_done_again)
{
    must_prune("reference", (way){0});
    ck_assert(killed_at(30, (way){0}));
    /* Which units are finished at a write depends on the threads. */
    for (long n = 31; !is_recorded("\"model.layers.0.self_attn.k_proj.weight\""); n++) {
        ck_assert_int_eq(rename(scratch_path(".out.organ-partial"), scratch_path("killed%ld", n)), 0);
        ck_assert(killed_at(n, (way){0}));
    }
    organ_model *model;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &model, &error), ORGAN_OK);
    const organ_tensor *t = organ_model_find(model, "model.layers.0.self_attn.k_proj.weight");
    const int fd = open(scratch_path(".out.organ-partial/%s", model->files[t->file].name), O_RDWR);
    ck_assert_int_eq(pwrite(fd, "damage", 6, (off_t)(t->offset + 5000)), 6);
    close(fd);
    organ_model_close(model);
    must_prune("out", (way){.options = {.write.resume = true}});
    ck_assert_ptr_nonnull(strstr(notes, "model.layers.0.self_attn.k_proj.weight: its bytes"));
    same_outputs("reference", "out");
}
END_TEST

START_TEST(resume_refuses_another_run)
{
    organ_error error;
    ck_assert(killed_at(20, (way){0}));
    ck_assert_int_eq(prune("out", (way){.options = {.write.resume = true, .beta = 3}}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "parameters"));
    ck_assert(exists(scratch_path(".out.organ-partial")));
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path("donor/model-00002-of-00002.safetensors"), then, 0), 0);
    ck_assert_int_eq(prune("out", (way){.options = {.write.resume = true}}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "donor"));
    ck_assert(exists(scratch_path(".out.organ-partial")));
    must_prune("out", (way){.options = {.write.force = true}});
    ck_assert(!exists(scratch_path(".out.organ-partial")));
}
END_TEST

START_TEST(donor_changed_under_the_run)
{
    organ_error error;
    fault_at(FAULT_PREAD, 12, 0, false, touch_donor);
    ck_assert_int_eq(prune("out", (way){0}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "model-00001-of-00002.safetensors") != NULL, "%s", error.message);
    ck_assert(!scratch_left("out"));
    fault_at(FAULT_PREAD, 12, 0, false, cut_donor);
    ck_assert_int_eq(prune("out", (way){0}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "model-00002-of-00002.safetensors") != NULL, "%s", error.message);
    ck_assert(!scratch_left("out"));
}
END_TEST

START_TEST(unreadable_donor)
{
    organ_error error;
    fault_at(FAULT_PREAD, 14, EIO, true, NULL);
    ck_assert_int_eq(prune("out", (way){0}, &error), ORGAN_IO);
    ck_assert_msg(strstr(error.message, ".safetensors") != NULL && strstr(error.message, "Input/output error") != NULL,
                  "%s", error.message);
    ck_assert(!exists(scratch_path("out")));
    fault_clear();
    ck_assert_int_eq(unlink(scratch_path("donor/model-00002-of-00002.safetensors")), 0);
    ck_assert_int_eq(prune("gone", (way){0}, &error), ORGAN_BAD_INPUT);
    ck_assert(!scratch_left("gone"));
    ck_assert_int_eq(symlink("nowhere", scratch_path("donor/model-00002-of-00002.safetensors")), 0);
    ck_assert_int_ne(prune("gone", (way){0}, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(error.message, "model-00002-of-00002.safetensors"));
    ck_assert(!scratch_left("gone"));
}
END_TEST

static organ_stop stop;
static void ask_to_stop(void) { organ_stop_request(&stop); }

START_TEST(interrupted_run_goes_on)
{
    organ_error error;
    must_prune("reference", (way){0});
    for (long n = 4; n < 40; n += 12) {
        stop = (organ_stop){0};
        fault_at(FAULT_PWRITE, n, 0, false, ask_to_stop);
        ck_assert_int_eq(prune("out", (way){.stop = &stop, .options = {.write.force = true}}, &error),
                         ORGAN_INTERRUPTED);
        ck_assert(!exists(scratch_path("out")));
        fault_clear();
    }
    ck_assert_ptr_nonnull(strstr(error.message, "`resume`"));
    must_prune("out", (way){.options = {.write.resume = true}});
    same_outputs("reference", "out");
}
END_TEST

Suite *faults_suite(void)
{
    const suite_case cases[] = {
        {"faults",
         {damaged_partial_output_is_done_again, resume_refuses_another_run, donor_changed_under_the_run,
          unreadable_donor, interrupted_run_goes_on}},
    };
    return suite_of("faults", cases, sizeof cases / sizeof *cases, rig_setup, rig_teardown);
}

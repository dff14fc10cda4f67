/* SPDX-License-Identifier: MIT
 * Tests of fleets: every model is found once, a malformed one does not stop the others, and unchanged models are not
 * measured again. */
#include <organ/report.h>
#include <organ/measure.h>
#include "orchestrator/verbs/measure/z_measure.h"
#include <organ/organs.h>
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static json_t *report;
static organ_stop stop;

static void link_fixture(const char *name, const char *as)
{
    char real[4096];
    snprintf(real, sizeof real, "fixtures/tiny-qwen2-gguf/%s", name);
    char *path = realpath(real, NULL);
    ck_assert_ptr_nonnull(path);
    ck_assert_int_eq(symlink(path, as), 0);
    free(path);
}

/* Makes models/: a sharded model, a single file, a GGUF, a split one in a folder, and a malformed one. */
static void setup(void)
{
    static const made_tensor alone[] = {{"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {64, 64}},
                                        {"model.norm.weight", ORGAN_F32, 1, {64}}};
    fault_clear();
    scratch_make();
    stop = (organ_stop){0};
    mkdir(scratch_path("models"), 0777), mkdir(scratch_path("models/deep"), 0777),
        mkdir(scratch_path("models/.hidden"), 0777);
    make_model(scratch_path("models/sharded"), 1, 64);
    make_shard(scratch_path("models/alone.safetensors"), alone, 2);
    make_shard(scratch_path("models/.hidden/unseen.safetensors"), alone, 2);
    spill(scratch_path("models/broken.gguf"), "GGUF\3\0\0\0junk", 12);
    spill(scratch_path("models/notes.txt"), "no model", 8);
    link_fixture("tiny-qwen2-Q8_0.gguf", scratch_path("models/q8.gguf"));
    link_fixture("tiny-qwen2-BF16-00001-of-00002.gguf", scratch_path("models/deep/bf16-00001-of-00002.gguf"));
    link_fixture("tiny-qwen2-BF16-00002-of-00002.gguf", scratch_path("models/deep/bf16-00002-of-00002.gguf"));
}

static void teardown(void)
{
    json_decref(report);
    report = NULL;
    scratch_remove();
}

static organ_status fleet(const char *directory, const char *output, bool no_extract, organ_error *error)
{
    run_engine room;
    *error = (organ_error){0};
    run_engine_open(&room, (run_way){.memory = 256 << 20, .stop = &stop});
    const organ_fleet_options options = {
        .directory = scratch_path("%s", directory), .output = scratch_path("%s", output), .no_extract = no_extract};
    json_decref(report);
    const organ_status status = organ_fleet(&options, &room.engine, NULL, &report, error);
    run_engine_close(&room);
    return status;
}

static const json_t *entry_of(const char *name)
{
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(report, "models"), index,
                       entry) if (strcmp(organ_json_text(entry, "name"), name) == 0) return entry;
    ck_abort_msg("no entry '%s'", name);
    return NULL;
}

START_TEST(every_model_is_found_once)
{
    static const char *const names[] = {"alone.safetensors", "broken.gguf", "deep/bf16.gguf", "q8.gguf", "sharded"};
    organ_fleet_list list;
    organ_error error = {0};
    ck_assert_int_eq(organ_fleet_find(scratch_path("models"), NULL, &list, &error), ORGAN_OK);
    ck_assert_uint_eq(list.count, 5);
    for (size_t k = 0; k < list.count; k++)
        ck_assert_str_eq(list.members[k].name, names[k]);
    const uint64_t before = list.members[4].identity;
    organ_fleet_release(&list);
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    utimensat(AT_FDCWD, scratch_path("models/sharded/model-00002-of-00002.safetensors"), then, 0);
    ck_assert_int_eq(organ_fleet_find(scratch_path("models"), NULL, &list, &error), ORGAN_OK);
    ck_assert(list.members[4].identity != before);
    organ_fleet_release(&list);
    ck_assert_int_eq(organ_fleet_find(scratch_path("absent"), NULL, &list, &error), ORGAN_IO);
}
END_TEST

/* A temporary read error (here a link to unreadable memory) must not turn a folder of models into one model: the others
 * would be missing without a message. */
START_TEST(a_folder_that_cannot_be_told_ends_the_run)
{
    organ_error error;
    ck_assert_int_eq(symlink("/proc/self/mem", scratch_path("models/manifest.json")), 0);
    ck_assert_int_eq(fleet("models", "out", true, &error), ORGAN_IO);
    ck_assert_msg(strstr(error.message, "models/manifest.json: cannot be read") != NULL, "%s", error.message);
    ck_assert_int_eq(access(scratch_path("out"), F_OK), -1);
    unlink(scratch_path("models/manifest.json"));
    ck_assert_int_eq(fleet("models", "out", true, &error), ORGAN_CHECK_FAILED); /* for the malformed model */
    ck_assert_uint_eq(json_array_size(json_object_get(report, "models")), 5);
}
END_TEST

/* Entries that are no models are listed separately, and an organ directory is one model. */
START_TEST(what_is_no_model_is_listed_apart)
{
    static const made_tensor lora[] = {
        {"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", ORGAN_BF16, 2, {4, 64}},
        {"base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", ORGAN_BF16, 2, {64, 4}},
        {"base_model.model.model.norm.weight", ORGAN_BF16, 1, {64}}};
    static const made_tensor state[] = {{"model.layers.0.mlp.up_proj.weight.exp_avg", ORGAN_F32, 2, {64, 64}},
                                        {"model.layers.0.mlp.up_proj.weight.exp_avg_sq", ORGAN_F32, 2, {64, 64}}};
    static const struct {
        const char *name, *kind;
    } others[] = {
        {"imatrix.gguf", "imatrix"}, {"lora.safetensors", "adapter"}, {"optimizer.safetensors", "optimizer state"}};
    organ_error error;
    mkdir(scratch_path("mixed"), 0777);
    make_model(scratch_path("mixed/whole"), 1, 64);
    run_engine room;
    run_engine_open(&room, (run_way){.memory = 256 << 20, .stop = &stop});
    json_t *extracted = NULL;
    const organ_extract_options options = {.model = scratch_path("mixed/whole"),
                                           .write.output = scratch_path("mixed/apart")};
    error = (organ_error){0};
    ck_assert_msg(organ_extract(&options, NULL, &stop, &extracted, &error) == ORGAN_OK, "%s", error.message);
    json_decref(extracted);
    run_engine_close(&room);
    make_shard(scratch_path("mixed/lora.safetensors"), lora, 3);
    make_shard(scratch_path("mixed/optimizer.safetensors"), state, 2);
    char *imatrix = realpath("fixtures/imatrix/tiny-qwen2.gguf", NULL);
    ck_assert_int_eq(symlink(imatrix, scratch_path("mixed/imatrix.gguf")), 0);
    free(imatrix);
    for (int again = 0; again < 2; again++) {
        ck_assert_msg(fleet("mixed", "out", true, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_uint_eq(json_array_size(json_object_get(report, "models")), 2);
        ck_assert_uint_eq(organ_json_count(report, "totals.models"), 2);
        ck_assert_str_eq(organ_json_text(entry_of("apart"), "model.format"), "organ directory");
        ck_assert_str_eq(organ_json_text(entry_of("whole"), "status"), "ok");
        const json_t *rows = json_object_get(report, "others");
        ck_assert_uint_eq(json_array_size(rows), 3);
        for (size_t k = 0; k < 3; k++) {
            ck_assert_str_eq(organ_json_text(json_array_get(rows, k), "name"), others[k].name);
            ck_assert_str_eq(organ_json_text(json_array_get(rows, k), "kind"), others[k].kind);
        }
    }
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 5);
    static const char *const views[] = {"Z_MEASURE_REPORT.md", "Z_MEASURE_REPORT.html", "z_report_complete.json",
                                        "dissection_report.json"};
    for (size_t k = 0; k < 4; k++) {
        size_t n;
        char *text = slurp(scratch_path("out/%s", views[k]), &n);
        ck_assert_msg(strstr(text, "optimizer state") && strstr(text, "lora"), "%s", views[k]);
        free(text);
    }
}
END_TEST

START_TEST(broken_model_is_told_and_the_rest_go_on)
{
    organ_error error;
    ck_assert_int_eq(fleet("models", "models/out", false, &error), ORGAN_CHECK_FAILED);
    ck_assert_msg(strstr(error.message, "1 of 5 models") != NULL, "%s", error.message);
    ck_assert_uint_eq(organ_json_count(report, "totals.failed"), 1);
    ck_assert_str_eq(organ_json_text(entry_of("broken.gguf"), "status"), "failed");
    ck_assert(*organ_json_text(entry_of("broken.gguf"), "error"));
    static const char *const whole[] = {"alone.safetensors", "deep/bf16.gguf", "q8.gguf", "sharded"};
    for (size_t k = 0; k < 4; k++) {
        const json_t *entry = entry_of(whole[k]);
        ck_assert_str_eq(organ_json_text(entry, "status"), "ok");
        ck_assert(exists(scratch_path("models/out/%s/manifest.json", organ_json_text(entry, "folder"))));
        ck_assert_uint_gt(organ_json_count(entry, "organs.organ.bytes"), 0);
    }
    static const char *const files[] = {"dissection_report.json", "z_report_complete.json", "Z_MEASURE_REPORT.md",
                                        "fleet.json"};
    for (size_t k = 0; k < 4; k++)
        ck_assert(exists(scratch_path("models/out/%s", files[k])));
    json_t *z = json_load_file(scratch_path("models/out/z_report_complete.json"), 0, NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(z, "models")), 4);
    json_decref(z);
}
END_TEST

START_TEST(second_run_does_what_changed)
{
    organ_error error;
    size_t n;
    unlink(scratch_path("models/broken.gguf"));
    ck_assert_msg(fleet("models", "out", false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 0);
    char *before = slurp(scratch_path("out/z_report_complete.json"), &n);
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 4);
    char *after = slurp(scratch_path("out/z_report_complete.json"), &n);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    static const made_tensor other = {"model.layers.0.mlp.down_proj.weight", ORGAN_BF16, 2, {64, 96}};
    make_shard(scratch_path("models/alone.safetensors"), &other, 1);
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 3);
    ck_assert_uint_eq(organ_json_count(entry_of("alone.safetensors"), "model.tensors"), 1);
    spill(scratch_path("out/fleet.json"), "{", 1); /* no record of organ: it stays */
    ck_assert_int_eq(fleet("models", "out", true, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "fleet.json: exists and is not a report of organ"), "%s", error.message);
    after = slurp(scratch_path("out/fleet.json"), &n);
    ck_assert_str_eq(after, "{");
    free(after);
    unlink(scratch_path("out/fleet.json"));
    ck_assert_int_eq(fleet("models", "out", true, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 0);
}
END_TEST

START_TEST(measuring_alone_extracts_nothing)
{
    organ_error error;
    unlink(scratch_path("models/broken.gguf"));
    ck_assert_int_eq(fleet("models", "out", true, &error), ORGAN_OK);
    ck_assert(!exists(scratch_path("out/organs")));
    ck_assert_str_eq(organ_json_text(entry_of("q8.gguf"), "folder"), "");
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_OK); /* now they are included */
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 0);
    ck_assert(exists(scratch_path("out/organs/q8/manifest.json")));
}
END_TEST

START_TEST(refusals_leave_nothing)
{
    organ_error error;
    ck_assert_int_eq(fleet("models", "models", false, &error), ORGAN_USAGE);
    mkdir(scratch_path("empty"), 0777);
    ck_assert_int_eq(fleet("empty", "out", false, &error), ORGAN_BAD_INPUT);
    ck_assert_int_eq(fleet("absent", "out", false, &error), ORGAN_IO);
    ck_assert(!exists(scratch_path("out")));
    ck_assert_int_eq(fleet("models", "no/such/out", false, &error), ORGAN_IO);
    organ_stop_request(&stop);
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_INTERRUPTED);
    ck_assert_ptr_null(report);
    stop = (organ_stop){0};
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_CHECK_FAILED);
}
END_TEST

/* A full disk is no fault of a model: the run ends, names the results that are kept, and the next run continues. */
START_TEST(full_disk_ends_the_run)
{
    organ_error error;
    bool kept = false, left = false;
    for (long n = 1; !kept; n += 4) {
        fault_at(FAULT_PWRITE, n, ENOSPC, true, NULL);
        ck_assert_msg(fleet("models", "out", false, &error) == ORGAN_IO, "%ld: %d %s", n, error.status, error.message);
        fault_clear();
        ck_assert_msg(strstr(error.message, "No space left") && !strstr(error.message, "`resume`"), "%s",
                      error.message);
        ck_assert_ptr_null(report);
        kept = strstr(error.message, "are done and kept in") != NULL;
        left = strstr(error.message, "the same command continues") != NULL;
        ck_assert_msg(exists(scratch_path("out")) == (kept || left), "%s", error.message);
    }
    ck_assert_msg(fleet("models", "out", false, &error) == ORGAN_CHECK_FAILED, "%s", error.message);
    ck_assert_uint_ge(organ_json_count(report, "run.unchanged"), 1);
    ck_assert_uint_eq(organ_json_count(report, "totals.failed"), 1);
}
END_TEST

/* The same holds if the next call finds space again: the message about a model that can be resumed still says that the
 * disk was full. */
START_TEST(disk_that_is_full_for_a_moment_ends_the_run)
{
    organ_error error;
    bool going_on = false;
    for (long n = 1; n < 40 && !going_on; n += 3) {
        fault_at(FAULT_PWRITE, n, ENOSPC, false, NULL);
        ck_assert_msg(fleet("models", "moment", false, &error) == ORGAN_IO, "%ld: %d %s", n, error.status,
                      error.message);
        fault_clear();
        ck_assert_int_eq(error.errnum, ENOSPC);
        going_on = strstr(error.message, "the same command continues") != NULL;
    }
    ck_assert(going_on);
}
END_TEST

static void kill_fleet(const char *output, long n)
{
    const pid_t child = fork();
    int status;
    if (child == 0) {
        organ_error error;
        fault_at(FAULT_PWRITE, n, -1, false, NULL);
        _exit(fleet("models", output, false, &error));
    }
    waitpid(child, &status, 0);
    ck_assert(WIFSIGNALED(status));
}

/* The rename at the end failed: the model is complete under the hidden name, and the same command must be able to
 * continue. */
START_TEST(model_that_did_not_get_its_name_is_made_again)
{
    organ_error error;
    unlink(scratch_path("models/broken.gguf"));
    ck_assert_msg(fleet("models", "out", false, &error) == ORGAN_OK, "%s", error.message);
    char *hidden = strdup(scratch_path("out/organs/.sharded.organ-partial")),
         *named = strdup(scratch_path("out/organs/sharded"));
    ck_assert_int_eq(rename(named, hidden), 0);
    const int other = open(hidden, O_RDONLY | O_DIRECTORY);
    ck_assert_int_eq(flock(other, LOCK_EX), 0);
    ck_assert_int_eq(fleet("models", "out", false, &error), ORGAN_CHECK_FAILED); /* another process has it locked */
    ck_assert_msg(strstr(organ_json_text(entry_of("sharded"), "error"), "another process") != NULL, "%s",
                  organ_json_text(entry_of("sharded"), "error"));
    ck_assert(exists(hidden));
    close(other);
    ck_assert_msg(fleet("models", "out", false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(organ_json_count(report, "run.unchanged"), 3);
    ck_assert(!exists(hidden));
    ck_assert(exists(named));
    free(hidden);
    free(named);
}
END_TEST

/* The extraction of a model that was interrupted continues, if the model has not changed. */
START_TEST(killed_run_goes_on_within_a_model)
{
    organ_error error;
    char command[9000];
    for (int k = 0; k < 3; k++)
        unlink(scratch_path("models/%s", ((const char *[]){"broken.gguf", "alone.safetensors", "q8.gguf"})[k]));
    unlink(scratch_path("models/deep/bf16-00001-of-00002.gguf"));
    unlink(scratch_path("models/deep/bf16-00002-of-00002.gguf"));
    fault_clear();
    ck_assert_msg(fleet("models", "whole", false, &error) == ORGAN_OK, "%s", error.message);
    const long writes = fault_count(FAULT_PWRITE);
    for (int changed = 0; changed < 2; changed++) {
        const char *const output = changed ? "anew" : "out";
        kill_fleet(output, writes - 1);
        ck_assert(exists(scratch_path("%s/organs/.sharded.organ-partial/organ/journal.jsonl", output)));
        if (changed)
            ck_assert_int_eq(
                utimensat(AT_FDCWD, scratch_path("models/sharded/model-00001-of-00002.safetensors"), NULL, 0), 0);
        fault_clear();
        ck_assert_msg(fleet("models", output, false, &error) == ORGAN_OK, "%s", error.message);
        const long taken = fault_count(FAULT_PWRITE);
        ck_assert_msg(changed ? taken == writes : taken < writes, "%ld of %ld writes", taken, writes);
        snprintf(command, sizeof command, "diff -r '%s' '%s' >'%s'", scratch_path("whole/organs"),
                 scratch_path("%s/organs", output), scratch_path("differences"));
        ck_assert_int_eq(system(command), 0);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"fleet",
         {what_is_no_model_is_listed_apart, every_model_is_found_once, a_folder_that_cannot_be_told_ends_the_run,
          broken_model_is_told_and_the_rest_go_on, second_run_does_what_changed, measuring_alone_extracts_nothing,
          refusals_leave_nothing, full_disk_ends_the_run, disk_that_is_full_for_a_moment_ends_the_run,
          model_that_did_not_get_its_name_is_made_again, killed_run_goes_on_within_a_model}}};
    Suite *const suites[] = {suite_of("fleet", cases, sizeof cases / sizeof *cases, setup, teardown), NULL};
    return run_suites(suites);
}

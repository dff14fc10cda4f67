/* SPDX-License-Identifier: MIT
 * Tests of --delete-after: shards that arrive one by one and are removed after their measurement give the report of the
 * whole model, and no shard is removed unmeasured. */
#include <organ/measure.h>
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST  "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"
#define INDEX  "model.safetensors.index.json"

static char notes[8192];

static void keep_note(void *context, const char *text)
{
    (void)context;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

/* Makes "whole" with the model and "coming" with its index and config.json. */
static void setup(void)
{
    fault_clear();
    notes[0] = '\0';
    scratch_make();
    make_model(scratch_path("whole"), 2, 60);
    ck_assert_int_eq(mkdir(scratch_path("coming"), 0777), 0);
    ck_assert_int_eq(link(scratch_path("whole/" INDEX), scratch_path("coming/" INDEX)), 0);
    ck_assert_int_eq(link(scratch_path("whole/config.json"), scratch_path("coming/config.json")), 0);
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

static void arrive(const char *name)
{
    size_t size;
    char *data = slurp(scratch_path("whole/%s", name), &size);
    spill(scratch_path("coming/%s", name), data, size);
    free(data);
}

static bool is_there(const char *name) { return exists(scratch_path("coming/%s", name)); }

static organ_status measure_with(organ_measure_options options, json_t **report, organ_error *error)
{
    run_engine room;
    const organ_progress progress = {.note = keep_note};
    *error = (organ_error){0};
    run_engine_open(&room, (run_way){0});
    const organ_status status = organ_measure(&options, &room.engine, &progress, report, error);
    run_engine_close(&room);
    return status;
}

static organ_status measure(const char *model, const char *output, json_t **report, organ_error *error)
{
    const char *path = scratch_path("%s", model);
    return measure_with(
        (organ_measure_options){
            .models = &path, .model_count = 1, .output = scratch_path("%s", output), .delete_after = true},
        report, error);
}

/* Returns the entry of the whole model, with the other name. */
static json_t *right_entry(void)
{
    organ_error error;
    json_t *report;
    const char *path = scratch_path("whole");
    ck_assert_int_eq(measure_with((organ_measure_options){.models = &path, .model_count = 1}, &report, &error),
                     ORGAN_OK);
    json_t *entry = json_incref(json_array_get(json_object_get(report, "models"), 0));
    json_decref(report);
    json_object_set_new(json_object_get(entry, "model"), "name", json_string("coming"));
    return entry;
}

static void is_right(json_t *report)
{
    json_t *right = right_entry();
    ck_assert(json_equal(json_array_get(json_object_get(report, "models"), 0), right));
    json_decref(right);
    json_decref(report);
}

START_TEST(shards_come_and_go)
{
    organ_error error;
    json_t *report;
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "0 of 2 shards are measured") &&
                      strstr(error.message, FIRST ": does not exist yet"),
                  "%s", error.message);
    arrive(SECOND);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "1 of 2 shards are measured"), "%s", error.message);
    ck_assert(!is_there(SECOND) && is_there(INDEX) && is_there("config.json"));
    arrive(FIRST);
    ck_assert_msg(measure("coming", "out", &report, &error) == ORGAN_OK, "%s", error.message);
    is_right(report);
    ck_assert(!is_there(FIRST) && is_there(INDEX) && is_there("config.json"));
    ck_assert(exists(scratch_path("out/z_report.json")) && !exists(scratch_path("out/organ")));
}
END_TEST

START_TEST(a_broken_shard_stays)
{
    organ_error error;
    json_t *report;
    arrive(FIRST);
    arrive(SECOND);
    struct stat info;
    ck_assert_int_eq(stat(scratch_path("coming/" FIRST), &info), 0);
    ck_assert_int_eq(truncate(scratch_path("coming/" FIRST), info.st_size - 2), 0);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "1 of 2 shards are measured") && strstr(error.message, FIRST), "%s",
                  error.message);
    ck_assert(is_there(FIRST) && !is_there(SECOND));
    arrive(FIRST);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_OK);
    is_right(report);
}
END_TEST

START_TEST(a_shard_that_is_written_stays)
{
    organ_error error;
    json_t *report;
    arrive(FIRST);
    arrive(SECOND);
    spill(scratch_path("coming/" SECOND ".aria2"), "x", 1);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "is still being downloaded"), "%s", error.message);
    ck_assert(!is_there(FIRST) && is_there(SECOND));
    ck_assert_int_eq(unlink(scratch_path("coming/" SECOND ".aria2")), 0);
    const int fd = open(scratch_path("coming/" SECOND), O_WRONLY);
    const int probe = open(scratch_path("coming/" SECOND), O_RDONLY);
    const bool tells = fcntl(probe, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN; /* some file systems have no leases */
    close(probe);
    if (tells) {
        ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, "is open for writing"), "%s", error.message);
        ck_assert(is_there(SECOND));
    }
    close(fd);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_OK);
    is_right(report);
}
END_TEST

START_TEST(a_file_of_another_model_stays)
{
    organ_error error;
    json_t *report;
    const made_tensor other = {"model.layers.9.mlp.up_proj.weight", ORGAN_BF16, 2, {8, 40}};
    make_shard(scratch_path("coming/" FIRST), &other, 1);
    arrive(SECOND);
    ck_assert_int_eq(measure("coming", "out", &report, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "is not a shard of this model"), "%s", error.message);
    ck_assert(is_there(FIRST) && !is_there(SECOND));
}
END_TEST

START_TEST(nothing_goes_that_is_not_written_down)
{
    static const fault_call calls[] = {FAULT_PREAD, FAULT_WRITE, FAULT_FSYNC};
    organ_error error;
    json_t *report;
    for (size_t k = 0; k < 3; k++)
        for (long n = 1; n < 9; n += 3) {
            arrive(FIRST);
            fault_at(calls[k], calls[k] == FAULT_FSYNC ? 1 : n, EIO, true, NULL);
            const organ_status status = measure("coming/" FIRST, "out", &report, &error);
            fault_clear();
            ck_assert_msg(status == ORGAN_IO, "call %zu, %ld: %d %s", k, n, (int)status, error.message);
            ck_assert(is_there(FIRST));
        }
    ck_assert_int_eq(measure("coming/" FIRST, "out", &report, &error), ORGAN_OK);
    ck_assert(!is_there(FIRST));
    json_decref(report);
}
END_TEST

START_TEST(killed_before_it_is_deleted)
{
    organ_error error;
    json_t *report;
    arrive(FIRST);
    const pid_t child = fork();
    int status;
    if (child == 0) {
        fault_at(FAULT_FSYNC, 1, -1, false, NULL); /* the journal has the lines */
        _exit(measure("coming", "out", &report, &error));
    }
    waitpid(child, &status, 0);
    ck_assert(WIFSIGNALED(status) && is_there(FIRST));
    arrive(SECOND);
    ck_assert_msg(measure("coming", "out", &report, &error) == ORGAN_OK, "%s", error.message);
    is_right(report);
    ck_assert(!is_there(FIRST) && !is_there(SECOND));
}
END_TEST

START_TEST(wrong_usage)
{
    organ_error error;
    json_t *report;
    const char *path = scratch_path("whole"), *url = "http://127.0.0.1:1/x.gguf",
               *text = scratch_path("whole/config.json");
    const organ_measure_options rows[] = {
        {.models = &path, .model_count = 1, .delete_after = true},
        {.models = &path, .model_count = 1, .output = scratch_path("out"), .types = "organ", .delete_after = true},
        {.models = &path, .model_count = 1, .output = scratch_path("out"), .layers = "0", .delete_after = true},
        {.models = &url, .model_count = 1, .output = scratch_path("out"), .delete_after = true},
        {.models = &text, .model_count = 1, .output = scratch_path("out"), .delete_after = true},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        ck_assert_msg(measure_with(rows[k], &report, &error) == ORGAN_USAGE, "row %zu: %s", k, error.message);
        ck_assert_msg(strstr(error.message, "--delete-after"), "row %zu: %s", k, error.message);
    }
    ck_assert(exists(scratch_path("whole/" FIRST)) && exists(scratch_path("whole/" SECOND)));
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"shards",
         {shards_come_and_go, a_broken_shard_stays, a_shard_that_is_written_stays, a_file_of_another_model_stays,
          nothing_goes_that_is_not_written_down, killed_before_it_is_deleted, wrong_usage}},
    };
    return run_suites(
        (Suite *const[]){suite_of("delete after", cases, sizeof cases / sizeof *cases, setup, teardown), NULL});
}

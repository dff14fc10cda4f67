/* SPDX-License-Identifier: MIT
 * Tests of the end of a run (orchestrator/output/output.h): its seconds count from the start of the run, not of
 * the output; after a failure, files written by other ranks stay; the inputs of a run have the index that was named. */
#include "formats/model/recognise.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/run_inputs.h"
#include "tests/kit/http_server.h"
#include "tests/kit/model_maker.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(seconds_count_from_the_begin_of_the_run)
{
    const organ_output output = {.path = "out", .started = 10, .seconds = 2};
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 3}), 9);
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 0}), 2);
}
END_TEST

START_TEST(a_dry_run_takes_no_seconds)
{
    const organ_output output = {.path = "out"};
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 3}), 0);
}
END_TEST

/* Returns whether the line is kept in the journal of rank 1 if this rank's run ends before it has written a tensor. */
static bool is_kept_beside(const char *line, const char *name)
{
    char path[4096];
    organ_error error = {0};
    organ_run_journal journal = {0};
    snprintf(path, sizeof path, "%s", scratch_path("%s", name));
    organ_output output = {.path = path, .journal = &journal, .all = 2};
    ck_assert_msg(organ_output_begin(&output, 1000, &error) == ORGAN_OK, "%s", error.message);
    output.publish.writers = 2;
    ck_assert_int_eq(organ_run_journal_begin(&journal, json_object(), path, &error), ORGAN_OK);
    FILE *const other = fopen(scratch_path(".%s.organ-partial/organ/journal-1.jsonl", name), "w");
    ck_assert_ptr_nonnull(other);
    fputs(line, other);
    ck_assert_int_eq(fclose(other), 0);
    organ_fail(&error, ORGAN_IO, "rank 1 has sent nothing");
    ck_assert_int_eq(organ_output_end(&output, &error), ORGAN_IO);
    organ_run_journal_close(&journal);
    return access(scratch_path(".%s.organ-partial", name), F_OK) == 0;
}

START_TEST(work_of_lost_ranks_is_kept)
{
    ck_assert(is_kept_beside("{\"tensor\":\"a\"}\n", "begun"));
    ck_assert(!is_kept_beside("", "empty"));
}
END_TEST

/* A journal that cannot be opened for lack of memory has no line, and a run of one process has no other journal. */
START_TEST(an_output_without_a_journal_is_removed)
{
    char path[4096];
    organ_error error = {0};
    organ_run_journal journal = {0};
    snprintf(path, sizeof path, "%s", scratch_path("bare"));
    organ_output output = {.path = path, .journal = &journal, .all = 2};
    ck_assert_msg(organ_output_begin(&output, 1000, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(unlink(scratch_path(".bare.organ-partial/organ/journal.jsonl")), 0);
    ck_assert_int_eq(rmdir(scratch_path(".bare.organ-partial/organ")), 0);
    organ_fail(&error, ORGAN_IO, "no memory");
    ck_assert_int_eq(organ_output_end(&output, &error), ORGAN_IO);
    organ_run_journal_close(&journal);
    ck_assert_msg(access(scratch_path(".bare.organ-partial"), F_OK) != 0, "a directory without a journal stays");
}
END_TEST

/* A run that cannot continue an unfinished output now leaves it, and says how to continue it. */
START_TEST(an_output_that_cannot_be_continued_now_stays)
{
    char path[4096];
    organ_error error = {0};
    organ_run_journal journal = {0};
    snprintf(path, sizeof path, "%s", scratch_path("later"));
    ck_assert_int_eq(mkdir(scratch_path(".later.organ-partial"), 0777), 0);
    /* a directory instead of the mark, which therefore cannot be written */
    ck_assert_int_eq(mkdir(scratch_path(".later.organ-partial/" ORGAN_GROWING_MARK), 0777), 0);
    organ_output output = {.path = path, .journal = &journal, .resume = true, .all = 2};
    ck_assert_int_eq(organ_output_begin(&output, 1000, &error), ORGAN_IO);
    ck_assert_msg(strstr(error.message, "`resume` continues"), "%s", error.message);
    ck_assert(access(scratch_path(".later.organ-partial"), F_OK) == 0);
    organ_run_journal_close(&journal);
}
END_TEST

static void write_text(const char *name, const void *text, size_t bytes)
{
    FILE *const file = fopen(scratch_path("%s", name), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(inputs_have_the_index_that_was_named)
{
    static const char weights[] =
        "\x38\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  \0\0\0";
    static const char index[] = "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"w\":\"w.safetensors\"}}";
    organ_error error = {0};
    organ_model *model = NULL;
    organ_run_inputs inputs = {0};
    write_text("w.safetensors", weights, sizeof weights);
    write_text("named.safetensors.index.json", index, strlen(index));
    write_text("model.safetensors.index.json", index, strlen(index));
    ck_assert_msg(organ_model_open(scratch_path("named.safetensors.index.json"), &model, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert_int_eq(organ_run_inputs_add_model(&inputs, "model", model, &error), ORGAN_OK);
    json_t *const rows = organ_run_inputs_json(&inputs);
    ck_assert_uint_eq(json_array_size(rows), 2);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, 0), "file")), "w.safetensors");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, 1), "file")),
                     "named.safetensors.index.json");
    json_decref(rows);
    organ_run_inputs_release(&inputs);
    organ_model_close(model);
}
END_TEST

START_TEST(inputs_at_a_url_have_the_version_of_their_server)
{
    static const char weights[] =
        "\x38\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  \0\0\0";
    const char *const versions[] = {"\"one\"", "\"two\""};
    json_t *heads[2];
    organ_error error = {0};
    for (size_t k = 0; k < 2; k++) {
        const served_file file = {"w.safetensors", .size = sizeof weights, .head = weights, .head_size = sizeof weights,
                                  .etag = versions[k]};
        http_server *const server = http_start(&file, 1, 0);
        organ_model *model = NULL;
        organ_run_inputs inputs = {0};
        ck_assert_msg(organ_model_open(http_url(server, "w.safetensors"), &model, &error) == ORGAN_OK, "%s",
                      error.message);
        ck_assert_int_eq(organ_run_inputs_add_model(&inputs, "base", model, &error), ORGAN_OK);
        heads[k] = json_pack("{s:o}", ORGAN_RUN_INPUTS, organ_run_inputs_json(&inputs));
        organ_run_inputs_release(&inputs);
        organ_model_close(model);
        http_stop(server);
    }
    ck_assert_int_eq(organ_run_heads_compare(heads[0], heads[0], "out", &error), ORGAN_OK);
    ck_assert_int_eq(organ_run_heads_compare(heads[0], heads[1], "out", &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "has another version on its server"), "%s", error.message);
    json_decref(heads[0]);
    json_decref(heads[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_run");
    TCase *run = tcase_create("run");
    tcase_add_test(run, seconds_count_from_the_begin_of_the_run);
    tcase_add_test(run, a_dry_run_takes_no_seconds);
    tcase_add_checked_fixture(run, scratch_make, scratch_remove);
    tcase_add_test(run, work_of_lost_ranks_is_kept);
    tcase_add_test(run, an_output_without_a_journal_is_removed);
    tcase_add_test(run, an_output_that_cannot_be_continued_now_stays);
    tcase_add_test(run, inputs_have_the_index_that_was_named);
    tcase_add_test(run, inputs_at_a_url_have_the_version_of_their_server);
    suite_add_tcase(suite, run);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* SPDX-License-Identifier: MIT
 * Opens models while each allocation in turn fails. The program is linked with --wrap for the allocation functions. */
#include "formats/gguf/file.h"
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/organs.h>
#include "tests/kit/gguf_maker.h"
#include "tests/kit/memory_rig.h"
#include "tests/kit/scratch_model.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* Opens the file with each allocation failing. `in_parser`: allocations of the JSON library count too. The error must
 * not blame the text. */
static void open_with_each_fault(const char *path, bool in_parser)
{
    memory_counts_json(in_parser);
    const int before = open_files();
    for (long k = 0;; k++) {
        organ_error error = {0};
        organ_model *model;
        memory_fails_after(k);
        const organ_status status = organ_model_open(path, &model, &error);
        const bool all_granted = memory_returns();
        ck_assert_int_eq(status, error.status);
        if (status == ORGAN_OK)
            organ_model_close(model);
        else
            ck_assert_msg(status == ORGAN_IO && !model && *error.message, "allocation %ld: status %d: %s", k,
                          (int)status, error.message);
        ck_assert_int_eq(open_files(), before);
        if (all_granted) {
            ck_assert_int_eq(status, ORGAN_OK);
            ck_assert_int_gt(k, 5);
            return;
        }
    }
}

START_TEST(fixture) { open_with_each_fault("fixtures/tiny-qwen2", _i); }
END_TEST

START_TEST(gguf)
{
    static const char *const models[] = {"fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf",
                                         "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf",
                                         "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00002-of-00002.gguf"};
    open_with_each_fault(models[_i], false);
}
END_TEST

/* Covers the conversion of version 1, and the message about a model's problem. */
START_TEST(odd_gguf)
{
    scratch_begin();
    gguf_file(
        "a.gguf",
        "'GGUF' 4:1 4:1 4:2 S:general.alignment 4:4 4:24 S:list 4:9 4:8 4:2 S:x S:yz S:t 4:1 4:1 4:24 8:0 p:24 z:1");
    open_with_each_fault(scratch_path(""), false);
    scratch_end();
}
END_TEST

/* Writes a header with each allocation failing. */
START_TEST(gguf_writer)
{
    for (long k = 0, all = 0; !all; k++) {
        organ_error error = {0};
        organ_gguf_writer *writer = NULL;
        organ_gguf_layout layout;
        memory_fails_after(k);
        if (organ_gguf_writer_create(&writer, &error) == ORGAN_OK &&
            organ_gguf_writer_set_string(writer, "a", "x", 1, &error) == ORGAN_OK &&
            organ_gguf_writer_set_integer(writer, "b", ORGAN_GGUF_U16, 2, &error) == ORGAN_OK &&
            organ_gguf_writer_tensor(writer, "t", ORGAN_F32, 1, (const uint64_t[]){4}, &error) == ORGAN_OK)
            organ_gguf_writer_finish(writer, &layout, &error);
        all = memory_returns();
        ck_assert_int_eq(error.status, all ? ORGAN_OK : ORGAN_IO);
        organ_gguf_writer_destroy(writer);
    }
}
END_TEST

START_TEST(single_file_with_metadata)
{
    scratch_begin();
    scratch_tensors(
        "a.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\\u00e9\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}",
        3);
    scratch_text("config.json", "{\"architectures\":[\"x\"],\"text_config\":{\"hidden_size\":5}}");
    open_with_each_fault(scratch_path(""), _i);
    open_with_each_fault(scratch_path("a.safetensors"), _i);
    scratch_end();
}
END_TEST

/* After a run that failed for lack of memory, the files must be those that its message names. */
static void check_left(const char *name, const organ_error *error)
{
    const bool left = access(scratch_path(name), F_OK) == 0;
    ck_assert_msg(left == (strstr(error->message, "`resume` continues, or remove ") != NULL), "%d: %s", (int)left,
                  error->message);
}

/* Extracts, opens and assembles a model with each allocation failing; an incomplete output must not exist. One tensor,
 * so one worker does all. */
START_TEST(organ_directory)
{
    memory_counts_json(false); /* an earlier test may have changed this */
    scratch_begin();
    gguf_file("a.gguf", "'GGUF' 4:3 8:1 8:1 s:k 4:4 4:7 s:blk.0.ffn_up.weight 4:1 8:40 4:24 8:0 p:32 c:40 x:09 p:32");
    organ_engine *engine; /* made here, because hwloc does without some of its allocations */
    ck_assert(organ_engine_create(NULL, 1, 0, &engine, &(organ_error){0}) == ORGAN_OK);
    for (long k = 0, all = 0; !all; k++) {
        organ_error error = {0};
        json_t *report = NULL;
        const organ_extract_options options = {.model = scratch_path("a.gguf"),
                                               .write.output = scratch_path("apart"),
                                               .write.force = true,
                                               .engine = engine};
        memory_fails_after(k);
        organ_extract(&options, NULL, NULL, &report, &error);
        all = memory_returns();
        ck_assert_msg(error.status == (all ? ORGAN_OK : ORGAN_IO), "allocation %ld: status %d", k, (int)error.status);
        ck_assert_int_eq(access(scratch_path("apart"), F_OK), all ? 0 : -1);
        check_left(".apart.organ-partial", &error);
        json_decref(report);
    }
    open_with_each_fault(scratch_path("apart"), false);
    for (long k = 0, all = 0; !all; k++) {
        organ_error error = {0};
        json_t *report = NULL;
        const organ_assemble_options options = {.directory = scratch_path("apart"),
                                                .write.output = scratch_path("b.gguf"),
                                                .write.force = true,
                                                .engine = engine};
        memory_fails_after(k);
        organ_assemble(&options, NULL, NULL, &report, &error);
        all = memory_returns();
        ck_assert_msg(error.status == (all ? ORGAN_OK : ORGAN_IO), "allocation %ld: status %d", k, (int)error.status);
        ck_assert_int_eq(access(scratch_path("b.gguf"), F_OK), all ? 0 : -1);
        check_left(".b.gguf.organ-partial", &error);
        json_decref(report);
    }
    organ_engine_destroy(engine);
    scratch_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *models = tcase_create("models");
    tcase_set_timeout(models, 20);
    tcase_add_loop_test(models, fixture, 0, 2);
    tcase_add_loop_test(models, gguf, 0, 3);
    tcase_add_test(models, odd_gguf);
    tcase_add_test(models, gguf_writer);
    tcase_add_loop_test(models, single_file_with_metadata, 0, 2);
    tcase_add_test(models, organ_directory);
    suite_add_tcase(suite, models);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

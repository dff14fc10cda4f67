/* SPDX-License-Identifier: MIT
 * Tests of opening an output before it gets its name: copies of a model with faults in the first or the last layer. */
#include "formats/gguf/file.h"
#include "orchestrator/surgery/scoring/scoring.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DONOR        "fixtures/tiny-llama"
#define GGUF         "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf"
#define COUNT(array) (sizeof(array) / sizeof *(array))

static char noted[1000]; /* the last note */

static void keep_note(void *context, const char *text)
{
    (void)context;
    snprintf(noted, sizeof noted, "%s", text);
}

/* Changes the bytes of a BF16 tensor, rows x cols. */
typedef void change_values(uint16_t *values, size_t rows, size_t cols);

static void negate(uint16_t *values, size_t rows, size_t cols)
{
    for (size_t k = 0; k < rows * cols; k++)
        values[k] ^= 0x8000;
}

/* Exchanges the two halves of the rows, as if the rows of heads had another order. */
static void exchange_halves(uint16_t *values, size_t rows, size_t cols)
{
    for (size_t k = 0; k < rows / 2 * cols; k++) {
        const uint16_t value = values[k];
        values[k] = values[rows / 2 * cols + k];
        values[rows / 2 * cols + k] = value;
    }
}

static void set_infinite(uint16_t *values, size_t rows, size_t cols)
{
    for (size_t k = 0; k < rows * cols; k++)
        values[k] = 0x7F80;
}

/* Replaces the text `from` by `to`, which has the same length, in a file of the scratch directory. */
static void edit_file(const char *name, const char *from, const char *to)
{
    size_t size;
    char *const text = slurp(name, &size), *const at = memmem(text, size, from, strlen(from));
    ck_assert_msg(at && strlen(from) == strlen(to), "%s", from);
    memcpy(at, to, strlen(to));
    spill(name, text, size);
    free(text);
}

/* Copies the donor to "out" in the scratch directory and changes the tensor `name` (NULL: none). */
static void copy_donor(const char *name, change_values *change)
{
    static const char *const files[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    organ_error error = {0};
    organ_model *model;
    const char *const out = scratch_path("out");
    mkdir(out, 0777);
    for (size_t k = 0; k < COUNT(files); k++) {
        char from[100];
        size_t size;
        snprintf(from, sizeof from, DONOR "/%s", files[k]);
        char *const bytes = slurp(from, &size);
        spill(scratch_path("out/%s", files[k]), bytes, size);
        free(bytes);
    }
    ck_assert_int_eq(organ_model_open(out, &model, &error), ORGAN_OK);
    for (size_t k = 0; name && k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (strcmp(tensor->name, name) != 0)
            continue;
        size_t size;
        const char *const path = scratch_path("out/%s", model->files[tensor->file].name);
        char *const bytes = slurp(path, &size);
        ck_assert(tensor->dtype == ORGAN_BF16);
        change((uint16_t *)(void *)(bytes + tensor->offset), (size_t)tensor->shape[0],
               tensor->rank == 2 ? (size_t)tensor->shape[1] : 1);
        spill(path, bytes, size);
        free(bytes);
    }
    organ_model_close(model);
}

/* Runs the check of the model at `path`, which was made from that at `donor`. */
static organ_status tried(const char *donor, const char *path, uint64_t memory, bool infinite, organ_error *error)
{
    const organ_progress progress = {.note = keep_note};
    run_engine room;
    organ_model *model;
    *noted = 0;
    run_engine_open(&room, (run_way){.memory = memory});
    ck_assert_int_eq(organ_model_open(donor, &model, error), ORGAN_OK);
    const organ_trial trial = {.model = model,
                               .path = path,
                               .engine = &room.engine,
                               .progress = &progress,
                               .tolerance = ORGAN_TRIAL_ERROR_16,
                               .infinite = infinite};
    organ_trial_run(&trial, error);
    organ_model_close(model);
    run_engine_close(&room);
    return error->status;
}

START_TEST(faults_of_both_layers_are_found)
{
    static const struct {
        const char *tensor;
        change_values *change;
        const char *message; /* NULL: none */
    } rows[] = {
        {NULL, NULL, NULL},
        {"model.layers.0.self_attn.q_proj.weight", exchange_halves, "the first layer of the output gives other"},
        {"model.layers.0.mlp.up_proj.weight", exchange_halves, "the first layer of the output gives other"},
        {"model.layers.0.input_layernorm.weight", set_infinite, "the first layer of the output gives other"},
        {"model.layers.5.mlp.down_proj.weight", negate, "the last layer of the output gives other"},
        {"model.layers.5.self_attn.o_proj.weight", negate, "the last layer of the output gives other"},
        {"model.layers.3.mlp.down_proj.weight", negate, NULL}, /* another layer is not read */
        {"model.embed_tokens.weight", negate, "the first layer of the output gives other"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_error error = {0};
        copy_donor(rows[k].tensor, rows[k].change);
        const organ_status status = tried(DONOR, scratch_path("out"), 0, false, &error);
        ck_assert_msg(status == (rows[k].message ? ORGAN_BAD_INPUT : ORGAN_OK), "%s: %s", rows[k].tensor,
                      error.message);
        ck_assert_msg(!rows[k].message || strstr(error.message, rows[k].message), "%s: %s", rows[k].tensor,
                      error.message);
        ck_assert_str_eq(noted, "");
    }
}
END_TEST

START_TEST(names_and_shapes_are_those_of_the_forward_pass)
{
    organ_error error = {0};
    copy_donor(NULL, NULL);
    edit_file(scratch_path("out/model-00003-of-00003.safetensors"), "layers.5.mlp.up_proj", "layers.5.mlp.xx_proj");
    edit_file(scratch_path("out/model.safetensors.index.json"), "layers.5.mlp.up_proj", "layers.5.mlp.xx_proj");
    ck_assert_int_eq(tried(DONOR, scratch_path("out"), 0, false, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "model.layers.5.mlp.up_proj"), "%s", error.message);
}
END_TEST

START_TEST(accepted_infinities_are_not_compared)
{
    organ_error error = {0};
    copy_donor("model.layers.0.input_layernorm.weight", set_infinite);
    ck_assert_msg(tried(DONOR, scratch_path("out"), 0, true, &error) == ORGAN_OK, "%s", error.message);
}
END_TEST

START_TEST(what_cannot_be_tried_is_noted)
{
    organ_error error = {0};
    copy_donor("model.layers.0.mlp.up_proj.weight", negate);
    ck_assert_msg(tried(DONOR, scratch_path("out"), 400000, false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(strstr(noted, "were not tried: a layer does not fit --memory"), "%s", noted);
    edit_file(scratch_path("out/config.json"), "LlamaForCausalLM", "LlamaForCausalXX");
    edit_file(scratch_path("out/config.json"), "\"llama\"", "\"lxama\"");
    ck_assert_msg(tried(scratch_path("out"), scratch_path("out"), 0, false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(strstr(noted, "were not tried: ") && strstr(noted, "LlamaForCausalXX"), "%s", noted);
}
END_TEST

START_TEST(the_tokenizer_has_the_bytes_that_were_planned)
{
    organ_error error = {0}, other = {0}, fewer = {0}, file = {0}, same = {0};
    organ_model *model;
    organ_gguf_writer *writer;
    ck_assert_int_eq(organ_model_open(GGUF, &model, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_writer_create(&writer, &error), ORGAN_OK);
    ck_assert_msg(organ_trial_tokenizer(GGUF, model->gguf, &error) == ORGAN_OK, "%s", error.message);
    for (size_t k = 0; k < model->gguf->kv_count; k++)
        ck_assert_int_eq(organ_gguf_writer_kv(writer, &model->gguf->kvs[k], &error), ORGAN_OK);
    organ_gguf_writer_set_string(writer, "tokenizer.ggml.pre", "gpt-2", 5, &error);
    organ_gguf view = organ_gguf_writer_view(writer);
    ck_assert_int_eq(organ_trial_tokenizer(GGUF, &view, &other), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(other.message, "key 'tokenizer.ggml.pre' differs from the planned one"), "%s", other.message);
    organ_gguf_writer_remove(writer, "tokenizer.ggml.pre");
    view = organ_gguf_writer_view(writer);
    ck_assert_int_eq(organ_trial_tokenizer(GGUF, &view, &fewer), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(fewer.message, "keys 'tokenizer.*'"), "%s", fewer.message);
    organ_gguf_writer_destroy(writer);
    organ_model_close(model);
    copy_donor(NULL, NULL);
    size_t size;
    char *const text = slurp(scratch_path("out/config.json"), &size);
    ck_assert_int_eq(organ_trial_file(scratch_path("out"), "config.json", text, strlen(text), &same), ORGAN_OK);
    edit_file(scratch_path("out/config.json"), "silu", "gelu");
    ck_assert_int_eq(organ_trial_file(scratch_path("out"), "config.json", text, strlen(text), &file), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(file.message, "config.json differs from the planned file"), "%s", file.message);
    free(text);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"trial",
                                 {faults_of_both_layers_are_found, names_and_shapes_are_those_of_the_forward_pass,
                                  accepted_infinities_are_not_compared, what_cannot_be_tried_is_noted,
                                  the_tokenizer_has_the_bytes_that_were_planned}}};
    Suite *const suites[] = {suite_of("trial", cases, COUNT(cases), scratch_make, scratch_remove), NULL};
    return run_suites(suites);
}

/* SPDX-License-Identifier: MIT
 * Tests of models behind URLs: opened by an index or a file, read like local ones, and rejected where necessary. */
#include <organ/models.h>
#include <organ/inspect.h>
#include "tests/formats/remote/check_http.h"
#include "tests/kit/effort.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/served_model.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX "model.safetensors.index.json"

static served_model small;
static http_server *server;

static void setup(void)
{
    unsetenv("http_proxy");
    small = served_model_make(4, 8, 48, 40, 3);
    server = http_start(small.files, small.file_count, 0);
}

static void teardown(void)
{
    http_stop(server);
    served_model_free(&small);
}

static void refuses(const char *url, organ_status status, const char *words)
{
    const organ_model_access access = {.tries = 2, .first_wait_ms = 1};
    organ_error error = {0};
    organ_model *model;
    ck_assert_int_eq(organ_model_open_with(url, &access, &model, &error), status);
    ck_assert_msg(strstr(error.message, words), "%s", error.message);
    ck_assert_ptr_null(model);
}

START_TEST(opens_by_its_index)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(http_url(server, INDEX), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_str_eq(model->path, http_url(server, INDEX));
    ck_assert_str_eq(model->format, "safetensors");
    ck_assert_str_eq(model->index, INDEX);
    ck_assert_str_eq(model->config.architecture, "DeepseekV3ForCausalLM");
    ck_assert_uint_eq(model->file_count, 3);
    ck_assert_uint_eq(model->tensor_count, small.tensor_count);
    ck_assert_uint_eq(model->problem_count, 0);
    ck_assert_str_eq(model->files[1].path, http_url(server, "model-00002-of-00003.safetensors"));
    const organ_tensor *tensor = organ_model_find(model, "model.layers.2.mlp.experts.7.down_proj.weight");
    ck_assert(tensor && tensor->anatomy.layer == 2 && tensor->anatomy.expert == 7);
    int fd;
    ck_assert_int_eq(organ_model_file_open(model, 0, &fd, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "download it first"), "%s", error.message);
    organ_model_close(model);
}
END_TEST

/* With and without trailing slashes, and with a query that is sent but not shown. */
START_TEST(opens_by_its_directory)
{
    static const char *const ends[] = {"", "/", "//", "/?token=hushhush", "?token=hushhush#here"};
    organ_model *model;
    organ_error error = {0};
    char url[512], shown[512];
    snprintf(shown, sizeof shown, "http://127.0.0.1:%d/some/where", http_port(server));
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        snprintf(url, sizeof url, "%s%s", shown, ends[k]);
        ck_assert_msg(organ_model_open(url, &model, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_str_eq(model->path, shown);
        ck_assert_str_eq(model->directory, shown);
        ck_assert_str_eq(model->index, INDEX);
        ck_assert(model->whole_directory);
        ck_assert_uint_eq(model->file_count, 3);
        ck_assert_uint_eq(model->tensor_count, small.tensor_count);
        ck_assert_str_eq(model->config.architecture, "DeepseekV3ForCausalLM");
        ck_assert_str_eq(model->files[1].path, http_url(server, "model-00002-of-00003.safetensors"));
        organ_model_close(model);
    }
}
END_TEST

/* A directory with one file. */
START_TEST(opens_a_directory_without_index)
{
    organ_model *model;
    organ_error error = {0};
    char url[512];
    served_file files[8];
    size_t count = 0;
    for (size_t k = 0; k < small.file_count; k++) {
        files[count] = small.files[k];
        if (strcmp(files[count].name, "model-00001-of-00003.safetensors") == 0)
            files[count++].name = "model.safetensors";
        else if (strcmp(files[count].name, "config.json") == 0)
            count++;
    }
    http_server *const other = http_start(files, count, 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/some/where/", http_port(other));
    ck_assert_msg(organ_model_open(url, &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(model->file_count, 1);
    ck_assert_ptr_null(model->index);
    ck_assert_str_eq(model->files[0].name, "model.safetensors");
    ck_assert_str_eq(model->config.architecture, "DeepseekV3ForCausalLM");
    organ_model_close(model);
    http_stop(other);
}
END_TEST

/* model.safetensors takes precedence over an index, as in a local directory. */
START_TEST(prefers_one_file_to_an_index)
{
    organ_model *model;
    organ_error error = {0};
    char url[512];
    served_file files[16];
    ck_assert_uint_lt(small.file_count, 16);
    memcpy(files, small.files, small.file_count * sizeof *files);
    for (size_t k = 0; k < small.file_count; k++)
        if (strcmp(files[k].name, "model-00001-of-00003.safetensors") == 0)
            files[k].name = "model.safetensors";
    http_server *const other = http_start(files, small.file_count, 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/some/where", http_port(other));
    ck_assert_msg(organ_model_open(url, &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(model->file_count, 1);
    ck_assert_ptr_null(model->index);
    organ_model_close(model);
    http_stop(other);
}
END_TEST

START_TEST(opens_one_shard)
{
    organ_model *model;
    organ_error error = {0};
    char url[512];
    strcpy(url, http_url(server, "model-00002-of-00003.safetensors?token=hushhush"));
    ck_assert_msg(organ_model_open(url, &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_str_eq(model->path, http_url(server, "model-00002-of-00003.safetensors"));
    ck_assert_str_eq(model->files[0].name, "model-00002-of-00003.safetensors");
    ck_assert(!strstr(model->directory, "hush") && !strstr(model->files[0].path, "hush"));
    organ_model_close(model);
}
END_TEST

START_TEST(reads_as_if_it_were_here)
{
    for (size_t threads = 1; threads < 8; threads += 3) {
        uint64_t grown;
        const char *fault = served_model_pass(http_url(server, INDEX), &small, 16 << 20, threads, &grown);
        ck_assert_msg(!fault, "%s", fault);
    }
}
END_TEST

START_TEST(what_is_not_there)
{
    const size_t all = small.file_count;
    refuses(http_url(server, "none.safetensors"), ORGAN_IO, "no such file");
    refuses(http_url(server, "none.safetensors.index.json"), ORGAN_IO, "no such file");
    refuses(http_url(server, "model.bin"), ORGAN_BAD_INPUT, "PyTorch pickle");
    refuses(http_url(server, "model.json"), ORGAN_BAD_INPUT, "/some/where/model.json: is no model");
    refuses(http_url(server, "model"), ORGAN_IO,
            "/some/where/model: no model here: the server has no model.safetensors and no " INDEX);
    refuses(http_url(server, "%2e%2e"), ORGAN_USAGE, "not the name of a file or directory");
    refuses(http_url(server, "a%2fb"), ORGAN_USAGE, "not the name of a file or directory");
    http_behave(server, (http_manners){.after = 1, .oddity = HTTP_STATUS, .code = 404, .count = -1});
    refuses(http_url(server, INDEX), ORGAN_BAD_INPUT,
            INDEX ": names 'model-00001-of-00003.safetensors', which does not exist");
    http_behave(server, (http_manners){.after = 1, .oddity = HTTP_STATUS, .code = 500, .count = -1});
    refuses(http_url(server, INDEX), ORGAN_IO, "status 500");
    http_behave(server, (http_manners){0});
    small.files[0].size -= 2;
    refuses(http_url(server, INDEX), ORGAN_BAD_INPUT, "model-00001-of-00003.safetensors");
    small.files[0].size += 2;
    ((char *)small.files[0].head)[0] ^= 1;
    refuses(http_url(server, INDEX), ORGAN_BAD_INPUT, "model-00001-of-00003.safetensors");
    ck_assert_uint_eq(small.file_count, all);
}
END_TEST

START_TEST(changed_meanwhile)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(http_url(server, INDEX), &model, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_OK);
    const char *const etag = http_set_etag(server, &small.files[2], "\"new\"");
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "model-00003-of-00003.safetensors: was changed on the server"), "%s",
                  error.message);
    http_set_etag(server, &small.files[2], etag);
    organ_model_close(model);
}
END_TEST

START_TEST(can_be_inspected)
{
    organ_error error = {0};
    json_t *report = NULL;
    const organ_inspect_options options = {.model = http_url(server, INDEX)};
    ck_assert_msg(organ_inspect(&options, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
}
END_TEST

/* Small files next to a model behind a URL: a missing one is no error, one that is too long is. */
START_TEST(loads_small_files)
{
    organ_model *model;
    organ_error error = {0};
    char *bytes;
    size_t length;
    ck_assert_int_eq(organ_model_open(http_url(server, INDEX), &model, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_load(model, "config.json", 1 << 20, &bytes, &length, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(strlen(bytes), length);
    free(bytes);
    ck_assert_int_eq(organ_model_load(model, "quantize_config.json", 1 << 20, &bytes, &length, &error), ORGAN_OK);
    ck_assert_ptr_null(bytes);
    ck_assert_int_eq(organ_model_load(model, "config.json", 5, &bytes, &length, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_null(bytes);
    organ_model_close(model);
}
END_TEST

/* The fixture split into two GGUF files, opened by its second file. */
START_TEST(opens_a_split_gguf)
{
    static const char *const names[] = {"tiny-qwen2-BF16-00001-of-00002.gguf", "tiny-qwen2-BF16-00002-of-00002.gguf"};
    served_file parts[2];
    organ_model *here, *there;
    organ_error error = {0};
    for (size_t k = 0; k < 2; k++) {
        char path[256];
        size_t size;
        snprintf(path, sizeof path, "fixtures/tiny-qwen2-gguf/%s", names[k]);
        char *data = slurp(path, &size);
        ck_assert_ptr_nonnull(data);
        parts[k] = (served_file){.name = names[k], .size = size, .head = data, .head_size = size};
    }
    http_server *other = http_start(parts, 2, 0);
    ck_assert_msg(organ_model_open(http_url(other, names[1]), &there, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_model_open("fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf", &here, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    ck_assert_uint_eq(there->file_count, 2);
    ck_assert_uint_eq(there->tensor_count, here->tensor_count);
    ck_assert_str_eq(there->config.architecture, here->config.architecture);
    for (size_t t = 0; t < here->tensor_count; t++) {
        const organ_tensor *a = &here->tensors[t], *b = &there->tensors[t];
        char *x = malloc(a->bytes), *y = malloc(a->bytes);
        ck_assert(strcmp(a->name, b->name) == 0 && a->bytes == b->bytes);
        ck_assert_int_eq(organ_model_read(here, a->file, x, a->bytes, a->offset, &error), ORGAN_OK);
        ck_assert_int_eq(organ_model_read(there, b->file, y, b->bytes, b->offset, &error), ORGAN_OK);
        ck_assert_msg(memcmp(x, y, a->bytes) == 0, "%s", a->name);
        free(x);
        free(y);
    }
    organ_model_close(here);
    organ_model_close(there);
    http_stop(other);
    free((char *)parts[0].head);
    free((char *)parts[1].head);
}
END_TEST

/* Opens the headers of a model of 10^12 parameters with little data; http_long reads data as well. */
START_TEST(large_stream_over_a_dead_server)
{
    const size_t experts = sampled(384, 96);
    served_model large = served_model_make(61, experts, 64, 220, 13);
    http_server *busy = http_start(large.files, large.file_count, 0);
    uint64_t grown;
    char url[512];
    strcpy(url, http_url(busy, INDEX));
    served_model_interrupt(&busy, &large, large.bytes / 2);
    const char *fault = served_model_pass(url, &large, 64 << 20, 2, &grown);
    ck_assert(served_model_was_interrupted());
    ck_assert_msg(!fault, "%s", fault);
    ck_assert_uint_gt(large.bytes, experts * 5000000); /* several times the limit of growth */
    ck_assert_msg(grown < 160 << 20, "the memory has grown by %llu bytes", (unsigned long long)grown);
    http_stop(busy);
    served_model_free(&large);
}
END_TEST

Suite *http_model_suite(void)
{
    const suite_case cases[] = {
        {"model",
         {opens_by_its_index, opens_by_its_directory, opens_a_directory_without_index, prefers_one_file_to_an_index,
          opens_one_shard, reads_as_if_it_were_here, what_is_not_there, changed_meanwhile, can_be_inspected,
          loads_small_files, opens_a_split_gguf, large_stream_over_a_dead_server}},
    };
    return suite_of("http model", cases, sizeof cases / sizeof *cases, setup, teardown);
}

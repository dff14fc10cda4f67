/* SPDX-License-Identifier: MIT
 * A packed model gives the measurements of its dequantised copy to the last digit, in every scheme and from every
 * source. */
#include <organ/report.h>
#include <organ/stream.h>
#include <organ/measure.h>
#include <organ/quantize.h>
#include "formats/base/files.h"
#include "tests/kit/http_server.h"
#include "tests/kit/kimi_maker.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX "model.safetensors.index.json"

static const kimi_shape kimi = {
    .layers = 3, .dense = 1, .experts = 3, .hidden = 64, .width = 32, .shared = 32, .wide = 96, .vocabulary = 64};

static json_t *measure(const char *path, organ_measure_options options, run_way way, organ_error *error)
{
    json_t *report = NULL;
    run_engine room;
    options.models = &path;
    options.model_count = 1;
    *error = (organ_error){0};
    run_engine_open(&room, way);
    organ_measure(&options, &room.engine, NULL, &report, error);
    run_engine_close(&room);
    return report;
}

/* Returns the measured numbers of the model without its storage types and order. */
static json_t *numbers_of(json_t *report)
{
    static const char *const stored[] = {"dtype", "scheme", "stored"};
    json_t *entry = json_incref(json_array_get(json_object_get(report, "models"), 0)), *row, *by_name = json_object();
    size_t k;
    json_object_del(entry, "model");
    json_array_foreach(json_object_get(entry, "per_tensor"), k, row)
    {
        for (size_t n = 0; n < 3; n++)
            json_object_del(row, stored[n]);
        json_object_set(by_name, organ_json_text(row, "name"), row);
    }
    json_object_set_new(entry, "per_tensor", by_name);
    json_decref(report);
    return entry;
}

static json_t *must_measure(const char *path, run_way way)
{
    organ_error error;
    json_t *report = measure(path, (organ_measure_options){0}, way, &error);
    ck_assert_msg(report != NULL, "%s: %s", path, error.message);
    return report;
}

/* Releases both. */
static void must_equal(json_t *a, json_t *b, const char *what)
{
    if (!json_equal(a, b)) {
        char *const one = json_dumps(a, JSON_SORT_KEYS | JSON_INDENT(1)), *const other = json_dumps(
                                                                              b, JSON_SORT_KEYS | JSON_INDENT(1));
        size_t at = 0;
        while (one[at] && one[at] == other[at])
            at++;
        at = at > 150 ? at - 150 : 0;
        ck_abort_msg("%s: %.300s\n... but ...\n%.300s", what, one + at, other + at);
    }
    json_decref(a);
    json_decref(b);
}

static void dequantize(const char *path, const char *output)
{
    organ_error error = {0};
    json_t *report = NULL;
    run_engine room;
    run_engine_open(&room, (run_way){0});
    const organ_dequantize_options options = {
        .model = path, .write.output = output, .dtype = "bf16", .write.max_shard_size = (uint64_t)1 << 30};
    ck_assert_msg(organ_dequantize(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s: %s", path,
                  error.message);
    run_engine_close(&room);
    json_decref(report);
}

/* ---- every scheme ---- */

static int is_scheme(const struct dirent *entry) { return entry->d_name[0] != '.'; }

START_TEST(every_scheme_is_as_its_copy)
{
    struct dirent **schemes;
    const int count = scandir("fixtures/precision", &schemes, is_scheme, alphasort);
    ck_assert_int_ge(count, 30);
    for (int k = 0; k < count; k++) {
        char path[512];
        snprintf(path, sizeof path, "fixtures/precision/%s", schemes[k]->d_name);
        dequantize(path, scratch_path("copy-%d", k));
        json_t *packed = must_measure(path, (run_way){.threads = 3}),
               *copy = must_measure(scratch_path("copy-%d", k), (run_way){0});
        const json_t *model = json_object_get(json_array_get(json_object_get(packed, "models"), 0), "model");
        const json_t *plain = json_object_get(json_array_get(json_object_get(copy, "models"), 0), "model");
        ck_assert_uint_eq(organ_json_count(model, "elements"), organ_json_count(plain, "elements"));
        ck_assert_uint_eq(organ_json_count(model, "tensors") - organ_json_count(model, "companions"),
                          organ_json_count(plain, "tensors"));
        must_equal(numbers_of(packed), numbers_of(copy), path);
        must_equal(numbers_of(must_measure(path, (run_way){.threads = 1, .isa = "scalar"})),
                   numbers_of(must_measure(scratch_path("copy-%d", k), (run_way){0})), path);
        free(schemes[k]);
    }
    free(schemes);
}
END_TEST

START_TEST(stored_scheme_is_told)
{
    json_t *report = must_measure("fixtures/precision/awq-gemm-64", (run_way){0});
    const json_t *row =
        json_array_get(json_object_get(json_array_get(json_object_get(report, "models"), 0), "per_tensor"), 0);
    ck_assert_str_eq(organ_json_text(row, "name"), "model.layers.0.self_attn.q_proj.weight");
    ck_assert_str_eq(organ_json_text(row, "role"), "q_proj");
    ck_assert_str_eq(organ_json_text(row, "dtype"), "I32");
    ck_assert_str_eq(organ_json_text(row, "scheme"), "awq-gemm");
    ck_assert_msg(strstr(organ_json_text(row, "stored"), "INT4"), "%s", organ_json_text(row, "stored"));
    json_decref(report);
}
END_TEST

static void quantize_tiny(const char *output, const char *scheme)
{
    organ_error error = {0};
    json_t *report = NULL;
    run_engine room;
    run_engine_open(&room, (run_way){0});
    const organ_quantize_options options = {.model = "fixtures/tiny-qwen2",
                                            .write.output = output,
                                            .scheme = scheme,
                                            .write.max_shard_size = (uint64_t)1 << 30};
    ck_assert_msg(organ_quantize(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    run_engine_close(&room);
    json_decref(report);
}

/* Weights larger than a thread's memory are decoded window by window, from the file or from memory. */
START_TEST(windows_do_not_show)
{
    static const char *const schemes[] = {"int4-group32", "fp8-block128", "fp8-channel"};
    static const uint64_t memory[] = {64 << 20, 2200 << 10, 1900 << 10, 1800 << 10};
    for (size_t k = 0; k < 3; k++) {
        quantize_tiny(scratch_path("packed-%zu", k), schemes[k]);
        dequantize(scratch_path("packed-%zu", k), scratch_path("copy-%zu", k));
        for (size_t n = 0; n < sizeof memory / sizeof *memory; n++)
            must_equal(
                numbers_of(must_measure(scratch_path("packed-%zu", k), (run_way){.threads = 1, .memory = memory[n]})),
                numbers_of(must_measure(scratch_path("copy-%zu", k), (run_way){0})), schemes[k]);
    }
    organ_error error;
    ck_assert_ptr_null(measure(scratch_path("packed-0"), (organ_measure_options){0},
                               (run_way){.threads = 1, .memory = 1 << 20}, &error));
    ck_assert_int_eq(error.status, ORGAN_USAGE);
}
END_TEST

static void rows_as_held(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels)
{
    organ_weight_reader *reader;
    organ_error error = {0};
    ck_assert_msg(organ_weight_reader_open(model, weight, kernels, NULL, &reader, &error) == ORGAN_OK, "%s",
                  error.message);
    const organ_matrices m = organ_weight_matrices(weight);
    const size_t bytes = (size_t)(weight->elements * 2 + 64) & ~(size_t)63,
                 rows = (size_t)organ_weight_reader_rows(reader);
    size_t scratch;
    ck_assert_int_eq(organ_weight_reader_size(model, weight, kernels, rows, &scratch, &error), ORGAN_OK);
    ck_assert_uint_eq(scratch, organ_weight_reader_scratch(reader, rows));
    unsigned char *a = aligned_alloc(64, bytes), *b = aligned_alloc(64, bytes), *room = aligned_alloc(64, scratch + 64),
                  *held = aligned_alloc(64, (size_t)organ_weight_held_bytes(weight, m.count) + 64);
    ck_assert_int_eq(organ_weight_read(reader, 0, rows, ORGAN_BF16, a, room, &error), ORGAN_OK);
    for (int all = 0; all < 2; all++) { /* one matrix at a time, then all at once */
        const uint64_t some = all ? m.count : 1;
        memset(b, 0, bytes);
        for (uint64_t k = 0; k < m.count; k += some) {
            ck_assert_int_eq(organ_weight_reader_hold(reader, k, some, held, &error), ORGAN_OK);
            fault_at(FAULT_PREAD, 1, EIO, false, NULL);
            const organ_status status = organ_weight_read(reader, k * m.rows, (size_t)(some * m.rows), ORGAN_BF16,
                                                          b + k * m.rows * m.cols * 2, room, &error);
            ck_assert(!fault_fired()); /* the file is not read any more */
            ck_assert_msg(status == ORGAN_OK, "%s: %s", weight->name, error.message);
        }
        ck_assert_msg(memcmp(a, b, (size_t)weight->elements * 2) == 0, "%s", weight->name);
    }
    free(a), free(b), free(room), free(held);
    organ_weight_reader_close(reader);
}

START_TEST(held_matrices_are_not_read_again)
{
    static const char *const models[] = {"ct-packed-stacked", "fp8-stacked", "fp8-stacked-halves", "gpt-oss-mxfp4",
                                         "awq-gemm-32",       "gptq-v1-8",   "modelopt-nvfp4"};
    run_engine room;
    run_engine_open(&room, (run_way){0});
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        char path[512];
        organ_error error = {0};
        organ_model *model;
        organ_weights *weights;
        snprintf(path, sizeof path, "fixtures/precision/%s", models[k]);
        ck_assert_int_eq(organ_model_open(path, &model, &error), ORGAN_OK);
        ck_assert_int_eq(organ_weights_find(model, &weights, &error), ORGAN_OK);
        for (size_t w = 0; w < weights->count; w++)
            if (weights->weights[w].scheme != ORGAN_SCHEME_PLAIN)
                rows_as_held(model, &weights->weights[w], room.engine.kernels);
        organ_weights_free(weights);
        organ_model_close(model);
    }
    run_engine_close(&room);
}
END_TEST

/* A weight that cannot be unpacked is not measured in packed form. */
START_TEST(unknown_packing_is_refused)
{
    organ_error error;
    static const char header[] =
        "{\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"U8\",\"shape\":[4,4],\"data_offsets\":[0,16]}}";
    char file[8 + sizeof header - 1 + 16] = {(char)(sizeof header - 1)};
    memcpy(file + 8, header, sizeof header - 1);
    ck_assert_int_eq(mkdir(scratch_path("strange"), 0777), 0);
    spill(scratch_path("strange/model.safetensors"), file, sizeof file);
    const char config[] = "{\"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}";
    spill(scratch_path("strange/config.json"), config, sizeof config - 1);
    ck_assert_ptr_null(measure(scratch_path("strange"), (organ_measure_options){0}, (run_way){0}, &error));
    ck_assert_int_eq(error.status, ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "bitsandbytes"), "%s", error.message);
}
END_TEST

/* ---- Kimi-K2 ---- */

static const json_t *role_row(const json_t *entry, const char *role)
{
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(entry, "roles"), k,
                       row) if (strcmp(organ_json_text(row, "role"), role) == 0) return row;
    ck_abort_msg("no row '%s'", role);
    return NULL;
}

START_TEST(routed_and_shared_experts_are_rows)
{
    kimi_make(scratch_path("kimi"), kimi);
    dequantize(scratch_path("kimi"), scratch_path("copy"));
    json_t *packed = numbers_of(must_measure(scratch_path("kimi"), (run_way){0})),
           *copy = numbers_of(must_measure(scratch_path("copy"), (run_way){0}));
    static const struct {
        const char *role;
        unsigned tensors;
    } rows[] = {{"experts.gate_proj", 6},
                {"experts.down_proj", 6},
                {"shared_experts.gate_proj", 2},
                {"gate_proj", 1},
                {"router", 2}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        ck_assert_uint_eq(organ_json_count(role_row(packed, rows[k].role), "tensors"), rows[k].tensors);
    json_t *group;
    size_t k;
    json_array_foreach(json_object_get(packed, "groups"), k, group)
        ck_assert_str_ne(organ_json_text(group, "group"), "other");
    must_equal(packed, copy, "kimi");
}
END_TEST

/* A server of the files of a model in `directory`. */
typedef struct model_server {
    http_server *server;
    served_file files[8];
    size_t count;
} model_server;

static void serve_model(const char *directory, model_server *of)
{
    *of = (model_server){0};
    struct dirent **names;
    const int count = scandir(scratch_path("%s", directory), &names, NULL, alphasort);
    for (int k = 0; k < count; k++) {
        size_t size;
        if (names[k]->d_type == DT_REG && of->count < 8) {
            char *const head = slurp(scratch_path("%s/%s", directory, names[k]->d_name), &size);
            of->files[of->count++] =
                (served_file){.name = strdup(names[k]->d_name), .head = head, .size = size, .head_size = size};
        }
        free(names[k]);
    }
    free(names);
    unsetenv("http_proxy");
    of->server = http_start(of->files, of->count, 0);
}

static void end_server(model_server *of)
{
    http_stop(of->server);
    for (size_t k = 0; k < of->count; k++) {
        free((char *)of->files[k].head);
        free((char *)of->files[k].name);
    }
}

START_TEST(a_model_behind_a_url)
{
    kimi_make(scratch_path("kimi"), kimi);
    model_server of;
    serve_model("kimi", &of);
    must_equal(numbers_of(must_measure(http_url(of.server, INDEX), (run_way){.threads = 3})),
               numbers_of(must_measure(scratch_path("kimi"), (run_way){0})), "URL");
    organ_error error;
    json_t *report = measure(http_url(of.server, INDEX), (organ_measure_options){.output = scratch_path("out")},
                             (run_way){0}, &error);
    ck_assert_msg(report != NULL, "%s", error.message);
    must_equal(numbers_of(report), numbers_of(must_measure(scratch_path("kimi"), (run_way){0})), "URL with a journal");
    end_server(&of);
}
END_TEST

/* In this memory the embeddings do not fit a window: the second time they are read from a file without a name or, if
 * TMPDIR has no room, from the server. */
START_TEST(windows_of_a_url_do_not_show)
{
    static const char *const directories[] = {"packed", "copy"};
    quantize_tiny(scratch_path("packed"), "int4-group32");
    dequantize(scratch_path("packed"), scratch_path("copy"));
    organ_unnamed_files_use(true);
    for (size_t k = 0; k < 4; k++) {
        const char *const directory = directories[k / 2];
        model_server of;
        serve_model(directory, &of);
        fault_at(FAULT_WRITE, k % 2, ENOSPC, true, NULL);
        json_t *report = must_measure(http_url(of.server, ""), (run_way){.threads = 1, .memory = 1800 << 10});
        ck_assert_int_ge(fault_count(FAULT_WRITE), 1);
        fault_clear();
        must_equal(numbers_of(report), numbers_of(must_measure(scratch_path("%s", directory), (run_way){0})),
                   directory);
        end_server(&of);
    }
    organ_unnamed_files_use(false);
}
END_TEST

static void setup(void)
{
    fault_clear();
    scratch_make();
}

static Suite *packed_suite(void)
{
    const suite_case cases[] = {
        {"schemes", {every_scheme_is_as_its_copy, stored_scheme_is_told, unknown_packing_is_refused}},
        {"windows", {windows_do_not_show, held_matrices_are_not_read_again}},
        {"kimi", {routed_and_shared_experts_are_rows, a_model_behind_a_url, windows_of_a_url_do_not_show}},
    };
    return suite_of("measure packed", cases, sizeof cases / sizeof *cases, setup, scratch_remove);
}

int main(void)
{
    Suite *const suites[] = {packed_suite(), NULL};
    return run_suites(suites);
}

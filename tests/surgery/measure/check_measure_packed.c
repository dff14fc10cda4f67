/* SPDX-License-Identifier: MIT
 * A packed model gives the measurements of its dequantised copy to the last digit, in every scheme and from every
 * source. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/stream/weight_reader.h"
#include "orchestrator/surgery/measure/measure.h"
#include "orchestrator/surgery/precision/dequantize.h"
#include "orchestrator/surgery/precision/quantize.h"
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
    ck_assert_msg(organ_dequantize_model(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s: %s", path,
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

/* Weights larger than a thread's memory are decoded window by window, from the file or from memory. */
START_TEST(windows_do_not_show)
{
    static const char *const schemes[] = {"int4-group32", "fp8-block128", "fp8-channel"};
    static const uint64_t memory[] = {64 << 20, 2200 << 10, 1900 << 10, 1800 << 10};
    for (size_t k = 0; k < 3; k++) {
        organ_error error = {0};
        json_t *report = NULL;
        run_engine room;
        run_engine_open(&room, (run_way){0});
        const organ_quantize_options options = {.model = "fixtures/tiny-qwen2",
                                                .write.output = scratch_path("packed-%zu", k),
                                                .scheme = schemes[k],
                                                .write.max_shard_size = (uint64_t)1 << 30};
        ck_assert_msg(organ_quantize_model(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s",
                      error.message);
        run_engine_close(&room);
        json_decref(report);
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

static void arrive(const char *from, const char *name)
{
    size_t size;
    char *data = slurp(scratch_path("%s/%s", from, name), &size);
    spill(scratch_path("coming/%s", name), data, size);
    free(data);
}

static json_t *measure_coming(organ_error *error)
{
    return measure(scratch_path("coming"), (organ_measure_options){.output = scratch_path("out"), .delete_after = true},
                   (run_way){0}, error);
}

/* Adds shards in that order, one at a time; scales are in a shard before or after that of their codes. */
static void come_and_go(const char *whole, const char *const *shards, size_t count)
{
    organ_error error;
    json_t *report = NULL;
    ck_assert_int_eq(mkdir(scratch_path("coming"), 0777), 0);
    arrive(whole, INDEX);
    arrive(whole, "config.json");
    for (size_t k = 0; k < count; k++) {
        ck_assert_ptr_null(report);
        arrive(whole, shards[k]);
        report = measure_coming(&error);
        ck_assert_msg(error.status == (k + 1 < count ? ORGAN_BAD_INPUT : ORGAN_OK), "%zu: %s", k, error.message);
    }
    for (size_t k = 0; k < count; k++)
        ck_assert(!exists(scratch_path("coming/%s", shards[k])));
    ck_assert(!exists(scratch_path("out/organ")));
    must_equal(numbers_of(report), numbers_of(must_measure(scratch_path("%s", whole), (run_way){0})), whole);
}

START_TEST(scales_may_come_with_another_shard)
{
    static const int order[] = {2, 0, 3, 1};
    char names[4][64];
    const char *shards[4];
    kimi_make(scratch_path("kimi"), kimi);
    for (size_t k = 0; k < 4; k++)
        shards[k] = strcpy(names[k], kimi_shard(kimi, order[k]));
    come_and_go("kimi", shards, 4);
}
END_TEST

START_TEST(a_shard_waits_for_its_scales)
{
    organ_error error;
    kimi_make(scratch_path("kimi"), kimi);
    ck_assert_int_eq(mkdir(scratch_path("coming"), 0777), 0);
    arrive("kimi", INDEX);
    arrive("kimi", "config.json");
    arrive("kimi", kimi_shard(kimi, 1));
    ck_assert_ptr_null(measure_coming(&error));
    ck_assert(exists(scratch_path("coming/%s", kimi_shard(kimi, 1))));
    unlink(scratch_path("coming/%s", kimi_shard(kimi, 1)));
    arrive("kimi", kimi_shard(kimi, 0)); /* plain, except for a scale that the next shard needs */
    ck_assert_ptr_null(measure_coming(&error));
    ck_assert_msg(strstr(error.message, "1 of 4 shards are measured"), "%s", error.message);
    ck_assert(!exists(scratch_path("coming/%s", kimi_shard(kimi, 0))));
}
END_TEST

START_TEST(a_model_behind_a_url)
{
    served_file files[8] = {{0}};
    char names[8][64];
    kimi_make(scratch_path("kimi"), kimi);
    for (size_t k = 0; k < 6; k++) {
        const char *const other = k == 4 ? INDEX : "config.json";
        strcpy(names[k], k < 4 ? kimi_shard(kimi, (int)k) : other);
        size_t size;
        files[k].name = names[k];
        files[k].head = slurp(scratch_path("kimi/%s", names[k]), &size);
        files[k].size = files[k].head_size = size;
    }
    unsetenv("http_proxy");
    http_server *const server = http_start(files, 6, 0);
    must_equal(numbers_of(must_measure(http_url(server, INDEX), (run_way){.threads = 3})),
               numbers_of(must_measure(scratch_path("kimi"), (run_way){0})), "URL");
    organ_error error;
    json_t *report =
        measure(http_url(server, INDEX), (organ_measure_options){.output = scratch_path("out")}, (run_way){0}, &error);
    ck_assert_msg(report != NULL, "%s", error.message);
    must_equal(numbers_of(report), numbers_of(must_measure(scratch_path("kimi"), (run_way){0})), "URL with a journal");
    http_stop(server);
    for (size_t k = 0; k < 6; k++)
        free((char *)files[k].head);
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
        {"kimi",
         {routed_and_shared_experts_are_rows, scales_may_come_with_another_shard, a_shard_waits_for_its_scales,
          a_model_behind_a_url}},
    };
    return suite_of("measure packed", cases, sizeof cases / sizeof *cases, setup, scratch_remove);
}

int main(void)
{
    Suite *const suites[] = {packed_suite(), NULL};
    return run_suites(suites);
}

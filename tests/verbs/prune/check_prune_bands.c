/* SPDX-License-Identifier: MIT
 * Tests of prunings without a text in bands of rows: the same bytes for any number of bands, with the least memory that
 * the error names and with plenty. */
#include <organ/models.h>
#include <organ/machine.h>
#include "orchestrator/stream/product.h"
#include "tests/kit/forward_rig.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TINY "fixtures/tiny-qwen2"

typedef struct way {
    const char *donor, *method, *imatrix, *pattern, *targets;
    double sparsity; /* 0: none */
    unsigned threads;
    uint64_t memory;
} way;

static organ_status prune(const char *output, way w, organ_error *error)
{
    const method_way whole = {.donor = w.donor,
                              .targets = w.targets,
                              .sparsity = w.sparsity > 0 ? w.sparsity : -1,
                              .force = true,
                              .threads = w.threads ? w.threads : 1,
                              .memory = w.memory,
                              .options = {.method = w.method,
                                          .imatrix = w.imatrix,
                                          .pattern = w.pattern,
                                          .calibration.samples = 128,
                                          .calibration.context = 512,
                                          .effort = 1}};
    return method_prune(output, &whole, error);
}

static void must_prune(const char *output, way w)
{
    organ_error error;
    ck_assert_msg(prune(output, w, &error) == ORGAN_OK, "%s", error.message);
}

/* Returns the least memory from the error: "--memory 640K is enough". */
static uint64_t min_memory(way w)
{
    static const char before[] = "; --memory ";
    char size[24];
    uint64_t bytes = 0;
    organ_error error;
    w.memory = 1;
    method_must_have_failed(prune("out", w, &error), ORGAN_USAGE, &error, " is enough");
    const char *const at = strstr(error.message, before);
    ck_assert(at && sscanf(at + sizeof before - 1, "%23s", size) == 1 && organ_quantity_parse(size, &bytes));
    return bytes;
}

static void same_files_in(const char *a, const char *b, const char *const *names)
{
    for (; *names; names++)
        ck_assert_msg(same_files(scratch_path("%s/%s", a, *names), scratch_path("%s/%s", b, *names)), "%s differs",
                      *names);
}

/* Runs with the least memory, and so with the most bands; with somewhat more; with plenty. */
static void check_bands(way w, const char *const *names)
{
    w.threads = 1;
    w.memory = min_memory(w);
    must_prune("least", w);
    organ_error error;
    way less = w;
    less.memory -= 1024;
    method_must_have_failed(prune("out", less, &error), ORGAN_USAGE, &error, " is too little for tensor '");
    w.threads = 3;
    w.memory = min_memory(w);
    must_prune("threads", w);
    same_files_in("least", "threads", names);
    w.memory = w.memory * 5 / 4;
    must_prune("more", w);
    same_files_in("least", "more", names);
    w.threads = 2;
    w.memory = 0;
    must_prune("plenty", w);
    same_files_in("least", "plenty", names);
}

/* ---- bit identity ---- */

/* Makes matrices larger than the least memory, also stacked, of all types that can be pruned. With plenty of memory,
 * several workers read and write parts of the largest one. */
static void make_donor(void)
{
    static const made_tensor tensors[] = {{"model.layers.0.mlp.down_proj.weight", ORGAN_F16, 2, {300, 1000}},
                                          {"model.layers.0.mlp.experts.down_proj", ORGAN_BF16, 3, {3, 2500, 40}},
                                          {"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {4000, 72}},
                                          {"model.layers.0.self_attn.q_proj.weight", ORGAN_F32, 2, {1577, 128}},
                                          {"model.layers.0.self_attn.v_proj.weight", ORGAN_F32, 2, {5003, 128}}};
    mkdir(scratch_path("donor"), 0777);
    make_shard(scratch_path("donor/model.safetensors"), tensors, sizeof tensors / sizeof *tensors);
}

START_TEST(magnitude)
{
    static const char *const names[] = {"model.safetensors", "organ/prune.jsonl", NULL};
    static const double percents[] = {0.001, 33.3, 50, 99.9999};
    make_donor();
    for (size_t k = 0; k < sizeof percents / sizeof *percents; k++)
        check_bands((way){.donor = scratch_path("donor"), .method = "magnitude", .sparsity = percents[k]}, names);
    check_bands((way){.donor = scratch_path("donor"), .method = "magnitude", .pattern = "2:4"}, names);
}
END_TEST

static const char *const tiny_names[] = {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                         "model-00003-of-00003.safetensors", "organ/prune.jsonl", NULL};

START_TEST(by_an_imatrix)
{
    static const way ways[] = {{.method = "wanda", .sparsity = 50},
                               {.method = "wanda", .pattern = "4:8"},
                               {.method = "physarum-v2", .sparsity = 50},
                               {.method = "physarum-v2"},
                               {.method = "physarum-v2", .pattern = "2:4"}};
    way w = ways[_i];
    w.donor = TINY;
    w.targets = "*.layers.1.mlp.*_proj.weight";
    w.imatrix = "fixtures/imatrix/tiny-qwen2.gguf";
    check_bands(w, tiny_names);
}
END_TEST

/* ---- masks ---- */

/* Makes a model "donor" of one FP32 matrix. */
static void make_matrix(const float *values, size_t rows, size_t cols)
{
    char header[200];
    const size_t bytes = rows * cols * sizeof *values;
    snprintf(header, sizeof header,
             "{\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%zu]}}",
             rows, cols, bytes);
    const uint64_t length = strlen(header);
    char *const file = malloc(sizeof length + length + bytes);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, length);
    memcpy(file + sizeof length + length, values, bytes);
    mkdir(scratch_path("donor"), 0777);
    spill(scratch_path("donor/model.safetensors"), file, sizeof length + length + bytes);
    free(file);
}

enum { ROWS = 20000, COLS = 33, ALL = ROWS * COLS };

static float values[ALL];

/* Of weights of equal magnitude the first ones go, in whatever band; zeros go before all others. */
START_TEST(equals_go_in_order)
{
    size_t size;
    for (size_t k = 0; k < ALL; k++)
        if (k % 10 == 9)
            values[k] = k % 20 == 9 ? -0.0f : 0.0f;
        else
            values[k] = k % 3 ? 0.25f : -0.25f;
    make_matrix(values, ROWS, COLS);
    way w = {.donor = scratch_path("donor"), .method = "magnitude", .sparsity = 50};
    w.memory = min_memory(w);
    must_prune("out", w);
    char *const bytes = slurp(scratch_path("out/model.safetensors"), &size);
    const char *const out = bytes + size - sizeof values;
    size_t left = (size_t)llround(0.5 * ALL) - ALL / 10;
    for (size_t k = 0; k < ALL; k++) {
        float is, requested = values[k];
        memcpy(&is, out + k * sizeof is, sizeof is);
        if (k % 10 == 9 || left > 0) {
            requested = 0.0f;
            left -= k % 10 != 9;
        }
        REQUIRE_MSG(memcmp(&is, &requested, sizeof is) == 0, "weight %zu is %g", k, (double)is);
    }
    free(bytes);
}
END_TEST

/* ---- failures in any band ---- */

START_TEST(not_finite)
{
    static const size_t rows[] = {0, 12345, ROWS - 1};
    char told[100];
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < ALL; i++)
            values[i] = (float)(i % 7);
        values[rows[k] * COLS + 32] = k == 1 ? NAN : -INFINITY;
        values[ALL - 1] = INFINITY;
        make_matrix(values, ROWS, COLS);
        snprintf(told, sizeof told, "model.layers.0.mlp.up_proj.weight: weight [%zu, 32] is %s; it must be finite",
                 rows[k], (const char *[]){"-inf", "nan", "inf"}[k]);
        way w = {.donor = scratch_path("donor"), .method = "magnitude", .sparsity = 50};
        const uint64_t least = min_memory(w);
        for (unsigned threads = 1; threads < 4; threads += 2) {
            organ_error error;
            w.threads = threads;
            w.memory = threads > 1 ? 0 : least;
            method_must_have_failed(prune("out", w, &error), ORGAN_BAD_INPUT, &error, told);
        }
    }
}
END_TEST

START_TEST(reads_and_writes_that_fail)
{
    organ_error error;
    for (size_t i = 0; i < ALL; i++)
        values[i] = (float)i;
    make_matrix(values, ROWS, COLS);
    way w = {.donor = scratch_path("donor"), .method = "magnitude", .sparsity = 50};
    const uint64_t least = min_memory(w);
    w.memory = least;
    fault_clear();
    must_prune("out", w);
    const long reads = fault_count(FAULT_PREAD), writes = fault_count(FAULT_PWRITE);
    fault_clear();
    w.memory = 0;
    must_prune("out", w);
    /* More than ten bands are read, each three times to find the threshold and once for the mask. */
    ck_assert_int_gt(reads - fault_count(FAULT_PREAD), 3 * 10 + 9);
    ck_assert_int_ge(writes - fault_count(FAULT_PWRITE), 10);
    w.memory = least;
    for (int part = 2; part < 5; part++) {
        fault_at(FAULT_PREAD, reads * part / 6, EIO, true, NULL);
        prune("other", w, &error);
        ck_assert_int_eq(error.status, ORGAN_IO);
        fault_clear();
        fault_at(FAULT_PWRITE, writes * part / 6, ENOSPC, true, NULL);
        prune("other", w, &error);
        ck_assert_int_eq(error.status, ORGAN_IO);
        fault_clear();
        ck_assert(!scratch_left("other"));
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"bytes", {magnitude}},
        {"masks", {equals_go_in_order}},
        {"faults", {not_finite, reads_and_writes_that_fail}},
    };
    Suite *const suite = suite_of("prune_bands", cases, sizeof cases / sizeof *cases, method_setup, method_teardown);
    TCase *const imatrix = tcase_create("imatrix");
    tcase_add_checked_fixture(imatrix, method_setup, method_teardown);
    tcase_add_loop_test(imatrix, by_an_imatrix, 0, 5);
    suite_add_tcase(suite, imatrix);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}

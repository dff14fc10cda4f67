/* SPDX-License-Identifier: MIT
 * Tests of calibrated pruning as a library: bit identity, the requested sparsity, the order of methods by quality, and
 * failures that leave nothing. */
#include <organ/tokenizer.h>
#include <organ/machine.h>
#include "orchestrator/stream/product.h"
#include <organ/prune.h>
#include "tests/kit/resume_rig.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TINY "fixtures/tiny-qwen2"

/* Differences from the usual run. */
typedef struct way {
    const char *donor;
    unsigned threads;
    uint64_t memory;
    double sparsity; /* 0: none */
    organ_prune_calibrated_options c;
    const char *targets, *moments;
    bool force;
} way;

static organ_status prune(const char *output, way w, organ_error *error)
{
    const bool text = !w.c.method || strcmp(w.c.method, "magnitude") != 0;
    w.c.method = w.c.method ? w.c.method : "physarum-v2";
    w.c.calibration.text = w.c.calibration.text || !text ? w.c.calibration.text : scratch_path("text");
    if (!w.c.calibration.samples)
        w.c.calibration.samples = text ? 12 : 128;
    if (!w.c.calibration.context)
        w.c.calibration.context = text ? 40 : 512;
    w.c.effort = w.c.effort > 0 ? w.c.effort : 1;
    const method_way whole = {.donor = w.donor ? w.donor : scratch_path("donor"),
                              .targets = w.targets,
                              .sparsity = w.sparsity > 0 ? w.sparsity : -1,
                              .force = w.force,
                              .threads = w.threads ? w.threads : 1,
                              .memory = w.memory,
                              .moments = w.moments,
                              .options = w.c};
    return method_prune(output, &whole, error);
}

static void must_prune(const char *output, way w)
{
    organ_error error;
    ck_assert_msg(prune(output, w, &error) == ORGAN_OK, "%s", error.message);
}

static void must_fail(way w, organ_status status, const char *told)
{
    organ_error error;
    method_must_have_failed(prune("out", w, &error), status, &error, told);
}

/* ---- the donor's config.json ---- */

/* Writes members into the donor's config.json. */
static void configure(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    json_t *const config = json_load_file(scratch_path("donor/config.json"), 0, NULL), *const news = json_vpack_ex(
                                                                                           NULL, 0, format, values);
    va_end(values);
    ck_assert(config && news);
    ck_assert_int_eq(json_object_update(config, news), 0);
    ck_assert_int_eq(json_dump_file(config, scratch_path("donor/config.json"), 0), 0);
    json_decref(config);
    json_decref(news);
}

/* ---- results ---- */

static void same_outputs(const char *a, const char *b)
{
    static const char *const files[] = {"model.safetensors", "config.json", "tokenizer.json", "organ/prune.jsonl"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        ck_assert_msg(same_files(scratch_path("%s/%s", a, files[k]), scratch_path("%s/%s", b, files[k])),
                      "%s differs in %s and %s", files[k], a, b);
}

START_TEST(same_bytes_whatever_the_way)
{
    static const char *const methods[] = {"physarum-v2", "sparsegpt", "wanda", "alps", "physarum-v3"};
    method_make_donor("qwen3");
    for (size_t m = 0; m < 5; m++) {
        const way usual = {.sparsity = 40, .threads = 1, .force = true, .c = {.method = methods[m]}};
        way other = usual;
        must_prune("a", usual);
        other.threads = 3;
        other.memory = (uint64_t)128 << 20;
        must_prune("b", other);
        same_outputs("a", "b");
    }
}
END_TEST

START_TEST(seed_and_text_decide)
{
    method_make_donor("llama");
    must_prune("a", (way){.sparsity = 40});
    must_prune("b", (way){.sparsity = 40, .c = {.seed = 1}});
    ck_assert(!same_files(scratch_path("a/model.safetensors"), scratch_path("b/model.safetensors")));
    must_prune("c", (way){.sparsity = 40, .c = {.calibration.samples = 11}});
    ck_assert(!same_files(scratch_path("a/model.safetensors"), scratch_path("c/model.safetensors")));
}
END_TEST

static double real_at(const char *path)
{
    const json_t *at = last_report;
    char copy_of[100], *rest = NULL;
    snprintf(copy_of, sizeof copy_of, "%s", path);
    for (char *key = strtok_r(copy_of, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
        at = json_object_get(at, key);
    ck_assert_msg(json_is_number(at), "%s", path);
    return json_number_value(at);
}

/* Every target of every method has the requested sparsity; the counts add up and equal those of an audit. */
START_TEST(sparsity_is_met_and_audited)
{
    static const char *const methods[] = {"physarum-v2", "sparsegpt", "alps", "physarum-v3", "wanda", "magnitude"};
    method_make_donor("qwen2");
    for (size_t m = 0; m < 6; m++) {
        must_prune("out", (way){.sparsity = 40, .force = true, .c = {.method = methods[m]}});
        ck_assert_double_eq_tol(real_at("per_tensor.min"), 40, 1.6); /* in rows of 32, a step of wanda is 3 points */
        ck_assert_double_eq_tol(real_at("per_tensor.max"), 40, 1.6);
        ck_assert_double_eq(real_at("coverage.percent"), 100);
        const double killed = real_at("totals.target.killed"), changed = real_at("compensated");
        ck_assert((changed > 0) == (m < 4));
        session s;
        organ_error error;
        ck_assert_int_eq(session_open(&s, TINY, 2, ROOMY, &error), ORGAN_OK);
        const organ_audit_options plain = {.donor = scratch_path("donor"), .pruned = scratch_path("out")};
        organ_audit_options lenient = plain;
        lenient.compensated = true;
        json_decref(last_report);
        ck_assert_int_eq(organ_audit(&plain, &s.engine, NULL, &last_report, &error),
                         m < 4 ? ORGAN_CHECK_FAILED : ORGAN_OK);
        ck_assert(m >= 4 || strstr(error.message, "--refitted") != NULL);
        json_decref(last_report);
        error = (organ_error){0};
        ck_assert_msg(organ_audit(&lenient, &s.engine, NULL, &last_report, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_double_eq(real_at("totals.target.killed"), killed);
        ck_assert_double_eq(real_at("compensated"), changed);
        session_close(&s);
    }
}
END_TEST

/* Returns the values of a tensor of an output, which the caller frees. */
static float *values_of(const char *output, const char *name, size_t *rows, size_t *cols)
{
    organ_model *model;
    organ_error error = {0};
    const char *why;
    ck_assert_int_eq(organ_model_open(scratch_path("%s", output), &model, &error), ORGAN_OK);
    const organ_tensor *t = organ_model_find(model, name);
    void *bytes = malloc(t->bytes);
    float *values = malloc(t->elements * sizeof *values);
    ck_assert_int_eq(organ_model_read(model, t->file, bytes, t->bytes, t->offset, &error), ORGAN_OK);
    organ_widen(organ_kernels_choose(organ_cpu_detect(), NULL, &why), t->dtype, bytes, values, t->elements);
    *rows = t->shape[0];
    *cols = t->shape[1];
    organ_model_close(model);
    free(bytes);
    return values;
}

START_TEST(patterns_hold)
{
    static const char *const methods[] = {"physarum-v2", "sparsegpt", "wanda", "magnitude"};
    method_make_donor("qwen3");
    for (size_t k = 0; k < 8; k++) {
        const size_t of = k % 2 ? 8 : 4;
        size_t rows, cols;
        must_prune("out", (way){.force = true, .c = {.method = methods[k / 2], .pattern = k % 2 ? "4:8" : "2:4"}});
        float *v = values_of("out", "model.layers.1.mlp.down_proj.weight", &rows, &cols);
        for (size_t g = 0; g < rows * cols / of; g++) {
            size_t zero = 0;
            for (size_t j = 0; j < of; j++) {
                zero += v[g * of + j] == 0;
                REQUIRE(v[g * of + j] != 0 || !signbit(v[g * of + j]));
            }
            ck_assert_msg(zero >= of / 2, "%s: group %zu has %zu zeros", methods[k / 2], g, zero);
        }
        free(v);
    }
}
END_TEST

START_TEST(experts)
{
    static const char *const kinds[] = {"qwen3moe", "qwen3moe-stacked", "mixtral"};
    for (size_t k = 0; k < 3; k++) {
        method_make_donor(kinds[k]);
        must_prune("whole", (way){.sparsity = 40, .force = true, .c = {.calibration.samples = 40}});
        ck_assert_double_eq(real_at("coverage.percent"), 100);
        ck_assert_int_eq(json_object_size(json_object_get(json_object_get(last_report, "calibration"), "fallback")), 0);
        must_prune("one",
                   (way){.sparsity = 40, .force = true, .c = {.calibration.samples = 1, .calibration.context = 1}});
        ck_assert_double_eq(real_at("calibration.fallback.experts"),
                            3 * 6); /* all of them: the only token is fewer than eight */
    }
}
END_TEST

/* The inputs of all matrices but o are wider than a block. The memory does not change the result. */
START_TEST(moments_are_whole_unless_blocks_are_requested)
{
    way w = {.donor = TINY,
             .sparsity = 50,
             .moments = "blocks",
             .targets = "model.layers.0.self_attn.[ko]_proj.weight,model.layers.0.mlp.down_proj.weight",
             .c = {.calibration.text = TINY "/calibration.txt", .calibration.samples = 4, .calibration.context = 64}};
    must_prune("blocks", w);
    ck_assert_double_eq(real_at("calibration.block_diagonal_tensors"), 3);
    size_t size;
    char *const lines = slurp(scratch_path("blocks/organ/prune.jsonl"), &size), *const wide = strstr(
                                                                                    lines, "mlp.down_proj.weight");
    ck_assert(wide && strstr(wide, "\"block_diagonal\":true") < strchr(wide, '\n'));
    free(lines);
    w.moments = NULL;
    must_prune("whole", w);
    ck_assert_double_eq(real_at("calibration.block_diagonal_tensors"), 0);
    w.memory = (uint64_t)64 << 20;
    must_prune("tight", w);
    same_trees("whole", "tight", "prune.json");
    w.memory = (uint64_t)40 << 20;
    must_fail(w, ORGAN_USAGE, "(`moments` blocks needs ");
    w.memory = 0;
    w.moments = "halves";
    must_fail(w, ORGAN_USAGE, "`moments` 'halves' is unknown: whole or blocks");
}
END_TEST

/* The hidden states of a usual calibration do not fit the usual memory for a model as wide as Qwen2.5-0.5B; the run
 * does not begin. */
START_TEST(hidden_states_that_do_not_fit)
{
    static const made_tensor tensors[] = {{"model.embed_tokens.weight", ORGAN_BF16, 2, {96, 896}},
                                          {"model.layers.0.input_layernorm.weight", ORGAN_BF16, 1, {896}},
                                          {"model.layers.0.mlp.down_proj.weight", ORGAN_BF16, 2, {896, 4864}},
                                          {"model.layers.0.mlp.gate_proj.weight", ORGAN_BF16, 2, {4864, 896}},
                                          {"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {4864, 896}},
                                          {"model.layers.0.post_attention_layernorm.weight", ORGAN_BF16, 1, {896}},
                                          {"model.layers.0.self_attn.k_norm.weight", ORGAN_BF16, 1, {64}},
                                          {"model.layers.0.self_attn.k_proj.weight", ORGAN_BF16, 2, {128, 896}},
                                          {"model.layers.0.self_attn.o_proj.weight", ORGAN_BF16, 2, {896, 896}},
                                          {"model.layers.0.self_attn.q_norm.weight", ORGAN_BF16, 1, {64}},
                                          {"model.layers.0.self_attn.q_proj.weight", ORGAN_BF16, 2, {896, 896}},
                                          {"model.layers.0.self_attn.v_proj.weight", ORGAN_BF16, 2, {128, 896}},
                                          {"model.norm.weight", ORGAN_BF16, 1, {896}}};
    static char text[128 * 512];
    method_make_donor("qwen3");
    configure("{s:i, s:i, s:i, s:i, s:i, s:i, s:[s]}", "num_hidden_layers", 1, "hidden_size", 896, "intermediate_size",
              4864, "head_dim", 64, "num_attention_heads", 14, "num_key_value_heads", 2, "layer_types",
              "full_attention");
    make_shard(scratch_path("donor/model.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    memset(text, 'a', sizeof text);
    spill(scratch_path("text"), text, sizeof text);
    const way w = {
        .sparsity = 50, .memory = (uint64_t)512 << 20, .c = {.calibration.samples = 128, .calibration.context = 512}};
    must_fail(w, ORGAN_USAGE,
              "--memory 512M is too little for the hidden states of 128 windows (`samples`) of 512 tokens (`context`), "
              "one layer, its second moments (`moments` blocks needs ");
}
END_TEST

/* ---- comparison of methods ---- */

/* Returns the distance of layer 0 of the pruned model from that of the donor on tokens outside of the calibration. */
static double distance(session *donor, const char *pruned, const organ_windows *windows)
{
    const size_t n = windows->begin[windows->count] * (size_t)organ_forward_describe(donor->forward)->hidden;
    session other;
    organ_error error;
    organ_layer *layer[2];
    float *states[2] = {malloc(n * sizeof(float)), malloc(n * sizeof(float))};
    double sum = 0;
    ck_assert_int_eq(session_open(&other, scratch_path("%s", pruned), 2, ROOMY, &error), ORGAN_OK);
    session *const both[2] = {donor, &other};
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(organ_forward_embed(both[k]->forward, windows, states[k], &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_load(both[k]->forward, 0, &layer[k], &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(both[k]->forward, layer[k], windows, states[k], NULL, &error), ORGAN_OK);
        organ_layer_free(layer[k]);
    }
    for (size_t k = 0; k < n; k++)
        sum += (double)(states[0][k] - states[1][k]) * (double)(states[0][k] - states[1][k]);
    session_close(&other);
    free(states[0]);
    free(states[1]);
    return sum;
}

START_TEST(better_methods_are_better)
{
    static const char *const methods[] = {"physarum-v2", "sparsegpt", "wanda"};
    const size_t begin[] = {0, 128, 256, 384, 512}, samples = sampled_unless_all(32, 12, 12);
    double far[3];
    session donor;
    organ_error error;
    organ_tokenizer *tokenizer;
    uint32_t *ids;
    size_t size, count;
    ck_assert_int_eq(session_open(&donor, TINY, 2, ROOMY, &error), ORGAN_OK);
    ck_assert_int_eq(organ_tokenizer_open(donor.model, &tokenizer, &error), ORGAN_OK);
    char *text = slurp(TINY "/heldout.txt", &size);
    ck_assert_int_eq(organ_tokenizer_encode(tokenizer, text, 8000, true, &ids, &count, &error), ORGAN_OK);
    ck_assert_uint_ge(count, 512);
    const organ_windows windows = {ids, 4, begin};
    for (size_t m = 0; m < 3; m++) {
        must_prune("out", (way){.donor = TINY,
                                .sparsity = 50,
                                .threads = 2,
                                .force = true,
                                .targets = "model.layers.0.*_proj.weight",
                                .c = {.method = methods[m],
                                      .calibration.text = TINY "/calibration.txt",
                                      .calibration.samples = (unsigned)samples,
                                      .calibration.context = 128}});
        ck_assert_double_eq(real_at("calibration.block_diagonal_tensors"), 0);
        far[m] = distance(&donor, "out", &windows);
    }
    ck_assert_msg(far[0] < far[1] && far[1] < far[2], "v2 %g, sparsegpt %g, wanda %g", far[0], far[1], far[2]);
    organ_tokenizer_close(tokenizer);
    session_close(&donor);
    free(text);
    free(ids);
}
END_TEST

/* ---- failures ---- */

/* Sets the memory that the error names. */
static way memory_that_is_enough(way w)
{
    static const char before[] = "; --memory ";
    char size[24];
    organ_error error;
    ck_assert_int_eq(prune("out", w, &error), ORGAN_USAGE);
    const char *const at = strstr(error.message, before);
    ck_assert_msg(at && sscanf(at + sizeof before - 1, "%23s", size) == 1 && organ_quantity_parse(size, &w.memory),
                  "%s", error.message);
    return w;
}

START_TEST(refusals)
{
    method_make_donor("qwen3");
    const way usual = {.sparsity = 40};
    way w = usual;
    w.c.calibration.text = scratch_path("missing");
    must_fail(w, ORGAN_IO, "missing");
    w = usual;
    w.c.calibration.context = 100000;
    must_fail(w, ORGAN_BAD_INPUT, "0 windows of 100000 (`context`), but at least 1 is needed");
    w = usual;
    w.memory = (uint64_t)2 << 20;
    must_fail(w, ORGAN_USAGE, "is too little for ");
    must_prune("enough", memory_that_is_enough(w));
    w = usual;
    w.targets = "model.embed_tokens.weight";
    must_fail(w, ORGAN_USAGE, "in none of the");
    w = usual;
    w.c.effort = 101;
    must_fail(w, ORGAN_USAGE, "effort 101");
    make_tokenizer(scratch_path("donor/tokenizer.json"), 26 * 26);
    must_fail(usual, ORGAN_BAD_INPUT, "vocabulary");
    spill(scratch_path("donor/tokenizer.json"), "{}", 2);
    must_fail(usual, ORGAN_BAD_INPUT, "tokenizer.json");
    ck_assert_int_eq(unlink(scratch_path("donor/tokenizer.json")), 0);
    must_fail(usual, ORGAN_BAD_INPUT, "tokenizer");
}
END_TEST

START_TEST(weights_that_are_no_numbers)
{
    organ_model *model;
    organ_error error = {0};
    method_make_donor("qwen3");
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &model, &error), ORGAN_OK);
    const organ_tensor *t = organ_model_find(model, "model.layers.1.mlp.up_proj.weight");
    const off_t at = (off_t)t->offset;
    const uint64_t size = t->bytes / t->elements;
    organ_model_close(model);
    const int fd = open(scratch_path("donor/model.safetensors"), O_RDWR);
    ck_assert_int_eq(pwrite(fd, (unsigned char[4]){0xff, 0xff, 0xff, 0xff}, size, at), (ssize_t)size);
    close(fd);
    must_fail((way){.sparsity = 40}, ORGAN_BAD_INPUT, "model.layers.1.mlp");
    must_fail((way){.sparsity = 40, .c = {.method = "magnitude"}}, ORGAN_BAD_INPUT,
              "model.layers.1.mlp.up_proj.weight");
}
END_TEST

/* Makes a donor with the shapes of fixtures/forward/qwen3 in F16; one projection is near the limit of F16, so that
 * compensated weights overflow. */
static void make_full_range(void)
{
    static const made_tensor tensors[] = {{"model.embed_tokens.weight", ORGAN_F16, 2, {96, 32}},
                                          {"model.layers.0.input_layernorm.weight", ORGAN_F16, 1, {32}},
                                          {"model.layers.0.mlp.down_proj.weight", ORGAN_F16, 2, {32, 48}},
                                          {"model.layers.0.mlp.gate_proj.weight", ORGAN_F16, 2, {48, 32}},
                                          {"model.layers.0.mlp.up_proj.weight", ORGAN_F16, 2, {48, 32}},
                                          {"model.layers.0.post_attention_layernorm.weight", ORGAN_F16, 1, {32}},
                                          {"model.layers.0.self_attn.k_norm.weight", ORGAN_F16, 1, {16}},
                                          {"model.layers.0.self_attn.k_proj.weight", ORGAN_F16, 2, {32, 32}},
                                          {"model.layers.0.self_attn.o_proj.weight", ORGAN_F16, 2, {32, 64}},
                                          {"model.layers.0.self_attn.q_norm.weight", ORGAN_F16, 1, {16}},
                                          {"model.layers.0.self_attn.q_proj.weight", ORGAN_F16, 2, {64, 32}},
                                          {"model.layers.0.self_attn.v_proj.weight", ORGAN_F16, 2, {32, 32}},
                                          {"model.norm.weight", ORGAN_F16, 1, {32}}};
    organ_model *model;
    organ_error error = {0};
    method_make_donor("qwen3");
    configure("{s:i, s:[s]}", "num_hidden_layers", 1, "layer_types", "full_attention");
    make_shard(scratch_path("donor/model.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    ck_assert_msg(organ_model_open(scratch_path("donor"), &model, &error) == ORGAN_OK, "%s", error.message);
    const organ_tensor *t = organ_model_find(model, "model.layers.0.mlp.up_proj.weight");
    const int fd = open(scratch_path("donor/model.safetensors"), O_RDWR);
    const uint16_t max = 0x7bff; /* 65504 */
    for (uint64_t k = 0; k < t->elements; k++)
        ck_assert_int_eq(pwrite(fd, &max, sizeof max, (off_t)(t->offset + k * sizeof max)), sizeof max);
    close(fd);
    organ_model_close(model);
}

START_TEST(compensation_beyond_the_range)
{
    static const char *const methods[] = {"physarum-v2", "sparsegpt"};
    make_full_range();
    for (size_t m = 0; m < 2; m++)
        must_fail((way){.sparsity = 40, .c = {.method = methods[m]}}, ORGAN_BAD_INPUT,
                  "tensor 'model.layers.0.mlp.up_proj.weight': weight ");
    must_fail((way){.sparsity = 40}, ORGAN_BAD_INPUT, "exceeds the range of F16 after compensation");
    must_prune("out", (way){.sparsity = 40, .c = {.no_compensate = true}});
}
END_TEST

static void touch(void)
{
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path("donor/model.safetensors"), then, 0), 0);
}

static void cut(void) { ck_assert_int_eq(truncate(scratch_path("donor/model.safetensors"), 5000), 0); }

/* Returns the values of a tensor, which the caller frees. */
static float *values_in(const char *directory, const char *name, const organ_tensor **tensor, organ_model **model)
{
    organ_error error = {0};
    ck_assert_msg(organ_model_open(scratch_path("%s", directory), model, &error) == ORGAN_OK, "%s", error.message);
    *tensor = organ_model_find(*model, name);
    ck_assert_ptr_nonnull(*tensor);
    float *const values = malloc((size_t)(*tensor)->bytes);
    ck_assert_ptr_nonnull(values);
    ck_assert_int_eq(
        organ_model_read(*model, (*tensor)->file, values, (size_t)(*tensor)->bytes, (*tensor)->offset, &error),
        ORGAN_OK);
    return values;
}

/* gpt-oss stores experts as in_features x out_features. Wanda removes half of the inputs of each output, and kept
 * weights do not change. */
START_TEST(crossed_stacks_are_pruned_along_inputs)
{
    static const char *const names[] = {"model.layers.1.mlp.experts.gate_up_proj",
                                        "model.layers.1.mlp.experts.down_proj"};
    method_make_donor("llama"); /* for the tokenizer and the text */
    arch_reference reference = arch_make("gpt_oss", scratch_path("oss"));
    arch_reference_free(&reference);
    make_tokenizer(scratch_path("oss/tokenizer.json"), 0);
    char donor_path[256];
    snprintf(donor_path, sizeof donor_path, "%s", scratch_path("oss"));
    must_prune("out", (way){.donor = donor_path, .sparsity = 50, .c = {.method = "wanda"}});
    for (size_t n = 0; n < 2; n++) {
        organ_model *before, *after;
        const organ_tensor *t, *pruned;
        float *const donor = values_in("oss", names[n], &t, &before), *const made =
                                                                          values_in("out", names[n], &pruned, &after);
        const size_t in = (size_t)t->shape[1], out = (size_t)t->shape[2];
        for (size_t column = 0; column < (size_t)t->shape[0] * out; column++) {
            size_t zero = 0;
            for (size_t row = 0; row < in; row++) {
                const size_t at = (column / out * in + row) * out + column % out;
                zero += made[at] == 0;
                ck_assert(made[at] == 0 || made[at] == donor[at]);
            }
            ck_assert_uint_eq(zero, in / 2);
        }
        free(donor);
        free(made);
        organ_model_close(before);
        organ_model_close(after);
    }
}
END_TEST

START_TEST(donor_that_changes)
{
    static const char *const methods[] = {"physarum-v2", "wanda", "magnitude"};
    for (size_t m = 0; m < 3; m++) {
        method_make_donor("qwen3");
        fault_at(FAULT_PWRITE, 3, 0, false, touch);
        must_fail((way){.sparsity = 40, .c = {.method = methods[m]}}, ORGAN_BAD_INPUT,
                  "model.safetensors: was written to while");
        fault_clear();
        method_make_donor("qwen3");
        fault_at(FAULT_PWRITE, 3, 0, false, cut);
        must_fail((way){.sparsity = 40, .c = {.method = methods[m]}}, ORGAN_BAD_INPUT, " while it was read, ");
        fault_clear();
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"results",
         {same_bytes_whatever_the_way, seed_and_text_decide, sparsity_is_met_and_audited, patterns_hold, experts,
          crossed_stacks_are_pruned_along_inputs, moments_are_whole_unless_blocks_are_requested,
          hidden_states_that_do_not_fit}},
        {"objective", {better_methods_are_better}},
        {"faults", {refusals, weights_that_are_no_numbers, compensation_beyond_the_range, donor_that_changes}},
    };
    Suite *const suites[] = {
        suite_of("prune_calibrated", cases, sizeof cases / sizeof *cases, method_setup, method_teardown),
        prune_resume_suite(), prune_allocation_suite(), NULL};
    return run_suites(suites);
}

/* SPDX-License-Identifier: MIT
 * Tests of FP4 in compressed-tensors and of the schemes of MLX: each scale is the best that its type can store, found
 * again by trying all, errors are no larger than those of the owners' nearest rounding, names, types, configuration. */
#include "tests/verbs/quantize/convert_rig.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER "model.layers.0."

/* ---- twins ---- */

static float e4m3_of(unsigned byte)
{
    return byte < 8 ? ldexpf((float)byte, -9) : ldexpf(8 + (float)(byte & 7), (int)(byte >> 3) - 10);
}

/* Returns the E2M1 (or E4M3) number nearest to x, ties to even. */
static double nearest_number(double x, bool e4m3)
{
    const int least = e4m3 ? -5 : 1, fraction = e4m3 ? 3 : 1;
    const double most = e4m3 ? 448 : 6;
    int exponent;
    frexp(x, &exponent);
    const double step = ldexp(1, (exponent < least ? least : exponent) - 1 - fraction);
    return fmin(fmax(nearbyint(x / step) * step, -most), most);
}

static double error_with(const float *values, size_t n, double scale, bool e4m3)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        const double lost = (double)values[k] - nearest_number((double)values[k] / scale, e4m3) * scale;
        sum += lost * lost;
    }
    return sum;
}

/* The fit of mlx (mlx/backend/cpu/quantized.cpp): codes belong to FP32 numbers, which are then rounded to BF16. */
static float to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static double error_of_mlx(const float *values, size_t n, unsigned bits)
{
    float low = INFINITY, high = -INFINITY;
    double sum = 0;
    const float top = (float)((1u << bits) - 1);
    for (size_t k = 0; k < n; k++) {
        low = fminf(low, values[k]);
        high = fmaxf(high, values[k]);
    }
    const bool below = fabsf(low) > fabsf(high);
    float scale = fmaxf((high - low) / top, 1e-7f) * (below ? 1 : -1), edge = below ? low : high;
    const float zero = nearbyintf(edge / scale);
    scale = zero != 0 ? edge / zero : scale;
    edge = zero != 0 ? edge : 0;
    for (size_t k = 0; k < n; k++) {
        const float code = fminf(fmaxf(nearbyintf((values[k] - edge) / scale), 0), top);
        const double lost = (double)values[k] - (double)code * (double)to_bf16(scale) - (double)to_bf16(edge);
        sum += lost * lost;
    }
    return sum;
}

/* ---- a matrix before and after ---- */

typedef struct matrix {
    organ_model *donor, *made;
    float *values, *back;
    unsigned char *scales;
    size_t count, scale_bytes;
} matrix;

static matrix open_matrix(const char *module, const char *scales, organ_dtype type)
{
    char name[128];
    matrix m = {.donor = open_sound("donor"), .made = open_sound("out")};
    size_t again;
    snprintf(name, sizeof name, "%s.weight", module);
    m.values = numbers_of(m.donor, name, &m.count);
    m.back = numbers_of(m.made, name, &again);
    ck_assert_uint_eq(m.count, again);
    snprintf(name, sizeof name, "%s.%s", module, scales);
    m.scales = bytes_of(m.made, name, type, &m.scale_bytes);
    return m;
}

static void close_matrix(matrix *m)
{
    free(m->values);
    free(m->back);
    free(m->scales);
    organ_model_close(m->donor);
    organ_model_close(m->made);
}

static float global_of(const organ_model *model, const char *module)
{
    char name[128];
    size_t bytes;
    float value;
    snprintf(name, sizeof name, "%s.weight_global_scale", module);
    unsigned char *const data = bytes_of(model, name, ORGAN_F32, &bytes);
    ck_assert_uint_eq(bytes, 4);
    memcpy(&value, data, 4);
    free(data);
    return value;
}

/* Each group has the scale with the least error of all that its type can store: bytes first .. last. */
static void scales_are_best(const matrix *m, size_t group, unsigned first, unsigned last, bool exponents, float divisor,
                            bool e4m3)
{
    for (size_t g = 0; g < m->count / group; g++) {
        const float *const values = m->values + g * group, *const back = m->back + g * group;
        double least = INFINITY, error = 0;
        ck_assert(m->scales[g] >= first && m->scales[g] <= last);
        for (unsigned byte = first; byte <= last; byte++) {
            const double scale = exponents ? ldexp(1, (int)byte - 127) : (double)e4m3_of(byte) / (double)divisor;
            least = fmin(least, error_with(values, group, scale, e4m3));
        }
        for (size_t k = 0; k < group; k++)
            error += ((double)values[k] - (double)back[k]) * ((double)values[k] - (double)back[k]);
        ck_assert_msg(error <= least * (1 + 1e-4) + 1e-30, "group %zu has error %g, not %g", g, error, least);
    }
}

static json_t *config_of_out(void)
{
    json_t *const config = json_load_file(scratch_path("out/config.json"), 0, NULL);
    ck_assert_ptr_nonnull(config);
    return config;
}

/* ---- compressed-tensors ---- */

START_TEST(nvfp4_has_the_best_scales_and_one_tensor_scale_for_fused_matrices)
{
    must_convert("out", (convert_way){.scheme = "nvfp4"});
    matrix m = open_matrix(LAYER "self_attn.q_proj", "weight_scale", ORGAN_F8_E4M3);
    const float q = global_of(m.made, LAYER "self_attn.q_proj"), up = global_of(m.made, LAYER "mlp.up_proj");
    int exponent;
    ck_assert(frexpf(q, &exponent) == 0.5f);
    ck_assert(q == global_of(m.made, LAYER "self_attn.k_proj") && q == global_of(m.made, LAYER "self_attn.v_proj"));
    ck_assert(up == global_of(m.made, LAYER "mlp.gate_proj"));
    scales_are_best(&m, 16, 8, 126, false, q, false);
    json_t *const config = config_of_out(), *const made = json_object_get(config, "quantization_config");
    json_t *const weights =
        json_object_get(json_object_get(json_object_get(made, "config_groups"), "group_0"), "weights");
    ck_assert_str_eq(json_string_value(json_object_get(made, "format")), "nvfp4-pack-quantized");
    ck_assert_str_eq(json_string_value(json_object_get(weights, "strategy")), "tensor_group");
    ck_assert_str_eq(json_string_value(json_object_get(weights, "scale_dtype")), "torch.float8_e4m3fn");
    ck_assert_int_eq(json_integer_value(json_object_get(weights, "group_size")), 16);
    json_decref(config);
    close_matrix(&m);
}
END_TEST

START_TEST(mxfp4_has_the_best_powers_of_2)
{
    must_convert("out", (convert_way){.scheme = "mxfp4"});
    matrix m = open_matrix(LAYER "self_attn.v_proj", "weight_scale", ORGAN_U8);
    scales_are_best(&m, 32, 1, 254, true, 1, false);
    json_t *const config = config_of_out(), *const made = json_object_get(config, "quantization_config");
    ck_assert_str_eq(json_string_value(json_object_get(made, "format")), "mxfp4-pack-quantized");
    json_decref(config);
    close_matrix(&m);
}
END_TEST

/* ---- MLX ---- */

static convert_way mlx(const char *scheme) { return (convert_way){.scheme = scheme, .format = "mlx", .force = true}; }

START_TEST(mlx_float_modes_have_the_best_scales)
{
    must_convert("out", mlx("nvfp4"));
    matrix m = open_matrix(LAYER "self_attn.q_proj", "scales", ORGAN_U8);
    scales_are_best(&m, 16, 1, 126, false, 1, false);
    close_matrix(&m);
    must_convert("out", mlx("mxfp4"));
    m = open_matrix(LAYER "self_attn.q_proj", "scales", ORGAN_U8);
    scales_are_best(&m, 32, 1, 254, true, 1, false);
    close_matrix(&m);
    must_convert("out", mlx("mxfp8"));
    m = open_matrix(LAYER "self_attn.q_proj", "scales", ORGAN_U8);
    scales_are_best(&m, 32, 1, 254, true, 1, true);
    close_matrix(&m);
}
END_TEST

/* Values of the file are scale x code + bias in FP32; the reader rounds them to the type of the scales, so they are
 * compared with the rounding of that type in addition. */
START_TEST(mlx_affine_is_never_worse_than_mlx)
{
    static const unsigned widths[] = {2, 3, 4, 5, 6, 8};
    const unsigned bits = widths[_i];
    char scheme[32];
    snprintf(scheme, sizeof scheme, "int%u-group32", bits);
    must_convert("out", mlx(scheme));
    matrix m = open_matrix(LAYER "self_attn.q_proj", "scales", ORGAN_BF16);
    double ours = 0, theirs = 0, rounding = 0;
    for (size_t k = 0; k < m.count; k++) {
        const double lost = (double)m.values[k] - (double)m.back[k];
        ours += lost * lost;
        rounding += ldexp((double)m.back[k] * (double)m.back[k], -18);
    }
    for (size_t g = 0; g < m.count / 32; g++)
        theirs += error_of_mlx(m.values + 32 * g, 32, bits);
    ck_assert_msg(ours <= theirs * (bits < 5 ? 0.95 : 1) + rounding, "%u bits: %g, mlx %g", bits, ours, theirs);
    json_t *const config = config_of_out(), *const made = json_object_get(config, "quantization");
    ck_assert_int_eq(json_integer_value(json_object_get(made, "bits")), bits);
    ck_assert_int_eq(json_integer_value(json_object_get(made, "group_size")), 32);
    ck_assert_str_eq(json_string_value(json_object_get(made, "mode")), "affine");
    ck_assert(json_equal(made, json_object_get(config, "quantization_config")));
    json_decref(config);
    ck_assert_ptr_nonnull(organ_model_find(m.made, "model.embed_tokens.scales"));
    close_matrix(&m);
}
END_TEST

/* ---- MLX: stacked experts ---- */

/* `type` names the rows of mlx_tensors.tsv; `model` is the fixture. */
static const struct {
    const char *type, *model;
} mixtures[] = {{"qwen3_moe", "qwen3_moe"},
                {"qwen3_moe", "qwen3_moe-stacked"},
                {"ernie4_5_moe", "ernie4_5_moe"},
                {"ernie4_5_moe", "ernie4_5_moe-stacked"},
                {"qwen3_5_moe", "qwen3_5_moe"},
                {"qwen3_next", "qwen3_next-mtp"},
                {"gpt_oss", "gpt_oss"},
                {"granitemoe", "granitemoe"},
                {"mistral4", "mistral4"},
                {"minimax_m2", "minimax_m2"},
                {"granitemoe", "granitemoe-stacked"},
                {"lfm2_moe", "lfm2_moe"}};

static const char *make_mixture(const char *model)
{
    arch_reference reference = arch_make(model, scratch_path("mixture"));
    arch_reference_free(&reference);
    return scratch_path("mixture");
}

/* mlx-lm moves the axes of convolutions when it loads them. */
static bool has_shape(const organ_weight *weight, const char *shape)
{
    arch_tensor wanted;
    arch_shape_read(&wanted, shape);
    return organ_ends_with(weight->name, "conv1d.weight")
               ? weight->elements == wanted.elements
               : organ_shape_equal(weight->rank, weight->shape, wanted.rank, wanted.shape);
}

/* Returns the weight of the output that mlx-lm calls `name`. */
static const organ_weight *weight_in_mlx(const organ_weights *weights, const char *type, const char *name)
{
    char own[256];
    for (size_t k = 0; k < weights->count; k++) {
        ck_assert(organ_module_name_in_mlx(type, weights->weights[k].name, own, sizeof own));
        if (strcmp(own, name) == 0)
            return &weights->weights[k];
    }
    return NULL;
}

START_TEST(mixtures_have_the_tensors_of_mlx_lm)
{
    const char *const type = mixtures[_i].type;
    char line[512], of[64], name[256], shape[64];
    organ_error error = {0};
    organ_weights *weights;
    size_t stacks = 0, found = 0;
    int32_t first = INT32_MAX, last = -1; /* layers of which the table has stacks */
    must_convert("out",
                 (convert_way){.model = make_mixture(mixtures[_i].model), .scheme = "int4-group32", .format = "mlx"});
    organ_model *const made = open_sound("out");
    ck_assert_int_eq(organ_weights_find(made, &weights, &error), ORGAN_OK);
    FILE *const rows = fopen("tests/verbs/quantize/mlx_tensors.tsv", "r");
    ck_assert_ptr_nonnull(rows);
    while (fgets(line, sizeof line, rows)) {
        if (sscanf(line, "%63s %255s %63s", of, name, shape) != 3 || strcmp(of, type) != 0)
            continue;
        const organ_weight *const weight = weight_in_mlx(weights, type, name);
        ck_assert_msg(weight && has_shape(weight, shape), "%s is not there with shape %s", name, shape);
        if (weight->codes->rank < 3 || organ_ends_with(name, "conv1d.weight"))
            continue;
        found++;
        first = weight->anatomy.layer < first ? weight->anatomy.layer : first;
        last = weight->anatomy.layer > last ? weight->anatomy.layer : last;
    }
    fclose(rows);
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        ck_assert_msg(w->anatomy.expert < 0, "%s is not stacked", w->name);
        stacks += w->codes->dtype == ORGAN_U32 && w->codes->rank == 3 && w->anatomy.layer >= first &&
                  w->anatomy.layer <= last;
    }
    ck_assert_uint_gt(stacks, 0);
    ck_assert_uint_eq(stacks, found);
    organ_weights_free(weights);
    organ_model_close(made);
}
END_TEST

/* Slice e of the stack has the weights of expert e. The bar is that of Q4_K: .95 of the owner's error. */
START_TEST(experts_are_read_back_in_order_and_better_than_those_of_mlx)
{
    static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};
    double ours = 0, theirs = 0;
    must_convert("out", (convert_way){.model = "fixtures/tiny-moe", .scheme = "int4-group32", .format = "mlx"});
    organ_model *const made = open_sound("out"), *donor = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open("fixtures/tiny-moe", &donor, &error), ORGAN_OK);
    for (size_t p = 0; p < 3; p++) {
        char name[128];
        size_t all, count;
        snprintf(name, sizeof name, "model.layers.2.mlp.switch_mlp.%s.weight", projections[p]);
        float *const stack = numbers_of(made, name, &all);
        for (size_t e = 0; e < 16; e++) {
            double lost = 0, squares = 0;
            snprintf(name, sizeof name, "model.layers.2.mlp.experts.%zu.%s.weight", e, projections[p]);
            float *const values = numbers_of(donor, name, &count);
            ck_assert_uint_eq(all, 16 * count);
            for (size_t k = 0; k < count; k++) {
                const double difference = (double)values[k] - (double)stack[e * count + k];
                lost += difference * difference;
                squares += (double)values[k] * (double)values[k];
            }
            ck_assert_msg(lost < 0.01 * squares, "%s differs: %g of %g", name, lost, squares);
            ours += lost;
            for (size_t g = 0; g < count / 32; g++)
                theirs += error_of_mlx(values + 32 * g, 32, 4);
            free(values);
        }
        free(stack);
    }
    ck_assert_msg(ours < 0.95 * theirs, "%g, mlx %g", ours, theirs);
    organ_model_close(made);
    organ_model_close(donor);
}
END_TEST

/* mlx-lm adds 1 to norms of Qwen3-Next only in files whose experts are not stacked; it lacks the MTP block. */
START_TEST(norms_of_qwen3_next_are_those_of_mlx)
{
    static const char *const norms[] = {"model.norm",
                                        "model.layers.1.input_layernorm",
                                        "model.layers.3.post_attention_layernorm",
                                        "model.layers.1.self_attn.q_norm",
                                        "model.layers.1.self_attn.k_norm",
                                        "model.layers.0.linear_attn.norm"};
    organ_error error = {0};
    organ_model *donor;
    must_convert("out",
                 (convert_way){.model = make_mixture("qwen3_next-mtp"), .scheme = "int4-group32", .format = "mlx"});
    organ_model *const made = open_sound("out");
    ck_assert_int_eq(organ_model_open(scratch_path("mixture"), &donor, &error), ORGAN_OK);
    for (size_t k = 0; k < sizeof norms / sizeof *norms; k++) {
        char name[128];
        size_t count, again;
        snprintf(name, sizeof name, "%s.weight", norms[k]);
        float *const before = numbers_of(donor, name, &count), *const after = numbers_of(made, name, &again);
        ck_assert_uint_eq(count, again);
        for (size_t x = 0; x < count; x++)
            ck_assert_msg(after[x] == before[x] + (strstr(name, "linear_attn") ? 0 : 1), "%s", name);
        free(before);
        free(after);
    }
    for (size_t k = 0; k < made->tensor_count; k++)
        ck_assert_msg(!strstr(made->tensors[k].name, "mtp"), "%s", made->tensors[k].name);
    organ_model_close(donor);
    organ_model_close(made);
}
END_TEST

static void refused(convert_way way, organ_status status, const char *words)
{
    organ_error error;
    ck_assert_int_eq(convert("out", way, &error), status);
    ck_assert_msg(strstr(error.message, words), "%s", error.message);
    ck_assert(!scratch_left("out"));
}

/* ---- MLX: the forward pass ---- */

static const char *const read_back[] = {"gpt_oss",   "granitemoe",    "mistral4",   "minimax_m2",
                                        "dots1",     "glm4_moe_lite", "jamba",      "laguna",
                                        "afmoe",     "exaone_moe",    "solar_open", "exaone4",
                                        "internlm3", "lfm2",          "lfm2_moe",   "granitemoe-stacked"};

static double loss_of(const float *logits, size_t words, uint32_t token)
{
    double sum = 0;
    for (size_t w = 0; w < words; w++)
        sum += exp((double)logits[w]);
    return log(sum) - (double)logits[token];
}

/* The reference is that of transformers for the unquantised model. The routers of a random model choose other experts
 * for some tokens if its weights have 8 bits. */
START_TEST(forward_pass_reads_outputs_of_mlx)
{
    const char *const type = read_back[_i];
    arch_reference r = arch_make(type, scratch_path("mixture"));
    must_convert("out", (convert_way){.model = scratch_path("mixture"), .scheme = "int8-group32", .format = "mlx"});
    const size_t begin[] = {0, r.count}, count = r.count - 1;
    size_t rows[128], near = 0;
    session s;
    organ_error error = {0};
    ck_assert_uint_lt(count, 128);
    for (size_t k = 0; k < count; k++)
        rows[k] = k;
    ck_assert_int_eq(session_open(&s, scratch_path("out"), 2, ROOMY, &error), ORGAN_OK);
    float *const logits = session_logits(&s, &(organ_windows){r.tokens, 1, begin}, rows, count, &error);
    ck_assert_ptr_nonnull(logits);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    for (size_t k = 0; k < count; k++)
        near += fabs(loss_of(logits + k * words, words, r.tokens[k + 1]) - r.losses[k + 1]) < 0.2;
    ck_assert_msg(near > count * 3 / 4, "%s: only %zu of %zu tokens are near", type, near, count);
    free(logits);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* Row i of gate is column 2 i of the matrix in the model, and of up column 2 i + 1. */
START_TEST(columns_of_gpt_oss_become_rows)
{
    static const struct {
        const char *from, *to;
        size_t first, step, rows, cols; /* column of row 0, columns between rows; rows and columns of an expert */
    } parts[] = {
        {"gate_up_proj", "gate_proj.weight", 0, 2, 96, 64}, {"gate_up_proj", "up_proj.weight", 1, 2, 96, 64},
        {"down_proj", "down_proj.weight", 0, 1, 64, 96},    {"gate_up_proj_bias", "gate_proj.bias", 0, 2, 96, 1},
        {"gate_up_proj_bias", "up_proj.bias", 1, 2, 96, 1}, {"down_proj_bias", "down_proj.bias", 0, 1, 64, 1}};
    organ_error error = {0};
    organ_model *donor;
    /* in the second run the experts stay unquantised */
    must_convert("out", (convert_way){.model = make_mixture("gpt_oss"),
                                      .scheme = "int8-group32",
                                      .format = "mlx",
                                      .targets = _i ? "*q_proj*" : NULL});
    organ_model *const made = open_sound("out");
    ck_assert_int_eq(organ_model_open(scratch_path("mixture"), &donor, &error), ORGAN_OK);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        char name[128];
        size_t before, after;
        snprintf(name, sizeof name, "model.layers.2.mlp.experts.%s", parts[p].from);
        float *const a = numbers_of(donor, name, &before);
        snprintf(name, sizeof name, "model.layers.2.mlp.experts.%s", parts[p].to);
        float *const b = numbers_of(made, name, &after);
        const size_t rows = parts[p].rows, cols = parts[p].cols, all = rows * parts[p].step;
        ck_assert_uint_eq(after, 4 * rows * cols);
        ck_assert_uint_eq(before, after * parts[p].step);
        for (size_t k = 0; k < after; k++) {
            const size_t expert = k / (rows * cols), row = k / cols % rows, col = k % cols;
            const double off =
                (double)b[k] - (double)a[(expert * cols + col) * all + parts[p].first + parts[p].step * row];
            ck_assert_msg(fabs(off) <= (cols > 1 && !_i ? 0.003 : 0), "%s %zu is off by %g", parts[p].to, k, off);
        }
        free(a);
        free(b);
    }
    organ_model_close(donor);
    organ_model_close(made);
}
END_TEST

/* The values of an MXFP4 model are those of an MXFP4 output, although its scales are chosen again. */
START_TEST(mxfp4_of_gpt_oss_is_kept)
{
    const convert_way way = {.model = make_mixture("gpt_oss-mxfp4"), .scheme = "mxfp4", .format = "mlx"};
    refused(way, ORGAN_BAD_INPUT, "organ dequantize");
    must_convert("plain", (convert_way){.model = scratch_path("mixture"), .dtype = "bf16"});
    must_convert("out", (convert_way){.model = scratch_path("plain"), .scheme = "mxfp4", .format = "mlx"});
    const json_t *const tensors = json_object_get(convert_report, "tensors");
    size_t exact = 0, k;
    const json_t *tensor;
    json_array_foreach(tensors, k, tensor) exact +=
        strstr(json_string_value(json_object_get(tensor, "tensor")), ".experts.") &&
        json_number_value(json_object_get(tensor, "relative_error")) == 0;
    ck_assert_uint_eq(exact, 4 * 3);
}
END_TEST

/* Overwrites the first `from` in a file. */
static void replace_in(const char *path, const char *from, const char *to)
{
    size_t length = strlen(from), at = 0;
    char text[4096];
    FILE *const file = fopen(path, "r+");
    ck_assert_ptr_nonnull(file);
    const size_t read = fread(text, 1, sizeof text, file);
    while (at + length < read && memcmp(text + at, from, length) != 0)
        at++;
    ck_assert_uint_lt(at + length, read);
    ck_assert_int_eq(fseek(file, (long)at, SEEK_SET), 0);
    ck_assert_uint_eq(fwrite(to, 1, length, file), length);
    fclose(file);
}

/* ---- all ---- */

static const struct {
    const char *scheme, *format, *mixture;
} outputs[] = {{"nvfp4", NULL, NULL},         {"mxfp4", NULL, NULL},  {"int3-group32", "mlx", NULL},
               {"int5-group64", "mlx", NULL}, {"mxfp8", "mlx", NULL}, {"int4-group32", "mlx", "qwen3_next"},
               {"mxfp4", "mlx", "gpt_oss"}};

START_TEST(bytes_do_not_depend_on_instruction_set_threads_or_interruption)
{
    convert_way way = {.scheme = outputs[_i].scheme, .format = outputs[_i].format}, other;
    organ_error error;
    if (outputs[_i].mixture)
        way.model = strdup(make_mixture(outputs[_i].mixture));
    other = way;
    other.isa = "scalar";
    other.threads = 1;
    must_convert("out", way);
    must_convert("scalar", other);
    ck_assert(same_files(scratch_path("out/model.safetensors"), scratch_path("scalar/model.safetensors")));
    fault_at(FAULT_PWRITE, 30, ENOSPC, false, NULL);
    ck_assert_int_eq(convert("again", way, &error), ORGAN_IO);
    fault_clear();
    ck_assert(!exists(scratch_path("again")));
    way.resume = true;
    must_convert("again", way);
    ck_assert(same_files(scratch_path("out/model.safetensors"), scratch_path("again/model.safetensors")));
    free((char *)way.model);
}
END_TEST

START_TEST(wrong_formats_and_types_are_refused)
{
    refused((convert_way){.scheme = "int4-group64", .format = "onnx"}, ORGAN_USAGE, "`format` 'onnx' is unknown");
    refused(mlx("fp8-channel"), ORGAN_USAGE, "has no meaning with `format` mlx");
    refused(mlx("q4_k"), ORGAN_USAGE, "scheme q4_k has no meaning with `format` mlx");
    refused((convert_way){.scheme = "int5-group64"}, ORGAN_USAGE, "is one of `format` mlx");
    refused((convert_way){.scheme = "int5-group32"}, ORGAN_USAGE, "is one of `format` mlx");
    static const char bloom[] = "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\"}";
    spill(scratch_path("donor/config.json"), bloom, sizeof bloom - 1);
    refused(mlx("int4-group64"), ORGAN_BAD_INPUT, "does not write models of type 'bloom'");
    convert_way way = {.model = make_mixture("qwen3_moe"), .scheme = "int4-group32", .format = "mlx"};
    replace_in(scratch_path("mixture/model.safetensors"), "layers.0.mlp.experts.2.up", "layers.0.mlp.experts.7.up");
    refused(way, ORGAN_BAD_INPUT, "would be stacked from tensors of equal size");
}
END_TEST

START_TEST(gpt_oss_in_another_form_is_refused)
{
    convert_way way = mlx("int4-group32"), text = {.scheme = way.scheme, .format = "mlx", .samples = 1, .context = 8};
    text.model = way.model = text.calibration = make_mixture("gpt_oss");
    refused(text, ORGAN_USAGE, "`method` gptq cannot calibrate the experts of gpt_oss for `format` mlx");
    replace_in(scratch_path("mixture/model.safetensors"), "[4,64,192]", "[256,192] ");
    refused(way, ORGAN_BAD_INPUT, "of shape [256, 192], but experts of gpt_oss are");
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"compressed-tensors",
         {nvfp4_has_the_best_scales_and_one_tensor_scale_for_fused_matrices, mxfp4_has_the_best_powers_of_2}},
        {"mlx",
         {mlx_float_modes_have_the_best_scales, experts_are_read_back_in_order_and_better_than_those_of_mlx,
          norms_of_qwen3_next_are_those_of_mlx}},
        {"refusals", {wrong_formats_and_types_are_refused, gpt_oss_in_another_form_is_refused}}};
    Suite *const suite =
        suite_of("quantize_small", cases, sizeof cases / sizeof *cases, convert_setup, convert_teardown);
    TCase *const loops = tcase_create("loops");
    tcase_add_checked_fixture(loops, convert_setup, convert_teardown);
    tcase_set_timeout(loops, 60);
    tcase_add_loop_test(loops, mlx_affine_is_never_worse_than_mlx, 0, 6);
    tcase_add_loop_test(loops, mixtures_have_the_tensors_of_mlx_lm, 0, sizeof mixtures / sizeof *mixtures);
    tcase_add_loop_test(loops, bytes_do_not_depend_on_instruction_set_threads_or_interruption, 0,
                        sizeof outputs / sizeof *outputs);
    tcase_add_loop_test(loops, forward_pass_reads_outputs_of_mlx, 0, sizeof read_back / sizeof *read_back);
    tcase_add_test(loops, mxfp4_of_gpt_oss_is_kept);
    tcase_add_loop_test(loops, columns_of_gpt_oss_become_rows, 0, 2);
    suite_add_tcase(suite, loops);
    return run_suites((Suite *const[]){suite, NULL});
}

/* SPDX-License-Identifier: MIT
 * Tests of rounded activations: the configuration that quantize writes is read back as the kind that was asked for,
 * static scales are those of an independent computation on the inputs of the first layer, and scales of inputs, keys
 * and values are the greatest magnitudes in transformers. */
#include "tests/forward/golden_inputs.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/quantize/convert_rig.h"

#include "orchestrator/surgery/calibration/calibration.h"

#include <math.h>
#include <organ/weights.h>
#include <stdlib.h>
#include <string.h>

#define TINY    "fixtures/tiny-qwen2"
#define TEXT    TINY "/calibration.txt"
#define SAMPLES 2
#define CONTEXT 48
#define LAYER   "model.layers.0."

/* ---- kinds ---- */

static const struct kind {
    const char *scheme, *type, *scale;
    bool flag;
    organ_input_rounding expected; /* codes ORGAN_INPUTS_PLAIN: none */
} kinds[] = {
    {"int4-group32", NULL, NULL, false, {0}},
    /* vLLM rounds the inputs of mxfp4 without a declaration */
    {"mxfp4",
     NULL,
     NULL,
     false,
     {.codes = ORGAN_INPUTS_E2M1, .span = ORGAN_INPUTS_GROUP, .group = 32, .scales = ORGAN_INPUT_SCALES_E8M0}},
    {"nvfp4", NULL, NULL, false, {0}},
    {"int4-group32", "int8", NULL, false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int4-group128", "int8", "dynamic", false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int2-group64", "int8", NULL, false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int3-group32", "int8", NULL, false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int8-group32", "int8", NULL, false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int4-group128", "fp8", NULL, false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TOKEN}},
    {"int8-channel", NULL, NULL, false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"int8-channel", "int8", "dynamic", false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TOKEN}},
    {"fp8-channel", NULL, NULL, false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TOKEN}},
    {"fp8-tensor", NULL, "dynamic", false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TOKEN}},
    {"fp8-block128", "fp8", NULL, false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_GROUP, .group = 128}},
    {"mxfp4",
     NULL,
     NULL,
     true,
     {.codes = ORGAN_INPUTS_E2M1, .span = ORGAN_INPUTS_GROUP, .group = 32, .scales = ORGAN_INPUT_SCALES_E8M0}},
    {"mxfp8",
     NULL,
     NULL,
     false,
     {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_GROUP, .group = 32, .scales = ORGAN_INPUT_SCALES_E8M0}},
    {"nvfp4",
     NULL,
     NULL,
     true,
     {.codes = ORGAN_INPUTS_E2M1, .span = ORGAN_INPUTS_GROUP, .group = 16, .scales = ORGAN_INPUT_SCALES_E4M3}},
    {"int8-channel", NULL, "static", false, {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TENSOR}},
    {"fp8-channel", "fp8", "static", false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TENSOR}},
    {"fp8-tensor", "fp8", "static", false, {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TENSOR}}};

static convert_way way_of(const struct kind *kind)
{
    const bool measured = kind->scale && strcmp(kind->scale, "static") == 0;
    const bool reads = measured || (kind->flag && strcmp(kind->scheme, "nvfp4") == 0);
    return (convert_way){.model = reads ? TINY : NULL,
                         .scheme = kind->scheme,
                         .targets = reads ? "*.0.*_proj.weight" : NULL,
                         .calibration = reads ? TEXT : NULL,
                         .nearest = true,
                         .samples = reads ? SAMPLES : 0,
                         .context = reads ? CONTEXT : 0,
                         .activations = kind->flag,
                         .activation_type = kind->type,
                         .activation_scale = kind->scale,
                         .force = true};
}

static void is_of_kind(const organ_model *model, const organ_weight *weight, const organ_input_rounding *wanted)
{
    organ_input_numbers numbers;
    organ_error error = {0};
    const organ_input_rounding *const r = weight->inputs;
    ck_assert_msg((r != NULL) == (wanted->codes != ORGAN_INPUTS_PLAIN), "%s", weight->name);
    if (!r)
        return;
    ck_assert_int_eq(r->codes, wanted->codes);
    ck_assert_int_eq(r->span, wanted->span);
    ck_assert_int_eq(r->scales, wanted->scales);
    ck_assert_uint_eq(r->group, wanted->group);
    ck_assert(r->symmetric);
    ck_assert_msg(organ_input_numbers_read(model, weight, &numbers, &error) == ORGAN_OK, "%s", error.message);
}

START_TEST(quantize_writes_the_kind_that_is_asked_for)
{
    const struct kind *const kind = &kinds[_i];
    organ_weights *weights;
    organ_error error = {0};
    size_t count = 0;
    must_convert("out", way_of(kind));
    organ_model *const made = open_sound("out");
    ck_assert_msg(organ_weights_find(made, &weights, &error) == ORGAN_OK, "%s", error.message);
    for (size_t k = 0; k < weights->count; k++) {
        if (weights->weights[k].scheme == ORGAN_SCHEME_PLAIN)
            continue;
        is_of_kind(made, &weights->weights[k], &kind->expected);
        count++;
    }
    ck_assert_uint_gt(count, 3);
    organ_weights_free(weights);
    organ_model_close(made);
}
END_TEST

/* ---- static scales ---- */

typedef struct inputs {
    float *values;
    size_t count;
} inputs;

static organ_status keep(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                         const float *values, organ_error *error)
{
    inputs *const kept = context;
    (void)first, (void)error;
    if (strcmp(tensor, LAYER "mlp.down_proj.weight") != 0)
        return ORGAN_OK;
    kept->values = realloc(kept->values, (kept->count + tokens * features) * sizeof(float));
    memcpy(kept->values + kept->count, values, tokens * features * sizeof(float));
    kept->count += tokens * features;
    return ORGAN_OK;
}

/* The inputs of down_proj of layer 0 on the windows of the text. */
static inputs tap_down(void)
{
    run_engine room;
    organ_error error = {0};
    organ_model *model;
    organ_calibration_run *run;
    organ_layer *layer;
    inputs kept = {0};
    organ_calibration_run_options o = {.calibration = {.text = TEXT, .samples = SAMPLES, .context = CONTEXT},
                                       .method = "test",
                                       .verb = "test",
                                       .doing = "testing"};
    run_engine_open(&room, (run_way){0});
    ck_assert_int_eq(organ_model_open(TINY, &model, &error), ORGAN_OK);
    ck_assert_msg(organ_calibration_run_open(&o, model, NULL, NULL, &room.engine, NULL, &run, &error) == ORGAN_OK, "%s",
                  error.message);
    const organ_calibration_run_facts *const facts = organ_calibration_run_facts_of(run);
    float *const states = calloc(SAMPLES * CONTEXT * model->config.hidden_size, sizeof *states);
    const organ_tap tap = {&kept, keep};
    ck_assert_int_eq(organ_forward_embed(facts->forward, &facts->windows, states, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_load(facts->forward, 0, &layer, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_run(facts->forward, layer, &facts->windows, states, &tap, &error), ORGAN_OK);
    organ_layer_free(layer);
    organ_calibration_run_close(run);
    organ_model_close(model);
    run_engine_close(&room);
    free(states);
    ck_assert_uint_gt(kept.count, 0);
    return kept;
}

static float bf16_of(double value)
{
    const float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    float rounded;
    memcpy(&rounded, &bits, sizeof rounded);
    return rounded;
}

static double code_of(double x, bool whole)
{
    int exponent;
    if (whole)
        return fmin(fmax(nearbyint(x), -128), 127);
    frexp(x, &exponent);
    const double step = ldexp(1, (exponent < -5 ? -5 : exponent) - 4);
    return fmin(fmax(nearbyint(x / step) * step, -448), 448);
}

static double error_of(const inputs *x, double scale, bool whole)
{
    double sum = 0;
    for (size_t k = 0; k < x->count; k++) {
        const double error = (double)x->values[k] - scale * code_of((double)x->values[k] / scale, whole);
        sum += error * error;
    }
    return sum;
}

static float scale_in_out(const char *module)
{
    organ_model *const made = open_sound("out");
    char name[96];
    size_t bytes;
    uint16_t stored;
    snprintf(name, sizeof name, LAYER "%s.input_scale", module);
    unsigned char *const data = bytes_of(made, name, ORGAN_BF16, &bytes);
    ck_assert_uint_eq(bytes, 2);
    memcpy(&stored, data, 2);
    free(data);
    organ_model_close(made);
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fused_parts_have_one_scale(void)
{
    const float q = scale_in_out("self_attn.q_proj"), gate = scale_in_out("mlp.gate_proj");
    ck_assert(q == scale_in_out("self_attn.k_proj") && q == scale_in_out("self_attn.v_proj"));
    ck_assert(gate == scale_in_out("mlp.up_proj"));
    ck_assert(q != gate && gate != scale_in_out("mlp.down_proj"));
}

/* Loop 0: INT8, 1: E4M3. The counts of magnitudes have 512 bins for a power of 2, hence the margin. */
START_TEST(static_scales_are_those_of_the_inputs)
{
    const bool whole = _i == 0;
    const struct kind kind = {.scheme = whole ? "int8-channel" : "fp8-channel", .scale = "static"};
    inputs x = tap_down();
    double greatest = 0, least = INFINITY;
    for (size_t k = 0; k < x.count; k++)
        greatest = fmax(greatest, fabs((double)x.values[k]));
    convert_way way = way_of(&kind);
    must_convert("out", way);
    fused_parts_have_one_scale();
    ck_assert(scale_in_out("mlp.down_proj") == bf16_of(greatest / (whole ? 127.5 : 448)));
    way.activation_observer = "mse";
    must_convert("out", way);
    fused_parts_have_one_scale();
    for (int k = 0; k < 120; k++)
        least = fmin(least, error_of(&x, bf16_of(greatest * (128 - k) / 128 / (whole ? 127.5 : 448)), whole));
    const float found = scale_in_out("mlp.down_proj");
    ck_assert_msg(error_of(&x, found, whole) <= 1.003 * least, "%g, not %g", error_of(&x, found, whole), least);
    ck_assert_msg(error_of(&x, found, whole) < error_of(&x, bf16_of(greatest / (whole ? 127.5 : 448)), whole) ||
                      least >= error_of(&x, found, whole),
                  "no better than the extremes");
    free(x.values);
}
END_TEST

/* ---- scales of what the modules of transformers read ---- */

/* Models with factors before and after their layers, of values, of experts' inputs or of residuals, and one without. */
static const char *const references[] = {"falcon_h1",     "falcon_h1-norm", "mimo_v2_flash",    "llama4_text",
                                         "gemma3n_text",  "granite",        "granitemoehybrid", "minicpm3",
                                         "longcat_flash", "llama"};

static float bf16_in(const organ_model *model, const organ_tensor *tensor)
{
    uint16_t stored;
    organ_error error = {0};
    ck_assert_msg(tensor->dtype == ORGAN_BF16 && tensor->bytes == sizeof stored, "%s", tensor->name);
    ck_assert_int_eq(organ_model_read(model, tensor->file, &stored, sizeof stored, tensor->offset, &error), ORGAN_OK);
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Sets `name` to the place of a tensor of scales in the table; false: the tensor has none, or is an expert's, whose
 * inputs a few tokens decide. */
static bool place_of(const organ_tensor *tensor, char name[300])
{
    static const struct {
        const char *end, *place;
    } kinds_of_scales[] = {{".input_scale", NULL}, {".k_scale", "keys"}, {".v_scale", "values"}};
    for (size_t k = 0; k < 3; k++) {
        const char *const end = strstr(tensor->name, kinds_of_scales[k].end);
        if (!end || end[strlen(kinds_of_scales[k].end)] || strstr(tensor->name, "experts."))
            continue;
        if (kinds_of_scales[k].place)
            snprintf(name, 300, "%s.%d", kinds_of_scales[k].place, (int)tensor->anatomy.layer);
        else
            snprintf(name, 300, "%.*s.weight", (int)(end - tensor->name), tensor->name);
        return true;
    }
    return false;
}

/* The parts of a fused set have the inputs of one module. */
START_TEST(scales_are_those_of_transformers)
{
    const char *const donor = scratch_path("%s", references[_i]);
    arch_reference r = arch_make(references[_i], donor);
    golden_inputs golden = golden_read(references[_i]);
    const bool latent = golden_place_of(&golden, "keys.0")->expected < 0;
    size_t count = 0;
    char name[300];
    golden_write_text(scratch_path("%s/tokenizer.json", references[_i]), scratch_path("text"), r.tokens, r.count);
    must_convert("out", (convert_way){.model = donor,
                                      .scheme = "fp8-tensor",
                                      .calibration = scratch_path("text"),
                                      .nearest = true,
                                      .samples = 1,
                                      .context = (unsigned)r.count,
                                      .activation_scale = "static",
                                      .kv_cache = latent ? NULL : "tensor"});
    organ_model *const made = open_sound("out");
    for (size_t k = 0; k < made->tensor_count; k++) {
        if (!place_of(&made->tensors[k], name))
            continue;
        if (!strstr(name, ".weight") && golden_place_of(&golden, name)->expected < 0) /* a layer with another's keys */
            continue;
        const double found = (double)bf16_in(made, &made->tensors[k]), wanted = golden_of(&golden, name) / 448;
        ck_assert_msg(fabs(found / wanted - 1) <= 1.0 / 256, "%s: %s: %.7g, not %.7g", references[_i], name, found,
                      wanted);
        count++;
    }
    ck_assert_uint_gt(count, 12);
    organ_model_close(made);
    free(golden.items);
    arch_reference_free(&r);
}
END_TEST

/* ---- rounding where modules read ---- */

/* The multipliers are near those of a published model of 7 billion weights. The mean negative log-likelihoods of the
 * outputs' text are those of transformers 5.24 with compressed-tensors 0.20. */
#define MULTIPLIERS                                                                                                    \
    "{\"key_multiplier\": 0.026, \"attention_in_multiplier\": 1.0, \"attention_out_multiplier\": 0.13, "               \
    "\"mlp_multipliers\": [0.88, 0.22], \"ssm_in_multiplier\": 1.25, \"ssm_out_multiplier\": 0.24}"
static const struct {
    const char *scheme;
    double mean;
} rounded[] = {{"fp8-channel", 7.5416515}, {"int8-channel", 7.5442813}};
#define ROUNDED_LIMIT 1e-4

static double mean_loss(const char *path, const arch_reference *r)
{
    session s;
    organ_error error;
    const size_t begin[] = {0, r->count};
    size_t rows[128];
    double sum = 0;
    ck_assert_uint_le(r->count, sizeof rows / sizeof *rows);
    for (size_t k = 0; k < r->count; k++)
        rows[k] = k;
    ck_assert_msg(session_open(&s, path, 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_forward_round_inputs(s.forward, &error) == ORGAN_OK, "%s", error.message);
    float *const logits = session_logits(&s, &(organ_windows){r->tokens, 1, begin}, rows, r->count - 1, &error);
    ck_assert_msg(logits != NULL, "%s", error.message);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    for (size_t k = 0; k + 1 < r->count; k++) {
        double all = 0;
        for (size_t w = 0; w < words; w++)
            all += exp((double)logits[k * words + w]);
        sum += log(all) - (double)logits[k * words + r->tokens[k + 1]];
    }
    free(logits);
    session_close(&s);
    return sum / (double)(r->count - 1);
}

START_TEST(inputs_are_rounded_where_modules_read_them)
{
    arch_reference r = arch_make("falcon_h1", scratch_path("falcon"));
    arch_set_config(scratch_path("falcon"), MULTIPLIERS);
    golden_write_text(scratch_path("falcon/tokenizer.json"), scratch_path("text"), r.tokens, r.count);
    must_convert("out", (convert_way){.model = scratch_path("falcon"),
                                      .scheme = rounded[_i].scheme,
                                      .calibration = scratch_path("text"),
                                      .nearest = true,
                                      .samples = 1,
                                      .context = (unsigned)r.count,
                                      .activation_scale = "static"});
    const double mean = mean_loss(scratch_path("out"), &r);
    ck_assert_msg(fabs(mean - rounded[_i].mean) <= ROUNDED_LIMIT, "%s: %.8f, not %.8f", rounded[_i].scheme, mean,
                  rounded[_i].mean);
    arch_reference_free(&r);
}
END_TEST

/* ---- smoothing and multipliers ---- */

/* Multiplies the F32 tensors of a file whose names end with `end`. */
static void multiply(const char *directory, const char *end, float factor)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(directory, &model, &error), ORGAN_OK);
    FILE *const file = fopen(model->files[0].path, "r+b");
    ck_assert_ptr_nonnull(file);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        const size_t length = strlen(t->name), of_end = strlen(end);
        if (length < of_end || strcmp(t->name + length - of_end, end) != 0)
            continue;
        float *const values = malloc(t->bytes);
        ck_assert_int_eq(organ_model_read(model, t->file, values, t->bytes, t->offset, &error), ORGAN_OK);
        for (size_t v = 0; v < t->elements; v++)
            values[v] *= factor;
        ck_assert_int_eq(fseek(file, (long)t->offset, SEEK_SET), 0);
        ck_assert_uint_eq(fwrite(values, 1, t->bytes, file), t->bytes);
        free(values);
    }
    ck_assert_int_eq(fclose(file), 0);
    organ_model_close(model);
}

static float *smoothed_norm(const char *name, const char *text, double smooth, size_t tokens, size_t *count)
{
    must_convert("out", (convert_way){.model = scratch_path("%s", name),
                                      .scheme = "int8-channel",
                                      .calibration = text,
                                      .nearest = true,
                                      .samples = 1,
                                      .context = (unsigned)tokens,
                                      .activation_scale = "static",
                                      .smooth = smooth,
                                      .force = true});
    organ_model *const made = open_sound("out");
    float *const norm = numbers_of(made, "model.layers.1.input_layernorm.weight", count);
    organ_model_close(made);
    return norm;
}

/* Multipliers between a norm and its readers count as if they were part of the readers' weights. */
START_TEST(smoothing_knows_multipliers)
{
    const double smooth = _i ? ORGAN_SMOOTH_AUTO : 0.5;
    size_t count, again;
    arch_reference r = arch_make("falcon_h1", scratch_path("multiplied"));
    arch_reference same = arch_make("falcon_h1", scratch_path("folded"));
    arch_set_config(scratch_path("multiplied"), "{\"attention_in_multiplier\": 0.0625, \"ssm_in_multiplier\": 4}");
    arch_set_config(scratch_path("folded"), "{\"attention_in_multiplier\": 1, \"ssm_in_multiplier\": 1}");
    for (size_t k = 0; k < 3; k++)
        multiply(scratch_path("folded"), (const char *const[]){"q_proj.weight", "k_proj.weight", "v_proj.weight"}[k],
                 0.0625F);
    multiply(scratch_path("folded"), "in_proj.weight", 4);
    golden_write_text(scratch_path("multiplied/tokenizer.json"), scratch_path("text"), r.tokens, r.count);
    golden_write_text(scratch_path("folded/tokenizer.json"), scratch_path("text"), r.tokens, r.count);
    float *const a = smoothed_norm("multiplied", scratch_path("text"), smooth, r.count, &count),
                 *const b = smoothed_norm("folded", scratch_path("text"), smooth, r.count, &again);
    ck_assert_uint_eq(count, again);
    ck_assert_mem_eq(a, b, count * sizeof *a);
    free(a);
    free(b);
    arch_reference_free(&r);
    arch_reference_free(&same);
}
END_TEST

/* ---- bytes ---- */

/* The codes are those of the same scheme without options. */
START_TEST(inputs_do_not_change_codes)
{
    size_t count, again;
    const struct kind kind = {.scheme = "int4-group32", .type = "int8"}, plain = {.scheme = "int4-group32"};
    must_convert("out", way_of(&kind));
    must_convert("plain", way_of(&plain));
    organ_model *const made = open_sound("out"), *const other = open_sound("plain");
    float *const a = numbers_of(made, LAYER "self_attn.q_proj.weight", &count);
    float *const b = numbers_of(other, LAYER "self_attn.q_proj.weight", &again);
    ck_assert_uint_eq(count, again);
    ck_assert_mem_eq(a, b, count * sizeof *a);
    free(a);
    free(b);
    organ_model_close(made);
    organ_model_close(other);
}
END_TEST

START_TEST(scales_do_not_depend_on_instruction_set_threads_or_method)
{
    const struct kind kind = {.scheme = "int8-channel", .scale = "static"};
    convert_way way = way_of(&kind);
    way.activation_observer = "mse";
    must_convert("out", way);
    const float q = scale_in_out("self_attn.q_proj");
    way.isa = "scalar";
    way.threads = 1;
    way.memory = (uint64_t)256 << 20;
    way.targets = "*.0.*.[qkv]_proj.weight";
    must_convert("out", way);
    ck_assert(q == scale_in_out("self_attn.q_proj"));
    way.isa = NULL;
    way.nearest = false;
    must_convert("out", way);
    ck_assert(q == scale_in_out("self_attn.q_proj"));
}
END_TEST

/* ---- refusals ---- */

#define STATIC .activation_scale = "static", .calibration = TEXT, .nearest = true, .samples = 1, .context = 32

static const struct refusal {
    convert_way way;
    const char *words;
} refusals[] = {
    {{.scheme = "fp8-channel", .activation_type = "int8"}, "this scheme has `activations.type` fp8"},
    {{.scheme = "int8-channel", .activation_type = "fp8"}, "schemes with such activations: fp8-block128, fp8-channel"},
    {{.scheme = "int4-group64", .activation_type = "fp8"}, "this scheme has `activations.type` int8"},
    {{.scheme = "int3-group128", .activation_type = "fp8"}, "int4-group128"},
    {{.scheme = "mixed", .activation_type = "fp8"}, "weights of scheme mixed by activations of fp8 with dynamic"},
    {{.scheme = "nvfp4", .activation_type = "fp8"}, "this scheme has `activations`"},
    {{.scheme = "mxfp8", .activation_type = "int8"}, "this scheme has `activations.type` fp8"},
    {{.scheme = "int4-group128", STATIC}, "this scheme has `activations.type` fp8, `activations.type` int8; schemes"},
    {{.scheme = "fp8-block128", STATIC}, "schemes with such activations: fp8-channel, fp8-tensor, int8-channel"},
    {{.scheme = "mxfp4", STATIC}, "no loader multiplies weights of scheme mxfp4"},
    {{.scheme = "fp8-channel", .activation_scale = "static"}, "`activations.scale` static needs `calibration.text`"},
    {{.scheme = "fp8-channel", .activation_observer = "mse"}, "without `activations.scale` static"},
    {{.scheme = "fp8-channel", .activation_scale = "dynamic", .activation_observer = "mse"}, "computed at run time"},
    {{.scheme = "int4-group32", .format = "mlx", .activation_type = "int8"}, "no meaning with `format` mlx"},
    {{.scheme = "nvfp4", .activations = true, .activation_type = "fp8"}, "no meaning with `activations.like_weights`"},
    {{.scheme = "int8-channel", .activation_type = "int7"}, "'int7' is unknown: int8 or fp8"},
    {{.scheme = "int8-channel", .activation_scale = "fixed"}, "'fixed' is unknown: dynamic or static"},
    {{.scheme = "int8-channel", .activation_observer = "max", STATIC}, "'max' is unknown: extremes or mse"},
    {{.scheme = "int4-group32", .activations = true}, "it is for `scheme` nvfp4 or mxfp4"},
    {{.scheme = "int8-channel", .model = "fixtures/tiny-moe", STATIC}, "no loader multiplies experts"}};

START_TEST(what_no_loader_knows_is_refused)
{
    convert_way way = refusals[_i].way;
    organ_error error;
    way.model = way.model ? way.model : TINY;
    for (unsigned dry = 0; dry < 2; dry++) {
        way.dry_run = dry;
        ck_assert_int_eq(convert("out", way, &error), ORGAN_USAGE);
        ck_assert_msg(strstr(error.message, refusals[_i].words), "%s", error.message);
        ck_assert(!scratch_left("out"));
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"bytes", {inputs_do_not_change_codes, scales_do_not_depend_on_instruction_set_threads_or_method}}};
    Suite *const suite =
        suite_of("quantize_inputs", cases, sizeof cases / sizeof *cases, convert_setup, convert_teardown);
    TCase *const loops = tcase_create("loops");
    tcase_add_checked_fixture(loops, convert_setup, convert_teardown);
    tcase_set_timeout(loops, 60);
    tcase_add_loop_test(loops, quantize_writes_the_kind_that_is_asked_for, 0, sizeof kinds / sizeof *kinds);
    tcase_add_loop_test(loops, static_scales_are_those_of_the_inputs, 0, 2);
    tcase_add_loop_test(loops, scales_are_those_of_transformers, 0, sizeof references / sizeof *references);
    tcase_add_loop_test(loops, inputs_are_rounded_where_modules_read_them, 0, sizeof rounded / sizeof *rounded);
    tcase_add_loop_test(loops, smoothing_knows_multipliers, 0, 2);
    tcase_add_loop_test(loops, what_no_loader_knows_is_refused, 0, sizeof refusals / sizeof *refusals);
    suite_add_tcase(suite, loops);
    return run_suites((Suite *const[]){suite, NULL});
}

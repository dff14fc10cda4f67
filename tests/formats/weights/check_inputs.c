/* SPDX-License-Identifier: MIT
 * Tests of the rounding of inputs that configs declare: what is found, stored numbers, refused configs and tensors. */
#include "tests/formats/weights/check_weights.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/weights_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define UP "model.layers.0.mlp.up_proj"

/* A config of compressed-tensors whose group has these members besides its targets. */
#define GROUP(weights, inputs)                                                                                         \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"targets\":["        \
    "\"Linear\"],\"weights\":{" weights "},\"input_activations\":" inputs "}},\"ignore\":[\"lm_head\"]}}"
#define INT_CHANNEL   "\"num_bits\":8,\"type\":\"int\",\"strategy\":\"channel\""
#define FLOAT_CHANNEL "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\""
#define MODELOPT(algorithm)                                                                                            \
    "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"" algorithm "\",\"group_size\":16}}"

#define QUARK(inputs)                                                                                                  \
    "{\"quantization_config\":{\"quant_method\":\"quark\",\"global_quant_config\":{\"weight\":{},\"input_"             \
    "tensors\":" inputs "},\"layer_quant_config\":{},\"exclude\":[\"lm_head\"]}}"
#define QUARK_OF(type, members) QUARK("{\"dtype\":\"" type "\"," members "}")
#define AUTO_ROUND(members)     "{\"quantization_config\":{\"quant_method\":\"auto-round\",\"act_bits\":" members "}}"
#define QUARK_WITH(member)      "{\"quantization_config\":{\"quant_method\":\"quark\"," member "}}"
#define QUARK_INT8              "{\"input_tensors\":{\"dtype\":\"int8\",\"qscheme\":\"per_tensor\"}}"
#define EXTRA(rules)            AUTO_ROUND("8,\"act_dynamic\":false,\"extra_config\":{" rules "}")

#define INT8_CODES  "$.weight I8 64,64\n$.weight_scale F32 64,1\n"
#define FP8_CODES   "$.weight F8_E4M3 64,64\n$.weight_scale F32 64,1\n"
#define NVFP4_CODES "$.weight U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_scale_2 F32 1=1065353216\n"
#define CT_NVFP4    "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale F32 1=1065353216\n"

/* ---- what is found ---- */

/* `numbers`: scale, zero point, factor. 1056964608 is .5, 1073741824 is 2 as FP32; 16000 is .25 as BF16. */
static const struct good {
    const char *config, *tensors, *text;
    float numbers[3];
} goods[] = {
    {GROUP(INT_CHANNEL, "{\"num_bits\":8,\"type\":\"int\",\"strategy\":\"token\",\"dynamic\":true}"),
     INT8_CODES,
     "INT8 per token",
     {1, 0, 1}},
    {GROUP(INT_CHANNEL, "{\"strategy\":\"token\",\"dynamic\":true,\"symmetric\":false,\"observer\":null}"),
     INT8_CODES,
     "INT8 per token, asymmetric",
     {1, 0, 1}},
    /* the defaults of compressed-tensors: 8 bits, int, static, tensor */
    {GROUP(INT_CHANNEL, "{}"), INT8_CODES "$.input_scale F32 1=1056964608", "INT8 with a static scale", {.5f, 0, 1}},
    {GROUP(INT_CHANNEL, "{\"symmetric\":false}"),
     INT8_CODES "$.input_scale BF16 1=16000\n$.input_zero_point I8 1=-7",
     "INT8 with a static scale, asymmetric",
     {.25f, -7, 1}},
    {GROUP(INT_CHANNEL, "{\"num_bits\":4,\"strategy\":\"token\",\"dynamic\":true}"),
     INT8_CODES,
     "INT4 per token",
     {1, 0, 1}},
    {GROUP(INT_CHANNEL, "{\"num_bits\":8,\"strategy\":\"group\",\"group_size\":32,\"dynamic\":true}"),
     INT8_CODES,
     "INT8 per group of 32",
     {1, 0, 1}},
    {GROUP(FLOAT_CHANNEL, "{\"num_bits\":8,\"type\":\"float\",\"group_size\":128,\"dynamic\":true}"),
     FP8_CODES,
     "FP8 E4M3 per group of 128",
     {1, 0, 1}},
    /* servers take a dynamic tensor token by token */
    {GROUP(FLOAT_CHANNEL, "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\",\"dynamic\":true}"),
     FP8_CODES,
     "FP8 E4M3 per token",
     {1, 0, 1}},
    /* F16: 15360 is 1, 1 is the least number, 2^-24 */
    {GROUP(FLOAT_CHANNEL, "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\",\"dynamic\":false}"),
     FP8_CODES "$.input_scale F16 -=15360",
     "FP8 E4M3 with a static scale",
     {1, 0, 1}},
    {GROUP(FLOAT_CHANNEL, "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\"}"),
     FP8_CODES "$.input_scale F16 1=1",
     "FP8 E4M3 with a static scale",
     {0x1p-24f, 0, 1}},
    {GROUP(FLOAT_CHANNEL,
           "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32,\"dynamic\":true,"
           "\"scale_dtype\":\"torch.uint8\"}"),
     FP8_CODES,
     "FP8 E4M3 per group of 32, E8M0 scales",
     {1, 0, 1}},
    {GROUP(FLOAT_CHANNEL,
           "{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32,\"dynamic\":true}"),
     FP8_CODES,
     "FP4 E2M1 per group of 32, E8M0 scales",
     {1, 0, 1}},
    {GROUP("\"num_bits\":4,\"type\":\"float\"",
           "{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16,\"dynamic\":\"local\"}"),
     CT_NVFP4 "$.input_global_scale F32 1=1073741824",
     "FP4 E2M1 per group of 16, E4M3 scales",
     {1, 0, 2}},
    /* other methods */
    {FP8(",\"activation_scheme\":\"dynamic\""), FP8_CODES, "FP8 E4M3 per token", {1, 0, 1}},
    {FP8(BLOCK128 ",\"activation_scheme\":\"dynamic\""),
     "$.weight F8_E4M3 64,64\n$.weight_scale_inv F32 1,1",
     "FP8 E4M3 per group of 128",
     {1, 0, 1}},
    {FP8(BLOCK128 ",\"activation_scheme\":\"dynamic\",\"scale_fmt\":\"ue8m0\""),
     "$.weight F8_E4M3 64,64\n$.weight_scale_inv F32 1,1",
     "FP8 E4M3 per group of 128, UE8M0 scales",
     {1, 0, 1}},
    {FP8(",\"activation_scheme\":\"static\""),
     "$.weight F8_E4M3 64,64\n$.weight_scale F32 -\n$.input_scale F32 -=1056964608",
     "FP8 E4M3 with a static scale",
     {.5f, 0, 1}},
    {FP8(",\"activation_scheme\":\"static\""),
     "$.weight F8_E4M3 64,64\n$.qscale_weight F32 -\n$.qscale_act F32 -=1056964608",
     "FP8 E4M3 with a static scale",
     {.5f, 0, 1}},
    {"{\"quantization_config\":{\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":1200.0}}",
     FP8_CODES,
     "FP8 E4M3 per token",
     {1, 0, 1}},
    {MODELOPT("FP8"), FP8_CODES "$.input_scale F32 1=1056964608", "FP8 E4M3 with a static scale", {.5f, 0, 1}},
    {"{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quantization\":{\"quant_algo\":\"FP8\"}}}",
     FP8_CODES "$.input_scale F32 1=1056964608",
     "FP8 E4M3 with a static scale",
     {.5f, 0, 1}},
    {MODELOPT("NVFP4"),
     NVFP4_CODES "$.input_scale F32 1=1056964608",
     "FP4 E2M1 per group of 16, E4M3 scales",
     {1, 0, 2}},
    {QUARK_OF("fp8_e4m3", "\"is_dynamic\":false,\"qscheme\":\"per_tensor\",\"ch_axis\":null"),
     FP8_CODES "$.input_scale F32 1=1056964608",
     "FP8 E4M3 with a static scale",
     {.5f, 0, 1}},
    {QUARK_OF("fp8_e4m3", "\"is_dynamic\":true,\"qscheme\":\"per_channel\""),
     FP8_CODES,
     "FP8 E4M3 per token",
     {1, 0, 1}},
    {QUARK_OF("int8", "\"is_dynamic\":false,\"qscheme\":\"per_tensor\",\"symmetric\":false"),
     INT8_CODES "$.input_scale BF16 1=16000\n$.input_zero_point I8 1=-7",
     "INT8 with a static scale, asymmetric",
     {.25f, -7, 1}},
    {QUARK_OF("int8", "\"is_dynamic\":true,\"qscheme\":\"per_tensor\""), INT8_CODES, "INT8 per token", {1, 0, 1}},
    {QUARK_OF("fp4", "\"is_dynamic\":true,\"qscheme\":\"per_group\",\"group_size\":32,\"scale_format\":\"e8m0\""),
     FP8_CODES,
     "FP4 E2M1 per group of 32, E8M0 scales",
     {1, 0, 1}},
    {QUARK("[{\"dtype\":\"fp4\",\"qscheme\":\"per_group\",\"group_size\":16,\"is_dynamic\":true},{\"dtype\":\"fp8_"
           "e4m3\"}]"),
     NVFP4_CODES "$.input_scale_2 F32 1=1056964608",
     "FP4 E2M1 per group of 16, E4M3 scales",
     {1, 0, 2}},
    {AUTO_ROUND("8,\"act_data_type\":\"fp\",\"act_dynamic\":false,\"act_group_size\":0,\"act_sym\":true"),
     FP8_CODES "$.input_scale BF16 1=16000",
     "FP8 E4M3 with a static scale",
     {.25f, 0, 1}},
    {AUTO_ROUND("8,\"act_data_type\":\"int\",\"act_dynamic\":true,\"act_group_size\":-1,\"act_sym\":true"),
     INT8_CODES,
     "INT8 per token",
     {1, 0, 1}},
    {AUTO_ROUND("8,\"data_type\":\"fp\",\"act_group_size\":128"), FP8_CODES, "FP8 E4M3 per group of 128", {1, 0, 1}},
    {AUTO_ROUND("4,\"act_data_type\":\"mx_fp\",\"act_group_size\":32"),
     FP8_CODES,
     "FP4 E2M1 per group of 32, E8M0 scales",
     {1, 0, 1}},
    {AUTO_ROUND("4,\"act_data_type\":\"nv_fp4_with_static_gs\",\"act_group_size\":16"),
     CT_NVFP4 "$.input_global_scale F32 1=1073741824",
     "FP4 E2M1 per group of 16, E4M3 scales",
     {1, 0, 2}},
    /* layers have the members of the whole config that they do not have themselves */
    {AUTO_ROUND("16,\"data_type\":\"mx_fp\",\"act_group_size\":32,\"extra_config\":{\"mlp[.]up\":{\"act_bits\":8}}"),
     FP8_CODES,
     "FP8 E4M3 per group of 32, E8M0 scales",
     {1, 0, 1}},
    {AUTO_ROUND("8,\"extra_config\":{\"up_proj$\":{\"act_bits\":4,\"act_dynamic\":false}}"),
     INT8_CODES "$.input_scale F32 1=1056964608",
     "INT4 with a static scale",
     {.5f, 0, 1}},
    /* the bits of this layer's weights, without which the shapes contradict the config */
    {AUTO_ROUND("16,\"bits\":4,\"group_size\":32,\"sym\":true,\"extra_config\":{\".*up_(proj|no).*\":{\"bits\":8}}"),
     "$.qweight I32 16,64\n$.qzeros I32 2,16\n$.scales F16 2,64",
     NULL,
     {0}},
    {EXTRA("\"up_proj$\":{\"bits\":16,\"group_size\":0}"), "$.weight BF16 64,64", NULL, {0}},
    {QUARK_WITH("\"layer_type_quant_config\":null,\"global_quant_config\":null"), INT8_CODES, NULL, {0}},
    {QUARK_WITH("\"layer_type_quant_config\":{\"Conv2d\":" QUARK_INT8 ",\"ConvTranspose2d\":" QUARK_INT8
                ",\"Embedding\":" QUARK_INT8 "}"),
     INT8_CODES,
     NULL,
     {0}},
    /* no rounding */
    {QUARK("null"), FP8_CODES, NULL, {0}},
    {QUARK_OF("bfloat16", "\"is_dynamic\":false"), FP8_CODES, NULL, {0}},
    {AUTO_ROUND("16"), INT8_CODES, NULL, {0}},
    {GROUP(INT_CHANNEL, "null"), INT8_CODES, NULL, {0}},
    {FP8(BLOCK128), "$.weight F8_E4M3 64,64\n$.weight_scale_inv F32 1,1", NULL, {0}},
    {FP8(",\"activation_scheme\":\"dynamic\""), "$.weight BF16 64,64", NULL, {0}},
    {FP8(",\"activation_scheme\":\"dynamic\""),
     "model.embed_tokens.weight F8_E4M3 4,4\nmodel.embed_tokens.weight_scale F32 1",
     NULL,
     {0}},
    {MODELOPT("FP8_PB_WO"), FP8_CODES, NULL, {0}},
    {MODELOPT("W4A16_AWQ"), FP8_CODES, NULL, {0}},
    {NULL, INT8_CODES "$.input_scale F32 1", NULL, {0}},
};

static void check_good(const struct good *g)
{
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    organ_input_numbers numbers;
    char text[ORGAN_INPUT_TEXT];
    rig_model(g->config, g->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s: %s", g->config, error.message);
    const organ_weight *const weight = &weights->weights[0];
    ck_assert_msg(!weight->inputs == !g->text, "%s", g->config);
    if (g->text) {
        ck_assert_str_eq(organ_input_text(weight->inputs, text, sizeof text), g->text);
        ck_assert_msg(organ_input_numbers_read(model, weight, &numbers, &error) == ORGAN_OK, "%s", error.message);
        ck_assert(numbers.scale == g->numbers[0] && numbers.zero == g->numbers[1] && numbers.factor == g->numbers[2]);
    }
    organ_weights_free(weights);
    organ_model_close(model);
}

START_TEST(found)
{
    for (size_t k = (size_t)_i * ROWS; k < COUNT(goods) && k < ((size_t)_i + 1) * ROWS; k++)
        check_good(&goods[k]);
}
END_TEST

/* Layers of one model may differ: groups of compressed-tensors, quantized_layers of ModelOpt, patterns and classes of
 * Quark, names and expressions of AutoRound. Names precede patterns, the first of which counts, and these classes. The
 * scales of inputs stay
 * tensors that an unpacked model does not need. */
START_TEST(by_module)
{
    static const char *const configs[] = {
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"targets\":[\"re:"
        ".*up_proj\"],\"weights\":{},\"input_activations\":{\"dynamic\":true,\"strategy\":\"token\"}},\"b\":{"
        "\"targets\":[\"Linear\"],\"weights\":{}}}}}",
        "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\","
        "\"quantized_layers\":{\"" UP "\":{\"quant_algo\":\"FP8\"},\"other\":{\"quant_algo\":\"W4A16_AWQ\"}}}}",
        "{\"quantization_config\":{\"quant_method\":\"quark\",\"global_quant_config\":{\"input_tensors\":null},"
        "\"layer_quant_config\":{\"*up_proj\":{\"input_tensors\":{\"dtype\":\"int8\",\"qscheme\":\"per_tensor\"}}}}}",
        "{\"quantization_config\":{\"quant_method\":\"auto-round\",\"act_bits\":8,\"act_dynamic\":false,"
        "\"extra_config\":{\"other\":{\"act_bits\":16}}}}",
        QUARK_WITH(
            "\"global_quant_config\":{\"input_tensors\":null},\"layer_type_quant_config\":{\"Linear\":" QUARK_INT8
            "},\"layer_quant_config\":{\"oth*\":{\"input_tensors\":null}}"),
        QUARK_WITH("\"global_quant_config\":" QUARK_INT8 ",\"layer_quant_config\":{\"*up_proj\":" QUARK_INT8
                   "},\"layer_type_quant_config\":{\"Linear\":{\"input_tensors\":null}}"),
        EXTRA("\"t.er$\":{\"act_bits\":16}"),
        EXTRA("\"^oth\":{\"act_bits\":16},\"oth.*\":{\"act_bits\":8}"),
        EXTRA("\"^oth\":{},\".*\":{\"act_bits\":16},\"" UP "\":{\"bits\":8}")};
    for (size_t k = 0; k < COUNT(configs); k++) {
        organ_model *model;
        organ_weights *weights;
        organ_error error = {0};
        rig_model(configs[k], "$.weight I8 4,4\n$.weight_scale F32 4,1\nother.weight I8 4,4\nother.weight_scale F32 "
                              "4,1\n$.input_scale F32 1");
        ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_ptr_nonnull(organ_weights_named(weights, UP ".weight")->inputs);
        ck_assert_ptr_null(organ_weights_named(weights, "other.weight")->inputs);
        ck_assert_uint_eq(weights->unmatched_count, 1);
        ck_assert(weights->unmatched[0].dropped);
        organ_weights_free(weights);
        organ_model_close(model);
    }
}
END_TEST

/* ---- descriptions that organ does not know: the weights are found, and their inputs are not rounded ---- */

static const struct unknown {
    const char *config, *tensors;
    const char *note; /* between the name of the file and the end of the sentence */
} unknowns[] = {
    {GROUP(INT_CHANNEL, "{\"type\":\"bool\"}"), INT8_CODES, "config_groups.g.input_activations.type is \"bool\""},
    {GROUP(INT_CHANNEL, "{\"num_bits\":6}"), INT8_CODES, "input_activations.num_bits is 6"},
    {GROUP(INT_CHANNEL, "{\"num_bits\":16}"), INT8_CODES, "input_activations.num_bits is 16"},
    {GROUP(INT_CHANNEL, "{\"strategy\":\"heap\"}"), INT8_CODES, "input_activations.strategy is \"heap\""},
    {GROUP(INT_CHANNEL, "{\"strategy\":\"channel\"}"), INT8_CODES, "input_activations.strategy is \"channel\""},
    {GROUP(INT_CHANNEL, "{\"strategy\":\"group\",\"dynamic\":true}"), INT8_CODES, "strategy is \"group\""},
    {GROUP(INT_CHANNEL, "{\"strategy\":\"token\"}"), INT8_CODES, "strategy is \"token\""},
    {GROUP(INT_CHANNEL, "{\"group_size\":32}"), INT8_CODES, "input_activations.strategy is null"},
    {GROUP(INT_CHANNEL, "{\"dynamic\":\"often\"}"), INT8_CODES, "input_activations.dynamic is \"often\""},
    {GROUP(INT_CHANNEL, "{\"dynamic\":1}"), INT8_CODES, "input_activations.dynamic is 1"},
    {GROUP(INT_CHANNEL, "null,\"output_activations\":{\"num_bits\":8,\"strategy\":\"token\",\"dynamic\":true}"),
     INT8_CODES, "config_groups.g.output_activations is {\"num_bits\":8"},
    {GROUP(INT_CHANNEL,
           "null},\"of_queries\":{\"targets\":[\"re:.*self_attn$\"],\"weights\":null,\"input_activations\":{"
           "\"num_bits\":8,\"type\":\"float\"}"),
     INT8_CODES, "config_groups.of_queries.input_activations is {\"num_bits\":8"},
    {GROUP(INT_CHANNEL, "{\"symmetric\":0}"), INT8_CODES, "input_activations.symmetric is 0"},
    {GROUP(FLOAT_CHANNEL, "{\"type\":\"float\",\"symmetric\":false}"), FP8_CODES, "symmetric is false"},
    {FP8(",\"activation_scheme\":\"often\""), FP8_CODES, "quantization_config.activation_scheme is \"often\""},
    {QUARK_OF("fp6_e3m2", "\"is_dynamic\":true"), FP8_CODES, "global_quant_config.input_tensors.dtype is \"fp6_e3m2\""},
    {QUARK_OF("int8", "\"qscheme\":\"per_channel\""), INT8_CODES, "input_tensors.qscheme is \"per_channel\""},
    {QUARK_OF("int8", "\"group_size\":0"), INT8_CODES, "input_tensors.group_size is 0"},
    {QUARK("[{\"dtype\":\"fp4\"}]"), FP8_CODES, "global_quant_config.input_tensors is [{"},
    {QUARK_WITH("\"layer_type_quant_config\":{\"Linear\":{\"input_tensors\":{\"dtype\":\"fp6_e3m2\"}}}"), INT8_CODES,
     "layer_type_quant_config.Linear.input_tensors.dtype is \"fp6_e3m2\""},
    {AUTO_ROUND("4,\"act_data_type\":\"fp\""), FP8_CODES, "quantization_config.act_data_type is \"fp\""},
    {AUTO_ROUND("8,\"act_data_type\":\"mx_fp_rceil\",\"act_group_size\":32"), FP8_CODES,
     "quantization_config.act_data_type is \"mx_fp_rceil\""},
    {AUTO_ROUND("8,\"act_group_size\":[1,128]"), INT8_CODES, "quantization_config.act_group_size is [1,128]"},
    {EXTRA("\"up.*\":{\"act_bits\":\"8\"}"), INT8_CODES, "extra_config.up.*.act_bits is \"8\""},
    {EXTRA("\"up.*\":{\"act_bits\":3}"), INT8_CODES, "extra_config.up.*.act_bits is 3"},
    {EXTRA("\"up.*\":{\"act_group_size\":[1,128]}"), INT8_CODES, "extra_config.up.*.act_group_size is [1,128]"},
    {"{\"quantization_config\":{\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":-1}}", FP8_CODES,
     "quantization_config.activation_scale_ub is -1"},
};

START_TEST(unknown_roundings)
{
    const struct unknown *const u = &unknowns[_i];
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    rig_model(u->config, u->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s: %s", u->config, error.message);
    ck_assert_ptr_null(weights->weights[0].inputs);
    ck_assert_uint_eq(weights->remark_count, 1);
    const char *const note = weights->notes[weights->note_count - 1];
    ck_assert_msg(strstr(note, u->note) && strstr(note, ", a rounding of activations that organ does not compute"),
                  "%s", note);
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

/* ---- refused ---- */

/* `at_scoring`: found, but the stored numbers are refused. 2139095040 is infinity, 2143289344 a NaN, -1082130432 -1. */
static const struct bad {
    const char *config, *tensors;
    bool at_scoring;
    const char *fragments[2];
} bads[] = {
    {GROUP(INT_CHANNEL, "7"), INT8_CODES, false, {"config_groups.g.input_activations is 7, not an object"}},
    {GROUP(INT_CHANNEL, "{\"scale_dtype\":8}"), INT8_CODES, false, {"scale_dtype is 8, not a string"}},
    {QUARK("7"), FP8_CODES, false, {"global_quant_config.input_tensors is 7, not an object"}},
    {QUARK_WITH("\"layer_type_quant_config\":7"), INT8_CODES, false, {"layer_type_quant_config is 7, not an object"}},
    {QUARK_WITH("\"layer_type_quant_config\":{\"Linear\":[]}"),
     INT8_CODES,
     false,
     {"layer_type_quant_config.Linear is [], not an object"}},
    {QUARK_WITH("\"layer_type_quant_config\":{\"LlamaMLP\":{}}"),
     INT8_CODES,
     false,
     {"quantization_config.layer_type_quant_config has 'LlamaMLP', but the modules of this class are unknown"}},
    {QUARK_WITH("\"layer_quant_config\":{\"model.layers.[0-3]*\":{}}"),
     INT8_CODES,
     false,
     {"layer_quant_config has 'model.layers.[0-3]*', but a pattern can have only * and ?"}},
    {EXTRA("\"up(\":{\"act_bits\":8}"), INT8_CODES, false, {"extra_config.up(: 'up(' is not a valid pattern"}},
    {EXTRA("\"up.*\":7"), INT8_CODES, false, {"extra_config.up.* is 7, not an object"}},
    {EXTRA("\"up.*\":{\"bits\":\"four\"}"), INT8_CODES, false, {"bits is \"four\", not a whole number from 1 to 8"}},
    {EXTRA("\"up.*\":{\"group_size\":-3}"), INT8_CODES, false, {"group_size is -3, not -1, 0, a whole number"}},
    {EXTRA("\"up.*\":{\"act_dynamic\":0}"), INT8_CODES, false, {"act_dynamic is 0, not true or false"}},
    {EXTRA("\"up.*\":{\"act_sym\":\"yes\"}"), INT8_CODES, false, {"act_sym is \"yes\", not true or false"}},
    {EXTRA("\"up.*\":{\"act_data_type\":8}"), INT8_CODES, false, {"act_data_type is 8, not a string"}},
    {AUTO_ROUND("8,\"data_type\":4"), INT8_CODES, false, {"quantization_config.data_type is 4, not a string"}},
    {FP8(",\"activation_scheme\":\"static\""),
     FP8_CODES,
     true,
     {"model.safetensors: the inputs of '" UP ".weight' are rounded to FP8 E4M3 with a static scale",
      "there is no '" UP ".input_scale'"}},
    {GROUP(INT_CHANNEL, "{\"symmetric\":false}"),
     INT8_CODES "$.input_scale F32 1=1056964608",
     true,
     {"there is no '" UP ".input_zero_point'"}},
    {GROUP("\"num_bits\":4,\"type\":\"float\"",
           "{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16,\"dynamic\":\"local\"}"),
     CT_NVFP4,
     true,
     {"rounded to FP4 E2M1 per group of 16, E4M3 scales, but there is no '" UP ".input_global_scale'"}},
    {GROUP(INT_CHANNEL, "{}"),
     INT8_CODES "$.input_scale F32 2=1056964608,1056964608",
     true,
     {"tensor '" UP ".input_scale' has 2 values, but the inputs of a matrix have one scale"}},
    {GROUP(INT_CHANNEL, "{}"),
     INT8_CODES "$.input_scale I32 1=1",
     true,
     {"tensor '" UP ".input_scale' is I32, but a scale of inputs is F32, BF16 or F16"}},
    {GROUP(INT_CHANNEL, "{\"symmetric\":false}"),
     INT8_CODES "$.input_scale F32 1=1056964608\n$.input_zero_point F32 1",
     true,
     {"tensor '" UP ".input_zero_point' is F32, but a zero point of inputs is I8"}},
    {GROUP(INT_CHANNEL, "{}"),
     INT8_CODES "$.input_scale F32 1=0",
     true,
     {"tensor '" UP ".input_scale' is 0, but a scale of inputs is a finite number above 0"}},
    {GROUP(INT_CHANNEL, "{}"), INT8_CODES "$.input_scale F32 1=-1082130432", true, {".input_scale' is -1, but"}},
    {GROUP(INT_CHANNEL, "{}"), INT8_CODES "$.input_scale F32 1=2139095040", true, {".input_scale' is inf, but"}},
    {GROUP(INT_CHANNEL, "{}"), INT8_CODES "$.input_scale F32 1=2143289344", true, {".input_scale' is nan, but"}},
    {GROUP(INT_CHANNEL, "{}"), INT8_CODES "$.input_scale F16 1=31744", true, {".input_scale' is nan, but"}},
};

static void check_bad(const struct bad *b)
{
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    organ_input_numbers numbers;
    rig_model(b->config, b->tensors);
    const organ_status status = rig_find(&model, &weights, &error);
    ck_assert_msg(status == (b->at_scoring ? ORGAN_OK : ORGAN_BAD_INPUT), "%s: %s", b->config, error.message);
    if (b->at_scoring)
        ck_assert_int_eq(organ_input_numbers_read(model, &weights->weights[0], &numbers, &error), ORGAN_BAD_INPUT);
    for (size_t k = 0; k < COUNT(b->fragments) && b->fragments[k]; k++)
        ck_assert_msg(strstr(error.message, b->fragments[k]), "no \"%s\" in: %s", b->fragments[k], error.message);
    organ_weights_free(weights);
    organ_model_close(model);
}

START_TEST(refused)
{
    for (size_t k = (size_t)_i * ROWS; k < COUNT(bads) && k < ((size_t)_i + 1) * ROWS; k++)
        check_bad(&bads[k]);
}
END_TEST

Suite *inputs_suite(void)
{
    Suite *const suite = suite_create("inputs");
    TCase *const tcase = tcase_create("inputs");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, found, 0, (COUNT(goods) + ROWS - 1) / ROWS);
    tcase_add_test(tcase, by_module);
    tcase_add_loop_test(tcase, unknown_roundings, 0, COUNT(unknowns));
    tcase_add_loop_test(tcase, refused, 0, (COUNT(bads) + ROWS - 1) / ROWS);
    suite_add_tcase(suite, tcase);
    return suite;
}

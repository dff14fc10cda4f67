/* SPDX-License-Identifier: MIT
 * Compares weights with rotations at run time with the values of the libraries that rotate (fixtures/rotations): every
 * weight, any range of rows, and the bits of ranges with those of the whole. Also the cores of Hadamard matrices, and
 * what is refused. */
#include <organ/kernels.h>
#include <organ/stream.h>
#include <organ/weights.h>
#include "formats/base/hadamard.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/weights_rig.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "fixtures/rotations"

typedef struct golden {
    const char *name;
    size_t weights, rotated;
    const char *note; /* part of the first note */
} golden;

static const golden goldens[] = {
    {"ct-r4", 3, 2, "(transform_config: R4): organ folds the rotations into 2 weights"},
    {"ct-quip", 4, 3, "(transform_config: v, u): organ folds the rotations into 3 weights"},
    {"ct-quip-permuted", 3, 3, "transform_config: v, u"},
    {"ct-random-hadamard", 3, 3, "transform_config: v, u"},
    {"ct-heads", 3, 3, "transform_config: a, b, c"},
    {"ct-random-matrix", 3, 3, "transform_config: v, u"},
    {"ct-embedding", 2, 2, "transform_config: R1"},
    {"auto-spinquant", 7, 7, "(spinquant_config): organ folds the rotations into 7 weights"},
    {"auto-hadamard", 2, 2, "rotation_config: hadamard"},
    {"auto-random-hadamard", 2, 2, "rotation_config: random_hadamard"},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

static float *read_rows(const organ_weight_reader *reader, uint64_t first, size_t rows)
{
    organ_error error = {0};
    const size_t bytes = rows * organ_weight_reader_cols(reader) * sizeof(float),
                 scratch = organ_weight_reader_scratch(reader, rows);
    float *const values = aligned_alloc(64, (bytes + 63) / 64 * 64);
    void *const room = aligned_alloc(64, scratch + 64);
    ck_assert_uint_eq(scratch % 64, 0);
    memset(values, 0xa5, bytes);
    memset(room, 0xa5, scratch);
    ck_assert_msg(organ_weight_read(reader, first, rows, ORGAN_F32, values, room, &error) == ORGAN_OK, "%s",
                  error.message);
    free(room);
    return values;
}

static void check_ranges(const organ_weight *w, const organ_weight_reader *reader, const float *whole)
{
    const size_t rows = (size_t)organ_weight_reader_rows(reader), cols = (size_t)organ_weight_reader_cols(reader);
    for (size_t first = 0; first < rows; first++)
        for (size_t count = 1; first + count <= rows && count < 9; count += 3) {
            float *const part = read_rows(reader, first, count);
            ck_assert_msg(memcmp(part, whole + first * cols, count * cols * sizeof *part) == 0,
                          "%s: rows %zu to %zu differ from those of the whole", w->name, first, first + count - 1);
            free(part);
        }
}

static void check_weight(const golden *g, const organ_model *model, const organ_weight *w, const organ_model *owner)
{
    organ_error error = {0};
    const organ_tensor *const want = organ_model_find(owner, w->name);
    organ_weight_reader *reader;
    ck_assert_msg(want != NULL, "%s: '%s' is not what the owner calls it", g->name, w->name);
    ck_assert_uint_eq(w->elements, want->elements);
    float *const expected = malloc(want->bytes);
    ck_assert_int_eq(organ_model_read(owner, want->file, expected, want->bytes, want->offset, &error), ORGAN_OK);
    ck_assert_msg(organ_weight_reader_open(model, w, organ_kernels_scalar, NULL, &reader, &error) == ORGAN_OK, "%s",
                  error.message);
    float *const whole = read_rows(reader, 0, (size_t)organ_weight_reader_rows(reader));
    double apart = 0, size = 0;
    for (size_t k = 0; k < want->elements; k++) {
        apart += ((double)whole[k] - expected[k]) * ((double)whole[k] - expected[k]);
        size += (double)expected[k] * expected[k];
    }
    ck_assert_msg(sqrt(apart / size) < 1e-5, "%s: %s differs from the library's values by %g", g->name, w->name,
                  sqrt(apart / size));
    check_ranges(w, reader, whole);
    organ_weight_reader_close(reader);
    free(whole);
    free(expected);
}

START_TEST(as_the_library_computes)
{
    const golden *const g = &goldens[_i];
    organ_model *model, *owner;
    organ_weights *weights;
    organ_error error = {0};
    char path[512];
    size_t rotated = 0;
    snprintf(path, sizeof path, FIXTURES "/%s/expected.safetensors", g->name);
    ck_assert_msg(organ_model_open(path, &owner, &error) == ORGAN_OK, "%s", error.message);
    snprintf(path, sizeof path, FIXTURES "/%s", g->name);
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_weights_find(model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(weights->count, g->weights);
    for (size_t k = 0; k < weights->count; k++) {
        rotated += weights->weights[k].rotation != NULL;
        check_weight(g, model, &weights->weights[k], owner);
    }
    ck_assert_uint_eq(rotated, g->rotated);
    for (size_t k = 0; k < weights->unmatched_count; k++)
        ck_assert_msg(weights->unmatched[k].dropped, "%s: %s is kept", g->name, weights->unmatched[k].tensor->name);
    ck_assert_uint_eq(weights->remark_count, strcmp(g->name, "auto-spinquant") == 0); /* R3 */
    ck_assert_uint_eq(weights->note_count, 1 + weights->remark_count);
    ck_assert_msg(strstr(weights->notes[0], g->note) != NULL, "%s: '%s'", g->name, weights->notes[0]);
    organ_weights_free(weights);
    organ_model_close(owner);
    organ_model_close(model);
}
END_TEST

/* ---- cores ---- */

/* The sum of (row + 1) h(row) modulo 2^61 (fixtures/make_rotations.py). */
static uint64_t sum_of_core(uint64_t order)
{
    double *const core = malloc(order * order * sizeof *core);
    __int128 sum = 0;
    organ_hadamard_core(order, core);
    for (uint64_t row = 0; row < order; row++) {
        __int128 h = (__int128)1 << 40;
        for (uint64_t k = 0; k < order; k++)
            h += (__int128)(k + 1) * (__int128)core[row * order + k] * 1000003;
        sum += (__int128)(row + 1) * h;
    }
    free(core);
    const __int128 modulus = (__int128)1 << 61;
    return (uint64_t)((sum % modulus + modulus) % modulus);
}

START_TEST(cores_are_those_of_auto_round)
{
    FILE *const file = fopen(FIXTURES "/cores.tsv", "r");
    char line[300];
    size_t count = 0;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        uint64_t order, sum;
        if (*line == '#')
            continue;
        ck_assert_int_eq(sscanf(line, "%" SCNu64 "\t%" SCNu64, &order, &sum), 2);
        ck_assert_uint_eq(organ_hadamard_order(8 * order), order == 20 ? 40 : order);
        ck_assert_msg(sum_of_core(order) == sum, "the core of order %" PRIu64 " differs", order);
        count++;
    }
    fclose(file);
    ck_assert_uint_eq(count, 11);
    ck_assert_uint_eq(organ_hadamard_order(64), 1);
    ck_assert_uint_eq(organ_hadamard_order(20), 20);
    ck_assert_uint_eq(organ_hadamard_order(11), 0);
    ck_assert_uint_eq(organ_hadamard_order(0), 0);
}
END_TEST

/* ---- what is refused ---- */

#define COMPRESSED(more) "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\"," more "}}"
#define TRANSFORM(more)  COMPRESSED("\"transform_config\":{\"config_groups\":{\"T\":{" more "}}}")
#define APPLY(location)  "\"apply\":[{\"targets\":[\"Linear\"],\"location\":\"" location "\"}]"
#define AUTO(more)       "{\"quantization_config\":{\"quant_method\":\"auto-round\"," more "}}"
#define PLAIN            "$.weight F32 4,12\n"

typedef struct refusal {
    const char *config, *tensors, *message;
} refusal;

static const refusal refusals[] = {
    {TRANSFORM("\"type\":\"cayley\"," APPLY("input")), PLAIN,
     "transform_config.config_groups.T.type is 'cayley', a rotation at run time that organ does not know"},
    {TRANSFORM("\"type\":\"hadamard\",\"twist\":1," APPLY("input")), PLAIN, "transform_config.config_groups.T.twist'"},
    {TRANSFORM("\"type\":\"hadamard\"," APPLY("middle")), PLAIN, "location is 'middle', but must be input"},
    {TRANSFORM("\"type\":\"hadamard\"," APPLY("input")), PLAIN,
     "up_proj' at run time by a stored matrix, but no tensor '*.T_input.weight' of 12 rows"},
    {TRANSFORM("\"type\":\"random-hadamard\"," APPLY("output")), PLAIN, "no tensor '*.T_output.weight' of 4 rows"},
    {TRANSFORM("\"type\":\"hadamard\",\"randomize\":true," APPLY("output")), PLAIN,
     "by a permutation, but no tensor '*.T_output.perm' of 4 rows"},
    {TRANSFORM("\"type\":\"hadamard\",\"head_dim\":5," APPLY("output")), PLAIN,
     "head_dim is 5, which does not divide the 4 outputs"},
    {TRANSFORM("\"type\":\"random-hadamard\"," APPLY("input")), PLAIN "$.T_input.weight F64 12,11\n",
     "has type F64 and shape [12, 11], but a rotation of 12 values is a square matrix"},
    {TRANSFORM("\"type\":\"hadamard\",\"head_dim\":4," APPLY("q_attn")), PLAIN,
     "rotates queries or keys (q_attn, k_cache), but not both by the same Hadamard matrix"},
    {TRANSFORM("\"type\":\"hadamard\",\"head_dim\":4,\"apply\":[{\"targets\":[\"lm_head\"],\"location\":\"input\"}]"),
     PLAIN "model.embed_tokens.weight F32 4,12\n",
     "rotates the head at run time, but the model has no lm_head.weight of its own"},
    {AUTO("\"data_type\":\"int\",\"rotation_config\":{\"hadamard_type\":\"hadamard\"}"), PLAIN,
     "data_type is 'int', but AutoRound rotates inputs only with mx_fp and nv_fp codes"},
    {AUTO("\"rotation_config\":{\"hadamard_type\":\"inplace_hadamard\"}"), PLAIN,
     "hadamard_type 'inplace_hadamard', a rotation at run time that organ does not know"},
    {AUTO("\"spinquant_config\":{\"r1\":true}"), PLAIN,
     "spinquant_config declares the rotation R1 at run time, but no tensor is called '*.spinquant_r1_type'"},
    {AUTO("\"spinquant_config\":{\"r1\":false}"), PLAIN "$.spinquant_r4_type I32 1=0\n$.spinquant_r4_size I32 1=11\n",
     "is 11, which does not divide the 12 inputs"},
    {AUTO("\"spinquant_config\":{\"r1\":false}"), PLAIN "$.spinquant_r4_type I32 1=3\n$.spinquant_r4_size I32 1=12\n",
     "is 3, but types of rotations are 0, 1 and 2"},
    {AUTO("\"spinquant_config\":{\"r1\":false}"), PLAIN "$.spinquant_r4_type I32 1=1\n$.spinquant_r4_size I32 1=12\n",
     "up_proj.spinquant_r4_matrix'"},
    {AUTO("\"spinquant_config\":{\"algorithm\":\"svd\"}"), PLAIN, "algorithm is 'svd', but only spinquant is known"},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

START_TEST(faults_are_named)
{
    const refusal *const r = &refusals[_i];
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    rig_model(r->config, r->tensors);
    ck_assert_int_eq(rig_find(&model, &weights, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, r->message) != NULL, "'%s', expected '%s'", error.message, r->message);
    organ_model_close(model);
}
END_TEST

/* ---- members of a quantization_config ---- */

typedef struct member {
    const char *config;
    const char *message; /* of the refusal, or else of the only note; NULL: neither */
    bool refused;
} member;

#define GROUP(method, more) OF(method, "\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," more "}}")
#define QUARK(more)         OF("quark", "\"global_quant_config\":{" more "}")
#define OF_MLX(more)        "{\"quantization\":{" more "}}"
#define MLX_TENSORS         "$.weight U32 4,4\n$.scales F16 4,1\n$.biases F16 4,1\n"

#define OF(method, more) "{\"quantization_config\":{\"quant_method\":\"" method "\"," more "}}"

static const member members[] = {
    {OF("compressed-tensors", "\"svd_config\":{\"rank\":4}"),
     "quantization_config has the member 'svd_config', which quant_method 'compressed-tensors' does not have", true},
    {OF("gptq", "\"bits\":4,\"rotation\":\"hadamard\""), "has the member 'rotation'", true},
    {OF("gptq", "\"bits\":4,\"adapter\":{\"rank\":8}"), "has the member 'adapter'", true},
    {OF("awq", "\"bits\":4,\"clip_values\":[1]"), "has the member 'clip_values'", true},
    {OF("fp8", "\"offsets\":2"), "has the member 'offsets'", true},
    {OF("modelopt", "\"rotate\":true"), "has the member 'rotate'", true},
    {OF("quark", "\"outliers\":\"kept\""), "has the member 'outliers'", true},
    {OF("auto-round", "\"bits\":4,\"svdquant_config\":{\"rank\":2}"), "has the member 'svdquant_config'", true},
    {OF("mxfp4", "\"permute\":true"), "has the member 'permute'", true},
    {OF("compressed-tensors", "\"svd_config\":null"), NULL, false},
    {OF("compressed-tensors", "\"svd_config\":false"), NULL, false},
    {OF("compressed-tensors", "\"svd_config\":{}"), NULL, false},
    {OF("compressed-tensors", "\"svd_config\":[]"), NULL, false},
    {OF("compressed-tensors", "\"svd_config\":\"\""), NULL, false},
    {OF("compressed-tensors", "\"kv_cache_extra\":1,\"act_clip\":2,\"author\":\"x\""),
     "members of activations, caches or metadata that organ does not know and leaves out: 'kv_cache_extra', "
     "'act_clip', 'author'",
     false},
    {OF("quark", "\"kv_cache_post_rope\":true"), "leaves out: 'kv_cache_post_rope'", false},
    {OF("gptq", "\"bits\":4,\"damp_percent\":0.01,\"meta\":{\"quantizer\":\"a\"},\"tokenizer\":\"b\""), NULL, false},
    {OF("some-method", "\"anything\":1"), NULL, false},
    /* objects in a section */
    {GROUP("compressed-tensors", "\"codebook\":\"nf4\",\"weights\":{}"),
     "quantization_config has the member 'config_groups.g.codebook'", true},
    {GROUP("compressed-tensors", "\"weights\":{\"num_bits\":4,\"offset\":2}"), "'config_groups.g.weights.offset'",
     true},
    {GROUP("compressed-tensors", "\"weights\":{\"num_bits\":4,\"input_permutation\":[1]}"),
     "'config_groups.g.weights.input_permutation'", true},
    {GROUP("compressed-tensors", "\"weights\":{\"num_bits\":4,\"offset\":null,\"permute\":false,\"codebook\":[]}"),
     NULL, false},
    {GROUP("compressed-tensors", "\"weights\":{\"num_bits\":4,\"comment\":\"x\"}"),
     "leaves out: 'config_groups.g.weights.comment'", false},
    {GROUP("compressed-tensors",
           "\"input_activations\":{\"num_bits\":8,\"clip\":3},\"output_activations\":{\"clip\":3,\"shift\":1}"),
     "leaves out: 'config_groups.g.input_activations.clip', 'config_groups.g.output_activations.shift'", false},
    {GROUP("modelopt", "\"weights\":{\"num_bits\":4,\"svd_rank\":4}"), "'config_groups.g.weights.svd_rank'", true},
    {OF("compressed-tensors", "\"kv_cache_scheme\":{\"num_bits\":8,\"type\":\"float\",\"sink\":4}"),
     "leaves out: 'kv_cache_scheme.sink'", false},
    {OF("modelopt", "\"quantization\":{\"quant_algo\":\"FP8\",\"rotate\":true}"),
     "quantization_config.quantization has the member 'rotate'", true},
    {OF("modelopt", "\"quantized_layers\":{\"a\":{\"quant_algo\":\"FP8\"},\"b\":{\"rotate\":1}}"),
     "'quantized_layers.b.rotate'", true},
    {OF("gptq", "\"bits\":4,\"dynamic\":{\"a\":{\"bits\":8,\"desc_act\":true,\"act_bits\":4},\"-:b\":{}}"),
     "leaves out: 'dynamic.a.act_bits'", false},
    {OF("gptq", "\"bits\":4,\"dynamic\":{\"a\":{\"adapter\":{\"rank\":8}}}"), "'dynamic.a.adapter'", true},
    {OF("auto-round", "\"bits\":4,\"extra_config\":{\"a\":{\"bits\":8,\"super_bits\":6},\"b\":{\"lowrank\":1}}"),
     "'extra_config.b.lowrank'", true},
    {OF("auto-round", "\"bits\":4,\"extra_config\":{\"a\":{\"rotation_config\":{\"algorithm\":\"hadamard\"}}}"),
     "'extra_config.a.rotation_config'", true},
    {OF("auto-round", "\"data_type\":\"mx_fp\",\"rotation_config\":{\"algorithm\":\"hadamard\",\"angle\":1}"),
     "'rotation_config.angle'", true},
    {OF("auto-round", "\"spinquant_config\":{\"r1\":false,\"r5\":true}"), "'spinquant_config.r5'", true},
    {OF("auto-round", "\"rotation_configs\":[{\"algorithm\":\"hadamard\"}]"), "'rotation_configs'", true},
    {OF("quark", "\"export\":{\"pack_method\":\"reorder\",\"permutation\":[1]}"), "'export.permutation'", true},
    {QUARK("\"outliers\":{\"share\":1}"), "'global_quant_config.outliers'", true},
    {QUARK("\"weight\":{\"dtype\":\"int4\",\"codebook\":\"x\"}"), "'global_quant_config.weight.codebook'", true},
    {QUARK("\"weight\":[{\"dtype\":\"fp4\"},{\"dtype\":\"fp8_e4m3\",\"codebook\":\"x\"}]"),
     "'global_quant_config.weight.codebook'", true},
    {QUARK("\"input_tensors\":null,\"output_tensors\":{\"clip\":1}"),
     "leaves out: 'global_quant_config.output_tensors.clip'", false},
    {OF("quark", "\"layer_quant_config\":{\"*.a\":{\"weight\":{\"twist\":1}}}"),
     "'layer_quant_config.*.a.weight.twist'", true},
    {OF("quark",
        "\"algo_config\":[{\"name\":\"rotation\",\"r1\":true,\"r2\":true},{\"name\":\"awq\",\"model_type\":1}]"),
     NULL, false},
    {OF("quark",
        "\"algo_config\":[{\"name\":\"awq\"},{\"name\":\"rotation\",\"r1\":true,\"online_r1_rotation\":true}]"),
     "algo_config has 'rotation' with online_r1_rotation, a rotation at run time", true},
    {OF("quark", "\"algo_config\":[{\"name\":\"rotation\",\"r4\":true}]"), "algo_config has 'rotation' with r4", true},
    {OF_MLX("\"bits\":4,\"group_size\":32,\"a.b\":{\"bits\":8,\"group_size\":32},\"a.c\":true,\"a.d\":false"), NULL,
     false},
    {OF_MLX("\"bits\":4,\"group_size\":32,\"a.b\":{\"bits\":8,\"lut\":[1]}"), "quantization has the member 'a.b.lut'",
     true},
    {OF_MLX("\"bits\":4,\"group_size\":32,\"lut\":\"nf4\""), "quantization has the member 'lut'", true},
    /* transformers refuses sections without quant_method */
    {"{\"quantization_config\":{\"transform_config\":{\"config_groups\":{\"R4\":{\"type\":\"hadamard\"}}}}}",
     "quantization_config has transform_config, a rotation at run time, but no quant_method", true},
    {"{\"text_config\":{\"quantization_config\":{\"spinquant_config\":{\"r1\":true}}}}", "has spinquant_config", true},
    {"{\"quantization_config\":{\"transform_config\":{}}}", NULL, false},
};
enum { MEMBERS = sizeof members / sizeof *members };

START_TEST(unknown_members)
{
    const member *const m = &members[_i];
    organ_model *model;
    organ_weights *weights = NULL;
    organ_error error = {0};
    rig_model(m->config, strstr(m->config, "{\"quantization\"") ? MLX_TENSORS : "$.weight F32 4,4\n");
    const organ_status status = rig_find(&model, &weights, &error);
    ck_assert_msg(status == (m->refused ? ORGAN_BAD_INPUT : ORGAN_OK), "'%s'", error.message);
    if (m->refused)
        ck_assert_msg(strstr(error.message, m->message) != NULL, "'%s'", error.message);
    else {
        const bool unrounded = strstr(m->config, "output_activations") != NULL; /* has a note of its own */
        ck_assert_uint_eq(weights->note_count, (m->message != NULL) + unrounded);
        ck_assert_msg(!m->message || strstr(weights->notes[0], m->message) != NULL, "'%s'",
                      m->message ? weights->notes[0] : "");
    }
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rotations");
    TCase *owners = tcase_create("owners"), *bad = tcase_create("values");
    tcase_set_timeout(owners, 60);
    tcase_add_loop_test(owners, as_the_library_computes, 0, GOLDENS);
    tcase_add_test(owners, cores_are_those_of_auto_round);
    tcase_add_checked_fixture(bad, scratch_begin, scratch_end);
    tcase_add_loop_test(bad, faults_are_named, 0, REFUSALS);
    tcase_add_loop_test(bad, unknown_members, 0, MEMBERS);
    suite_add_tcase(suite, owners);
    suite_add_tcase(suite, bad);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}

/* SPDX-License-Identifier: MIT
 * Taps and cuts of mixtures: a layer recomputed from its taps equals the layer, and a layer that keeps some experts
 * equals that of a model with these experts only. */
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TOKENS = 1300, WORDS = 96, EXPERTS = 6, LAYER = 1 };

static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};

typedef struct bench {
    session s;
    organ_layer *layer;
    organ_windows windows;
    size_t begin[4], tokens;
    uint32_t token[TOKENS];
    float *hidden;
    size_t width;
} bench;

/* Opens the model and makes three windows; the last one is longer than the number of tokens that a layer processes at
 * once. */
static void set_up(bench *b, const char *path, unsigned threads, const char *isa)
{
    organ_error error;
    const char *why;
    ck_assert_msg(session_open(&b->s, path, threads, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    b->s.engine.kernels = organ_kernels_choose(organ_cpu_detect(), isa, &why);
    b->tokens = sampled(TOKENS, 140);
    for (size_t k = 0; k < b->tokens; k++)
        b->token[k] = (uint32_t)(k * k * 7 + k / 3) % WORDS;
    b->begin[0] = 0;
    b->begin[1] = 40;
    b->begin[2] = 64;
    b->begin[3] = b->tokens;
    b->windows = (organ_windows){b->token, 3, b->begin};
    b->width = (size_t)organ_forward_describe(b->s.forward)->hidden;
    b->hidden = malloc(b->tokens * b->width * sizeof *b->hidden);
    ck_assert_int_eq(organ_forward_embed(b->s.forward, &b->windows, b->hidden, &error), ORGAN_OK);
    ck_assert_msg(organ_layer_load(b->s.forward, LAYER, &b->layer, &error) == ORGAN_OK, "%s", error.message);
}

static void tear_down(bench *b)
{
    organ_layer_free(b->layer);
    free(b->hidden);
    session_close(&b->s);
}

/* ---- the layer, recomputed from its taps ---- */

typedef struct hearing {
    size_t next, width;
    float *normed, *logits;
    bool fail;
} hearing;

static organ_status hear(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                         const float *logits, organ_error *error)
{
    hearing *h = context;
    if (h->fail)
        return organ_fail(error, ORGAN_CHECK_FAILED, "heard layer %d", (int)layer);
    ck_assert_int_eq(layer, LAYER);
    ck_assert_uint_eq(first, h->next);
    memcpy(h->normed + first * h->width, normed, tokens * h->width * sizeof *normed);
    memcpy(h->logits + first * EXPERTS, logits, tokens * EXPERTS * sizeof *logits);
    h->next += tokens;
    return ORGAN_OK;
}

/* Zeroes the output of the attention and of shared experts, so that the layer adds the outputs of its experts only. */
static void silence(bench *b, const char *output)
{
    uint64_t rows, cols;
    organ_product_operand held;
    ck_assert_msg(organ_layer_matrix(b->layer, output, &rows, &cols, &held), "%s", output);
    float *const zeros = calloc((size_t)(rows * cols), sizeof *zeros);
    organ_layer_write(b->layer, output, zeros);
    free(zeros);
}

/* Adds the outputs of experts by the recorded routes: hidden += sum of weight x expert. */
static void add_experts(bench *b, const hearing *h, const bool *kept, float *hidden)
{
    const organ_forward_config *c = organ_forward_describe(b->s.forward);
    organ_error error = {0};
    const organ_router router = organ_layer_router(b->layer);
    float *outputs[EXPERTS], room[EXPERTS];
    for (unsigned e = 0; e < EXPERTS; e++) {
        outputs[e] = malloc(b->tokens * b->width * sizeof *outputs[e]);
        ck_assert_int_eq(organ_layer_expert(b->s.forward, b->layer, e, h->normed, b->tokens, NULL, outputs[e], &error),
                         ORGAN_OK);
    }
    for (size_t t = 0; t < b->tokens; t++) {
        organ_expert_choice chosen[EXPERTS];
        organ_forward_route(&router, kept, h->logits + t * EXPERTS, room, chosen);
        for (size_t x = 0; x < b->width; x++) {
            float sum = 0;
            for (unsigned k = 0; k < c->experts_used; k++)
                sum += chosen[k].weight * outputs[chosen[k].expert][t * b->width + x];
            hidden[t * b->width + x] += sum;
        }
        for (unsigned k = 0; k < c->experts_used; k++)
            REQUIRE(chosen[k].expert < EXPERTS && (!kept || kept[chosen[k].expert]) &&
                    (k == 0 || chosen[k].expert > chosen[k - 1].expert));
    }
    for (unsigned e = 0; e < EXPERTS; e++)
        free(outputs[e]);
}

static const bool some[EXPERTS] = {true, false, true, true, false, true};

static void check_sums(const char *const model[3], const char *isa, unsigned threads, const bool *kept)
{
    bench b;
    organ_error error = {0};
    set_up(&b, model[0], threads, isa);
    for (size_t k = 1; k < 3 && model[k]; k++)
        silence(&b, model[k]);
    ck_assert_int_eq(organ_layer_keep(b.layer, kept, &error), ORGAN_OK);
    const size_t floats = b.tokens * b.width;
    hearing h = {.width = b.width,
                 .normed = malloc(floats * sizeof(float)),
                 .logits = malloc(b.tokens * EXPERTS * sizeof(float))};
    float *const again = malloc(floats * sizeof *again);
    memcpy(again, b.hidden, floats * sizeof *again);
    organ_layer_tap_router(b.layer, &h, hear);
    ck_assert_msg(organ_layer_run(b.s.forward, b.layer, &b.windows, b.hidden, NULL, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert_uint_eq(h.next, b.tokens);
    add_experts(&b, &h, kept, again);
    ck_assert_msg(memcmp(again, b.hidden, floats * sizeof *again) == 0, "%s by %s", model[0], isa);
    free(h.normed);
    free(h.logits);
    free(again);
    tear_down(&b);
}

START_TEST(what_a_tap_hears_gives_the_layer_again)
{
    static const char *const models[][3] = {
        {"fixtures/forward/qwen3moe", "model.layers.1.self_attn.o_proj.weight"},
        {"fixtures/forward/qwen3moe-stacked", "model.layers.1.self_attn.o_proj.weight"},
        {"fixtures/forward/mixtral.gguf", "blk.1.attn_output.weight"},
        {"fixtures/forward/glm4moe.gguf", "blk.1.attn_output.weight", "blk.1.ffn_down_shexp.weight"}};
    const char *why;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (size_t k = 0; k < sizeof isas / sizeof *isas; k++)
            if (organ_kernels_choose(organ_cpu_detect(), isas[k], &why)) {
                check_sums(models[m], isas[k], 1 + (unsigned)k, NULL);
                check_sums(models[m], isas[k], 3 - (unsigned)k % 3, some);
            }
}
END_TEST

/* Calls of taps for a tapped expert and for another one: tokens of the three matrices, and values. */
typedef struct listening {
    const bench *b;
    unsigned expert;
    size_t tokens[3], plain;
    float *inputs, *inner;
} listening;

static organ_status listen(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                           const float *inputs, organ_error *error)
{
    static const char *const ends[] = {"gate_proj.weight", "up_proj.weight", "down_proj.weight"};
    listening *const l = context;
    char name[200];
    (void)error;
    for (unsigned k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "model.layers.1.mlp.experts.%u.%s", l->expert, ends[k]);
        if (strcmp(tensor, name) != 0)
            continue;
        ck_assert_uint_eq(first, l->tokens[k]);
        memcpy((k == 2 ? l->inner : l->inputs) + first * features, inputs, tokens * features * sizeof *inputs);
        l->tokens[k] += tokens;
        return ORGAN_OK;
    }
    l->plain += strstr(tensor, ".experts.") && strstr(tensor, "down_proj") ? tokens : 0;
    return ORGAN_OK;
}

/* Taps of one expert get all its tokens and outputs; taps of the others and the layer's output do not change. */
START_TEST(experts_are_listened_to)
{
    for (unsigned expert = 0; expert < EXPERTS; expert += 3) {
        bench b;
        organ_error error = {0};
        bool all_tokens[EXPERTS] = {false};
        set_up(&b, "fixtures/forward/qwen3moe", 2, NULL);
        const size_t floats = b.tokens * b.width,
                     inner = (size_t)organ_forward_describe(b.s.forward)->expert_intermediate;
        hearing h = {.width = b.width,
                     .normed = malloc(floats * sizeof(float)),
                     .logits = malloc(b.tokens * EXPERTS * sizeof(float))};
        listening l = {.b = &b,
                       .expert = expert,
                       .inputs = malloc(floats * sizeof(float)),
                       .inner = malloc(b.tokens * inner * sizeof(float))};
        float *const before = malloc(floats * sizeof *before), *const made = malloc(b.tokens * inner * sizeof *made);
        memcpy(before, b.hidden, floats * sizeof *before);
        const organ_tap tap = {&l, listen};
        ck_assert_int_eq(organ_layer_run(b.s.forward, b.layer, &b.windows, before, &tap, &error), ORGAN_OK);
        const size_t routed = l.tokens[2], plain = l.plain;
        ck_assert_uint_lt(routed, b.tokens);
        memset(l.tokens, 0, sizeof l.tokens);
        l.plain = 0;
        all_tokens[expert] = true;
        organ_layer_set_all_tokens(b.layer, all_tokens);
        organ_layer_tap_router(b.layer, &h, hear);
        ck_assert_msg(organ_layer_run(b.s.forward, b.layer, &b.windows, b.hidden, &tap, &error) == ORGAN_OK, "%s",
                      error.message);
        for (unsigned k = 0; k < 3; k++)
            ck_assert_uint_eq(l.tokens[k], b.tokens);
        ck_assert_uint_eq(l.plain, plain);
        ck_assert_mem_eq(b.hidden, before, floats * sizeof *before);
        ck_assert_mem_eq(l.inputs, h.normed, floats * sizeof *l.inputs);
        ck_assert_int_eq(organ_layer_expert(b.s.forward, b.layer, expert, h.normed, b.tokens, made, NULL, &error),
                         ORGAN_OK);
        ck_assert_mem_eq(l.inner, made, b.tokens * inner * sizeof *made);
        free(h.normed);
        free(h.logits);
        free(l.inputs);
        free(l.inner);
        free(before);
        free(made);
        tear_down(&b);
    }
}
END_TEST

/* The values inside an expert, with and without its output: its down projection is recomputed. */
START_TEST(the_inside_of_an_expert_is_told)
{
    bench b;
    organ_error error = {0};
    set_up(&b, "fixtures/forward/qwen3moe", 2, NULL);
    const size_t width = (size_t)organ_forward_describe(b.s.forward)->expert_intermediate;
    uint64_t rows, cols;
    organ_product_operand held;
    ck_assert(organ_layer_matrix(b.layer, "model.layers.1.mlp.experts.4.down_proj.weight", &rows, &cols, &held));
    float *down = malloc((size_t)(rows * cols) * sizeof *down), *inner = malloc(b.tokens * width * sizeof *inner);
    float *alone = malloc(b.tokens * width * sizeof *alone), *out = malloc(b.tokens * b.width * sizeof *out);
    organ_layer_read(b.layer, "model.layers.1.mlp.experts.4.down_proj.weight", down);
    ck_assert_int_eq(organ_layer_expert(b.s.forward, b.layer, 4, b.hidden, b.tokens, inner, out, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_expert(b.s.forward, b.layer, 4, b.hidden, b.tokens, alone, NULL, &error), ORGAN_OK);
    ck_assert_mem_eq(inner, alone, b.tokens * width * sizeof *inner);
    for (size_t t = 0; t < b.tokens; t += 7)
        for (size_t x = 0; x < b.width; x++) {
            double sum = 0;
            for (size_t k = 0; k < width; k++)
                sum += (double)inner[t * width + k] * (double)down[x * width + k];
            REQUIRE(fabs(sum - (double)out[t * b.width + x]) < 1e-6);
        }
    ck_assert_int_eq(organ_layer_expert(b.s.forward, b.layer, EXPERTS, b.hidden, 1, inner, out, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "fixtures/forward/qwen3moe: there is no expert 6 of 6");
    free(down);
    free(inner);
    free(alone);
    free(out);
    tear_down(&b);
}
END_TEST

/* ---- a model of the kept experts ---- */

typedef struct cutting {
    const organ_model *model;
    json_t *header;
    FILE *data;
    uint64_t at;
} cutting;

static void put(cutting *c, const char *name, const organ_tensor *tensor, uint64_t first_rows,
                const unsigned char *bytes, uint64_t size)
{
    json_t *const shape = json_array();
    for (unsigned k = 0; k < tensor->rank; k++)
        json_array_append_new(shape, json_integer(k ? (json_int_t)tensor->shape[k] : (json_int_t)first_rows));
    json_object_set_new(c->header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", organ_dtype_name(tensor->dtype), "shape", shape,
                                  "data_offsets", (json_int_t)c->at, (json_int_t)(c->at + size)));
    ck_assert_uint_eq(fwrite(bytes, 1, size, c->data), size);
    c->at += size;
}

/* Writes a tensor as the smaller model has it: numbered experts get new numbers, a router and stacks lose rows. */
static void cut_tensor(cutting *c, const organ_tensor *tensor)
{
    organ_error error = {0};
    unsigned char *bytes = malloc(tensor->bytes);
    ck_assert_int_eq(organ_model_read(c->model, tensor->file, bytes, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    const char *const number = strstr(tensor->name, ".experts.");
    const bool is_one = number && number[9] >= '0' && number[9] <= '9',
               has_all = !is_one && (number || strstr(tensor->name, ".gate."));
    uint64_t rows = tensor->shape[0], kept = 0;
    char name[200];
    snprintf(name, sizeof name, "%s", tensor->name);
    for (uint64_t e = 0; e < EXPERTS; e++) {
        const uint64_t size = tensor->bytes / EXPERTS;
        if (is_one && e == (uint64_t)(number[9] - '0')) {
            name[number + 9 - tensor->name] = (char)('0' + kept);
            rows = some[e] ? rows : 0;
        }
        if (has_all && some[e])
            memmove(bytes + kept * size, bytes + e * size, size);
        kept += some[e];
    }
    rows = has_all ? kept : rows;
    if (rows)
        put(c, name, tensor, rows, bytes, tensor->bytes / tensor->shape[0] * rows);
    free(bytes);
}

static void put_config(const char *from, const char *to, unsigned experts, bool normalised)
{
    json_error_t fault;
    char path[200];
    snprintf(path, sizeof path, "%s/config.json", from);
    json_t *const config = json_load_file(path, 0, &fault);
    ck_assert_msg(config != NULL, "%s", fault.text);
    json_object_set_new(config, "num_local_experts", json_integer(experts));
    if (json_object_get(config, "num_experts"))
        json_object_set_new(config, "num_experts", json_integer(experts));
    if (json_object_get(config, "n_routed_experts"))
        json_object_set_new(config, "n_routed_experts", json_integer(experts));
    if (json_object_get(config, "norm_topk_prob"))
        json_object_set_new(config, "norm_topk_prob", json_boolean(normalised));
    ck_assert_int_eq(json_dump_file(config, scratch_path("%s/config.json", to), 0), 0);
    json_decref(config);
}

/* Writes "whole" and "cut", which has some of the experts of "whole". */
static void make_models(const char *path, bool normalised)
{
    organ_error error = {0};
    organ_model *model;
    mkdir(scratch_path("whole"), 0700);
    mkdir(scratch_path("cut"), 0700);
    put_config(path, "whole", EXPERTS, normalised);
    put_config(path, "cut", 4, normalised);
    char file[200];
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    copy_file(file, scratch_path("whole/model.safetensors"));
    ck_assert_int_eq(organ_model_open(scratch_path("whole"), &model, &error), ORGAN_OK);
    char *data;
    size_t size;
    cutting c = {.model = model, .header = json_object(), .data = open_memstream(&data, &size)};
    for (size_t t = 0; t < model->tensor_count; t++)
        cut_tensor(&c, &model->tensors[t]);
    fclose(c.data);
    char *const header = json_dumps(c.header, JSON_COMPACT);
    const uint64_t length = strlen(header);
    FILE *const out = fopen(scratch_path("cut/model.safetensors"), "wb");
    fwrite(&length, sizeof length, 1, out);
    fwrite(header, 1, length, out);
    fwrite(data, 1, size, out);
    ck_assert_int_eq(fclose(out), 0);
    free(header);
    free(data);
    json_decref(c.header);
    organ_model_close(model);
}

START_TEST(a_layer_of_kept_experts_is_that_of_a_smaller_model)
{
    static const char *const paths[] = {"fixtures/forward/qwen3moe", "fixtures/forward/qwen3moe-stacked",
                                        "fixtures/forward/mixtral",  "fixtures/forward/qwen2moe",
                                        "fixtures/forward/glm4moe",  "fixtures/forward/dots1"};
    for (size_t p = 0; p < 2 * sizeof paths / sizeof *paths; p++) {
        bench whole, cut;
        organ_error error = {0};
        make_models(paths[p / 2], p % 2);
        set_up(&whole, scratch_path("whole"), 2, NULL);
        set_up(&cut, scratch_path("cut"), 3, NULL);
        const size_t bytes = whole.tokens * whole.width * sizeof(float);
        float *const dense = malloc(bytes);
        memcpy(dense, whole.hidden, bytes);
        ck_assert_int_eq(organ_layer_run(whole.s.forward, whole.layer, &whole.windows, dense, NULL, &error), ORGAN_OK);
        float *const kept = malloc(bytes);
        memcpy(kept, whole.hidden, bytes);
        ck_assert_int_eq(organ_layer_keep(whole.layer, some, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(whole.s.forward, whole.layer, &whole.windows, kept, NULL, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(cut.s.forward, cut.layer, &cut.windows, cut.hidden, NULL, &error), ORGAN_OK);
        ck_assert_msg(memcmp(kept, cut.hidden, bytes) == 0, "%s, %s", paths[p / 2],
                      p % 2 ? "renormalised" : "as the router says");
        ck_assert(memcmp(kept, dense, bytes) != 0);
        ck_assert_int_eq(organ_layer_keep(whole.layer, NULL, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(whole.s.forward, whole.layer, &whole.windows, whole.hidden, NULL, &error),
                         ORGAN_OK);
        ck_assert_mem_eq(whole.hidden, dense, bytes);
        free(dense);
        free(kept);
        tear_down(&whole);
        tear_down(&cut);
    }
}
END_TEST

/* ---- the router alone ---- */

/* Experts with equal values, and NaN, are chosen in the order of their numbers, whichever experts are kept. */
START_TEST(ties_go_to_the_lower_number)
{
    const organ_forward_config c = {.experts = EXPERTS, .experts_used = 2, .normalise_experts = true};
    static const struct {
        float logits[EXPERTS];
        bool kept[EXPERTS];
        unsigned chosen[2];
        float weight;
    } cases[] = {{{1, 1, 1, 1, 1, 1}, {true, true, true, true, true, true}, {0, 1}, 0.5F},
                 {{1, 1, 1, 1, 1, 1}, {false, true, false, true, true, true}, {1, 3}, 0.5F},
                 {{0, 2, 2, 5, 2, 5}, {true, true, true, true, true, false}, {1, 3}, 0.04742587F},
                 {{0, 2, 2, 5, 2, 5}, {true, true, true, false, true, true}, {1, 5}, 0.04742587F},
                 {{0, NAN, 3, NAN, 3, 1}, {false, true, false, true, true, true}, {1, 3}, NAN}};
    const organ_router router = {organ_kernels_scalar, &c, NULL, NULL};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float room[EXPERTS];
        organ_expert_choice chosen[2];
        organ_forward_route(&router, cases[k].kept, cases[k].logits, room, chosen);
        ck_assert_msg(chosen[0].expert == cases[k].chosen[0] && chosen[1].expert == cases[k].chosen[1],
                      "case %zu: %u and %u", k, chosen[0].expert, chosen[1].expert);
        if (k < 4)
            ck_assert_msg(fabsf(chosen[0].weight - cases[k].weight) < 1e-6F, "case %zu: %.8g", k,
                          (double)chosen[0].weight);
    }
}
END_TEST

/* 1 / (1 + e^-x) of 0, ln 3, -ln 3 is 0.5, 0.75, 0.25. Corrections change the choice of experts but not their
 * weights. */
START_TEST(a_logistic_router_corrects_and_takes_groups)
{
    enum { NONE, SHIFTED };
    static const float corrections[][EXPERTS] = {{0, 0, 0, 0, 0, 0}, {0, 0, 0.6F, 0, 0, 0.3F}};
    static const float three = 1.0986123F;
    const struct {
        unsigned correction, groups;
        float logits[EXPERTS];
        bool kept[EXPERTS];
        unsigned chosen[2];
        float weights[2];
    } cases[] = {
        {NONE, 1, {0, 0, 0, 0, 0, 0}, {true, true, true, true, true, true}, {0, 1}, {1, 1}},
        {NONE, 1, {0, three, 0, three, 0, 0}, {true, true, true, true, true, true}, {1, 3}, {1, 1}},
        {SHIFTED, 1, {0, three, -three, 0, 0, 0}, {true, true, true, true, true, true}, {2, 5}, {2 / 3.0F, 4 / 3.0F}},
        {SHIFTED, 1, {0, three, -three, 0, 0, 0}, {true, true, false, true, true, true}, {1, 5}, {1.2F, 0.8F}},
        /* The best expert, 1, is in a group that is not chosen; groups with equal scores are chosen in the order of
         * their numbers. */
        {NONE, 2, {-9, three, -9, 0, 0, 0}, {true, true, true, true, true, true}, {3, 4}, {1, 1}},
        {NONE, 2, {0, 0, -9, 0, -9, 0}, {true, true, true, true, true, true}, {0, 1}, {1, 1}},
        {NONE, 2, {0, 0, 0, 0, three, 0}, {true, true, true, true, false, true}, {0, 1}, {1, 1}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const organ_forward_config c = {.experts = EXPERTS,
                                        .experts_used = 2,
                                        .normalise_experts = true,
                                        .router = {.logistic = true, .corrected = true},
                                        .router_groups = cases[k].groups,
                                        .router_groups_used = 1,
                                        .router_scale = 2};
        float room[EXPERTS];
        organ_expert_choice chosen[2];
        organ_forward_route(&(organ_router){organ_kernels_scalar, &c, corrections[cases[k].correction], NULL},
                            cases[k].kept, cases[k].logits, room, chosen);
        for (size_t i = 0; i < 2; i++)
            ck_assert_msg(chosen[i].expert == cases[k].chosen[i] &&
                              fabsf(chosen[i].weight - cases[k].weights[i]) < 1e-5F,
                          "case %zu: %u times %.8g", k, chosen[i].expert, (double)chosen[i].weight);
    }
}
END_TEST

/* Each group keeps the same number of experts, at least two. */
START_TEST(groups_stay_even)
{
    static const bool odd[EXPERTS] = {true, true, true, true, false, false},
                      few[EXPERTS] = {true, false, false, true, false, false};
    bench b;
    organ_error error = {0};
    set_up(&b, "fixtures/forward/glm4moe", 1, NULL);
    ck_assert_uint_eq(organ_forward_min_experts(organ_forward_describe(b.s.forward)), 4);
    ck_assert_int_eq(organ_layer_keep(b.layer, odd, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "fixtures/forward/glm4moe: 4 of 6 experts are kept, but each of the 2 groups must "
                                    "keep the same number, at least 4");
    ck_assert_int_eq(organ_layer_keep(b.layer, few, &error), ORGAN_USAGE);
    ck_assert_int_eq(organ_layer_keep(b.layer, some, &error), ORGAN_OK);
    tear_down(&b);
}
END_TEST

/* The first layer of this model has no experts. */
START_TEST(a_layer_without_experts_has_none)
{
    session s;
    organ_error error = {0};
    organ_layer *layer;
    float x[32] = {0};
    ck_assert_int_eq(session_open(&s, "fixtures/forward/glm4moe", 1, ROOMY, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_load(s.forward, 0, &layer, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_layer_experts(layer), 0);
    ck_assert_int_eq(organ_layer_expert(s.forward, layer, 0, x, 1, NULL, x, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "fixtures/forward/glm4moe: there is no expert 0 of 0");
    organ_layer_free(layer);
    session_close(&s);
}
END_TEST

START_TEST(too_few_kept_are_refused)
{
    bench b;
    organ_error error = {0};
    const bool one[EXPERTS] = {false, true};
    set_up(&b, "fixtures/forward/qwen3moe", 1, NULL);
    ck_assert_int_eq(organ_layer_keep(b.layer, one, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "fixtures/forward/qwen3moe: 1 of 6 experts are kept, but each token needs 2");
    hearing failing = {.fail = true};
    organ_layer_tap_router(b.layer, &failing, hear);
    error = (organ_error){0};
    ck_assert_int_eq(organ_layer_run(b.s.forward, b.layer, &b.windows, b.hidden, NULL, &error), ORGAN_CHECK_FAILED);
    ck_assert_str_eq(error.message, "heard layer 1");
    tear_down(&b);
}
END_TEST

Suite *forward_experts_suite(void)
{
    const suite_case cases[] = {
        {"experts",
         {what_a_tap_hears_gives_the_layer_again, experts_are_listened_to, the_inside_of_an_expert_is_told,
          a_layer_of_kept_experts_is_that_of_a_smaller_model, ties_go_to_the_lower_number, too_few_kept_are_refused,
          a_logistic_router_corrects_and_takes_groups, groups_stay_even, a_layer_without_experts_has_none}},
    };
    return suite_of("forward_experts", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
}

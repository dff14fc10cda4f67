/* SPDX-License-Identifier: MIT
 * A mixture that reads its experts in groups, because they do not fit the memory, gives the bits of one that holds all
 * of them. */
#include "orchestrator/forward/forward_parts.h"
#include <organ/quantize.h>
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { TOKENS = 700, FEW = 240, MANY = FORWARD_GROUP + 100, WORDS = 96 };

typedef struct stream_case {
    session s;
    organ_windows windows;
    size_t begin[4];
    uint32_t token[MANY];
    float *hidden;
    size_t width;
} stream_case;

/* The last window ends at `tokens`, at most MANY. */
static void set_up_tokens(stream_case *c, const char *path, unsigned threads, size_t tokens)
{
    organ_error error;
    ck_assert_msg(session_open(&c->s, path, threads, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    for (size_t k = 0; k < tokens; k++)
        c->token[k] = (uint32_t)(k * k * 7 + k / 3) % WORDS;
    memcpy(c->begin, (size_t[]){0, 1, 40, tokens}, sizeof c->begin);
    /* Models with learned positions have too few of them for the last window. */
    c->windows = (organ_windows){c->token, organ_forward_describe(c->s.forward)->positions ? 2 : 3, c->begin};
    c->width = (size_t)organ_forward_describe(c->s.forward)->state;
    c->hidden = calloc(tokens * c->width, sizeof *c->hidden);
    ck_assert_int_eq(organ_forward_embed(c->s.forward, &c->windows, c->hidden, &error), ORGAN_OK);
}

static void set_up(stream_case *c, const char *path, unsigned threads) { set_up_tokens(c, path, threads, TOKENS); }

static void set_up_rounded(stream_case *c, const char *path, unsigned threads, size_t tokens)
{
    organ_error error = {0};
    set_up_tokens(c, path, threads, tokens);
    ck_assert_msg(organ_forward_round_inputs(c->s.forward, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_ptr_nonnull(organ_forward_declared_rounding(c->s.forward));
}

static void tear_down(stream_case *c)
{
    free(c->hidden);
    session_close(&c->s);
}

/* Runs all layers, each in the memory of the one before it. Returns true if any is streamed. */
static bool replace_layers(stream_case *c)
{
    organ_error error = {0};
    organ_layer *layer = NULL;
    bool streamed = false;
    for (unsigned l = 0; l < organ_forward_describe(c->s.forward)->layers && !error.status; l++)
        if (organ_layer_load_to_run(c->s.forward, (int32_t)l, &layer, &error) == ORGAN_OK) {
            organ_layer_run(c->s.forward, layer, &c->windows, c->hidden, NULL, &error);
            streamed = streamed || layer->reserved;
        }
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    organ_layer_free(layer);
    return streamed;
}

/* Runs all layers; mixtures may be streamed. */
static void run_layers(stream_case *c, bool streamed)
{
    const organ_forward_config *const config = organ_forward_describe(c->s.forward);
    organ_error error = {0};
    for (unsigned l = 0; l < config->layers; l++) {
        organ_layer *layer;
        (streamed && config->kinds[l].mixture ? organ_forward_load_streamed
                                              : organ_layer_load)(c->s.forward, (int32_t)l, &layer, &error);
        ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
        ck_assert(streamed && config->kinds[l].mixture ? layer->reserved : !layer->reserved);
        ck_assert_msg(organ_layer_run(c->s.forward, layer, &c->windows, c->hidden, NULL, &error) == ORGAN_OK, "%s",
                      error.message);
        organ_layer_free(layer);
    }
}

/* Returns a memory of which a quarter holds `experts` experts of a layer; the whole also holds the rest of a layer. */
static uint64_t memory_for(const organ_forward *f, size_t experts)
{
    uint64_t memory = 0;
    for (unsigned l = 0; l < f->config.layers; l++) {
        const forward_plan *const plan = &f->plans[l];
        if (f->config.kinds[l].mixture && plan->resident + 1 > memory)
            memory = plan->resident + 1;
        if (f->config.kinds[l].mixture && 4 * experts * (uint64_t)plan->expert > memory)
            memory = 4 * experts * (uint64_t)plan->expert;
    }
    return memory;
}

static void compare_states(const stream_case *whole, stream_case *other, const char *how, const char *path)
{
    ck_assert_msg(memcmp(whole->hidden, other->hidden, TOKENS * whole->width * sizeof *whole->hidden) == 0, "%s: %s",
                  path, how);
    tear_down(other);
}

static void compare_runs(const char *path, unsigned threads, size_t experts)
{
    stream_case whole, parts, replaced;
    set_up(&whole, path, threads);
    run_layers(&whole, false);
    set_up(&parts, path, threads);
    organ_forward_allow_streaming(parts.s.forward);
    parts.s.engine.memory = memory_for(parts.s.forward, experts);
    run_layers(&parts, true);
    compare_states(&whole, &parts, "streamed", path);
    set_up(&replaced, path, threads);
    ck_assert(!replace_layers(&replaced));
    compare_states(&whole, &replaced, "replaced", path);
    tear_down(&whole);
}

/* Adds a digest of each row with the name of its tensor and its number: rows may come in any order. */
static organ_status digest_rows(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    uint64_t *const sum = context;
    (void)error;
    for (size_t t = 0; t < tokens; t++)
        *sum += XXH3_64bits_withSeed(inputs + t * features, features * sizeof *inputs,
                                     XXH3_64bits_withSeed(tensor, strlen(tensor), first + t));
    return ORGAN_OK;
}

static uint64_t tapped_rows(const char *path, unsigned threads, size_t experts)
{
    stream_case c;
    uint64_t sum = 0;
    organ_error error = {0};
    const organ_tap tap = {&sum, digest_rows};
    set_up(&c, path, threads);
    if (experts) {
        organ_forward_allow_streaming(c.s.forward);
        c.s.engine.memory = memory_for(c.s.forward, experts);
    }
    for (unsigned l = 0; l < organ_forward_describe(c.s.forward)->layers; l++) {
        organ_layer *layer = NULL;
        (experts && c.s.forward->config.kinds[l].mixture ? organ_forward_load_streamed
                                                         : organ_layer_load)(c.s.forward, (int32_t)l, &layer, &error);
        ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
        ck_assert_msg(organ_layer_run(c.s.forward, layer, &c.windows, c.hidden, &tap, &error) == ORGAN_OK, "%s",
                      error.message);
        organ_layer_free(layer);
    }
    tear_down(&c);
    return sum;
}

/* 700 tokens of four experts each are more rows than a streamed layer has in its buffers at a time. */
START_TEST(taps_of_streamed_layers_get_the_same_rows)
{
    static const char *const paths[] = {"fixtures/forward/qwen3moe", "fixtures/forward/glm4moe.gguf",
                                        "fixtures/tiny-moe"};
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        const uint64_t whole = tapped_rows(paths[p], 1, 0);
        for (size_t experts = 1; experts < 3; experts++)
            ck_assert_msg(tapped_rows(paths[p], 2, experts) == whole, "%s: %zu experts", paths[p], experts);
    }
}
END_TEST

/* Layers whose matrices the file has as in_features x out_features: single ones, stacks, and stacks in two dimensions.
 * Each gives the same bits transposed, as stored, and as stored with experts that are streamed. */
START_TEST(replaced_layers_give_the_same_bits)
{
    static const struct {
        const char *type;
        bool streams; /* the memory is too small for its experts */
    } cases[] = {{"gpt2", false}, {"gpt_oss", true}, {"llama4_text", true}, {"dbrx", false}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const char *const type = cases[k].type, *const path = scratch_path("replaced-%s", type);
        arch_reference r = arch_make(type, path);
        stream_case whole, replaced, streamed;
        set_up(&whole, path, 2);
        run_layers(&whole, false);
        set_up(&replaced, path, 2);
        ck_assert(!replace_layers(&replaced));
        compare_states(&whole, &replaced, "replaced", type);
        if (cases[k].streams) {
            set_up(&streamed, path, 2);
            organ_forward_allow_streaming(streamed.s.forward);
            streamed.s.engine.memory = memory_for(streamed.s.forward, 1);
            ck_assert(replace_layers(&streamed));
            compare_states(&whole, &streamed, "replaced and streamed", type);
        }
        tear_down(&whole);
        arch_reference_free(&r);
    }
}
END_TEST

/* A refusal leaves the former layer to the caller. */
START_TEST(a_layer_that_does_not_exist_replaces_none)
{
    stream_case c;
    organ_error error = {0};
    organ_layer *layer = NULL;
    set_up(&c, "fixtures/forward/qwen3moe", 1);
    ck_assert_int_eq(organ_layer_load_to_run(c.s.forward, 0, &layer, &error), ORGAN_OK);
    const organ_layer *const former = layer;
    ck_assert_int_eq(organ_layer_load_to_run(c.s.forward, 99, &layer, &error), ORGAN_USAGE);
    ck_assert_ptr_eq(layer, former);
    organ_layer_free(layer);
    tear_down(&c);
}
END_TEST

START_TEST(streamed_layers_give_the_same_bits)
{
    static const char *const paths[] = {"fixtures/forward/mixtral",  "fixtures/forward/mixtral.gguf",
                                        "fixtures/forward/qwen3moe", "fixtures/forward/qwen3moe-stacked",
                                        "fixtures/forward/qwen2moe", "fixtures/forward/glm4moe.gguf",
                                        "fixtures/forward/glm4moe"};
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++)
        for (unsigned threads = 1; threads < 4; threads += 2)
            compare_runs(paths[p], threads, p % 2 + 1);
}
END_TEST

/* gpt-oss: stacks of transposed matrices whose rows of gate and up alternate, and biases. Llama 4: factors multiply the
 * inputs of experts. Nemotron 3: experts without a gate, between two projections. The states of tokens have more than
 * the hidden state in LongCat-Flash, the output of the experts for the next layer, and in GLM-5, the chosen keys. */
START_TEST(experts_of_other_layouts_give_the_same_bits)
{
    static const char *const types[] = {"gpt_oss", "llama4_text", "nemotron_h-latent", "longcat_flash",
                                        "glm_moe_dsa-shared"};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const char *const path = scratch_path("%s", types[k]);
        arch_reference r = arch_make(types[k], path);
        compare_runs(path, 2, 1);
        arch_reference_free(&r);
    }
}
END_TEST

/* Writes the model in a scheme, and returns its directory. */
static const char *quantized(const char *model, const char *scheme, const char *name)
{
    session s;
    organ_error error = {0};
    json_t *report;
    const char *const path = scratch_path("%s", name);
    ck_assert_int_eq(session_open(&s, model, 2, ROOMY, &error), ORGAN_OK);
    const organ_quantize_options q = {
        .model = model, .write.output = path, .scheme = scheme, .write.max_shard_size = UINT64_MAX};
    ck_assert_msg(organ_quantize(&q, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    session_close(&s);
    return path;
}

/* Compares the states of the tokens of `a`, which may have fewer. */
static bool same_states(const stream_case *a, const stream_case *b)
{
    return memcmp(a->hidden, b->hidden, a->begin[a->windows.count] * a->width * sizeof *a->hidden) == 0;
}

/* Rounded inputs: streamed experts, other threads, and products of more rows than their copies hold (MANY tokens) have
 * the bits of whole layers, which differ from those without rounding. DeepSeek-V3 has latent attention, too. */
START_TEST(rounded_inputs_give_the_same_bits)
{
    const char *const deepseek = scratch_path("deepseek");
    arch_reference r = arch_make("deepseek_v3", deepseek);
    const char *const paths[] = {quantized("fixtures/tiny-moe", "int8-channel", "moe"),
                                 quantized(deepseek, "fp8-channel", "latent")};
    for (size_t p = 0; p < 2; p++) {
        stream_case plain, whole, streamed, single;
        set_up_tokens(&plain, paths[p], 2, MANY);
        run_layers(&plain, false);
        set_up_rounded(&whole, paths[p], 3, MANY);
        run_layers(&whole, false);
        set_up_rounded(&streamed, paths[p], 2, MANY);
        organ_forward_allow_streaming(streamed.s.forward);
        streamed.s.engine.memory = memory_for(streamed.s.forward, 1);
        run_layers(&streamed, true);
        set_up_rounded(&single, paths[p], 1, FEW);
        run_layers(&single, false);
        ck_assert_msg(!same_states(&plain, &whole), "%s: rounding changes nothing", paths[p]);
        ck_assert_msg(same_states(&streamed, &whole), "%s: streamed", paths[p]);
        ck_assert_msg(same_states(&single, &whole), "%s: one thread, and a window that is not divided", paths[p]);
        tear_down(&plain);
        tear_down(&whole);
        tear_down(&streamed);
        tear_down(&single);
    }
    arch_reference_free(&r);
}
END_TEST

START_TEST(packed_experts_give_the_same_bits)
{
    static const struct {
        const char *model, *scheme, *name;
    } cases[] = {{"fixtures/tiny-moe", "int8-group128", "int8"},
                 {"fixtures/tiny-qwen2moe", "fp8-block128", "fp8"},
                 {"fixtures/forward/qwen3moe.gguf", "q8_0", "q8.gguf"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        compare_runs(quantized(cases[k].model, cases[k].scheme, cases[k].name), 2, 1 + k);
}
END_TEST

/* ---- memory ---- */

/* The memory that a layer uses grows with the memory given, up to all its bytes, and so does the batch. */
START_TEST(a_streamed_layer_needs_less_memory)
{
    session s;
    organ_error error = {0};
    ck_assert_int_eq(session_open(&s, "fixtures/tiny-qwen2moe", 2, ROOMY, &error), ORGAN_OK);
    const forward_plan *const plan = &s.forward->plans[0];
    ck_assert_uint_eq(organ_forward_layer_need(s.forward, plan, 0), plan->bytes);
    organ_forward_allow_streaming(s.forward);
    ck_assert_uint_eq(organ_forward_layer_need(s.forward, plan, 0), plan->resident + plan->expert);
    ck_assert_uint_eq(organ_forward_layer_need(s.forward, plan, UINT64_MAX), plan->bytes);
    size_t before = 0;
    uint64_t left = 0;
    for (uint64_t memory = 0; memory < 64 << 20; memory += 99991) {
        const size_t need = organ_forward_layer_need(s.forward, plan, memory);
        ck_assert(need >= before && need <= plan->bytes);
        ck_assert_uint_ge(organ_forward_memory_left(s.forward, memory, 64), left);
        before = need;
        left = organ_forward_memory_left(s.forward, memory, 64);
    }
    session_close(&s);
}
END_TEST

START_TEST(a_streamed_run_can_be_interrupted)
{
    stream_case c;
    organ_error error = {0};
    organ_layer *layer;
    set_up(&c, "fixtures/forward/qwen3moe", 2);
    organ_forward_allow_streaming(c.s.forward);
    c.s.engine.memory = memory_for(c.s.forward, 1);
    ck_assert_int_eq(organ_forward_load_streamed(c.s.forward, 1, &layer, &error), ORGAN_OK);
    organ_stop stop = {.requested = 1};
    c.s.engine.stop = &stop;
    ck_assert_int_eq(organ_layer_run(c.s.forward, layer, &c.windows, c.hidden, NULL, &error), ORGAN_INTERRUPTED);
    organ_layer_free(layer);
    tear_down(&c);
}
END_TEST

Suite *forward_stream_suite(void)
{
    const suite_case cases[] = {
        {"streamed",
         {streamed_layers_give_the_same_bits, taps_of_streamed_layers_get_the_same_rows,
          experts_of_other_layouts_give_the_same_bits, packed_experts_give_the_same_bits,
          rounded_inputs_give_the_same_bits, replaced_layers_give_the_same_bits,
          a_layer_that_does_not_exist_replaces_none, a_streamed_layer_needs_less_memory,
          a_streamed_run_can_be_interrupted}},
    };
    return suite_of("forward stream", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
}

/* SPDX-License-Identifier: MIT
 * Tests of dropped channels of experts: the choice by the loss when all kept channels are solved from scratch in FP64
 * on an expert's weighted tokens; experts without tokens; bit identity. */
#include "orchestrator/surgery/calibration/calibration.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/verbs/shrink/cut_rig.h"
#include "tests/verbs/shrink/width_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define L "model.layers.0."

/* Names of the matrices of expert %u of the first layer. */
static const expert_names donors[] = {
    {"qwen3moe", "model.layers.0.mlp.experts.%u.gate_proj.weight", "model.layers.0.mlp.experts.%u.up_proj.weight",
     "model.layers.0.mlp.experts.%u.down_proj.weight"},
    {"qwen3moe.gguf", "blk.0.ffn_gate_exps.weight[%u]", "blk.0.ffn_up_exps.weight[%u]",
     "blk.0.ffn_down_exps.weight[%u]"},
    {"qwen3moe-stacked", "model.layers.0.mlp.experts.gate_up_proj[%u]", NULL,
     "model.layers.0.mlp.experts.down_proj[%u]"},
};

/* ---- second moments of an expert's tokens ---- */

/* Adds up all tokens by the router and the experts themselves. */
static void sum_tokens(const opened *o, unsigned samples, unsigned context, sums *s)
{
    const organ_forward_config *const c = organ_forward_describe(o->s.forward);
    organ_error error = {0};
    float inner[WIDTH], room[EXPERTS];
    hearing h;
    hear_text(NULL, o, samples, context, &h);
    memset(s, 0, EXPERTS * sizeof *s);
    for (size_t t = 0; t < h.tokens; t++) {
        organ_expert_choice chosen[EXPERTS];
        organ_forward_route(&(organ_router){o->s.engine.kernels, c, NULL, NULL}, NULL, h.logits + t * EXPERTS, room,
                            chosen);
        for (unsigned k = 0; k < c->experts_used; k++) {
            ck_assert_int_eq(organ_layer_expert(o->s.forward, o->layer, chosen[k].expert, h.normed + t * HIDDEN, 1,
                                                inner, NULL, &error),
                             0);
            sums_add(&s[chosen[k].expert], chosen[k].weight, inner);
        }
    }
    for (size_t e = 0; e < EXPERTS; e++)
        sums_end(&s[e]);
    hearing_free(&h);
}

START_TEST(each_expert_loses_what_it_misses_least)
{
    const expert_names *const d = &donors[_i];
    opened donor, out;
    sums s[EXPERTS];
    size_t checked = 0, other = 0;
    method_make_donor(d->kind);
    must_narrow("out", usual);
    open_layer(&donor, donor_path(), 0);
    open_layer(&out, output_path("out"), 0);
    sum_tokens(&donor, SAMPLES, CONTEXT, s);
    for (unsigned e = 0; e < EXPERTS; e++) {
        float w[HIDDEN * WIDTH];
        double v[HIDDEN][WIDTH];
        bool kept[WIDTH], first[WIDTH];
        read_matrix(&donor, d->down, e, HIDDEN, WIDTH, w);
        find_kept(&donor, &out, d, e, kept);
        if (s[e].tokens < 20)
            continue;
        const double loss = least_loss(&s[e], w, kept, v), least = greedy_loss(&s[e], w);
        REQUIRE_MSG(loss <= least * 1.001, "expert %u of %s: %g is lost, %g has to be", e, d->kind, loss, least);
        check_values(&out, d, e, kept, v);
        for (size_t c = 0; c < WIDTH; c++)
            first[c] = c < KEPT;
        other += least_loss(&s[e], w, first, NULL) > 1.2 * loss;
        checked++;
    }
    ck_assert_uint_ge(checked, 4);
    ck_assert_uint_ge(other, 3);
    close_layer(&out);
    close_layer(&donor);
}
END_TEST

/* ---- experts that no token reaches ---- */

static double norms_of(const opened *o, const expert_names *d, unsigned expert, size_t channel)
{
    float rows[2 * WIDTH * HIDDEN], down[HIDDEN * WIDTH];
    double squares[3] = {0};
    read_rows(o, d, expert, WIDTH, rows);
    read_matrix(o, d->down, expert, HIDDEN, WIDTH, down);
    for (size_t k = 0; k < HIDDEN; k++) {
        squares[0] += pow((double)rows[channel * HIDDEN + k], 2);
        squares[1] += pow((double)rows[(WIDTH + channel) * HIDDEN + k], 2);
        squares[2] += pow((double)down[k * WIDTH + channel], 2);
    }
    return squares[0] * squares[1] * squares[2];
}

static void check_by_norms(const opened *donor, const opened *out, const expert_names *d, unsigned expert)
{
    float was[HIDDEN * WIDTH], is[HIDDEN * KEPT];
    bool kept[WIDTH];
    double least_kept = INFINITY, max_gone = 0;
    find_kept(donor, out, d, expert, kept);
    read_matrix(donor, d->down, expert, HIDDEN, WIDTH, was);
    read_matrix(out, d->down, expert, HIDDEN, KEPT, is);
    for (size_t c = 0, at = 0; c < WIDTH; c++) {
        const double norms = norms_of(donor, d, expert, c);
        if (!kept[c]) {
            max_gone = fmax(max_gone, norms);
            continue;
        }
        least_kept = fmin(least_kept, norms);
        for (size_t r = 0; r < HIDDEN; r++)
            REQUIRE(is[r * KEPT + at] == was[r * WIDTH + c]);
        at++;
    }
    ck_assert(least_kept >= max_gone);
}

START_TEST(an_expert_without_a_token_goes_by_norms)
{
    const expert_names *const d = &donors[_i];
    width_way way = usual;
    opened donor, out;
    sums s[EXPERTS];
    size_t unseen = 0, of_layer = 0, k;
    const json_t *row;
    method_make_donor(d->kind);
    way.samples = 1;
    way.context = 1;
    must_narrow("out", way);
    open_layer(&donor, donor_path(), 0);
    open_layer(&out, output_path("out"), 0);
    sum_tokens(&donor, 1, 1, s);
    for (unsigned e = 0; e < EXPERTS; e++)
        if (s[e].tokens == 0) {
            check_by_norms(&donor, &out, d, e);
            of_layer++;
        }
    ck_assert_uint_gt(of_layer, 0);
    json_array_foreach(json_object_get(width_report, "projections"), k, row)
    {
        const bool by_norms = strcmp(json_string_value(json_object_get(row, "chosen_by")), "norms") == 0;
        REQUIRE(by_norms == (json_integer_value(json_object_get(row, "tokens")) == 0));
        REQUIRE(by_norms == json_is_null(json_object_get(row, "lost_percent")));
        unseen += by_norms;
    }
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(json_object_get(width_report, "experts"), "by_norms")),
                      unseen);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(width_report, "experts"), "fewest_tokens")), 0);
    close_layer(&out);
    close_layer(&donor);
}
END_TEST

/* ---- bit identity ---- */

static void same_output(const char *a, const char *b)
{
    size_t sizes[2];
    char *const one = slurp(is_gguf() ? output_path(a) : scratch_path("%s/model.safetensors", a), &sizes[0]);
    char *const two = slurp(is_gguf() ? output_path(b) : scratch_path("%s/model.safetensors", b), &sizes[1]);
    ck_assert_uint_eq(sizes[0], sizes[1]);
    ck_assert_msg(memcmp(one, two, sizes[0]) == 0, "%s and %s differ", a, b);
    free(one);
    free(two);
}

/* Makes a layer whose experts have second moments of some MiB together, and more channels than a block of
 * block-diagonal moments. */
static void make_wide(void)
{
    method_make_donor("qwen3moe");
    rig_donor(
        "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"head_dim\": 16, "
        "\"hidden_act\": \"silu\", "
        "\"hidden_size\": 32, \"max_position_embeddings\": 64, \"moe_intermediate_size\": 320, \"norm_topk_prob\": "
        "true, "
        "\"num_attention_heads\": 4, \"num_experts_per_tok\": 2, \"num_hidden_layers\": 1, \"num_key_value_heads\": 2, "
        "\"num_experts\": 6, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"vocab_size\": 96}",
        "lm_head.weight BF16 96,32\nmodel.embed_tokens.weight BF16 96,32\nmodel.norm.weight BF16 32\n" L
        "input_layernorm.weight BF16 "
        "32\n" L "post_attention_layernorm.weight BF16 32\n" L "self_attn.k_norm.weight BF16 16\n" L
        "self_attn.q_norm.weight BF16 16\n" L "self_attn.q_proj.weight BF16 64,32\n" L
        "self_attn.k_proj.weight BF16 32,32\n" L "self_attn.v_proj.weight BF16 32,32\n" L
        "self_attn.o_proj.weight BF16 32,64\n" L "mlp.gate.weight BF16 6,32\n" L
        "mlp.experts.gate_up_proj BF16 6,640,32\n" L "mlp.experts.down_proj BF16 6,32,320\n");
}

/* The least memory does not hold the moments of all experts, so the layer runs several times. */
START_TEST(neither_memory_nor_threads_show)
{
    static const struct {
        const char *kind, *ffn;
        size_t width;
    } models[] = {{"qwen3moe", "16", WIDTH},
                  {"mixtral", "40", 48},
                  {"qwen3moe.gguf", "16", WIDTH},
                  {"dots1", "67%", WIDTH},
                  {NULL, "304", 320}};
    width_way way = usual;
    const size_t width = models[_i].width;
    way.ffn = models[_i].ffn;
    if (models[_i].kind)
        method_make_donor(models[_i].kind);
    else
        make_wide();
    must_narrow("roomy", way);
    way.dry_run = true;
    must_narrow("dry", way);
    const json_t *const memory = json_object_get(width_report, "memory");
    const json_t *const plan = json_object_get(width_report, "plan");
    const uint64_t enough = (uint64_t)json_integer_value(json_object_get(plan, "memory_enough"));
    const uint64_t moments = (uint64_t)json_integer_value(json_object_get(memory, "expert_moments"));
    ck_assert_uint_eq(moments, EXPERTS * organ_calibration_memory(width, HIDDEN, false, true));
    ck_assert(!scratch_left("dry"));
    way.dry_run = false;
    way.memory = enough;
    must_narrow("tight", way);
    way.threads = 1;
    way.memory = enough + moments / 2;
    must_narrow("between", way);
    way.threads = 5;
    way.memory = 0;
    must_narrow("many", way);
    same_output("roomy", "tight");
    same_output("roomy", "between");
    same_output("roomy", "many");
    organ_error error;
    way.threads = 2;
    way.memory = enough - enough / 8;
    ck_assert_int_eq(narrow("less", way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "is too little for the hidden states"), "%s", error.message);
    ck_assert(!scratch_left("less"));
}
END_TEST

START_TEST(ways_to_compare_with)
{
    width_way way = usual;
    double lost[3];
    method_make_donor(donors[0].kind);
    for (int k = 0; k < 3; k++) {
        char name[16];
        snprintf(name, sizeof name, "way%d", k);
        way.no_refit = k > 0;
        way.score = k > 1 ? "wanda" : "loss";
        must_narrow(name, way);
        lost[k] = json_real_value(json_object_get(json_object_get(width_report, "experts"), "lost_percent"));
    }
    ck_assert_msg(lost[0] < lost[1] && lost[0] < lost[2], "%g, %g, %g", lost[0], lost[1], lost[2]);
}
END_TEST

static Suite *experts_suite(void)
{
    enum { KINDS = sizeof donors / sizeof *donors };
    const suite_case cases[] = {{"ways", {ways_to_compare_with}}};
    Suite *const suite = suite_of("width of experts", cases, sizeof cases / sizeof *cases, width_setup, width_teardown);
    TCase *const kinds = tcase_create("kinds");
    tcase_add_checked_fixture(kinds, width_setup, width_teardown);
    tcase_add_loop_test(kinds, each_expert_loses_what_it_misses_least, 0, KINDS);
    tcase_add_loop_test(kinds, an_expert_without_a_token_goes_by_norms, 0, KINDS);
    tcase_add_loop_test(kinds, neither_memory_nor_threads_show, 0, 5);
    suite_add_tcase(suite, kinds);
    return suite;
}

int main(void)
{
    Suite *const suites[] = {experts_suite(), NULL};
    return run_suites(suites);
}

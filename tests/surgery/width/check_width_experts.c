/* SPDX-License-Identifier: MIT
 * Channels of experts that go: which ones, by what each costs when all that stay are solved from nothing, in FP64, on what an expert's
 * tokens bring it times their weights; experts that see no token; the same bytes whatever the way. */
#include "orchestrator/surgery/width/width.h"

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/cut/recover.h"
#include "orchestrator/surgery/width/narrow_matrix.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/calibrated/method_rig.h"
#include "tests/surgery/cut/cut_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define L "model.layers.0."

enum { EXPERTS = 6, WIDTH = 24, KEPT = 16, HIDDEN = 32, SAMPLES = 30, CONTEXT = 32 };

/* How the matrices of expert %u of the first layer are called. */
static const struct donor {
    const char *kind, *gate, *up, *down;
} donors[] = {
    {"qwen3moe", "model.layers.0.mlp.experts.%u.gate_proj.weight", "model.layers.0.mlp.experts.%u.up_proj.weight",
     "model.layers.0.mlp.experts.%u.down_proj.weight"},
    {"qwen3moe.gguf", "blk.0.ffn_gate_exps.weight[%u]", "blk.0.ffn_up_exps.weight[%u]", "blk.0.ffn_down_exps.weight[%u]"},
    {"qwen3moe-stacked", "model.layers.0.mlp.experts.gate_up_proj[%u]", NULL, "model.layers.0.mlp.experts.down_proj[%u]"},
};

/* ---- a run ---- */

typedef struct width_way {
    const char *ffn, *score;
    unsigned samples, context;
    size_t threads;
    uint64_t memory;
    bool dry_run, no_resolve;
} width_way;

static const width_way usual = {.ffn = "16", .score = "loss", .samples = SAMPLES, .context = CONTEXT};
static json_t *report; /* of the last run */

static bool is_gguf(void) { return exists(scratch_path("donor/model.gguf")); }

static const char *donor_path(void) { return scratch_path(is_gguf() ? "donor/model.gguf" : "donor"); }

static const char *output_path(const char *name) { return scratch_path("%s%s", name, is_gguf() ? ".gguf" : ""); }

static organ_status narrow(const char *output, width_way way, organ_error *error)
{
    run_engine room;
    char donor[4096], text[4096], out[4096];
    snprintf(donor, sizeof donor, "%s", donor_path());
    snprintf(text, sizeof text, "%s", scratch_path("text"));
    snprintf(out, sizeof out, "%s", output_path(output));
    const organ_width_options options = {.model = donor,
                                         .output = out,
                                         .ffn = way.ffn,
                                         .multiple_of = 8,
                                         .calibration = text,
                                         .samples = way.samples,
                                         .context = way.context,
                                         .score = way.score,
                                         .no_resolve = way.no_resolve,
                                         .most = (uint64_t)1 << 40,
                                         .dry_run = way.dry_run};
    *error = (organ_error){0};
    json_decref(report);
    report = NULL;
    run_engine_open(&room, (run_way){.threads = way.threads, .memory = way.memory});
    organ_width(&options, &room.engine, NULL, &report, error);
    run_engine_close(&room);
    return error->status;
}

static void must_narrow(const char *output, width_way way)
{
    organ_error error;
    ck_assert_msg(narrow(output, way, &error) == ORGAN_OK, "%s", error.message);
}

static void setup(void)
{
    fault_clear();
    scratch_make();
}

static void teardown(void)
{
    json_decref(report);
    report = NULL;
    scratch_remove();
}

/* ---- what stayed ---- */

/* The first layer of a model, and its forward pass. */
typedef struct opened {
    session s;
    organ_layer *layer;
} opened;

static void open_layer(opened *o, const char *path)
{
    organ_error error = {0};
    ck_assert_msg(session_open(&o->s, path, 1, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_layer_load(o->s.forward, 0, &o->layer, &error) == ORGAN_OK, "%s", error.message);
}

static void close_layer(opened *o)
{
    organ_layer_free(o->layer);
    session_close(&o->s);
}

static void read_matrix(const opened *o, const char *pattern, unsigned expert, uint64_t rows, uint64_t cols, float *values)
{
    char name[256];
    uint64_t r, c;
    organ_factor held;
    snprintf(name, sizeof name, pattern, expert);
    ck_assert_msg(organ_layer_matrix(o->layer, name, &r, &c, &held) && r == rows && c == cols, "%s: %d x %d", name, (int)r, (int)c);
    organ_layer_read(o->layer, name, values);
}

/* Rows of gate and up of an expert, one behind the other. */
static void read_rows(const opened *o, const struct donor *d, unsigned expert, uint64_t width, float *values)
{
    if (!d->up) {
        read_matrix(o, d->gate, expert, 2 * width, HIDDEN, values);
        return;
    }
    read_matrix(o, d->gate, expert, width, HIDDEN, values);
    read_matrix(o, d->up, expert, width, HIDDEN, values + width * HIDDEN);
}

/* Which of the donor's channels an expert of the output has, by its rows of gate and up. */
static void find_kept(const opened *donor, const opened *out, const struct donor *d, unsigned expert, bool *kept)
{
    float was[2 * WIDTH * HIDDEN], is[2 * KEPT * HIDDEN];
    const size_t row = HIDDEN * sizeof(float);
    size_t at = 0;
    read_rows(donor, d, expert, WIDTH, was);
    read_rows(out, d, expert, KEPT, is);
    for (size_t c = 0; c < WIDTH; c++) {
        kept[c] = at < KEPT && memcmp(was + c * HIDDEN, is + at * HIDDEN, row) == 0 &&
                  memcmp(was + (WIDTH + c) * HIDDEN, is + (KEPT + at) * HIDDEN, row) == 0;
        at += kept[c];
    }
    REQUIRE_MSG(at == KEPT, "expert %u has rows that are none of the donor's", expert);
}

/* ---- what an expert's tokens bring it ---- */

typedef struct sums {
    double h[WIDTH][WIDTH];
    size_t tokens;
} sums;

typedef struct hearing {
    float *normed, *logits;
} hearing;

static organ_status hear(void *context, int32_t layer, size_t first, size_t tokens, const float *normed, const float *logits,
                         organ_error *error)
{
    const hearing *const h = context;
    (void)layer;
    memcpy(h->normed + first * HIDDEN, normed, tokens * HIDDEN * sizeof *normed);
    memcpy(h->logits + first * EXPERTS, logits, tokens * EXPERTS * sizeof *logits);
    return error->status;
}

static void add_token(sums *s, float weight, const float *inner)
{
    for (size_t a = 0; a < WIDTH; a++)
        for (size_t b = 0; b < WIDTH; b++)
            s->h[a][b] += (double)weight * (double)weight * (double)inner[a] * (double)inner[b];
    s->tokens++;
}

/* Of all tokens by the router and the experts themselves. */
static void sum_tokens(const opened *o, const hearing *h, size_t tokens, sums *s)
{
    const organ_forward_config *const c = organ_forward_describe(o->s.forward);
    organ_error error = {0};
    float inner[WIDTH], room[EXPERTS];
    memset(s, 0, EXPERTS * sizeof *s);
    for (size_t t = 0; t < tokens; t++) {
        organ_choice chosen[EXPERTS];
        organ_forward_route(&(organ_router){o->s.engine.kernels, c, NULL}, NULL, h->logits + t * EXPERTS, room, chosen);
        for (unsigned k = 0; k < c->experts_used; k++) {
            ck_assert_int_eq(organ_layer_expert(o->s.forward, o->layer, chosen[k].expert, h->normed + t * HIDDEN, 1, inner, NULL, &error),
                             0);
            add_token(&s[chosen[k].expert], chosen[k].weight, inner);
        }
    }
    for (size_t e = 0; e < EXPERTS; e++) {
        double mean = 0;
        for (size_t a = 0; a < WIDTH; a++)
            for (size_t b = 0; b < WIDTH; b++)
                s[e].h[a][b] /= s[e].tokens ? (double)s[e].tokens : 1;
        for (size_t a = 0; a < WIDTH; a++)
            mean += s[e].h[a][a] / WIDTH;
        for (size_t a = 0; a < WIDTH; a++)
            s[e].h[a][a] += ORGAN_NARROW_DAMPING * mean;
    }
}

/* The windows of the text as a run has them, through the first layer. */
static void hear_text(const opened *o, unsigned samples, unsigned context, sums *s)
{
    organ_along_text *along = NULL;
    organ_error error = {0};
    char text[4096];
    snprintf(text, sizeof text, "%s", scratch_path("text"));
    const organ_along_options options = {.text = text, .samples = samples, .context = context, .method = "a", .verb = "b", .doing = "c"};
    ck_assert_msg(organ_along_open(&options, o->s.model, NULL, NULL, &o->s.engine, NULL, &along, &error) == ORGAN_OK, "%s", error.message);
    const organ_windows *const windows = &organ_along_describe(along)->windows;
    const size_t tokens = (size_t)samples * context;
    float *const hidden = malloc(tokens * HIDDEN * sizeof *hidden);
    hearing h = {malloc(tokens * HIDDEN * sizeof(float)), malloc(tokens * EXPERTS * sizeof(float))};
    organ_layer_tap_router(o->layer, &h, hear);
    ck_assert_int_eq(organ_forward_embed(o->s.forward, windows, hidden, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_run(o->s.forward, o->layer, windows, hidden, NULL, &error), ORGAN_OK);
    sum_tokens(o, &h, tokens, s);
    free(hidden);
    free(h.normed);
    free(h.logits);
    organ_along_close(along);
}

/* ---- what a choice costs ---- */

/* Solves a x = b for n unknowns by elimination with pivots; b becomes x. */
static void solve(double a[WIDTH][WIDTH], double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            best = fabs(a[i][k]) > fabs(a[best][k]) ? i : best;
        for (size_t j = 0; j < n; j++) {
            const double other = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = other;
        }
        const double other = b[k];
        b[k] = b[best];
        b[best] = other;
        for (size_t i = 0; i < n; i++) {
            const double factor = i == k ? 0 : a[i][k] / a[k][k];
            for (size_t j = k; j < n && factor != 0; j++)
                a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    }
    for (size_t k = 0; k < n; k++)
        b[k] /= a[k][k];
}

/* The least trace((W - V) H (W - V)^T) with V in the kept columns alone; `v`, where it is not NULL, becomes that V. */
static double least_loss(const sums *s, const float *w, const bool *kept, double (*v)[WIDTH])
{
    double loss = 0;
    for (size_t r = 0; r < HIDDEN; r++) {
        double a[WIDTH][WIDTH], b[WIDTH], missing[WIDTH];
        size_t n = 0;
        for (size_t i = 0; i < WIDTH; i++) {
            if (!kept[i])
                continue;
            size_t m = 0;
            b[n] = 0;
            for (size_t j = 0; j < WIDTH; j++) {
                b[n] += s->h[i][j] * (double)w[r * WIDTH + j];
                if (kept[j])
                    a[n][m++] = s->h[i][j];
            }
            n++;
        }
        solve(a, b, n);
        for (size_t i = 0, at = 0; i < WIDTH; i++) {
            const double value = kept[i] ? b[at++] : 0;
            missing[i] = (double)w[r * WIDTH + i] - value;
            if (v)
                v[r][i] = value;
        }
        for (size_t i = 0; i < WIDTH; i++)
            for (size_t j = 0; j < WIDTH; j++)
                loss += missing[i] * s->h[i][j] * missing[j];
    }
    return loss;
}

/* One goes after the other, each time the one without which least is lost. */
static double greedy_loss(const sums *s, const float *w)
{
    bool kept[WIDTH];
    double last = 0;
    memset(kept, true, sizeof kept);
    for (size_t left = WIDTH; left > KEPT; left--) {
        size_t best = WIDTH;
        for (size_t c = 0; c < WIDTH; c++) {
            if (!kept[c])
                continue;
            kept[c] = false;
            const double loss = least_loss(s, w, kept, NULL);
            kept[c] = true;
            if (best == WIDTH || loss < last) {
                best = c;
                last = loss;
            }
        }
        kept[best] = false;
    }
    return last;
}

static void check_values(const opened *out, const struct donor *d, unsigned expert, const bool *kept, double (*v)[WIDTH])
{
    float values[HIDDEN * KEPT];
    read_matrix(out, d->down, expert, HIDDEN, KEPT, values);
    for (size_t r = 0; r < HIDDEN; r++)
        for (size_t c = 0, at = 0; c < WIDTH; c++)
            if (kept[c]) {
                const double found = (double)values[r * KEPT + at++];
                REQUIRE_MSG(fabs(found - v[r][c]) <= fabs(v[r][c]) / 250 + 1e-5, "expert %u, row %zu, channel %zu: %g, not %g", expert, r,
                            c, found, v[r][c]);
            }
}

START_TEST(each_expert_loses_what_it_misses_least)
{
    const struct donor *const d = &donors[_i];
    opened donor, out;
    sums s[EXPERTS];
    size_t checked = 0, other = 0;
    method_make_donor(d->kind);
    must_narrow("out", usual);
    open_layer(&donor, donor_path());
    open_layer(&out, output_path("out"));
    hear_text(&donor, SAMPLES, CONTEXT, s);
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

/* ---- experts that see no token ---- */

static double norms_of(const opened *o, const struct donor *d, unsigned expert, size_t channel)
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

static void check_by_norms(const opened *donor, const opened *out, const struct donor *d, unsigned expert)
{
    float was[HIDDEN * WIDTH], is[HIDDEN * KEPT];
    bool kept[WIDTH];
    double least_kept = INFINITY, most_gone = 0;
    find_kept(donor, out, d, expert, kept);
    read_matrix(donor, d->down, expert, HIDDEN, WIDTH, was);
    read_matrix(out, d->down, expert, HIDDEN, KEPT, is);
    for (size_t c = 0, at = 0; c < WIDTH; c++) {
        const double norms = norms_of(donor, d, expert, c);
        if (!kept[c]) {
            most_gone = fmax(most_gone, norms);
            continue;
        }
        least_kept = fmin(least_kept, norms);
        for (size_t r = 0; r < HIDDEN; r++)
            REQUIRE(is[r * KEPT + at] == was[r * WIDTH + c]);
        at++;
    }
    ck_assert(least_kept >= most_gone);
}

START_TEST(an_expert_without_a_token_goes_by_norms)
{
    const struct donor *const d = &donors[_i];
    width_way way = usual;
    opened donor, out;
    sums s[EXPERTS];
    size_t unseen = 0, of_layer = 0, k;
    const json_t *row;
    method_make_donor(d->kind);
    way.samples = 1;
    way.context = 1;
    must_narrow("out", way);
    open_layer(&donor, donor_path());
    open_layer(&out, output_path("out"));
    hear_text(&donor, 1, 1, s);
    for (unsigned e = 0; e < EXPERTS; e++)
        if (s[e].tokens == 0) {
            check_by_norms(&donor, &out, d, e);
            of_layer++;
        }
    ck_assert_uint_gt(of_layer, 0);
    json_array_foreach(json_object_get(report, "projections"), k, row)
    {
        const bool by_norms = strcmp(json_string_value(json_object_get(row, "chosen_by")), "norms") == 0;
        REQUIRE(by_norms == (json_integer_value(json_object_get(row, "tokens")) == 0));
        REQUIRE(by_norms == json_is_null(json_object_get(row, "lost_percent")));
        unseen += by_norms;
    }
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(json_object_get(report, "experts"), "by_norms")), unseen);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(report, "experts"), "fewest_tokens")), 0);
    close_layer(&out);
    close_layer(&donor);
}
END_TEST

/* ---- the same whatever the way ---- */

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

/* One layer whose experts have second moments of some MiB together, and more channels than a block of moments that are in blocks. */
static void make_wide(void)
{
    method_make_donor("qwen3moe");
    rig_donor("{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"head_dim\": 16, \"hidden_act\": \"silu\", "
              "\"hidden_size\": 32, \"max_position_embeddings\": 64, \"moe_intermediate_size\": 320, \"norm_topk_prob\": true, "
              "\"num_attention_heads\": 4, \"num_experts_per_tok\": 2, \"num_hidden_layers\": 1, \"num_key_value_heads\": 2, "
              "\"num_experts\": 6, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"vocab_size\": 96}",
              "lm_head.weight BF16 96,32\nmodel.embed_tokens.weight BF16 96,32\nmodel.norm.weight BF16 32\n" L
              "input_layernorm.weight BF16 "
              "32\n" L "post_attention_layernorm.weight BF16 32\n" L "self_attn.k_norm.weight BF16 16\n" L
              "self_attn.q_norm.weight BF16 16\n" L "self_attn.q_proj.weight BF16 64,32\n" L "self_attn.k_proj.weight BF16 32,32\n" L
              "self_attn.v_proj.weight BF16 32,32\n" L "self_attn.o_proj.weight BF16 32,64\n" L "mlp.gate.weight BF16 6,32\n" L
              "mlp.experts.gate_up_proj BF16 6,640,32\n" L "mlp.experts.down_proj BF16 6,32,320\n");
}

/* With the least memory that is enough there is not room for the moments of all experts: the layer is run several times. */
START_TEST(neither_memory_nor_threads_show)
{
    static const struct {
        const char *kind, *ffn;
        size_t width;
    } models[] = {{"qwen3moe", "16", WIDTH}, {"mixtral", "40", 48}, {"qwen3moe.gguf", "16", WIDTH}, {NULL, "304", 320}};
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
    const json_t *const memory = json_object_get(report, "memory");
    const uint64_t enough = (uint64_t)json_integer_value(json_object_get(memory, "enough"));
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
        way.no_resolve = k > 0;
        way.score = k > 1 ? "wanda" : "loss";
        must_narrow(name, way);
        lost[k] = json_real_value(json_object_get(json_object_get(report, "experts"), "lost_percent"));
    }
    ck_assert_msg(lost[0] < lost[1] && lost[0] < lost[2], "%g, %g, %g", lost[0], lost[1], lost[2]);
}
END_TEST

static Suite *experts_suite(void)
{
    enum { KINDS = sizeof donors / sizeof *donors };
    const suite_case cases[] = {{"ways", {ways_to_compare_with}}};
    Suite *const suite = suite_of("width of experts", cases, sizeof cases / sizeof *cases, setup, teardown);
    TCase *const kinds = tcase_create("kinds");
    tcase_add_checked_fixture(kinds, setup, teardown);
    tcase_add_loop_test(kinds, each_expert_loses_what_it_misses_least, 0, KINDS);
    tcase_add_loop_test(kinds, an_expert_without_a_token_goes_by_norms, 0, KINDS);
    tcase_add_loop_test(kinds, neither_memory_nor_threads_show, 0, 4);
    suite_add_tcase(suite, kinds);
    return suite;
}

int main(void)
{
    Suite *const suites[] = {experts_suite(), NULL};
    return run_suites(suites);
}

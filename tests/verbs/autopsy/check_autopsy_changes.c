/* SPDX-License-Identifier: MIT
 * Differences from the original: damage is a finding, and what rounding, pruning, adapters, training and filters do to
 * weights is none. The cases imitate what these operations do. */
#include "tests/kit/effort.h"
#include "tests/kit/samples.h"
#include "tests/verbs/autopsy/autopsy_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QWEN  "fixtures/tiny-qwen2"
#define LLAMA "fixtures/tiny-llama"
#define MOE   "fixtures/tiny-moe"

static samples chance;

static double rms(const float *v, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)v[k] * (double)v[k];
    return sqrt(sum / (double)n);
}

/* Adds noise: v += part * rms(v) * (a normal value). */
static void add_noise(float *v, size_t n, double part)
{
    float *const noise = malloc(n * sizeof *noise);
    ck_assert_ptr_nonnull(noise);
    const double scale = part * rms(v, n);
    samples_fill(&chance, NORMAL, noise, n);
    for (size_t k = 0; k < n; k++)
        v[k] += (float)(scale * (double)noise[k]);
    free(noise);
}

/* Adds `rank` directions whose strengths fall as 1 / (k + 1)^power, of `part` of the norm of the weight in all. */
static void add_directions(float *v, size_t rows, size_t cols, size_t rank, double power, double part)
{
    float *const u = malloc((rows + cols) * sizeof *u), *const w = u + rows;
    double *const sum = calloc(rows * cols, sizeof *sum), square = 0;
    ck_assert(u && sum);
    for (size_t k = 0; k < rank; k++) {
        const double strength = pow((double)(k + 1), -power);
        samples_fill(&chance, NORMAL, u, rows);
        samples_fill(&chance, NORMAL, w, cols);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                sum[r * cols + c] += strength * (double)u[r] * (double)w[c];
    }
    for (size_t k = 0; k < rows * cols; k++)
        square += sum[k] * sum[k];
    const double scale = part * rms(v, rows * cols) / sqrt(square / (double)(rows * cols));
    for (size_t k = 0; k < rows * cols; k++)
        v[k] += (float)(scale * sum[k]);
    free(u);
    free(sum);
}

/* ---- damage ---- */

static void noise_29(float *v, size_t rows, size_t cols) { add_noise(v, rows * cols, 0.29); }
static void noise_2(float *v, size_t rows, size_t cols) { add_noise(v, rows * cols, 0.02); }

static void relative_noise(float *v, size_t rows, size_t cols)
{
    for (size_t k = 0; k < rows * cols; k++)
        v[k] *= (float)(1 + 0.5 * (samples_uniform(&chance) - 0.5));
}

static void overwritten_rows(float *v, size_t rows, size_t cols)
{
    const double scale = rms(v, rows * cols);
    float *const part = v + rows / 2 * cols;
    samples_fill(&chance, NORMAL, part, 8 * cols);
    for (size_t k = 0; k < 8 * cols; k++)
        part[k] *= (float)scale;
}

static void swapped_rows(float *v, size_t rows, size_t cols)
{
    (void)rows;
    for (size_t c = 0; c < cols; c++) {
        const float value = v[c];
        v[c] = v[cols + c];
        v[cols + c] = value;
    }
}

static void reversed_rows(float *v, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows / 2; r++)
        for (size_t c = 0; c < cols; c++) {
            const float value = v[r * cols + c];
            v[r * cols + c] = v[(rows - 1 - r) * cols + c];
            v[(rows - 1 - r) * cols + c] = value;
        }
}

static void another_weight(float *v, size_t rows, size_t cols)
{
    const double scale = rms(v, rows * cols);
    samples_fill(&chance, NORMAL, v, rows * cols);
    for (size_t k = 0; k < rows * cols; k++)
        v[k] *= (float)scale;
}

static void shifted(float *v, size_t rows, size_t cols)
{
    const double scale = rms(v, rows * cols);
    for (size_t k = 0; k < rows * cols; k++)
        v[k] += (float)(0.19 * scale); /* below the limit of a biased mean */
}

static void larger(float *v, size_t rows, size_t cols)
{
    for (size_t k = 0; k < rows * cols; k++)
        v[k] *= 1.3F;
}

/* ---- operations on models ---- */

static void adapter(float *v, size_t rows, size_t cols) { add_directions(v, rows, cols, 8, 0, 0.29); }
static void training(float *v, size_t rows, size_t cols) { add_directions(v, rows, cols, 64, 0.5, 0.1); }

/* Changes one value in eight, as DARE does with the differences of a merged model. */
static void sparse_merge(float *v, size_t rows, size_t cols)
{
    const double scale = rms(v, rows * cols);
    for (size_t k = 0; k < rows * cols; k++)
        if (samples_uniform(&chance) < 0.125)
            v[k] += (float)(scale * (samples_uniform(&chance) - 0.5));
}

static void new_tokens(float *v, size_t rows, size_t cols)
{
    (void)rows;
    add_noise(v, 3 * cols, 1);
}

/* Zeroes the smaller half, and changes the others by a fifth, as solvers do. */
static void refitted_half(float *v, size_t rows, size_t cols)
{
    const double limit = 0.6745 * rms(v, rows * cols);
    add_noise(v, rows * cols, 0.2);
    for (size_t k = 0; k < rows * cols; k++)
        v[k] = fabs((double)v[k]) < limit ? 0 : v[k];
}

/* Rounds groups of 32 values to 16 levels and stores the values. */
static void four_bits(float *v, size_t rows, size_t cols)
{
    for (size_t from = 0; from < rows * cols; from += 32) {
        float most = 0;
        for (size_t k = from; k < from + 32; k++)
            most = fmaxf(most, fabsf(v[k]));
        for (size_t k = from; k < from + 32; k++)
            v[k] = most > 0 ? roundf(v[k] / most * 7) * (most / 7) : 0;
    }
}

static void smaller_by_part(float *v, size_t rows, size_t cols)
{
    const double limit = rms(v, rows * cols);
    for (size_t k = 0; k < rows * cols; k++)
        v[k] *= fabs((double)v[k]) < limit ? 0.6F : 1;
}

typedef void change(float *v, size_t rows, size_t cols);

#define UP     "model.layers.1.mlp.up_proj.weight"
#define EXPERT "model.layers.1.mlp.experts.3.up_proj.weight"
#define EMBED  "model.embed_tokens.weight"
#define ALL    "model.layers.*proj.weight"

static const struct {
    const char *name, *model, *pattern;
    change *edit;
    const char *scheme; /* quantised after the change, or NULL */
    const char *weight; /* with the finding or the remark */
    const char *kind;   /* of the finding; NULL: none in the model */
    const char *says;   /* in the cause or the value */
} cases[] = {
    {"noise", QWEN, UP, noise_29, NULL, UP, "damaged", "like noise"},
    {"noise in llama", LLAMA, UP, noise_29, NULL, UP, "damaged", "like noise"},
    {"noise in an expert", MOE, EXPERT, noise_29, NULL, EXPERT, "damaged", "like noise"},
    {"noise of 2 percent", QWEN, UP, noise_2, NULL, UP, "damaged", "like noise"},
    {"relative noise", LLAMA, UP, relative_noise, NULL, UP, "damaged", "like noise"},
    {"noise, then codes", QWEN, UP, noise_29, "int4-group32", UP, "damaged", "do not differ as much"},
    {"noise in a norm", QWEN, "model.layers.2.input_layernorm.weight", noise_29, NULL,
     "model.layers.2.input_layernorm.weight", "damaged", "do not differ as much"},
    {"noise in the embedding", LLAMA, EMBED, noise_29, NULL, EMBED, "damaged", "like noise"},
    {"noise everywhere", LLAMA, ALL, noise_29, NULL, UP, "damaged", "like noise"},
    {"rows overwritten", QWEN, UP, overwritten_rows, NULL, UP, "lines", "rows"},
    {"two rows exchanged", QWEN, UP, swapped_rows, NULL, UP, "order", "same sum of squares"},
    {"rows in another order", MOE, EXPERT, reversed_rows, NULL, EXPERT, "order", "same sum of squares"},
    {"another weight", LLAMA, UP, another_weight, NULL, UP, "far", "nothing in common"},
    {"shifted values", QWEN, UP, shifted, NULL, UP, "shift", "zero points"},
    {"larger values", LLAMA, UP, larger, NULL, UP, "scale_factor", "1.3 times"},
    {"an adapter", QWEN, ALL, adapter, NULL, UP, NULL, "low rank"},
    {"an adapter of one weight", LLAMA, UP, adapter, NULL, UP, NULL, "low rank"},
    {"an adapter, then codes", MOE, "*.self_attn.*proj.weight", adapter, "int4-group32",
     "model.layers.1.self_attn.q_proj.weight", NULL, "strong directions"},
    {"training", QWEN, ALL, training, NULL, UP, NULL, "strong directions"},
    {"training of one weight", LLAMA, UP, training, NULL, UP, NULL, "No other weights"},
    {"a sparse merge", LLAMA, ALL, sparse_merge, NULL, UP, NULL, "Other weights differ as much"},
    {"norms that were trained", QWEN, "*layernorm.weight", noise_2, NULL, "model.layers.1.input_layernorm.weight", NULL,
     "Other weights differ as much"},
    {"new tokens", LLAMA, EMBED, new_tokens, NULL, EMBED, NULL, "some tokens"},
    {"pruning", QWEN, ALL, refitted_half, NULL, UP, NULL, "it was pruned"},
    {"codes stored as values", LLAMA, ALL, four_bits, NULL, UP, NULL, "quantised in between"},
    {"a filter", QWEN, ALL, smaller_by_part, NULL, UP, NULL, "without a part"},
};

START_TEST(differences_are_explained_or_found)
{
    const size_t k = (size_t)_i;
    organ_error error;
    chance = (samples){7 + k};
    rig_copy(cases[k].model, "q");
    rig_edit(cases[k].pattern, cases[k].edit);
    if (cases[k].scheme) {
        ck_assert_int_eq(rename(scratch_path("q"), scratch_path("changed")), 0);
        rig_quantise(scratch_path("changed"), cases[k].scheme);
    }
    const organ_status status = autopsy(scratch_path("q"), (autopsy_way){.other = cases[k].model}, &error);
    ck_assert_msg(status == (cases[k].kind ? ORGAN_CHECK_FAILED : ORGAN_OK), "%s: %s", cases[k].name, error.message);
    ck_assert_msg(strcmp(found(cases[k].weight), cases[k].kind ? cases[k].kind : "") == 0, "%s: found '%s'",
                  cases[k].name, found(cases[k].weight));
    const json_t *const row = finding_of(cases[k].weight, cases[k].kind ? cases[k].kind : "unusual");
    const char *const cause = json_string_value(json_object_get(row, "cause"));
    const char *const value = json_string_value(json_object_get(row, "value"));
    ck_assert_msg(strstr(cause, cases[k].says) || strstr(value, cases[k].says), "%s: %s: %s", cases[k].name, value,
                  cause);
}
END_TEST

/* A single weight says nothing about others, so --select does not make a finding of what may be training. */
START_TEST(a_selection_knows_no_other_weights)
{
    organ_error error;
    chance = (samples){1};
    rig_copy(QWEN, "q");
    rig_edit("*layernorm.weight", noise_2);
    const autopsy_way way = {.other = QWEN, .match = "model.layers.1.input_layernorm.weight"};
    ck_assert_msg(autopsy(scratch_path("q"), way, &error) == ORGAN_OK, "%s", error.message);
    const json_t *const row = finding_of(way.match, "unusual");
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(row, "cause")), "which were not compared"));
}
END_TEST

Suite *autopsy_changes_suite(void)
{
    Suite *const suite = suite_create("autopsy of changes");
    TCase *const tests = tcase_create("changes");
    tcase_add_checked_fixture(tests, autopsy_setup, autopsy_teardown);
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, differences_are_explained_or_found, 0, (int)sampled(sizeof cases / sizeof *cases, 6));
    tcase_add_test(tests, a_selection_knows_no_other_weights);
    suite_add_tcase(suite, tests);
    return suite;
}

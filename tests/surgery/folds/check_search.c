/* SPDX-License-Identifier: MIT
 * The search for factors of channels finds an error that no single step lowers, and reports it by the definition. The
 * memory of samples and search is that of the largest layer. */
#include "orchestrator/surgery/folds/smooth_parts.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 24, ROWS = 40, TOKENS = 50 };

typedef struct random_problem {
    float weights[CHANNELS * ROWS], inputs[CHANNELS * TOKENS], ranges[CHANNELS], greatest[CHANNELS];
    double weight_squares[CHANNELS], input_squares[CHANNELS];
    uint64_t allowed[CHANNELS];
    organ_smooth_problem p;
} random_problem;

/* Inputs of every fifth channel are outliers; channel 7 has no inputs. */
static void make_problem(random_problem *r, size_t group, double weight_levels, double input_levels, uint64_t allowed)
{
    samples random = {1};
    memset(r, 0, sizeof *r);
    for (size_t c = 0; c < CHANNELS; c++) {
        r->allowed[c] = allowed;
        for (size_t k = 0; k < ROWS + TOKENS; k++) {
            const float magnitude = (float)(0.001 + samples_uniform(&random));
            const bool row = k < ROWS;
            const float usual = magnitude * (row || c % 5 ? 1 : 30), value = row || c != 7 ? usual : 0;
            *(row ? &r->weights[c * ROWS + k] : &r->inputs[c * TOKENS + k - ROWS]) = value;
            *(row ? &r->weight_squares[c] : &r->input_squares[c]) += (double)(value * value) / (row ? 1 : TOKENS);
            float *const most = row ? &r->greatest[c] : &r->ranges[c];
            *most = value > *most ? value : *most;
        }
    }
    r->p = (organ_smooth_problem){CHANNELS,
                                  ROWS,
                                  TOKENS,
                                  group,
                                  r->weights,
                                  r->inputs,
                                  r->weight_squares,
                                  r->input_squares,
                                  r->ranges,
                                  r->greatest,
                                  allowed ? r->allowed : NULL,
                                  weight_levels,
                                  input_levels,
                                  false};
}

/* The formula of docs/definitions/mixed_precision.md, by its words. */
static double error_by_definition(const organ_smooth_problem *p, const float *factors)
{
    double weights = 0, tokens = 0, products = 0;
    for (size_t from = 0; from < CHANNELS; from += p->group) {
        const size_t until = from + p->group < CHANNELS ? from + p->group : CHANNELS;
        double rows = 0, ratios = 0;
        for (size_t k = 0; k < ROWS; k++) {
            double most = 0;
            for (size_t c = from; c < until; c++)
                most = fmax(most, (double)(p->weights[c * ROWS + k] * factors[c]));
            rows += most * most;
        }
        for (size_t c = from; c < until; c++)
            ratios += p->input_squares[c] / ((double)factors[c] * (double)factors[c]);
        weights += rows * ratios;
    }
    for (size_t k = 0; k < TOKENS; k++) {
        double most = 0;
        for (size_t c = 0; c < CHANNELS; c++)
            most = fmax(most, (double)(p->inputs[c * TOKENS + k] * (1 / factors[c])));
        tokens += most * most / TOKENS;
    }
    for (size_t c = 0; c < CHANNELS; c++)
        products += p->weight_squares[c] * (double)factors[c] * (double)factors[c];
    return (p->weight_levels > 0 ? weights / (p->weight_levels * p->weight_levels) : 0) +
           (p->input_levels > 0 ? tokens * products / (p->input_levels * p->input_levels) : 0);
}

static const struct {
    size_t group;
    double weight_levels, input_levels;
    uint64_t allowed;
} searches[] = {{CHANNELS, 127.5, 127, ~(uint64_t)0},
                {CHANNELS, 127.5, 127, 0},
                {8, 7.5, 127, ~(uint64_t)0},
                {7, 7.5, 0, 0},
                {CHANNELS, 0, 127, ~(uint64_t)0},
                {CHANNELS, 127.5, 127, (uint64_t)7 << (ORGAN_SMOOTH_EXPONENTS - 1)},
                {CHANNELS, 127.5, 127, (uint64_t)1 << ORGAN_SMOOTH_EXPONENTS}};

START_TEST(no_step_lowers_the_error)
{
    random_problem *const r = malloc(sizeof *r);
    float factors[CHANNELS], ones[CHANNELS], changed[CHANNELS];
    double share;
    organ_error error = {0};
    ck_assert_ptr_nonnull(r);
    make_problem(r, searches[_i].group, searches[_i].weight_levels, searches[_i].input_levels, searches[_i].allowed);
    ck_assert_int_eq(organ_smooth_search(&r->p, factors, &share, &error), ORGAN_OK);
    for (size_t c = 0; c < CHANNELS; c++)
        ones[c] = 1;
    const double least = error_by_definition(&r->p, factors), before = error_by_definition(&r->p, ones);
    ck_assert_double_eq_tol(share, least / before, 1e-5);
    const bool fixed = searches[_i].allowed == (uint64_t)1 << ORGAN_SMOOTH_EXPONENTS;
    ck_assert_msg(fixed ? share == 1 : share < 0.9, "the error with factors is %g of that without", share);
    ck_assert_float_eq(factors[7], 1);
    for (size_t c = 0; c < CHANNELS; c++)
        for (int by = -1; by <= 1; by += 2) {
            memcpy(changed, factors, sizeof changed);
            changed[c] *= exp2f((float)by / (searches[_i].allowed ? 1 : 4));
            int exponent;
            const bool whole = frexpf(changed[c], &exponent) == 0.5F;
            if (searches[_i].allowed) {
                ck_assert_msg(whole, "factor %g of channel %zu is no power of two", (double)factors[c], c);
                if (abs(exponent - 1) > ORGAN_SMOOTH_EXPONENTS ||
                    !(searches[_i].allowed >> (exponent - 1 + ORGAN_SMOOTH_EXPONENTS) & 1))
                    continue;
            }
            ck_assert_msg(r->ranges[c] == 0 || error_by_definition(&r->p, changed) > least * (1 - 1e-5),
                          "search %d: a step of channel %zu lowers the error", _i, c);
        }
    free(r);
}
END_TEST

/* With few tokens only the alphas are tried; no inputs at all, or no codes of whole numbers, leave the factors at 1. */
START_TEST(few_tokens_permit_alphas_only)
{
    random_problem *const r = malloc(sizeof *r);
    float chosen[CHANNELS], alpha[CHANNELS];
    double best, share;
    organ_error error = {0};
    ck_assert_ptr_nonnull(r);
    make_problem(r, CHANNELS, 127.5, 127, 0);
    ck_assert_int_eq(organ_smooth_search(&r->p, chosen, &best, &error), ORGAN_OK);
    r->p.alphas_only = true;
    ck_assert_int_eq(organ_smooth_search(&r->p, alpha, &share, &error), ORGAN_OK);
    ck_assert_double_gt(share, best);
    ck_assert_double_lt(share, 1);
    bool found = false;
    for (unsigned k = 3; k <= 10; k++) {
        bool alike = true;
        for (size_t c = 0; c < CHANNELS; c++) {
            const double wanted = organ_smooth_factor(k / 10.0, (double)r->ranges[c], (double)r->greatest[c]);
            alike = alike && fabs(log2((double)alpha[c]) - log2(wanted)) < 0.13;
        }
        found = found || alike;
    }
    ck_assert_msg(found, "the factors are those of no alpha");
    memset(r->inputs, 0, sizeof r->inputs);
    memset(r->input_squares, 0, sizeof r->input_squares);
    memset(r->ranges, 0, sizeof r->ranges);
    ck_assert_int_eq(organ_smooth_search(&r->p, alpha, &share, &error), ORGAN_OK);
    ck_assert_double_eq(share, 1);
    for (size_t c = 0; c < CHANNELS; c++)
        ck_assert_float_eq(alpha[c], 1);
    free(r);
}
END_TEST

/* The first layer has the larger search, the second the larger samples. */
START_TEST(layers_do_not_share_their_memory)
{
    organ_fold_side sides[2] = {{.matrices = 1, .rows = 1, .cols = 8192}, {.matrices = 64, .rows = 1, .cols = 512}};
    organ_fold folds[2] = {{.layer = 0, .kind = ORGAN_FOLD_UP, .channels = 8192, .first = 0, .count = 1},
                           {.layer = 1, .kind = ORGAN_FOLD_UP, .channels = 32768, .first = 1, .count = 1}};
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_error error = {0};
    uint64_t bytes[3];
    sides[1].apart = true;
    ck_assert_int_eq(organ_topology_discover(&topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, 4, &workers, &error), ORGAN_OK);
    const organ_engine engine = {.topology = topology, .workers = workers};
    for (size_t k = 0; k < 3; k++) {
        organ_scaling scaling = {.folds = {.list = folds + (k == 1), .sides = sides, .count = k < 2 ? 1 : 2}};
        const organ_smooth_walk walk = {.scaling = &scaling, .engine = &engine, .rounding = {.group = 128}};
        bytes[k] = organ_smooth_samples_memory(&walk);
    }
    ck_assert_uint_gt(bytes[0], 0);
    ck_assert_uint_gt(bytes[1], bytes[0]);
    ck_assert_uint_eq(bytes[2], bytes[1]);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("smooth_search");
    TCase *const cases = tcase_create("search");
    tcase_add_loop_test(cases, no_step_lowers_the_error, 0, (int)(sizeof searches / sizeof *searches));
    tcase_add_test(cases, few_tokens_permit_alphas_only);
    tcase_add_test(cases, layers_do_not_share_their_memory);
    suite_add_tcase(suite, cases);
    return run_suites((Suite *const[]){suite, NULL});
}

/* SPDX-License-Identifier: MIT
 * Tests of perplexity: the windows of each style, written by hand; scores of models with given probabilities against
 * the formulas; bit identity for any batches. */
#include <organ/forward.h>
#include "orchestrator/verbs/evaluate/evaluate_parts.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *window_order_suite(void);

#define VOCABULARY 37
#define TOKENS     101

/* ---- the windows ---- */

static const uint32_t counting[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static organ_perplexity_plan planned(const organ_perplexity_protocol *protocol, size_t count)
{
    organ_perplexity_plan plan;
    organ_error error = {0};
    ck_assert_msg(organ_perplexity_plan_make(protocol, counting, count, "text", &plan, &error) == ORGAN_OK, "%s",
                  error.message);
    return plan;
}

/* Compares a plan. `inputs`: 99 is BOS, 98 EOS, -1 ends a window; `scored`: pairs of an index into the inputs and the
 * target. */
static void expect_plan(organ_perplexity_plan *plan, const int *inputs, size_t input_count, const unsigned (*scored)[2],
                        size_t scored_count)
{
    size_t at = 0, windows = 0;
    for (size_t k = 0; k < input_count; k++)
        if (inputs[k] < 0)
            ck_assert_uint_eq(plan->begin[++windows], at);
        else
            ck_assert_uint_eq(plan->tokens[at++], (unsigned)inputs[k]);
    ck_assert_uint_eq(plan->windows, windows);
    ck_assert_uint_eq(plan->begin[windows], at);
    ck_assert_uint_eq(plan->scored, scored_count);
    for (size_t k = 0; k < scored_count; k++) {
        ck_assert_uint_eq(plan->rows[k], scored[k][0]);
        ck_assert_uint_eq(plan->targets[k], scored[k][1]);
    }
    organ_perplexity_plan_release(plan);
}

#define EXPECT(plan, inputs, scored)                                                                                   \
    expect_plan(&(plan), inputs, sizeof(inputs) / sizeof *(inputs), scored, sizeof(scored) / sizeof *(scored))

START_TEST(windows_of_hf)
{
    organ_perplexity_protocol protocol = {.style = ORGAN_STYLE_HF, .context = 4, .bos = 99, .eos = 98};
    static const int plain[] = {0, 1, 2, -1, 4, 5, 6, -1, 8, -1}, one_left[] = {0, 1, 2, -1, 4, 5, 6, -1};
    static const unsigned plain_scored[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 5}, {4, 6}, {5, 7}, {6, 9}};
    organ_perplexity_plan plan = planned(&protocol, 10);
    EXPECT(plan, plain, plain_scored);
    static const unsigned left_scored[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 5}, {4, 6}, {5, 7}};
    plan = planned(&protocol, 9); /* the only token of the last window has no token before it */
    EXPECT(plan, one_left, left_scored);
    protocol.adds_bos = true;
    static const int with_bos[] = {99, 0, 1, -1, 3, 4, 5, -1};
    static const unsigned bos_scored[][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 4}, {4, 5}, {5, 6}};
    plan = planned(&protocol, 8);
    EXPECT(plan, with_bos, bos_scored);
}
END_TEST

START_TEST(windows_of_llama_cpp)
{
    organ_perplexity_protocol protocol = {.style = ORGAN_STYLE_LLAMA_CPP, .context = 5, .bos = 99, .eos = -1};
    static const int plain[] = {0, 1, 2, 3, -1, 5, 6, 7, 8, -1}, with_bos[] = {99, 0, 1, 2, -1, 99, 5, 6, 7, -1};
    /* 5 - 5 / 2 - 1 = 2 of each window */
    static const unsigned scored[][2] = {{2, 3}, {3, 4}, {6, 8}, {7, 9}},
                          bos_scored[][2] = {{2, 2}, {3, 3}, {6, 7}, {7, 8}};
    organ_perplexity_plan plan = planned(&protocol, 14);
    EXPECT(plan, plain, scored);
    protocol.adds_bos = true;
    plan = planned(&protocol, 13);
    EXPECT(plan, with_bos, bos_scored);
}
END_TEST

START_TEST(windows_of_lm_eval)
{
    organ_perplexity_protocol protocol = {.style = ORGAN_STYLE_LM_EVAL, .context = 4, .bos = -1, .eos = 98};
    static const int rolling[] = {98, 0, 1, 2, -1, 3, 4, 5, 6, -1, 5, 6, 7, 8, -1};
    static const unsigned scored[][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 3},  {4, 4},
                                         {5, 5}, {6, 6}, {7, 7}, {10, 8}, {11, 9}};
    organ_perplexity_plan plan = planned(&protocol, 10);
    EXPECT(plan, rolling, scored);
    protocol.bos = 99;
    static const int few[] = {99, 0, -1}, whole[] = {99, 0, 1, 2, -1, 3, 4, 5, 6, -1};
    static const unsigned few_scored[][2] = {{0, 0}, {1, 1}};
    plan = planned(&protocol, 2);
    EXPECT(plan, few, few_scored);
    plan = planned(&protocol, 8);
    EXPECT(plan, whole, ((const unsigned[][2]){{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}}));
}
END_TEST

static void refuse_plan(organ_perplexity_protocol protocol, size_t count, organ_status status, const char *says)
{
    organ_perplexity_plan plan;
    organ_error error = {0};
    ck_assert_int_eq(organ_perplexity_plan_make(&protocol, counting, count, "a.txt", &plan, &error), status);
    ck_assert_msg(strstr(error.message, says) != NULL, "%s", error.message);
    ck_assert_ptr_null(plan.tokens);
}

START_TEST(texts_that_do_not_do)
{
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_HF, 4, -1, -1, false, false}, 1, ORGAN_BAD_INPUT,
                "a.txt has 1 token, but at least 2 are needed");
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_HF, 4, 1, -1, true, false}, 0, ORGAN_BAD_INPUT,
                "a.txt has 0 tokens");
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_HF, 4, -1, 1, true, false}, 9, ORGAN_BAD_INPUT,
                "a.txt: the model needs BOS");
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_HF, 3, 1, 1, true, false}, 9, ORGAN_USAGE, "3 tokens");
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_LLAMA_CPP, 5, 1, 1, false, false}, 9, ORGAN_BAD_INPUT,
                "two windows of 5, that is 10 tokens");
    refuse_plan((organ_perplexity_protocol){ORGAN_STYLE_LM_EVAL, 4, -1, -1, false, false}, 9, ORGAN_BAD_INPUT,
                "has neither");
}
END_TEST

/* ---- models with made-up probabilities ---- */

typedef struct fake {
    unsigned seed;
    const organ_windows *windows;
    uint32_t *tokens; /* tokens of the last windows, and the position of each in its window */
    size_t *position;
    size_t broken; /* the id of a token that gives NaN; VOCABULARY: none */
} fake;

static float fake_logit(unsigned seed, uint32_t token, size_t position, size_t v)
{
    const unsigned mixed = (token * 2654435761U) ^ ((unsigned)position * 40503U) ^ ((unsigned)v * 2246822519U);
    return (float)sin((double)(mixed % 10007U)) * 3.0F + (float)cos((double)((mixed >> 7) % 997U)) * 0.1F * (float)seed;
}

static organ_status fake_carry(void *context, const organ_windows *windows, organ_error *error)
{
    fake *const f = context;
    (void)error;
    free(f->tokens);
    free(f->position);
    const size_t inputs = windows->begin[windows->count];
    f->tokens = malloc(inputs * sizeof *f->tokens);
    f->position = malloc(inputs * sizeof *f->position);
    for (size_t w = 0; w < windows->count; w++)
        for (size_t k = windows->begin[w]; k < windows->begin[w + 1]; k++) {
            f->tokens[k] = windows->tokens[k];
            f->position[k] = k - windows->begin[w];
        }
    return ORGAN_OK;
}

/* Delivers the last row first, since no order is promised. */
static organ_status fake_logits(void *context, const size_t *rows, size_t count, void *receiver,
                                void (*each)(void *receiver, size_t k, float *logits), organ_error *error)
{
    const fake *const f = context;
    (void)error;
    for (size_t k = count; k-- > 0;) {
        float logits[VOCABULARY];
        for (size_t v = 0; v < VOCABULARY; v++)
            logits[v] = fake_logit(f->seed, f->tokens[rows[k]], f->position[rows[k]], v);
        if (f->tokens[rows[k]] == f->broken)
            logits[3] = NAN;
        each(receiver, k, logits);
    }
    return ORGAN_OK;
}

static fake fakes[3];
static organ_logit_source sources[3];
static uint32_t sample[TOKENS];
static organ_perplexity_plan plan;
static organ_token_scores scores[3];

static void set_up(void)
{
    const organ_perplexity_protocol protocol = {.style = ORGAN_STYLE_HF, .context = 8, .bos = -1, .eos = -1};
    organ_error error = {0};
    for (size_t k = 0; k < TOKENS; k++)
        sample[k] = (uint32_t)(k * k * 7 + k / 3) % VOCABULARY;
    ck_assert_int_eq(organ_perplexity_plan_make(&protocol, sample, TOKENS, "text", &plan, &error), ORGAN_OK);
    for (size_t m = 0; m < 3; m++) {
        fakes[m] = (fake){.seed = m == 2 ? 0 : (unsigned)m * 9, .broken = VOCABULARY};
        sources[m] = (organ_logit_source){&fakes[m], VOCABULARY, m ? "pruned" : "donor", fake_carry, fake_logits};
        scores[m] =
            (organ_token_scores){calloc(TOKENS, sizeof(double)), calloc(TOKENS, sizeof(double)), calloc(TOKENS, 1)};
    }
}

static void tear_down(void)
{
    organ_perplexity_plan_release(&plan);
    for (size_t m = 0; m < 3; m++) {
        free(fakes[m].tokens);
        free(fakes[m].position);
        free(scores[m].nll);
        free(scores[m].divergence);
        free(scores[m].agrees);
    }
}

static void score(size_t count, size_t batch, size_t tile)
{
    organ_error error = {0};
    const organ_progress none = {0};
    organ_perplexity_score(organ_kernels_scalar, &plan, sources, count, batch, tile, scores, NULL, &none, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
}

/* ---- the scores ---- */

static long double probability(unsigned seed, uint32_t token, size_t position, size_t v)
{
    long double sum = 0;
    for (size_t k = 0; k < VOCABULARY; k++)
        sum += expl((long double)fake_logit(seed, token, position, k));
    return expl((long double)fake_logit(seed, token, position, v)) / sum;
}

static size_t likeliest(unsigned seed, uint32_t token, size_t position)
{
    size_t top = 0;
    for (size_t k = 1; k < VOCABULARY; k++)
        if (fake_logit(seed, token, position, k) > fake_logit(seed, token, position, top))
            top = k;
    return top;
}

START_TEST(scores_are_those_of_the_formulas)
{
    score(2, 20, 5);
    for (size_t k = 0; k < plan.scored; k++) {
        const uint32_t token = plan.tokens[plan.rows[k]];
        const size_t position = plan.rows[k] % 7; /* a window of 8 has 7 inputs */
        long double divergence = 0;
        for (size_t v = 0; v < VOCABULARY; v++) {
            const long double p = probability(0, token, position, v);
            divergence += p * logl(p / probability(9, token, position, v));
        }
        ck_assert_double_eq_tol(scores[0].nll[k], (double)-logl(probability(0, token, position, plan.targets[k])),
                                1e-12);
        ck_assert_double_eq_tol(scores[1].nll[k], (double)-logl(probability(9, token, position, plan.targets[k])),
                                1e-12);
        ck_assert_double_eq_tol(scores[1].divergence[k], (double)divergence, 1e-12);
        ck_assert_uint_eq(scores[1].agrees[k], likeliest(0, token, position) == likeliest(9, token, position));
    }
}
END_TEST

START_TEST(same_bits_whatever_the_batches)
{
    static const size_t ways[][2] = {{1, 1}, {7, 3}, {20, 5}, {33, 1000}, {1000, 13}};
    double nll[3][TOKENS], divergence[3][TOKENS];
    score(3, 1000, 1000);
    for (size_t m = 0; m < 3; m++) {
        memcpy(nll[m], scores[m].nll, sizeof nll[m]);
        memcpy(divergence[m], scores[m].divergence, sizeof divergence[m]);
    }
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        for (size_t m = 0; m < 3; m++) {
            memset(scores[m].nll, 0, plan.scored * sizeof(double));
            memset(scores[m].divergence, 0, plan.scored * sizeof(double));
        }
        score(3, ways[w][0], ways[w][1]);
        for (size_t m = 0; m < 3; m++) {
            ck_assert_mem_eq(scores[m].nll, nll[m], sizeof nll[m]);
            ck_assert_mem_eq(scores[m].divergence, divergence[m], sizeof divergence[m]);
        }
    }
    memset(scores[0].nll, 0, plan.scored * sizeof(double));
    score(1, 20, 0); /* a batch of one window */
    ck_assert_mem_eq(scores[0].nll, nll[0], sizeof nll[0]);
    ck_assert_uint_eq(organ_perplexity_batches(&plan, 1), plan.windows);
    ck_assert_uint_eq(organ_perplexity_batches(&plan, 14), (plan.windows + 1) / 2);
    ck_assert_uint_eq(organ_perplexity_batches(&plan, 100000), 1);
}
END_TEST

START_TEST(a_model_beside_itself)
{
    organ_perplexity_comparison c;
    organ_error error = {0};
    score(3, 20, 4);
    ck_assert_int_eq(organ_perplexity_compare(&scores[0], &scores[2], plan.scored, &c, &error), ORGAN_OK);
    ck_assert_double_eq(c.divergence.mean, 0);
    ck_assert_double_eq(c.agreement, 1);
    ck_assert_double_eq(c.difference, 0);
    ck_assert_double_eq(c.difference_error, 0);
    ck_assert_double_eq(c.ratio, 1);
    ck_assert_double_eq(c.ratio_error, 0);
}
END_TEST

static void refuse_score(size_t count, const organ_stop *stop, organ_status status, const char *says)
{
    organ_error error = {0};
    const organ_progress none = {0};
    ck_assert_int_eq(
        organ_perplexity_score(organ_kernels_scalar, &plan, sources, count, 20, 4, scores, stop, &none, &error),
        status);
    ck_assert_msg(strstr(error.message, says) != NULL, "%s", error.message);
}

START_TEST(models_that_do_not_do)
{
    organ_stop stop = {0};
    sources[1].vocabulary = VOCABULARY - 1;
    refuse_score(2, NULL, ORGAN_BAD_INPUT, "pruned computes 36 logits per token, but donor 37");
    sources[1].vocabulary = VOCABULARY;
    fakes[1].broken = sample[1];
    refuse_score(2, NULL, ORGAN_BAD_INPUT, "pruned: its logits for scored token 2 of");
    plan.targets[4] = VOCABULARY;
    refuse_score(1, NULL, ORGAN_BAD_INPUT, "donor: token id 37 of the text exceeds its 37 logits");
    plan.targets[4] = 0;
    organ_stop_request(&stop);
    refuse_score(1, &stop, ORGAN_INTERRUPTED, "stopped");
}
END_TEST

/* ---- figures computed by hand ---- */

START_TEST(figures_by_hand)
{
    double first[] = {1, 2, 4, 5}, other[] = {2, 2, 5, 7}, divergence[] = {0, 0.5, 0.25, 0.25};
    unsigned char agrees[] = {1, 0, 1, 1};
    const organ_token_scores x = {.nll = first}, y = {other, divergence, agrees};
    organ_perplexity_comparison c;
    organ_error error = {0};
    const organ_perplexity_figures f = organ_perplexity_sum(first, 4);
    ck_assert_double_eq(f.nll.mean, 3);
    ck_assert_double_eq(f.total, 12);
    ck_assert_double_eq_tol(f.nll.error, sqrt(10.0 / 12), 1e-15);
    ck_assert_double_eq(f.perplexity, exp(3));
    ck_assert_double_eq_tol(f.perplexity_error, exp(3) * sqrt(10.0 / 12), 1e-13);
    ck_assert(isnan(organ_perplexity_sum(first, 1).nll.error));
    ck_assert_int_eq(organ_perplexity_compare(&x, &y, 4, &c, &error), ORGAN_OK);
    ck_assert_double_eq(c.nll.mean, 1);
    ck_assert_double_eq(c.ratio, exp(1));
    ck_assert_double_eq_tol(c.ratio_error, exp(1) * sqrt(2.0 / 12), 1e-14);
    ck_assert_double_eq(c.difference, exp(4) - exp(3));
    /* variances 10/12 and 18/12, covariance 13/12; delta method for a difference of functions of two means */
    const double variance = exp(8) * 18.0 / 12 + exp(6) * 10.0 / 12 - 2 * exp(7) * 13.0 / 12;
    ck_assert_double_eq_tol(c.difference_error, sqrt(variance), 1e-10);
    ck_assert_double_eq(c.divergence.mean, 0.25);
    ck_assert_double_eq(c.agreement, 0.75);
    ck_assert_double_eq_tol(c.agreement_error, sqrt(0.75 * 0.25 / 3), 1e-15);
}
END_TEST

START_TEST(words_as_python_counts_them)
{
    static const struct {
        const char *words;
        unsigned count;
    } cases[] = {{"", 1},
                 {"one", 1},
                 {"one two", 2},
                 {" one  two\n\n", 4},
                 {"a\xC2\xA0"
                  "b\xE3\x80\x80"
                  "c\xE2\x80\x89\xE2\x80\xA8"
                  "d",
                  4},
                 {"a\xE2\x80\x8B"
                  "b\x1F"
                  "c",
                  2},
                 {"\xC2", 1},
                 {"\xE2\x80", 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        ck_assert_uint_eq(organ_perplexity_words(cases[k].words, strlen(cases[k].words)), cases[k].count);
}
END_TEST

START_TEST(styles_by_name)
{
    organ_perplexity_style style;
    for (organ_perplexity_style k = ORGAN_STYLE_HF; k <= ORGAN_STYLE_LM_EVAL; k++) {
        ck_assert(organ_perplexity_style_parse(organ_perplexity_style_name(k), &style));
        ck_assert_int_eq(style, k);
    }
    ck_assert(!organ_perplexity_style_parse("llama", &style));
}
END_TEST

/* ---- text of generated tokens ---- */

static void expect_next(organ_text_streamer *streamer, const char *bytes, size_t count, const char *next)
{
    organ_error error = {0};
    const char *text = NULL;
    size_t length = 0;
    organ_text_streamer_add(streamer, bytes, count);
    ck_assert_int_eq(organ_text_streamer_next(streamer, &text, &length, &error), ORGAN_OK);
    ck_assert_uint_eq(length, strlen(next));
    ck_assert_mem_eq(text, next, length);
}

START_TEST(characters_come_whole)
{
    organ_text_streamer streamer;
    organ_error error = {0};
    char *text = NULL;
    ck_assert_int_eq(organ_text_streamer_open(&streamer, &error), ORGAN_OK);
    expect_next(&streamer, "a\n\tb", 4, "a\n\tb");
    expect_next(&streamer, "\xE2\x82", 2, "");
    expect_next(&streamer, "\xAC.", 2, "\xE2\x82\xAC.");
    expect_next(&streamer, "\xF0\x9F\x98", 3, "");
    expect_next(&streamer, "\x80", 1, "\xF0\x9F\x98\x80");
    expect_next(&streamer, "\x1B[1m\0", 5, "\\x1b[1m\\x00");
    expect_next(&streamer, "\xC3(", 2, "\\xc3(");                 /* not the start of a character after all */
    expect_next(&streamer, "\xE0\x80\x80", 3, "\\xe0\\x80\\x80"); /* an overlong form of NUL */
    expect_next(&streamer, "\xFF", 1, "\\xff");
    expect_next(&streamer, "\xF0\x9F", 2, "");
    organ_text_streamer_end(&streamer);
    expect_next(&streamer, "", 0, "\\xf0\\x9f");
    ck_assert_int_eq(organ_text_streamer_close(&streamer, &text, &error), ORGAN_OK);
    ck_assert_ptr_nonnull(strstr(text, "\xE2\x82\xAC.\xF0\x9F\x98\x80\\x1b"));
    free(text);
}
END_TEST

/* ---- errors from the variance between windows, computed by hand ---- */

static organ_score_windows listed(const organ_perplexity_plan *of, const size_t *numbers, size_t all)
{
    organ_score_windows windows;
    organ_error error = {0};
    ck_assert_int_eq(organ_score_windows_make(of, of->windows, numbers, all, &windows, &error), ORGAN_OK);
    return windows;
}

START_TEST(errors_between_windows)
{
    static const double values[] = {1, 2, 4, 5};
    const organ_perplexity_plan two = {
        .begin = (size_t[]){0, 3, 5}, .windows = 2, .rows = (size_t[]){0, 2, 3, 4}, .scored = 4};
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = listed(&two, NULL, 0);
    const organ_mean mean = organ_mean_between(values, &windows); /* sums of deviations: -3 and 3 */
    ck_assert_double_eq(mean.mean, 3);
    ck_assert_double_eq_tol(mean.error, sqrt(2.0 * 18) / 4, 1e-15);
    const organ_perplexity_plan one = {.begin = (size_t[]){0, 5}, .windows = 1, .rows = two.rows, .scored = 4};
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows whole = listed(&one, NULL, 0);
    ck_assert(isnan(organ_mean_between(values, &whole).error));
}
END_TEST

/* Windows 0, 2 and 6 of 8 have deviations -3, -1 and 4; interpolated, all eight have a sum of 6.5. */
START_TEST(errors_of_windows_spread_over_a_text)
{
    static const double values[] = {8, 1, 3};
    const organ_perplexity_plan three = {
        .begin = (size_t[]){0, 1, 2, 3}, .windows = 3, .rows = (size_t[]){0, 1, 2}, .scored = 3};
    ORGAN_RELEASED_BY(organ_score_windows_release)
    organ_score_windows windows = listed(&three, (size_t[]){6, 0, 2}, 8);
    const organ_mean mean = organ_mean_between(values, &windows);
    const double local = (1 - 3.0 / 8) * 3 / 2 * (4 + 25) / 2, uneven = 3 * 6.5 / 8;
    ck_assert_double_eq(mean.mean, 4);
    ck_assert_double_eq_tol(mean.error, sqrt(local + uneven * uneven) / 3, 1e-15);
    ORGAN_RELEASED_BY(organ_score_windows_release)
    organ_score_windows all = listed(&three, (size_t[]){2, 0, 1}, 3); /* none is left out: as adjacent windows */
    ck_assert_double_eq_tol(organ_mean_between(values, &all).error, sqrt(3.0 / 2 * (9 + 1 + 16)) / 3, 1e-15);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"windows", {windows_of_hf, windows_of_llama_cpp, windows_of_lm_eval, texts_that_do_not_do}},
        {"scores",
         {scores_are_those_of_the_formulas, same_bits_whatever_the_batches, a_model_beside_itself,
          models_that_do_not_do}},
        {"figures",
         {figures_by_hand, errors_between_windows, errors_of_windows_spread_over_a_text, words_as_python_counts_them,
          styles_by_name}},
        {"speech", {characters_come_whole}},
    };
    return run_suites((Suite *const[]){suite_of("perplexity", cases, sizeof cases / sizeof *cases, set_up, tear_down),
                                       window_order_suite(), NULL});
}

/* SPDX-License-Identifier: MIT
 * Tests the blocks for multi-token prediction as servers run them: logits of the first and of later drafted tokens
 * against transformers (fixtures/make_draft_golden.py), which computes each without a cache, and exact rates of
 * acceptance of a model whose probabilities follow from single tokens. */
#include "orchestrator/forward/drafting.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 24, ROWS = TOKENS - 1, WORDS = 256, EVERY = 64, KEPT = WORDS / EVERY, CHAINS = 3, DEPTH = 3 };
static const size_t chain_rows[CHAINS] = {5, 12, 19};

static const struct {
    const char *type, *fixture; /* fixture: of fixtures/architectures; NULL: fixtures/drafts/TYPE */
    unsigned blocks;
    double most; /* difference, most of it from recurrent layers of the model */
} golden_rows[] = {{"deepseek_v3", NULL, 1, 1e-5},
                   {"glm4_moe", NULL, 1, 1e-5},
                   {"mellum", NULL, 1, 1e-5},
                   {"qwen3_5_text", "qwen3_5_text-mtp", 1, 1e-5},
                   {"qwen3_next", "qwen3_next-mtp", 2, 4e-5},
                   {"ernie4_5", NULL, 1, 1e-5},
                   {"mimo", NULL, 2, 1e-5},
                   {"mimo_v2_flash", NULL, 2, 1e-5}};

/* ---- a small model with its states ---- */

typedef struct drafter {
    session s;
    arch_reference reference;
    float *hidden, *outputs; /* of each token: those of the last layer, and of block 0 */
} drafter;

static void open_drafter(drafter *d, const char *type, const char *source)
{
    organ_error error = {0};
    char fixture[100], folder[300];
    *d = (drafter){0};
    snprintf(fixture, sizeof fixture, "../drafts/%s", type);
    snprintf(folder, sizeof folder, "%s", scratch_path("model"));
    d->reference = arch_make(source ? source : fixture, folder);
    ck_assert_msg(session_open(&d->s, folder, 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_forward_open_draft(d->s.forward, &error) == ORGAN_OK, "%s", error.message);
    const size_t width = (size_t)organ_forward_describe(d->s.forward)->hidden;
    d->hidden = calloc(TOKENS * width, sizeof(float));
    d->outputs = calloc(TOKENS * width, sizeof(float));
    ck_assert(d->hidden && d->outputs);
}

static void close_drafter(drafter *d)
{
    free(d->hidden);
    free(d->outputs);
    arch_reference_free(&d->reference);
    session_close(&d->s);
}

static void run_trunk(drafter *d)
{
    organ_error error = {0};
    organ_forward *const f = d->s.forward;
    const size_t begin[2] = {0, TOKENS};
    const organ_windows windows = {.tokens = d->reference.tokens, .count = 1, .begin = begin};
    organ_layer *layer = NULL;
    ck_assert_int_eq(organ_forward_embed(f, &windows, d->hidden, &error), ORGAN_OK);
    for (unsigned k = 0; k < organ_forward_describe(f)->layers; k++) {
        ck_assert_int_eq(organ_layer_load_to_run(f, (int32_t)k, &layer, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(f, layer, &windows, d->hidden, NULL, &error), ORGAN_OK);
    }
    organ_layer_free(layer);
}

static void copy_row(void *context, size_t k, float *logits)
{
    memcpy((float *)context + k * WORDS, logits, WORDS * sizeof *logits);
}

/* Returns the largest difference, as a share of the largest logit. */
static double difference(const float *logits, const float *golden)
{
    double most = 0, largest = 1;
    for (size_t k = 0; k < KEPT; k++) {
        most = fmax(most, fabs((double)(logits[k * EVERY] - golden[k])));
        largest = fmax(largest, fabs((double)golden[k]));
    }
    return most / largest;
}

/* ---- logits ---- */

static float *read_golden(const char *type, size_t count)
{
    char path[200];
    float *const numbers = malloc((count + 1) * sizeof *numbers);
    snprintf(path, sizeof path, "fixtures/drafts/%s/golden.f32", type);
    FILE *const file = fopen(path, "rb");
    ck_assert_msg(file && numbers, "%s", path);
    ck_assert_uint_eq(fread(numbers, sizeof *numbers, count + 1, file), count);
    fclose(file);
    return numbers;
}

/* Returns the largest difference of logits of the first drafted token. */
static double first_difference(drafter *d, const float *golden)
{
    organ_error error = {0};
    organ_forward *const f = d->s.forward;
    float *const logits = malloc(ROWS * WORDS * sizeof *logits);
    size_t rows[ROWS];
    const size_t begin[2] = {0, TOKENS};
    const organ_windows windows = {.tokens = d->reference.tokens, .count = 1, .begin = begin};
    organ_layer *layer = NULL;
    double most = 0;
    ck_assert_int_eq(organ_layer_load_to_run(f, (int32_t)organ_forward_describe(f)->layers, &layer, &error), ORGAN_OK);
    ck_assert_int_eq(organ_draft_windows(f, layer, &windows, d->hidden, d->outputs, &error), ORGAN_OK);
    for (size_t k = 0; k < ROWS; k++)
        rows[k] = k;
    ck_assert_int_eq(organ_draft_logits(f, 0, d->outputs, rows, ROWS, logits, copy_row, &error), ORGAN_OK);
    for (size_t k = 0; k < ROWS; k++)
        most = fmax(most, difference(logits + k * WORDS, golden + k * KEPT));
    organ_layer_free(layer);
    free(logits);
    return most;
}

/* The golden numbers of a step are the token before it, then logits. */
static double chain_difference(drafter *d, const float *golden, unsigned steps)
{
    organ_error error = {0};
    organ_draft_cache *cache = NULL;
    float logits[WORDS];
    double most = 0;
    ck_assert_int_eq(organ_draft_cache_open(d->s.forward, TOKENS, &cache, &error), ORGAN_OK);
    ck_assert_int_eq(organ_draft_cache_fill(cache, d->reference.tokens, TOKENS, d->hidden, d->outputs, &error),
                     ORGAN_OK);
    for (size_t c = CHAINS; c-- > 0;) {
        const float *at = golden + c * steps * (KEPT + 1);
        uint32_t drafted[ORGAN_DRAFTED];
        for (unsigned step = 1; step <= steps; step++, at += KEPT + 1) {
            drafted[step - 1] = (uint32_t)at[0];
            ck_assert_int_eq(organ_draft_cache_step(cache, chain_rows[c], d->outputs + chain_rows[c] * 64, drafted,
                                                    step, logits, copy_row, &error),
                             ORGAN_OK);
            most = fmax(most, difference(logits, at + 1));
        }
    }
    organ_draft_cache_close(cache);
    return most;
}

START_TEST(logits_are_those_of_transformers)
{
    const char *const type = golden_rows[_i].type;
    const unsigned blocks = golden_rows[_i].blocks, steps = blocks > 1 ? blocks - 1 : DEPTH - 1;
    float *const golden = read_golden(type, ROWS * KEPT + CHAINS * steps * (KEPT + 1));
    drafter d;
    open_drafter(&d, type, golden_rows[_i].fixture);
    ck_assert_uint_eq(organ_forward_drafts(d.s.forward), blocks);
    ck_assert_uint_eq(organ_draft_cache_depth(d.s.forward), blocks > 1 ? blocks : ORGAN_DRAFTED);
    run_trunk(&d);
    const double first = first_difference(&d, golden), later = chain_difference(&d, golden + ROWS * KEPT, steps);
    ck_assert_msg(first <= golden_rows[_i].most && later <= golden_rows[_i].most, "%s: differences of %g and %g", type,
                  first, later);
    /* each choice of the family matters */
    for (unsigned k = 0; k < 4; k++) {
        const organ_draft_family *const right = d.s.forward->drafts[0].family;
        organ_draft_family wrong = *right;
        bool *const members[] = {&wrong.raw_state, &wrong.hidden_first, &wrong.raw_end, &wrong.raw_again};
        *members[k] = !*members[k];
        for (unsigned b = 0; b < blocks; b++)
            d.s.forward->drafts[b].family = &wrong;
        const double moved = k < 3 ? first_difference(&d, golden) : chain_difference(&d, golden + ROWS * KEPT, steps);
        ck_assert_msg(moved > 1e-2, "%s: choice %u changes logits by %g", type, k, moved);
        for (unsigned b = 0; b < blocks; b++)
            d.s.forward->drafts[b].family = right;
    }
    close_drafter(&d);
    free(golden);
}
END_TEST

/* ---- logits of the model and beside them ---- */

enum { SEVERAL = 300, EACH = SEVERAL * WORDS }; /* tokens of more than two passes over the head */

/* Copies of each token's logits, then of those beside. */
static void copy_both(void *context, size_t k, float *logits, float *beside)
{
    copy_row(context, k, logits);
    if (beside)
        memcpy((float *)context + EACH + k * WORDS, beside, WORDS * sizeof *beside);
}

/* `matrix` NULL: inputs are read by the model's head. */
static void compare_beside(drafter *d, const organ_weight *matrix, size_t room)
{
    organ_error error = {0};
    organ_forward *const f = d->s.forward;
    float *const apart = calloc(2 * EACH, sizeof *apart), *const both = calloc(2 * EACH, sizeof *both),
                 *const some = calloc(EACH, sizeof *some);
    size_t rows[SEVERAL], places[SEVERAL], inputs[SEVERAL], count = 0;
    for (size_t k = 0; k < SEVERAL; k++) {
        rows[k] = k * 7 % TOKENS;
        places[k] = k % 5 == 3 ? SIZE_MAX : k * 11 % TOKENS;
        if (places[k] != SIZE_MAX)
            inputs[count++] = places[k];
    }
    const organ_head_beside beside = {
        .matrix = matrix, .inputs = d->outputs, .places = places, .rows = room, .each = copy_both};
    ck_assert_int_eq(organ_forward_logits(f, d->hidden, rows, SEVERAL, apart, copy_row, &error), ORGAN_OK);
    ck_assert_int_eq(organ_forward_logits_of(f, matrix, d->outputs, inputs, count, some, copy_row, &error), ORGAN_OK);
    for (size_t k = 0, at = 0; k < SEVERAL; k++)
        if (places[k] != SIZE_MAX)
            memcpy(apart + EACH + k * WORDS, some + at++ * WORDS, WORDS * sizeof *some);
    ck_assert_int_eq(organ_forward_logits_beside(f, &beside, d->hidden, rows, SEVERAL, both, &error), ORGAN_OK);
    ck_assert_msg(memcmp(apart, both, 2 * EACH * sizeof *both) == 0, "%zu rows more", room);
    free(apart);
    free(both);
    free(some);
}

START_TEST(logits_beside_are_those_apart)
{
    static const size_t rooms[] = {0, 1, 77, 1000};
    drafter d;
    open_drafter(&d, "glm4_moe", NULL);
    run_trunk(&d);
    memcpy(d.outputs, d.hidden, TOKENS * 64 * sizeof *d.outputs);
    const organ_weight *const other = organ_weights_named(d.s.forward->weights, "model.embed_tokens.weight");
    ck_assert(other && other != d.s.forward->output);
    for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
        compare_beside(&d, NULL, rooms[k]);
        compare_beside(&d, other, rooms[k]);
    }
    close_drafter(&d);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("drafting");
    TCase *const goldens = tcase_create("goldens");
    tcase_add_checked_fixture(goldens, scratch_make, scratch_remove);
    tcase_add_loop_test(goldens, logits_are_those_of_transformers, 0, sizeof golden_rows / sizeof *golden_rows);
    tcase_add_test(goldens, logits_beside_are_those_apart);
    suite_add_tcase(suite, goldens);
    return run_suites((Suite *const[]){suite, acceptance_suite(), NULL});
}

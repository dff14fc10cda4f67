/* SPDX-License-Identifier: MIT
 * Tests of the divergences of variants: those of full forward passes, with the same bits for any grouping of
 * variants. */
#include "orchestrator/surgery/allocate/allocate.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/allocate/allocate_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 150, WINDOWS = 3, LAYERS = 2 };

static const char *const kinds[] = {"fixtures/forward/qwen3", "fixtures/forward/gemma2", "fixtures/forward/qwen3moe"};
static const char *const changed[] = {"self_attn.v_proj.weight", "self_attn.o_proj.weight"};
enum { KINDS = 3, CHANGED = 2, ALL = LAYERS * CHANGED };

static uint32_t tokens[TOKENS];
static const size_t begin[WINDOWS + 1] = {0, 70, 130, TOKENS};
static const organ_windows windows = {tokens, WINDOWS, begin};

static void open_model(session *s, int kind, unsigned threads)
{
    organ_error error = {0};
    for (size_t k = 0; k < TOKENS; k++)
        tokens[k] = (uint32_t)(k * k * 7 + k / 3) % 96;
    ck_assert_msg(session_open(s, kinds[kind], threads, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_ge(organ_forward_describe(s->forward)->layers, LAYERS);
}

/* Sets half of a matrix of that layer to zero. */
static void change(organ_layer *layer, int32_t number, size_t which, float **donor)
{
    char name[100];
    uint64_t rows = 0, cols = 0;
    organ_product_operand held;
    snprintf(name, sizeof name, "model.layers.%d.%s", (int)number, changed[which]);
    ck_assert_msg(organ_layer_matrix(layer, name, &rows, &cols, &held), "%s", name);
    float *const values = malloc((size_t)(rows * cols) * sizeof *values);
    *donor = malloc((size_t)(rows * cols) * sizeof *values);
    organ_layer_read(layer, name, *donor);
    for (size_t k = 0; k < rows * cols; k++)
        values[k] = k % 2 ? (*donor)[k] : 0;
    organ_layer_write(layer, name, values);
    free(values);
}

static void undo(organ_layer *layer, int32_t number, size_t which, float *donor)
{
    char name[100];
    snprintf(name, sizeof name, "model.layers.%d.%s", (int)number, changed[which]);
    organ_layer_write(layer, name, donor);
    free(donor);
}

static void measure(session *s, size_t together, double *divergence)
{
    organ_error error = {0};
    organ_variants *v = NULL;
    ck_assert_msg(organ_variants_open(s->forward, &s->engine, &windows, together, &v, &error) == ORGAN_OK, "%s",
                  error.message);
    for (int32_t l = 0; l < LAYERS; l++) {
        organ_layer *layer = NULL;
        ck_assert_int_eq(organ_layer_load(s->forward, l, &layer, &error), ORGAN_OK);
        ck_assert_int_eq(organ_variants_advance(v, l, &error), ORGAN_OK);
        for (size_t c = 0; c < CHANGED; c++) {
            float *donor = NULL;
            change(layer, l, c, &donor);
            ck_assert_int_eq(organ_variants_add(v, layer, &divergence[(size_t)l * CHANGED + c], &error), ORGAN_OK);
            undo(layer, l, c, donor);
        }
        ck_assert_int_eq(organ_variants_pass(v, layer, &error), ORGAN_OK);
        organ_layer_free(layer);
    }
    organ_variants_close(v);
}

/* ---- reference: passes through the whole model ---- */

typedef struct plain {
    float *logits;
    size_t words;
} plain;

static void keep(void *context, size_t k, float *logits)
{
    const plain *const p = context;
    memcpy(p->logits + k * p->words, logits, p->words * sizeof *logits);
}

/* Returns the logits of all tokens with that matrix of that layer changed (layer < 0: none). */
static float *whole_pass(session *s, int32_t layer, size_t which)
{
    const organ_forward_config *const c = organ_forward_describe(s->forward);
    const plain p = {malloc(TOKENS * (size_t)c->vocabulary * sizeof(float)), (size_t)c->vocabulary};
    float *const hidden = malloc(TOKENS * (size_t)c->hidden * sizeof *hidden);
    size_t rows[TOKENS];
    organ_error error = {0};
    for (size_t k = 0; k < TOKENS; k++)
        rows[k] = k;
    ck_assert_int_eq(organ_forward_embed(s->forward, &windows, hidden, &error), ORGAN_OK);
    for (int32_t l = 0; l < (int32_t)c->layers; l++) {
        organ_layer *loaded = NULL;
        float *donor = NULL;
        ck_assert_int_eq(organ_layer_load(s->forward, l, &loaded, &error), ORGAN_OK);
        if (l == layer)
            change(loaded, l, which, &donor);
        ck_assert_int_eq(organ_layer_run(s->forward, loaded, &windows, hidden, NULL, &error), ORGAN_OK);
        organ_layer_free(loaded);
        free(donor);
    }
    ck_assert_int_eq(organ_forward_logits(s->forward, hidden, rows, TOKENS, (void *)&p, keep, &error), ORGAN_OK);
    free(hidden);
    return p.logits;
}

/* ---- tests ---- */

START_TEST(divergences_are_those_of_whole_passes)
{
    session s;
    double found[ALL];
    open_model(&s, _i, 2);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    measure(&s, 3, found);
    float *const donor = whole_pass(&s, -1, 0);
    for (size_t k = 0; k < ALL; k++) {
        float *const other = whole_pass(&s, (int32_t)(k / CHANGED), k % CHANGED);
        const double requested = mean_divergence(donor, other, TOKENS, words);
        ck_assert_msg(requested > 0 && fabs(found[k] - requested) < 1e-9 + 1e-6 * requested,
                      "%s, variant %zu: %g, not %g", kinds[_i], k, found[k], requested);
        free(other);
    }
    free(donor);
    session_close(&s);
}
END_TEST

START_TEST(same_bits_however_many_together)
{
    session s;
    double one[ALL], five[ALL], many[ALL];
    open_model(&s, _i, 1);
    measure(&s, 1, one);
    session_close(&s);
    open_model(&s, _i, 5);
    measure(&s, 2, five);
    measure(&s, 50, many);
    session_close(&s);
    ck_assert_mem_eq(one, five, sizeof one);
    ck_assert_mem_eq(one, many, sizeof one);
}
END_TEST

START_TEST(a_variant_like_the_donor_costs_nothing)
{
    session s;
    organ_error error = {0};
    organ_variants *v = NULL;
    organ_layer *layer = NULL;
    double found = 7;
    open_model(&s, 0, 2);
    ck_assert_int_eq(organ_variants_open(s.forward, &s.engine, &windows, 2, &v, &error), ORGAN_OK);
    ck_assert_int_eq(organ_variants_advance(v, 1, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_load(s.forward, 1, &layer, &error), ORGAN_OK);
    ck_assert_int_eq(organ_variants_add(v, layer, &found, &error), ORGAN_OK);
    ck_assert_int_eq(organ_variants_finish(v, &error), ORGAN_OK);
    ck_assert_double_eq(found, 0);
    organ_layer_free(layer);
    organ_variants_close(v);
    session_close(&s);
}
END_TEST

START_TEST(logits_that_are_not_finite_are_refused)
{
    session s;
    organ_error error = {0};
    organ_variants *v = NULL;
    organ_layer *layer = NULL;
    double found = 7;
    open_model(&s, 0, 2);
    ck_assert_int_eq(organ_variants_open(s.forward, &s.engine, &windows, 2, &v, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_load(s.forward, 0, &layer, &error), ORGAN_OK);
    float *donor = NULL;
    change(layer, 0, 0, &donor);
    donor[3] = NAN;
    undo(layer, 0, 0, donor);
    ck_assert_int_eq(organ_variants_add(v, layer, &found, &error), ORGAN_OK);
    ck_assert_int_eq(organ_variants_finish(v, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "not finite"));
    organ_layer_free(layer);
    organ_variants_close(v);
    session_close(&s);
}
END_TEST

Suite *variants_suite(void)
{
    Suite *const suite = suite_create("variants");
    TCase *const plainly = tcase_create("divergence");
    tcase_set_timeout(plainly, 60);
    tcase_add_loop_test(plainly, divergences_are_those_of_whole_passes, 0, KINDS);
    tcase_add_loop_test(plainly, same_bits_however_many_together, 0, KINDS);
    tcase_add_test(plainly, a_variant_like_the_donor_costs_nothing);
    tcase_add_test(plainly, logits_that_are_not_finite_are_refused);
    suite_add_tcase(suite, plainly);
    return suite;
}

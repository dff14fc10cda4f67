/* SPDX-License-Identifier: MIT
 * Tests of models without some blocks: divergences and influences of full forward passes, with the same bits for any
 * grouping of sets. */
#include "orchestrator/verbs/shrink/layers_parts.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/shrink/layers_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 110, WINDOWS = 2, MAX = 8 };

static const char *const kinds[] = {"fixtures/forward/gemma3", "fixtures/forward/qwen3moe",
                                    "fixtures/forward/llama.gguf"};
enum { KINDS = 3 };

static uint32_t tokens[TOKENS];
static const size_t begin[WINDOWS + 1] = {0, 70, TOKENS};
static const organ_windows windows = {tokens, WINDOWS, begin};

static size_t open_model(session *s, int kind, unsigned threads, uint64_t memory)
{
    organ_error error = {0};
    for (size_t k = 0; k < TOKENS; k++)
        tokens[k] = (uint32_t)(k * k * 7 + k / 3) % 96;
    ck_assert_msg(session_open(s, kinds[kind], threads, memory, &error) == ORGAN_OK, "%s", error.message);
    const size_t layers = organ_forward_describe(s->forward)->layers;
    ck_assert(layers >= 3 && layers <= MAX);
    return layers;
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

static double cosine(const float *a, const float *b, size_t n)
{
    double both = 0, one = 0, other = 0;
    for (size_t k = 0; k < n; k++) {
        both += (double)a[k] * b[k];
        one += (double)a[k] * a[k];
        other += (double)b[k] * b[k];
    }
    return both / sqrt(one * other);
}

/* Returns logits of all tokens without the dropped blocks, and `influence` of the others. */
static float *whole_pass(session *s, const bool *dropped, double *influence)
{
    const organ_forward_config *const c = organ_forward_describe(s->forward);
    const size_t width = (size_t)c->hidden, floats = TOKENS * width;
    const plain p = {malloc(TOKENS * (size_t)c->vocabulary * sizeof(float)), (size_t)c->vocabulary};
    float *const hidden = malloc(floats * sizeof *hidden), *const before = malloc(floats * sizeof *before);
    size_t rows[TOKENS];
    organ_error error = {0};
    for (size_t k = 0; k < TOKENS; k++)
        rows[k] = k;
    ck_assert_int_eq(organ_forward_embed(s->forward, &windows, hidden, &error), ORGAN_OK);
    for (size_t l = 0; l < c->layers; l++) {
        organ_layer *loaded = NULL;
        if (dropped[l])
            continue;
        memcpy(before, hidden, floats * sizeof *hidden);
        ck_assert_int_eq(organ_layer_load(s->forward, (int32_t)l, &loaded, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(s->forward, loaded, &windows, hidden, NULL, &error), ORGAN_OK);
        organ_layer_free(loaded);
        influence[l] = 1;
        for (size_t t = 0; t < TOKENS; t++)
            influence[l] -= cosine(before + t * width, hidden + t * width, width) / TOKENS;
    }
    ck_assert_int_eq(organ_forward_logits(s->forward, hidden, rows, TOKENS, (void *)&p, keep, &error), ORGAN_OK);
    free(hidden);
    free(before);
    return p.logits;
}

/* ---- tests ---- */

/* Lists every set except that of all blocks: 2^layers - 1 of them. Returns the number. */
static size_t all_sets(size_t layers, bool *dropped)
{
    const size_t count = ((size_t)1 << layers) - 1;
    for (size_t k = 0; k < count; k++)
        for (size_t l = 0; l < layers; l++)
            dropped[k * layers + l] = k >> (layers - 1 - l) & 1;
    return count;
}

START_TEST(sets_are_judged_as_whole_passes)
{
    session s;
    organ_error error = {0};
    organ_layers_sets *sets = NULL;
    static bool dropped[(1 << MAX) * MAX];
    static double found[1 << MAX];
    double influence[MAX], ignored[MAX];
    const size_t layers = open_model(&s, _i, 2, ROOMY), count = all_sets(layers, dropped);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    ck_assert_msg(organ_layers_sets_open(s.forward, &s.engine, &windows, 5, &sets, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert_int_eq(organ_layers_sets_judge(sets, dropped, count, found, &error), ORGAN_OK);
    float *const donor = whole_pass(&s, dropped, influence);
    for (size_t l = 0; l < layers; l++)
        REQUIRE_MSG(fabs(organ_layers_sets_influence(sets)[l] - influence[l]) < 1e-12, "influence of %zu: %g, not %g",
                    l, organ_layers_sets_influence(sets)[l], influence[l]);
    ck_assert_double_eq(found[0], 0);
    for (size_t k = 1; k < count; k++) {
        float *const other = whole_pass(&s, dropped + k * layers, ignored);
        const double requested = mean_divergence(donor, other, TOKENS, words);
        REQUIRE_MSG(requested > 0 && fabs(found[k] - requested) < 1e-9 + 1e-6 * requested, "%s, set %zu: %g, not %g",
                    kinds[_i], k, found[k], requested);
        free(other);
    }
    free(donor);
    organ_layers_sets_close(sets);
    session_close(&s);
}
END_TEST

static void judge_with(int kind, unsigned threads, uint64_t memory, size_t max, double *found)
{
    session s;
    organ_error error = {0};
    organ_layers_sets *sets = NULL;
    static bool dropped[(1 << MAX) * MAX];
    const size_t layers = open_model(&s, kind, threads, memory), count = all_sets(layers, dropped);
    ck_assert_msg(organ_layers_sets_open(s.forward, &s.engine, &windows, max, &sets, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert_int_eq(organ_layers_sets_judge(sets, dropped, count, found, &error), ORGAN_OK);
    organ_layers_sets_close(sets);
    session_close(&s);
}

/* In the least memory, one set is judged at a time, and nothing is stored between layers. */
START_TEST(same_bits_whatever_the_memory_and_the_threads)
{
    static double one[1 << MAX], many[1 << MAX], little[1 << MAX];
    session s;
    organ_error error = {0};
    open_model(&s, _i, 1, ROOMY);
    s.engine.memory = 1 << 20;
    ck_assert_int_eq(organ_layers_sets_check(s.forward, &s.engine, &windows, &error), ORGAN_USAGE);
    const char *const enough = strstr(error.message, "; --memory ");
    ck_assert_ptr_nonnull(enough);
    const uint64_t least = strtoull(enough + strlen("; --memory "), NULL, 10) << (strchr(enough, 'M') ? 20 : 10);
    session_close(&s);
    judge_with(_i, 1, ROOMY, 1, one);
    judge_with(_i, 5, ROOMY, 64, many);
    judge_with(_i, 1, least, 64, little);
    ck_assert_mem_eq(one, many, sizeof one);
    ck_assert_mem_eq(one, little, sizeof one);
}
END_TEST

Suite *layer_sets_suite(void)
{
    Suite *const suite = suite_create("layer sets");
    TCase *const plainly = tcase_create("divergence");
    tcase_set_timeout(plainly, 60);
    tcase_add_loop_test(plainly, sets_are_judged_as_whole_passes, 0, KINDS);
    tcase_add_loop_test(plainly, same_bits_whatever_the_memory_and_the_threads, 0, KINDS);
    suite_add_tcase(suite, plainly);
    return suite;
}

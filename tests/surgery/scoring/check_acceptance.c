/* SPDX-License-Identifier: MIT
 * Tests exact rates of acceptance. Without o_proj and down_proj, and with unit norms, the model's probabilities follow
 * from the last token, and those of its block from the half of the inputs that M copies: [I|0] is the embedding of the
 * next token, so both agree; [0|I] is the state of the token before it. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/run_rig.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <organ/evaluate.h>
#include <organ/models.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 64, VOCABULARY = 256 };

/* ---- the model ---- */

static bool has(const char *name, const char *end)
{
    const size_t length = strlen(name), own = strlen(end);
    return length >= own && strcmp(name + length - own, end) == 0;
}

/* Returns the value of element k of a tensor, or `old`. `half` is the half of M that is I. */
static float value_of(const char *name, size_t k, size_t half, float old)
{
    if (has(name, "o_proj.weight") || has(name, "down_proj.weight"))
        return 0;
    if (has(name, "eh_proj.weight"))
        return k % (2 * WIDTH) == k / (2 * WIDTH) + half * WIDTH ? 1 : 0;
    return has(name, "norm.weight") ? 1 : old;
}

static void make_bigram(const char *folder, size_t half)
{
    organ_error error = {0};
    organ_model *model = NULL;
    char path[400], tokenizer[400];
    arch_reference reference = arch_make("../drafts/glm4_moe", folder);
    arch_reference_free(&reference);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", folder);
    make_tokenizer(tokenizer, VOCABULARY - 94);
    ck_assert_int_eq(organ_model_open(folder, &model, &error), ORGAN_OK);
    const int file = open(path, O_RDWR);
    ck_assert_int_ge(file, 0);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        float *const values = malloc(tensor->bytes);
        ck_assert_int_eq(pread(file, values, tensor->bytes, (off_t)tensor->offset), tensor->bytes);
        for (size_t k = 0; k < tensor->elements; k++)
            values[k] = value_of(tensor->name, k, half, values[k]);
        ck_assert_int_eq(pwrite(file, values, tensor->bytes, (off_t)tensor->offset), tensor->bytes);
        free(values);
    }
    close(file);
    organ_model_close(model);
}

/* ---- probabilities in FP64 ---- */

/* p[t][v] of the bigram: softmax of the head on the normed embedding of token t. */
static double (*probabilities(void))[VOCABULARY]
{
    arch_tensor table = {.name = "model.embed_tokens.weight"}, head = {.name = "lm_head.weight"};
    arch_shape_read(&table, "256x64");
    arch_shape_read(&head, "256x64");
    float *const rows = arch_values(&table), *const words = arch_values(&head);
    double(*const p)[VOCABULARY] = calloc(VOCABULARY, sizeof *p);
    for (size_t t = 0; t < VOCABULARY; t++) {
        double squares = 0, sum = 0;
        for (size_t k = 0; k < WIDTH; k++)
            squares += (double)rows[t * WIDTH + k] * (double)rows[t * WIDTH + k];
        for (size_t v = 0; v < VOCABULARY; v++) {
            double logit = 0;
            for (size_t k = 0; k < WIDTH; k++)
                logit += (double)rows[t * WIDTH + k] / sqrt(squares / WIDTH + 1e-5) * (double)words[v * WIDTH + k];
            sum += p[t][v] = exp(logit);
        }
        for (size_t v = 0; v < VOCABULARY; v++)
            p[t][v] /= sum;
    }
    free(rows);
    free(words);
    return p;
}

static size_t top_of(const double *p)
{
    size_t top = 0;
    for (size_t v = 1; v < VOCABULARY; v++)
        top = p[v] > p[top] ? v : top;
    return top;
}

/* ---- the runs ---- */

static json_t *run(const char *folder, const char *text, uint64_t memory, size_t threads)
{
    organ_perplexity_options o = organ_perplexity_defaults();
    run_engine room;
    organ_error error = {0};
    json_t *report = NULL;
    o.model = folder;
    o.max_error = 0;
    o.experiment.text = text;
    o.experiment.context = 32;
    o.mtp = true;
    o.continuations = 3;
    run_engine_open(&room, (run_way){.memory = memory, .threads = threads});
    ck_assert_msg(organ_perplexity(&o, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    run_engine_close(&room);
    json_t *const mtp = json_incref(json_object_get(json_array_get(json_object_get(report, "models"), 0), "mtp"));
    json_decref(report);
    return mtp;
}

static double number(const json_t *mtp, const char *part, const char *name)
{
    const json_t *const value = json_object_get(json_object_get(mtp, part), name);
    ck_assert_msg(json_is_number(value), "%s of %s", name, part);
    return json_number_value(value);
}

/* The tokenizer has one token for each of these characters: '!' is 0. */
static const char *make_text(uint32_t *tokens, size_t count)
{
    const char *const path = scratch_path("text");
    FILE *const file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (size_t k = 0; k < count; k++) {
        tokens[k] = (uint32_t)((k * k * 31 + k * 7 + k / 5) % 25) * 2;
        fputc('!' + (int)tokens[k], file);
    }
    fclose(file);
    return path;
}

START_TEST(rates_are_exact)
{
    enum { COUNT = 300, CONTEXT = 32 };
    const size_t half = (size_t)_i;
    char folder[300];
    uint32_t tokens[COUNT];
    double overlap = 0, chosen = 0, greedy = 0;
    size_t drafts = 0;
    snprintf(folder, sizeof folder, "%s", scratch_path("bigram"));
    make_bigram(folder, half);
    const char *const text = make_text(tokens, COUNT);
    double(*const p)[VOCABULARY] = probabilities();
    json_t *const mtp = run(folder, text, 64 << 20, 2);
    /* input k of a window, but the first, predicts a token by p, and the block predicts it by q */
    for (size_t k = 0; k + 1 < COUNT; k++) {
        if (k % CONTEXT == 0 || k % CONTEXT == CONTEXT - 1)
            continue;
        const double *const own = p[tokens[k]], *const q = p[tokens[half ? k - 1 : k]];
        for (size_t v = 0; v < VOCABULARY; v++)
            overlap += fmin(own[v], q[v]);
        chosen += own[top_of(q)];
        greedy += top_of(own) == top_of(q);
        drafts++;
    }
    ck_assert_uint_eq((size_t)number(mtp, "text", "drafts"), drafts);
    ck_assert_double_eq_tol(number(mtp, "text", "overlap"), overlap / (double)drafts, 3e-5);
    ck_assert_double_eq_tol(number(mtp, "text", "chosen"), chosen / (double)drafts, 3e-5);
    ck_assert_double_eq_tol(number(mtp, "text", "greedy"), greedy / (double)drafts, 1e-9);
    ck_assert(half ? overlap < 0.5 * (double)drafts : overlap > 0.99999 * (double)drafts);
    if (!half)
        ck_assert_double_eq_tol(number(mtp, "continuations", "accepted_length"), 9, 1e-9);
    else
        ck_assert_double_lt(number(mtp, "continuations", "accepted_length"), 8.9);
    json_t *const other = run(folder, text, 8 << 20, 1);
    ck_assert(json_equal(mtp, other));
    json_decref(other);
    json_decref(mtp);
    free(p);
}
END_TEST

Suite *acceptance_suite(void)
{
    Suite *const suite = suite_create("acceptance");
    TCase *const rates = tcase_create("rates");
    tcase_add_checked_fixture(rates, scratch_make, scratch_remove);
    tcase_add_loop_test(rates, rates_are_exact, 0, 2);
    suite_add_tcase(suite, rates);
    return suite;
}

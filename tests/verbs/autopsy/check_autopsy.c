/* SPDX-License-Identifier: MIT
 * Tests of autopsy as a library: the numbers, each kind of damage found and explained, no finding in healthy models,
 * bit identity. */
#include "tests/verbs/autopsy/autopsy_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATE  "model.layers.0.mlp.gate_proj.weight"
#define UP    "model.layers.0.mlp.up_proj.weight"
#define EMBED "model.embed_tokens.weight"

enum { EDGE = 1024, MATRIX = EDGE * EDGE };

/* ---- one tensor for each kind of damage ---- */

typedef void spoiler(float *v, samples *random);

static void leave(float *v, samples *random) { (void)v, (void)random; }

static void one_nan(float *v, samples *random) { (void)random, v[5 * EDGE + 7] = NAN; }

static void one_infinity(float *v, samples *random) { (void)random, v[MATRIX - 1] = -INFINITY; }

static void all_nan(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = NAN;
}

static void times(float *v, float factor)
{
    for (size_t k = 0; k < MATRIX; k++)
        v[k] *= factor;
}

static void zeros(float *v, samples *random) { (void)random, memset(v, 0, MATRIX * sizeof *v); }

static void constant(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = 0.02f;
}

/* Rounds to the nearest value with three bits of mantissa; the largest is 448. */
static void fp8_codes(float *v, samples *random)
{
    (void)random;
    float max = 0;
    for (size_t k = 0; k < MATRIX; k++)
        max = fmaxf(max, fabsf(v[k]));
    for (size_t k = 0; k < MATRIX; k++) {
        int exponent;
        const float fraction = frexpf(v[k] * (448.0f / max), &exponent);
        v[k] = ldexpf(rintf(fraction * 16) / 16, exponent);
    }
}

static void integer_codes(float *v, float step, float least, float max)
{
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = fminf(fmaxf(rintf(v[k] / step), least), max);
}

static void int4_codes(float *v, samples *random) { (void)random, integer_codes(v, 0.01f, -8, 7); }

static void unsigned_codes(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = fminf(fmaxf(rintf(v[k] / 0.01f) + 8, 0), 15);
}

static void int8_codes(float *v, samples *random) { (void)random, integer_codes(v, 0.001f, -127, 127); }

static void ternary_codes(float *v, samples *random) { (void)random, integer_codes(v, 0.03f, -1, 1); }

static void fp4_codes(float *v, samples *random)
{
    static const float codes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    (void)random;
    for (size_t k = 0; k < MATRIX; k++) {
        size_t best = 0;
        for (size_t c = 0; c < 8; c++)
            best = fabsf(fabsf(v[k]) * 90 - codes[c]) < fabsf(fabsf(v[k]) * 90 - codes[best]) ? c : best;
        v[k] = copysignf(codes[best], v[k]);
    }
}

static void exploded_spread(float *v, samples *random) { (void)random, times(v, 2000); }

static void exploded_mean(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] += 5;
}

static void too_wide(float *v, samples *random) { (void)random, times(v, 100); }

static void vanished(float *v, samples *random) { (void)random, times(v, 1e-4f); }

static void flipped_bit(float *v, samples *random) { (void)random, v[77777] = 1e20f; }

static void uniform(float *v, samples *random)
{
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = 0.1f * ((float)samples_uniform(random) - 0.5f);
}

static void zero_point_off(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] += 0.4f * 0.03f;
}

/* Rounds to that many levels with one scale. */
static void quantised(float *v, float levels)
{
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = fminf(fmaxf(rintf(v[k] / 0.11f * levels), -levels / 2), levels / 2 - 1) * 0.11f / levels;
}

static void sixteen_levels(float *v, samples *random) { (void)random, quantised(v, 16); }

static void many_levels(float *v, samples *random) { (void)random, quantised(v, 200); }

/* Multiplies every block of values by its own wrong scale. */
static void blocks(float *v, samples *random, size_t edge)
{
    float factors[EDGE / 64];
    for (size_t r = 0; r < EDGE; r++)
        for (size_t c = 0; c < EDGE; c++) {
            if (r % edge == 0 && c == 0)
                for (size_t b = 0; b < EDGE / edge; b++)
                    factors[b] = samples_bits(random) % 2 ? 0.5f : 1.5f;
            v[r * EDGE + c] *= factors[c / edge];
        }
}

static void blocks_128(float *v, samples *random) { blocks(v, random, 128); }

static void blocks_64(float *v, samples *random) { blocks(v, random, 64); }

static void dead_rows(float *v, samples *random)
{
    (void)random;
    for (size_t r = 0; r < EDGE; r += 10)
        memset(v + r * EDGE, 0, EDGE * sizeof *v);
}

static void dead_columns(float *v, samples *random)
{
    (void)random;
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = k % EDGE % 10 == 3 ? 0 : v[k];
}

static void unwritten_end(float *v, samples *random)
{
    (void)random, memset(v + MATRIX / 2, 0, MATRIX / 2 * sizeof *v);
}

static void one_dead_row(float *v, samples *random) { (void)random, memset(v + 7 * EDGE, 0, EDGE * sizeof *v); }

static void pruned(float *v, samples *random)
{
    for (size_t k = 0; k < MATRIX; k++)
        v[k] = samples_bits(random) % 2 ? 0 : v[k];
}

static const struct fault {
    const char *name;
    spoiler *spoil;
    const char *tensor;          /* the tensor with spoiled values */
    const char *found, *remarks; /* kinds; "expected" is checked separately */
    const char *says;            /* part of the value or cause of the first finding */
} faults[] = {
    {"healthy", leave, UP, "", "", NULL},
    {"one NaN", one_nan, UP, "not_finite", "", "1 NaN, 0 infinite, in 1 of 1024 rows: 5"},
    {"one infinity", one_infinity, UP, "not_finite", "", "0 NaN, 1 infinite, in 1 of 1024 rows: 1023"},
    {"NaN everywhere", all_nan, UP, "not_finite", "", "in 1024 of 1024 rows: 0, 1, 2, 3 and 1020 more"},
    {"zeros", zeros, UP, "all_zero", "", "never loaded or written"},
    {"constant", constant, UP, "constant", "", "never trained or loaded"},
    {"FP8 codes", fp8_codes, UP, "codes", "", "codes were read as values, without their scales"},
    {"INT4 codes", int4_codes, UP, "codes", "", "whole numbers from -8 to 7: INT4"},
    {"unsigned INT4 codes", unsigned_codes, UP, "codes", "", "whole numbers from 0 to 15: INT4"},
    {"INT8 codes", int8_codes, UP, "codes", "", "INT8 codes"},
    {"ternary codes", ternary_codes, UP, "codes", "", "ternary"},
    {"FP4 codes", fp4_codes, UP, "codes", "", "FP4 (E2M1)"},
    {"exploded spread", exploded_spread, UP, "exploded", "",
     "one scale for the whole tensor instead of one for each block"},
    {"exploded mean", exploded_mean, UP, "exploded", "", "exploded mean"},
    {"too wide", too_wide, UP, "range", "", "applied twice"},
    {"vanished", vanished, UP, "range", "", "vanished"},
    {"a flipped bit", flipped_bit, UP, "exploded", "", "flipped bits"},
    {"uniform", uniform, UP, "flat", "", "order of nibbles"},
    {"zero point off", zero_point_off, UP, "biased", "", "zero point was off by one"},
    {"16 levels", sixteen_levels, UP, "few_levels", "", "16 distinct values"},
    {"200 levels", many_levels, UP, "", "few_levels", "distinct values"},
    {"scales of other blocks", blocks_128, UP, "blocks", "", "at multiples of 128 rows and columns"},
    {"blocks of 64", blocks_64, UP, "blocks", "", "at multiples of 64 rows and columns"},
    {"dead rows", dead_rows, UP, "dead_rows", "", "103 of 1024 rows, from 0 to 1020"},
    {"dead columns", dead_columns, UP, "dead_columns", "", "103 of 1024 columns"},
    {"a hole at the end", unwritten_end, UP, "dead_rows", "", "download"},
    {"one dead row", one_dead_row, UP, "", "dead_rows", "1 of 1024 rows"},
    {"pruned", pruned, UP, "", "zeros", "It was pruned"},
    {"padded vocabulary", dead_rows, EMBED, "", "dead_rows", "normal in embeddings"},
};

static const char *without_expected(const char *kinds)
{
    static char text[256];
    snprintf(text, sizeof text, "%s", kinds);
    char *const at = strstr(text, "expected");
    if (at)
        memmove(at, at + strlen("expected") + (at[8] == ' '), strlen(at + strlen("expected") + (at[8] == ' ')) + 1);
    const size_t length = strlen(text);
    if (length && text[length - 1] == ' ')
        text[length - 1] = '\0';
    return text;
}

/* Writes a model with one spoiled matrix. The healthy values are made once. */
static void write_spoiled(const char *path, const struct fault *f, organ_dtype dtype)
{
    static const char *const names[] = {EMBED, UP, GATE};
    static float *healthy;
    samples random = {4242};
    rig_tensor tensors[3];
    healthy = healthy ? healthy : rig_normal(1, MATRIX, 0.03f);
    float *const spoiled = malloc(MATRIX * sizeof *spoiled);
    memcpy(spoiled, healthy, MATRIX * sizeof *spoiled);
    f->spoil(spoiled, &random);
    uint16_t *const words[] = {rig_bf16(healthy, MATRIX), rig_bf16(spoiled, MATRIX)};
    for (size_t k = 0; k < 3; k++) {
        const bool sick = strcmp(names[k], f->tensor) == 0;
        const float *const floats = sick ? spoiled : healthy;
        tensors[k] = (rig_tensor){
            names[k], dtype, 2, {sick ? EDGE : 64, EDGE}, dtype == ORGAN_F32 ? (const void *)floats : words[sick]};
    }
    rig_write(path, tensors, 3);
    free(words[0]);
    free(words[1]);
    free(spoiled);
}

static void examine(const struct fault *f, organ_dtype dtype)
{
    organ_error error;
    const char *const path = scratch_path("model.safetensors");
    write_spoiled(path, f, dtype);
    const organ_status status = autopsy(path, (autopsy_way){0}, &error);
    ck_assert_msg(status == (*f->found ? ORGAN_CHECK_FAILED : ORGAN_OK), "%s: status %d: %s", f->name, (int)status,
                  error.message);
    ck_assert_int_eq(json_is_true(json_object_get(autopsy_result, "healthy")), !*f->found);
    ck_assert_str_eq(found(GATE), "");
    ck_assert_msg(strcmp(found(f->tensor), f->found) == 0, "%s: found '%s', not '%s'", f->name, found(f->tensor),
                  f->found);
    ck_assert_msg(strcmp(without_expected(remarked(f->tensor)), f->remarks) == 0, "%s: remarked '%s', not '%s'",
                  f->name, without_expected(remarked(f->tensor)), f->remarks);
    if (!f->says)
        return;
    const json_t *const row = finding_of(f->tensor, *f->found ? f->found : f->remarks);
    char *const all = json_dumps(row, 0);
    ck_assert_msg(strstr(all, f->says) != NULL, "%s: %s does not say '%s'", f->name, all, f->says);
    ck_assert_ptr_nonnull(strstr(all, "--select"));
    free(all);
}

START_TEST(each_sickness_is_found_and_explained)
{
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
        examine(&faults[k], ORGAN_BF16);
}
END_TEST

/* The findings do not depend on bits that BF16 rounds away. */
START_TEST(the_type_does_not_matter)
{
    static const char *const names[] = {"healthy", "FP8 codes",    "scales of other blocks",
                                        "uniform", "dead columns", "one NaN"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
            if (strcmp(faults[k].name, names[n]) == 0)
                examine(&faults[k], ORGAN_F32);
}
END_TEST

/* ---- reported numbers ---- */

static double number(const char *tensor, const char *key)
{
    return json_number_value(json_object_get(numbers_of(tensor), key));
}

START_TEST(numbers_are_those_of_the_definition)
{
    enum { ROWS = 37, COLS = 129, N = ROWS * COLS };
    float *const v = rig_normal(9, N, 0.05f);
    double sum = 0, m2 = 0, m4 = 0, least = 0, max = 0;
    organ_error error;
    for (size_t k = 0; k < ROWS; k++)
        v[k * COLS + 64] = k % 2 ? 0.0f : -0.0f;
    memset(v + 3 * COLS, 0, COLS * sizeof *v);
    for (size_t k = 0; k < N; k++)
        sum += (double)v[k];
    for (size_t k = 0; k < N; k++) {
        const double d = (double)v[k] - sum / N;
        m2 += d * d;
        m4 += d * d * d * d;
        least = fmin(least, (double)v[k]);
        max = fmax(max, (double)v[k]);
    }
    const rig_tensor tensors[] = {{UP, ORGAN_F32, 2, {ROWS, COLS}, v}};
    rig_write(scratch_path("m.safetensors"), tensors, 1);
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){0}, &error), ORGAN_OK);
    ck_assert_double_eq_tol(number(UP, "mean"), sum / N, 1e-12);
    ck_assert_double_eq_tol(number(UP, "std"), sqrt(m2 / N), 1e-12);
    ck_assert_double_eq_tol(number(UP, "kurtosis"), N * m4 / (m2 * m2) - 3, 1e-9);
    ck_assert_double_eq(number(UP, "min"), least);
    ck_assert_double_eq(number(UP, "max"), max);
    ck_assert_int_eq((int)number(UP, "zero"), ROWS + COLS - 1);
    ck_assert_int_eq((int)number(UP, "dead_rows"), 1);
    ck_assert_int_eq((int)number(UP, "dead_columns"), 1);
    ck_assert_str_eq(json_string_value(json_object_get(numbers_of(UP), "levels")), "more than 4096");
    free(v);
}
END_TEST

/* Exactly n distinct values, in F32 with and without a lower half, in F16 and in BF16. */
START_TEST(levels_are_exact_up_to_the_limit)
{
    static const unsigned counts[] = {1, 2, 255, 4095, 4096, 4097};
    enum { N = 3 * 5000 };
    static float values[N];
    static uint16_t words[N];
    organ_error error;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int type = 0; type < 4; type++) {
            for (size_t k = 0; k < N; k++) {
                const uint32_t level = (uint32_t)(k % counts[c]),
                               bits = type == 0 ? 0x3d000001u + level * 7 : (0x2000u + level) << 16;
                words[k] = (uint16_t)((type == 2 ? 0x1000u : 0x2000u) + level);
                memcpy(&values[k], &bits, sizeof bits);
            }
            const rig_tensor tensors[] = {{"x",
                                           (organ_dtype[]){ORGAN_F32, ORGAN_F32, ORGAN_F16, ORGAN_BF16}[type],
                                           2,
                                           {3, 5000},
                                           type < 2 ? (void *)values : words}};
            rig_write(scratch_path("m.safetensors"), tensors, 1);
            autopsy(scratch_path("m.safetensors"), (autopsy_way){.threads = 3}, &error);
            const json_t *const levels = json_object_get(numbers_of("x"), "levels");
            if (counts[c] <= 4096)
                ck_assert_int_eq(json_integer_value(levels), counts[c]);
            else
                ck_assert_str_eq(json_string_value(levels), "more than 4096");
        }
}
END_TEST

/* Each matrix of a stack is examined alone: a column that is dead in only one of them counts once. */
START_TEST(stacks_are_matrices)
{
    enum { N = 3 * 20 * 16 };
    float *const v = rig_normal(3, N, 0.03f);
    organ_error error;
    for (size_t r = 0; r < 20; r++)
        v[(20 + r) * 16 + 5] = 0;
    memset(v + 59 * 16, 0, 16 * sizeof *v);
    const rig_tensor tensors[] = {{"model.layers.0.mlp.experts.gate_up_proj", ORGAN_F32, 3, {3, 20, 16}, v}};
    rig_write(scratch_path("m.safetensors"), tensors, 1);
    autopsy(scratch_path("m.safetensors"), (autopsy_way){0}, &error);
    ck_assert_int_eq((int)number(tensors[0].name, "dead_columns"), 1);
    ck_assert_int_eq((int)number(tensors[0].name, "dead_rows"), 1);
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_object_get(finding_of(tensors[0].name, "dead_rows"), "value")), "from 59 to 59"));
    free(v);
}
END_TEST

START_TEST(small_and_empty_tensors)
{
    static const float one[] = {0.5f}, none[] = {0}, nan[] = {NAN, NAN}, zero[] = {0, 0};
    static const uint8_t bytes[] = {0, 1, 1, 0};
    organ_error error;
    const rig_tensor tensors[] = {{"a.norm.weight", ORGAN_F32, 1, {0}, none},
                                  {"b.weight", ORGAN_F32, 2, {0, 7}, none},
                                  {"c.weight", ORGAN_F32, 2, {7, 0}, none},
                                  {"d", ORGAN_F32, 0, {0}, one},
                                  {UP, ORGAN_F32, 2, {1, 1}, one},
                                  {"e", ORGAN_F32, 1, {2}, nan},
                                  {"model.layers.0.self_attn.q_proj.bias", ORGAN_F32, 1, {2}, zero},
                                  {"mask", ORGAN_BOOL, 1, {4}, bytes},
                                  {"phase", ORGAN_C64, 1, {0}, none}};
    rig_write(scratch_path("m.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){0}, &error), ORGAN_CHECK_FAILED);
    ck_assert_str_eq(remarked("a.norm.weight"), "unread");
    ck_assert_str_eq(remarked("b.weight"), "unread");
    ck_assert_str_eq(remarked("c.weight"), "unread");
    ck_assert_str_eq(remarked("phase"), "unread");
    ck_assert_double_eq(number("d", "mean"), 0.5);
    ck_assert_double_eq(number("d", "std"), 0);
    ck_assert_double_eq(number(UP, "std"), 0);
    ck_assert_str_eq(found(UP), "");
    ck_assert_str_eq(found("e"), "not_finite");
    ck_assert(json_is_null(json_object_get(numbers_of("e"), "mean")));
    ck_assert_str_eq(found("model.layers.0.self_attn.q_proj.bias"), "");
    ck_assert_str_eq(remarked("model.layers.0.self_attn.q_proj.bias"), "all_zero");
    ck_assert_double_eq(number("mask", "mean"), 0.5);
    ck_assert_ptr_nonnull(strstr(error.message, "tensor 'e'"));
}
END_TEST

/* ---- bit identity ---- */

static json_t *steady(void)
{
    json_t *const copy = json_deep_copy(autopsy_result);
    json_object_del(copy, "run");
    return copy;
}

/* Many strips, also of a stack, and small tensors between them: equal for any number of threads, any memory and every
 * instruction set. */
START_TEST(the_report_is_the_same_whatever_the_way)
{
    enum { COLS = 1200 };
    const size_t rows = sampled_unless_all(2500, 1250, 1250), n = rows * COLS;
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    static const unsigned threads[] = {1, 2, 5};
    float *const v = rig_normal(17, n, 0.03f);
    uint16_t *const w = rig_bf16(v, n);
    organ_error error;
    const char *why;
    json_t *first = NULL;
    const rig_tensor tensors[] = {{UP, ORGAN_F32, 2, {rows, COLS}, v},
                                  {"model.norm.weight", ORGAN_BF16, 1, {COLS}, w},
                                  {GATE, ORGAN_BF16, 2, {rows, COLS}, w},
                                  {"model.layers.1.mlp.experts.gate_up_proj", ORGAN_BF16, 3, {3, rows / 5, 2000}, w},
                                  {"model.layers.0.mlp.down_proj.weight", ORGAN_F16, 2, {COLS, rows}, w}};
    v[n - 3] = NAN;
    rig_write(scratch_path("m.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    const size_t counts = sampled_unless_all(sizeof threads / sizeof *threads, 2, 2);
    for (int other = 0; other < 2; other++) {
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
            for (size_t t = first && counts == 2; t < counts && organ_kernels_choose(organ_cpu_detect(), isas[i], &why);
                 t++) {
                const autopsy_way way = {.isa = isas[i],
                                         .threads = threads[t],
                                         .memory = (uint64_t)(t == 1 ? 24 : 200) << 20,
                                         .other = other ? scratch_path("m.safetensors") : NULL};
                autopsy(scratch_path("m.safetensors"), way, &error);
                json_t *const now = steady();
                if (!first)
                    first = json_incref(now);
                ck_assert_msg(json_equal(first, now), "%s with %u threads", isas[i], threads[t]);
                json_decref(now);
            }
        json_decref(first);
        first = NULL;
    }
    free(v);
    free(w);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"sickness", {each_sickness_is_found_and_explained, the_type_does_not_matter}},
        {"numbers",
         {numbers_are_those_of_the_definition, levels_are_exact_up_to_the_limit, stacks_are_matrices,
          small_and_empty_tensors}},
        {"ways", {the_report_is_the_same_whatever_the_way}},
    };
    Suite *suites[] = {suite_of("autopsy", cases, sizeof cases / sizeof *cases, autopsy_setup, autopsy_teardown),
                       autopsy_packed_suite(),
                       autopsy_faults_suite(),
                       autopsy_scales_suite(),
                       autopsy_changes_suite(),
                       NULL};
    return run_suites(suites);
}

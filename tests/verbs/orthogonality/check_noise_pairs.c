/* SPDX-License-Identifier: MIT
 * Tests of the noises of two pairs: equal, unrelated and scaled ones, the formulas in FP64, bit identity, errors. */
#include <organ/report.h>
#include <organ/inspect.h>
#include "tests/verbs/orthogonality/orthogonality_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q "model.layers.0.self_attn.q_proj"
#define K "model.layers.0.self_attn.k_proj"
#define V "model.layers.1.self_attn.v_proj"

/* Values of the first pair: the rig's modules then become those of the second. */
static float *first_clean[RIG_MODULES], *first_noisy[RIG_MODULES];

static float *copy_of(const float *values, size_t count)
{
    float *const copy = malloc((count + 1) * sizeof *copy);
    ck_assert_ptr_nonnull(copy);
    return memcpy(copy, values, count * sizeof *copy);
}

/* Writes the first pair as a_clean and a_noisy, and the adapter. Then makes N_B = factor N_A + own times another noise,
 * around another clean model, and writes it as clean and noisy, with noisy2 for a tuned model. */
static void write_pairs(double factor, double own)
{
    rig_write(3, NULL);
    rename(scratch_path("clean.safetensors"), scratch_path("a_clean.safetensors"));
    rename(scratch_path("noisy.safetensors"), scratch_path("a_noisy.safetensors"));
    for (size_t k = 0; k < rig_count; k++) {
        rig_module *const m = &rig_modules[k];
        const size_t count = m->rows * m->cols;
        first_clean[k] = copy_of(m->clean, count);
        first_noisy[k] = copy_of(m->noisy[0], count);
        for (size_t j = 0; j < count; j++) {
            const double a = (double)m->clean[j] - (double)m->noisy[0][j],
                         b = (double)m->clean[j] - (double)m->noisy[1][j];
            m->clean[j] += (float)(0.02 * rig_normal());
            m->noisy[0][j] = (float)((double)m->clean[j] - factor * a - own * b);
            m->noisy[1][j] = m->clean[j] + (float)(0.03 * rig_normal());
        }
    }
    rig_write(3, NULL);
}

static void forget_first(void)
{
    for (size_t k = 0; k < RIG_MODULES; k++) {
        free(first_clean[k]);
        free(first_noisy[k]);
        first_clean[k] = first_noisy[k] = NULL;
    }
}

static void teardown(void)
{
    forget_first();
    rig_teardown();
}

typedef struct pairs_way {
    organ_noise_pairs_options options;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
} pairs_way;

static organ_status pairs_run(pairs_way way, organ_error *error)
{
    run_engine room;
    organ_noise_pairs_options o = way.options;
    *error = (organ_error){0};
    o.clean[0] = o.clean[0] ? o.clean[0] : scratch_path("a_clean.safetensors");
    o.noisy[0] = o.noisy[0] ? o.noisy[0] : scratch_path("a_noisy.safetensors");
    o.clean[1] = o.clean[1] ? o.clean[1] : scratch_path("clean.safetensors");
    o.noisy[1] = o.noisy[1] ? o.noisy[1] : scratch_path("noisy.safetensors");
    o.draws = o.draws ? o.draws : 100;
    json_decref(rig_result);
    rig_result = NULL;
    run_engine_open(&room, (run_way){.threads = way.threads, .memory = way.memory, .stop = way.stop});
    const organ_status status = organ_noise_pairs(&o, &room.engine, NULL, &rig_result, error);
    run_engine_close(&room);
    ck_assert_int_eq(status, error->status);
    ck_assert_msg((rig_result != NULL) == (status == ORGAN_OK), "a report and status %d", (int)status);
    return status;
}

static void pairs_must(pairs_way way)
{
    organ_error error;
    ck_assert_msg(pairs_run(way, &error) == ORGAN_OK, "%s", error.message);
}

static bool verdict_says(const char *words)
{
    char *const text = json_dumps(organ_json_at(rig_result, "verdict.sentences"), 0);
    const bool there = text && strstr(text, words);
    free(text);
    return there;
}

/* ---- noises with a known relation ---- */

START_TEST(equal_noises_cancel)
{
    rig_add(Q, 60, 70, 5);
    rig_add(V, 40, 90, 5);
    write_pairs(1, 0);
    pairs_must((pairs_way){0});
    const json_t *const total = organ_json_at(rig_result, "total");
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "holds");
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.noises"), "alike");
    ck_assert_double_eq_tol(rig_number(total, "cosine"), 1, 1e-5);
    ck_assert_double_eq_tol(rig_number(total, "factor"), 1, 1e-5);
    ck_assert_double_lt(rig_number(total, "remains_to_noise_a"), 1e-4);
    ck_assert_double_eq_tol(rig_number(total, "cancelled"), 1, 1e-5);
}
END_TEST

START_TEST(unrelated_noises_add_up)
{
    rig_add(Q, 160, 170, 5);
    rig_add(V, 140, 190, 5);
    write_pairs(0, 1);
    pairs_must((pairs_way){0});
    const json_t *const total = organ_json_at(rig_result, "total");
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "does not hold");
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.noises"), "unrelated");
    ck_assert_double_lt(fabs(rig_number(total, "z")), 4);
    ck_assert_double_eq_tol(rig_number(total, "remains_to_noise_a"), sqrt(2), 0.02);
    ck_assert_double_eq_tol(rig_number(total, "cancelled"), 0, 0.02);
    ck_assert_double_lt(rig_number(total, "explained"), 1e-3);
}
END_TEST

START_TEST(scaled_noises_are_a_multiple)
{
    rig_add(Q, 60, 70, 5);
    write_pairs(2.5, 0);
    pairs_must((pairs_way){0});
    const json_t *const total = organ_json_at(rig_result, "total");
    ck_assert_double_eq_tol(rig_number(total, "cosine"), 1, 1e-5);
    ck_assert_double_eq_tol(rig_number(total, "factor"), 2.5, 1e-4);
    ck_assert_double_eq_tol(rig_number(total, "explained"), 1, 1e-5);
    ck_assert_double_eq_tol(rig_number(total, "remains_to_noise_a"), 1.5, 1e-4);
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "does not hold");
    ck_assert(verdict_says("different norms"));
}
END_TEST

START_TEST(half_alike_noises_cancel_in_part)
{
    rig_add(Q, 60, 70, 5);
    write_pairs(0.7, 0.5);
    pairs_must((pairs_way){0});
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "holds in part");
}
END_TEST

/* ---- the plain formulas ---- */

typedef struct plain {
    double weight, a, b, between, rest, d, ad, bd, rd;
} plain;

/* Returns one element of a change. kind: 0 the clean models, 1 the tuned model, 2 the adapter. */
static double change_at(const rig_module *m, size_t index, int kind, size_t at)
{
    if (kind < 2)
        return (double)(kind ? m->noisy[1][at] : m->clean[at]) - (double)first_clean[index][at];
    double sum = 0;
    for (size_t k = 0; k < m->rank; k++)
        sum += (double)m->b[at / m->cols * m->rank + k] * (double)m->a[k * m->cols + at % m->cols];
    return sum * 3 / (double)rig_modules[0].rank;
}

static plain formulas(size_t index, int kind)
{
    const rig_module *const m = &rig_modules[index];
    plain p = {0};
    for (size_t j = 0; j < m->rows * m->cols; j++) {
        const double clean = (double)first_clean[index][j], a = clean - (double)first_noisy[index][j];
        const double b = (double)m->clean[j] - (double)m->noisy[0][j], d = change_at(m, index, kind, j);
        p.weight += clean * clean;
        p.a += a * a;
        p.b += b * b;
        p.between += a * b;
        p.rest += (a - b) * (a - b);
        p.d += d * d;
        p.ad += a * d;
        p.bd += b * d;
        p.rd += (a - b) * d;
    }
    return p;
}

static void near(const json_t *row, const char *key, double expected)
{
    const double got = rig_number(row, key);
    ck_assert_msg(fabs(got - expected) <= 2e-6 * fmax(1, fabs(expected)), "%s is %.9g, not %.9g", key, got, expected);
}

static void compare(const json_t *row, const plain *p)
{
    near(row, "noise_a", sqrt(p->a));
    near(row, "noise_b", sqrt(p->b));
    near(row, "noise_a_to_weight", sqrt(p->a / p->weight));
    near(row, "cosine", p->between / sqrt(p->a * p->b));
    near(row, "factor", p->between / p->a);
    near(row, "explained", p->between * p->between / (p->a * p->b));
    near(row, "remains", sqrt(p->rest));
    near(row, "remains_to_noise_a", sqrt(p->rest / p->a));
    near(row, "remains_to_noise_b", sqrt(p->rest / p->b));
    near(row, "cancelled", 1 - p->rest / (p->a + p->b));
    near(row, "change", sqrt(p->d));
    near(row, "remains_to_change", sqrt(p->rest / p->d));
    near(row, "noise_b_to_change", sqrt(p->b / p->d));
    near(row, "with_change.noise_a.cosine", p->ad / sqrt(p->a * p->d));
    near(row, "with_change.noise_b.cosine", p->bd / sqrt(p->b * p->d));
    near(row, "with_change.remains.cosine", p->rd / sqrt(p->rest * p->d));
}

START_TEST(numbers_are_those_of_the_formulas)
{
    rig_add(K, 33, 257, 4);
    rig_add(Q, 96, 201, 4);
    rig_add(V, 70, 41, 4);
    write_pairs(0.4, 0.8);
    const char *const changes[] = {NULL, scratch_path("noisy2.safetensors"), scratch_path("adapter")};
    static const char *const names[] = {"clean models", "tuned model", "adapter"};
    for (int kind = 0; kind < 3; kind++) {
        plain sum = {0};
        pairs_must((pairs_way){.options = {.change = changes[kind]}});
        ck_assert_str_eq(organ_json_text(rig_result, "change.of"), names[kind]);
        ck_assert_uint_eq(json_array_size(organ_json_at(rig_result, "modules")), 3);
        for (size_t k = 0; k < 3; k++) {
            const json_t *const row = json_array_get(organ_json_at(rig_result, "modules"), k);
            size_t index = 0;
            while (strcmp(rig_modules[index].name, organ_json_text(row, "module")) != 0)
                index++;
            const plain p = formulas(index, kind);
            const double n = (double)(rig_modules[index].rows * rig_modules[index].cols),
                         cosine = p.between / sqrt(p.a * p.b);
            compare(row, &p);
            ck_assert_double_eq_tol(rig_number(row, "z_exact"), cosine * sqrt(n), 1e-3);
            ck_assert_double_eq_tol(rig_number(row, "z"),
                                    (cosine - rig_number(row, "chance.mean")) / rig_number(row, "chance.std"), 1e-3);
            for (size_t t = 0; t < sizeof p / sizeof(double); t++)
                ((double *)&sum)[t] += ((const double *)&p)[t];
        }
        compare(organ_json_at(rig_result, "total"), &sum);
    }
}
END_TEST

START_TEST(modules_of_equal_models_are_left_out_of_the_verdict)
{
    rig_add(Q, 60, 70, 5);
    rig_add(V, 40, 90, 5);
    write_pairs(0, 1);
    const size_t bytes = 60 * 70 * sizeof(float); /* q_proj of the second pair becomes that of the first */
    memcpy(rig_modules[0].clean, first_clean[0], bytes);
    memcpy(rig_modules[0].noisy[0], first_noisy[0], bytes);
    rig_write(3, NULL);
    pairs_must((pairs_way){0});
    ck_assert_uint_eq(organ_json_count(rig_result, "verdict.modules"), 1);
    ck_assert_uint_eq(organ_json_count(rig_result, "verdict.same_modules"), 1);
    ck_assert_double_eq_tol(rig_number(rig_result, "verdict.remains_to_noise_a"), sqrt(2), 0.1);
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "does not hold");
    ck_assert(verdict_says("In 1 of 2 modules both clean models have equal values"));
}
END_TEST

START_TEST(no_noise_at_all)
{
    rig_module *const m = rig_add(Q, 30, 40, 3);
    memcpy(m->noisy[0], m->clean, 30 * 40 * sizeof(float));
    write_pairs(0, 1);
    pairs_must((pairs_way){.options = {.output = scratch_path("out")}});
    const json_t *const row = json_array_get(organ_json_at(rig_result, "modules"), 0);
    ck_assert(json_is_null(json_object_get(row, "cosine")) && json_is_null(json_object_get(row, "remains_to_noise_a")));
    ck_assert_str_eq(organ_json_text(row, "reason"), "there is no noise in the first pair");
    ck_assert_str_eq(organ_json_text(rig_result, "verdict.premise"), "undefined");
    size_t size;
    char *const markdown = slurp(scratch_path("out/NOISE_PAIRS_REPORT.md"), &size),
                *const html = slurp(scratch_path("out/NOISE_PAIRS_REPORT.html"), &size);
    ck_assert(markdown && strstr(markdown, "cannot be tested") && !strstr(markdown, "nan") && html &&
              strstr(html, "<svg"));
    free(markdown);
    free(html);
}
END_TEST

START_TEST(same_bits_whatever_the_way)
{
    static const struct {
        size_t threads;
        uint64_t memory;
    } ways[] = {{1, 512 << 20}, {3, 64 << 20}, {7, 4 << 20}, {2, 2 << 20}};
    rig_add(Q, 1100, 700, 12);
    rig_add(V, 70, 33, 12);
    write_pairs(0.5, 0.5);
    for (size_t kind = 0; kind < 2; kind++) {
        json_t *first = NULL;
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            pairs_must((pairs_way){.threads = ways[k].threads,
                                   .memory = ways[k].memory,
                                   .options = {.seed = 7, .change = kind ? scratch_path("adapter") : NULL}});
            json_object_del(rig_result, "run");
            if (!first)
                first = json_incref(rig_result);
            ck_assert_msg(json_equal(first, rig_result), "way %zu differs", k);
        }
        json_decref(first);
    }
}
END_TEST

/* ---- errors ---- */

static void must_refuse(pairs_way way, organ_status status, const char *const *words)
{
    organ_error error;
    way.options.output = way.options.output ? way.options.output : scratch_path("out");
    ck_assert_msg(pairs_run(way, &error) == status, "%d: %s", (int)error.status, error.message);
    for (; *words; words++)
        ck_assert_msg(strstr(error.message, *words), "no '%s' in: %s", *words, error.message);
    ck_assert(!scratch_left("out"));
}
#define REFUSED(status, way, ...) must_refuse((pairs_way)way, status, (const char *const[]){__VA_ARGS__, NULL})
#define WAY(...)                                                                                                       \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

START_TEST(wrong_calls)
{
    rig_add(Q, 30, 40, 3);
    rig_add(V, 20, 40, 3);
    write_pairs(1, 0);
    REFUSED(ORGAN_USAGE, WAY(.options = {.draws = 1}), "1 draws");
    REFUSED(ORGAN_USAGE, WAY(.memory = 1000), "--memory 1000 is too little for ", Q);
    REFUSED(ORGAN_USAGE, WAY(.options = {.modules = "*.q_proj,*.up_proj"}), "'*.up_proj'", "a_clean.safetensors");
    REFUSED(ORGAN_USAGE, WAY(.options = {.clean = {NULL, scratch_path("a_clean.safetensors")}}),
            "CLEAN of the first --pair and CLEAN of the second", "same model", "`noisy2`");
    REFUSED(ORGAN_USAGE, WAY(.options = {.noisy = {NULL, scratch_path("a_noisy.safetensors")}}),
            "NOISY of the first --pair and NOISY of the second");
    REFUSED(ORGAN_USAGE, WAY(.options = {.noisy = {scratch_path("a_clean.safetensors"), NULL}}),
            "CLEAN of the first --pair and NOISY of the first");
    REFUSED(ORGAN_USAGE, WAY(.options = {.change = scratch_path("a_clean.safetensors")}),
            "CLEAN of the first --pair and the tuned model");
    REFUSED(ORGAN_USAGE, WAY(.options = {.output = scratch_path("noisy.safetensors"), .force = true}),
            "noisy.safetensors");
    REFUSED(ORGAN_IO, WAY(.options = {.change = scratch_path("nowhere")}), "nowhere");
    organ_stop requested = {0};
    organ_stop_request(&requested);
    REFUSED(ORGAN_INTERRUPTED, WAY(.stop = &requested), "interrupted");
    pairs_must((pairs_way){
        .options = {.change = scratch_path("clean.safetensors")}}); /* the change belongs to A and is used for B */
    ck_assert_str_eq(organ_json_text(rig_result, "change.of"), "tuned model");
}
END_TEST

START_TEST(inputs_that_do_not_fit)
{
    rig_add(Q, 30, 40, 3);
    rig_add(V, 20, 40, 3);
    write_pairs(1, 0);
    rig_modules[0].rows = 29;
    rig_modules[1].name = "model.layers.5.self_attn.v_proj";
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "a model of --pair does not fit", "'" Q "' is [29, 40] in", "has [30, 40]",
            "a_clean.safetensors", "'" V "' is not in", "clean.safetensors");
    rig_modules[0].rows = 30;
    rig_modules[1].name = V;
    rig_modules[1].noisy[0][17 * 40 + 3] = NAN;
    rig_write(3, NULL);
    REFUSED(ORGAN_BAD_INPUT, WAY(0), "noisy.safetensors", "v_proj", "row 17", "NaN");
    rig_modules[1].noisy[0][17 * 40 + 3] = 0;
    rig_write(3, "\"use_dora\":true");
    REFUSED(ORGAN_BAD_INPUT, WAY(.options = {.change = scratch_path("adapter")}), "use_dora");
}
END_TEST

Suite *noise_pairs_suite(void)
{
    const suite_case cases[] = {
        {"relations",
         {equal_noises_cancel, unrelated_noises_add_up, scaled_noises_are_a_multiple, half_alike_noises_cancel_in_part,
          modules_of_equal_models_are_left_out_of_the_verdict, no_noise_at_all}},
        {"numbers", {numbers_are_those_of_the_formulas, same_bits_whatever_the_way}},
        {"refusals", {wrong_calls, inputs_that_do_not_fit}},
    };
    return suite_of("noise pairs", cases, sizeof cases / sizeof *cases, rig_setup, teardown);
}

/* SPDX-License-Identifier: MIT
 * Tests of noise against an adapter: cases with known answers, the formulas in FP64, bit identity. */
#include <organ/report.h>
#include "orchestrator/verbs/orthogonality/noise_parts.h"
#include "tests/verbs/orthogonality/orthogonality_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q "model.layers.0.self_attn.q_proj"
#define K "model.layers.0.self_attn.k_proj"
#define V "model.layers.1.self_attn.v_proj"

/* ---- the plain formulas ---- */

typedef struct plain {
    double noise, change, dot, signs; /* squared norms */
    double inside;
} plain;

/* Makes columns of a rows x n matrix orthonormal. */
static void orthonormal(double *m, size_t rows, size_t n)
{
    for (size_t twice = 0; twice < 2; twice++)
        for (size_t c = 0; c < n; c++) {
            for (size_t p = 0; p <= c; p++) {
                double dot = 0;
                for (size_t r = 0; r < rows; r++)
                    dot += m[r * n + p] * m[r * n + c];
                for (size_t r = 0; r < rows; r++)
                    m[r * n + c] = p < c ? m[r * n + c] - dot * m[r * n + p] : m[r * n + c] / sqrt(dot);
            }
        }
}

/* Computes the figures by their formulas. If A has full rank, the columns of b span the output directions of B A. */
static plain formulas(const rig_module *m, size_t n, double scale)
{
    plain p = {0};
    double *q = malloc(m->rows * m->rank * sizeof *q), *inside = calloc(m->rank * m->cols, sizeof *inside);
    for (size_t k = 0; k < m->rows * m->rank; k++)
        q[k] = (double)m->b[k];
    orthonormal(q, m->rows, m->rank);
    for (size_t r = 0; r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++) {
            const double noise = (double)m->clean[r * m->cols + c] - (double)m->noisy[n][r * m->cols + c];
            double change = 0;
            for (size_t k = 0; k < m->rank; k++) {
                change += scale * (double)m->b[r * m->rank + k] * (double)m->a[k * m->cols + c];
                inside[k * m->cols + c] += q[r * m->rank + k] * noise;
            }
            p.noise += noise * noise;
            p.change += change * change;
            p.dot += noise * change;
            p.signs += noise * noise * change * change;
        }
    for (size_t k = 0; k < m->rank * m->cols; k++)
        p.inside += inside[k] * inside[k];
    free(q);
    free(inside);
    return p;
}

static void compare(size_t index, size_t n, double scale)
{
    const rig_module *m = &rig_modules[index];
    const plain p = formulas(m, n, scale);
    const json_t *row = rig_noise(index, n), *module = json_array_get(organ_json_at(rig_result, "modules"), index);
    const double size = (double)m->rows * (double)m->cols, cosine = p.dot / sqrt(p.noise * p.change);
    ck_assert_str_eq(organ_json_text(module, "module"), m->name);
    ck_assert_double_eq_tol(rig_number(row, "norm"), sqrt(p.noise), 1e-6 * sqrt(p.noise));
    ck_assert_double_eq_tol(rig_number(module, "change_norm"), sqrt(p.change), 1e-6 * sqrt(p.change));
    ck_assert_double_eq_tol(rig_number(row, "ratio"), sqrt(p.noise / p.change), 2e-6 * sqrt(p.noise / p.change));
    ck_assert_double_eq_tol(rig_number(row, "cosine"), cosine, 1e-6);
    ck_assert_double_eq_tol(rig_number(row, "z_exact"), cosine * sqrt(size), 1e-4);
    ck_assert_double_eq_tol(rig_number(row, "z_signs"), p.dot / sqrt(p.signs), 1e-4);
    ck_assert_double_eq_tol(rig_number(row, "leakage"), sqrt(p.inside / p.noise), 1e-5);
    ck_assert_double_eq_tol(rig_number(row, "leakage_expected"), sqrt((double)m->rank / (double)m->rows), 1e-12);
    const double mean = rig_number(module, "chance.mean"), std = rig_number(module, "chance.std");
    ck_assert_double_eq_tol(rig_number(row, "z"), (cosine - mean) / std, 1e-3);
    ck_assert_double_eq_tol(rig_number(module, "chance.std_exact"), 1 / sqrt(size), 1e-12);
}

/* Sets noisy = clean - factor K - rest in FP64. */
static void set_noise(rig_module *m, size_t n, double factor, double scale)
{
    for (size_t r = 0; r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++) {
            double change = 0;
            for (size_t k = 0; k < m->rank; k++)
                change += scale * (double)m->b[r * m->rank + k] * (double)m->a[k * m->cols + c];
            m->noisy[n][r * m->cols + c] = (float)((double)m->clean[r * m->cols + c] - factor * change);
        }
}

/* ---- computed numbers ---- */

START_TEST(random_noise_is_orthogonal)
{
    rig_add(K, 33, 257, 8); /* one block and one more column */
    rig_add(Q, 96, 200, 8);
    rig_add(V, 300, 40, 8);
    rig_write(16, NULL);
    rig_must((rig_way){.options = {.noisy2 = scratch_path("noisy2.safetensors")}});
    for (size_t m = 0; m < 3; m++)
        for (size_t n = 0; n < 2; n++) {
            compare(m, n, 2);
            ck_assert_double_lt(fabs(rig_number(rig_noise(m, n), "z_exact")), 4);
            ck_assert_double_lt(fabs(rig_number(rig_noise(m, n), "leakage_z")), 4);
        }
    const json_t *verdict = organ_json_at(json_array_get(organ_json_at(rig_result, "noises"), 0), "verdict");
    ck_assert_str_eq(organ_json_text(verdict, "direction"), "orthogonal");
    ck_assert_str_eq(organ_json_text(verdict, "leakage"), "isotropic");
    ck_assert_str_eq(organ_json_text(rig_result, "agreement.verdict.level"), "unrelated");
}
END_TEST

START_TEST(noise_along_the_adapter)
{
    static const double factors[] = {0.25, -3};
    static const char *const magnitudes[] = {"noise below adapter", "noise above adapter"};
    for (size_t k = 0; k < 2; k++) {
        rig_module *m = k ? &rig_modules[0] : rig_add(Q, 60, 70, 5);
        set_noise(m, 0, factors[k], 1);
        rig_write(5, NULL);
        rig_must((rig_way){0});
        compare(0, 0, 1);
        const json_t *row = rig_noise(0, 0),
                     *verdict = organ_json_at(json_array_get(organ_json_at(rig_result, "noises"), 0), "verdict");
        ck_assert_double_eq_tol(rig_number(row, "cosine"), factors[k] > 0 ? 1 : -1, 1e-6);
        ck_assert_double_le(fabs(rig_number(row, "cosine")), 1);
        ck_assert_double_eq_tol(rig_number(row, "leakage"), 1, 1e-5);
        ck_assert_double_eq_tol(rig_number(row, "ratio"), fabs(factors[k]), 1e-5);
        ck_assert_str_eq(organ_json_text(verdict, "direction"), "not orthogonal");
        ck_assert_str_eq(organ_json_text(verdict, "leakage"), "more than isotropic");
        ck_assert_str_eq(organ_json_text(verdict, "magnitude"), magnitudes[k]);
        char *words = json_dumps(verdict, 0);
        /* the distance of W_noisy + K from W_clean + K is 3 K instead of 2 K */
        ck_assert_ptr_nonnull(strstr(words, k ? "the adapter adds 125 % of the squared distance" : "its own residual"));
        free(words);
    }
}
END_TEST

/* Removes the directions of b from the noise. */
START_TEST(noise_beside_the_adapter)
{
    rig_module *m = rig_add(Q, 60, 70, 5);
    double *q = malloc(m->rows * m->rank * sizeof *q);
    for (size_t k = 0; k < m->rows * m->rank; k++)
        q[k] = (double)m->b[k];
    orthonormal(q, m->rows, m->rank);
    for (size_t c = 0; c < m->cols; c++) {
        double noise[60];
        for (size_t r = 0; r < m->rows; r++)
            noise[r] = (double)m->clean[r * m->cols + c] - (double)m->noisy[0][r * m->cols + c];
        for (size_t k = 0; k < m->rank; k++) {
            double dot = 0;
            for (size_t r = 0; r < m->rows; r++)
                dot += q[r * m->rank + k] * noise[r];
            for (size_t r = 0; r < m->rows; r++)
                noise[r] -= dot * q[r * m->rank + k];
        }
        for (size_t r = 0; r < m->rows; r++)
            m->noisy[0][r * m->cols + c] = (float)((double)m->clean[r * m->cols + c] - noise[r]);
    }
    free(q);
    rig_write(5, NULL);
    rig_must((rig_way){0});
    compare(0, 0, 1);
    ck_assert_double_lt(fabs(rig_number(rig_noise(0, 0), "cosine")), 1e-6);
    ck_assert_double_lt(rig_number(rig_noise(0, 0), "leakage"), 1e-5);
    const json_t *verdict = organ_json_at(json_array_get(organ_json_at(rig_result, "noises"), 0), "verdict");
    ck_assert_str_eq(organ_json_text(verdict, "direction"), "orthogonal");
    ck_assert_str_eq(organ_json_text(verdict, "leakage"), "less than isotropic");
}
END_TEST

/* Factors with known singular vectors: the noise has only the third output direction. */
START_TEST(leakage_into_the_strongest_directions)
{
    rig_module *m = rig_add(Q, 40, 50, 4);
    double *u = malloc(m->rows * m->rank * sizeof *u);
    for (size_t k = 0; k < m->rows * m->rank; k++)
        u[k] = rig_normal();
    orthonormal(u, m->rows, m->rank);
    memset(m->a, 0, m->rank * m->cols * sizeof *m->a);
    for (size_t k = 0; k < m->rank; k++) {
        m->a[k * m->cols + 7 * k] = 1;
        for (size_t r = 0; r < m->rows; r++)
            m->b[r * m->rank + k] = (float)((double)(8 >> k) * u[r * m->rank + k]);
    }
    for (size_t r = 0; r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++)
            m->noisy[0][r * m->cols + c] =
                (float)((double)m->clean[r * m->cols + c] - u[r * m->rank + 2] * (double)(c + 1) / 100);
    free(u);
    rig_write(4, NULL);
    for (unsigned k = 0; k <= 9; k++) {
        rig_must((rig_way){.options = {.top_k = k}});
        const size_t used = k == 0 || k > 4 ? 4 : k;
        ck_assert_double_eq_tol(rig_number(rig_noise(0, 0), "leakage"), used > 2 ? 1 : 0, 1e-3);
        ck_assert_uint_eq(organ_json_count(json_array_get(organ_json_at(rig_result, "modules"), 0), "k"), used);
        ck_assert_double_eq_tol(rig_number(rig_noise(0, 0), "leakage_expected"), sqrt((double)used / 40), 1e-12);
    }
}
END_TEST

START_TEST(directions_of_rounding_are_none)
{
    rig_module *m = rig_add(Q, 40, 50, 4);
    for (size_t c = 0; c < m->cols; c++) { /* rank 2 */
        m->a[2 * m->cols + c] = m->a[c];
        m->a[3 * m->cols + c] = 0;
    }
    for (size_t r = 0; r < m->rows; r++)
        m->b[r * m->rank + 2] = m->b[r * m->rank];
    rig_write(4, NULL);
    rig_must((rig_way){0});
    ck_assert_uint_eq(organ_json_count(json_array_get(organ_json_at(rig_result, "modules"), 0), "k"), 2);
    ck_assert_double_eq_tol(rig_number(rig_noise(0, 0), "leakage"), sqrt(2.0 / 40), 0.03);
}
END_TEST

START_TEST(transposed_modules)
{
    rig_add("model.embed_tokens", 90, 24, 6)->embedding = true;
    rig_write(3, NULL);
    rig_must((rig_way){0});
    compare(0, 0, 0.5);
    rig_modules[0].embedding = false;
    rig_modules[0].name = "transformer.h.0.attn.c_attn";
    rig_write(3, "\"fan_in_fan_out\":true");
    rig_must((rig_way){0});
    compare(0, 0, 0.5);
}
END_TEST

START_TEST(two_noises)
{
    rig_module *m = rig_add(Q, 30, 45, 3);
    for (size_t k = 0; k < m->rows * m->cols; k++)
        m->noisy[1][k] = m->clean[k] + 2 * (m->clean[k] - m->noisy[0][k]);
    rig_write(3, NULL);
    rig_must((rig_way){.options = {.noisy2 = scratch_path("noisy2.safetensors")}});
    const json_t *row = organ_json_at(json_array_get(organ_json_at(rig_result, "modules"), 0), "agreement");
    ck_assert_double_eq_tol(rig_number(row, "cosine"), -1, 1e-6);
    ck_assert_double_eq_tol(rig_number(row, "ratio"), 0.5, 1e-5);
    ck_assert_double_eq_tol(rig_number(rig_result, "agreement.total.cosine"), -1, 1e-6);
    ck_assert_str_eq(organ_json_text(rig_result, "agreement.verdict.level"), "alike");
    ck_assert_double_eq_tol(rig_number(rig_noise(0, 1), "norm"), 2 * rig_number(rig_noise(0, 0), "norm"), 1e-4);
    rig_must((rig_way){0});
    ck_assert(json_is_null(organ_json_at(rig_result, "agreement")));
}
END_TEST

START_TEST(modules_fold_as_one_matrix)
{
    static const char *const names[] = {"model.layers.0.mlp.experts.0.down_proj",
                                        "model.layers.0.mlp.experts.1.down_proj",
                                        "model.layers.1.mlp.experts.0.down_proj", "lm_head"};
    plain sums[3] = {{0}}; /* all; layer 0; layer 1 */
    double variance = 0, expected = 0;
    for (size_t k = 0; k < 4; k++)
        rig_add(names[k], 20 + 4 * k, 30, 3);
    set_noise(&rig_modules[1], 0, 0.1, 1);
    rig_write(3, NULL);
    rig_must((rig_way){0});
    for (size_t k = 0; k < 4; k++) {
        const rig_module *m = &rig_modules[k];
        const plain p = formulas(m, 0, 1);
        variance += p.noise * p.change / (double)(m->rows * m->cols);
        expected += p.noise * 3 / (double)m->rows;
        for (size_t f = 0; f < 3; f++)
            if (f == 0 || (f == 1 && k < 2) || (f == 2 && k == 2)) {
                sums[f].noise += p.noise;
                sums[f].change += p.change;
                sums[f].dot += p.dot;
                sums[f].inside += p.inside;
            }
    }
    const json_t *noise = json_array_get(organ_json_at(rig_result, "noises"), 0),
                 *total = organ_json_at(noise, "total");
    ck_assert_double_eq_tol(rig_number(total, "cosine"), sums[0].dot / sqrt(sums[0].noise * sums[0].change), 1e-6);
    ck_assert_double_eq_tol(rig_number(total, "z"), sums[0].dot / sqrt(variance), 1e-4);
    ck_assert_double_eq_tol(rig_number(total, "leakage"), sqrt(sums[0].inside / sums[0].noise), 1e-5);
    ck_assert_double_eq_tol(rig_number(total, "leakage_expected"), sqrt(expected / sums[0].noise), 1e-6);
    const json_t *layers = organ_json_at(noise, "layers"), *places = organ_json_at(noise, "places");
    ck_assert_uint_eq(json_array_size(layers), 3); /* none, 0, 1 */
    ck_assert(json_is_null(json_object_get(json_array_get(layers, 0), "layer")));
    for (size_t f = 1; f < 3; f++) {
        const double cosine = sums[f].dot / sqrt(sums[f].noise * sums[f].change);
        ck_assert_double_eq_tol(rig_number(json_array_get(layers, f), "cosine"), cosine, 1e-6);
        ck_assert_double_eq_tol(rig_number(json_array_get(places, f), "cosine"), cosine, 1e-6);
    }
    ck_assert_uint_eq(json_array_size(organ_json_at(noise, "projections")), 2);
}
END_TEST

START_TEST(nothing_to_compare)
{
    rig_module *idle = rig_add(K, 30, 40, 3), *quiet = rig_add(Q, 30, 40, 3);
    memcpy(quiet->noisy[0], quiet->clean, 30 * 40 * sizeof(float));
    memset(idle->b, 0, 30 * 3 * sizeof(float));
    rig_write(3, NULL);
    rig_must((rig_way){.options = {.output = scratch_path("out")}});
    ck_assert(json_is_null(json_object_get(rig_noise(1, 0), "cosine")) &&
              json_is_null(json_object_get(rig_noise(0, 0), "cosine")));
    ck_assert_str_eq(organ_json_text(rig_noise(1, 0), "reason"),
                     "there is no noise: both models have equal values here");
    ck_assert_str_eq(organ_json_text(rig_noise(0, 0), "reason"), "the adapter does not change this module");
    ck_assert_double_eq(rig_number(rig_noise(1, 0), "ratio"), 0);
    ck_assert(json_is_null(json_object_get(rig_noise(0, 0), "ratio")) &&
              json_is_null(json_object_get(rig_noise(0, 0), "leakage")));
    const json_t *verdict = organ_json_at(json_array_get(organ_json_at(rig_result, "noises"), 0), "verdict");
    ck_assert_str_eq(organ_json_text(verdict, "direction"), "undefined");
    size_t size;
    char *markdown = slurp(scratch_path("out/ORTHOGONALITY_REPORT.md"), &size);
    ck_assert(markdown && strstr(markdown, "There is no cosine") && !strstr(markdown, "nan"));
    free(markdown);
}
END_TEST

/* ---- bit identity ---- */

START_TEST(same_bits_whatever_the_way)
{
    static const struct {
        size_t threads;
        uint64_t memory;
    } ways[] = {{1, 512 << 20}, {3, 64 << 20}, {7, 8 << 20}, {2, 10 << 20}};
    json_t *first = NULL;
    rig_add(Q, 1100, 700, 12); /* strips and blocks, both with a remainder */
    rig_add(V, 70, 33, 12);
    rig_write(12, NULL);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        rig_must((rig_way){.threads = ways[k].threads,
                           .memory = ways[k].memory,
                           .options = {.noisy2 = scratch_path("noisy2.safetensors"), .seed = 7}});
        json_object_del(rig_result, "run");
        if (!first)
            first = json_incref(rig_result);
        ck_assert_msg(json_equal(first, rig_result), "way %zu differs", k);
    }
    json_decref(first);
    rig_must((rig_way){.options = {.seed = 8}});
    const json_t *chance = organ_json_at(json_array_get(organ_json_at(rig_result, "modules"), 0), "chance");
    ck_assert_double_ne(rig_number(chance, "mean"), 0);
    compare(1, 0, 1);
}
END_TEST

START_TEST(chosen_modules)
{
    rig_add(Q, 30, 40, 3);
    rig_add(K, 30, 40, 3);
    rig_add(V, 30, 40, 3);
    rig_write(3, NULL);
    rig_must((rig_way){0});
    const double mean = rig_number(json_array_get(organ_json_at(rig_result, "modules"), 2), "chance.mean");
    rig_must((rig_way){.options = {.modules = "*.v_proj"}});
    ck_assert_uint_eq(json_array_size(organ_json_at(rig_result, "modules")), 1);
    /* the random numbers of a module do not depend on the other modules that are selected */
    ck_assert_double_eq(rig_number(json_array_get(organ_json_at(rig_result, "modules"), 0), "chance.mean"), mean);
}
END_TEST

/* ---- expected values for random noise ---- */

/* Draws the cosine of dense random matrices with a fixed one by the definition. */
START_TEST(draws_are_those_of_dense_matrices)
{
    enum { N = 24, DRAWS = 20000 };
    double fixed[N], norm = 0, dense[2] = {0}, drawn[2] = {0};
    for (size_t k = 0; k < N; k++) {
        fixed[k] = rig_normal() * (double)(k + 1);
        norm += fixed[k] * fixed[k];
    }
    for (size_t d = 0; d < DRAWS; d++) {
        double dot = 0, square = 0;
        for (size_t k = 0; k < N; k++) {
            const double g = rig_normal();
            dot += g * fixed[k];
            square += g * g;
        }
        const double x = dot / sqrt(norm * square), y = organ_chance_cosine(3, 5, d, N);
        dense[0] += x * x / DRAWS;
        dense[1] += x * x * x * x / DRAWS;
        drawn[0] += y * y / DRAWS;
        drawn[1] += y * y * y * y / DRAWS;
    }
    /* moments of the cosine: 1/n and 3/(n(n+2)); 20000 draws estimate them to 1 and 3 % */
    ck_assert_double_eq_tol(dense[0], 1.0 / N, 0.03 / N);
    ck_assert_double_eq_tol(drawn[0], 1.0 / N, 0.03 / N);
    ck_assert_double_eq_tol(drawn[1], dense[1], 0.1 * dense[1]);
    ck_assert_double_eq_tol(drawn[1], 3.0 / (N * (N + 2)), 0.1 * dense[1]);
}
END_TEST

START_TEST(draws_of_any_size)
{
    static const uint64_t sizes[] = {2, 3, 4, 100, 70000000, (uint64_t)1 << 40};
    for (uint64_t d = 0; d < 10; d++)
        ck_assert_double_eq(fabs(organ_chance_cosine(0, 0, d, 1)), 1);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        double mean, std;
        const double n = (double)sizes[k];
        organ_chance_baseline(1, k, 10000, sizes[k], &mean, &std);
        ck_assert_double_eq_tol(std * sqrt(n), 1, 0.03);
        ck_assert_double_lt(fabs(mean) * sqrt(n), 0.04);
    }
}
END_TEST

START_TEST(how_many_may_lie_outside)
{
    static const size_t counts[] = {0, 1, 3, 4, 28, 56, 57, 196, 448, 5000};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        const double n = (double)counts[k], p = 0.0026997960632601866;
        size_t allowed = 0;
        for (double below = 0; allowed <= counts[k]; allowed++) {
            const double a = (double)allowed;
            below += exp(lgamma(n + 1) - lgamma(a + 1) - lgamma(n - a + 1) + a * log(p) + (n - a) * log1p(-p));
            if (below >= 0.99)
                break;
        }
        ck_assert_uint_eq(organ_chance_beyond(counts[k]), allowed);
    }
    ck_assert_uint_eq(organ_chance_beyond(3), 0);
    ck_assert_uint_eq(organ_chance_beyond(28), 1);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"numbers",
         {random_noise_is_orthogonal, noise_along_the_adapter, noise_beside_the_adapter,
          leakage_into_the_strongest_directions, directions_of_rounding_are_none, transposed_modules, two_noises,
          modules_fold_as_one_matrix, nothing_to_compare}},
        {"bits", {same_bits_whatever_the_way, chosen_modules}},
        {"chance", {draws_are_those_of_dense_matrices, draws_of_any_size, how_many_may_lie_outside}},
    };
    Suite *numbers = suite_of("orthogonality", cases, sizeof cases / sizeof *cases, rig_setup, rig_teardown);
    return run_suites((Suite *const[]){numbers, orthogonality_faults_suite(), noise_pairs_suite(), NULL});
}

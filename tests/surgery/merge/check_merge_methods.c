/* SPDX-License-Identifier: MIT
 * Tests of the methods of organ merge, tensor by tensor: against FP64, with any strips; exact choices among equal
 * values; random choices; parameters that do not fit. */
#include "orchestrator/surgery/merge/merge_parts.h"
#include "tests/kit/require.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/merge/moments_suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 3, MOST_PARAMETERS = 8 };

static const struct {
    organ_matrices shape;
    unsigned rank;
} shapes[] = {{{1, 9, 7}, 2}, {{1, 1, 23}, 1}, {{3, 4, 5}, 3}};

static const char *const donors[MODELS] = {"one", "two", "three"};

/* ---- one tensor ---- */

/* A tensor, its models and parameters. */
typedef struct tensor {
    organ_merge_task task;
    const float *base, *input[MODELS];
    double values[MOST_PARAMETERS * MODELS];
} tensor;

/* A tensor with the default of each parameter. */
static tensor tensor_of(const char *method, organ_matrices shape, unsigned rank, size_t inputs)
{
    tensor t = {.task = {.method = organ_merge_method_named(method),
                         .name = "model.layers.0.mlp.up_proj.weight",
                         .shape = shape,
                         .rank = rank,
                         .inputs = inputs,
                         .donor = donors,
                         .kernels = organ_kernels_scalar}};
    REQUIRE_MSG(t.task.method, "%s", method);
    for (size_t p = 0; p < t.task.method->parameter_count; p++)
        for (size_t k = 0; k < inputs; k++)
            t.values[p * inputs + k] = t.task.method->parameters[p].fallback;
    return t;
}

static void set(tensor *t, const char *parameter, size_t input, double value)
{
    const size_t p = organ_merge_parameter_named(t->task.method, parameter);
    REQUIRE_MSG(p < t->task.method->parameter_count, "%s", parameter);
    t->values[p * t->task.inputs + input] = value;
}

static void *allocated(size_t bytes)
{
    void *const memory = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
    memset(memory, 0, (bytes + 127) & ~(size_t)63);
    return memory;
}

static size_t or_none(size_t (*of)(const organ_merge_task *), const organ_merge_task *task)
{
    return of ? of(task) : 0;
}

/* Calls `each` for strips of at most `rows` rows that do not span matrices. */
typedef struct walk {
    const tensor *t;
    void *state, *scratch;
    float *out;
    double *sums;
    uint64_t *counters;
    unsigned pass;
} walk;

static void walk_strips(const walk *w, size_t rows, bool apply)
{
    const organ_merge_task *const task = &w->t->task;
    const organ_merge_method *const m = task->method;
    for (uint64_t first = 0; first < task->shape.count * task->shape.rows;) {
        const uint64_t left = task->shape.rows - first % task->shape.rows;
        const size_t at = (size_t)(first * task->shape.cols);
        const float *input[MODELS];
        for (size_t k = 0; k < task->inputs; k++)
            input[k] = w->t->input[k] + at;
        const organ_merge_strip strip = {.first = first,
                                         .rows = left < rows ? left : rows,
                                         .cols = task->shape.cols,
                                         .base = task->base ? w->t->base + at : NULL,
                                         .input = input,
                                         .scratch = w->scratch};
        if (apply) {
            m->apply(task, w->state, &strip, w->out + at);
        } else {
            memset(w->sums, 0, or_none(m->sums, task) * sizeof *w->sums);
            m->scan(task, w->state, w->pass, &strip, w->sums, w->counters);
            if (m->fold)
                m->fold(task, w->state, w->pass, w->sums);
        }
        first += strip.rows;
    }
}

/* Merges the tensor in strips of `rows` rows. Returns the error of the method. */
static organ_status merge(const tensor *t, size_t rows, float *out, organ_error *error)
{
    organ_merge_task task = t->task;
    const organ_merge_method *const m = task.method;
    task.values = t->values;
    tensor copy = *t;
    copy.task = task;
    if (m->check && m->check(&task, error) != ORGAN_OK)
        return error->status;
    const size_t sums = or_none(m->sums, &task), counters = or_none(m->counters, &task);
    walk w = {.t = &copy,
              .state = allocated(or_none(m->state, &task)),
              .scratch = allocated(m->scratch ? m->scratch(&task, rows) : 0),
              .out = out,
              .sums = allocated(sums * sizeof(double)),
              .counters = allocated(counters * sizeof(uint64_t))};
    bool again = sums || counters;
    if (m->begin)
        m->begin(&task, w.state);
    for (; again && !error->status; w.pass++) {
        memset(w.counters, 0, counters * sizeof(uint64_t));
        walk_strips(&w, rows, false);
        m->next(&task, w.state, w.pass, w.counters, &again, error);
    }
    if (!error->status)
        walk_strips(&w, rows, true);
    free(w.state), free(w.scratch), free(w.sums), free(w.counters);
    return error->status;
}

static float *merged(const tensor *t, size_t rows)
{
    organ_error error = {0};
    float *const out = allocated(organ_merge_elements(&t->task) * sizeof(float));
    REQUIRE_MSG(merge(t, rows, out, &error) == ORGAN_OK, "%s: %s", t->task.method->name, error.message);
    return out;
}

/* ---- values ---- */

static float *filled(uint64_t seed, size_t n)
{
    samples s = {seed};
    float *const values = allocated(n * sizeof *values);
    samples_fill(&s, NORMAL, values, n);
    return values;
}

/* The base and models of fixtures/make_merge_golden.py. */
static void fill_models(tensor *t)
{
    const size_t n = organ_merge_elements(&t->task);
    float *const base = filled(1, n);
    for (size_t k = 0; k < MODELS; k++) {
        float *const x = filled(2 + k, n);
        for (size_t i = 0; i < n; i++)
            x[i] = base[i] + .05F * (float)(k + 1) * x[i];
        t->input[k] = x;
    }
    t->base = base;
}

static void free_models(tensor *t)
{
    free((void *)(uintptr_t)t->base);
    for (size_t k = 0; k < MODELS; k++)
        free((void *)(uintptr_t)t->input[k]);
}

/* ---- against FP64 ---- */

static const double weights[MODELS] = {.3, .9, -.2}, densities[MODELS] = {.4, .7, .55}, gammas[MODELS] = {.05, .01, .1};

static void set_all(tensor *t, const char *parameter, const double *values)
{
    for (size_t k = 0; k < t->task.inputs && values; k++)
        set(t, parameter, k, values[k]);
}

/* Methods of the golden values, their inputs and parameters. */
static const struct {
    const char *method, *as;
    size_t inputs;
    bool base, density, gamma;
    const char *parameter[2];
    double value[2];
} merges[] = {
    {"linear", NULL, 3, .parameter = {0}},
    {"slerp", NULL, 1, .base = true, .parameter = {"t"}, .value = {.3}},
    {"nuslerp", NULL, 2, .parameter = {0}},
    {"nuslerp by row", "nuslerp", 2, .base = true, .parameter = {"nuslerp_flatten"}, .value = {0}},
    {"nuslerp by column", "nuslerp", 2, .base = true, .parameter = {"nuslerp_flatten", "nuslerp_row_wise"},
     .value = {0, 1}},
    {"multislerp", NULL, 3, .base = true, .parameter = {0}},
    {"karcher", NULL, 3, .parameter = {0}},
    {"model_stock", NULL, 3, .base = true, .parameter = {0}},
    {"model_stock by row", "model_stock", 3, .base = true, .parameter = {"filter_wise"}, .value = {1}},
    {"task_arithmetic", NULL, 3, .base = true, .parameter = {"lambda"}, .value = {.8}},
    {"ties", NULL, 3, .base = true, .density = true, .parameter = {0}},
    {"breadcrumbs", NULL, 3, .base = true, .density = true, .gamma = true, .parameter = {0}},
    {"breadcrumbs_ties", NULL, 3, .base = true, .density = true, .gamma = true, .parameter = {0}},
    {"nearswap", NULL, 1, .base = true, .parameter = {"t"}, .value = {.03}},
    {"sce", NULL, 3, .base = true, .parameter = {"select_topk"}, .value = {.4}},
    {"arcee_fusion", NULL, 1, .base = true, .parameter = {0}},
    {"ram", NULL, 3, .base = true, .parameter = {"epsilon"}, .value = {.06}},
    {"ramplus_tl", NULL, 3, .base = true, .parameter = {"epsilon"}, .value = {.06}},
};
#define MERGES (sizeof merges / sizeof *merges)

static tensor golden_tensor(size_t m, size_t shape)
{
    const char *const method = merges[m].as ? merges[m].as : merges[m].method;
    tensor t = tensor_of(method, shapes[shape].shape, shapes[shape].rank, merges[m].inputs);
    t.task.base = merges[m].base;
    if (organ_merge_parameter_named(t.task.method, "weight") < t.task.method->parameter_count)
        set_all(&t, "weight", weights);
    set_all(&t, "density", merges[m].density ? densities : NULL);
    set_all(&t, "gamma", merges[m].gamma ? gammas : NULL);
    for (size_t p = 0; p < 2 && merges[m].parameter[p]; p++)
        set(&t, merges[m].parameter[p], 0, merges[m].value[p]);
    fill_models(&t);
    return t;
}

/* Results of fixtures/make_merge_golden.py. */
typedef struct golden_merge {
    char method[32];
    size_t shape;
    double values[80];
} golden_merge;

START_TEST(values_are_those_of_numpy)
{
    static const sample_column columns[] = {SAMPLE_COLUMN(golden_merge, method),
                                            SAMPLE_COLUMN(golden_merge, shape),
                                            SAMPLE_COLUMN(golden_merge, values),
                                            {0}};
    static golden_merge golden_merges[MERGES * sizeof shapes / sizeof *shapes];
    size_t compared = 0;
    const size_t goldens = SAMPLES_READ("tests/surgery/merge/merge_golden.tsv", columns, golden_merges);
    for (size_t g = 0; g < goldens; g++)
        for (size_t m = 0; m < MERGES; m++) {
            if (strcmp(merges[m].method, golden_merges[g].method) != 0)
                continue;
            tensor t = golden_tensor(m, golden_merges[g].shape);
            for (size_t rows = 1; rows <= t.task.shape.rows;
                 rows += t.task.shape.rows > 1 ? t.task.shape.rows - 1 : 1) {
                float *const out = merged(&t, rows);
                for (size_t i = 0; i < organ_merge_elements(&t.task); i++)
                    REQUIRE_MSG(fabs((double)out[i] - golden_merges[g].values[i]) <= 3e-6,
                                "%s, shape %zu, strips of %zu rows, element %zu: %g, expected %g", merges[m].method,
                                golden_merges[g].shape, rows, i, (double)out[i], golden_merges[g].values[i]);
                free(out);
            }
            compared++;
            free_models(&t);
        }
    ck_assert_uint_eq(compared, MERGES * sizeof shapes / sizeof *shapes);
}
END_TEST

/* The ends of slerp are the models, the mean of one model is the model. */
START_TEST(ends_and_single_models)
{
    tensor t = golden_tensor(1, 0);
    for (unsigned end = 0; end < 2; end++) {
        set(&t, "t", 0, end);
        float *const out = merged(&t, 4);
        for (size_t i = 0; i < organ_merge_elements(&t.task); i++)
            ck_assert_float_eq_tol(out[i], end ? t.input[0][i] : t.base[i], 1e-6F);
        free(out);
    }
    free_models(&t);
    static const char *const single[] = {"linear", "multislerp", "karcher"};
    for (size_t s = 0; s < sizeof single / sizeof *single; s++) {
        tensor one = tensor_of(single[s], shapes[0].shape, 2, 1);
        if (organ_merge_parameter_named(one.task.method, "weight") < one.task.method->parameter_count)
            set(&one, "weight", 0, .5);
        fill_models(&one);
        float *const out = merged(&one, 9);
        REQUIRE_MSG(memcmp(out, one.input[0], organ_merge_elements(&one.task) * sizeof *out) == 0, "%s", single[s]);
        free(out);
        free_models(&one);
    }
}
END_TEST

/* ---- choices ---- */

START_TEST(keys_are_in_order_and_differ)
{
    enum { N = 1 << 16 };
    uint64_t above = 0;
    bool *const seen = calloc(N, sizeof *seen);
    ck_assert_uint_gt(organ_merge_key(-2, 0), organ_merge_key(1.9999F, UINT32_MAX));
    ck_assert_uint_eq(organ_merge_key(1, 7), organ_merge_key(-1, 7));
    for (uint64_t i = 0; i < N; i++)
        above += organ_merge_key(1, i) > organ_merge_key(1, N + i);
    REQUIRE_MSG(above > N / 2 - 1000 && above < N / 2 + 1000, "%llu", (unsigned long long)above);
    free(seen);
    for (uint64_t i = 1; i < ORGAN_MERGE_KEYS; i = i * 5 / 4 + 1)
        for (uint64_t j = i + 1; j < i + 40; j++)
            REQUIRE_MSG(organ_merge_key(1, i) != organ_merge_key(1, j), "%llu %llu", (unsigned long long)i,
                        (unsigned long long)j);
}
END_TEST

/* Differences of five sizes: the choice goes through equal values, and must have the exact number of elements. */
START_TEST(equal_values_are_chosen_everywhere)
{
    const organ_matrices shape = {1, 300, 400};
    const size_t n = 300 * 400;
    float *const base = allocated(n * sizeof *base), *const x = allocated(n * sizeof *x);
    samples s = {5};
    for (size_t i = 0; i < n; i++)
        x[i] = (samples_bits(&s) & 1 ? 1 : -1) * .125F * (float)(1 + samples_bits(&s) % 5);
    for (unsigned tenths = 1; tenths < 10; tenths++) {
        tensor t = tensor_of("ties", shape, 2, 1);
        t.task.base = true, t.base = base, t.input[0] = x;
        set(&t, "weight", 0, 1), set(&t, "density", 0, tenths / 10.0);
        float *const out = merged(&t, 100);
        size_t kept = 0, early = 0;
        float least = 1, most = 0;
        for (size_t i = 0; i < n; i++) {
            kept += out[i] != 0;
            least = out[i] != 0 ? fminf(least, fabsf(x[i])) : least;
            most = out[i] == 0 ? fmaxf(most, fabsf(x[i])) : most;
        }
        ck_assert_uint_eq(kept, (size_t)(tenths / 10.0 * (double)n));
        REQUIRE_MSG(least >= most, "%g kept, %g left out", (double)least, (double)most);
        size_t equal = 0;
        for (size_t i = 0; i < n; i++)
            if (fabsf(x[i]) == least && out[i] != 0)
                equal++, early += i < n / 2;
        REQUIRE_MSG(fabs((double)early - (double)equal / 2) <= 4 * sqrt((double)equal) / 2 + 1,
                    "density %u: %zu of %zu equal values in the first half", tenths, early, equal);
        free(out);
    }
    free(base), free(x);
}
END_TEST

static double absolutes(const float *values, const float *base, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)values[i] - (double)base[i]);
    return sum;
}

/* Elements kept by dare and della: their number, their sum of absolute values, and nothing but seed, tensor and model
 * decides which. */
START_TEST(random_choices)
{
    static const char *const methods[] = {"dare_linear", "dare_ties", "della_linear", "della"};
    const organ_matrices shape = {1, 60, 500};
    const size_t n = 60 * 500;
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        tensor t = tensor_of(methods[m], shape, 2, 1);
        t.task.base = true;
        set(&t, "weight", 0, 1), set(&t, "density", 0, .3);
        fill_models(&t);
        float *const out = merged(&t, 13), *const strips = merged(&t, 60);
        ck_assert_mem_eq(out, strips, n * sizeof *out);
        size_t kept = 0, same = 0, again = 0;
        for (size_t i = 0; i < n; i++)
            kept += out[i] != t.base[i];
        REQUIRE_MSG(fabs((double)kept - .3 * (double)n) < 4 * sqrt(.21 * (double)n), "%s: %zu kept", methods[m], kept);
        const double before = absolutes(t.input[0], t.base, n), after = absolutes(out, t.base, n);
        REQUIRE_MSG(fabs(after / before - 1) < 1e-4, "%s: %g of %g", methods[m], after, before);
        t.task.seed = 1;
        float *const other = merged(&t, 60);
        t.task.seed = 0, t.task.name = "model.norm.weight";
        float *const named = merged(&t, 60);
        for (size_t i = 0; i < n; i++) {
            same += (out[i] != t.base[i]) == (other[i] != t.base[i]);
            again += (out[i] != t.base[i]) == (named[i] != t.base[i]);
        }
        REQUIRE_MSG(same > n / 2 && same < n * 2 / 3 && again > n / 2 && again < n * 2 / 3, "%s: %zu, %zu", methods[m],
                    same, again);
        free(out), free(strips), free(other), free(named);
        free_models(&t);
    }
}
END_TEST

/* The smallest tenth of each row is kept with density - epsilon, the largest with density + epsilon. */
START_TEST(large_elements_are_likelier)
{
    const organ_matrices shape = {1, 200, 100};
    tensor t = tensor_of("della_linear", shape, 2, 1);
    size_t kept[2] = {0};
    t.task.base = true;
    set(&t, "weight", 0, 1), set(&t, "density", 0, .5), set(&t, "epsilon", 0, .4), set(&t, "rescale", 0, 0);
    float *const base = allocated(200 * 100 * sizeof *base), *const x = filled(9, 200 * 100);
    t.base = base, t.input[0] = x;
    float *const out = merged(&t, 50);
    for (size_t row = 0; row < 200; row++)
        for (size_t j = 0; j < 100; j++) {
            size_t below = 0;
            for (size_t k = 0; k < 100; k++)
                below += fabsf(x[row * 100 + k]) < fabsf(x[row * 100 + j]);
            if (below < 10 || below >= 90)
                kept[below >= 90] += out[row * 100 + j] != 0;
        }
    REQUIRE_MSG(kept[0] > 180 && kept[0] < 380 && kept[1] > 1620 && kept[1] < 1820, "%zu, %zu of 2000", kept[0],
                kept[1]);
    free(base), free(x), free(out);
}
END_TEST

/* ---- parameters that do not fit ---- */

static void must_refuse(tensor *t, const char *words)
{
    organ_error error = {0};
    float *const out = allocated(organ_merge_elements(&t->task) * sizeof(float));
    ck_assert_int_eq(merge(t, 9, out, &error), ORGAN_BAD_INPUT);
    REQUIRE_MSG(strstr(error.message, words), "%s", error.message);
    free(out);
}

START_TEST(refused)
{
    tensor t = tensor_of("linear", shapes[0].shape, 2, 3);
    fill_models(&t);
    set(&t, "weight", 0, 1), set(&t, "weight", 1, -1);
    must_refuse(&t, "weight: the weights add up to 0");
    free_models(&t);

    tensor opposite = tensor_of("multislerp", shapes[0].shape, 2, 3);
    const size_t n = organ_merge_elements(&opposite.task);
    float *const x = filled(3, n), *const less = allocated(n * sizeof *less);
    for (size_t i = 0; i < n; i++)
        less[i] = -x[i];
    opposite.input[0] = opposite.input[1] = x, opposite.input[2] = less;
    set(&opposite, "weight", 0, 1), set(&opposite, "weight", 1, 1), set(&opposite, "weight", 2, 2);
    must_refuse(&opposite, "add up to 0");
    free(x), free(less);

    tensor della = tensor_of("della", shapes[0].shape, 2, 1);
    della.task.base = true;
    set(&della, "weight", 0, 1), set(&della, "density", 0, .9), set(&della, "epsilon", 0, .2);
    must_refuse(&della, "epsilon: density 0.9");
    set(&della, "density", 0, 1), set(&della, "epsilon", 0, .2);
    fill_models(&della);
    free(merged(&della, 9));
    free_models(&della);
}
END_TEST

/* Every method is in the table once, and its functions fit together. */
START_TEST(table)
{
    size_t count = 0;
    const organ_merge_method *const *const all = organ_merge_methods(&count);
#define NAME(name) #name,
    static const char *const names[] = {ORGAN_MERGE_METHODS(NAME)};
    ck_assert_uint_eq(count, sizeof names / sizeof *names);
    for (size_t k = 0; k < count; k++) {
        ck_assert_ptr_eq(organ_merge_method_named(names[k]), all[k]);
        REQUIRE_MSG(all[k]->about && all[k]->apply && all[k]->least, "%s", all[k]->name);
        REQUIRE_MSG(!all[k]->scan == !all[k]->next && (!all[k]->sums || all[k]->fold), "%s", all[k]->name);
        for (size_t p = 0; p < all[k]->parameter_count; p++) {
            const organ_merge_parameter *const parameter = &all[k]->parameters[p];
            REQUIRE_MSG(parameter->name && parameter->about && parameter->least <= parameter->most &&
                            parameter->fallback >= parameter->least && parameter->fallback <= parameter->most,
                        "%s, %zu", all[k]->name, p);
        }
    }
    ck_assert_ptr_null(organ_merge_method_named("mean"));
}
END_TEST

static Suite *merge_methods_suite(void)
{
    const suite_case cases[] = {{"values", {values_are_those_of_numpy, ends_and_single_models, table}},
                                {"choices",
                                 {keys_are_in_order_and_differ, equal_values_are_chosen_everywhere, random_choices,
                                  large_elements_are_likelier}},
                                {"parameters", {refused}}};
    return suite_of("merge_methods", cases, sizeof cases / sizeof *cases, NULL, NULL);
}

int main(void) { return run_suites((Suite *const[]){merge_methods_suite(), moments_fit_suite(), NULL}); }

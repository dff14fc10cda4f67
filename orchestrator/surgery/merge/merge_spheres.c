/* SPDX-License-Identifier: MIT
 * Methods whose result is a linear combination of vectors: a whole tensor (or a row of it) of each model, or its
 * difference from the base. The factors follow from the lengths of the vectors and the angles between them, so one pass
 * that computes the matrix of their products in FP64 is enough, also for the iterations of `karcher`. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>
#include <string.h>

/* Most vectors of a combination; the recipe has no more models. */
#define SPHERE_MOST ORGAN_MERGE_INPUTS

/* Vectors of a task: products has vectors x vectors elements, of which those with i <= j are set. */
typedef struct sphere_vectors {
    size_t count;
    const double *products;
} sphere_vectors;

static double sphere_product(const sphere_vectors *v, size_t i, size_t j)
{
    return v->products[i < j ? i * v->count + j : j * v->count + i];
}

static double sphere_norm(const sphere_vectors *v, size_t i) { return sqrt(sphere_product(v, i, i)); }

/* Returns the product of two combinations of the vectors. */
static double sphere_combined(const sphere_vectors *v, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < v->count; i++)
        for (size_t j = 0; j < v->count; j++)
            sum += a[i] * b[j] * sphere_product(v, i, j);
    return sum;
}

static double sphere_length(const sphere_vectors *v, const double *a)
{
    return sqrt(fmax(sphere_combined(v, a, a), 0));
}

static double clamp(double x, double least, double most) { return fmin(fmax(x, least), most); }

/* ---- the factors of each method ---- */

/* Factors of the arc from vector 0 (t = 0) to vector 1, at an angle with this cosine; on a line if it is straight. */
static void sphere_arc(double t, double cosine, bool straight, double factors[2])
{
    const double angle = acos(cosine);
    factors[0] = straight ? 1 - t : sin((1 - t) * angle) / sin(angle);
    factors[1] = straight ? t : sin(t * angle) / sin(angle);
}

static const organ_merge_parameter slerp_parameters[] = {
    {.name = "t", .required = true, .most = 1, .about = "0: the base, 1: the other model"},
};

static organ_status slerp_factors(const organ_merge_task *task, const sphere_vectors *v, double *factors,
                                  organ_error *error)
{
    (void)error;
    const double zero = 1e-8, a = sphere_norm(v, 0), b = sphere_norm(v, 1);
    const double cosine = clamp(sphere_product(v, 0, 1) / ((a > zero ? a : 1) * (b > zero ? b : 1)), -1, 1);
    sphere_arc(organ_merge_value(task, 0, 0), cosine, fabs(cosine) > .9995, factors);
    return ORGAN_OK;
}

enum { NUSLERP_WEIGHT, NUSLERP_ROW_WISE, NUSLERP_FLATTEN };

static const organ_merge_parameter nuslerp_parameters[] = {
    [NUSLERP_WEIGHT] = ORGAN_MERGE_FACTOR("weight", "share of a model"),
    [NUSLERP_ROW_WISE] = ORGAN_MERGE_SWITCH("nuslerp_row_wise", 0,
                                            "an arc for each column of a matrix (mergekit's name says the reverse)"),
    [NUSLERP_FLATTEN] =
        ORGAN_MERGE_SWITCH("nuslerp_flatten", 1, "one arc for the whole tensor; else one for each row or column"),
};

/* How far nuslerp goes from the first model to the second. */
static double nuslerp_way(const organ_merge_task *task)
{
    const double first = organ_merge_value(task, NUSLERP_WEIGHT, 0),
                 second = organ_merge_value(task, NUSLERP_WEIGHT, 1);
    return fabs(first + second) < 1e-6 ? .5 : second / (first + second);
}

static void nuslerp_arc(double t, double aa, double ab, double bb, double factors[2])
{
    const double cosine = clamp(ab / (fmax(sqrt(aa), 1e-7) * fmax(sqrt(bb), 1e-7)), -1, 1);
    sphere_arc(t, cosine, 1 - cosine * cosine <= 1e-16, factors);
}

static organ_status nuslerp_factors(const organ_merge_task *task, const sphere_vectors *v, double *factors,
                                    organ_error *error)
{
    (void)error;
    nuslerp_arc(nuslerp_way(task), sphere_product(v, 0, 0), sphere_product(v, 0, 1), sphere_product(v, 1, 1), factors);
    return ORGAN_OK;
}

enum { MULTISLERP_WEIGHT, MULTISLERP_NORMALIZE, MULTISLERP_EPS };

static const organ_merge_parameter multislerp_parameters[] = {
    [MULTISLERP_WEIGHT] = ORGAN_MERGE_FACTOR("weight", "share of a model"),
    [MULTISLERP_NORMALIZE] = ORGAN_MERGE_SWITCH("normalize_weights", 1, "divide the weights by their sum"),
    [MULTISLERP_EPS] = ORGAN_MERGE_NUMBER("eps", 1e-8, 0, INFINITY, "lengths below this count as 0"),
};

static organ_status multislerp_check(const organ_merge_task *task, organ_error *error)
{
    if (organ_merge_value(task, MULTISLERP_NORMALIZE, 0) == 0)
        return ORGAN_OK;
    return organ_merge_check_weights(task, MULTISLERP_WEIGHT, "normalize_weights", error);
}

/* Sets w to the weights, divided by their sum if the recipe says so. */
static void multislerp_weights(const organ_merge_task *task, double *w)
{
    double total = 0;
    for (size_t k = 0; k < task->inputs; k++)
        total += w[k] = organ_merge_value(task, MULTISLERP_WEIGHT, k);
    for (size_t k = 0; k < task->inputs && organ_merge_value(task, MULTISLERP_NORMALIZE, 0) != 0; k++)
        w[k] /= total;
}

/* The projections of the unit vectors u_k to the tangent space at their weighted mean m add up to 0 when they are
 * weighted: sum of w_k (u_k - (u_k m) m) = |M| m - |M| m, M being the mean before it has length 1. The point on the
 * sphere is therefore m itself, turned by eps. */
static organ_status multislerp_factors(const organ_merge_task *task, const sphere_vectors *v, double *factors,
                                       organ_error *error)
{
    const double eps = organ_merge_value(task, MULTISLERP_EPS, 0);
    double w[SPHERE_MOST], length = 0;
    multislerp_weights(task, w);
    for (size_t k = 0; k < v->count; k++) {
        factors[k] = w[k] / (sphere_norm(v, k) + eps);
        length += w[k] * sphere_norm(v, k);
    }
    const double mean = sphere_length(v, factors);
    if (v->count == 1) {
        factors[0] = 1;
    } else if (mean < eps && v->count == 2) {
        memcpy(factors, w, 2 * sizeof *w);
    } else if (mean < eps || mean == 0) {
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "weight: the weighted unit vectors add up to 0: there is no direction "
                          "between them");
    } else {
        for (size_t k = 0; k < v->count; k++)
            factors[k] *= cos(eps) * length / mean;
    }
    return ORGAN_OK;
}

enum { KARCHER_ITERATIONS, KARCHER_TOLERANCE };

static const organ_merge_parameter karcher_parameters[] = {
    [KARCHER_ITERATIONS] = {.name = "max_iter",
                            .kind = ORGAN_MERGE_WHOLE,
                            .fallback = 10,
                            .most = 100000,
                            .about = "most steps towards the mean"},
    [KARCHER_TOLERANCE] =
        ORGAN_MERGE_NUMBER("tol", 1e-5, 0, INFINITY, "stops at steps shorter than this; shorter vectors count as 0"),
};

/* One step from the mean, a combination `m` of the vectors, along the tangent. `unit` has 1 / length of each vector, 0
 * for those that take no part. Returns false if the step is shorter than `tolerance`. */
static bool karcher_step(const sphere_vectors *v, const double *unit, double share, double tolerance, double *m)
{
    double tangent[SPHERE_MOST] = {0};
    for (size_t k = 0; k < v->count; k++) {
        double product = 0;
        for (size_t j = 0; j < v->count; j++)
            product += m[j] * unit[k] * sphere_product(v, j, k);
        const double cosine = clamp(product, -1, 1), angle = acos(cosine);
        if (unit[k] == 0 || angle < tolerance)
            continue;
        const double factor = share * angle / sin(angle);
        tangent[k] += factor * unit[k];
        for (size_t j = 0; j < v->count; j++)
            tangent[j] -= factor * cosine * m[j];
    }
    const double step = sphere_length(v, tangent);
    if (step < tolerance || step == 0)
        return false;
    for (size_t k = 0; k < v->count; k++)
        m[k] = cos(step) * m[k] + sin(step) * tangent[k] / step;
    const double length = sphere_length(v, m);
    for (size_t k = 0; k < v->count && length > tolerance; k++)
        m[k] /= length;
    return true;
}

static organ_status karcher_factors(const organ_merge_task *task, const sphere_vectors *v, double *factors,
                                    organ_error *error)
{
    (void)error;
    const double tolerance = organ_merge_value(task, KARCHER_TOLERANCE, 0);
    double unit[SPHERE_MOST], scale = 0;
    size_t valid = 0, first = SIZE_MAX;
    for (size_t k = 0; k < v->count; k++) {
        const double norm = sphere_norm(v, k);
        unit[k] = norm > tolerance ? 1 / norm : 0;
        valid += unit[k] > 0;
        first = unit[k] > 0 && first == SIZE_MAX ? k : first;
        scale += norm / (double)v->count;
        factors[k] = unit[k];
    }
    if (v->count == 1)
        factors[0] = 1;
    if (v->count == 1 || !valid)
        return ORGAN_OK;
    const double mean = sphere_length(v, factors);
    for (size_t k = 0; k < v->count; k++)
        factors[k] = mean / (double)valid < tolerance ? (k == first) * unit[k] : factors[k] / mean;
    for (unsigned n = (unsigned)organ_merge_value(task, KARCHER_ITERATIONS, 0); n; n--)
        if (!karcher_step(v, unit, 1 / (double)valid, tolerance, factors))
            break;
    for (size_t k = 0; k < v->count; k++)
        factors[k] *= scale;
    return ORGAN_OK;
}

static const organ_merge_parameter stock_parameters[] = {
    ORGAN_MERGE_SWITCH("filter_wise", 0, "a ratio for each row of a matrix"),
};

/* Jang et al. 2024 (arXiv 2403.19522), equation 8: t = N c / (1 + (N - 1) c), the result t mean + (1 - t) base. */
static organ_status stock_factors(const organ_merge_task *task, const sphere_vectors *v, double *factors,
                                  organ_error *error)
{
    (void)task, (void)error;
    const double n = (double)v->count;
    double cosines = 0;
    for (size_t i = 0; i < v->count; i++)
        for (size_t j = i + 1; j < v->count; j++)
            cosines += clamp(sphere_product(v, i, j) / fmax(sphere_norm(v, i) * sphere_norm(v, j), 1e-6), -1, 1);
    const double cosine = cosines / (n * (n - 1) / 2), divisor = 1 + (n - 1) * cosine;
    for (size_t k = 0; k < v->count; k++)
        factors[k] = fabs(divisor) < 1e-6 ? 0 : cosine / divisor;
    return ORGAN_OK;
}

/* ---- the passes ---- */

/* The properties in which the spherical methods differ: organ_merge_method.kind. */
typedef struct sphere_kind {
    organ_status (*factors)(const organ_merge_task *task, const sphere_vectors *vectors, double *factors,
                            organ_error *error);
    bool from_base; /* vector 0 is the base, the inputs follow; else vectors are the inputs less the base */
    size_t rows;    /* index of the flag by which each row or column is a vector of its own; SIZE_MAX: none */
    bool flatten;   /* the flag means the opposite, and the one before it chooses columns (nuslerp) */
} sphere_kind;

/* How a tensor is divided into vectors. */
typedef enum sphere_division { SPHERE_WHOLE, SPHERE_BY_ROW, SPHERE_BY_COLUMN } sphere_division;

static const sphere_kind *kind_of(const organ_merge_task *task) { return task->method->kind; }

static sphere_division sphere_division_of(const organ_merge_task *task)
{
    const sphere_kind *const kind = kind_of(task);
    if (kind->rows == SIZE_MAX || (organ_merge_value(task, kind->rows, 0) != 0) == kind->flatten)
        return SPHERE_WHOLE;
    return kind->flatten && task->rank > 1 && organ_merge_value(task, kind->rows - 1, 0) != 0 ? SPHERE_BY_COLUMN
                                                                                              : SPHERE_BY_ROW;
}

static size_t sphere_count(const organ_merge_task *task) { return task->inputs + kind_of(task)->from_base; }

/* Sets vectors[k] to the values of vector k; differences from a base are written to the strip's scratch memory. */
static void sphere_values(const organ_merge_task *task, const organ_merge_strip *strip, const float **vectors)
{
    const size_t n = organ_merge_strip_values(strip);
    const bool from_base = kind_of(task)->from_base;
    for (size_t k = 0; k < task->inputs; k++) {
        float *const delta = (float *)strip->scratch + k * n;
        vectors[k + from_base] = strip->base && !from_base ? delta : strip->input[k];
        if (strip->base && !from_base)
            organ_merge_delta(task->kernels, strip, k, delta);
    }
    if (from_base)
        vectors[0] = strip->base;
}

/* Adds the products of all pairs of n values of the vectors, from value `at` on, to `products`. */
static void sphere_add(const float *const *vectors, size_t count, size_t at, size_t n, double *products)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = i; j < count; j++)
            products[i * count + j] += organ_dot(vectors[i] + at, vectors[j] + at, n);
}

/* Computes n values of a combination in FP64, to which `base` is added; NULL: none. */
static void sphere_combine(const float *const *vectors, size_t count, const double *factors, const float *base,
                           size_t at, size_t n, float *out)
{
    for (size_t i = at; i < at + n; i++) {
        double sum = 0;
        for (size_t k = 0; k < count; k++)
            sum += factors[k] * (double)vectors[k][i];
        out[i] = (float)(base ? (double)base[i] + sum : sum);
    }
}

/* ---- the passes: state and sums are the products, count x count, and in the state the factors follow. By column they
 * are three products for each column of each matrix; the sums are preceded by the number of the matrix ---- */

static size_t sphere_state(const organ_merge_task *task)
{
    const size_t count = sphere_count(task);
    if (sphere_division_of(task) == SPHERE_BY_COLUMN)
        return 3 * task->shape.count * task->shape.cols * sizeof(double);
    return (count * count + count) * sizeof(double);
}

static size_t sphere_scratch(const organ_merge_task *task, size_t rows)
{
    return task->base && !kind_of(task)->from_base ? task->inputs * rows * task->shape.cols * sizeof(float) : 0;
}

static size_t sphere_sums(const organ_merge_task *task)
{
    const sphere_division division = sphere_division_of(task);
    if (division == SPHERE_BY_COLUMN)
        return 1 + 3 * task->shape.cols;
    return division == SPHERE_WHOLE ? sphere_count(task) * sphere_count(task) : 0;
}

static void sphere_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                        double *sums, uint64_t *counters)
{
    (void)state, (void)pass, (void)counters;
    const float *vectors[SPHERE_MOST + 1];
    sphere_values(task, strip, vectors);
    if (sphere_division_of(task) == SPHERE_WHOLE) {
        sphere_add(vectors, sphere_count(task), 0, organ_merge_strip_values(strip), sums);
        return;
    }
    double *const aa = sums + 1, *const ab = aa + strip->cols, *const bb = ab + strip->cols;
    sums[0] = (double)(strip->first / task->shape.rows);
    for (size_t row = 0; row < strip->rows; row++)
        for (size_t j = 0; j < strip->cols; j++) {
            const double a = (double)vectors[0][row * strip->cols + j], b = (double)vectors[1][row * strip->cols + j];
            aa[j] += a * a;
            ab[j] += a * b;
            bb[j] += b * b;
        }
}

static void sphere_fold(const organ_merge_task *task, void *state, unsigned pass, const double *sums)
{
    (void)pass;
    double *to = state;
    size_t n = sphere_sums(task);
    if (sphere_division_of(task) == SPHERE_BY_COLUMN) {
        n--;
        to += (size_t)*sums++ * n;
    }
    for (size_t k = 0; k < n; k++)
        to[k] += sums[k];
}

static organ_status sphere_next(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters,
                                bool *again, organ_error *error)
{
    (void)pass, (void)counters;
    const size_t count = sphere_count(task);
    *again = false;
    if (sphere_division_of(task) == SPHERE_BY_COLUMN)
        return ORGAN_OK;
    return kind_of(task)->factors(task, &(sphere_vectors){count, state}, (double *)state + count * count, error);
}

static void apply_by_column(const organ_merge_task *task, const double *products, const float *const *vectors,
                            const organ_merge_strip *strip, float *out)
{
    const size_t cols = strip->cols;
    const double way = nuslerp_way(task);
    const double *const aa = products + strip->first / task->shape.rows * 3 * cols;
    for (size_t j = 0; j < cols; j++) {
        double factors[2];
        nuslerp_arc(way, aa[j], aa[cols + j], aa[2 * cols + j], factors);
        for (size_t i = j; i < strip->rows * cols; i += cols) {
            const double sum = factors[0] * (double)vectors[0][i] + factors[1] * (double)vectors[1][i];
            out[i] = (float)(strip->base ? (double)strip->base[i] + sum : sum);
        }
    }
}

static void sphere_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const sphere_kind *const kind = kind_of(task);
    const sphere_division division = sphere_division_of(task);
    const size_t count = sphere_count(task);
    const float *vectors[SPHERE_MOST + 1], *const base = kind->from_base ? NULL : strip->base;
    double products[SPHERE_MOST * SPHERE_MOST], factors[SPHERE_MOST + 1];
    sphere_values(task, strip, vectors);
    if (division == SPHERE_BY_COLUMN)
        apply_by_column(task, state, vectors, strip, out);
    if (division == SPHERE_WHOLE)
        sphere_combine(vectors, count, (const double *)state + count * count, base, 0, organ_merge_strip_values(strip),
                       out);
    for (size_t row = 0; row < strip->rows && division == SPHERE_BY_ROW; row++) {
        memset(products, 0, count * count * sizeof *products);
        sphere_add(vectors, count, row * strip->cols, strip->cols, products);
        kind->factors(task, &(sphere_vectors){count, products}, factors, NULL);
        sphere_combine(vectors, count, factors, base, row * strip->cols, strip->cols, out);
    }
}

#define SPHERE_FUNCTIONS(NAME)                                                                                         \
    .parameters = NAME##_parameters, .parameter_count = sizeof NAME##_parameters / sizeof *NAME##_parameters,          \
    .state = sphere_state, .scratch = sphere_scratch, .sums = sphere_sums, .scan = sphere_scan, .fold = sphere_fold,   \
    .next = sphere_next, .apply = sphere_apply

const organ_merge_method organ_merge_slerp = {
    .name = "slerp",
    .about = "the arc from the base to another model",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .most = 1,
    .kind = &(const sphere_kind){.factors = slerp_factors, .from_base = true, .rows = SIZE_MAX},
    SPHERE_FUNCTIONS(slerp),
};

const organ_merge_method organ_merge_nuslerp = {
    .name = "nuslerp",
    .about = "the arc between two models, or between their differences from the base",
    .base = ORGAN_MERGE_BASE_OPTIONAL,
    .least = 2,
    .most = 2,
    .kind = &(const sphere_kind){.factors = nuslerp_factors, .rows = NUSLERP_FLATTEN, .flatten = true},
    SPHERE_FUNCTIONS(nuslerp),
};

const organ_merge_method organ_merge_multislerp = {
    .name = "multislerp",
    .about = "the weighted mean direction of any number of models, with their mean length",
    .base = ORGAN_MERGE_BASE_OPTIONAL,
    .least = 1,
    .check = multislerp_check,
    .kind = &(const sphere_kind){.factors = multislerp_factors, .rows = SIZE_MAX},
    SPHERE_FUNCTIONS(multislerp),
};

const organ_merge_method organ_merge_karcher = {
    .name = "karcher",
    .about = "the point of a sphere with the least squared angles to all models",
    .base = ORGAN_MERGE_BASE_INPUT,
    .least = 1,
    .kind = &(const sphere_kind){.factors = karcher_factors, .rows = SIZE_MAX},
    SPHERE_FUNCTIONS(karcher),
};

const organ_merge_method organ_merge_model_stock = {
    .name = "model_stock",
    .about = "the mean of the models, nearer to the base the more their differences from it point apart",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 2,
    .kind = &(const sphere_kind){.factors = stock_factors},
    SPHERE_FUNCTIONS(stock),
};

/* SPDX-License-Identifier: MIT
 * Prunes a tile by physarum v1 (docs/definitions/pruning.md): each weight is a tube with a conductivity D and food a =
 * |w| / mean |w|. Because the step is 1/2, `food` contains a / 2 and `tubes` contain 2 D. Scaling by two is exact. So
 * the update D' = fma(1/2, h, D / 2) becomes the single operation 2 D' = fma(1/2, 2 D, h), and the flow G = a D becomes
 * (a / 2)(2 D). Bits are the same except for subnormals, for which the scaled form is the definition. Each iteration
 * reads the row and column sums that the previous one computed; the last iteration prunes. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/quotient.h"

#define STEP           0.5f /* weight of the old conductivity (and of the response) in the update */
#define TWICE_SURVIVES 0.5f /* 2 tau: the threshold on 2 D */
/* Pulls and flows are clamped to these bounds: the response then saturates at 1 instead of becoming infinity /
 * infinity = NaN. */
#define STRONGEST_PULL 0x1p60f
#define STRONGEST_FLOW 0x1p126f
/* Added to Q^beta. It is too small to change a sum or a comparison, but keeps dying tubes from becoming subnormal,
 * which is slow. */
#define MIN_FLOW   0x1p-100f
#define ROWS_AHEAD 8 /* rows that are prefetched ahead */
/* The mixed tile computes FLOW_MIXED of 8 quotients without the divider. It finishes each vector FLOW_LAG vectors
 * after starting it, so that operations that depend on a quotient do not fill the scheduler. */
#define FLOW_LAG 5

typedef struct physarum_tile {
    const organ_physarum_params *params;
    size_t rows, cols, width;   /* `width` is cols rounded up to whole vectors; the padding is zero */
    float *food, *tubes;        /* rows x width */
    float *row_lanes;           /* 16 partial sums of the flow G for each row, for rows rounded up to whole vectors */
    float *row_pull;            /* factor of the flow of each row, times the gain g */
    float *col_sums, *col_pull; /* sum of G and factor of the flow of each column */
} physarum_tile;

typedef struct physarum_survey {
    double sum; /* sum of |w| */
    uint64_t zeros;
    uint32_t top; /* largest magnitude as bits */
} physarum_survey;

INLINE size_t round_up_to_vector(size_t n) { return (n + 15) / 16 * 16; }

/* Lanes past the last column are loaded as zeros, and their number is subtracted from the number of zeros. */
INLINE physarum_survey survey_tile(const void *weights, size_t rows, size_t cols, size_t stride,
                                   const enum element_type type)
{
    f64x16 sum = f64_set1(0);
    u32x16 top = u32_set1(0);
    uint64_t zeros = 0;
    for (size_t i = 0; i < rows; i++) {
        const size_t ahead = i + ROWS_AHEAD < rows ? ROWS_AHEAD * stride : 0;
        for (size_t j = 0; j < cols; j += 16) {
            const size_t at = i * stride + j;
            const f32x16 w =
                j + 16 <= cols ? load_elements(weights, at, type) : load_elements_part(weights, at, cols - j, type);
            const u32x16 magnitude = u32_and(f32_bits(w), u32_set1(MAGNITUDE));
            __builtin_prefetch((const char *)weights + element_size(type) * (at + ahead), 1);
            top = u32_max(top, magnitude);
            zeros += m32_count(u32_eq(magnitude, u32_set1(0)));
            sum = f64_add(sum, f64_of_f32(f32_of_bits(magnitude)));
        }
    }
    return (physarum_survey){f64_fold(sum), zeros - rows * (round_up_to_vector(cols) - cols), u32_top(top)};
}

SHARED uint64_t count_nonfinite(const void *weights, size_t rows, size_t cols, size_t stride,
                                const enum element_type type)
{
    uint64_t finite = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j += 16) {
            const size_t n = cols - j < 16 ? cols - j : 16;
            const f32x16 w = n == 16 ? load_elements(weights, i * stride + j, type)
                                     : load_elements_part(weights, i * stride + j, n, type);
            const u32x16 magnitude = u32_and(f32_bits(w), u32_set1(MAGNITUDE));
            finite += m32_count(u32_gt(u32_set1(INFINITE), magnitude)) - (16 - n);
        }
    return rows * cols - finite;
}

/* Divides `scratch` as organ_physarum_scratch counts it. Zeroes the sums that are read before they are written: the
 * column sums, and the row sums of the rows that pad the tile to whole vectors. */
INLINE physarum_tile physarum_lay_out(size_t rows, size_t cols, const organ_physarum_params *params, void *scratch)
{
    const size_t width = round_up_to_vector(cols), height = round_up_to_vector(rows);
    physarum_tile t = {.params = params, .rows = rows, .cols = cols, .width = width, .food = scratch};
    t.tubes = t.food + rows * width;
    t.row_lanes = t.tubes + rows * width;
    t.row_pull = t.row_lanes + 16 * height;
    t.col_sums = t.row_pull + height;
    t.col_pull = t.col_sums + width;
    for (size_t i = 16 * rows; i < 16 * height; i++)
        t.row_lanes[i] = 0;
    for (size_t j = 0; j < width; j++)
        t.col_sums[j] = 0;
    return t;
}

/* Sets food to a / 2 and tubes to 2 a, with a = |w| / mean, and computes the row and column sums of the flow. */
INLINE void physarum_initialise(const physarum_tile *t, const void *weights, size_t stride, float mean,
                                const enum element_type type)
{
    const f32x16 divisor = f32_set1(mean), half = f32_set1(0.5f);
    for (size_t i = 0; i < t->rows; i++) {
        f32x16 lanes = f32_set1(0);
        for (size_t j = 0; j < t->width; j += 16) {
            const size_t at = i * stride + j, to = i * t->width + j;
            const f32x16 w = j + 16 <= t->cols ? load_elements(weights, at, type)
                                               : load_elements_part(weights, at, t->cols - j, type);
            const f32x16 a = f32_div(f32_of_bits(u32_and(f32_bits(w), u32_set1(MAGNITUDE))), divisor);
            const f32x16 food = f32_mul(a, half), tube = f32_add(a, a), g = f32_mul(food, tube);
            f32_store(t->food + to, food);
            f32_store(t->tubes + to, tube);
            f32_store(t->col_sums + j, f32_add(f32_load(t->col_sums + j), g));
            lanes = f32_add(lanes, g);
        }
        f32_store(t->row_lanes + 16 * i, lanes);
    }
}

/* Returns the factor (mean / value)^(coupling / 2), which equalises rows or columns whose mean flow is `value`; `mean`
 * is the mean of the tile. The factor is 1 where `value` is 0. */
INLINE f32x16 physarum_pull(f32x16 mean, f32x16 value, float coupling)
{
    const f32x16 one = f32_set1(1.0f);
    if (coupling == 0.0f)
        return one;
    const f32x16 ratio = f32_div(mean, value);
    const f32x16 pull = coupling == 1.0f ? f32_sqrt(ratio) : f32_pow(ratio, f32_set1(0.5f * coupling));
    return f32_select(f32_gt(value, f32_set1(0)), pull, one);
}

/* The flow of a row or column is the mean of its weights' flows. The pull of a row includes the gain. Pulls are
 * clamped to STRONGEST_PULL. */
SHARED void physarum_compute_pulls(const physarum_tile *t)
{
    const size_t height = round_up_to_vector(t->rows);
    const f32x16 rows = f32_set1((float)t->rows), cols = f32_set1((float)t->cols);
    const f32x16 gain = f32_set1(t->params->gain), strongest = f32_set1(STRONGEST_PULL);
    f32x16 total = f32_set1(0);
    for (size_t i = 0; i < height; i += 16) {
        const f32x16 r = f32_div(f32_fold_rows(t->row_lanes + 16 * i), cols);
        f32_store(t->row_pull + i, r);
        total = f32_add(total, r);
    }
    const f32x16 mean = f32_set1(f32_fold(total) / (float)t->rows);
    for (size_t i = 0; i < height; i += 16) {
        const f32x16 pull = f32_mul(gain, physarum_pull(mean, f32_load(t->row_pull + i), t->params->coupling));
        f32_store(t->row_pull + i, f32_min(pull, strongest));
    }
    for (size_t j = 0; j < t->width; j += 16) {
        const f32x16 pull = physarum_pull(mean, f32_div(f32_load(t->col_sums + j), rows), t->params->coupling);
        f32_store(t->col_pull + j, f32_min(pull, strongest));
    }
}

/* Returns the term h = Q^beta / (1 + Q^beta) (Hill response) of the update 2 D' = fma(1/2, 2 D, h). Q is the flow
 * food x tube times `pull`, the product of the pulls of row and column. `square`: beta is 2; `estimated`: computes the
 * quotient without the divider, with the same bits. */
INLINE f32x16 physarum_response(f32x16 food, f32x16 tube, f32x16 pull, float beta, const int square,
                                const int estimated)
{
    const f32x16 q = f32_mul(f32_mul(food, tube), pull);
    const f32x16 min_flow = f32_set1(MIN_FLOW);
    const f32x16 power = square ? f32_fma(q, q, min_flow) : f32_add(f32_pow(q, f32_set1(beta)), min_flow);
    return estimated ? saturating_quotient_by_estimate(power)
                     : saturating_quotient(f32_min(power, f32_set1(STRONGEST_FLOW)));
}

/* Runs one iteration over all rows of a strip of `n` vectors from column `from` on. The column sums stay in
 * registers. Row sums start in the first strip and each vector adds one term, so their order does not depend on the
 * width of strips. With `mixed`, FLOW_MIXED of each 8 vectors, evenly spread, get their quotient without the divider,
 * and a vector is finished FLOW_LAG vectors after its response is computed (added[k]). */
INLINE void physarum_grow_strip(const physarum_tile *t, size_t from, const int square, const int mixed, const int n)
{
    const int lag = mixed ? FLOW_LAG : 0;
    f32x16 pull[FLOW_STRIP], sum[FLOW_STRIP], added[FLOW_STRIP];
    UNROLL for (int k = 0; k < n; k++)
    {
        pull[k] = f32_load(t->col_pull + from + 16 * k);
        sum[k] = f32_set1(0);
    }
    for (size_t i = 0; i < t->rows; i++) {
        const f32x16 row_pull = f32_set1(t->row_pull[i]);
        const float *food = t->food + i * t->width + from;
        float *tubes = t->tubes + i * t->width + from;
        f32x16 lanes = from > 0 ? f32_load(t->row_lanes + 16 * i) : f32_set1(0);
        UNROLL for (int k = 0; k < n + lag; k++)
        {
            const int done = k - lag, estimated = mixed && k * FLOW_MIXED % 8 < FLOW_MIXED;
            if (k < n) {
                const f32x16 a = f32_load(food + 16 * k), tube = f32_load(tubes + 16 * k);
                added[k] = physarum_response(a, tube, f32_mul(row_pull, pull[k]), t->params->beta, square, estimated);
            }
            if (done < 0)
                continue;
            const f32x16 tube = f32_fma(f32_set1(STEP), f32_load(tubes + 16 * done), added[done]);
            const f32x16 g = f32_mul(f32_load(food + 16 * done), tube);
            f32_store(tubes + 16 * done, tube);
            lanes = f32_add(lanes, g);
            sum[done] = f32_add(sum[done], g);
        }
        f32_store(t->row_lanes + 16 * i, lanes);
    }
    UNROLL for (int k = 0; k < n; k++) f32_store(t->col_sums + from + 16 * k, sum[k]);
}

/* Runs one iteration on all tubes of a tile, in strips as wide as the registers allow. `square`: beta is 2. `mixed`:
 * some quotients are computed without the divider (FLOW_MIXED). */
INLINE void physarum_grow_tubes(const physarum_tile *t, const int square, const int mixed)
{
    size_t from = 0;
    for (; from + 16 * FLOW_STRIP <= t->width; from += 16 * FLOW_STRIP)
        physarum_grow_strip(t, from, square, mixed, FLOW_STRIP);
    for (; FLOW_STRIP > 4 && from + 64 <= t->width; from += 64)
        physarum_grow_strip(t, from, square, mixed, 4);
    for (; from < t->width; from += 16)
        physarum_grow_strip(t, from, square, mixed, 1);
}

/* Runs the last iteration on row i of the tile. `row` has the weights of the row. Sets weights whose tubes end below
 * the threshold to +0. If `still` is 1, runs no iteration and compares the current tubes with the threshold. Returns
 * the number of weights whose tubes survive. */
INLINE uint64_t physarum_prune_row(const physarum_tile *t, size_t i, void *row, const enum element_type type,
                                   const int still, const int square)
{
    const f32x16 row_pull = f32_set1(still ? 0.0f : t->row_pull[i]);
    uint64_t kept = 0;
    for (size_t j = 0; j < t->cols; j += 16) {
        const size_t at = i * t->width + j, n = t->cols - j < 16 ? t->cols - j : 16;
        f32x16 tube = f32_load(t->tubes + at);
        if (!still)
            tube = f32_fma(f32_set1(STEP), tube,
                           physarum_response(f32_load(t->food + at), tube, f32_mul(row_pull, f32_load(t->col_pull + j)),
                                             t->params->beta, square, 0));
        const m32x16 alive = f32_ge(tube, f32_set1(TWICE_SURVIVES));
        kept += m32_count(alive);
        if (type == F32) {
            float *w = (float *)row + j;
            if (n == 16)
                f32_store(w, f32_of_bits(u32_keep(alive, f32_bits(f32_load(w)))));
            else
                f32_store_part(w, f32_of_bits(u32_keep(alive, f32_bits(f32_load_part(w, n)))), n);
        } else {
            uint16_t *w = (uint16_t *)row + j;
            if (n == 16)
                u16_store(w, u16_keep(m32_narrow(alive), u16_load(w)));
            else
                u16_store_part(w, u16_keep(m32_narrow(alive), u16_load_part(w, n)), n);
        }
    }
    return kept;
}

typedef void grow_tubes(const physarum_tile *t);
/* A copy of the tile on the stack lets the compiler keep its members in registers across the stores to the tubes. */
#define GROW_TUBES(name, square, mixed)                                                                                \
    SHARED void name(const physarum_tile *t)                                                                           \
    {                                                                                                                  \
        const physarum_tile own = *t;                                                                                  \
        physarum_grow_tubes(&own, square, mixed);                                                                      \
    }
GROW_TUBES(grow_by_square, 1, 0)
GROW_TUBES(grow_mixed, 1, 1)
GROW_TUBES(grow_by_power, 0, 0)

SHARED uint64_t prune_row_rarely(const physarum_tile *t, size_t i, void *row, enum element_type type, int still)
{
    return physarum_prune_row(t, i, row, type, still, /*square=*/0);
}

/* Runs the iterations on a tile and sets weights whose tube ends below the threshold to zero. Returns the number of
 * kept weights. The last iteration and the removal are one pass over the rows. */
INLINE uint64_t physarum_iterate(const physarum_tile *t, void *weights, size_t stride, const enum element_type type,
                                 grow_tubes *grow)
{
    const int iterations = t->params->iterations, square = t->params->beta == 2.0f;
    uint64_t kept = 0;
    for (int round = 1; round < iterations; round++) {
        physarum_compute_pulls(t);
        grow(t);
    }
    if (iterations > 0)
        physarum_compute_pulls(t);
    for (size_t i = 0; i < t->rows; i++) {
        void *row = (char *)weights + element_size(type) * i * stride;
        kept += square && iterations > 0 ? physarum_prune_row(t, i, row, type, /*still=*/0, /*square=*/1)
                                         : prune_row_rarely(t, i, row, type, iterations == 0);
    }
    return kept;
}

/* A tile that contains infinities or NaN, or whose mean |w| is 0 in FP32, stays unchanged. */
INLINE void physarum(void *weights, size_t rows, size_t cols, size_t stride, const organ_physarum_params *params,
                     void *scratch, organ_prune_counts *counts, const enum element_type type, grow_tubes *by_square)
{
    const uint64_t n = (uint64_t)rows * cols;
    const physarum_survey seen = survey_tile(weights, rows, cols, stride, type);
    *counts = (organ_prune_counts){0};
    if (seen.top >= INFINITE) {
        counts->nonfinite = count_nonfinite(weights, rows, cols, stride, type);
        return;
    }
    const float mean = (float)(seen.sum / (double)n);
    counts->zero_before = seen.zeros;
    counts->kept = n - seen.zeros;
    if (mean == 0.0f)
        return;
    const physarum_tile tile = physarum_lay_out(rows, cols, params, scratch);
    physarum_initialise(&tile, weights, stride, mean, type);
    counts->kept = physarum_iterate(&tile, weights, stride, type, params->beta == 2.0f ? by_square : grow_by_power);
    counts->killed = n - seen.zeros - counts->kept;
}

/* Defines the kernel physarum_NAME for weights of one storage type, and PHYSARUM_OF one whose iterations are `grow`. */
#define PHYSARUM_OF(name, word, type, grow)                                                                            \
    void KERNEL(physarum_##name)(word * weights, size_t rows, size_t cols, size_t stride,                              \
                                 const organ_physarum_params *params, void *scratch, organ_prune_counts *counts)       \
    {                                                                                                                  \
        prune_##type(weights, rows, cols, stride, params, scratch, counts, grow);                                      \
    }
#define PHYSARUM(name, word, type)                                                                                     \
    SHARED void prune_##type(word *weights, size_t rows, size_t cols, size_t stride,                                   \
                             const organ_physarum_params *params, void *scratch, organ_prune_counts *counts,           \
                             grow_tubes *by_square)                                                                    \
    {                                                                                                                  \
        physarum(weights, rows, cols, stride, params, scratch, counts, type, by_square);                               \
    }                                                                                                                  \
    PHYSARUM_OF(name, word, type, grow_by_square)
PHYSARUM(bf16, uint16_t, BF16)
PHYSARUM(f16, uint16_t, F16)
PHYSARUM(f32, float, F32)
#if FLOW_MIXED
DECLARE_PHYSARUM(avx512, _mixed)
PHYSARUM_OF(bf16_mixed, uint16_t, BF16, grow_mixed)
PHYSARUM_OF(f16_mixed, uint16_t, F16, grow_mixed)
PHYSARUM_OF(f32_mixed, float, F32, grow_mixed)
#endif

#endif

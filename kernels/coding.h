/* SPDX-License-Identifier: MIT
 * Kernels of GPTQ on a block of columns of 16 rows (organ_coding): codes columns one after another, and refits the
 * scales of groups. A lane stands for a row; the values of a column are adjacent. */

enum { CODING_COLUMNS = 8 };      /* columns whose values are in registers at the same time */
#define CODING_ROUNDING 0x1.8p23f /* adding it rounds to whole numbers, ties to even */
#define E4M3_LARGEST    448.0f
#define E4M3_LEAST      0x1p-6f   /* least normal E4M3 number */
#define E4M3_ROUNDING   0x1.8p20f /* adding it times 2^e rounds to eighths of 2^e */

/* Returns whether each lane is not 0. */
INLINE m32x16 coding_some(f32x16 a) { return u32_gt(u32_and(f32_bits(a), u32_set1(MAGNITUDE)), u32_set1(0)); }

/* Returns `quotient` rounded to the nearest code. */
INLINE f32x16 coding_nearest(const organ_coding *c, f32x16 quotient)
{
    if (c->e4m3) {
        const f32x16 within = f32_max(f32_min(quotient, f32_set1(E4M3_LARGEST)), f32_set1(-E4M3_LARGEST));
        const f32x16 power = f32_of_bits(u32_and(f32_bits(within), u32_set1(INFINITE))),
                     rounds = f32_mul(f32_max(power, f32_set1(E4M3_LEAST)), f32_set1(E4M3_ROUNDING));
        return f32_sub(f32_add(within, rounds), rounds);
    }
    const f32x16 within = f32_max(f32_min(quotient, f32_set1(c->high)), f32_set1(c->low)),
                 rounds = f32_set1(CODING_ROUNDING);
    return f32_sub(f32_add(within, rounds), rounds);
}

/* Returns the code nearest to x, as a number; 0 where the scale is 0. */
INLINE f32x16 coding_code(const organ_coding *c, f32x16 x, f32x16 scale, f32x16 minimum)
{
    const m32x16 some = coding_some(scale);
    const f32x16 quotient = f32_div(f32_sub(x, minimum), f32_select(some, scale, f32_set1(1)));
    return coding_nearest(c, f32_select(some, quotient, f32_set1(0)));
}

/* Returns the value of a code: code x scale + minimum; with minima in two roundings, like the decoders. */
INLINE f32x16 coding_value(const organ_coding *c, f32x16 code, f32x16 scale, f32x16 minimum)
{
    const f32x16 scaled = f32_mul(code, scale);
    return c->minima ? f32_add(scaled, minimum) : scaled;
}

/* Returns the scale of the group of column `column`. */
INLINE f32x16 coding_scale(const organ_coding *c, size_t column)
{
    return f32_load(c->scales + (size_t)c->groups[column] * c->stride);
}

/* Returns the minimum of that group; 0 without minima. */
INLINE f32x16 coding_minimum(const organ_coding *c, size_t column)
{
    return c->minima ? f32_load(c->minima + (size_t)c->groups[column] * c->stride) : f32_set1(0);
}

/* Codes column `column`, whose field is `field`. Returns by what the caller subtracts its row of the square from later
 * columns. */
INLINE f32x16 code_column(const organ_coding *c, size_t column, f32x16 field)
{
    const f32x16 scale = coding_scale(c, column), minimum = coding_minimum(c, column),
                 pivot = f32_set1(c->square[column * (c->square_stride + 1)]);
    const f32x16 old = c->descent ? f32_load(c->values + 16 * column) : f32_set1(0),
                 wanted = c->descent ? f32_add(old, f32_div(field, pivot)) : field;
    f32x16 value = coding_value(c, coding_code(c, wanted, scale, minimum), scale, minimum);
    if (c->keep)
        value = f32_select(coding_some(f32_load(c->keep + 16 * column)), value, f32_set1(0));
    f32_store(c->values + 16 * column, value);
    const f32x16 change = c->descent ? f32_sub(value, old) : f32_div(f32_sub(field, value), pivot);
    f32_store(c->changes + 16 * column, change);
    return change;
}

/* Codes columns first .. first + count - 1, at most CODING_COLUMNS, after those before them. */
INLINE void code_some(const organ_coding *c, size_t first, const size_t count)
{
    f32x16 field[CODING_COLUMNS];
    UNROLL for (size_t k = 0; k < count; k++) field[k] = f32_load(c->field + 16 * (first + k));
    for (size_t j = 0; j < first; j++) {
        const float *const row = c->square + j * c->square_stride + first;
        const f32x16 change = f32_load(c->changes + 16 * j);
        UNROLL for (size_t k = 0; k < count; k++) field[k] = f32_fnma(change, f32_set1(row[k]), field[k]);
    }
    UNROLL for (size_t k = 0; k < count; k++)
    {
        const f32x16 change = code_column(c, first + k, field[k]);
        const float *const row = c->square + (first + k) * c->square_stride + first;
        UNROLL for (size_t l = k + 1; l < count; l++) field[l] = f32_fnma(change, f32_set1(row[l]), field[l]);
    }
}

static void code_columns(const organ_coding *c)
{
    size_t first = 0;
    for (; first + CODING_COLUMNS <= c->n; first += CODING_COLUMNS)
        code_some(c, first, CODING_COLUMNS);
    for (; first < c->n; first++)
        code_some(c, first, 1);
}

/* Returns numbers rounded to the type in which scales are stored: F16 within its range, or BF16. */
INLINE f32x16 coding_stored(const organ_coding *c, f32x16 a)
{
    const f32x16 most = f32_set1(65504);
    if (c->f16)
        return f16_widen(f16_narrow(f32_max(f32_min(a, most), f32_sub(f32_set1(0), most))));
    return f32_of_bits(u32_and(bf16_rounded(a, u32_set1(0x7fc00000)), u32_set1(0xffff0000)));
}

/* Sets `by`, column by column, to the products of numbers of columns from .. to - 1, `codes`, with the square. */
INLINE void codes_by_square(const organ_coding *c, const float *codes, size_t from, size_t to, float *by)
{
    for (size_t first = 0; first < c->n; first += CODING_COLUMNS) {
        f32x16 sums[CODING_COLUMNS];
        UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) sums[k] = f32_set1(0);
        for (size_t j = from; j < to; j++) {
            const float *const row = c->square + j * c->square_stride + first;
            const f32x16 code = f32_load(codes + 16 * j);
            UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) sums[k] = f32_fma(code, f32_set1(row[k]), sums[k]);
        }
        UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) f32_store(by + 16 * (first + k), sums[k]);
    }
}

/* Returns the sum of a[k] b[k] over the columns from .. to - 1; a NULL: of b[k]. */
INLINE f32x16 coding_dot(const float *a, const float *b, size_t from, size_t to)
{
    f32x16 sum = f32_set1(0);
    for (size_t k = from; k < to; k++)
        sum = f32_fma(a ? f32_load(a + 16 * k) : f32_set1(1), f32_load(b + 16 * k), sum);
    return sum;
}

/* Returns a / b, 0 where b is not above 0. */
INLINE f32x16 coding_quotient(f32x16 a, f32x16 b)
{
    const m32x16 some = f32_gt(b, f32_set1(0));
    return f32_select(some, f32_div(a, f32_select(some, b, f32_set1(1))), f32_set1(0));
}

/* Steps of the scale and the minimum of a group. */
typedef struct coding_steps {
    f32x16 scale, minimum;
} coding_steps;

/* Returns the steps that lower the loss most, each number rounded to its stored type: first the scale together with an
 * exact minimum, then the minimum for that scale. 0 where the loss would not fall, or a scale would become 0 or change
 * its sign. `codes`: c; `by`: c times the square, then 1 times the square. */
INLINE coding_steps choose_steps(const organ_coding *c, const float *codes, const float *by, size_t from, size_t to,
                                 f32x16 scale, f32x16 minimum)
{
    const f32x16 zero = f32_set1(0), right = coding_dot(codes, c->field, from, to),
                 own = coding_dot(codes, by, from, to);
    f32x16 step = coding_quotient(right, own), lift = zero, right_1 = zero, own_1 = zero, both = zero;
    if (c->minima) {
        right_1 = coding_dot(NULL, c->field, from, to);
        own_1 = coding_dot(NULL, by + 16 * c->n, from, to);
        both = coding_dot(NULL, by, from, to);
        const f32x16 share = coding_quotient(both, own_1);
        step = coding_quotient(f32_fnma(share, right_1, right), f32_fnma(share, both, own));
    }
    const f32x16 stored = coding_stored(c, f32_add(scale, step));
    step = f32_sub(stored, scale);
    if (c->minima) {
        lift = coding_quotient(f32_fnma(step, both, right_1), own_1);
        lift = f32_sub(coding_stored(c, f32_add(minimum, lift)), minimum);
    }
    /* 2 (s r + m r1) - s (s M + m B) - m (s B + m M1); a number that is not finite fails the comparison */
    const f32x16 half = f32_fma(step, f32_fma(step, own, f32_mul(lift, both)),
                                f32_mul(lift, f32_fma(step, both, f32_mul(lift, own_1)))),
                 sum = f32_fma(step, right, f32_mul(lift, right_1)), gain = f32_sub(f32_add(sum, sum), half);
    const m32x16 better = m32_and(f32_gt(gain, zero), f32_gt(f32_mul(stored, scale), zero));
    return (coding_steps){f32_select(better, step, zero), f32_select(better, lift, zero)};
}

/* Refits scale and minimum of the group of columns from .. to - 1 (organ_kernels). `codes`, then 32 n floats more. */
INLINE void refit_group(const organ_coding *c, size_t from, size_t to, float *codes)
{
    float *const scales = c->scales + (size_t)c->groups[from] * c->stride,
                 *const minima = c->minima ? c->minima + (size_t)c->groups[from] * c->stride : NULL,
                 *const by = codes + 16 * c->n, *const by_1 = by + 16 * c->n;
    const f32x16 scale = coding_scale(c, from), minimum = coding_minimum(c, from);
    for (size_t j = from; j < to; j++)
        f32_store(codes + 16 * j, coding_code(c, f32_load(c->values + 16 * j), scale, minimum));
    codes_by_square(c, codes, from, to, by);
    if (minima) {
        for (size_t j = from; j < to; j++)
            f32_store(c->changes + 16 * j, f32_set1(1));
        codes_by_square(c, c->changes, from, to, by_1);
    }
    const coding_steps steps = choose_steps(c, codes, by, from, to, scale, minimum);
    f32_store(scales, f32_add(scale, steps.scale));
    if (minima)
        f32_store(minima, f32_add(minimum, steps.minimum));
    for (size_t k = 0; k < c->n; k++) {
        f32x16 field = f32_fnma(steps.scale, f32_load(by + 16 * k), f32_load(c->field + 16 * k));
        field = minima ? f32_fnma(steps.minimum, f32_load(by_1 + 16 * k), field) : field;
        f32_store(c->field + 16 * k, field);
    }
    for (size_t j = from; j < to; j++)
        f32_store(c->values + 16 * j,
                  coding_value(c, f32_load(codes + 16 * j), coding_scale(c, j), coding_minimum(c, j)));
}

/* Refits the numbers of all groups of the block, one after another (organ_kernels). */
static void refit_scales(const organ_coding *c, float *scratch)
{
    for (size_t from = 0, to; from < c->n; from = to) {
        for (to = from + 1; to < c->n && c->groups[to] == c->groups[from];)
            to++;
        refit_group(c, from, to, scratch);
    }
}

/* Transposes a matrix (organ_kernels). */
static void transpose(const float *from, size_t from_stride, float *to, size_t to_stride, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row += 16)
        for (size_t column = 0; column < cols; column += 16) {
            const size_t down = min_size(16, rows - row), across = min_size(16, cols - column);
            f32x16 square[16];
            for (size_t l = 0; l < 16; l++)
                square[l] = l < down ? f32_load_first(from + (row + l) * from_stride + column, across) : f32_set1(0);
            transpose_square(square);
            for (size_t l = 0; l < across; l++)
                f32_store_first(to + (column + l) * to_stride + row, square[l], down);
        }
}

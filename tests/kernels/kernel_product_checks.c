/* SPDX-License-Identifier: MIT
 * Checks of products: every table against fmaf in the defined order bit for bit, for many shapes, types, strides,
 * layouts and updates; bit identity for any division of a product. */
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WAYS = 3 * 3 * 2 * 2 * 3 * 2 }; /* types of a and of b, order of each, update of c, in FP32 or FP64 */
#define CHUNK 256

typedef struct product_case {
    size_t m, n, k, slack; /* elements between rows */
    int way;
    enum guarded_side side;
    void (*fill)(uint64_t seed, float *values, size_t n);
} product_case;

/* ---- expected results ---- */
static float value_of(const organ_product_operand *o, size_t row, size_t k)
{
    const size_t at = o->transposed ? k * o->stride + row : row * o->stride + k;
    if (o->type == ORGAN_REAL_F32)
        return ((const float *)o->values)[at];
    const uint32_t bits =
        reference_widen(o->type == ORGAN_REAL_BF16 ? reference_bf16 : reference_f16, ((const uint16_t *)o->values)[at]);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double met(double before, double total, organ_product_into into, int first)
{
    if (into == ORGAN_PRODUCT_SUBTRACT)
        return before - total;
    return into == ORGAN_PRODUCT_SET && first ? total : before + total;
}

static void reference_element(const organ_product *p, size_t i, size_t j)
{
    double *const wide = (double *)p->c + i * p->c_stride + j;
    float *const narrow = (float *)p->c + i * p->c_stride + j;
    for (size_t from = 0; from < p->k || (p->k == 0 && from == 0 && p->into == ORGAN_PRODUCT_SET); from += CHUNK) {
        float total = 0;
        for (size_t k = from; k < p->k && k < from + CHUNK; k++)
            total = fmaf(value_of(&p->a, i, k), value_of(&p->b, j, k), total);
        if (p->wide)
            *wide = met(*wide, (double)total, p->into, from == 0);
        else /* for two FP32 numbers, the FP64 sum rounded to FP32 is the FP32 sum */
            *narrow = (float)met((double)*narrow, (double)total, p->into, from == 0);
    }
    const uint64_t wide_nan = 0x7ff8000000000000;
    const uint32_t narrow_nan = 0x7fc00000;
    if (p->wide && isnan(*wide) && (p->k > 0 || p->into == ORGAN_PRODUCT_SET))
        memcpy(wide, &wide_nan, sizeof wide_nan);
    if (!p->wide && isnan(*narrow) && (p->k > 0 || p->into == ORGAN_PRODUCT_SET))
        memcpy(narrow, &narrow_nan, sizeof narrow_nan);
}

static void reference_product(const organ_product *p)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            reference_element(p, i, j);
}

/* ---- operands ---- */
static void fill_normal(uint64_t seed, float *values, size_t n)
{
    samples random = {seed};
    samples_fill(&random, NORMAL, values, n);
}

/* Fills with mostly ordinary numbers, and some infinities and NaN, which spread to the results that they reach. */
static void fill_special(uint64_t seed, float *values, size_t n)
{
    static const uint32_t special[] = {0x7f800000, 0xff800000, 0x7fc01234, 0xffa00001, 0x80000000,
                                       0,          1,          0x80000001, 0x007fffff, 0x7f7fffff,
                                       0xff7fffff, 0x00800000, 0x33800000, 0x38800000, 0x477fe000};
    samples random = {seed};
    samples_fill(&random, NORMAL, values, n);
    for (size_t k = 0; k < n; k++)
        if (samples_bits(&random) % 23 == 0)
            memcpy(values + k, &special[samples_bits(&random) % (sizeof special / sizeof *special)], sizeof *values);
}

/* Fills with zeros of both signs, subnormals, and numbers with subnormal products. */
static void fill_tiny(uint64_t seed, float *values, size_t n)
{
    static const float factors[] = {0, 0x1p-128f, 0x1p-70f, 0x1p-16f, 1};
    samples random = {seed};
    samples_fill(&random, LAPLACE, values, n);
    for (size_t k = 0; k < n; k++)
        values[k] *= factors[samples_bits(&random) % 5];
}

static guarded create_values(const product_case *c, size_t count, organ_real type, uint64_t seed)
{
    float *const values = malloc(count * sizeof *values + 1);
    guarded stored = guarded_create(count * (type == ORGAN_REAL_F32 ? 4 : 2), c->side, (unsigned)seed);
    if (!values)
        abort();
    c->fill(seed, values, count);
    if (type == ORGAN_REAL_F32 && count > 0)
        memcpy(stored.data, values, count * 4);
    else if (type == ORGAN_REAL_BF16)
        organ_kernels_scalar->f32_to_bf16(values, (uint16_t *)(void *)stored.data, count);
    else if (count > 0)
        organ_kernels_scalar->f32_to_f16(values, (uint16_t *)(void *)stored.data, count);
    free(values);
    return stored;
}

static size_t extent(size_t rows, size_t columns, size_t stride)
{
    return rows > 0 && columns > 0 ? (rows - 1) * stride + columns : 0;
}

static guarded create_operand(const product_case *c, size_t rows, organ_real type, bool transposed, uint64_t seed,
                              organ_product_operand *operand)
{
    const size_t stride = (transposed ? rows : c->k) + c->slack;
    const guarded stored =
        create_values(c, transposed ? extent(c->k, rows, stride) : extent(rows, c->k, stride), type, seed);
    *operand = (organ_product_operand){stored.data, type, transposed, stride};
    return stored;
}

/* Makes the matrix c with its values before the product. */
static guarded create_result(const product_case *c, bool wide, size_t stride, uint64_t seed)
{
    const size_t count = extent(c->m, c->n, stride);
    guarded before = create_values(c, count, ORGAN_REAL_F32, seed);
    if (!wide)
        return before;
    guarded doubles = guarded_create(count * 8, c->side, (unsigned)seed);
    for (size_t k = 0; k < count; k++)
        ((double *)(void *)doubles.data)[k] = (double)((const float *)(const void *)before.data)[k];
    guarded_destroy(&before);
    return doubles;
}

/* ---- cases ---- */
typedef struct case_rig {
    organ_product product;
    guarded a, b, c, scratch;
} case_rig;

static case_rig create_rig(const product_case *c, uint64_t seed)
{
    case_rig rig = {.product = {.m = c->m, .n = c->n, .k = c->k, .c_stride = c->n + c->slack}};
    organ_product *const p = &rig.product;
    const int way = c->way;
    p->into = (organ_product_into)(way / 36 % 3);
    p->wide = way / 108;
    rig.a = create_operand(c, c->m, (organ_real)(way % 3), way / 9 % 2, seed + 1, &p->a);
    rig.b = create_operand(c, c->n, (organ_real)(way / 3 % 3), way / 18 % 2, seed + 2, &p->b);
    rig.c = create_result(c, p->wide, p->c_stride, seed + 3);
    rig.scratch = guarded_create(ORGAN_PRODUCT_SCRATCH, c->side, 9);
    p->c = rig.c.data;
    return rig;
}

static int destroy_rig(case_rig *rig, uint64_t seed)
{
    const int intact = guarded_intact(&rig->a, (unsigned)seed + 1) && guarded_intact(&rig->b, (unsigned)seed + 2) &&
                       guarded_intact(&rig->c, (unsigned)seed + 3) && guarded_intact(&rig->scratch, 9);
    guarded_destroy(&rig->a), guarded_destroy(&rig->b), guarded_destroy(&rig->c), guarded_destroy(&rig->scratch);
    return intact;
}

static const char *check_case(const organ_kernels *kernels, const product_case *c, uint64_t seed)
{
    case_rig rig = create_rig(c, seed);
    organ_product expected = rig.product;
    guarded requested =
        guarded_create(rig.c.bytes, c->side, 10); /* mapped memory, because a kernel that faults never frees it */
    expected.c = requested.data;
    if (rig.c.bytes > 0)
        memcpy(expected.c, rig.c.data, rig.c.bytes);
    reference_product(&expected);
    kernels->product(&rig.product, rig.scratch.data);
    const int same = rig.c.bytes == 0 || memcmp(expected.c, rig.c.data, rig.c.bytes) == 0,
              intact = destroy_rig(&rig, seed);
    guarded_destroy(&requested);
    return same && intact
               ? NULL
               : kernel_fault("product %zu x %zu x %zu, slack %zu, way %d, seed %llu: %s", c->m, c->n, c->k, c->slack,
                              c->way, (unsigned long long)seed, same ? "out of bounds" : "not like fmaf");
}

const char *check_product_ways(const organ_kernels *kernels)
{
    const int step = (int)sampled_unless_all(1, 5, 7); /* each kind of each operand occurs, with different others */
    const char *fault = NULL;
    for (int way = 0; way < WAYS && !fault; way += step) {
        const product_case tile = {5, 18, 35, (size_t)way % 4, way, way % 2 ? GUARD_BEFORE : GUARD_BEHIND, fill_normal};
        const product_case chunks = {
            way % 3 == 0 ? 2 : 15, 7, 261, 3, way, way % 2 ? GUARD_BEHIND : GUARD_BEFORE, fill_tiny};
        fault = check_case(kernels, &tile, 100 + (uint64_t)way);
        fault = fault ? fault : check_case(kernels, &chunks, 500 + (uint64_t)way);
    }
    return fault;
}

/* Large sizes of each dimension with the others small, and all of them large. */
const char *check_product_shapes(const organ_kernels *kernels)
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 11, 12, 13, 15, 16, 17, 31, 32, 33, 47, 255, 256, 257, 513, 770};
    static const size_t others[][2] = {{1, 1}, {3, 17}, {29, 33}};
    const char *fault = NULL;
    uint64_t seed = 7;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t o = 0; o < sizeof others / sizeof *others; o++)
            for (int edge = 0; edge < 3 && !fault; edge++, seed++) {
                const size_t *const other = others[o];
                const product_case c = {edge == 0 ? sizes[s] : other[0],
                                        edge == 1 ? sizes[s] : other[edge > 0],
                                        edge == 2 ? sizes[s] : other[1],
                                        seed % 3,
                                        (int)(samples_bits(&(samples){seed}) % WAYS),
                                        seed % 2 ? GUARD_BEFORE : GUARD_BEHIND,
                                        fill_normal};
                fault = check_case(kernels, &c, seed);
            }
    const product_case large = {270, 70, 300, 1, 36, GUARD_BEHIND, fill_normal};
    return fault ? fault : check_case(kernels, &large, 3);
}

const char *check_product_extremes(const organ_kernels *kernels)
{
    const int step = (int)sampled_unless_all(1, 5, 7);
    const char *fault = NULL;
    for (int way = 0; way < WAYS && !fault; way += step) {
        const product_case c = {13, 33, way % 5 == 0 ? 259 : 9, 0, way, GUARD_BEHIND, fill_special};
        const product_case none = {3, 19, 0, 1, way, GUARD_BEHIND, fill_special};
        fault = check_case(kernels, &c, 900 + (uint64_t)way);
        fault = fault ? fault : check_case(kernels, &none, 1300 + (uint64_t)way);
    }
    return fault;
}

/* ---- division into parts ---- */
static organ_product_operand from_row(organ_product_operand o, size_t row)
{
    const size_t size = o.type == ORGAN_REAL_F32 ? 4 : 2;
    o.values = (const unsigned char *)o.values + row * (o.transposed ? 1 : o.stride) * size;
    return o;
}

static const char *check_cut(const organ_kernels *kernels, const product_case *c, size_t m, size_t n, uint64_t seed)
{
    case_rig whole = create_rig(c, seed), cut = create_rig(c, seed);
    kernels->product(&whole.product, whole.scratch.data);
    for (size_t i = 0; i < c->m; i += m)
        for (size_t j = 0; j < c->n; j += n) {
            organ_product part = cut.product;
            part.m = c->m - i < m ? c->m - i : m;
            part.n = c->n - j < n ? c->n - j : n;
            part.a = from_row(part.a, i);
            part.b = from_row(part.b, j);
            part.c = cut.c.data + (i * part.c_stride + j) * (part.wide ? 8 : 4);
            kernels->product(&part, cut.scratch.data);
        }
    const int same = memcmp(whole.c.data, cut.c.data, whole.c.bytes) == 0;
    destroy_rig(&whole, seed), destroy_rig(&cut, seed);
    return same ? NULL : kernel_fault("product %zu x %zu x %zu by %zu x %zu: other bits", c->m, c->n, c->k, m, n);
}

const char *check_product_cuts(const organ_kernels *kernels)
{
    static const size_t cuts[][2] = {{1, 100}, {100, 1}, {5, 7}, {16, 32}, {31, 17}, {13, 40}};
    const char *fault = NULL;
    for (size_t s = 0; s < sizeof cuts / sizeof *cuts && !fault; s++) {
        const product_case c = {45, 67, 600, 2, (int)(37 * s) % WAYS, GUARD_BEHIND, fill_tiny};
        fault = check_cut(kernels, &c, cuts[s][0], cuts[s][1], 2000 + s);
    }
    return fault;
}

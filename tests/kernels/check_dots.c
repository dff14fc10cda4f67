/* SPDX-License-Identifier: MIT
 * Tests of BF16 products: the model of AMX against the manual's sums, bit for bit; the model and this CPU's
 * instructions against FP64 with an error bound, for many shapes, types, strides and non-finite values; bit identity
 * for any division of a product. */
#include "orchestrator/machine/topology_parts.h"
#include "tests/kernels/dots_rig.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernel_reference.h"
#include "tests/kit/effort.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, STEP = 32, TERMS = 3 };

/* ---- tables of this CPU ---- */
static const organ_dots *present[3];
static int present_count;

static void find_present(void)
{
    const organ_cpu cpu = organ_cpu_detect();
    present[present_count++] = dots_model;
    if (cpu.avx512_bf16)
        present[present_count++] = organ_dots_avx512_bf16;
    else
        puts("skipped: products by AVX512-BF16, which this CPU does not have");
    if (cpu.amx && organ_ask_for_tiles())
        present[present_count++] = organ_dots_amx;
    else
        puts(cpu.amx ? "skipped: products by AMX, which the kernel does not let this program use; their blocking runs "
                       "over the model"
                     : "skipped: products by AMX, which this CPU does not have; their blocking runs over the model");
}

/* ---- operands ---- */
/* Forms of factors that BF16 arithmetic accepts in addition. */
typedef enum dots_form { USUAL, A_IN_BF16, B_BY_COLUMNS } dots_form;

typedef struct dots_case {
    size_t m, n, k, slack; /* elements between rows */
    organ_real type;       /* type of b */
    organ_compute compute;
    organ_product_into into;
    void (*fill)(uint64_t seed, float *values, size_t n);
    dots_form form;
} dots_case;

static void fill_normal(uint64_t seed, float *values, size_t n)
{
    samples random = {seed};
    samples_fill(&random, NORMAL, values, n);
}

static void fill_special(uint64_t seed, float *values, size_t n)
{
    static const uint32_t special[] = {0x7f800000, 0xff800000, 0x7fc01234, 0xffa00001, 0x7f800001, 0x80000000,
                                       0,          1,          0x807fffff, 0x7f7fffff, 0xff7fffff, 0x7f7f8000,
                                       0x00800000, 0x00810000, 0x33800000, 0x477fe000};
    samples random = {seed};
    samples_fill(&random, NORMAL, values, n);
    for (size_t k = 0; k < n; k++)
        if (samples_bits(&random) % 29 == 0)
            memcpy(values + k, &special[samples_bits(&random) % (sizeof special / sizeof *special)], sizeof *values);
}

/* Fills with zeros, subnormals, and values whose terms, products or sums are subnormal. */
static void fill_tiny(uint64_t seed, float *values, size_t n)
{
    static const float scales[] = {0, 0x1p-128f, 0x1p-118f, 0x1p-70f, 0x1p-16f, 1};
    samples random = {seed};
    samples_fill(&random, LAPLACE, values, n);
    for (size_t k = 0; k < n; k++)
        values[k] *= scales[samples_bits(&random) % (sizeof scales / sizeof *scales)];
}

typedef struct dots_rig {
    organ_product product;
    guarded a, b, c, scratch;
} dots_rig;

static guarded create_values(const dots_case *c, size_t rows, size_t columns, organ_real type, uint64_t seed)
{
    const size_t count = rows && columns ? (rows - 1) * (columns + c->slack) + columns : 0;
    const enum guarded_side side = seed % 2 ? GUARD_BEHIND : GUARD_BEFORE;
    guarded values = guarded_create(count * 4, GUARD_BEHIND, 1), words;
    c->fill(seed, (float *)(void *)values.data, count);
    if (type == ORGAN_REAL_F32)
        return values;
    words = guarded_create(count * 2, side, 2);
    (type == ORGAN_REAL_BF16 ? organ_kernels_scalar->f32_to_bf16 : organ_kernels_scalar->f32_to_f16)(
        (const float *)(const void *)values.data, (uint16_t *)(void *)words.data, count);
    guarded_destroy(&values);
    return words;
}

static dots_rig create_rig(const dots_case *c, uint64_t seed)
{
    const bool by_columns = c->form == B_BY_COLUMNS;
    const organ_real type_of_a = c->form == A_IN_BF16 ? ORGAN_REAL_BF16 : ORGAN_REAL_F32;
    dots_rig rig = {.a = create_values(c, c->m, c->k, type_of_a, seed),
                    .b = create_values(c, by_columns ? c->k : c->n, by_columns ? c->n : c->k, c->type, seed + 1),
                    .c = create_values(c, c->m, c->n, ORGAN_REAL_F32, seed + 2),
                    .scratch = guarded_create(ORGAN_PRODUCT_SCRATCH, GUARD_BEHIND, 3)};
    rig.product = (organ_product){.m = c->m,
                                  .n = c->n,
                                  .k = c->k,
                                  .a = {rig.a.data, type_of_a, false, c->k + c->slack},
                                  .b = {rig.b.data, c->type, by_columns, (by_columns ? c->n : c->k) + c->slack},
                                  .c = rig.c.data,
                                  .c_stride = c->n + c->slack,
                                  .into = c->into,
                                  .compute = c->compute};
    return rig;
}

static void destroy_rig(dots_rig *rig)
{
    guarded_destroy(&rig->a), guarded_destroy(&rig->b), guarded_destroy(&rig->c), guarded_destroy(&rig->scratch);
}

static const char *name_of(const dots_case *c)
{
    static const char *const types[] = {"F32", "BF16", "F16"}, *const computes[] = {"exact", "split", "bf16"};
    static char text[200];
    snprintf(text, sizeof text, "%s of %s, %zu x %zu x %zu, slack %zu, into %d", computes[c->compute], types[c->type],
             c->m, c->n, c->k, c->slack, (int)c->into);
    return text;
}

/* ---- expected results ---- */
static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float value_of(const organ_product_operand *o, size_t row, size_t k)
{
    const size_t at = o->transposed ? k * o->stride + row : row * o->stride + k;
    if (o->type == ORGAN_REAL_F32)
        return ((const float *)o->values)[at];
    return bits_float(reference_widen(o->type == ORGAN_REAL_BF16 ? reference_bf16 : reference_f16,
                                      ((const uint16_t *)o->values)[at]));
}

static float flushed(float value) { return fabsf(value) < FLT_MIN ? copysignf(0, value) : value; }

/* Returns term t of a value, rounded to BF16 in the simplest way. */
static float term_of(float value, int t, int terms)
{
    const float greatest = 0x1.fep127f;
    float term = bits_float((uint32_t)reference_narrow(reference_bf16, float_bits(value)) << 16);
    if (terms > 1 && isfinite(value) && !isfinite(term))
        term = copysignf(greatest, value);
    if (t == 0)
        return term;
    return isfinite(value) ? term_of(value - term, t - 1, terms) : 0;
}

/* Returns the tile instruction's sum of up to 32 products of term i with term j. */
static float dot_of(const organ_product *p, size_t row, size_t column, size_t from, size_t until, int i, int j,
                    int terms[2])
{
    float parts[2] = {0, 0};
    for (size_t k = from; k < until; k++) {
        const float a = term_of(value_of(&p->a, row, k), i, terms[0]),
                    b = term_of(value_of(&p->b, column, k), j, terms[1]);
        parts[k % 2] = flushed(fmaf(flushed(a), flushed(b), parts[k % 2]));
    }
    return flushed(parts[0] + parts[1]);
}

static float total_of(const organ_product *p, size_t row, size_t column, size_t from)
{
    static const int of_b[] = {[ORGAN_REAL_F32] = 3, [ORGAN_REAL_BF16] = 1, [ORGAN_REAL_F16] = 2};
    const bool split = p->compute == ORGAN_COMPUTE_SPLIT;
    int terms[2] = {split ? TERMS : 1, split ? of_b[p->b.type] : 1};
    const size_t until = p->k < from + CHUNK ? p->k : from + CHUNK;
    float total = 0;
    for (int order = terms[0] - 1; order >= 0; order--)
        for (int j = 0; j <= order && j < terms[1]; j++)
            for (size_t k = from; k < until; k += STEP)
                total = flushed(total +
                                dot_of(p, row, column, k, until < k + STEP ? until : k + STEP, order - j, j, terms));
    return total;
}

static float element_of(const organ_product *p, size_t row, size_t column)
{
    float c = ((const float *)p->c)[row * p->c_stride + column];
    for (size_t from = 0; from < p->k || (from == 0 && p->into == ORGAN_PRODUCT_SET); from += CHUNK) {
        const float total = total_of(p, row, column, from);
        if (p->into == ORGAN_PRODUCT_SUBTRACT)
            c -= total;
        else
            c = p->into == ORGAN_PRODUCT_SET && from == 0 ? total : c + total;
        if (isnan(c))
            c = bits_float(0x7fc00000);
    }
    return c;
}

/* ---- equality with the model ---- */
static void require_model_bits(const dots_case *c, uint64_t seed)
{
    dots_rig rig = create_rig(c, seed);
    organ_product *const p = &rig.product;
    float *const requested = malloc((rig.c.bytes + 1));
    ck_assert_ptr_nonnull(requested);
    memcpy(requested, rig.c.data, rig.c.bytes);
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            requested[i * p->c_stride + j] = element_of(p, i, j);
    dots_model->product(p, rig.scratch.data);
    if (memcmp(requested, rig.c.data, rig.c.bytes) != 0 || !guarded_intact(&rig.c, 1) ||
        !guarded_intact(&rig.scratch, 3))
        ck_abort_msg("%s, seed %llu: not the manual's sums", name_of(c), (unsigned long long)seed);
    free(requested);
    destroy_rig(&rig);
}

static const size_t sizes[] = {0, 1, 2, 3, 11, 12, 13, 15, 16, 17, 31, 32, 33, 47, 64, 65};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(model_has_the_manuals_sums)
{
    static void (*const fills[])(uint64_t, float *, size_t) = {fill_normal, fill_tiny, fill_special};
    const organ_real type = (organ_real)(_i % 3);
    const organ_compute compute = _i < 3 ? ORGAN_COMPUTE_SPLIT : ORGAN_COMPUTE_BF16;
    const size_t step = sampled_unless_all(1, 3, 3); /* other sizes for each type */
    uint64_t seed = 100 * (uint64_t)_i;
    for (size_t s = (size_t)_i % step; s < SIZES; s += step)
        for (int edge = 0; edge < 3; edge++, seed++) {
            const dots_case c = {edge == 0 ? sizes[s] : 5,
                                 edge == 1 ? sizes[s] : 18,
                                 edge == 2 ? sizes[s] : 35,
                                 seed % 4,
                                 type,
                                 compute,
                                 (organ_product_into)(seed % 3),
                                 fills[seed % 3],
                                 USUAL};
            require_model_bits(&c, seed);
        }
    const dots_case chunks = {3, 34, 300, 1, type, compute, (organ_product_into)(_i % 3), fill_tiny, USUAL};
    require_model_bits(&chunks, seed);
    if (type != ORGAN_REAL_BF16)
        return;
    /* more rows than a block has, so that blocks and strips take turns with their places in the scratch */
    const dots_case blocks = {
        compute == ORGAN_COMPUTE_SPLIT ? 70 : 262, 34, 260, 1, type, compute, ORGAN_PRODUCT_SET, fill_normal, USUAL};
    require_model_bits(&blocks, seed + 1);
}
END_TEST

/* ---- error bounds ---- */

/* Returns the bound of an error relative to the sum of |a b|, apart from flushed values, against FP64. split: roundings
 * of sums of at most 3 x 256 in FP32, and, for FP32 weights, the omitted products of terms, at most 2^-22. bf16: both
 * operands are rounded to 8 bits, BF16 weights not. */
static double share_of(const dots_case *c)
{
    if (c->compute == ORGAN_COMPUTE_SPLIT)
        return 0x1p-20;
    if (c->form == A_IN_BF16) /* nothing is rounded but the sums */
        return 0x1p-20;
    return (c->type == ORGAN_REAL_BF16 ? 0x1p-8 : 0x1.01p-7) + 0x1p-20;
}

static int is_large(const dots_case *c, float value)
{
    return !isfinite(value) || (c->compute == ORGAN_COMPUTE_BF16 && fabsf(value) >= 0x1.ffp127f);
}

static void require_within(const dots_case *c, const organ_product *p, size_t i, size_t j, float before,
                           const char *isa)
{
    double sum = c->into == ORGAN_PRODUCT_SET ? 0 : (double)before, all = fabs(sum), lost = 0;
    int large = !isfinite(before) && c->into != ORGAN_PRODUCT_SET;
    for (size_t k = 0; k < p->k; k++) {
        const double a = (double)value_of(&p->a, i, k), b = (double)value_of(&p->b, j, k);
        large |= is_large(c, (float)a) || is_large(c, (float)b);
        sum += c->into == ORGAN_PRODUCT_SUBTRACT ? -a * b : a * b;
        all += fabs(a * b);
        lost += 0x1p-122 * (1 + fabs(a) + fabs(b));
    }
    const float after = ((const float *)p->c)[i * p->c_stride + j];
    if (large && p->k > 0)
        ck_assert_msg(!isfinite(after), "%s, %s: %g of what is not finite", isa, name_of(c), (double)after);
    else if (!large && all < (double)FLT_MAX / 4 && !(fabs((double)after - sum) <= share_of(c) * all + lost))
        ck_abort_msg("%s, %s: %.9g in row %zu, column %zu, where it is %.9g", isa, name_of(c), (double)after, i, j,
                     sum);
    if (isnan(after) && p->k > 0)
        ck_assert_uint_eq(float_bits(after), 0x7fc00000);
}

static void require_bounds(const organ_dots *dots, const dots_case *c, uint64_t seed)
{
    dots_rig rig = create_rig(c, seed);
    organ_product *const p = &rig.product;
    float *const before = malloc(rig.c.bytes + 1);
    ck_assert_ptr_nonnull(before);
    memcpy(before, rig.c.data, rig.c.bytes);
    dots->product(p, rig.scratch.data);
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            require_within(c, p, i, j, before[i * p->c_stride + j], dots->isa);
    for (size_t i = 0; i + 1 < p->m; i++) /* elements between rows */
        ck_assert_mem_eq(before + i * p->c_stride + p->n, (float *)p->c + i * p->c_stride + p->n,
                         p->n ? c->slack * sizeof(float) : 0);
    ck_assert_msg(guarded_intact(&rig.c, 1) && guarded_intact(&rig.scratch, 3), "%s, %s: out of bounds", dots->isa,
                  name_of(c));
    free(before);
    destroy_rig(&rig);
}

/* Products of second moments have BF16 on both sides; those of attention have values by columns. */
START_TEST(bf16_accepts_further_forms)
{
    static const size_t depths[] = {1, 31, 32, 33, 255, 256, 257, 600};
    const organ_dots *const dots = present[_i / 2];
    const dots_form form = _i % 2 ? A_IN_BF16 : B_BY_COLUMNS;
    uint64_t seed = 50;
    for (size_t s = 0; s < SIZES; s++)
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++, seed++) {
            const dots_case c = {sizes[s],
                                 1 + seed % 70,
                                 depths[d],
                                 seed % 4,
                                 form == A_IN_BF16 ? ORGAN_REAL_BF16 : ORGAN_REAL_F32,
                                 ORGAN_COMPUTE_BF16,
                                 (organ_product_into)(seed % 3),
                                 seed % 5 ? fill_normal : fill_special,
                                 form};
            require_bounds(dots, &c, seed);
        }
}
END_TEST

START_TEST(sums_are_within_bounds)
{
    static void (*const fills[])(uint64_t, float *, size_t) = {fill_normal, fill_tiny, fill_special};
    static const size_t depths[] = {1, 31, 32, 33, 255, 256, 257, 600};
    const organ_dots *const dots = present[_i / 6];
    const organ_real type = (organ_real)(_i % 3);
    const organ_compute compute = _i / 3 % 2 ? ORGAN_COMPUTE_SPLIT : ORGAN_COMPUTE_BF16;
    const size_t step = sampled_unless_all(1, 3, 3);
    uint64_t seed = 1000 * (uint64_t)_i;
    for (size_t s = (size_t)_i % step; s < SIZES; s += step)
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++, seed++) {
            const dots_case rows = {
                sizes[s],        7,    depths[d], seed % 4, type, compute, (organ_product_into)(seed % 3),
                fills[seed % 3], USUAL};
            const dots_case columns = {13,
                                       sizes[s],
                                       depths[d],
                                       seed % 3,
                                       type,
                                       compute,
                                       (organ_product_into)(seed / 2 % 3),
                                       fills[seed / 3 % 3],
                                       USUAL};
            require_bounds(dots, &rows, seed);
            require_bounds(dots, &columns, seed);
        }
    const dots_case large = {530, 40, 290, 1, type, compute, ORGAN_PRODUCT_SET, fill_normal, USUAL};
    require_bounds(dots, &large, seed);
}
END_TEST

/* ---- division into parts ---- */
START_TEST(cuts_change_no_bit)
{
    static const size_t cuts[][2] = {{1, 100}, {100, 1}, {5, 7}, {16, 32}, {31, 17}, {13, 40}};
    const organ_dots *const dots = present[_i / 2];
    const dots_case c = {45,
                         67,
                         600,
                         2,
                         (organ_real)(_i % 3),
                         _i % 2 ? ORGAN_COMPUTE_SPLIT : ORGAN_COMPUTE_BF16,
                         ORGAN_PRODUCT_ADD,
                         fill_tiny,
                         USUAL};
    const size_t count = sampled_unless_all(sizeof cuts / sizeof *cuts, 3, 3);
    dots_rig whole = create_rig(&c, 77);
    dots->product(&whole.product, whole.scratch.data);
    for (size_t s = 0; s < count; s++) {
        dots_rig cut = create_rig(&c, 77);
        for (size_t i = 0; i < c.m; i += cuts[s][0])
            for (size_t j = 0; j < c.n; j += cuts[s][1]) {
                organ_product part = cut.product;
                part.m = c.m - i < cuts[s][0] ? c.m - i : cuts[s][0];
                part.n = c.n - j < cuts[s][1] ? c.n - j : cuts[s][1];
                part.a.values = cut.a.data + i * part.a.stride * 4;
                part.b.values = cut.b.data + j * part.b.stride * (c.type == ORGAN_REAL_F32 ? 4 : 2);
                part.c = cut.c.data + (i * part.c_stride + j) * 4;
                dots->product(&part, cut.scratch.data);
            }
        ck_assert_msg(memcmp(whole.c.data, cut.c.data, whole.c.bytes) == 0, "%s by %zu x %zu: other bits", name_of(&c),
                      cuts[s][0], cuts[s][1]);
        destroy_rig(&cut);
    }
    destroy_rig(&whole);
}
END_TEST

/* ---- accuracy of split ---- */

/* Returns the sum of squared errors of the elements. */
static double errors_of(const organ_product *p)
{
    double errors = 0;
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            double sum = 0;
            for (size_t k = 0; k < p->k; k++)
                sum += (double)value_of(&p->a, i, k) * (double)value_of(&p->b, j, k);
            sum -= (double)((const float *)p->c)[i * p->c_stride + j];
            errors += sum * sum;
        }
    return errors;
}

/* Compares errors with those of the exact product, which rounds as often as FP32 does; split has the errors of a
 * product of 24 bits. */
START_TEST(split_errs_like_the_exact_product)
{
    const organ_dots *const dots = present[_i / 3];
    const dots_case c = {40,          40,   2000, 0, (organ_real)(_i % 3), ORGAN_COMPUTE_SPLIT, ORGAN_PRODUCT_SET,
                         fill_normal, USUAL};
    dots_rig rig = create_rig(&c, 5);
    organ_kernels_scalar->product(&rig.product, rig.scratch.data);
    const double exact = errors_of(&rig.product);
    dots->product(&rig.product, rig.scratch.data);
    const double split = errors_of(&rig.product);
    ck_assert_msg(split < 1.5 * exact, "%s, %s: squared errors of %.3g, of the exact product %.3g", dots->isa,
                  name_of(&c), split, exact);
    rig.product.compute = ORGAN_COMPUTE_BF16;
    dots->product(&rig.product, rig.scratch.data);
    ck_assert_msg(errors_of(&rig.product) > 1e6 * exact, "bf16 rounds nothing");
    destroy_rig(&rig);
}
END_TEST

/* ---- dispatch ---- */
START_TEST(choice_goes_by_what_is_faster)
{
    const organ_kernels *const wide = organ_kernels_avx512;
    const organ_cpu none = {0}, amx = {.amx = 1}, both = {.amx = 1, .avx512_bf16 = 1}, slow = {.avx512_bf16 = 1},
                    fast = {.avx512_bf16 = 1, .dots_are_fast = 1};
    const struct {
        const organ_cpu *cpu;
        const organ_kernels *kernels;
        organ_compute compute;
        const organ_dots *dots;
        const char *why;
    } rows[] = {
        {&both, wide, ORGAN_COMPUTE_EXACT, NULL, ""},
        {&both, organ_kernels_scalar, ORGAN_COMPUTE_SPLIT, NULL, "BF16 products need AVX-512"},
        {&none, wide, ORGAN_COMPUTE_SPLIT, NULL, "neither AMX nor AVX512-BF16"},
        {&amx, wide, ORGAN_COMPUTE_SPLIT, organ_dots_amx, ""},
        {&both, wide, ORGAN_COMPUTE_BF16, organ_dots_amx, ""},
        {&slow, wide, ORGAN_COMPUTE_BF16, NULL, "no faster than exact"},
        {&fast, wide, ORGAN_COMPUTE_BF16, organ_dots_avx512_bf16, ""},
        {&fast, wide, ORGAN_COMPUTE_SPLIT, NULL, "slower than exact"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const char *why = NULL;
        const organ_dots *const dots = organ_dots_choose(*rows[k].cpu, rows[k].kernels, rows[k].compute, &why);
        ck_assert_msg(dots == rows[k].dots && (wide ? strstr(why, rows[k].why) != NULL : dots == NULL), "row %zu: %s",
                      k, why);
    }
}
END_TEST

int main(void)
{
    find_present();
    Suite *suite = suite_create("dots");
    TCase *tests = tcase_create("dots");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, model_has_the_manuals_sums, 0, 6);
    tcase_add_loop_test(tests, bf16_accepts_further_forms, 0, 2 * present_count);
    tcase_add_loop_test(tests, sums_are_within_bounds, 0, 6 * present_count);
    tcase_add_loop_test(tests, cuts_change_no_bit, 0, 2 * present_count);
    tcase_add_loop_test(tests, split_errs_like_the_exact_product, 0, 3 * present_count);
    tcase_add_test(tests, choice_goes_by_what_is_faster);
    suite_add_tcase(suite, tests);
    return run_suites((Suite *const[]){suite, NULL});
}

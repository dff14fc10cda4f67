/* SPDX-License-Identifier: MIT
 * Runs every family of the checker on every kernel table that this CPU supports; golden digests of masks; the choice of
 * a table, and merging of moments. */
#include "tests/kernels/check_codes.h"
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char *const isas[] = {"scalar", "avx2", "avx512", "avx512-mixed", "neon"};
enum { ISAS = sizeof isas / sizeof *isas };

static const organ_kernels *table_of(int isa)
{
    const char *why;
    return organ_kernels_choose(organ_cpu_detect(), isas[isa], &why);
}

/* Returns the number of tables to test. tests/run_tests.sh sets KERNEL_TABLES=scalar if only the scalar table is
 * sanitized; the other tables are then those of the native tree. */
static int tables_to_pass(void)
{
    const char *const tables = getenv("KERNEL_TABLES");
    return tables && strcmp(tables, "scalar") == 0 ? 1 : ISAS;
}

/* ---- every family on every table: index isa * families + family ---- */
START_TEST(table_passes_family)
{
    const organ_kernels *kernels = table_of(_i / (int)kernel_family_count);
    const kernel_family *family = &kernel_families[_i % (int)kernel_family_count];
    const bool same = kernels && kernels == organ_kernels_avx512_mixed && strstr(family->name, "physarum") == NULL;
    const char *fault = kernels && !same ? family->check(kernels) : NULL;
    ck_assert_msg(!fault, "%s, %s: %s", kernels ? kernels->isa : "", family->name, fault);
}
END_TEST

/* ---- golden digests ---- */
typedef struct golden {
    enum sample_shape shape;
    size_t rows, cols;
    uint64_t killed, digest;
} golden;
static const golden goldens[] = {
    {UNIFORM, 256, 256, 11465, 0x8870dd9f91814446},  {UNIFORM, 256, 64, 2868, 0x69a279b278a3440d},
    {UNIFORM, 200, 77, 2704, 0x6e73c740ee9299f8},    {NORMAL, 256, 256, 14354, 0x804e6d53431d5f0e},
    {NORMAL, 256, 64, 3503, 0xfadea7c108e0db37},     {NORMAL, 200, 77, 3305, 0xa5990d9838f5b1d6},
    {LAPLACE, 256, 256, 19280, 0x13c41996ce2f2c35},  {LAPLACE, 256, 64, 4841, 0xba0cfef987e7e25b},
    {LAPLACE, 200, 77, 4533, 0x9b6d08492ea207ac},    {STUDENT_T4, 256, 256, 16530, 0x77d1e0dd4f3f12d9},
    {STUDENT_T4, 256, 64, 4107, 0x75edaf6120b88507}, {STUDENT_T4, 200, 77, 3898, 0x35ba02359ac7b4f7},
};

/* Checks the mask of a seeded BF16 tile, one byte per element. To renew the table, run this test and review the printed
 * values. */
START_TEST(mask_is_golden)
{
    static float values[256 * 256];
    static uint16_t words[256 * 256];
    static unsigned char keep[256 * 256];
    const golden *g = &goldens[_i];
    const organ_physarum_params params = {30, 2, 1, 6};
    const size_t n = g->rows * g->cols;
    void *scratch = aligned_alloc(64, organ_physarum_scratch(g->rows, g->cols));
    ck_assert_ptr_nonnull(scratch);
    for (int isa = 0; isa < tables_to_pass(); isa++) {
        const organ_kernels *kernels = table_of(isa);
        organ_prune_counts counts;
        samples random = {1000 + (uint64_t)g->shape};
        if (!kernels)
            continue;
        samples_fill(&random, g->shape, values, n);
        kernels->f32_to_bf16(values, words, n);
        kernels->physarum_bf16(words, g->rows, g->cols, g->cols, &params, scratch, &counts);
        for (size_t j = 0; j < n; j++)
            keep[j] = (words[j] & 0x7fff) != 0;
        const uint64_t digest = XXH3_64bits(keep, n);
        ck_assert_msg(counts.killed == g->killed && digest == g->digest,
                      "%s: {%s, %zu, %zu, %llu, 0x%016llx}, %.2f %% killed", kernels->isa, sample_shape_name(g->shape),
                      g->rows, g->cols, (unsigned long long)counts.killed, (unsigned long long)digest,
                      100.0 * (double)counts.killed / (double)n);
    }
    free(scratch);
}
END_TEST

/* Values of fixtures/make_physarum_golden.py for a seeded tile. The digest covers one byte per element, 1 if the weight
 * is kept. */
enum { BF16, F16, F32 };
typedef struct tile_golden {
    char type[8], shape[16];
    size_t rows, cols;
    float beta, coupling;
    uint64_t seed, killed, digest;
} tile_golden;
enum { TILE_GOLDENS = 36 };

static tile_golden golden_of(int k)
{
    static const sample_column columns[] = {SAMPLE_COLUMN(tile_golden, type),   SAMPLE_COLUMN(tile_golden, shape),
                                            SAMPLE_COLUMN(tile_golden, rows),   SAMPLE_COLUMN(tile_golden, cols),
                                            SAMPLE_COLUMN(tile_golden, beta),   SAMPLE_COLUMN(tile_golden, coupling),
                                            SAMPLE_COLUMN(tile_golden, seed),   SAMPLE_COLUMN(tile_golden, killed),
                                            SAMPLE_COLUMN(tile_golden, digest), {0}};
    tile_golden tiles[TILE_GOLDENS];
    ck_assert_uint_eq(SAMPLES_READ("tests/kernels/physarum_golden.tsv", columns, tiles), TILE_GOLDENS);
    return tiles[k];
}

static int type_of(const tile_golden *g)
{
    if (strcmp(g->type, "F32") == 0)
        return F32;
    return strcmp(g->type, "F16") == 0 ? F16 : BF16;
}

static uint64_t digest_of(const void *words, size_t n, int type)
{
    uint64_t digest = 0xcbf29ce484222325; /* FNV-1a */
    for (size_t j = 0; j < n; j++) {
        const int kept = type == F32 ? ((const float *)words)[j] != 0 : (((const uint16_t *)words)[j] & 0x7fff) != 0;
        digest = (digest ^ (unsigned)kept) * 0x100000001b3;
    }
    return digest;
}

static void prune_golden(const organ_kernels *k, const tile_golden *g, const float *values, void *words, void *scratch,
                         organ_prune_counts *counts)
{
    const organ_physarum_params params = {30, g->beta, g->coupling, 6};
    const size_t n = g->rows * g->cols;
    if (type_of(g) == F32)
        memcpy(words, values, n * sizeof *values),
            k->physarum_f32(words, g->rows, g->cols, g->cols, &params, scratch, counts);
    else if (type_of(g) == F16)
        k->f32_to_f16(values, words, n), k->physarum_f16(words, g->rows, g->cols, g->cols, &params, scratch, counts);
    else
        k->f32_to_bf16(values, words, n), k->physarum_bf16(words, g->rows, g->cols, g->cols, &params, scratch, counts);
}

START_TEST(mask_is_the_oracles)
{
    static float values[256 * 256], words[256 * 256];
    const tile_golden tile = golden_of(_i), *const g = &tile;
    samples random = {g->seed};
    void *scratch = aligned_alloc(64, organ_physarum_scratch(g->rows, g->cols));
    ck_assert_ptr_nonnull(scratch);
    samples_fill(&random, sample_shape_named(g->shape), values, g->rows * g->cols);
    const int first = is_emulated() ? ISAS - 1 : 0, end = tables_to_pass(); /* emulated: neon only, which is last */
    for (int isa = first; isa < end; isa++) {
        const organ_kernels *kernels = table_of(isa);
        organ_prune_counts counts;
        if (!kernels)
            continue;
        prune_golden(kernels, g, values, words, scratch, &counts);
        const uint64_t digest = digest_of(words, g->rows * g->cols, type_of(g));
        ck_assert_msg(counts.killed == g->killed && digest == g->digest,
                      "%s, row %d: %llu killed instead of %llu, digest 0x%016llx", kernels->isa, _i,
                      (unsigned long long)counts.killed, (unsigned long long)g->killed, (unsigned long long)digest);
    }
    free(scratch);
}
END_TEST

/* ---- choice of a table ---- */
START_TEST(dispatch_takes_the_best)
{
    const char *why;
    const organ_cpu none = {0}, two = {.avx2 = 1}, all = {.avx2 = 1, .avx512 = 1, .neon = 1};
    const organ_kernels *const plain = organ_kernels_neon ? organ_kernels_scalar : organ_kernels_scalar_nofma;
    ck_assert_ptr_nonnull(plain);
    ck_assert_ptr_eq(organ_kernels_choose(none, NULL, &why), plain);
    ck_assert_ptr_eq(organ_kernels_choose(none, "", &why), plain);
    ck_assert_ptr_eq(organ_kernels_choose(none, "scalar", &why), plain);
    ck_assert_ptr_eq(organ_kernels_choose(two, "scalar", &why), organ_kernels_scalar);
    ck_assert_ptr_eq(organ_kernels_choose(two, NULL, &why),
                     organ_kernels_avx2 ? organ_kernels_avx2 : organ_kernels_scalar);
    ck_assert_ptr_eq(organ_kernels_choose(all, NULL, &why),
                     organ_kernels_avx512 ? organ_kernels_avx512 : organ_kernels_neon);
}
END_TEST

START_TEST(dispatch_obeys_or_says_why)
{
    const char *why = NULL;
    const organ_cpu none = {0}, all = {.avx2 = 1, .avx512 = 1, .neon = 1};
    const organ_kernels *const tables[] = {organ_kernels_scalar, organ_kernels_avx2, organ_kernels_avx512,
                                           organ_kernels_avx512_mixed, organ_kernels_neon};
    for (int isa = 0; isa < ISAS; isa++) {
        ck_assert_ptr_eq(organ_kernels_choose(all, isas[isa], &why), tables[isa]);
        if (tables[isa])
            ck_assert_str_eq(tables[isa]->isa, isas[isa]);
        else
            ck_assert_str_eq(why, "this build has no kernels for it");
    }
    for (int isa = 1; isa < ISAS; isa++) {
        ck_assert_ptr_null(organ_kernels_choose(none, isas[isa], &why));
        ck_assert_str_eq(why, tables[isa] ? "this CPU does not support it" : "this build has no kernels for it");
    }
    ck_assert_ptr_null(organ_kernels_choose(all, "AVX2", &why));
    ck_assert_str_eq(why, "unknown name; the names are scalar, avx2, avx512, avx512-mixed, neon");
    ck_assert_ptr_null(organ_kernels_choose(all, "sse2", &why));
}
END_TEST

START_TEST(twin_has_another_tile_alone)
{
    ck_assert_ptr_null(organ_kernels_other_tile(organ_kernels_scalar));
    if (!organ_kernels_avx512)
        return;
    organ_kernels twin = *organ_kernels_other_tile(organ_kernels_avx512);
    ck_assert(twin.physarum_bf16 != organ_kernels_avx512->physarum_bf16 &&
              twin.physarum_f32 != organ_kernels_avx512->physarum_f32);
    twin.isa = organ_kernels_avx512->isa;
    twin.physarum_bf16 = organ_kernels_avx512->physarum_bf16;
    twin.physarum_f16 = organ_kernels_avx512->physarum_f16;
    twin.physarum_f32 = organ_kernels_avx512->physarum_f32;
    ck_assert_mem_eq(&twin, organ_kernels_avx512, sizeof twin);
}
END_TEST

/* Without FMA the transcendental functions differ, with the same accuracy; all other kernels are those of the scalar
 * table. */
START_TEST(table_without_fma)
{
    const organ_kernels *const table = organ_kernels_scalar_nofma;
    if (!table)
        return;
    const char *const fault = check_math_tolerance(table);
    ck_assert_msg(!fault, "%s", fault);
    ck_assert_str_eq(table->isa, "scalar");
    for (size_t f = 0; f < kernel_family_count; f++)
        if (kernel_families[f].check == check_haar || kernel_families[f].check == check_moments ||
            kernel_families[f].check == check_zeros)
            ck_assert_msg(!kernel_families[f].check(table), "%s", kernel_families[f].name);
}
END_TEST

START_TEST(powers_are_asked_for)
{
    const organ_cpu none = {0}, two = {.avx2 = 1};
    const organ_physarum_params plain = {30, 2, 1, 6}, magnitude = {30, 2, 0, 6},
                                powers[] = {{30, 1.5f, 1, 6}, {30, 2, 0.5f, 6}};
    ck_assert_int_eq(organ_physarum_runs(none, &plain), 1);
    ck_assert_int_eq(organ_physarum_runs(none, &magnitude), 1);
    for (int p = 0; p < 2; p++) {
        ck_assert_int_eq(organ_physarum_runs(two, &powers[p]), 1);
        ck_assert_int_eq(organ_physarum_runs(none, &powers[p]), organ_kernels_neon != NULL);
    }
}
END_TEST

/* ---- scratch and moments ---- */
START_TEST(scratch_fits_or_is_refused)
{
    ck_assert_uint_eq(organ_physarum_scratch(256, 256), 4 * (2 * 65536 + 17 * 256 + 2 * 256));
    ck_assert_uint_eq(organ_physarum_scratch(1, 1), 4 * (2 * 16 + 17 * 16 + 2 * 16));
    for (size_t side = 1; side < 70; side++)
        ck_assert_uint_eq(organ_physarum_scratch(side, 70 - side) % 64, 0);
    ck_assert_uint_eq(organ_physarum_scratch(SIZE_MAX, 1), 0);
    ck_assert_uint_eq(organ_physarum_scratch(1, SIZE_MAX - 15), 0);
    ck_assert_uint_eq(organ_physarum_scratch(SIZE_MAX / 70, 1), 0);
    ck_assert_uint_eq(organ_physarum_scratch((size_t)1 << 32, (size_t)1 << 32), 0);
}
END_TEST

START_TEST(parts_of_moments_merge)
{
    static float values[10000];
    organ_moments empty, whole, merged, part;
    samples random = {3};
    samples_fill(&random, LAPLACE, values, 10000);
    for (size_t k = 0; k < 4000; k++)
        values[k] += 100; /* parts whose means differ much */
    organ_kernels_scalar->moments_f32(values, 0, &empty);
    ck_assert(empty.n == 0 && isinf(empty.min) && isinf(empty.max) && empty.min > 0 && empty.max < 0);
    merged = empty;
    for (size_t from = 0; from < 10000; from += 2500) {
        organ_kernels_scalar->moments_f32(values + from, 2500, &part);
        organ_moments_merge(&merged, &part);
        organ_moments_merge(&merged, &empty);
    }
    reference_moments(values, 10000, &whole);
    ck_assert_uint_eq(merged.n, 10000);
    ck_assert(merged.min == whole.min && merged.max == whole.max);
    ck_assert_double_eq_tol(merged.mean / whole.mean, 1, 1e-14);
    ck_assert_double_eq_tol(merged.m2 / whole.m2, 1, 1e-12);
    ck_assert_double_eq_tol(merged.m3 / whole.m3, 1, 1e-11);
    ck_assert_double_eq_tol(merged.m4 / whole.m4, 1, 1e-12);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    if (tables_to_pass() < ISAS)
        puts("sanitized: the scalar table; the others are not sanitized");
    TCase *tables = tcase_create("tables"), *rest = tcase_create("dispatch and moments");
    tcase_add_loop_test(tables, table_passes_family, 0, tables_to_pass() * (int)kernel_family_count);
    tcase_add_loop_test(tables, mask_is_golden, 0, (int)(sizeof goldens / sizeof *goldens));
    tcase_add_loop_test(tables, mask_is_the_oracles, 0, TILE_GOLDENS);
    tcase_add_test(rest, dispatch_takes_the_best);
    tcase_add_test(rest, dispatch_obeys_or_says_why);
    tcase_add_test(rest, twin_has_another_tile_alone);
    tcase_add_test(rest, table_without_fma);
    tcase_add_test(rest, powers_are_asked_for);
    tcase_add_test(rest, scratch_fits_or_is_refused);
    tcase_add_test(rest, parts_of_moments_merge);
    suite_add_tcase(suite, tables);
    suite_add_tcase(suite, rest);
    suite_add_tcase(suite, codes_case());
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* fork can hang in user-mode emulators */
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

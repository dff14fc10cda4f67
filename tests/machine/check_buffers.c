/* SPDX-License-Identifier: MIT
 * Tests of organ_buffers, and of the layouts of solve and prune: each computation holds at most the bytes that its
 * layout counts. Every array is an allocation of its own size, so AddressSanitizer reports accesses outside of it. */
#include "orchestrator/machine/buffers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/correction.h"
#include "orchestrator/solve/low_rank.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/physarum_v2_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the bytes that are held ---- */

static uint64_t held, most;

void *__real_organ_take(organ_buffers *b, size_t count, size_t each);
void *__real_organ_take_large(organ_buffers *b, size_t count, size_t each);
void *__real_organ_take_pages(organ_buffers *b, size_t count, size_t each);
void *__real_organ_take_zeros(organ_buffers *b, size_t count, size_t each);
void __real_organ_buffers_release(organ_buffers *b);
void *__wrap_organ_take(organ_buffers *b, size_t count, size_t each);
void *__wrap_organ_take_large(organ_buffers *b, size_t count, size_t each);
void *__wrap_organ_take_pages(organ_buffers *b, size_t count, size_t each);
void *__wrap_organ_take_zeros(organ_buffers *b, size_t count, size_t each);
void __wrap_organ_buffers_release(organ_buffers *b);

static void *seen(const organ_buffers *b, size_t bytes, void *array)
{
    held += b->counting ? 0 : bytes;
    most = held > most ? held : most;
    return array;
}

void *__wrap_organ_take(organ_buffers *b, size_t count, size_t each)
{
    return seen(b, count * each, __real_organ_take(b, count, each));
}

void *__wrap_organ_take_large(organ_buffers *b, size_t count, size_t each)
{
    return seen(b, count * each, __real_organ_take_large(b, count, each));
}

void *__wrap_organ_take_pages(organ_buffers *b, size_t count, size_t each)
{
    return seen(b, count * each, __real_organ_take_pages(b, count, each));
}

void *__wrap_organ_take_zeros(organ_buffers *b, size_t count, size_t each)
{
    return seen(b, count * each, __real_organ_take_zeros(b, count, each));
}

void __wrap_organ_buffers_release(organ_buffers *b)
{
    held -= b->bytes;
    __real_organ_buffers_release(b);
}

static void begin(void)
{
    ck_assert_uint_eq(held, 0);
    most = 0;
}

/* A computation has released all arrays, and held `counted` bytes at most, at least `share` of them. */
static void must_have_held(const char *what, uint64_t counted, double share)
{
    ck_assert_msg(held == 0, "%s: %llu bytes are not released", what, (unsigned long long)held);
    ck_assert_msg(most <= counted, "%s: holds %llu bytes, counts %llu", what, (unsigned long long)most,
                  (unsigned long long)counted);
    ck_assert_msg((double)most >= share * (double)counted, "%s: holds %llu bytes, counts %llu", what,
                  (unsigned long long)most, (unsigned long long)counted);
}

static organ_engine engine;

static void setup(void) { engine = make_engine(3, (uint64_t)1 << 30); }
static void teardown(void) { free_engine(&engine); }

static float *noise(uint64_t stream, size_t n)
{
    float *const values = malloc((n + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    organ_philox_normal(8, stream, 0, values, n);
    return values;
}

/* ---- organ_buffers ---- */

typedef struct three {
    float *a;
    char *b;
    double *c;
    size_t n;
} three;

static void lay_out_three(void *context, organ_buffers *b)
{
    three *const x = context;
    x->a = organ_take_floats(b, x->n, 3);
    x->b = organ_take_pages(b, x->n, 1);
    x->c = organ_take_zeros(b, x->n, sizeof *x->c);
    organ_take_beside(b, 1000);
}

START_TEST(one_function_counts_and_takes)
{
    three x = {.a = (float *)&x, .n = 7};
    organ_buffers b = {0};
    ck_assert_uint_eq(organ_buffers_count(lay_out_three, &x), 7 * (3 * sizeof(float) + 1 + sizeof(double)) + 1000);
    ck_assert_ptr_null(x.a);
    ck_assert(organ_buffers_take(&b, lay_out_three, &x));
    ck_assert_uint_eq(b.bytes, 7 * (3 * sizeof(float) + 1 + sizeof(double)));
    ck_assert_uint_eq((uintptr_t)x.a % 64, 0);
    ck_assert_uint_eq((uintptr_t)x.b % 4096, 0);
    ck_assert_uint_eq((uintptr_t)x.c % 16, 0);
    for (size_t k = 0; k < x.n; k++)
        ck_assert(x.c[k] == 0);
    organ_buffers_release(&b);
    ck_assert(!b.first && b.bytes == 0);
    x.n = 0;
    ck_assert(organ_buffers_take(&b, lay_out_three, &x));
    ck_assert(x.a && x.b && x.c);
    organ_buffers_release(&b);
}
END_TEST

/* Sizes that overflow count as too many bytes, and lack memory; no array is taken after that. */
START_TEST(too_many_bytes_are_lacking)
{
    organ_buffers counted = {.counting = true}, b = {0};
    ck_assert_ptr_null(__real_organ_take(&counted, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(__real_organ_take(&counted, 8, 1));
    organ_take_beside(&counted, UINT64_MAX);
    ck_assert_uint_eq(counted.bytes, ORGAN_BUFFERS_MOST);
    ck_assert_ptr_nonnull(__real_organ_take(&b, 1, 1));
    ck_assert_ptr_null(__real_organ_take(&b, SIZE_MAX / 2, 3));
    ck_assert(b.lacking);
    ck_assert_ptr_null(__real_organ_take_zeros(&b, 8, 1));
    __real_organ_buffers_release(&b);
    ck_assert(!b.lacking);
}
END_TEST

#ifdef __SANITIZE_ADDRESS__
/* The child writes one byte behind an array; AddressSanitizer ends it. */
START_TEST(a_byte_too_many_is_reported)
{
    const pid_t child = fork();
    int status = 0;
    if (child == 0) {
        organ_buffers b = {0};
        volatile char *const array = _i ? organ_take_zeros(&b, 65, 1) : organ_take(&b, 65, 1);
        (void)organ_take(&b, 65, 1);
        fclose(stderr);
        array[65] = 1;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}
END_TEST
#endif

/* ---- solve ---- */

START_TEST(factors)
{
    const size_t n = 300;
    float *const h = calloc(n * n, sizeof *h);
    bool definite = false;
    for (int whole = 0; whole < 2; whole++) {
        for (size_t k = 0; k < n * n; k++)
            h[k] = k % (n + 1) == 0 ? 2.0f : 0.001f;
        begin();
        ck_assert((whole ? organ_inverse_factor : organ_block_factor)(&engine, h, n, &definite) && definite);
        must_have_held("factor", organ_inverse_factor_memory(&engine, n), 1);
    }
    free(h);
}
END_TEST

START_TEST(dense_decompositions)
{
    const size_t rows = _i ? 40 : 90, cols = _i ? 90 : 40, rank = 13;
    float *const a = noise(1, rows * cols), *const u = noise(2, rank * rows), *const v = noise(2, rank * cols),
                 sigma[13];
    begin();
    ck_assert(organ_dense_svd(engine.kernels, a, rows, cols, rank, u, sigma, v));
    must_have_held("organ_dense_svd", organ_dense_svd_bytes(rows, cols, rank), 1);
    begin();
    ck_assert(organ_orthonormal(engine.kernels, a, cols, rows, rows, NULL));
    must_have_held("organ_orthonormal", organ_orthonormal_bytes(cols, rows), 1);
    free(a), free(u), free(v);
}
END_TEST

static organ_status copy_rows(void *context, uint64_t first, size_t rows, float *values, void *scratch,
                              organ_error *error)
{
    const organ_rows *const m = context;
    const float *const from = *(float *const *)(const void *)m->name;
    (void)scratch;
    memcpy(values, from + first * m->cols, rows * m->cols * sizeof *values);
    return error->status;
}

/* A decomposition by iteration (_i = 0), and one of the whole matrix; then the error of an approximation. */
START_TEST(low_rank)
{
    const size_t rows = 300, cols = 200, rank = 12;
    float *const w = noise(3, rows * cols);
    organ_rows source = {.rows = rows, .cols = cols, .name = (const char *)&w, .read = copy_rows};
    source.context = &source;
    const organ_low_rank_options options = {.rank = rank, .exact = _i == 1};
    const size_t workers = organ_workers_count(engine.workers);
    organ_error error = {0};
    organ_strips *strips = NULL;
    organ_svd svd;
    double rest;
    begin();
    ck_assert_int_eq(organ_strips_open(&source, &engine, /*hold=*/true, &strips, &error), ORGAN_OK);
    const uint64_t of_strips = held;
    ck_assert_int_eq(organ_low_rank(strips, &options, &svd, &error), ORGAN_OK);
    const uint64_t decomposed = most - of_strips, counted = organ_low_rank_bytes(rows, cols, &options, workers);
    ck_assert_msg(decomposed <= counted && (double)decomposed >= 0.9 * (double)counted, "%llu of %llu bytes",
                  (unsigned long long)decomposed, (unsigned long long)counted);
    most = held;
    ck_assert_int_eq(organ_residual(strips, svd.u, svd.vt, rank, &rest, &error), ORGAN_OK);
    ck_assert_uint_le(most - held, organ_residual_bytes(workers) + rows * sizeof rest);
    ck_assert_uint_ge(most - held, organ_residual_bytes(workers));
    organ_svd_release(&svd);
    organ_strips_close(strips);
    ck_assert_uint_eq(held, 0);
    free(w);
}
END_TEST

START_TEST(corrections)
{
    const size_t rows = 200, cols = 160, rank = 10;
    float *const e = noise(4, rows * cols), *const h = calloc(cols * cols, sizeof *h);
    organ_error error = {0};
    organ_correction c;
    for (size_t j = 0; j < cols; j++)
        h[j * (cols + 1)] = 1 + (float)j;
    begin();
    ck_assert_int_eq(organ_correct(&engine, "m", e, rows, &(organ_block_matrix){cols, cols, h}, rank, 1, &c, &error),
                     ORGAN_OK);
    organ_correction_release(&c);
    must_have_held("organ_correct", organ_correction_memory(&engine, rows, cols, rank), 0.8);
    free(e), free(h);
}
END_TEST

/* The three solvers: by inputs, by tokens, by blocks in memory and in a file. */
START_TEST(ridges)
{
    static const struct {
        size_t fit, held, blocks, width, used, outputs, largest;
        const char *solver, *scratch;
    } rows[] = {{200, 40, 2, 20, 2, 5, 0, "inputs", NULL},
                {30, 10, 4, 40, 2, 5, 0, "tokens", NULL},
                {700, 90, 3, 24, 2, 5, 10, "blocks", NULL},
                {700, 90, 3, 24, 2, 5, 10, "blocks", "."}};
    const size_t count = rows[_i].fit + rows[_i].held, wide = rows[_i].used * rows[_i].width;
    const organ_ridge_shape shape = {"ridge",          {rows[_i].fit, rows[_i].held},
                                     rows[_i].blocks,  rows[_i].width,
                                     rows[_i].used,    rows[_i].outputs,
                                     rows[_i].largest, rows[_i].scratch};
    float *const inputs = noise(5, count * wide), *const target = noise(6, count * shape.outputs);
    uint32_t *const blocks = calloc(count * shape.used, sizeof *blocks);
    organ_error error = {0};
    organ_ridge_choice choice;
    organ_ridge *ridge;
    for (size_t k = 0; k < count * shape.used; k++)
        blocks[k] = (uint32_t)(k % shape.used + k / shape.used % (shape.blocks - shape.used + 1));
    ck_assert_str_eq(organ_ridge_solved_by(&shape), rows[_i].solver);
    begin();
    ck_assert_int_eq(organ_ridge_open(&shape, &engine, &ridge, &error), ORGAN_OK);
    for (organ_ridge_part part = ORGAN_RIDGE_FIT; part <= ORGAN_RIDGE_HELD; part++) {
        const size_t first = part == ORGAN_RIDGE_HELD ? rows[_i].fit : 0;
        ck_assert_int_eq(organ_ridge_add(ridge, part, shape.tokens[part], blocks + first * shape.used,
                                         inputs + first * wide, target + first * shape.outputs, &error),
                         ORGAN_OK);
    }
    ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_OK);
    organ_ridge_close(ridge);
    must_have_held(rows[_i].solver, organ_ridge_memory(&engine, &shape), 0.9);
    free(inputs), free(target), free(blocks);
}
END_TEST

/* ---- prune ---- */

static uint64_t of_copies(const organ_calibration *c) /* FP32 copies of H */
{
    const organ_input_moments *const m = organ_calibration_moments(c);
    return 2 * organ_block_entries(m->features, m->block) * sizeof(float);
}

/* Each method, with a whole H and with one in blocks. The count excludes what the flow before ADMM needs. */
START_TEST(methods)
{
    static const struct {
        const char *name;
        organ_prune_method method;
        unsigned of;
        double share;
    } rows[] = {{"physarum-v2", ORGAN_PRUNE_PHYSARUM_V2, 0, 0.5},
                {"physarum-v2 2:4", ORGAN_PRUNE_PHYSARUM_V2, 4, 0.5},
                {"alps", ORGAN_PRUNE_ALPS, 0, 0.7},
                {"physarum-v3", ORGAN_PRUNE_PHYSARUM_V3, 0, 0.3},
                {"sparsegpt", ORGAN_PRUNE_SPARSEGPT, 0, 0.7},
                {"sparsegpt 2:4", ORGAN_PRUNE_SPARSEGPT, 4, 0.7}};
    layer l = make_layer();
    organ_engine little = engine;
    little.memory = 1 << 18;
    for (int whole = 0; whole < 2; whole++) {
        organ_calibration *const c = calibrate(whole ? &engine : &little, &l, /*two_streams=*/true, LAYER_TOKENS);
        ck_assert(whole == (organ_calibration_moments(c)->block == LAYER_COLS));
        const organ_prune_matrix_options options = {.method = rows[_i].method,
                                                    .sparsity = rows[_i].of ? 0 : 50,
                                                    .pattern = {rows[_i].of / 2, rows[_i].of},
                                                    .effort = 1};
        const bool flows = rows[_i].method == ORGAN_PRUNE_PHYSARUM_V2 || rows[_i].method == ORGAN_PRUNE_PHYSARUM_V3;
        const uint64_t beside =
            of_copies(c) + (flows ? organ_flow_memory(organ_workers_count(engine.workers)) + 4 * LAYER_COLS : 0);
        const uint64_t before = held;
        most = held;
        pruned p = prune_layer(&engine, &l, c, options);
        ck_assert_msg(!p.error.status, "%s", p.error.message);
        const uint64_t counted = organ_prune_matrix_memory(&engine, &options, LAYER_ROWS, LAYER_COLS) + beside;
        ck_assert_uint_eq(held, before);
        ck_assert_msg(most - before <= counted - LAYER_WEIGHTS, "%s: %llu bytes, counts %llu", rows[_i].name,
                      (unsigned long long)(most - before), (unsigned long long)counted);
        ck_assert_msg((double)(most - before) >= rows[_i].share * (double)counted, "%s: %llu bytes, counts %llu",
                      rows[_i].name, (unsigned long long)(most - before), (unsigned long long)counted);
        free_pruned(&p);
        organ_calibration_destroy(c);
    }
    free_layer(&l);
}
END_TEST

static organ_status take_band(void *context, size_t first, organ_error *error)
{
    (void)context, (void)first;
    return error->status;
}

START_TEST(bands)
{
    static const organ_prune_method ways[] = {ORGAN_PRUNE_MAGNITUDE, ORGAN_PRUNE_WANDA, ORGAN_PRUNE_PHYSARUM_V2};
    layer l = make_layer();
    organ_error error = {0};
    organ_calibration *const c = calibrate(&engine, &l, /*two_streams=*/true, LAYER_TOKENS);
    const organ_prune_matrix_options options = {
        .name = "m", .method = ways[_i], .sparsity = 50, .no_compensate = true, .effort = 1};
    organ_matrix_bands all = {.name = "m",
                              .rows = LAYER_ROWS,
                              .cols = LAYER_COLS,
                              .dtype = ORGAN_F32,
                              .band_rows = LAYER_ROWS,
                              .values = l.weights};
    uint8_t *const keep = malloc(LAYER_WEIGHTS);
    organ_prune_matrix_report report;
    const uint64_t before = held;
    most = held;
    ck_assert_int_eq(organ_prune_bands(&engine, &options, c, &all, keep, take_band, NULL, &report, &error), ORGAN_OK);
    const size_t workers = organ_workers_count(engine.workers);
    const uint64_t counted = ways[_i] == ORGAN_PRUNE_PHYSARUM_V2
                                 ? organ_flow_memory(workers) + LAYER_COLS * sizeof(float)
                                 : organ_rank_memory(&all, workers);
    ck_assert_uint_eq(held, before);
    ck_assert_uint_eq(most - before, counted);
    organ_calibration_destroy(c);
    free(keep);
    free_layer(&l);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"buffers", {one_function_counts_and_takes, too_many_bytes_are_lacking}},
                                {"solve", {factors, corrections}}};
    Suite *const suite = suite_of("buffers", cases, sizeof cases / sizeof *cases, setup, teardown);
    TCase *const loops = tcase_create("loops");
    tcase_set_timeout(loops, 60);
    tcase_add_checked_fixture(loops, setup, teardown);
    tcase_add_loop_test(loops, dense_decompositions, 0, 2);
    tcase_add_loop_test(loops, low_rank, 0, 2);
    tcase_add_loop_test(loops, ridges, 0, 4);
    tcase_add_loop_test(loops, methods, 0, 6);
    tcase_add_loop_test(loops, bands, 0, 3);
#ifdef __SANITIZE_ADDRESS__
    tcase_add_loop_test(loops, a_byte_too_many_is_reported, 0, 2);
#endif
    suite_add_tcase(suite, loops);
    return run_suites((Suite *const[]){suite, NULL});
}

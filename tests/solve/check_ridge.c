/* SPDX-License-Identifier: MIT
 * Tests of ridge regression over tokens: against FP64, by inputs, by tokens and block by block; bit identity;
 * errors. */
#include "orchestrator/machine/quantity.h"
#include <organ/stream.h>
#include "orchestrator/solve/ridge.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/samples.h"
#include "tests/solve/low_rank_rig.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Results of fixtures/make_ridge_golden.py. */
typedef struct golden_ridge {
    size_t fit, held, blocks, width, used, outputs;
    float noise;
    double before, rests[5], lambda, d[6]; /* of D for each k: block k, input 7 k, output k, modulo counts */
} golden_ridge;

enum { GOLDENS = 5 };
static golden_ridge golden_ridges[GOLDENS];

/* Fewer inputs than tokens, in parts of blocks and in full batches; more inputs, in whole blocks. */
static const struct {
    size_t golden, largest;
} many_blocks[] = {{2, 16}, {3, 100}};
#define MANY_BLOCKS (sizeof many_blocks / sizeof *many_blocks)

static organ_engine *engine;

static void set_up(void)
{
    static const sample_column columns[] = {
        SAMPLE_COLUMN(golden_ridge, fit),    SAMPLE_COLUMN(golden_ridge, held),   SAMPLE_COLUMN(golden_ridge, blocks),
        SAMPLE_COLUMN(golden_ridge, width),  SAMPLE_COLUMN(golden_ridge, used),   SAMPLE_COLUMN(golden_ridge, outputs),
        SAMPLE_COLUMN(golden_ridge, noise),  SAMPLE_COLUMN(golden_ridge, before), SAMPLE_COLUMN(golden_ridge, rests),
        SAMPLE_COLUMN(golden_ridge, lambda), SAMPLE_COLUMN(golden_ridge, d),      {0}};
    ck_assert_uint_eq(SAMPLES_READ("tests/solve/ridge_golden.tsv", columns, golden_ridges), GOLDENS);
    scratch_make();
    engine = named_engine(NULL, 2);
}

static void tear_down(void)
{
    organ_engine_destroy(engine);
    scratch_remove();
}

/* ---- tokens of fixtures/make_ridge_golden.py ---- */

typedef struct tokens {
    organ_ridge_shape shape;
    float *inputs, *target;
    uint32_t *blocks;
} tokens;

static float *filled(uint64_t seed, size_t n)
{
    samples s = {seed};
    float *const values = malloc(n * sizeof *values);
    samples_fill(&s, NORMAL, values, n);
    return values;
}

static int by_number(const void *a, const void *b) { return (int)*(const uint32_t *)a - (int)*(const uint32_t *)b; }

static tokens tokens_of(size_t golden)
{
    const size_t fit = golden_ridges[golden].fit, held = golden_ridges[golden].held,
                 blocks = golden_ridges[golden].blocks;
    const size_t width = golden_ridges[golden].width, used = golden_ridges[golden].used,
                 outputs = golden_ridges[golden].outputs;
    const size_t count = fit + held, wide = used * width;
    const float noise = golden_ridges[golden].noise;
    tokens t = {.shape = {"ridge", {fit, held}, blocks, width, used, outputs, 0, NULL},
                .inputs = filled(100 + 2 * golden, count * wide),
                .target = filled(101 + 2 * golden, count * outputs),
                .blocks = malloc(count * used * sizeof *t.blocks)};
    for (size_t k = 0; k < count; k++) {
        uint32_t *const own = t.blocks + k * used;
        for (size_t u = 0; u < used; u++)
            own[u] = (uint32_t)((k * (k + 3) / 2 + u) % blocks);
        qsort(own, used, sizeof *own, by_number);
        for (size_t o = 0; o < outputs; o++) {
            float *const to = &t.target[k * outputs + o];
            *to *= noise;
            for (size_t u = 0; u < used && noise < 1; u++)
                if (o * 11 % (blocks * width) / width == own[u])
                    *to += t.inputs[k * wide + u * width + o * 11 % width];
        }
    }
    return t;
}

static void tokens_free(tokens *t)
{
    free(t->inputs);
    free(t->target);
    free(t->blocks);
}

/* Adds all tokens, `each` per call; with `reversed`, the held-out ones first. */
static organ_ridge *ridge_of(const organ_engine *with, const tokens *t, const organ_ridge_shape *shape, size_t each,
                             bool reversed)
{
    organ_error error = {0};
    organ_ridge *ridge;
    ck_assert_msg(organ_ridge_open(shape, with, &ridge, &error) == ORGAN_OK, "%s", error.message);
    for (int turn = 0; turn < 2; turn++) {
        const organ_ridge_part part = (turn == 1) != reversed ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT;
        const size_t first = part == ORGAN_RIDGE_HELD ? shape->tokens[0] : 0;
        for (size_t from = 0; from < shape->tokens[part]; from += each) {
            const size_t at = first + from, some = organ_min(each, shape->tokens[part] - from);
            ck_assert_int_eq(
                organ_ridge_add(ridge, part, some, shape->blocks == 1 ? NULL : t->blocks + at * shape->used,
                                t->inputs + at * shape->used * shape->width, t->target + at * shape->outputs, &error),
                ORGAN_OK);
        }
    }
    return ridge;
}

/* Returns D of all blocks, blocks x outputs x width, which the caller frees. */
static float *solution_of(organ_ridge *ridge, const organ_ridge_shape *shape)
{
    const size_t block = shape->outputs * shape->width;
    float *const d = malloc(shape->blocks * block * sizeof *d);
    for (size_t b = 0; b < shape->blocks; b++)
        organ_ridge_block(ridge, b, d + b * block);
    return d;
}

/* ---- results ---- */

START_TEST(goldens)
{
    for (size_t g = 0; g < GOLDENS; g++) {
        tokens t = tokens_of(g);
        organ_error error = {0};
        organ_ridge_choice choice;
        organ_ridge *const ridge = ridge_of(engine, &t, &t.shape, 37, false);
        ck_assert_msg(organ_ridge_choose(ridge, &choice, &error) == ORGAN_OK, "%s", error.message);
        const double before = golden_ridges[g].before, *const rests = golden_ridges[g].rests;
        double least = choice.before;
        ck_assert_double_eq_tol(choice.before, before, 1e-5 * before);
        ck_assert_double_eq(choice.lambda, golden_ridges[g].lambda);
        for (size_t k = 0; k < ORGAN_RIDGE_LAMBDAS; k++) {
            REQUIRE_MSG(fabs(choice.rests[k] - rests[k]) <= 1e-5 * before, "golden %zu, lambda %zu: %g, not %g", g, k,
                        choice.rests[k], rests[k]);
            least = fmin(least, choice.rests[k]);
        }
        ck_assert_double_eq(choice.after, least);
        float *const d = solution_of(ridge, &t.shape);
        for (size_t k = 0; k < 6; k++) {
            const size_t at = (k % t.shape.blocks * t.shape.outputs + k % 2) * t.shape.width + 7 * k % t.shape.width;
            REQUIRE_MSG(fabs((double)d[at] - golden_ridges[g].d[k]) < 2e-6, "golden %zu, D %zu: %g, not %g", g, k,
                        (double)d[at], golden_ridges[g].d[k]);
        }
        free(d);
        organ_ridge_close(ridge);
        tokens_free(&t);
    }
}
END_TEST

/* Blocks that no token reaches make more inputs than tokens, and change nothing but the mean of the diagonal. */
START_TEST(by_tokens_is_by_inputs)
{
    for (size_t g = 0; g < GOLDENS; g++) {
        tokens t = tokens_of(g);
        organ_error error = {0};
        bool found;
        organ_ridge_shape more = t.shape;
        const size_t all = more.tokens[0] + more.tokens[1];
        if (t.shape.blocks == 1 || t.shape.blocks * t.shape.width > all) {
            tokens_free(&t);
            continue;
        }
        more.blocks = all / more.width + 2;
        organ_ridge *const inputs = ridge_of(engine, &t, &t.shape, all, false), *const by_tokens = ridge_of(
                                                                                    engine, &t, &more, all, false);
        ck_assert_int_eq(organ_ridge_solve(inputs, 0.1, &found, &error), ORGAN_OK);
        ck_assert(found);
        ck_assert_int_eq(
            organ_ridge_solve(by_tokens, 0.1 * (double)more.blocks / (double)t.shape.blocks, &found, &error), ORGAN_OK);
        ck_assert(found);
        float *const a = solution_of(inputs, &t.shape), *const b = solution_of(by_tokens, &more);
        const size_t own = t.shape.blocks * t.shape.outputs * t.shape.width;
        for (size_t k = 0; k < own; k++)
            REQUIRE_MSG(fabs((double)a[k] - (double)b[k]) < 2e-6, "golden %zu, %zu: %g and %g", g, k, (double)a[k],
                        (double)b[k]);
        for (size_t k = own; k < more.blocks * t.shape.outputs * t.shape.width; k++)
            REQUIRE(b[k] == 0);
        free(a);
        free(b);
        organ_ridge_close(inputs);
        organ_ridge_close(by_tokens);
        tokens_free(&t);
    }
}
END_TEST

/* Returns the distance of D from the solution of the joint matrix, relative to the latter. */
static double apart(organ_ridge *ridge, const organ_ridge_shape *shape, const float *joint)
{
    float *const d = solution_of(ridge, shape);
    double sum = 0, all = 0;
    for (size_t k = 0; k < shape->blocks * shape->outputs * shape->width; k++) {
        sum += ((double)d[k] - (double)joint[k]) * ((double)d[k] - (double)joint[k]);
        all += (double)joint[k] * (double)joint[k];
    }
    free(d);
    return sqrt(sum / all);
}

/* The first block-by-block solution is near that of the joint matrix, and each later one continues from there. */
START_TEST(blocks_converge_to_all_at_once)
{
    for (size_t k = 0; k < MANY_BLOCKS; k++) {
        tokens t = tokens_of(many_blocks[k].golden);
        organ_error error = {0};
        bool found;
        organ_ridge_shape blocks = t.shape;
        blocks.largest = many_blocks[k].largest;
        ck_assert_str_eq(organ_ridge_solved_by(&blocks), "blocks");
        organ_ridge *const joint = ridge_of(engine, &t, &t.shape, 37, false), *const ridge = ridge_of(
                                                                                  engine, &t, &blocks, 37, false);
        ck_assert_int_eq(organ_ridge_solve(joint, 0.1, &found, &error), ORGAN_OK);
        ck_assert(found);
        float *const target = solution_of(joint, &t.shape);
        for (size_t turn = 0; turn < 20; turn++) {
            ck_assert_int_eq(organ_ridge_solve(ridge, 0.1, &found, &error), ORGAN_OK);
            ck_assert(found);
            if (turn == 0)
                REQUIRE_MSG(apart(ridge, &blocks, target) < 0.2, "%zu: %g apart at first", k,
                            apart(ridge, &blocks, target));
        }
        REQUIRE_MSG(apart(ridge, &blocks, target) < 0.02, "%zu: %g apart at last", k, apart(ridge, &blocks, target));
        free(target);
        organ_ridge_close(joint);
        organ_ridge_close(ridge);
        tokens_free(&t);
    }
}
END_TEST

/* The chosen lambda is that of a joint matrix, with the same error on held-out tokens. */
START_TEST(blocks_choose_as_all_at_once)
{
    for (size_t k = 0; k < MANY_BLOCKS; k++) {
        const size_t g = many_blocks[k].golden;
        tokens t = tokens_of(g);
        organ_error error = {0};
        organ_ridge_choice choice;
        organ_ridge_shape blocks = t.shape;
        blocks.largest = many_blocks[k].largest;
        organ_ridge *const ridge = ridge_of(engine, &t, &blocks, 37, false);
        ck_assert_msg(organ_ridge_choose(ridge, &choice, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_double_eq(choice.lambda, golden_ridges[g].lambda);
        ck_assert_double_eq_tol(choice.before, golden_ridges[g].before, 1e-5 * choice.before);
        double least = choice.before;
        for (size_t l = 0; l < ORGAN_RIDGE_LAMBDAS; l++) {
            REQUIRE_MSG(fabs(choice.rests[l] / golden_ridges[g].rests[l] - 1) < 0.015,
                        "golden %zu, lambda %zu: %g, not %g", g, l, choice.rests[l], golden_ridges[g].rests[l]);
            least = fmin(least, choice.rests[l]);
        }
        ck_assert_double_eq(choice.after, least);
        organ_ridge_close(ridge);
        tokens_free(&t);
    }
}
END_TEST

/* Compares all tables, one and three threads, few and many tokens per call, memory and file. */
static void same_bits(const tokens *t, size_t largest)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    const char *why;
    const size_t count = t->shape.blocks * t->shape.outputs * t->shape.width;
    float *first = NULL;
    organ_ridge_choice reference = {0};
    for (size_t k = 0; k < 8; k++) {
        if (!organ_kernels_choose(organ_cpu_detect(), isas[k / 2], &why))
            continue;
        organ_error error = {0};
        organ_ridge_choice choice;
        organ_ridge_shape shape = t->shape;
        shape.largest = largest;
        shape.scratch = k % 2 ? scratch_path(".") : NULL;
        organ_engine *const other = named_engine(isas[k / 2], k % 2 ? 3 : 1);
        organ_ridge *const ridge = ridge_of(other, t, &shape, k % 2 ? 1000 : 7, k % 2);
        ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_OK);
        float *const d = solution_of(ridge, &shape);
        if (first) {
            ck_assert_mem_eq(d, first, count * sizeof *d);
            ck_assert_mem_eq(&choice, &reference, sizeof choice);
            free(d);
        } else {
            first = d;
            reference = choice;
        }
        organ_ridge_close(ridge);
        organ_engine_destroy(other);
    }
    free(first);
}

START_TEST(bits_depend_on_neither_table_nor_threads_nor_calls)
{
    for (size_t g = 1; g < 4; g++) {
        tokens t = tokens_of(g);
        same_bits(&t, 0);
        tokens_free(&t);
    }
}
END_TEST

START_TEST(bits_of_blocks_depend_on_nothing_either)
{
    for (size_t k = 0; k < MANY_BLOCKS; k++) {
        tokens t = tokens_of(many_blocks[k].golden);
        same_bits(&t, many_blocks[k].largest);
        tokens_free(&t);
    }
}
END_TEST

/* ---- errors ---- */

static void refused_shape(organ_ridge_shape shape)
{
    organ_error error = {0};
    organ_ridge *ridge;
    ck_assert_int_eq(organ_ridge_open(&shape, engine, &ridge, &error), ORGAN_USAGE);
    ck_assert_ptr_null(ridge);
}

START_TEST(shapes_without_anything)
{
    refused_shape((organ_ridge_shape){"r", {0, 1}, 1, 1, 1, 1, 0, NULL});
    refused_shape((organ_ridge_shape){"r", {1, 1}, 1, 0, 1, 1, 0, NULL});
    refused_shape((organ_ridge_shape){"r", {1, 1}, 1, 1, 0, 1, 0, NULL});
    refused_shape((organ_ridge_shape){"r", {1, 1}, 1, 1, 2, 1, 0, NULL});
    refused_shape((organ_ridge_shape){"r", {1, 1}, 1, 1, 1, 0, 0, NULL});
    refused_shape((organ_ridge_shape){"r", {(size_t)1 << 31, 1}, 1, (size_t)1 << 31, 1, 1, 0, NULL});
    ck_assert_uint_eq(
        organ_ridge_memory(
            engine, &(organ_ridge_shape){"r", {SIZE_MAX, SIZE_MAX}, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, 0, NULL}),
        UINT64_C(1) << 62);
    organ_ridge_close(NULL);
}
END_TEST

START_TEST(tokens_that_are_refused)
{
    const organ_ridge_shape shape = {"layer 3", {2, 1}, 1, 2, 1, 2, 0, NULL};
    float some[4] = {1, 2, 3, 4};
    organ_error error = {0};
    organ_ridge_choice choice;
    organ_ridge *ridge;
    bool found;
    ck_assert_int_eq(organ_ridge_open(&shape, engine, &ridge, &error), ORGAN_OK);
    some[3] = INFINITY;
    ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_FIT, 2, NULL, some, some, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(
        error.message,
        "layer 3: calibration token 1, input 1: the activation is inf; it must be finite and within 1e+15");
    error = (organ_error){0};
    ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_HELD, 1, NULL, some, some + 2, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message,
                     "layer 3: calibration token 0 of the held-out tokens, output 1: the activation is inf; "
                     "it must be finite and within 1e+15");
    error = (organ_error){0};
    ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_HELD, 2, NULL, some, some, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "layer 3: more calibration tokens than the declared 1");
    error = (organ_error){0};
    ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "layer 3: got 0 of the declared 2 calibration tokens");
    organ_ridge_close(ridge);
    const organ_ridge_shape none_held = {"layer 4", {1, 0}, 1, 2, 1, 2, 0, NULL};
    error = (organ_error){0};
    ck_assert_int_eq(organ_ridge_open(&none_held, engine, &ridge, &error), ORGAN_OK);
    ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "layer 4: there are no held-out calibration tokens");
    error = (organ_error){0};
    ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_FIT, 1, NULL, some, some, &error), ORGAN_OK);
    ck_assert_int_eq(organ_ridge_solve(ridge, 0.1, &found, &error), ORGAN_OK);
    ck_assert(found);
    organ_ridge_close(ridge);
}
END_TEST

/* Inputs that are all zero have no invertible matrix: D is 0 and nothing changes. */
START_TEST(inputs_that_are_zero)
{
    for (size_t width = 1; width < 9; width += 7) {
        const organ_ridge_shape shape = {"zeros", {3, 1}, 1, width, 1, 2, 0, NULL};
        const float zeros[24] = {0}, ones[6] = {1, 1, 1, 1, 1, 1};
        float d[16];
        organ_error error = {0};
        organ_ridge_choice choice;
        organ_ridge *ridge;
        bool found = true;
        ck_assert_int_eq(organ_ridge_open(&shape, engine, &ridge, &error), ORGAN_OK);
        ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_FIT, 3, NULL, zeros, ones, &error), ORGAN_OK);
        ck_assert_int_eq(organ_ridge_add(ridge, ORGAN_RIDGE_HELD, 1, NULL, zeros, ones, &error), ORGAN_OK);
        ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_OK);
        ck_assert(choice.lambda == 0 && choice.before == 2 && choice.after == 2 && isnan(choice.rests[0]));
        ck_assert_int_eq(organ_ridge_solve(ridge, 0.1, &found, &error), ORGAN_OK);
        ck_assert(!found);
        memset(d, 1, sizeof d);
        organ_ridge_block(ridge, 0, d);
        for (size_t k = 0; k < 2 * width; k++)
            ck_assert(d[k] == 0);
        organ_ridge_close(ridge);
    }
}
END_TEST

/* ---- a scratch file ---- */

static void must_say(const organ_error *error, int errnum, const char *told)
{
    ck_assert_int_eq(error->status, ORGAN_IO);
    ck_assert_int_eq(error->errnum, errnum);
    ck_assert_msg(strstr(error->message, told), "%s", error->message);
}

static organ_ridge_shape scratched(const tokens *t)
{
    organ_ridge_shape shape = t->shape;
    shape.largest = 16;
    shape.scratch = scratch_path(".");
    return shape;
}

/* The first batch of a block is written during accumulation, the rest after it, and both are read repeatedly. */
START_TEST(a_scratch_file_that_fails)
{
    tokens t = tokens_of(2);
    organ_ridge_shape shape = scratched(&t);
    organ_error error = {0};
    organ_ridge_choice choice;
    organ_ridge *ridge;
    for (int call = 0; call < 4; call++) {
        ck_assert_int_eq(organ_ridge_open(&shape, engine, &ridge, &error), ORGAN_OK);
        if (call == 0)
            fault_at(FAULT_PWRITE, 1, ENOSPC, true, NULL);
        for (int part = 0; part < 2 && !error.status; part++)
            organ_ridge_add(ridge, part, shape.tokens[part], t.blocks, t.inputs, t.target, &error);
        if (call == 1)
            fault_at(FAULT_PWRITE, 1, ENOSPC, true, NULL);
        if (call > 1)
            fault_at(FAULT_PREAD, call == 2 ? 1 : 300, EIO, true, NULL);
        ck_assert_int_eq(error.status, call == 0 ? ORGAN_IO : ORGAN_OK);
        ck_assert(call == 0 || organ_ridge_choose(ridge, &choice, &error) == ORGAN_IO);
        fault_clear();
        must_say(&error, call < 2 ? ENOSPC : EIO,
                 call < 2 ? "bytes of expert inputs (`scratch`)" : "of a scratch file");
        error = (organ_error){0};
        organ_ridge_close(ridge);
    }
    shape.scratch = scratch_path("absent");
    ck_assert_int_eq(organ_ridge_open(&shape, engine, &ridge, &error), ORGAN_IO);
    must_say(&error, ENOENT, "absent: no scratch file can be created in it");
    ck_assert_ptr_null(ridge);
    tokens_free(&t);
}
END_TEST

/* Changes a byte in each file that is open for reading and writing; the scratch file is the only one. */
static void change_a_byte(void)
{
    char link[64], target[4096];
    size_t changed = 0;
    for (int fd = 3; fd < 256; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const ssize_t length = readlink(link, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, scratch_path("%s", "")) && strstr(target, "(deleted)"))
            changed += pwrite(fd, "x", 1, 7) == 1;
    }
    ck_assert_uint_eq(changed, 1);
}

START_TEST(bytes_that_a_disk_changed)
{
    tokens t = tokens_of(2);
    const organ_ridge_shape shape = scratched(&t);
    organ_error error = {0};
    organ_ridge_choice choice;
    organ_ridge *const ridge = ridge_of(engine, &t, &shape, 100, false);
    change_a_byte();
    ck_assert_int_eq(organ_ridge_choose(ridge, &choice, &error), ORGAN_IO);
    must_say(&error, EIO, "of expert inputs (`scratch`) differ from the written ones");
    organ_ridge_close(ridge);
    tokens_free(&t);
}
END_TEST

Suite *ridge_suite(void)
{
    const suite_case cases[] = {
        {"computed",
         {goldens, by_tokens_is_by_inputs, blocks_converge_to_all_at_once, blocks_choose_as_all_at_once,
          bits_depend_on_neither_table_nor_threads_nor_calls, bits_of_blocks_depend_on_nothing_either}},
        {"refused",
         {shapes_without_anything, tokens_that_are_refused, inputs_that_are_zero, a_scratch_file_that_fails,
          bytes_that_a_disk_changed}}};
    return suite_of("ridge", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}

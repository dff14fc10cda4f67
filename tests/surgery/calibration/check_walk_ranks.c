/* SPDX-License-Identifier: MIT
 * In a calibration walk with several ranks, each rank gets the bits of one process. */
#include "orchestrator/surgery/calibration/calibration_parts.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/suite_table.h"
#include "tests/surgery/calibration/calibration_suites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define DENSE "fixtures/tiny-qwen2"
#define MOE   "fixtures/tiny-moe"

enum { SAMPLES = 9, CONTEXT = 256, CHUNKS = 3, MAX_UNITS = 400 };

typedef struct walk_case {
    const char *model;
    organ_calibration_inputs_of streams;
    bool moments_only, blocks;
    uint64_t memory; /* 0: plenty */
} walk_case;

/* The inputs that a matrix got. */
typedef struct sight {
    char name[100];
    uint64_t moments; /* a digest */
    size_t after, block;
    uint64_t spare;
} sight;

/* Failures of a rank in layer 1. */
typedef enum fault { NO_FAULT, FAULT_TOKEN, FAULT_STOP, FAULT_ENTER, FAULT_WEIGHTS } fault;

typedef struct walker {
    organ_ranks *ranks;
    sight sights[MAX_UNITS];
    size_t count;
    size_t forgotten; /* calls of `forget` */
    uint64_t least;   /* organ_calibration_run_min_memory */
} walker;

static walk_case of;
static fault wrong;
static size_t wrong_rank;
static walker alone;

/* ---- a calibration walk ---- */

static uint64_t no_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    (void)context, (void)calib, (void)tensor;
    return 0;
}

static void add_digest(uint64_t *digest, const void *data, size_t bytes)
{
    const uint64_t of_data = data ? XXH3_64bits(data, bytes) : 0;
    *digest = XXH3_64bits(&(uint64_t[]){*digest, of_data}, 2 * sizeof of_data);
}

/* Records the moments and changes the weights by them, so that later layers depend on the moments. */
static organ_status look(void *context, const organ_calibration_matrix *matrix, float *weights, organ_error *error)
{
    walker *const w = context;
    const organ_input_moments *const m = organ_calibration_moments(matrix->calibration);
    const size_t n = m->features, rest = n % m->block, entries = n / m->block * m->block * m->block + rest * rest;
    sight *const s = &w->sights[w->count++];
    ck_assert_uint_lt(w->count, MAX_UNITS);
    *s = (sight){.after = matrix->users_left, .block = m->block, .spare = matrix->spare, .moments = m->tokens};
    snprintf(s->name, sizeof s->name, "%s", matrix->name);
    add_digest(&s->moments, m->h, entries * sizeof *m->h);
    add_digest(&s->moments, m->c, entries * sizeof *m->c);
    add_digest(&s->moments, m->drift, m->rows * n * sizeof *m->drift);
    add_digest(&s->moments, m->act_norm, n * sizeof *m->act_norm);
    add_digest(&s->moments, m->stability, n * sizeof *m->stability);
    add_digest(&s->moments, m->contribution, n * sizeof *m->contribution);
    for (uint64_t i = 0; i < matrix->rows; i++)
        for (uint64_t j = i % 3; j < matrix->cols; j += 3)
            weights[i * matrix->cols + j] *= m->stability[j] * m->contribution[j];
    return error->status;
}

/* Sets the weights of v to NaN, which then reach the inputs of o. */
static void spoil(const organ_calibration_layer *layer)
{
    static const char name[] = "model.layers.1.self_attn.v_proj.weight";
    uint64_t rows = 0, cols = 0;
    organ_product_operand values;
    ck_assert(organ_layer_matrix(layer->loaded, name, &rows, &cols, &values));
    float *const weights = malloc((size_t)(rows * cols) * sizeof *weights);
    for (size_t k = 0; k < rows * cols; k++)
        weights[k] = NAN;
    organ_layer_write(layer->loaded, name, weights);
    free(weights);
}

static void forget(void *context) { ((walker *)context)->forgotten++; }

static organ_status enter(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    const walker *const w = context;
    if (layer->number != 1)
        return error->status;
    if (wrong == FAULT_WEIGHTS)
        spoil(layer);
    if (organ_ranks_rank(w->ranks) != wrong_rank)
        return error->status;
    if (wrong == FAULT_STOP)
        organ_stop_request(&players[wrong_rank].stop);
    return wrong == FAULT_ENTER ? organ_fail(error, ORGAN_IO, "no room in layer %d", (int)layer->number)
                                : error->status;
}

/* Checks the memory: a rank has room for states, its part of a chunk, another rank's part, and the comparison of
 * streams. Attention, o and feed-forward have rows of 320 inputs, down of 864. */
static void must_fit(const organ_calibration_run *calib)
{
    const uint64_t token = calib->chunks.together * CONTEXT * sizeof(float), inputs = 3 * 320 + 864;
    const uint64_t streams = calib->donor_states ? 2 : 1, kept = streams * inputs + 864 + (streams - 1) * inputs;
    const uint64_t states =
        organ_calibration_states_memory(&calib->chunks, calib->options->streams != ORGAN_INPUTS_DONOR, false) +
        (streams - 1) * organ_calibration_states_memory(&calib->chunks, false, false);
    ck_assert_uint_le(states + kept * token, organ_forward_spare_memory(calib->facts.forward, CONTEXT));
}

static void run(walker *w, organ_calibration_run_options *options, session *s, organ_error *error)
{
    const organ_calibration_work work = {.context = w,
                                         .memory = no_memory,
                                         .change = look,
                                         .alike = true,
                                         .enter = enter,
                                         .forget = forget,
                                         .grouped = true};
    organ_calibration_run *calib = NULL;
    organ_targets targets;
    ck_assert_int_eq(organ_targets_select(s->model, NULL, &targets, error), ORGAN_OK);
    if (organ_calibration_run_open(options, s->model, &targets, &work, &s->engine, NULL, &calib, error) == ORGAN_OK) {
        ck_assert_uint_eq(organ_calibration_chunks_count(&calib->chunks), CHUNKS);
        w->least = organ_calibration_run_min_memory(calib);
        if (organ_ranks_count(w->ranks) > 1 && strcmp(of.model, DENSE) == 0)
            must_fit(calib);
        if (wrong == FAULT_TOKEN)
            calib->tokens[wrong_rank * calib->chunks.together * CONTEXT + 5] = 1u << 30;
        organ_calibration_run_layers(calib, error);
    }
    organ_calibration_run_close(calib);
    organ_targets_release(&targets);
}

static void walk(walker *w, organ_ranks *ranks, organ_error *error)
{
    char text[100];
    session s;
    *w = (walker){.ranks = ranks};
    snprintf(text, sizeof text, "%s/calibration.txt", of.model);
    organ_calibration_run_options options = {.calibration.text = text,
                                             .calibration.samples = SAMPLES,
                                             .calibration.context = CONTEXT,
                                             .method = "test",
                                             .verb = "test",
                                             .doing = "testing",
                                             .streams = of.streams,
                                             .moments_only = of.moments_only,
                                             .reruns = true,
                                             .blocks = of.blocks,
                                             .seed = 3};
    ck_assert_msg(session_open(&s, of.model, 1, of.memory ? of.memory : ROOMY, error) == ORGAN_OK, "%s",
                  error->message);
    s.engine.ranks = ranks;
    s.engine.stop = ranks ? &players[organ_ranks_rank(ranks)].stop : NULL;
    run(w, &options, &s, error);
    session_close(&s);
}

/* ---- results of ranks ---- */

static void see_the_same(organ_ranks *ranks, organ_error *error)
{
    walker *const w = malloc(sizeof *w);
    walk(w, ranks, error);
    ck_assert_msg(error->status == ORGAN_OK, "%s", error->message);
    ck_assert_uint_eq(w->count, alone.count);
    for (size_t k = 0; k < w->count; k++) {
        const sight *const mine = &w->sights[k], *const requested = &alone.sights[k];
        ck_assert_str_eq(mine->name, requested->name);
        ck_assert_msg(mine->moments == requested->moments, "%s: the moments of %s differ", of.model, mine->name);
        ck_assert_uint_eq(mine->after, requested->after);
        ck_assert_uint_eq(mine->block, requested->block);
        ck_assert_uint_eq(mine->spare, requested->spare);
    }
    free(w);
}

static const walk_case cases[] = {
    {DENSE, ORGAN_INPUTS_BOTH, false, false, 0},   {MOE, ORGAN_INPUTS_BOTH, false, false, 0},
    {DENSE, ORGAN_INPUTS_CHANGED, false, true, 0}, {DENSE, ORGAN_INPUTS_BOTH, true, true, 0},
    {MOE, ORGAN_INPUTS_CHANGED, true, false, 0},   {MOE, ORGAN_INPUTS_DONOR, true, false, 0},
    {DENSE, ORGAN_INPUTS_DONOR, false, false, 0}};

START_TEST(ranks_see_what_one_process_sees)
{
    static const size_t counts[] = {3, 2, 7}; /* the last: more than chunks */
    organ_error error = {0};
    of = cases[_i];
    walk(&alone, NULL, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    ck_assert_uint_gt(alone.count, 20);
    size_t blocks = 0;
    for (size_t k = 0; k < alone.count; k++)
        blocks += alone.sights[k].block == ORGAN_CALIBRATION_BLOCK;
    ck_assert_msg(of.blocks == (blocks > 0), "%zu are in blocks", blocks);
    const size_t all = sizeof counts / sizeof *counts, tried = sampled_unless_all(all, 1, 1);
    for (size_t k = 0; k < tried; k++) {
        play(counts[tried == 1 ? (size_t)_i % all : k], see_the_same);
        all_end(ORGAN_OK, "");
    }
}
END_TEST

static const sight *sight_of(const walker *w, const char *name)
{
    for (size_t k = 0; k < w->count; k++)
        if (strcmp(w->sights[k].name, name) == 0)
            return &w->sights[k];
    return NULL;
}

/* With the least memory a layer runs once for each expert; the inputs of all matrices stay those of a single run. */
START_TEST(moments_do_not_depend_on_the_memory)
{
    static const organ_calibration_inputs_of streams[] = {ORGAN_INPUTS_BOTH, ORGAN_INPUTS_CHANGED, ORGAN_INPUTS_DONOR};
    organ_error error = {0};
    walker *const tight = malloc(sizeof *tight);
    of = (walk_case){MOE, streams[_i], streams[_i] != ORGAN_INPUTS_CHANGED, false, 0};
    walk(&alone, NULL, &error);
    ck_assert_uint_eq(alone.forgotten, 0);
    of.memory = alone.least;
    walk(tight, NULL, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(tight->least, alone.least);
    ck_assert_msg(tight->forgotten > 4, "the layers run %zu times", tight->forgotten);
    ck_assert_uint_eq(tight->count, alone.count);
    for (size_t k = 0; k < tight->count; k++) {
        const sight *const roomy = sight_of(&alone, tight->sights[k].name);
        ck_assert_msg(roomy && tight->sights[k].moments == roomy->moments, "the moments of %s differ",
                      tight->sights[k].name);
    }
    of.memory = alone.least - alone.least / 64;
    walk(tight, NULL, &error);
    ck_assert_int_eq(error.status, ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "is too little for the hidden states of 9 windows"));
    free(tight);
}
END_TEST

/* ---- failures ---- */

static void end_with_a_fault(organ_ranks *ranks, organ_error *error)
{
    walker *const w = malloc(sizeof *w);
    walk(w, ranks, error);
    ck_assert_msg(error->status != ORGAN_OK, "there is no fault");
    free(w);
}

START_TEST(a_fault_of_one_rank_ends_all)
{
    static const struct {
        fault wrong;
        organ_status status;
        const char *text;
    } rows[] = {{FAULT_TOKEN, ORGAN_BAD_INPUT, ": token 5 is 1073741824, outside the vocabulary"},
                {FAULT_STOP, ORGAN_INTERRUPTED, "): stopped in layer 1"},
                {FAULT_ENTER, ORGAN_IO, "): no room in layer 1"}};
    const size_t step = sampled_unless_all(1, 3, 3); /* another rank for each fault */
    of = cases[0];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (wrong_rank = k % step; wrong_rank < 3; wrong_rank += step) {
            wrong = rows[k].wrong;
            play(3, end_with_a_fault);
            all_end(rows[k].status, rows[k].text);
            char rank[30];
            snprintf(rank, sizeof rank, "rank %zu of 3 (", wrong_rank);
            all_end(rows[k].status, rank);
        }
}
END_TEST

/* Buffers for exchanges between ranks need memory, which is checked before the walk begins. */
START_TEST(ranks_take_more_memory)
{
    organ_error error = {0};
    of = cases[2];
    walk(&alone, NULL, &error);
    of.memory = alone.least;
    walk(&alone, NULL, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    play(2, end_with_a_fault);
    all_end(ORGAN_USAGE, " is too little for the hidden states of 9 windows");
}
END_TEST

/* All ranks find a fault of the inputs, with the message of one process. */
START_TEST(a_fault_of_the_text_is_that_of_one_process)
{
    organ_error error = {0};
    of = cases[0];
    wrong = FAULT_WEIGHTS;
    wrong_rank = SIZE_MAX;
    walk(&alone, NULL, &error);
    ck_assert_int_eq(error.status, ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "calibration token"));
    play(2, end_with_a_fault);
    for (size_t r = 0; r < 2; r++)
        ck_assert_str_eq(players[r].error.message, error.message);
}
END_TEST

Suite *walk_ranks_suite(void)
{
    Suite *const suite = suite_create("walks by ranks");
    TCase *const seen = tcase_create("seen"), *const faults = tcase_create("faults");
    tcase_set_timeout(seen, 60);
    tcase_add_loop_test(seen, ranks_see_what_one_process_sees, 0,
                        (int)sampled_unless_all(sizeof cases / sizeof *cases, 2, 1));
    tcase_add_loop_test(seen, moments_do_not_depend_on_the_memory, 0, (int)sampled_unless_all(3, 1, 1));
    tcase_set_timeout(faults, 60);
    tcase_add_test(faults, a_fault_of_one_rank_ends_all);
    tcase_add_test(faults, ranks_take_more_memory);
    tcase_add_test(faults, a_fault_of_the_text_is_that_of_one_process);
    suite_add_tcase(suite, seen);
    suite_add_tcase(suite, faults);
    return suite;
}

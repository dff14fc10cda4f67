/* SPDX-License-Identifier: MIT
 * Reads the tensors of all models side by side, in the strips of organ_merge_strips, whose sums are added in the order
 * of the strips. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/read_ahead.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)256)  /* strips whose sums are in memory */
#define CHUNK  ((size_t)1024) /* values that are compared at a time */

/* ---- arithmetic ---- */

void organ_compare_add(compare_sums *sums, const compare_sums *more)
{
    sums->skipped += more->skipped;
    for (size_t p = 0; p < COMPARE_PAIRS; p++) {
        compare_pair *const to = &sums->pairs[p];
        const compare_pair *const from = &more->pairs[p];
        to->tensors += from->tensors;
        to->values += from->values;
        to->same += from->same;
        to->signs.equal += from->signs.equal;
        to->signs.opposite += from->signs.opposite;
        to->square[0] += from->square[0];
        to->square[1] += from->square[1];
        to->distance += from->distance;
        sums->shared[p] += more->shared[p];
    }
    for (size_t t = 0; t < COMPARE_TRIPLES; t++) {
        sums->differences[t].equal += more->differences[t].equal;
        sums->differences[t].opposite += more->differences[t].opposite;
    }
}

/* Eight partial sums, in the order of organ_dot. */
static double distance_of(const float *x, const float *y)
{
    double lane[8] = {0};
    for (size_t k = 0; k < CHUNK; k += 8)
        for (size_t l = 0; l < 8; l++) {
            const double d = (double)x[k + l] - (double)y[k + l];
            lane[l] += d * d;
        }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void signs_of(const float *x, signed char *sign)
{
    for (size_t k = 0; k < CHUNK; k++)
        sign[k] = (signed char)((x[k] > 0) - (x[k] < 0));
}

/* Sets the signs of x - y, and returns how many values are equal. */
static size_t signs_of_difference(const float *x, const float *y, signed char *sign)
{
    size_t same = 0;
    for (size_t k = 0; k < CHUNK; k++) {
        sign[k] = (signed char)((x[k] > y[k]) - (x[k] < y[k]));
        same += sign[k] == 0;
    }
    return same;
}

/* `flip` -1: one of the arrays has the signs of the negative numbers; 1: it does not. */
static void count_signs(const signed char *a, const signed char *b, int flip, compare_signs *signs)
{
    int plus = 0, minus = 0;
    for (size_t k = 0; k < CHUNK; k++) {
        const int product = a[k] * b[k];
        plus += product > 0;
        minus += product < 0;
    }
    signs->equal += (uint64_t)(flip > 0 ? plus : minus);
    signs->opposite += (uint64_t)(flip > 0 ? minus : plus);
}

/* ---- strips ---- */

typedef struct compare_lane {
    organ_strip_lane *strip;
    organ_merge_input inputs[COMPARE_MODELS]; /* of the item that is open */
    signed char sign[COMPARE_MODELS][CHUNK], difference[COMPARE_PAIRS][CHUNK];
} compare_lane;

typedef struct compare_strip {
    size_t item;
    uint64_t first, read; /* read: about how many bytes this strip and all before it have */
    size_t rows;
} compare_strip;

typedef struct compare_pass {
    compare_job *job;
    organ_strip_lanes room;
    compare_lane *lanes; /* room.count of them */
    /* Strip k has entry k % WINDOW of both: */
    compare_sums *sums;
    compare_strip *strips;
    size_t item;    /* item of the next strip */
    uint64_t strip; /* number of that strip in its item */
    uint64_t read;  /* about how many bytes the strips have that were taken */
    organ_read_ahead ahead;
} compare_pass;

/* Sums of a chunk of values; models without the tensor have NULL. */
static void compare_chunk(const compare_job *job, const compare_item *item, compare_lane *lane,
                          const float *const *values, compare_sums *sums)
{
    double square[COMPARE_MODELS] = {0};
    for (size_t i = 0; i < job->count; i++)
        if (item->weights[i]) {
            square[i] = organ_dot(values[i], values[i], CHUNK);
            signs_of(values[i], lane->sign[i]);
        }
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j; i++) {
            const size_t p = organ_compare_pair(i, j);
            compare_pair *const pair = &sums->pairs[p];
            if (!item->weights[i] || !item->weights[j])
                continue;
            const double distance = distance_of(values[i], values[j]);
            pair->square[0] += square[i];
            pair->square[1] += square[j];
            pair->distance += distance;
            sums->shared[p] += item->all ? distance : 0;
            pair->same += signs_of_difference(values[i], values[j], lane->difference[p]);
            count_signs(lane->sign[i], lane->sign[j], /*flip=*/1, &pair->signs);
        }
}

/* Signs of the differences from each model. Pair i < j has the signs of i - j. */
static void compare_differences(const compare_job *job, const compare_lane *lane, compare_sums *sums)
{
    for (size_t b = 0; b < job->count; b++)
        for (size_t j = 1; j < job->count; j++)
            for (size_t i = 0; i < j; i++)
                if (i != b && j != b)
                    count_signs(lane->difference[organ_compare_pair(i, b)], lane->difference[organ_compare_pair(j, b)],
                                (i < b) == (j < b) ? 1 : -1,
                                &sums->differences[organ_compare_pair(i, j) * COMPARE_MODELS + b]);
}

/* Sets elements that are not finite in a model to 0 in all, so that they add nothing to sums. Returns their number. */
static size_t skip_values(const compare_job *job, const compare_item *item, compare_lane *lane, size_t n)
{
    size_t skipped = 0;
    bool any = false;
    for (size_t i = 0; i < job->count; i++)
        any |= item->weights[i] && organ_any_not_finite(ORGAN_F32, lane->strip->values[i], n * sizeof(float));
    for (size_t k = 0; any && k < n; k++) {
        bool finite = true;
        for (size_t i = 0; i < job->count; i++)
            finite &= !item->weights[i] || isfinite(lane->strip->values[i][k]);
        skipped += !finite;
        for (size_t i = 0; !finite && i < job->count; i++)
            if (item->weights[i])
                lane->strip->values[i][k] = 0;
    }
    return skipped;
}

/* Zeros after the n values fill the last chunk. Zeros and skipped elements are equal in all models, so that they are
 * subtracted from `same` at the end. */
static void compare_values(const compare_job *job, const compare_item *item, compare_lane *lane, size_t n,
                           compare_sums *sums)
{
    const size_t padded = (n + CHUNK - 1) / CHUNK * CHUNK, skipped = skip_values(job, item, lane, n);
    for (size_t i = 0; i < job->count; i++)
        memset(lane->strip->values[i] + n, 0, (padded - n) * sizeof(float));
    sums->skipped = skipped;
    for (size_t k = 0; k < padded; k += CHUNK) {
        const float *values[COMPARE_MODELS] = {0};
        for (size_t i = 0; i < job->count; i++)
            values[i] = lane->strip->values[i] + k;
        compare_chunk(job, item, lane, values, sums);
        if (item->all && job->count > 2)
            compare_differences(job, lane, sums);
    }
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j; i++)
            if (item->weights[i] && item->weights[j]) {
                compare_pair *const pair = &sums->pairs[organ_compare_pair(i, j)];
                pair->values = n - skipped;
                pair->same -= padded - n + skipped;
            }
}

static void list_inputs(const compare_job *job, size_t number, organ_merge_input inputs[COMPARE_MODELS])
{
    const compare_item *const item = &job->items[number];
    for (size_t i = 0; i < job->count; i++)
        inputs[i] = item->weights[i] ? organ_compare_input(job, item, i) : (organ_merge_input){0};
}

static organ_status open_readers(const compare_job *job, compare_lane *lane, size_t number, organ_error *error)
{
    if (lane->strip->item == number)
        return ORGAN_OK;
    organ_strip_lane_close(lane->strip, job->count);
    list_inputs(job, number, lane->inputs);
    return organ_strip_lane_open(lane->strip, number, lane->inputs, job->count, job->engine->kernels, error);
}

static uint64_t bytes_of(const compare_job *job, const compare_item *item)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < job->count; i++)
        bytes += item->weights[i] ? organ_weight_bytes(item->weights[i]) : 0;
    return bytes;
}

static organ_read_range range_of(const void *context, size_t index)
{
    const compare_job *const job = context;
    const size_t i = index / ORGAN_READ_PARTS % job->count;
    const compare_item *const item = &job->items[index / ORGAN_READ_PARTS / job->count];
    return organ_read_range_of(job->models[i].model, item->weights[i], index % ORGAN_READ_PARTS);
}

/* Returns false after the last strip. */
static bool take_strip(void *context, size_t number)
{
    compare_pass *const pass = context;
    const compare_job *const job = pass->job;
    compare_strip *const strip = &pass->strips[number % WINDOW];
    for (; pass->item < job->item_count; pass->item++, pass->strip = 0) {
        const organ_matrices m = organ_weight_matrices(job->items[pass->item].like);
        if (pass->strip == organ_merge_strips(&m))
            continue;
        strip->item = pass->item;
        strip->first = organ_merge_strip_first(&m, pass->strip++, &strip->rows);
        strip->read = pass->read += bytes_of(job, &job->items[pass->item]) / organ_merge_strips(&m);
        return true;
    }
    return false;
}

static organ_status compare_rows(void *context, size_t number, size_t worker, organ_error *error)
{
    compare_pass *const pass = context;
    compare_lane *const lane = &pass->lanes[worker];
    const compare_strip *const strip = &pass->strips[number % WINDOW];
    compare_sums *const sums = &pass->sums[number % WINDOW];
    const compare_job *const job = pass->job;
    const compare_item *const item = &job->items[strip->item];
    const size_t n = strip->rows * (size_t)organ_weight_matrices(item->like).cols;
    memset(sums, 0, sizeof *sums);
    organ_read_ahead_move(&pass->ahead, strip->read);
    if (open_readers(job, lane, strip->item, error))
        return error->status;
    organ_reader_gate_enter(&pass->room.gate);
    for (size_t i = 0; i < job->count && !error->status; i++)
        if (item->weights[i])
            organ_merge_reader_read(&lane->strip->readers[i], strip->first, strip->rows, lane->strip->values[i],
                                    lane->strip->scratch, error);
    organ_reader_gate_leave(&pass->room.gate);
    if (!error->status)
        compare_values(job, item, lane, n, sums);
    return error->status;
}

static organ_status fold(void *context, size_t number, organ_error *error)
{
    compare_job *const job = ((const compare_pass *)context)->job;
    const compare_strip *const strip = &((const compare_pass *)context)->strips[number % WINDOW];
    compare_sums *const sums = &((const compare_pass *)context)->sums[number % WINDOW];
    const compare_item *const item = &job->items[strip->item];
    const organ_matrices m = organ_weight_matrices(item->like);
    const bool last = strip->first + strip->rows == m.count * m.rows;
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j && last; i++)
            if (item->weights[i] && item->weights[j])
                sums->pairs[organ_compare_pair(i, j)].tensors = 1;
    organ_compare_add(&job->all, sums);
    organ_compare_add(&job->cells[item->cell].sums, sums);
    if (item->like->rank > 1)
        organ_compare_add(&job->matrices, sums);
    if (!last)
        return error->status;
    organ_progress_advance(job->progress, bytes_of(job, item), item->like->name, NULL);
    return error->status;
}

/* ---- memory ---- */

static organ_status measure(compare_pass *pass, organ_error *error)
{
    const compare_job *const job = pass->job;
    pass->room = (organ_strip_lanes){.engine = job->engine, .padding = CHUNK, .inputs = job->count};
    for (size_t k = 0; k < job->item_count && !error->status; k++) {
        const organ_matrices m = organ_weight_matrices(job->items[k].like);
        organ_merge_input inputs[COMPARE_MODELS];
        list_inputs(job, k, inputs);
        organ_strip_lanes_widen(&pass->room, inputs, job->count, &m, job->engine->kernels, 0, error);
    }
    return error->status;
}

static organ_status allocate(compare_pass *pass, organ_error *error)
{
    const compare_job *const job = pass->job;
    const size_t each = organ_strip_lane_bytes(&pass->room) + pass->room.changes + sizeof *pass->lanes;
    const size_t shared = WINDOW * (sizeof *pass->sums + sizeof *pass->strips) + job->cell_count * sizeof *job->cells;
    if (organ_memory_claim(job->engine, each + shared, error, "a strip of each of %zu models", job->count))
        return error->status;
    pass->room.count = organ_memory_workers(job->engine, each, shared);
    if (organ_strip_lanes_open(&pass->room, job->models[0].path, error))
        return error->status;
    pass->lanes = calloc(pass->room.count, sizeof *pass->lanes);
    pass->sums = calloc(WINDOW, sizeof *pass->sums);
    pass->strips = calloc(WINDOW, sizeof *pass->strips);
    if (!pass->lanes || !pass->sums || !pass->strips)
        return organ_fail_memory(error, job->models[0].path);
    for (size_t k = 0; k < pass->room.count; k++)
        pass->lanes[k].strip = &pass->room.lanes[k];
    return ORGAN_OK;
}

organ_status organ_compare_read(compare_job *job, organ_error *error)
{
    compare_pass pass = {.job = job};
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->item_count; k++)
        bytes += bytes_of(job, &job->items[k]);
    pass.ahead =
        (organ_read_ahead){.count = ORGAN_READ_PARTS * job->count * job->item_count, .range = range_of, .context = job};
    organ_read_ahead_open(&pass.ahead);
    organ_progress_begin(job->progress, "comparing", bytes, job->item_count);
    if (measure(&pass, error) == ORGAN_OK && allocate(&pass, error) == ORGAN_OK)
        organ_parts_run(&(organ_parts){.count = SIZE_MAX,
                                       .workers = pass.room.count,
                                       .window = WINDOW,
                                       .context = &pass,
                                       .take = take_strip,
                                       .work = compare_rows,
                                       .retire = fold},
                        job->engine, error);
    organ_progress_end(job->progress);
    organ_strip_lanes_close(&pass.room);
    ORGAN_FREE_ARRAYS(pass.lanes, pass.sums, pass.strips);
    organ_read_ahead_close(&pass.ahead);
    return error->status;
}

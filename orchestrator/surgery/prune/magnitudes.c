/* SPDX-License-Identifier: MIT
 * Counts the magnitudes of target weights. Ranks: each rank counts the weights that it writes or reads, and at the end
 * the counts of all ranks are added. */
#include "orchestrator/surgery/prune/magnitudes.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PIECE      ((size_t)1 << 12) /* weights that are read and widened at once */
#define PER_OCTAVE 2                 /* bins per octave */
#define FROM_LOG2  (-24)             /* the first bin begins at 2^-24 */
#define BINS       56                /* the last bin ends at 2^4 */
#define ROOT_OF_2  0x3504F3u         /* mantissa of the FP32 value nearest to the root of 2 */

/* The counts. organ_magnitudes_json adds those of all ranks as one array, so all members are uint64_t. */
typedef struct magnitudes_sums {
    uint64_t weights;      /* number of counted weights */
    uint64_t zero;         /* those that are zero in the donor */
    uint64_t all[BINS];    /* those that are not zero in the donor, by magnitude there */
    uint64_t killed[BINS]; /* those of `all` that are zero in the copy */
} magnitudes_sums;

/* Counts and buffers of one thread. */
typedef struct magnitudes_count {
    const organ_magnitudes *of;
    double bytes[PIECE];               /* buffer for stored weights */
    float before[PIECE], after[PIECE]; /* buffers for weights of the donor and of the copy, in FP32 */
    magnitudes_sums found;
    struct magnitudes_count *next;
} magnitudes_count;

/* State of a histogram of magnitudes. */
struct organ_magnitudes {
    const organ_model *donor;
    const organ_tensor *const *tensors; /* the `count` targets */
    size_t count;
    const organ_kernels *kernels;
    uint64_t weight_count;  /* number of weights of all tensors */
    uint64_t step;          /* rows 0, step, 2 step, ... of each tensor are counted */
    uint64_t *counted;      /* for each tensor, nonzero if its bytes were passed to organ_magnitudes_add */
    pthread_mutex_t lock;   /* guards `counted` and `idle` */
    magnitudes_count *idle; /* counts that no thread uses now */
    magnitudes_sums found;  /* counts of this rank, in the end of all ranks */
};

/* Returns the bin of a magnitude. The exponent selects the octave; the second half of an octave begins at the root of 2
 * times its start. Magnitudes below the first bin (also subnormals) are in the first bin, those above the last in the
 * last. */
static size_t bin_of(float magnitude)
{
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    const int half = /* half octaves above the start of the first bin; 127 is the bias of FP32 exponents */
        2 * ((int)(bits >> 23) - 127 - FROM_LOG2) + ((bits & 0x7FFFFFu) >= ROOT_OF_2);
    if (half < 0)
        return 0;
    return half >= BINS ? BINS - 1 : (size_t)half;
}

/* Adds n weights to the counts: c->before are their values in the donor, c->after those in the copy. */
static void count_pairs(magnitudes_count *c, size_t n)
{
    c->found.weights += n;
    for (size_t k = 0; k < n; k++) {
        if (c->before[k] == 0) {
            c->found.zero++;
            continue;
        }
        const size_t bin = bin_of(fabsf(c->before[k]));
        c->found.all[bin]++;
        c->found.killed[bin] += c->after[k] == 0;
    }
}

/* Reads n weights of a tensor from weight number `from` on, and converts them to FP32 into `values`. */
static organ_status widen_stored(magnitudes_count *c, const organ_model *model, const organ_tensor *tensor,
                                 uint64_t from, size_t n, float *values, organ_error *error)
{
    const size_t each = organ_dtype_describe(tensor->dtype)->bytes;
    if (organ_model_read(model, tensor->file, c->bytes, n * each, tensor->offset + from * each, error) == ORGAN_OK)
        organ_widen(c->of->kernels, tensor->dtype, c->bytes, values, n);
    return error->status;
}

/* Counts weights [from, to) of tensor t, which are in a counted row. `data` has the stored weights of the copy from
 * weight number `first` on; if `data` is NULL, the weights are read from `copy`. Counts nothing if `copy` has no tensor
 * of the same name. */
static organ_status count_span(magnitudes_count *c, size_t t, uint64_t from, uint64_t to, const char *data,
                               uint64_t first, const organ_model *copy, organ_error *error)
{
    const organ_tensor *const tensor = c->of->tensors[t], *const other =
                                                              copy ? organ_model_find(copy, tensor->name) : NULL;
    const size_t each = organ_dtype_describe(tensor->dtype)->bytes;
    for (size_t n; from < to && (data || other); from += n) {
        n = organ_min(PIECE, (size_t)(to - from));
        if (data)
            organ_widen(c->of->kernels, tensor->dtype, data + (from - first) * each, c->after, n);
        else if (widen_stored(c, copy, other, from, n, c->after, error))
            return error->status;
        if (widen_stored(c, c->of->donor, tensor, from, n, c->before, error))
            return error->status;
        count_pairs(c, n);
    }
    return ORGAN_OK;
}

/* Takes counts that no other thread uses, or creates some. Returns NULL without memory. */
static magnitudes_count *take_count(organ_magnitudes *m)
{
    pthread_mutex_lock(&m->lock);
    magnitudes_count *c = m->idle;
    if (c)
        m->idle = c->next;
    pthread_mutex_unlock(&m->lock);
    if (!c && (c = malloc(sizeof *c)))
        c->found = (magnitudes_sums){0};
    if (c)
        c->of = m;
    return c;
}

static void give_count(organ_magnitudes *m, magnitudes_count *c)
{
    pthread_mutex_lock(&m->lock);
    c->next = m->idle;
    m->idle = c;
    pthread_mutex_unlock(&m->lock);
}

/* Counts those of the weights [from, to) of tensor t that are in rows 0, step, 2 step, ... of the tensor. `data` has
 * the stored weights of the copy from weight number `from` on; if `data` is NULL, the weights are read from `copy`. */
static organ_status count_rows(organ_magnitudes *m, size_t t, uint64_t from, uint64_t to, const char *data,
                               const organ_model *copy, organ_error *error)
{
    const uint64_t cols = organ_tensor_matrices(m->tensors[t]).cols, stride = m->step * cols;
    magnitudes_count *const c = take_count(m);
    if (!c)
        return organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", m->donor->path);
    if (m->step == 1)
        count_span(c, t, from, to, data, from, copy, error);
    /* `row` is the index of the first weight of a counted row; the first counted row may begin before `from`. */
    else
        for (uint64_t row = cols ? from / stride * stride : to; row < to && !error->status; row += stride) {
            const uint64_t begin = row > from ? row : from, end = row + cols < to ? row + cols : to;
            count_span(c, t, begin, end, data, from, copy, error);
        }
    give_count(m, c);
    return error->status;
}

/* Adds the counts of all threads to m->found. No thread counts any more. */
static void add_all_counts(organ_magnitudes *m)
{
    for (magnitudes_count *c = m->idle; c; c = c->next) {
        const uint64_t *const more = &c->found.weights;
        for (size_t k = 0; k < sizeof c->found / sizeof *more; k++)
            (&m->found.weights)[k] += more[k];
        c->found = (magnitudes_sums){0};
    }
}

/* Creates an empty histogram. step is the smallest number with which at most about `enough` weights are counted. */
organ_status organ_magnitudes_open(const organ_model *donor, const organ_tensor *const *tensors, size_t count,
                                   uint64_t enough, const organ_kernels *kernels, organ_magnitudes **magnitudes,
                                   organ_error *error)
{
    organ_magnitudes *const c = *magnitudes = calloc(1, sizeof *c);
    if (!c)
        return organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
    *c = (organ_magnitudes){.donor = donor, .tensors = tensors, .count = count, .kernels = kernels};
    for (size_t t = 0; t < count; t++)
        c->weight_count += tensors[t]->elements;
    c->step = c->weight_count ? (c->weight_count - 1) / enough + 1 : 1;
    c->counted = calloc(count + 1, sizeof *c->counted);
    pthread_mutex_init(&c->lock, NULL);
    return c->counted ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
}

void organ_magnitudes_close(organ_magnitudes *c)
{
    if (!c)
        return;
    for (magnitudes_count *idle = c->idle, *next; idle; idle = next) {
        next = idle->next;
        free(idle);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->counted);
    free(c);
}

organ_status organ_magnitudes_add(organ_magnitudes *c, size_t t, const void *data, uint64_t at, size_t bytes,
                                  organ_error *error)
{
    const size_t value_bytes = organ_dtype_describe(c->tensors[t]->dtype)->bytes;
    pthread_mutex_lock(&c->lock);
    c->counted[t] = 1;
    pthread_mutex_unlock(&c->lock);
    return count_rows(c, t, at / value_bytes, (at + bytes) / value_bytes, data, NULL, error);
}

/* Returns the member "magnitudes" of the report. NULL if memory runs out. */
static json_t *magnitudes_json(const organ_magnitudes *c)
{
    return ORGAN_OBJECT(
        SET_TEXT("definition", "target weights of the donor by magnitude; each count is of half an octave"),
        SET_COUNT("weights", c->found.weights), SET_COUNT("of", c->weight_count), SET_COUNT("every_row", c->step),
        SET_COUNT("from_log2", FROM_LOG2), SET_COUNT("per_octave", PER_OCTAVE), SET_COUNT("zero", c->found.zero),
        SET("count", organ_counts_json(BINS, c->found.all)), SET("killed", organ_counts_json(BINS, c->found.killed)));
}

/* Context for counting the tensors that were not passed to organ_magnitudes_add. */
typedef struct uncounted_tensors {
    organ_magnitudes *counts;
    const organ_model *copy;
} uncounted_tensors;

/* Returns the bytes of tensor t, or 0 if a rank has passed the tensor to organ_magnitudes_add. */
static uint64_t bytes_uncounted(const void *context, size_t t)
{
    const organ_magnitudes *const c = ((const uncounted_tensors *)context)->counts;
    return c->counted[t] ? 0 : c->tensors[t]->bytes;
}

/* Counts tensor t, unless its bytes were passed to organ_magnitudes_add. */
static organ_status count_uncounted(void *context, size_t t, organ_error *error)
{
    const uncounted_tensors *const u = context;
    return u->counts->counted[t] ? ORGAN_OK
                                 : count_rows(u->counts, t, 0, u->counts->tensors[t]->elements, NULL, u->copy, error);
}

/* Counts this rank's share of the tensors that were not passed to organ_magnitudes_add. */
static void count_share(organ_magnitudes *c, const organ_model *copy, organ_ranks *ranks, organ_error *error)
{
    uncounted_tensors uncounted = {c, copy};
    organ_assignment assignment;
    if (organ_assignment_create(ranks, c->count, bytes_uncounted, &uncounted, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, count_uncounted, &uncounted, error);
    organ_assignment_release(&assignment);
}

/* Counts the tensors that no rank has passed to organ_magnitudes_add, adds the counts of all ranks, and returns them in
 * *report. c->counted is first added over all ranks, so that every rank has the same list of such tensors. */
organ_status organ_magnitudes_json(organ_magnitudes *c, const organ_model *copy, organ_ranks *ranks, json_t **report,
                                   organ_error *error)
{
    *report = NULL;
    if (organ_ranks_add(ranks, "listing counted tensors", c->counted, c->count, error) == ORGAN_OK)
        count_share(c, copy, ranks, error);
    add_all_counts(c);
    _Static_assert(sizeof(magnitudes_sums) == (2 + 2 * BINS) * sizeof(uint64_t), "sums are consecutive counts");
    organ_ranks_add(ranks, "counting magnitudes", &c->found.weights, sizeof c->found / sizeof(uint64_t), error);
    if (!error->status && c->weight_count && !(*report = magnitudes_json(c)))
        organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", c->donor->path);
    return error->status;
}

/* SPDX-License-Identifier: MIT
 * Divides the matrices of a layer among ranks: plans which rank changes which, and sends the changed matrices to all
 * ranks. The inputs of all matrices are captured before any is changed, so the changes do not depend on each other. A
 * unit is a target matrix of the layer (calibration_parts.h). */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/direct_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Hidden states in memory or in a scratch file. The file is written and read through the page cache; the system writes
 * in the background and is advised which chunk is read next. */

struct organ_calibration_states {
    organ_calibration_chunks chunks;
    char *all;  /* all chunks that this rank holds, consecutive; NULL: they are in the file */
    float *one; /* buffer for one chunk: a copy, or with a file the chunk that was taken; NULL: not needed */
    organ_direct_file file; /* the scratch file; path NULL: none */
    bool reserved;          /* disk space is reserved */
    size_t stored;          /* number of this rank's chunks, from its first on, that were put back at least once */
    uint64_t *digests;      /* XXH3 of each of this rank's chunks in the file */
};

size_t organ_calibration_chunks_count(const organ_calibration_chunks *chunks)
{
    return (chunks->windows + chunks->together - 1) / chunks->together;
}

size_t organ_calibration_chunk_windows(const organ_calibration_chunks *chunks, size_t chunk)
{
    const size_t remaining = chunks->windows - chunk * chunks->together;
    return remaining < chunks->together ? remaining : chunks->together;
}

organ_windows organ_calibration_chunk_at(const organ_calibration_chunks *chunks, const organ_windows *all, size_t chunk)
{
    return (organ_windows){all->tokens + all->begin[chunk * chunks->together],
                           organ_calibration_chunk_windows(chunks, chunk), all->begin};
}

static size_t chunk_bytes(const organ_calibration_chunks *chunks, size_t chunk)
{
    return organ_calibration_chunk_windows(chunks, chunk) * chunks->window_bytes;
}

static size_t position_of(const organ_calibration_chunks *chunks, size_t chunk)
{
    return (chunk - chunks->first) / chunks->step;
}

static size_t chunk_offset(const organ_calibration_chunks *chunks, size_t chunk)
{
    return position_of(chunks, chunk) * chunks->together * chunks->window_bytes;
}

static size_t own_chunks(const organ_calibration_chunks *chunks)
{
    const size_t count = organ_calibration_chunks_count(chunks);
    return count > chunks->first ? position_of(chunks, count - 1) + 1 : 0;
}

uint64_t organ_calibration_states_bytes(const organ_calibration_chunks *chunks)
{
    uint64_t bytes = 0;
    for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks); c += chunks->step)
        bytes += chunk_bytes(chunks, c);
    return bytes;
}

uint64_t organ_calibration_states_memory(const organ_calibration_chunks *chunks, bool copied, bool scratch)
{
    const uint64_t one = chunks->together * chunks->window_bytes;
    if (scratch)
        return one + own_chunks(chunks) * sizeof(uint64_t);
    return organ_calibration_states_bytes(chunks) + (copied ? one : 0);
}

organ_status organ_calibration_states_open(const organ_calibration_chunks *chunks, bool copied, const char *scratch,
                                           organ_calibration_states **states, organ_error *error)
{
    organ_calibration_states *const s = *states = calloc(1, sizeof *s);
    if (s) {
        s->chunks = *chunks;
        s->file = (organ_direct_file){.fd = -1, .direct = -1};
        s->all = scratch ? NULL : malloc((size_t)organ_calibration_states_bytes(chunks) + 1);
        s->one = scratch || copied ? malloc(chunks->together * chunks->window_bytes) : NULL;
        s->digests = scratch ? malloc((own_chunks(chunks) + 1) * sizeof *s->digests) : NULL;
    }
    if (!s || (scratch ? !s->digests : !s->all) || ((scratch || copied) && !s->one))
        organ_fail_errno(error, ENOMEM, "hidden states of %zu windows", chunks->windows);
    else if (!scratch || organ_scratch_open(scratch, &s->file, error) == ORGAN_OK)
        return ORGAN_OK;
    organ_calibration_states_close(s);
    *states = NULL;
    return error->status;
}

void organ_calibration_states_close(organ_calibration_states *s)
{
    if (!s)
        return;
    organ_direct_close(&s->file);
    ORGAN_FREE_ARRAYS(s->all, s->one, s->digests, s);
}

static organ_status file_failed(const organ_calibration_states *s, const organ_error *fault, organ_error *error)
{
    return organ_fail_errno(error, fault->errnum, "%s: cannot store %llu bytes of hidden states (`scratch`)",
                            s->file.path, (unsigned long long)organ_calibration_states_bytes(&s->chunks));
}

/* Returns s->one, NULL on error. The first call reserves disk space. A chunk that was never put back is not read:
 * its values are undefined. The system is advised that this rank's next chunk will be read. */
static float *read_chunk(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    const size_t bytes = chunk_bytes(&s->chunks, chunk), position = position_of(&s->chunks, chunk),
                 next = chunk + s->chunks.step;
    organ_error fault = {0};
    if (!s->reserved &&
        organ_direct_reserve(&s->file, organ_calibration_states_bytes(&s->chunks), &fault) != ORGAN_OK) {
        file_failed(s, &fault, error);
        return NULL;
    }
    s->reserved = true;
    if (position >= s->stored)
        return s->one;
    if (organ_scratch_read(&s->file, s->one, bytes, chunk_offset(&s->chunks, chunk), error) != ORGAN_OK)
        return NULL;
    if (next < organ_calibration_chunks_count(&s->chunks))
        organ_scratch_announce(&s->file, chunk_bytes(&s->chunks, next), chunk_offset(&s->chunks, next));
    if (XXH3_64bits(s->one, bytes) == s->digests[position])
        return s->one;
    organ_fail_errno(error, EIO, "%s: %zu bytes of hidden states (`scratch`) differ from the written ones",
                     s->file.path, bytes);
    return NULL;
}

static organ_status write_chunk(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    const size_t bytes = chunk_bytes(&s->chunks, chunk), position = position_of(&s->chunks, chunk);
    organ_error fault = {0};
    if (organ_direct_write(&s->file, s->one, bytes, chunk_offset(&s->chunks, chunk), &fault) != ORGAN_OK)
        return file_failed(s, &fault, error);
    s->digests[position] = XXH3_64bits(s->one, bytes);
    s->stored = position >= s->stored ? position + 1 : s->stored;
    return error->status;
}

float *organ_calibration_states_take(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    return s->all ? (float *)(void *)(s->all + chunk_offset(&s->chunks, chunk)) : read_chunk(s, chunk, error);
}

organ_status organ_calibration_states_put_back(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    return s->all ? error->status : write_chunk(s, chunk, error);
}

float *organ_calibration_states_copy(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    if (!s->all)
        return read_chunk(s, chunk, error);
    return memcpy(s->one, s->all + chunk_offset(&s->chunks, chunk), chunk_bytes(&s->chunks, chunk));
}

organ_status organ_calibration_states_advance(organ_calibration_states *s, const organ_states_run *run,
                                              const organ_layer *layer, organ_error *error)
{
    const organ_calibration_chunks *const chunks = &s->chunks;
    for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks) && !error->status; c += chunks->step) {
        const organ_windows windows = organ_calibration_chunk_at(chunks, run->windows, c);
        if (organ_stop_is_requested(run->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "stopped while %s", run->doing);
        float *const values = organ_calibration_states_take(s, c, error);
        if (!values || (layer ? organ_layer_run(run->forward, layer, &windows, values, /*tap=*/NULL, error)
                              : organ_forward_embed(run->forward, &windows, values, error)))
            return error->status;
        organ_calibration_states_put_back(s, c, error);
    }
    return error->status;
}

/* ---- the plan ---- */

/* A part is a set of units that one rank changes together; its number is the index of its first unit. */
typedef struct sharing_plan {
    size_t *part;    /* for each unit: the number of its part */
    uint64_t *cost;  /* estimated work of each part, indexed by the part's number; 0 at other indices */
    uint32_t *owner; /* rank that changes each part, indexed by the part's number */
    uint64_t *load;  /* sum of the costs of each rank's parts */
} sharing_plan;

/* The number is in thousands and at least 1, so that the sum over a model's units fits 64 bits. */
static uint64_t in_thousands(double products) { return (uint64_t)fmin(products / 1e3, 0x1p40) + 1; }

#define PRODUCTS_A_ROW 8 /* estimate: how often a method multiplies each row of a matrix by the second moments */

/* The cost of the products of a unit's rows with second moments is in thousands of multiplications. */
static uint64_t cost_of_rows(const organ_calibration_unit *u)
{
    return in_thousands(PRODUCTS_A_ROW * (double)u->rows * (double)u->cols * (double)u->cols);
}

/* Factorising the second moments of the unit's inputs (cols x cols) takes cols^3 / 3 multiplications; the cost is in
 * thousands. A rank factorises them once for all its units with the same inputs. */
static uint64_t factorisation_cost(const organ_calibration_unit *u)
{
    return in_thousands((double)u->cols * (double)u->cols * (double)u->cols / 3);
}

/* An output is a tensor or, with work->together, a group of tensors that the caller changes as a whole. */
static size_t output_of(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    const organ_calibration_work *const work = g->calib->work;
    return work->together ? work->together(work->context, u->target) : u->target;
}

/* One rank must change both units if they belong to one output or, with `by_inputs`, have the same inputs. */
static bool are_tied(const organ_calibration_captures *g, const organ_calibration_unit *a,
                     const organ_calibration_unit *b, bool by_inputs)
{
    return output_of(g, a) == output_of(g, b) || (by_inputs && a->group != SIZE_MAX && a->group == b->group);
}

/* Units that are tied to a third one belong to one part, too. */
static void group_units(const organ_calibration_captures *g, bool by_inputs, sharing_plan *p)
{
    for (size_t k = 0; k < g->unit_count; k++) {
        p->part[k] = k;
        for (size_t l = 0; l < k; l++) {
            const size_t from = p->part[k], to = p->part[l];
            if (from == to || !are_tied(g, &g->units[k], &g->units[l], by_inputs))
                continue;
            for (size_t m = 0; m <= k; m++)
                if (p->part[m] == from || p->part[m] == to)
                    p->part[m] = organ_min(from, to);
        }
    }
}

/* Returns whether unit k is the first of its part with its inputs: only then the cost of the part includes a
 * factorisation of their H. Units that are common or done do not count. */
static bool brings_inputs(const organ_calibration_captures *g, const sharing_plan *p, size_t k)
{
    size_t before = 0;
    while (before < k && (p->part[before] != p->part[k] || g->units[before].group != g->units[k].group ||
                          g->units[before].common || g->units[before].done))
        before++;
    return before == k;
}

/* The loads of the ranks become similar; *max is the largest. Units that are common or done are left out. */
static organ_status assign_parts(const organ_calibration_captures *g, bool by_inputs, sharing_plan *p, uint64_t *max,
                                 organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    memset(p->cost, 0, g->unit_count * sizeof *p->cost);
    memset(p->load, 0, organ_ranks_count(ranks) * sizeof *p->load);
    group_units(g, by_inputs, p);
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->units[k].done && !g->units[k].common)
            p->cost[p->part[k]] +=
                cost_of_rows(&g->units[k]) + (brings_inputs(g, p, k) ? factorisation_cost(&g->units[k]) : 0);
    if (organ_ranks_assign(ranks, p->cost, g->unit_count, p->owner, error) != ORGAN_OK)
        return error->status;
    *max = 0;
    for (size_t k = 0; k < g->unit_count; k++) {
        uint64_t *const load = &p->load[p->owner[k]];
        *load += p->cost[k];
        *max = *load > *max ? *load : *max;
    }
    return ORGAN_OK;
}

static bool has_own_output(const organ_calibration_captures *g, size_t k)
{
    for (size_t l = 0; l < g->unit_count; l++)
        if (l != k && output_of(g, &g->units[l]) == output_of(g, &g->units[k]))
            return false;
    return true;
}

/* Units that are done or common do not count. Returns SIZE_MAX if there is none. *remaining becomes the sum of the
 * costs of all others. */
static size_t find_largest(const organ_calibration_captures *g, uint64_t *remaining)
{
    size_t largest = SIZE_MAX;
    *remaining = 0;
    for (size_t k = 0; k < g->unit_count; k++) {
        if (g->units[k].done || g->units[k].common)
            continue;
        *remaining += cost_of_rows(&g->units[k]);
        largest = largest == SIZE_MAX || cost_of_rows(&g->units[k]) > cost_of_rows(&g->units[largest]) ? k : largest;
    }
    return largest;
}

/* With work->rows, all ranks change the largest remaining unit together, as long as its cost exceeds a rank's even
 * share of all remaining cost. */
static void choose_common(const organ_calibration_captures *g)
{
    uint64_t remaining = 0;
    for (size_t k; g->calib->work->rows && (k = find_largest(g, &remaining)) != SIZE_MAX;) {
        if (cost_of_rows(&g->units[k]) <= remaining / organ_ranks_count(g->calib->engine->ranks) ||
            !has_own_output(g, k))
            return;
        g->units[k].common = true;
    }
}

static void apply_plan(const organ_calibration_captures *g, const sharing_plan *p)
{
    for (size_t k = 0; k < g->unit_count; k++)
        g->units[k].owner = p->owner[p->part[k]];
}

/* Units with the same inputs go to one rank, so that H is factorised once, unless this raises the largest load. */
static organ_status choose_plan(const organ_calibration_captures *g, sharing_plan *p, organ_error *error)
{
    uint64_t apart = 0, tied = 0;
    choose_common(g);
    if (assign_parts(g, /*by_inputs=*/false, p, &apart, error) != ORGAN_OK)
        return error->status;
    apply_plan(g, p);
    if (assign_parts(g, /*by_inputs=*/true, p, &tied, error) == ORGAN_OK && tied <= apart)
        apply_plan(g, p);
    return error->status;
}

organ_status organ_calibration_assign_units(const organ_calibration_captures *g, organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    /* a rank that changes a part of a stack of experts changes it in all passes */
    if (!ranks || error->status || g->pass > 0)
        return error->status;
    if (g->calib->work->alike) {
        for (size_t k = 0; k < g->unit_count; k++)
            g->units[k].owner = (uint32_t)organ_ranks_rank(ranks);
        return ORGAN_OK;
    }
    const size_t capacity = g->unit_count + 1;
    sharing_plan p = {calloc(capacity, sizeof *p.part), calloc(capacity, sizeof *p.cost),
                      calloc(capacity, sizeof *p.owner), calloc(organ_ranks_count(ranks), sizeof *p.load)};
    if (!p.part || !p.cost || !p.owner || !p.load)
        organ_fail_memory(error, g->calib->model->path);
    else
        choose_plan(g, &p, error);
    ORGAN_FREE_ARRAYS(p.part, p.cost, p.owner, p.load);
    return error->status;
}

/* ---- exchange of the layer ---- */

/* The next layer's inputs must be those of the changed model. Every rank has the common and finished units already.
 * With work->alike, each rank has changed all units itself; with ORGAN_INPUTS_DONOR, changes do not affect later
 * layers. */
organ_status organ_calibration_exchange_matrices(const organ_calibration_captures *g,
                                                 const organ_calibration_layer *layer, organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    char where[64];
    if (!ranks || !g->unit_count)
        return error->status;
    snprintf(where, sizeof where, "changing layer %d", (int)layer->number);
    if (organ_ranks_agree(ranks, where, error) || g->calib->options->streams == ORGAN_INPUTS_DONOR ||
        g->calib->work->alike)
        return error->status;
    for (size_t k = 0; k < g->unit_count && !error->status; k++) {
        const organ_calibration_unit *const u = &g->units[k];
        uint64_t bytes = 0;
        if (u->done || u->common || u->pass != g->pass)
            continue;
        void *const values = organ_layer_values(layer->loaded, u->name, &bytes);
        if (values)
            organ_ranks_broadcast(ranks, u->owner, values, (size_t)bytes, error);
    }
    return error->status;
}

/* ---- results of chunks ---- */

/* The walk deals the chunks to the ranks in turn. */
organ_status organ_calibration_sum_rows(const organ_calibration_run *calib, const char *where, double *rows,
                                        size_t width, double *sums, organ_error *error)
{
    const size_t count = organ_calibration_chunks_count(&calib->chunks);
    ORGAN_OWNED uint32_t *const owner = calloc(count + 1, sizeof *owner);
    for (size_t c = 0; c < count && owner; c++)
        owner[c] = (uint32_t)(c % calib->chunks.step);
    if (!owner)
        organ_fail_memory(error, where);
    organ_ranks_complete(calib->engine->ranks, where, rows, width * sizeof *rows, count, owner, error);
    if (error->status)
        return error->status;
    memset(sums, 0, width * sizeof *sums);
    for (size_t c = 0; c < count; c++)
        for (size_t k = 0; k < width; k++)
            sums[k] += rows[c * width + k];
    return ORGAN_OK;
}

/* A rank whose `take` failed still takes part in the broadcasts. */
organ_status organ_calibration_take_chunks(
    const organ_calibration_run *calib, size_t chunk, const organ_calibration_buffer *buffers, size_t count,
    organ_status (*take)(void *context, size_t chunk, bool own, organ_error *error), void *context, organ_error *error)
{
    organ_ranks *const ranks = calib->engine->ranks;
    const organ_calibration_chunks *const chunks = &calib->chunks;
    /* chunk of rank 0; the other ranks have the ones after it */
    const size_t first = chunk - chunks->first, all = organ_calibration_chunks_count(chunks);
    organ_error fault = {0};
    if (organ_ranks_agree(ranks, "running a chunk through a layer", error) != ORGAN_OK)
        return error->status;
    for (size_t r = 0; r < chunks->step && first + r < all && !error->status; r++) {
        const bool own = r == chunks->first;
        const size_t tokens = organ_calibration_chunk_windows(chunks, first + r) * calib->options->calibration.context;
        for (size_t k = 0; k < count && !error->status; k++)
            organ_ranks_broadcast(ranks, r, own ? buffers[k].own : buffers[k].other, tokens * buffers[k].token_bytes,
                                  error);
        if (!error->status && !fault.status)
            take(context, first + r, own, &fault);
    }
    if (!error->status)
        *error = fault;
    return organ_ranks_agree(ranks, "collecting the chunks of all ranks", error);
}

/* SPDX-License-Identifier: MIT
 * Divides tensors into row ranges and computes the digests of their new bytes. */
#include "orchestrator/surgery/output/cuts.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/output/run_journal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct cuts_digest {
    size_t tensor;
    uint64_t hashed;    /* bytes of the tensor that are digested, from its beginning */
    XXH3_state_t *hash; /* their state */
    struct cuts_digest *next;
} cuts_digest;

/* The digests are in any order. Only the thread that digests a tensor uses the members of its digest. */
struct organ_cuts_digests {
    pthread_mutex_t lock; /* guards the list */
    cuts_digest *list;
};

typedef struct cut_plan {
    organ_matrices m;        /* the tensor's matrices: their number, and rows and columns of each */
    uint64_t row_bytes, all; /* bytes of a row; rows of all matrices together */
    uint64_t step;           /* rows of a range: some whole matrices, or some rows of one matrix */
} cut_plan;

/* Ranges have at most about ORGAN_CUT_BYTES and end at multiples of `rows` in a matrix, or at the ends of matrices.
 * A tensor of at most ORGAN_CUT_BYTES, or any tensor with ORGAN_CUT_NEVER, stays one range. */
static cut_plan cut_plan_for(const organ_tensor *tensor, uint64_t rows)
{
    cut_plan k = {.m = organ_tensor_matrices(tensor)};
    k.step = k.all = k.m.count * k.m.rows;
    if (rows == ORGAN_CUT_NEVER || tensor->bytes <= ORGAN_CUT_BYTES)
        return k;
    k.row_bytes = tensor->bytes / k.all;
    /* Cut inside matrices only if one matrix is too large. The ranges get about equal sizes, each a multiple of
     * `granule` rows. */
    const bool inside = rows < k.m.rows && k.m.rows * k.row_bytes > ORGAN_CUT_BYTES;
    const uint64_t granule = inside ? rows : k.m.rows, extent = inside ? k.m.rows : k.all;
    const uint64_t max = organ_max(ORGAN_CUT_BYTES / (granule * k.row_bytes), 1) * granule,
                   ranges = organ_pieces_of(extent, max);
    k.step = organ_pieces_of(organ_pieces_of(extent, ranges), granule) * granule;
    return k;
}

/* Rows are counted over all matrices. If `step` is less than the rows of a matrix, a range ends at the latest at the
 * end of its matrix. */
static uint64_t rows_until_cut(const cut_plan *k, uint64_t row)
{
    const uint64_t remaining = k->step < k->m.rows ? k->m.rows - row % k->m.rows : k->all - row;
    return remaining < k->step ? remaining : k->step;
}

/* The range has some whole matrices, or some rows of one matrix, as a tensor of rank 3. A whole tensor keeps its
 * name and shape. Returns false if out of memory. */
static bool add_cut(organ_cuts *cuts, size_t *capacity, size_t t, const cut_plan *k, uint64_t row, uint64_t rows)
{
    const organ_tensor *const tensor = cuts->tensors[t];
    if (!organ_grow(&cuts->list, cuts->count, capacity, sizeof *cuts->list))
        return false;
    organ_cut *const c = &cuts->list[cuts->count];
    *c = (organ_cut){.tensor = *tensor, .unit = tensor->name, .of = t};
    if (rows < k->all) {
        char *const unit = organ_arena_take(&cuts->names, strlen(tensor->name) + 32);
        const bool stacked = rows >= k->m.rows;
        if (!unit)
            return false;
        sprintf(unit, stacked ? "%s (matrix %" PRIu64 ")" : "%s (row %" PRIu64 ")", tensor->name,
                stacked ? row / k->m.rows : row);
        c->unit = unit;
        c->at = row * k->row_bytes;
        c->shape[0] = stacked ? rows / k->m.rows : 1;
        c->shape[1] = stacked ? k->m.rows : rows;
        c->shape[2] = k->m.cols;
        c->tensor.rank = 3;
        c->tensor.elements = rows * k->m.cols;
        c->tensor.bytes = rows * k->row_bytes;
        c->tensor.offset += c->at;
    }
    cuts->count++;
    return true;
}

static bool cut_tensor(organ_cuts *cuts, size_t *capacity, size_t t, uint64_t rows)
{
    const cut_plan k = cut_plan_for(cuts->tensors[t], rows);
    cuts->first[t] = cuts->count;
    if (k.all == 0)
        return add_cut(cuts, capacity, t, &k, 0, 0);
    for (uint64_t row = 0, n; row < k.all; row += n)
        if (!add_cut(cuts, capacity, t, &k, row, n = rows_until_cut(&k, row)))
            return false;
    return true;
}

organ_status organ_cuts_make(const organ_tensor *const *tensors, size_t count, uint64_t rows, organ_cuts *cuts,
                             organ_error *error)
{
    size_t capacity = 0;
    *cuts = (organ_cuts){.tensors = tensors, .tensor_count = count};
    cuts->first = calloc(count + 1, sizeof *cuts->first);
    cuts->xxh3 = calloc(count + 1, sizeof *cuts->xxh3);
    cuts->digests = calloc(1, sizeof *cuts->digests);
    if (cuts->digests)
        pthread_mutex_init(&cuts->digests->lock, NULL);
    bool made = cuts->digests && cuts->first && cuts->xxh3;
    for (size_t t = 0; t < count && made; t++)
        made = cut_tensor(cuts, &capacity, t, rows);
    if (!made)
        return organ_fail_memory(error, "the row ranges of large tensors");
    cuts->list = organ_rows_to_file(cuts->list, cuts->count * sizeof *cuts->list);
    cuts->first[count] = cuts->count;
    for (size_t k = 0; k < cuts->count; k++) /* shapes are set last: growing the list moved them */
        if (!organ_cuts_is_whole(cuts, k))
            cuts->list[k].tensor.shape = cuts->list[k].shape;
    return ORGAN_OK;
}

static void free_digest(cuts_digest *digest)
{
    if (digest)
        XXH3_freeState(digest->hash);
    free(digest);
}

static void free_digests(struct organ_cuts_digests *digests)
{
    if (!digests)
        return;
    for (cuts_digest *d = digests->list, *next; d; d = next) {
        next = d->next;
        free_digest(d);
    }
    pthread_mutex_destroy(&digests->lock);
    free(digests);
}

void organ_cuts_release(organ_cuts *cuts)
{
    organ_arena_release(&cuts->names);
    free_digests(cuts->digests);
    organ_rows_free(cuts->list);
    free(cuts->first);
    free(cuts->xxh3);
    *cuts = (organ_cuts){0};
}

static size_t range_count(const organ_cuts *cuts, size_t t) { return cuts->first[t + 1] - cuts->first[t]; }

bool organ_cuts_is_whole(const organ_cuts *cuts, size_t cut) { return range_count(cuts, cuts->list[cut].of) == 1; }

static cuts_digest *take_digest(struct organ_cuts_digests *digests, size_t t)
{
    pthread_mutex_lock(&digests->lock);
    cuts_digest **at = &digests->list;
    while (*at && (*at)->tensor != t)
        at = &(*at)->next;
    cuts_digest *const found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&digests->lock);
    return found;
}

static void keep_digest(struct organ_cuts_digests *digests, cuts_digest *digest)
{
    pthread_mutex_lock(&digests->lock);
    digest->next = digests->list;
    digests->list = digest;
    pthread_mutex_unlock(&digests->lock);
}

/* Reuses `d`, or creates a digest if that is NULL. Returns NULL without memory. */
static cuts_digest *begin_digest(cuts_digest *d, size_t t)
{
    if (!d && (d = calloc(1, sizeof *d)) && !(d->hash = XXH3_createState())) {
        free(d);
        d = NULL;
    }
    if (d) {
        d->tensor = t;
        d->hashed = 0;
        XXH3_64bits_reset(d->hash);
    }
    return d;
}

/* Bytes that do not directly follow the bytes digested so far are ignored. */
organ_status organ_cuts_digest(organ_cuts *cuts, size_t cut, const void *data, size_t bytes, uint64_t at,
                               organ_error *error)
{
    const organ_cut *const c = &cuts->list[cut];
    const uint64_t from = c->at + at, all = cuts->tensors[c->of]->bytes;
    cuts_digest *d = take_digest(cuts->digests, c->of);
    if (from == 0 && !(d = begin_digest(d, c->of)))
        return organ_fail_memory(error, "the digest of a tensor");
    if (!d)
        return ORGAN_OK; /* another run or rank wrote the tensor's earlier bytes: organ_cuts_complete reads the tensor
                          */
    if (d->hashed == from) {
        XXH3_64bits_update(d->hash, data, bytes);
        d->hashed += bytes;
    }
    if (d->hashed < all) {
        keep_digest(cuts->digests, d);
        return ORGAN_OK;
    }
    snprintf(cuts->xxh3[c->of], sizeof *cuts->xxh3, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(d->hash));
    free_digest(d);
    return ORGAN_OK;
}

/* ---- tensors that were written in row ranges ---- */

typedef struct cuts_place {
    const organ_model *model;
    uint32_t file;
} cuts_place;

static organ_status read_written(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const cuts_place *const p = context;
    return organ_model_read(p->model, p->file, data, bytes, offset, error);
}

typedef struct cuts_reading {
    organ_cuts *cuts;
    const organ_model *written;
} cuts_reading;

/* Returns 0 for a tensor that was written as one range, because its digest is known. */
static uint64_t bytes_to_read(const void *context, size_t t)
{
    const organ_cuts *const cuts = ((const cuts_reading *)context)->cuts;
    return range_count(cuts, t) > 1 ? cuts->tensors[t]->bytes : 0;
}

/* bytes_to_read cannot check whether this rank digested the tensor while writing it: it must return the same on all
 * ranks, but each rank has only the digests of tensors that it wrote. */
static organ_status digest_written(void *context, size_t t, organ_error *error)
{
    const cuts_reading *const r = context;
    const organ_tensor *const whole = r->cuts->tensors[t], *const there = organ_model_find(r->written, whole->name);
    if (range_count(r->cuts, t) == 1 || r->cuts->xxh3[t][0])
        return ORGAN_OK;
    if (!there || there->bytes != whole->bytes)
        return organ_fail(error, ORGAN_IO, "%s: the written output lacks tensor '%s'", r->written->path, whole->name);
    const cuts_place here = {r->written, there->file};
    return organ_run_digest(read_written, &here, there->offset, there->bytes, NULL, r->cuts->xxh3[t], error);
}

organ_status organ_cuts_complete(organ_cuts *cuts, const organ_model *written, organ_ranks *ranks, organ_error *error)
{
    cuts_reading r = {cuts, written};
    organ_assignment assignment;
    if (organ_assignment_create(ranks, cuts->tensor_count, bytes_to_read, &r, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, digest_written, &r, error);
    organ_assignment_complete(&assignment, "computing digests", cuts->xxh3, sizeof *cuts->xxh3, sizeof *cuts->xxh3,
                              error);
    organ_assignment_release(&assignment);
    return error->status;
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/ranks/ranks.h"

#include "formats/base/owned.h"
#include "formats/base/rows.h"

#include <stdlib.h>
#include <string.h>

typedef struct sized {
    uint64_t bytes; /* size of the part */
    size_t index;   /* number of the part */
} sized;

static int by_size(const void *a, const void *b)
{
    const sized *const x = a, *const y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes)
                                : (x->index > y->index) - (x->index < y->index);
}

/* An element of a binary heap. The rank with the fewest bytes is on top, the lowest rank among equals. */
typedef struct load {
    uint64_t bytes; /* bytes of the parts assigned so far, plus 1 for each part */
    uint32_t rank;
} load;

static bool is_less(const load *a, const load *b)
{
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->rank < b->rank;
}

static void sink_top(load *heap, size_t count)
{
    for (size_t at = 0, next; (next = 2 * at + 1) < count; at = next) {
        if (next + 1 < count && is_less(&heap[next + 1], &heap[next]))
            next++;
        if (!is_less(&heap[next], &heap[at]))
            break;
        const load kept = heap[at];
        heap[at] = heap[next];
        heap[next] = kept;
    }
}

organ_status organ_ranks_assign(const organ_ranks *ranks, const uint64_t *bytes, size_t count, uint32_t *owner,
                                organ_error *error)
{
    const size_t all = organ_ranks_count(ranks);
    ORGAN_OWNED sized *const parts = malloc((count + 1) * sizeof *parts);
    ORGAN_OWNED load *const heap = malloc(all * sizeof *heap);
    if (!parts || !heap)
        organ_fail_memory(error, "the shares of the ranks");
    for (size_t r = 0; r < all && !error->status; r++)
        heap[r] = (load){.rank = (uint32_t)r};
    for (size_t k = 0; k < count && !error->status; k++)
        parts[k] = (sized){bytes[k], k};
    if (!error->status && count)
        qsort(parts, count, sizeof *parts, by_size);
    for (size_t k = 0; k < count && !error->status; k++) {
        owner[parts[k].index] = heap[0].rank;
        heap[0].bytes += parts[k].bytes + 1; /* + 1 spreads parts without bytes too */
        sink_top(heap, all);
    }
    return error->status;
}

/* ---- parts ---- */

organ_status organ_assignment_create(organ_ranks *ranks, size_t count,
                                     uint64_t (*bytes)(const void *context, size_t part), const void *context,
                                     organ_assignment *assignment, organ_error *error)
{
    ORGAN_OWNED uint64_t *const of = calloc(count + 1, sizeof *of);
    *assignment = (organ_assignment){ranks, count, calloc(count + 1, sizeof *assignment->owner)};
    if (!of || !assignment->owner)
        organ_fail_memory(error, "the shares of the ranks");
    for (size_t k = 0; k < count && ranks && !error->status; k++)
        of[k] = bytes(context, k);
    if (ranks && !error->status)
        organ_ranks_assign(ranks, of, count, assignment->owner, error);
    return error->status;
}

organ_status organ_assign_evenly(organ_ranks *ranks, size_t count, organ_assignment *assignment, organ_error *error)
{
    *assignment = (organ_assignment){ranks, count, calloc(count + 1, sizeof *assignment->owner)};
    if (!assignment->owner)
        return organ_fail_memory(error, "the shares of the ranks");
    for (size_t k = 0; k < count; k++)
        assignment->owner[k] = (uint32_t)(k * organ_ranks_count(ranks) / count);
    return ORGAN_OK;
}

bool organ_assignment_is_local(const organ_assignment *assignment, size_t part)
{
    return assignment->owner[part] == organ_ranks_rank(assignment->ranks);
}

void organ_assignment_release(organ_assignment *assignment) { organ_clear(&assignment->owner); }

organ_status organ_assignment_run(const organ_assignment *assignment,
                                  organ_status (*work)(void *context, size_t part, organ_error *error), void *context,
                                  organ_error *error)
{
    for (size_t k = 0; k < assignment->count && !error->status; k++)
        if (organ_assignment_is_local(assignment, k))
            work(context, k, error);
    return error->status;
}

/* ---- exchange of results ---- */

typedef struct pieces {
    char *first;         /* element 0 */
    size_t size, stride; /* bytes of an element; bytes from one element to the next */
} pieces;

/* Copies elements in order and without gaps, from the array to `packed` or, with `put`, back. If `packed` is NULL,
 * copies nothing. Returns the bytes of these elements together. */
static size_t copy_elements(char *packed, const pieces *p, const organ_assignment *assignment, size_t rank, bool put)
{
    size_t at = 0;
    for (size_t k = 0; k < assignment->count; k++) {
        if (assignment->owner[k] != rank)
            continue;
        char *const element = p->first + k * p->stride;
        if (packed)
            memcpy(put ? element : packed + at, put ? packed + at : element, p->size);
        at += p->size;
    }
    return at;
}

/* If a rank has an error, `first` or assignment->owner may be NULL; it then sends nothing. */
organ_status organ_assignment_complete(const organ_assignment *assignment, const char *where, void *first, size_t size,
                                       size_t stride, organ_error *error)
{
    const pieces p = {first, size, stride};
    const size_t rank = organ_ranks_rank(assignment->ranks);
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (!assignment->ranks)
        return error->status;
    const size_t bytes =
        first && assignment->owner ? copy_elements(/*packed=*/NULL, &p, assignment, rank, /*put=*/false) : 0;
    ORGAN_OWNED char *const mine = malloc(bytes + 1);
    if (!mine)
        organ_fail_memory(error, where);
    else if (bytes)
        copy_elements(mine, &p, assignment, rank, /*put=*/false);
    organ_ranks_gather(assignment->ranks, where, mine, mine ? bytes : 0, &all, error);
    for (size_t r = 0; r < all.count && !error->status; r++)
        if (r != rank && copy_elements(/*packed=*/NULL, &p, assignment, r, /*put=*/true) == all.bytes[r])
            copy_elements(all.of[r], &p, assignment, r, /*put=*/true);
    return error->status;
}

organ_status organ_ranks_complete(organ_ranks *ranks, const char *where, void *array, size_t size, size_t count,
                                  const uint32_t *owner, organ_error *error)
{
    return organ_assignment_complete(&(organ_assignment){ranks, count, (uint32_t *)owner}, where, array, size, size,
                                     error);
}

typedef struct found_result {
    void *is;       /* the caller's allocation, NULL if there is no result */
    uint64_t bytes; /* its size, 0 if there is no result */
} found_result;

/* The results are one after another in an allocation, which the caller frees. */
static char *concatenate_results(const organ_assignment *assignment, const found_result *of, uint64_t *bytes)
{
    *bytes = 0;
    for (size_t k = 0; k < assignment->count; k++)
        *bytes += organ_assignment_is_local(assignment, k) ? of[k].bytes : 0;
    char *const joined = malloc(*bytes + 1);
    uint64_t at = 0;
    for (size_t k = 0; k < assignment->count && joined; k++)
        if (organ_assignment_is_local(assignment, k) && of[k].bytes) {
            memcpy(joined + at, of[k].is, of[k].bytes);
            at += of[k].bytes;
        }
    return joined;
}

/* all->of[r] has the results of rank r one after another, and of[k].bytes is the size of each. The results become
 * new allocations in of[k].is. */
static organ_status copy_results(const organ_assignment *assignment, const char *where, const organ_gathered *all,
                                 found_result *of, organ_error *error)
{
    ORGAN_OWNED uint64_t *const at =
        calloc(all->count + 1, sizeof *at); /* for each rank: bytes of all->of[r] copied so far */
    if (!at)
        return organ_fail_memory(error, where);
    for (size_t k = 0; k < assignment->count && !error->status; k++) {
        const size_t r = assignment->owner[k];
        if (organ_assignment_is_local(assignment, k) || !of[k].bytes)
            continue;
        if (!(of[k].is = malloc(of[k].bytes)))
            organ_fail_memory(error, where);
        else
            memcpy(of[k].is, all->of[r] + at[r], of[k].bytes);
        at[r] += of[k].bytes;
    }
    return error->status;
}

/* Exchanges the sizes first, then the bytes. A rank that could not allocate `of` passes NULL and an error, which
 * becomes the error of all ranks. */
static organ_status exchange_found(const organ_assignment *assignment, const char *where, found_result *of,
                                   organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    uint64_t bytes = 0;
    if (organ_assignment_complete(assignment, where, of ? &of->bytes : NULL, sizeof of->bytes, sizeof *of, error))
        return error->status;
    ORGAN_OWNED char *const mine = concatenate_results(assignment, of, &bytes);
    if (!mine)
        organ_fail_memory(error, where);
    if (organ_ranks_gather(assignment->ranks, where, mine, mine ? bytes : 0, &all, error) == ORGAN_OK)
        copy_results(assignment, where, &all, of, error);
    return error->status;
}

organ_status organ_assignment_exchange(const organ_assignment *assignment, const char *where, void *first,
                                       size_t stride, uint64_t (*bytes)(const void *context, size_t part),
                                       const void *context, organ_error *error)
{
    char *const pointers = first;
    if (!assignment->ranks)
        return error->status;
    ORGAN_OWNED_ROWS found_result *const of = organ_rows_take(assignment->count + 1, sizeof *of);
    if (!of)
        organ_fail_memory(error, where);
    for (size_t k = 0; k < assignment->count && of; k++) {
        memcpy(&of[k].is, pointers + k * stride, sizeof of[k].is);
        if (of[k].is)
            of[k].bytes = bytes ? bytes(context, k) : strlen(of[k].is) + 1;
    }
    exchange_found(assignment, where, of, error);
    for (size_t k = 0; k < assignment->count && of; k++)
        memcpy(pointers + k * stride, &of[k].is, sizeof of[k].is);
    return error->status;
}

/* `counts` may be NULL if *error is set. */
organ_status organ_ranks_add(organ_ranks *ranks, const char *where, uint64_t *counts, size_t count, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (!ranks)
        return error->status;
    organ_ranks_gather(ranks, where, counts, counts ? count * sizeof *counts : 0, &all, error);
    for (size_t r = 0; r < all.count && !error->status; r++)
        for (size_t k = 0; k < count && r != organ_ranks_rank(ranks); k++) {
            uint64_t more;
            memcpy(&more, all.of[r] + k * sizeof more, sizeof more);
            counts[k] += more;
        }
    return error->status;
}

organ_row_range organ_ranks_rows(const organ_ranks *ranks, size_t rank, size_t rows, size_t step)
{
    const size_t count = organ_ranks_count(ranks), steps = (rows + step - 1) / step;
    const size_t first = steps * rank / count * step, end = steps * (rank + 1) / count * step;
    return (organ_row_range){first < rows ? first : rows, end < rows ? end : rows};
}

organ_row_range organ_ranks_own_rows(const organ_ranks *ranks, size_t rows, size_t step)
{
    return organ_ranks_rows(ranks, organ_ranks_rank(ranks), rows, step);
}

organ_status organ_ranks_complete_rows(organ_ranks *ranks, const char *where, void *values, size_t bytes, size_t rows,
                                       size_t step, organ_error *error)
{
    if (organ_ranks_agree(ranks, where, error) != ORGAN_OK)
        return error->status;
    for (size_t r = 0; r < organ_ranks_count(ranks) && !error->status; r++) {
        const organ_row_range of = organ_ranks_rows(ranks, r, rows, step);
        organ_ranks_broadcast(ranks, r, (char *)values + of.first * bytes, (of.end - of.first) * bytes, error);
    }
    return error->status;
}

/* SPDX-License-Identifier: MIT
 * Merges tensors with a method, in bounded memory. Each input is read strip by strip, as often as the method has
 * passes, and is never in memory as a whole. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_WALK_H
#define ORGAN_SURGERY_MERGE_MERGE_WALK_H

#include "orchestrator/surgery/merge/merge_method.h"

/* Rows of a tensor that are not rows of a source (organ_merge_row.source). */
#define ORGAN_MERGE_ROW_MEAN                                                                                           \
    (UINT32_MAX - 2)                          /* the mean of row `row` of all sources that have it and are `averaged`  \
                                               */
#define ORGAN_MERGE_ROW_PAD  (UINT32_MAX - 1) /* the mean of the rows before `padding` */
#define ORGAN_MERGE_ROW_ZERO UINT32_MAX       /* zeros */

/* Where a row of an input comes from. */
typedef struct organ_merge_row {
    uint32_t source; /* index in organ_merge_rows.sources, or ORGAN_MERGE_ROW_* */
    uint32_t row;    /* of that source; of ORGAN_MERGE_ROW_MEAN: the row of the output */
} organ_merge_row;

/* Where the rows of all inputs of a tensor come from, if they have not those of the weights: tensors with a row (in a
 * vector: a value) for each token. Weights of sources may have other numbers of rows than the output. */
typedef struct organ_merge_rows {
    const organ_merge_input *sources;
    size_t count;
    const bool *averaged;               /* of each source */
    const uint32_t *const *places;      /* of each source: its row for each row of the output, UINT32_MAX for none */
    const organ_merge_row *const *rows; /* of each input, and the base: for each row of the output */
    uint64_t padding;                   /* first row that may be ORGAN_MERGE_ROW_PAD */
    float **pads; /* of each input, and the base: the values of such rows, set by organ_merge_walk_run; may be NULL if
                   * there are none */
} organ_merge_rows;

/* A tensor to merge. */
typedef struct organ_merge_item {
    organ_merge_task task;
    const organ_merge_rows *rows;    /* NULL: the inputs have the rows of their weights */
    const organ_merge_input *inputs; /* task.inputs of them; the base follows if task.base is set */
} organ_merge_item;

/* Returns the number of an item's inputs, with the base. */
static inline size_t organ_merge_item_inputs(const organ_merge_item *item)
{
    return item->task.inputs + (item->task.base ? 1 : 0);
}

/* How far the result is from an input: sums over all elements, of the values before they are rounded. */
typedef struct organ_merge_moved {
    double square;   /* of the input's values squared */
    double distance; /* of the squares of result - input */
    double change;   /* of the squares of input - base; 0 without a base */
} organ_merge_moved;

/* Returns the sums of `n` values of a result `out`, of an input `in` and of the base, which may be NULL, or `in` itself
 * (its change is 0). `square` is not finite if a value of `in` is not. */
organ_merge_moved organ_merge_moved_by(const organ_kernels *kernels, const float *out, const float *in,
                                       const float *base, size_t n);
/* Adds the sums of each of `inputs` inputs. */
void organ_merge_add_moved(organ_merge_moved *moved, const organ_merge_moved *more, size_t inputs);

/* The tensors and the callbacks of a run. */
typedef struct organ_merge_walk {
    const organ_merge_item *items; /* in the order in which they are merged */
    size_t count;
    size_t put_scratch; /* bytes of scratch memory of `put` for each worker */
    size_t put_memory;  /* bytes that `put` allocates for each worker */
    void *context;      /* first argument of the callbacks */
    /* Receives a strip of the result; may change `values`, and `spare`, which has as many bytes. Called by any worker,
     * for strips in any order. */
    organ_status (*put)(void *context, size_t worker, size_t item, uint64_t first, size_t rows, float *values,
                        void *spare, void *scratch, organ_error *error);
    /* Waits until the strips that the worker has passed to `put` are stored. Called by each worker after its last strip
     * of an item, and before `finish`. May be NULL. */
    organ_status (*settle)(void *context, size_t worker, organ_error *error);
    /* Receives a finished item, on the thread that runs organ_merge_walk_run, in the order of the items. `moved` has an
     * element for each input, and one for the base. */
    organ_status (*finish)(void *context, size_t item, const organ_merge_moved *moved, organ_error *error);
} organ_merge_walk;

/* Merges all items. The result has the same bits for any number of workers. Returns ORGAN_USAGE if the memory is not
 * enough for one worker; ORGAN_IO if a read failed; ORGAN_BAD_INPUT, naming model and tensor, for an input with NaN or
 * an infinite value and for an error of the method; ORGAN_INTERRUPTED if stopped; the error of a callback. If several
 * tensors fail, the error is that of the first. */
organ_status organ_merge_walk_run(const organ_merge_walk *run, const organ_engine *engine, organ_error *error);

/* Returns the least memory, in bytes, with which organ_merge_walk_run does not return ORGAN_USAGE; 0 after an error of
 * the headers. */
uint64_t organ_merge_walk_enough(const organ_merge_walk *run, const organ_engine *engine, organ_error *error);

#endif

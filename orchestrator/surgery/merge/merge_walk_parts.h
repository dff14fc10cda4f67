/* SPDX-License-Identifier: MIT
 * Shared by merge_walk.c, which divides tensors among workers, and merge_strip.c, which computes strips. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_WALK_PARTS_H
#define ORGAN_SURGERY_MERGE_MERGE_WALK_PARTS_H

#include "orchestrator/surgery/merge/merge_walk.h"

/* Bytes of the buffers of one worker beyond a strip of each input and of the result, each a multiple of 64. */
typedef struct merge_sizes {
    size_t scratch;  /* of the method, or of organ_merge_walk.put */
    size_t state;    /* of the method */
    size_t counters; /* of the method */
    size_t sums;     /* of the method, or organ_merge_moved of all inputs */
} merge_sizes;

/* The memory of a worker. */
typedef struct merge_lane {
    size_t worker;
    organ_strip_lane *strip; /* readers k of item: organ_merge_reads_of(item)[k] */
    float *out;              /* the last buffer of `strip` */
    void *scratch, *state;
    uint64_t *counters;
    bool counts; /* `counters` are those of this phase */
    double *sums;
    uint64_t equal; /* bit k: input k of the item has the bytes of the base, and is not read */
} merge_lane;

bool organ_merge_scans(const organ_merge_item *item); /* whether the method has passes before it is applied */

/* Raises the sizes to what the item needs. Returns ORGAN_BAD_INPUT for invalid headers. */
organ_status organ_merge_measure(const organ_merge_walk *run, const organ_merge_item *item, organ_strip_lanes *lanes,
                                 merge_sizes *sizes, organ_error *error);

/* Returns the number that a method states for the item; 0 without such a function. */
static inline size_t organ_merge_stated(size_t (*number)(const organ_merge_task *), const organ_merge_item *item)
{
    return number ? number(&item->task) : 0;
}

/* Returns the number of weights that the item is read from. */
static inline size_t organ_merge_reads(const organ_merge_item *item)
{
    return item->rows ? item->rows->count : organ_merge_item_inputs(item);
}

/* Returns the array of organ_merge_reads(item) inputs from which the values of the item are read. */
static inline const organ_merge_input *organ_merge_reads_of(const organ_merge_item *item)
{
    return item->rows ? item->rows->sources : item->inputs;
}

/* ---- inputs that equal the base ---- */

/* Returns the inputs (bit k: input k) that may be compared with the base: the method has passes, and equal bytes mean
 * equal values. */
uint64_t organ_merge_candidates(const organ_merge_item *item);

/* Removes from *equal, a subset of the candidates, those with other bytes than the base in a strip. Uses the lane's
 * buffers of values. Returns ORGAN_IO if a read failed. */
organ_status organ_merge_compare_strip(const merge_lane *lane, const organ_merge_item *item, uint64_t strip,
                                       uint64_t *equal, organ_reader_gate *gate, organ_error *error);

/* ---- rows of tokens ---- */

/* Returns the bytes that organ_merge_gather needs for a strip of an item with `rows`, without scratch of readers. */
size_t organ_merge_gather_bytes(const organ_merge_item *item);

/* Reads rows [first, first + count) of input `input` of an item with `rows`.
 * `scratch` has room for a reader or a change, `spare` organ_merge_gather_bytes; both are 64-byte aligned. */
organ_status organ_merge_gather(const organ_merge_item *item, const organ_merge_reader *from, size_t input,
                                uint64_t first, size_t count, float *values, void *scratch, void *spare,
                                organ_error *error);

/* Computes rows->pads of the item. */
organ_status organ_merge_fill_pads(const organ_merge_item *item, organ_error *error);

/* Scans strip `strip` in pass `pass`: lane->sums becomes its sums, lane->counters grow. */
organ_status organ_merge_scan_strip(merge_lane *lane, const organ_merge_item *item, const void *state, unsigned pass,
                                    uint64_t strip, organ_reader_gate *gate, organ_error *error);

/* Computes a strip of the result and passes it to `put`; lane->sums becomes organ_merge_moved of the inputs. Returns
 * ORGAN_BAD_INPUT for values that are not finite, also without passes that would have refused them. */
organ_status organ_merge_apply_strip(merge_lane *lane, const organ_merge_walk *run, const organ_kernels *kernels,
                                     size_t number, const void *state, uint64_t strip, organ_reader_gate *gate,
                                     organ_error *error);

#endif

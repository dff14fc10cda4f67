/* SPDX-License-Identifier: MIT
 * Shared by merge_walk.c, which divides tensors among workers, and merge_strip.c, which computes strips. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_WALK_PARTS_H
#define ORGAN_SURGERY_MERGE_MERGE_WALK_PARTS_H

#include "orchestrator/stream/read_ahead.h"
#include "orchestrator/surgery/merge/merge_walk.h"

/* Bytes of the buffers of one worker, each a multiple of 64. */
typedef struct merge_sizes {
    size_t inputs;   /* largest number of inputs, with the base */
    size_t readers;  /* largest number of weights that an item is read from */
    size_t values;   /* a strip of one input, and of the result */
    size_t reading;  /* scratch of readers and changes */
    size_t scratch;  /* of the method, or of organ_merge_walk.put */
    size_t state;    /* of the method */
    size_t counters; /* of the method */
    size_t sums;     /* of the method, or organ_merge_moved of all inputs */
    size_t changes;  /* states of organ_merge_change of an item, which are allocated while it is open */
} merge_sizes;

/* The memory of a worker. */
typedef struct merge_lane {
    size_t worker;
    bool open;     /* `from` has the readers of the divided item */
    void *memory;  /* all buffers */
    float **input; /* sizes.inputs buffers */
    float *out;
    unsigned char *reading;
    void *scratch, *state;
    uint64_t *counters;
    double *sums;
    organ_merge_reader *from; /* readers of the open item: entry k reads organ_merge_read_of(item, k) */
} merge_lane;

bool organ_merge_scans(const organ_merge_item *item); /* whether the method has passes before it is applied */

/* Raises *sizes to what the item needs. Returns ORGAN_BAD_INPUT for invalid headers. */
organ_status organ_merge_measure(const organ_merge_walk *run, const organ_merge_item *item, merge_sizes *sizes,
                                 organ_error *error);

/* Returns the number that a method states for the item; 0 without such a function. */
static inline size_t organ_merge_stated(size_t (*number)(const organ_merge_task *), const organ_merge_item *item)
{
    return number ? number(&item->task) : 0;
}

/* Raises *scratch to what the readers and changes of an item need for a strip, a multiple of 64 bytes, and adds the
 * bytes of the states of its changes to *states. */
organ_status organ_merge_reading(const organ_merge_item *item, size_t *scratch, size_t *states, organ_error *error);

/* Opens and closes the readers of an item; after an error the caller closes them too. */
organ_status organ_merge_open_item(organ_merge_reader *from, const organ_merge_item *item, organ_error *error);
void organ_merge_close_item(organ_merge_reader *from, const organ_merge_item *item);

/* Returns the number of weights that the item is read from. */
static inline size_t organ_merge_reads(const organ_merge_item *item)
{
    return item->rows ? item->rows->count : organ_merge_item_inputs(item);
}

/* Returns the weight number k of the organ_merge_reads(item) from which the values of the item are read. */
static inline const organ_merge_input *organ_merge_read_of(const organ_merge_item *item, size_t k)
{
    return item->rows ? &item->rows->sources[k] : &item->inputs[k];
}

/* Rows of tokens. */

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

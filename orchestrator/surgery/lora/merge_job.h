/* SPDX-License-Identifier: MIT
 * What the parts of a merge share: merge.c runs it, merge_plan.c finds the places, merge_pass.c computes,
 * merge_document.c tells. */
#ifndef ORGAN_LORA_MERGE_JOB_H
#define ORGAN_LORA_MERGE_JOB_H

#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/write/write.h"

/* Sums over a weight. D is scale B A, with DoRA all that changes; T is what the merge changed: the rounded sum W + D
 * less the rounded W. */
typedef struct organ_merge_sums {
    double delta, applied, dot, miss; /* of D^2, T^2, T D, (T - D)^2 */
    uint64_t overflow;                /* 1 + the place of the first value that left the range of the type; 0: none */
} organ_merge_sums;

/* One weight of the base that the adapter changes. */
typedef struct organ_merge_part {
    size_t weight;                  /* index into organ_weights.weights */
    const organ_adapter_pair *pair; /* NULL: it is only replaced */
    const organ_tensor *saved;      /* of the adapter, in whose place the base's values are not used; NULL: none */
    const organ_tensor *magnitudes; /* DoRA: the norm that each row of the merged weight gets; NULL: none */
    bool transposed;                /* stored in_features x out_features: an embedding, Conv1D */
    double scale;
    organ_lora_factors factors; /* while it is worked on */
    float *row_norms;           /* the values of `magnitudes`, likewise */
    organ_merge_sums sums;
} organ_merge_part;

typedef struct organ_merge_job {
    const organ_lora_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_adapter *adapter;
    organ_model *base;
    organ_weights *weights;
    organ_dtype dtype; /* of what was packed */
    size_t part_count, unplaced_count, piece_count, packed;
    organ_merge_part *parts;   /* in the order of the weights */
    size_t *part_of, *item_of; /* per weight its part; per item of the pass its weight */
    organ_shard_piece *pieces; /* of weight k: pieces[k]; strays that stay come behind */
    organ_unit *units;         /* one for each piece; item: the weight */
    json_t *unplaced;          /* {"tensor", "reason"} */
} organ_merge_job;

#define ORGAN_NO_PART SIZE_MAX

/* Finds the places of all keys; those without are in job->unplaced, which is then not empty. Fills parts and pieces. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error);

/* Puts all tensors that change into their places. */
organ_status organ_merge_run(organ_merge_job *job, organ_writing *run, organ_error *error);

/* Takes over the sums of a weight from the journal. */
bool organ_merge_recall(void *job, size_t weight, const json_t *results);

/* organ.lora_merge/1. `output` and `plan` are NULL where nothing fits. NULL without memory. */
json_t *organ_merge_document(void *job, const organ_writing *made);

#endif

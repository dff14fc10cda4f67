/* SPDX-License-Identifier: MIT
 * Declarations that the sources of a merge share: merge.c runs it, merge_plan.c assigns the adapter's keys to weights,
 * merge_pass.c computes, merge_document.c makes the report. */
#ifndef ORGAN_LORA_MERGE_JOB_H
#define ORGAN_LORA_MERGE_JOB_H

#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/write/write.h"

/* Sums over the values of a weight. D is scale B A, or with DoRA the whole change; T is the change in the output: the
 * rounded sum W + D minus the rounded W. */
typedef struct organ_merge_sums {
    double delta, applied, dot, miss; /* sums of D^2, T^2, T D and (T - D)^2 */
    uint64_t overflow;                /* 1 + index of the first value that exceeded the range of the type; 0: none */
} organ_merge_sums;

/* One weight of the base that the adapter changes. */
typedef struct organ_merge_part {
    size_t weight;                  /* index into organ_weights.weights */
    const organ_adapter_pair *pair; /* factors that change the weight; NULL: `saved` only replaces it */
    const organ_tensor *saved;      /* tensor of the adapter that replaces the base's values; NULL: none */
    const organ_tensor *magnitudes; /* DoRA: the norm of each row of the merged weight; NULL: none */
    bool transposed;                /* stored as in_features x out_features: an embedding, Conv1D */
    double scale;                   /* factor of B A: the adapter's own scale times --scale */
    organ_lora_factors factors;     /* loaded while the weight is processed */
    float *row_norms;               /* values of `magnitudes`, loaded at the same time; NULL: no DoRA */
    organ_merge_sums sums;
} organ_merge_part;

typedef struct organ_merge_job {
    const organ_lora_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_adapter *stored, *translated; /* `translated`: NULL if the stored names are those of the base */
    const organ_adapter *adapter;       /* `translated` if it is set, else `stored` */
    organ_model *base;
    organ_weights *weights;
    organ_gguf_writer *gguf;                /* key-values of a GGUF base; NULL: safetensors */
    organ_dtype dtype;                      /* type of weights that were packed, and of --dtype */
    size_t part_count, piece_count, packed; /* packed: number of packed weights of the base */
    organ_merge_part *parts;                /* in the order of the weights */
    /* part_of[weight]: index of its part or ORGAN_NO_PART; item_of[k]: weight of item k of the pass. */
    size_t *part_of, *item_of;
    organ_shard_piece *pieces; /* pieces[k] is weight k; after the weights the tensors that belong to none */
    organ_unit *units;         /* one for each piece; organ_unit.item is the index of the piece */
    json_t *unplaced;          /* rows {"tensor", "reason"} of the adapter's keys that match nothing */
} organ_merge_job;

#define ORGAN_NO_PART SIZE_MAX

/* Assigns the adapter's keys to weights of the base and fills parts and pieces. Keys without a weight are listed in
 * job->unplaced, which is empty if all fit. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error);

/* Computes and writes all changed weights that this rank must make. */
organ_status organ_merge_run(organ_merge_job *job, organ_writing *run, organ_error *error);

/* Implements organ_write.recall: restores the sums of a weight from its journal line. */
bool organ_merge_recall(void *job, size_t weight, const json_t *results);

/* Returns a document of schema organ.lora_merge/1. `made` is NULL if some keys match nothing. NULL if out of memory. */
json_t *organ_merge_document(void *job, const organ_writing *made);

#endif

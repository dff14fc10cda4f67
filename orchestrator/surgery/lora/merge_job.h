/* SPDX-License-Identifier: MIT
 * Declarations that the sources of a merge share: merge.c runs it, merge_plan.c assigns keys to weights,
 * merge_pass.c computes, merge_document.c writes the report. */
#ifndef ORGAN_LORA_MERGE_JOB_H
#define ORGAN_LORA_MERGE_JOB_H

#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/lora/merge.h"
#include "orchestrator/surgery/write/write.h"

/* Sums over a weight. D is scale B A, or with DoRA the whole change; T is the change in the output: the rounded sum W
 * + D minus the rounded W. */
typedef struct organ_merge_sums {
    double delta, applied, dot, miss; /* of D^2, T^2, T D, (T - D)^2 */
    uint64_t overflow;                /* 1 + index of the first value that exceeded the range of the type; 0: none */
} organ_merge_sums;

/* One weight of the base that the adapter changes. */
typedef struct organ_merge_part {
    size_t weight;                  /* index into organ_weights.weights */
    const organ_adapter_pair *pair; /* NULL: the weight is only replaced */
    const organ_tensor *saved;      /* tensor of the adapter that replaces the base's values; NULL: none */
    const organ_tensor *magnitudes; /* DoRA: the norm of each row of the merged weight; NULL: none */
    bool transposed;                /* stored in_features x out_features: an embedding, Conv1D */
    double scale;
    organ_lora_factors factors; /* set while the weight is processed */
    float *row_norms;           /* the values of `magnitudes`, also only then */
    organ_merge_sums sums;
} organ_merge_part;

typedef struct organ_merge_job {
    const organ_lora_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_adapter *stored, *translated; /* `translated`: NULL if its names are those of the base */
    const organ_adapter *adapter;       /* one of them */
    organ_model *base;
    organ_weights *weights;
    organ_gguf_writer *gguf; /* key-values of a GGUF base; NULL: safetensors */
    organ_dtype dtype;       /* of weights that were packed */
    size_t part_count, piece_count, packed;
    organ_merge_part *parts;   /* in the order of the weights */
    size_t *part_of, *item_of; /* per weight its part; per item of the pass its weight */
    organ_shard_piece *pieces; /* pieces[k] is weight k; kept strays follow after the weights */
    organ_unit *units;         /* one for each piece; item: the weight */
    json_t *unplaced;          /* {"tensor", "reason"} */
} organ_merge_job;

#define ORGAN_NO_PART SIZE_MAX

/* Assigns all keys to weights and fills parts and pieces. Keys without a weight are listed in job->unplaced, which is
 * empty if all fit. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error);

/* Writes all changed tensors. */
organ_status organ_merge_run(organ_merge_job *job, organ_writing *run, organ_error *error);

/* Reads the sums of a weight from the journal. */
bool organ_merge_recall(void *job, size_t weight, const json_t *results);

/* Returns a document of schema organ.lora_merge/1. `made` is NULL if some keys match nothing. NULL if out of memory. */
json_t *organ_merge_document(void *job, const organ_writing *made);

#endif

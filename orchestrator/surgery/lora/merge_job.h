/* SPDX-License-Identifier: MIT
 * Declarations that the sources of a merge share: merge.c runs it, merge_plan.c assigns the adapter's keys to weights,
 * merge_pass.c computes, merge_document.c makes the report. */
#ifndef ORGAN_LORA_MERGE_JOB_H
#define ORGAN_LORA_MERGE_JOB_H

#include "orchestrator/surgery/lora/base_names.h"
#include "orchestrator/surgery/lora/factors.h"
#include <organ/lora.h>
#include "orchestrator/surgery/write/write.h"

/* Sums over the values of a weight W. D is its exact change: scale B A, or with DoRA the merged weight minus W. T is
 * the change in the output: W + D rounded to the output's type, minus W rounded to this type. */
typedef struct organ_merge_sums {
    double delta, applied; /* sums of D^2 and of T^2 */
    double dot, miss;      /* sums of T D and of (T - D)^2 */
    uint64_t overflow;     /* 1 + index of the first value that exceeded the range of the type; 0: none */
} organ_merge_sums;

/* A weight of the base that the adapter changes or replaces. */
typedef struct organ_merge_part {
    size_t weight;                  /* index into organ_weights.weights */
    const organ_adapter_pair *pair; /* factors that change the weight; NULL: none */
    const organ_tensor *saved; /* tensor of the adapter that replaces the weight before `pair` changes it; NULL: none */
    const organ_tensor *magnitudes; /* DoRA: the norm of each row of the merged weight; NULL: none */
    const organ_tensor
        *tokens;         /* rows of words that replace those of the weight (trainable_token_indices); NULL: none */
    uint64_t *token_ids; /* number of the row that each row of `tokens` replaces; owned */
    float *token_rows;   /* values of `tokens`, only while the weight is processed; owned */
    bool transposed;     /* the weight is stored as in_features x out_features: an embedding, Conv1D */
    double scale;        /* factor of B A: the adapter's own scale times --scale */
    organ_lora_factors factors; /* values of `pair`, only while the weight is processed; owned */
    float *row_norms;           /* values of `magnitudes`, only while the weight is processed; owned; NULL: no DoRA */
    /* --feedback: [experts][columns][rank], the directions of the change of a row in the columns of the stored weight;
     * only while the weight is processed. The factors own them if they are B of a transposed weight. */
    const float *directions;
    float *own_directions; /* NULL: `directions` is in `factors` */
    double *squares;       /* organ_lora_square of each of them; owned */
    organ_merge_sums sums; /* results, for report and journal */
} organ_merge_part;

/* The state of one merge. */
typedef struct organ_merge_job {
    const organ_lora_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_adapter *stored, *translated; /* as opened; with the names of the base (NULL: `stored` has them) */
    const organ_adapter *adapter;       /* `translated` if it is set, else `stored` */
    organ_model *base;
    organ_weights *weights;
    organ_lora_names names;                 /* finds the weights of names in the adapter */
    organ_gguf_writer *gguf;                /* key-values of a GGUF base; NULL: safetensors */
    organ_dtype dtype;                      /* type of --dtype, or BF16: that of weights that were packed */
    size_t part_count, piece_count, packed; /* packed: number of packed weights of the base */
    organ_merge_part *parts;                /* in the order of the weights */
    size_t *part_of; /* part_of[w]: index in `parts` of weight w, or ORGAN_NO_PART if the adapter does not change it */
    size_t *item_of; /* item_of[k]: index of the weight that is item k of the weight pass */
    /* Tensors of the output: pieces[w] is weight w; then come the tensors of the base that belong to no weight. */
    organ_shard_piece *pieces;
    const organ_tensor *head; /* a head that the adapter stores whole and the base, which is tied, lacks; NULL: none */
    size_t head_piece;        /* its index in `pieces` */
    uint64_t words;           /* rows of the vocabulary of the adapter's whole tensors; 0: that of the base */
    organ_unit *units;        /* one for each piece; organ_unit.item is the index of the piece */
    json_t *unplaced;         /* rows {"tensor", "reason"} of the adapter's tensors that fit no weight of the base */
} organ_merge_job;

#define ORGAN_NO_PART SIZE_MAX /* value of organ_merge_job.part_of */

/* Assigns the adapter's tensors to weights of the base and fills parts, pieces and units. Adds tensors that fit no
 * weight to job->unplaced and returns ORGAN_OK; the caller checks that the list is empty. Returns ORGAN_IO without
 * memory. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error);

/* Computes and writes all changed, replaced and dequantised weights of this rank that a continued run has not written
 * yet. Returns ORGAN_BAD_INPUT if a value exceeds the range of the output's type, and errors of reading and writing. */
organ_status organ_merge_run(organ_merge_job *job, organ_writing *run, organ_error *error);

/* Implements organ_write.recall: restores the sums of weight `weight` from `results`, those of its journal line.
 * Returns false if they are incomplete. */
bool organ_merge_recall(void *job, size_t weight, const json_t *results);

/* Returns the report, a document of schema organ.lora_merge/1. `job` is an organ_merge_job. `made` is the finished
 * output; NULL: nothing was written, because job->unplaced is not empty. Returns NULL if out of memory. */
json_t *organ_merge_document(void *job, const organ_writing *made);

#endif

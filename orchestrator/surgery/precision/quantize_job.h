/* SPDX-License-Identifier: MIT
 * What the parts of a quantisation share. */
#ifndef ORGAN_QUANTIZE_JOB_H
#define ORGAN_QUANTIZE_JOB_H

#include "formats/base/arena.h"
#include "formats/weights/weights.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/precision/quantize.h"
#include "orchestrator/surgery/remake/remake.h"

/* What a scale is for. */
typedef enum organ_scale_of { ORGAN_SCALE_BLOCK, ORGAN_SCALE_TENSOR, ORGAN_SCALE_CHANNEL, ORGAN_SCALE_GROUP } organ_scale_of;

typedef struct organ_quantize_scheme {
    const char *name;
    organ_scale_of scale_of;
    size_t size; /* edge of a block, columns of a group; else 0 */
    bool int4;   /* codes are four bits, else E4M3 */
} organ_quantize_scheme;

/* A target. */
typedef struct organ_quantize_part {
    const organ_weight *weight;
    uint64_t rows, cols, groups;       /* groups: scales along a row */
    uint64_t scale_shape[2], words[2]; /* shapes of the scales and, of packed codes, of the words */
    size_t codes, scale, shape;        /* pieces of the output; shape only where codes are packed */
    size_t unit;                       /* of them */
    float greatest;                    /* magnitude, of the whole tensor; where a scale is for all of it */
    double squares, error_squares;     /* sums over its values, over what they lost */
} organ_quantize_part;

/* A target that stays as it is. */
typedef struct organ_quantize_left {
    const organ_tensor *tensor;
    const char *why;
} organ_quantize_left;

typedef struct organ_quantize_job {
    const organ_quantize_options *options;
    const organ_quantize_scheme *scheme;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_targets targets;
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_run_unit *units; /* item: the part */
    size_t unit_count;
    organ_quantize_part *parts;
    size_t part_count;
    size_t partial; /* parts with blocks clipped at their edges: DeepSeek's and vLLM's code reads them, that of transformers does not */
    organ_quantize_left *left;
    size_t left_count;
    organ_arena arena;          /* names of new tensors */
    organ_unit_run *run;        /* while the passes run, */
    organ_quantize_part **todo; /* and the parts that are not done, by the items of a pass */
} organ_quantize_job;

/* Puts codes and scales of all parts into place. */
organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error);

/* Adds quantization_config. */
organ_status organ_quantize_config(void *job, organ_json_edit *config, organ_error *error);

/* For the journal: what a part has besides its bytes. */
json_t *organ_quantize_results(const organ_quantize_part *part);
bool organ_quantize_recall(void *job, size_t part, const json_t *results);

json_t *organ_quantize_parameters(void *job);
json_t *organ_quantize_document(void *job, const organ_unit_output *made);

#endif

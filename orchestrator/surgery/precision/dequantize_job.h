/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of dequantisation share. */
#ifndef ORGAN_DEQUANTIZE_JOB_H
#define ORGAN_DEQUANTIZE_JOB_H

#include <organ/weights.h>
#include <organ/quantize.h>
#include "orchestrator/surgery/write/write.h"

typedef struct organ_dequantize_part {
    const organ_weight *weight;
    size_t piece;           /* index of its tensor in job->pieces, and of its unit in job->units */
    uint64_t bytes_before;  /* bytes of codes, scales and zero points in the input */
    uint64_t infinite, nan; /* number of infinite and of NaN values in the output */
    char note[256];         /* remark of the weight reader about the packing; "": none */
} organ_dequantize_part;

typedef struct organ_dequantize_job {
    const organ_dequantize_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;    /* all weights of the model, packed and plain */
    organ_dtype as;            /* type of the converted weights */
    organ_shard_piece *pieces; /* tensors of the output */
    size_t piece_count;
    organ_unit *units;            /* one for each piece; organ_unit.item is an index of `parts` */
    organ_dequantize_part *parts; /* the weights that are converted */
    size_t part_count;
    const organ_tensor **kept; /* packed tensors that are copied unchanged because organ cannot decode their type */
    size_t kept_count;
    organ_gguf_writer *gguf; /* key-values of a GGUF output; NULL: safetensors */
    organ_writing *run;      /* the output; set when organ_write_run calls `fill` */
    /* during organ_dequantize_pass: todo[k] is the part that item k of the weight pass converts */
    organ_dequantize_part **todo;
} organ_dequantize_job;

/* Converts and writes the parts that this rank must still make. Returns the errors of organ_weight_pass_run. */
organ_status organ_dequantize_pass(organ_dequantize_job *job, organ_error *error);

/* Returns the figures of a finished part for its journal line, a new object: its numbers of infinite and NaN values,
 * and its note. */
json_t *organ_dequantize_results(const organ_dequantize_part *part);
/* Implements organ_write.recall: restores the figures of part number `part` from `results`, the object that
 * organ_dequantize_results returned. Returns false if `results` is malformed. */
bool organ_dequantize_recall(void *job, size_t part, const json_t *results);

/* Implements organ_write.parameters: type of the converted weights and shard limit. */
json_t *organ_dequantize_parameters(void *job);
/* Implements organ_write.document: the members of the report. NULL if memory cannot be allocated. */
json_t *organ_dequantize_document(void *job, const organ_writing *made);

#endif

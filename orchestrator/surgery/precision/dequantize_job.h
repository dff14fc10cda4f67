/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of dequantisation share. */
#ifndef ORGAN_DEQUANTIZE_JOB_H
#define ORGAN_DEQUANTIZE_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/precision/dequantize.h"
#include "orchestrator/surgery/write/write.h"

/* A packed weight that is converted to a plain tensor. */
typedef struct organ_dequantize_part {
    const organ_weight *weight;
    size_t piece;           /* index of its output piece; its unit has the same number */
    uint64_t bytes_before;  /* bytes of codes, scales and zero points in the input */
    uint64_t infinite, nan; /* infinite and NaN values in the output */
    char note[256];         /* remark of the weight reader about the packing, or "" */
} organ_dequantize_part;

/* State of organ dequantize. */
typedef struct organ_dequantize_job {
    const organ_dequantize_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_dtype as; /* type of the converted weights */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* one for each piece; organ_unit.item is the index of its part */
    organ_dequantize_part *parts;
    size_t part_count;
    const organ_tensor **kept; /* packed tensors that are copied unchanged because their type cannot be converted */
    size_t kept_count;
    organ_gguf_writer *gguf;      /* key-values of a GGUF output; NULL: safetensors */
    organ_writing *run;           /* valid while the pass runs */
    organ_dequantize_part **todo; /* during the pass: todo[k] is the part that item k of the pass converts */
} organ_dequantize_job;

/* Converts and writes the parts that this rank must still make. Returns errors of organ_weight_pass_run. */
organ_status organ_dequantize_pass(organ_dequantize_job *job, organ_error *error);

/* Returns the counts and the note of a part for the journal; organ_dequantize_recall restores them in a continued run
 * and returns false if they are malformed. */
json_t *organ_dequantize_results(const organ_dequantize_part *part);
bool organ_dequantize_recall(void *job, size_t part, const json_t *results);

/* Implement `parameters` and `document` of organ_write. */
json_t *organ_dequantize_parameters(void *job);
json_t *organ_dequantize_document(void *job, const organ_writing *made);

#endif

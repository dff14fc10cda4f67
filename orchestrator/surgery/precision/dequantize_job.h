/* SPDX-License-Identifier: MIT
 * What the parts of a dequantisation share. */
#ifndef ORGAN_DEQUANTIZE_JOB_H
#define ORGAN_DEQUANTIZE_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/precision/dequantize.h"
#include "orchestrator/surgery/write/write.h"

/* A packed weight that becomes numbers. */
typedef struct organ_dequantize_part {
    const organ_weight *weight;
    size_t piece;          /* of the output; its unit has the same number */
    uint64_t bytes_before; /* of codes and companions */
    uint64_t infinite, nan;
    char note[256]; /* of the reader, or "" */
} organ_dequantize_part;

typedef struct organ_dequantize_job {
    const organ_dequantize_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_dtype as;
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* one for each piece; item: the part */
    organ_dequantize_part *parts;
    size_t part_count;
    const organ_tensor **kept; /* packed tensors that stay as they are: their type has no values that are known */
    size_t kept_count;
    organ_gguf_writer *gguf;
    organ_writing *run;           /* while the pass runs, */
    organ_dequantize_part **todo; /* and the parts that are not done, by the items of the pass */
} organ_dequantize_job;

/* Puts the values of all parts into place. */
organ_status organ_dequantize_pass(organ_dequantize_job *job, organ_error *error);

/* For the journal: what a part has besides its bytes. */
json_t *organ_dequantize_results(const organ_dequantize_part *part);
bool organ_dequantize_recall(void *job, size_t part, const json_t *results);

json_t *organ_dequantize_parameters(void *job);
json_t *organ_dequantize_document(void *job, const organ_writing *made);

#endif

/* SPDX-License-Identifier: MIT
 * Outputs for MLX, shared by the sources of quantize. */
#ifndef ORGAN_VERBS_QUANTIZE_MLX_QUANTIZE_MLX_H
#define ORGAN_VERBS_QUANTIZE_MLX_QUANTIZE_MLX_H

#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

extern const organ_quantize_format organ_quantize_mlx_format;

/* A tensor of the output that is not quantised but has other rows or values than its source in the model. */
typedef struct organ_mlx_made {
    const organ_weight *weight; /* its rows are read from the source: organ_weight.made */
    size_t piece;               /* index in job->list.pieces */
} organ_mlx_made;

/* Sets *view to the weights of the job, but with gate, up and down, and their biases, in place of the stacks of
 * gpt-oss; job->list.arena owns its list. Returns ORGAN_BAD_INPUT if a stack has another form, ORGAN_IO if memory
 * cannot be allocated. */
organ_status organ_quantize_mlx_split(organ_quantize_job *job, organ_weights *view, organ_error *error);
/* Returns the weight 1 + `tensor`, a vector; NULL if memory cannot be allocated. */
const organ_weight *organ_quantize_mlx_raised(organ_quantize_job *job, const organ_tensor *tensor);
/* Writes the tensor and finishes its unit. */
organ_status organ_quantize_mlx_write_made(organ_quantize_job *job, const organ_mlx_made *made, organ_error *error);

/* Returns whether these tensors are norms, stored as 1 + weight; else they are parts of stacks. */
bool organ_quantize_mlx_raises(const organ_quantize_job *job);
/* Adds the members of config.json that mlx-lm needs; `root` is config.json. Returns ORGAN_IO if memory runs out. */
organ_status organ_quantize_mlx_members(const organ_quantize_job *job, organ_json_edit *config, const json_t *root,
                                        organ_error *error);
/* Prints notes if mlx-lm refuses the model, or computes other values than transformers. */
void organ_quantize_mlx_note(const organ_quantize_job *job);

#endif

/* SPDX-License-Identifier: MIT
 * Outputs for MLX, shared by the sources of quantize. */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_MLX_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_MLX_H

#include "orchestrator/verbs/quantize/quantize_parts.h"

/* Returns whether the output is for MLX. */
static inline bool organ_quantize_is_mlx(const organ_quantize_job *job)
{
    return organ_encoding_kind(job->encoding) == ORGAN_KIND_MLX;
}

/* Creates job->mlx. `by_text`: the method is gptq. Returns ORGAN_BAD_INPUT unless mlx-lm has the model's type with the
 * tensors as organ writes them, ORGAN_USAGE if GPTQ cannot calibrate its experts, ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_quantize_mlx_open(organ_quantize_job *job, bool by_text, organ_error *error);
void organ_quantize_mlx_close(organ_quantize_job *job); /* also without job->mlx */

/* Returns why the matrix must stay unquantised although the scheme fits, as a constant sentence; NULL: it need not. */
const char *organ_quantize_mlx_obstacle(const organ_quantize_job *job, const organ_weight *weight);

/* A tensor of the output that is not quantised but has other rows or values than its source in the model. */
typedef struct organ_mlx_made {
    const organ_weight *weight; /* its rows are read from the source: organ_weight.made */
    size_t piece, unit;         /* indices in job->list.pieces and job->list.units */
} organ_mlx_made;

/* Sets *view to the weights of the job, but with gate, up and down, and their biases, in place of the stacks of
 * gpt-oss; job->list.arena owns its list. Returns ORGAN_BAD_INPUT if a stack has another form, ORGAN_IO if memory
 * cannot be allocated. */
organ_status organ_quantize_mlx_split(organ_quantize_job *job, organ_weights *view, organ_error *error);
/* Returns the weight 1 + `tensor`, a vector; NULL if memory cannot be allocated. */
const organ_weight *organ_quantize_mlx_raised(organ_quantize_job *job, const organ_tensor *tensor);
/* Writes the tensor and finishes its unit. */
organ_status organ_quantize_mlx_write_made(organ_quantize_job *job, const organ_mlx_made *made, organ_error *error);

/* Gives a tensor of the output, named as in the model, the name in a file of mlx-lm; the job's arena owns it. Returns
 * NULL if memory cannot be allocated. */
const char *organ_quantize_mlx_name(organ_quantize_job *job, const char *name);

/* mlx-lm has the routed experts of a layer in one tensor for each projection. If `source` is a numbered expert's
 * projection, the last piece of the job becomes a slice of that tensor, whose name ends in `leaf` ("scales"). Returns
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_mlx_stack(organ_quantize_job *job, const organ_tensor *source, const char *leaf,
                                      organ_error *error);
/* Returns whether mlx-lm would refuse a file with this tensor. */
bool organ_quantize_mlx_drops(const organ_quantize_job *job, const organ_tensor *tensor);
/* The last piece of the job is an unchanged tensor, and the last unit is its unit: makes it what mlx-lm has in place of
 * the tensor. `made`: the weight of organ_quantize_mlx_split that has the tensor as source; NULL: none. Returns
 * ORGAN_BAD_INPUT for a norm of an unknown type, ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_mlx_keep(organ_quantize_job *job, const organ_tensor *tensor, const organ_weight *made,
                                     organ_error *error);
/* Writes the tensors with other rows or values than in the model, of units that this rank must make. organ_unit.item of
 * these units is SIZE_MAX. */
organ_status organ_quantize_mlx_write(organ_quantize_job *job, organ_error *error);
/* Returns whether these tensors are norms, stored as 1 + weight; else they are parts of stacks. */
bool organ_quantize_mlx_raises(const organ_quantize_job *job);
/* Sets the shapes of these tensors. Called after all pieces are listed. Returns ORGAN_BAD_INPUT if the experts of one
 * differ in shape. */
organ_status organ_quantize_mlx_finish(organ_quantize_job *job, organ_error *error);

/* Implements organ_write.edit for MLX: adds quantization and quantization_config to config.json. */
organ_status organ_quantize_mlx_config(void *job, organ_json_edit *config, organ_error *error);

/* Adds the members of config.json that mlx-lm needs; `root` is config.json. Returns ORGAN_IO if memory runs out. */
organ_status organ_quantize_mlx_members(const organ_quantize_job *job, organ_json_edit *config, const json_t *root,
                                        organ_error *error);
/* Prints notes if mlx-lm refuses the model, or computes other values than transformers. */
void organ_quantize_mlx_note(const organ_quantize_job *job);

#endif

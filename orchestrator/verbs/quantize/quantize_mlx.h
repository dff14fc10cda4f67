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

/* Creates job->mlx. Returns ORGAN_BAD_INPUT unless mlx-lm has the model's type with the tensors as organ writes them,
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_mlx_open(organ_quantize_job *job, organ_error *error);
void organ_quantize_mlx_close(organ_quantize_job *job); /* also without job->mlx */

/* Returns whether mlx-lm cuts the tensor, so that it must stay unquantised. */
bool organ_quantize_mlx_cuts(const organ_quantize_job *job, const organ_tensor *tensor);

/* mlx-lm has the routed experts of a layer in one tensor for each projection. If `source` is a numbered expert's
 * projection, the last piece of the job becomes a slice of that tensor, whose name ends in `leaf` ("scales"). Returns
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_mlx_stack(organ_quantize_job *job, const organ_tensor *source, const char *leaf,
                                      organ_error *error);
/* Returns whether mlx-lm would refuse a file with this tensor. */
bool organ_quantize_mlx_drops(const organ_quantize_job *job, const organ_tensor *tensor);
/* The last piece of the job is an unchanged tensor, and the last unit is its unit: makes it what mlx-lm has in place of
 * the tensor. Returns ORGAN_BAD_INPUT for a norm of an unknown type, ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_mlx_keep(organ_quantize_job *job, const organ_tensor *tensor, organ_error *error);
/* Writes the tensors with other values than in the model, of units that this rank must make: 1 + weight of norms whose
 * weights mlx-lm has so. organ_unit.item of these units is SIZE_MAX. */
organ_status organ_quantize_mlx_write(organ_quantize_job *job, organ_error *error);
/* Sets the shapes of these tensors. Called after all pieces are listed. Returns ORGAN_BAD_INPUT if the experts of one
 * differ in shape. */
organ_status organ_quantize_mlx_finish(organ_quantize_job *job, organ_error *error);

/* Implements organ_write.edit for MLX: adds quantization and quantization_config to config.json. */
organ_status organ_quantize_mlx_config(void *job, organ_json_edit *config, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * Sets of matrices of a safetensors model that servers multiply as one (formats/tensor/fused.h). */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_FUSED_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_FUSED_H

#include "orchestrator/verbs/quantize/quantize_parts.h"

/* Checks that all parts of a set are targets or none, and sets job->fused to the sets that fp8-block128 leaves
 * unquantised; does nothing for GGUF and MLX. Called when the targets are selected. Returns ORGAN_USAGE if --select has
 * a part of a set, ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_fused_open(organ_quantize_job *job, organ_error *error);
void organ_quantize_fused_close(organ_quantize_job *job);
/* Returns whether the tensor is part of a set that stays unquantised. */
bool organ_quantize_fused_keeps(const organ_quantize_job *job, const organ_tensor *tensor);
/* Notes such sets. */
void organ_quantize_fused_note(const organ_quantize_job *job);
/* Returns the member "kept_sets" of the report; NULL: there are none. */
json_t *organ_quantize_fused_document(const organ_quantize_job *job);

#endif

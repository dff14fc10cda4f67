/* SPDX-License-Identifier: MIT
 * The tensors of safetensors that a tensor of a GGUF file becomes. */
#include "orchestrator/surgery/convert/convert_job.h"

organ_status organ_convert_to_hf(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    return organ_convert_unknown(job, weight->name, "cannot be converted", error);
}

/* SPDX-License-Identifier: MIT
 * config.json of a safetensors output. */
#include "orchestrator/surgery/convert/convert_job.h"

organ_status organ_convert_config(organ_convert_job *job, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: GGUF to safetensors is not there yet", job->model->path);
}

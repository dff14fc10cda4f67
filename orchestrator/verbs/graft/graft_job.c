/* SPDX-License-Identifier: MIT
 * Properties of a graft that its other files ask for. */
#include "orchestrator/verbs/graft/graft_parts.h"

#include <string.h>

bool organ_graft_header_is_free(const organ_graft_job *job)
{
    return strcmp(job->layout.format, "GGUF") == 0 && (job->single || job->target->manifest);
}

/* If the graft copies only attention or only feed-forward, key-values with a value for each layer stay those of the
 * target, because they also describe the part that is not copied. */
bool organ_graft_whole_layers(const organ_graft_job *job)
{
    const unsigned whole = 1u << ORGAN_GROUP_SKELETON | 1u << ORGAN_GROUP_ORGAN;
    const unsigned groups = job->selection.words ? job->selection.groups : ~0u;
    return (groups & whole) == whole || job->layers_after != job->target_layers;
}

bool organ_graft_is_described(const organ_graft_job *job, const organ_layer_pair *pair)
{
    return job->described && pair->from >= 0 && (size_t)pair->from < job->source_config.layers && pair->to >= 0 &&
           (size_t)pair->to < job->target_config.layers;
}

/* SPDX-License-Identifier: MIT
 * Inside of shards.h: the shards of a model that are measured one after the other, and what was written down of them.
 */
#ifndef ORGAN_SHARD_LIST_H
#define ORGAN_SHARD_LIST_H

#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/measure/companions.h"
#include "orchestrator/surgery/measure/stream.h"

#include <jansson.h>

typedef struct shard_list {
    const char *path; /* of the model, as given */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_arena arena;
    const char *directory; /* of the shards */
    organ_shards index;
    size_t count;
    const char **names;
    organ_run_journal journal;
    char *kept; /* how paths of files that keep companions begin */
    organ_companions companions;
    json_t *done; /* name of a shard -> {"shard", "bytes", "version", "tensors": [...], ...} as it was written down */
    size_t waiting, broken;
    organ_error first; /* what is wrong with the first shard that is not measured */
} shard_list;

/* The model as an entry of a report, of what was written down. ORGAN_BAD_INPUT where a line of the journal is no
 * weight; ORGAN_IO. */
organ_status organ_shards_entry(shard_list *s, json_t **entry, organ_error *error);

#endif

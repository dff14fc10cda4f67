/* SPDX-License-Identifier: MIT
 * Private to shard_measure.h: the shards of a model that are measured one by one, and their journal. */
#ifndef ORGAN_SHARD_LIST_H
#define ORGAN_SHARD_LIST_H

#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/measure/companions.h"
#include "orchestrator/surgery/measure/measure_stream.h"

#include <jansson.h>

typedef struct shard_list {
    const char *path; /* path of the model, as given */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_arena arena;
    const char *directory; /* of the shards */
    organ_shards index;
    size_t count;
    const char **names;
    organ_run_journal journal;
    char *kept; /* common beginning of the paths of saved companions */
    organ_companions companions;
    json_t *done; /* name of a shard -> {"shard", "bytes", "version", "tensors": [...], ...} from the journal */
    size_t waiting, broken;
    organ_error first; /* error of the first shard that could not be measured */
} shard_list;

/* Returns the model as an entry of a report, from the journal. ORGAN_BAD_INPUT if a line of the journal is no weight;
 * ORGAN_IO. */
organ_status organ_shards_entry(shard_list *s, json_t **entry, organ_error *error);

#endif

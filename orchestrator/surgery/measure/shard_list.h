/* SPDX-License-Identifier: MIT
 * The shards of a model that are measured one by one, and their journal: shared by shard_measure.c and
 * shards_entry.c. */
#ifndef ORGAN_SHARD_LIST_H
#define ORGAN_SHARD_LIST_H

#include "formats/safetensors/safetensors.h"
#include <organ/stream.h>
#include "orchestrator/surgery/measure/companions.h"
#include "orchestrator/surgery/measure/measure_stream.h"

#include <jansson.h>

/* State of measuring a sharded model of which each shard is deleted after it is measured. */
typedef struct shard_list {
    const char *path; /* path of the model, as the user gave it, without slashes at its end */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_arena arena;     /* owns names and paths */
    const char *directory; /* directory of the shards */
    organ_shards index;    /* the safetensors index; empty if there is none */
    size_t count;          /* number of shards */
    const char **names;    /* file name of each shard */
    organ_run_journal journal;
    char *kept; /* common beginning of the paths of saved companions (organ_companions.stem) */
    organ_companions companions;
    /* measured shards, from the journal and from this run: name -> {"shard", "bytes", "version", "holds" (number of
     * tensors in the shard), "tensors": lines of the measured weights, ...} */
    json_t *done;
    size_t waiting, broken; /* shards that do not exist yet; shards that could not be measured */
    organ_error first;      /* error of the first broken shard; if no shard is broken, of the first waiting one */
} shard_list;

/* Sets *entry to the model's entry of a report, made from s->done; all shards must be in it. Returns ORGAN_BAD_INPUT if
 * a line of the journal is malformed, ORGAN_IO if memory runs out. */
organ_status organ_shards_entry(shard_list *s, json_t **entry, organ_error *error);

#endif

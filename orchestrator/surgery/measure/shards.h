/* SPDX-License-Identifier: MIT
 * Measuring of a model that never lies on the disk as a whole: another program downloads its shards, each is measured
 * as it is there, and deleted. */
#ifndef ORGAN_MEASURE_SHARDS_H
#define ORGAN_MEASURE_SHARDS_H

#include "orchestrator/surgery/measure/z_measure.h"

#include <jansson.h>

/* `path` is a directory with model.safetensors.index.json, such an index, a .safetensors file, or a .gguf file, of a
 * split one any part, there or not. Every shard that is there, whole and written by nobody is measured, written down in
 * a journal in directory/organ that is brought to the disk, and then deleted; nothing else is, no shard that could not
 * be measured, and none that was changed meanwhile. *entry is the model's part of a report once all shards were
 * measured; *journal is the path of the journal, to be removed when the report is written
 * (organ_measure_journal_forget) and freed. ORGAN_BAD_INPUT, with *entry NULL, where shards are still to come or are
 * broken: the same call goes on when they are there. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_measure_shards(const char *path, const char *directory, const organ_engine *engine,
                                  const organ_progress *progress, json_t **entry, char **journal, organ_error *error);

#endif

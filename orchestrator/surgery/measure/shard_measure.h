/* SPDX-License-Identifier: MIT
 * Measures a model that is never on the disk as a whole: another program downloads its shards, and each shard is
 * measured and then deleted. */
#ifndef ORGAN_SHARD_MEASURE_H
#define ORGAN_SHARD_MEASURE_H

#include "orchestrator/surgery/measure/z_measure.h"

#include <jansson.h>

/* Measures the shards of a model and deletes each. `path` is a directory with model.safetensors.index.json, such an
 * index, a .safetensors file, or a .gguf file (of a split set any part, which need not exist). Every shard that is
 * complete and not being written is measured, recorded in a journal in directory/organ, which is flushed to disk, and
 * then deleted. Nothing else is deleted: no shard that could not be measured or that was changed meanwhile.
 *
 * *entry is the model's entry of a report, set after all shards were measured; *journal is the path of the journal,
 * which the caller removes after the report is written (organ_measure_journal_forget) and frees. Returns
 * ORGAN_BAD_INPUT, with *entry NULL, if shards are missing or broken; the same call continues when they are available.
 * Returns ORGAN_IO or ORGAN_INTERRUPTED if files or memory fail or a stop was requested. */
organ_status organ_measure_shards(const char *path, const char *directory, const organ_engine *engine,
                                  const organ_progress *progress, json_t **entry, char **journal, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * Measures a model that is never on the disk as a whole (organ measure --delete-after): another program downloads its
 * shards, and each shard is measured and then deleted. */
#ifndef ORGAN_SHARD_MEASURE_H
#define ORGAN_SHARD_MEASURE_H

#include <organ/measure.h>

#include <jansson.h>

/* Measures the shards of a model and deletes each. `path` is a directory with model.safetensors.index.json, this index
 * itself, a .safetensors file, or a .gguf file (of a split set any part, which need not exist). For every shard that is
 * complete and not being written, measures it, records the results in a journal in directory/organ, flushes the journal
 * to disk, and deletes the shard. Deletes no shard that could not be measured or that was changed meanwhile.
 *
 * After all shards are measured, sets *entry to the model's entry of a report and *journal to the path of the journal.
 * The caller removes the journal (organ_measure_journal_forget) after the report is written, and frees the path.
 * Returns ORGAN_BAD_INPUT, with *entry NULL, if shards are missing or broken; the same call continues when they are
 * available. Returns ORGAN_USAGE if `path` names no such model, ORGAN_IO or ORGAN_INTERRUPTED if files or memory fail
 * or a stop was requested. */
organ_status organ_measure_shards(const char *path, const char *directory, const organ_engine *engine,
                                  const organ_progress *progress, json_t **entry, char **journal, organ_error *error);

#endif

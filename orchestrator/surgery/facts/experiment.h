/* SPDX-License-Identifier: MIT
 * The experiment that the killed weights of a model belong to: one donor, pruned by one method in one definition with
 * one set of parameters on one calibration. Models of one experiment differ only in sparsity or in the gain of the
 * flow. A pattern such as 2:4 is part of the method. A table lists models of two experiments only if the user has given
 * the experiments different names. */
#ifndef ORGAN_EXPERIMENT_H
#define ORGAN_EXPERIMENT_H

#include <organ/models.h>

#include <jansson.h>
#include <stdbool.h>

/* Writes 16 hexadecimal digits that identify a donor, independent of the names and sizes of its files. They are the sum
 * of the XXH3 digests of all tensors. The digest of a tensor covers its name, type and shape and, for up to 4,096
 * tensors, also 4 KiB from the middle of its data, so that a large model is not read completely. Writes "" for a model
 * behind a URL. */
organ_status organ_model_fingerprint(const organ_model *model, char out[17], organ_error *error);

/* Returns the log of the pruning, organ/prune.json in the model's folder. The caller releases the log. Returns NULL
 * without an error if there is none, NULL with ORGAN_BAD_INPUT in *error if the file is no document organ.prune/1. */
json_t *organ_experiment_log(const organ_model *model, organ_error *error);

/* Returns the experiment of a document organ.prune/1, also of an old one without fingerprint: {"donor": {"name",
 * "fingerprint", "elements", "bytes"}, "method", "definition", "settings", "calibration"}. "settings" are the
 * parameters that are the same in all models of an experiment. Returns NULL if memory cannot be allocated. */
json_t *organ_experiment_of(const json_t *log);

/* Returns the method of a document organ.prune/1 with its variant: "physarum-v2 2:4 without compensation", "wanda by
 * imatrix". Returns JSON null if the document names no method, NULL if memory cannot be allocated. */
json_t *organ_experiment_method(const json_t *log);

/* Returns the first member in which two experiments (organ_experiment_of) differ: "donor", "method", "definition",
 * "calibration" or "settings"; NULL if they are the same. With `any_targets`, they may have different --targets. */
const char *organ_experiment_difference(const json_t *a, const json_t *b, bool any_targets);

/* Returns an experiment (organ_experiment_of) in words: "donor tiny-qwen2 (fingerprint ...), physarum-v2
 * (physarum-v2/2), by a.txt (XXH3 ...)"; NULL if memory cannot be allocated. */
json_t *organ_experiment_words(const json_t *experiment);

#endif

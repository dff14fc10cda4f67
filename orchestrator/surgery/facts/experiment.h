/* SPDX-License-Identifier: MIT
 * The experiment that the killed weights of a model belong to: one donor, pruned by one method in one definition with
 * one set of parameters on one calibration. Models of one experiment differ only in sparsity, or in a pattern, which is
 * part of the method. A table lists models of two experiments only if the user has given the experiments different
 * names. */
#ifndef ORGAN_EXPERIMENT_H
#define ORGAN_EXPERIMENT_H

#include "formats/model/model.h"

#include <jansson.h>
#include <stdbool.h>

/* Writes 16 digits that identify a donor, independent of the names and sizes of its files: XXH3 over name, type and
 * shape of every tensor and over 4 KiB from the middle of up to 4,096 of them. "" for a model behind a URL. */
organ_status organ_model_fingerprint(const organ_model *model, char out[17], organ_error *error);

/* Returns the log of the pruning in the model's folder, organ/prune.json, which the caller releases; NULL if there is
 * none. *error is ORGAN_BAD_INPUT if the file is no such log. */
json_t *organ_experiment_log(const organ_model *model, organ_error *error);

/* Returns the experiment of a document organ.prune/1, also of an old one without fingerprint: {"donor": {"name",
 * "fingerprint", "elements", "bytes"}, "method", "definition", "settings", "calibration"}. NULL without memory. */
json_t *organ_experiment_of(const json_t *log);

/* Returns the method with its variant: the pattern, "without compensation", "by imatrix". NULL without memory. */
json_t *organ_experiment_method(const json_t *log);

/* Returns the name of a member in which two experiments differ, such as "donor" or "settings"; NULL if they are the
 * same. With `any_targets` a difference in the logged targets is ignored. */
const char *organ_experiment_difference(const json_t *a, const json_t *b, bool any_targets);

/* Returns an experiment in words: "donor tiny-qwen2 (fingerprint ...), physarum-v2/2, calibrated on a.txt (XXH3 ...)";
 * NULL without memory. */
json_t *organ_experiment_words(const json_t *experiment);

#endif

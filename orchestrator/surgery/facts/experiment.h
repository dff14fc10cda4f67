/* SPDX-License-Identifier: MIT
 * Which experiment the killed weights of a model belong to: one donor, pruned by one method in one definition with one
 * set of parameters along one calibration. How much was killed (sparsity, or a pattern, which is a part of the method)
 * is what an experiment varies. Numbers of two experiments stand in one table only where the user has named them as
 * two. */
#ifndef ORGAN_EXPERIMENT_H
#define ORGAN_EXPERIMENT_H

#include "formats/model/model.h"

#include <jansson.h>
#include <stdbool.h>

/* 16 digits that tell donors apart whatever their files are called and however they are cut: XXH3 over name, type and
 * shape of every tensor and 4 KiB from the middle of up to 4,096 of them. "" for a model behind a URL. */
organ_status organ_model_fingerprint(const organ_model *model, char out[17], organ_error *error);

/* The log of the pruning beside a model, organ/prune.json, for the caller to release: NULL where there is none.
 * ORGAN_BAD_INPUT where it is something else. */
json_t *organ_experiment_log(const organ_model *model, organ_error *error);

/* Of a document organ.prune/1, also one that was written before there were fingerprints: {"donor": {"name",
 * "fingerprint", "elements", "bytes"}, "method", "definition", "settings", "calibration"}. NULL without memory. */
json_t *organ_experiment_of(const json_t *log);

/* The method with what makes another one of it: its pattern, "without compensation", "by imatrix". NULL without memory.
 */
json_t *organ_experiment_method(const json_t *log);

/* The member in which two experiments differ, "donor" or "settings", say; NULL where they are one. With `any_targets`
 * the targets that the logs name do not count: others are counted. */
const char *organ_experiment_difference(const json_t *a, const json_t *b, bool any_targets);

/* "donor tiny-qwen2 (fingerprint ...), physarum-v2/2, calibrated on a.txt (XXH3 ...)"; NULL without memory. */
json_t *organ_experiment_words(const json_t *experiment);

#endif

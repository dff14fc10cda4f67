/* SPDX-License-Identifier: MIT
 * Scores of the routed experts of a model on a calibration text, layer by layer. They are measured once and
 * stored in a file; the caller can then choose any number of experts to keep. */
#ifndef ORGAN_EXPERT_SCORES_H
#define ORGAN_EXPERT_SCORES_H

#include <organ/models.h>
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_EXPERT_SCORES_SCHEMA     "organ.expert_scores/1" /* format of the file */
#define ORGAN_EXPERT_SCORES_DEFINITION "experts/1"             /* how scores are computed; part of the identity */

/* The scores by which experts are ranked. organ_expert_layer has the values of each under its name. */
typedef enum organ_expert_score {
    ORGAN_EXPERT_LOSS,
    ORGAN_EXPERT_REAP,
    ORGAN_EXPERT_SUM,
    ORGAN_EXPERT_FREQUENCY
} organ_expert_score;

/* Returns ORGAN_USAGE for a name other than loss, reap, sum, frequency. */
organ_status organ_expert_score_named(const char *name, organ_expert_score *score, organ_error *error);
const char *organ_expert_score_name(organ_expert_score score); /* returns the name, a constant string */

/* The measured values of one layer's experts. */
typedef struct organ_expert_layer {
    bool known;          /* the other members are set */
    uint64_t *frequency; /* number of tokens routed to each expert */
    double *sum, *reap;  /* sum and mean over these tokens of gate times output norm; 0 if an expert has no token */
    double power;        /* sum over tokens of the squared norm of the routed experts' weighted sum; 0 if the loss was
                          * not measured */
    /* `removed` has the numbers of experts in the order of their removal, until organ_expert_scores.least are left.
     * loss[k] is the squared error of the layer's output after experts removed[0] to removed[k] are removed, summed
     * over tokens. With groups, each group loses one expert before any group loses a second one. Only the first
     * experts - least entries of both arrays are used, and none if the loss was not measured. */
    uint32_t *removed;
    double *loss;
    bool dense; /* the layer has no experts: `known` is set and no other member is used */
} organ_expert_layer;

/* The measured values of all layers of a model. */
typedef struct organ_expert_scores {
    size_t layers;    /* layers of the forward pass: without those for multi-token prediction */
    uint32_t experts; /* routed experts of each layer with experts */
    uint32_t used;    /* experts that the router chooses for a token */
    uint32_t least;   /* smallest number of experts that a layer can keep (organ_forward_min_experts) */
    uint32_t groups;  /* groups of experts that the router chooses from, which all keep the same number; 1: no groups */
    bool with_loss;   /* the loss and the order of removal are measured too */
    uint64_t tokens;  /* tokens of the calibration text */
    organ_expert_layer *of; /* one for each layer */
    json_t *calibration;    /* "calibration" of the document, from organ_calibration_run_json; NULL until it is known */
} organ_expert_scores;

/* Allocates scores for `model`, with no layer known except dense ones. Call organ_expert_scores_release even after an
 * error. Returns ORGAN_USAGE for a model without experts, and the errors of organ_forward_config_read. */
organ_status organ_expert_scores_open(const organ_model *model, bool with_loss, organ_expert_scores *scores,
                                      organ_error *error);
void organ_expert_scores_release(organ_expert_scores *scores);

/* Writes the numbers of the `keep` kept experts of a layer to `kept`, ascending. With ORGAN_EXPERT_LOSS these are the
 * experts that are removed last; otherwise those with the largest scores of each group, and the lower number wins a
 * tie. `keep` must be at least `least` and a multiple of `groups`. */
void organ_expert_scores_choose(const organ_expert_scores *scores, size_t layer, organ_expert_score score,
                                uint32_t keep, uint32_t *kept);

/* Returns the relative error of a layer that keeps `keep` experts chosen by loss: its squared error, summed over
 * tokens, divided by `power`. */
double organ_expert_scores_missed(const organ_expert_scores *scores, size_t layer, uint32_t keep);

/* Divides a budget of `budget` experts, the total over all layers, and writes the number of kept experts of each layer
 * to `keep`. Starting from all experts, the function repeatedly removes one expert of each group from the layer whose
 * relative error grows least. Each mixture layer keeps at least `least` experts; dense layers get 0. The loss of all
 * layers must be known. */
void organ_expert_scores_divide(const organ_expert_scores *scores, uint64_t budget, uint32_t *keep);

/* ---- the file ---- */

/* In these functions `identity` states what the scores were measured on: {"definition", "model", "text", "samples",
 * "context"}. organ_expert_scores_read accepts scores of any text if the last three are omitted. */

/* Returns the document of the scores, for the caller to release: {"schema", "organ", members of the identity, "loss",
 * "calibration", "experts", "used", "tokens", "layers": [{"layer", "frequency", "sum", "reap", "power", "removed",
 * "loss"}]}. The row of a layer that was not measured is null. NULL if out of memory. */
json_t *organ_expert_scores_json(const organ_expert_scores *scores, const json_t *identity);
/* Writes the document of organ_expert_scores_json to `path`, replacing an existing file in one rename. Only the first
 * of several ranks writes; all have the same scores. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_expert_scores_write(const organ_expert_scores *scores, const json_t *identity, const char *path,
                                       organ_ranks *ranks, organ_error *error);

/* Reads the file of organ_expert_scores_write, or the member "scores" of a report of organ experts. *whole is set to
 * whether all layers are known then: false if there is no file or a layer is missing. Returns ORGAN_BAD_INPUT if the
 * file is no such document or has invalid values, and ORGAN_USAGE if the identity differs or if with_loss is set and
 * the file has no losses. Messages of ORGAN_USAGE end with `advice`, which says how the user can measure again. After
 * an error the scores must not be used. */
organ_status organ_expert_scores_read(organ_expert_scores *scores, const json_t *identity, const char *path,
                                      const char *advice, bool *whole, organ_error *error);

#endif

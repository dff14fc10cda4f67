/* SPDX-License-Identifier: MIT
 * Scores of the routed experts of a model on a calibration text, layer by layer. They are measured once and
 * stored in a file; the caller can then choose any number of experts to keep. */
#ifndef ORGAN_EXPERT_SCORES_H
#define ORGAN_EXPERT_SCORES_H

#include "formats/model/model.h"
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_EXPERT_SCORES_SCHEMA     "organ.expert_scores/1"
#define ORGAN_EXPERT_SCORES_DEFINITION "experts/1"

/* The scores by which experts are ranked; the members of organ_expert_layer have their values. */
typedef enum organ_expert_score {
    ORGAN_EXPERT_LOSS,
    ORGAN_EXPERT_REAP,
    ORGAN_EXPERT_SUM,
    ORGAN_EXPERT_FREQUENCY
} organ_expert_score;

/* Returns ORGAN_USAGE for a name other than loss, reap, sum, frequency. */
organ_status organ_expert_score_named(const char *name, organ_expert_score *score, organ_error *error);
const char *organ_expert_score_name(organ_expert_score score);

/* The measured values of one layer's experts. */
typedef struct organ_expert_layer {
    bool known;          /* the other members are set */
    uint64_t *frequency; /* number of tokens routed to each expert */
    double *sum, *reap;  /* sum and mean over these tokens of gate times output norm; 0 if an expert has no token */
    double power;        /* sum over tokens of the squared norm of the layer's routed output */
    /* Order of removal, down to `least` experts. loss[k] is the squared error of the layer's output after removing
     * removed[0..k], summed over tokens. With groups, each group loses one expert before any group loses a second one.
     * Both arrays are unused if the loss was not measured. */
    uint32_t *removed;
    double *loss;
    bool dense; /* the layer has no experts: `known` is set and no other member is used */
} organ_expert_layer;

/* The measured values of all layers of a model. */
typedef struct organ_expert_scores {
    size_t layers;
    uint32_t experts, used; /* routed experts of each layer with experts; experts that the router chooses for a token */
    uint32_t least, groups; /* smallest number of experts to keep; number of router groups, which all keep the same
                             * number */
    bool with_loss;
    uint64_t tokens;        /* tokens of the calibration text */
    organ_expert_layer *of; /* one for each layer */
    json_t *calibration;    /* "calibration" of the document, from organ_calibration_run_json; NULL until it is known */
} organ_expert_scores;

/* Allocates scores for `model`, with no layer known except dense ones. Call organ_expert_scores_release even after an
 * error. Returns ORGAN_USAGE for a model without experts or of an unknown architecture. */
organ_status organ_expert_scores_open(const organ_model *model, bool with_loss, organ_expert_scores *scores,
                                      organ_error *error);
void organ_expert_scores_release(organ_expert_scores *scores);

/* Writes the numbers of the `keep` kept experts of a layer to `kept`, ascending. With ORGAN_EXPERT_LOSS these are the
 * experts that are removed last; otherwise those with the largest scores of each group, and the lower number wins a
 * tie. `keep` must be at least `least` and a multiple of `groups`. */
void organ_expert_scores_choose(const organ_expert_scores *scores, size_t layer, organ_expert_score score,
                                uint32_t keep, uint32_t *kept);

/* Returns the relative error of a layer that keeps `keep` experts chosen by loss: its squared error over tokens
 * divided by `power`. */
double organ_expert_scores_missed(const organ_expert_scores *scores, size_t layer, uint32_t keep);

/* Divides a budget of `budget` experts among the layers and writes the number for each layer to `keep`. Starting from
 * all experts, it repeatedly removes one expert of each group from the layer whose relative error grows least. Each
 * mixture layer keeps at least `least` experts; dense layers get 0. The loss must be known. */
void organ_expert_scores_divide(const organ_expert_scores *scores, uint64_t budget, uint32_t *keep);

/* ---- the file ---- */

/* `identity`: {"definition", "model", "text", "samples", "context"}. If the last three are omitted in
 * organ_expert_scores_read, scores of any text are accepted. */

/* Returns the document: {"schema", "organ", members of the identity, "loss", "calibration", "experts", "used",
 * "tokens", "layers": [{"layer", "frequency", "sum", "reap", "power", "removed", "loss"}]}; the row of a layer that was
 * not measured is null. organ_expert_scores_json returns NULL if out of memory. organ_expert_scores_write replaces the
 * file with one rename and returns ORGAN_IO on failure; of several ranks, which all have the same scores, the first
 * writes. */
json_t *organ_expert_scores_json(const organ_expert_scores *scores, const json_t *identity);
organ_status organ_expert_scores_write(const organ_expert_scores *scores, const json_t *identity, const char *path,
                                       const organ_ranks *ranks, organ_error *error);

/* Reads such a document, or the member "scores" of a report of organ experts. *whole is false if there is no file or a
 * layer is missing. Returns ORGAN_BAD_INPUT for another document, and ORGAN_USAGE if the identity differs or if
 * with_loss is set and the file has no losses. Messages name the member and end with the text `written_again`, which
 * advises the user. After an error no layer is known, except dense ones. */
organ_status organ_expert_scores_read(organ_expert_scores *scores, const json_t *identity, const char *path,
                                      const char *written_again, bool *whole, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * What the routed experts of a model are worth along a text, layer by layer: measured once, kept in a file, and asked
 * for any number of experts that are to stay. */
#ifndef ORGAN_EXPERT_SCORES_H
#define ORGAN_EXPERT_SCORES_H

#include "formats/model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_EXPERT_SCORES_SCHEMA     "organ.expert_scores/1"
#define ORGAN_EXPERT_SCORES_DEFINITION "experts/1"

typedef enum organ_expert_score {
    ORGAN_EXPERT_LOSS,
    ORGAN_EXPERT_REAP,
    ORGAN_EXPERT_SUM,
    ORGAN_EXPERT_FREQUENCY
} organ_expert_score;

/* ORGAN_USAGE for a name that is none of loss, reap, sum, frequency. */
organ_status organ_expert_score_named(const char *name, organ_expert_score *score, organ_error *error);
const char *organ_expert_score_name(organ_expert_score score);

typedef struct organ_expert_layer {
    bool known;
    uint64_t *frequency; /* tokens routed to each expert */
    double *sum, *reap;  /* of gate x norm of what it gives over these, and their mean: 0 without a token */
    double power;        /* sum over tokens of what the layer gives, squared */
    /* One after the other goes, as long as more than `least` are there; loss[k] is what the layer then misses, squared
     * and summed over tokens. Of groups each loses one before any loses another one. Where the loss was not measured
     * both are of no use. */
    uint32_t *removed;
    double *loss;
    bool dense; /* the layer has no experts: it is known, and nothing else of it is of use */
} organ_expert_layer;

typedef struct organ_expert_scores {
    size_t layers;
    uint32_t experts, used; /* of each layer; of these work on a token */
    uint32_t least, groups; /* the fewest that can stay; in so many groups, of which each keeps as many */
    bool with_loss;
    uint64_t tokens; /* that went along */
    organ_expert_layer *of;
    json_t *calibration; /* of the document: organ_along_json; NULL before it is known */
} organ_expert_scores;

/* Nothing is known yet. ORGAN_USAGE for a model without experts or of an architecture that is not known. To be released
 * whatever it returns. */
organ_status organ_expert_scores_open(const organ_model *model, bool with_loss, organ_expert_scores *scores,
                                      organ_error *error);
void organ_expert_scores_release(organ_expert_scores *scores);

/* The experts of a layer that stay: `keep` numbers, ascending. By loss those that go last, else those of each group
 * with the largest score; of equal ones the higher number goes. `keep` is `least` at least, and a multiple of `groups`.
 */
void organ_expert_scores_choose(const organ_expert_scores *scores, size_t layer, organ_expert_score score,
                                uint32_t keep, uint32_t *kept);

/* What the layer misses of what it gives with so many chosen by loss: squared and summed over tokens, as a part of it.
 */
double organ_expert_scores_missed(const organ_expert_scores *scores, size_t layer, uint32_t keep);

/* How many of `budget` experts in all each layer keeps where what all layers miss, each as a part of what it gives, is
 * least: one expert of each group after the other goes where that grows least. At least `least` a layer, of a dense one
 * 0. The loss must be known. */
void organ_expert_scores_divide(const organ_expert_scores *scores, uint64_t budget, uint32_t *keep);

/* ---- the file ---- */

/* `identity`: {"definition", "model", "text", "samples", "context"}. A reader that omits the last three accepts scores
 * of any text. */

/* {"schema", "organ", the identity, "loss", "calibration", "experts", "used", "layers": [{"layer", "frequency", "sum",
 * "reap", "power", "removed", "loss"}]}, where a layer that was not measured is null. json returns
 * NULL without memory; write replaces the file in one rename, ORGAN_IO. */
json_t *organ_expert_scores_json(const organ_expert_scores *scores, const json_t *identity);
organ_status organ_expert_scores_write(const organ_expert_scores *scores, const json_t *identity, const char *path,
                                       organ_error *error);

/* Reads such a document, or the member "scores" of a report of organ experts. *whole is false if there is no file or a
 * layer is missing. ORGAN_BAD_INPUT for another document; ORGAN_USAGE if the identity differs, or if with_loss is set
 * and the file has no losses. Messages name the member, and end with `anew`, what the user can do. After an error no
 * layer is known. */
organ_status organ_expert_scores_read(organ_expert_scores *scores, const json_t *identity, const char *path,
                                      const char *anew, bool *whole, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * Matches the experts of a layer of two models by the cosines of their rows in the router and of some rows of their
 * matrices. docs/definitions/merging.md
 *
 * Each model that is matched has a signature in memory: for each expert `width` values whose squares add up to 1, of
 * which the first are the expert's row in the router. */
#ifndef ORGAN_SURGERY_MERGE_EXPERT_MATCH_H
#define ORGAN_SURGERY_MERGE_EXPERT_MATCH_H

#include "orchestrator/surgery/merge/merge_input.h"

#define ORGAN_EXPERT_PARTS 4 /* the router, gate, up and down */

/* Rows of a tensor by which experts are compared. */
typedef struct organ_expert_part {
    const organ_weight *like; /* of all experts, or of expert 0 */
    size_t each, rows, cols;  /* rows of an expert, how many of them are read, and their length */
} organ_expert_part;

/* The matching of a layer. The caller sets the first members. */
typedef struct organ_expert_match {
    const organ_engine *engine;
    const char *label; /* for messages */
    /* Returns the tensor that `like`, a part, is in model `source`, of expert `expert` if `like` is that of one;
     * `weight` is NULL if the model lacks it. */
    organ_merge_input (*find)(const void *context, size_t source, const organ_weight *like, size_t expert);
    const void *context;
    size_t groups; /* the router chooses experts of some of as many groups, which stay together; not 0 */

    size_t experts, part_count;
    organ_expert_part parts[ORGAN_EXPERT_PARTS];
    size_t width;          /* values of an expert in a signature */
    size_t *row_of, *unit; /* result of organ_expert_match_order; scratch */
    float *rows, *product; /* rows of all experts of a part; products of signatures */
    double *gain;          /* the same as FP64 */
    unsigned char *room;   /* of assignments and products */
    float *signatures;     /* of as many models as organ_expert_match_open was given */
    unsigned char *memory;
} organ_expert_match;

/* Fills parts, experts and width from the weights of a model, whose layer has this number. Returns whether the layer
 * has routed experts. Sets *why to the reason if their order is fixed, else to NULL. */
bool organ_expert_match_find(organ_expert_match *m, const organ_weights *weights, int32_t layer, const char **why);
/* Sets m->groups to *groups, which is first read from the configuration of `model` if it is 0. Sets *why, unless it has
 * a reason already, to why the experts of model `source`, whose weights were given, cannot be reordered; NULL: they
 * can. Returns the errors of organ_forward_config_read. */
organ_status organ_expert_match_check(organ_expert_match *m, const organ_model *model, unsigned *groups, size_t source,
                                      const char **why, organ_error *error);
/* Returns whether the model has all parts in the same shapes. */
bool organ_expert_match_has(const organ_expert_match *m, size_t source);

/* Returns the bytes that organ_expert_match_open allocates for the signatures of `models` models. */
size_t organ_expert_match_memory(organ_expert_match *m, size_t models);
/* Claims and allocates this memory. Returns ORGAN_USAGE, with `what` in the message, if it is not within the limit,
 * ORGAN_IO if it cannot be allocated. */
organ_status organ_expert_match_open(organ_expert_match *m, size_t models, const char *what, organ_error *error);
void organ_expert_match_close(organ_expert_match *m);

/* Reads signature `place` of a model that has all parts. Values that are not finite count as 0. Returns
 * ORGAN_INTERRUPTED if a stop is requested. */
organ_status organ_expert_match_sign(const organ_expert_match *m, size_t source, size_t place, organ_error *error);
/* Sets row_of[e] to the expert of signature `other` that expert e of signature `place` is. Experts whose distance does
 * not fall clearly keep their number. Returns whether experts are in other groups of the router, so that a better order
 * exists that would take groups apart. */
bool organ_expert_match_order(const organ_expert_match *m, size_t place, size_t other);
/* Returns the squared distance of an expert of signature `place` and one of `other`: 0 for equal experts. With
 * `router` only of their rows in the router, as if these were unit vectors. */
double organ_expert_match_distance(const organ_expert_match *m, size_t place, size_t expert, size_t other,
                                   size_t other_expert, bool router);

/* ---- orders: an order has for each expert of the matching the number that it has in a model; NULL: the same ---- */

/* Returns the number in the model with the order `other` of the expert that has the number `expert` in that with the
 * order `own`. */
size_t organ_expert_number(const uint32_t *own, const uint32_t *other, size_t experts, size_t expert);

/* Whether a weight has an entry for each of `experts` experts. */
typedef enum organ_expert_entries {
    ORGAN_EXPERT_ENTRIES_NONE,
    ORGAN_EXPERT_ENTRIES_EACH,
    ORGAN_EXPERT_ENTRIES_UNKNOWN /* a tensor of experts, by its name, of an unknown form */
} organ_expert_entries;
organ_expert_entries organ_expert_entries_of(const organ_weight *weight, size_t experts);

#endif

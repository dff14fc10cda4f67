/* SPDX-License-Identifier: MIT
 * graft --select mtp --refit: fits the projection of each block to the states of the target.
 *
 * x_i is the input of the projection M in the source, M's two halves of embedding and state; y_i is the same with
 * embedding and state of the target, and the norms of the block. M becomes M + D with the D that minimises
 *
 *     sum over tokens of ||M (x_i - y_i) - D y_i||^2 + lambda m ||D||^2
 *
 * (organ_ridge). Every fourth window is held out and judges lambda; where none lowers the error, D is 0. */
#ifndef ORGAN_VERBS_GRAFT_GRAFT_REFIT_H
#define ORGAN_VERBS_GRAFT_GRAFT_REFIT_H

#include "orchestrator/verbs/graft/graft_parts.h"

typedef struct organ_graft_refit organ_graft_refit;

/* Returns ORGAN_USAGE for a refit without text, engine or blocks, and for a text without refit. */
organ_status organ_graft_refit_check(const organ_graft_job *job, organ_error *error);

/* Opens text and forward passes of both models and checks the memory, once the layout is planned. *refit is NULL
 * without options->refit. Returns ORGAN_USAGE for too little memory and for a packed projection; ORGAN_BAD_INPUT for a
 * model that organ cannot run; the errors of organ_calibration_run_open. */
organ_status organ_graft_refit_open(organ_graft_job *job, organ_graft_refit **refit, organ_error *error);
/* Fits the projections, and gives the pieces of the layout their new values, which are in a hidden directory next to
 * the output until organ_graft_refit_close. Does nothing if `refit` is NULL or in a dry run. */
organ_status organ_graft_refit_run(organ_graft_refit *refit, organ_error *error);
/* Sets `error` to ORGAN_IO if the hidden directory cannot be removed and it was not set. `refit` may be NULL. */
void organ_graft_refit_close(organ_graft_refit *refit, organ_error *error);

/* Returns the member "refit" of the report; null without a refit. NULL if memory runs out. */
json_t *organ_graft_refit_json(const organ_graft_refit *refit);
/* Returns the work for the plan of a dry run; NULL without a refit. */
const organ_plan *organ_graft_refit_plan(const organ_graft_refit *refit);
/* Returns the digest of the text, for organ_write_check.identity; NULL without a refit. */
const char *organ_graft_refit_text(const organ_graft_refit *refit);

#endif

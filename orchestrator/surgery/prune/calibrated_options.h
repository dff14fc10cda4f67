/* SPDX-License-Identifier: MIT
 * Options of organ prune that choose and control a method. */
#ifndef ORGAN_CALIBRATED_OPTIONS_H
#define ORGAN_CALIBRATED_OPTIONS_H

#include "orchestrator/surgery/allocate/allocate_options.h"
#include "orchestrator/surgery/calibration/calibration_text.h"

ORGAN_API_BEGIN

#define ORGAN_PRUNE_EFFORTS 0, 100 /* range of `effort`; 0 itself is not allowed */

/* The options of organ_prune_by_method, in addition to organ_prune_options. */
typedef struct organ_prune_calibrated_options {
    /* "physarum-v1", "physarum-v2", "physarum-v3", "alps", "magnitude", "wanda", "sparsegpt"; NULL: physarum-v3 with
     * `calibration`, else physarum-v1 */
    const char *method;
    organ_calibration_text calibration;
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on those that the router sends to
                         it */
    const char *imatrix; /* an importance matrix instead of a text, for physarum-v2 and wanda; NULL: none */
    const char *pattern; /* "N:M", N kept of M neighbours, 1 <= N < M <= 16; NULL: none */
    bool no_compensate;  /* physarum-v2: keep the bits of the remaining weights */
    double effort; /* factor of the number of products with second moments (physarum-v2) or of iterations (physarum-v3),
                      in (0, 100]; default 1 */
    unsigned seed; /* physarum-v2: seed of the noise that stability is measured with; default 0 */
    const char *then; /* a safetensors scheme of organ_quantize_model that quantises the remaining weights; NULL: they
                       * are not quantised */
    organ_allocate_options allocate; /* one budget for all targets, in percent; every method measures it on
                                      * `calibration` */
} organ_prune_calibrated_options;

ORGAN_API_END

#endif

/* SPDX-License-Identifier: MIT
 * What is asked of a pruning by a method. */
#ifndef ORGAN_CALIBRATED_OPTIONS_H
#define ORGAN_CALIBRATED_OPTIONS_H

#include "orchestrator/surgery/allocate/allocate_options.h"

ORGAN_API_BEGIN

typedef struct organ_prune_calibrated_options {
    /* "physarum-v1", "physarum-v2", "physarum-v3", "alps", "magnitude", "wanda", "sparsegpt"; NULL: physarum-v3 with
     * `calibration`, else physarum-v1 */
    const char *method;
    const char *calibration; /* a text file; NULL: none */
    const char *imatrix;     /* an importance matrix instead of a text, for physarum-v2 and wanda; NULL: none */
    unsigned samples;        /* windows of the text, 1 .. 1000000; default 128 */
    unsigned context;        /* tokens of a window, 1 .. 1048576; default 512 */
    const char *scratch;     /* a directory for the hidden states of the windows; NULL: they are in memory */
    const char *pattern;     /* "N:M", N kept of M neighbours, 1 <= N < M <= 16; NULL: none */
    bool no_compensate;      /* physarum-v2: what is kept keeps its bits */
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on the tokens that the router sends
                         to it */
    double effort;    /* physarum-v2: scales its products; physarum-v3: its iterations. In (0, 100]; default 1 */
    unsigned seed;    /* physarum-v2: of the input noise; default 0 */
    const char
        *then; /* a scheme of organ_quantize_model, other than of GGUF: what is left becomes codes; NULL: it does not */
    organ_allocate_options allocate; /* one budget for all targets, in percent: by `calibration`, whatever the method */
} organ_prune_calibrated_options;

ORGAN_API_END

#endif

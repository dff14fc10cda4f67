/* SPDX-License-Identifier: MIT
 * The plots of a document organ.orthogonality/1: per projection over the layers. */
#ifndef ORGAN_ORTHOGONALITY_CHARTS_H
#define ORGAN_ORTHOGONALITY_CHARTS_H

#include "formats/base/status.h"

#include <jansson.h>

typedef enum organ_noise_chart {
    ORGAN_NOISE_MAGNITUDE, /* |N| and |K| */
    ORGAN_NOISE_COSINE,    /* with the band of what chance does */
    ORGAN_NOISE_LEAKAGE,   /* with its expectation */
    ORGAN_NOISE_CHARTS
} organ_noise_chart;

/* "magnitude.svg", "cosine.svg", "leakage.svg" */
const char *organ_orthogonality_chart_name(organ_noise_chart which);

/* As organ_chart_svg. Modules that stand in no layer are not in it. */
organ_status organ_orthogonality_chart(const json_t *report, organ_noise_chart which, char **svg, organ_error *error);

#endif

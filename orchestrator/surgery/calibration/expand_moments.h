/* SPDX-License-Identifier: MIT
 * The second moments of a calibration as a matrix of FP32. */
#ifndef ORGAN_EXPAND_MOMENTS_H
#define ORGAN_EXPAND_MOMENTS_H

#include "orchestrator/surgery/calibration/calibration.h"

/* Returns (c C + h H) / tokens + damping I in FP32: both triangles, in blocks like H (organ_input_moments). `c` and `h`
 * are the factors of C and H; if there is no C, H replaces it. The caller frees the result; NULL if memory cannot be
 * allocated. */
float *organ_expand_moments(const organ_engine *engine, const organ_input_moments *moments, double c, double h,
                            double damping);

#endif

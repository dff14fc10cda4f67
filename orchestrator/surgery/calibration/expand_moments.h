/* SPDX-License-Identifier: MIT
 * The second moments of a calibration as a matrix of FP32. */
#ifndef ORGAN_EXPAND_MOMENTS_H
#define ORGAN_EXPAND_MOMENTS_H

#include "orchestrator/surgery/calibration/calibration.h"

/* Returns (c C + h H) / tokens + damping I in FP32 as a full symmetric matrix. `damping` is the number added to the
 * diagonal. Without C, H takes its place. Returns NULL if memory cannot be allocated. */
float *organ_expand_moments(const organ_engine *engine, const organ_input_moments *moments, double c, double h,
                            double damping);

#endif

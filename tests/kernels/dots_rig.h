/* SPDX-License-Identifier: MIT
 * Products of BF16 terms to be checked: by the instructions of this CPU, and by a model of AMX in plain C. */
#ifndef ORGAN_TESTS_DOTS_RIG_H
#define ORGAN_TESTS_DOTS_RIG_H
#include "kernels/kernels.h"

extern const organ_dots *const dots_model;

#endif

/* SPDX-License-Identifier: MIT
 * BF16 products to check: by this CPU's instructions, and by a model of AMX in plain C. */
#ifndef ORGAN_TESTS_DOTS_RIG_H
#define ORGAN_TESTS_DOTS_RIG_H
#include <organ/kernels.h>

extern const organ_dots *const dots_model;

#endif

/* SPDX-License-Identifier: MIT
 * The products of BF16 terms as isa_amx.c has them, over the model. */
#include "tests/kernels/dots_rig.h"

#include "tests/kernels/amx_model.h"
#include "kernels/elements.h"
#include "kernels/dots.h"

static const organ_dots table = {"amx-model", dot_product};
const organ_dots *const dots_model = &table;

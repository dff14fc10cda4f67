/* SPDX-License-Identifier: MIT
 * The BF16 products of isa_amx.c, compiled for the model of AMX. */
#include "tests/kernels/dots_rig.h"

#include "tests/kernels/amx_model.h"
#include "kernels/elements.h"
#include "kernels/tile_product.h"

static const organ_dots table = {"amx-model", tile_product};
const organ_dots *const dots_model = &table;

/* SPDX-License-Identifier: MIT
 * The implementation of products of BF16 terms (organ_dots) by AMX, in builds for x86-64. AVX-512 packs the operands.
 */
#include <organ/kernels.h>

#if defined(__x86_64__)
#include "kernels/simd/avx512.h"
#include "kernels/simd/amx.h"
#include "kernels/elements.h"
#include "kernels/tile_product.h"

static const organ_dots table = {"amx", tile_product};
const organ_dots *const organ_dots_amx = &table;
#else
const organ_dots *const organ_dots_amx = NULL;
#endif

/* SPDX-License-Identifier: MIT
 * The implementation of products of BF16 terms (organ_dots) by AMX, packed by AVX-512, in builds for x86-64. */
#include "kernels/kernels.h"

#if defined(__x86_64__)
#include "kernels/simd/avx512.h"
#include "kernels/simd/amx.h"
#include "kernels/elements.h"
#include "kernels/dots.h"

static const organ_dots table = {"amx", dot_product};
const organ_dots *const organ_dots_amx = &table;
#else
const organ_dots *const organ_dots_amx = NULL;
#endif

/* SPDX-License-Identifier: MIT
 * The implementation of products of BF16 terms (organ_dots) by AVX512-BF16, in builds for x86-64. */
#include <organ/kernels.h>

#if defined(__x86_64__)
#include "kernels/simd/avx512.h"
#include "kernels/elements.h"
#include "kernels/dot_terms.h"
#include "kernels/simd/avx512_bf16.h"
#include "kernels/dots.h"

static const organ_dots table = {"avx512-bf16", dot_product};
const organ_dots *const organ_dots_avx512_bf16 = &table;
#else
const organ_dots *const organ_dots_avx512_bf16 = NULL;
#endif

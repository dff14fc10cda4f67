/* SPDX-License-Identifier: MIT
 * The avx2 table, in builds for x86-64. build.ninja compiles only this object with the flags of its instructions. */
#include <organ/kernels.h>

#if defined(__x86_64__)
#include "kernels/simd/avx2.h"
#include "kernels/table.h"

static const organ_kernels table = KERNEL_TABLE("avx2", );
const organ_kernels *const organ_kernels_avx2 = &table;
#else
const organ_kernels *const organ_kernels_avx2 = NULL;
#endif

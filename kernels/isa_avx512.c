/* SPDX-License-Identifier: MIT
 * The avx512 table, in builds for x86-64. build.ninja compiles only this object with the flags of its instructions. */
#include <organ/kernels.h>

#if defined(__x86_64__)
#include "kernels/simd/avx512.h"
#include "kernels/table.h"

static const organ_kernels table = KERNEL_TABLE("avx512", );
static const organ_kernels mixed = KERNEL_TABLE("avx512-mixed", _mixed);
const organ_kernels *const organ_kernels_avx512 = &table;
const organ_kernels *const organ_kernels_avx512_mixed = &mixed;
#else
const organ_kernels *const organ_kernels_avx512 = NULL;
const organ_kernels *const organ_kernels_avx512_mixed = NULL;
#endif

/* SPDX-License-Identifier: MIT
 * The neon table, in builds for aarch64. */
#include <organ/kernels.h>

#if defined(__aarch64__)
#include "kernels/simd/neon.h"
#include "kernels/table.h"

static const organ_kernels table = KERNEL_TABLE("neon", );
const organ_kernels *const organ_kernels_neon = &table;
#else
const organ_kernels *const organ_kernels_neon = NULL;
#endif

/* SPDX-License-Identifier: MIT
 * The scalar table for an x86-64 CPU without FMA: the same code with SLEEF functions that do not need FMA. */
#include <organ/kernels.h>

#if defined(__x86_64__)
#define SCALAR_MATH(function) Sleef_cinz_##function##_u10purec
#include "kernels/simd/scalar.h"
#include "kernels/table.h"

static const organ_kernels table = KERNEL_TABLE("scalar", );
const organ_kernels *const organ_kernels_scalar_nofma = &table;
#else
const organ_kernels *const organ_kernels_scalar_nofma = NULL;
#endif

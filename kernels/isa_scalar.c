/* SPDX-License-Identifier: MIT
 * The scalar table: the reference, in every build. */
#include "kernels/simd/scalar.h"
#include "kernels/table.h"

static const organ_kernels table = KERNEL_TABLE("scalar", );
const organ_kernels *const organ_kernels_scalar = &table;

/* SPDX-License-Identifier: MIT
 * The first header of each source with kernels, which build.ninja compiles once for each instruction set: includes the
 * operations of the one that -DISA_NAME selects, defines KERNEL(name), the name of a kernel of this set, and declares
 * all kernels. Without -DISA_NAME the set is scalar. ISA stays undefined if the compiler's target lacks the set; the
 * object is then empty. */
#ifndef ORGAN_KERNELS_SIMD_ISA_H
#define ORGAN_KERNELS_SIMD_ISA_H
#include "kernels/table.h"

#if defined(ISA_AVX2)
#if defined(__x86_64__)
#define ISA avx2
#include "kernels/simd/avx2.h"
#endif
#elif defined(ISA_AVX512)
#if defined(__x86_64__)
#define ISA avx512
#include "kernels/simd/avx512.h"
#endif
#elif defined(ISA_NEON)
#if defined(__aarch64__)
#define ISA neon
#include "kernels/simd/neon.h"
#endif
#elif defined(ISA_NOFMA) /* an x86-64 without FMA: scalar with SLEEF functions that do not need it */
#if defined(__x86_64__)
#define ISA                   nofma
#define SCALAR_MATH(function) Sleef_cinz_##function##_u10purec
#include "kernels/simd/scalar.h"
#endif
#else
#define ISA scalar
#include "kernels/simd/scalar.h"
#endif

#ifdef ISA
#include "kernels/elements.h"
#define KERNEL_HERE(isa, name) KERNEL_OF(isa, name)
#define KERNEL(name)           KERNEL_HERE(ISA, name)
#define DECLARE_HERE(isa)      DECLARE_KERNELS(isa)
DECLARE_HERE(ISA)
#endif

#endif

/* SPDX-License-Identifier: MIT
 * What the vocabularies of all ISAs share. */
#ifndef ORGAN_KERNELS_SIMD_COMMON_H
#define ORGAN_KERNELS_SIMD_COMMON_H
#include <stddef.h>
#include <stdint.h>
#include <sleef.h> /* functions of at most 1 ulp, of the finz family: the same bits wherever there is FMA */

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline, unused))
#endif
#ifndef UNROLL
#define UNROLL _Pragma("GCC unroll 16") /* loops of a constant count whose arrays are to live in registers */
#endif

#endif

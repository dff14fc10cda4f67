/* SPDX-License-Identifier: MIT
 * Definitions shared by the operations of all ISAs. */
#ifndef ORGAN_KERNELS_SIMD_COMMON_H
#define ORGAN_KERNELS_SIMD_COMMON_H
#include <stddef.h>
#include <stdint.h>

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline, unused))
#endif
/* A function whose body is compiled once for all callers: a call costs little compared with its work. */
#define SHARED static __attribute__((noinline, unused))
#ifndef UNROLL
#define UNROLL _Pragma("GCC unroll 16") /* for loops of a constant count whose arrays should be kept in registers */
#endif

#endif

/* SPDX-License-Identifier: MIT
 * Arrays of FP32 values, and sums in an order that does not depend on vector instructions. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/machine/extent.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LANES       8                 /* partial sums of organ_dot */
#define LARGE_ARRAY ((size_t)4 << 20) /* bytes of an array for which large pages are worth a call */

/* Large pages cause fewer page faults and TLB misses, and free returns them faster. The system may ignore the
 * request. */
static void ask_for_large_pages(void *array, size_t bytes)
{
    const uintptr_t page = 4096, from = ((uintptr_t)array + page - 1) / page * page,
                    to = ((uintptr_t)array + bytes) / page * page;
    (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

/* NULL is also returned if the size overflows. An array of no elements has a cache line, so that NULL always means
 * an error. */
float *organ_floats(size_t a, size_t b)
{
    size_t bytes;
    if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes) ||
        bytes > PTRDIFF_MAX - 4096)
        return NULL;
    float *const array = aligned_alloc(64, organ_to_line(bytes) + (bytes == 0 ? 64 : 0));
    if (array && bytes >= LARGE_ARRAY)
        ask_for_large_pages(array, bytes);
    return array;
}

void organ_free_arrays(void *const *arrays, size_t count)
{
    for (size_t k = 0; k < count; k++)
        free(arrays[k]);
}

/* Partial sums in a fixed order give the same bits with and without vector instructions. */
double organ_dot(const float *a, const float *b, size_t n)
{
    double lanes[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += (double)a[k + l] * (double)b[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)a[k] * (double)b[k];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* The order, 16 partial sums that are added pairwise, is part of the definition: with and without vector
 * instructions the bits are equal. */
double organ_sum_of_squares(const float *values, size_t n)
{
    double lanes[16] = {0};
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += (double)values[k + l] * (double)values[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)values[k] * (double)values[k];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/algebra/floats.h"

#include "orchestrator/machine/extent.h"

#include <stdint.h>
#include <stdlib.h>

float *organ_floats(size_t a, size_t b)
{
    size_t bytes;
    if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes) || bytes > PTRDIFF_MAX - 4096)
        return NULL;
    return aligned_alloc(64, organ_to_line(bytes) + (bytes == 0 ? 64 : 0));
}

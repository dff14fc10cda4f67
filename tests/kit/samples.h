/* SPDX-License-Identifier: MIT
 * Seeded samples for kernel tests and benchmarks. They use only exact operations and IEEE square roots, so the bits are
 * the same on every machine. */
#ifndef ORGAN_TESTS_SAMPLES_H
#define ORGAN_TESTS_SAMPLES_H
#include <stddef.h>
#include <stdint.h>

typedef struct samples {
    uint64_t state;
} samples;

uint64_t samples_bits(samples *s);  /* splitmix64 */
double samples_uniform(samples *s); /* in (0, 1) */

enum sample_shape { UNIFORM, NORMAL, LAPLACE, STUDENT_T4, SAMPLE_SHAPES };
const char *sample_shape_name(enum sample_shape shape);
/* Fills n values of that distribution, with a scale of about 1. NORMAL is the sum of 12 uniforms. */
void samples_fill(samples *s, enum sample_shape shape, float *values, size_t n);

#endif

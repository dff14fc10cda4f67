/* SPDX-License-Identifier: MIT
 * The checker of kernel tables. A family checks some kernels of a table: against independent references
 * (kernel_reference.h) if the result is defined bit for bit, else against the scalar table bit for bit, and the scalar
 * table against the reference within rounding. */
#ifndef ORGAN_TESTS_KERNEL_CHECKER_H
#define ORGAN_TESTS_KERNEL_CHECKER_H
#include <organ/kernels.h>
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernel_reference.h"
#include "tests/kit/samples.h"

typedef struct kernel_family {
    const char *name;
    const char *(*check)(const organ_kernels *kernels); /* returns NULL, or a message in a static buffer */
} kernel_family;

extern const kernel_family kernel_families[];
extern const size_t kernel_family_count;

/* Families of checks, by file. */
const char *check_conversion_values(const organ_kernels *kernels); /* kernel_convert_checks.c */
const char *check_conversion_shapes(const organ_kernels *kernels);
const char *check_moments(const organ_kernels *kernels); /* kernel_scan_checks.c */
const char *check_zeros(const organ_kernels *kernels);
const char *check_audit(const organ_kernels *kernels);
const char *check_block_members(const organ_kernels *kernels); /* kernel_block_checks.c */
const char *check_block_goldens(const organ_kernels *kernels);
const char *check_block_values(const organ_kernels *kernels);
const char *check_block_shapes(const organ_kernels *kernels);
const char *check_blocks_large(const organ_kernels *kernels);
const char *check_block_extremes(const organ_kernels *kernels);
const char *check_fit_members(const organ_kernels *kernels); /* kernel_fit_checks.c */
const char *check_fit_reference(const organ_kernels *kernels);
const char *check_fit_shapes(const organ_kernels *kernels);
const char *check_fit_purpose(const organ_kernels *kernels);
const char *check_haar(const organ_kernels *kernels);  /* kernel_haar_checks.c */
const char *check_codes(const organ_kernels *kernels); /* kernel_z_checks.c */
const char *check_pair_means(const organ_kernels *kernels);
const char *check_spread(const organ_kernels *kernels);
const char *check_z_bins(const organ_kernels *kernels);
const char *check_decode_values(const organ_kernels *kernels); /* kernel_codes_checks.c */
const char *check_decode_shapes(const organ_kernels *kernels);
const char *check_decode_large(const organ_kernels *kernels);
const char *check_decode_levels(const organ_kernels *kernels);
const char *check_encode_values(const organ_kernels *kernels);
const char *check_encode_shapes(const organ_kernels *kernels);
const char *check_amax(const organ_kernels *kernels);
const char *check_rounded_goldens(const organ_kernels *kernels); /* kernel_input_checks.c */
const char *check_rounded_inputs(const organ_kernels *kernels);
const char *check_coding(const organ_kernels *kernels);       /* kernel_coding_checks.c */
const char *check_scale_search(const organ_kernels *kernels); /* kernel_search_checks.c */
const char *check_math_values(const organ_kernels *kernels);  /* kernel_math_checks.c */
const char *check_math_digests(const organ_kernels *kernels);
const char *check_math_shapes(const organ_kernels *kernels);
const char *check_math_sums(const organ_kernels *kernels);
const char *check_math_tolerance(const organ_kernels *kernels); /* in no family: for a table with its own last bits */
const char *check_product_ways(const organ_kernels *kernels);   /* kernel_product_checks.c */
const char *check_product_shapes(const organ_kernels *kernels);
const char *check_product_extremes(const organ_kernels *kernels);
const char *check_product_cuts(const organ_kernels *kernels);
const char *check_vectors(const organ_kernels *kernels); /* kernel_vector_checks.c */
const char *check_small_systems(const organ_kernels *kernels);
const char *check_recurrence(const organ_kernels *kernels); /* kernel_recurrence_checks.c */
const char *check_selective_scan(const organ_kernels *kernels);
const char *check_magnitudes(const organ_kernels *kernels); /* kernel_selection_checks.c */
const char *check_philox(const organ_kernels *kernels);
const char *check_absolute_sums(const organ_kernels *kernels);
const char *check_square_sums(const organ_kernels *kernels);
const char *check_all_finite(const organ_kernels *kernels); /* kernel_difference_checks.c */
const char *check_subtract(const organ_kernels *kernels);
const char *check_merged_differences(const organ_kernels *kernels);
const char *check_physarum_same(const organ_kernels *kernels); /* kernel_physarum_checks.c */
const char *check_physarum_flow(const organ_kernels *kernels);
const char *check_physarum_edges(const organ_kernels *kernels);
const char *check_physarum_large(const organ_kernels *kernels);

/* Formats a message for a family. */
const char *kernel_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Lengths that end at every place of a vector, a pair of vectors and a chunk. */
extern const size_t kernel_lengths[];
extern const size_t kernel_length_count;

#endif

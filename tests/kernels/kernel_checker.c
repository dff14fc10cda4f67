/* SPDX-License-Identifier: MIT */
#include "tests/kernels/kernel_checker.h"
#include <stdarg.h>
#include <stdio.h>

const kernel_family kernel_families[] = {
    {"values of conversions", check_conversion_values},
    {"lengths and bounds of conversions", check_conversion_shapes},
    {"moments", check_moments},
    {"zeros", check_zeros},
    {"audit", check_audit},
    {"types of GGUF", check_block_members},
    {"blocks like the golden files", check_block_goldens},
    {"blocks of any bytes", check_block_values},
    {"lengths and bounds of blocks", check_block_shapes},
    {"many elements of 16 bits", check_blocks_large},
    {"blocks with extreme values", check_block_extremes},
    {"searches for scales", check_fit_members},
    {"scales like the definition's", check_fit_reference},
    {"lengths and bounds of searches for scales", check_fit_shapes},
    {"what searches for scales gain", check_fit_purpose},
    {"histograms of codes", check_codes},
    {"pairwise means", check_pair_means},
    {"spread", check_spread},
    {"bins of the Z-measure", check_z_bins},
    {"values of codes", check_decode_values},
    {"lengths, groups and bounds of codes", check_decode_shapes},
    {"many codes", check_decode_large},
    {"codes of levels", check_decode_levels},
    {"nearest codes", check_encode_values},
    {"lengths, groups and bounds of nearest codes", check_encode_shapes},
    {"greatest magnitudes", check_amax},
    {"rounded inputs like those of compressed-tensors", check_rounded_goldens},
    {"rounded inputs of every kind", check_rounded_inputs},
    {"search for scales", check_scale_search},
    {"codes of columns", check_coding},
    {"purification by Haar wavelets", check_haar},
    {"transcendental functions", check_math_values},
    {"transcendental functions like on other machines", check_math_digests},
    {"lengths and bounds of transcendental functions", check_math_shapes},
    {"sums of transcendental functions", check_math_sums},
    {"products of every kind", check_product_ways},
    {"shapes and bounds of products", check_product_shapes},
    {"products with extreme values", check_product_extremes},
    {"products that are cut", check_product_cuts},
    {"vectors of FP64", check_vectors},
    {"small positive definite systems", check_small_systems},
    {"linear recurrences", check_recurrence},
    {"selective scans", check_selective_scan},
    {"selection by magnitudes", check_magnitudes},
    {"numbers of Philox", check_philox},
    {"sums of absolute values", check_absolute_sums},
    {"sums of squares", check_square_sums},
    {"values that are not finite", check_all_finite},
    {"differences", check_subtract},
    {"weighted sums of differences", check_merged_differences},
    {"physarum like scalar", check_physarum_same},
    {"physarum like the formula", check_physarum_flow},
    {"physarum at its edges", check_physarum_edges},
    {"physarum on a large tile", check_physarum_large},
};
const size_t kernel_family_count = sizeof kernel_families / sizeof *kernel_families;

const size_t kernel_lengths[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,   12,   13,   14,  15,
                                 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,  26,  27,   28,   29,   30,  31,
                                 32, 33, 47, 48, 49, 63, 64, 65, 79, 100, 255, 4095, 4096, 4097, 8209};
const size_t kernel_length_count = sizeof kernel_lengths / sizeof *kernel_lengths;

const char *kernel_fault(const char *format, ...)
{
    static char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

/* SPDX-License-Identifier: MIT
 * Checks of the bounds that exclude tries of a search for scales: against errors in FP64. */
#ifndef ORGAN_TESTS_SEARCH_BOUNDS_H
#define ORGAN_TESTS_SEARCH_BOUNDS_H
#include <organ/kernels.h>

/* Sets the least error that each try for n values may have. */
typedef void search_bounds(const organ_scale_search *search, const float *values, size_t n, float bounds[16]);

/* Returns NULL, or the defect in a static buffer: a bound is above an error, or far below it. */
const char *check_bounds_of(search_bounds *bounds);

search_bounds whole_bounds; /* those of kernels/search_whole.h */

/* The same for the bounds of groups of 16 E2M1 codes and of 32 whole ones; try 0 has none. */
const char *check_lane_bounds_of(search_bounds *bounds);

search_bounds lane_bounds; /* those of kernels/search_lanes.h */

#endif

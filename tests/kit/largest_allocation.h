/* SPDX-License-Identifier: MIT
 * Records the largest allocation. A program with this is linked with --wrap for malloc, calloc and realloc. */
#ifndef ORGAN_TEST_LARGEST_ALLOCATION_H
#define ORGAN_TEST_LARGEST_ALLOCATION_H

#include <stddef.h>

/* Bytes of the largest allocation since a test set it to 0. */
extern size_t largest_allocation;

#endif

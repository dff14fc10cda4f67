/* SPDX-License-Identifier: MIT
 * Assignment of the rows of one matrix to those of another. Equal inputs give equal assignments. */
#ifndef ORGAN_SOLVE_ASSIGN_H
#define ORGAN_SOLVE_ASSIGN_H

#include <stddef.h>

/* Sets row_of[i], a permutation of n rows, so that the sum of gain[i * n + row_of[i]] is the greatest. All gains are
 * finite. `room` has organ_assign_room(n) bytes, aligned to 8; its contents do not matter. */
void organ_assign(size_t n, const double *gain, size_t *row_of, void *room);
size_t organ_assign_room(size_t n);

/* The same among the permutations that take each of `groups` groups of n / groups consecutive rows to one group.
 * `groups` is a divisor of n, and not 0; `room` has organ_assign_groups_room(n, groups) bytes. */
void organ_assign_groups(size_t n, size_t groups, const double *gain, size_t *row_of, void *room);
size_t organ_assign_groups_room(size_t n, size_t groups);

#endif

/* SPDX-License-Identifier: MIT
 * Comparison functions for qsort and bsearch. */
#ifndef ORGAN_ORDER_H
#define ORGAN_ORDER_H

/* Orders texts by their bytes; the elements are of type char * or const char *. */
int organ_order_texts(const void *a, const void *b);
/* Orders numbers of type double, smallest first. None may be NaN. */
int organ_order_numbers(const void *a, const void *b);

#endif

/* SPDX-License-Identifier: MIT */
#include "formats/base/order.h"

#include <string.h>

int organ_order_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

int organ_order_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

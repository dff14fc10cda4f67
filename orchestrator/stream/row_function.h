/* SPDX-License-Identifier: MIT
 * The functions of places (formats/weights/weight_search.h): what a conversion writes, and what is read across formats,
 * has the same bits. */
#ifndef ORGAN_STREAM_ROW_FUNCTION_H
#define ORGAN_STREAM_ROW_FUNCTION_H

#include "formats/weights/weight_search.h"

#include <stdbool.h>
#include <stddef.h>

/* Applies the function of the place, or with `inverse` its inverse, to `count` values in place. The bits do not depend
 * on the instruction set. */
void organ_row_apply(const organ_row_place *place, bool inverse, float *values, size_t count);

#endif

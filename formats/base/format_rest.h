/* SPDX-License-Identifier: MIT
 * Formats the variable arguments of a function. */
#ifndef ORGAN_BASE_FORMAT_REST_H
#define ORGAN_BASE_FORMAT_REST_H

#include "formats/base/plain_numbers.h"

#include <stdarg.h>

/* Formats the arguments after `format`, the last named parameter of the calling function, into the array `text`. */
#define ORGAN_FORMAT_REST(text, format)                                                                                \
    do {                                                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, format);                                                                                        \
        organ_vsnprintf(text, sizeof(text), format, rest);                                                             \
        va_end(rest);                                                                                                  \
    } while (0)

#endif

/* SPDX-License-Identifier: MIT
 * A shared library that is loaded when it is first needed: one that few runs need should not make all of them start
 * later. */
#ifndef ORGAN_LIBRARY_H
#define ORGAN_LIBRARY_H

#include "formats/base/status.h"

#include <stddef.h>

/* Puts the functions of these names at `functions`: a structure of `count` pointers to functions in the same order. The
 * library stays. ORGAN_IO if it is not there or lacks one of them. */
organ_status organ_library_load(const char *file, const char *const *names, size_t count, void *functions,
                                organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * Loads a shared library on first use, so that runs that do not need the library start faster. */
#ifndef ORGAN_LIBRARY_H
#define ORGAN_LIBRARY_H

#include <organ/base.h>

#include <stddef.h>

/* Loads the shared library `file` and stores the addresses of the `count` functions `names` in the same order in
 * `functions`, a structure of function pointers. The library is never unloaded. Returns ORGAN_IO if it is not
 * installed or lacks one of the functions. */
organ_status organ_library_load(const char *file, const char *const *names, size_t count, void *functions,
                                organ_error *error);

#endif

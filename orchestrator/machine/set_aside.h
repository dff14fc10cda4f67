/* SPDX-License-Identifier: MIT
 * Checks that memory is available before a call into a library that ends the process if an allocation is refused. */
#ifndef ORGAN_SET_ASIDE_H
#define ORGAN_SET_ASIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Allocates `bytes` bytes in pieces and frees them, so that the allocator has them for the library's requests on
 * this thread. The small allocation *last, made after the pieces, keeps the heap from shrinking; the caller frees it
 * when the library has returned. Returns false, with *last NULL, if memory is exhausted. */
bool organ_set_aside(size_t bytes, void **last);

#endif

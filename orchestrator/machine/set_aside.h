/* SPDX-License-Identifier: MIT
 * Checks that memory is available before a call into a library that ends the process if an allocation is refused. */
#ifndef ORGAN_SET_ASIDE_H
#define ORGAN_SET_ASIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Allocates `bytes` bytes in pieces and frees them, so that malloc has them for later requests of the library on this
 * thread. *last becomes a small allocation after the pieces, which prevents free from returning the pieces to the
 * system; the caller frees it when the library has returned. Returns false, with *last NULL, if memory is exhausted. */
bool organ_set_aside(size_t bytes, void **last);

#endif

/* SPDX-License-Identifier: MIT
 * Memory that is shown to be there before a library is called that ends the process when an allocation is refused. */
#ifndef ORGAN_SET_ASIDE_H
#define ORGAN_SET_ASIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Allocates `bytes` in pieces and frees them again: they lie together in the heap, and what the library asks for on
 * this thread is found there. *last keeps the heap from being given back; free it when the library has returned. false:
 * there is not so much; *last is NULL. */
bool organ_set_aside(size_t bytes, void **last);

#endif

/* SPDX-License-Identifier: MIT
 * Malformed HTTP requests from a seed. */
#ifndef MALFORMED_H
#define MALFORMED_H

#include <stddef.h>
#include <stdint.h>

enum { MALFORMED_ROOM = 2048 };

/* Writes a malformed request into `text`, which has MALFORMED_ROOM bytes: a valid request with some bytes changed,
 * doubled or removed. *state is any number but 0 at first and advances with each call. Returns the length. */
size_t malformed_request(uint64_t *state, char *text);

#endif

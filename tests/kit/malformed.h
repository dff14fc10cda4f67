/* SPDX-License-Identifier: MIT
 * Requests of HTTP that are not quite right, from a seed. */
#ifndef MALFORMED_H
#define MALFORMED_H

#include <stddef.h>
#include <stdint.h>

enum { MALFORMED_ROOM = 2048 };

/* Starts as any number but 0; each call moves it on. Gives the length of what it writes into `text`, which has
 * MALFORMED_ROOM bytes: a good request with some of its bytes changed, doubled or cut out. */
size_t malformed_request(uint64_t *state, char *text);

#endif

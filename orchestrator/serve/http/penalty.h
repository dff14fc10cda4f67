/* SPDX-License-Identifier: MIT
 * Counts wrong tokens by network (organ_peer_network) and computes how long the server delays the answers to them. Uses
 * a table of fixed size. Thread-safe. */
#ifndef ORGAN_HTTP_PENALTY_H
#define ORGAN_HTTP_PENALTY_H

typedef struct organ_penalty organ_penalty;

organ_penalty *organ_penalty_create(void); /* NULL if memory runs out */
void organ_penalty_destroy(organ_penalty *penalty);

/* Counts a wrong token from the address `peer` and returns the seconds to wait before the answer. Addresses of one
 * network share a count. The first three wrong tokens have no delay, the fourth 0.25 s, each further one twice the
 * delay before it, up to 8 s. Five minutes without a wrong token reset the count. Networks whose hashes select the same
 * entry of the table share a count. */
#define ORGAN_PENALTY_MAX_SECONDS 8.0
double organ_penalty_add(organ_penalty *penalty, const char *peer);

/* Returns the longest delay, in seconds, that the next wrong token of any address would get now. */
double organ_penalty_longest(organ_penalty *penalty);

#endif

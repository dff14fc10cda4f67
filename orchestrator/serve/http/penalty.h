/* SPDX-License-Identifier: MIT
 * Delays answers to wrong tokens, by network (organ_peer_network) and longer each time. A table of fixed size; thread-safe. */
#ifndef ORGAN_HTTP_PENALTY_H
#define ORGAN_HTTP_PENALTY_H

typedef struct organ_penalty organ_penalty;

organ_penalty *organ_penalty_create(void); /* NULL without memory */
void organ_penalty_destroy(organ_penalty *penalty);

/* A wrong token from this address: seconds until it is to be answered. Addresses of one network are counted together. The first three cost
 * nothing, then 0.25 s, and twice as much each time up to 8 s. After five minutes without a wrong one all is forgiven. Networks that share
 * a place of the table share the delay. */
#define ORGAN_PENALTY_MOST_SECONDS 8.0
double organ_penalty_add(organ_penalty *penalty, const char *peer);

/* The longest delay that the next wrong token of any address would get now, in seconds. */
double organ_penalty_longest(organ_penalty *penalty);

#endif

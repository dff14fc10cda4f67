/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/penalty.h"

#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/serve/http/peer_network.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* FREE wrong tokens have no delay; MAX_DOUBLINGS doublings of first_seconds reach ORGAN_PENALTY_MAX_SECONDS. */
enum { PLACES = 1024, FREE = 3, MAX_DOUBLINGS = 5 };

/* The second number is the time without wrong tokens after which a count starts again. */
static const double first_seconds = 0.25, forgiven_seconds = 300;

typedef struct penalty_place {
    unsigned wrong; /* number of wrong tokens, at most FREE + MAX_DOUBLINGS + 1 */
    double last;    /* time of the last wrong token, in seconds of the monotonic clock */
} penalty_place;

struct organ_penalty {
    pthread_mutex_t lock;
    uint64_t seed; /* of the hash in place_of_peer */
    penalty_place places[PLACES];
};

/* A random `seed` keeps clients from choosing addresses that share a counter. If the random generator of the system
 * is not ready, the address of the table serves as seed. */
organ_penalty *organ_penalty_create(void)
{
    organ_penalty *const penalty = calloc(1, sizeof *penalty);
    if (!penalty)
        return NULL;
    pthread_mutex_init(&penalty->lock, NULL);
    if (getrandom(&penalty->seed, sizeof penalty->seed, GRND_NONBLOCK) < 0)
        penalty->seed = (uintptr_t)penalty;
    return penalty;
}

void organ_penalty_destroy(organ_penalty *penalty)
{
    if (penalty)
        pthread_mutex_destroy(&penalty->lock);
    free(penalty);
}

static penalty_place *place_of_peer(organ_penalty *penalty, const char *peer)
{
    char network[ORGAN_PEER_NETWORK_ROOM];
    organ_peer_network(peer, network);
    return &penalty->places[XXH3_64bits_withSeed(network, strlen(network), penalty->seed) % PLACES];
}

/* The delay in seconds is 0 for the first FREE wrong tokens, then first_seconds, doubled by each further one. */
static double delay_of(unsigned wrong)
{
    return wrong <= FREE ? 0 : first_seconds * (double)(1u << (wrong - FREE - 1));
}

/* The count stops at the number that has the longest delay, and starts again from 0 after forgiven_seconds without
 * wrong tokens. The result is in seconds. */
double organ_penalty_add(organ_penalty *penalty, const char *peer)
{
    const double now = organ_seconds_now();
    pthread_mutex_lock(&penalty->lock);
    penalty_place *const p = place_of_peer(penalty, peer);
    if (now - p->last > forgiven_seconds)
        p->wrong = 0;
    p->last = now;
    const unsigned wrong = p->wrong < FREE + MAX_DOUBLINGS + 1 ? ++p->wrong : p->wrong;
    pthread_mutex_unlock(&penalty->lock);
    return delay_of(wrong);
}

double organ_penalty_longest(organ_penalty *penalty)
{
    const double now = organ_seconds_now();
    unsigned max = 0;
    pthread_mutex_lock(&penalty->lock);
    for (size_t k = 0; k < PLACES; k++)
        if (now - penalty->places[k].last <= forgiven_seconds && penalty->places[k].wrong > max)
            max = penalty->places[k].wrong;
    pthread_mutex_unlock(&penalty->lock);
    return delay_of(max < FREE + MAX_DOUBLINGS + 1 ? max + 1 : max);
}

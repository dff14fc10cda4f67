/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/engine.h"

#include <stdlib.h>

#define USUAL_MEMORY ((uint64_t)512 << 20)

/* An engine has its topology to look at; who made it owns it. */
typedef struct own_engine {
    organ_engine engine; /* first: it is what the caller holds */
    organ_topology *topology;
} own_engine;

void organ_engine_destroy(organ_engine *engine)
{
    own_engine *const own = (own_engine *)engine;
    if (!own)
        return;
    organ_workers_destroy(own->engine.workers);
    organ_topology_destroy(own->topology);
    free(own);
}

organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine, organ_error *error)
{
    const char *why = "";
    own_engine *const own = calloc(1, sizeof *own);
    *engine = NULL;
    if (!own)
        return organ_fail(error, ORGAN_IO, "no memory for an engine");
    own->engine.memory = memory ? memory : USUAL_MEMORY;
    own->engine.kernels = kernels ? kernels : organ_kernels_choose(organ_cpu_detect(), NULL, &why);
    if (organ_topology_discover(&own->topology, error) != ORGAN_OK ||
        organ_workers_create(own->topology, threads, &own->engine.workers, error) != ORGAN_OK) {
        organ_engine_destroy(&own->engine);
        return error->status;
    }
    own->engine.topology = own->topology;
    *engine = &own->engine;
    return ORGAN_OK;
}

/* SPDX-License-Identifier: MIT */
#include <organ/stream.h>

#include <stdlib.h>
#include <time.h>

/* organ_engine_choose_tile returns the twin if its time is below this share of the time of the engine's kernels */
#define CLEARLY_QUICKER 0.97
#define USUAL_MEMORY    ((uint64_t)512 << 20) /* bytes */

typedef struct own_engine {
    organ_engine engine; /* first member: the caller has a pointer to it */
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

organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error)
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

/* TRIAL_ROWS x TRIAL_COLS is the tile that is timed, TRIALS times with each table of kernels. */
enum { TRIAL_ROWS = 64, TRIAL_COLS = 256, TRIALS = 8 };

/* The processor time of this thread is in seconds. `tile` has TRIAL_ROWS x TRIAL_COLS pseudo-random floats,
 * `scratch` organ_physarum_scratch bytes. */
static double time_tile(const organ_kernels *kernels, float *tile, void *scratch)
{
    const organ_physarum_params params = {.iterations = 30, .beta = 2, .coupling = 1, .gain = 6};
    organ_prune_counts counts;
    struct timespec from, to;
    for (uint32_t k = 0; k < TRIAL_ROWS * TRIAL_COLS; k++)
        tile[k] = (float)(k * UINT32_C(2654435761) >> 8);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    kernels->physarum_f32(tile, TRIAL_ROWS, TRIAL_COLS, TRIAL_COLS, &params, scratch, &counts);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* Times both tables in turn. The twin is chosen only if its least time is below CLEARLY_QUICKER of the other's.
 * Returns the engine's kernels if there is no twin or no memory. */
const organ_kernels *organ_engine_choose_tile(const organ_engine *engine)
{
    const organ_kernels *const tables[] = {engine->kernels, organ_kernels_other_tile(engine->kernels)};
    const size_t bytes = TRIAL_ROWS * TRIAL_COLS * sizeof(float);
    double least[] = {1, 1};
    char *const scratch = tables[1] ? aligned_alloc(64, bytes + organ_physarum_scratch(TRIAL_ROWS, TRIAL_COLS)) : NULL;
    for (int trial = 0; scratch && trial < 2 * TRIALS; trial++) { /* alternating */
        const double took = time_tile(tables[trial % 2], (float *)(void *)scratch, scratch + bytes);
        if (took < least[trial % 2])
            least[trial % 2] = took;
    }
    free(scratch);
    return least[1] < CLEARLY_QUICKER * least[0] ? tables[1] : tables[0];
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/memory.h"

#include "formats/base/format_rest.h"
#include "orchestrator/machine/free_memory.h"

#include <organ/machine.h>
#include <stdio.h>

#define USUAL_MEMORY ((uint64_t)512 << 20) /* bytes that every operation may use if they are within the ceiling */
#define LEAST_MEMORY ((uint64_t)8 << 20)   /* the least value of --memory */

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Half of the free memory is left to other programs and to the page cache, without which every pass over a model reads
 * the disk. */
static void set_ceiling(organ_memory_share *share)
{
    const uint64_t part = share->free / 2 / share->ranks;
    share->ceiling = share->limit ? least_of(part, share->limit) : part;
    share->ceiling = share->ceiling > LEAST_MEMORY ? share->ceiling : LEAST_MEMORY;
    share->bytes = least_of(USUAL_MEMORY, share->ceiling);
}

organ_status organ_memory_share_begin(organ_engine *engine, organ_memory_share *share, const char *root,
                                      organ_error *error)
{
    organ_free_memory found;
    if (organ_free_memory_read(root, &found, error) != ORGAN_OK)
        return error->status;
    *share = (organ_memory_share){.free = found.bytes, .ranks = 1};
    snprintf(share->group, sizeof share->group, "%s", found.group);
    set_ceiling(share);
    engine->memory = 0;
    engine->share = share;
    return ORGAN_OK;
}

static organ_memory_share *share_of(const organ_engine *engine) { return engine->memory ? NULL : engine->share; }

void organ_memory_divide(const organ_engine *engine, size_t ranks, uint64_t limit)
{
    organ_memory_share *const share = share_of(engine);
    if (!share)
        return;
    share->ranks = ranks;
    share->limit = limit;
    set_ceiling(share);
}

void organ_memory_lower(const organ_engine *engine, uint64_t ceiling)
{
    organ_memory_share *const share = share_of(engine);
    if (!share || ceiling >= share->ceiling)
        return;
    share->ceiling = ceiling > LEAST_MEMORY ? ceiling : LEAST_MEMORY;
    share->bytes = least_of(share->bytes, share->ceiling);
}

void organ_memory_prefer(const organ_engine *engine, uint64_t good)
{
    organ_memory_share *const share = share_of(engine);
    if (share && good > share->bytes)
        share->bytes = least_of(good, share->ceiling);
}

size_t organ_memory_workers(const organ_engine *engine, uint64_t each, uint64_t shared)
{
    const size_t workers = organ_workers_count(engine->workers);
    organ_memory_prefer(engine, each * workers + shared);
    const uint64_t memory = organ_engine_memory(engine), fits = each && memory > shared ? (memory - shared) / each : 0;
    return fits < workers ? organ_max((size_t)fits, 1) : workers;
}

static void describe_ceiling(const organ_memory_share *share, char *out, size_t size)
{
    char ceiling[24];
    organ_quantity_option(share->ceiling, ceiling);
    const bool limited = share->limit && share->ceiling == share->limit;
    size_t used = (size_t)snprintf(out, size, "auto, at most %s", ceiling);
    if (limited)
        snprintf(out + used, size - used, " for a job of this server");
    else
        used += (size_t)snprintf(out + used, size - used, ", half of the memory that %s%s has free",
                                 *share->group ? "the control group " : "this machine", share->group);
    if (!limited && share->ranks > 1 && used < size)
        snprintf(out + used, size - used, " for each of %zu processes", share->ranks);
}

static organ_status refuse(const organ_engine *engine, uint64_t enough, organ_error *error, const char *text)
{
    const organ_memory_share *const share = share_of(engine);
    char memory[400], option[24];
    if (!share)
        return organ_memory_refuse(error, engine->memory, enough, "%s", text);
    describe_ceiling(share, memory, sizeof memory);
    return organ_fail(error, ORGAN_USAGE, "--memory %s, is too little for %s; --memory %s is enough", memory, text,
                      organ_quantity_option(enough, option));
}

organ_status organ_memory_claim(const organ_engine *engine, uint64_t enough, organ_error *error, const char *what, ...)
{
    organ_memory_prefer(engine, enough);
    if (enough <= organ_engine_memory(engine))
        return ORGAN_OK;
    char text[400];
    ORGAN_FORMAT_REST(text, what);
    return refuse(engine, enough, error, text);
}

organ_status organ_memory_require(const organ_engine *engine, organ_memory_fits *fits, void *context,
                                  organ_error *error, const char *what, ...)
{
    const uint64_t given = organ_engine_memory(engine);
    if (fits(context, given))
        return ORGAN_OK;
    const uint64_t enough = organ_memory_enough(given, fits, context);
    organ_memory_prefer(engine, enough);
    if (fits(context, organ_engine_memory(engine)))
        return ORGAN_OK;
    char text[400];
    ORGAN_FORMAT_REST(text, what);
    return refuse(engine, enough, error, text);
}

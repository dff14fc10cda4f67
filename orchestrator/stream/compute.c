/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/compute.h"

#include "orchestrator/machine/topology_parts.h"

#include <string.h>

static const char *const names[ORGAN_COMPUTES] = {"exact", "split", "bf16"};

const char *organ_compute_name(organ_compute compute) { return names[compute]; }

/* AMX instructions can only be used if the operating system permits this process to use the registers of AMX. */
organ_status organ_engine_compute(organ_engine *engine, const char *field, const char *name, organ_error *error)
{
    organ_cpu cpu = organ_cpu_detect();
    const char *why = "";
    size_t compute = 0;
    while (name && compute < ORGAN_COMPUTES && strcmp(name, names[compute]) != 0)
        compute++;
    if (compute == ORGAN_COMPUTES)
        return organ_fail(error, ORGAN_USAGE, "`%s` '%s' is unknown: exact, split or bf16", field, name);
    const bool withheld = compute != ORGAN_COMPUTE_EXACT && cpu.amx && !organ_ask_for_tiles();
    cpu.amx = cpu.amx && !withheld;
    engine->compute = (organ_compute)compute;
    engine->dots = organ_dots_choose(cpu, engine->kernels, engine->compute, &why);
    if (engine->dots || engine->compute == ORGAN_COMPUTE_EXACT)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "`%s` %s is not available on this machine: %s%s; `%s` exact always works",
                      field, name, withheld ? "the kernel denies the use of AMX, and " : "", why, field);
}

bool organ_compute_is_reduced(const char *name) { return name && strcmp(name, names[ORGAN_COMPUTE_EXACT]) != 0; }

const char *organ_compute_isa(const organ_engine *engine, const char *name)
{
    organ_engine with = *engine;
    organ_error none = {0};
    return organ_engine_compute(&with, "compute", name, &none) == ORGAN_OK && with.dots ? with.dots->isa : "";
}

/* SPDX-License-Identifier: MIT
 * Reports how organ places its work on a machine: the CPU of each worker, the memory node of each band buffer, and the
 * CPUs and nodes that it does not use. */
#ifndef ORGAN_MACHINE_PLAN_H
#define ORGAN_MACHINE_PLAN_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stddef.h>

ORGAN_API_BEGIN

typedef struct organ_machine_plan_options {
    const char *import;        /* file with the topology of another machine, recorded by hwloc; NULL: this machine */
    size_t threads;            /* number of workers; 0: one per core */
    struct organ_ranks *ranks; /* add the plans of all these ranks; NULL: the plan of this process only */
} organ_machine_plan_options;

/* Returns in *report (schema organ.topology/1) the placement that organ_workers_create and organ_pass_run would choose.
 * Binds and starts nothing. The caller releases *report, which is NULL on error. Returns ORGAN_BAD_INPUT if `import` is
 * not a record of hwloc, ORGAN_IO if it cannot be read or memory runs out. */
organ_status organ_machine_plan(const organ_machine_plan_options *options, json_t **report, organ_error *error);

ORGAN_API_END

#endif

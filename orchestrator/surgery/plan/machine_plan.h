/* SPDX-License-Identifier: MIT
 * Reports the placement of work on a machine: the core of each worker, the memory node of each buffer, and the unused
 * parts of the machine. */
#ifndef ORGAN_MACHINE_PLAN_H
#define ORGAN_MACHINE_PLAN_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stddef.h>

ORGAN_API_BEGIN

typedef struct organ_machine_plan_options {
    const char *import;        /* a machine recorded by hwloc; NULL: this one */
    size_t threads;            /* 0: one per core */
    struct organ_ranks *ranks; /* (room ranks) report the plans of all; NULL: of this process alone */
} organ_machine_plan_options;

/* *report has the schema organ.topology/1; the caller releases it; NULL on error. The plan is the one by which
 * organ_workers_create and organ_pass_run act. Nothing is bound or started. ORGAN_BAD_INPUT for a record that is none,
 * ORGAN_IO. */
organ_status organ_machine_plan(const organ_machine_plan_options *options, json_t **report, organ_error *error);

ORGAN_API_END

#endif

/* SPDX-License-Identifier: MIT
 * Types that the library's operations share. An operation gets a struct of options, an engine, and a progress object to
 * report to; it returns a report as JSON, and an error. */
#ifndef ORGAN_OPERATION_INTERFACE_H
#define ORGAN_OPERATION_INTERFACE_H

#include "formats/base/api.h"
#include "formats/remote/access.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"

#include <jansson.h>
#include <stdbool.h>

/* Returns whether from <= value <= to. Ranges of options are macros of two numbers, "from, to", which tables of
 * options, checks and messages use. */
static inline bool organ_within(double value, double from, double to) { return value >= from && value <= to; }

#endif

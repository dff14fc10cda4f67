/* SPDX-License-Identifier: MIT
 * Room surgery/health: reports about a model, which it does not change. inspect lists the content of a model from
 * its headers alone; models lists the caches of other programs; autopsy reads every weight and can measure the distance
 * from a second model. */
#ifndef ORGAN_SURGERY_HEALTH_H
#define ORGAN_SURGERY_HEALTH_H

#include "orchestrator/surgery/health/autopsy.h"
#include "orchestrator/surgery/health/inspect.h"
#include "orchestrator/surgery/health/list_models.h"

#endif

/* SPDX-License-Identifier: MIT
 * Room surgery/health: looks into models and changes nothing. In goes the path of a model, out comes a report: inspect
 * tells what is in it from its headers alone; autopsy reads every weight, and with a second model how far the two are
 * apart. */
#ifndef ORGAN_SURGERY_HEALTH_H
#define ORGAN_SURGERY_HEALTH_H

#include "orchestrator/surgery/health/autopsy.h"
#include "orchestrator/surgery/health/inspect.h"

#endif

/* SPDX-License-Identifier: MIT
 * The parts that the server is made of. */
#ifndef ORGAN_AREAS_H
#define ORGAN_AREAS_H

#include "orchestrator/serve/http/http.h"

/* All areas in the order in which they start; ends with NULL. */
extern const organ_area *const organ_areas[];

#endif

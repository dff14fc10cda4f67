/* SPDX-License-Identifier: MIT
 * The parts that the server is made of. */
#include "orchestrator/serve/http_exchange.h"

const organ_area *const organ_areas[] = {&organ_area_server, &organ_area_models, &organ_area_files,
                                         &organ_area_jobs,   &organ_area_page,   NULL};

/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/areas.h"

#include "orchestrator/serve/jobs/jobs.h"
#include "orchestrator/serve/models/models.h"
#include "orchestrator/serve/page/page.h"

const organ_area *const organ_areas[] = {&organ_area_server, &organ_area_models, &organ_area_files,
                                         &organ_area_jobs,   &organ_area_page,   NULL};

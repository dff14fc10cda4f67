/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/exchange.h"

#include <sys/resource.h>
#include <unistd.h>

enum { BELOW_JOBS = 15 }; /* by nice: a thirtieth of a job's share where both want the same processor */

void organ_http_step_back(void) { setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + BELOW_JOBS); }

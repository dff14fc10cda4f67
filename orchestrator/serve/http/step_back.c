/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_exchange.h"

#include <sys/resource.h>
#include <unistd.h>

/* Nice levels below the jobs: the server then gets about a thirtieth of a processor that a job uses. */
enum { BELOW_JOBS = 15 };

void organ_http_step_back(void)
{
    setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + BELOW_JOBS);
}

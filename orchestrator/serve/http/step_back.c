/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_exchange.h"

#include <sys/resource.h>
#include <unistd.h>

/* Added to the nice value of the server's threads. On a processor that a job uses they then get about a thirtieth of
 * the time: Linux's weight of nice 15 is 36, that of nice 0 is 1024. */
enum { BELOW_JOBS = 15 };

void organ_http_step_back(void)
{
    setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + BELOW_JOBS);
}

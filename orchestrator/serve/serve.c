/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/serve.h"

#include "orchestrator/report/text/report_text.h"
#include "orchestrator/serve/jobs/jobs.h"
#include "orchestrator/serve/models/serve_models.h"
#include "orchestrator/serve/page/serve_page.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

static volatile sig_atomic_t renewal_requested; /* set by the handler of SIGHUP, cleared by organ_serve */

static void request_renewal(int number)
{
    (void)number;
    renewal_requested = 1;
}

enum { SECONDS_TO_FINISH = 10 };

const organ_area *const organ_areas[] = {&organ_area_server, &organ_area_models, &organ_area_files,
                                         &organ_area_jobs,   &organ_area_page,   NULL};

/* The main loop runs ten times a second: it checks deadlines (organ_server_tick) and, after SIGHUP, calls
 * organ_server_renew. */
organ_status organ_serve(const organ_serve_options *options, organ_error *error)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    organ_server *server;
    /* SIGHUP may come as soon as the server has printed its address: the handler is installed before, because the
     * signal would end the process. */
    const struct sigaction renewal = {.sa_handler = request_renewal, .sa_flags = SA_RESTART};
    sigaction(SIGHUP, &renewal, NULL);
    if (organ_server_open(options, organ_areas, &server, error) != ORGAN_OK)
        return error->status;
    organ_message(stderr, ORGAN_MESSAGE_NOTE, "serving %s at %s%s", options->root, organ_server_url(server),
                  options->token_file ? " (with a token)" : "");
    while (!organ_stop_is_requested(options->stop)) {
        if (renewal_requested) {
            renewal_requested = 0;
            organ_server_renew(server);
        }
        organ_server_tick(server);
        nanosleep(&pause, NULL);
    }
    organ_message(stderr, ORGAN_MESSAGE_NOTE, "stopping");
    organ_server_close(server, SECONDS_TO_FINISH);
    return ORGAN_OK;
}

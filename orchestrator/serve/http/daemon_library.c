/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/daemon_library.h"

#include "formats/base/library.h"

#include <pthread.h>

organ_mhd_functions organ_mhd;

static const char *const names[] = {"MHD_start_daemon",
                                    "MHD_quiesce_daemon",
                                    "MHD_stop_daemon",
                                    "MHD_get_version",
                                    "MHD_is_feature_supported",
                                    "MHD_get_reason_phrase_for",
                                    "MHD_get_connection_info",
                                    "MHD_get_connection_values",
                                    "MHD_lookup_connection_value",
                                    "MHD_suspend_connection",
                                    "MHD_resume_connection",
                                    "MHD_create_response_from_buffer",
                                    "MHD_create_response_from_callback",
                                    "MHD_create_response_from_fd_at_offset64",
                                    "MHD_add_response_header",
                                    "MHD_queue_response",
                                    "MHD_destroy_response"};
_Static_assert(sizeof organ_mhd == sizeof names, "one name for each function");

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static organ_error fault; /* of load_daemon_library; status ORGAN_OK once the library is loaded */

static void load_daemon_library(void)
{
    organ_library_load("libmicrohttpd.so.12", names, sizeof names / sizeof *names, &organ_mhd, &fault);
}

organ_status organ_daemon_library_open(organ_error *error)
{
    pthread_once(&loaded, load_daemon_library);
    return fault.status ? organ_fail(error, ORGAN_IO, "serving HTTP needs a library that is missing: %s", fault.message)
                        : ORGAN_OK;
}

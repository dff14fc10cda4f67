/* SPDX-License-Identifier: MIT
 * Loads libmicrohttpd when a server is opened. The library depends on ten others for TLS, which runs without a
 * server should not load. */
#ifndef ORGAN_DAEMON_LIBRARY_H
#define ORGAN_DAEMON_LIBRARY_H

#include <organ/base.h>

#include <microhttpd.h>

/* The functions of the library that the server calls, named without "MHD_". Valid once organ_daemon_library_open has
 * succeeded. */
typedef struct organ_mhd_functions {
    __typeof__(MHD_start_daemon) *start_daemon;
    __typeof__(MHD_quiesce_daemon) *quiesce_daemon;
    __typeof__(MHD_stop_daemon) *stop_daemon;
    __typeof__(MHD_get_version) *get_version;
    __typeof__(MHD_is_feature_supported) *is_feature_supported;
    __typeof__(MHD_get_reason_phrase_for) *get_reason_phrase_for;
    __typeof__(MHD_get_connection_info) *get_connection_info;
    __typeof__(MHD_get_connection_values) *get_connection_values;
    __typeof__(MHD_lookup_connection_value) *lookup_connection_value;
    __typeof__(MHD_suspend_connection) *suspend_connection;
    __typeof__(MHD_resume_connection) *resume_connection;
    __typeof__(MHD_create_response_from_buffer) *create_response_from_buffer;
    __typeof__(MHD_create_response_from_callback) *create_response_from_callback;
    __typeof__(MHD_create_response_from_fd_at_offset64) *create_response_from_fd_at_offset64;
    __typeof__(MHD_add_response_header) *add_response_header;
    __typeof__(MHD_queue_response) *queue_response;
    __typeof__(MHD_destroy_response) *destroy_response;
} organ_mhd_functions;
extern organ_mhd_functions organ_mhd;

/* Loads the library, once per process. Returns ORGAN_IO if loading fails; later calls then fail as well. */
organ_status organ_daemon_library_open(organ_error *error);

#endif

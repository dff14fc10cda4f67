/* SPDX-License-Identifier: MIT
 * Usage and limits of the server's resources, for /metrics. */
#include "orchestrator/serve/http/server_parts.h"

void organ_http_quotas_print(const organ_server_request *request, FILE *out)
{
    organ_server *const server = request->server;
    const organ_serve_options *const options = &server->options;
    size_t waiting, max_waiting;
    organ_request_queue_length(server->queue, &waiting, &max_waiting);
    organ_http_quota(out, "organ_http_connections", "Connections open now.", organ_watch_count(server->watch),
                     options->connections);
    organ_http_quota(out, "organ_http_address_connections",
                     "Largest number of connections from one network (IPv4 /24, IPv6 /64).",
                     organ_watch_max_of_one(server->watch), organ_server_share_of_one(options));
    organ_http_metric(out, "organ_http_displaced_total", "counter",
                      "Connections without a token that were closed in favour of newer ones.",
                      organ_watch_displaced(server->watch));
    organ_http_quota(out, "organ_http_body_bytes",
                     "Bytes of request bodies in memory; the limit covers all connections.",
                     __atomic_load_n(&server->body_bytes, __ATOMIC_RELAXED),
                     (unsigned long long)options->connections * ORGAN_HTTP_BODY_LIMIT);
    organ_http_quota(out, "organ_http_waiting_requests", "Requests that wait for a thread or for events.", waiting,
                     max_waiting);
    organ_http_quota(out, "organ_http_penalty_milliseconds",
                     "Delay of the next answer to the network with the most wrong tokens.",
                     (unsigned long long)(1e3 * organ_penalty_longest(server->penalty)),
                     (unsigned long long)(1e3 * ORGAN_PENALTY_MAX_SECONDS));
    if (server->audit)
        organ_http_metric(out, "organ_audit_lost_total", "counter", "Lines that could not be written to the audit log.",
                          organ_audit_log_lost(server->audit));
}

/* SPDX-License-Identifier: MIT
 * Replies as they are sent. */
#include "orchestrator/serve/http/parts.h"

#include <string.h>

static const char strict_policy[] = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static struct MHD_Response *make_response(organ_http_request *request)
{
    organ_http_reply *const reply = &request->reply;
    struct MHD_Response *response = NULL;
    switch (reply->kind) {
    case REPLY_BYTES:
        response = organ_mhd.create_response_from_buffer(reply->size, reply->bytes, MHD_RESPMEM_MUST_FREE);
        reply->bytes = response ? NULL : reply->bytes;
        break;
    case REPLY_CONSTANT:
        response = organ_mhd.create_response_from_buffer(reply->size, (void *)reply->data, MHD_RESPMEM_PERSISTENT);
        break;
    case REPLY_FILE:
        response = organ_mhd.create_response_from_fd_at_offset64(reply->run, reply->fd, reply->from);
        reply->size = (size_t)reply->run;
        reply->fd = response ? -1 : reply->fd;
        break;
    case REPLY_STREAM:
        response = organ_http_stream_response(request);
        break;
    case REPLY_LATER:
    case REPLY_NONE:
        break;
    }
    return response;
}

static bool has_header(const organ_http_reply *reply, const char *name)
{
    for (size_t k = 0; k < reply->header_count; k++)
        if (strcasecmp(reply->headers[k].name, name) == 0)
            return true;
    return false;
}

/* There are no CORS headers: other sites may read nothing. */
static bool add_headers(const organ_http_reply *reply, struct MHD_Response *response)
{
    const organ_http_field fields[] = {{"Content-Security-Policy", reply->policy ? reply->policy : strict_policy},
                                       {"X-Content-Type-Options", "nosniff"},
                                       {"Referrer-Policy", "no-referrer"},
                                       {"Cross-Origin-Resource-Policy", "same-origin"},
                                       {"Cross-Origin-Opener-Policy", "same-origin"},
                                       {"Content-Type", reply->type},
                                       {"Cache-Control", has_header(reply, "Cache-Control") ? NULL : "no-store"}};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (fields[k].value && organ_mhd.add_response_header(response, fields[k].name, fields[k].value) != MHD_YES)
            return false;
    /* A value that cannot stand in a header (a line break in a name) leaves the header out; nothing else is lost. */
    for (size_t k = 0; k < reply->header_count; k++)
        organ_mhd.add_response_header(response, reply->headers[k].name, reply->headers[k].value);
    return true;
}

enum MHD_Result organ_http_send(organ_http_request *request)
{
    if (request->reply.kind == REPLY_NONE)
        organ_http_problem(&request->reply, 500, "the request was not answered");
    struct MHD_Response *const response = make_response(request);
    request->state = REQUEST_QUEUED;
    if (!response)
        return MHD_NO;
    const bool whole = add_headers(&request->reply, response);
    const enum MHD_Result queued = whole ? organ_mhd.queue_response(request->connection, request->reply.status, response) : MHD_NO;
    organ_mhd.destroy_response(response);
    return queued;
}

/* SPDX-License-Identifier: MIT
 * Sends replies: through libmicrohttpd, or directly to the socket. */
#include "orchestrator/report/text/text.h"
#include "orchestrator/serve/http/server_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char strict_policy[] = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static struct MHD_Response *make_response(organ_server_request *request)
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

enum { USUAL_HEADERS = 7 };

/* A NULL value means that the reply does not need the header. There are no CORS headers, so pages of other sites
 * cannot read replies. */
static void usual_headers(const organ_http_reply *reply, organ_http_field fields[USUAL_HEADERS])
{
    const organ_http_field usual[USUAL_HEADERS] = {
        {"Content-Security-Policy", reply->policy ? reply->policy : strict_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Content-Type", reply->type},
        {"Cache-Control", has_header(reply, "Cache-Control") ? NULL : "no-store"}};
    memcpy(fields, usual, sizeof usual);
}

static bool add_headers(const organ_http_reply *reply, struct MHD_Response *response)
{
    organ_http_field fields[USUAL_HEADERS];
    usual_headers(reply, fields);
    for (size_t k = 0; k < USUAL_HEADERS; k++)
        if (fields[k].value && organ_mhd.add_response_header(response, fields[k].name, fields[k].value) != MHD_YES)
            return false;
    /* libmicrohttpd rejects a header whose value it cannot contain, such as a file name with a line break. The reply is
     * then sent without this header. */
    for (size_t k = 0; k < reply->header_count; k++)
        organ_mhd.add_response_header(response, reply->headers[k].name, reply->headers[k].value);
    return true;
}

enum MHD_Result organ_http_send(organ_server_request *request)
{
    if (request->reply.kind == REPLY_NONE)
        organ_http_problem(&request->reply, 500, "the request was not answered");
    struct MHD_Response *const response = make_response(request);
    request->state = REQUEST_QUEUED;
    if (!response)
        return MHD_NO;
    const bool complete = add_headers(&request->reply, response);
    const enum MHD_Result queued =
        complete ? organ_mhd.queue_response(request->connection, request->reply.status, response) : MHD_NO;
    organ_mhd.destroy_response(response);
    return queued;
}

/* The body of a REPLY_BYTES must be text without NUL. *bytes is the length of the result, which the caller frees.
 * NULL if memory runs out. */
static char *whole_reply(const organ_http_reply *reply, size_t *bytes)
{
    organ_http_field fields[USUAL_HEADERS];
    organ_error error = {0};
    organ_text text;
    char *whole = NULL;
    usual_headers(reply, fields);
    if (organ_text_open(&text, &error) != ORGAN_OK)
        return NULL;
    fprintf(text.out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", reply->status,
            organ_mhd.get_reason_phrase_for(reply->status), reply->size);
    for (size_t k = 0; k < USUAL_HEADERS; k++)
        if (fields[k].value)
            fprintf(text.out, "%s: %s\r\n", fields[k].name, fields[k].value);
    fprintf(text.out, "\r\n%.*s", (int)reply->size, reply->bytes ? reply->bytes : "");
    if (organ_text_finish(&text, &whole, &error) != ORGAN_OK)
        return NULL;
    *bytes = strlen(whole);
    return whole;
}

/* If sending without TLS fails, sets the reply's status to 0, for the log. Then reads what the client has sent, at
 * most DRAINED bytes: a connection closed with unread bytes is reset, and the client loses the reply. */
void organ_http_send_at_once(organ_server_request *request)
{
    enum { DRAINED = 1 << 20 };
    char rest[4096];
    size_t bytes = 0;
    const union MHD_ConnectionInfo *const socket =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *const tls =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    char *const text = socket ? whole_reply(&request->reply, &bytes) : NULL;
    request->state = REQUEST_QUEUED;
    if (text && request->server->tls && tls && tls->tls_session)
        organ_tls_send(tls->tls_session, text, bytes);
    else if (text && send(socket->connect_fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        request->reply.status = 0;
    if (socket) {

        for (size_t k = 0; k < DRAINED / sizeof rest && recv(socket->connect_fd, rest, sizeof rest, MSG_DONTWAIT) > 0;
             k++)
            ;
        shutdown(socket->connect_fd, SHUT_WR);
    }
    free(text);
}

/* SPDX-License-Identifier: MIT
 * Replaces wrong answers of libmicrohttpd. Versions before 1.0 answer twice to an invalid Content-Length, and with a
 * server error to chunk extensions that are longer than their buffer. Version 1.0 closes the connection before the
 * client has sent all chunks, so that the client loses the answer.
 *
 * The library logs a rejection in the thread of the connection and before its answer, but the message does not name the
 * connection. This file therefore searches the connections of the thread: for heads with an invalid length, and for the
 * chunked body that has received most bytes outside of its chunks' data. */
#include "orchestrator/serve/http/server_parts.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Requests with an invalid length that are kept; digits of 2^64 - 1; number of bytes outside of the body's data above
 * which version 1.0 of the library may have rejected the extensions of a chunk. */
enum { MAX_AT_ONCE = 16, LONGEST_LENGTH = 20, LEAST_EXTENSION_BYTES = 16 << 10 };

/* The requests of this thread that the library may have rejected. */
typedef struct refused_search {
    organ_server_request *lengths[MAX_AT_ONCE]; /* requests with an invalid Content-Length */
    size_t count;
    /* the request with a chunked body that has the most head_bytes_received; NULL: none */
    organ_server_request *chunks;
    uint64_t taken; /* head_bytes_received of `chunks` */
} refused_search;

/* Returns 0 if the library accepts the value of Content-Length, otherwise the HTTP status of the refusal: 400 if it is
 * not a number, 413 if it exceeds 2^64 - 1. */
static unsigned refused_length(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits])
        return 400;
    text += strspn(text, "0");
    const size_t length = strlen(text);
    return length > LONGEST_LENGTH || (length == LONGEST_LENGTH && strcmp(text, "18446744073709551615") > 0) ? 413 : 0;
}

/* Returns the number of bytes that the library has read from the connection and that were not data of this request's
 * body: heads, chunk lengths and extensions. 0 if the system does not count received bytes. */
static uint64_t head_bytes_received(const organ_server_request *request)
{
    const union MHD_ConnectionInfo *const info =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct tcp_info tcp = {0};
    socklen_t size = sizeof tcp;
    int unread = 0;
    if (!info || getsockopt(info->connect_fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) != 0 ||
        ioctl(info->connect_fd, FIONREAD, &unread) != 0)
        return 0;
    const uint64_t came =
        size >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t) ? tcp.tcpi_bytes_received : 0;
    const uint64_t used = (uint64_t)unread + request->body_bytes;
    return came > used ? came - used : 0;
}

/* Callback of organ_watch_own: adds the request `held` to the refused_search at `context` if the library may have
 * rejected it for its length or its chunks. */
static void add_candidate(void *context, void *held)
{
    refused_search *const s = context;
    organ_server_request *const request = held;
    const organ_request_state state =
        __atomic_load_n(&request->state, __ATOMIC_RELAXED); /* a thread of the request queue may change it */
    const char *const length = organ_http_header(request, "Content-Length"), *const coding = organ_http_header(
                                                                                 request, "Transfer-Encoding");
    if (state == REQUEST_NEW && length && !coding && refused_length(length) && s->count < MAX_AT_ONCE)
        s->lengths[s->count++] = request;
    if (state != REQUEST_BODY || !coding)
        return;
    const uint64_t taken = head_bytes_received(request);
    if (!s->chunks || taken > s->taken) {
        s->chunks = request;
        s->taken = taken;
    }
}

/* Returns true if libmicrohttpd probably replies `status` to s->chunks because the extensions of a chunk exceed its
 * buffer. Before version 1.0 this status is 500. From version 1.0 on it is 413, which has other causes too: the request
 * must then also have many bytes outside of its body's data. */
static bool is_of_chunks(const refused_search *s, unsigned status)
{
    const bool strict = organ_http_library_is_strict();
    return s->chunks && status == (strict ? 413 : 500) && (!strict || s->taken > LEAST_EXTENSION_BYTES);
}

/* Replies with a reason to the request that libmicrohttpd rejects with `status`. The log message of the library
 * contains only the status, so the request is searched among those of this thread. Version 1.0 answers an invalid
 * length itself. */
void organ_http_refused(organ_server *server, unsigned status)
{
    refused_search s = {.count = 0};
    organ_watch_own(server->watch, add_candidate, &s);
    for (size_t k = 0; k < s.count && !organ_http_library_is_strict(); k++) {
        organ_http_problem(&s.lengths[k]->reply, refused_length(organ_http_header(s.lengths[k], "Content-Length")),
                           "the Content-Length is not a valid number of bytes");
        organ_http_send_at_once(s.lengths[k]);
    }
    if (is_of_chunks(&s, status)) {
        organ_http_problem(&s.chunks->reply, 413, "the extensions of a chunk exceed the size limit");
        organ_http_send_at_once(s.chunks);
    }
}

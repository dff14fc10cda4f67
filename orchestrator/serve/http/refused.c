/* SPDX-License-Identifier: MIT
 * Replies in place of libmicrohttpd to requests that it rejects wrongly. Versions before 1.0 answer twice to an invalid
 * Content-Length. To chunk extensions that are longer than the library's buffer they answer with a server error;
 * version 1.0 answers and closes the connection before the client has sent all chunks, so that the client loses the
 * answer.
 *
 * The library logs a rejection before it answers, in the thread of the connection, but the message does not name the
 * connection. So organ_http_refused searches the requests of all connections of this thread: it takes those whose head
 * has an invalid Content-Length, and the one with a chunked body that has received most bytes outside of the data of
 * its chunks. */
#include "orchestrator/serve/http/server_parts.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    MAX_AT_ONCE = 16,    /* limit of the requests with an invalid length that one search finds */
    LONGEST_LENGTH = 20, /* decimal digits of 2^64 - 1 */
    /* a request with more bytes outside of its body's data may have too long extensions of a chunk (version 1.0) */
    LEAST_EXTENSION_BYTES = 16 << 10
};

typedef struct refused_search {
    organ_server_request *lengths[MAX_AT_ONCE]; /* requests with an invalid Content-Length */
    size_t count;                               /* number of `lengths` */
    /* the request with a chunked body that has the most head_bytes_received; NULL: none */
    organ_server_request *chunks;
    uint64_t chunks_bytes; /* head_bytes_received of `chunks` */
} refused_search;

/* Returns 0 if the library accepts the Content-Length, otherwise the HTTP status with which it is to be rejected:
 * 400 if it is not a number, 413 if it exceeds 2^64 - 1. */
static unsigned refused_length(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits])
        return 400;
    text += strspn(text, "0");
    const size_t length = strlen(text);
    return length > LONGEST_LENGTH || (length == LONGEST_LENGTH && strcmp(text, "18446744073709551615") > 0) ? 413 : 0;
}

/* The data of the request's body does not count: only heads, chunk lengths and extensions. Returns 0 if the system
 * does not count received bytes. */
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
    const uint64_t received =
        size >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t) ? tcp.tcpi_bytes_received : 0;
    const uint64_t others = (uint64_t)unread + request->body_bytes; /* not yet read by the library, or body data */
    return received > others ? received - others : 0;
}

/* Callback of organ_watch_own; `context` is the refused_search. A request is a candidate for its Content-Length. A
 * request with a chunked body becomes s->chunks if it has the most bytes outside of its body's data so far. */
static void add_candidate(void *context, void *held)
{
    refused_search *const s = context;
    organ_server_request *const request = held;
    /* atomic, because a worker of the request queue may be setting it */
    const organ_request_state state = __atomic_load_n(&request->state, __ATOMIC_RELAXED);
    const char *const length = organ_http_header(request, "Content-Length"), *const coding = organ_http_header(
                                                                                 request, "Transfer-Encoding");
    if (state == REQUEST_NEW && length && !coding && refused_length(length) && s->count < MAX_AT_ONCE)
        s->lengths[s->count++] = request;
    if (state != REQUEST_BODY || !coding)
        return;
    const uint64_t bytes = head_bytes_received(request);
    if (!s->chunks || bytes > s->chunks_bytes) {
        s->chunks = request;
        s->chunks_bytes = bytes;
    }
}

/* libmicrohttpd rejects a request if the extensions of a chunk exceed its buffer. Versions before 1.0 then reply
 * 500. Later ones reply 413, which has other causes, too, so the request must also have more than
 * LEAST_EXTENSION_BYTES outside of its body's data. */
static bool is_of_chunks(const refused_search *s, unsigned status)
{
    const bool strict = organ_http_library_is_strict();
    return s->chunks && status == (strict ? 413 : 500) && (!strict || s->chunks_bytes > LEAST_EXTENSION_BYTES);
}

/* Replies to all requests of this thread with an invalid Content-Length, unless the library is version 1.0, which
 * answers those correctly itself; and to the one with too long extensions of a chunk. */
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

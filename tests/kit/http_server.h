/* SPDX-License-Identifier: MIT
 * For tests: an HTTP/1.1 server on a loopback port, in threads of this process. It generates its files while they are
 * read, and misbehaves on request. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct served_file {
    const char *name; /* such as "model.gguf" */
    uint64_t size;
    const char *head; /* the first head_size bytes */
    size_t head_size; /* the rest comes from a table of random numbers */
    const char *etag; /* NULL: not sent */
} served_file;

/* Kinds of wrong answers. */
typedef enum http_oddity {
    HTTP_STRAIGHT,
    HTTP_STATUS,         /* status `code` without the file */
    HTTP_BREAKS_OFF,     /* the connection ends after `bytes` of the body */
    HTTP_HANGS_UP,       /* the connection ends before an answer */
    HTTP_IGNORES_RANGES, /* 200 and the whole file */
    HTTP_SHIFTED_RANGE,  /* another range than requested, and Content-Range says so */
    HTTP_LATER_RANGE,    /* the same without the first byte */
    HTTP_LONGER_BODY,    /* more bytes than requested */
    HTTP_LONGER_RANGE,   /* and Content-Range says so */
    HTTP_SHORTER_RANGE,  /* half of the range with a correct Content-Range, which is allowed */
    HTTP_NO_CONTENT_RANGE,
    HTTP_BAD_CONTENT_RANGE,
    HTTP_OTHER_SIZE, /* a total size larger than before */
    HTTP_OTHER_ETAG,
    HTTP_COMPRESSED,
    HTTP_LONG_HEADERS,
    HTTP_LONG_HEADER, /* a header of 200 KB */
    HTTP_TRICKLES,    /* one byte every 20 ms */
    HTTP_EMPTY_FILE,  /* 416 with a length of 0 */
    HTTP_REDIRECTS,   /* redirect to `location` followed by the path */
    HTTP_REDIRECTS_IN_CIRCLES
} http_oddity;

typedef struct http_manners {
    http_oddity oddity;
    long after;           /* number of requests with right answers before */
    long count;           /* number of wrong answers; -1: all */
    int code;             /* for HTTP_STATUS */
    unsigned retry_after; /* Retry-After in seconds; 0: none */
    uint64_t bytes;       /* for HTTP_BREAKS_OFF */
    const char *location; /* for HTTP_REDIRECTS, such as "http://127.0.0.1:1234" */
} http_manners;

typedef struct http_server http_server;

/* Starts a server. `files` must outlive it. port 0: any. Ends the test on a failure. */
http_server *http_start(const served_file *files, size_t count, int port);
http_server *http_start_at(const served_file *files, size_t count, const char *address, int port);
void http_stop(http_server *server); /* stops like a killed server: connections break at once */
/* Stops the server as well. Until the returned descriptor is closed, no other process gets the port, nothing answers
 * there, and a server can be started on it. */
int http_stop_but_hold(http_server *server);
int http_port(const http_server *server);
/* Returns "http://127.0.0.1:PORT/some/where/NAME" in one of 16 static buffers. */
const char *http_url(const http_server *server, const char *name);

void http_behave(http_server *server, http_manners manners);

/* Calls `then` once, from a thread of the server, when that number of bytes of bodies has been sent. The connection
 * breaks before the last of them arrives, however slow the client is. */
void http_at_byte(http_server *server, uint64_t bytes, void (*then)(void));

long http_requests(http_server *server);
long http_connections(http_server *server);
uint64_t http_sent(http_server *server); /* returns the bytes of bodies sent */

/* Sets the ETag of a served file; returns the old one. */
const char *http_set_etag(http_server *server, served_file *file, const char *etag);
/* Returns the value of that header in the last request, "" if it had none. Only Authorization and X-Token are
 * recorded. */
const char *http_last_header(const http_server *server, const char *name);

/* Computes the bytes of a served file without a server. */
void http_content(const served_file *file, uint64_t offset, void *to, size_t bytes);

#endif

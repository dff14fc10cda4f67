/* SPDX-License-Identifier: MIT
 * For tests: an HTTP/1.1 server on a port of loopback, in threads of this process. It makes up its files as they are
 * read, and misbehaves on demand. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct served_file {
    const char *name; /* "model.gguf" */
    uint64_t size;
    const char *head; /* its first bytes, head_size of them */
    size_t head_size; /* the rest is drawn from a table of noise */
    const char *etag; /* NULL: none is sent */
} served_file;

/* What is wrong with answers. */
typedef enum http_oddity {
    HTTP_STRAIGHT,
    HTTP_STATUS,         /* `code` without the file */
    HTTP_BREAKS_OFF,     /* the connection ends behind `bytes` of the body */
    HTTP_HANGS_UP,       /* before any answer */
    HTTP_IGNORES_RANGES, /* 200 and the whole file */
    HTTP_SHIFTED_RANGE,  /* another range than was asked for, and it says so */
    HTTP_LONGER_BODY,    /* more bytes than were asked for */
    HTTP_LONGER_RANGE,   /* and it says so */
    HTTP_SHORTER_RANGE,  /* half of it, correctly: allowed */
    HTTP_NO_CONTENT_RANGE,
    HTTP_BAD_CONTENT_RANGE,
    HTTP_OTHER_SIZE, /* the file has grown */
    HTTP_OTHER_ETAG,
    HTTP_COMPRESSED,
    HTTP_LONG_HEADERS,
    HTTP_LONG_HEADER, /* one of 200 KB */
    HTTP_TRICKLES,    /* a byte every 20 ms */
    HTTP_EMPTY_FILE,  /* 416 with a length of 0 */
    HTTP_REDIRECTS,   /* to `location` followed by the path */
    HTTP_REDIRECTS_IN_CIRCLES
} http_oddity;

typedef struct http_manners {
    http_oddity oddity;
    long after;           /* so many requests from now on are answered straight; then */
    long count;           /* so many (-1: all) so */
    int code;             /* HTTP_STATUS */
    unsigned retry_after; /* with it, in seconds; 0: none */
    uint64_t bytes;       /* HTTP_BREAKS_OFF */
    const char *location; /* HTTP_REDIRECTS: "http://127.0.0.1:1234" */
} http_manners;

typedef struct http_server http_server;

/* `files` must outlive the server. port 0: any. Aborts the test if the system refuses. */
http_server *http_start(const served_file *files, size_t count, int port);
http_server *http_start_at(const served_file *files, size_t count, const char *address, int port); /* "127.0.0.2" */
void http_stop(http_server *server); /* as if it were killed: connections break at once */
/* The same; until the descriptor that it returns is closed, nobody else gets the port, where no one answers, and a
 * server can be started.
 */
int http_stop_but_hold(http_server *server);
int http_port(const http_server *server);
/* "http://127.0.0.1:PORT/some/where/NAME" in one of 16 static buffers. */
const char *http_url(const http_server *server, const char *name);

void http_behave(http_server *server, http_manners manners);

/* Calls `then` once when so many bytes of bodies were sent, from a thread of the server's; the connection breaks before
 * the last of them arrives, however slow the client is. */
void http_at_byte(http_server *server, uint64_t bytes, void (*then)(void));

long http_requests(http_server *server);
long http_connections(http_server *server);
uint64_t http_sent(http_server *server); /* bytes of bodies */

/* Gives a file that is served another tag; returns the one it had. */
const char *http_set_etag(http_server *server, served_file *file, const char *etag);
/* The value of that header in the last request, "" if it had none. Only Authorization and X-Token are kept. */
const char *http_last_header(const http_server *server, const char *name);

/* The bytes of a served file, without a server. */
void http_content(const served_file *file, uint64_t offset, void *to, size_t bytes);

#endif

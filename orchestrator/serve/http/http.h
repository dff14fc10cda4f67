/* SPDX-License-Identifier: MIT
 * The HTTP server, built on libmicrohttpd. Each part of the interface supplies a table of routes (an organ_area);
 * the server provides connections, limits and deadlines, checks of hosts and tokens, bodies, files with ranges, and
 * streams. jail.h is the only way to files below the served directory.
 *
 * Path of a request: connection.c receives it; http_head.c and guard.c check it; routing.c finds its handler, which
 * runs immediately or on a thread of request_queue.c, where it may block; send.c sends the reply. tokens.c maps tokens
 * to rights, tls.h encrypts connections. */
#ifndef ORGAN_SERVE_HTTP_HTTP_H
#define ORGAN_SERVE_HTTP_HTTP_H

#include "orchestrator/command/option_tables.h"
#include "orchestrator/serve/http/jail.h"

#include <jansson.h>
#include <organ/stream.h>
#include <stdio.h>
#include <sys/types.h>

/* Options of a server. */

typedef struct organ_serve_options {
    const char *root;       /* the server reads and writes only below this directory */
    bool caches;            /* serves also the models in the caches of other programs, read only */
    const char *listen;     /* "127.0.0.1:8935", "[::1]:8935", ":8935" for all addresses; port 0: any free port */
    const char *token_file; /* NULL: none; then only loopback addresses are allowed */
    const char *tls_certificate, *tls_key; /* names of PEM files; both, or both NULL: no encryption */
    const char *audit_log;                 /* name of the file; NULL: none */
    organ_words proxies;                   /* trusted proxies, whose X-Forwarded-For is used: addresses and networks */
    organ_words hosts;                     /* further names of the server that a Host header may contain */
    unsigned jobs;                         /* largest number of running jobs */
    /* largest number of open connections, and of those from one network (organ_peer_network); per_address 0: half of
     * `connections` */
    unsigned connections, per_address;
    uint64_t job_output, keep_bytes; /* largest size in bytes of the output kept per job, and of all jobs in total;
                                      * 0: no limit */
    uint64_t job_memory;             /* largest --memory of a job, in bytes */
    uint64_t cache;                  /* largest size of all cached catalogs together, in bytes */
    uint64_t model_memory;           /* bytes of memory for reading one model */
    unsigned model_seconds;          /* longest time that reading one model may take */
    bool models_here;       /* reads models in this process instead of a confined one: for fuzzing, which observes one
                             * process */
    unsigned timeout;       /* seconds within which a request must have arrived, and after which an idle connection is
                             * closed */
    unsigned token_timeout; /* seconds that a connection has for requests without a valid token, if less than `timeout`;
                             * 0: 5. Only tests set it */
    bool quiet;             /* writes no log line for each request */
    const organ_verb_table *verbs; /* all verbs; the server offers those that can be jobs */
    const organ_stop *stop;        /* the server runs until it is set */
} organ_serve_options;

/* ---- the interface between the HTTP server and its areas ---- */

/* The interface between the HTTP server and its areas: request, reply, and the table of routes. */

struct organ_area; /* below */
struct organ_serve_options;
struct organ_jail; /* jail.h: the only way to files below the root */
struct organ_request_tally;
struct organ_guard;
struct organ_request_queue;
struct organ_jobs;        /* in the area of jobs */
struct organ_model_cache; /* in the area of models */

/* Data that all areas share: one organ_app for a server, used by all threads. It does not change after the areas have
 * started. */
typedef struct organ_app {
    const struct organ_area *const *areas; /* in the order in which they start; ends with NULL */
    const struct organ_serve_options *options;
    const struct organ_jail *jail;
    struct organ_request_tally *tally;
    const struct organ_guard *guard;
    struct organ_request_queue *queue;
    struct organ_jobs *jobs;         /* set by the area of jobs when it starts */
    struct organ_model_cache *cache; /* set by the area of models */
} organ_app;

/* ---- request ---- */

typedef enum organ_http_method {
    ORGAN_HTTP_GET,
    ORGAN_HTTP_POST,
    ORGAN_HTTP_DELETE,
    ORGAN_HTTP_METHODS /* number of methods; in a request: a method that no route has */
} organ_http_method;

/* Valid until the handler returns; a stream must copy all that it needs later. */
typedef struct organ_server_request organ_server_request;

/* Returns the data that all areas share. */
organ_app *organ_http_app(const organ_server_request *request);
/* Returns a parameter of the route's pattern, decoded: "id" of {id} (one segment), "path" of {path...} (one or more
 * segments, joined by '/'). NULL if the pattern has no parameter of that name. */
const char *organ_http_parameter(const organ_server_request *request, const char *name);
/* Returns a value of the query, decoded as in forms ('+' is a blank): valid UTF-8 without control characters. NULL if
 * it is missing; the first if it is repeated. */
const char *organ_http_query(const organ_server_request *request, const char *name);
/* Returns the value of a header; the first if it is repeated, NULL if it is missing. */
const char *organ_http_header(const organ_server_request *request, const char *name);

/* ---- reply ---- */

/* Filled by a handler with exactly one of the functions below; a later call replaces the effect of an earlier one.
 * If memory runs out the reply becomes a 500. The server adds the headers for security, length, date and caching
 * ("no-store" unless the handler set Cache-Control). */
typedef struct organ_http_reply organ_http_reply;

/* Replies with `document` as application/json and releases the caller's reference to it. NULL stands for a lack of
 * memory: the reply is then a 500. */
void organ_http_reply_json(organ_http_reply *reply, unsigned status, json_t *document);
/* Replies with the first `bytes` bytes of `text`, which the reply frees. `type` is a static media type. NULL stands for
 * a lack of memory: the reply is then a 500. */
void organ_http_reply_text(organ_http_reply *reply, unsigned status, const char *type, char *text, size_t bytes);
/* Replies with `bytes` bytes of static data of the media type `type`. */
void organ_http_reply_constant(organ_http_reply *reply, unsigned status, const char *type, const void *data,
                               size_t bytes);
/* Replies with a status without a body, such as 204 or 304. */
void organ_http_reply_empty(organ_http_reply *reply, unsigned status);

/* Replies with application/problem+json (RFC 9457): {"type": "about:blank", "title": <of the status>, "status": ...,
 * "detail": <the message>}. Control characters in the detail are replaced (by organ_fail). The log line of the request
 * contains the detail. */
void organ_http_problem(organ_http_reply *reply, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Replies like organ_http_problem, with one more member `name`. Releases the caller's reference to `value`. */
void organ_http_problem_with(organ_http_reply *reply, unsigned status, const char *name, json_t *value,
                             const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Replies like organ_http_problem, with the message of `error` and the status 400 for ORGAN_USAGE, 422 for
 * ORGAN_BAD_INPUT, 500 for all others. */
void organ_http_problem_of(organ_http_reply *reply, const organ_error *error);

/* Sends an open regular file and closes it. Supports ETag, Last-Modified, If-None-Match, If-Modified-Since, Range
 * and If-Range (206, 304, 416). `name` is the file name that browsers suggest for saving; its extension selects the
 * media type. A report of this program is displayed in a sandbox (organ_http_reply_as_report); all other files,
 * including other HTML, are sent as attachments. */
void organ_http_reply_file(organ_http_reply *reply, const organ_server_request *request, int fd, const char *name);

/* Adds a header to the reply; copies name and value. */
void organ_http_reply_header(organ_http_reply *reply, const char *name, const char *value);
/* Returns true if If-None-Match of the request is "*" or contains this entity tag, weak or strong: the client has the
 * current version. `tag` includes its quotes. */
bool organ_http_has_tag(const organ_server_request *request, const char *tag);
/* Sets the Content-Security-Policy of this reply to a static text. Without a call, it is the server's default
 * "default-src 'none'; base-uri 'none'; ...". */
void organ_http_reply_policy(organ_http_reply *reply, const char *content_security_policy);
/* Sets the Content-Security-Policy of a report of this program: a sandbox in which only the script of organ's reports
 * runs, without this server's origin, its cookie and any network. The page of the server shows reports in a frame. */
void organ_http_reply_as_report(organ_http_reply *reply);

/* A reply of unknown length, for example server-sent events. No thread waits for it: `read` writes the bytes that are
 * available, at most `capacity`, to `to`, sets *bytes to their number and never blocks. After `read` returned
 * ORGAN_STREAM_WAIT, the server calls it again after organ_http_wake, and at least every `heartbeat` seconds (0: no
 * heartbeat); `read` can then send a comment, which reveals whether the client is still connected. When the server
 * stops, it ends all streams without another call of `read`. */
typedef enum organ_stream_state { ORGAN_STREAM_DATA, ORGAN_STREAM_WAIT, ORGAN_STREAM_END } organ_stream_state;
typedef struct organ_http_stream {
    organ_stream_state (*read)(void *context, char *to, size_t capacity, size_t *bytes);
    void (*close)(void *context); /* the last call, exactly once, whether the client left or the stream ended; also if
                                     it never began */
    void *context;                /* the first argument of `read` and `close` */
    unsigned heartbeat;           /* in seconds */
} organ_http_stream;
/* Wakes one stream: the server calls its `read` again. May be called from any thread, also while `read` runs, but not
 * after `close` has returned. The server holds none of its locks while it calls `read` and `close`; so these two may
 * take a lock under which other threads call organ_http_wake. */
typedef struct organ_http_waker organ_http_waker;
void organ_http_wake(organ_http_waker *waker);
/* Replies 200 with a stream of the media type `type`. Returns its waker; NULL if memory runs out: then `close` was
 * called and the reply is a 500. */
organ_http_waker *organ_http_reply_stream(organ_http_reply *reply, const char *type, const organ_http_stream *stream);

/* Marks the reply as the rejection of a wrong token: the server delays it for addresses that sent many wrong tokens. */
void organ_http_reply_wrong_token(organ_http_reply *reply);

/* Marks the connection of a request that presented a valid token, or of any request if the server needs no token
 * (token_name ""): the server never closes it to make room for others. `runs`: the token has the role run. The audit
 * log gets the token's name. */
void organ_http_done_by(const organ_server_request *request, const char *token_name, bool runs);
/* Returns the name of the request's token; "" if it has none. */
const char *organ_http_token_name(const organ_server_request *request);
/* Returns the largest number of connections from one network (--per-address). */
unsigned organ_http_network_share(const organ_app *app);
/* Sets the job that the audit log lists for this request, and copies its `id`. Without a call, the log lists the
 * parameter {id} of the route, or no job if the route has none. For requests that create a job. */
void organ_http_about_job(const organ_server_request *request, const char *id);

/* Postpones the reply; for handlers of routes with `waits`. The server calls the handler again when an area has news
 * (organ_http_call_waiting), and `seconds` after the request began at the latest. No thread waits meanwhile. */
void organ_http_reply_later(organ_http_reply *reply, double seconds);
double organ_http_waited(const organ_server_request *request); /* seconds since the request began */

/* ---- functions for handlers ---- */

/* Reads the query parameter `name`, a whole number, to *value; if the query lacks it, sets *value to `fallback`.
 * Returns false after a 400 if the parameter is not a number in [from, to]; the 400 names the parameter, its value and
 * the range. */
bool organ_http_query_count(const organ_server_request *request, organ_http_reply *reply, const char *name,
                            uint64_t from, uint64_t to, uint64_t fallback, uint64_t *value);
#define ORGAN_HTTP_BODY_LIMIT (1u << 20) /* bytes; the server replies 413 to longer bodies */
/* Parses the body as a JSON object without duplicate keys, for the caller to release. Returns NULL after a 400
 * (malformed JSON; the message contains the position), 415 (Content-Type is not application/json) or 500 (no
 * memory). */
json_t *organ_http_body_json(const organ_server_request *request, organ_http_reply *reply);

/* ---- the table of routes ---- */

/* orchestrator/serve/page/open_api.json describes the requests and replies of all routes except the page and its
 * parts. */
typedef struct organ_http_route {
    /* GET answers HEAD too. The server replies 405, with Allow, to methods that no route of the path has. */
    organ_http_method method;
    /* "/api/v1/jobs/{id}/events"; one "{path...}" matches one or more segments: "/api/v1/models/{path...}/tensors".
     * Segments are matched before they are decoded: "%2F" does not separate them. The first matching row is used. */
    const char *pattern;
    void (*handle)(const organ_server_request *request, organ_http_reply *reply);
    bool open;  /* needs no token: for the files that the page needs before the login, and for the login */
    bool waits; /* may block on the disk or on a lock for long: the handler runs on a thread of the queue */
    bool body;  /* accepts a JSON body; other routes reject one */
} organ_http_route;

/* A part of the server. Any function may be NULL. */
typedef struct organ_area {
    const organ_http_route *routes;
    size_t route_count;
    organ_status (*start)(organ_app *app, organ_error *error); /* before the first request */
    void (*drain)(organ_app *app); /* the server is about to stop: it rejects new requests, and still sends replies and
                                    * streams */
    void (*stop)(organ_app *app);  /* no request is left; also after a start that failed */
    void (*metrics)(const organ_app *app, FILE *out); /* lines of Prometheus' text format, with HELP and TYPE */
} organ_area;
#define ORGAN_ROUTES(rows) .routes = rows, .route_count = sizeof(rows) / sizeof *(rows)

/* ---- for areas with work outside of requests ---- */

/* Reports that an area has news: the server calls the handlers of all waiting requests (organ_http_reply_later)
 * again. From any thread. */
void organ_http_call_waiting(const organ_app *app);

/* Writes the current time in the form of RFC 3339 with milliseconds, and returns it in seconds since 1970. */
double organ_http_stamp(char stamp[32]);

/* Writes one metric with its HELP and TYPE lines in Prometheus' text format. `type` is "counter" or "gauge". */
void organ_http_metric(FILE *out, const char *name, const char *type, const char *help, unsigned long long value);

/* Writes a quota as two gauges: NAME is the amount in use, NAME_limit the largest allowed amount, +Inf if `limit` is
 * 0. */
void organ_http_quota(FILE *out, const char *name, const char *help, unsigned long long used, unsigned long long limit);

/* Returns the resident memory of a process in bytes; 0 if unknown. */
unsigned long long organ_http_resident(pid_t pid);

/* Gives the calling thread, and the threads it will start, a lower priority than jobs, which run on the same
 * processors. */
void organ_http_step_back(void);

/* ---- a running server: sockets, threads and limits ---- */

/* ---- replies of libmicrohttpd's own ---- */

/* Our own code answers all requests, with a problem in JSON and the headers for security, except those that
 * libmicrohttpd (0.9.75) rejects before it calls us. For these the library sends a constant HTML page without our
 * headers and without any text of the request, and ends the connection:
 *
 *   400  a request line whose last word is not "HTTP/d.d"; a header or a trailer without a colon; a malformed
 *        chunk length
 *   413  a chunk length above 2^64
 *   414  a target that does not fit into the 32 KiB of a connection
 *   431  headers that do not fit into these 32 KiB
 *   505  HTTP/0.x and HTTP/2.0 to HTTP/9.9
 *
 * A first line of fewer than two words, and a query with more parameters than fit into those 32 KiB, end the
 * connection without a reply. After cookies that do not fit, the library sends the head of the reply twice.
 * request_queue.c answers, once, a malformed Content-Length (400) or one above 2^64 (413), and chunk extensions that do
 * not fit into the 32 KiB (413).
 *
 * libmicrohttpd 1.0 runs in strict mode: it rejects all heads that other programs may parse differently, including
 * malformed lengths, with such a page; for older versions http_head.c rejects these heads. Version 1.0 replies 431 to a
 * query that does not fit. */

typedef struct organ_server organ_server;

/* Opens the root, reads the tokens, listens, starts the areas (parts of the server, a list that ends with NULL) and the
 * threads that accept connections. Copies the options, but not the data they point to, which must outlive the server.
 * Returns ORGAN_USAGE if options contradict each other or the address is malformed, ORGAN_IO if a system call fails,
 * for example because the port is in use. *server is NULL on error. */
organ_status organ_server_open(const organ_serve_options *options, const organ_area *const *areas,
                               organ_server **server, organ_error *error);
/* Returns the server's address, such as "http://127.0.0.1:8935/", with the port that the system chose if port 0 was
 * requested. */
const char *organ_server_url(const organ_server *server);
unsigned organ_server_port(const organ_server *server); /* the port of organ_server_url */
/* Closes connections that are too slow, calls waiting handlers and streams whose time has come, and reads a changed
 * file of tokens. Call it several times a second. */
void organ_server_tick(organ_server *server);
/* Reads the tokens, the certificate and its key again, and reopens the audit log, whose file may have been moved
 * away. Reports on stderr; the previous version of a malformed file remains in use. Call it from the thread that
 * calls organ_server_tick. */
void organ_server_renew(organ_server *server);
/* Accepts no new connections, ends streams, finishes replies in progress (for at most `seconds`), then stops the
 * areas. NULL is allowed. */
void organ_server_close(organ_server *server, unsigned seconds);

/* If the server has a token, every route that is not open requires "Authorization: Bearer TOKEN" or the session cookie;
 * otherwise the server replies 401 with a problem. POST /api/v1/login {"token": T} replies 204 and sets the cookie
 * (HttpOnly, SameSite=Strict), or 401 if the token is wrong. POST /api/v1/logout makes the browser delete the cookie;
 * the session itself stays valid as long as its token. Methods other than GET also require that Origin, if present, is
 * the server's own, and that a body has Content-Type application/json. */
extern const organ_area organ_area_server; /* /healthz, /metrics, /api/v1/login, /api/v1/logout */
extern const organ_area organ_area_files;  /* /files ... */

#endif

/* SPDX-License-Identifier: MIT
 * Private to this folder: the definitions of requests and replies, and functions of the folder's files. */
#ifndef ORGAN_SERVE_HTTP_HTTP_PARTS_H
#define ORGAN_SERVE_HTTP_HTTP_PARTS_H

#include "formats/base/text.h"
#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/http/tls.h"

#include <pthread.h>
#include <sys/queue.h>
#include <time.h>

/* The watch: a list of all open connections with the deadlines of their requests. It disconnects slow senders. If few
 * connections are still allowed, it closes ones without a valid token in favour of newer ones. Thread-safe, except
 * where a comment says otherwise. */

typedef struct organ_connection_watch organ_connection_watch;
/* One connection in the watch; "cut" if the watch has shut it down. */
typedef struct organ_watched organ_watched;

/* Creates a watch. `max` is the largest number of connections, `share` the largest number from one network
 * (organ_peer_network). NULL if out of memory. */
organ_connection_watch *organ_watch_create(size_t max, size_t share);
void organ_watch_destroy(organ_connection_watch *watch);

/* Adds the connection with the socket `fd` and the client address `peer`, which has not presented a valid token yet and
 * has `seconds` for its first request (0: no deadline). NULL if memory runs out. If its network then has more
 * connections than its share, organ_watch_add shuts down the oldest connection of that network without a token, which
 * may be the new one. Otherwise, if less than an eighth of `max` is free, it shuts down the oldest other connection
 * without a token. So clients without a token never keep a new client out. */
organ_watched *organ_watch_add(organ_connection_watch *watch, int fd, const char *peer, unsigned seconds);
void organ_watch_remove(organ_connection_watch *watch, organ_watched *watched); /* before its descriptor is closed */
/* Marks a connection that has presented a valid token, or any connection if the server needs none: the watch never
 * closes it to make room. An eighth of `max` and of `share` is reserved for owners of tokens that may run jobs
 * (`runs`), so that they can always cancel a job. Returns false, without a mark, for a connection of others that would
 * use this reserve. */
bool organ_watch_admit(organ_connection_watch *watch, organ_watched *watched, bool runs);
bool organ_watched_admitted(const organ_watched *watched); /* organ_watch_admit was called for it */
/* Returns whether the watch has shut the connection down: the client does not receive its reply. */
bool organ_watched_is_cut(const organ_watched *watched);
/* Sets the deadline of a connection to `seconds` from now; 0: no deadline. */
void organ_watch_until(organ_connection_watch *watch, organ_watched *watched, unsigned seconds);
/* Attaches a pointer (NULL: none) to the connection and returns the one attached before, at first NULL. Also records
 * the calling thread as the thread of the connection; no other thread may call this function for the connection. */
void *organ_watched_hold(organ_watched *watched, void *held);
/* Calls `watch_one` with `context` and the attached pointer of each connection of the calling thread that has one. */
void organ_watch_own(organ_connection_watch *watch, void (*watch_one)(void *context, void *held), void *context);
const char *organ_watched_peer(const organ_watched *watched); /* address of the client */
/* Returns the number of open connections. */
size_t organ_watch_count(organ_connection_watch *watch);
size_t organ_watch_max_of_one(organ_connection_watch *watch);  /* connections of the network with the most */
uint64_t organ_watch_displaced(organ_connection_watch *watch); /* connections closed to make room, since the start */

/* Shuts down all connections whose deadline has passed and calls `report` with `context` for each; if `report` is NULL,
 * shuts down all connections and reports none. Also makes libmicrohttpd close connections that their clients have
 * closed in the middle of a request: the library does not detect a close that arrives together with the last bytes. */
void organ_watch_tick(organ_connection_watch *watch, void (*report)(void *context, const char *peer), void *context);

/* ---- loading libmicrohttpd ---- */

/* Loads libmicrohttpd when a server is opened. The library depends on ten others for TLS, which runs without a
 * server should not load. */

/* The functions of the library that the server calls, named without "MHD_". Valid once organ_daemon_library_open has
 * succeeded. */
/* clang-format off */
#define ORGAN_MHD_FUNCTIONS(F) \
    F(MHD_start_daemon, start_daemon) \
    F(MHD_quiesce_daemon, quiesce_daemon) \
    F(MHD_stop_daemon, stop_daemon) \
    F(MHD_get_version, get_version) \
    F(MHD_is_feature_supported, is_feature_supported) \
    F(MHD_get_reason_phrase_for, get_reason_phrase_for) \
    F(MHD_get_connection_info, get_connection_info) \
    F(MHD_get_connection_values, get_connection_values) \
    F(MHD_lookup_connection_value, lookup_connection_value) \
    F(MHD_suspend_connection, suspend_connection) \
    F(MHD_resume_connection, resume_connection) \
    F(MHD_create_response_from_buffer, create_response_from_buffer) \
    F(MHD_create_response_from_callback, create_response_from_callback) \
    F(MHD_create_response_from_fd_at_offset64, create_response_from_fd_at_offset64) \
    F(MHD_add_response_header, add_response_header) \
    F(MHD_queue_response, queue_response) \
    F(MHD_destroy_response, destroy_response)
/* clang-format on */
typedef struct organ_mhd_functions {
    ORGAN_MHD_FUNCTIONS(ORGAN_LIBRARY_MEMBER)
} organ_mhd_functions;
extern organ_mhd_functions organ_mhd;

/* Loads the library, once per process. Returns ORGAN_IO if loading fails; later calls then fail as well. */
organ_status organ_daemon_library_open(organ_error *error);

/* Largest numbers of fields in a query, of parameters of a route, and of headers that a handler adds to a reply. */
enum { MAX_FIELDS = 32, MAX_PARAMETERS = 4, MAX_REPLY_HEADERS = 12 };

/* Name and value, both in memory of the request or of the connection. */
typedef struct organ_http_field {
    const char *name, *value;
} organ_http_field;

/* The source of the body of a reply. */
typedef enum organ_reply_kind {
    REPLY_NONE,     /* no handler has filled the reply yet */
    REPLY_BYTES,    /* `bytes`, on the heap */
    REPLY_CONSTANT, /* `data`, static */
    REPLY_FILE,     /* a range of `fd` */
    REPLY_STREAM,   /* `waker`: a stream of unknown length */
    REPLY_LATER     /* none yet: the handler called organ_http_reply_later and will be called again */
} organ_reply_kind;

struct organ_http_reply {
    organ_reply_kind kind;
    unsigned status;
    const char *type; /* media type, static; NULL: no Content-Type */
    char *bytes;      /* REPLY_BYTES: to be freed */
    const void *data; /* REPLY_CONSTANT */
    size_t size; /* length of the body in bytes; REPLY_FILE: set by organ_http_send; REPLY_STREAM: bytes sent so far */
    int fd;      /* REPLY_FILE: open file, closed with the reply; else -1 */
    uint64_t from, run; /* REPLY_FILE: offset of the first byte, and number of bytes to send */
    /* Seconds after the request began: REPLY_LATER: the latest time at which the handler is called again; other
     * replies: the time at which a delayed reply is sent (organ_request_queue_delay). */
    double later;
    organ_http_waker *waker;                     /* REPLY_STREAM */
    const char *policy;                          /* Content-Security-Policy, static; NULL: the default of send.c */
    organ_http_field headers[MAX_REPLY_HEADERS]; /* names and values are freed with the reply */
    size_t header_count;
    bool wrong_token; /* the reply rejects a wrong token; send_or_delay may delay it */
    char why[400];    /* detail of a problem, for the log of requests; "": none */
};

/* How far the server is with a request. */
typedef enum organ_request_state {
    REQUEST_NEW,     /* the head is being received */
    REQUEST_BODY,    /* the head was accepted; the body is being received */
    REQUEST_IN_POOL, /* in the request queue (queued, parked or being handled), the connection suspended */
    REQUEST_READY,   /* the queue has finished it: the reply can be sent */
    REQUEST_QUEUED   /* the reply was given to the library */
} organ_request_state;

typedef struct organ_server organ_server;

/* Facts about a request that the guard and handlers set. The request itself is const for them. */
typedef struct organ_request_account {
    bool admitted;       /* the request has a valid token, or the server needs none */
    bool runs;           /* the token has the role run, or the server needs none */
    char token_name[64]; /* of the valid token; "": none */
    char job[40];        /* the job that the audit log lists; "": none */
} organ_request_account;

struct organ_server_request {
    organ_server *server;
    organ_app *app; /* server->app */
    bool requested; /* the library has called organ_http_on_request once after the last byte of the body */
    bool delayed;   /* the reply is complete, but the queue sends it later (organ_request_queue_delay) */
    bool counted;   /* server->answering includes this request */
    struct MHD_Connection *connection;
    organ_request_state state;
    double began;     /* time of the first line, in seconds of organ_seconds_now */
    char *target;     /* path and query as received, a copy */
    const char *line; /* the target in the memory of the library, between the other parts of the first line */
    char *path;       /* the decoded path without a trailing slash */
    char verb[16];    /* the method as received */
    char address[64]; /* address of the client: the peer's, or the one reported by a trusted proxy */
    organ_request_account *account; /* allocated and freed with the request */
    organ_http_method method;
    bool head;                                   /* the request has the method HEAD; `method` is then GET */
    const organ_http_route *route;               /* NULL until organ_http_routed has found it */
    organ_http_field parameters[MAX_PARAMETERS]; /* names and values are freed with the request */
    size_t parameter_count;
    char *query_text; /* memory of the names and values in `query` */
    organ_http_field query[MAX_FIELDS];
    size_t query_count;
    char *body; /* the first body_bytes bytes and a NUL, in body_capacity bytes of memory; NULL: nothing received */
    size_t body_bytes, body_capacity;
    bool body_too_long;     /* longer than ORGAN_HTTP_BODY_LIMIT, or there was no memory for it */
    organ_watched *watched; /* the request's connection, as server->watch keeps it */
    organ_http_reply reply;
    struct organ_server_request *next; /* link in `first` or `parked` of the request queue */
};

/* ---- http_head.c: rejects ambiguous heads ---- */

/* Checks the head of a request. `verb` (the method) and `version` must point into the library's buffer, whose bytes
 * around them are checked too. Returns false after a 400, which ends the connection. */
bool organ_http_head_passes(organ_server_request *request, const char *verb, const char *version);
/* Returns true if this version of libmicrohttpd can reject ambiguous heads itself (1.0 and later). */
bool organ_http_library_is_strict(void);

/* ---- http_head.c: path, query, headers and body ---- */

/* Splits the target into path and query and decodes both. Returns false after a 400 or 500. */
bool organ_http_target_read(organ_server_request *request);
/* Decodes one segment or value in place, each %XX once; with `form` also "+" to a blank. Returns NULL on success,
 * otherwise a description of the error. */
const char *organ_http_decode(char *text, bool form);

/* ---- routing.c ---- */

extern const char *const organ_http_method_names[ORGAN_HTTP_METHODS]; /* "GET", "POST", "DELETE" */

/* Finds the route by method and path, and fills the parameters. Returns false after a 404, 405 or 500. */
bool organ_http_routed(organ_server_request *request);

/* ---- http_head.c ---- */

/* Discards the current content of the reply. */
void organ_http_reply_clear(organ_http_reply *reply);
/* Closes the stream of the waker and frees the waker. */
void organ_http_waker_discard(organ_http_waker *waker);

/* ---- send.c ---- */

/* Gives the reply to the library, which sends it. Returns MHD_NO if memory runs out; the library then closes the
 * connection. */
enum MHD_Result organ_http_send(organ_server_request *request);
/* Writes a reply of kind REPLY_BYTES directly to the socket, in place of the answer of the library, which has rejected
 * the request. Then shuts down the sending side, so that the client does not receive the library's answer. */
void organ_http_send_at_once(organ_server_request *request);

/* ---- request_queue.c ---- */

/* Replies in place of the library to the request that it rejects with this status, if the request can be found and the
 * library's answer would be wrong. Must be called in the thread of the connection, when the library logs the
 * rejection. */
void organ_http_refused(organ_server *server, unsigned status);

/* ---- guard.c, request_queue.c, send.c ---- */

/* Wakes streams whose last read was at least their heartbeat ago; all streams if the server stops. */
void organ_http_streams_tick(organ_server *server);

/* ---- counters of the server for /metrics ---- */

/* Counters of the server for /metrics. Thread-safe. */

typedef struct organ_request_tally organ_request_tally;

organ_request_tally *organ_tally_create(void); /* NULL if memory runs out */
void organ_tally_destroy(organ_request_tally *tally);

/* Counts one finished request that took `seconds`; `route` is NULL if none matched. */
void organ_tally_request(organ_request_tally *tally, const organ_http_route *route, unsigned status, double seconds);
void organ_tally_bytes(organ_request_tally *tally, uint64_t bytes); /* adds bytes of sent bodies */
/* Counts a new connection; does nothing if `opened` is false. */
void organ_tally_connection(organ_request_tally *tally, bool opened);
/* Counts a connection that was closed because its request took too long to arrive. */
void organ_tally_slow(organ_request_tally *tally);

/* Writes the counts, and the resident memory of the process, in Prometheus' text format. */
void organ_tally_print(organ_request_tally *tally, FILE *out);

/* ---- threads for handlers that may block ---- */

/* Threads that call handlers which may block. The request's connection is suspended meanwhile, so that the threads of
 * libmicrohttpd never wait. The queue also keeps requests that wait for news (organ_http_call_waiting) or for a
 * time; these occupy no thread. */

typedef struct organ_request_queue organ_request_queue;

/* Creates the queue with `threads` threads. At most `max` requests may wait, for a thread or for news. Returns ORGAN_IO
 * if a thread cannot be started. */
organ_status organ_request_queue_create(size_t threads, size_t max, organ_request_queue **queue, organ_error *error);
void organ_request_queue_destroy(organ_request_queue *queue); /* no request may be left; NULL is allowed */

/* Suspends the request's connection, runs the handler on a thread of the queue and resumes the connection. Returns
 * false and does nothing if too many requests wait already: `max`, or seven eighths of it if the request's token has
 * not the role run. */
bool organ_request_queue_add(organ_request_queue *queue, organ_server_request *request);

/* Suspends the request's connection and sends the reply, which the request already has, `seconds` after the request
 * began. The request does not count as waiting. Returns false and does nothing after organ_request_queue_stop. */
bool organ_request_queue_delay(organ_request_queue *queue, organ_server_request *request, double seconds);

/* Calls again the handlers that called organ_http_reply_later and whose time has come, and sends delayed replies whose
 * time has come. Call it several times a second. organ_http_call_waiting calls all waiting handlers at once. */
void organ_request_queue_tick(organ_request_queue *queue);
/* From now on replies 503 to each request whose handler postpones its reply (organ_http_reply_later), calls all waiting
 * handlers, and sends delayed replies at once. NULL is allowed. */
void organ_request_queue_stop(organ_request_queue *queue);

/* Returns in *now the number of requests that wait for a thread or for news, and in *max the largest number allowed. */
void organ_request_queue_length(organ_request_queue *queue, size_t *now, size_t *max);

/* Returns true if the queue has any request: one that waits or whose handler runs. Returns false for NULL. */
bool organ_request_queue_busy(organ_request_queue *queue);

/* ---- which requests are answered: checks of Host, Origin and token ---- */

#define ORGAN_SESSION_COOKIE "organ_session" /* name of the cookie */

/* Properties of the server that the checks use. */
typedef struct organ_guard {
    char address[64];         /* the address the server listens on, in the form used in URLs: "127.0.0.1", "[::1]" */
    bool any_address;         /* the server listens on all addresses of the machine: any address is a valid host */
    const organ_words *hosts; /* further names of the server, from --host */
    bool encrypted;           /* the server encrypts connections itself: its own origin begins with https */
    organ_tokens *tokens;     /* NULL: no token is required */
} organ_guard;

/* Returns true if `host` ("127.0.0.1:8935", "localhost", "[::1]:8935") names this server; the port is ignored. */
bool organ_guard_host(const organ_guard *guard, const char *host);
/* Runs all checks for a request after organ_http_routed. Returns false after a 400, 401, 403 or 421. */
bool organ_guard_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply);

/* ---- trusted proxies: which X-Forwarded-For headers the server uses ---- */

/* One network. An IPv4 address is in its IPv6 form (::ffff:a.b.c.d). */
typedef struct organ_network {
    unsigned char address[16]; /* in network byte order; the bits after the prefix are 0 */
    unsigned bits;             /* length of the prefix, of 128; for IPv4 the 96 bits before the address count too */
} organ_network;

/* The networks of --trusted-proxy. */
typedef struct organ_proxies {
    organ_network networks[ORGAN_MAX_WORDS];
    size_t count;
} organ_proxies;

/* Parses words such as "10.0.0.0/8", "192.0.2.1", "2001:db8::/32". Returns ORGAN_USAGE if one is malformed or has bits
 * set after its prefix. */
organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error);

/* Writes the address of the client to `address`, which has `size` bytes. `peer` is the address that sent the request;
 * `forwarded` has the values of its X-Forwarded-For headers, joined by ',', or is NULL. Each proxy appends the address
 * from which it received the request. So the function starts with `peer` and continues with the list from its end. The
 * first address that is not of a trusted proxy is the client. The search also ends at the beginning of the list, and
 * before an entry that is not an address; the last address read is then the client. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size);

/* ---- wrong tokens ---- */

/* Counts wrong tokens by network (organ_peer_network) and computes how long the server delays the answers to them. Uses
 * a table of fixed size. Thread-safe. */

typedef struct organ_penalty organ_penalty;

organ_penalty *organ_penalty_create(void); /* NULL if memory runs out */
void organ_penalty_destroy(organ_penalty *penalty);

/* Counts a wrong token from the address `peer` and returns the seconds to wait before the answer. Addresses of one
 * network share a count. The first three wrong tokens have no delay, the fourth 0.25 s, each further one twice the
 * delay before it, up to 8 s. Five minutes without a wrong token reset the count. Networks whose hashes select the same
 * entry of the table share a count. */
#define ORGAN_PENALTY_MAX_SECONDS 8.0
double organ_penalty_add(organ_penalty *penalty, const char *peer);

/* Returns the longest delay, in seconds, that the next wrong token of any address would get now. */
double organ_penalty_longest(organ_penalty *penalty);

/* ---- the audit log ---- */

/* The audit log: one line of JSON for each answered request. All functions may be called from any thread. */

typedef struct organ_audit_log organ_audit_log;

/* One answered request. An empty token or job is written as null. */
typedef struct organ_audit_entry {
    const char *address;       /* of the client */
    const char *token;         /* name of the token, never the token itself */
    const char *method, *path; /* as received; the path has its query */
    const char *job;           /* id */
    unsigned status;           /* of HTTP */
} organ_audit_entry;

/* Opens the file for appending. Creates a missing file with access for its owner only. Returns ORGAN_IO if it cannot be
 * opened; *audit is NULL then. */
organ_status organ_audit_log_open(const char *file, organ_audit_log **audit, organ_error *error);
void organ_audit_log_close(organ_audit_log *audit); /* NULL is allowed */

/* Opens the file with the same name again, for use after log rotation moved the old file away. On an error the log
 * keeps writing to the old file. */
organ_status organ_audit_log_reopen(organ_audit_log *audit, organ_error *error);

/* Writes one line, with the current time. A line that cannot be written is counted as lost; the first of a series is
 * reported on stderr. The server keeps running. */
void organ_audit_log_write(organ_audit_log *audit, const organ_audit_entry *entry);
/* Returns the number of lines since organ_audit_log_open that could not be written. */
unsigned long long organ_audit_log_lost(organ_audit_log *audit);

/* ---- the server and the wakers of its streams ---- */

/* A stream that is being sent. Its connection is suspended while there is nothing to send; organ_http_wake resumes it.
 * `lock` guards suspended, woken and last. */
struct organ_http_waker {
    pthread_mutex_t lock;
    organ_http_stream stream;
    struct organ_server *server; /* NULL until the reply is sent */
    struct MHD_Connection *connection;
    struct organ_request_tally *tally;
    size_t *sent;                       /* bytes sent so far: reply.size of the request, which outlives every read */
    bool suspended;                     /* the connection is suspended */
    bool woken;                         /* organ_http_wake was called since the last read began */
    double last;                        /* time of the last read, in seconds of organ_seconds_now */
    LIST_ENTRY(organ_http_waker) entry; /* in server->streams */
};

/* One server; organ_server_open makes it. */
struct organ_server {
    organ_app app;
    organ_serve_options options;
    organ_guard guard;
    organ_proxies proxies;
    organ_audit_log *audit; /* NULL: none */
    organ_tls *tls;         /* NULL: not encrypted */
    char url[96];
    unsigned port;
    int listener;   /* the listening socket; -1: none */
    size_t started; /* number of areas that were started */
    organ_request_tally *tally;
    organ_penalty *penalty;
    organ_connection_watch *watch;
    organ_request_queue *queue;
    struct MHD_Daemon *daemon;
    int stopping;        /* atomic; 1 once organ_server_close was called: new requests get 503, streams end */
    uint64_t body_bytes; /* atomic: bytes allocated for the bodies of all requests */
    unsigned answering;  /* atomic: requests that arrived completely and whose reply was not sent completely */
    pthread_mutex_t stream_lock;
    LIST_HEAD(, organ_http_waker) streams; /* all open streams; stream_lock guards the list and the count */
    size_t stream_count;
};

/* ---- a request from its first line to its last byte ---- */

/* A request from its first line to its last byte: the callbacks of libmicrohttpd (MHD). In all of them `context` is the
 * organ_server. The library keeps two pointers for us: the connection's organ_watched (*watched) and the request's
 * organ_server_request (*request). */

/* Adds a new connection to server->watch and sets *watched, or removes a closed one. `code` distinguishes the two. */
void organ_http_on_connection(void *context, struct MHD_Connection *connection, void **watched,
                              enum MHD_ConnectionNotificationCode code);
/* Begins a request, whose first line was read. Returns the new organ_server_request, NULL if memory runs out. */
void *organ_http_on_target(void *context, const char *target, struct MHD_Connection *connection);
/* Continues a request when its head, a part of its body (`data`) or the whole request was read. The function sets
 * *bytes, the number of bytes in `data`, to 0 when it has used them. Returns MHD_NO to close the connection. */
enum MHD_Result organ_http_on_request(void *context, struct MHD_Connection *connection, const char *target,
                                      const char *verb, const char *version, const char *data, size_t *bytes,
                                      void **request);
/* Logs and frees the request, whose reply was sent or whose connection was lost (`code`). */
void organ_http_on_end(void *context, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
/* Leaves `text` unchanged and returns its length: the server decodes paths and queries itself. */
size_t organ_http_on_unescape(void *context, struct MHD_Connection *connection, char *text);
/* Writes a message of the library to stderr. If it reports a rejected request, replies in place of the library
 * (organ_http_refused). */
void organ_http_on_message(void *context, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
/* Counts and logs a connection from the address `peer` that server->watch has closed because its request did not arrive
 * in time. */
void organ_http_on_slow(void *context, const char *peer);

/* ---- the network of a client ---- */

/* The network that a client's address belongs to. Limits and penalties apply to a network, because one client can
 * choose among its addresses. */

enum { ORGAN_PEER_NETWORK_ROOM = 64 }; /* bytes for the text of a network, with its NUL */

/* Writes the network of the address `peer`: "192.0.2.0/24" for 192.0.2.7 and for ::ffff:192.0.2.7, "2001:db8:0:1::/64"
 * for 2001:db8:0:1::7. Copies `peer` if it is not an address. */
void organ_peer_network(const char *peer, char network[ORGAN_PEER_NETWORK_ROOM]);

/* ---- the listening socket ---- */

/* An open listening socket and its address. */
typedef struct organ_listening {
    int fd;           /* for the caller to close; -1 on an error */
    char address[64]; /* in the form used in URLs: "127.0.0.1", "[::1]" */
    unsigned port;
    bool loopback; /* only programs on this machine reach it */
    bool any;      /* it listens on all addresses of the machine */
} organ_listening;

#endif

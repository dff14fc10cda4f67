/* SPDX-License-Identifier: MIT
 * Sends HTTP requests one by one, follows redirects and returns the answers, which http_source.c interprets. */
#ifndef ORGAN_REMOTE_HTTP_REQUEST_H
#define ORGAN_REMOTE_HTTP_REQUEST_H

#include "formats/base/text.h"

#include <curl/curl.h>
#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ORGAN_HTTP_VALIDATOR 256        /* bytes of an ETag or a date with its NUL; a longer one is cut */
#define ORGAN_HTTP_MIN_RATE  (32 << 10) /* bytes per second that a transfer must reach after its `seconds` */

/* A client that reuses connections for several requests, by one thread at a time. */
typedef struct organ_http_line organ_http_line;

/* A GET request. */
typedef struct organ_http_request {
    const char *url;        /* the URL to request: origin_url, or the remembered target of its redirect */
    const char *origin_url; /* the URL of the file on the server that the user named; the user's headers are sent only
                               to its scheme, host and port */
    /* true: request the bytes [from, from + capacity); false: the whole file, of at most `capacity` bytes */
    bool ranged;
    uint64_t from;
    size_t capacity;
    double seconds; /* time limit in seconds, plus one second for each ORGAN_HTTP_MIN_RATE bytes received */
    char *buffer;   /* memory of `capacity` bytes for the body; if NULL, answer.body grows with the received bytes */
} organ_http_request;

/* The result of a request: the answer of the server, or the reason why there is none. */
typedef struct organ_http_answer {
    bool broken;    /* the answer is incomplete; `fault` has the reason */
    bool hopeless;  /* repeating the request would not help */
    bool stopped;   /* access->stopped returned true */
    bool too_long;  /* the server sent more than request.capacity bytes */
    long code;      /* HTTP status of the last hop; 0 if there was no answer */
    size_t got;     /* bytes of the body received, also of an answer that broke off */
    bool has_range; /* the answer has a valid Content-Range: it contains the bytes [first, last] of a file of `total`
                       bytes */
    uint64_t first, last, total;          /* file offsets of the first and last byte, bytes of the file */
    bool encoded;                         /* the answer has a Content-Encoding other than identity */
    unsigned retry_after;                 /* seconds that the server asks to wait; 0 if it does not */
    char validator[ORGAN_HTTP_VALIDATOR]; /* ETag, else Last-Modified, else "" */
    char fault[256];                      /* why the answer is broken: part of a sentence; else "" */
    char *body;                           /* the body if request.buffer is NULL; the caller frees it */
    char *resolved; /* URL of the last hop if there was a redirect, else NULL; the caller frees it */
} organ_http_answer;

/* Creates a client. `access` (NULL for the defaults) must outlive it. Returns ORGAN_USAGE if a header of `access` is
 * not "Name: value" (the message does not repeat the value), ORGAN_IO if memory is exhausted or libcurl cannot be
 * loaded. */
organ_status organ_http_line_open(const organ_model_access *access, organ_http_line **line, organ_error *error);
void organ_http_line_close(organ_http_line *line); /* NULL is allowed */

/* Sends a request, follows redirects and receives the answer; reports failures in *answer. Stores only the bodies of
 * answers with status 200 and 206.
 *
 * Does not follow a redirect from a server with a public address to one without: only the user may choose requests
 * inside the user's own network. Follows no redirect to a link-local address or to another address from which a
 * cloud serves a machine's credentials (organ_reach). The check uses the address of the connection, not the host
 * name in the URL; behind a proxy, which resolves host names itself, only numeric addresses can be checked. */
void organ_http_ask(organ_http_line *line, const organ_http_request *request, organ_http_answer *answer);

/* ---- addresses that a redirect may lead to ---- */

/* organ rejects a redirect from a public server to any address that is not public, and a redirect from any server to a
 * link-local address. */

/* Kind of an address, by the network from which it can be reached. */
typedef enum organ_reach {
    ORGAN_REACH_PUBLIC, /* public internet */
    ORGAN_REACH_INSIDE, /* loopback, private, shared (carrier), multicast and reserved addresses of IPv4 and IPv6; all
                           other address families */
    ORGAN_REACH_LINK, /* link-local: 169.254.0.0/16, fe80::/10; also other addresses from which clouds serve a machine's
                         credentials */
} organ_reach;

/* Classifies an address. An IPv4 address within one of IPv6 (mapped, compatible, NAT64, 6to4) counts as that IPv4
 * address. */
organ_reach organ_http_address_reach(const struct sockaddr *address);

/* Classifies an address in text, in the form in which libcurl reports the address of a connection: "192.0.2.1",
 * "2001:db8::1", with or without brackets. Returns ORGAN_REACH_INSIDE for a text that is not an address. */
organ_reach organ_http_text_reach(const char *text);

/* Returns true if the text is an address and no host name. */
bool organ_http_is_address(const char *text);

/* ---- libcurl, loaded with the first URL ---- */

/* It needs thirty other libraries, whose loading takes half of the time of a short run. */

/* The functions of libcurl under their names without "curl_". Valid after organ_curl_open has succeeded. */
/* clang-format off */
#define ORGAN_CURL_FUNCTIONS(F) \
    F(curl_easy_init, easy_init) \
    F(curl_easy_setopt, easy_setopt) \
    F(curl_easy_perform, easy_perform) \
    F(curl_easy_getinfo, easy_getinfo) \
    F(curl_easy_strerror, easy_strerror) \
    F(curl_easy_cleanup, easy_cleanup) \
    F(curl_easy_escape, easy_escape) \
    F(curl_easy_unescape, easy_unescape) \
    F(curl_slist_append, slist_append) \
    F(curl_slist_free_all, slist_free_all) \
    F(curl_url, url) \
    F(curl_url_set, url_set) \
    F(curl_url_get, url_get) \
    F(curl_url_cleanup, url_cleanup) \
    F(curl_free, free) \
    F(curl_global_init, global_init) \
    F(curl_share_init, share_init) \
    F(curl_share_setopt, share_setopt) \
    F(curl_share_cleanup, share_cleanup)
/* clang-format on */
typedef struct organ_curl_functions {
    ORGAN_CURL_FUNCTIONS(ORGAN_LIBRARY_MEMBER)
} organ_curl_functions;
extern organ_curl_functions organ_curl; /* the loaded functions */

/* Loads and initialises libcurl, once for the process. Returns ORGAN_IO if that fails; all later calls then fail as
 * well. Thread-safe. */
organ_status organ_curl_open(organ_error *error);

/* Makes the handle trust the certificate authorities of the file that the environment variable SSL_CERT_FILE names,
 * else those of libcurl's own file, else those of the first file found where systems have one. Returns false and writes
 * the reason, part of a sentence, to `why` if no certificate can be checked. */
bool organ_http_set_authorities(CURL *curl, char *why, size_t size);

#endif

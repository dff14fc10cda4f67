/* SPDX-License-Identifier: MIT
 * For tests: a server over a generated root, and a client that sends raw bytes. Every function ends the test on a
 * failure. */
#ifndef SERVE_RIG_H
#define SERVE_RIG_H

#include "orchestrator/serve/http/http.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Makes a scratch directory with "root" in it: root/text.txt "0123456789"; root/report.html, a page; root/blue
 * flower.md, a name with a blank; root/empty; root/folder/inner.txt; root/.hidden, not listed; the links root/leak ->
 * ../outside, root/etc -> /etc, root/linked/model.safetensors -> ../../outside; root/pipe, a FIFO; root/model.gguf,
 * malformed; root/tiny, a copy of fixtures/tiny-qwen2; root/q8.gguf, its GGUF form; and outside of root the file
 * "outside" with "secret". */
void serve_root_make(void);
void serve_root_remove(void);

/* Starts a server over it on any port; members of `options` that are 0 get their defaults. One server at a time. */
void serve_begin(organ_serve_options options);
void serve_end(void); /* replies in progress have 5 seconds */
void serve_end_within(unsigned seconds);
unsigned serve_port(void);
/* Does what SIGHUP does. */
void serve_renew(void);
/* Writes the file "token", readable by its owner only. */
void serve_tokens(const char *text);

/* An answer. */
typedef struct served {
    int status; /* 0: no answer, or none that begins like HTTP */
    char *all;  /* with the headers, NUL-terminated */
    size_t bytes;
    const char *body; /* within `all` */
    size_t body_bytes;
} served;

/* Calls recv again when it ends early because the process was stopped and continued, which happens on a socket with a
 * timeout even without a handler. */
ssize_t serve_receive(int fd, void *to, size_t room, int flags);
/* Sends bytes on a new connection and reads until the server closes it, at most 60 seconds. `ends`: closes the sending
 * side afterwards. */
served send_bytes(const char *bytes, size_t length, bool ends);
/* Sends a request with the line "GET /path", Host, Connection: close and further header lines ("A: b\r\n", may be "").
 * `body` may be NULL. */
served ask_for(const char *line, const char *headers, const char *body);
void served_free(served *answer);
bool has_header(const served *answer, const char *line); /* line: such as "ETag: " or "Allow: GET, HEAD\r\n" */
/* Returns the value of a header in a static buffer, "" if there is none. */
const char *header_of(const served *answer, const char *name);

/* Waits until /metrics contains the text: requests are counted when they end, which the server may notice a little
 * later than the client. */
void expect_metric(const char *text);

/* Calls ask_for and checks the status, that the body contains `part` (NULL: any), and the headers of all replies. */
void expect_answer(const char *line, const char *headers, const char *body, int status, const char *part);
/* Returns the JSON of an answer with status 200, which the caller releases. */
json_t *expect_json(const char *line);

/* Opens a connection to the server; serve_connect_from does so from this loopback address, such as "127.1.2.3". */
int serve_connect(void);
int serve_connect_from(const char *address);

/* Sends GET /healthz on a connection from this address, which stays open in *fd. Returns the status of the answer, 0 if
 * the server closed the connection. */
int serve_status_on(const char *address, int *fd);
int serve_status_from(const char *address); /* the same, and closes the connection */
/* Repeats the request until the answer is 200: a connection that a client has closed counts until the server removes
 * it. */
void serve_is_reached(void);

#endif

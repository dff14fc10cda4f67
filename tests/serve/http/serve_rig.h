/* SPDX-License-Identifier: MIT
 * For tests: a server over a root that is made up, and a client that sends bytes as they are. Every function ends the
 * test if the system refuses. */
#ifndef SERVE_RIG_H
#define SERVE_RIG_H

#include "orchestrator/serve/http/http.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A scratch directory with "root" in it:
 *   root/text.txt        "0123456789"
 *   root/report.html     a page
 *   root/blue flower.md  a name with a blank
 *   root/empty
 *   root/folder/inner.txt
 *   root/.hidden         not shown
 *   root/leak -> ../outside, root/etc -> /etc, root/linked/model.safetensors -> ../../outside
 *   root/pipe            a FIFO
 *   root/model.gguf      junk
 *   root/tiny            a copy of fixtures/tiny-qwen2, root/q8.gguf of its GGUF
 *   outside              "secret"  */
void serve_root_make(void);
void serve_root_remove(void);

/* Starts a server over it, on any port; members of `options` that are 0 are usual ones. One at a time. */
void serve_begin(organ_serve_options options);
void serve_end(void); /* replies that are under way have 5 seconds */
void serve_end_within(unsigned seconds);
unsigned serve_port(void);
/* What SIGHUP does. */
void serve_renew(void);
/* Writes the file "token", for its owner alone. */
void serve_tokens(const char *text);

/* What came back. */
typedef struct served {
    int status; /* 0: nothing, or nothing that begins like HTTP */
    char *all;  /* with the headers, NUL behind it */
    size_t bytes;
    const char *body; /* in it */
    size_t body_bytes;
} served;

/* recv, which ends early where the process was stopped and goes on: it does on a socket with a limit of time, without a
 * handler too. */
ssize_t serve_receive(int fd, void *to, size_t room, int flags);
/* Sends bytes on a connection of its own and reads until the server ends it, 60 seconds at most. `ends`: says after
 * them that no more will come. */
served send_bytes(const char *bytes, size_t length, bool ends);
/* A request of one line, "GET /path", with Host, Connection: close and further header lines ("A: b\r\n", may be "").
 * `body` may be NULL. */
served ask_for(const char *line, const char *headers, const char *body);
void served_free(served *answer);
bool has_header(const served *answer, const char *line); /* "ETag: ", "Allow: GET, HEAD\r\n" */
/* The value of a header in a static buffer, "" if there is none. */
const char *header_of(const served *answer, const char *name);

/* /metrics has the text soon: requests are counted when they end, which the server may learn of a little later than the
 * client. */
void expect_metric(const char *text);

/* ask_for, which must give this status, a body with `part` in it (NULL: any), and the headers that all replies have. */
void expect_answer(const char *line, const char *headers, const char *body, int status, const char *part);
/* The JSON of a 200, to be released. */
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

/* SPDX-License-Identifier: MIT */
#include "tests/kit/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define NOISE           ((size_t)1 << 20)
#define FOLDER          "/some/where/"

struct http_server {
    const served_file *files;
    size_t count;
    int listener, holder, port;
    pthread_t acceptor, workers[MAX_CONNECTIONS];
    int sockets[MAX_CONNECTIONS]; /* -1: closed */
    size_t connected;
    pthread_mutex_t lock; /* for all members below */
    bool stopping;
    http_manners manners;
    long requests;
    uint64_t sent, call_at;
    void (*call)(void);
    char authorization[256], token[256];
};

typedef struct connection {
    http_server *server;
    size_t number;
} connection;

/* A client's request. */
typedef struct question {
    char path[512], authorization[256], token[256];
    bool ranged;
    uint64_t first, last;
} question;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

/* Returns BF16 numbers of moderate size with a period that no row length divides. */
static const unsigned char *noise(void)
{
    static unsigned char table[NOISE];
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    static bool made;
    pthread_mutex_lock(&once);
    uint64_t state = 88172645463325252u;
    for (size_t k = 0; !made && k + 1 < NOISE; k += 2) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const uint16_t word = (uint16_t)((state >> 32 & 0x8000) | (0x3c00 + (state >> 20 & 0x01ff)));
        memcpy(table + k, &word, 2);
    }
    made = true;
    pthread_mutex_unlock(&once);
    return table;
}

void http_content(const served_file *file, uint64_t offset, void *to, size_t bytes)
{
    const unsigned char *table = noise();
    char *out = to;
    while (bytes > 0) {
        size_t part;
        if (offset < file->head_size) {
            part = file->head_size - (size_t)offset < bytes ? file->head_size - (size_t)offset : bytes;
            memcpy(out, file->head + offset, part);
        } else {
            const size_t period = NOISE - 6, at = (size_t)((offset - file->head_size) % period);
            part = period - at < bytes ? period - at : bytes;
            memcpy(out, table + at, part);
        }
        out += part, offset += part, bytes -= part;
    }
}

static bool put(int to, const void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t sent = send(to, (const char *)data + done, bytes - done, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        done += (size_t)sent;
    }
    return true;
}

/* Reads one line without its end; returns false at the end of the connection. */
static bool get_line(FILE *in, char *line, size_t size)
{
    if (!fgets(line, (int)size, in))
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static bool get_question(FILE *in, question *q)
{
    char line[4096];
    *q = (question){0};
    if (!get_line(in, line, sizeof line) || sscanf(line, "GET %511s", q->path) != 1)
        return false;
    while (get_line(in, line, sizeof line) && line[0]) {
        if (strncasecmp(line, "Range: bytes=", 13) == 0)
            q->ranged = sscanf(line + 13, "%" SCNu64 "-%" SCNu64, &q->first, &q->last) == 2;
        else if (strncasecmp(line, "Authorization: ", 15) == 0)
            snprintf(q->authorization, sizeof q->authorization, "%.255s", line + 15);
        else if (strncasecmp(line, "X-Token: ", 9) == 0)
            snprintf(q->token, sizeof q->token, "%.255s", line + 9);
    }
    return true;
}

/* Returns the way to answer this request. */
static http_manners next_manners(http_server *server, const question *q)
{
    pthread_mutex_lock(&server->lock);
    http_manners now = {0}, *m = &server->manners;
    server->requests++;
    memcpy(server->authorization, q->authorization, sizeof server->authorization);
    memcpy(server->token, q->token, sizeof server->token);
    if (m->after > 0)
        m->after--;
    else if (m->count != 0) {
        now = *m;
        m->count -= m->count > 0;
    }
    pthread_mutex_unlock(&server->lock);
    return now;
}

/* Returns true if this was the byte for which http_at_byte waits. */
static bool count_sent(http_server *server, size_t bytes)
{
    void (*call)(void) = NULL;
    pthread_mutex_lock(&server->lock);
    server->sent += bytes;
    if (server->call && server->sent >= server->call_at) {
        call = server->call;
        server->call = NULL;
    }
    pthread_mutex_unlock(&server->lock);
    if (call)
        call();
    return call != NULL;
}

static bool put_body(http_server *server, int to, const served_file *file, uint64_t from, uint64_t bytes)
{
    static _Thread_local char buffer[256 << 10];
    while (bytes > 0) {
        const size_t part = bytes < sizeof buffer ? (size_t)bytes : sizeof buffer;
        http_content(file, from, buffer, part);
        const bool there = count_sent(server, part); /* before the send, so a client finds them counted */
        if (there || !put(to, buffer, part))
            return false;
        from += part, bytes -= part;
    }
    return true;
}

static bool put_status(int to, int code, const char *headers)
{
    char text[1024];
    const int length =
        snprintf(text, sizeof text, "HTTP/1.1 %d Whatever\r\n%sContent-Length: 5\r\n\r\nsorry", code, headers);
    return put(to, text, (size_t)length);
}

static bool put_long_headers(int to)
{
    static const char first[] = "HTTP/1.1 206 Partial Content\r\n";
    char line[1026];
    memset(line, 'x', sizeof line);
    memcpy(line, "X-Long: ", 8);
    memcpy(line + 1024, "\r\n", 2);
    bool open = put(to, first, sizeof first - 1);
    for (int k = 0; k < 200 && open; k++)
        open = put(to, line, sizeof line);
    return false;
}

static bool put_long_header(int to)
{
    static const char first[] = "HTTP/1.1 206 Partial Content\r\nX-Short: 1\r\nX-Long: ";
    static char line[200000];
    memset(line, 'x', sizeof line);
    return put(to, first, sizeof first - 1) && put(to, line, sizeof line) && put(to, "\r\n\r\n", 4) && false;
}

static bool put_redirect(int to, const char *location, const char *path)
{
    char headers[1024];
    snprintf(headers, sizeof headers, "Location: %s%s\r\n", location, path);
    return put_status(to, 302, headers);
}

static bool trickle(int to, const served_file *file, uint64_t from, uint64_t bytes)
{
    char byte;
    for (uint64_t k = 0; k < bytes; k++) {
        http_content(file, from + k, &byte, 1);
        if (!put(to, &byte, 1))
            return false;
        usleep(20000);
    }
    return true;
}

/* Sends a part of the file in the way that `manners` says. */
static bool put_part(http_server *server, int to, const served_file *file, const question *q, const http_manners *m)
{
    uint64_t first = q->first, last = q->last < file->size ? q->last : file->size - 1, size = file->size;
    char range[160], head[1024];
    pthread_mutex_lock(&server->lock);
    const char *const etag = file->etag;
    pthread_mutex_unlock(&server->lock);
    if (m->oddity == HTTP_SHIFTED_RANGE)
        first++, last += last + 1 < size;
    if (m->oddity == HTTP_LATER_RANGE)
        first++;
    if (m->oddity == HTTP_LONGER_RANGE)
        last++;
    if (m->oddity == HTTP_SHORTER_RANGE)
        last = first + (last - first) / 2;
    if (m->oddity == HTTP_OTHER_SIZE)
        size++;
    const uint64_t bytes = last - first + 1, extra = m->oddity == HTTP_LONGER_BODY;
    snprintf(range, sizeof range, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", first, last, size);
    if (m->oddity == HTTP_NO_CONTENT_RANGE)
        range[0] = '\0';
    if (m->oddity == HTTP_BAD_CONTENT_RANGE)
        snprintf(range, sizeof range, "Content-Range: bytes %" PRIu64 "-/*\r\n", first);
    const char *const own = etag ? etag : "";
    const int length =
        snprintf(head, sizeof head, "HTTP/1.1 206 Partial Content\r\n%sContent-Length: %" PRIu64 "\r\n%s%s%s%s\r\n",
                 range, bytes + extra, etag ? "ETag: " : "", m->oddity == HTTP_OTHER_ETAG ? "\"other\"" : own,
                 etag ? "\r\n" : "", m->oddity == HTTP_COMPRESSED ? "Content-Encoding: gzip\r\n" : "");
    if (m->oddity == HTTP_TRICKLES)
        return put(to, head, (size_t)length) && trickle(to, file, first, bytes);
    const bool breaks = m->oddity == HTTP_BREAKS_OFF && m->bytes < bytes;
    return put(to, head, (size_t)length) && put_body(server, to, file, first, breaks ? m->bytes : bytes + extra) &&
           !breaks;
}

static bool put_whole(http_server *server, int to, const served_file *file)
{
    char head[256];
    const int length =
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %" PRIu64 "\r\n\r\n", file->size);
    return put(to, head, (size_t)length) && put_body(server, to, file, 0, file->size);
}

static const served_file *find(const http_server *server, const char *path)
{
    if (strncmp(path, FOLDER, sizeof FOLDER - 1) != 0)
        return NULL;
    for (size_t k = 0; k < server->count; k++) {
        const size_t length = strlen(server->files[k].name);
        const char *name = path + sizeof FOLDER - 1;
        if (strncmp(name, server->files[k].name, length) == 0 && (name[length] == '\0' || name[length] == '?'))
            return &server->files[k];
    }
    return NULL;
}

/* Returns false if the connection has to end. */
static bool answer(http_server *server, int to, const question *q)
{
    const http_manners m = next_manners(server, q);
    const served_file *file = find(server, q->path);
    char headers[64] = "";
    if (m.retry_after)
        snprintf(headers, sizeof headers, "Retry-After: %u\r\n", m.retry_after);
    if (m.oddity == HTTP_HANGS_UP)
        return false;
    if (m.oddity == HTTP_STATUS)
        return put_status(to, m.code, headers);
    if (m.oddity == HTTP_LONG_HEADERS)
        return put_long_headers(to);
    if (m.oddity == HTTP_LONG_HEADER)
        return put_long_header(to);
    if (m.oddity == HTTP_REDIRECTS)
        return put_redirect(to, m.location, q->path);
    if (m.oddity == HTTP_REDIRECTS_IN_CIRCLES)
        return put_redirect(to, "", q->path);
    if (!file)
        return put_status(to, 404, "");
    if (m.oddity == HTTP_EMPTY_FILE)
        return put_status(to, 416, "Content-Range: bytes */0\r\n");
    if (q->ranged && m.oddity != HTTP_IGNORES_RANGES)
        return q->first < file->size ? put_part(server, to, file, q, &m)
                                     : put_status(to, 416, "Content-Range: bytes */1\r\n");
    return put_whole(server, to, file);
}

static void *serve(void *context)
{
    const connection c = *(connection *)context;
    const int to = c.server->sockets[c.number];
    FILE *in = fdopen(dup(to), "r");
    question q;
    free(context);
    must(in != NULL, "fdopen");
    while (get_question(in, &q) && answer(c.server, to, &q))
        ;
    fclose(in);
    pthread_mutex_lock(&c.server->lock);
    shutdown(to, SHUT_RDWR);
    close(to);
    c.server->sockets[c.number] = -1;
    pthread_mutex_unlock(&c.server->lock);
    return NULL;
}

static void *accept_all(void *context)
{
    http_server *server = context;
    for (int to; (to = accept(server->listener, NULL, NULL)) >= 0;) {
        pthread_mutex_lock(&server->lock);
        connection *c = malloc(sizeof *c);
        must(c && server->connected < MAX_CONNECTIONS, "connections");
        *c = (connection){server, server->connected++};
        setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        server->sockets[c->number] = to;
        must(pthread_create(&server->workers[c->number], NULL, serve, c) == 0, "pthread_create");
        if (server->stopping)
            shutdown(to, SHUT_RDWR);
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

http_server *http_start(const served_file *files, size_t count, int port)
{
    return http_start_at(files, count, "127.0.0.1", port);
}

static int bound_to(const struct sockaddr_in *at)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    must(bind(fd, (const struct sockaddr *)(const void *)at, sizeof *at) == 0, "bind");
    return fd;
}

http_server *http_start_at(const served_file *files, size_t count, const char *address, int port)
{
    http_server *server = calloc(1, sizeof *server);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr(address)};
    socklen_t length = sizeof at;
    must(server != NULL, "calloc");
    server->files = files;
    server->count = count;
    pthread_mutex_init(&server->lock, NULL);
    server->holder = bound_to(&at);
    must(getsockname(server->holder, (struct sockaddr *)&at, &length) == 0, "getsockname");
    server->listener = bound_to(&at);
    must(listen(server->listener, 16) == 0, "listen");
    server->port = ntohs(at.sin_port);
    must(pthread_create(&server->acceptor, NULL, accept_all, server) == 0, "pthread_create");
    return server;
}

void http_stop(http_server *server) { close(http_stop_but_hold(server)); }

int http_stop_but_hold(http_server *server)
{
    const int holder = server->holder;
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    shutdown(server->listener, SHUT_RDWR);
    for (size_t k = 0; k < server->connected; k++)
        if (server->sockets[k] >= 0)
            shutdown(server->sockets[k], SHUT_RDWR);
    pthread_mutex_unlock(&server->lock);
    pthread_join(server->acceptor, NULL);
    for (size_t k = 0; k < server->connected; k++)
        pthread_join(server->workers[k], NULL);
    close(server->listener);
    pthread_mutex_destroy(&server->lock);
    free(server);
    return holder;
}

int http_port(const http_server *server) { return server->port; }

const char *http_url(const http_server *server, const char *name)
{
    static char urls[16][512];
    static unsigned turn;
    char *url = urls[turn++ % 16];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d" FOLDER "%s", server->port, name);
    return url;
}

void http_behave(http_server *server, http_manners manners)
{
    pthread_mutex_lock(&server->lock);
    server->manners = manners;
    pthread_mutex_unlock(&server->lock);
}

void http_at_byte(http_server *server, uint64_t bytes, void (*then)(void))
{
    pthread_mutex_lock(&server->lock);
    server->call_at = bytes;
    server->call = then;
    pthread_mutex_unlock(&server->lock);
}

long http_requests(http_server *server)
{
    pthread_mutex_lock(&server->lock);
    const long requests = server->requests;
    pthread_mutex_unlock(&server->lock);
    return requests;
}

long http_connections(http_server *server)
{
    pthread_mutex_lock(&server->lock);
    const long connections = (long)server->connected;
    pthread_mutex_unlock(&server->lock);
    return connections;
}

uint64_t http_sent(http_server *server)
{
    pthread_mutex_lock(&server->lock);
    const uint64_t sent = server->sent;
    pthread_mutex_unlock(&server->lock);
    return sent;
}

const char *http_set_etag(http_server *server, served_file *file, const char *etag)
{
    pthread_mutex_lock(&server->lock);
    const char *const before = file->etag;
    file->etag = etag;
    pthread_mutex_unlock(&server->lock);
    return before;
}

const char *http_last_header(const http_server *server, const char *name)
{
    return strcasecmp(name, "Authorization") == 0 ? server->authorization : server->token;
}

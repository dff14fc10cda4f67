/* SPDX-License-Identifier: MIT
 * For tests: a server on loopback that answers as Hugging Face's hub does. hub_server FOLDER serves
 * FOLDER/ORG/NAME/FILES at one commit and prints "PORT OTHER"; OTHER is the port of the host to which the hub redirects
 * for large files.
 *
 * Routes: /api/models/ID/revision/REV, /api/models/ID/tree/REV, /ID/resolve/REV/FILE with GET and HEAD, ranges,
 * X-Repo-Commit, X-Linked-Etag and X-Linked-Size; /cdn/ID/FILE on the other port. REV is main, v1, refs/pr/1, or the
 * commit.
 *
 * Each request is a line of FOLDER/log: "hub|cdn METHOD PATH RANGE AUTHORIZATION". FOLDER/manners, read at each
 * request, contains words: cut N (bodies end after N bytes), once (remove that file after the next cut), digest, size,
 * path, commit (the list is wrong in these), called PATH (the first file of the list has this path), huge (three files
 * of 2^63 - 1 bytes), longer (the other host's files are longer), gated (401), garbage (no
 * JSON), hold (the second half of each file of the other host is sent when the word is gone). */
#include "formats/base/text.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT    "0123456789abcdef0123456789abcdef01234567"
#define LARGE     10000 /* smallest size in bytes of a file in LFS */
#define MAX_FILES 64

static const char *folder;
static int ports[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct hub_request {
    FILE *out;
    bool other, head, ranged;
    uint64_t from, to;
    char method[8], path[1024], range[64], authorization[256];
    char manners[256];
} hub_request;

static void read_manners(hub_request *r)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/manners", folder);
    FILE *const in = fopen(path, "r");
    const size_t got = in ? fread(r->manners, 1, sizeof r->manners - 1, in) : 0;
    r->manners[got] = '\0';
    if (in)
        fclose(in);
    if (strstr(r->manners, "once") && r->other)
        unlink(path);
}

static bool has_manner(const hub_request *r, const char *word) { return strstr(r->manners, word) != NULL; }

/* Waits while FOLDER/manners contains the word hold. */
static void wait_if_held(const hub_request *r)
{
    hub_request now = *r;
    while (has_manner(&now, "hold")) {
        usleep(10000);
        read_manners(&now);
    }
}

static void log_request(const hub_request *r)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/log", folder);
    pthread_mutex_lock(&lock);
    FILE *const log = fopen(path, "a");
    if (log) {
        fprintf(log, "%s %s %s %s %s\n", r->other ? "cdn" : "hub", r->method, r->path, *r->range ? r->range : "-",
                *r->authorization ? r->authorization : "-");
        fclose(log);
    }
    pthread_mutex_unlock(&lock);
}

static void answer_text(const hub_request *r, const char *status, const char *headers, const char *body)
{
    fprintf(r->out, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, headers,
            strlen(body), r->head ? "" : body);
}

/* ---- files ---- */

/* Computes a file's digests: SHA-256, and git's blob id. Returns the file's size. */
static uint64_t digests_of(const char *path, char sha256[ORGAN_DIGEST_TEXT], char git[ORGAN_DIGEST_TEXT])
{
    struct stat about;
    static char buffer[1 << 16];
    char head[40];
    organ_digest a, b;
    size_t got;
    FILE *const in = fopen(path, "rb");
    if (!in || fstat(fileno(in), &about) != 0)
        return 0;
    organ_digest_begin(&a, false);
    organ_digest_begin(&b, true);
    organ_digest_add(&b, head, (size_t)snprintf(head, sizeof head, "blob %" PRIu64, (uint64_t)about.st_size) + 1);
    pthread_mutex_lock(&lock);
    while ((got = fread(buffer, 1, sizeof buffer, in)) > 0) {
        organ_digest_add(&a, buffer, got);
        organ_digest_add(&b, buffer, got);
    }
    pthread_mutex_unlock(&lock);
    fclose(in);
    organ_digest_end(&a, sha256);
    organ_digest_end(&b, git);
    return (uint64_t)about.st_size;
}

/* Sends a file or the requested part of it. */
static void answer_file(const hub_request *r, const char *path, const char *headers)
{
    struct stat about;
    FILE *const in = fopen(path, "rb");
    const char *const cut = strstr(r->manners, "cut ");
    if (!in || fstat(fileno(in), &about) != 0 || !S_ISREG(about.st_mode)) {
        answer_text(r, "404 Not Found", "", "Entry not found");
        return;
    }
    const uint64_t size = (uint64_t)about.st_size + (r->other && has_manner(r, "longer") ? 10 : 0);
    uint64_t from = r->ranged ? r->from : 0, to = r->ranged && r->to < size ? r->to : size - 1;
    if (r->ranged)
        fprintf(r->out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
                from, to, size);
    else
        fprintf(r->out, "HTTP/1.1 200 OK\r\n");
    fprintf(r->out, "%sAccept-Ranges: bytes\r\nContent-Length: %" PRIu64 "\r\nConnection: close\r\n\r\n", headers,
            size ? to - from + 1 : 0);
    uint64_t left = r->head || !size ? 0 : to - from + 1;
    if (cut && left > strtoull(cut + 4, NULL, 10))
        left = strtoull(cut + 4, NULL, 10);
    fseek(in, (long)from, SEEK_SET);
    for (const uint64_t half = left / 2; left > 0; left--) {
        if (r->other && left == half && fflush(r->out) == 0)
            wait_if_held(r);
        const int c = fgetc(in);
        fputc(c == EOF ? 0 : c, r->out);
    }
    fclose(in);
}

/* ---- lists ---- */

static size_t list_files(const char *root, const char *below, char names[][512], size_t count)
{
    char path[2048];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", root, below);
    DIR *const directory = opendir(path);
    for (const struct dirent *e; directory && count < MAX_FILES && (e = readdir(directory));) {
        char name[512];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%.200s%s%.255s", below, *below ? "/" : "", e->d_name);
        snprintf(path, sizeof path, "%s/%s", root, name);
        if (stat(path, &about) == 0 && S_ISDIR(about.st_mode))
            count = list_files(root, name, names, count);
        else
            strcpy(names[count++], name);
    }
    if (directory)
        closedir(directory);
    return count;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* The path of the list's first file, which is `name` without manners. */
static const char *first_name(const hub_request *r, const char *name)
{
    static char called[512];
    if (sscanf(strstr(r->manners, "called ") ? strstr(r->manners, "called ") : "", "called %511s", called) == 1)
        return called;
    return has_manner(r, "path") ? "a/../../b" : name;
}

static void answer_list(const hub_request *r, const char *id, bool tree)
{
    static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER;
    static char names[MAX_FILES][512], body[1 << 17];
    char root[1400], path[2048], sha256[ORGAN_DIGEST_TEXT] = "", git[ORGAN_DIGEST_TEXT] = "";
    size_t at = 0;
    pthread_mutex_lock(&listing);
    snprintf(root, sizeof root, "%s/%s", folder, id);
    const size_t count = list_files(root, "", names, 0);
    qsort(names, count, sizeof *names, by_name); /* file systems list them in different orders */
    if (!tree)
        at += (size_t)sprintf(body, "{\"id\":\"%s\",\"modelId\":\"%s\",\"sha\":\"%s\",\"siblings\":", id, id,
                              has_manner(r, "commit") ? "main" : COMMIT);
    at += (size_t)sprintf(body + at, "[");
    for (size_t k = 0; k < count; k++) {
        snprintf(path, sizeof path, "%s/%s", root, names[k]);
        uint64_t size = digests_of(path, sha256, git);
        const bool lfs = size >= LARGE;
        sha256[0] = has_manner(r, "digest") ? (char)('0' + '1' - (sha256[0] == '1' ? '1' : '0')) : sha256[0];
        sha256[1] = has_manner(r, "form") ? 'x' : sha256[1];
        size += has_manner(r, "size") ? 1 : 0;
        size = has_manner(r, "huge") && k < 3 ? INT64_MAX : size;
        at += (size_t)sprintf(body + at,
                              tree ? "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":%" PRIu64 ",\"oid\":\"%s\""
                                   : "%s{\"rfilename\":\"%s\",\"size\":%" PRIu64 ",\"blobId\":\"%s\"",
                              k ? "," : "", k == 0 ? first_name(r, names[k]) : names[k], size, git);
        if (lfs)
            at += (size_t)sprintf(body + at, ",\"lfs\":{\"%s\":\"%s\",\"size\":%" PRIu64 ",\"pointerSize\":130}",
                                  tree ? "oid" : "sha256", sha256, size);
        at += (size_t)sprintf(body + at, "}");
    }
    sprintf(body + at, tree ? "]" : "]}");
    answer_text(r, "200 OK", "Content-Type: application/json\r\n", has_manner(r, "garbage") ? "<html>" : body);
    pthread_mutex_unlock(&listing);
}

/* ---- routes ---- */

/* Splits "ORG/NAME/WORD/REV..." after `path`; *rest is the text after WORD. */
static bool split_id(const char *path, const char *word, char id[256], const char **rest)
{
    const char *const at = strstr(path, word);
    if (!at || at - path > 200)
        return false;
    snprintf(id, 256, "%.*s", (int)(at - path), path);
    *rest = at + strlen(word);
    return true;
}

/* Returns the length of the revision at the start of `text`; 0 if it does not exist. */
static size_t revision_length(const char *text)
{
    static const char *const known[] = {"main", "v1", "refs%2Fpr%2F1", "refs/pr/1", COMMIT};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const size_t length = strlen(known[k]);
        if (strncmp(text, known[k], length) == 0 && (!text[length] || text[length] == '/' || text[length] == '?'))
            return length;
    }
    return 0;
}

static void answer_resolve(const hub_request *r, const char *id, const char *name)
{
    char path[2048], headers[1024], location[700] = "", sha256[ORGAN_DIGEST_TEXT] = "", git[ORGAN_DIGEST_TEXT] = "";
    snprintf(path, sizeof path, "%s/%s/%s", folder, id, name);
    if (access(path, R_OK) != 0) {
        answer_text(r, "404 Not Found", "X-Error-Code: EntryNotFound\r\n", "Entry not found");
        return;
    }
    const uint64_t size = digests_of(path, sha256, git);
    const bool lfs = size >= LARGE;
    if (lfs)
        snprintf(location, sizeof location, "Location: http://127.0.0.1:%d/cdn/%s/%s\r\nX-Linked-Etag: \"%s\"\r\n",
                 ports[1], id, name, sha256);
    snprintf(headers, sizeof headers, "X-Repo-Commit: " COMMIT "\r\nX-Linked-Size: %" PRIu64 "\r\nETag: \"%s\"\r\n%s",
             size, lfs ? sha256 : git, location);
    if (lfs)
        answer_text(r, "302 Found", headers, "");
    else
        answer_file(r, path, headers);
}

static void answer_request(const hub_request *r)
{
    char id[256], path[2048];
    const char *rest;
    const bool tree = strstr(r->path, "/tree/") != NULL;
    if (has_manner(r, "gated") && strcmp(r->authorization, "Bearer hf_secret") != 0)
        answer_text(r, "401 Unauthorized", "X-Error-Code: GatedRepo\r\n", "no");
    else if (r->other && strncmp(r->path, "/cdn/", 5) == 0) {
        snprintf(path, sizeof path, "%s/%s", folder, r->path + 5);
        answer_file(r, path, "ETag: \"cdn\"\r\n");
    } else if (!r->other && strncmp(r->path, "/api/models/", 12) == 0 &&
               split_id(r->path + 12, tree ? "/tree/" : "/revision/", id, &rest) && revision_length(rest)) {
        snprintf(path, sizeof path, "%s/%s", folder, id);
        if (access(path, R_OK) == 0)
            answer_list(r, id, tree);
        else
            answer_text(r, "404 Not Found", "X-Error-Code: RepoNotFound\r\n", "Repository not found");
    } else if (!r->other && split_id(r->path + 1, "/resolve/", id, &rest) && revision_length(rest)) {
        answer_resolve(r, id, rest + revision_length(rest) + 1);
    } else
        answer_text(r, "404 Not Found", "X-Error-Code: RevisionNotFound\r\n", "Not found");
}

static void *serve_connection(void *context)
{
    const int *const about = context;
    hub_request r = {.other = about[1]};
    char line[4096];
    FILE *const in = fdopen(about[0], "r");
    r.out = fdopen(dup(about[0]), "w");
    if (in && r.out && fgets(line, sizeof line, in) && sscanf(line, "%7s %1023s", r.method, r.path) == 2) {
        while (fgets(line, sizeof line, in) && line[0] != '\r') {
            line[strcspn(line, "\r\n")] = '\0';
            if (strncasecmp(line, "Range: ", 7) == 0) {
                snprintf(r.range, sizeof r.range, "%.60s", line + 7);
                r.to = UINT64_MAX;
                r.ranged = sscanf(line + 7, "bytes=%" SCNu64 "-%" SCNu64, &r.from, &r.to) >= 1;
            } else if (strncasecmp(line, "Authorization: ", 15) == 0)
                snprintf(r.authorization, sizeof r.authorization, "%.250s", line + 15);
        }
        r.head = strcmp(r.method, "HEAD") == 0;
        log_request(&r);
        read_manners(&r);
        answer_request(&r);
    }
    if (r.out)
        fclose(r.out);
    if (in)
        fclose(in);
    free(context);
    return NULL;
}

static int listen_anywhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("hub_server");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static void *accept_all(void *context)
{
    const int *const listener = context;
    for (;;) {
        int *const about = malloc(2 * sizeof *about);
        pthread_t thread;
        if (!about)
            return NULL;
        about[0] = accept(listener[0], NULL, NULL);
        about[1] = listener[1];
        if (about[0] < 0 || pthread_create(&thread, NULL, serve_connection, about) != 0)
            return NULL;
        pthread_detach(thread);
    }
}

int main(int argc, char **argv)
{
    static int listeners[2][2] = {{0, 0}, {0, 1}};
    pthread_t thread;
    if (argc != 2)
        return 2;
    folder = argv[1];
    signal(SIGPIPE, SIG_IGN);
    for (int k = 0; k < 2; k++)
        listeners[k][0] = listen_anywhere(&ports[k]);
    printf("http://127.0.0.1:%d/ %d\n", ports[0], ports[1]);
    fflush(stdout);
    if (pthread_create(&thread, NULL, accept_all, listeners[1]) == 0)
        accept_all(listeners[0]);
    return 1;
}

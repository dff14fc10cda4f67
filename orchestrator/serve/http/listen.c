/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 512 /* connections that wait to be accepted; the kernel takes no more than net.core.somaxconn */

typedef union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} address;

/* "[::1]:80" becomes host "::1" and *port "80"; *port points into `text`. `capacity` is the size of `host`. */
static organ_status split_address(const char *text, char *host, size_t capacity, const char **port, organ_error *error)
{
    const char *const colon = strrchr(text, ':');
    const bool bracket = text[0] == '[';
    size_t length = colon ? (size_t)(colon - text) : 0;
    const bool good = colon && strspn(colon + 1, "0123456789") == strlen(colon + 1) && colon[1] &&
                      strlen(colon + 1) <= 5 && strtoul(colon + 1, NULL, 10) <= 65535 && length < capacity &&
                      (!bracket || (length > 2 && colon[-1] == ']')) && (bracket || !memchr(text, ':', length));
    if (!good)
        return organ_fail(
            error, ORGAN_USAGE,
            "--listen '%s': must be an address and a port from 0 to 65535, such as 127.0.0.1:8935 or [::1]:8935", text);
    length -= bracket ? 2 : 0;
    memcpy(host, text + bracket, length);
    host[length] = '\0';
    *port = colon + 1;
    return ORGAN_OK;
}

static organ_status find_address(const char *text, address *to, socklen_t *size, organ_error *error)
{
    char host[256];
    const char *port = "";
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (split_address(text, host, sizeof host, &port, error) != ORGAN_OK)
        return error->status;
    const int failed = getaddrinfo(*host ? host : "0.0.0.0", port, &hints, &found);
    if (failed)
        return organ_fail(error, ORGAN_USAGE, "--listen '%s': %s", text,
                          failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
    memcpy(to, found->ai_addr, found->ai_addrlen < sizeof *to ? found->ai_addrlen : sizeof *to);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return ORGAN_OK;
}

static void describe_address(const address *a, organ_listening *listening)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->six.sin6_addr, text, sizeof text);
        snprintf(listening->address, sizeof listening->address, "[%s]", text);
        listening->loopback = IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr);
        listening->any = IN6_IS_ADDR_UNSPECIFIED(&a->six.sin6_addr);
        listening->port = ntohs(a->six.sin6_port);
    } else {
        inet_ntop(AF_INET, &a->four.sin_addr, listening->address, sizeof listening->address);
        listening->loopback = ntohl(a->four.sin_addr.s_addr) >> 24 == 127;
        listening->any = a->four.sin_addr.s_addr == htonl(INADDR_ANY);
        listening->port = ntohs(a->four.sin_port);
    }
}

/* The bound address has the port that the system chose. `text` is for messages. */
static organ_status bind_to(const char *text, address *a, socklen_t size, organ_listening *listening,
                            organ_error *error)
{
    const int yes = 1;
    listening->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening->fd < 0)
        return organ_fail_errno(error, errno, "--listen '%s'", text);
    setsockopt(listening->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    int failed = bind(listening->fd, &a->any, size);
    if (!failed)
        failed = listen(listening->fd, BACKLOG);
    if (!failed)
        failed = getsockname(listening->fd, &a->any, &size); /* port 0 has become a free one */
    if (!failed) {
        describe_address(a, listening);
        return ORGAN_OK;
    }
    const int number = errno;
    close(listening->fd);
    if (number == EADDRINUSE)
        return organ_fail(
            error, ORGAN_IO,
            "--listen '%s': another program already listens there; choose another port with --listen ADDRESS:PORT",
            text);
    return organ_fail_errno(error, number, "--listen '%s'", text);
}

organ_status organ_http_listen(const char *text, bool guarded, organ_listening *listening, organ_error *error)
{
    address a = {0};
    socklen_t size = 0;
    *listening = (organ_listening){.fd = -1};
    if (find_address(text, &a, &size, error) != ORGAN_OK)
        return error->status;
    describe_address(&a, listening);
    if (!listening->loopback && !guarded)
        return organ_fail(error, ORGAN_USAGE,
                          "--listen '%s': other machines could reach this address: give a --token-file, or listen on "
                          "loopback (127.0.0.1)",
                          text);
    return bind_to(text, &a, size, listening, error);
}

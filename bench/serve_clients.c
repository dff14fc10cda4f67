/* SPDX-License-Identifier: MIT
 * Misbehaving clients. serve_clients malformed PORT COUNT SEED sends that many malformed requests, 64 at once, and
 * counts the answers; serve_clients slow PORT COUNT SECONDS keeps that many connections open and sends a byte on each
 * every second. */
#include "tests/kit/malformed.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 64, MOST_SLOW = 1000 };

static int connect_to(int port)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to) == 0)
        return fd;
    perror("connect");
    exit(1);
}

static int malformed(int port, int count, uint64_t seed)
{
    int classes[6] = {0}, others = 0, status;
    char text[MALFORMED_ROOM], answer[4096];
    for (int done = 0; done < count; done += AT_ONCE) {
        int fds[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++) {
            fds[k] = connect_to(port);
            const size_t length = malformed_request(&seed, text);
            if (send(fds[k], text, length, MSG_NOSIGNAL) < 0)
                perror("send");
        }
        usleep(20000);
        for (int k = 0; k < AT_ONCE; k++) {
            const ssize_t got = recv(fds[k], answer, sizeof answer - 1, MSG_DONTWAIT);
            answer[got > 0 ? got : 0] = '\0';
            const int http = sscanf(answer, "HTTP/1.%*1[01] %3d", &status) == 1 && status >= 200 && status < 600;
            others += http && status == 505; /* the version came from a changed byte */
            classes[http && status != 505 ? status / 100 : 0]++;
            close(fds[k]);
        }
    }
    printf("2xx %d, 3xx %d, 4xx %d, 505 %d, other 5xx %d, closed or waiting for more %d\n", classes[2], classes[3],
           classes[4], others, classes[5], classes[0] - others);
    return 0;
}

static int slow(int port, int count, int seconds)
{
    int fds[MOST_SLOW], open = count < MOST_SLOW ? count : MOST_SLOW;
    char byte;
    for (int k = 0; k < open; k++) {
        fds[k] = connect_to(port);
        if (send(fds[k], "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", 44, MSG_NOSIGNAL) < 0)
            perror("send");
    }
    const int begun = open;
    for (int s = 0; s < seconds; s++) {
        int left = 0;
        for (int k = 0; k < open; k++) {
            const int closed = send(fds[k], "x", 1, MSG_NOSIGNAL) < 0 || recv(fds[k], &byte, 1, MSG_DONTWAIT) == 0;
            if (closed)
                close(fds[k]);
            else
                fds[left++] = fds[k];
        }
        open = left;
        sleep(1);
    }
    printf("%d of %d slow connections were closed by the server within %d seconds\n", begun - open, begun, seconds);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "malformed") == 0)
        return malformed(atoi(argv[2]), atoi(argv[3]), strtoull(argv[4], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "slow") == 0)
        return slow(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    fputs("serve_clients malformed PORT COUNT SEED | slow PORT COUNT SECONDS\n", stderr);
    return 2;
}

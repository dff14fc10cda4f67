/* SPDX-License-Identifier: MIT */
#include "tests/kit/malformed.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static unsigned below(uint64_t *state, unsigned n)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (unsigned)(*state >> 33) % n;
}

size_t malformed_request(uint64_t *state, char *to)
{
    static const char *const good[] = {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                                       "GET /files/text.txt?limit=3 HTTP/1.1\r\nHost: localhost\r\nRange: "
                                       "bytes=0-1\r\nIf-None-Match: \"a\"\r\nConnection: close\r\n\r\n",
                                       "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                       "application/json\r\nContent-Length: 13\r\n\r\n{\"token\":\"x\"}",
                                       ("POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                        "application/json\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n"
                                        "{\"token\":\"x\"}\r\n0\r\n\r\n"),
                                       "GET /api/v1/models/tiny/tensors?match=*.mlp.*&sort=-bytes HTTP/1.1\r\nHost: "
                                       "localhost\r\nConnection: close\r\n\r\n"};
    static const char *const pieces[] = {"\r\n",
                                         "\n",
                                         "\r",
                                         "%00",
                                         "%",
                                         "../",
                                         " ",
                                         "\t",
                                         ":",
                                         "Content-Length: 99999999999999999999\r\n",
                                         "Content-Length: -1\r\n",
                                         "Transfer-Encoding: chunked\r\n",
                                         "HTTP/1.0",
                                         "HTTP/9.9",
                                         "\xff\xfe",
                                         "\0",
                                         "Host: evil\r\n",
                                         "ffffffffffffffff\r\n",
                                         "0\r\n\r\n",
                                         "?",
                                         "#",
                                         "\x1b[2J"};
    const char *const base = good[below(state, COUNT(good))];
    size_t length = strlen(base);
    memcpy(to, base, length);
    for (unsigned changes = 1 + below(state, 6); changes > 0; changes--) {
        const size_t at = below(state, (unsigned)length + 1);
        const char *const piece = pieces[below(state, COUNT(pieces))];
        const size_t size = *piece ? strlen(piece) : 1,
                     cut = below(state, 3) == 0 ? below(state, (unsigned)(length - at) + 1) : 0;
        if (below(state, 3) == 0 && at < length)
            to[at] = (char)below(state, 256);
        else if (length + size < MALFORMED_ROOM) {
            memmove(to + at + size, to + at + cut, length - at - cut);
            memcpy(to + at, piece, size);
            length = length + size - cut;
        }
    }
    return length;
}

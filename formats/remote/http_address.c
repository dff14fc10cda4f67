/* SPDX-License-Identifier: MIT */
#include "formats/remote/http_request.h"
#include "formats/remote/remote.h"

#include "formats/base/plain_numbers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The address is in host byte order. */
typedef struct http_address_block {
    uint32_t prefix;
    unsigned bits; /* number of leading bits of `prefix` that an address in the block has */
} http_address_block;

/* Most clouds serve their metadata at link-local addresses; the other blocks are metadata addresses of other clouds. */
static const http_address_block links[] = {
    {0xa9fe0000, 16}, /* link-local */
    {0x646464c8, 32}, /* 100.100.100.200: Alibaba Cloud */
    {0xa83f8110, 32}, /* 168.63.129.16: Azure */
    {0xc00000c0, 32}, /* 192.0.0.192: Oracle Cloud */
};

/* These addresses are not globally reachable (RFC 6890 and its successors). */
static const http_address_block blocks[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared, of carriers */
    {0x7f000000, 8},  /* loopback */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xe0000000, 3},  /* multicast and reserved */
};

static bool is_in_block(uint32_t address, const http_address_block *list, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if ((address ^ list[k].prefix) >> (32 - list[k].bits) == 0)
            return true;
    return false;
}

static organ_reach reach_of_ipv4(uint32_t address)
{
    if (is_in_block(address, links, sizeof links / sizeof *links))
        return ORGAN_REACH_LINK;
    return is_in_block(address, blocks, sizeof blocks / sizeof *blocks) ? ORGAN_REACH_INSIDE : ORGAN_REACH_PUBLIC;
}

static uint32_t word_at(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* An address that embeds an IPv4 address is classified by the IPv4 address. */
static organ_reach reach_of_ipv6(const unsigned char a[16])
{
    static const unsigned char zeros[12], nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    static const unsigned char amazon[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}; /* fd00:ec2::254 */
    if (memcmp(a, zeros, 10) == 0 && ((a[10] == 0xff && a[11] == 0xff) || (a[10] == 0 && a[11] == 0)))
        return reach_of_ipv4(word_at(a + 12)); /* IPv4-mapped and IPv4-compatible addresses, :: and ::1 included */
    if (memcmp(a, nat64, 12) == 0)
        return reach_of_ipv4(word_at(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02)
        return reach_of_ipv4(word_at(a + 2)); /* 6to4 */
    if ((a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || memcmp(a, amazon, sizeof amazon) == 0)
        return ORGAN_REACH_LINK;
    return (a[0] & 0xe0) == 0x20
               ? ORGAN_REACH_PUBLIC
               : ORGAN_REACH_INSIDE; /* 2000::/3 is global unicast; fc00::/7, fec0::/10 and ff00::/8 are not */
}

organ_reach organ_http_address_reach(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return reach_of_ipv4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return reach_of_ipv6(in6.sin6_addr.s6_addr);
    }
    return ORGAN_REACH_INSIDE;
}

/* Accepts brackets and a zone (%eth0) around the address. */
static bool parse_ip_address(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *const in = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *const in6 = (struct sockaddr_in6 *)(void *)out;
    char plain[64];
    const size_t skip = *text == '[';
    snprintf(plain, sizeof plain, "%s", text + skip);
    plain[strcspn(plain, "]%")] = '\0';
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, plain, &in->sin_addr) == 1)
        in->sin_family = AF_INET;
    else if (inet_pton(AF_INET6, plain, &in6->sin6_addr) == 1)
        in6->sin6_family = AF_INET6;
    return out->ss_family != 0;
}

bool organ_http_is_address(const char *text)
{
    struct sockaddr_storage address;
    return parse_ip_address(text, &address);
}

/* A text that is no address counts as inside the local network, the stricter case. */
organ_reach organ_http_text_reach(const char *text)
{
    struct sockaddr_storage address;
    return parse_ip_address(text, &address) ? organ_http_address_reach((const struct sockaddr *)&address)
                                            : ORGAN_REACH_INSIDE;
}

organ_curl_functions organ_curl;

static const char *const names[] = {ORGAN_CURL_FUNCTIONS(ORGAN_LIBRARY_NAME)};

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static organ_error fault; /* the error of load_curl; all zero if it succeeded */

static void load_curl(void)
{
    if (organ_library_load("libcurl.so.4", names, sizeof names / sizeof *names, &organ_curl, &fault) == ORGAN_OK &&
        organ_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        organ_fail(&fault, ORGAN_IO, "libcurl cannot be started");
}

organ_status organ_curl_open(organ_error *error)
{
    pthread_once(&loaded, load_curl);
    return fault.status ? organ_fail(error, ORGAN_IO, "reading URLs needs a library that is missing: %s", fault.message)
                        : ORGAN_OK;
}

/* ---- the authorities that sign certificates of servers ---- */

/* Returns the first readable file of those that systems have, or NULL. */
static const char *authorities_of_system(void)
{
    static const char *const files[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Arch, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* Fedora, Red Hat */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* the same, if the link above is missing */
        "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
        "/etc/ssl/cert.pem",                                 /* Alpine without the package ca-certificates */
    };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        if (access(files[k], R_OK) == 0)
            return files[k];
    return NULL;
}

bool organ_http_set_authorities(CURL *curl, char *why, size_t size)
{
    const char *const named = getenv("SSL_CERT_FILE"), *file = named && *named ? named : NULL;
    char *built_in = NULL;
    if (!file && (organ_curl.easy_getinfo(curl, CURLINFO_CAINFO, &built_in) != CURLE_OK || !built_in ||
                  access(built_in, R_OK) == 0))
        return true;
    if (file && access(file, R_OK) != 0)
        organ_snprintf(why, size, "its certificate cannot be checked: SSL_CERT_FILE is '%s': %s", file,
                       strerror(errno));
    else if (!file && !(file = authorities_of_system()))
        organ_snprintf(why, size,
                       "its certificate cannot be checked: this system has no file of certificate authorities such as "
                       "/etc/ssl/certs/ca-certificates.crt; install ca-certificates or set SSL_CERT_FILE");
    else {
        organ_curl.easy_setopt(curl, CURLOPT_CAINFO, file);
        organ_curl.easy_setopt(curl, CURLOPT_PROXY_CAINFO, file);
        return true;
    }
    return false;
}

/* ---- what a URL names, and which part of it messages may show ---- */

bool organ_http_is_url(const char *path)
{
    return strncasecmp(path, "http://", 7) == 0 || strncasecmp(path, "https://", 8) == 0;
}

char *organ_http_without_secrets(const char *url)
{
    static const CURLUPart secrets[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_QUERY,
                                        CURLUPART_FRAGMENT};
    char *text = NULL;
    CURLU *parts = organ_curl.url();
    if (parts && organ_http_is_url(url) && organ_curl.url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK) {
        for (size_t k = 0; k < sizeof secrets / sizeof *secrets; k++)
            organ_curl.url_set(parts, secrets[k], NULL, 0);
        organ_curl.url_get(parts, CURLUPART_URL, &text, 0);
    }
    organ_curl.url_cleanup(parts);
    return text;
}

static bool is_file_name(const char *name)
{
    static const char *const endings[] = {".safetensors", ".json", ".gguf", ".bin", ".pt",
                                          ".pth",         ".ckpt", ".onnx", ".h5",  ".msgpack"};
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        if (organ_ends_with(name, endings[k]))
            return true;
    return false;
}

bool organ_http_names_file(const char *text)
{
    char *plain = organ_curl.easy_unescape(NULL, strrchr(text, '/') + 1, 0, NULL);
    const bool file = plain && is_file_name(plain);
    organ_curl.free(plain);
    return file;
}

/* `plain` is the decoded last segment of `length` bytes, which may contain NUL characters. */
static organ_status copy_place(char *text, const char *plain, size_t length, organ_arena *arena, const char **shown,
                               const char **directory, const char **name, organ_error *error)
{
    const bool file = is_file_name(plain);
    if (length && (memchr(plain, '/', length) || memchr(plain, '\0', length) || *plain == '.'))
        return organ_fail(error, ORGAN_USAGE, "%s: its last part is not the name of a file or directory", text);
    size_t end = strlen(text);
    while (!file && end > 0 && text[end - 1] == '/')
        end--;
    *shown = organ_arena_copy(arena, text, end);
    *directory = file ? organ_arena_copy(arena, text, (size_t)(strrchr(text, '/') - text)) : *shown;
    *name = file ? organ_arena_copy(arena, plain, length) : NULL;
    return *shown && *directory && (*name || !file) ? ORGAN_OK : organ_fail_memory(error, text);
}

organ_status organ_http_place(const char *url, organ_arena *arena, const char **shown, const char **directory,
                              const char **name, organ_error *error)
{
    if (organ_curl_open(error) != ORGAN_OK)
        return error->status;
    char *text = organ_http_without_secrets(url);
    if (!text) /* the URL is not repeated in the message, because the malformed part may be a password */
        return organ_fail(error, ORGAN_USAGE, "the URL of the model is malformed");
    int length = 0;
    char *plain = organ_curl.easy_unescape(NULL, strrchr(text, '/') + 1, 0, &length);
    if (!plain)
        organ_fail_memory(error, text);
    else
        copy_place(text, plain, (size_t)length, arena, shown, directory, name, error);
    organ_curl.free(plain);
    organ_curl.free(text);
    return error->status;
}

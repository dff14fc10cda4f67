/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- hosts and origins ---- */

/* An IPv6 address is in brackets. */
static bool is_address(const char *name)
{
    unsigned char address[16];
    char bare[64];
    const size_t length = strlen(name);
    if (name[0] != '[' || length < 3 || length >= sizeof bare || name[length - 1] != ']')
        return inet_pton(AF_INET, name, address) == 1;
    memcpy(bare, name + 1, length - 2);
    bare[length - 2] = '\0';
    return inet_pton(AF_INET6, bare, address) == 1;
}

bool organ_guard_host(const organ_guard *guard, const char *host)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    char name[256];
    const char *const close_bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    const size_t length = close_bracket ? (size_t)(close_bracket + 1 - host) : strcspn(host, ":");
    const char *const port = host + length;
    if (length == 0 || length >= sizeof name ||
        (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    for (size_t k = 0; k < sizeof always / sizeof *always; k++)
        if (strcasecmp(name, always[k]) == 0)
            return true;
    for (size_t k = 0; guard->hosts && k < guard->hosts->count; k++)
        if (strcasecmp(name, guard->hosts->word[k]) == 0)
            return true;
    /* An attacker can make a name resolve to this server (DNS rebinding), but not an address. */
    return strcasecmp(name, guard->address) == 0 || (guard->any_address && is_address(name));
}

/* The Origin must be "http://HOST" or "https://HOST". A server that does not encrypt accepts both, because a proxy
 * may encrypt for it; a server that encrypts accepts https only. */
static bool is_site(const organ_guard *guard, const char *origin, const char *host)
{
    static const char plain[] = "http://", secure[] = "https://";
    if (!guard->encrypted && strncasecmp(origin, plain, strlen(plain)) == 0)
        return strcasecmp(origin + strlen(plain), host) == 0;
    return strncasecmp(origin, secure, strlen(secure)) == 0 && strcasecmp(origin + strlen(secure), host) == 0;
}

/* ---- checks of a request ---- */

typedef struct header_counts {
    unsigned hosts, origins;
} header_counts;

static enum MHD_Result count_headers(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    (void)value;
    header_counts *const counts = context;
    counts->hosts += strcasecmp(name, "Host") == 0;
    counts->origins += strcasecmp(name, "Origin") == 0;
    return MHD_YES;
}

/* Returns false with the reply that refuses the request; so does origin_passes. */
static bool host_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    header_counts counts = {0};
    organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, count_headers, &counts);
    const char *const host = organ_http_header(request, "Host");
    if (counts.hosts != 1 || !host)
        organ_http_problem(reply, 400, "the request has %u Host headers; it needs one", counts.hosts);
    else if (counts.origins > 1)
        organ_http_problem(reply, 400, "the request has %u Origin headers; at most one is allowed", counts.origins);
    else if (!organ_guard_host(guard, host))
        organ_http_problem(reply, 421, "the host '%s' is not a name of this server; --host adds names", host);
    else
        return true;
    return false;
}

static bool origin_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    const char *const origin = organ_http_header(request, "Origin");
    const char *const site = organ_http_header(request, "Sec-Fetch-Site");
    if (request->method == ORGAN_HTTP_GET)
        return true;
    if (origin && !is_site(guard, origin, organ_http_header(request, "Host")))
        organ_http_problem(reply, 403, "the origin '%s' is another site", origin);
    else if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        organ_http_problem(reply, 403, "the request comes from another site (Sec-Fetch-Site: %s)", site);
    else
        return true;
    return false;
}

typedef struct session_search {
    const organ_guard *guard;
    organ_bearer *bearer;
    bool found;
} session_search;

static enum MHD_Result read_cookie(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    session_search *const search = context;
    (void)kind;
    if (strcmp(name, ORGAN_SESSION_COOKIE) == 0 && value &&
        organ_tokens_check_session(search->guard->tokens, value, search->bearer))
        search->found = true;
    return MHD_YES;
}

/* If the server needs no token, *bearer gets the name "" and the role run. `authorization` is the Authorization
 * header or NULL; if it is a Bearer, the cookie is not used. */
static bool check_credentials(const organ_guard *guard, const organ_server_request *request, const char *authorization,
                              organ_bearer *bearer)
{
    static const char scheme[] = "Bearer ";
    session_search search = {.guard = guard, .bearer = bearer};
    *bearer = (organ_bearer){.access = ORGAN_ACCESS_RUN};
    if (!guard->tokens)
        return true;
    if (authorization && strncasecmp(authorization, scheme, strlen(scheme)) == 0) {
        authorization += strlen(scheme);
        return organ_tokens_check(guard->tokens, authorization + strspn(authorization, " "), bearer);
    }
    organ_mhd.get_connection_values(request->connection, MHD_COOKIE_KIND, read_cookie, &search);
    return search.found;
}

static bool role_permits(const organ_server_request *request, const organ_bearer *bearer, organ_http_reply *reply)
{
    if (bearer->access == ORGAN_ACCESS_RUN || request->method == ORGAN_HTTP_GET ||
        (request->route && request->route->open))
        return true;
    organ_http_problem(reply, 403, "the token '%s' has the role read; %s needs the role run", bearer->name,
                       request->verb);
    return false;
}

/* The order is host, origin, token and role; the first failed check fills the reply. A request for an open route
 * passes without a token. */
bool organ_guard_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    organ_bearer bearer;
    if (!host_passes(guard, request, reply) || !origin_passes(guard, request, reply))
        return false;
    const char *const authorization = organ_http_header(request, "Authorization");
    const bool admitted = check_credentials(guard, request, authorization, &bearer);
    if (admitted)
        organ_http_done_by(request, bearer.name, bearer.access == ORGAN_ACCESS_RUN);
    if (admitted || (request->route && request->route->open))
        return role_permits(request, &bearer, reply);
    organ_http_problem(reply, 401,
                       authorization ? "the token is wrong" : "a token is needed: Authorization: Bearer TOKEN");
    organ_http_reply_header(reply, "WWW-Authenticate",
                            authorization ? "Bearer realm=\"organ\", error=\"invalid_token\""
                                          : "Bearer realm=\"organ\"");
    if (authorization)
        organ_http_reply_wrong_token(reply);
    return false;
}

/* The bytes before the IPv4 address in ::ffff:a.b.c.d. */
static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};

/* An IPv4 address becomes ::ffff:a.b.c.d, and *four true. Returns false if the text is not an address. */
static bool read_address(const char *text, unsigned char address[16], bool *four)
{
    *four = inet_pton(AF_INET, text, address + sizeof mapped) == 1;
    if (*four)
        memcpy(address, mapped, sizeof mapped);
    return *four || inet_pton(AF_INET6, text, address) == 1;
}

/* Compares the whole bytes of the prefix, then its remaining bits. */
static bool has_prefix(const unsigned char *address, const organ_network *network)
{
    const unsigned whole_bytes = network->bits / 8, rest_bits = network->bits % 8;
    const unsigned char mask = (unsigned char)(0xFF00u >> rest_bits);
    return memcmp(address, network->address, whole_bytes) == 0 &&
           (rest_bits == 0 || ((address[whole_bytes] ^ network->address[whole_bytes]) & mask) == 0);
}

static organ_status read_network(const char *word, organ_network *network, organ_error *error)
{
    char text[64];
    bool four;
    const size_t length = strcspn(word, "/");
    const char *const bits = word[length] ? word + length + 1 : NULL;
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : 0), word); /* longer: no address */
    if (!read_address(text, network->address, &four))
        return organ_fail(
            error, ORGAN_USAGE,
            "--trusted-proxy '%s': must be an address, or one with a prefix, such as 10.0.0.0/8 or fd00::/8", word);
    const unsigned max = four ? 32 : 128;
    if (bits &&
        (strspn(bits, "0123456789") != strlen(bits) || !*bits || strlen(bits) > 3 || strtoul(bits, NULL, 10) > max))
        return organ_fail(error, ORGAN_USAGE, "--trusted-proxy '%s': a prefix has 0 to %u bits", word, max);
    network->bits = (four ? 8 * (unsigned)sizeof mapped : 0) + (bits ? (unsigned)strtoul(bits, NULL, 10) : max);
    for (unsigned bit = network->bits; bit < 128; bit++)
        if (network->address[bit / 8] & (0x80 >> bit % 8))
            return organ_fail(error, ORGAN_USAGE, "--trusted-proxy '%s': the address has bits after its prefix", word);
    return ORGAN_OK;
}

organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error)
{
    for (proxies->count = 0; proxies->count < words->count && !error->status; proxies->count++)
        read_network(words->word[proxies->count], &proxies->networks[proxies->count], error);
    return error->status;
}

static bool is_trusted(const organ_proxies *proxies, const char *text)
{
    unsigned char address[16];
    bool four;
    if (!read_address(text, address, &four))
        return false;
    for (size_t k = 0; k < proxies->count; k++)
        if (has_prefix(address, &proxies->networks[k]))
            return true;
    return false;
}

/* Proxies write an entry of X-Forwarded-For as "192.0.2.1", "192.0.2.1:4711", "2001:db8::1" or "[2001:db8::1]:4711".
 * Writes the address, without brackets and port, to `text`. Returns false if it is not an address. */
static bool read_hop(const char *from, const char *to, char *text, size_t size)
{
    char bare[64];
    unsigned char address[16];
    bool four;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    const bool bracket = from < to && *from == '[';
    const char *const colon = memchr(from, ':', (size_t)(to - from));
    const char *const close = memchr(from, ']', (size_t)(to - from));
    if (bracket && close) {
        from++;
        to = close;
    } else if (colon && !memchr(colon + 1, ':', (size_t)(to - colon - 1)))
        to = colon;
    if ((size_t)(to - from) >= sizeof bare)
        return false;
    snprintf(bare, sizeof bare, "%.*s", (int)(to - from), from);
    return read_address(bare, address, &four) &&
           inet_ntop(four ? AF_INET : AF_INET6, four ? address + sizeof mapped : address, text, (socklen_t)size);
}

/* Starts with the peer. While the current address is a trusted proxy, the address before it in X-Forwarded-For, read
 * from the right, becomes the current one: that proxy wrote it. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size)
{
    char hop[64];
    snprintf(address, size, "%s", peer);
    const char *end = forwarded ? forwarded + strlen(forwarded) : NULL;
    while (end && is_trusted(proxies, address)) {
        const char *const comma = memrchr(forwarded, ',', (size_t)(end - forwarded));
        if (!read_hop(comma ? comma + 1 : forwarded, end, hop, sizeof hop))
            return;
        snprintf(address, size, "%s", hop);
        end = comma;
    }
}

/* The bytes of the network prefixes /24 and /64. */
enum { IPV4_PREFIX_BYTES = 3, IPV6_PREFIX_BYTES = 8 };

void organ_peer_network(const char *peer, char network[ORGAN_PEER_NETWORK_ROOM])
{
    unsigned char address[16];
    char text[INET6_ADDRSTRLEN];
    bool four;
    if (!read_address(peer, address, &four)) {
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s", peer);
        return;
    }
    four = four || memcmp(address, mapped, sizeof mapped) == 0;
    unsigned char *const from = four ? address + sizeof mapped : address;
    const size_t kept = four ? IPV4_PREFIX_BYTES : IPV6_PREFIX_BYTES;
    memset(from + kept, 0, (size_t)(address + sizeof address - from) - kept);
    snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s/%zu", inet_ntop(four ? AF_INET : AF_INET6, from, text, sizeof text),
             8 * kept);
}

/* FREE wrong tokens have no delay; MAX_DOUBLINGS doublings of first_seconds reach ORGAN_PENALTY_MAX_SECONDS. */
enum { PLACES = 1024, FREE = 3, MAX_DOUBLINGS = 5 };

/* The second number is the time without wrong tokens after which a count starts again. */
static const double first_seconds = 0.25, forgiven_seconds = 300;

typedef struct penalty_place {
    unsigned wrong; /* number of wrong tokens, at most FREE + MAX_DOUBLINGS + 1 */
    double last;    /* time of the last wrong token, in seconds of the monotonic clock */
} penalty_place;

struct organ_penalty {
    pthread_mutex_t lock;
    uint64_t seed; /* of the hash in place_of_peer */
    penalty_place places[PLACES];
};

/* A random `seed` keeps clients from choosing addresses that share a counter. If the random generator of the system
 * is not ready, the address of the table serves as seed. */
organ_penalty *organ_penalty_create(void)
{
    organ_penalty *const penalty = calloc(1, sizeof *penalty);
    if (!penalty)
        return NULL;
    pthread_mutex_init(&penalty->lock, NULL);
    if (getrandom(&penalty->seed, sizeof penalty->seed, GRND_NONBLOCK) < 0)
        penalty->seed = (uintptr_t)penalty;
    return penalty;
}

void organ_penalty_destroy(organ_penalty *penalty)
{
    if (penalty)
        pthread_mutex_destroy(&penalty->lock);
    free(penalty);
}

/* The caller holds the lock while it uses the place. */
static penalty_place *place_of_peer(organ_penalty *penalty, const char *peer)
{
    char network[ORGAN_PEER_NETWORK_ROOM];
    organ_peer_network(peer, network);
    return &penalty->places[XXH3_64bits_withSeed(network, strlen(network), penalty->seed) % PLACES];
}

/* The delay in seconds is 0 for the first FREE wrong tokens, then first_seconds, doubled by each further one. */
static double delay_of(unsigned wrong)
{
    return wrong <= FREE ? 0 : first_seconds * (double)(1u << (wrong - FREE - 1));
}

/* The count stops at the number that has the longest delay, and starts again from 0 after forgiven_seconds without
 * wrong tokens. The result is in seconds. */
double organ_penalty_add(organ_penalty *penalty, const char *peer)
{
    const double now = organ_seconds_now();
    ORGAN_LOCKED(&penalty->lock);
    penalty_place *const p = place_of_peer(penalty, peer);
    if (now - p->last > forgiven_seconds)
        p->wrong = 0;
    p->last = now;
    const unsigned wrong = p->wrong < FREE + MAX_DOUBLINGS + 1 ? ++p->wrong : p->wrong;
    return delay_of(wrong);
}

double organ_penalty_longest(organ_penalty *penalty)
{
    const double now = organ_seconds_now();
    unsigned max = 0;
    ORGAN_LOCKED(&penalty->lock);
    for (size_t k = 0; k < PLACES; k++)
        if (now - penalty->places[k].last <= forgiven_seconds && penalty->places[k].wrong > max)
            max = penalty->places[k].wrong;
    return delay_of(max < FREE + MAX_DOUBLINGS + 1 ? max + 1 : max);
}

struct organ_audit_log {
    char *file;
    pthread_mutex_t lock; /* guards the members below */
    int fd;
    bool torn;               /* the end of the last line could not be written */
    bool reported;           /* the last line was lost, and stderr reports this series of losses */
    unsigned long long lost; /* lines that could not be written */
};

/* Returns -1 with errno on failure. O_NONBLOCK makes the open of a pipe without a reader fail instead of wait. */
static int open_log(const char *file)
{
    return open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

organ_status organ_audit_log_open(const char *file, organ_audit_log **made, organ_error *error)
{
    organ_audit_log *const audit = *made = calloc(1, sizeof *audit);
    if (!audit)
        return organ_fail_memory(error, file);
    pthread_mutex_init(&audit->lock, NULL);
    audit->file = strdup(file);
    audit->fd = audit->file ? open_log(file) : -1;
    if (audit->fd >= 0)
        return ORGAN_OK;
    organ_fail_errno(error, errno, "%s", file);
    organ_audit_log_close(audit);
    *made = NULL;
    return error->status;
}

void organ_audit_log_close(organ_audit_log *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    pthread_mutex_destroy(&audit->lock);
    ORGAN_FREE_ARRAYS(audit->file, audit);
}

organ_status organ_audit_log_reopen(organ_audit_log *audit, organ_error *error)
{
    const int fd = open_log(audit->file);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", audit->file);
    ORGAN_LOCKED(&audit->lock);
    close(audit->fd);
    audit->fd = fd;
    audit->torn = false;
    return ORGAN_OK;
}

double organ_http_stamp(char stamp[32])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    const size_t used = strftime(stamp, 24, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + used, 32 - used, ".%03ldZ", now.tv_nsec / 1000000);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Returns a text that the caller frees; NULL if out of memory. */
static char *audit_log_line_of(const organ_audit_entry *entry)
{
    char stamp[32];
    organ_http_stamp(stamp);
    ORGAN_OWNED_JSON json_t *const line =
        ORGAN_OBJECT(SET_TEXT("time", stamp), SET_TEXT("address", entry->address),
                     SET_BYTES_OF("token", *entry->token ? entry->token : NULL), SET_BYTES("method", entry->method),
                     SET_BYTES("path", entry->path), SET_COUNT("status", entry->status),
                     SET_BYTES_OF("job", *entry->job ? entry->job : NULL));
    return line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
}

/* The text and its newline are one system call, so that the lines of several processes do not mix. The caller holds
 * the lock. Returns 0 or an errno; ENOSPC if only a part was written. */
static int append_line(organ_audit_log *audit, const char *text)
{
    ORGAN_OWNED char *whole = NULL;
    /* If a full disk cut the last line, the next entry begins on a new line. */
    const int bytes = asprintf(&whole, "%s%s\n", audit->torn ? "\n" : "", text);
    if (bytes < 0)
        return ENOMEM;
    const ssize_t wrote = write(audit->fd, whole, (size_t)bytes);
    int fault = wrote < bytes ? ENOSPC : 0;
    if (wrote < 0)
        fault = errno;
    if (wrote > 0)
        audit->torn = wrote < bytes;
    return fault;
}

void organ_audit_log_write(organ_audit_log *audit, const organ_audit_entry *entry)
{
    ORGAN_OWNED char *const text = audit_log_line_of(entry);
    ORGAN_LOCKED(&audit->lock);
    const int fault = text ? append_line(audit, text) : ENOMEM;
    audit->lost += fault != 0;
    if (fault && !audit->reported)
        organ_message(stderr, ORGAN_MESSAGE_WARNING, "%s: cannot be written, requests are not logged: %s", audit->file,
                      strerror(fault));
    else if (!fault && audit->reported)
        organ_message(stderr, ORGAN_MESSAGE_NOTE, "%s: can be written again; %llu lines were lost", audit->file,
                      audit->lost);
    audit->reported = fault != 0;
}

unsigned long long organ_audit_log_lost(organ_audit_log *audit)
{
    ORGAN_LOCKED(&audit->lock);
    return audit->lost;
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_tally.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/serve/http/http_parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_ROUTES = 96, MAX_STATUSES = 24, BUCKETS = 8 };

static const double bounds[BUCKETS] = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60};

typedef struct route_tally {
    const organ_http_route *route; /* NULL: requests that match no route */
    uint64_t count;                /* requests */
    uint64_t bucket[BUCKETS];      /* requests that took at most bounds[b] seconds */
    double seconds;                /* sum of their durations */
    struct {
        unsigned status;
        uint64_t count;
    } statuses[MAX_STATUSES]; /* requests by status, in the order in which the statuses first occurred */
    size_t status_count;
} route_tally;

struct organ_request_tally {
    pthread_mutex_t lock;
    route_tally routes[MAX_ROUTES]; /* row 0 counts requests that match no route */
    size_t route_count;
    /* bytes of bodies sent, connections opened, connections closed as slow; atomic, without the lock */
    uint64_t bytes, connections, slow;
};

/* Row 0 counts the requests that match no route. */
organ_request_tally *organ_tally_create(void)
{
    organ_request_tally *const tally = calloc(1, sizeof *tally);
    if (tally) {
        pthread_mutex_init(&tally->lock, NULL);
        tally->route_count = 1;
    }
    return tally;
}

void organ_tally_destroy(organ_request_tally *tally)
{
    if (tally)
        pthread_mutex_destroy(&tally->lock);
    free(tally);
}

/* If the table is full, which the routes of this server never cause, a further route shares the row of requests
 * without a route. */
static route_tally *tally_of(organ_request_tally *tally, const organ_http_route *route)
{
    size_t k = 0;
    while (k < tally->route_count && tally->routes[k].route != route)
        k++;
    if (k == tally->route_count && k < MAX_ROUTES)
        tally->routes[tally->route_count++].route = route;
    return &tally->routes[k < MAX_ROUTES ? k : 0];
}

/* bucket[b] counts durations of at most bounds[b], as Prometheus requires. */
void organ_tally_request(organ_request_tally *tally, const organ_http_route *route, unsigned status, double seconds)
{
    pthread_mutex_lock(&tally->lock);
    route_tally *const t = tally_of(tally, route);
    size_t k = 0;
    while (k < t->status_count && t->statuses[k].status != status)
        k++;
    if (k == t->status_count && k < MAX_STATUSES)
        t->statuses[t->status_count++].status = status;
    if (k < MAX_STATUSES)
        t->statuses[k].count++;
    t->count++;
    t->seconds += seconds;
    for (int b = 0; b < BUCKETS; b++)
        t->bucket[b] += seconds <= bounds[b];
    pthread_mutex_unlock(&tally->lock);
}

static uint64_t tally_count_of(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }
static void count_more(uint64_t *counter, uint64_t more) { __atomic_add_fetch(counter, more, __ATOMIC_RELAXED); }

void organ_tally_bytes(organ_request_tally *tally, uint64_t bytes) { count_more(&tally->bytes, bytes); }
void organ_tally_slow(organ_request_tally *tally) { count_more(&tally->slow, 1); }

void organ_tally_connection(organ_request_tally *tally, bool opened) { count_more(&tally->connections, opened); }

/* The second number of statm counts resident pages. */
unsigned long long organ_http_resident(pid_t pid)
{
    char path[40];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    FILE *const file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void put_route_label(FILE *out, const route_tally *t)
{
    fprintf(out, "route=\"%s\",method=\"%s\"", t->route ? t->route->pattern : "",
            t->route ? organ_http_method_names[t->route->method] : "");
}

static void print_durations(const route_tally *t, FILE *out)
{
    if (!t->count)
        return;
    for (int b = 0; b <= BUCKETS; b++) {
        fputs("organ_http_request_seconds_bucket{", out);
        put_route_label(out, t);
        if (b < BUCKETS)
            organ_fprintf(out, ",le=\"%g\"} %llu\n", bounds[b], (unsigned long long)t->bucket[b]);
        else
            fprintf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)t->count);
    }
    fputs("organ_http_request_seconds_sum{", out);
    put_route_label(out, t);
    organ_fprintf(out, "} %.6f\norgan_http_request_seconds_count{", t->seconds);
    put_route_label(out, t);
    fprintf(out, "} %llu\n", (unsigned long long)t->count);
}

void organ_http_metric(FILE *out, const char *name, const char *type, const char *help, unsigned long long value)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name, value);
}

void organ_http_quota(FILE *out, const char *name, const char *help, unsigned long long used, unsigned long long limit)
{
    organ_http_metric(out, name, "gauge", help, used);
    fprintf(out, "# HELP %s_limit Limit of this value.\n# TYPE %s_limit gauge\n", name, name);
    if (limit)
        fprintf(out, "%s_limit %llu\n", name, limit);
    else
        fprintf(out, "%s_limit +Inf\n", name);
}

void organ_tally_print(organ_request_tally *tally, FILE *out)
{
    pthread_mutex_lock(&tally->lock);
    fputs("# HELP organ_http_requests_total Requests by route and status; an empty route stands for requests that "
          "match none.\n"
          "# TYPE organ_http_requests_total counter\n",
          out);
    for (size_t k = 0; k < tally->route_count; k++)
        for (size_t s = 0; s < tally->routes[k].status_count; s++) {
            fputs("organ_http_requests_total{", out);
            put_route_label(out, &tally->routes[k]);
            fprintf(out, ",status=\"%u\"} %llu\n", tally->routes[k].statuses[s].status,
                    (unsigned long long)tally->routes[k].statuses[s].count);
        }
    fputs("# HELP organ_http_request_seconds Seconds from the first line of a request to the last byte of its reply.\n"
          "# TYPE organ_http_request_seconds histogram\n",
          out);
    for (size_t k = 0; k < tally->route_count; k++)
        print_durations(&tally->routes[k], out);
    organ_http_metric(out, "organ_http_sent_bytes_total", "counter", "Bytes of bodies sent.",
                      tally_count_of(&tally->bytes));
    organ_http_metric(out, "organ_http_connections_total", "counter", "Connections accepted.",
                      tally_count_of(&tally->connections));
    organ_http_metric(out, "organ_http_slow_total", "counter",
                      "Connections closed because a request took too long to arrive.", tally_count_of(&tally->slow));
    organ_http_metric(out, "process_resident_memory_bytes", "gauge", "Resident memory of the server.",
                      organ_http_resident(getpid()));
    pthread_mutex_unlock(&tally->lock);
}

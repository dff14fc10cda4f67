/* SPDX-License-Identifier: MIT
 * bench_forward MODEL [CONTEXT [WINDOWS [THREADS [COMPUTE [PARTS]]]]]: measures the forward pass and the likelihood of
 * generated tokens, as organ perplexity computes it, in tokens per second of wall time and of processor time; the
 * latter depends less on other load. PARTS is "all", or "layers" for the pass without the output head, which is then
 * computed for one token of each window. ORGAN_ISA chooses the kernels as in organ. Prints one object of JSON. Ends
 * with UNAVAILABLE if this CPU lacks the instructions of COMPUTE (split or bf16), else with the status of the library.
 */
#include <organ/forward.h>
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { UNAVAILABLE = 77 };

typedef struct scoring {
    const organ_kernels *kernels;
    const uint32_t *tokens;
    const size_t *rows;
    size_t vocabulary;
    double *losses;
} scoring;

static void score(void *context, size_t k, float *logits)
{
    const scoring *s = context;
    const double top = (double)logits[organ_logits_top(logits, s->vocabulary)];
    s->losses[k] =
        top + log(s->kernels->exp_sum(logits, s->vocabulary, top)) - (double)logits[s->tokens[s->rows[k] + 1]];
}

static double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double processor(const struct rusage *use)
{
    return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) +
           1e-6 * (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec);
}

static int measure(organ_forward *forward, const organ_kernels *kernels, size_t context, size_t windows,
                   bool layers_only, organ_error *error)
{
    const size_t tokens = context * windows;
    const organ_forward_config *config = organ_forward_describe(forward);
    uint32_t *token = calloc(tokens, sizeof *token);
    size_t *begin = calloc(windows + 1, sizeof *begin), *rows = calloc(tokens, sizeof *rows), count = 0;
    scoring s = {kernels, token, rows, (size_t)config->vocabulary, calloc(tokens, sizeof(double))};
    for (size_t t = 0; t < tokens; t++) {
        token[t] = (uint32_t)((t % context) * (t % context) * 7 + t % context / 3) % (uint32_t)config->vocabulary;
        if (layers_only ? t % context == 0 : t % context + 1 < context)
            rows[count++] = t;
    }
    for (size_t w = 0; w <= windows; w++)
        begin[w] = w * context;
    const organ_windows all = {token, windows, begin};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    const double start = wall();
    const organ_status status = organ_forward_run(forward, &all, rows, count, &s, score, NULL, error);
    const double seconds = wall() - start;
    getrusage(RUSAGE_SELF, &after);
    double loss = 0;
    for (size_t k = 0; k < count; k++)
        loss += s.losses[k];
    const double busy = processor(&after) - processor(&before);
    if (status == ORGAN_OK)
        printf("{\"schema\": \"organ.bench.forward/1\", \"tokens\": %zu, \"loss\": %.6f, \"tokens_per_second\": %.1f, "
               "\"tokens_per_processor_second\": %.1f, \"peak_rss_mib\": %.0f}\n",
               tokens, loss / (double)count, (double)tokens / seconds, (double)tokens / busy,
               (double)after.ru_maxrss / 1024);
    free(token);
    free(begin);
    free(rows);
    free(s.losses);
    return status;
}

static size_t number(int count, char **words, int at, size_t fallback)
{
    return count > at ? (size_t)strtoull(words[at], NULL, 10) : fallback;
}

int main(int count, char **words)
{
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_model *model = NULL;
    organ_forward *forward = NULL;
    organ_error error = {0};
    const char *why;
    bool unavailable = false;
    const size_t context = number(count, words, 2, 512), windows = number(count, words, 3, 4);
    if (count < 2 || context < 2 || windows < 1) {
        fprintf(stderr, "usage: %s MODEL [CONTEXT [WINDOWS [THREADS [COMPUTE [PARTS]]]]]\n", words[0]);
        return 2;
    }
    organ_engine engine = {.memory = (uint64_t)4 << 30,
                           .kernels = organ_kernels_choose(organ_cpu_detect(), getenv("ORGAN_ISA"), &why)};
    if (!engine.kernels) {
        fprintf(stderr, "ORGAN_ISA: %s\n", why);
        return 2;
    }
    if (organ_topology_discover(&topology, &error) == ORGAN_OK &&
        organ_workers_create(topology, number(count, words, 4, 0), &workers, &error) == ORGAN_OK) {
        engine.topology = topology;
        engine.workers = workers;
        const char *const compute = count > 5 ? words[5] : NULL;
        if (organ_engine_compute(&engine, "compute", compute, &error) != ORGAN_OK)
            unavailable = strcmp(compute, "split") == 0 || strcmp(compute, "bf16") == 0;
        else if (organ_model_open(words[1], &model, &error) == ORGAN_OK &&
                 organ_forward_open(model, &engine, &forward, &error) == ORGAN_OK)
            measure(forward, engine.kernels, context, windows, count > 6 && strcmp(words[6], "layers") == 0, &error);
    }
    if (error.status)
        fprintf(stderr, "%s\n", error.message);
    organ_forward_close(forward);
    organ_model_close(model);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return unavailable ? UNAVAILABLE : (int)error.status;
}

/* SPDX-License-Identifier: MIT
 * Long test of streams: 61 blocks of 384 experts, 60 GB that the server generates; the server is killed halfway. All
 * bytes are compared, and measured with and without the interruption. */
#include "tests/kit/served_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEMORY ((uint64_t)64 << 20)
#define GROWTH ((uint64_t)160 << 20)

static served_model model;
static http_server *server;
static char url[512];
static uint64_t digests[2];

static const char *look(uint64_t *grown) { return served_model_pass(url, &model, MEMORY, 2, grown); }
static const char *measure(uint64_t *grown) { return served_model_measure(url, MEMORY, 2, &digests[0], grown); }
static const char *measure_again(uint64_t *grown) { return served_model_measure(url, MEMORY, 2, &digests[1], grown); }

/* Runs one stage and prints its result; returns whether it succeeded. */
static bool stage(const char *name, const char *(*go)(uint64_t *grown), bool interrupted)
{
    struct timespec from, to;
    uint64_t grown = 0;
    if (interrupted)
        served_model_interrupt(&server, &model, http_sent(server) + model.bytes / 2);
    clock_gettime(CLOCK_MONOTONIC, &from);
    const char *fault = go(&grown);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (interrupted && !served_model_was_interrupted())
        fault = "the server was not killed halfway";
    if (!fault && grown >= GROWTH)
        fault = "the memory has grown too much";
    printf("%-10s %zu tensors, %.1f GB, %.0f s, memory grown by %.0f MiB: %s\n", name, model.tensor_count,
           (double)model.bytes / 1e9, (double)(to.tv_sec - from.tv_sec), (double)grown / 1048576.0,
           fault ? fault : "as it should be");
    return !fault;
}

int main(void)
{
    unsetenv("http_proxy");
    model = served_model_make(61, 384, 640, 670, 61);
    server = http_start(model.files, model.file_count, 0);
    strcpy(url, http_url(server, "model.safetensors.index.json"));
    bool good = stage("bytes", look, true);
    good = stage("measured", measure, false) && good;
    good = stage("and again", measure_again, true) && good;
    if (digests[0] != digests[1]) {
        puts("the interruption has changed what was measured");
        good = false;
    }
    http_stop(server);
    served_model_free(&model);
    return !good;
}

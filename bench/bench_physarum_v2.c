/* SPDX-License-Identifier: MIT
 * Measures SparseGPT, physarum v2, ALPS and physarum v3 on the linear layers of one layer of Qwen2.5-0.5B at 50 %, with
 * generated weights and 8,192 generated calibration tokens. Prints seconds of calibration and of pruning; fails if v2
 * takes more than 3.5 x the processor time of SparseGPT, which draws no noise, or v3 more than 2 x that of v2.
 * bench_physarum_v2 REPORT.json [TOKENS]. With BENCH_SMOKE=1 in the environment, it prunes only o_proj, and no bar
 * applies. */
#include "bench/bench_rig.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/verbs/prune/prune_matrix.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CALL   ((size_t)512) /* tokens per call */
#define LATENT ((size_t)32)
#define BAR    3.5
#define BAR_3  2.0

static const struct {
    organ_prune_method method;
    const char *name;
    bool two_streams, noise;
} methods[] = {{ORGAN_PRUNE_SPARSEGPT, "sparsegpt", false, false},
               {ORGAN_PRUNE_PHYSARUM_V2, "physarum-v2", true, true},
               {ORGAN_PRUNE_ALPS, "alps", false, false},
               {ORGAN_PRUNE_PHYSARUM_V3, "physarum-v3", true, false}};
enum { SPARSEGPT, PHYSARUM_V2, ALPS, PHYSARUM_V3, METHODS };

/* Matrices with the same inputs share one calibration. */
typedef struct input {
    size_t features;
    struct {
        const char *name;
        size_t rows;
    } matrices[3];
} input;

static const input inputs[] = {{896, {{"q_proj", 896}, {"k_proj", 128}, {"v_proj", 128}}},
                               {896, {{"o_proj", 896}}},
                               {896, {{"gate_proj", 4864}, {"up_proj", 4864}}},
                               {4864, {{"down_proj", 896}}}};

typedef struct seconds {
    double wall, cpu;
} seconds;

typedef struct figures {
    seconds calibrating, pruning;
} figures;

static seconds now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (seconds){organ_seconds_now(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

static void add_since(seconds *sum, seconds start)
{
    const seconds end = now();
    sum->wall += end.wall - start.wall;
    sum->cpu += end.cpu - start.cpu;
}

/* Makes correlated inputs of different strength; the donor's inputs are close to them. */
static void make_inputs(size_t features, uint64_t block, float *ours, float *donor)
{
    float *latent = bench_room(CALL * LATENT * sizeof *latent), *mix = bench_room(LATENT * features * sizeof *mix);
    organ_philox_uniform(1, 2 * block, 0, ours, CALL * features);
    organ_philox_uniform(2, 2 * block, 0, donor, CALL * features);
    organ_philox_uniform(3, 2 * block, 0, latent, CALL * LATENT);
    organ_philox_uniform(4, 0, 0, mix, LATENT * features);
    for (size_t t = 0; t < CALL; t++)
        for (size_t j = 0; j < features; j++) {
            float *const x = &ours[t * features + j], *const d = &donor[t * features + j];
            for (size_t k = 0; k < LATENT; k += 4)
                *x += latent[t * LATENT + k] * mix[k * features + j];
            *x *= 0.2f + (float)(j * 37 % 101) / 50;
            *d = *x + 0.1f * *d;
        }
    free(latent);
    free(mix);
}

static float *make_weights(size_t rows, size_t features)
{
    float *const weights = bench_room(rows * features * sizeof *weights);
    organ_philox_normal(7, rows, 0, weights, rows * features);
    return weights;
}

static organ_calibration *calibrate(const organ_engine *engine, const input *in, size_t method, size_t tokens,
                                    const float *weights, figures *f)
{
    organ_error error = {0};
    organ_calibration *c;
    const bool two_streams = methods[method].two_streams;
    float *ours = bench_room(CALL * in->features * sizeof *ours),
          *donor = bench_room(CALL * in->features * sizeof *donor);
    const organ_calibration_options options = {.features = in->features,
                                               .name = "calibration",
                                               .two_streams = two_streams,
                                               .moments_only = !methods[method].noise,
                                               .weights = organ_by_rows(weights, in->features),
                                               .rows = in->matrices[0].rows};
    seconds start = now();
    organ_calibration_create(&options, engine, &c, &error);
    bench_stop_at(&error);
    add_since(&f->calibrating, start);
    for (size_t t = 0; t < tokens; t += CALL) {
        make_inputs(in->features, t, ours, donor);
        start = now();
        organ_calibration_add(c, ours, two_streams ? donor : NULL, CALL, &error);
        bench_stop_at(&error);
        add_since(&f->calibrating, start);
    }
    start = now();
    organ_calibration_finish(c, &error);
    bench_stop_at(&error);
    add_since(&f->calibrating, start);
    free(ours);
    free(donor);
    return c;
}

/* Prunes one matrix. The calibration of shared inputs is cached. */
static void prune(const organ_engine *engine, size_t method, const char *name, size_t rows, const input *in,
                  const organ_calibration *c, organ_prune_shared *shared, bool again, figures *f)
{
    organ_error error = {0};
    organ_prune_matrix_report report;
    const size_t n = rows * in->features;
    float *weights = make_weights(rows, in->features);
    uint8_t *keep = bench_room(n);
    organ_prune_matrix_options options = {.method = methods[method].method, .name = name, .sparsity = 50, .effort = 1};
    const seconds start = now();
    organ_prune_share(shared, &options, c, again, UINT64_MAX);
    organ_prune_matrix(engine, &options, c, weights, rows, in->features, keep, &report, &error);
    bench_stop_at(&error);
    seconds taken = {0};
    add_since(&taken, start);
    f->pruning.wall += taken.wall;
    f->pruning.cpu += taken.cpu;
    printf("%-12s %-9s %4zu x %4zu: %6.2f s, %6.2f s of CPU time, sparsity %.2f %%, %u products\n",
           methods[method].name, name, rows, in->features, taken.wall, taken.cpu, report.sparsity, report.products);
    fflush(stdout);
    free(weights);
    free(keep);
}

static figures run(const organ_engine *engine, size_t method, size_t tokens)
{
    figures f = {0};
    for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) {
        if (bench_is_smoke() && strcmp(inputs[k].matrices[0].name, "o_proj") != 0)
            continue;
        const bool two = methods[method].two_streams, alone = !inputs[k].matrices[1].name;
        float *const weights = two && alone ? make_weights(inputs[k].matrices[0].rows, inputs[k].features) : NULL;
        organ_calibration *c = calibrate(engine, &inputs[k], method, tokens, weights, &f);
        organ_prune_shared shared = {0};
        for (size_t m = 0; m < 3 && inputs[k].matrices[m].name; m++)
            prune(engine, method, inputs[k].matrices[m].name, inputs[k].matrices[m].rows, &inputs[k], c, &shared,
                  m < 2 && inputs[k].matrices[m + 1].name, &f);
        organ_prune_share_end(&shared);
        organ_calibration_destroy(c);
        free(weights);
    }
    return f;
}

static json_t *describe(const char *name, const figures *f)
{
    printf("%-12s calibrating %6.2f s (CPU %6.2f), pruning %6.2f s (CPU %6.2f)\n", name, f->calibrating.wall,
           f->calibrating.cpu, f->pruning.wall, f->pruning.cpu);
    return json_pack("{s:s, s:f, s:f, s:f, s:f}", "method", name, "calibrating_seconds", f->calibrating.wall,
                     "calibrating_cpu_seconds", f->calibrating.cpu, "pruning_seconds", f->pruning.wall,
                     "pruning_cpu_seconds", f->pruning.cpu);
}

static double wall_of(const figures *f) { return f->calibrating.wall + f->pruning.wall; }

static double cpu_of(const figures *f) { return f->calibrating.cpu + f->pruning.cpu; }

int main(int argc, char **argv)
{
    organ_error error = {0};
    organ_topology *topology;
    organ_workers *workers;
    const char *why;
    struct rusage usage;
    if (argc != 2 && argc != 3)
        return fputs("usage: bench_physarum_v2 REPORT.json [TOKENS]\n", stderr), 2;
    const size_t tokens = argc > 2 ? strtoul(argv[2], NULL, 10) : 8192;
    organ_topology_discover(&topology, &error);
    bench_stop_at(&error);
    organ_workers_create(topology, 0, &workers, &error);
    bench_stop_at(&error);
    const organ_engine engine = {.topology = topology,
                                 .workers = workers,
                                 .memory = (uint64_t)2 << 30,
                                 .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
    json_t *documents = json_array();
    figures f[METHODS];
    for (size_t k = 0; k < METHODS; k++) {
        f[k] = run(&engine, k, tokens);
        json_array_append_new(documents, describe(methods[k].name, &f[k]));
    }
    const double wall = wall_of(&f[PHYSARUM_V2]) / wall_of(&f[SPARSEGPT]),
                 cpu = cpu_of(&f[PHYSARUM_V2]) / cpu_of(&f[SPARSEGPT]);
    const double third = cpu_of(&f[PHYSARUM_V3]) / cpu_of(&f[PHYSARUM_V2]),
                 published = cpu_of(&f[PHYSARUM_V3]) / cpu_of(&f[ALPS]);
    const bool failed = cpu > BAR || third > BAR_3;
    getrusage(RUSAGE_SELF, &usage);
    printf("physarum v2 takes %.2f x the CPU time of sparsegpt (bar %.1f), %.2f x the time; %zu tokens, %zu threads, "
           "RSS %ld MiB\n",
           cpu, BAR, wall, tokens, organ_workers_count(workers), usage.ru_maxrss / 1024);
    printf("physarum v3 takes %.2f x the CPU time of v2 (bar %.0f), %.2f x that of alps\n", third, BAR_3, published);
    json_t *report =
        json_pack("{s:s, s:o, s:I, s:f, s:f, s:f, s:f, s:I, s:b}", "schema", "organ.bench_physarum_v2/2", "methods",
                  documents, "tokens", (json_int_t)tokens, "times_as_long", wall, "times_the_cpu_time", cpu,
                  "v3_times_the_cpu_time_of_v2", third, "v3_times_the_cpu_time_of_alps", published, "rss_bytes",
                  (json_int_t)usage.ru_maxrss * 1024, "failed", failed);
    const int written = json_dump_file(report, argv[1], JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(report);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return written ? 4 : failed && !bench_is_smoke();
}

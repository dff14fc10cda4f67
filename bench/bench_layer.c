/* SPDX-License-Identifier: MIT
 * Measures calibrated methods on a slice of a wide layer: generated weights and correlated inputs, by default 512 rows
 * of down_proj of Qwen2.5-7B with 4,096 tokens. Prints the processor seconds of each phase, and how many of them the
 * calling thread took, which no other thread could share.
 *
 *   layer_slice REPORT.json [METHODS [FEATURES [ROWS [TOKENS [THREADS]]]]]
 *
 * METHODS, separated by commas: sparsegpt, alps, physarum-v2, physarum-v3, gptq (int4-group128), or a scheme of organ
 * quantize, which GPTQ then codes. With BENCH_SMOKE=1 in the environment the slice is tiny; with BENCH_ERRORS=1 each
 * pruning runs twice, the second time for its output error. */
#include "bench/bench_rig.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/verbs/prune/prune_matrix.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/gptq/gptq.h"

#include <jansson.h>
#include <sys/resource.h>

#define CALL   ((size_t)256) /* tokens per call of organ_calibration_add */
#define LATENT ((size_t)64)  /* dimensions that all inputs share */
#define TAPS   ((size_t)8)   /* dimensions that mix into one input */

static const struct {
    const char *name;
    organ_prune_method method;
    bool two_streams, noise;
} prunings[] = {{"sparsegpt", ORGAN_PRUNE_SPARSEGPT, false, false},
                {"alps", ORGAN_PRUNE_ALPS, false, false},
                {"physarum-v2", ORGAN_PRUNE_PHYSARUM_V2, true, true},
                {"physarum-v3", ORGAN_PRUNE_PHYSARUM_V3, true, false}};
enum { PRUNINGS = sizeof prunings / sizeof *prunings };

/* The matrix and the number of tokens of its inputs. */
typedef struct slice {
    size_t features, rows, tokens;
    float *weights;
} slice;

/* Processor seconds of the process and, of these, of the calling thread; seconds of wall time. */
typedef struct seconds {
    double all, caller, wall;
} seconds;

static seconds now(void)
{
    return (seconds){bench_seconds(CLOCK_PROCESS_CPUTIME_ID), bench_seconds(CLOCK_THREAD_CPUTIME_ID),
                     bench_seconds(CLOCK_MONOTONIC)};
}

static void add_since(seconds *sum, seconds start)
{
    const seconds end = now();
    sum->all += end.all - start.all;
    sum->caller += end.caller - start.caller;
    sum->wall += end.wall - start.wall;
}

/* Makes the inputs of tokens first .. first + CALL - 1. They are correlated, of different strength, and like the inputs
 * of a down projection: products of a rectified and a plain number. The donor's inputs are close to them. */
static void make_inputs(size_t features, uint64_t first, float *ours, float *donor)
{
    float *const latent = bench_room(CALL * LATENT * sizeof *latent), *const mix =
                                                                          bench_room(TAPS * features * sizeof *mix);
    organ_philox_normal(1, first, 0, ours, CALL * features);
    organ_philox_normal(2, first, 0, donor, CALL * features);
    organ_philox_normal(3, first, 0, latent, CALL * LATENT);
    organ_philox_normal(4, 0, 0, mix, TAPS * features);
    for (size_t t = 0; t < CALL; t++)
        for (size_t j = 0; j < features; j++) {
            float *const x = &ours[t * features + j], *const d = &donor[t * features + j];
            float gate = 0;
            for (size_t k = 0; k < TAPS; k++)
                gate += latent[t * LATENT + (j * 13 + k * 7) % LATENT] * mix[k * features + j];
            gate = 0.3f * gate + 0.4f * *x;
            *x = (gate > 0 ? gate : 0.1f * gate) * (0.2f + (float)(j * 37 % 101) / 50);
            *d = *x + 0.1f * *d * (0.2f + (float)(j * 37 % 101) / 50);
        }
    free(latent);
    free(mix);
}

static organ_calibration *calibrate(const organ_engine *engine, const slice *s, bool two_streams, bool noise,
                                    seconds *taken)
{
    organ_error error = {0};
    organ_calibration *c;
    float *const ours = bench_room(CALL * s->features * sizeof *ours), *const donor = bench_room(CALL * s->features *
                                                                                                 sizeof *donor);
    const organ_calibration_options options = {.features = s->features,
                                               .name = "calibration",
                                               .two_streams = two_streams,
                                               .moments_only = !noise,
                                               .weights = organ_by_rows(two_streams ? s->weights : NULL, s->features),
                                               .rows = two_streams ? s->rows : 0};
    seconds start = now();
    organ_calibration_create(&options, engine, &c, &error);
    bench_stop_at(&error);
    add_since(taken, start);
    for (size_t t = 0; t < s->tokens; t += CALL) {
        make_inputs(s->features, t, ours, donor);
        start = now();
        organ_calibration_add(c, ours, two_streams ? donor : NULL, CALL, &error);
        bench_stop_at(&error);
        add_since(taken, start);
    }
    start = now();
    organ_calibration_finish(c, &error);
    bench_stop_at(&error);
    add_since(taken, start);
    free(ours);
    free(donor);
    return c;
}

/* Prunes a copy of the weights to 50 %. Returns its seconds and sets *error_ratio to its relative output error. */
static seconds prune(const organ_engine *engine, const slice *s, size_t which, const organ_calibration *c,
                     double *error_ratio)
{
    organ_error error = {0};
    organ_prune_matrix_report report;
    seconds taken = {0};
    float *const weights = bench_room(s->rows * s->features * sizeof *weights);
    uint8_t *const keep = bench_room(s->rows * s->features);
    organ_prune_matrix_options options = {
        .method = prunings[which].method, .name = prunings[which].name, .sparsity = 50, .effort = 1};
    organ_prune_shared shared = {0};
    for (int measured = 0; measured < 2; measured++) { /* a second run finds the output error */
        memcpy(weights, s->weights, s->rows * s->features * sizeof *weights);
        options.measure = measured;
        if (measured && !getenv("BENCH_ERRORS"))
            break;
        const seconds start = now();
        organ_prune_share(&shared, &options, c, false, UINT64_MAX);
        organ_prune_matrix(engine, &options, c, weights, s->rows, s->features, keep, &report, &error);
        bench_stop_at(&error);
        if (!measured)
            add_since(&taken, start);
        else
            *error_ratio = report.output_error;
    }
    organ_prune_share_end(&shared);
    free(weights);
    free(keep);
    return taken;
}

/* Quantises the weights by GPTQ. Adds its seconds to *preparing and *solving; returns its relative output error. */
static double quantise(const organ_engine *engine, const slice *s, const organ_encoding *encoding,
                       const organ_calibration *c, seconds *preparing, seconds *solving)
{
    organ_error error = {0};
    organ_gptq_inputs inputs = {0};
    const size_t numbers = organ_grid_numbers(&encoding->grid, s->features);
    organ_gptq m = {.name = encoding->name,
                    .grid = encoding->grid,
                    .rows = s->rows,
                    .cols = s->features,
                    .weights = s->weights,
                    .values = bench_room(s->rows * s->features * sizeof(float)),
                    .scales = bench_room(s->rows * numbers * sizeof(float))};
    seconds start = now();
    organ_gptq_inputs_open(engine, c, encoding->name, &inputs, &error);
    bench_stop_at(&error);
    add_since(preparing, start);
    start = now();
    organ_gptq_run(&inputs, &m, &error);
    bench_stop_at(&error);
    add_since(solving, start);
    organ_gptq_inputs_close(&inputs);
    free(m.values);
    free(m.scales);
    return m.loss / m.energy;
}

static json_t *phase(const seconds *s)
{
    return json_pack("{s:f, s:f, s:f}", "cpu_seconds", s->all, "caller_seconds", s->caller, "seconds", s->wall);
}

/* Runs one method and returns its row of the report. */
static json_t *measure(const organ_engine *engine, const slice *s, const char *method)
{
    seconds calibrating = {0}, preparing = {0}, solving = {0};
    double error_ratio = 0;
    size_t which = 0;
    while (which < PRUNINGS && strcmp(method, prunings[which].name) != 0)
        which++;
    const bool prunes = which < PRUNINGS;
    const organ_encoding *const encoding = organ_encoding_named(strcmp(method, "gptq") == 0 ? "int4-group128" : method);
    if (!prunes && !encoding) {
        fprintf(stderr, "layer_slice: no method '%s'\n", method);
        exit(2);
    }
    organ_calibration *const c =
        calibrate(engine, s, prunes && prunings[which].two_streams, prunes && prunings[which].noise, &calibrating);
    if (prunes)
        solving = prune(engine, s, which, c, &error_ratio);
    else
        error_ratio = quantise(engine, s, encoding, c, &preparing, &solving);
    organ_calibration_destroy(c);
    const double all = calibrating.all + preparing.all + solving.all,
                 caller = calibrating.caller + preparing.caller + solving.caller;
    printf(
        "%-14s CPU seconds: calibrating %7.2f, preparing %7.2f, solving %7.2f, all %7.2f; serial %.2f %%; output error "
        "%.6g\n",
        method, calibrating.all, preparing.all, solving.all, all, 100 * caller / all, error_ratio);
    fflush(stdout);
    return json_pack("{s:s, s:o, s:o, s:o, s:f, s:f, s:f, s:f}", "method", method, "calibrating", phase(&calibrating),
                     "preparing", phase(&preparing), "solving", phase(&solving), "cpu_seconds", all, "serial_share",
                     caller / all, "output_error", error_ratio, "seconds",
                     calibrating.wall + preparing.wall + solving.wall);
}

static size_t number(int argc, char **argv, int at, size_t without)
{
    return argc > at ? strtoul(argv[at], NULL, 10) : without;
}

int main(int argc, char **argv)
{
    organ_error error = {0};
    organ_topology *topology;
    organ_workers *workers;
    const char *why;
    char cpu[BENCH_CPU_NAME], methods[256];
    struct rusage usage;
    const bool tiny = bench_is_smoke();
    if (argc < 2 || argc > 7)
        return fputs("usage: layer_slice REPORT.json [METHODS [FEATURES [ROWS [TOKENS [THREADS]]]]]\n", stderr), 2;
    snprintf(methods, sizeof methods, "%s", argc > 2 ? argv[2] : "sparsegpt,gptq,physarum-v3");
    slice s = {.features = number(argc, argv, 3, tiny ? 512 : 18944),
               .rows = number(argc, argv, 4, tiny ? 32 : 512),
               .tokens = number(argc, argv, 5, tiny ? 1024 : 4096)};
    s.weights = bench_room(s.rows * s.features * sizeof *s.weights);
    organ_philox_normal(7, s.rows, 0, s.weights, s.rows * s.features);
    organ_topology_discover(&topology, &error);
    bench_stop_at(&error);
    organ_workers_create(topology, number(argc, argv, 6, 0), &workers, &error);
    bench_stop_at(&error);
    const organ_engine engine = {.topology = topology,
                                 .workers = workers,
                                 .memory = (uint64_t)64 << 30,
                                 .kernels = organ_kernels_choose(organ_cpu_detect(), getenv("ORGAN_ISA"), &why)};
    printf("%s, %s, %zu threads; %zu rows of %zu inputs, %zu tokens\n", bench_cpu_name(cpu), engine.kernels->isa,
           organ_workers_count(workers), s.rows, s.features, s.tokens);
    json_t *const documents = json_array();
    for (char *rest, *name = strtok_r(methods, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        json_array_append_new(documents, measure(&engine, &s, name));
    getrusage(RUSAGE_SELF, &usage);
    json_t *const report =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "schema", "organ.bench.layer_slice/1", "cpu", cpu,
                  "isa", engine.kernels->isa, "threads", (json_int_t)organ_workers_count(workers), "rows",
                  (json_int_t)s.rows, "features", (json_int_t)s.features, "tokens", (json_int_t)s.tokens, "rss_bytes",
                  (json_int_t)usage.ru_maxrss * 1024, "methods", documents);
    const int written = json_dump_file(report, argv[1], JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(report);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    free(s.weights);
    return written ? 4 : 0;
}

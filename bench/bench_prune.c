/* SPDX-License-Identifier: MIT
 * Compares whole runs of `organ prune` with a bound on their speed, in alternating runs: the longer of `cp -r && sync`
 * of the same model and of its weight-iterations on all CPUs at the rate of the tile kernel, which is measured before
 * each pair.
 * bench_prune ORGAN MAKE_MODEL DIR JSON [PAIRS]. With BENCH_SMOKE=1 in the environment, it prunes one model of 4 MB.
 *
 * DIR needs 7.8 GB. Prints a table and writes it as JSON. */
#include "bench/bench_rig.h"
#include <organ/kernels.h>
#include "tests/kit/samples.h"
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PAIRS 25
#define BAR       1.15 /* ratio to the bound */
enum { TILE = 256, ITERATIONS = 30, TILE_RUNS = 20 };

typedef struct cost {
    double seconds, processor;
    long rss; /* KiB, of the largest process */
} cost;

typedef struct experiment {
    const char *name;
    const char *model[6]; /* arguments of make_model after the directory, NULL-terminated */
    const char *memory;
    bool cold; /* the donor is not in the page cache */
} experiment;

static const experiment experiments[] = {
    {"2.5 GB, cached", {"5", "16384", NULL}, "512M", false},
    {"2.5 GB, from disk", {"5", "16384", NULL}, "512M", true},
    {"0.25 GB, --memory 64M", {"4", "16384", "1152", "6016", "256", NULL}, "64M", false},
};

static const experiment smoke = {"4 MB", {"2", "1024", "256", "768", "64", NULL}, "64M", false};

static void die(const char *what)
{
    perror(what);
    exit(4);
}

static cost run(char *const *command)
{
    struct timespec from, to;
    struct rusage usage;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &from);
    fflush(stdout); /* or the child would write the buffered output too */
    const pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    if (wait4(child, &status, 0, &usage) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "%s failed\n", command[0]);
        exit(1);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    const double processor = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                             1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return (cost){(double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec), processor,
                  usage.ru_maxrss};
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    sync();
}

/* Reads a file into the page cache, or removes it from there. */
static bool is_cold;
static int set_cached(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    static char buffer[1 << 20];
    (void)info, (void)where;
    if (kind != FTW_F)
        return 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    if (is_cold)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    else
        while (read(fd, buffer, sizeof buffer) > 0)
            ;
    close(fd);
    return 0;
}

static void prepare(const char *donor, bool cold)
{
    is_cold = cold;
    nftw(donor, set_cached, 16, FTW_PHYS);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values in place. */
static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Returns weight-iterations per second of processor time of one core in BF16. */
static double tile_rate(void)
{
    const organ_physarum_params params = {ITERATIONS, 2, 1, 6};
    const char *why;
    const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why);
    float *const values = bench_room(TILE * TILE * sizeof *values);
    uint16_t *const tile = bench_room(TILE * TILE * sizeof *tile);
    void *const scratch = bench_room(organ_physarum_scratch(TILE, TILE));
    samples random = {1};
    organ_prune_counts counts;
    double best = 1e9;
    samples_fill(&random, NORMAL, values, TILE * TILE);
    for (int run = 0; run < TILE_RUNS; run++) {
        kernels->f32_to_bf16(values, tile, TILE * TILE);
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
        kernels->physarum_bf16(tile, TILE, TILE, TILE, &params, scratch, &counts);
        const double took = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        best = took < best ? took : best;
    }
    free(values), free(tile), free(scratch);
    return (double)TILE * TILE * ITERATIONS / best;
}

/* Returns the number of target weights from the document of a pruning. */
static double targets_of(const char *out)
{
    char path[4300];
    json_error_t fault;
    snprintf(path, sizeof path, "%s/organ/prune.json", out);
    json_t *const document = json_load_file(path, 0, &fault);
    const json_t *const totals = json_object_get(document, "totals");
    const double elements = json_number_value(json_object_get(json_object_get(totals, "target"), "elements"));
    json_decref(document);
    if (!(elements > 0)) {
        fprintf(stderr, "%s: %s\n", path, document ? "does not say how many weights there were" : fault.text);
        exit(1);
    }
    return elements;
}

static json_t *measure(const experiment *e, const char *organ, const char *make_model, const char *directory, int pairs)
{
    char donor[4096], copy[4200], out[4200], shell[13000];
    snprintf(donor, sizeof donor, "%s/donor", directory);
    snprintf(copy, sizeof copy, "%s/copy", directory);
    snprintf(out, sizeof out, "%s/out", directory);
    snprintf(shell, sizeof shell, "cp -r '%s' '%s' && sync", donor, copy);
    char *make[9] = {(char *)make_model, donor};
    for (int k = 0; e->model[k]; k++)
        make[k + 2] = (char *)e->model[k];
    remove_tree(donor), remove_tree(copy), remove_tree(out);
    run(make);
    sync();
    double cp[MAX_PAIRS], prune[MAX_PAIRS], tiles[MAX_PAIRS], busy[MAX_PAIRS], ratio[MAX_PAIRS], of_bound[MAX_PAIRS];
    long rss = 0;
    for (int k = 0; k < pairs; k++) {
        const double rate = tile_rate();
        prepare(donor, e->cold);
        cp[k] = run((char *[]){"sh", "-c", shell, NULL}).seconds;
        remove_tree(copy);
        prepare(donor, e->cold);
        const cost c =
            run((char *[]){(char *)organ, "prune", donor, "-o", out, "--quiet", "--memory", (char *)e->memory, NULL});
        tiles[k] = targets_of(out) * ITERATIONS / rate / (double)sysconf(_SC_NPROCESSORS_ONLN);
        remove_tree(out);
        prune[k] = c.seconds;
        busy[k] = c.processor;
        ratio[k] = prune[k] / cp[k];
        of_bound[k] = prune[k] / (cp[k] > tiles[k] ? cp[k] : tiles[k]);
        rss = c.rss > rss ? c.rss : rss;
    }
    remove_tree(donor);
    const double cp_median = median(cp, pairs), prune_median = median(prune, pairs),
                 ratio_median = median(ratio, pairs);
    const double tiles_median = median(tiles, pairs), busy_median = median(busy, pairs),
                 of_bound_median = median(of_bound, pairs);
    printf("%-22s  cp -r && sync %6.2f s   tiles on all CPUs %6.2f s   organ prune %6.2f s (%.2f of processors)   x cp "
           "%.2f   peak RSS %ld "
           "MiB\n",
           e->name, cp_median, tiles_median, prune_median, busy_median, ratio_median, rss / 1024);
    printf("%-22s  x the longer of both, pair by pair: %.2f (%.2f .. %.2f)", "", of_bound_median, of_bound[0],
           of_bound[pairs - 1]);
    bench_tell_bar(of_bound_median <= BAR, BAR);
    fflush(stdout);
    return json_pack("{s:s, s:s, s:b, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:i}", "model", e->name, "memory", e->memory,
                     "cold", (int)e->cold, "pairs", pairs, "cp_sync_seconds", cp_median, "tile_kernel_seconds",
                     tiles_median, "prune_seconds", prune_median, "prune_processor_seconds", busy_median, "ratio",
                     ratio_median, "ratio_to_bound", of_bound_median, "peak_rss_kib", (int)rss);
}

int main(int argc, char **argv)
{
    const int pairs = argc > 5 ? atoi(argv[5]) : 5;
    if (argc < 5 || pairs < 1 || pairs > MAX_PAIRS) {
        fprintf(stderr, "bench_prune ORGAN MAKE_MODEL DIR JSON [PAIRS]\n");
        return 2;
    }
    if (mkdir(argv[3], 0777))
        die(argv[3]);
    json_t *results = json_array();
    char cpu[BENCH_CPU_NAME];
    printf("%s, %ld CPUs\n", bench_cpu_name(cpu), sysconf(_SC_NPROCESSORS_ONLN));
    printf("Medians of %d pairs, one after the other; donor and outputs in %s\n", pairs, argv[3]);
    const size_t count = bench_is_smoke() ? 1 : sizeof experiments / sizeof *experiments;
    for (size_t k = 0; k < count; k++)
        json_array_append_new(results,
                              measure(bench_is_smoke() ? &smoke : &experiments[k], argv[1], argv[2], argv[3], pairs));
    rmdir(argv[3]);
    json_t *document = json_pack("{s:s, s:o}", "schema", "organ.bench-prune/1", "results", results);
    const int failed = json_dump_file(document, argv[4], JSON_INDENT(2));
    json_decref(document);
    return bench_end(failed ? 4 : 0);
}

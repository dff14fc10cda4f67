/* SPDX-License-Identifier: MIT
 * Estimates the time of verbs on several nodes (docs/cluster.md, "More nodes").
 *
 * Verbs without a text read, compute and write at the same time, so the slowest of these counts:
 * start + open x tensors + max(S / link, B / server, S / (cores x rate)) + first read and last write
 * S is the largest number of bytes of a rank, B the bytes of all ranks.
 *
 * Calibrated verbs execute these steps in each layer, in this order:
 * read: the longer of bytes / ranks / link and bytes / server
 * run: passes x 2 x weights x most tokens of a rank / (cores x FLOP/s)
 * sum: features^2 x tokens / ranks / (cores x FLOP/s)
 * exchange: (features x 4 x tokens x streams + features^2 x 4) / network
 * change: rows x cols^2 + cols^3 / 3 of each matrix, on the rank with the most work
 * give: 2 x bytes / network
 *
 * scale tables: prints estimates for several models and clusters
 * scale check MODEL LINK SERVER RANKS VERB: prints seconds for a local model, with links of LINK and a server of SERVER
 * bytes per second in each direction; VERB is `measure` or `prune`
 *
 * Rates of one core are those of an AMD EPYC (Zen 5), from `ninja bench-measure`, `ninja bench-kernels`, and
 * differences of the processor time of `organ prune` with 4 and 32 windows on two layers of Qwen2.5-0.5B's shapes. */
#include "bench/bench_rig.h"
#include <organ/models.h>
#include <organ/machine.h>
#include "orchestrator/ranks/ranks_parts.h"

#include <math.h>
#include <stdbool.h>

/* ---- the cluster and the model ---- */

typedef struct cluster {
    const char *name;
    double cores, link, server,
        network; /* bytes per second: from a node to the file system, of the whole file system, between nodes */
} cluster;

static const cluster clusters[] = {
    {"16 cores a node, 10 Gb/s, an NFS server that gives 1.2 GB/s", 16, 1.2e9, 1.2e9, 1.2e9},
    {"48 cores a node, 100 Gb/s, a parallel file system that gives 40 GB/s", 48, 10e9, 40e9, 12e9}};

/* Matrices of one shape in a layer: `groups` of them have different inputs, `each` matrices share one input; a share
 * `share` of the tokens reaches each. */
typedef struct matrices {
    double rows, cols, groups, each, share;
    bool follows; /* they have the inputs of the row before */
} matrices;

typedef struct shape {
    const char *name;
    double layers, vocabulary;
    matrices layer[8];
} shape;

#define ROUTED(experts) (8.0 / (experts))

static const shape shapes[] = {
    {"7 B (Qwen2.5)",
     28,
     152064,
     {{3584, 3584, 1, 1, 1, false},
      {512, 3584, 1, 2, 1, true},
      {3584, 3584, 1, 1, 1, false},
      {18944, 3584, 1, 2, 1, false},
      {3584, 18944, 1, 1, 1, false}}},
    {"70 B (Llama 3)",
     80,
     128256,
     {{8192, 8192, 1, 1, 1, false},
      {1024, 8192, 1, 2, 1, true},
      {8192, 8192, 1, 1, 1, false},
      {28672, 8192, 1, 2, 1, false},
      {8192, 28672, 1, 1, 1, false}}},
    {"671 B (DeepSeek V3)",
     61,
     129280,
     {{2112, 7168, 1, 1, 1, false},
      {24576, 1536, 1, 1, 1, false},
      {32768, 512, 1, 1, 1, false},
      {7168, 16384, 1, 1, 1, false},
      {2048, 7168, 1, 2, 1, false},
      {7168, 2048, 1, 1, 1, false},
      {2048, 7168, 256, 2, 8.0 / 256, false},
      {7168, 2048, 256, 1, 8.0 / 256, false}}},
    {"1 T (Kimi K2)",
     61,
     163840,
     {{2112, 7168, 1, 1, 1, false},
      {12288, 1536, 1, 1, 1, false},
      {16384, 512, 1, 1, 1, false},
      {7168, 8192, 1, 1, 1, false},
      {2048, 7168, 1, 2, 1, false},
      {7168, 2048, 1, 1, 1, false},
      {2048, 7168, 384, 2, 8.0 / 384, false},
      {7168, 2048, 384, 1, 8.0 / 384, false}}},
};

#define WEIGHT 2.0            /* bytes per weight: BF16 */
#define WINDOW 2048.0         /* tokens */
#define TOKENS (128 * WINDOW) /* of a calibration text */

/* A verb that streams the model: bytes that a core processes per second, and bytes written per byte read. */
typedef struct stream {
    const char *name;
    double rate, written;
} stream;

static const stream streams[] = {{"measure", 1.85e9, 0}, {"prune", 0.83e9, 1}};

/* A calibrated method: passes of the text through a layer, sums of second moments (1: H, 2.3: H and C), and seconds of
 * a core for each unit of rows x cols^2 + cols^3 / 3. */
typedef struct method {
    const char *name;
    double passes, sums, streams, solve;
    bool rows; /* ranks share the rows of a matrix that exceeds an even share of the layer */
} method;

static const method methods[] = {{"prune --method sparsegpt", 2, 1, 1, 6.4e-12, false},
                                 {"prune --method physarum-v2", 3, 2.3, 2, 53e-12, true}};

#define FLOPS     260e9 /* per second and core, in the products of the forward pass and of second moments */
#define OPEN      12e-6 /* seconds per tensor, on every rank */
#define START_MPI 0.3
#define BLOCK     256.0 /* second moments of experts in blocks, because whole ones of all experts fit no memory */
/* Bytes read before the first work begins, and bytes written after the last work. */
#define FILL ((double)(8 << 20))

/* ---- parts ---- */

typedef struct parts {
    double *of; /* bytes of each tensor, or seconds of work */
    size_t count;
} parts;

static void add_parts(parts *p, double each, size_t count)
{
    p->of = realloc(p->of, (p->count + count) * sizeof *p->of);
    if (!p->of)
        exit(4);
    for (size_t k = 0; k < count; k++)
        p->of[p->count++] = each;
}

/* Returns the work of the rank with the most, assigned as organ assigns it. */
static double largest_share(const parts *p, size_t ranks)
{
    struct organ_ranks team = {.count = ranks};
    organ_error error = {0};
    uint64_t *const bytes = bench_room((p->count + 1) * sizeof *bytes);
    uint32_t *const owner = bench_room((p->count + 1) * sizeof *owner);
    double *const sum = calloc(ranks, sizeof *sum), max = 0, all = 0;
    for (size_t k = 0; k < p->count; k++)
        all += p->of[k];
    for (size_t k = 0; k < p->count; k++)
        bytes[k] = (uint64_t)(p->of[k] / all * 1e15);
    if (!sum)
        exit(4);
    organ_ranks_assign(&team, bytes, p->count, owner, &error);
    bench_stop_at(&error);
    for (size_t k = 0; k < p->count; k++)
        sum[owner[k]] += p->of[k];
    for (size_t r = 0; r < ranks; r++)
        max = fmax(max, sum[r]);
    free(sum);
    free(owner);
    free(bytes);
    return max;
}

static double sum_of(const parts *p)
{
    double sum = 0;
    for (size_t k = 0; k < p->count; k++)
        sum += p->of[k];
    return sum;
}

static parts tensors_of(const shape *s)
{
    parts p = {0};
    add_parts(&p, s->vocabulary * s->layer[0].cols * WEIGHT, 2);
    for (const matrices *m = s->layer; m < s->layer + 8 && m->rows > 0; m++)
        add_parts(&p, m->rows * m->cols * WEIGHT, (size_t)(m->groups * m->each * s->layers));
    return p;
}

/* ---- time ---- */

/* A part of the run with its time, and the letter that names it in the tables. */
typedef struct cost {
    double seconds;
    char max;
} cost;

static void count_in(cost *c, double *largest, double seconds, char letter)
{
    c->seconds += seconds;
    if (seconds > *largest) {
        *largest = seconds;
        c->max = letter;
    }
}

static double start_of(const parts *tensors, size_t ranks)
{
    return OPEN * (double)tensors->count + (ranks > 1 ? START_MPI : 0);
}

/* Estimates a verb that reads, computes and writes at the same time. */
static cost stream_cost(const cluster *c, const stream *v, const parts *tensors, size_t ranks)
{
    const double share = largest_share(tensors, ranks), all = sum_of(tensors);
    const double read = fmax(share / c->link, all / c->server), work = share / (v->rate * c->cores);
    const double ends = FILL / c->link * (1 + v->written), side = read * (v->written > 1 ? v->written : 1);
    const char slower = share / c->link > all / c->server ? 'l' : 'f';
    return (cost){start_of(tensors, ranks) + fmax(side, work) + ends, work > side ? 'c' : slower};
}

typedef struct layer_sums {
    double weights, active;
    double squares, sums; /* second moments, by token and once */
    double features;
    parts solve;
    double common; /* work that every rank repeats */
} layer_sums;

static double block_of(const matrices *m) { return m->share < 1 ? BLOCK : m->cols; }

static layer_sums sums_of(const shape *s, const method *v, double ranks)
{
    layer_sums sums = {0};
    double all = 0;
    for (const matrices *m = s->layer; m < s->layer + 8 && m->rows > 0; m++)
        all += m->rows * m->cols * block_of(m) * m->groups * m->each;
    for (const matrices *m = s->layer; m < s->layer + 8 && m->rows > 0; m++) {
        const double weights = m->rows * m->cols, block = block_of(m);
        const double factor = m->follows ? 0 : m->cols * block * block / 3;
        sums.weights += weights * m->groups * m->each;
        sums.active += weights * m->groups * m->each * m->share;
        const double moments = m->follows ? 0 : m->cols * block * m->groups;
        sums.squares += moments * m->share;
        sums.sums += moments / 2;
        sums.features += m->follows ? 0 : m->cols * m->groups * m->share;
        if (v->rows && weights * block > all / ranks)
            sums.common += v->solve * (weights * block * m->each / ranks + factor);
        else
            add_parts(&sums.solve, v->solve * (weights * block * m->each + factor), (size_t)m->groups);
    }
    return sums;
}

/* Estimates a verb with a text, whose steps follow each other, layer by layer. */
static cost along_cost(const cluster *c, const shape *s, const method *v, const parts *tensors, size_t ranks)
{
    layer_sums sums = sums_of(s, v, (double)ranks);
    cost total = {0};
    double largest = 0;
    const double n = (double)ranks, windows = TOKENS / WINDOW, mine = ceil(windows / n) * WINDOW;
    const double flops = FLOPS * c->cores, bytes = s->layers * sums.weights * WEIGHT;
    count_in(&total, &largest, fmax(bytes / n / c->link, bytes / c->server), 'f');
    count_in(&total, &largest, s->layers * v->passes * 2 * sums.active * mine / flops, 'c');
    count_in(&total, &largest, s->layers * v->sums * sums.squares * TOKENS / n / flops, 'c');
    count_in(&total, &largest, s->layers * (largest_share(&sums.solve, ranks) + sums.common) / c->cores, 's');
    if (ranks > 1)
        count_in(&total, &largest,
                 s->layers *
                     (TOKENS * sums.features * 4 * v->streams + sums.sums * v->sums * 8 + sums.weights * WEIGHT * 2) /
                     c->network,
                 'n');
    total.seconds += start_of(tensors, ranks);
    free(sums.solve.of);
    return total;
}

/* ---- tables ---- */

static const size_t nodes[] = {1, 2, 4, 8, 16, 32, 64};
#define COLUMNS (sizeof nodes / sizeof *nodes)

static void print_row(const char *name, const cost row[COLUMNS])
{
    printf("| %s |", name);
    for (size_t k = 0; k < COLUMNS; k++) {
        char text[24];
        printf(" %s %c |", organ_duration_text(row[k].seconds, text), row[k].max);
    }
    putchar('\n');
}

static void print_head(const char *verb)
{
    printf("\n| `%s` |", verb);
    for (size_t k = 0; k < COLUMNS; k++)
        printf(" %zu |", nodes[k]);
    fputs("\n|---|", stdout);
    for (size_t k = 0; k < COLUMNS; k++)
        fputs("--:|", stdout);
    putchar('\n');
}

static void print_tables(const cluster *c)
{
    cost row[COLUMNS];
    printf("\n### %s\n", c->name);
    for (const stream *v = streams; v < streams + sizeof streams / sizeof *streams; v++) {
        print_head(v->name);
        for (const shape *s = shapes; s < shapes + sizeof shapes / sizeof *shapes; s++) {
            parts tensors = tensors_of(s);
            for (size_t k = 0; k < COLUMNS; k++)
                row[k] = stream_cost(c, v, &tensors, nodes[k]);
            print_row(s->name, row);
            free(tensors.of);
        }
    }
    for (const method *v = methods; v < methods + sizeof methods / sizeof *methods; v++) {
        print_head(v->name);
        for (const shape *s = shapes; s < shapes + sizeof shapes / sizeof *shapes; s++) {
            parts tensors = tensors_of(s);
            for (size_t k = 0; k < COLUMNS; k++)
                row[k] = along_cost(c, s, v, &tensors, nodes[k]);
            print_row(s->name, row);
            free(tensors.of);
        }
    }
}

/* ---- one model ---- */

static double check(const char *path, double link, double server, size_t ranks, const char *verb)
{
    const cluster here = {"", 1, link, server, link};
    const stream *const v = strcmp(verb, streams[0].name) == 0 ? &streams[0] : &streams[1];
    organ_model *model = NULL;
    organ_error error = {0};
    parts tensors = {0};
    organ_model_open(path, &model, &error);
    bench_stop_at(&error);
    for (size_t k = 0; k < model->tensor_count; k++)
        add_parts(&tensors, (double)model->tensors[k].bytes, 1);
    organ_model_close(model);
    const cost c = stream_cost(&here, v, &tensors, ranks);
    free(tensors.of);
    return c.seconds;
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "check") == 0) {
        printf("%.2f\n", check(argv[2], atof(argv[3]), atof(argv[4]), (size_t)atoi(argv[5]), argv[6]));
        return 0;
    }
    if (argc != 2 || strcmp(argv[1], "tables") != 0) {
        fputs("usage: scale tables | scale check MODEL LINK SERVER RANKS VERB\n", stderr);
        return 2;
    }
    for (size_t k = 0; k < sizeof clusters / sizeof *clusters; k++)
        print_tables(&clusters[k]);
    return 0;
}

/* SPDX-License-Identifier: MIT
 * With the codes of a row as they are, its values are linear in its scales: the least loss is a system of as many equations as the row has
 * scales, M d = b for what is to be added to them. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/multiply.h"

#include <math.h>
#include <string.h>

#define PANEL  ((size_t)512) /* columns that meet those of a chunk at once */
#define CHUNK  ORGAN_GPTQ_COLUMNS
#define BUDGET ((size_t)4 << 20) /* bytes of the systems that a worker has */
#define LANES  16
#define RIDGE  1e-6f /* of the mean of the diagonal */

/* What a worker has for some rows. */
typedef struct bench {
    float *codes;  /* rows x cols */
    float *panel;  /* rows x PANEL: codes of a chunk times H */
    float *system; /* rows x groups x groups, on and above the diagonal */
    float *right;  /* rows x groups */
    void *scratch;
} bench;

static size_t rows_at_once(size_t groups)
{
    const size_t rows = BUDGET / (groups * groups * sizeof(float));
    return organ_lesser(organ_larger(rows, 4), ORGAN_GPTQ_STRIP);
}

static size_t floats_of(size_t count) { return organ_to_line(count * sizeof(float)) / sizeof(float); }

size_t organ_gptq_scales_room(size_t cols, size_t groups)
{
    const size_t rows = rows_at_once(groups);
    return (floats_of(rows * cols) + rows * PANEL + floats_of(rows * groups * groups) + floats_of(rows * groups)) * sizeof(float) +
           ORGAN_PRODUCT_SCRATCH;
}

static bench bench_of(const organ_gptq_job *job, size_t worker)
{
    const size_t rows = rows_at_once(job->groups);
    float *const at = (float *)(void *)(job->room + worker * job->room_bytes);
    bench b = {.codes = at};
    b.panel = b.codes + floats_of(rows * job->cols);
    b.system = b.panel + rows * PANEL;
    b.right = b.system + floats_of(rows * job->groups * job->groups);
    b.scratch = b.right + floats_of(rows * job->groups);
    return b;
}

static float dot(const float *restrict a, const float *restrict b, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[k + l] * b[k + l];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    for (; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

/* ---- the system ---- */

/* Where columns [from, to), which lie in one group and on one side of the end of the chunk, meet a chunk of another or the same group. */
static void add_meeting(const organ_gptq_job *job, const bench *b, size_t chunk, size_t panel, size_t from, size_t to, size_t rows)
{
    const size_t g = chunk / job->group, other = from / job->group, groups = job->groups;
    const float twice = other == g && from >= chunk + CHUNK ? 2.0f : 1.0f; /* H is symmetric, and only what is to the right is met */
    for (size_t i = 0; i < rows; i++)
        b->system[(i * groups + g) * groups + other] +=
            twice * dot(b->panel + i * PANEL + from - panel, b->codes + i * job->cols + from, to - from);
}

/* A chunk of columns that lie in one group, and all to its right within its block of H. */
static void add_chunk(const organ_gptq_job *job, const bench *b, size_t chunk, size_t columns, size_t rows)
{
    const organ_gptq_inputs *const in = job->inputs;
    const size_t start = chunk / in->block * in->block, width = organ_lesser(in->block, job->cols - start);
    const float *const h = in->h + start * in->block + (chunk - start) * width;
    for (size_t panel = chunk; panel < start + width; panel += PANEL) {
        const size_t end = organ_lesser(panel + PANEL, start + width);
        const organ_product product = {.m = rows,
                                       .n = end - panel,
                                       .k = columns,
                                       .a = organ_by_rows(b->codes + chunk, job->cols),
                                       .b = organ_by_columns(h + panel - start, width),
                                       .c = b->panel,
                                       .c_stride = PANEL};
        in->engine->kernels->product(&product, b->scratch);
        for (size_t from = panel, to; from < end; from = to) {
            to = organ_lesser(end, (from / job->group + 1) * job->group);
            to = from < chunk + columns ? organ_lesser(to, chunk + columns) : to;
            add_meeting(job, b, chunk, panel, from, to, rows);
        }
    }
}

/* ---- its solution ---- */

/* The scales of one row; a scale that would not be positive stays. */
static void solve_row(const organ_gptq_job *job, const bench *b, size_t row, size_t at)
{
    const organ_kernels *const kernels = job->inputs->engine->kernels;
    const size_t groups = job->groups;
    float *const a = b->system + at * groups * groups, *const x = b->right + at * groups;
    float trace = 0;
    for (size_t g = 0; g < groups; g++)
        trace += a[g * (groups + 1)];
    for (size_t g = 0; g < groups; g++)
        a[g * (groups + 1)] += RIDGE * trace / (float)groups;
    kernels->cholesky_f32(a, groups);
    for (size_t g = 0; g < groups; g++)
        if (!(a[g * (groups + 1)] > 0))
            return;
    kernels->solve_f32(a, groups, x);
    for (size_t g = 0; g < groups; g++) {
        float *const scale = &job->scales[g * job->padded + row];
        const float wanted = organ_grid_stored(&job->matrix->grid, kernels, *scale + x[g]);
        *scale = wanted > 0 && isfinite(wanted) ? wanted : *scale;
    }
}

static void solve_rows(void *context, size_t index, size_t worker)
{
    const organ_gptq_job *const job = context;
    const size_t some = rows_at_once(job->groups), first = index * some, rows = organ_lesser(some, job->rows - first), groups = job->groups;
    const bench b = bench_of(job, worker);
    memset(b.system, 0, rows * groups * groups * sizeof *b.system);
    for (size_t i = 0; i < rows; i++)
        for (size_t g = 0; g < groups; g++) {
            const size_t from = g * job->group, n = organ_lesser(job->group, job->cols - from), at = (first + i) * job->cols + from;
            float *const codes = b.codes + i * job->cols + from;
            organ_grid_codes(&job->matrix->grid, job->scales[g * job->padded + first + i], job->matrix->values + at, codes, n);
            b.right[i * groups + g] = dot(codes, job->field + at, n);
        }
    for (size_t chunk = 0; chunk < job->cols; chunk += organ_lesser(job->group, CHUNK))
        add_chunk(job, &b, chunk, organ_lesser(organ_lesser(job->group, CHUNK), job->cols - chunk), rows);
    for (size_t i = 0; i < rows; i++) {
        solve_row(job, &b, first + i, i);
        for (size_t j = 0; j < job->cols; j++)
            job->matrix->values[(first + i) * job->cols + j] =
                b.codes[i * job->cols + j] * job->scales[j / job->group * job->padded + first + i];
    }
}

void organ_gptq_scales(organ_gptq_job *job)
{
    const size_t some = rows_at_once(job->groups);
    organ_share(job->inputs->engine, NULL, (job->rows + some - 1) / some, solve_rows, job);
}

/* SPDX-License-Identifier: MIT
 * Reads rows of matrices that have a row for each token id (the embedding and the per-layer embeddings) or for each
 * position (learned positions). Such a matrix is never in memory as a whole. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <stdio.h>

#define TOKENS_AT_ONCE ((size_t)64) /* tokens of one task */

const organ_weight *organ_forward_text_weight(const organ_forward *forward, const char *name, uint64_t rows,
                                              uint64_t cols, organ_error *error)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", forward->prefix, name);
    return organ_forward_weight_named(forward, full, rows, cols, error);
}

/* A task is TOKENS_AT_ONCE tokens. */
typedef struct row_job {
    const forward_rows *rows;
    const uint32_t *tokens;
    size_t count;
    float *to, *scratch;
    size_t scratch_floats; /* of a worker */
    organ_first_fault fault;
} row_job;

static size_t row_bytes_of(const organ_weight_reader *reader)
{
    return organ_to_line((size_t)organ_weight_reader_cols(reader) * sizeof(float));
}

size_t organ_forward_rows_scratch(const organ_weight_reader *reader)
{
    return row_bytes_of(reader) + organ_to_line(organ_weight_reader_scratch(reader, 1));
}

/* Ids beyond the table use row 0. With r->added, the results are added. */
static void embed_read(void *context, size_t index, size_t worker)
{
    row_job *const j = context;
    const forward_rows *const r = j->rows;
    const size_t until = organ_min((index + 1) * TOKENS_AT_ONCE, j->count);
    float *const row = j->scratch + worker * j->scratch_floats, *const scratch =
                                                                    row + row_bytes_of(r->reader) / sizeof(float);
    organ_error error = {0};
    for (size_t t = index * TOKENS_AT_ONCE; t < until; t++) {
        const uint64_t number = j->tokens[t] < r->count ? j->tokens[t] : 0;
        if (organ_weight_read(r->reader, number, 1, ORGAN_F32, row, scratch, &error)) {
            organ_fault_keep(&j->fault, &error);
            return;
        }
        float *const to = j->to + t * r->stride;
        for (size_t k = 0; k < r->width; k++)
            to[k] = row[r->from + k] * r->scale + (r->added ? to[k] : 0);
    }
}

organ_status organ_forward_rows_read(const organ_forward *f, const forward_rows *rows, const uint32_t *tokens,
                                     size_t count, float *to, float *scratch, size_t scratch_floats, organ_error *error)
{
    row_job j = {.rows = rows,
                 .tokens = tokens,
                 .count = count,
                 .to = to,
                 .scratch = scratch,
                 .scratch_floats = scratch_floats,
                 .fault = {error, false}};
    return organ_forward_share(f->engine, organ_pieces_of(count, TOKENS_AT_ONCE), INFINITY, embed_read, &j, error);
}

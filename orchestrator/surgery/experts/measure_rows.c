/* SPDX-License-Identifier: MIT
 * Sums values over the tokens of the text: each rank adds the tokens of its chunks into a row per chunk, in token
 * order; then the rows are added in the order of chunks. The result does not depend on which rank has which chunk.
 *
 * Ranks: all ranks receive the rows of all chunks. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/experts/measure_job.h"

#include <string.h>

/* Returns the length of a row: a number for each expert, another one for each expert, and one for the layer. */
size_t organ_expert_row_width(const organ_expert_measure *m) { return 2 * (size_t)m->config->experts + 1; }

/* Returns the row of the chunk that contains `token`, an index among the tokens of this rank. The chunks of this rank
 * are chunks first, first + step, ... of the text; token / chunk_tokens is the index of the chunk among these. */
double *organ_expert_row_of(const organ_expert_measure *m, size_t token)
{
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(m->calib);
    return m->rows + (chunks->first + token / m->chunk_tokens * chunks->step) * organ_expert_row_width(m);
}

/* Exchanges the rows between the ranks and sets `sums` to the sum of all rows, added in the order of chunks. */
organ_status organ_expert_rows_sum(organ_expert_measure *m, const char *where, double *sums, organ_error *error)
{
    const size_t width = organ_expert_row_width(m);
    if (organ_ranks_complete(m->options.engine->ranks, where, m->rows, width * sizeof *m->rows, m->chunks, m->owner,
                             error) != ORGAN_OK)
        return error->status;
    memset(sums, 0, width * sizeof *sums);
    for (size_t c = 0; c < m->chunks; c++)
        for (size_t k = 0; k < width; k++)
            sums[k] += m->rows[c * width + k];
    return ORGAN_OK;
}

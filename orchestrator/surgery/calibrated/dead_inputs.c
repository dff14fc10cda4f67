/* SPDX-License-Identifier: MIT
 * Sets to 0 the weights whose inputs were zero for all calibration tokens. */
#include "orchestrator/surgery/calibrated/prune_matrix_job.h"

/* Sets column j of the weights to 0 if input j was zero for all tokens (act_norm 0): these weights have no effect. */
void organ_clear_dead_inputs(const organ_matrix_job *job)
{
    for (size_t j = 0; j < job->cols; j++)
        if (job->moments->act_norm[j] == 0)
            for (size_t i = 0; i < job->rows; i++)
                job->weights[i * job->cols + j] = 0;
}

/* SPDX-License-Identifier: MIT
 * Computes means of rows. */
#include "orchestrator/surgery/vocabulary/new_rows.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>

organ_status organ_mean_rows_open(organ_mean_rows *m, const organ_model *model, const organ_tensor *tensor,
                                  const organ_kernels *kernels, organ_error *error)
{
    const size_t bytes = (size_t)(tensor->bytes / tensor->shape[0]);
    *m = (organ_mean_rows){.model = model, .tensor = tensor, .kernels = kernels};
    m->width = (size_t)(tensor->elements / tensor->shape[0]);
    if (tensor->dtype != ORGAN_F32 && tensor->dtype != ORGAN_F16 && tensor->dtype != ORGAN_BF16)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' is stored as %s, in which the mean of rows cannot be stored exactly enough: "
                          "dequantize the model first",
                          tensor->name, organ_dtype_describe(tensor->dtype)->name);
    m->stored = malloc(bytes + 1);
    m->values = malloc((m->width + 1) * sizeof *m->values);
    m->sums = malloc((m->width + 1) * sizeof *m->sums);
    return m->stored && m->values && m->sums ? ORGAN_OK : organ_fail_memory(error, tensor->name);
}

void organ_mean_rows_release(organ_mean_rows *m) { ORGAN_FREE_ARRAYS(m->stored, m->values, m->sums); }

const void *organ_mean_rows_next(organ_mean_rows *m, const uint32_t *rows, size_t count, organ_error *error)
{
    const uint64_t bytes = m->tensor->bytes / m->tensor->shape[0];
    for (size_t k = 0; k < m->width; k++)
        m->sums[k] = 0;
    for (size_t r = 0; r < count; r++) {
        if (organ_model_read(m->model, m->tensor->file, m->stored, (size_t)bytes, m->tensor->offset + rows[r] * bytes,
                             error))
            return NULL;
        organ_widen(m->kernels, m->tensor->dtype, m->stored, m->values, m->width);
        for (size_t k = 0; k < m->width; k++)
            m->sums[k] += (double)m->values[k];
    }
    for (size_t k = 0; k < m->width; k++)
        m->values[k] = (float)(m->sums[k] / (double)count);
    organ_narrow(m->kernels, m->tensor->dtype, m->values, m->stored, m->width);
    return m->stored;
}

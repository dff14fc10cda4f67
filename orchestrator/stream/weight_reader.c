/* SPDX-License-Identifier: MIT */
#include <organ/stream.h>

#include "orchestrator/stream/weight_parts.h"

#include <errno.h>
#include <stdlib.h>

/* Returns the functions that decode the weight's scheme. */
static const weight_family *weight_family_of(const organ_weight *weight)
{
    switch (weight->scheme) {
    case ORGAN_SCHEME_PLAIN:
        return &organ_weight_family_plain;
    case ORGAN_SCHEME_GPTQ:
    case ORGAN_SCHEME_AWQ_GEMM:
        return &organ_weight_family_words;
    default:
        return weight->transposed ? &organ_weight_family_experts : &organ_weight_family_rows;
    }
}

/* Sets the members of *reader that follow from the headers: defaults, then the family's `prepare`. */
organ_status organ_weight_reader_prepare(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, organ_weight_reader *reader, organ_error *error)
{
    *reader =
        (organ_weight_reader){.model = model, .weight = weight, .kernels = kernels, .family = weight_family_of(weight)};
    reader->shape = organ_weight_matrices(weight);
    const size_t cols = reader->shape.cols ? (size_t)reader->shape.cols : 1;
    reader->batch = cols < WEIGHT_BATCH_VALUES ? WEIGHT_BATCH_VALUES / cols : 1;
    reader->step = 1;
    reader->stored = organ_weight_bytes(weight);
    return reader->family->prepare(reader, error);
}

/* Opens a weight for reading decoded rows: checks the headers, then loads the data that all rows need. `note` (unless
 * NULL) becomes a remark about the weight's format, or "". */
organ_status organ_weight_reader_open(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, char note[256], organ_weight_reader **reader,
                                      organ_error *error)
{
    organ_weight_reader *r = malloc(sizeof *r);
    *reader = NULL;
    if (note)
        note[0] = '\0';
    if (!r)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    char unread[256];
    organ_status status = organ_weight_reader_prepare(model, weight, kernels, r, error);
    if (status == ORGAN_OK && r->family->load)
        status = r->family->load(r, note ? note : unread, error);
    if (status) {
        organ_weight_reader_close(r);
        return status;
    }
    *reader = r;
    return ORGAN_OK;
}

void organ_weight_reader_close(organ_weight_reader *reader)
{
    if (!reader)
        return;
    free(reader->table);
    free(reader->g_idx);
    free(reader->global);
    free(reader);
}

uint64_t organ_weight_reader_rows(const organ_weight_reader *reader)
{
    return reader->shape.count * reader->shape.rows;
}
uint64_t organ_weight_reader_cols(const organ_weight_reader *reader) { return reader->shape.cols; }

/* Returns the smaller of a row count of a weight and a size. */
static size_t smaller_size(uint64_t a, size_t b) { return a < b ? (size_t)a : b; }

/* Returns whether the family decodes directly to type `as`. If not, read_batch rounds from FP32. */
static bool can_write(const organ_weight_reader *reader, organ_dtype as)
{
    return as == ORGAN_F32 || (reader->family->writes && reader->family->writes(reader, as));
}

/* Returns the bytes of the FP32 values of `rows` rows, which read_batch puts first into the scratch memory to round
 * them; 0 if the family decodes directly to BF16 and F16. */
static size_t floats_bytes(const organ_weight_reader *reader, size_t rows)
{
    if (can_write(reader, ORGAN_BF16) && can_write(reader, ORGAN_F16))
        return 0;
    return weight_round(rows * (size_t)reader->shape.cols * sizeof(float));
}

/* Returns the bytes of scratch memory for reading `rows` rows, which are read in batches of reader->batch. */
size_t organ_weight_reader_scratch(const organ_weight_reader *reader, size_t rows)
{
    const size_t batch = smaller_size(rows, reader->batch);
    return floats_bytes(reader, batch) + weight_round(reader->family->scratch(reader, batch));
}

/* Returns `rows` rounded up to a multiple of reader->step, at least one step. */
size_t organ_weight_reader_step(const organ_weight_reader *reader, size_t rows)
{
    const size_t steps = rows / reader->step + (rows % reader->step != 0);
    return (steps ? steps : 1) * reader->step;
}

/* Returns the share of `rows` rows in the stored bytes of the weight, for the progress. */
uint64_t organ_weight_reader_bytes(const organ_weight_reader *reader, size_t rows)
{
    const uint64_t all = organ_weight_reader_rows(reader);
    return all ? (uint64_t)((double)reader->stored * ((double)rows / (double)all)) : 0;
}

/* Sets *step to the result of organ_weight_reader_step for a reader of this weight: `rows`, rounded up to whole steps.
 * Uses only the headers, without I/O. Leaves *step unchanged on error. */
organ_status organ_weight_reader_step_of(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, size_t rows, size_t *step, organ_error *error)
{
    organ_weight_reader reader;
    if (organ_weight_reader_prepare(model, weight, kernels, &reader, error) == ORGAN_OK)
        *step = organ_weight_reader_step(&reader, rows);
    return error->status;
}

/* Sets *scratch to the bytes of scratch memory for reading `rows` rows, from the headers alone; 0 on error. */
organ_status organ_weight_reader_size(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, size_t rows, size_t *scratch, organ_error *error)
{
    organ_weight_reader reader;
    *scratch = 0;
    if (organ_weight_reader_prepare(model, weight, kernels, &reader, error) == ORGAN_OK)
        *scratch = organ_weight_reader_scratch(&reader, rows);
    return error->status;
}

/* Reads a batch of rows as type `as`. If the family does not write that type, decodes to FP32 and rounds. */
static organ_status read_batch(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                               void *scratch, organ_error *error)
{
    const size_t n = rows->count * (size_t)r->shape.cols;
    unsigned char *rest = (unsigned char *)scratch + floats_bytes(r, rows->count);
    if (can_write(r, as))
        return r->family->read(r, rows, as, values, rest, error);
    if (r->family->read(r, rows, ORGAN_F32, scratch, rest, error))
        return error->status;
    if (as == ORGAN_BF16)
        r->kernels->f32_to_bf16(scratch, values, n);
    else
        r->kernels->f32_to_f16(scratch, values, n);
    return ORGAN_OK;
}

/* Reads rows [first, first + rows), counted over all matrices, as type `as`, in batches that do not extend over two
 * matrices. */
organ_status organ_weight_read(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                               void *values, void *scratch, organ_error *error)
{
    const organ_matrices *shape = &reader->shape;
    const size_t row_bytes = (size_t)shape->cols * (as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t));
    unsigned char *to = values;
    while (rows > 0 && row_bytes > 0) {
        weight_rows part = {first / shape->rows, first % shape->rows, smaller_size(rows, reader->batch)};
        part.count = smaller_size(shape->rows - part.first, part.count);
        if (read_batch(reader, &part, as, to, scratch, error))
            return error->status;
        to += part.count * row_bytes;
        first += part.count;
        rows -= part.count;
    }
    return ORGAN_OK;
}

/* SPDX-License-Identifier: MIT
 * Tensors of outputs for MLX that have other rows or other values than the tensor of the model from which they are
 * made: gate, up and down of gpt-oss, whose stacks are stored experts x in_features x out_features with the columns of
 * gate and up in turn, and norms to which mlx-lm adds 1. */
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"

#include "formats/base/text.h"
#include "formats/weights/weight_search.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"

#include <string.h>

#define WRITTEN ((size_t)1 << 20) /* values that are written at once */

/* The job's arena owns the weight; part.from must live as long. Returns NULL if memory cannot be allocated. */
static organ_weight *make_weight(organ_quantize_job *job, const char *name, unsigned rank, const uint64_t *shape,
                                 organ_made_part part)
{
    organ_made_part *const parts = organ_arena_take(&job->list.arena, sizeof *parts);
    organ_made *const made = organ_arena_take(&job->list.arena, sizeof *made);
    organ_weight *const weight = organ_arena_take(&job->list.arena, sizeof *weight);
    if (!parts || !made || !weight)
        return NULL;
    *parts = part;
    *made = (organ_made){.parts = parts, .count = 1};
    *weight = *part.from;
    weight->name = name;
    weight->anatomy = organ_anatomy_of(name);
    weight->rank = rank;
    weight->shape = shape;
    weight->elements = 1;
    for (unsigned d = 0; d < rank; d++)
        weight->elements *= shape[d];
    weight->made = made;
    return weight;
}

/* ---- experts of gpt-oss ---- */

typedef struct split_row {
    const char *end;      /* end of the name in the model */
    unsigned rank;        /* 3: a stack whose columns become rows; 2: a vector for each expert */
    const char *names[2]; /* ends of the names in mlx-lm; the columns of the two alternate. NULL: only one */
} split_row;

static const split_row splits[] = {{".experts.gate_up_proj", 3, {"gate_proj.weight", "up_proj.weight"}},
                                   {".experts.gate_up_proj_bias", 2, {"gate_proj.bias", "up_proj.bias"}},
                                   {".experts.down_proj", 3, {"down_proj.weight", NULL}},
                                   {".experts.down_proj_bias", 2, {"down_proj.bias", NULL}}};

static const split_row *split_of(const organ_weight *weight)
{
    for (size_t k = 0; k < sizeof splits / sizeof *splits; k++)
        if (organ_ends_with(weight->name, splits[k].end))
            return &splits[k];
    return NULL;
}

/* Column `number`, `number` + `count`, ... of each matrix becomes a row; of a tensor of biases, they become the row. */
static organ_row_place split_place(const organ_weight *from, unsigned number, unsigned count)
{
    const organ_matrices m = organ_weight_matrices(from);
    const bool turned = from->rank == 3;
    const uint64_t cols = m.cols / count;
    return (organ_row_place){.matrices = m.count,
                             .block = turned ? m.rows : 1,
                             .rows = turned ? m.rows : 1,
                             .per_matrix = turned ? cols : m.rows,
                             .per_block = turned ? cols : 1,
                             .transposed = turned,
                             .column_slice = !turned,
                             .col = number,
                             .col_step = count,
                             .cols = cols};
}

static organ_status add_split(organ_quantize_job *job, const organ_weight *from, const split_row *row, unsigned number,
                              organ_weight *made, organ_error *error)
{
    const size_t before = (size_t)(strrchr(from->name, '.') - from->name) + 1;
    const organ_row_place place = split_place(from, number, row->names[1] ? 2 : 1);
    ORGAN_OWNED char *const text = organ_format("%.*s%s", (int)before, from->name, row->names[number]);
    const char *const name = text ? organ_arena_copy(&job->list.arena, text, strlen(text)) : NULL;
    uint64_t *const shape = organ_arena_take(&job->list.arena, 3 * sizeof *shape);
    if (!name || !shape)
        return organ_fail_memory(error, from->name);
    memcpy(shape, (const uint64_t[]){from->shape[0], place.cols, from->shape[1]}, 3 * sizeof *shape);
    const organ_weight *const weight = make_weight(job, name, from->rank, shape, (organ_made_part){from, place, NULL});
    if (!weight)
        return organ_fail_memory(error, from->name);
    *made = *weight;
    return ORGAN_OK;
}

static organ_status check_split(const organ_quantize_job *job, const organ_weight *weight, const split_row *row,
                                organ_error *error)
{
    char shape[ORGAN_SHAPE_TEXT];
    if (weight->rank == row->rank && weight->shape[weight->rank - 1] % (row->names[1] ? 2 : 1) == 0 &&
        organ_target_is_float(weight->codes))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: tensor '%s' is %s of shape %s, but experts of gpt_oss are BF16, F16 or F32 with %u axes and "
                      "the columns of gate and up in turn",
                      job->model->path, weight->name, organ_dtype_name(weight->codes->dtype),
                      organ_shape_text(weight->rank, weight->shape, shape), row->rank);
}

organ_status organ_quantize_mlx_split(organ_quantize_job *job, organ_weights *view, organ_error *error)
{
    const organ_weights *const found = job->weights;
    organ_weight *const weights = organ_arena_take(&job->list.arena, (2 * found->count + 1) * sizeof *weights);
    if (!weights)
        return organ_fail_memory(error, job->options->model);
    *view = *found;
    view->weights = weights;
    view->count = 0;
    for (size_t k = 0; k < found->count && !error->status; k++) {
        const organ_weight *const weight = &found->weights[k];
        const split_row *const row = split_of(weight);
        if (!row)
            weights[view->count++] = *weight;
        else if (check_split(job, weight, row, error) == ORGAN_OK)
            for (unsigned number = 0; number < 2 && row->names[number] && !error->status; number++)
                add_split(job, weight, row, number, &weights[view->count++], error);
    }
    return error->status;
}

/* ---- norms ---- */

const organ_weight *organ_quantize_mlx_raised(organ_quantize_job *job, const organ_tensor *tensor)
{
    const organ_row_place place = {.matrices = 1,
                                   .block = tensor->elements,
                                   .rows = tensor->elements,
                                   .per_matrix = tensor->elements,
                                   .per_block = tensor->elements,
                                   .function = ORGAN_ROW_PLUS_ONE};
    organ_weight *const from = organ_arena_take(&job->list.arena, sizeof *from);
    if (!from)
        return NULL;
    *from = organ_weight_plain(tensor);
    return make_weight(job, tensor->name, tensor->rank, tensor->shape, (organ_made_part){from, place, NULL});
}

/* ---- tensors that stay unquantised ---- */

/* Reads the rows in the type of the file: sums are rounded to it, as mlx-lm does. */
static organ_status write_rows(organ_quantize_job *job, const organ_mlx_made *made, const organ_weight_reader *reader,
                               size_t most, organ_error *error)
{
    const organ_weight *const weight = made->weight;
    const organ_matrices m = organ_weight_matrices(weight);
    const uint64_t rows = m.count * m.rows;
    const size_t row_bytes = (size_t)m.cols * organ_dtype_describe(weight->codes->dtype)->bytes;
    ORGAN_OWNED void *const values = organ_floats(most * (size_t)m.cols, 1);
    ORGAN_OWNED void *const scratch = organ_floats(organ_weight_reader_scratch(reader, most) / sizeof(float) + 1, 1);
    if (!values || !scratch)
        organ_fail_memory(error, weight->name);
    for (uint64_t row = 0; row < rows && !error->status; row += most) {
        const size_t count = (size_t)organ_min(rows - row, most);
        if (organ_weight_read(reader, row, count, weight->codes->dtype, values, scratch, error) == ORGAN_OK)
            organ_write_put(job->run, made->piece, values, count * row_bytes, row * row_bytes, NULL, error);
    }
    return error->status;
}

organ_status organ_quantize_mlx_write_made(organ_quantize_job *job, const organ_mlx_made *made, organ_error *error)
{
    const organ_weight *const weight = made->weight;
    const organ_matrices m = organ_weight_matrices(weight);
    const size_t fit = m.cols < WRITTEN ? WRITTEN / (size_t)organ_max(m.cols, 1) : 1;
    char note[256];
    organ_weight_reader *reader = NULL;
    if (organ_weight_reader_open(job->model, weight, job->engine->kernels, note, &reader, error) == ORGAN_OK &&
        write_rows(job, made, reader, (size_t)organ_min(organ_max(m.count * m.rows, 1), fit), error) == ORGAN_OK &&
        organ_write_finish(job->run, made->piece, json_object(), error) == ORGAN_OK)
        organ_progress_advance(job->progress, organ_quantize_source_bytes(weight), weight->name, NULL);
    organ_weight_reader_close(reader);
    return error->status;
}

/* SPDX-License-Identifier: MIT
 * Makes adapters with organ_write. All units have their places in adapter_model.safetensors, in the order of the
 * adapter, each with room for the most bytes that it can have. When all units are written, rank 0 moves their bytes
 * together and writes the header, in the room that was kept for it. A run that is killed meanwhile makes those units
 * again whose bytes have moved. In a GGUF adapter the tensors move into a file of their own.
 *
 * Ranks: rank 0 alone completes the adapter, after all ranks have synchronised the file. */
#include "orchestrator/surgery/adapter/adapter.h"

#include "formats/adapter/adapter_config.h"
#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_BYTES 160               /* upper bound of a tensor's bytes in the header, in addition to its name */
#define CHUNK       ((size_t)1 << 18) /* bytes that are converted or moved at once */
#define MOST_RANK   4                 /* dimensions of a tensor that `fill` makes */

struct organ_adapter_writer {
    organ_adapter_making *making;
    organ_writing *writing;
    organ_piece *units; /* of the making; a unit is a piece of the file with room for its tensors */
    /* For each unit: its tensors as rows [name, {"dtype", "shape"}, bytes]; NULL: the unit is a copy, or not made. */
    json_t **rows;
    organ_piece *tensors; /* when all units are made: the tensors of the adapter, in its order */
    uint64_t (*shapes)[MOST_RANK];
    size_t tensor_count;
    unsigned char *buffer; /* of CHUNK bytes */
    uint64_t room;         /* bytes of the header's JSON, which blanks fill up */
    uint64_t at;           /* bytes that the current unit has so far */
    size_t unit;           /* the current unit */
};

static const char *weights_file(const organ_adapter_making *making)
{
    return making->mlx ? ORGAN_ADAPTER_MLX : ORGAN_ADAPTER_WEIGHTS;
}

/* ---- filling a unit ---- */

bool organ_adapter_done(const organ_adapter_writer *w, size_t unit) { return organ_write_done(w->writing, unit); }

organ_status organ_adapter_begin(organ_adapter_writer *w, size_t unit, organ_error *error)
{
    json_decref(w->rows[unit]);
    w->unit = unit;
    w->at = 0;
    return (w->rows[unit] = json_array()) ? ORGAN_OK : organ_fail_memory(error, w->making->write.requested->output);
}

static organ_status fail_value(const organ_adapter_writer *w, const char *name, uint64_t at, double value,
                               organ_dtype dtype, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': value %" PRIu64 " is %g, which %s%s",
                      w->making->write.requested->output, name, at, value,
                      isfinite(value) ? "exceeds the range of " : "is not finite",
                      isfinite(value) ? organ_dtype_describe(dtype)->name : "");
}

organ_status organ_adapter_declare(organ_adapter_writer *w, const char *name, organ_dtype dtype, unsigned rank,
                                   const uint64_t *shape, organ_error *error)
{
    uint64_t count = 1, bytes;
    for (unsigned k = 0; k < rank; k++)
        count *= shape[k];
    if (!organ_dtype_bytes(dtype, count, &bytes) || bytes > w->units[w->unit].bytes - w->at)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is too large", w->making->write.requested->output,
                          name);
    json_t *const entry = ORGAN_OBJECT(SET_TEXT("dtype", organ_dtype_describe(dtype)->name),
                                       SET("shape", organ_counts_json(rank, shape)));
    return json_array_append_new(w->rows[w->unit], json_pack("[s, o, I]", name, entry, (json_int_t)bytes))
               ? organ_fail_memory(error, w->making->write.requested->output)
               : ORGAN_OK;
}

organ_status organ_adapter_put(organ_adapter_writer *w, const void *bytes, size_t count, organ_error *error)
{
    organ_write_put(w->writing, w->unit, bytes, count, w->at, NULL, error);
    w->at += count;
    return error->status;
}

organ_status organ_adapter_add(organ_adapter_writer *w, const char *name, organ_dtype dtype, unsigned rank,
                               const uint64_t *shape, const float *values, organ_error *error)
{
    /* Values of greater magnitude round to infinity: 65520 and above in F16, (2 - 2^-8) x 2^127 and above in BF16. */
    double limit = dtype == ORGAN_F16 ? 65519.99609375 : (double)INFINITY;
    if (dtype == ORGAN_BF16)
        limit = 0x1.feffffp127;
    const size_t width = organ_dtype_describe(dtype)->bytes, step = CHUNK / sizeof(float);
    uint64_t count = 1;
    for (unsigned k = 0; k < rank; k++)
        count *= shape[k];
    organ_adapter_declare(w, name, dtype, rank, shape, error);
    for (uint64_t at = 0; at < count && !error->status; at += step) {
        const size_t n = count - at < step ? (size_t)(count - at) : step;
        for (size_t k = 0; k < n; k++)
            if (!(fabs((double)values[at + k]) <= limit) || isinf(values[at + k]))
                return fail_value(w, name, at + k, (double)values[at + k], dtype, error);
        organ_narrow(w->making->write.engine->kernels, dtype, values + at, w->buffer, n);
        organ_adapter_put(w, w->buffer, n * width, error);
    }
    return error->status;
}

/* Adds the factors of a single matrix, both transposed. */
static organ_status add_mlx(organ_adapter_writer *w, const organ_adapter_pair *pair, organ_dtype dtype,
                            const organ_lora_factors *f, organ_error *error)
{
    ORGAN_OWNED char *const a = organ_format("%s.lora_a", pair->module), *const b =
                                                                             organ_format("%s.lora_b", pair->module);
    ORGAN_OWNED float *const a_turned = organ_lora_transposed(f->a, f->rank, f->in), *const b_turned =
                                                                                         organ_lora_transposed(
                                                                                             f->b, f->out, f->rank);
    if (!a || !b || !a_turned || !b_turned)
        organ_fail_memory(error, pair->module);
    else if (organ_adapter_add(w, a, dtype, 2, (const uint64_t[]){f->in, f->rank}, a_turned, error) == ORGAN_OK)
        organ_adapter_add(w, b, dtype, 2, (const uint64_t[]){f->rank, f->out}, b_turned, error);
    return error->status;
}

/* Of a convolution: A has the kernel of pair->a, B one of size 1. */
static organ_status add_conv(organ_adapter_writer *w, const organ_adapter_pair *pair, organ_dtype dtype,
                             const organ_lora_factors *f, organ_error *error)
{
    ORGAN_OWNED char *const a = organ_adapter_key(pair, /*gguf=*/false, 'A'), *const b = organ_adapter_key(
                                                                                  pair, /*gguf=*/false, 'B');
    uint64_t a_shape[MOST_RANK] = {f->rank}, b_shape[MOST_RANK] = {f->out, f->rank, 1, 1};
    for (unsigned k = 1; k < pair->a->rank; k++)
        a_shape[k] = pair->a->shape[k];
    if (!a || !b)
        organ_fail_memory(error, pair->module);
    else if (organ_adapter_add(w, a, dtype, pair->a->rank, a_shape, f->a, error) == ORGAN_OK)
        organ_adapter_add(w, b, dtype, pair->a->rank, b_shape, f->b, error);
    return error->status;
}

/* `f` has A as [experts][rank][in] and B as [experts][out][rank]. A single matrix is written without the dimension
 * of experts. GGUF has A of embeddings transposed. For a parameter, peft joins experts and rank to one dimension of
 * A and of B. */
organ_status organ_adapter_add_factors(organ_adapter_writer *w, const organ_adapter_pair *pair, organ_dtype dtype,
                                       const organ_lora_factors *f, organ_error *error)
{
    const bool gguf = w->making->architecture != NULL, transpose_a = gguf && pair->embedding,
               parameter = !gguf && pair->layout == ORGAN_FACTORS_PARAMETER;
    if (w->making->mlx)
        return add_mlx(w, pair, dtype, f, error);
    if (pair->layout == ORGAN_FACTORS_CONV)
        return add_conv(w, pair, dtype, f, error);
    const unsigned rank = gguf && f->experts > 1 ? 3 : 2; /* dimensions of the written tensors */
    const uint64_t experts = f->experts;
    uint64_t a_shape[3] = {experts, f->rank, f->in}, b_shape[3] = {experts, f->out, f->rank};
    ORGAN_OWNED char *const a = organ_adapter_key(pair, gguf, 'A'), *const b = organ_adapter_key(pair, gguf, 'B');
    ORGAN_OWNED float *const transposed_a = transpose_a ? organ_lora_transposed(f->a, f->rank, f->in) : NULL;
    /* ORGAN_FACTORS_PARAMETER: B changes from [experts][out x rank] to [out x rank][experts], so that the columns of
     * one expert are every experts-th column of the written matrix */
    ORGAN_OWNED float *const parameter_b = parameter ? organ_lora_transposed(f->b, f->experts, f->out * f->rank) : NULL;
    if (transpose_a) {
        a_shape[1] = f->in;
        a_shape[2] = f->rank;
    } else if (parameter) {
        a_shape[1] *= experts;
        b_shape[2] *= experts;
    }
    if (!a || !b || (transpose_a && !transposed_a) || (parameter && !parameter_b))
        organ_fail_memory(error, pair->module);
    else if (organ_adapter_add(w, a, dtype, rank, a_shape + 3 - rank, transpose_a ? transposed_a : f->a, error) ==
             ORGAN_OK)
        organ_adapter_add(w, b, dtype, rank, b_shape + 3 - rank, parameter ? parameter_b : f->b, error);
    return error->status;
}

/* Sets name, type, shape and bytes of tensor `index` of a unit. */
static organ_status read_row(const organ_adapter_writer *w, size_t unit, size_t index, organ_piece *piece,
                             uint64_t shape[MOST_RANK], organ_error *error)
{
    const char *name;
    json_int_t bytes;
    json_t *entry = NULL; /* its members are not unpacked, because that would need memory */
    const int fault = json_unpack(organ_json_row_at(w->rows[unit], index), "[s, o, I]", &name, &entry, &bytes);
    const json_t *const sizes = json_object_get(entry, "shape");
    const organ_dtype type = organ_dtype_from_name(organ_json_text(entry, "dtype"));
    if (fault || bytes < 0 || type == ORGAN_DTYPE_COUNT || json_array_size(sizes) > MOST_RANK)
        return organ_fail(error, ORGAN_IO, "%s: the journal's line of '%s' is malformed",
                          w->making->write.requested->output, w->units[unit].name);
    *piece = (organ_piece){.name = name,
                           .dtype = type,
                           .rank = (unsigned)json_array_size(sizes),
                           .shape = shape,
                           .bytes = (uint64_t)bytes};
    for (unsigned k = 0; k < piece->rank; k++)
        shape[k] = (uint64_t)json_integer_value(json_array_get(sizes, k));
    return ORGAN_OK;
}

/* Reads tensor `index` of the unit, of *count values, from byte *at of the unit on, and advances *at. */
static float *read_tensor(const organ_adapter_writer *w, size_t unit, size_t index, size_t *count, uint64_t *at,
                          organ_error *error)
{
    organ_piece piece;
    uint64_t shape[MOST_RANK];
    if (read_row(w, unit, index, &piece, shape, error))
        return NULL;
    *count = (size_t)piece.bytes / organ_dtype_describe(piece.dtype)->bytes;
    float *const values = calloc(*count + 1, sizeof *values);
    ORGAN_OWNED void *const stored = malloc((size_t)piece.bytes + 1);
    if (!values || !stored)
        organ_fail_memory(error, piece.name);
    else if (organ_write_read(w->writing, unit, stored, (size_t)piece.bytes, *at, error) == ORGAN_OK)
        organ_widen(w->making->write.engine->kernels, piece.dtype, stored, values, *count);
    *at += piece.bytes;
    return values;
}

organ_status organ_adapter_read_factors(const organ_adapter_writer *w, size_t unit, bool parameter,
                                        organ_lora_factors *f, organ_error *error)
{
    size_t count = 0, b_count = 0;
    uint64_t at = 0;
    f->a = read_tensor(w, unit, 0, &count, &at, error);
    f->b = error->status ? NULL : read_tensor(w, unit, 1, &b_count, &at, error);
    if (error->status)
        return error->status;
    f->rank = count / (f->experts * f->in);
    if (f->rank == 0 || f->rank * f->experts * f->in != count || f->rank * f->experts * f->out != b_count)
        return organ_fail(error, ORGAN_IO, "%s: the journal's line of '%s' is malformed",
                          w->making->write.requested->output, w->units[unit].name);
    if (parameter && f->experts > 1) {
        float *const b = organ_lora_transposed(f->b, f->out * f->rank, f->experts);
        free(f->b);
        f->b = b;
    }
    return f->b ? ORGAN_OK : organ_fail_memory(error, w->units[unit].name);
}

organ_status organ_adapter_end(organ_adapter_writer *w, json_t *results, organ_error *error)
{
    return organ_write_finish(w->writing, w->unit,
                              ORGAN_OBJECT(SET("tensors", json_incref(w->rows[w->unit])), SET("results", results)),
                              error);
}

/* ---- the tensors of the adapter ---- */

static size_t tensors_of(const organ_adapter_writer *w, size_t unit)
{
    return w->units[unit].same ? 1 : json_array_size(w->rows[unit]);
}

/* All ranks know the tensors of all units. */
static organ_status list_tensors(organ_adapter_writer *w, organ_error *error)
{
    const organ_adapter_making *const m = w->making;
    size_t count = 0;
    for (size_t k = 0; k < m->unit_count; k++)
        count += tensors_of(w, k);
    w->tensors = organ_rows_take(count + 1, sizeof *w->tensors);
    w->shapes = organ_rows_take(count + 1, sizeof *w->shapes);
    if (!w->tensors || !w->shapes)
        return organ_fail_memory(error, m->write.requested->output);
    for (size_t k = 0; k < m->unit_count; k++)
        for (size_t t = 0; t < tensors_of(w, k) && !error->status; t++, w->tensor_count++) {
            organ_piece *const tensor = &w->tensors[w->tensor_count];
            if (w->units[k].same)
                *tensor = w->units[k];
            else
                read_row(w, k, t, tensor, w->shapes[w->tensor_count], error);
            organ_rows_passed();
        }
    return error->status;
}

/* With this value of adapter.lora.alpha llama.cpp applies every pair with scale 1. If all pairs have the same rank,
 * it is the rank, because the scale is alpha / rank. If ranks differ, it is 0, with which llama.cpp does not scale. */
static float alpha_of(const organ_adapter_writer *w)
{
    uint64_t rank = 0;
    organ_adapter_name name;
    for (size_t k = 0; k < w->tensor_count; k++) {
        const organ_piece *const t = &w->tensors[k];
        if (!organ_adapter_name_read(t->name, /*gguf=*/true, &name) || !name.is_b)
            continue;
        if (rank && rank != t->shape[t->rank - 1])
            return 0;
        rank = t->shape[t->rank - 1]; /* columns of B */
    }
    return (float)rank;
}

static organ_status describe_gguf(const organ_adapter_writer *w, organ_gguf_writer *gguf, organ_error *error)
{
    const organ_adapter_making *const making = w->making;
    const char *const texts[][2] = {
        {"general.architecture", making->architecture}, {"general.type", "adapter"}, {"adapter.type", "lora"}};
    const float alpha = making->alpha != 0 ? (float)making->alpha : alpha_of(w);
    const organ_gguf *const old = making->files_of ? making->files_of->model->gguf : NULL;
    for (size_t k = 0; old && k < old->kv_count && !error->status; k++)
        if (organ_adapter_key_is_carried(old->kvs[k].key))
            organ_gguf_writer_kv(gguf, &old->kvs[k], error);
    for (size_t k = 0; k < 3 && !error->status; k++)
        organ_gguf_writer_set_string(gguf, texts[k][0], texts[k][1], strlen(texts[k][1]), error);
    if (!error->status)
        organ_gguf_writer_set_number(gguf, "adapter.lora.alpha", ORGAN_GGUF_F32, (double)alpha, error);
    if (making->repair_pair && !error->status)
        organ_gguf_writer_set_string(gguf, ORGAN_REPAIR_PAIR_KEY, making->repair_pair, strlen(making->repair_pair),
                                     error);
    if (making->base_name && !error->status &&
        organ_gguf_writer_set_integer(gguf, "general.base_model.count", ORGAN_GGUF_U32, 1, error) == ORGAN_OK)
        organ_gguf_writer_set_string(gguf, "general.base_model.0.name", making->base_name, strlen(making->base_name),
                                     error);
    return error->status;
}

/* ---- completing the adapter ---- */

static organ_status plan_tensors(const organ_adapter_writer *w, const char *name, organ_layout *layout,
                                 organ_error *error)
{
    const organ_adapter_making *const m = w->making;
    organ_gguf_writer *gguf = NULL;
    if (m->architecture) {
        if (organ_gguf_writer_create(&gguf, error) == ORGAN_OK && describe_gguf(w, gguf, error) == ORGAN_OK)
            organ_layout_plan_gguf(m->write.model, w->tensors, w->tensor_count, name, gguf, layout, error);
        organ_gguf_writer_destroy(gguf);
        return error->status;
    }
    ORGAN_OWNED char *const metadata =
        organ_format("{\"format\":\"pt\"%s%s%s}", m->repair_pair ? ",\"" ORGAN_REPAIR_PAIR "\":\"" : "",
                     m->repair_pair ? m->repair_pair : "", m->repair_pair ? "\"" : "");
    return metadata ? organ_layout_plan_file(m->write.model, w->tensors, w->tensor_count, name, metadata, 8 + w->room,
                                             layout, error)
                    : organ_fail_memory(error, name);
}

/* In one file the bytes move towards its beginning; the ranges may overlap. */
static organ_status move_data(const organ_adapter_writer *w, const organ_direct_file *from, uint64_t offset,
                              organ_direct_file *to, const organ_piece *piece, organ_error *error)
{
    const uint64_t bytes = from == to && offset == piece->offset ? 0 : piece->bytes;
    for (uint64_t at = 0, n; at < bytes && !error->status; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        const ssize_t got = organ_pread_full(from->fd, w->buffer, (size_t)n, (off_t)(offset + at));
        if (got != (ssize_t)n)
            return organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", from->path);
        organ_direct_write(to, w->buffer, (size_t)n, piece->offset + at, error);
    }
    return error->status;
}

static organ_status place_tensors(const organ_adapter_writer *w, const organ_layout *layout,
                                  const organ_direct_file *from, organ_direct_file *to, organ_error *error)
{
    const organ_filler *const header = layout->files->fillers;
    const organ_piece *piece = w->tensors;
    for (size_t k = 0; k < w->making->unit_count && !error->status; k++) {
        uint64_t at = w->units[k].offset;
        if (organ_stop_is_requested(w->making->write.engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        for (size_t t = 0; t < tensors_of(w, k) && !error->status; t++, at += piece++->bytes)
            move_data(w, from, at, to, piece, error);
    }
    if (!error->status && organ_direct_write(to, header->data, header->bytes, 0, error) == ORGAN_OK &&
        organ_direct_resize(to, layout->files->size, error) == ORGAN_OK)
        organ_direct_sync(to, error);
    return error->status;
}

/* Moves the tensors to their places in the file, or into a GGUF file, which replaces it. */
static organ_status move_all(const organ_adapter_writer *w, const char *directory, organ_direct_file *file,
                             organ_error *error)
{
    const bool gguf = w->making->architecture != NULL;
    const char *const name = gguf ? ORGAN_ADAPTER_GGUF : weights_file(w->making);
    ORGAN_OWNED char *const path = organ_format("%s/%s", directory, name);
    ORGAN_RELEASED_BY(organ_direct_close) organ_direct_file other = {.fd = -1, .direct = -1};
    ORGAN_RELEASED_BY(organ_layout_release) organ_layout layout = {0};
    if (!path)
        organ_fail_memory(error, directory);
    else if (plan_tensors(w, name, &layout, error) == ORGAN_OK &&
             (!gguf || organ_direct_open(path, 0666, &other, error) == ORGAN_OK))
        place_tensors(w, &layout, file, gguf ? &other : file, error);
    if (gguf && !error->status)
        organ_remove_file(file->path);
    return error->status;
}

/* The config, the weights and the folder organ/ of the old adapter are not copied. A GGUF adapter needs no other
 * files. */
static organ_status copy_files(const organ_adapter *adapter, const char *const *left_out, const char *to,
                               organ_error *error)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    size_t count = 0, others = 0;
    while (left_out && left_out[others])
        others++;
    ORGAN_OWNED const char **const skip = malloc((adapter->model->file_count + others + 3) * sizeof *skip);
    if (!skip)
        return organ_fail_memory(error, to);
    for (; count < adapter->model->file_count; count++)
        skip[count] = adapter->model->files[count].name;
    for (size_t k = 0; k < others; k++)
        skip[count++] = left_out[k];
    skip[count++] = ORGAN_ADAPTER_CONFIG;
    skip[count++] = ORGAN_ADAPTER_WEIGHTS ".index.json";
    skip[count++] = "adapter_model.bin"; /* may contain the same weights, including removed ones */
    if (organ_list_files(adapter->path, skip, count, &list, error) == ORGAN_OK)
        for (size_t k = 0; k < list.count && !error->status; k++)
            if (!organ_is_report_path(list.names[k]))
                organ_copy_file(adapter->path, list.names[k], to, list.names[k], error);
    return error->status;
}

/* The result is opened at the end, so that no unreadable adapter is published. */
static organ_status complete_adapter(const organ_adapter_writer *w, organ_direct_file *file, const char *directory,
                                     const json_t *config, organ_error *error)
{
    const organ_adapter_making *const m = w->making;
    ORGAN_OWNED char *const path = organ_format("%s/" ORGAN_ADAPTER_CONFIG, directory);
    organ_adapter *made = NULL;
    if (!path)
        organ_fail_memory(error, directory);
    else if (move_all(w, directory, file, error) == ORGAN_OK &&
             (m->architecture || organ_document_write(path, config, error) == ORGAN_OK) &&
             organ_adapter_open_with_conv(directory, &made, error) == ORGAN_OK && m->files_of && !m->architecture &&
             !m->files_of->model->gguf)
        copy_files(m->files_of, m->left_out, directory, error);
    organ_adapter_close(made);
    return error->status;
}

/* ---- callbacks of organ_write ---- */

static organ_status adapter_written(void *inner, const char *directory, organ_error *error)
{
    organ_adapter_writer *const w = inner;
    organ_adapter_making *const m = w->making;
    organ_ranks *const ranks = m->write.engine->ranks;
    ORGAN_OWNED char *const path = organ_format("%s/%s", directory, weights_file(m));
    ORGAN_RELEASED_BY(organ_direct_close) organ_direct_file file = {.fd = -1, .direct = -1};
    ORGAN_OWNED_JSON json_t *const config = m->config(m->write.context, error);
    if (!path)
        organ_fail_memory(error, directory);
    if (!error->status && list_tensors(w, error) == ORGAN_OK &&
        organ_direct_open(path, 0666, &file, error) == ORGAN_OK && ranks)
        organ_direct_sync(&file, error);
    if (organ_ranks_agree(ranks, "writing all tensors", error) == ORGAN_OK && organ_ranks_first(ranks))
        complete_adapter(w, &file, directory, config, error);
    for (size_t k = 0; k < w->tensor_count && !error->status; k++)
        m->bytes += w->tensors[k].bytes;
    return error->status;
}

static organ_status adapter_fill(void *inner, organ_writing *writing, organ_error *error)
{
    organ_adapter_writer *const w = inner;
    w->writing = writing;
    return w->making->fill(w->making->write.context, w, error);
}

/* Returns false if the line of the journal lacks a member: the unit is made again. */
static bool adapter_recall(void *inner, size_t unit, const json_t *results)
{
    organ_adapter_writer *const w = inner;
    const organ_adapter_making *const m = w->making;
    json_t *const tensors = json_object_get(results, "tensors"), *const of = json_object_get(results, "results");
    if (!json_is_array(tensors) || !json_is_object(of) || !m->recall(m->write.context, unit, of))
        return false;
    json_decref(w->rows[unit]);
    w->rows[unit] = json_incref(tensors);
    return true;
}

/* ---- the run ---- */

static organ_status place_units(organ_adapter_writer *w, uint64_t *end, organ_error *error)
{
    const organ_adapter_making *const m = w->making;
    w->rows = organ_rows_take(m->unit_count + 1, sizeof *w->rows);
    w->buffer = malloc(CHUNK);
    if (!w->rows || !w->buffer)
        return organ_fail_memory(error, m->write.requested->output);
    /* 64 bytes for the metadata and the braces; a multiple of 8, so that the data after the header are aligned */
    w->room = (m->tensors * ENTRY_BYTES + m->name_bytes + (m->repair_pair ? 128 : 64) + 7) & ~(uint64_t)7;
    *end = 8 + w->room;
    for (size_t k = 0; k < m->unit_count; k++) {
        w->units[k].file = 0;
        w->units[k].offset = *end;
        w->units[k].item = k;
        *end += w->units[k].bytes;
    }
    return ORGAN_OK;
}

organ_status organ_adapter_make(organ_adapter_making *making, json_t **report, organ_error *error)
{
    static const organ_written_file none = {0};
    organ_adapter_writer w = {.making = making, .units = making->units};
    organ_layout_file file = {.name = weights_file(making)};
    organ_write write = making->write;
    if (place_units(&w, &file.size, error) == ORGAN_OK) {
        organ_layout layout = {.model = write.model,
                               .files = &file,
                               .file_count = 1,
                               .pieces = w.units,
                               .piece_count = making->unit_count,
                               .kernels = write.engine->kernels};
        write.layout = &layout;
        write.pieces.files = &none;
        write.inner = &w;
        write.make.fill = adapter_fill;
        write.make.recall = adapter_recall;
        write.make.written = adapter_written;
        organ_write_run(&write, report, error);
        organ_layout_release(&layout);
    }
    for (size_t k = 0; k < making->unit_count && w.rows; k++)
        organ_json_release_rows(w.rows[k]);
    organ_rows_free(w.rows);
    organ_rows_free(w.tensors);
    organ_rows_free(w.shapes);
    free(w.buffer);
    return error->status;
}

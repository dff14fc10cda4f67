/* SPDX-License-Identifier: MIT
 * Makes adapters with organ_write. All units have their places in adapter_model.safetensors, in the order of the
 * adapter, each with room for the most bytes that it can have. When all units are written, rank 0 moves their bytes
 * together and writes the header, in the room that was kept for it. A run that is killed meanwhile makes those units
 * again whose bytes have moved. A GGUF adapter is a copy of that file, because its header precedes the tensors and
 * depends on all of them.
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
#define CHUNK       ((size_t)1 << 18) /* bytes that are converted, moved or copied at once */

enum { ROW_BYTES = 2 }; /* index of the last member of a row of `tensors` */

struct organ_adapter_writer {
    organ_adapter_making *making;
    organ_writing *writing;
    organ_piece *pieces; /* a piece for each unit, which is its place in the file */
    /* For each unit: its tensors as rows [name, {"dtype", "shape"}, bytes] (ROW_BYTES); NULL: the unit is a copy, or
     * not made. */
    json_t **tensors;
    unsigned char *buffer; /* of CHUNK bytes */
    uint64_t room;         /* bytes of the header's JSON, which blanks fill up */
    uint64_t at;           /* bytes that the current unit has so far */
    size_t unit;           /* the current unit */
};

/* ---- filling a unit ---- */

bool organ_adapter_done(const organ_adapter_writer *w, size_t unit) { return organ_write_done(w->writing, unit); }

organ_status organ_adapter_begin(organ_adapter_writer *w, size_t unit, organ_error *error)
{
    json_decref(w->tensors[unit]);
    w->unit = unit;
    w->at = 0;
    return (w->tensors[unit] = json_array()) ? ORGAN_OK : organ_fail_memory(error, w->making->write.requested->output);
}

static json_t *entry_json(organ_dtype dtype, unsigned rank, const uint64_t *shape)
{
    return ORGAN_OBJECT(SET_TEXT("dtype", organ_dtype_describe(dtype)->name),
                        SET("shape", organ_counts_json(rank, shape)));
}

static organ_status fail_value(const organ_adapter_writer *w, const char *name, uint64_t at, double value,
                               organ_dtype dtype, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': value %" PRIu64 " is %g, which %s%s",
                      w->making->write.requested->output, name, at, value,
                      isfinite(value) ? "exceeds the range of " : "is not finite",
                      isfinite(value) ? organ_dtype_describe(dtype)->name : "");
}

organ_status organ_adapter_add(organ_adapter_writer *w, const char *name, organ_dtype dtype, unsigned rank,
                               const uint64_t *shape, const float *values, organ_error *error)
{
    /* Values of greater magnitude round to infinity: 65520 and above in F16, (2 - 2^-8) x 2^127 and above in BF16. */
    double limit = dtype == ORGAN_F16 ? 65519.99609375 : (double)INFINITY;
    if (dtype == ORGAN_BF16)
        limit = 0x1.feffffp127;
    const size_t width = organ_dtype_describe(dtype)->bytes, step = CHUNK / sizeof(float);
    uint64_t count = 1, bytes;
    for (unsigned k = 0; k < rank; k++)
        count *= shape[k];
    if (!organ_dtype_bytes(dtype, count, &bytes) || bytes > w->pieces[w->unit].bytes - w->at)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is too large", w->making->write.requested->output,
                          name);
    if (json_array_append_new(w->tensors[w->unit],
                              json_pack("[s, o, I]", name, entry_json(dtype, rank, shape), (json_int_t)bytes)))
        return organ_fail_memory(error, w->making->write.requested->output);
    for (uint64_t at = 0; at < count && !error->status; at += step) {
        const size_t n = count - at < step ? (size_t)(count - at) : step;
        for (size_t k = 0; k < n; k++)
            if (!(fabs((double)values[at + k]) <= limit) || isinf(values[at + k]))
                return fail_value(w, name, at + k, (double)values[at + k], dtype, error);
        organ_narrow(w->making->write.engine->kernels, dtype, values + at, w->buffer, n);
        organ_write_put(w->writing, w->unit, w->buffer, n * width, w->at, NULL, error);
        w->at += n * width;
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

/* Reads tensor `index` of the unit, of *count values, from byte *at of the unit on, and advances *at. */
static float *read_tensor(const organ_adapter_writer *w, size_t unit, size_t index, size_t *count, uint64_t *at,
                          organ_error *error)
{
    const char *name, *type;
    json_int_t bytes;
    json_t *entry;
    organ_dtype dtype;
    if (json_unpack(organ_json_row_at(w->tensors[unit], index), "[s, o, I]", &name, &entry, &bytes) || bytes <= 0 ||
        json_unpack(entry, "{s:s}", "dtype", &type) || (dtype = organ_dtype_from_name(type)) == ORGAN_DTYPE_COUNT) {
        organ_fail(error, ORGAN_IO, "%s: the journal's line of '%s' is malformed", w->making->write.requested->output,
                   w->pieces[unit].name);
        return NULL;
    }
    *count = (size_t)bytes / organ_dtype_describe(dtype)->bytes;
    float *const values = calloc(*count, sizeof *values);
    ORGAN_OWNED void *const stored = malloc((size_t)bytes);
    if (!values || !stored)
        organ_fail_memory(error, name);
    else if (organ_write_read(w->writing, unit, stored, (size_t)bytes, *at, error) == ORGAN_OK)
        organ_widen(w->making->write.engine->kernels, dtype, stored, values, *count);
    *at += (uint64_t)bytes;
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
                          w->making->write.requested->output, w->pieces[unit].name);
    if (parameter && f->experts > 1) {
        float *const b = organ_lora_transposed(f->b, f->out * f->rank, f->experts);
        free(f->b);
        f->b = b;
    }
    return f->b ? ORGAN_OK : organ_fail_memory(error, w->pieces[unit].name);
}

organ_status organ_adapter_end(organ_adapter_writer *w, json_t *results, organ_error *error)
{
    return organ_write_finish(w->writing, w->unit,
                              ORGAN_OBJECT(SET("tensors", json_incref(w->tensors[w->unit])), SET("results", results)),
                              error);
}

/* ---- the GGUF file ---- */

/* With this value of adapter.lora.alpha llama.cpp applies every pair with scale 1. If all pairs have the same rank,
 * it is the rank, because the scale is alpha / rank. If ranks differ, it is 0, with which llama.cpp does not scale. */
static float alpha_of(const organ_model *model)
{
    uint64_t rank = 0;
    organ_adapter_name name;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (!organ_adapter_name_read(t->name, /*gguf=*/true, &name) || !name.is_b)
            continue;
        if (rank && rank != t->shape[t->rank - 1])
            return 0;
        rank = t->shape[t->rank - 1]; /* columns of B */
    }
    return (float)rank;
}

/* `model` is the safetensors file. */
static organ_status gguf_describe(const organ_adapter_making *making, const organ_model *model, organ_gguf_writer *gguf,
                                  organ_error *error)
{
    const char *const texts[][2] = {
        {"general.architecture", making->architecture}, {"general.type", "adapter"}, {"adapter.type", "lora"}};
    const float alpha = making->alpha != 0 ? (float)making->alpha : alpha_of(model);
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
    for (size_t k = 0; k < model->tensor_count && !error->status; k++) {
        const organ_tensor *const t = &model->tensors[k];
        organ_gguf_writer_tensor(gguf, t->name, t->dtype, t->rank, t->shape, error);
    }
    return error->status;
}

/* `model` is the safetensors file. */
static organ_status gguf_fill(const organ_model *model, const organ_gguf_layout *layout, organ_direct_file *to,
                              organ_error *error)
{
    enum { STEP = 1 << 18 }; /* bytes that are copied at once */
    ORGAN_OWNED unsigned char *const bytes = malloc(STEP);
    if (!bytes)
        return organ_fail_memory(error, to->path);
    organ_direct_resize(to, layout->file_size, error); /* zeros between the tensors */
    if (!error->status)
        organ_direct_write(to, layout->bytes, layout->size, 0, error);
    for (size_t k = 0; k < model->tensor_count && !error->status; k++) {
        const organ_tensor *const t = &model->tensors[k];
        for (uint64_t at = 0, n; at < t->bytes && !error->status; at += n) {
            n = t->bytes - at < STEP ? t->bytes - at : STEP;
            if (organ_model_read(model, t->file, bytes, n, t->offset + at, error) == ORGAN_OK)
                organ_direct_write(to, bytes, (size_t)n, layout->offsets[k] + at, error);
        }
    }
    return error->status ? error->status : organ_direct_sync(to, error);
}

/* The safetensors file at `path` is removed at the end. */
static organ_status gguf_write(const char *directory, const char *path, const organ_adapter_making *making,
                               organ_error *error)
{
    ORGAN_OWNED char *const name = organ_format("%s/" ORGAN_ADAPTER_GGUF, directory);
    organ_model *model = NULL;
    organ_gguf_writer *gguf = NULL;
    organ_gguf_layout layout;
    ORGAN_RELEASED_BY(organ_direct_close) organ_direct_file to = {.fd = -1, .direct = -1};
    if (!name)
        organ_fail_memory(error, path);
    else if (organ_model_open(path, &model, error) == ORGAN_OK && organ_gguf_writer_create(&gguf, error) == ORGAN_OK &&
             gguf_describe(making, model, gguf, error) == ORGAN_OK &&
             organ_gguf_writer_finish(gguf, &layout, error) == ORGAN_OK &&
             organ_direct_open(name, 0666, &to, error) == ORGAN_OK)
        gguf_fill(model, &layout, &to, error);
    organ_gguf_writer_destroy(gguf);
    organ_model_close(model);
    if (!error->status)
        organ_remove_file(path);
    return error->status;
}

/* ---- completing the adapter ---- */

/* `used` bytes of `bytes` belong at offset `at` of the file. */
typedef struct adapter_header {
    organ_adapter_writer *writer;
    organ_direct_file file;
    char bytes[4096];
    size_t used;
    uint64_t at;
    uint64_t data;          /* bytes of the tensors that the header has so far */
    organ_name_table names; /* of these tensors; points into the rows of the units */
} adapter_header;

static organ_status header_flush(adapter_header *h, organ_error *error)
{
    if (organ_direct_write(&h->file, h->bytes, h->used, h->at, error) == ORGAN_OK) {
        h->at += h->used;
        h->used = 0;
    }
    return error->status;
}

static organ_status header_text(adapter_header *h, const char *text, size_t length, organ_error *error)
{
    for (size_t k = 0; k < length; k++) {
        if (h->used == sizeof h->bytes && header_flush(h, error))
            return error->status;
        h->bytes[h->used++] = text[k];
    }
    return error->status;
}

/* The entry is ,"NAME":ENTRY; its data follow those of the tensors before. */
static organ_status header_entry(adapter_header *h, const char *name, json_t *entry, uint64_t bytes, organ_error *error)
{
    const char *const output = h->writer->making->write.requested->output;
    json_t *const place = json_pack("[I, I]", (json_int_t)h->data, (json_int_t)(h->data + bytes));
    ORGAN_OWNED_JSON json_t *const member = json_object();
    const bool made = ORGAN_ADD(entry, SET("data_offsets", place)) && json_object_set(member, name, entry) == 0;
    ORGAN_OWNED char *const text = made ? organ_json_dump(member, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) - 1 : 0; /* `{` becomes `,`, `}` is left out */
    if (organ_name_table_find(&h->names, name))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': occurs twice", output, name);
    else if (!text || !organ_name_table_put(&h->names, name, 0))
        organ_fail_memory(error, output);
    else if (length >= 8 + h->writer->room - h->at - h->used)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s: tensor '%s': its entry does not fit into the %" PRIu64 " bytes reserved for the header", output,
                   name, h->writer->room);
    else if (header_text(h, ",", 1, error) == ORGAN_OK)
        header_text(h, text + 1, length - 1, error);
    h->data += bytes;
    organ_rows_passed();
    return error->status;
}

/* The bytes move towards the beginning of the file; the ranges may overlap. */
static organ_status move_data(adapter_header *h, uint64_t from, uint64_t to, uint64_t bytes, organ_error *error)
{
    for (uint64_t at = 0, n; at < bytes && from != to && !error->status; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        const ssize_t got = organ_pread_full(h->file.fd, h->writer->buffer, (size_t)n, (off_t)(from + at));
        if (got != (ssize_t)n)
            return organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", h->file.path);
        organ_direct_write(&h->file, h->writer->buffer, (size_t)n, to + at, error);
    }
    return error->status;
}

static organ_status place_unit(adapter_header *h, size_t unit, organ_error *error)
{
    organ_adapter_writer *const w = h->writer;
    const organ_adapter_unit *const u = &w->making->units[unit];
    const uint64_t first = h->data;
    if (u->same) {
        ORGAN_OWNED_JSON json_t *const entry = entry_json(u->same->dtype, u->same->rank, u->same->shape);
        header_entry(h, u->key, entry, u->same->bytes, error);
    }
    for (size_t k = 0; k < json_array_size(w->tensors[unit]) && !error->status; k++) {
        const char *name;
        json_int_t bytes;
        json_t *entry;
        if (json_unpack(organ_json_row_at(w->tensors[unit], k), "[s, o, I]", &name, &entry, &bytes) || bytes < 0)
            return organ_fail(error, ORGAN_IO, "%s: the journal's line of '%s' is malformed",
                              w->making->write.requested->output, u->name);
        header_entry(h, name, entry, (uint64_t)bytes, error);
    }
    const uint64_t data = 8 + w->room;
    return error->status ? error->status : move_data(h, w->pieces[unit].offset, data + first, h->data - first, error);
}

static organ_status place_metadata(adapter_header *h, organ_error *error)
{
    static const char begin[] = "{\"__metadata__\":{\"format\":\"pt\"", repair[] = ",\"" ORGAN_REPAIR_PAIR "\":\"";
    const char *const pair = h->writer->making->repair_pair;
    header_text(h, begin, sizeof begin - 1, error);
    if (pair) {
        header_text(h, repair, sizeof repair - 1, error);
        header_text(h, pair, strlen(pair), error);
        header_text(h, "\"", 1, error);
    }
    return header_text(h, "}", 1, error);
}

static organ_status place_units(adapter_header *h, organ_error *error)
{
    const organ_adapter_writer *const w = h->writer;
    char length[8];
    for (unsigned k = 0; k < 8; k++)
        length[k] = (char)(w->room >> 8 * k); /* little-endian */
    header_text(h, length, 8, error);
    place_metadata(h, error);
    for (size_t k = 0; k < w->making->unit_count && !error->status; k++)
        if (organ_stop_is_requested(w->making->write.engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        else
            place_unit(h, k, error);
    header_text(h, "}", 1, error);
    while (!error->status && h->at + h->used < 8 + w->room)
        header_text(h, " ", 1, error);
    if (!error->status && header_flush(h, error) == ORGAN_OK &&
        organ_direct_resize(&h->file, 8 + w->room + h->data, error) == ORGAN_OK)
        organ_direct_sync(&h->file, error);
    return error->status;
}

/* The config, the weights and the folder organ/ of the old adapter are not copied. A GGUF adapter needs no other
 * files. */
static organ_status copy_files(const organ_adapter *adapter, const char *to, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    const size_t count = adapter->model->file_count;
    ORGAN_OWNED const char **const skip = malloc((count + 3) * sizeof *skip);
    if (!skip)
        return organ_fail_memory(error, to);
    for (size_t k = 0; k < count; k++)
        skip[k] = adapter->model->files[k].name;
    skip[count] = ORGAN_ADAPTER_CONFIG;
    skip[count + 1] = ORGAN_ADAPTER_WEIGHTS ".index.json";
    skip[count + 2] = "adapter_model.bin"; /* may contain the same weights, including removed ones */
    if (organ_list_files(adapter->path, skip, count + 3, &list, error) == ORGAN_OK)
        for (size_t k = 0; k < list.count && !error->status; k++)
            if (!organ_is_report_path(list.names[k]))
                organ_copy_file(adapter->path, list.names[k], to, list.names[k], error);
    return error->status;
}

/* The result is opened at the end, so that no unreadable adapter is published. */
static organ_status complete_adapter(adapter_header *h, const char *directory, const json_t *config, organ_error *error)
{
    const organ_adapter_making *const m = h->writer->making;
    ORGAN_OWNED char *const path = organ_format("%s/" ORGAN_ADAPTER_CONFIG, directory);
    organ_adapter *made = NULL;
    if (!path)
        organ_fail_memory(error, directory);
    else if (place_units(h, error) == ORGAN_OK &&
             (m->architecture ? gguf_write(directory, h->file.path, m, error)
                              : organ_document_write(path, config, error)) == ORGAN_OK &&
             organ_adapter_open(directory, &made, error) == ORGAN_OK && m->files_of && !m->architecture &&
             !m->files_of->model->gguf)
        copy_files(m->files_of, directory, error);
    organ_adapter_close(made);
    return error->status;
}

/* ---- callbacks of organ_write ---- */

static uint64_t bytes_written(const organ_adapter_writer *w)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < w->making->unit_count; k++) {
        bytes += w->making->units[k].same ? w->making->units[k].same->bytes : 0;
        for (size_t t = 0; t < json_array_size(w->tensors[k]); t++)
            bytes += (uint64_t)json_integer_value(json_array_get(json_array_get(w->tensors[k], t), ROW_BYTES));
    }
    return bytes;
}

static const char *weights_file(const organ_adapter_making *making)
{
    return making->mlx ? ORGAN_ADAPTER_MLX : ORGAN_ADAPTER_WEIGHTS;
}

static organ_status adapter_written(void *inner, const char *directory, organ_error *error)
{
    organ_adapter_writer *const w = inner;
    organ_adapter_making *const m = w->making;
    organ_ranks *const ranks = m->write.engine->ranks;
    ORGAN_OWNED adapter_header *const h = calloc(1, sizeof *h);
    ORGAN_OWNED char *const path = organ_format("%s/%s", directory, weights_file(m));
    ORGAN_OWNED_JSON json_t *const config = m->config(m->write.context, error);
    if (!h || !path)
        organ_fail_memory(error, directory);
    const bool opened = !error->status && organ_direct_open(path, 0666, &h->file, error) == ORGAN_OK;
    if (opened && ranks)
        organ_direct_sync(&h->file, error);
    if (organ_ranks_agree(ranks, "writing all tensors", error) == ORGAN_OK && organ_ranks_first(ranks)) {
        h->writer = w;
        complete_adapter(h, directory, config, error);
    }
    if (!error->status)
        m->bytes += bytes_written(w);
    if (opened)
        organ_direct_close(&h->file);
    if (h)
        organ_name_table_release(&h->names);
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
    json_decref(w->tensors[unit]);
    w->tensors[unit] = json_incref(tensors);
    return true;
}

/* ---- the run ---- */

static organ_status place_all(organ_adapter_writer *w, uint64_t *end, organ_error *error)
{
    const organ_adapter_making *const m = w->making;
    w->pieces = organ_rows_take(m->unit_count + 1, sizeof *w->pieces);
    w->tensors = organ_rows_take(m->unit_count + 1, sizeof *w->tensors);
    w->buffer = malloc(CHUNK);
    if (!w->pieces || !w->tensors || !w->buffer)
        return organ_fail_memory(error, m->write.requested->output);
    /* 64 bytes for the metadata and the braces; a multiple of 8, so that the data after the header are aligned */
    w->room = (m->tensors * ENTRY_BYTES + m->name_bytes + (m->repair_pair ? 128 : 64) + 7) & ~(uint64_t)7;
    *end = 8 + w->room;
    for (size_t k = 0; k < m->unit_count; k++) {
        const organ_adapter_unit *const u = &m->units[k];
        w->pieces[k] = u->same ? organ_piece_same(u->same) : (organ_piece){0};
        w->pieces[k].name = u->name;
        w->pieces[k].model = u->model;
        w->pieces[k].bytes = u->same ? u->same->bytes : u->most;
        w->pieces[k].file = 0;
        w->pieces[k].offset = *end;
        w->pieces[k].item = k;
        w->pieces[k].cost = u->source_bytes;
        w->pieces[k].calib = m->calib && !u->same;
        *end += w->pieces[k].bytes;
    }
    return ORGAN_OK;
}

organ_status organ_adapter_make(organ_adapter_making *making, json_t **report, organ_error *error)
{
    static const organ_written_file none = {0};
    organ_adapter_writer w = {.making = making};
    organ_layout_file file = {.name = weights_file(making)};
    organ_write write = making->write;
    if (place_all(&w, &file.size, error) == ORGAN_OK) {
        organ_layout layout = {.model = write.model,
                               .files = &file,
                               .file_count = 1,
                               .pieces = w.pieces,
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
    for (size_t k = 0; k < making->unit_count && w.tensors; k++)
        organ_json_release_rows(w.tensors[k]);
    organ_rows_free(w.tensors);
    organ_rows_free(w.pieces);
    free(w.buffer);
    return error->status;
}

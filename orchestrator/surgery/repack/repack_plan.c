/* SPDX-License-Identifier: MIT
 * Plans the output of a conversion between AWQ, GPTQ and compressed-tensors: checks that its format can express every
 * weight of the model, and lists the tensors. */
#include "orchestrator/surgery/repack/repack_parts.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/stream/weight_pass.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns the format in which the weight is; REPACK_FORMATS: another one. */
static repack_format format_of(const organ_weight *weight)
{
    static const organ_scheme schemes[REPACK_FORMATS] = {ORGAN_SCHEME_PACKED, ORGAN_SCHEME_GPTQ, ORGAN_SCHEME_AWQ_GEMM};
    int k = 0;
    while (k < REPACK_FORMATS && weight->scheme != schemes[k])
        k++;
    return (repack_format)k;
}

/* ---- one weight ---- */

/* GPTQModel (SUPPORTS_BITS, SUPPORTS_GROUP_SIZE of its quantised layers) and AutoAWQ know these. */
static organ_status check_numbers(const repack_job *job, const repack_part *p, organ_error *error)
{
    const organ_weight *const w = p->weight;
    const uint64_t group = p->group == p->cols ? 32 : p->group; /* all columns: -1, which both know */
    const bool gptq = job->to == REPACK_GPTQ;
    char why[96];
    if (job->to == REPACK_COMPRESSED)
        return ORGAN_OK;
    snprintf(why, sizeof why, "has codes of %u bits%s", w->bits, w->planar ? " in planes" : "");
    if (w->planar || (gptq ? w->bits != 2 && w->bits != 3 && w->bits != 4 && w->bits != 8 : w->bits != 4))
        return organ_repack_refuse(job, w->codes->name, why, error);
    snprintf(why, sizeof why, "has %zu rows and %zu columns, not whole words of codes", p->rows, p->cols);
    if (p->rows * w->bits % 32 || (gptq && p->cols * w->bits % 32))
        return organ_repack_refuse(job, w->codes->name, why, error);
    snprintf(why, sizeof why, "has groups of %zu columns", p->group);
    if (group != 16 && group != 32 && group != 64 && group != 128)
        return organ_repack_refuse(job, w->codes->name, why, error);
    return ORGAN_OK;
}

/* Fills the part from headers, and from the zero points and the index of GPTQ. */
static organ_status read_part(const repack_job *job, const organ_weight *w, repack_part *p, organ_error *error)
{
    organ_weight_storage storage;
    char note[256], why[96];
    const organ_matrices m = organ_weight_matrices(w);
    if (w->rank != 2)
        return organ_repack_refuse(job, w->codes->name, "is a stack of matrices", error);
    if (organ_weight_storage_read(job->model, w, job->engine->kernels, &storage, note, error))
        return error->status;
    if (*note)
        organ_progress_note(job->progress, "%s: %s", w->name, note);
    *p = (repack_part){.weight = w, .rows = (size_t)m.rows, .cols = (size_t)m.cols};
    p->group = w->block_cols && w->block_cols < m.cols ? (size_t)w->block_cols : p->cols;
    p->groups = (size_t)(w->scale->elements / m.rows);
    p->plus_one = storage.plus_one;
    p->indexed = storage.indexed;
    if (w->scale->elements % m.rows || (!p->indexed && p->groups != (p->cols + p->group - 1) / p->group))
        return organ_repack_refuse(job, w->scale->name, "has no scale for each group of columns of each row", error);
    if (p->indexed && job->to == REPACK_AWQ)
        return organ_repack_refuse(job, w->g_idx->name, "gives columns to groups in an order of its own", error);
    snprintf(why, sizeof why, "has %zu columns, not whole groups of %zu", p->cols, p->group);
    if (p->cols % p->group && job->to != REPACK_GPTQ)
        return organ_repack_refuse(job, w->codes->name, why, error);
    return check_numbers(job, p, error);
}

/* ---- what the zero points of all weights have in common ---- */

/* Symmetric weights need none in compressed-tensors. GPTQ stores them minus 1 in version 1, which more programs read,
 * but these disagree about the one that is 0; then the output has version 2. */
static organ_status scan_zeros(repack_job *job, organ_error *error)
{
    job->symmetric = true;
    job->minus_one = job->to == REPACK_GPTQ;
    for (size_t k = 0; k < job->part_count && !error->status; k++) {
        const repack_part *const p = &job->parts[k];
        const size_t count = p->rows * p->groups;
        if (!p->weight->zero || (!job->symmetric && !job->minus_one))
            continue;
        ORGAN_OWNED unsigned char *const zeros = malloc(count + 1);
        if (!zeros)
            return organ_fail_memory(error, p->weight->name);
        if (organ_repack_read_zeros(job, p, zeros, error))
            return error->status;
        for (size_t at = 0; at < count; at++) {
            job->symmetric = job->symmetric && zeros[at] == 1 << (p->weight->bits - 1);
            job->minus_one = job->minus_one && zeros[at];
        }
    }
    return error->status;
}

static organ_status add_setting(repack_job *job, repack_part *p, uint64_t group, organ_error *error)
{
    size_t k = 0;
    while (k < job->setting_count && (job->settings[k].bits != p->weight->bits || job->settings[k].group != group))
        k++;
    if (k == REPACK_SETTINGS)
        return organ_repack_refuse(job, p->weight->codes->name, "is the first of too many kinds of codes", error);
    if (k == job->setting_count)
        job->settings[job->setting_count++] = (repack_setting){p->weight->bits, group, 0};
    job->settings[k].parts++;
    p->setting = k;
    return ORGAN_OK;
}

/* A row of one group has the size of the groups of other weights, if that is its length, else groups of all columns. */
static organ_status find_settings(repack_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (job->parts[k].group < job->parts[k].cols)
            add_setting(job, &job->parts[k], job->parts[k].group, error);
    for (size_t k = 0; k < job->part_count && !error->status; k++) {
        repack_part *const p = &job->parts[k];
        uint64_t group = 0;
        for (size_t s = 0; s < job->setting_count; s++)
            if (job->settings[s].bits == p->weight->bits && job->settings[s].group == p->cols)
                group = p->cols;
        if (p->group == p->cols)
            add_setting(job, p, group, error);
    }
    const repack_part *const first = job->parts;
    for (size_t k = 0; k < job->part_count && job->to == REPACK_AWQ && !error->status; k++)
        if (job->parts[k].setting != first->setting)
            organ_repack_refuse(job, job->parts[k].weight->codes->name,
                                "has groups of another size than the weights before it", error);
    return error->status;
}

/* ---- the tensors of the output ---- */

static const char *const leaves[REPACK_FORMATS][REPACK_TENSORS] = {
    {"weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx", "weight_shape"},
    {"qweight", "scales", "qzeros", "g_idx", NULL},
    {"qweight", "scales", "qzeros", NULL, NULL}};

/* Sets the shape of each tensor; a second size of 0 is that of a vector. Returns which tensors the output has. */
static void set_shapes(const repack_job *job, repack_part *p, bool has[REPACK_TENSORS])
{
    const unsigned bits = p->weight->bits;
    const uint64_t rows = p->rows, cols = p->cols, groups = p->groups, row = organ_repack_bytes(cols, bits) / 4,
                   column = organ_repack_bytes(rows, bits) / 4;
    const uint64_t shapes[REPACK_FORMATS][3][2] = {{{rows, row}, {rows, groups}, {column, groups}},
                                                   {{row, rows}, {groups, rows}, {groups, column}},
                                                   {{cols, column}, {groups, rows}, {groups, column}}};
    memcpy(p->shapes, shapes[job->to], sizeof shapes[job->to]);
    p->shapes[REPACK_INDEX][0] = cols;
    p->shapes[REPACK_SHAPE][0] = 2;
    has[REPACK_CODES] = has[REPACK_SCALES] = true;
    has[REPACK_ZEROS] = job->to != REPACK_COMPRESSED || !job->symmetric;
    has[REPACK_INDEX] = job->to == REPACK_GPTQ || (job->to == REPACK_COMPRESSED && job->indexed);
    has[REPACK_SHAPE] = job->to == REPACK_COMPRESSED;
}

static organ_status add_part(repack_job *job, repack_part *p, organ_error *error)
{
    bool has[REPACK_TENSORS];
    size_t length = strlen(p->weight->name);
    set_shapes(job, p, has);
    organ_cut_end(p->weight->name, &length, "weight");
    const size_t first = job->piece_count;
    for (unsigned k = 0; k < REPACK_TENSORS; k++) {
        const char *const leaf = leaves[job->to][k];
        p->pieces[k] = SIZE_MAX;
        if (!has[k])
            continue;
        char *const name = organ_arena_take(&job->arena, length + strlen(leaf) + 1);
        if (!name)
            return organ_fail_memory(error, p->weight->name);
        memcpy(name, p->weight->name, length);
        strcpy(name + length, leaf);
        p->pieces[k] = job->piece_count;
        organ_dtype dtype = k == REPACK_SHAPE ? ORGAN_I64 : ORGAN_I32;
        if (k == REPACK_SCALES)
            dtype = p->weight->scale->dtype;
        job->pieces[job->piece_count++] =
            (organ_piece){.name = name, .dtype = dtype, .rank = p->shapes[k][1] ? 2 : 1, .shape = p->shapes[k]};
    }
    job->pieces[first].more = job->piece_count - first - 1;
    job->pieces[first].item = (size_t)(p - job->parts);
    job->pieces[first].cost = organ_weight_bytes(p->weight);
    return ORGAN_OK;
}

/* ---- the model ---- */

/* A weight that is neither plain nor in one of the formats is refused. */
static organ_status find_parts(repack_job *job, organ_error *error)
{
    size_t other = 0; /* parts that are not in the format of the output */
    if (organ_refuse_rotated(job->model, job->weights, error))
        return error->status;
    if (job->weights->unmatched_count)
        return organ_repack_refuse(job, job->weights->unmatched->tensor->name, job->weights->unmatched->why, error);
    for (size_t k = 0; k < job->weights->count && !error->status; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        organ_rows_passed();
        if (w->scheme == ORGAN_SCHEME_PLAIN && !w->scale && !w->global && !organ_dtype_is_fp8(w->codes->dtype))
            continue;
        if (format_of(w) == REPACK_FORMATS && w->scheme != ORGAN_SCHEME_QUARK4)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%s' is %s: `format` turns only gptq, awq-gemm, pack-quantized and Quark's "
                              "INT4 into another one",
                              job->model->path, w->codes->name, organ_scheme_name(w->scheme));
        other += format_of(w) != job->to;
        read_part(job, w, &job->parts[job->part_count++], error);
    }
    if (!error->status && !job->part_count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has no weights of AWQ, GPTQ, compressed-tensors or Quark's INT4, which "
                          "`format` turns into another one",
                          job->model->path);
    if (!error->status && !other)
        return organ_fail(error, ORGAN_USAGE, "%s: is %s already", job->model->path, organ_repack_names[job->to]);
    for (size_t k = 0; k < job->part_count; k++)
        job->indexed = job->indexed || job->parts[k].indexed;
    return error->status;
}

static organ_status list_pieces(repack_job *job, organ_error *error)
{
    size_t part = 0;
    for (size_t k = 0; k < job->weights->count && !error->status; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        organ_rows_passed();
        if (part < job->part_count && job->parts[part].weight == w)
            add_part(job, &job->parts[part++], error);
        else
            job->pieces[job->piece_count++] = organ_piece_same(w->codes);
    }
    return error->status;
}

organ_status organ_repack_plan(repack_job *job, organ_error *error)
{
    const organ_convert_options *const o = job->options;
    if (organ_model_open(o->model, &job->model, error) || organ_model_is_here(job->model, "converted", error))
        return error->status;
    if (job->model->gguf)
        return organ_fail(error, ORGAN_USAGE, "%s: is GGUF: `format` is for quantised safetensors models", o->model);
    if (organ_weights_find(job->model, &job->weights, error))
        return error->status;
    const size_t room = job->model->tensor_count + 1;
    job->parts = organ_rows_take(room, sizeof *job->parts);
    job->pieces = organ_rows_take(room * REPACK_TENSORS, sizeof *job->pieces);
    if (!job->parts || !job->pieces)
        return organ_fail_memory(error, o->model);
    if (organ_repack_check_config(job, error) || find_parts(job, error) || find_settings(job, error) ||
        scan_zeros(job, error))
        return error->status;
    return list_pieces(job, error);
}

void organ_repack_release(repack_job *job)
{
    organ_rows_free(job->parts);
    organ_rows_free(job->pieces);
    organ_arena_release(&job->arena);
    organ_weights_free(job->weights);
    organ_model_close(job->model);
}

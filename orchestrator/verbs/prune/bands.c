/* SPDX-License-Identifier: MIT
 * Prunes without text and forward pass, by the weights alone or by an imatrix: matrix by matrix, each in bands of as
 * many rows as fit in the memory. A unit is a target, or some matrices of a stack (stretch_rows in prune_units.c). */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"

#include <string.h>

typedef struct bands_writing {
    organ_prune_job *job;
    size_t unit, part;          /* index of the unit in base.units, and of its target */
    const organ_tensor *tensor; /* the unit as a tensor */
    organ_matrix_bands bands;   /* the matrix that is being pruned */
    uint8_t *keep;              /* mask of the loaded band */
    char *donor_rows;           /* per worker: a copy of a row before pruning, in the stored type */
    organ_audit_counts *counts; /* per worker: counts of the current band */
} bands_writing;

static size_t weight_bytes(const organ_tensor *tensor) { return organ_dtype_describe(tensor->dtype)->bytes; }

/* *bands gets as many rows in a band as fit in memory. Returns false if not even the smallest band fits. *least is
 * always the memory in bytes that the smallest band needs. */
static bool fit_bands(const organ_prune_job *job, const organ_tensor *tensor, organ_matrix_bands *bands,
                      uint64_t *least)
{
    const organ_engine *const engine = job->engine;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t workers = organ_workers_count(engine->workers),
                   norms = 4 * sizeof(float); /* per input with an imatrix: norm, act_norm, stability, contribution */
    *bands = (organ_matrix_bands){
        .name = tensor->name, .rows = (size_t)m.rows, .cols = (size_t)m.cols, .dtype = tensor->dtype};
    return organ_prune_bands_fit(engine, job->method->method, m.cols * (workers * weight_bytes(tensor) + norms), bands,
                                 least);
}

static uint64_t least_memory_of_targets(const organ_prune_job *job, const organ_tensor **widest)
{
    uint64_t max = 0;
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_tensor *const tensor = job->targets.tensors[k];
        const uint64_t map = organ_tile_map_memory(tensor, organ_workers_count(job->engine->workers));
        organ_matrix_bands bands;
        uint64_t least;
        (void)fit_bands(job, tensor, &bands, &least);
        least = map > least ? map : least;
        *widest = least > max ? tensor : *widest;
        max = least > max ? least : max;
    }
    return max;
}

uint64_t organ_prune_bands_memory(const organ_prune_job *job)
{
    const organ_tensor *widest = NULL;
    return least_memory_of_targets(job, &widest);
}

static organ_status check_least_memory(const organ_prune_job *job, organ_error *error)
{
    const organ_tensor *widest = NULL;
    const uint64_t max = least_memory_of_targets(job, &widest);
    if (!widest)
        return ORGAN_OK;
    return organ_memory_claim(job->engine, max, error,
                              "tensor '%s' and the fewest of its rows of %llu weights that are pruned together",
                              widest->name, (unsigned long long)organ_tensor_matrices(widest).cols);
}

/* ---- the imatrix ---- */

/* Experts without tokens are added to the member `fallback` of job->figures[part]: they use the norms of other
 * experts, or norms of 1 (make_norms). `known`: cache of organ_experts_of_role. */
static organ_status check_target(organ_prune_job *job, size_t part, organ_expert_census *known, organ_error *error)
{
    const organ_tensor *const tensor = job->targets.tensors[part];
    const organ_matrices m = organ_tensor_matrices(tensor);
    organ_prune_figures *const result = &job->figures[part];
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const norms = organ_take_floats(&buffers, (size_t)m.cols, 1);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    result->experts = organ_experts_of_role(job->donor, tensor, known);
    for (uint64_t k = 0; k < m.count && !error->status; k++)
        if (organ_importance_norms(job->imatrix, job->donor, tensor, k, result->experts, norms, &count, &result->entry,
                                   error) == ORGAN_OK &&
            count == 0)
            organ_calibration_note_expert(&result->fallback, tensor, k);
    return error->status;
}

static organ_status open_imatrix(organ_prune_job *job, organ_error *error)
{
    organ_expert_census known = {0};
    if (organ_imatrix_open(job->calibrated->imatrix, &job->imatrix, error) != ORGAN_OK ||
        organ_importance_digest(job->imatrix, job->digest, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->targets.count && !error->status; k++)
        check_target(job, k, &known, error);
    return error->status;
}

/* The calibration has the norm of each input from the imatrix, but no second moments. The inputs of down differ between
 * experts, so its norms are 1 for an expert without tokens. *calibration is NULL after an error. */
static organ_status make_norms(const organ_prune_job *job, size_t part, uint64_t matrix,
                               organ_calibration **calibration, organ_error *error)
{
    const organ_tensor *const tensor = job->targets.tensors[part];
    const size_t features = (size_t)organ_tensor_matrices(tensor).cols;
    const organ_calibration_options options = {.features = features, .name = tensor->name};
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const norms = organ_take_floats(&buffers, features, 1);
    const char *entry;
    double count;
    *calibration = NULL;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    if (organ_importance_norms(job->imatrix, job->donor, tensor, matrix, job->figures[part].experts, norms, &count,
                               &entry, error) != ORGAN_OK)
        return error->status;
    for (size_t j = 0; j < features && count == 0 && tensor->anatomy.role == ORGAN_ROLE_DOWN; j++)
        norms[j] = 1;
    return organ_calibration_from_norms(&options, norms, (uint64_t)count, calibration, error);
}

organ_status organ_prune_bands_open(organ_prune_job *job, organ_error *error)
{
    if (job->calibrated->imatrix && open_imatrix(job, error) != ORGAN_OK)
        return error->status;
    return check_least_memory(job, error);
}

/* ---- a band with a computed mask ---- */

/* The row is compared with a copy made before its removed weights become +0. 0u - keep[j] has all bits set for a
 * kept weight, and none for a removed one. */
static void clear_row(void *context, size_t row, size_t worker)
{
    const bands_writing *const w = context;
    const size_t cols = w->bands.cols, bytes = cols * weight_bytes(w->tensor);
    const uint8_t *const keep = w->keep + row * cols;
    char *const own = (char *)w->bands.values + row * bytes, *const before = w->donor_rows + worker * bytes;
    memcpy(before, own, bytes);
    if (w->tensor->dtype == ORGAN_F32)
        for (size_t j = 0; j < cols; j++)
            ((uint32_t *)own)[j] &= 0u - keep[j];
    else
        for (size_t j = 0; j < cols; j++)
            ((uint16_t *)own)[j] &= (uint16_t)(0u - keep[j]);
    organ_audit_counts c;
    organ_prune_compare(w->job, w->tensor->dtype, before, own, cols, &c);
    organ_audit_counts *const sum = &w->counts[worker];
    sum->zero_before += c.zero_before;
    sum->killed += c.killed;
    sum->kept += c.kept;
    sum->changed += c.changed;
}

static organ_status write_band(void *context, size_t first, organ_error *error)
{
    bands_writing *const w = context;
    const size_t workers = organ_workers_count(w->job->engine->workers),
                 bytes = organ_matrix_band_bytes(&w->bands, first);
    const uint64_t at = w->bands.offset - w->tensor->offset + (uint64_t)first * w->bands.cols * weight_bytes(w->tensor);
    memset(w->counts, 0, workers * sizeof *w->counts);
    organ_share(w->job->engine, NULL, organ_matrix_band_rows(&w->bands, first), clear_row, w);
    for (size_t k = 0; k < workers; k++)
        organ_prune_count(w->job, w->unit, &w->counts[k]);
    organ_prune_part *const unit = &w->job->units[w->unit];
    return organ_prune_part_write(w->job, unit, w->bands.values, bytes, at, error);
}

/* ---- matrices ---- */

static organ_status prune_bands(bands_writing *w, uint64_t matrix, const organ_calibration *calibration,
                                organ_error *error)
{
    organ_prune_job *const job = w->job;
    const organ_prune_matrix_options options =
        organ_prune_options_of(job, w->part, job->targets.tensors[w->part]->name);
    organ_prune_matrix_report report;
    w->bands.model = job->donor;
    w->bands.file = w->tensor->file;
    w->bands.offset = w->tensor->offset + matrix * (w->tensor->bytes / organ_tensor_matrices(w->tensor).count);
    w->bands.loaded = false;
    w->bands.checked = 0;
    if (organ_prune_bands(job->engine, &options, calibration, &w->bands, w->keep, write_band, w, &report, error) ==
        ORGAN_OK)
        organ_prune_note(job, w->part, calibration, &report);
    return error->status;
}

static organ_status prune_matrix(bands_writing *w, uint64_t matrix, organ_error *error)
{
    organ_calibration *calibration = NULL;
    if (organ_stop_is_requested(w->job->engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "stopped before '%s'", w->tensor->name);
    if (!w->job->imatrix || make_norms(w->job, w->part, matrix, &calibration, error) == ORGAN_OK)
        prune_bands(w, matrix, calibration, error);
    organ_calibration_destroy(calibration);
    return error->status;
}

/* The arrays that the bands of all units use, one unit after another: if each unit released its own, one thread would
 * return the pages to the system while the others wait. */
typedef struct band_arrays {
    organ_buffers buffers;
    char *values, *rows;
    uint8_t *keep;
    organ_audit_counts *counts;
    size_t sizes[3]; /* bytes of values, rows and keep */
    size_t workers;
} band_arrays;

static void lay_out(void *context, organ_buffers *b)
{
    band_arrays *const a = context;
    a->values = organ_take_pages(b, a->sizes[0], 1);
    a->rows = organ_take(b, a->sizes[1], 1);
    a->keep = organ_take(b, a->sizes[2], 1);
    a->counts = organ_take(b, a->workers, sizeof *a->counts);
}

/* Sets the buffers of *w to the arrays, which are taken again if one is too small. Returns false if one cannot be. */
static bool set_arrays(bands_writing *w, band_arrays *a)
{
    const size_t needed[] = {organ_matrix_band_bytes(&w->bands, 0),
                             a->workers * w->bands.cols * weight_bytes(w->tensor), w->bands.band_rows * w->bands.cols};
    if (needed[0] > a->sizes[0] || needed[1] > a->sizes[1] || needed[2] > a->sizes[2]) {
        organ_buffers_release(&a->buffers);
        memcpy(a->sizes, needed, sizeof needed);
        if (!organ_buffers_take(&a->buffers, lay_out, a))
            return false;
    }
    w->bands.values = a->values;
    w->keep = a->keep;
    w->donor_rows = a->rows;
    w->counts = a->counts;
    return true;
}

static organ_status prune_unit(organ_prune_job *job, size_t unit, band_arrays *arrays, organ_error *error)
{
    bands_writing w = {.job = job, .unit = unit, .part = job->units[unit].target, .tensor = job->units[unit].tensor};
    uint64_t least;
    (void)fit_bands(job, w.tensor, &w.bands, &least); /* organ_prune_bands_open has checked that they fit */
    if (!set_arrays(&w, arrays))
        organ_fail_memory(error, w.tensor->name);
    for (uint64_t m = 0; m < organ_tensor_matrices(w.tensor).count && !error->status; m++)
        prune_matrix(&w, m, error);
    if (!error->status)
        organ_prune_part_done(job, &job->units[unit], error);
    return error->status;
}

organ_status organ_prune_bands_run(organ_prune_job *job, organ_error *error)
{
    band_arrays arrays = {.workers = organ_workers_count(job->engine->workers)};
    for (size_t k = 0; k < job->stretches.count && !error->status; k++)
        if (!job->units[k].done)
            prune_unit(job, k, &arrays, error);
    organ_buffers_release(&arrays.buffers);
    return error->status;
}

/* SPDX-License-Identifier: MIT
 * Scales of inputs that are measured on a text, in the unquantised model. NVFP4 (--activations): servers round the
 * inputs of a matrix to E2M1 codes with an E4M3 scale for 16 of them, which they compute at run time and multiply by
 * input_global_scale. --activation-scale static: they divide the inputs by input_scale and round them to INT8 or E4M3.
 * Matrices that servers multiply as one have one scale: q, k and v; gate and up; and the same matrices of all experts
 * of a layer. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/tensor/fused.h"

#include <stdlib.h>
#include <string.h>

/* ---- sets of matrices of a layer with one scale ---- */

struct organ_quantize_input_set {
    const organ_weight *first;     /* one of its matrices */
    float greatest;                /* greatest magnitude of an input; 0: only experts with few tokens so far */
    uint64_t *counts;              /* of ORGAN_MAGNITUDES, with --activation-observer mse; owned */
    const organ_calibration *last; /* matrices with the same inputs share a calibration, which counts once */
    float scale;                   /* set at the end of the layer */
};

static bool have_one_scale(const char *model_type, const organ_weight *a, const organ_weight *b)
{
    const organ_fused_part x = organ_fused_part_of(model_type, a->name, 0),
                           y = organ_fused_part_of(model_type, b->name, 0);
    if (x.set != y.set || (x.set == ORGAN_FUSED_NONE_SET && strcmp(a->name + x.parent, b->name + y.parent) != 0))
        return false;
    return (organ_modules_is_routed(&a->codes->anatomy) && organ_modules_is_routed(&b->codes->anatomy)) ||
           (x.parent == y.parent && memcmp(a->name, b->name, x.parent) == 0);
}

/* Returns SIZE_MAX if memory cannot be allocated. */
static size_t set_of(organ_quantize_ranges *r, const char *model_type, const organ_weight *weight)
{
    for (size_t k = 0; k < r->count; k++)
        if (have_one_scale(model_type, r->sets[k].first, weight))
            return k;
    if (!organ_grow(&r->sets, r->count, &r->room, sizeof *r->sets))
        return SIZE_MAX;
    r->sets[r->count] = (organ_quantize_input_set){.first = weight};
    return r->count++;
}

static void forget_sets(organ_quantize_ranges *r)
{
    for (size_t k = 0; k < r->count; k++)
        free(r->sets[k].counts);
    r->count = 0;
}

static bool add_counts(organ_quantize_input_set *set, const organ_calibration *calibration)
{
    const uint64_t *const more = organ_calibration_moments(calibration)->magnitudes;
    if (!more || set->last == calibration)
        return true;
    set->last = calibration;
    if (!set->counts && !(set->counts = calloc(ORGAN_MAGNITUDES, sizeof *set->counts)))
        return false;
    for (size_t k = 0; k < ORGAN_MAGNITUDES; k++)
        set->counts[k] += more[k];
    return true;
}

/* ---- the scale ---- */

#define STEPS    ((size_t)120) /* scales of the search: factors 1 - k / 128 of the greatest magnitude */
#define TOGETHER ((size_t)512) /* bins */

static double squared_error(const organ_grid *grid, float scale, const uint64_t *counts)
{
    double sum = 0;
    for (size_t from = 0; from < ORGAN_MAGNITUDES; from += TOGETHER) {
        float middles[TOGETHER], codes[TOGETHER];
        bool any = false;
        for (size_t k = 0; k < TOGETHER; k++) {
            middles[k] = organ_magnitude_middle(from + k);
            any = any || counts[from + k];
        }
        if (!any) /* so are the bins of infinity and NaN */
            continue;
        organ_grid_codes(grid, scale, 0, middles, codes, TOGETHER);
        for (size_t k = 0; k < TOGETHER; k++) {
            const double error = (double)middles[k] - (double)scale * (double)codes[k];
            sum += (double)counts[from + k] * error * error;
        }
    }
    return sum;
}

/* The first of the scales with the least error. */
static float search_scale(const organ_kernels *kernels, const organ_grid *grid, const organ_quantize_input_set *set)
{
    float best = 0;
    double least = INFINITY;
    for (size_t k = 0; k < STEPS; k++) {
        const float scale = organ_grid_scale(grid, kernels, set->greatest * (float)(128 - k) / 128);
        const double error = squared_error(grid, scale, set->counts);
        if (error < least) {
            least = error;
            best = scale;
        }
    }
    return best;
}

/* Symmetric codes have no minimum, and one scale for all inputs. */
static float scale_of(const organ_quantize_job *job, const organ_quantize_input_set *set)
{
    const organ_grid grid = {.bits = job->inputs->rounding.codes == ORGAN_INPUTS_INT8 ? 8 : 0,
                             .scale_of = ORGAN_SCALE_TENSOR};
    const organ_kernels *const kernels = job->engine->kernels;
    return set->counts ? search_scale(kernels, &grid, set) : organ_grid_scale(&grid, kernels, set->greatest);
}

/* ---- callbacks of the calibration run ---- */

static uint64_t matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    (void)context, (void)calib, (void)tensor;
    return 0;
}

/* Counts of all sets of a layer: of each matrix that is no expert, and of at most six of experts. To these the buffers
 * of --kv-cache are added. */
static uint64_t walk_memory(void *context, const organ_calibration_run *calib, bool scratch)
{
    const organ_quantize_job *const job = context;
    uint64_t own = 0, most = 0;
    int32_t layer = -1;
    for (size_t k = 0; k < job->list.part_count && job->ranges.counted; k++) {
        const organ_tensor *const tensor = organ_quantize_next_part(job, k)->weight->codes;
        own = tensor->anatomy.layer == layer ? own : 6;
        own += !organ_modules_is_routed(&tensor->anatomy);
        layer = tensor->anatomy.layer;
        most = own > most ? own : most;
    }
    return most * ORGAN_MAGNITUDES * sizeof(uint64_t) +
           (job->options->kv_cache ? organ_quantize_cache_memory(context, calib, scratch) : 0);
}

/* An expert with few tokens was measured on all tokens of its layer, which are no inputs of it: it takes the scale of
 * the layer's other experts. */
static organ_status take_inputs(void *context, const organ_calibration_matrix *matrix, float *weights,
                                organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = &job->list.parts[matrix->target];
    const float greatest = organ_calibration_moments(matrix->calibration)->greatest;
    (void)weights;
    if (!organ_quantize_static(job->options)) {
        part->greatest_input = greatest;
        return ORGAN_OK;
    }
    part->input_set = set_of(&job->ranges, job->model->config.model_type, part->weight);
    if (part->input_set == SIZE_MAX)
        return organ_fail_memory(error, part->weight->name);
    organ_quantize_input_set *const set = &job->ranges.sets[part->input_set];
    organ_calibration_note_fallback(&part->unmeasured, matrix);
    job->ranges.unmeasured += matrix->fallback;
    if (matrix->fallback)
        return ORGAN_OK;
    set->greatest = fmaxf(set->greatest, greatest);
    return add_counts(set, matrix->calibration) ? ORGAN_OK : organ_fail_memory(error, part->weight->name);
}

static organ_status leave_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_ranges *const r = &job->ranges;
    if (job->options->kv_cache && organ_quantize_cache_leave(job, layer, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < r->count && !error->status; k++) {
        if (!(r->sets[k].greatest > 0))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: is too short: no expert of layer %d gets %d tokens, so activations of matrices such as "
                       "'%s' have no scale: use more `calibration.samples`, or `all_experts`",
                       job->options->calibration.text, (int)layer->number, ORGAN_CALIBRATION_MIN_TOKENS,
                       r->sets[k].first->name);
        else
            r->sets[k].scale = scale_of(job, &r->sets[k]);
    }
    for (size_t k = 0; k < job->list.part_count && !error->status; k++) {
        organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if (part->input_set == SIZE_MAX)
            continue;
        part->input_scale = r->sets[part->input_set].scale;
        part->input_set = SIZE_MAX;
    }
    forget_sets(r);
    return error->status;
}

/* ---- the run ---- */

/* The walk also measures keys and values for --kv-cache. All ranks measure all parts, also those that an earlier run or
 * another rank writes: each rank then has all scales, and no rank waits for another one. GPTQ's own run measures the
 * inputs for NVFP4, in the quantised model. */

static bool has_walk(const organ_quantize_options *o)
{
    return organ_quantize_static(o) || (organ_quantize_measures(o) && !organ_quantize_by_text(o));
}

organ_status organ_quantize_activations_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    organ_quantize_walk *const m = &job->measured;
    const bool fixed = organ_quantize_static(o), cached = o->kv_cache != NULL;
    if (!has_walk(o))
        return ORGAN_OK;
    m->targets = (organ_targets){.tensors = calloc(job->list.part_count + 1, sizeof *m->targets.tensors),
                                 .count = job->list.part_count};
    if (!m->targets.tensors)
        return organ_fail_memory(error, o->model);
    for (size_t k = 0; k < job->list.part_count; k++)
        m->targets.tensors[k] = organ_quantize_next_part(job, k)->weight->codes;
    job->ranges.counted = fixed && organ_quantize_by_error(o);
    m->options =
        (organ_calibration_run_options){.calibration = o->calibration,
                                        .method = fixed ? "`activations.scale` static" : "`activations.like_weights`",
                                        .verb = "measure",
                                        .doing = "measuring",
                                        .streams = ORGAN_INPUTS_DONOR,
                                        .moments_only = true,
                                        .magnitudes = job->ranges.counted,
                                        .ranges_only = true,
                                        .reruns = true,
                                        .all_experts = o->gptq.all_experts};
    m->work = (organ_calibration_work){.context = job,
                                       .memory = matrix_memory,
                                       .change = take_inputs,
                                       .enter = cached ? organ_quantize_cache_enter : NULL,
                                       .leave = leave_layer,
                                       .extra = job->ranges.counted || cached ? walk_memory : NULL,
                                       .every = cached,
                                       .alike = true};
    return organ_calibration_run_open(&m->options, job->model, &m->targets, &m->work, job->engine, job->progress,
                                      &m->run, error);
}

organ_status organ_quantize_activations_run(organ_quantize_job *job, organ_error *error)
{
    if (!job->measured.run || organ_calibration_run_layers(job->measured.run, error) != ORGAN_OK)
        return error->status;
    if (job->ranges.unmeasured)
        organ_progress_warn(job->progress,
                            "%zu matrices of experts get fewer than %d tokens of the text: their activations have the "
                            "scale of the layer's other experts; the report lists them",
                            job->ranges.unmeasured, ORGAN_CALIBRATION_MIN_TOKENS);
    return ORGAN_OK;
}

void organ_quantize_activations_close(organ_quantize_job *job)
{
    organ_calibration_run_close(job->measured.run);
    forget_sets(&job->ranges);
    ORGAN_FREE_ARRAYS(job->ranges.sets, job->measured.targets.tensors);
}

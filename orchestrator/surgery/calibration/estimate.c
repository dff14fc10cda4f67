/* SPDX-License-Identifier: MIT
 * Estimates the work of a calibration walk before it starts, in operations of matrix products (organ_plan.products).
 * Work that is slower than a large matrix product counts as more operations than it has. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include <math.h>

#define MOMENTS_CHANGED 1.0 /* operations per token and entry of H: only its upper triangle is summed */
#define MOMENTS_BOTH    2.3 /* operations per token and entry of H and C */
/* operations per score and dimension of a head: products of few columns are slower than others */
#define ATTENTION 8.0
#define SCORE     60.0  /* operations per attention score */
#define VALUE     150.0 /* operations per value that a norm or an activation computes */
#define ROUTED    3.0   /* times that a value of an expert's input or output is moved: gathered, weighted, added */

static double estimate_tokens_of(const organ_calibration_run *calib)
{
    return (double)calib->options->calibration.samples * calib->options->calibration.context;
}

static bool is_expert(const organ_tensor *tensor)
{
    return tensor->anatomy.expert >= 0 || organ_tensor_matrices(tensor).count > 1;
}

/* Returns the share of the tokens that the matrix gets: for a routed expert used experts / all experts. */
static double share_of(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_forward_config *const c = organ_forward_describe(calib->facts.forward);
    return is_expert(tensor) && c->experts && !calib->options->all_experts ? (double)c->experts_used / c->experts : 1;
}

/* A token needs two operations for each weight that it uses, the attention scores over half the context on average,
 * and elementwise functions. */
organ_plan_work organ_calibration_token_products(const organ_forward *forward, const organ_model *model, int32_t layer,
                                                 size_t context)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    /* wide: width of the feed-forward, or of the used experts together; moved: values that experts gather and add */
    double weights = 0, wide = (double)c->intermediate, moved = 0;
    bool mixture = false;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        if (organ_forward_layer_of(forward, tensor) != layer)
            continue;
        mixture = mixture || is_expert(tensor);
        weights += tensor->rank == 2 && !is_expert(tensor) ? (double)tensor->elements : 0;
    }
    if (mixture) {
        wide = (double)c->experts_used * (double)c->expert_intermediate;
        weights += 3 * wide * (double)c->hidden;
        moved = ROUTED * (double)c->experts_used * (double)c->hidden;
    }
    /* values: those that elementwise functions compute, about 4 times the hidden state and 3 times `wide` */
    const double scores = (double)c->heads * (double)context / 2, values = 4 * (double)c->hidden + 3 * wide + moved;
    return (organ_plan_work){2 * weights + scores * (ATTENTION * c->head_dim + SCORE) + VALUE * values, 2 * weights};
}

/* Adds the operations of `runs` runs of all windows through the layer. */
static void add_runs(const organ_calibration_run *calib, int32_t layer, double runs, organ_plan *plan)
{
    const organ_plan_work token = organ_calibration_token_products(calib->facts.forward, calib->model, layer,
                                                                   calib->options->calibration.context);
    const double tokens = runs * estimate_tokens_of(calib);
    organ_plan_compute(plan, calib->engine, (organ_plan_work){tokens * token.all, tokens * token.multiplied});
}

/* k, v and up have the same inputs as q or gate and no second moments of their own. */
static bool shares_inputs(const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    return role == ORGAN_ROLE_K || role == ORGAN_ROLE_V || role == ORGAN_ROLE_UP;
}

/* Returns how often the layer runs to gather its moments. The layer's targets are [first, end). Each run gathers as
 * many of the experts' second moments as fit in memory, as assign_mixtures and assign_experts of captures.c do. */
static double estimate_runs(const organ_calibration_run *calib, size_t first, size_t end)
{
    const bool mixtures = calib->work->mixtures, blocks = calib->options->blocks;
    const uint64_t copy = mixtures ? 0 : organ_forward_layer_bytes(calib->facts.forward);
    uint64_t others = 0, experts = 0;
    for (size_t k = first; k < end; k++) {
        const organ_matrices m = organ_calibration_matrices(calib, calib->targets->tensors[k]);
        const bool expert = is_expert(calib->targets->tensors[k]);
        const uint64_t bytes = m.count * organ_calibration_moments_bytes(calib, m.cols, m.rows, expert, blocks);
        others += expert ? 0 : bytes;
        experts += expert ? bytes : 0;
    }
    /* about the bytes of one expert */
    const uint64_t each = experts / (organ_forward_describe(calib->facts.forward)->experts + 1) + 1;
    if (experts == 0 || others + experts <= calib->moments_memory || !(mixtures || organ_calibration_may_rerun(calib)))
        return 1;
    const uint64_t capacity = calib->moments_memory > copy + each ? calib->moments_memory - copy : each,
                   begun = capacity > others ? capacity - others : 0;
    return 1 + ceil((double)(experts > begun ? experts - begun : 0) / (double)capacity);
}

static void add_layer_targets(const organ_calibration_run *calib, size_t first, size_t end,
                              const organ_plan_solve *solve, organ_plan *plan)
{
    const double sums = calib->options->streams == ORGAN_INPUTS_BOTH ? MOMENTS_BOTH : MOMENTS_CHANGED;
    for (size_t k = first; k < end; k++) {
        const organ_tensor *const tensor = calib->targets->tensors[k];
        const organ_matrices m = organ_calibration_matrices(calib, tensor);
        const bool whole = !calib->options->blocks || (calib->work->mixtures && is_expert(tensor));
        const double block = whole || m.cols < ORGAN_CALIBRATION_BLOCK ? (double)m.cols : ORGAN_CALIBRATION_BLOCK,
                     captured = estimate_tokens_of(calib) * share_of(calib, tensor);
        const double moments = sums * (double)m.count * (double)m.cols * block * captured;
        if (!shares_inputs(tensor) && !calib->options->ranges_only)
            organ_plan_compute(plan, calib->engine, (organ_plan_work){moments, moments});
        organ_plan_matrices(plan, solve, (double)m.count, (double)m.rows, (double)m.cols, block);
    }
}

/* On the donor's inputs a layer runs once. On changed inputs it runs twice: to gather the inputs, and, unless it is the
 * last one, again after its change. With both streams it runs a third time, for the donor. Layers with experts whose
 * moments do not fit in memory have one additional run for each further pass. */
void organ_calibration_run_estimate(const organ_calibration_run *calib, const organ_plan_solve *solve, organ_plan *plan)
{
    static const double passes_of[] = {[ORGAN_INPUTS_DONOR] = 1, [ORGAN_INPUTS_CHANGED] = 2, [ORGAN_INPUTS_BOTH] = 3};
    const double passes = passes_of[calib->options->streams];
    const organ_targets *const targets = calib->targets;
    for (int32_t l = 0; l <= organ_calibration_last_layer(calib); l++)
        add_runs(calib, l, passes - (passes > 1 && l == organ_calibration_last_layer(calib)), plan);
    for (size_t k = 0, end = 0; k < targets->count; k = end) {
        while (end < targets->count && targets->tensors[end]->anatomy.layer == targets->tensors[k]->anatomy.layer)
            end++;
        add_layer_targets(calib, k, end, solve, plan);
        add_runs(calib, organ_forward_layer_of(calib->facts.forward, targets->tensors[k]),
                 estimate_runs(calib, k, end) - 1, plan);
    }
    organ_plan_memory(plan, organ_calibration_run_min_memory(calib), organ_calibration_run_max_memory(calib));
}

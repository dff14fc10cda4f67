/* SPDX-License-Identifier: MIT
 * Choice of experts for each token, and the settings of a layer for its router and experts. */
#include "orchestrator/forward/layer.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void organ_forward_logistic(const organ_kernels *kernels, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        values[k] = -values[k];
    kernels->exp_below(values, n, 0);
    for (size_t k = 0; k < n; k++)
        values[k] = 1 / (1 + values[k]);
}

/* ---- scores of experts ---- */

/* `kept` NULL: the router may choose all experts. */
static bool is_kept(const bool *kept, unsigned expert) { return !kept || kept[expert]; }

/* Sets `scratch` to e^(logit - greatest logit) of each kept expert, and returns their sum. The logits are made
 * contiguous first, so that the order of the sum, and so its bits, equal those of a router without the other experts.
 */
static float softmax_numerators(const organ_router *r, const bool *kept, const float *logits, float *scratch)
{
    unsigned count = 0;
    float max = -INFINITY;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++)
        if (is_kept(kept, e))
            scratch[count++] = logits[e];
    for (unsigned e = 0; e < count; e++)
        max = scratch[e] > max ? scratch[e] : max;
    const float sum = r->kernels->exp_below(scratch, count, max);
    for (unsigned e = organ_forward_choices(r->config); e-- > 0;)
        if (is_kept(kept, e))
            scratch[e] = scratch[--count];
    return sum;
}

/* Sets `scratch` to the square root of the softplus of each logit. Returns 1, as logistics_of does. */
static float softplus_of(const organ_router *r, const float *logits, float *scratch)
{
    const size_t choices = organ_forward_choices(r->config);
    memmove(scratch, logits, choices * sizeof *scratch);
    r->kernels->softplus(scratch, choices);
    for (size_t e = 0; e < choices; e++)
        scratch[e] = sqrtf(scratch[e]);
    return 1;
}

/* Sets `scratch` to the logistic of each capped logit or, if the rule applies the logistic only after the choice
 * (`late`), to the capped logits. Returns 1: the result is not divided, unlike the numerators of softmax_numerators. */
static float logistics_of(const organ_router *r, const float *logits, float *scratch)
{
    const organ_router_rule *const rule = &r->config->router;
    memmove(scratch, logits, organ_forward_choices(r->config) * sizeof *scratch);
    if (rule->cap > 0)
        r->kernels->softcap(scratch, organ_forward_choices(r->config), rule->cap);
    if (!rule->late)
        organ_forward_logistic(r->kernels, scratch, organ_forward_choices(r->config));
    return 1;
}

/* The correction is not part of the factor of the expert's output. */
static float score_of(const organ_router *r, const float *scratch, unsigned expert)
{
    return r->correction ? scratch[expert] + r->correction[expert] : scratch[expert];
}

/* ---- groups ---- */

/* The score is that of the best kept expert (best_in_group), or the sum of the two best; -infinity if the group does
 * not keep that many experts, so that it is chosen last. */
static float group_score(const organ_router *r, const bool *kept, const float *scratch, unsigned first, unsigned size)
{
    float best = -INFINITY, next = -INFINITY;
    for (unsigned e = first; e < first + size; e++) {
        const float score = is_kept(kept, e) ? score_of(r, scratch, e) : -INFINITY;
        if (score > best)
            next = best;
        else if (score > next)
            next = score;
        best = score > best ? score : best;
    }
    return r->config->router.best_in_group ? best : best + next;
}

/* Only the router_groups_used groups with the best scores stay open. Among groups with equal scores the one with the
 * lower number is better. */
static void close_groups(const organ_router *r, const bool *kept, float *scratch)
{
    const unsigned groups = r->config->router_groups, size = groups ? r->config->experts / groups : 0;
    float scores[ORGAN_ROUTER_GROUPS];
    for (unsigned g = 0; g < groups; g++)
        scores[g] = group_score(r, kept, scratch, g * size, size);
    for (unsigned g = 0; g < groups; g++) {
        unsigned better = 0;
        for (unsigned other = 0; other < groups; other++)
            better += scores[other] > scores[g] || (!(scores[other] < scores[g]) && other < g);
        for (unsigned e = g * size; better >= r->config->router_groups_used && e < (g + 1) * size; e++)
            scratch[e] = -INFINITY;
    }
}

/* ---- the choice ---- */

/* Among equal scores the lowest number wins. A NaN is never higher than another score. */
static unsigned next_best(const organ_router *r, const bool *kept, const float *scratch,
                          const organ_expert_choice *chosen, unsigned taken)
{
    unsigned best = UINT32_MAX;
    float max = 0;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++) {
        bool is_out = !is_kept(kept, e);
        for (unsigned i = 0; i < taken; i++)
            is_out = is_out || chosen[i].expert == e;
        const float score = score_of(r, scratch, e);
        if (!is_out && (best == UINT32_MAX || score > max)) {
            best = e;
            max = score;
        }
    }
    return best;
}

/* Sorts by number, so that sums have the same order in every run. */
static void sort_choices(organ_expert_choice *chosen, unsigned used)
{
    for (unsigned k = 1; k < used; k++)
        for (unsigned i = k; i > 0 && chosen[i].expert < chosen[i - 1].expert; i--) {
            const organ_expert_choice other = chosen[i];
            chosen[i] = chosen[i - 1];
            chosen[i - 1] = other;
        }
}

/* Returns SparseMixer's factor of the chosen expert: 1 / the sum of e^(value - top) over the kept experts near the top,
 * without expert `without` (UINT32_MAX: none). `top`, the value of the chosen expert, is the highest value of the kept
 * experts other than `without`. A value is near if top - value is at most `jitter` times the larger of |value| and
 * top. */
static float sparse_factor(const organ_router *r, const bool *kept, const float *values, float top, unsigned without)
{
    float near[64], sum = 0; /* near: up to 64 values at a time */
    unsigned count = 0;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++) {
        const float size = fabsf(values[e]) < top ? top : fabsf(values[e]);
        if (is_kept(kept, e) && e != without && !((top - values[e]) / size > r->config->router.jitter))
            near[count++] = values[e];
        if (count == sizeof near / sizeof *near || e + 1 == organ_forward_choices(r->config)) {
            sum += r->kernels->exp_below(near, count, top);
            count = 0;
        }
    }
    return 1 / sum;
}

/* Chooses two experts as SparseMixer does at inference (Liu et al. 2024, arXiv:2409.12136; sparsemixer of
 * transformers). The second expert is chosen among all but the first, with a softmax of its own. */
static void route_sparse(const organ_router *r, const bool *kept, const float *logits, organ_expert_choice *chosen)
{
    for (unsigned k = 0; k < 2; k++) {
        const unsigned best = next_best(r, kept, logits, chosen, k), without = k ? chosen[0].expert : UINT32_MAX;
        chosen[k] =
            (organ_expert_choice){.expert = best, .weight = sparse_factor(r, kept, logits, logits[best], without)};
    }
    sort_choices(chosen, 2);
}

/* Divides the factors of the chosen experts by their sum `all`, and multiplies them by those of the rule. */
static void finish_choices(const organ_router *r, float all, organ_expert_choice *chosen)
{
    const organ_forward_config *const c = r->config;
    if (c->router.logistic || c->router.softplus) /* all scores may be 0; the small constant avoids a division by 0 */
        all += 1e-20F;
    all = (all < c->router.least_sum ? c->router.least_sum : all) + c->router.sum_plus;
    for (unsigned k = 0; c->normalise_experts && k < c->experts_used; k++)
        chosen[k].weight /= all;
    for (unsigned k = 0; c->router_scale != 0 && k < c->experts_used; k++)
        chosen[k].weight *= c->router_scale;
    for (unsigned k = 0; r->scales && k < c->experts_used; k++)
        chosen[k].weight *= r->scales[chosen[k].expert];
    sort_choices(chosen, c->experts_used);
}

/* Returns the divisor of the scores. */
static float score_experts(const organ_router *r, const bool *kept, const float *logits, float *scratch)
{
    if (r->config->router.softplus)
        return softplus_of(r, logits, scratch);
    return r->config->router.logistic ? logistics_of(r, logits, scratch) : softmax_numerators(r, kept, logits, scratch);
}

void organ_forward_route_to(const organ_router *r, const uint32_t *experts, const float *logits, float *scratch,
                            organ_expert_choice *chosen)
{
    const float divisor = score_experts(r, /*kept=*/NULL, logits, scratch);
    float all = 0;
    for (unsigned k = 0; k < r->config->experts_used; k++) {
        chosen[k] = (organ_expert_choice){.expert = experts[k], .weight = scratch[experts[k]] / divisor};
        all += chosen[k].weight;
    }
    finish_choices(r, all, chosen);
}

void organ_forward_route(const organ_router *r, const bool *kept, const float *logits, float *scratch,
                         organ_expert_choice *chosen)
{
    const organ_forward_config *const c = r->config;
    if (c->router.sparse) {
        route_sparse(r, kept, logits, chosen);
        return;
    }
    float divisor = score_experts(r, kept, logits, scratch);
    float all = 0; /* sum of the factors */
    /* A correction is added to the softmax, not to its numerators, so these are divided before the choice. */
    for (unsigned e = 0; c->router.corrected && e < organ_forward_choices(c); e++)
        scratch[e] /= divisor;
    divisor = c->router.corrected ? 1 : divisor;
    if (c->router_groups > 1)
        close_groups(r, kept, scratch);
    for (unsigned k = 0; k < c->experts_used; k++) {
        const unsigned best = next_best(r, kept, scratch, chosen, k);
        chosen[k] = (organ_expert_choice){.expert = best, .weight = scratch[best] / divisor};
        if (c->router.late)
            organ_forward_logistic(r->kernels, &chosen[k].weight, 1);
        all += chosen[k].weight;
    }
    finish_choices(r, all, chosen);
}

void organ_forward_input_factors(const organ_router *r, const float *logits, float *factors)
{
    memcpy(factors, logits, organ_forward_choices(r->config) * sizeof *factors);
    organ_forward_logistic(r->kernels, factors, organ_forward_choices(r->config));
}

/* ---- of a layer ---- */

organ_router organ_layer_router(const organ_layer *layer)
{
    return (organ_router){layer->forward->engine->kernels, &layer->forward->config,
                          organ_forward_values(layer, PART_ROUTER_BIAS),
                          organ_forward_values(layer, PART_EXPERT_SCALE)};
}

unsigned organ_layer_experts(const organ_layer *layer)
{
    return layer->plan->experts ? layer->forward->config.experts : 0;
}

void organ_layer_tap_router(organ_layer *layer, void *context, organ_routed *routed)
{
    layer->routed = routed;
    layer->routed_context = context;
}

void organ_layer_tap_weighted(organ_layer *layer, bool weigh) { layer->weigh = weigh; }

void organ_layer_set_all_tokens(organ_layer *layer, const bool *experts) { layer->all_tokens = experts; }

unsigned organ_forward_min_experts(const organ_forward_config *c)
{
    if (c->router_groups < 2)
        return c->experts_used;
    const unsigned each = (c->experts_used + c->router_groups_used - 1) / c->router_groups_used;
    const unsigned least = c->router.best_in_group ? 1 : 2;
    return c->router_groups * (each < least ? least : each);
}

/* A group is a range of expert numbers, so groups must have equal sizes when the kept experts are renumbered.
 * `count` is the number of kept experts of all groups. */
static bool groups_are_even(const organ_forward_config *c, const bool *kept, unsigned count)
{
    const unsigned groups = c->router_groups, size = groups > 1 ? c->experts / groups : 0;
    for (unsigned g = 0; g < groups && size && kept; g++) {
        unsigned own = 0;
        for (unsigned e = g * size; e < (g + 1) * size; e++)
            own += kept[e];
        if (own * groups != count)
            return false;
    }
    return true;
}

/* After an error the router may choose all experts. */
organ_status organ_layer_keep(organ_layer *layer, const bool *kept, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const organ_forward_config *c = &layer->forward->config;
    unsigned count = 0;
    organ_clear(&layer->kept);
    for (unsigned e = 0; e < c->experts; e++)
        count += !kept || kept[e];
    if (count == 0 || count < c->experts_used)
        return organ_fail(error, ORGAN_USAGE, "%s: %u of %u experts are kept, but each token needs %u",
                          layer->forward->model->path, count, c->experts, c->experts_used);
    if (layer->kind->by_token && kept && count < c->experts)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: a table in the file states the experts of each token, so none can be left out",
                          layer->forward->model->path);
    if (count < organ_forward_min_experts(c) || !groups_are_even(c, kept, count))
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: %u of %u experts are kept, but each of the %u groups must keep the same number, at least %u",
            layer->forward->model->path, count, c->experts, c->router_groups, organ_forward_min_experts(c));
    if (kept && !(layer->kept = malloc(c->experts * sizeof *kept)))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %u experts", c->experts);
    if (kept)
        memcpy(layer->kept, kept, c->experts * sizeof *kept);
    return ORGAN_OK;
}

/* ---- layers whose experts do not fit in memory ---- */

/* A streamed layer has the addresses of all its weights; the matrices of an expert are read to their addresses when
 * tokens reach the expert, and their pages are given back afterwards. */

/* ---- groups of experts ---- */

/* `k` is 0 for gate, 1 for up, 2 for down. Returns NULL for up if gate and up are in one slot. */
static const forward_slot *matrix_of(const forward_plan *plan, size_t expert, size_t k, size_t *matrix)
{
    const forward_view *const views = plan->experts + 3 * expert;
    if (k == 1 && views[1].slot == views[0].slot)
        return NULL;
    const forward_slot *const slot = &plan->slots[views[k].slot];
    *matrix = (size_t)(views[k].row / (slot->rows / slot->matrices));
    return slot;
}

/* organ_weight_reader_hold reads a range of matrices of a packed stack to the beginning of the slot, whichever
 * matrices they are, so only one range can be in memory. */
static bool is_packed_stack(const forward_slot *slot) { return slot->packed && slot->matrices > 1; }

/* Expert 0 stands for all. */
static bool has_packed_stack(const forward_plan *plan)
{
    bool any = false;
    for (size_t k = 0; k < 3; k++)
        any = any || is_packed_stack(&plan->slots[plan->experts[k].slot]);
    return any;
}

/* A group has as many experts with tokens as fit a quarter of the memory, at least one. If a slot is a packed stack,
 * which is read as one range, the group ends at the first expert without tokens; if expert `first` has none, the
 * group is this expert alone. */
size_t organ_forward_stream_group(const organ_layer *layer, const size_t *begin, size_t first)
{
    const organ_forward *const f = layer->forward;
    const size_t memory = (size_t)(organ_engine_memory(f->engine) / FORWARD_SHARE_OF_EXPERTS);
    const bool in_one = has_packed_stack(layer->plan);
    size_t bytes = 0, end = first;
    for (; end < f->config.experts; end++) {
        const bool reached = begin[end + 1] > begin[end];
        if (reached && bytes && bytes + layer->plan->expert > memory)
            break;
        if (!reached && in_one && bytes)
            break;
        if (!reached && in_one)
            return end + 1;
        bytes += reached ? layer->plan->expert : 0;
    }
    return end;
}

/* ---- reading ---- */

/* `begin` is as in organ_forward_stream_group; `scratch` has plan->reading bytes for each worker. */
typedef struct stream_reading {
    const organ_layer *layer;
    const size_t *begin;
    size_t first, last;
    unsigned char *scratch;
    organ_first_fault fault;
} stream_reading;

/* `k` is 0 for gate, 1 for up, 2 for down. For a packed stack, reads the matrices of all experts [first, last) when
 * `expert` is r->first, and nothing for the others. */
static organ_status read_matrix(const stream_reading *r, size_t expert, size_t k, unsigned char *scratch,
                                organ_error *error)
{
    const forward_plan *const plan = r->layer->plan;
    size_t matrix = 0;
    const forward_slot *const slot = matrix_of(plan, expert, k, &matrix);
    if (!slot || (is_packed_stack(slot) && expert > r->first))
        return ORGAN_OK;
    organ_weight_reader *const reader = r->layer->sources[slot - plan->slots].reader;
    const size_t rows = (size_t)(slot->rows / slot->matrices), end = (matrix + 1) * rows;
    unsigned char *const values = r->layer->values + slot->at;
    if (slot->packed) {
        const uint64_t count = is_packed_stack(slot) ? r->last - r->first : 1;
        return organ_weight_reader_hold(reader, matrix, count, values, error);
    }
    for (size_t row = matrix * rows; row < end && !error->status; row += organ_forward_piece_rows(slot))
        organ_forward_read_rows(r->layer, slot, reader, row, organ_min(organ_forward_piece_rows(slot), end - row),
                                values, scratch, error);
    return error->status;
}

static void read_task(void *context, size_t index, size_t worker)
{
    stream_reading *const r = context;
    const size_t expert = r->first + index / 3;
    organ_error error = {0};
    if (r->begin[expert + 1] > r->begin[expert] && !organ_fault_found(&r->fault) &&
        read_matrix(r, expert, index % 3, r->scratch + worker * r->layer->plan->reading, &error))
        organ_fault_keep(&r->fault, &error);
}

organ_status organ_forward_read_experts(const organ_layer *layer, const size_t *begin, size_t first, size_t last,
                                        organ_error *error)
{
    const organ_engine *const engine = layer->forward->engine;
    stream_reading r = {.layer = layer, .begin = begin, .first = first, .last = last, .fault = {error, false}};
    r.scratch = (unsigned char *)organ_forward_floats(
        layer->plan->reading / sizeof(float) * organ_workers_count(engine->workers), error);
    if (!error->status)
        organ_forward_share(engine, 3 * (last - first), INFINITY, read_task, &r, error);
    organ_forward_free((float *)(void *)r.scratch);
    return error->status;
}

/* Pages at the edges of a matrix stay, because they may also have bytes of other weights. */
void organ_forward_drop_experts(const organ_layer *layer, size_t first, size_t last)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t index = 3 * first; index < 3 * last; index++) {
        size_t matrix = 0;
        const forward_slot *const slot = matrix_of(layer->plan, index / 3, index % 3, &matrix);
        if (!slot)
            continue;
        const bool all = is_packed_stack(slot);
        const size_t bytes = all ? slot->bytes : slot->bytes / (size_t)slot->matrices,
                     at = slot->at + (all ? 0 : matrix * bytes);
        const size_t from = (at + page - 1) / page * page, until = (at + bytes) / page * page;
        if (from < until)
            (void)madvise(layer->values + from, until - from, MADV_DONTNEED);
    }
}

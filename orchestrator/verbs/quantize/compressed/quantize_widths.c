/* SPDX-License-Identifier: MIT
 * Mixed widths: measures on a text what codes of 2 and 4 bits for each target cost, derives the cost of 3 and 8 bits,
 * and divides one budget of bits. A level is a width with its group size; a curve has the cost of a tensor at each
 * level; a choice is a set of targets that get the same level. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/tensor/fused.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NARROW      32   /* columns of a group at odd levels */
#define SCALE_BITS  16.0 /* bits of a scale (BF16) */
#define SHAPE_BYTES 16.0 /* bytes of the shape that is stored with each target: two 64-bit integers */

/* ---- choices ---- */

/* Odd levels have groups of 32, even levels the wide groups of the choice. */
static size_t group_at(size_t level, const organ_quantize_choice *choice) { return level % 2 ? NARROW : choice->group; }

static const organ_encoding *encoding_at(size_t level, const organ_quantize_choice *choice)
{
    char name[32];
    if (level >= ORGAN_WIDTH_LEVELS)
        return NULL;
    snprintf(name, sizeof name, "int%d-group%zu", (int)organ_width_levels[level], group_at(level, choice));
    return organ_encoding_named(name);
}

static const organ_quantize_choice *details_of(const organ_quantize_widths *w, size_t target)
{
    return &w->details[w->choice_of[target]];
}

const organ_encoding *organ_quantize_width_encoding(const organ_quantize_widths *widths, size_t k, size_t level)
{
    return encoding_at(level, details_of(widths, k));
}

/* ---- how a curve is measured ---- */

/* The layer is compared too, because a later layer may have a calibration at the same address. */
static organ_status prepare_inputs(organ_quantize_widths *w, const organ_calibration_matrix *m, organ_error *error)
{
    if (w->inputs_of == m->calibration && w->layer == m->layer->number)
        return ORGAN_OK;
    organ_gptq_inputs_close(&w->inputs);
    w->inputs_of = m->calibration;
    w->layer = m->layer->number;
    return organ_gptq_inputs_open(w->job->engine, m->calibration, m->name, &w->inputs, error);
}

/* The target must exist. matrix->target of a calibration is another index, because the calibration has only the
 * targets whose curves are measured. */
static size_t target_named(const organ_quantize_widths *w, const char *name)
{
    size_t k = 0;
    while (k + 1 < w->targets.count && strcmp(w->targets.tensors[k]->name, name) != 0)
        k++;
    return k;
}

static organ_status make_matrix(void *context, const organ_calibration_matrix *m, size_t level, float *weights,
                                organ_error *error)
{
    organ_quantize_widths *const w = context;
    const size_t rows = (size_t)m->rows, cols = (size_t)m->cols;
    const organ_grid grid = encoding_at(level, details_of(w, target_named(w, m->name)))->grid;
    organ_gptq g = {.name = m->name,
                    .grid = grid,
                    .no_refit = w->job->options->gptq.no_refit,
                    .rows = rows,
                    .cols = cols,
                    .weights = weights,
                    .values = organ_floats(rows, cols),
                    .scales = organ_floats(rows, cols / grid.size)};
    if (!g.values || !g.scales)
        organ_fail_memory(error, m->name);
    else if (!organ_all_finite(weights, rows * cols))
        organ_quantize_refuse_values(m->name, error);
    else if (prepare_inputs(w, m, error) == ORGAN_OK && organ_gptq_run(&w->inputs, &g, error) == ORGAN_OK)
        memcpy(weights, g.values, rows * cols * sizeof *weights);
    ORGAN_FREE_ARRAYS(g.values, g.scales);
    return error->status;
}

/* The costs are derived from those at 2 and 4 bits in wide groups. */
static void derive_unmeasured_costs(void *context, size_t tensor)
{
    organ_quantize_widths *const w = context;
    organ_width_derive_costs(w->curves.tensors[tensor].cost, w->details[w->choice_of_curve[tensor]].group);
}

/* At the last level the weights stay unchanged. */
static organ_status make_at_level(void *context, const organ_calibration_matrix *m, double level, float *weights,
                                  organ_error *error)
{
    return level < ORGAN_WIDTH_LEVELS ? make_matrix(context, m, (size_t)level, weights, error) : error->status;
}

static void release_inputs(void *context)
{
    organ_quantize_widths *const w = context;
    organ_gptq_inputs_close(&w->inputs);
    w->inputs_of = NULL;
}

/* The bound uses the grid of scheme "mixed", whose groups of 32 columns need the most scales. */
static uint64_t tensor_memory(void *context, const organ_tensor *tensor)
{
    const organ_quantize_widths *const w = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_grid *const grid = &w->job->encoding->grid;
    return organ_gptq_memory(w->job->engine, grid, m.rows, m.cols) + sizeof(float) * m.rows * (m.cols / grid->size);
}

/* ---- opening ---- */

static organ_status list_tensors(organ_quantize_widths *w, organ_error *error)
{
    organ_quantize_job *const job = w->job;
    w->targets.tensors = calloc(job->targets.count + 1, sizeof *w->targets.tensors);
    w->curve_of = calloc(job->targets.count + 1, sizeof *w->curve_of);
    if (!w->targets.tensors || !w->curve_of)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_weight weight = organ_weight_plain(job->targets.tensors[k]);
        if (!organ_quantize_obstacle(job, &weight, error)) {
            w->targets.tensors[w->targets.count++] = job->targets.tensors[k];
            w->targets.elements += job->targets.tensors[k]->elements;
            w->targets.bytes += job->targets.tensors[k]->bytes;
        }
    }
    if (!organ_curves_list(&w->targets, &w->curves, w->curve_of))
        return organ_fail_memory(error, job->options->model);
    return ORGAN_OK;
}

/* All routed experts must have the same encoding. */
static bool are_routed(const organ_quantize_widths *w, const organ_tensor *a, const organ_tensor *b)
{
    (void)w;
    return a->anatomy.experts == ORGAN_EXPERTS_ROUTED && b->anatomy.experts == ORGAN_EXPERTS_ROUTED;
}

/* Servers multiply the parts of a set as one matrix; transformers reads one scheme for all routed experts. */
static bool have_common_width(const organ_quantize_widths *w, const organ_tensor *a, const organ_tensor *b)
{
    const char *const type = w->job->model->config.model_type;
    const organ_fused_part x = organ_fused_part_of(type, a->name, 0), y = organ_fused_part_of(type, b->name, 0);
    return are_routed(w, a, b) || organ_fused_together(&x, &y);
}

/* The choice is that of the target's curve, or that of targets that must have the same width (have_common_width with
 * --one-width, else are_routed), or a new one. Lowers the choice's wide group to the largest of 128, 64 and 32
 * columns that divides the rows of this target too. */
static void assign_to_choice(organ_quantize_widths *w, size_t target)
{
    const organ_tensor *const t = w->targets.tensors[target];
    size_t group = 128; /* columns of the widest group that an encoding has */
    while (group > NARROW && t->shape[1] % group)
        group /= 2;
    bool (*const same_choice)(const organ_quantize_widths *, const organ_tensor *, const organ_tensor *) =
        w->job->options->one_width ? have_common_width : are_routed;
    size_t c = 0;
    while (c < w->choices.count && w->details[c].curve != w->curve_of[target] &&
           !same_choice(w, w->details[c].first, t))
        c++;
    if (c == w->choices.count) {
        w->details[c] = (organ_quantize_choice){.first = t, .curve = w->curve_of[target], .group = group};
        w->choices.tensors[w->choices.count++].layer = t->anatomy.layer;
    }
    organ_quantize_choice *const choice = &w->details[c];
    w->choice_of[target] = w->choice_of_curve[w->curve_of[target]] = c;
    choice->group = organ_min(choice->group, group);
    choice->unchanged_bits += 8.0 * (double)t->bytes;
    w->choices.tensors[c].elements += t->elements;
}

/* w->sizes has the bits of codes and scales; at the last level, those of the unchanged tensors. */
static organ_status find_sizes(organ_quantize_widths *w, organ_error *error)
{
    const size_t capacity = w->curves.count + 1;
    w->details = calloc(capacity, sizeof *w->details);
    w->choice_of_curve = calloc(capacity, sizeof *w->choice_of_curve);
    w->choice_of = calloc(w->targets.count + 1, sizeof *w->choice_of);
    w->chosen = calloc(capacity, sizeof *w->chosen);
    w->sizes = calloc(capacity * ORGAN_WIDTH_CHOICES, sizeof *w->sizes);
    w->choices.tensors = calloc(capacity, sizeof *w->choices.tensors);
    if (!w->details || !w->choice_of_curve || !w->choice_of || !w->chosen || !w->sizes || !w->choices.tensors)
        return organ_fail_memory(error, w->job->options->model);
    for (size_t k = 0; k < w->targets.count; k++)
        assign_to_choice(w, k);
    for (size_t c = 0; c < w->choices.count; c++) {
        for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++)
            w->sizes[c * ORGAN_WIDTH_CHOICES + l] =
                (double)w->choices.tensors[c].elements *
                /* floor: the half bit of odd levels is that of scales, which are added */
                (floor(organ_width_levels[l]) + SCALE_BITS / (double)group_at(l, &w->details[c]));
        w->sizes[c * ORGAN_WIDTH_CHOICES + ORGAN_WIDTH_LEVELS] = w->details[c].unchanged_bits;
    }
    return ORGAN_OK;
}

/* w->budget is the bits that codes and scales of all targets may occupy. A budget in bytes is for the whole model,
 * so `plain` is subtracted from it: the bytes of all tensors that are not targets, and of the shapes that are stored
 * with the targets. */
static organ_status find_budget(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_job *const job = w->job;
    const char *const requested = job->options->allocate.budget;
    double plain = SHAPE_BYTES * (double)w->targets.count - (double)w->targets.bytes, least = 0;
    organ_budget budget;
    if (organ_budget_parse(requested, &budget, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->model->tensor_count; k++)
        plain += (double)job->model->tensors[k].bytes;
    for (size_t c = 0; c < w->choices.count; c++)
        least += w->sizes[c * ORGAN_WIDTH_CHOICES];
    const bool bits = budget.unit == ORGAN_BUDGET_BITS;
    w->budget = bits ? budget.amount * (double)w->targets.elements : 8 * (budget.amount - plain);
    if (w->budget >= least)
        return ORGAN_OK;
    if (bits)
        return organ_fail(error, ORGAN_USAGE,
                          "`allocate.budget` %s: codes of 2 bits with their scales need %g bits per weight", requested,
                          least / (double)w->targets.elements);
    return organ_fail(error, ORGAN_USAGE,
                      "`allocate.budget` %s: with all targets in 2 bits the tensors need %.0f bytes", requested,
                      plain + least / 8);
}

/* Curves of a file are used only if model, text and options on which they depend are equal. */
static organ_status identify_curves(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    char fingerprint[17];
    if (organ_model_fingerprint(w->job->model, fingerprint, error) != ORGAN_OK)
        return error->status;
    w->store.identity = organ_curves_identity(
        w->walk,
        ORGAN_OBJECT(SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("model", fingerprint),
                     SET_TEXT("method", o->gptq.no_refit ? "gptq/3" : "gptq-resolved/3")),
        ORGAN_OBJECT(SET_FLAG("one_width", o->one_width)));
    return w->store.identity ? ORGAN_OK : organ_fail_memory(error, o->model);
}

static organ_calibration_run_options walk_of(const organ_quantize_job *job)
{
    const organ_quantize_options *const o = job->options;
    return (organ_calibration_run_options){.calibration = o->calibration,
                                           .unpacked = true,
                                           .all_experts = o->gptq.all_experts,
                                           .blocks = job->blocks,
                                           .method = "`allocate.allocate`",
                                           .verb = "quantise",
                                           .doing = "measuring divergences with",
                                           .reserve = organ_allocate_reserve(&o->allocate),
                                           .moments_only = true};
}

/* The identity needs the digest of the text, so it is set here. */
static organ_status open_walk(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_job *const job = w->job;
    const organ_curves_options options = {.walk = walk_of(job), .allocate = &job->options->allocate};
    w->curves.levels = organ_width_levels;
    w->curves.level_count = ORGAN_WIDTH_LEVELS;
    w->curves.measured = organ_width_measured;
    w->work = (organ_curves_work){
        .context = w, .make = make_matrix, .memory = tensor_memory, .derive = derive_unmeasured_costs};
    w->store = (organ_curves_store){.file = job->options->allocate.file, .ranks = job->engine->ranks};
    return organ_curves_open(&options, job->model, &w->targets, &w->curves, w->curve_of, &w->work, &w->store,
                             job->engine, job->progress, &w->walk, error)
               ? error->status
               : identify_curves(w, error);
}

/* ---- the division ---- */

/* The cost is in nats per token. */
static double cost_change(const organ_quantize_widths *w, size_t c, size_t from, size_t to)
{
    return organ_quantize_width_cost(&w->choices.tensors[c], to) -
           organ_quantize_width_cost(&w->choices.tensors[c], from);
}

/* Choice `down` gets the next smaller size and choice `up` the largest size that fits into the freed bits. The
 * `sparsity` of a choice, which organ_exchanges changes, is its level here. Returns nats per token, INFINITY if
 * there is no such exchange. */
static double exchange_cost(const organ_quantize_widths *w, size_t down, size_t up, organ_exchange *made)
{
    const double *const less = w->sizes + down * ORGAN_WIDTH_CHOICES, *const more = w->sizes + up * ORGAN_WIDTH_CHOICES;
    const size_t from = (size_t)w->choices.tensors[down].sparsity, was = (size_t)w->choices.tensors[up].sparsity;
    size_t to = from, becomes = was;
    for (size_t l = 0; l < ORGAN_WIDTH_CHOICES; l++)
        to = less[l] < less[from] && (to == from || less[l] > less[to]) ? l : to;
    for (size_t l = 0; l < ORGAN_WIDTH_CHOICES; l++)
        becomes = more[l] > more[becomes] && more[l] - more[was] <= less[from] - less[to] ? l : becomes;
    /* organ_exchange.up is the new value of .more, and .down that of .less; the order of the two is free here */
    *made = (organ_exchange){.more = down, .less = up, .up = (double)to, .down = (double)becomes};
    return to == from || becomes == was ? INFINITY : cost_change(w, down, from, to) + cost_change(w, up, was, becomes);
}

/* The direction is the one with the lower sum of predicted costs. Routed experts keep their width: they are one
 * choice over several layers, and an exchange may change at most two layers. */
static bool propose_width_exchange(void *context, size_t one, size_t other, organ_exchange *made)
{
    const organ_quantize_widths *const w = context;
    organ_exchange reversed;
    if (w->details[one].first->anatomy.experts == ORGAN_EXPERTS_ROUTED ||
        w->details[other].first->anatomy.experts == ORGAN_EXPERTS_ROUTED)
        return false;
    const double first = exchange_cost(context, one, other, made),
                 second = exchange_cost(context, other, one, &reversed);
    if (second < first)
        *made = reversed;
    return fmin(first, second) < INFINITY;
}

static organ_status open_exchanges(organ_quantize_widths *w, organ_exchanges **exchanges, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    const organ_exchanges_options options = {
        .walk = walk_of(w->job), .tokens = organ_allocate_tokens(&o->allocate), .rounds = o->allocate.rounds};
    w->exchange_work = (organ_exchanges_work){.context = w,
                                              .make = make_at_level,
                                              .memory = tensor_memory,
                                              .propose = propose_width_exchange,
                                              .forget = release_inputs};
    return organ_exchanges_open(&options, w->job->model, &w->targets, &w->choices, w->choice_of, &w->exchange_work,
                                w->job->engine, w->job->progress, exchanges, error);
}

static organ_status exchange_pairs(organ_quantize_widths *w, organ_error *error)
{
    organ_exchanges *exchanges = NULL;
    for (size_t c = 0; c < w->choices.count; c++)
        w->choices.tensors[c].sparsity = (double)w->chosen[c];
    if (!organ_exchanges_recall(&w->choices, w->job->run, &w->exchanged) &&
        open_exchanges(w, &exchanges, error) == ORGAN_OK)
        organ_exchanges_run(exchanges, w->job->run, &w->exchanged, error);
    organ_exchanges_close(exchanges);
    w->choices.cost = w->spent = 0;
    for (size_t c = 0; c < w->choices.count; c++) {
        w->chosen[c] = (size_t)w->choices.tensors[c].sparsity;
        w->choices.cost += organ_quantize_width_cost(&w->choices.tensors[c], w->chosen[c]);
        w->spent += w->sizes[c * ORGAN_WIDTH_CHOICES + w->chosen[c]];
    }
    return error->status;
}

/* Errors and a lack of memory shall be found before the first measurement. Only the last run stays open, so that
 * their memory does not add up. An error other than a lack of memory ends the search. If several runs need more
 * --memory, the error names the largest amount. */
static organ_status open_walks(organ_quantize_widths *w, organ_error *error)
{
    const organ_plan_solve solve = organ_gptq_solve(&w->job->encoding->grid);
    organ_error text_error = {0}, exchange_error = {0};
    organ_exchanges *exchanges = NULL;
    organ_quantize_check_text(w->job, &w->targets, &text_error);
    if (w->job->options->allocate.rounds && (!text_error.status || organ_memory_named(&text_error)) &&
        !open_exchanges(w, &exchanges, &exchange_error))
        organ_exchanges_estimate(exchanges, &solve, &w->job->plan);
    organ_exchanges_close(exchanges);
    if (!organ_memory_refuse_both(&text_error, &exchange_error) || organ_memory_named(&text_error))
        open_walk(w, error);
    return organ_memory_refuse_both(error, &text_error);
}

/* Costs that a dry run assumes before they are measured: errors that fall by 4 with each bit. */
static void assume_costs(organ_quantize_widths *w)
{
    for (size_t t = 0; t < w->curves.count; t++)
        for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++)
            w->curves.tensors[t].cost[l] =
                (double)w->curves.tensors[t].elements / (double)w->targets.elements * exp2(-2 * organ_width_levels[l]);
    organ_progress_note_once(w->job->progress, "--dry-run: the cost of each width is not measured yet, so the widths "
                                               "below are provisional, by size alone; the run measures and decides");
}

static organ_status ensure_curves(organ_quantize_widths *w, organ_error *error)
{
    const organ_plan_solve solve = organ_gptq_solve(&w->job->encoding->grid);
    bool known = false;
    w->store.writing = w->job->run;
    if (organ_curves_recall(&w->curves, &w->store, &known, error) || known)
        return error->status;
    if (!w->job->options->write.dry_run)
        return organ_curves_run(w->walk, error);
    organ_curves_estimate(w->walk, &solve, &w->job->plan);
    w->provisional = true;
    assume_costs(w);
    return ORGAN_OK;
}

static void stop_measuring(organ_quantize_widths *w)
{
    organ_curves_close(w->walk);
    organ_gptq_inputs_close(&w->inputs);
    w->walk = NULL;
    w->inputs_of = NULL;
}

static void add_costs(organ_quantize_widths *w)
{
    w->choices.levels = w->curves.levels;
    w->choices.level_count = w->curves.level_count;
    for (size_t t = 0; t < w->curves.count; t++)
        for (size_t l = 0; l < w->curves.level_count; l++)
            w->choices.tensors[w->choice_of_curve[t]].cost[l] += w->curves.tensors[t].cost[l];
}

static organ_status divide_budget(organ_quantize_widths *w, organ_error *error)
{
    organ_quantize_job *const job = w->job;
    add_costs(w);
    w->spent = organ_allocation_choose(&w->choices, w->sizes, w->budget, w->chosen, &w->uniform, &w->copied);
    if (w->spent < 0)
        return organ_fail_memory(error, job->options->model);
    if (w->copied)
        organ_progress_warn(job->progress,
                            "the targets fit into --budget %s unquantised, and a copy is no quantisation: the output "
                            "has only the one change that is predicted to cost least",
                            job->options->allocate.budget);
    if (job->options->allocate.rounds && !job->options->write.dry_run && exchange_pairs(w, error))
        return error->status;
    for (size_t k = 0; k < w->targets.count; k++)
        job->encodings[w->targets.tensors[k] - job->model->tensors] =
            organ_quantize_width_encoding(w, k, w->chosen[w->choice_of[k]]);
    if (!w->provisional)
        organ_progress_note(
            job->progress,
            "allocation: predicted cost %.4g nats per token; equal widths of %g bits per weight would cost %.4g",
            w->choices.cost, organ_width_levels[w->uniform], w->choices.uniform_cost);
    return ORGAN_OK;
}

/* Servers multiply some matrices as one (have_common_width). Returns NULL if no such tensors have different
 * encodings. */
static const organ_allocation_tensor *find_split_group(const organ_quantize_widths *w)
{
    for (size_t c = 0; c < w->choices.count; c++)
        for (size_t d = 0; d < c; d++)
            if (have_common_width(w, w->details[c].first, w->details[d].first) &&
                encoding_at(w->chosen[c], &w->details[c]) != encoding_at(w->chosen[d], &w->details[d]))
                return &w->curves.tensors[w->details[c].curve];
    return NULL;
}

static void note_split_widths(const organ_quantize_widths *w)
{
    const organ_allocation_tensor *const split = find_split_group(w);
    if (split)
        organ_progress_warn(w->job->progress,
                            "servers that store '%s' as one matrix with others of its layer (vLLM) need the same width "
                            "for them: use `one_width`",
                            split->name);
}

/* If no target can be quantised, list_parts in quantize.c reports the error. */
organ_status organ_quantize_widths_open(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_widths *const w = job->widths = calloc(1, sizeof *w);
    if (!w)
        return organ_fail_memory(error, job->options->model);
    w->job = job;
    if (list_tensors(w, error) || w->targets.count == 0 || find_sizes(w, error) || find_budget(w, error))
        return error->status;
    return open_walks(w, error);
}

/* A dry run makes no exchanges, so that its widths are provisional also if all costs are known. */
organ_status organ_quantize_widths_decide(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_widths *const w = job->widths;
    if (w->targets.count == 0 || ensure_curves(w, error))
        return error->status;
    stop_measuring(w);
    w->provisional |= job->options->write.dry_run && job->options->allocate.rounds > 0;
    if (divide_budget(w, error) != ORGAN_OK)
        return error->status;
    note_split_widths(w);
    return ORGAN_OK;
}

void organ_quantize_widths_close(organ_quantize_widths *w)
{
    if (!w)
        return;
    stop_measuring(w);
    organ_allocation_release(&w->curves);
    organ_allocation_release(&w->choices);
    json_decref(w->store.identity);
    ORGAN_FREE_ARRAYS(w->targets.tensors, w->curve_of, w->details, w->choice_of_curve, w->choice_of, w->chosen,
                      w->sizes, w);
}

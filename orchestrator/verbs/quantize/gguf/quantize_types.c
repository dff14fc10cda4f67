/* SPDX-License-Identifier: MIT
 * Scheme mixed of GGUF: chooses a block type for each tensor, so that the file has a given size and the sum of the
 * measured costs (quantize_costs.c) is least: an integer programme with a class for each tensor. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/output/cache.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- options ---- */

/* Returns whether `name` is in the comma-separated list. */
static bool is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncasecmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

static size_t count_allowed(const organ_quantize_types *w)
{
    size_t count = 0;
    for (size_t k = 0; k < w->type_count; k++)
        count += w->allowed[k];
    return count;
}

/* All names of --types must be candidates. */
static organ_status check_listed(const organ_quantize_types *w, const char *list, organ_error *error)
{
    size_t names = 1;
    for (const char *at = list; *at; at++)
        names += *at == ',';
    return count_allowed(w) == names ? ORGAN_OK
                                     : organ_fail(error, ORGAN_USAGE,
                                                  "`types` '%s' names a type that mixed does not have, or one "
                                                  "twice; the types are %s",
                                                  list, w->names);
}

/* The programs of --for must open one of the types at least. */
static organ_status leave_out_unread(organ_quantize_types *w, organ_error *error)
{
    for (size_t k = 0; k < w->type_count; k++)
        w->allowed[k] = w->allowed[k] && organ_quantize_readers_open(w->job, w->types[k]);
    return count_allowed(w) ? ORGAN_OK
                            : organ_fail(error, ORGAN_USAGE,
                                         "%s: `for` %s: of the types %s, there is none that is opened in models of %s",
                                         w->job->options->model, w->job->options->readers,
                                         w->job->options->gguf.types ? w->job->options->gguf.types : w->names,
                                         w->job->model->config.model_type);
}

static organ_status list_types(organ_quantize_types *w, organ_error *error)
{
    const char *const list = w->job->options->gguf.types;
    w->type_count = organ_encodings_of_mixed(w->types, ORGAN_TYPES);
    for (size_t k = 0; k < w->type_count; k++) {
        const size_t at = strlen(w->names);
        w->allowed[k] = !list || is_listed(list, w->types[k]->name);
        organ_snprintf(w->names + at, sizeof w->names - at, "%s%s", at ? "," : "", w->types[k]->name);
    }
    w->levels[ORGAN_TYPES_NEAR] = w->levels[ORGAN_TYPES_NEAR_ERROR] = 1;
    for (size_t k = 0; k < ORGAN_TYPES_WAYS * w->type_count; k++)
        w->levels[ORGAN_TYPES_FIRST + k] = organ_quantize_type_bits(w, k % w->type_count);
    w->measured[ORGAN_TYPES_FAR] = w->measured[ORGAN_TYPES_NEAR] = true;
    w->curves.levels = w->levels;
    w->curves.level_count = ORGAN_TYPES_FIRST + ORGAN_TYPES_WAYS * w->type_count;
    w->curves.measured = w->measured;
    return list && check_listed(w, list, error) ? error->status : leave_out_unread(w, error);
}

/* ---- tensors ---- */

/* Tensors of --type-of have their type already. Tensors that no layer multiplies inputs by are not measured: they get
 * the encoding of the output head. */
static bool is_measurable(const organ_quantize_types *w, const bool *untapped, const organ_tensor *t)
{
    const organ_quantize_job *const job = w->job;
    if ((job->fixed && job->fixed[t - job->model->tensors]) ||
        (!organ_target_is_float(t) && !organ_dtype_is_blocks(t->dtype)))
        return false;
    if (organ_quantize_gguf_is_embedding(t) || organ_quantize_gguf_is_head(w->job->model, t))
        return true;
    return t->anatomy.layer >= 0 && !untapped[t - w->job->model->tensors];
}

/* Returns false if memory cannot be allocated. */
static bool list_arrays(organ_quantize_types *w, size_t count)
{
    const size_t items = (count + 1) * (w->type_count + 1);
    w->targets.tensors = calloc(count + 1, sizeof *w->targets.tensors);
    w->inner.tensors = calloc(count + 1, sizeof *w->inner.tensors);
    w->curve_of = calloc(count + 1, sizeof *w->curve_of);
    w->inner_curve_of = calloc(count + 1, sizeof *w->inner_curve_of);
    w->energies = calloc(count + 1, sizeof *w->energies);
    w->matrices_of = calloc(count + 1, sizeof *w->matrices_of);
    w->sizes = calloc(items, sizeof *w->sizes);
    w->costs = calloc(items, sizeof *w->costs);
    w->chosen = calloc(count + 1, sizeof *w->chosen);
    return w->targets.tensors && w->inner.tensors && w->curve_of && w->inner_curve_of && w->energies &&
           w->matrices_of && w->sizes && w->costs && w->chosen;
}

static void add_tensor(organ_targets *to, const organ_tensor *t)
{
    to->tensors[to->count++] = t;
    to->elements += t->elements;
    to->bytes += t->bytes;
}

static organ_status list_targets(organ_quantize_types *w, const bool *untapped, organ_error *error)
{
    organ_quantize_job *const job = w->job;
    if (!list_arrays(w, job->model->tensor_count))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->model->tensor_count; k++) {
        const organ_tensor *const t = &job->model->tensors[k];
        if (job->encodings[k] && is_measurable(w, untapped, t))
            add_tensor(&w->targets, t);
    }
    if (!w->targets.count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: no tensor can be quantised", job->model->path);
    if (!organ_curves_list(&w->targets, &w->curves, w->curve_of))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < w->targets.count; k++) {
        const organ_tensor *const t = w->targets.tensors[k];
        w->matrices_of[w->curve_of[k]] += organ_tensor_matrices(t).count;
        if (t->anatomy.layer < 0)
            continue;
        w->inner_curve_of[w->inner.count] = w->curve_of[k];
        add_tensor(&w->inner, t);
    }
    return ORGAN_OK;
}

static organ_status find_targets(organ_quantize_types *w, organ_error *error)
{
    organ_quantize_job *const job = w->job;
    ORGAN_OWNED bool *untapped = NULL;
    if (organ_calibration_find_untapped(job->model, job->engine, &job->targets, &untapped, error) == ORGAN_OK)
        list_targets(w, untapped, error);
    return error->status;
}

/* The types are not known before the measurement, and most of them need an entry. */
static organ_status check_entries(const organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_job *const job = w->job;
    organ_expert_census known = {0};
    for (size_t k = 0; k < w->inner.count && job->imatrix.file && !error->status; k++) {
        const organ_tensor *const t = w->inner.tensors[k];
        organ_quantize_gguf_check_entry(job, t, organ_experts_of_role(job->model, t, &known), error);
    }
    return error->status;
}

/* ---- sizes ---- */

static uint64_t padded(const organ_quantize_types *w, uint64_t bytes)
{
    return (bytes + w->alignment - 1) / w->alignment * w->alignment;
}

/* Bytes that a tensor counts in the unit of the budget: in a file it is padded. */
static uint64_t counted(const organ_quantize_types *w, uint64_t bytes)
{
    return w->job->options->gguf.target_size ? padded(w, bytes) : bytes;
}

static uint64_t bytes_as(const organ_tensor *t, const organ_encoding *encoding)
{
    const organ_matrices m = organ_tensor_matrices(t);
    return encoding ? m.count * m.rows * organ_encoding_row_bytes(encoding, (size_t)m.cols) : t->bytes;
}

/* A header has the same size whatever the types are. */
static organ_status find_header(organ_quantize_types *w, organ_error *error)
{
    organ_quantize_job *const job = w->job;
    organ_gguf_layout made;
    if (organ_quantize_gguf_metadata(job, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->model->tensor_count && !error->status; k++) {
        const organ_tensor *const t = &job->model->tensors[k];
        organ_gguf_writer_tensor(job->writer, t->name, t->dtype, t->rank, t->shape, error);
    }
    if (!error->status && organ_gguf_writer_finish(job->writer, &made, error) == ORGAN_OK) {
        w->header = made.size;
        w->alignment = organ_gguf_writer_view(job->writer).alignment;
    }
    organ_gguf_writer_destroy(job->writer);
    job->writer = NULL;
    return error->status;
}

/* An unchanged tensor costs nothing, so no type is better that is not smaller. */
static void leave_out_larger(organ_quantize_types *w)
{
    for (size_t t = 0; t < w->curves.count; t++) {
        uint64_t *const own = w->sizes + t * (w->type_count + 1);
        for (size_t c = 0; c < w->type_count; c++)
            own[c] = own[c] < own[w->type_count] ? own[c] : ORGAN_PROGRAMME_NONE;
    }
}

/* w->other: bytes of all tensors without a class (a curve). */
static void find_sizes(organ_quantize_types *w)
{
    const organ_quantize_job *const job = w->job;
    const size_t items = w->type_count + 1;
    for (size_t k = 0; k < job->model->tensor_count; k++) {
        w->other += counted(w, bytes_as(&job->model->tensors[k], job->encodings[k]));
        w->elements += job->model->tensors[k].elements;
    }
    for (size_t k = 0; k < w->targets.count; k++) {
        const organ_tensor *const t = w->targets.tensors[k];
        uint64_t *const own = w->sizes + w->curve_of[k] * items;
        w->other -= counted(w, bytes_as(t, job->encodings[t - job->model->tensors]));
        own[w->type_count] += counted(w, t->bytes);
        for (size_t c = 0; c < w->type_count; c++)
            if (w->allowed[c] && organ_quantize_type_fits(w, c, (size_t)organ_tensor_matrices(t).cols) &&
                own[c] != ORGAN_PROGRAMME_NONE)
                own[c] += counted(w, bytes_as(t, w->types[c]));
            else
                own[c] = ORGAN_PROGRAMME_NONE;
    }
    leave_out_larger(w);
}

/* Bytes of the request that do not belong to classes. */
static uint64_t fixed_bytes(const organ_quantize_types *w)
{
    return w->other + (w->job->options->gguf.target_size ? w->header : 0);
}

static organ_status refuse_small(const organ_quantize_types *w, uint64_t bytes, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    const uint64_t least = w->programme.least + fixed_bytes(w);
    char text[16];
    if (o->gguf.target_size)
        return organ_fail(error, ORGAN_USAGE,
                          "`target_size` %s: with the smallest types the file has %llu bytes (%s), %llu more than that",
                          o->gguf.target_size, (unsigned long long)least, organ_quantity_text(least, text),
                          (unsigned long long)(least - bytes));
    return organ_fail(error, ORGAN_USAGE,
                      "`allocate.budget` %s: with the smallest types the tensors have %llu bytes, %.4f bits per weight",
                      o->allocate.budget, (unsigned long long)least, 8.0 * (double)least / (double)w->elements);
}

/* Sets the capacity of the classes, in bytes. The programme without costs finds whether it is enough. */
static organ_status find_capacity(organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    organ_budget budget = {0};
    uint64_t bytes = 0;
    if (o->gguf.target_size)
        organ_quantity_parse(o->gguf.target_size, &bytes);
    else if (organ_budget_parse(o->allocate.budget, &budget, error) == ORGAN_OK)
        bytes = (uint64_t)(budget.unit == ORGAN_BUDGET_BITS ? budget.amount * (double)w->elements / 8 : budget.amount);
    w->requested = bytes;
    w->programme = (organ_programme){.classes = w->curves.count,
                                     .items = w->type_count + 1,
                                     .sizes = w->sizes,
                                     .costs = w->costs,
                                     .capacity = bytes > fixed_bytes(w) ? bytes - fixed_bytes(w) : 0,
                                     .chosen = w->chosen};
    if (!error->status && !organ_programme_solve(&w->programme))
        return organ_fail_memory(error, o->model);
    return error->status || w->programme.feasible ? error->status : refuse_small(w, bytes, error);
}

/* ---- measurements ---- */

/* A run without a text reads the costs of any text, method and number of tokens: all files have those of the nearest
 * codes. A dry run of a safetensors model has a file without data, and cannot tell models with equal names and shapes
 * apart. */
static organ_status identify(organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    const bool outline = w->job->source && o->write.dry_run;
    char fingerprint[17];
    if (organ_model_fingerprint(w->job->model, fingerprint, error) != ORGAN_OK)
        return error->status;
    json_t *const own = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_TYPES_DEFINITION), SET_TEXT("types", w->names),
                                     SET_IF(!outline, "model", json_string(fingerprint)),
                                     SET_IF(w->walk, "method", json_string(w->by_text ? "gptq" : "nearest")),
                                     SET_IF(w->walk, "resolve", json_boolean(!o->gptq.no_refit)));
    w->store.identity = w->walk ? organ_curves_identity(w->walk, own, /*more=*/NULL) : own;
    return w->store.identity ? ORGAN_OK : organ_fail_memory(error, o->model);
}

static void forget_inputs(void *context) { organ_gptq_inputs_close(&((organ_quantize_types *)context)->inputs); }

static organ_status open_walk(organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    const organ_curves_options options = {.walk = {.calibration = o->calibration,
                                                   .all_experts = o->gptq.all_experts,
                                                   .blocks = w->job->blocks,
                                                   .method = "`scheme` mixed",
                                                   .verb = "quantise",
                                                   .doing = "measuring divergences with",
                                                   .reserve = organ_allocate_tokens(&o->allocate),
                                                   .unpacked = true,
                                                   .moments_only = true},
                                          .allocate = &o->allocate};
    w->work = (organ_curves_work){.context = w,
                                  .make = organ_quantize_make_anchor,
                                  .memory = organ_quantize_anchor_memory,
                                  .forget = forget_inputs};
    return organ_curves_open(&options, w->job->model, &w->inner, &w->curves, w->inner_curve_of, &w->work, &w->store,
                             w->job->engine, w->job->progress, &w->walk, error);
}

/* Per measured level, of which there are two: half of GPTQ and of two searches on a 32nd of the rows for each of the
 * types, and a search for the blocks of all rows in an anchor, such as Q3_K. */
static void estimate_measuring(organ_quantize_types *w)
{
    organ_plan_solve solve = {.weights = organ_encoding_fit_products(organ_encoding_named("q3_k"))};
    for (size_t k = 0; k < w->type_count; k++) {
        const organ_plan_solve whole = organ_gptq_solve(&w->types[k]->grid);
        solve.squares += whole.squares / 64;
        solve.weights += whole.weights / 64 + organ_encoding_fit_products(w->types[k]) / 32;
        solve.matrices += whole.matrices / 64;
    }
    organ_curves_estimate(w->walk, &solve, &w->job->plan);
}

static organ_status measure(organ_quantize_types *w, organ_error *error)
{
    if (organ_cache_check_place(w->job->options->allocate.file, "`allocate.file`", w->job->engine->ranks, error) ||
        organ_quantize_measure_ends(w, error))
        return error->status;
    return organ_curves_run(w->walk, error);
}

/* Costs that a dry run assumes before they are measured: errors that fall by 4 with each bit. */
static void assume_costs(organ_quantize_types *w)
{
    for (size_t t = 0; t < w->curves.count; t++)
        for (size_t k = 0; k < w->type_count; k++)
            w->curves.tensors[t].cost[ORGAN_TYPES_FIRST + k] = (double)w->curves.tensors[t].elements /
                                                               (double)w->elements *
                                                               exp2(-2 * w->levels[ORGAN_TYPES_FIRST + k]);
    w->provisional = true;
    organ_progress_note_once(
        w->job->progress,
        "--dry-run: the cost of each type is not measured yet, so the types below are provisional, "
        "by size alone; the run measures first and keeps the costs in %s",
        w->job->options->allocate.file);
}

static organ_status ensure_costs(organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    bool known = false;
    w->store.writing = w->job->run;
    if (organ_curves_recall(&w->curves, &w->store, &known, error) || known)
        return error->status;
    if (!w->walk)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: lacks the costs of some tensors: give the text with `calibration.text` to measure them",
                          o->allocate.file);
    estimate_measuring(w);
    if (!o->write.dry_run)
        return measure(w, error);
    assume_costs(w);
    return ORGAN_OK;
}

static void stop_measuring(organ_quantize_types *w)
{
    organ_curves_close(w->walk);
    organ_gptq_inputs_close(&w->inputs);
    w->walk = NULL;
}

/* ---- the choice ---- */

/* Returns whether a tensor without a class gets another type, by --type-of or because it has no inputs: the output is
 * then no copy of the model. */
static bool changes_others(const organ_quantize_types *w)
{
    const organ_quantize_job *const job = w->job;
    size_t next = 0;
    for (size_t k = 0; k < job->model->tensor_count; k++) {
        const organ_tensor *const t = &job->model->tensors[k];
        const bool has_class = next < w->targets.count && w->targets.tensors[next] == t;
        next += has_class;
        if (!has_class && job->encodings[k] && job->encodings[k]->codes != t->dtype &&
            (organ_target_is_float(t) || organ_dtype_is_blocks(t->dtype)))
            return true;
    }
    return false;
}

static void set_costs(organ_quantize_types *w)
{
    for (size_t t = 0; t < w->curves.count; t++)
        for (size_t k = 0; k < w->type_count; k++)
            w->costs[t * (w->type_count + 1) + k] =
                w->provisional ? w->curves.tensors[t].cost[ORGAN_TYPES_FIRST + k] : organ_quantize_type_cost(w, t, k);
}

/* Counts the curves that stay unchanged although a type fits them, and those that no allowed type makes smaller. */
static void count_unchanged(organ_quantize_types *w)
{
    w->kept = w->unfit = 0;
    for (size_t t = 0; t < w->curves.count; t++) {
        const uint64_t *const own = w->sizes + t * w->programme.items;
        bool fits = false;
        for (size_t k = 0; k < w->type_count; k++)
            fits |= own[k] != ORGAN_PROGRAMME_NONE;
        if (w->chosen[t] == w->type_count)
            *(fits ? &w->kept : &w->unfit) += 1;
    }
}

static organ_status solve(organ_quantize_types *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    w->programme.no_copy = !changes_others(w);
    if (!organ_programme_solve(&w->programme))
        return organ_fail_memory(error, o->model);
    count_unchanged(w);
    if (w->programme.no_copy && w->kept + w->unfit == w->curves.count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: no type of `types` '%s' makes a tensor smaller: its rows must be whole blocks of the "
                          "type, and it must have more bits per weight than the type",
                          w->job->model->path, o->gguf.types ? o->gguf.types : w->names);
    if (w->programme.copied)
        organ_progress_warn(w->job->progress,
                            "the model fits into %s unquantised, and a copy is no quantisation: the output has only "
                            "the one change that is predicted to cost least; give a smaller size for a smaller file",
                            o->gguf.target_size ? o->gguf.target_size : o->allocate.budget);
    return ORGAN_OK;
}

/* The type that most weights have names the file. */
static int64_t file_type_of(const organ_quantize_types *w)
{
    uint64_t weights[ORGAN_TYPES + 1] = {0};
    size_t most = 0;
    for (size_t t = 0; t < w->curves.count; t++)
        weights[w->chosen[t]] += w->curves.tensors[t].elements;
    for (size_t k = 1; k < w->type_count; k++)
        most = weights[k] > weights[most] ? k : most;
    return w->types[most]->file_type;
}

/* Tensors that cannot be measured keep the encoding that they have already. */
static void take_types(organ_quantize_types *w)
{
    organ_quantize_job *const job = w->job;
    w->file_type = file_type_of(w);
    for (size_t k = 0; k < w->targets.count; k++) {
        const size_t type = w->chosen[w->curve_of[k]];
        job->encodings[w->targets.tensors[k] - job->model->tensors] = type < w->type_count ? w->types[type] : NULL;
    }
    w->bytes = w->programme.size + fixed_bytes(w);
}

static void note_choice(const organ_quantize_types *w)
{
    const organ_programme *const p = &w->programme;
    const char *const best =
        p->copied ? "no other choice that changes a tensor costs less" : "no other choice within the size costs less";
    char text[16];
    if (w->provisional)
        return;
    organ_progress_note(w->job->progress,
                        "types for %s: predicted KL %.4g nats per token; %s (the lower bound is %.2g %% lower)",
                        organ_quantity_text(w->bytes, text), p->cost, p->exact ? best : "the search was cut short",
                        p->cost > 0 ? 100 * (p->cost - p->bound) / p->cost : 0.0);
}

organ_status organ_quantize_types_open(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_types *const w = job->types = calloc(1, sizeof *w);
    const organ_quantize_options *const o = job->options;
    if (!w)
        return organ_fail_memory(error, o->model);
    w->job = job;
    w->store = (organ_curves_store){.file = o->allocate.file, .ranks = job->engine->ranks};
    w->by_text = o->method && strcmp(o->method, "gptq") == 0;
    if (list_types(w, error) || find_targets(w, error) || organ_quantize_gguf_open_imatrix(job, error) ||
        check_entries(w, error) || find_header(w, error))
        return error->status;
    find_sizes(w);
    if (find_capacity(w, error) || (o->calibration.text && open_walk(w, error)))
        return error->status;
    return identify(w, error);
}

organ_status organ_quantize_types_decide(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_types *const w = job->types;
    if (ensure_costs(w, error) != ORGAN_OK)
        return error->status;
    stop_measuring(w);
    set_costs(w);
    if (solve(w, error) != ORGAN_OK)
        return error->status;
    take_types(w);
    note_choice(w);
    return ORGAN_OK;
}

void organ_quantize_types_close(organ_quantize_types *w)
{
    if (!w)
        return;
    organ_curves_close(w->walk);
    organ_gptq_inputs_close(&w->inputs);
    organ_allocation_release(&w->curves);
    json_decref(w->store.identity);
    ORGAN_FREE_ARRAYS(w->targets.tensors, w->inner.tensors, w->curve_of, w->inner_curve_of, w->energies, w->matrices_of,
                      w->sizes, w->costs, w->chosen, w);
}

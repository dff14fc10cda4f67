/* SPDX-License-Identifier: MIT
 * organ quantize: checks the options, opens model, imatrix and calibration text, and writes the quantised model. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/folds/smooth.h"

#include <organ/base.h>
#include <stdio.h>
#include <string.h>

/* ---- kinds of output ---- */

static const organ_quantize_format *const formats[] = {[ORGAN_KIND_TENSORS] = &organ_quantize_compressed,
                                                       [ORGAN_KIND_MLX] = &organ_quantize_mlx_format,
                                                       [ORGAN_KIND_GGUF] = &organ_quantize_gguf};

/* Calls a function of job->format, if there is one, unless there is an error. */
static organ_status step(organ_quantize_job *job, organ_status (*work)(organ_quantize_job *, organ_error *),
                         organ_error *error)
{
    return error->status || !work ? error->status : work(job, error);
}

/* ---- the tensors of the output ---- */

/* For each target its codes, scales and shape, or its GGUF blocks; all other tensors unchanged. A piece is a tensor of
 * the output, a unit is the pieces that are made from one source tensor, and a part is a target that is quantised. */

/* Embeddings, and in models of GGUF and MLX head, matrices that no layer multiplies inputs by, and matrices that only a
 * recipe or --type-of selects get the nearest codes, because the calibration run has no inputs for them. */
static bool is_calibrated(const organ_quantize_job *job, const organ_weight *weight, const organ_encoding *encoding)
{
    const size_t t = (size_t)(weight->codes - job->model->tensors);
    const organ_role role = weight->anatomy.role;
    const bool outside = role == ORGAN_ROLE_EMBED || role == ORGAN_ROLE_OUTPUT || !job->targets.chosen[t] ||
                         (job->untapped && job->untapped[t]) || organ_encoding_is_plain(encoding);
    return organ_quantize_by_text(job->options) && role != ORGAN_ROLE_EMBED &&
           !(outside && organ_encoding_kind(job->encoding) != ORGAN_KIND_TENSORS);
}

/* `preferred`: the encoding that --scheme asks for; `encoding`: the one that fits the length of its rows. */
static organ_status plan_target(organ_quantize_job *job, const organ_weight *weight, const organ_encoding *encoding,
                                const organ_encoding *preferred, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(weight);
    organ_quantize_part *const part = &job->list.parts[job->list.part_count++];
    const size_t first = job->list.piece_count;
    *part = (organ_quantize_part){.weight = weight,
                                  .encoding = encoding,
                                  .preferred = preferred,
                                  .divisor = 1,
                                  .input_set = SIZE_MAX,
                                  .rows = m.rows,
                                  .cols = m.cols,
                                  .calibrated = is_calibrated(job, weight, encoding)};
    if (part->calibrated && organ_encoding_is_gguf(encoding) && !organ_grid_blocks(&encoding->grid))
        return organ_fail(error, ORGAN_USAGE, "`method` gptq has no scheme %s", encoding->name);
    job->list.regrouped += encoding != preferred;
    if (job->format->add(job, part, error) != ORGAN_OK)
        return error->status;
    organ_piece *const unit = &job->list.pieces[first];
    unit->more = job->list.piece_count - first - 1;
    unit->item = job->list.part_count - 1;
    unit->cost = organ_quantize_source_bytes(weight);
    unit->calib = part->calibrated;
    return ORGAN_OK;
}

/* `made`: the weight for MLX that is made of the tensor; NULL: the tensor itself. */
static organ_status keep_tensor(organ_quantize_job *job, const organ_tensor *tensor, const organ_weight *made,
                                organ_error *error)
{
    job->list.pieces[job->list.piece_count++] = organ_piece_same(tensor);
    return job->format->keep ? job->format->keep(job, tensor, made, error) : ORGAN_OK;
}

static bool is_dropped(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return job->format->drops && job->format->drops(job, tensor);
}

static organ_status list_weight(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    const organ_tensor *const tensor = weight->codes;
    if (is_dropped(job, tensor))
        return ORGAN_OK;
    const organ_encoding *const preferred = job->format->preferred(job, tensor);
    const char *const why = preferred ? job->format->obstacle(job, weight, error) : NULL;
    const organ_encoding *const encoding = preferred && !why ? job->encodings[tensor - job->model->tensors] : NULL;
    if (why)
        job->list.left_out[job->list.left_out_count++] = (organ_quantize_left){tensor, why};
    if (!error->status && encoding)
        /* a width that the budget has chosen is not a replacement of the scheme's: it counts as preferred */
        return plan_target(job, weight, encoding, job->widths || job->types ? encoding : preferred, error);
    if (!error->status && keep_tensor(job, tensor, weight->made ? weight : NULL, error) == ORGAN_OK && weight->global)
        keep_tensor(job, weight->global, /*made=*/NULL, error);
    return error->status;
}

/* With mixed widths, left_out is empty if the budget leaves all targets unchanged. */
static organ_status refuse_without_targets(const organ_quantize_job *job, organ_error *error)
{
    if (job->list.left_out_count == 0)
        return organ_fail(error, ORGAN_USAGE,
                          "`allocate.budget` %s is enough for all targets unquantised: there is nothing to quantise",
                          job->options->allocate.budget);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: no target can be quantised as %s; tensor '%s': %s", job->model->path,
                      job->options->scheme, job->list.left_out[0].tensor->name, job->list.left_out[0].why);
}

/* A tensor of the model, or a weight that is made of a part of it, becomes at most 4 pieces (codes, scales, tensor
 * scale, input scale), one unit and one part, which sets the capacities. */
static organ_status list_parts(organ_quantize_job *job, organ_error *error)
{
    const size_t listed = job->weights->count + job->weights->unmatched_count;
    const size_t capacity = (listed > job->model->tensor_count ? listed : job->model->tensor_count) + 1;
    const size_t of_cache = job->options->kv_cache ? 2 * capacity : 0; /* a layer has at least one tensor */
    job->list.pieces = organ_rows_take(4 * capacity + of_cache, sizeof *job->list.pieces);
    job->list.parts = organ_rows_take(capacity, sizeof *job->list.parts);
    job->list.left_out = organ_rows_take(capacity, sizeof *job->list.left_out);
    if (!job->list.pieces || !job->list.parts || !job->list.left_out)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->weights->count && !error->status; k++) {
        organ_rows_passed();
        list_weight(job, &job->weights->weights[k], error);
    }
    for (size_t k = 0; k < job->weights->unmatched_count && !error->status; k++)
        if (!is_dropped(job, job->weights->unmatched[k].tensor))
            keep_tensor(job, job->weights->unmatched[k].tensor, /*made=*/NULL, error);
    if (!error->status && !job->list.part_count)
        return refuse_without_targets(job, error);
    return step(job, job->format->list, error);
}

/* ---- the run ---- */

/* A tower in a file of its own has no projections of a text model: all that can be quantised is. */
static const char *targets_of(const organ_quantize_job *job)
{
    return organ_quantize_is_tower(job) && !job->options->targets ? "*" : job->options->targets;
}

static organ_status quantize_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    job->model = job->opened;
    if (!job->model && organ_model_open(o->model, &job->model, error) != ORGAN_OK)
        return error->status;
    if (!job->model->gguf)
        organ_progress_warn_of_model(job->progress, job->model);
    /* the options were checked by the names of the files */
    job->encoding = organ_quantize_encoding_requested(o, job->encoding->name, job->model->gguf != NULL);
    job->format = formats[organ_encoding_kind(job->encoding)];
    if (organ_model_is_here(job->model, "quantised", error) || job->format->open(job, error) ||
        organ_targets_select(job->model, targets_of(job), &job->targets, error) ||
        organ_quantize_block_check(job, error) || organ_quantize_block_open(job, error) ||
        step(job, job->format->select, error) ||
        organ_targets_need_rows(job->model, &job->targets, /*stacks=*/false, "quantize", error) ||
        ((organ_quantize_by_text(o) || organ_quantize_measures(o)) && !o->targets &&
         organ_calibration_find_untapped(job->model, job->engine, &job->targets, &job->untapped, error)) ||
        organ_quantize_block_forms(job, error))
        return error->status;
    job->encodings = calloc(job->model->tensor_count + 1, sizeof *job->encodings);
    return job->encodings ? job->format->forms(job, error) : organ_fail_memory(error, o->model);
}

/* Lists the tensors of the output, when all encodings are known, and opens what their codes need. */
static organ_status quantize_list(organ_quantize_job *job, organ_error *error)
{
    organ_rows_rest();
    if (list_parts(job, error) || (organ_quantize_by_text(job->options) &&
                                   (organ_quantize_open_text(job, error) || organ_quantize_repair_pair(job, error))))
        return error->status;
    if (step(job, job->format->prepare, error) != ORGAN_OK)
        return error->status;
    return organ_quantize_readers_check(job, error);
}

static void note_before_pass(const organ_quantize_job *job)
{
    job->format->note(job);
    organ_quantize_block_note(job);
    organ_quantize_cache_note(job);
    if (job->list.left_out_count)
        organ_progress_note(job->progress,
                            "%zu of the targets %s copied unchanged: %s is the first; the report "
                            "lists all with the reasons",
                            job->list.left_out_count, job->list.left_out_count == 1 ? "is" : "are",
                            job->list.left_out[0].tensor->name);
}

/* The calibrated parts come first, because they need more memory: if --memory is too small, the run fails before it
 * has written any code. With --repair-rank they come last: the run of the adapter encloses them and names the adapter
 * at its end, and then only the model's own name is left to set. */
static organ_status quantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_quantize_job *const job = context;
    job->run = run;
    if (step(job, job->format->write, error) || organ_quantize_find_scales(job, error))
        return error->status;
    if (job->repair.adapter)
        return organ_quantize_pass(job, error) == ORGAN_OK
                   ? organ_quantize_repair_write(job, organ_quantize_calibrated, error)
                   : error->status;
    if (job->along.run && organ_quantize_calibrated(job, error))
        return error->status;
    return organ_quantize_pass(job, error);
}

static organ_status check_imatrix(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_quantize_job *const job = context;
    (void)to;
    (void)path;
    return job->imatrix.file ? organ_imatrix_unchanged(job->imatrix.file, error) : ORGAN_OK;
}

static void close_quantize(organ_quantize_job *job)
{
    organ_quantize_close_text(job);
    if (job->format)
        job->format->close(job);
    organ_quantize_repair_close(job);
    ORGAN_FREE_ARRAYS(job->block.chosen, job->untapped, job->encodings);
    organ_rows_free(job->list.pieces);
    for (size_t k = 0; k < job->list.part_count; k++)
        ORGAN_DECREF(job->list.parts[k].fallback, job->list.parts[k].unmeasured, job->list.parts[k].unreached);
    organ_rows_free(job->list.parts);
    organ_rows_free(job->list.left_out);
    organ_targets_release(&job->targets);
    organ_arena_release(&job->list.arena);
    organ_weights_free(job->weights);
    if (!job->opened)
        organ_model_close(job->model);
}

/* Work of GPTQ and of pruning, if there is any, on one matrix. GPTQ's operations per weight are averaged over the
 * parts, which may have different types. */
static organ_plan_solve quantize_solve(const organ_quantize_job *job)
{
    organ_plan_solve solve = organ_gptq_solve(&job->encoding->grid);
    double work = 0, weights = 0;
    for (size_t k = 0; k < job->along.targets.count; k++) {
        const double elements = (double)job->along.parts[k]->weight->elements;
        work += organ_gptq_solve(&job->along.parts[k]->encoding->grid).weights * elements;
        weights += elements;
    }
    solve.weights = weights > 0 ? work / weights : solve.weights;
    if (job->pruning) {
        solve.squares += job->pruning->solve.squares;
        solve.weights += job->pruning->solve.weights;
        solve.matrices += job->pruning->solve.matrices;
    }
    return solve;
}

static organ_status quantize_estimate(organ_quantize_job *job, organ_error *error)
{
    const organ_plan_solve none = {0}, solve = job->along.run ? quantize_solve(job) : none;
    if (organ_quantize_estimate_pass(job, error) != ORGAN_OK || !organ_quantize_text(job))
        return error->status;
    if (job->along.run)
        organ_calibration_run_estimate(job->along.run, &solve, &job->plan);
    if (job->measured.run)
        organ_calibration_run_estimate(job->measured.run, &none, &job->plan);
    if (job->cache.run && job->cache.run != job->measured.run)
        organ_calibration_run_estimate(job->cache.run, &none, &job->plan);
    return ORGAN_OK;
}

static const char *quantize_definition(const organ_quantize_job *job)
{
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    if (job->pruning)
        return "sparse-gptq-resolved/3";
    if (!organ_quantize_by_text(job->options))
        return gguf ? "quantize-gguf/1" : "quantize/2";
    if (job->options->gptq.no_refit)
        return gguf ? "gptq-gguf/2" : "gptq/3";
    return gguf ? "gptq-gguf-resolved/2" : "gptq-resolved/3";
}

static organ_status quantize_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_quantize_options *const o = ((const organ_quantize_job *)context)->options;
    organ_run_inputs_add(inputs, "text", o->calibration.text, error);
    organ_run_inputs_add(inputs, "imatrix", o->gguf.imatrix, error);
    return organ_run_inputs_add(inputs, "allocation", o->calibration.text ? NULL : o->allocate.file, error);
}

/* Lists the output, or, if its widths or types must be measured first, only checks those that are possible. */
static organ_status list_or_check(organ_quantize_job *job, organ_error *error)
{
    return job->widths || job->types ? organ_quantize_readers_check(job, error) : quantize_list(job, error);
}

/* Mixed widths and types, and the shares of a budget of zeros, are decided by runs of the model. */
static organ_status quantize_choose(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_pruning *const pruning = job->pruning;
    if ((job->types || job->widths) && (job->format->decide(job, error) || quantize_list(job, error)))
        return error->status;
    return pruning && pruning->decide ? pruning->decide(pruning->context, job->run, &job->plan, error) : ORGAN_OK;
}

static organ_status quantize_decide(void *context, organ_writing *writing, organ_write_pieces *pieces,
                                    organ_error *error)
{
    organ_quantize_job *const job = context;
    job->run = writing;
    if (quantize_choose(job, error) || (job->options->write.dry_run && quantize_estimate(job, error)))
        return error->status;
    pieces->list = job->list.pieces;
    pieces->count = job->list.piece_count;
    pieces->gguf = job->writer;
    note_before_pass(job);
    return ORGAN_OK;
}

static organ_status quantize_model(organ_quantize_job *job, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (organ_quantize_check_options(job, error) || quantize_open(job, error) || list_or_check(job, error))
        return error->status;
    const organ_write made = {.model = job->model,
                              .requested = &o->write,
                              .report.origin = job->origin,
                              ORGAN_WRITE_BY(job),
                              .decide = quantize_decide,
                              .report.plan = &job->plan,
                              .names = {quantize_definition(job), &organ_quantize_view, "quantizing", "model", NULL},
                              .report.made_as = ORGAN_TYPES_PACKED,
                              .report.made_rounds = job->inputs,
                              .pieces.repacked = true,
                              .make.edit = job->format->edit,
                              .make.fill = quantize_all,
                              .make.recall = organ_quantize_recall,
                              .check.parameters = organ_quantize_parameters,
                              .check.inputs = quantize_inputs,
                              .check.identity = organ_quantize_identity,
                              .make.check = check_imatrix,
                              .report.document = organ_quantize_document};
    return organ_write_run(&made, report, error);
}

organ_status organ_quantize_run(const void *given, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error)
{
    const organ_quantize_call *const call = given;
    organ_quantize_job job = {.options = call->options,
                              .pruning = call->pruning,
                              .source = call->source,
                              .opened = call->opened,
                              .origin = call->origin,
                              .engine = engine,
                              .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    quantize_model(&job, report, error);
    close_quantize(&job);
    return organ_report_end_partial(&work, call->options->model, error);
}

organ_status organ_quantize_from(const organ_quantize_options *options, const organ_write_origin *origin,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error)
{
    char scheme[ORGAN_SCHEME_ROOM];
    if (ORGAN_BEGIN_VERB(organ_quantize_options, options, report, error, "model", options->model, "scheme",
                         options->scheme, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_quantize_options named = *options;
    named.scheme = organ_quantize_scheme_named(options->scheme, scheme);
    const organ_quantize_call call = {.options = &named, .origin = origin, .one = organ_quantize_run};
    const organ_quantize_options defaults = organ_quantize_defaults();
    if (organ_requirements_check(&organ_quantize_requirements, &named, &defaults, error) ||
        organ_quantize_smooth_check(&named, error))
        return error->status;
    if (strcmp(named.scheme, "none") == 0) {
        const organ_smooth_options smoothing = organ_quantize_smoothing(&named);
        return organ_smooth(&smoothing, engine, progress, report, error);
    }
    if (organ_quantize_types_wanted(&named) && organ_quantize_sizes_check(&named, error))
        return error->status;
    return organ_quantize_steps(&call, engine, progress, report, error);
}

organ_status organ_quantize(const organ_quantize_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    return organ_quantize_from(options, NULL, engine, progress, report, error);
}

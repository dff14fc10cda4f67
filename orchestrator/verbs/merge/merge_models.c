/* SPDX-License-Identifier: MIT
 * Merges models into one: reads the recipe, opens the models, plans the tensors and writes the output.
 *
 * Ranks: only rank 0 writes the file of the recipe. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/report/view/views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- config.json ---- */

static organ_status edit_merged(void *context, organ_json_edit *config, organ_error *error)
{
    model_merge *const job = context;
    const organ_dtype dtype = job->recipe.dtype == ORGAN_DTYPE_COUNT ? ORGAN_BF16 : job->recipe.dtype;
    if (job->packed && organ_config_make_plain(config, dtype, /*packed=*/true, error))
        return error->status;
    if (job->recipe.dtype != ORGAN_DTYPE_COUNT && organ_config_set_type(config, dtype, /*add=*/false, error))
        return error->status;
    if (job->recipe.sliced && organ_merge_edit_layers(job, config, error))
        return error->status;
    if (job->recipe.mixture && organ_mixture_edit(job, config, error))
        return error->status;
    if (organ_merge_edit_vocabulary(job, config, error))
        return error->status;
    /* the weights are no longer those for which the host's repair adapter was made */
    if ((job->recipe.donor_count > 1 || job->donors[job->host].adapted.adapter) &&
        organ_repair_pair_forget(config, error))
        return error->status;
    return job->unties ? organ_config_set(config, "tie_word_embeddings", json_false(), /*both=*/true, error) : ORGAN_OK;
}

/* ---- callbacks of the driver ---- */

static json_t *merge_parameters(void *context)
{
    const model_merge *const job = context;
    return ORGAN_OBJECT(SET_TEXT("method", job->recipe.method->name), SET_BYTES("recipe", job->filled),
                        SET_COUNT("seed", job->options->seed), SET_TEXT("missing", job->options->missing),
                        SET_IF(job->options->keep_tied, "keep_tied", json_true()),
                        SET_FLAG("other_architecture", job->options->other_architecture),
                        SET_TEXT("match_experts", job->options->match_experts),
                        SET_COUNT("max_shard_bytes", job->options->write.max_shard_size),
                        SET_IF(job->moments, "calibration", organ_merge_texts_json(job)),
                        SET_IF(job->recipe.mixture, "mixture", organ_mixture_parameters(job)));
}

static organ_status add_donor(const merge_donor *donor, organ_run_inputs *inputs, organ_error *error)
{
    ORGAN_OWNED char *const what = organ_format("model '%s', its", donor->name);
    if (!what)
        return organ_fail_memory(error, donor->path);
    if (organ_run_inputs_add_model(inputs, what, organ_merge_stored(donor), error) == ORGAN_OK &&
        donor->adapted.adapter)
        organ_run_inputs_add_model(inputs, what, donor->adapted.adapter->model, error);
    return error->status;
}

/* The recipe of a command is in the parameters. */
static organ_status merge_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const model_merge *const job = context;
    const merge_recipe *const r = &job->recipe;
    organ_run_inputs_add(inputs, "recipe", job->options->recipe, error);
    for (size_t k = 0; k < r->donor_count && !error->status; k++)
        add_donor(&job->donors[k], inputs, error);
    organ_run_inputs_add(inputs, "text", r->text, error);
    if (r->mixture)
        organ_mixture_add_texts(r->mixture, inputs, error);
    for (size_t s = 0; s < r->slice_count; s++)
        for (size_t k = 0; k < r->slices[s].source_count; k++)
            organ_run_inputs_add(inputs, "text", r->slices[s].sources[k].text, error);
    return error->status;
}

/* Rank 0 writes the tokenizer. */
static organ_status begin_output(void *context, const char *to, const char *path, organ_error *error)
{
    model_merge *const job = context;
    if (job->moments && !(job->partial = strdup(path)))
        return organ_fail_memory(error, path);
    return organ_merge_writes_tokenizer(job) && organ_ranks_first(job->engine->ranks)
               ? organ_merge_write_tokenizer(job, to, error)
               : ORGAN_OK;
}

/* Rank 0 writes the recipe next to the reports. */
static organ_status write_recipe(void *context, const char *to, const char *path, organ_error *error)
{
    const model_merge *const job = context;
    (void)path;
    if (!organ_ranks_first(job->engine->ranks))
        return ORGAN_OK;
    const char *const output = job->options->write.output;
    ORGAN_OWNED char *const file =
        organ_output_report_path(to, output, organ_output_is_file(output), ORGAN_MERGE_RECIPE_NAME);
    if (file)
        organ_text_write(file, job->filled, error);
    else
        organ_fail_memory(error, to);
    return error->status;
}

/* `decide` of organ_write: routers are made before tensors are written, but not for an outline. */
static organ_status make_routers(void *context, organ_writing *writing, organ_write_pieces *pieces, organ_error *error)
{
    model_merge *const job = context;
    (void)writing;
    (void)pieces;
    if (job->options->write.dry_run || (job->made && job->made->outline) || organ_mixture_make_rows(job, error))
        return error->status;
    return organ_mixture_run_texts(job, error);
}

static organ_status write_merged(model_merge *job, json_t **report, organ_error *error)
{
    const char *left_out[MERGE_LEFT_OUT + ORGAN_PACKED_FILES + 1] = {NULL};
    size_t count = 0;
    for (size_t k = 0; job->packed && k < ORGAN_PACKED_FILES; k++)
        left_out[count++] = organ_packed_files[k];
    for (size_t k = 0; organ_merge_writes_tokenizer(job) && k < MERGE_LEFT_OUT; k++)
        left_out[count++] = organ_merge_tokenizer_files[k];
    if (job->options->write.dry_run && organ_merge_estimate_run(job, error))
        return error->status;
    const organ_write_origin origin = {.scored = job->donors[job->host].path};
    const organ_write made = {.model = job->donors[job->host].model,
                              .requested = &job->options->write,
                              .report.origin = job->donors[job->host].stored ? &origin : NULL,
                              .outline = job->made && job->made->outline,
                              .report.plan = &job->plan,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .names = {"merge/1", &organ_merge_view, "merging", "base", NULL},
                              .left_out = left_out,
                              .pieces.repacked = job->packed || job->recipe.sliced || job->recipe.mixture,
                              .decide = job->recipe.mixture ? make_routers : NULL,
                              .make.edit = edit_merged,
                              .make.fill = organ_merge_fill,
                              .make.recall = organ_merge_recall_tensor,
                              .check = {.parameters = merge_parameters, .inputs = merge_inputs},
                              .make.begun = begin_output,
                              .make.check = write_recipe,
                              .report.document = organ_merge_document};
    return organ_write_run(&made, report, error);
}

/* ---- one merge ---- */

static organ_status check_options(const organ_merge_options *o, organ_error *error)
{
    static const char *const policies[] = {"error", "base", "any", NULL}, *const orders[] = {"auto", "off", NULL};
    if (o->recipe && (o->model_count || o->method || o->base || o->weight || o->router_weight || o->density || o->t ||
                      o->setting_count || o->dtype))
        return organ_fail(error, ORGAN_USAGE,
                          "a recipe states models, method, parameters and types itself: give it without them");
    if (!o->recipe && o->model_count == 0)
        return organ_fail(error, ORGAN_USAGE, "a recipe or models to merge are missing");
    if (o->recipe && o->text_count)
        return organ_fail(error, ORGAN_USAGE, "a recipe states its texts (calibration): give it without `texts`");
    if (!organ_is_one_of(o->missing, policies))
        return organ_fail(error, ORGAN_USAGE, "missing is '%s', not error, base or any", o->missing);
    if (!organ_is_one_of(o->match_experts, orders))
        return organ_fail(error, ORGAN_USAGE, "match_experts is '%s', not auto or off", o->match_experts);
    return ORGAN_OK;
}

/* `output`: NULL in a dry run without one. `fresh`: no run is continued, so the output is checked to be new. */
static organ_status check_output(const model_merge *job, const char *output, bool fresh, organ_error *error)
{
    for (size_t k = 0; k < job->recipe.donor_count && output && !error->status; k++)
        if (organ_output_check_not_input(output, organ_merge_stored(&job->donors[k]), error) == ORGAN_OK &&
            job->donors[k].adapted.adapter)
            organ_output_check_not_adapter(output, job->donors[k].adapted.adapter, error);
    if (!error->status && output && job->recipe.method == &organ_merge_moments &&
        organ_ends_with(output, ".safetensors"))
        organ_fail(error, ORGAN_USAGE, "%s: moments runs the output while it is written: it must be a directory",
                   output);
    if (!error->status && output && organ_merge_writes_tokenizer(job) && organ_ends_with(output, ".safetensors"))
        organ_fail(error, ORGAN_USAGE, "%s: the recipe makes a tokenizer: the output must be a directory", output);
    return error->status || !output || !fresh
               ? error->status
               : organ_output_check(output, organ_output_like(job->donors[job->host].model), job->options->write.force,
                                    error);
}

/* The output of the last step is checked by that step. */
static organ_status check_outputs(const model_merge *job, organ_error *error)
{
    const organ_write_options *const w = &job->options->write;
    return (job->made && check_output(job, job->made->last, /*fresh=*/false, error)) ||
                   check_output(job, w->output, !w->resume, error)
               ? error->status
               : ORGAN_OK;
}

/* Sets the members of *made that the next steps need. */
static organ_status fill_made(const model_merge *job, merge_made *made, organ_error *error)
{
    json_t *const all = merge_parameters((void *)job);
    char *const text = all ? organ_json_dump(all, JSON_COMPACT) : NULL;
    json_decref(all);
    made->recipe = strdup(job->filled);
    made->base = strdup(job->donors[job->host].path);
    if (text)
        snprintf(made->print, sizeof made->print, "%016llx", (unsigned long long)XXH3_64bits(text, strlen(text)));
    free(text);
    if (!text || !made->recipe || !made->base)
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < job->piece_count; k++)
        made->bytes += job->pieces[k].bytes;
    return merge_inputs((void *)job, &made->inputs, error);
}

static organ_status check_moments(const model_merge *job, organ_error *error)
{
    return job->recipe.method == &organ_merge_moments && organ_ranks_count(job->engine->ranks) > 1
               ? organ_fail(error, ORGAN_USAGE, "moments runs in one process, not in %zu",
                            organ_ranks_count(job->engine->ranks))
               : ORGAN_OK;
}

static organ_status plan_and_write(model_merge *job, json_t **report, organ_error *error)
{
    size_t k;
    const json_t *warning;
    if (check_options(job->options, error) || organ_merge_recipe_read(job->options, &job->recipe, error) ||
        organ_merge_read_tokens(&job->recipe, error) || check_moments(job, error) ||
        organ_merge_open_donors(job, error) || organ_merge_open_vocabulary(job, error) ||
        organ_merge_choose_chat(job, error) || check_outputs(job, error) || organ_merge_outline(job, error) ||
        organ_merge_check_layers(job, error) || organ_merge_open_moments(job, error) ||
        (job->recipe.mixture && organ_mixture_check_gates(job, error)) || organ_merge_fill_recipe(job, error))
        return error->status;
    json_array_foreach(job->recipe.warnings, k, warning) if (!job->progress || !job->progress->follows)
    {
        organ_progress_warn(job->progress, "%s", json_string_value(warning));
    }
    if (json_array_size(job->lacking) && !(job->progress && job->progress->follows))
        organ_progress_warn(job->progress, "%zu tensors are not in all models; the report lists them",
                            json_array_size(job->lacking));
    return write_merged(job, report, error);
}

void organ_merge_release(model_merge *job, organ_error *error)
{
    organ_merge_close_moments(job);
    free(job->partial);
    organ_merge_close_vocabulary(job);
    organ_merge_close_donors(job, error);
    organ_merge_recipe_release(&job->recipe);
    organ_arena_release(&job->arena);
    organ_rows_free(job->pieces);
    json_decref(job->clashes);
    json_decref(job->lacking);
    ORGAN_FREE_ARRAYS(job->tensors, job->matches, job->filled, job->chat_template);
}

organ_status organ_merge_once(const organ_merge_options *options, merge_made *made, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    model_merge job = {.options = options, .engine = engine, .progress = progress, .made = made};
    const organ_report_work work = organ_report_begin(report);
    if (plan_and_write(&job, report, error) == ORGAN_OK && made)
        fill_made(&job, made, error);
    organ_merge_release(&job, error);
    return organ_report_end_partial(&work, options->write.output, error);
}

organ_status organ_merge_plain(const void *options, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    return organ_merge_once(options, NULL, engine, progress, report, error);
}

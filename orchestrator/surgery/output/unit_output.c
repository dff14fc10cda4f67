/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/unit_output.h"

#include "formats/base/name_table.h"
#include "formats/base/paged_rows.h"
#include "orchestrator/report/text/members.h"

#include <stdlib.h>

/* The first line of the journal; NULL without memory. */
static json_t *unit_output_head_of(const organ_unit_output *made)
{
    const uint64_t digest = made->plan ? organ_resharding_digest(made->plan) : 0;
    json_t *const head =
        organ_json_joined(ORGAN_OBJECT(SET_TEXT("schema", "organ.journal/1"), SET_TEXT("definition", made->definition),
                                       SET_TEXT("organ", ORGAN_VERSION)),
                          made->identity(made->context));
    return organ_json_joined(
        head, ORGAN_OBJECT(SET_IF(made->plan, "plan", json_sprintf("%016llx", (unsigned long long)digest))));
}

/* ---- what an earlier run left ---- */

static bool is_planned(const void *planned, const char *name) { return organ_name_table_find(planned, name) != NULL; }

static const char *file_name(const organ_unit_output *made, size_t file)
{
    if (made->plan)
        return organ_resharding_file(made->plan, file, NULL);
    return made->output.single ? organ_output_name(&made->output) : made->model->files[file].name;
}

/* The files with tensors stay; all else is made anew, and what was half written would come along. */
static organ_status clear_rest(const organ_unit_output *made, organ_error *error)
{
    organ_name_table planned = {0};
    const size_t files = made->plan ? organ_resharding_files(made->plan) : made->model->file_count;
    for (size_t f = 0; f < files && !error->status; f++)
        if (!organ_name_table_put(&planned, file_name(made, f), f))
            organ_fail_memory(error, made->output.path);
    if (!error->status)
        organ_output_clear_rest(&made->output, is_planned, &planned, error);
    organ_name_table_release(&planned);
    return error->status;
}

/* ---- the run ---- */

static organ_status make_units(const organ_unit_output *made, organ_unit_run *run, organ_error *error)
{
    uint64_t bytes = made->source_bytes;
    for (size_t u = 0; u < made->unit_count; u++)
        bytes -= made->units[u].done ? made->units[u].bytes : 0;
    organ_progress_begin(made->progress, made->stage, bytes, made->unit_count - run->done);
    if (organ_unit_run_deal(run, error) == ORGAN_OK &&
        (!made->fill || made->fill(made->context, run, error) == ORGAN_OK))
        organ_unit_run_copy(run, error);
    organ_unit_run_join(run, error);
    organ_progress_end(made->progress);
    return error->status;
}

/* The files, as this run finds or makes them, or as the first rank has made them. */
static organ_status unit_output_open_files(const organ_unit_output *made, organ_unit_run *run, organ_error *error)
{
    const organ_output *const output = &made->output;
    const char *const to = organ_output_directory(output);
    const bool made_already = output->publish.resumed || !organ_ranks_first(output->ranks);
    if (!made->plan)
        return organ_model_copy_begin(made->model, &output->publish, made->replaced,
                                      output->single ? organ_output_name(output) : NULL, made->stop, &run->copy, error);
    return made_already ? organ_resharding_continue(made->plan, to, error)
                        : organ_resharding_begin(made->plan, to, error);
}

/* All learn from the first how it has made the files; then each copies its share of what lies around the pieces. */
static organ_status make_files(const organ_unit_output *made, organ_unit_run *run, organ_error *error)
{
    organ_ranks *const ranks = made->output.ranks;
    organ_gathered how = {0};
    size_t bytes = 0;
    if (organ_ranks_first(ranks))
        unit_output_open_files(made, run, error);
    const char *const mine = run->copy ? organ_model_copy_made(run->copy, &bytes) : NULL;
    organ_ranks_gather(ranks, "the files are made", mine, bytes, &how, error);
    if (!organ_ranks_first(ranks) && !error->status)
        unit_output_open_files(made, run, error);
    if (organ_ranks_agree(ranks, "the files are open", error) == ORGAN_OK && run->copy)
        organ_model_copy_start(run->copy, how.of[0], organ_ranks_rank(ranks), organ_ranks_count(ranks), error);
    organ_gathered_free(&how);
    return error->status;
}

static organ_status write_tensors(organ_unit_output *made, organ_error *error)
{
    organ_unit_run run = {.plan = made->plan,
                          .pieces = made->pieces,
                          .piece_count = made->piece_count,
                          .units = made->units,
                          .unit_count = made->unit_count,
                          .journal = made->output.journal,
                          .progress = made->progress,
                          .stop = made->stop,
                          .ranks = made->output.ranks,
                          .context = made->context,
                          .recall = made->recall};
    if (make_files(made, &run, error) == ORGAN_OK) {
        organ_rows_rest();
        organ_unit_run_begin(&run, error);
        if (organ_ranks_agree(run.ranks, "the units are known", error) == ORGAN_OK)
            make_units(made, &run, error);
    }
    made->output.done = run.done;
    organ_unit_run_end(&run);
    organ_model_copy_end(run.copy);
    return error->status;
}

/* What does not depend on the bytes of tensors. */
static organ_status begin_output(const organ_unit_output *made, const char *to, organ_error *error)
{
    if (organ_run_journal_begin(made->output.journal, unit_output_head_of(made), made->output.path, error) ||
        (made->output.publish.resumed && clear_rest(made, error)))
        return error->status;
    return made->begin(made->context, to, error);
}

static organ_status write_all(organ_unit_output *made, json_t **report, organ_error *error)
{
    const char *const to = organ_output_directory(&made->output);
    if (organ_ranks_first(made->output.ranks))
        begin_output(made, to, error);
    organ_rows_rest();
    if (organ_run_journal_share(&made->output.publish, made->output.journal, made->output.ranks, error) ||
        write_tensors(made, error))
        return error->status;
    organ_rows_rest();
    if (made->finish(made->context, to, error) || organ_output_sync(&made->output, error))
        return error->status;
    organ_rows_rest();
    return made->tell(made->context, report, error);
}

/* By all ranks, if there are several. */
static organ_status make_output(organ_unit_output *made, json_t **report, organ_error *error)
{
    organ_output *const output = &made->output;
    const uint64_t bytes = (made->plan ? organ_resharding_bytes(made->plan) : 0) + made->beside_bytes;
    const bool begun = !organ_ranks_first(output->ranks) || organ_output_begin(output, bytes, error) == ORGAN_OK;
    organ_output_share(output, error);
    if (!begun)
        return error->status;
    if (!error->status)
        write_all(made, report, error);
    organ_ranks_agree(output->ranks, "the output is whole", error);
    return organ_output_end(output, error);
}

organ_status organ_unit_output_make(organ_unit_output *made, json_t **report, organ_error *error)
{
    organ_run_journal journal = {0};
    organ_output *const output = &made->output;
    *report = NULL;
    output->journal = &journal;
    output->all = made->unit_count;
    if (made->dry_run)
        organ_output_check(output->path, output->like, output->force, error) ? error->status
                                                                             : made->tell(made->context, report, error);
    else
        make_output(made, report, error);
    output->journal = NULL;
    organ_run_journal_close(&journal);
    if (error->status) {
        json_decref(*report);
        *report = NULL;
    }
    return error->status;
}

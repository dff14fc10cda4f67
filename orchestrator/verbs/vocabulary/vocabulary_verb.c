/* SPDX-License-Identifier: MIT
 * Runs organ vocabulary. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"
#include "orchestrator/verbs/vocabulary/vocabulary_adapter.h"
#include "orchestrator/verbs/vocabulary/vocabulary_add.h"

#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"

enum { MULTIPLE_LIMIT = 65536 };

/* Labels need no text, and change no token. */
static organ_status check_labels(const organ_vocabulary_options *o, organ_error *error)
{
    const char *excluded = organ_vocabulary_choice(o);
    if (o->draft_head || o->target)
        excluded = o->draft_head ? "draft_head" : "target";
    if (o->text_count || o->evaluate)
        excluded = o->text_count ? "texts" : "evaluate";
    if (excluded)
        return organ_fail(error, ORGAN_USAGE,
                          "`labels` keeps all tokens: it excludes `%s`; make the vocabulary smaller first, in a run of "
                          "its own",
                          excluded);
    return o->write.output || o->write.dry_run
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "`labels` needs an output: `output` is missing");
}

/* A draft gets the most frequent tokens of the texts. */
static organ_status check_draft(const organ_vocabulary_options *o, organ_error *error)
{
    const char *const excluded = organ_vocabulary_choice(o);
    if (excluded)
        return organ_fail(error, ORGAN_USAGE, "`draft_head` states the number of rows: it excludes `%s`", excluded);
    if (!o->text_count)
        return organ_fail(error, ORGAN_USAGE, "`texts` is missing: a text of the kind that the target will write");
    return o->write.output || o->write.dry_run
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "`draft_head` needs an output: `output` is missing");
}

static organ_status check_texts(const organ_vocabulary_options *o, organ_error *error)
{
    for (size_t k = 0; k < o->text_count && !error->status; k++)
        organ_text_check_size(o->texts[k], error);
    return error->status;
}

static organ_status check_options(const organ_vocabulary_options *o, organ_error *error)
{
    if (o->labels)
        return check_labels(o, error);
    if (o->rerank_template)
        return organ_fail(error, ORGAN_USAGE, "`rerank_template` has a meaning only with `labels`");
    if (o->draft_head)
        return check_draft(o, error) ? error->status : check_texts(o, error);
    if (o->target)
        return organ_fail(error, ORGAN_USAGE, "`target` has a meaning only with `draft_head`");
    if (!o->text_count && !o->tokens)
        return organ_fail(error, ORGAN_USAGE, "`texts` is missing: a text of the kind that the model will read");
    const char *const excluded = o->keep_characters ? "keep_characters" : "keep_merges";
    if ((o->tokens || o->keep_all) && (o->keep_characters || o->keep_merges))
        return organ_fail(error, ORGAN_USAGE, "`%s` keeps exactly its tokens: it excludes `%s`",
                          o->tokens ? "tokens" : "keep_all", excluded);
    if (o->tokens && o->keep_all)
        return organ_fail(error, ORGAN_USAGE, "`tokens` keeps exactly its tokens: it excludes `keep_all`");
    if (o->tokens && o->multiple_of > 1)
        return organ_fail(error, ORGAN_USAGE, "`tokens` keeps exactly its tokens: it excludes `multiple_of`");
    if (o->multiple_of > MULTIPLE_LIMIT)
        return organ_fail(error, ORGAN_USAGE, "`multiple_of` %u is outside 1 .. %u", o->multiple_of, MULTIPLE_LIMIT);
    return check_texts(o, error);
}

static organ_status open_model(vocabulary_job *job, organ_error *error)
{
    const organ_vocabulary_options *const o = job->options;
    if (check_options(o, error) || organ_model_open_with(o->model, o->access, &job->model, error) ||
        (o->target && organ_model_open_with(o->target, o->access, &job->target, error)) ||
        organ_tokenizer_open(job->target ? job->target : job->model, &job->tokenizer, error))
        return error->status;
    if (o->draft_head)
        return organ_token_groups_find(&job->groups, job->tokenizer, error);
    if (organ_weights_find(job->model, &job->weights, error) ||
        organ_token_tables_find(job->model, job->weights, &job->tables, error))
        return error->status;
    return organ_token_groups_find(&job->groups, job->tokenizer, error);
}

static organ_status measure(vocabulary_job *job, json_t **report, organ_error *error)
{
    const bool writes = job->options->write.output || job->options->write.dry_run;
    if (open_model(job, error))
        return error->status;
    if (job->options->draft_head)
        return organ_vocabulary_draft(job, report, error);
    if (job->options->labels)
        return organ_vocabulary_label(job, report, error);
    if (organ_vocabulary_read_list(job, error) || organ_vocabulary_count(job, error) ||
        organ_vocabulary_policies(job, error) || organ_vocabulary_evaluate(job, error))
        return error->status;
    if (writes)
        return organ_vocabulary_trim(job, report, error);
    if (organ_model_unchanged(job->model, error))
        return error->status;
    *report = organ_vocabulary_document(job);
    return ORGAN_OK;
}

static void close_job(vocabulary_job *job)
{
    for (size_t k = 0; k < job->policy_count; k++)
        organ_kept_release(&job->policies[k].kept);
    organ_kept_release(&job->base);
    organ_token_groups_release(&job->groups);
    organ_token_tables_release(&job->tables);
    organ_weights_free(job->weights);
    organ_tokenizer_close(job->tokenizer);
    organ_model_close(job->model);
    organ_model_close(job->target);
    organ_vocabulary_trim_release(job);
    ORGAN_FREE_ARRAYS(job->texts, job->uses, job->listed);
}

organ_status organ_vocabulary(const organ_vocabulary_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_vocabulary_options, options, report, error, "model", options->model))
        return error->status;
    vocabulary_job job = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    if (options->add || options->special)
        organ_vocabulary_add(options, engine, progress, report, error);
    else if (!options->labels && !options->draft_head && organ_vocabulary_is_adapter(options->model))
        organ_vocabulary_adapter(&job, report, error);
    else
        measure(&job, report, error);
    close_job(&job);
    return organ_report_end(&work, options->model, error);
}

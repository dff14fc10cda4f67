/* SPDX-License-Identifier: MIT
 * Runs organ perplexity and organ evaluate: scores models on a text, adds what the logs and weights of pruned models
 * show about their pruning, and makes the reports. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/verbs/evaluate/across.h"

#include <fnmatch.h>
#include <math.h>
#include <organ/evaluate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the experiments of pruned models: completed and compared ---- */

/* The histories are those of all models except the donor, in the order of options->pruned. */
typedef struct naming_job {
    const organ_evaluate_options *options;
    json_t *histories;
} naming_job;

static json_t *experiment_of(const naming_job *s, size_t m)
{
    return json_object_get(json_array_get(s->histories, m), "experiment");
}

/* ---- names ---- */

static bool matches_pattern(const char *pattern, const char *path)
{
    const char *const slash = strrchr(path, '/');
    return strcmp(pattern, path) == 0 || fnmatch(pattern, path, 0) == 0 ||
           (slash && fnmatch(pattern, slash + 1, 0) == 0);
}

static organ_status name_models(const naming_job *s, organ_error *error)
{
    const organ_evaluate_options *const o = s->options;
    for (size_t k = 0; k < o->experiment_count; k++) {
        const char *const text = o->experiments[k], *const equals = strchr(text, '=');
        bool used = false;
        if (!equals || equals == text || !equals[1])
            return organ_fail(error, ORGAN_USAGE, "`experiments` '%s' is not NAME=MODEL", text);
        for (size_t m = 0; m < o->count; m++)
            if (matches_pattern(equals + 1, o->pruned[m])) {
                used = true;
                if (json_is_object(experiment_of(s, m)) && !json_object_get(experiment_of(s, m), "name") &&
                    !ORGAN_ADD(experiment_of(s, m),
                               SET("name", organ_json_sprintf("%.*s", (int)(equals - text), text))))
                    return organ_fail_memory(error, text);
            }
        if (!used)
            return organ_fail(error, ORGAN_USAGE, "`experiments` '%s': no pruned model is named %s", text, equals + 1);
    }
    return ORGAN_OK;
}

/* Gives each experiment without a name that of its method, such as "wanda" or "physarum-v3 calib.txt", if all of these
 * names differ. `longer` adds the calibration text. Returns false without changes otherwise, and if out of memory. */
static bool name_by_method(const naming_job *s, bool longer, organ_error *error)
{
    const size_t count = s->options->count;
    char(*const names)[160] = calloc(count + 1, sizeof *names);
    bool distinct = names || !organ_fail_memory(error, s->options->donor);
    for (size_t m = 0; distinct && m < count; m++) {
        const json_t *const e = experiment_of(s, m);
        const char *const method = organ_json_text(e, "method"), *const name = organ_json_text(e, "name"),
                          *const text = organ_json_text(e, "calibration.name");
        snprintf(names[m], sizeof names[m], "%.60s%s%.60s", *name ? name : method, longer && !*name && *text ? " " : "",
                 longer && !*name ? text : "");
        distinct = !json_is_object(e) || *names[m];
        for (size_t other = 0; distinct && other < m; other++)
            distinct = strcmp(names[m], names[other]) != 0 || !json_is_object(e) ||
                       !json_is_object(experiment_of(s, other)) ||
                       !organ_experiment_difference(experiment_of(s, other), e, s->options->targets != NULL);
    }
    for (size_t m = 0; distinct && m < count && !error->status; m++)
        if (json_is_object(experiment_of(s, m)) && !*organ_json_text(experiment_of(s, m), "name") &&
            !ORGAN_ADD(experiment_of(s, m), SET_TEXT("name", names[m])))
            organ_fail_memory(error, names[m]);
    free(names);
    return distinct;
}

static bool are_mixed(const naming_job *s)
{
    bool mixed = false;
    for (size_t m = 0; m < s->options->count; m++)
        for (size_t other = 0; other < m && !mixed; other++)
            mixed =
                json_is_object(experiment_of(s, m)) && json_is_object(experiment_of(s, other)) &&
                organ_experiment_difference(experiment_of(s, other), experiment_of(s, m), s->options->targets != NULL);
    return mixed;
}

/* ---- experiments of one table ---- */

static json_t *unknown_experiment(const json_t *history)
{
    if (organ_json_count(history, "sparsity.target.killed") == 0)
        return json_null();
    return ORGAN_OBJECT(SET("donor", ORGAN_OBJECT(SET_TEXT("name", "unknown"))), SET_NULL("method"),
                        SET_NULL("definition"), SET("settings", json_object()), SET_NULL("calibration"));
}

static organ_status add_unknown_experiments(const naming_job *s, organ_error *error)
{
    for (size_t m = 0; m < s->options->count; m++) {
        json_t *const history = json_array_get(s->histories, m);
        if (!json_is_object(experiment_of(s, m)) && !ORGAN_ADD(history, SET("experiment", unknown_experiment(history))))
            return organ_fail_memory(error, s->options->pruned[m]);
    }
    return ORGAN_OK;
}

static organ_status fail_mixed(const naming_job *s, size_t a, size_t b, const char *difference, organ_error *error)
{
    const char *const *const paths = s->options->pruned;
    ORGAN_OWNED_JSON json_t *const x = organ_experiment_words(experiment_of(s, a));
    ORGAN_OWNED_JSON json_t *const y = organ_experiment_words(experiment_of(s, b));
    organ_fail(error, ORGAN_USAGE,
               "%s and %s are of two experiments, which differ in their %s: %s; and %s. Name both to show them in one "
               "table: `experiments` NAME=%s `experiments` OTHER=%s",
               paths[a], paths[b], difference, json_string_value(x), json_string_value(y), paths[a], paths[b]);
    return error->status;
}

/* Both models are of one experiment (organ_experiment_difference), or both of their experiments have names, which
 * differ. A model whose experiment is JSON null fits any other. */
static organ_status compare_experiments(const naming_job *s, size_t a, size_t b, organ_error *error)
{
    const json_t *const x = experiment_of(s, a), *const y = experiment_of(s, b);
    const char *const difference =
        json_is_object(x) && json_is_object(y) ? organ_experiment_difference(x, y, s->options->targets != NULL) : NULL;
    const char *const one = organ_json_text(x, "name"), *const other = organ_json_text(y, "name");
    if (!difference || (*one && *other && strcmp(one, other) != 0))
        return ORGAN_OK;
    if (!*one || !*other)
        return fail_mixed(s, a, b, difference, error);
    return organ_fail(error, ORGAN_USAGE,
                      "`experiments`: '%s' cannot be the name of two experiments: %s and %s differ in their %s", one,
                      s->options->pruned[a], s->options->pruned[b], difference);
}

/* Rejects a pruned model of another donor, unless its experiment has a name: its killed weights would be counted
 * against a donor that it was not made from. */
static organ_status check_donor(const naming_job *s, size_t m, const char *fingerprint, organ_error *error)
{
    const json_t *const e = experiment_of(s, m);
    const char *const own = organ_json_text(e, "donor.fingerprint");
    if (!*own || !*fingerprint || strcmp(own, fingerprint) == 0 || *organ_json_text(e, "name"))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s is a pruning of another donor (%s, fingerprint %s) than %s (fingerprint %s): to count its "
                      "killed weights against this donor, name its experiment: `experiments` NAME=%s",
                      s->options->pruned[m], organ_json_text(e, "donor.name"), own, s->options->donor, fingerprint,
                      s->options->pruned[m]);
}

/* Completes the experiment of each pruned model. `histories` has an object for each: "experiment" (organ_experiment_of
 * its log, or null) and "sparsity". A model without a log whose weights were killed gets an unknown experiment. Then
 * each experiment gets the "name" that options->experiments (NAME=MODEL) gives its model; if there are several
 * experiments, those without a name get the name of their method, unless two would get the same. Returns ORGAN_USAGE in
 * three cases: one of two different experiments has no name, or both have the same name; an experiment of another donor
 * than `donor` has no name; the MODEL of an option matches no model. */
static organ_status experiments_resolve(const organ_evaluate_options *options, const organ_model *donor,
                                        json_t *histories, organ_error *error)
{
    const naming_job s = {options, histories};
    char fingerprint[17];
    if (add_unknown_experiments(&s, error) || name_models(&s, error) ||
        organ_model_fingerprint(donor, fingerprint, error))
        return error->status;
    for (size_t m = 0; m < options->count && !error->status; m++)
        check_donor(&s, m, fingerprint, error);
    if (!error->status && are_mixed(&s) && !name_by_method(&s, /*longer=*/false, error) && !error->status)
        name_by_method(&s, /*longer=*/true, error);
    if (error->status)
        return error->status;
    for (size_t m = 0; m < options->count && !error->status; m++)
        for (size_t other = 0; other < m && !error->status; other++)
            compare_experiments(&s, other, m, error);
    return error->status;
}

/* ---- organ perplexity and organ evaluate ---- */

typedef struct evaluate_scoring {
    const organ_perplexity_options *perplexity; /* options of organ perplexity; NULL: organ evaluate */
    const organ_evaluate_options *evaluate;     /* options of organ evaluate; NULL: organ perplexity */
    const organ_engine *engine;
    const organ_progress *progress;
    const char **paths; /* organ evaluate: paths of the donor, then of its copies; else NULL */
    organ_scoring scoring;
} evaluate_scoring;

/* Each window of the text is one chunk of the file. */
static organ_status write_imatrix(const organ_output *output, const void *context, const json_t *report,
                                  organ_error *error)
{
    (void)report;
    const organ_scoring *const scoring = context;
    ORGAN_OWNED char *const path = organ_publish_path(&output->publish, "imatrix.gguf");
    const char *const name = organ_path_name(scoring->options->text);
    const organ_imatrix_text text = {&name, 1, scoring->plan.windows, scoring->protocol.context};
    if (!path)
        organ_fail_memory(error, output->path);
    else
        organ_input_sums_write(scoring->sums, path, ORGAN_IMATRIX_GGUF, &text, error);
    return error->status;
}

static organ_status write_reports(const evaluate_scoring *s, const organ_experiment_options *o, const json_t *report,
                                  organ_error *error)
{
    if (!report || !o->output || error->status)
        return error->status;
    return organ_reports_make(&(organ_output){.path = o->output, .force = o->force, .ranks = s->engine->ranks},
                              s->scoring.sums ? write_imatrix : NULL, &s->scoring, report, error);
}

static void close_scoring(evaluate_scoring *s)
{
    organ_scoring_close(&s->scoring);
    free(s->paths);
}

/* ---- perplexity ---- */

static json_t *model_entry(organ_scoring *scoring, size_t m, organ_error *error)
{
    json_t *const comparison = m ? organ_scoring_comparison_json(scoring, m, error) : NULL;
    json_t *const entry = ORGAN_OBJECT(SET("model", organ_scored_model_json(&scoring->models[m])),
                                       SET("figures", organ_scoring_figures_json(scoring, m, error)),
                                       SET("comparison", comparison ? comparison : json_null()));
    if (entry && organ_scoring_add_activations(scoring, m, entry, error) == ORGAN_OK)
        organ_scoring_add_drafts(scoring, m, entry, error);
    return entry;
}

static json_t *models_json(organ_scoring *scoring, organ_error *error)
{
    json_t *const models = json_array();
    for (size_t m = 0; m < scoring->shown && !error->status; m++)
        if (json_array_append_new(models, model_entry(scoring, m, error)))
            organ_fail_memory(error, scoring->options->text);
        else
            organ_scoring_add_cache(scoring, m, json_array_get(models, m), error);
    return models;
}

static json_t *document(const organ_scoring *scoring, const char *schema, json_t *models)
{
    return ORGAN_OBJECT(SET_HEAD(schema, "perplexity/1"), SET("experiment", organ_scoring_experiment_json(scoring)),
                        SET("ended", organ_scoring_ended_json(scoring)), SET("models", models),
                        SET("definitions", organ_scoring_definitions_json(scoring, schema)),
                        SET("run", organ_scoring_run_json(scoring)));
}

static organ_status complete_sums(const organ_scoring *scoring, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *filled = NULL;
    if (scoring->sums && organ_input_sums_complete(scoring->sums, &filled, error) == ORGAN_OK && filled)
        organ_progress_note(scoring->progress,
                            "no token reached %lld experts; their entries in the importance matrix have the mean of "
                            "their layer",
                            (long long)organ_json_count(filled, "experts"));
    ORGAN_OWNED_JSON json_t *const unrun = scoring->sums ? organ_scoring_unrun_json(scoring) : json_null();
    if (!json_is_null(unrun))
        organ_progress_note(scoring->progress,
                            "the importance matrix has no entry for %lld matrices for multi-token prediction: %s is "
                            "the first",
                            (long long)organ_json_count(unrun, "matrices"),
                            json_string_value(json_array_get(json_object_get(unrun, "names"), 0)));
    return error->status;
}

static organ_status score_models(evaluate_scoring *s, json_t **report, organ_error *error)
{
    const organ_perplexity_options *const o = s->perplexity;
    const char *const paths[2] = {o->model, o->compare};
    if (o->experiment.imatrix && !o->experiment.output)
        return organ_fail(error, ORGAN_USAGE, "`imatrix` needs -o DIR, where the file is written");
    if (organ_scoring_open(&s->scoring, paths, o->compare ? 2 : 1, &o->experiment,
                           organ_scoring_stop_of(o->max_error, o->max_windows, &o->experiment, o->compare != NULL),
                           (organ_scored_drafts){o->mtp, o->continuations, o->draft_tokens}, s->engine, s->progress,
                           error))
        return error->status;
    if (o->dry_run)
        return organ_perplexity_dry_run(&s->scoring, "organ.perplexity/1", s->engine, report, error);
    if (o->announce)
        organ_scoring_announce(&s->scoring, s->engine);
    if (organ_scoring_run(&s->scoring, error) || complete_sums(&s->scoring, error))
        return error->status;
    json_t *const models = models_json(&s->scoring, error);
    if (error->status) {
        json_decref(models);
        return error->status;
    }
    *report = document(&s->scoring, "organ.perplexity/1", models);
    return write_reports(s, &o->experiment, *report, error);
}

static organ_status perplexity_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                    json_t **report, organ_error *error)
{
    const organ_perplexity_options *const options = given;
    evaluate_scoring s = {.perplexity = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    score_models(&s, report, error);
    close_scoring(&s);
    return organ_report_end(&work, options->model, error);
}

organ_status organ_perplexity(const organ_perplexity_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_perplexity_options, options, report, error, "model", options->model, "experiment.text",
                         options->experiment.text))
        return error->status;
    return organ_plan_run(perplexity_verb, options, options->dry_run, engine, progress, report, error);
}

/* ---- organ evaluate: the history of a model ---- */

/* pass_begin, pass_bytes and pass_end are the callbacks of the organ_progress of an audit. `context` is the progress of
 * the evaluation, to which they pass their arguments. */
static void pass_begin(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    organ_progress_begin(context, what, bytes, tensors);
}

/* The tensor's name is left out: an audit reports hundreds of names for each model. */
static void pass_bytes(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    (void)tensor;
    (void)remark;
    organ_progress_advance(context, bytes, NULL, NULL);
}

static void pass_end(void *context) { organ_progress_end(context); }

static json_t *text_or_null(const json_t *value)
{
    return json_is_string(value) ? json_incref((json_t *)value) : json_null();
}

static json_t *number_or_null(const json_t *value)
{
    return json_is_number(value) ? json_incref((json_t *)value) : json_null();
}

static bool same_tensors(const json_t *audit)
{
    size_t k;
    json_t *check;
    json_array_foreach((json_t *)organ_json_at(audit, "checks"), k, check)
    {
        if (strcmp(organ_json_text(check, "check"), "dtype and shape preserved") == 0)
            return json_is_true(organ_json_at(check, "ok"));
    }
    return false;
}

static json_t *sparsity_json(const json_t *audit)
{
    json_int_t changed = 0, zero_before = 0;
    size_t k;
    json_t *tensor;
    json_array_foreach((json_t *)organ_json_at(audit, "tensors"), k, tensor)
    {
        organ_json_add_count(&changed, tensor, "changed");
        organ_json_add_count(&zero_before, tensor, "zero_before");
    }
    return ORGAN_OBJECT(SET_HELD("target", organ_json_at(audit, "totals.target")),
                        SET_HELD("full", organ_json_at(audit, "totals.full")), SET_COUNT("zero_before", zero_before),
                        SET_COUNT("changed", changed), SET_HELD("matrices", organ_json_at(audit, "matrices")));
}

/* `targets` is the value of --select; NULL: the projections. If the tensors of model m do not match those of the
 * donor, or the audit fails with ORGAN_BAD_INPUT (*damaged), *sparsity stays NULL and `why`, which has `size` bytes,
 * becomes the reason. */
static organ_status count_killed(const organ_evaluate_options *options, const organ_scoring *scoring, size_t m,
                                 const char *targets, json_t **sparsity, bool *damaged, char *why, size_t size,
                                 organ_error *error)
{
    const organ_audit_options audit = {.donor = options->donor,
                                       .pruned = scoring->models[m].path,
                                       .targets = targets,
                                       .access = options->experiment.access};
    const organ_progress quiet = {
        .context = (void *)scoring->progress, .begin = pass_begin, .advance = pass_bytes, .end = pass_end};
    const organ_engine engine = scoring->whole;
    organ_error found = {0};
    ORGAN_OWNED_JSON json_t *report = NULL;
    organ_audit_pruned(&audit, &engine, &quiet, &report, &found);
    if (report && same_tensors(report))
        *sparsity = sparsity_json(report);
    else if (report)
        snprintf(why, size, "%s", json_string_value(json_array_get(organ_json_at(report, "problems"), 0)));
    else if (found.status == ORGAN_BAD_INPUT) {
        *damaged = true;
        snprintf(why, size, "%s", found.message);
    } else
        *error = found;
    return error->status;
}

/* Must be called before the scoring, so that a malformed log is reported early. The report has the reason in
 * "not_counted" if the sparsity was not counted. Returns NULL on error. */
static json_t *history_of(const organ_evaluate_options *options, const organ_scoring *scoring, size_t m,
                          organ_error *error)
{
    char why[sizeof error->message] = "";
    bool damaged = false;
    json_t *const log = organ_experiment_log(scoring->models[m].model, error), *sparsity = NULL;
    const char *const logged = json_string_value(organ_json_at(log, "parameters.targets"));
    if (!error->status && !options->dry_run)
        count_killed(options, scoring, m, options->targets ? options->targets : logged, &sparsity, &damaged, why,
                     sizeof why, error);
    json_t *const history =
        error->status ? NULL
                      : ORGAN_OBJECT(SET("experiment", log ? organ_experiment_of(log) : json_null()),
                                     SET("method", organ_experiment_method(log)),
                                     SET("definition", text_or_null(organ_json_at(log, "definition"))),
                                     SET("wanted_sparsity", number_or_null(organ_json_at(log, "parameters.sparsity"))),
                                     SET("sparsity", sparsity ? sparsity : json_null()),
                                     SET("not_counted", *why ? organ_document_string(why) : json_null()),
                                     SET_FLAG("damaged", damaged));
    json_decref(log);
    if (!error->status && !history)
        organ_fail_memory(error, scoring->models[m].path);
    return history;
}

static json_t *histories_of(const organ_evaluate_options *options, const organ_scoring *scoring, organ_error *error)
{
    json_t *const histories = json_array();
    for (size_t m = 1; m < scoring->shown && !error->status; m++)
        if (json_array_append_new(histories, history_of(options, scoring, m, error)))
            organ_fail_memory(error, scoring->models[m].path);
    return histories;
}

static json_t *experiments_json(const json_t *histories)
{
    json_t *const list = json_array();
    for (size_t m = 0; m < json_array_size(histories); m++) {
        json_t *const experiment = json_object_get(json_array_get(histories, m), "experiment");
        bool known = !json_is_object(experiment);
        for (size_t k = 0; k < json_array_size(list) && !known; k++)
            known = json_equal(json_array_get(list, k), experiment);
        if (!known)
            json_array_append(list, experiment);
    }
    return list;
}

static void add_coverage(json_t *coverage, json_t *matrices, const organ_model *model)
{
    size_t k;
    json_t *group;
    json_array_foreach(coverage, k, group)
    {
        if (json_equal(json_object_get(group, "matrices"), matrices)) {
            json_array_append_new(json_object_get(group, "models"), organ_name_json(model->path));
            return;
        }
    }
    json_array_append_new(coverage, ORGAN_OBJECT(SET("models", json_pack("[o]", organ_name_json(model->path))),
                                                 SET_HELD("matrices", matrices)));
}

/* Moves "matrices" from the sparsity of each model to the list [{"models", "matrices"}], which has all models with
 * equal "matrices" in one row. */
static json_t *take_coverage(const organ_scoring *scoring, const json_t *histories)
{
    json_t *const coverage = json_array();
    for (size_t m = 1; m < scoring->shown; m++) {
        json_t *const sparsity = json_object_get(json_array_get(histories, m - 1), "sparsity");
        json_t *const matrices = json_object_get(sparsity, "matrices");
        if (matrices)
            add_coverage(coverage, matrices, scoring->models[m].model);
        json_object_del(sparsity, "matrices");
    }
    return coverage;
}

static void add_origin(json_t *entry, const organ_model *model, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const stored = error->status ? NULL : organ_model_stored(model, error);
    ORGAN_OWNED_JSON json_t *const made = error->status ? NULL : organ_model_made(model, error);
    if (stored && made)
        ORGAN_ADD(entry, SET_HELD("stored", stored), SET_HELD("made", made));
}

static json_t *evaluation_json(organ_scoring *scoring, const json_t *histories, organ_error *error)
{
    json_t *const coverage = take_coverage(scoring, histories);
    json_t *const models = models_json(scoring, error), *const experiments = experiments_json(histories);
    for (size_t m = 0; m < json_array_size(models); m++)
        add_origin(json_array_get(models, m), scoring->models[m].model, error);
    for (size_t m = 1; m < json_array_size(models); m++)
        if (json_object_update(json_array_get(models, m), json_array_get(histories, m - 1)))
            organ_fail_memory(error, scoring->models[m].path);
    json_t *const report = document(scoring, "organ.evaluate/1", models);
    ORGAN_ADD(report, SET("errata", organ_errata_of_experiments(experiments)), SET("coverage", coverage));
    json_decref(experiments);
    return report;
}

/* organ_scoring_open found different vocabularies, of which *error says how they differ. */
static organ_status score_across(evaluate_scoring *s, json_t **report, organ_error *error)
{
    organ_progress_note_once(s->progress, "%s; the models are compared by bits per byte", error->message);
    *error = (organ_error){0};
    organ_scoring_close(&s->scoring);
    s->scoring = (organ_scoring){0};
    return organ_evaluate_across(s->evaluate, s->paths, s->evaluate->count + 1, s->engine, s->progress, report, error);
}

static organ_status score_prunings(evaluate_scoring *s, json_t **report, organ_error *error)
{
    const organ_evaluate_options *const o = s->evaluate;
    if (!(s->paths = calloc(o->count + 1, sizeof *s->paths)))
        return organ_fail_memory(error, o->donor);
    s->paths[0] = o->donor;
    for (size_t k = 0; k < o->count; k++)
        s->paths[k + 1] = o->pruned[k];
    if (organ_scoring_open(&s->scoring, s->paths, o->count + 1, &o->experiment,
                           organ_scoring_stop_of(o->max_error, o->max_windows, &o->experiment, o->count > 0),
                           (organ_scored_drafts){o->mtp, o->continuations, o->draft_tokens}, s->engine, s->progress,
                           error))
        return s->scoring.differ ? score_across(s, report, error) : error->status;
    if (o->announce && !o->dry_run)
        organ_scoring_announce(&s->scoring, s->engine);
    ORGAN_OWNED_JSON json_t *const histories = histories_of(o, &s->scoring, error);
    if (error->status || experiments_resolve(o, s->scoring.models[0].model, histories, error) != ORGAN_OK)
        return error->status;
    if (o->dry_run)
        return organ_perplexity_dry_run(&s->scoring, "organ.evaluate/1", s->engine, report, error);
    if (organ_scoring_run(&s->scoring, error) == ORGAN_OK)
        *report = evaluation_json(&s->scoring, histories, error);
    return write_reports(s, &o->experiment, *report, error);
}

static organ_status evaluate_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error)
{
    const organ_evaluate_options *const options = given;
    evaluate_scoring s = {.evaluate = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    score_prunings(&s, report, error);
    close_scoring(&s);
    return organ_report_end(&work, options->donor, error);
}

static organ_status tasks_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    return organ_evaluate_tasks(given, engine, progress, report, error);
}

organ_status organ_evaluate(const organ_evaluate_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_evaluate_options, options, report, error, "donor", options->donor, "experiment.text",
                         options->experiment.text, "pruned", options->count ? (const char *)options->pruned : ""))
        return error->status;
    if (options->tasks)
        return organ_plan_run(tasks_verb, options, options->dry_run, engine, progress, report, error);
    return organ_plan_run(evaluate_verb, options, options->dry_run, engine, progress, report, error);
}

/* SPDX-License-Identifier: MIT
 * Evaluates models on questions with several choices. Every choice of every question is a window of one scoring. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers, McNemar's test, and the confidence interval of a difference of accuracies ---- */

#define NORMAL_975 1.959963984540054 /* 0.975 quantile of the standard normal distribution */

/* Returns the log-likelihood of a choice in nats: minus the sum of `nll` over the tokens of the choice. `nll` has the
 * negative log-likelihood of every scored token of the plan, in the plan's order. */
static double task_likelihood(const organ_task_choice *choice, const double *nll)
{
    double sum = 0;
    for (size_t k = 0; k < choice->tokens; k++)
        sum += nll[choice->first + k];
    return -sum;
}

/* Returns the answer to question number `question` from a model's `nll`. Source: lm-evaluation-harness 0.4.13,
 * ConfigurableTask.process_results. */
static organ_task_answer task_answer_of(const organ_task_set *set, size_t question, const double *nll)
{
    const organ_task_question *const q = &set->questions[question];
    const organ_task_choice *const choices = set->choices + q->first;
    organ_task_answer answer = {0};
    double best = -INFINITY, best_normalised = -INFINITY;
    for (size_t k = 0; k < q->choices; k++) {
        const double likelihood = task_likelihood(&choices[k], nll),
                     normalised = likelihood / (double)choices[k].characters;
        if (likelihood > best) {
            best = likelihood;
            answer.choice = k;
        }
        if (normalised > best_normalised) {
            best_normalised = normalised;
            answer.normalised = k;
        }
    }
    answer.right = choices[answer.choice].gold;
    answer.right_normalised = choices[answer.normalised].gold;
    return answer;
}

/* Returns the p-value of the exact two-sided test of McNemar (1947): the probability, if both models are equally good,
 * of a split of only_first + only_other questions at least as uneven as this one. In (0, 1]. */
static double task_mcnemar(const organ_task_pairs *pairs)
{
    const size_t n = pairs->only_first + pairs->only_other,
                 less = pairs->only_first < pairs->only_other ? pairs->only_first : pairs->only_other;
    /* Sums the binomial probabilities C(n, k) / 2^n for k = 0 .. less, and doubles the sum because the test is
     * two-sided. Computes them by their logarithms: 2^-n underflows for n above 1074. */
    double sum = 0, log_term = -(double)n * M_LN2;
    for (size_t k = 0; k <= less; k++) {
        sum += exp(log_term);
        log_term += log((double)(n - k)) - log((double)(k + 1));
    }
    return 2 * sum < 1 ? 2 * sum : 1;
}

static organ_task_difference task_difference_of(const organ_task_pairs *pairs)
{
    const double n = (double)pairs->count, adjusted = n + 2;
    const double lost = ((double)pairs->only_first + 1) / adjusted, won = ((double)pairs->only_other + 1) / adjusted;
    const double middle = won - lost, half = NORMAL_975 * sqrt((won + lost - middle * middle) / adjusted);
    return (organ_task_difference){.difference = ((double)pairs->only_other - (double)pairs->only_first) / n,
                                   .low = fmax(middle - half, -1),
                                   .high = fmin(middle + half, 1)};
}

typedef struct task_run {
    const organ_evaluate_options *options;
    organ_experiment_options experiment; /* of the options; activations "both" is "on" */
    organ_scoring scoring;
    organ_task_set set;
    organ_task_answer *answers; /* [models][questions] */
    double *values;             /* buffer for one value of each question of a task: 1 right, 0 wrong */
} task_run;

/* ---- figures ---- */

/* The names are those of lm-evaluation-harness. `normalised`: likelihoods are divided by the characters of the
 * choices. */
typedef struct task_metric {
    const char *name;
    bool normalised;
} task_metric;
static const task_metric task_metrics[] = {{"acc", false}, {"acc_norm", true}};

static bool answered_right(const task_run *r, size_t m, size_t question, bool normalised)
{
    const organ_task_answer *const answer = &r->answers[m * r->set.count + question];
    return normalised ? answer->right_normalised : answer->right;
}

static bool is_of_task(const task_run *r, size_t question, size_t task)
{
    return task == r->set.tasks || r->set.questions[question].task == task;
}

static json_t *pairs_json(const organ_task_pairs *pairs)
{
    const organ_task_difference d = task_difference_of(pairs);
    return ORGAN_OBJECT(SET_REAL("difference", d.difference), SET_REAL("low", d.low), SET_REAL("high", d.high),
                        SET_COUNT("only_first", pairs->only_first), SET_COUNT("only_this", pairs->only_other),
                        SET_REAL("p", task_mcnemar(pairs)));
}

static json_t *result_json(const task_run *r, size_t task, const task_metric *metric, size_t m)
{
    organ_task_pairs pairs = {0};
    for (size_t q = 0; q < r->set.count; q++) {
        if (!is_of_task(r, q, task))
            continue;
        const bool own = answered_right(r, m, q, metric->normalised),
                   first = answered_right(r, 0, q, metric->normalised);
        r->values[pairs.count++] = own;
        pairs.only_first += first && !own;
        pairs.only_other += own && !first;
    }
    const organ_mean mean = organ_mean_of(r->values, pairs.count);
    return ORGAN_OBJECT(
        SET_BYTES_OF("task", task < r->set.tasks ? r->set.names[task] : NULL), SET_TEXT("metric", metric->name),
        SET("model", organ_name_json(r->scoring.models[m].model->path)), SET_COUNT("questions", pairs.count),
        SET_REAL("value", mean.mean), SET_REAL_OF("value_error", isfinite(mean.error), mean.error),
        SET("comparison", m ? pairs_json(&pairs) : json_null()));
}

static json_t *results_json(const task_run *r)
{
    const size_t pooled = r->set.tasks > 1;
    json_t *const results = json_array();
    for (size_t task = 0; task < r->set.tasks + pooled; task++)
        for (size_t k = 0; k < sizeof task_metrics / sizeof *task_metrics; k++)
            for (size_t m = 0; m < r->scoring.count; m++)
                json_array_append_new(results, result_json(r, task, &task_metrics[k], m));
    return results;
}

/* ---- answers ---- */

static json_t *likelihoods_json(const task_run *r, size_t question, size_t m)
{
    const organ_task_question *const q = &r->set.questions[question];
    json_t *const list = json_array();
    for (size_t k = 0; k < q->choices; k++)
        json_array_append_new(
            list, json_real(task_likelihood(&r->set.choices[q->first + k], r->scoring.models[m].scores.nll)));
    return list;
}

static json_t *answer_json(const task_run *r, size_t question, size_t m)
{
    const organ_task_answer *const answer = &r->answers[m * r->set.count + question];
    return ORGAN_OBJECT(SET_COUNT("choice", answer->choice), SET_COUNT("choice_norm", answer->normalised),
                        SET("likelihoods", likelihoods_json(r, question, m)));
}

static json_t *question_json(const void *context, size_t question)
{
    const task_run *const r = context;
    const organ_task_question *const q = &r->set.questions[question];
    json_t *const models = json_array(), *const gold = json_array();
    for (size_t k = 0; k < q->choices; k++)
        if (r->set.choices[q->first + k].gold)
            json_array_append_new(gold, json_integer((json_int_t)k));
    for (size_t m = 0; m < r->scoring.count; m++)
        json_array_append_new(models, answer_json(r, question, m));
    return ORGAN_OBJECT(SET_BYTES("task", r->set.names[q->task]), SET_COUNT("line", q->line), SET("gold", gold),
                        SET("models", models));
}

/* ---- the document ---- */

/* The settings must be equal if results are compared. */
static json_t *experiment_json(const task_run *r)
{
    const organ_scoring *const t = &r->scoring;
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(t->tokenizer);
    const char *const path = t->options->text, *const slash = strrchr(path, '/');
    return ORGAN_OBJECT(
        SET("file", ORGAN_OBJECT(SET_BYTES("name", slash ? slash + 1 : path), SET_COUNT("bytes", t->text_bytes),
                                 SET_TEXT("xxh3", t->digest))),
        SET("tokenizer", ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                                      SET_TEXT("digest", facts->digest))),
        SET_COUNT("context", t->protocol.context), SET_COUNT("tasks", r->set.tasks),
        SET_COUNT("questions", r->set.count), SET_COUNT("choices", r->set.choice_count),
        SET_COUNT("windows", t->plan.windows), SET_COUNT("tokens_scored", t->plan.scored), SET_COUNT("cut", r->set.cut),
        SET_TEXT("compute", organ_compute_name(t->engine.compute)),
        SET_BYTES_OF("compute_isa", t->engine.dots ? t->engine.dots->isa : NULL));
}

static json_t *tasks_document(const task_run *r)
{
    return ORGAN_OBJECT(SET_HEAD("organ.tasks/1", "tasks/1"), SET("experiment", experiment_json(r)),
                        SET("models", organ_scored_models_json(&r->scoring)), SET("results", results_json(r)),
                        SET_IF(r->options->answers, "answers", organ_json_rows(r->set.count, question_json, r)),
                        SET_SENTENCES("organ.tasks/1", "definitions", NULL),
                        SET("run", organ_scoring_run_json(&r->scoring)));
}

/* ---- the run ---- */

static organ_status check_options(const organ_evaluate_options *o, organ_error *error)
{
    const char *const style = o->experiment.style;
    if (o->experiment.max_tokens)
        return organ_fail(error, ORGAN_USAGE, "`max_tokens` does not apply to `tasks`");
    if (o->max_windows)
        return organ_fail(error, ORGAN_USAGE, "`max_windows` does not apply to `tasks`");
    if (o->max_error > 0)
        return organ_fail(error, ORGAN_USAGE, "`max_error` does not apply to `tasks`");
    if (o->targets || o->experiment_count)
        return organ_fail(error, ORGAN_USAGE, "%s counts killed weights and does not apply to `tasks`",
                          o->targets ? "`targets`" : "`experiments`");
    if (style && strcmp(style, "hf") != 0 && strcmp(style, "lm-eval") != 0)
        return organ_fail(error, ORGAN_USAGE, "`style` %s does not apply to `tasks`, which are scored as lm-eval does",
                          style);
    return ORGAN_OK;
}

static organ_status score_answers(task_run *r, organ_error *error)
{
    r->answers = calloc(r->set.count * r->scoring.count, sizeof *r->answers);
    r->values = calloc(r->set.count, sizeof *r->values);
    if (!r->answers || !r->values)
        return organ_fail_memory(error, r->scoring.options->text);
    for (size_t m = 0; m < r->scoring.count; m++)
        for (size_t q = 0; q < r->set.count; q++)
            r->answers[m * r->set.count + q] = task_answer_of(&r->set, q, r->scoring.models[m].scores.nll);
    return ORGAN_OK;
}

/* Without --context, windows have the length for which the donor was trained. */
static organ_status run_tasks(task_run *r, const char **paths, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    const organ_experiment_options *const o = &r->experiment;
    if (organ_scoring_open_inputs(&r->scoring, paths, r->options->count + 1, o, engine, progress, error))
        return error->status;
    const uint64_t made_for = organ_forward_describe(r->scoring.models[0].forward)->context;
    if (!o->context && made_for)
        r->scoring.protocol.context = (size_t)made_for;
    if (organ_task_set_read(&r->set, &r->scoring, error) || organ_scoring_fit(&r->scoring, error))
        return error->status;
    if (r->options->dry_run) {
        *report = organ_scoring_dry_run(&r->scoring, "organ.tasks/1", "tasks/1", experiment_json(r),
                                        organ_sentences("organ.tasks/1", "definitions", NULL), engine);
        return *report ? ORGAN_OK : organ_fail_memory(error, o->text);
    }
    if (r->options->announce)
        organ_scoring_announce(&r->scoring, engine);
    if (organ_scoring_run(&r->scoring, error) || score_answers(r, error))
        return error->status;
    *report = tasks_document(r);
    if (!*report)
        return organ_fail_memory(error, o->text);
    if (!o->output)
        return ORGAN_OK;
    return organ_reports_make(&(organ_output){.path = o->output, .force = o->force, .ranks = engine->ranks}, NULL, NULL,
                              *report, error);
}

organ_status organ_evaluate_tasks(const organ_evaluate_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error)
{
    task_run r = {.options = options, .experiment = options->experiment};
    const organ_report_work work = organ_report_begin(report);
    const char **const paths = calloc(options->count + 1, sizeof *paths);
    if (r.experiment.activations && strcmp(r.experiment.activations, "both") == 0)
        r.experiment.activations = "on";
    if (!paths)
        organ_fail_memory(error, options->donor);
    for (size_t k = 0; paths && k <= options->count; k++)
        paths[k] = k ? options->pruned[k - 1] : options->donor;
    if (paths && check_options(options, error) == ORGAN_OK)
        run_tasks(&r, paths, engine, progress, report, error);
    organ_scoring_close(&r.scoring);
    organ_task_set_release(&r.set);
    ORGAN_FREE_ARRAYS(r.answers, r.values, paths);
    return organ_report_end(&work, options->donor, error);
}

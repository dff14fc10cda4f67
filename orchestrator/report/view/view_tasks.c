/* SPDX-License-Identifier: MIT
 * The view of organ.tasks/1, the report of `organ evaluate` on a file of tasks: questions with several choices. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

/* Words about the comparison with the first model; "-" for the first model itself. */
#define OF_PAIR(words) "{comparison?" words "|-}"

static const organ_field task_fields[] = {
    FIELD_WORDS("task", "{task?{task}|all}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_LEFT),
    FIELD_WORDS("metric", "{metric}", ORGAN_FIELD_LEFT),
    FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_WORDS("right, %", "{value:%measured}", 0),
    FIELD_WORDS_IF("models>1", "difference", OF_PAIR("{comparison.difference:%.2}"), 0),
    FIELD_WORDS_IF("models>1", "95 % interval", OF_PAIR("{comparison.low:%.2} to {comparison.high:%.2}"), 0),
    FIELD_WORDS_IF("models>1", "p", OF_PAIR("{comparison.p:.2g}"), 0)};

static const organ_field task_counts[] = {
    FIELD_WORDS("task", "{task?{task}|all}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_LEFT),
    FIELD_WORDS("metric", "{metric}", ORGAN_FIELD_LEFT),
    FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_COUNT("questions", "questions"),
    FIELD_WORDS("only the first right", OF_PAIR("{comparison.only_first:count}"), 0),
    FIELD_WORDS("only this right", OF_PAIR("{comparison.only_this:count}"), 0)};

static const organ_item task_highlights[] = {
    {NULL, "accuracy of {models.0.model.name}", "{results.0.value:%.4} %"},
    {NULL, "questions", "{experiment.questions:count}"},
    {NULL, "tasks", "{experiment.tasks:count}"},
};

static const organ_item task_experiment[] = {
    {NULL, "file", "{file.name}, {file.bytes:bytes}, XXH3 {file.xxh3}"},
    {NULL, "tasks", "{tasks:count}"},
    {NULL, "questions", "{questions:count}"},
    {NULL, "choices", "{choices:count}"},
    {NULL, "windows", "{windows:count}"},
    {NULL, "tokens scored", "{tokens_scored:count}"},
    {NULL, "context", "{context:count} tokens"},
    {NULL, "tokenizer", "{tokenizer.kind}, {tokenizer.vocabulary:count} tokens, digest {tokenizer.digest}"},
    {NULL, "compute", "{compute}{compute_isa? by {compute_isa}}"}};

static const organ_block experiment_items[] = {
    ITEMS(ON_FILES, NULL, .name = "setting", .value = "value", ITEM_LIST(task_experiment))};

static const organ_block tasks_blocks[] = {
    HEADING("Tasks: {models.0.model.name}"),
    HIGHLIGHTS(NULL, task_highlights),
    SAY_AFTER(ON_TERMINAL, NULL, "",
              "{experiment.questions:count} question{experiment.questions:s} of {experiment.tasks:count} "
              "task{experiment.tasks:s} in {experiment.file.name}, {experiment.choices:count} choices, "
              "{experiment.tokens_scored:count} tokens scored."),
    WARN(ON_ALL, "experiment.cut",
         "{experiment.cut:count} choice{experiment.cut:s} lost the beginning of the context, because the window has "
         "only {experiment.context:count} tokens."),
    GAP(NULL),
    SECTION(ON_FILES, NULL, "Results"),
    TABLE(ON_ALL, NULL, "results", FIELDS(task_fields), .max = 200, .what = "results",
          .caption = "Share of right answers with its standard error; difference to the first model on the same "
                     "questions, in percentage points, with the 95 % interval and McNemar's test"),
    SAY(ON_TERMINAL, "models>1",
        "Differences are to the first model on the same questions, in percentage points; p is McNemar's exact test."),
    SECTION(ON_FILES, "models>1", "Questions that one model alone answers right"),
    TABLE(ON_FILES, "models>1", "results", FIELDS(task_counts), .max = 200, .what = "results"),
    SECTION(ON_FILES, NULL, "The experiment"),
    PART(ON_FILES, "experiment", BLOCKS_OF(experiment_items)),
    SAY(ON_TERMINAL, NULL, "Time: {run.seconds:time}, {run.tokens_per_second:.0f} tokens/s."),
    LINES("run.output", "\nReport:  {run.output}/TASKS_REPORT.md (and .html)\n"),
    DEFINITIONS,
    SECTION(ON_MARKDOWN, NULL, "Run"),
    SAY(ON_MARKDOWN, NULL,
        "{run.seconds:time}, {run.tokens_per_second:.0f} tokens/s, {run.threads} threads, {run.cpu_isa}."),
};

const organ_view organ_tasks_view = {.schema = "organ.tasks/1",
                                     .kind = "Tasks",
                                     .title = "{models.0.model.name}",
                                     .lead = "Questions with several choices, answered by likelihood.",
                                     BLOCKS_OF(tasks_blocks)};

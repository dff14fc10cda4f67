/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/text/report_text.h"

#include <string.h>

#define FIGURE_WORDS(member) "{figures." member "?{figures." member ":.4f}|too large}"

static const organ_item evaluation_experiment[] = {
    {NULL, "text", "{text.name}, {text.bytes:count} bytes, {text.tokens:count} tokens"},
    {NULL, "digest of the text (XXH3)", "{text.xxh3}"},
    {NULL, "tokenizer", "{tokenizer.kind} of {tokenizer.vocabulary:count}"},
    {NULL, "digest of the tokenizer", "{tokenizer.digest}"},
    {NULL, "style", "{style}; {bos}"},
    {NULL, "context", "{context:count} tokens"},
    {NULL, "compute", "{compute?{compute}|exact}{compute_isa? by {compute_isa}}"},
    {NULL, "scored",
     "{tokens_scored:count} of {tokens_used:count} tokens, in {windows}{text_windows>windows? of {text_windows}} "
     "window{windows:s}"}};

const organ_block organ_warning_blocks[ORGAN_WARNING_BLOCKS] = {WARN(ON_TERMINAL | ON_PAGE, NULL, "{.}"),
                                                                ITEM(ON_MARKDOWN, NULL, "{.}")};

const organ_block organ_experiment_blocks[ORGAN_EXPERIMENT_BLOCKS] = {
    ITEMS(ON_PAGE, NULL, .name = "setting", .value = "value", ITEM_LIST(evaluation_experiment),
          .caption = "Conditions that must be the same for a comparison with other figures")};

#define LM_EVAL "evaluation.experiment.style=lm-eval"
static const organ_field models[] = {
    FIELD_WORDS("model", "{model?before: {is} {model.name}|after}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_LEFT),
    FIELD_WORDS("perplexity", "{figures.perplexity:measured}", 0),
    FIELD_WORDS("bits/byte", FIGURE_WORDS("bits_per_byte"), 0),
    FIELD_WORDS_IF(LM_EVAL, "per word", FIGURE_WORDS("word_perplexity"), 0),
    FIELD_WORDS_IF(LM_EVAL, "per byte", FIGURE_WORDS("byte_perplexity"), 0)};

static const organ_item comparison[] = {
    {NULL, "difference in perplexity", "{comparison.difference:+measured}"},
    {NULL, "ratio of perplexities", "{comparison.ratio:measured}"},
    {NULL, "KL divergence, nats per token", "{comparison.kl_divergence:measured}{after.rounded_activations? ‡}"},
    {"after.weights_alone", "KL divergence, weights alone", "{after.weights_alone.comparison.kl_divergence:measured}"},
    {NULL, "same top token, %", "{comparison.top1_agreement:%measured}"}};

const organ_block organ_evaluation_blocks[ORGAN_EVALUATION_BLOCKS] = {
    GAP(NULL),
    SECTION(ON_FILES, NULL, "Evaluation"),
    SAY_AFTER(ON_TERMINAL, "not_evaluated", "  NOT EVALUATED  ", "The output is complete, but: {not_evaluated}"),
    SAY(ON_MARKDOWN, "not_evaluated", "> **Not evaluated.** The output is complete, but: {not_evaluated}"),
    WARN(ON_PAGE, "not_evaluated", "The output is complete, but it was not evaluated: {not_evaluated}"),
    SAY(ON_MARKDOWN, NULL, EXPERIMENT_WORDS),
    TABLE(ON_ALL, "comparison", "before after", FIELDS(models),
          .caption = "Perplexity before and after, on the same tokens, with standard errors"),
    ITEMS(ON_ALL, "comparison", .name = "after versus before", .value = "value", .align = ORGAN_RIGHT,
          ITEM_LIST(comparison), .caption = "Changes; errors are those of paired tokens"),
    SAY(ON_ALL, "after.rounded_activations", ROUNDED_NOTE("the output")),
    PART(ON_ALL, "after", BLOCKS(SAY(ON_ALL, "kv_cache.rounded", CACHE_NOTE("the output")))),
    SAY(ON_ALL, "after.activations.rounded", SERVED_NOTE("the output", "after.")),
    SAY(ON_TERMINAL, NULL,
        "{comparison|not_evaluated?|Would be evaluated before and after, on the same tokens. }" EXPERIMENT_WORDS),
    SAY(ON_MARKDOWN, "comparison", "Errors are standard errors, from the variance between windows."),
    TERMS(ON_MARKDOWN, NULL, "definitions", NULL, NULL),
    PART(ON_PAGE, "experiment", BLOCKS_OF(organ_experiment_blocks)),
    WARN(ON_PAGE, "!experiment.text.utf8", "Bytes of the text that are not UTF-8 are read as U+FFFD."),
};

/* ---- organ.tasks/1: `organ evaluate` on a file of tasks, questions with several choices ---- */

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
    {"metric=acc&!task|metric=acc&/experiment.tasks=1", "accuracy of {model}", "{value:%.4} %"},
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

/* In dry runs. */
#define PLANNED_MODELS                                                                                                 \
    EACH(ON_ALL, "models", BLOCKS(SAY_AFTER(ON_ALL, "/dry_run", "  ", "{model:model}"))), GAP("dry_run")

static const organ_block tasks_blocks[] = {
    HEADING("Tasks: {models.0.model.name}"),
    WARNINGS,
    LINES("dry_run", "Dry run, nothing was scored.\n"),
    HIGHLIGHTS_OF("!dry_run", "results", task_highlights),
    SAY_AFTER(ON_TERMINAL, NULL, "",
              "{experiment.questions:count} question{experiment.questions:s} of {experiment.tasks:count} "
              "task{experiment.tasks:s} in {experiment.file.name}, {experiment.choices:count} choices, "
              "{experiment.tokens_scored:count} tokens {dry_run?to score|scored}."),
    WARN(ON_ALL, "experiment.cut",
         "{experiment.cut:count} choice{experiment.cut:s} lost the beginning of the context, because the window has "
         "only {experiment.context:count} tokens."),
    GAP(NULL),
    PLANNED_MODELS,
    PLAN_NEEDS,
    SECTION(ON_FILES, "!dry_run", "Results"),
    TABLE(ON_ALL, "!dry_run", "results", FIELDS(task_fields), .max = 200, .what = "results",
          .caption = "Share of right answers with its standard error; difference to the first model on the same "
                     "questions, in percentage points, with the 95 % interval and McNemar's test"),
    SAY(ON_TERMINAL, "models>1&!dry_run",
        "Differences are to the first model on the same questions, in percentage points; p is McNemar's exact test."),
    SECTION(ON_FILES, "models>1&!dry_run", "Questions that one model alone answers right"),
    TABLE(ON_FILES, "models>1&!dry_run", "results", FIELDS(task_counts), .max = 200, .what = "results"),
    SECTION(ON_FILES, NULL, "The experiment"),
    PART(ON_FILES, "experiment", BLOCKS_OF(experiment_items)),
    SAY(ON_TERMINAL, "!dry_run", "Time: {run.seconds:time}, {run.tokens_per_second:.0f} tokens/s."),
    LINES("run.output&!dry_run", "\nReport:  {run.output}/TASKS_REPORT.md (and .html)\n"),
    DEFINITIONS,
    SECTION(ON_MARKDOWN, "!dry_run", "Run"),
    SAY(ON_MARKDOWN, "!dry_run",
        "{run.seconds:time}, {run.tokens_per_second:.0f} tokens/s, {run.threads} threads, {run.cpu_isa}."),
};

const organ_view organ_tasks_view = {.schema = "organ.tasks/1",
                                     .kind = "Tasks",
                                     .title = "{models.0.model.name}",
                                     .lead = "Questions with several choices, answered by likelihood.",
                                     .files = {"tasks.json", "TASKS_REPORT.md", NULL},
                                     BLOCKS_OF(tasks_blocks)};

/* ---- blocks of both views ---- */

static const organ_block perplexity_experiment[] = {
    SECTION(ON_PAGE, NULL, "The experiment"),
    WARN(ON_PAGE, NULL,
         "Perplexity depends on the protocol. {definitions.same experiment} Errors: {definitions.errors}"),
    WARN(ON_PAGE, "!experiment.text.utf8", "Bytes of the text that are not UTF-8 are read as U+FFFD."),
    PART(ON_PAGE, "experiment", BLOCKS_OF(organ_experiment_blocks)),
};

#define ENDED_WORDS                                                                                                    \
    "The standard error of {models>1?the ratio of perplexities|the perplexity} reached {ended.error_percent:.2f} "     \
    "%, at most {ended.max_error_percent:.3g} % was asked for (--max-error). "                                         \
    "Another model is scored on the same windows by {ended.repeat}."

/* Blocks below the tables of both views, with the name of the report's file. */
#define PERPLEXITY_END(name)                                                                                           \
    SAY(ON_TEXT, NULL, EXPERIMENT_WORDS), PART(ON_PAGE, ".", BLOCKS_OF(perplexity_experiment)), ERRATA,                \
        SAY(ON_ALL, "ended.by=max_error", ENDED_WORDS),                                                                \
        SAY(ON_TERMINAL, "!dry_run",                                                                                   \
            "Errors are standard errors, from the variance between windows"                                            \
            "{experiment.text_windows>experiment.windows?, of the whole text's figures}."),                            \
        SAY(ON_TERMINAL, "!dry_run", "Time: {run.seconds:time}, {run.tokens_per_second:.0f} tokens/s."),               \
        LINES("run.output&!dry_run", "\nReport:  {run.output}/" name " (and .html)\n"), DEFINITIONS,                   \
        SECTION(ON_MARKDOWN, "!dry_run", "Run"),                                                                       \
        SAY(ON_MARKDOWN, "!dry_run",                                                                                   \
            "{run.seconds:time}, {run.tokens_per_second:.0f} tokens/s, {run.threads} threads, {run.cpu_isa}.")

/* ---- --mtp: blocks for multi-token prediction ---- */

#define DRAFTED(name) "{mtp?{mtp.text." name ":%measured}|-}"
static const organ_field draft_fields[] = {
    FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_WORDS("min(p, q), %", DRAFTED("overlap"), 0), FIELD_WORDS("p of the draft, %", DRAFTED("chosen"), 0),
    FIELD_WORDS("same top, %", DRAFTED("greedy"), 0),
    FIELD_WORDS("length", "{mtp.continuations?{mtp.continuations.accepted_length:measured}|-}", 0)};
static const organ_field position_fields[] = {FIELD_COUNT("token", "position"),
                                              FIELD_COUNT("drafts", "drafts"),
                                              FIELD_WORDS("min(p, q), %", "{overlap>-1?{overlap:%measured}|-}", 0),
                                              FIELD_WORDS("p of the draft, %", "{overlap>-1?{chosen:%measured}|-}", 0),
                                              FIELD_WORDS("same top, %", "{overlap>-1?{greedy:%measured}|-}", 0),
                                              FIELD_WORDS("accepted with all before, %", "{accepted:%measured}", 0)};

static const organ_block draft_blocks[] = {
    SECTION(ON_FILES, "models.*.mtp", "Multi-token prediction"),
    TABLE(ON_ALL, "models.*.mtp", "models", FIELDS(draft_fields),
          .caption = "Tokens drafted by the block for multi-token prediction that a server accepts"),
    SAY(ON_TERMINAL, "models.*.mtp",
        "Acceptance of the first token that the block drafts, on the text: min(p, q) by the ratio test, p of the draft "
        "where the model samples, same top at temperature 0; length: mean accepted length of greedy continuations."),
    EACH(ON_ALL, "models",
         BLOCKS(SAY(ON_ALL, "mtp.proposes",
                    "{model.name}: the block proposes only {mtp.proposes:count} token{mtp.proposes=1?|s}."))),
    SAY(ON_TERMINAL, "models.0.mtp.dispute", "Programs run the block differently: {models.0.mtp.dispute}."),
    EACH(ON_FILES, "models",
         BLOCKS(SAY(ON_FILES, "mtp.dispute", "{model.name}: programs run the block differently: {mtp.dispute}."),
                SAY(ON_FILES, "mtp.continuations",
                    "{model.name}: {mtp.continuations.count} greedy continuation{mtp.continuations.count=1?|s}, "
                    "{mtp.continuations.drafts:count} "
                    "drafts:"),
                TABLE(ON_FILES, "mtp.continuations", "mtp.continuations.positions", FIELDS(position_fields)))),
};

/* ---- perplexity: one model, or two ---- */

#define ROUNDED_NOTES                                                                                                  \
    EACH(ON_ALL, "models",                                                                                             \
         BLOCKS(SAY(ON_ALL, "rounded_activations", ROUNDED_NOTE("{model.name}")),                                      \
                SAY(ON_ALL, "activations.rounded&figures", SERVED_NOTE("{model.name}", ""))))

#define MODEL_FIGURES                                                                                                  \
    {NULL, "perplexity", "{figures.perplexity:measured}"}, {NULL, "mean -ln p", "{figures.nll:measured}"},             \
        {NULL, "bits per byte", "{figures.bits_per_byte:measured}"},                                                   \
        {"/experiment.style=lm-eval", "perplexity per word", "{figures.word_perplexity:measured}"},                    \
    {                                                                                                                  \
        "/experiment.style=lm-eval", "perplexity per byte", "{figures.byte_perplexity:measured}"                       \
    }
static const organ_item model_items[] = {
    MODEL_FIGURES,
    {"comparison", "difference", "{comparison.difference:+measured}"},
    {"comparison", "ratio", "{comparison.ratio:measured}"},
    {"comparison", "KL divergence", "{comparison.kl_divergence:measured}" ROUNDED_MARK},
    {"weights_alone", "perplexity, weights alone", "{weights_alone.figures.perplexity:measured}"},
    {"weights_alone.comparison", "KL, weights alone", "{weights_alone.comparison.kl_divergence:measured}"},
    {"comparison", "same top token, %", "{comparison.top1_agreement:%measured}"}};
static const organ_block model_figures[] = {
    LINES("!comparison", "Model:   {model:model}\n\n"),
    LINES("comparison", "Other:   {model:model}\n\n"),
    SECTION(ON_MARKDOWN, NULL, "{model.name}"),
    ITEMS(ON_TEXT, "figures", .name = "figure", .value = "value", .align = ORGAN_RIGHT, ITEM_LIST(model_items)),
};

/* Lines of the table of figures on a page, with a column for each model. */
static const organ_item figures[] = {
    {NULL, "perplexity", "{figures.perplexity:~measured}"},
    {NULL, "mean -ln p", "{figures.nll:~measured}"},
    {NULL, "bits per byte", "{figures.bits_per_byte:~measured}"},
    {"/experiment.style=lm-eval", "perplexity per word", "{figures.word_perplexity:~measured}"},
    {"/experiment.style=lm-eval", "perplexity per byte", "{figures.byte_perplexity:~measured}"},
    {"/models.1", "difference to the first", "{comparison?{comparison.difference:+~measured}}"},
    {"/models.1", "ratio to the first", "{comparison?{comparison.ratio:~measured}}"},
    {"/models.1", "KL divergence from the first, nats per token",
     "{comparison?{comparison.kl_divergence:~measured}}" ROUNDED_MARK},
    {"/models.*.weights_alone", "perplexity, weights alone",
     "{weights_alone?{weights_alone.figures.perplexity:~measured}}"},
    {"/models.*.weights_alone.comparison", "KL divergence, weights alone",
     "{weights_alone.comparison?{weights_alone.comparison.kl_divergence:~measured}}"},
    {"/models.1", "same top token, %", "{comparison?{comparison.top1_agreement:%~measured}}"}};

static const organ_item perplexity_highlights[] = {
    {"models.1.comparison", "KL divergence of the second from the first, nats per token",
     "{models.1.comparison.kl_divergence:figure}"},
    {"models.1", "difference in perplexity, on the same tokens{models.1.comparison.difference:~deviation}",
     "{models.1.comparison.difference:+figure}"},
    {NULL, "perplexity{models.1? of the first}{models.0.figures.perplexity:~deviation}",
     "{models.0.figures.perplexity:figure}"},
    {"models.1", "perplexity of the second{models.1.figures.perplexity:~deviation}",
     "{models.1.figures.perplexity:figure}"},
    {"!models.1", "bits per byte{models.0.figures.bits_per_byte:~deviation}",
     "{models.0.figures.bits_per_byte:figure}"},
    {NULL, "tokens scored", "{experiment.tokens_scored:count}"}};

static const organ_block perplexity_blocks[] = {
    HEADING("Perplexity of {models.0.model.name}"),
    WARNINGS,
    LINES("dry_run", "Dry run, nothing was scored.\n"),
    HIGHLIGHTS("!dry_run", perplexity_highlights),
    SECTION(ON_PAGE, "!dry_run", "Figures"),
    EACH(ON_PAGE, "models", BLOCKS(SAY(ON_PAGE, NULL, "{comparison?Other|Model}: {model:model}."))),
    ITEMS(ON_PAGE, "!dry_run", .name = "figure", .of = "models", .value = "{model.name}", .align = ORGAN_RIGHT,
          ITEM_LIST(figures), .caption = "Figures with standard errors"),
    EACH(ON_TEXT, "models", BLOCKS_OF(model_figures)),
    EACH(ON_ALL, "models", BLOCKS(SAY(ON_ALL, "kv_cache.rounded", CACHE_NOTE("{model.name}")))),
    ROUNDED_NOTES,
    PART(ON_ALL, ".", BLOCKS_OF(draft_blocks)),
    SAY(ON_TERMINAL, "models>1&!dry_run",
        "Difference and ratio: the second model compared with the first. KL divergence: of the second from the first, "
        "in nats per token."),
    PLAN_NEEDS,
    PERPLEXITY_END("PERPLEXITY_REPORT.md"),
};

const organ_view organ_perplexity_view = {.schema = "organ.perplexity/1",
                                          .kind = "Perplexity",
                                          .title = "{models.0.model.name}{models.1? against {models.1.model.name}}",
                                          .lead =
                                              "{models.1?Two models compared: both scored the same tokens in one run.}",
                                          .files = {"perplexity.json", "PERPLEXITY_REPORT.md", NULL},
                                          BLOCKS_OF(perplexity_blocks)};

/* ---- evaluate ---- */

#define NOT_FIRST(path, form) "{comparison?{comparison." path ":" form "}|-}"

/* The method of a model: of its pruning, else of the verb that made it, else of its quantisation. */
#define METHOD                                                                                                         \
    "{method?{method}|{made.by=quantize?{made.method}|{made.by?{made.by}{made.method? {made.method}}|"                 \
    "{made.method?{made.method}|-}}}}"
/* The rise of the perplexity in percent, with its sign. */
#define RISE "{comparison?{comparison.rise_percent>0?+}{comparison.rise_percent:~2}|-}"
/* The method, after the name of the experiment unless one begins with the other ("wanda by imatrix" of "wanda"). */
static void method_cell(organ_table *table, const json_t *row)
{
    const char *const name = organ_json_text(row, "experiment.name");
    ORGAN_OWNED char *const method =
        organ_words_text(&(organ_scope){row, row}, "{comparison?" METHOD "|donor}", ORGAN_WORDS_PAGE);
    if (!method || !*name || strncmp(method, name, strlen(name)) == 0)
        organ_table_take(table, method ? strdup(method) : NULL);
    else if (strcmp(method, "-") == 0 || strncmp(name, method, strlen(method)) == 0)
        organ_table_cell(table, "%s", name);
    else
        organ_table_cell(table, "%s: %s", name, method);
}

/* Columns with the figures that decide, which fit into 80 columns, and columns of a second table. MEASURED is the form
 * of a figure with its error. BESIDE is that of the perplexity beside the loss of the weights alone: the errors of all
 * perplexities are nearly equal, and would make the table wider than 80 columns. */
#define PRUNED        "models.*.sparsity.target"
#define WEIGHTS_ALONE "models.*.weights_alone.comparison"
#define MODEL_FIELD   FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)
#define LOSS_FIELDS(MEASURED, BESIDE)                                                                                  \
    MODEL_FIELD, FIELD_BY("method", method_cell, ORGAN_FIELD_SHORTENS | ORGAN_FIELD_LEFT),                             \
        FIELD_WORDS("KL", NOT_FIRST("kl_divergence", "figure") ROUNDED_MARK, 0),                                       \
        FIELD_WORDS_IF(WEIGHTS_ALONE, "weights", "{weights_alone?{weights_alone.comparison.kl_divergence:figure}|-}",  \
                       0),                                                                                             \
        FIELD_WORDS("top-1 %", NOT_FIRST("top1_agreement", "%.2"), 0),                                                 \
        FIELD_WORDS_IF("!" WEIGHTS_ALONE, "perplexity", "{figures.perplexity:" MEASURED "}", 0),                       \
        FIELD_WORDS_IF(WEIGHTS_ALONE, "perplexity", "{figures.perplexity:" BESIDE "}", 0),                             \
        FIELD_WORDS("rise %", RISE, 0)
#define MORE_FIELDS(MEASURED)                                                                                          \
    MODEL_FIELD, FIELD_WORDS_IF("models.*.stored.packed", "stored as", "{stored.as?{stored.as}|-}", ORGAN_FIELD_LEFT), \
        FIELD_WORDS_IF("models.*.stored.packed", "bits", "{stored.bits?{stored.bits:.2f}|-}", 0),                      \
        FIELD_IF(PRUNED, "% target", "sparsity.target.percent", ".2f", ORGAN_FIELD_MAYBE),                             \
        FIELD_IF(PRUNED, "% full", "sparsity.full.percent", ".2f", ORGAN_FIELD_MAYBE),                                 \
        FIELD_WORDS("difference", NOT_FIRST("difference", "+" MEASURED), 0),                                           \
        FIELD_MAYBE_FIXED("bits/byte", "figures.bits_per_byte", 4)
static const organ_field losses[] = {LOSS_FIELDS("measured", "figure")},
                         page_losses[] = {LOSS_FIELDS("~measured", "~measured")};
static const organ_field more[] = {MORE_FIELDS("measured")};
static const organ_field page_more[] = {
    MORE_FIELDS("~measured"),
    FIELD_IF("experiment.style=lm-eval", "per word", "figures.word_perplexity", ".4f", ORGAN_FIELD_MAYBE),
    FIELD_IF("experiment.style=lm-eval", "per byte", "figures.byte_perplexity", ".6f", ORGAN_FIELD_MAYBE)};
static const organ_field words_fields[] = {MODEL_FIELD, FIELD_MAYBE_FIXED("per word", "figures.word_perplexity", 4),
                                           FIELD_MAYBE_FIXED("per byte", "figures.byte_perplexity", 6)};

/* A card for each output, then the donor's. */
static const organ_item evaluation_highlights[] = {
    {"comparison",
     "KL divergence of {model.name}, nats per token{rounded_activations? ‡}; perplexity "
     "{comparison.rise_percent>0?+}{comparison.rise_percent:~2} %, same top token {comparison.top1_agreement:%.2} %",
     "{comparison.kl_divergence:figure}"},
    {NULL, "perplexity of the donor{models.0.figures.perplexity:~deviation}", "{models.0.figures.perplexity:figure}"},
    {NULL, "tokens scored", "{experiment.tokens_scored:count}"}};

/* Experiment and sparsity of a pruned model, next to its bar. */
#define EXPERIMENT_REMARK                                                                                              \
    "{sparsity.target.percent>-1?{experiment.name?{experiment.name}|{method?{method}|no log}}, "                       \
    "{sparsity.target.percent:.4g} % killed}"

/* The reason why a pruned model, or one with a damaged file, has no sparsity. */
#define NOT_COUNTED(name) "No sparsity for " name ": {not_counted}"

static const organ_block evaluation_blocks[] = {
    HEADING("Evaluation of models made from {models.0.model.name}"),
    LINES("dry_run", "Dry run, nothing was scored.\n"),
    PLANNED_MODELS,
    HIGHLIGHTS_OF("!dry_run", "models", evaluation_highlights),
    SECTION(ON_PAGE, "!dry_run", "Models"),
    TABLE(ON_TEXT, "!dry_run", "models", FIELDS(losses)),
    TABLE(ON_TEXT, "!dry_run", "models", FIELDS(more)),
    TABLE(ON_TEXT, "experiment.style=lm-eval&!dry_run", "models", FIELDS(words_fields)),
    TABLE(ON_PAGE, "!dry_run", "models", FIELDS(page_losses),
          .caption = "KL (nats per token), top-1 (share of tokens for which both predict the same token) and the rise "
                     "of the perplexity are compared with the donor"),
    TABLE(ON_PAGE, "!dry_run", "models", FIELDS(page_more),
          .caption = "{" PRUNED "?% target and % full: killed weights, counted from the bytes, of the target tensors "
                     "and of the full model; }difference in perplexity to the donor"),
    EACH(ON_ALL, "models",
         BLOCKS(SAY(ON_TERMINAL | ON_PAGE, "not_counted&method", NOT_COUNTED("{model.name}") "."),
                SAY(ON_TERMINAL | ON_PAGE, "damaged&!method", NOT_COUNTED("{model.name}") "."),
                ITEM(ON_MARKDOWN, "not_counted&method", NOT_COUNTED("{model.name:code}")),
                ITEM(ON_MARKDOWN, "damaged&!method", NOT_COUNTED("{model.name:code}")))),
    EACH(ON_ALL, "models", BLOCKS(SAY(ON_ALL, "kv_cache.rounded", CACHE_NOTE("{model.name}")))),
    ROUNDED_NOTES,
    SAY(ON_TERMINAL, "!dry_run",
        "{" PRUNED
        "?% target and % full: killed weights, counted from the bytes, of the target tensors and of the full "
        "model. }KL in nats per token from the donor{models.*.weights_alone?; weights: of them alone, without rounded "
        "inputs}."),
    PART(ON_ALL, ".", BLOCKS_OF(draft_blocks)),
    EACH(ON_ALL, "coverage", BLOCKS(SAY(ON_ALL, "/coverage>1", "Targets of {models:join}:"), MATRICES(""))),
    SECTION(ON_PAGE, "!dry_run", "Loss"),
    BARS_WHERE("!dry_run", "models", "comparison",
               .style = {.title = "KL divergence from the donor",
                         .subtitle = "nats per token, with one standard error to each side; 0 means equal predictions",
                         .description = "KL divergence of each model from the donor, in increasing order.",
                         .value_label = "KL divergence, nats per token",
                         .series = {"KL divergence", NULL},
                         .digits = 4},
               .name = "model.name", .values = {"comparison.kl_divergence"}, .error = "comparison.kl_divergence_error",
               .ascending = true, .remark = EXPERIMENT_REMARK,
               .caption = "Counts every change of the predictions, for better or worse."),
    FIGURE("models>2&models.*.sparsity.target", organ_perplexity_cloud,
           "Compare methods only at the same sparsity; the next chart has the errors of the differences."),
    FIGURE("models>2&models.*.sparsity.target", organ_divergence_cloud,
           "Distinguishes methods that have nearly the same perplexity: it counts every change of the predictions, for "
           "better or worse."),
    BARS_WHERE(
        "!dry_run", "models", "comparison",
        .style = {.title = "Loss in perplexity",
                  .subtitle =
                      "perplexity minus that of the donor, on the same tokens, with one standard error to each side",
                  .description = "Difference in perplexity of each model to the donor, in increasing order.",
                  .value_label = "difference in perplexity",
                  .series = {"difference to the donor", NULL},
                  .digits = 5},
        .name = "model.name", .values = {"comparison.difference"}, .error = "comparison.difference_error",
        .ascending = true, .remark = EXPERIMENT_REMARK,
        .caption = "Errors are those of paired tokens, which are much smaller than those of each perplexity alone."),
    PLAN_NEEDS,
    PERPLEXITY_END("EVALUATION_REPORT.md"),
};

const organ_view organ_evaluate_view = {
    .schema = "organ.evaluate/1",
    .kind = "Evaluation",
    .title = "{models.0.model.name}",
    .lead = "Models made from one donor, with their loss: all scored the same tokens in one run.",
    .files = {"evaluate.json", "EVALUATION_REPORT.md", NULL},
    BLOCKS_OF(evaluation_blocks)};

/* ---- organ.generate/1: `organ generate` ---- */

static const organ_item generate_highlights[] = {{NULL, "tokens of the prompt", "{prompt.ids:size}"},
                                                 {NULL, "tokens generated", "{generated.ids:size}"}};

static const organ_block generate_blocks[] = {
    GAP(NULL), /* after the text, which a terminal has already */
    HIGHLIGHTS(NULL, generate_highlights),
    SECTION(ON_PAGE, NULL, "Prompt"),
    LINES_ON(ON_PAGE, "prompt.text", "{prompt.text}"),
    SECTION(ON_PAGE, NULL, "Continuation"),
    LINES_ON(ON_PAGE, "generated.text", "{generated.text}"),
    SAY(ON_PAGE, "!generated.text", "(no visible characters)"),
    SAY(ON_PAGE, NULL,
        "Greedy decoding; it stopped at {stopped=eos?EOS|the requested number of tokens}. A continuation does not show "
        "how good a model is: organ perplexity measures that."),
    SECTION(ON_PAGE, NULL, "Model"),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_PAGE, NULL,
        "Digest of the tokenizer: {tokenizer_digest}; compute {compute?{compute}|exact}{compute_isa? by "
        "{compute_isa}}."),
};

const organ_view organ_generate_view = {
    .schema = "organ.generate/1", .kind = "Generated text", BLOCKS_OF(generate_blocks), .only_text = true};

/* ---- organ.tokenize/1 ---- */

/* The view of organ.tokenize/1, the report of `organ tokenize`. If it has ids, a terminal prints nothing but these. */

/* SUMMARY: condition that the report has no ids. EDGE: words for the id of BOS or EOS at `path`, or "none". EDGE_TOO: a
 * comma, `name` and the id; empty if there is no id. */
#define SUMMARY              "!ids>-1"
#define EDGE(path)           "{" path ">-1?{" path ":count}|none}"
#define EDGE_TOO(name, path) "{" path ">-1?, " name " {" path "}}"

static const organ_item tokenize_highlights[] = {{NULL, "tokens", "{tokens:count}"},
                                                 {NULL, "bytes of text", "{text.bytes:count}"},
                                                 {NULL, "bytes per token", "{bytes_per_token:.3f}"}};
static const organ_item facts[] = {
    {NULL, "text", "{text.name}"},
    {NULL, "bytes of the text", "{text.bytes:count}"},
    {NULL, "digest of the text", "{text.digest}"},
    {NULL, "tokenizer", "{tokenizer.kind}"},
    {NULL, "digest of the tokenizer", "{tokenizer.digest}"},
    {NULL, "vocabulary", "{tokenizer.vocabulary:count}"},
    {NULL, "BOS", EDGE("tokenizer.bos")},
    {NULL, "EOS", EDGE("tokenizer.eos")},
    {NULL, "the model's tokenizer puts BOS before a text; it is not counted here", "{tokenizer.adds_bos}"},
    {NULL, "names of special tokens in the text are read as these tokens", "{special}"}};

static const organ_field first[] = {FIELD_WORDS("id", "{id}", 0),
                                    FIELD_WORDS("piece", "'{piece}'", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};

static const organ_block tokenize_blocks[] = {
    EACH(ON_TERMINAL, "ids", BLOCKS(LINES(NULL, "{.}\n"))),
    SAY_AFTER(ON_TERMINAL, SUMMARY, "",
              "{tokens:count} token{tokens:s} in {text.bytes:count} byte{text.bytes:s} of {text.name}"),
    LINES(SUMMARY, "{bytes_per_token?  Bytes per token: {bytes_per_token:.3f}\n}  Text digest: {text.digest}\n"
                   "  Tokenizer digest: {tokenizer.digest}\n  Tokenizer: {tokenizer.kind}, vocabulary "
                   "{tokenizer.vocabulary:count}" EDGE_TOO("BOS", "tokenizer.bos")
                       EDGE_TOO("EOS", "tokenizer.eos") "\n"
                                                        "{tokenizer.adds_bos?  The model's tokenizer puts BOS before a "
                                                        "text; it is not counted here.\n}"),
    LINES(SUMMARY "&tokens", "\nThe first tokens:\n\n"),
    HIGHLIGHTS(NULL, tokenize_highlights),
    SECTION(ON_PAGE, NULL, "Text and tokenizer"),
    ITEMS(ON_PAGE, NULL, .name = "setting", .value = "value", ITEM_LIST(facts),
          .caption = "Ids are comparable only if the digests of the tokenizers are equal"),
    SECTION(ON_PAGE, "first", "The first tokens"),
    TABLE(ON_TERMINAL, SUMMARY "&tokens", "first", FIELDS(first)),
    TABLE(ON_PAGE, "first", "first", FIELDS(first)),
};

const organ_view organ_tokenize_view = {
    .schema = "organ.tokenize/1", .kind = "Tokens", .title = "{text.name}", BLOCKS_OF(tokenize_blocks)};

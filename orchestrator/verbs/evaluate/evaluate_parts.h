/* SPDX-License-Identifier: MIT
 * Reads questions with several choices from a JSONL file, and plans the windows that score their choices.
 *
 * A line is an object: "context", a text; "choices", 2 to 1024 texts; "gold", the index of the right choice or an array
 * of the indices of all right ones; optionally "task", the name of the task (default: the name of the file without its
 * ending), and "delimiter", the text between context and choice (default: one blank). Other members are ignored, empty
 * lines are skipped. */
#ifndef ORGAN_VERBS_EVALUATE_EVALUATE_PARTS_H
#define ORGAN_VERBS_EVALUATE_EVALUATE_PARTS_H

#include "orchestrator/output/plan.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <jansson.h>
#include <organ/evaluate.h>
#include <organ/forward.h>

#define ORGAN_TASK_CHOICES 1024 /* upper bound of choices of a question */
#define ORGAN_TASK_NAMES   1024 /* upper bound of tasks in a file */

/* A choice of a question. */
typedef struct organ_task_choice {
    size_t first, tokens; /* range of its scored tokens in organ_perplexity_plan */
    size_t characters;    /* characters of its text, without the delimiter; at least 1 */
    bool gold;            /* it is a right choice */
} organ_task_choice;

/* A question: a line of the file. */
typedef struct organ_task_question {
    size_t task;           /* index of its task */
    size_t line;           /* line in the file, from 1 */
    size_t first, choices; /* range of its choices in organ_task_set.choices */
} organ_task_question;

/* The questions of a file. */
typedef struct organ_task_set {
    char **names; /* names of the tasks, in the order of the file; owned */
    size_t tasks; /* number of tasks */
    organ_task_question *questions;
    size_t count;               /* number of questions */
    organ_task_choice *choices; /* choices of all questions, in the order of the questions */
    size_t choice_count;
    size_t cut; /* number of choices whose window was longer than the context, so that its first tokens were cut */
    size_t task_room, question_room, choice_room; /* allocated entries of names, questions and choices */
} organ_task_set;

/* Reads the questions from scoring->text, tokenizes them with scoring->tokenizer, and adds a window for each choice to
 * scoring->plan. The text context + delimiter + choice is tokenized as a whole. If the context alone has n tokens, the
 * tokens of the choice are those after the first n; white space at the end of the context counts as the beginning of
 * the choice. BOS comes first if the tokenizer adds one; if the context has no tokens, BOS (EOS if there is none) takes
 * its place. A window has at most the last scoring->protocol.context inputs. Two choices with the same inputs share a
 * window. Source: lm-evaluation-harness 0.4.13, TemplateLM._encode_pair and HFLM._loglikelihood_tokens.
 *
 * Returns ORGAN_BAD_INPUT, naming file and line, for a malformed line, a choice without tokens of its own or with more
 * tokens than the context, and a file without questions; ORGAN_USAGE, as organ_memory_refuse, if the windows need more
 * than half of scoring->memory; ORGAN_IO if memory runs out. Call organ_task_set_release whatever it returns. */
organ_status organ_task_set_read(organ_task_set *set, organ_scoring *scoring, organ_error *error);
void organ_task_set_release(organ_task_set *set);

/* ---- answers to questions with several choices ---- */

/* Computes the answers of models to questions with several choices, and compares the accuracies of two models on the
 * same questions. */

/* The answer of a model to a question. Choices are numbered within the question; the first of equally likely choices is
 * the answer. */
typedef struct organ_task_answer {
    size_t choice;                /* choice with the largest log-likelihood (acc) */
    size_t normalised;            /* choice with the largest log-likelihood divided by its characters (acc_norm) */
    bool right, right_normalised; /* whether `choice`, and `normalised`, is a right one */
} organ_task_answer;

/* Paired comparison of the right answers of a first and another model to the same questions. */
typedef struct organ_task_pairs {
    size_t count;                  /* questions */
    size_t only_first, only_other; /* questions that only the first, or only the other model answers right */
} organ_task_pairs;

/* Difference of accuracies (other - first) with a 95 % confidence interval: the adjusted Wald interval of Bonett and
 * Price (2012), which adds one question to each of only_first and only_other. The interval is limited to [-1, 1]. */
typedef struct organ_task_difference {
    double difference, low, high;
} organ_task_difference;

/* ---- evaluating models on questions with several choices ---- */

/* Runs organ_evaluate with options->tasks: *report has the schema organ.tasks/1 and is written as tasks.json and
 * TASKS_REPORT.md. */
organ_status organ_evaluate_tasks(const organ_evaluate_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

/* ---- the plan of a scoring (scoring_plan.c) ---- */

/* Returns organ_scoring.stop for the members `max_error` and `max_windows` of the options of perplexity or evaluate. */
organ_scoring_stop organ_scoring_stop_of(double max_error, unsigned windows, const organ_experiment_options *o,
                                         bool paired);
/* Returns after how many windows max_error is expected to end the scoring: by usual deviations, so the same for all
 * models. All windows if it cannot end earlier. */
size_t organ_scoring_expected_windows(const organ_scoring *scoring);
/* Adds memory and work of a scoring to a plan: the work of the expected windows. */
void organ_scoring_plan(organ_scoring *scoring, organ_plan *plan);
/* Returns the report of a dry run: the report of a scoring without the figures, but with "dry_run": true, "plan" and
 * "run.plan" (output/plan.h), which has also the expected "windows", "max_error_percent" if there is one, and, if these
 * windows are not all, "most_seconds", the time of all. Takes `experiment` and `definitions`. NULL if memory runs out.
 */
json_t *organ_scoring_dry_run(organ_scoring *scoring, const char *schema, const char *definition, json_t *experiment,
                              json_t *definitions, const organ_engine *engine);
/* The same for a text: sets *report. Returns ORGAN_IO if memory runs out. */
organ_status organ_perplexity_dry_run(organ_scoring *scoring, const char *schema, const organ_engine *engine,
                                      json_t **report, organ_error *error);
/* Reports the plan of a scoring as a note, unless it is a matter of seconds. */
void organ_scoring_announce(organ_scoring *scoring, const organ_engine *engine);

/* ---- the bytes of tokens as text that is safe for a terminal ---- */

/* A text that is being converted. Must not be moved between open and close. */
typedef struct organ_text_streamer {
    organ_text text;
    char held[8];   /* bytes of an incomplete character */
    size_t count;   /* number of these bytes */
    size_t printed; /* bytes of the text that organ_text_streamer_next has returned */
} organ_text_streamer;

/* Opens an empty text. Returns ORGAN_IO if memory runs out. */
organ_status organ_text_streamer_open(organ_text_streamer *streamer, organ_error *error);
/* Appends the `count` bytes of a token. */
void organ_text_streamer_add(organ_text_streamer *streamer, const char *bytes, size_t count);
/* Sets *text to the text added since the last call, without an incomplete character at its end, and *bytes to its
 * length. *text is valid until the next call. Returns ORGAN_IO if memory runs out. */
organ_status organ_text_streamer_next(organ_text_streamer *streamer, const char **text, size_t *bytes,
                                      organ_error *error);
/* Ends the text; an incomplete character is written as \xNN. */
void organ_text_streamer_end(organ_text_streamer *streamer);
/* Closes the streamer and sets *text to the whole text, which the caller frees. Must be called after every open.
 * Returns ORGAN_IO if memory runs out; *text is then NULL. */
organ_status organ_text_streamer_close(organ_text_streamer *streamer, char **text, organ_error *error);

/* Returns {"name", "matrices", "inputs", "least_tokens", "most_tokens"}: an entry in the report of an importance
 * matrix. */
json_t *organ_imatrix_entry_json(const char *name, size_t matrices, uint64_t inputs, uint64_t least, uint64_t most);
/* Returns an array with {"model": facts} for each scored model. */
json_t *organ_scored_models_json(const organ_scoring *scoring);

#endif

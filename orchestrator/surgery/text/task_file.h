/* SPDX-License-Identifier: MIT
 * Reads questions with several choices from a JSONL file, and plans the windows that score their choices.
 *
 * A line is an object: "context", a text; "choices", 2 to 1024 texts; "gold", the index of the right choice or an array
 * of the indices of all right ones; optionally "task", the name of the task (default: the name of the file without its
 * ending), and "delimiter", the text between context and choice (default: one blank). Other members are ignored, empty
 * lines are skipped. */
#ifndef ORGAN_TASK_FILE_H
#define ORGAN_TASK_FILE_H

#include "orchestrator/surgery/scoring/scoring.h"

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

#endif

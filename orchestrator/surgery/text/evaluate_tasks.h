/* SPDX-License-Identifier: MIT
 * Evaluates models on questions with several choices. */
#ifndef ORGAN_EVALUATE_TASKS_H
#define ORGAN_EVALUATE_TASKS_H

#include <organ/evaluate.h>

/* Runs organ_evaluate with options->tasks: *report has the schema organ.tasks/1 and is written as tasks.json and
 * TASKS_REPORT.md. */
organ_status organ_evaluate_tasks(const organ_evaluate_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

#endif

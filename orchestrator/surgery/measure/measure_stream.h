/* SPDX-License-Identifier: MIT
 * Measures a model behind a URL: a journal gets the values of each tensor, and a second run continues from there.
 * Results depend on the bytes of the model alone, so an interrupted run gives the same ones. */
#ifndef ORGAN_MEASURE_STREAM_H
#define ORGAN_MEASURE_STREAM_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/output/output.h"

/* Opens or creates DIRECTORY/organ/KIND-DIGITS.jsonl, where DIGITS is a digest of `model`, and locks it. The caller
 * closes it by organ_run_journal_close in any case. ORGAN_IO; ORGAN_USAGE if another process has it open. */
organ_status organ_measure_journal_open(const char *directory, const char *kind, const char *model,
                                        organ_run_journal *journal, organ_error *error);
/* Removes the file of a closed journal, and its folder if it is empty. */
void organ_measure_journal_forget(const char *path);

typedef struct organ_measure_stream organ_measure_stream;

/* Opens the journal of the model in directory/organ. Lines are discarded if they belong to another version of the
 * model's files (size, ETag, modification time) or another value of `seed`. `model` and `progress` must outlive the
 * stream. Errors are those of organ_measure_journal_open. */
organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **stream,
                                       organ_error *error);

/* Measures like organ_measure_tensors, with the journal. Reasons in `out` are valid until the stream is closed. */
organ_status organ_measure_stream_run(organ_measure_stream *stream, const bool *chosen,
                                      const organ_z_subjects *subjects, const organ_engine *engine, organ_z *out,
                                      organ_error *error);

/* Returns the path of the journal. */
const char *organ_measure_stream_path(const organ_measure_stream *stream);

/* Closes the stream, which may be NULL. The journal stays until organ_measure_journal_forget removes it. */
void organ_measure_stream_close(organ_measure_stream *stream);

/* organ_z_json returns the exact values of one tensor as JSON, NULL if out of memory; organ_z_of_json reads them, and
 * its `reason` points into `json`. */
json_t *organ_z_json(const organ_z *z);
organ_z organ_z_of_json(const json_t *json);

#endif

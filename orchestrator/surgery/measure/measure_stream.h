/* SPDX-License-Identifier: MIT
 * Measures a model behind a URL: the results of each tensor are appended to a journal, and a later run continues from
 * there. Results depend on the bytes of the model only, so a continued run gives the same ones. */
#ifndef ORGAN_MEASURE_STREAM_H
#define ORGAN_MEASURE_STREAM_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/output/output.h"

/* Opens or creates the journal DIRECTORY/organ/KIND-DIGITS.jsonl, where DIGITS is a digest of the path `model`, and
 * locks it. The caller closes it with organ_run_journal_close in any case. Returns ORGAN_USAGE if another process has
 * it open, ORGAN_IO if it cannot be created or read. */
organ_status organ_measure_journal_open(const char *directory, const char *kind, const char *model,
                                        organ_run_journal *journal, organ_error *error);
/* Removes the file of a closed journal, and its folder if it is empty. */
void organ_measure_journal_forget(const char *path);

typedef struct organ_measure_stream organ_measure_stream;

/* Opens the journal of the model in directory/organ. Lines are discarded if they belong to another version of the
 * model's files (size, ETag, modification time) or another value of `seed`. `model` and `progress` must outlive the
 * stream. Returns errors of organ_measure_journal_open. */
organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **stream,
                                       organ_error *error);

/* Same as organ_measure_tensors with a journal. Pointers `reason` in `out` are valid until the stream is closed. */
organ_status organ_measure_stream_run(organ_measure_stream *stream, const bool *chosen,
                                      const organ_z_subjects *subjects, const organ_engine *engine, organ_z *out,
                                      organ_error *error);

/* Returns the path of the journal. */
const char *organ_measure_stream_path(const organ_measure_stream *stream);

/* Closes the stream, which may be NULL. The journal stays until organ_measure_journal_forget removes it. */
void organ_measure_stream_close(organ_measure_stream *stream);

/* Return the exact results of one tensor as JSON (NULL if out of memory), and read them back; `reason` then points into
 * `json`. */
json_t *organ_z_json(const organ_z *z);
organ_z organ_z_of_json(const json_t *json);

#endif

/* SPDX-License-Identifier: MIT
 * Measures a model behind a URL: the results of each tensor are appended to a journal, and a later run continues from
 * there. Results depend on the bytes of the model only, so a continued run gives the same ones. */
#ifndef ORGAN_MEASURE_STREAM_H
#define ORGAN_MEASURE_STREAM_H

#include <organ/measure.h>
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/output/output.h"

/* Removes the journal file at `path`, and its folder if it is empty. The journal must be closed. */
void organ_measure_journal_forget(const char *path);

/* A model and the open journal of its results. */
typedef struct organ_measure_stream organ_measure_stream;

/* Opens or creates the journal DIRECTORY/organ/measure-DIGITS.jsonl and locks it; DIGITS is a digest of the model's
 * path. `seed`: also compute the older measure seed/1. Discards lines that
 * belong to another version of the model's files (size, ETag, modification time) or to another value of `seed`. `model`
 * and `progress` must outlive the stream. Returns ORGAN_USAGE if another process has the file open,
 * ORGAN_IO if it cannot be created or read; *stream is then NULL. */
organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **stream,
                                       organ_error *error);

/* Fills `out` from the journal, measures the remaining chosen tensors like organ_measure_tensors, and appends each
 * result to the journal. Pointers `reason` in `out` are valid until the stream is closed. */
organ_status organ_measure_stream_run(organ_measure_stream *stream, const bool *chosen,
                                      const organ_z_subjects *subjects, const organ_engine *engine, organ_z *out,
                                      organ_error *error);

/* Returns the path of the journal. */
const char *organ_measure_stream_path(const organ_measure_stream *stream);

/* Closes the stream, which may be NULL. The journal stays until organ_measure_journal_forget removes it. */
void organ_measure_stream_close(organ_measure_stream *stream);

/* Returns the results of one tensor as JSON, from which organ_z_of_json restores every bit. NULL if out of memory. */
json_t *organ_z_json(const organ_z *z);
/* Returns the results that organ_z_json wrote, with `done` set; `reason` points into `json`. */
organ_z organ_z_of_json(const json_t *json);

#endif

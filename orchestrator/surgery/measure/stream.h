/* SPDX-License-Identifier: MIT
 * Measuring of a model that is far away or goes away: what is measured is written down tensor by tensor, and a second
 * run goes on from there. Results are a function of the bytes alone, so they are the same as those of an undisturbed
 * run. */
#ifndef ORGAN_MEASURE_STREAM_H
#define ORGAN_MEASURE_STREAM_H

#include "orchestrator/stream/journal.h"
#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/measure/z_subjects.h"

#include <jansson.h>

/* A journal of what was measured. */
typedef struct organ_measure_journal {
    organ_journal journal;
    char *path;
    json_t *lines; /* that it had */
} organ_measure_journal;

/* Opens that of a model, "KIND-DIGITS.jsonl", in directory/organ, which is made if need be. To be closed whatever it
 * returns. ORGAN_IO; ORGAN_USAGE if another process measures the model into that directory. */
organ_status organ_measure_journal_open(const char *directory, const char *kind, const char *model,
                                        organ_measure_journal *journal, organ_error *error);
void organ_measure_journal_close(organ_measure_journal *journal);

typedef struct organ_measure_stream organ_measure_stream;

/* Opens the journal of that model in directory/organ, which is made if need be; what another version of the model's
 * files (size, ETag, time of modification) has left there is thrown away, and so is what was measured without the older
 * measure if `seed` asks for it, or with it if not. `model` and `progress` must outlive the stream. ORGAN_IO;
 * ORGAN_USAGE if another process measures the model into that directory. */
organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **stream,
                                       organ_error *error);

/* organ_measure_tensors with a journal. Reasons in `out` are valid until the stream is closed. */
organ_status organ_measure_stream_run(organ_measure_stream *stream, const bool *chosen,
                                      const organ_z_subjects *subjects, const organ_engine *engine, organ_z *out,
                                      organ_error *error);

/* Where the journal is. */
const char *organ_measure_stream_path(const organ_measure_stream *stream);

/* The journal stays: once it has done its service, organ_measure_stream_forget removes it. NULL is allowed. */
void organ_measure_stream_close(organ_measure_stream *stream);
void organ_measure_stream_forget(const char *path);

/* What was measured of one tensor, exactly, and back; `reason` of the latter points into `json`. NULL without memory.
 */
json_t *organ_z_json(const organ_z *z);
organ_z organ_z_of_json(const json_t *json);

#endif

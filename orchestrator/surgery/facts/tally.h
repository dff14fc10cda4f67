/* SPDX-License-Identifier: MIT
 * Counts of killed weights, and the members of documents that are computed from them. The report of a pruning and its
 * audit use the same arithmetic. This header also has members that the documents of several verbs contain: models,
 * tensors, checks. */
#ifndef ORGAN_TALLY_H
#define ORGAN_TALLY_H

#include <organ/models.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/run_activity.h"

/* The number of weights of one target tensor in each class. The sum of the four numbers is the number of the tensor's
 * elements. */
typedef struct organ_tally {
    const organ_tensor *tensor;
    uint64_t zero_before; /* zero in the donor; for an audit, in the output as well */
    uint64_t killed;      /* not zero in the donor, zero in the output */
    uint64_t kept;        /* not zero in donor and output; for an audit without --compensated, equal in both */
    uint64_t changed;     /* in none of these classes; 0 except for an audit */
} organ_tally;

/* Returns 100 part / whole, rounded to 6 decimals, so that reports are equal on all machines; 0 if whole is 0. */
double organ_percent(uint64_t part, uint64_t whole);
/* Returns part / whole, rounded to 6 decimals, so that it does not show the last bits of a sum; 0 if whole is not above
 * 0. */
double organ_ratio(double part, double whole);
double organ_millionth(double x); /* returns x, rounded to 6 decimals */
double organ_billionth(double x); /* rounded to 9 decimals */

/* Members of an object in a document: "role" and "layer" (null: in no layer) of an organ_anatomy. */
#define SET_PLACE(anatomy)    SET_TEXT("role", organ_anatomy_role_name(anatomy)), SET_INDEX("layer", (anatomy)->layer)
#define SET_DTYPE(key, dtype) SET_TEXT(key, organ_dtype_describe(dtype)->name)
/* Members of "run": "cpu_isa" and "threads" of an organ_engine, and "activity". */
#define SET_ENGINE(engine)                                                                                             \
    SET_TEXT("cpu_isa", (engine)->kernels->isa), SET_COUNT("threads", organ_workers_count((engine)->workers)),         \
        SET_ACTIVITY()

/* Returns an array of the objects that row(context, k) returns for each row k of the anatomy (organ_anatomy_row),
 * without those that are NULL. */
json_t *organ_anatomy_rows_json(organ_json_row *row, const void *context);

/* Returns the name by which documents call the model at `path`: the last part of the path; for "." and "..", which do
 * not name the model, the name of that directory; for a snapshot in the Hugging Face cache ORG/NAME. */
json_t *organ_name_json(const char *path);

/* Returns {"name", "format", "architecture", "model_type", "files", "bytes", "tensors", "elements"}. A model with
 * towers or draft layers, which the forward pass does not run, also has "not_run": {"role", "tensors", "bytes"} for
 * each of these roles. */
json_t *organ_model_json(const organ_model *model);

/* Returns the shape of a tensor as a JSON array. */
json_t *organ_shape_json(const organ_tensor *tensor);
json_t *organ_counts_json(size_t count, const uint64_t *counts); /* returns the counts as a JSON array */
json_t *organ_ids_json(const uint32_t *ids, size_t count);       /* returns the ids or indices as a JSON array */

/* Returns the sum of the elements of all tensors of the model. */
uint64_t organ_model_elements(const organ_model *model);

/* Adds "totals", "zero_before", "kept", "coverage", "per_tensor", "projections" and "layers", all computed from `rows`,
 * to `document`. Returns 0, or -1 if memory cannot be allocated. */
int organ_tally_add(json_t *document, const organ_model *model, const organ_tally *rows, size_t count);

/* Returns an array of {"name", "module", "layer", "expert", "dtype", "shape", "elements", "zero_before", "killed",
 * "kept", "percent"}, one for each row; if `audit` is set, also with "changed". Returns NULL if memory cannot be
 * allocated. */
json_t *organ_tally_tensors(const organ_tally *rows, size_t count, bool audit);

/* Appends the result of one check, {"check", "ok", "detail"}, to `checks`. */
void organ_check_add(json_t *checks, const char *check, bool ok, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends a formatted sentence, which must be UTF-8, to the array. */
void organ_say(json_t *sentences, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns an object that explains the words of a report: "killed", "zero_before", "percent", "target" and "full".
 * `targets`: the value of --targets; NULL if the targets are all projections. */
json_t *organ_definitions_json(const char *targets);

#endif

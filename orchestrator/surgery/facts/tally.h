/* SPDX-License-Identifier: MIT
 * Counts of killed weights, and the members of documents that are computed from them. The report of a pruning and its
 * audit use the same arithmetic. This header also has members that the documents of several verbs contain: models,
 * tensors, checks. */
#ifndef ORGAN_TALLY_H
#define ORGAN_TALLY_H

#include "formats/model/model.h"
#include "orchestrator/report/text/members.h"

/* One target tensor. zero_before + killed + kept + changed = its elements. */
typedef struct organ_tally {
    const organ_tensor *tensor;
    uint64_t zero_before, killed, kept;
    uint64_t changed; /* neither kept nor killed: only an audit finds such */
} organ_tally;

/* Returns 100 part / whole, rounded to 6 decimals; 0 if whole is 0. */
double organ_percent(uint64_t part, uint64_t whole);
/* Returns part / whole, rounded to a millionth so that it does not show the last bits of a sum; 0 if whole is not above
 * 0. */
double organ_ratio(double part, double whole);
double organ_millionth(double x); /* rounded to it */
double organ_billionth(double x);

/* Members of a row: "role" and "layer" (null: in none) of an organ_anatomy. */
#define SET_PLACE(anatomy)    SET_TEXT("role", organ_anatomy_role_name(anatomy)), SET_INDEX("layer", (anatomy)->layer)
#define SET_DTYPE(key, dtype) SET_TEXT(key, organ_dtype_describe(dtype)->name)
/* Members of "run": "cpu_isa" and "threads" of an organ_engine. */
#define SET_ENGINE(engine)                                                                                             \
    SET_TEXT("cpu_isa", (engine)->kernels->isa), SET_COUNT("threads", organ_workers_count((engine)->workers))

/* Returns an array of the results of `row` for `context` and each row of the anatomy; results that are NULL are
 * omitted. */
json_t *organ_anatomy_rows_json(organ_json_row *row, const void *context);

/* Returns the name by which documents call a model: the last part of its path; for "." and ".." the name of that
 * directory; for a snapshot in the Hugging Face cache ORG/NAME. */
json_t *organ_name_json(const char *path);

/* Returns {"name", "format", "architecture", "model_type", "files", "bytes", "tensors", "elements"}. A model with
 * towers or draft layers, which the forward pass does not run, also has "not_run": {"role", "tensors", "bytes"} for
 * each of these roles. */
json_t *organ_model_json(const organ_model *model);

/* Returns the shape of a tensor as a JSON array. */
json_t *organ_shape_json(const organ_tensor *tensor);
json_t *organ_counts_json(size_t count,
                          const uint64_t *counts);         /* an array of numbers: the shape of a packed weight, say */
json_t *organ_ids_json(const uint32_t *ids, size_t count); /* an array of tokens */

uint64_t organ_model_elements(const organ_model *model);

/* Adds "totals", "zero_before", "kept", "coverage", "per_tensor", "projections" and "layers" to `document`. -1 without
 * memory, else 0. */
int organ_tally_add(json_t *document, const organ_model *model, const organ_tally *rows, size_t count);

/* Returns an array of {"name", "module", "layer", "expert", "dtype", "shape", "elements", "zero_before", "killed",
 * "kept", "percent"}, one for each row, with "changed" in an audit; NULL without memory. */
json_t *organ_tally_tensors(const organ_tally *rows, size_t count, bool audit);

/* Appends {"check", "ok", "detail"}, the result of one check, to an array. */
void organ_check_add(json_t *checks, const char *check, bool ok, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds a sentence, in UTF-8, to an array. */
void organ_say(json_t *sentences, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns sentences that explain the numbers of a report: killed, percent, target, full. */
json_t *organ_definitions_json(const char *targets);

#endif

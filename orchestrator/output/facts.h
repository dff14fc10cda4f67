/* SPDX-License-Identifier: MIT
 * Parts of the documents of several verbs. These are counts in total and by layer, the experiment
 * of a pruned model, how a model was made and is stored, errata, failures that an audit found, shares of a run's
 * time, and the start and end of a verb that returns a document. */
#ifndef ORGAN_OUTPUT_FACTS_H
#define ORGAN_OUTPUT_FACTS_H

#include "formats/base/json.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/report/text/report_text.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <stdbool.h>
#include <stddef.h>

/* The member "activity" of a report's "run": the shares of the workers' time in computing, reading, writing and
 * waiting, the bytes that were moved, and which of them bound the run. `organ schema` describes its members. */

/* Returns the figures of an account: {"bound", "bound_share", "computing_share",
 * "reading_share", "writing_share", "waiting_share", "one_thread_share", "read_bytes", "read_bytes_per_second",
 * "written_bytes", "written_bytes_per_second", "one_thread_bytes", "processor_seconds",
 * "one_thread_processor_share"}, and "phases" if there was a forward pass. */
json_t *organ_work_account_json(const organ_work_account *account);

/* Returns the object for the work of this thread that organ_report_begin began, until now. */
json_t *organ_run_activity_json(void);

/* The member "activity". */
#define SET_ACTIVITY() SET("activity", organ_run_activity_json())

/* ---- killed weights ---- */

/* Counts of killed weights, and the members of documents that are computed from them. The report of a pruning and its
 * audit use the same arithmetic. This header also has members that the documents of several verbs contain: models,
 * tensors, checks. */

/* The number of weights of one target tensor in each class. The sum of the four numbers is the number of the tensor's
 * elements. */
typedef struct organ_tally {
    const organ_tensor *tensor;
    uint64_t zero_before; /* zero in the donor; for an audit, in the output as well */
    uint64_t killed;      /* not zero in the donor, zero in the output */
    uint64_t kept;        /* not zero in donor and output; for an audit without --refitted, equal in both */
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
/* Members of "run": "cpu_isa", "threads", "memory" and "memory_auto" of an organ_engine, and "activity". */
#define SET_ENGINE(engine)                                                                                             \
    SET_TEXT("cpu_isa", (engine)->kernels->isa), SET_COUNT("threads", organ_workers_count((engine)->workers)),         \
        SET_COUNT("memory", organ_engine_memory(engine)), SET("memory_auto", organ_memory_share_json(engine)),         \
        SET_ACTIVITY()

/* Returns the automatic memory of the engine, {"bytes", "ceiling", "free", "group", "ranks", "limit"}
 * (organ_memory_share); JSON null if --memory is an amount, NULL if memory runs out. */
json_t *organ_memory_share_json(const organ_engine *engine);

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
/* The same, with "fingerprint": the model that a pruning or an audit compares with. */
json_t *organ_donor_json(const organ_model *model, const char *fingerprint);
/* As organ_model_json; with `blocks`, a run of the verb runs the blocks for multi-token prediction, and "not_run" lacks
 * them. */
json_t *organ_run_model_json(const organ_model *model, bool blocks);

/* Returns the shape of a tensor as a JSON array. */
json_t *organ_shape_json(const organ_tensor *tensor);
json_t *organ_counts_json(size_t count, const uint64_t *counts); /* returns the counts as a JSON array */
json_t *organ_ids_json(const uint32_t *ids, size_t count);       /* returns the ids or indices as a JSON array */

/* Returns the sum of the elements of all tensors of the model. */
uint64_t organ_model_elements(const organ_model *model);
/* Returns the sum of the bytes of all tensors of the model. */
uint64_t organ_model_tensor_bytes(const organ_model *model);
/* Returns the sum of the sizes of the model's files with tensors. */
uint64_t organ_model_bytes(const organ_model *model);

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

/* ---- the composition of a model by layer and role ---- */

/* The composition of a model by layer and role: the member of a document from which its chart is drawn. */

/* The size of one tensor, or of all tensors of one layer and role. */
typedef struct organ_layer_amount {
    organ_anatomy anatomy;
    uint64_t elements, bytes;
    uint64_t grafted; /* of `elements`: those that came from another model */
} organ_layer_amount;

/* Sums the sizes of `count` tensors by layer and by row of the anatomy (organ_anatomy_row: the role, or its expert
 * form). Returns {"roles": [R names of the rows that occur], "layers": [L numbers, ascending; last -1 for the tensors
 * outside of layers], "elements": L x R, "bytes": L x R} and, if `grafted` is set, "grafted": L x R. Sorts `rows`.
 * Returns NULL if memory cannot be allocated, also if `rows` is NULL, because its allocation failed. */
json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted);

/* ---- failures that an audit found, one sentence each, up to a limit ---- */

/* The failures that one audit found. */
typedef struct organ_problems {
    json_t *sentences; /* JSON array of at most 100 failures, which the caller creates and releases */
    size_t more;       /* number of failures that the array does not list */
} organ_problems;

/* Adds a failure: appends its sentence, or counts it in `more` if the array is full. */
void organ_problem_add(organ_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Returns the number of failures, listed or not. */
size_t organ_problems_count(const organ_problems *problems);
/* Returns ORGAN_CHECK_FAILED if there is a failure; the message is that of `format`, a colon, and the first sentence.
 * Else returns error->status. */
organ_status organ_problems_judge(const organ_problems *problems, organ_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns problems->sentences with a new reference; if there are failures beyond its limit, first appends a sentence
 * with their number. Call it once, after the last organ_problem_add. */
json_t *organ_problems_json(organ_problems *problems);

/* ---- the experiment of a pruned model ---- */

/* The experiment that the killed weights of a model belong to: one donor, pruned by one method in one definition with
 * one set of parameters on one calibration. Models of one experiment differ only in sparsity or in the gain of the
 * flow. A pattern such as 2:4 is part of the method. A table lists models of two experiments only if the user has given
 * the experiments different names. */

/* Writes 16 hexadecimal digits that identify a donor, independent of the names and sizes of its files. They are the sum
 * of the XXH3 digests of all tensors. The digest of a tensor covers its name, type and shape and, for up to 4,096
 * tensors, also 4 KiB from the middle of its data, so that a large model is not read completely. Writes "" for a model
 * behind a URL. */
organ_status organ_model_fingerprint(const organ_model *model, char out[17], organ_error *error);

/* Returns the log of the pruning, organ/prune.json in the model's folder. The caller releases the log. Returns NULL
 * without an error if there is none, NULL with ORGAN_BAD_INPUT in *error if the file is no document organ.prune/1. */
json_t *organ_experiment_log(const organ_model *model, organ_error *error);

/* Returns the experiment of a document organ.prune/1, also of an old one without fingerprint: {"donor": {"name",
 * "fingerprint", "elements", "bytes"}, "method", "definition", "settings", "calibration"}. "settings" are the
 * parameters that are the same in all models of an experiment. Returns NULL if memory cannot be allocated. */
json_t *organ_experiment_of(const json_t *log);

/* Returns the method of a document organ.prune/1 with its variant: "physarum-v2 2:4 without compensation", "wanda by
 * imatrix". Returns JSON null if the document names no method, NULL if memory cannot be allocated. */
json_t *organ_experiment_method(const json_t *log);

/* Returns the first member in which two experiments (organ_experiment_of) differ: "donor", "method", "definition",
 * "calibration" or "settings"; NULL if they are the same. With `any_targets`, they may have different --select. */
const char *organ_experiment_difference(const json_t *a, const json_t *b, bool any_targets);

/* Returns an experiment (organ_experiment_of) in words: "donor tiny-qwen2 (fingerprint ...), physarum-v2
 * (physarum-v2/2), by a.txt (XXH3 ...)"; NULL if memory cannot be allocated. */
json_t *organ_experiment_words(const json_t *experiment);

/* ---- warnings about killed weights ---- */

/* Warnings for documents with counts of killed weights: what the method does, to which experiment the numbers belong,
 * which share of the targets was counted, and what the percentages are relative to. */

/* Returns an array of sentences for a document organ.prune/1 that has "parameters", "calibration", "imatrix",
 * "compensates", "totals" and "experiment". Returns NULL if memory cannot be allocated. */
json_t *organ_errata_of_pruning(const json_t *log);

/* Returns the array of sentences for a document organ.audit/1. An audit compares weights and takes no count
 * from a log of the pruning. `compensated`: kept weights differ from the donor's. Returns NULL if memory cannot be
 * allocated. */
json_t *organ_errata_of_audit(const json_t *audit, bool compensated);

/* Returns the sentences for a comparison of models: on the method of each experiment (organ_experiment_of) in
 * `experiments`, without repetition, a description of each experiment, and how to read the numbers. The member "name"
 * of an experiment is the name that the user gave it. The array is empty if there are no experiments. */
json_t *organ_errata_of_experiments(const json_t *experiments);

/* ---- how a model was made and is stored ---- */

/* Reads from a model's files how it was made and how it is stored: from the report of the organ verb that wrote it,
 * from its quantization_config and from the types of its tensors. */

typedef struct organ_view organ_view; /* report/view/views.h */

/* Returns the JSON of a file that belongs to the model, with jansson's `flags`, which the caller releases. Returns NULL
 * without an error if there is no such file, and NULL with ORGAN_BAD_INPUT "MODEL: NAME: line N: ..." if it is no JSON.
 */
json_t *organ_model_document(const organ_model *model, const char *name, size_t flags, organ_error *error);

/* Returns the report of the verb that wrote the model, if `view` is the report's: from its folder organ/, or next to a
 * single file X.gguf as X.layers.json. Adds the member "file", its path in the model's folder. The caller releases it.
 * Returns NULL without an error if there is no file view->files.json with the schema of the view, NULL with
 * ORGAN_BAD_INPUT in *error if it is no JSON. */
json_t *organ_own_report(const organ_model *model, const organ_view *view, organ_error *error);

/* Returns {"by", "method", "scheme"}: the verb of organ that wrote the model, its method (organ_view.method: "gptq";
 * "merge ties, nearest" after merge --then; null for verbs without methods), and the scheme that quantize was asked
 * for, else null. Without a report of organ, "by" is null and "method" the quant_method of the model's
 * quantization_config, null if there is none. Returns NULL on error. */
json_t *organ_model_made(const organ_model *model, organ_error *error);

/* Returns {"as", "bits", "packed"}: how the projections are stored ("BF16"; "INT4 group 32"; "Q4_K, Q6_K", the type of
 * the most weights first), their bits per weight with scales, and whether any type is a quantised one. "as" and "bits"
 * are null if the model has no projections. Returns NULL on error. */
json_t *organ_model_stored(const organ_model *model, organ_error *error);

/* ---- begin and end of the work of a verb ---- */

/* Begins and ends the work of a verb whose result is a document. The end decides whether the verb returns the document
 * or releases it. */

/* The caller's progress, which also keeps the warnings for the member "warnings" of the report. */
typedef struct organ_kept_warnings {
    organ_progress progress;
    const organ_progress *to; /* the caller's, or NULL */
    json_t *sentences;        /* each warning once, in their order */
} organ_kept_warnings;

/* A verb's work that has begun and not ended. */
typedef struct organ_report_work {
    organ_memory_work memory; /* counts refused allocations */
    organ_work account;       /* accounts for the time of this thread and the workers */
    json_t **report;          /* the verb's result */
    /* If the verb has begun them (organ_warnings_begin), the end adds them to the report and ends them. */
    organ_kept_warnings kept;
} organ_report_work;

/* Begins a verb: sets *report to NULL and checks the options, a structure `type` of `ours` bytes. `needs` has `count`
 * texts: the name of a member and its value in turn. Returns ORGAN_USAGE, naming the member, if a value is NULL or
 * `size` is not that of this library. ORGAN_BEGIN_VERB calls it. */
organ_status organ_options_check(const char *type, size_t size, size_t ours, const char *const *needs, size_t count,
                                 json_t **report, organ_error *error);
#define ORGAN_BEGIN_VERB(type, options, report, error, ...)                                                            \
    organ_options_check(#type, (options)->size, sizeof *(options), (const char *const[]){__VA_ARGS__},                 \
                        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), report, error)

/* Sets *report to NULL, begins to count this thread's refused allocations and to account for its time. organ_report_end
 * or organ_report_end_partial must follow on the same thread. */
organ_report_work organ_report_begin(json_t **report);

/* Ends the work of a verb that returns a complete document or none. `what` names the input in messages. Returns
 * ORGAN_IO and no document if an allocation was refused, or if there is neither an error nor a document. After another
 * error it releases *report and sets it to NULL, except after ORGAN_CHECK_FAILED, whose document lists what failed. */
organ_status organ_report_end(const organ_report_work *work, const char *what, organ_error *error);

/* Ends the work of a verb that may return a document together with an error, for instance because its output is
 * complete although its evaluation failed. *report remains unless an allocation was refused: then the function releases
 * it and returns ORGAN_IO. */
organ_status organ_report_end_partial(const organ_report_work *work, const char *what, organ_error *error);

/* ---- a model and its repair adapter ---- */

/* Writes the digest that a repair adapter shares with its model: ORGAN_REPAIR_PAIR of the "__metadata__" of its
 * safetensors file, or ORGAN_REPAIR_PAIR_KEY of its GGUF file. "" if it has none. Returns ORGAN_IO if reading or memory
 * fails. */
organ_status organ_repair_pair_of(const organ_adapter *adapter, char pair[17], organ_error *error);

/* Returns ORGAN_BAD_INPUT if the adapter was made together with a model, and that is not `base`. */
organ_status organ_repair_pair_check(const organ_adapter *adapter, const organ_model *base, organ_error *error);

/* Does so with the adapter that the model names, if it is next to the model. */
organ_status organ_repair_pair_check_beside(const organ_model *model, organ_error *error);

/* Removes the members of config.json that name the adapter, for weights that no longer need it. */
organ_status organ_repair_pair_forget(organ_json_edit *config, organ_error *error);

/* ---- warnings ---- */

/* Returns the progress that a verb uses in place of `progress`, until organ_warnings_end. */
const organ_progress *organ_warnings_begin(organ_kept_warnings *kept, const organ_progress *progress);

/* Adds the warnings that `progress` has kept so far to the member "warnings" of the report, each once; first those of
 * the command of which the verb is one step. A report without warnings has no such member. Does nothing with another
 * progress than that of organ_warnings_begin, or if `report` is NULL. Returns false if memory runs out. */
bool organ_warnings_add(json_t *report, const organ_progress *progress);

void organ_warnings_end(organ_kept_warnings *kept);

/* Repeats the warnings of the report of an earlier run, whose work this one takes over. */
void organ_warnings_repeat(const json_t *report, const organ_progress *progress);

#endif

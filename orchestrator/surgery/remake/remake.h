/* SPDX-License-Identifier: MIT
 * Room surgery/remake: in goes a model and what becomes of its tensors, out comes another one: all other files are
 * taken along, reports lie inside, it is published when whole or not at all. Tensors of new types are laid out in new
 * shards, with config.json changed where it must be (of a model named by one of its files it alone is taken along);
 * tensors that get other bytes of the same length stay in their places in copies of the model's files. */
#ifndef ORGAN_REMAKE_H
#define ORGAN_REMAKE_H

#include "formats/base/json_edit.h"
#include "orchestrator/surgery/output/cuts.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/output/unit_output.h"
#include "orchestrator/surgery/remake/row_pass.h"
#include "orchestrator/surgery/trial/evaluation.h"

/* What the caller says. Everything must outlive the remake. */
typedef struct organ_remake {
    const organ_model *model;
    const char *path; /* of the output: a directory, or one file if it ends in .safetensors or .gguf */
    bool resume, force, dry_run;
    const bool *replaced; /* in copies of the files these tensors, a flag for each, get other bytes, */
    organ_cuts *cuts; /* which are cut like this, and unit k is stretch k; NULL with `rows`, which need not know it */
    bool along;       /* all of these by ranks that walk along a text: organ_run_unit. Without `replaced`: */
    uint64_t most;    /* new shards of so many bytes */
    bool choice;      /* as in organ_output */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_run_unit *units; /* of the pieces, in their order */
    size_t unit_count;
    const char *definition;      /* "quantize/1": of what is done, for document and journal */
    const char *schema;          /* of the document: see `document` */
    organ_gguf_writer *gguf;     /* key-values of a GGUF output, else NULL */
    const char *const *left_out; /* files beside the tensors that are not taken along, NULL at the end; may be NULL */
    const char *stage;           /* "dequantizing": for the progress */
    const char *name, *markdown_name; /* of the reports in OUT/organ: "dequantize.json", "DEQUANTIZE_REPORT.md" */
    const char *lines_name;           /* of a report that `check` writes: as in organ_report_files */
    const organ_progress *progress;
    const organ_experiment_options *evaluate; /* score model and output on its text; NULL: not */
    const organ_engine *engine;               /* that does it */
    const organ_plan *plan; /* of a dry run: the work beside reading the model and writing the output, which the remake
                               adds. NULL: no plan */
    const char *model_is;   /* what the model is called in that: "model", "base" */
    organ_made_as made_as;  /* what becomes of its weights */
    bool repacked;          /* the model's config.json is not that of the output: where that is one file, it has none */
    void *context;
    /* Changes config.json. Not called where there is none. May be NULL. */
    organ_status (*edit)(void *context, organ_json_edit *config, organ_error *error);
    /* The new bytes of `replaced`, row by row; NULL: */
    organ_row_work *rows;
    /* puts the bytes of the units that are neither copied nor done into place with organ_unit_run_put, finishes each
     * with organ_unit_run_finish, and advances the progress. */
    organ_status (*fill)(void *context, organ_unit_run *run, organ_error *error);
    bool (*recall)(void *context, size_t item, const json_t *results); /* as in organ_unit_run */
    /* For document and journal, to be released. NULL without memory. */
    json_t *(*parameters)(void *context);
    /* More members of what the output depends on besides the model and the parameters: a run is continued only where it
     * is the same. May be NULL. */
    json_t *(*identity)(void *context);
    /* All tensors are written, and cuts->xxh3 is complete: looks at the output in the directory `to`, which opens by
     * `path`. May be NULL.
     */
    organ_status (*check)(void *context, const char *to, const char *path, organ_error *error);
    /* The report; NULL without memory. With `schema` only what stands in it between the parameters and "run"; what it
     * has of "schema", "definition", "organ", "dry_run", the model, "parameters" and "run" itself goes before. `made`
     * has the plan of new shards, if there are any. */
    json_t *(*document)(void *context, const organ_unit_output *made);
    int (*settle)(void *context,
                  json_t *report); /* the same report with the evaluation in it; -1 without memory. May be NULL */
} organ_remake;

/* Members that the options of every such verb have, and that its job has. */
#define ORGAN_REMAKE_ASKED(o)                                                                                          \
    .path = (o)->write.output, .resume = (o)->write.resume, .force = (o)->write.force, .dry_run = (o)->write.dry_run,  \
    .evaluate = (o)->write.evaluate
#define ORGAN_REMAKE_BY(job) .progress = (job)->progress, .engine = (job)->engine, .context = (job)

/* The same of verbs that lay tensors out in new shards. */
#define ORGAN_REMAKE_ANEW(o, job)                                                                                      \
    .most = (o)->write.max_shard_size, .pieces = (job)->pieces, .piece_count = (job)->piece_count, .units = (job)->units

/* Does it all. *report is for the caller to release; NULL on error. A run that is interrupted, or that the disk or the
 * memory ends, leaves what is done with a journal, and `resume` continues it to the same bytes; after any other error
 * nothing of the output is left. With dry_run nothing is written. ORGAN_USAGE if the output exists, is the input or
 * lies in it, if an unfinished run is found and neither `resume` nor `force` is given, or if that run was of other
 * parameters, inputs or another version; ORGAN_BAD_INPUT if the model was changed meanwhile or config.json is no JSON
 * object; ORGAN_IO; ORGAN_INTERRUPTED; else what a callback returned. An output that is whole but could not be
 * evaluated stays: then *report is set although the status is that of the evaluation. */
organ_status organ_remake_run(const organ_remake *remake, json_t **report, organ_error *error);

#endif

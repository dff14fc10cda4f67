/* SPDX-License-Identifier: MIT
 * Room surgery/write: writes a model that a verb makes from another one. The verb fills one organ_write and calls
 * organ_write_run, which does everything that verbs share: dry run, journal and --resume, division among ranks, files
 * without tensors, config.json, evaluation, reports, publishing. units.h has the functions that the verb's `fill`
 * calls, write_rows.h the work on rows of replaced tensors.
 *
 * There are three kinds of output. The members that are set decide:
 *   replaced   copies of the model's files in which some tensors get other bytes of the same length
 *   pieces     new shards (or one GGUF file), with config.json edited; if the user named one of the model's files, only
 *              the new file is written
 *   layout     files that a verb has laid out from tensors of one or two models, or an organ directory; then
 *              `edit` and `fill` are not called, and there are no reports in OUT/organ */
#ifndef ORGAN_WRITE_H
#define ORGAN_WRITE_H

#include "formats/base/json_edit.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/layout.h"
#include <organ/options.h>
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/scoring/evaluation.h"
#include "orchestrator/surgery/write/write_rows.h"
#include "orchestrator/surgery/write/units.h"

/* A file without tensors that the verb has made. */
typedef struct organ_written_file {
    const char *name;
    char *bytes;   /* owned by the verb */
    size_t length; /* of `bytes`; 0 for a text that ends with NUL */
} organ_written_file;

/* The output of organ_write_run, and the verb that makes it. Everything that members point to must outlive the call.
 * Members may be zero unless their comment says otherwise. */
typedef struct organ_write {
    const organ_model *model; /* never NULL */
    /* Path of the output, --resume, --force, --dry-run, --evaluate, and the shard limit of `pieces`. The output is one
     * file if its path ends in .safetensors or .gguf, else a directory. Never NULL. */
    const organ_write_options *requested;
    const char *resumed_by; /* option that messages name to continue the run; NULL: "--resume" */
    bool choice;            /* the run keeps choices or measurements: organ_output.choice */
    /* The verb has checked the path of the output before a long first phase: if another process has created it
     * meanwhile, organ_write_run returns ORGAN_IO, not ORGAN_USAGE. */
    bool checked;

    /* ---- replaced ---- */
    /* A flag for each tensor of the model: its bytes are replaced. NULL: the output is of another kind. */
    const bool *replaced;
    /* Row ranges of these tensors: unit k and piece k are row range k. NULL with `rows`: the driver then makes the row
     * ranges. */
    organ_cuts *cuts;
    bool calib;           /* value of organ_unit.calib for all units */
    organ_row_work *rows; /* work on each row; replaces `fill` and `recall`. NULL: `fill` writes the bytes */

    /* ---- pieces ---- */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* units cover all pieces, in their order */
    size_t unit_count;
    /* The only file of the output, which the verb has laid out: the pieces have bytes and offset. A unit may write
     * fewer bytes than its piece has, from the first on, and `written` completes the file. --force recognises no copies
     * of the model's files in an earlier output of two models. NULL: the driver plans the files. */
    const organ_shard *laid;
    organ_gguf_writer *gguf;     /* writer that has the key-values of a GGUF output; NULL: the output is safetensors */
    const char *const *left_out; /* names of files of the model that are not copied; ends with NULL. NULL: none */
    /* Texts to write as files; the list ends with a NULL name. If it is set, no other file of the model is copied and
     * config.json is not edited. NULL: the files of the model are copied. */
    const organ_written_file *files;
    /* The model's config.json does not describe how the output stores its weights; an output of one file, which has no
     * config.json, can then not be evaluated. */
    bool repacked;

    /* ---- layout ---- */
    organ_layout *layout;      /* filled by the verb, which releases it */
    bool apart;                /* the output is an organ directory */
    const organ_model *source; /* second model from which the layout takes tensors; NULL: none */
    organ_ranks *ranks;        /* ranks of a layout, used in place of engine->ranks */
    const organ_stop *stop;    /* stop flag of a layout, used in place of engine->stop */

    /* ---- names ---- */
    const char *definition; /* name and version of the definition, "quantize/1", for document and journal */
    const char *schema;     /* schema of the document; NULL: `document` returns the complete document */
    const char *stage;      /* label of the progress bar: "dequantizing" */
    /* File names of the reports in OUT/organ: "dequantize.json", "DEQUANTIZE_REPORT.md". */
    const char *name, *markdown_name;
    const char *lines_name; /* file name of a report that `check` writes; see organ_report_files.lines */
    const char *model_is;   /* key of the model in document and journal: "model", "base" */

    /* ---- run ---- */
    const organ_progress *progress;
    /* With `layout` it may be NULL unless the output is evaluated; the tensors are then copied on threads that are
     * started for the run. */
    const organ_engine *engine;
    organ_type_change made_as; /* how the verb changes the weights, for the evaluation */
    /* Predicted work of a dry run, in addition to reading the model and writing the output. NULL: the document has no
     * plan. */
    const organ_plan *plan;

    /* ---- callbacks, on the thread of organ_write_run, with `context` ---- */
    void *context;
    /* Context of `edit`, `fill`, `recall` and `depends` if a room between verb and driver (surgery/cut) implements
     * them. NULL: `context`. */
    void *inner;
    /* Edits the config.json of an output of pieces. Not called if the model has none. */
    organ_status (*edit)(void *context, organ_json_edit *config, organ_error *error);
    /* Makes the units for which organ_write_done returns false: writes their bytes with organ_write_put, calls
     * organ_write_finish for each, and advances the progress. The driver then copies the pieces whose `same` is set. */
    organ_status (*fill)(void *context, organ_writing *writing, organ_error *error);
    /* Restores the results of the unit of source tensor `item` from `results`, the object that organ_write_finish
     * received in an interrupted run or in another rank. Returns false if `results` is malformed; the unit is then made
     * again. Not called for pieces whose `same` is set. */
    bool (*recall)(void *context, size_t item, const json_t *results);
    /* Returns the verb's parameters for document and journal, a new object. NULL if memory runs out. */
    json_t *(*parameters)(void *context);
    /* Returns a new object with further members of the journal's first line on which the output depends. A run is
     * continued only if these members are equal. NULL if memory runs out. */
    json_t *(*identity)(void *context);
    /* Returns a new object with further members of the journal's first line, for a room between verb and driver; gets
     * `inner`. The members must be equal in a continued run, as those of `identity`. NULL if memory runs out. */
    json_t *(*depends)(void *context);
    /* Called after all tensors were written, before `check`, for a room between verb and driver; gets `inner`. `path`:
     * by which the output opens as a model. NULL: nothing to do. */
    organ_status (*written)(void *inner, const char *path, organ_error *error);
    /* Called after config.json and the headers of all files were written, before any tensor: checks everything that
     * does not depend on the bytes of tensors, so that a long run does not end with an error that was predictable at
     * its start. `to` is the directory with the output, `path` the path by which it opens as a model. NULL: no
     * check. */
    organ_status (*begun)(void *context, const char *to, const char *path, organ_error *error);
    /* Called after all tensors were written and cuts->xxh3 is complete: checks the finished output. `to` and `path` as
     * in `begun`. */
    organ_status (*check)(void *context, const char *to, const char *path, organ_error *error);
    /* Returns the members of the report, a new object; NULL if memory runs out. If `schema` is set, the driver adds
     * "schema", "definition", "organ", "dry_run", the model, "parameters" and, if it is missing, "run". */
    json_t *(*document)(void *context, const organ_writing *writing);
    /* Edits the report after the evaluation was added to it. Returns -1 if memory runs out. */
    int (*finish_report)(void *context, json_t *report);
} organ_write;

/* Initialisers of organ_write from members that the job of every verb has. */
#define ORGAN_WRITE_BY(job)     .progress = (job)->progress, .engine = (job)->engine, .context = (job)
#define ORGAN_WRITE_PIECES(job) .pieces = (job)->pieces, .piece_count = (job)->piece_count, .units = (job)->units

/* Writes the output and returns its report in *report, which the caller releases. After an error *report is NULL; but
 * if the output is complete and only its evaluation failed, *report is set and the status is that of the evaluation.
 *
 * After an interruption, a full disk or a lack of memory the unfinished output stays with its journal, and `resume`
 * continues it to the same bytes. After any other error nothing of the output is left. A dry run writes nothing.
 *
 * Returns ORGAN_USAGE if
 *   - the output exists, or is the input or inside the input;
 *   - an unfinished run is found and neither `resume` nor `force` is set;
 *   - that run had other parameters, inputs, definition, plan or another version of organ.
 * Returns ORGAN_BAD_INPUT if a model changed during the run or config.json is not a JSON object, ORGAN_IO if reading,
 * writing or memory fails, ORGAN_INTERRUPTED if a stop was requested; otherwise the status that a callback returned. */
organ_status organ_write_run(const organ_write *write, json_t **report, organ_error *error);

#endif

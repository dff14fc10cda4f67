/* SPDX-License-Identifier: MIT
 * Room surgery/write: writes a model that a verb makes of another one. The verb fills one organ_write; organ_write_run
 * does the rest: dry run, journal and --resume, shares of ranks, files without tensors, config.json, evaluation,
 * reports, publishing. units.h has the functions that `fill` calls, write_rows.h the work on rows of replaced tensors.
 *
 * There are three kinds of output, by the members that are set:
 *   replaced   copies of the model's files, in which some tensors get other bytes of the same length
 *   pieces     new shards (or one GGUF file), with config.json edited; if the model was named by one of its files, only
 *              that file is written
 *   layout     files that a verb has laid out from tensors of one or two models, or an organ directory; without config
 *              edit, reports in OUT/organ and `fill` */
#ifndef ORGAN_WRITE_H
#define ORGAN_WRITE_H

#include "formats/base/json_edit.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/interface/write_options.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/scoring/evaluation.h"
#include "orchestrator/surgery/write/write_rows.h"
#include "orchestrator/surgery/write/units.h"

/* A file without tensors that the verb has made. */
typedef struct organ_written_file {
    const char *name;
    char *bytes; /* text, NUL-terminated */
} organ_written_file;

/* Everything must outlive the call. Members may be zero unless the comment says otherwise. */
typedef struct organ_write {
    const organ_model *model; /* never NULL */
    /* Path and --resume, --force, --dry-run, --evaluate; size of shards of `pieces`. The output is one file if its path
     * ends in .safetensors or .gguf, else a directory. Never NULL. */
    const organ_write_options *requested;
    const char *resumed_by; /* as in organ_output */
    bool choice;            /* as in organ_output */
    bool checked; /* the verb has checked the name of the output, and a long first phase followed: organ_write_run then
                     returns ORGAN_IO, not ORGAN_USAGE, for a name that another process has taken meanwhile */

    /* ---- replaced ---- */
    const bool *replaced; /* a flag for each tensor of the model; NULL: the output is of another kind */
    organ_cuts
        *cuts;  /* the row ranges of these tensors; unit k is row range k. NULL with `rows`, which makes its own */
    bool calib; /* the walk on a calibration text assigns units to ranks: organ_unit.calib */
    organ_row_work *rows; /* the work on each row, in the place of `fill` and `recall` */

    /* ---- pieces ---- */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* of the pieces, in their order */
    size_t unit_count;
    organ_gguf_writer *gguf;     /* key-values of a GGUF output; NULL: safetensors */
    const char *const *left_out; /* names of files that are not copied, NULL at the end */
    /* The files to write, up to a name that is NULL; no file of the model is then copied or edited. NULL: all files. */
    const organ_written_file *files;
    bool
        repacked; /* config.json of the model does not describe the output: an output of one file cannot be evaluated */

    /* ---- layout ---- */
    organ_layout *layout;      /* filled by the verb, which releases it */
    bool apart;                /* the output is an organ directory */
    const organ_model *source; /* the second model that the layout has tensors of */
    organ_ranks *ranks;        /* of a layout, in the place of those of `engine` */
    const organ_stop *stop;    /* the same */

    /* ---- names ---- */
    const char *definition;           /* "quantize/1", for document and journal */
    const char *schema;               /* of the document; NULL: `document` returns all of it */
    const char *stage;                /* "dequantizing", for the progress */
    const char *name, *markdown_name; /* of the reports in OUT/organ: "dequantize.json", "DEQUANTIZE_REPORT.md" */
    const char *lines_name;           /* of a report that `check` writes: as in organ_report_files */
    const char *model_is;             /* what document and journal call the model: "model", "base" */

    /* ---- run ---- */
    const organ_progress *progress;
    const organ_engine *engine; /* with `layout`: NULL, or for the evaluation alone */
    organ_made_as made_as;      /* what the verb makes of the weights, for the evaluation */
    const organ_plan *plan; /* of a dry run: the work in addition to reading the model and writing the output; NULL: the
                               document has no plan */

    /* ---- callbacks, on the thread of organ_write_run, with `context` ---- */
    void *context;
    void *inner; /* the context of `edit`, `fill`, `recall` and `depends`, if a room between verb and driver has them
                    (surgery/cut); NULL: `context` */
    /* Changes config.json of an output of pieces; not called if the model has none. */
    organ_status (*edit)(void *context, organ_json_edit *config, organ_error *error);
    /* Puts the bytes of the units that organ_write_done denies with organ_write_put, finishes each with
     * organ_write_finish, and advances the progress. Pieces that stay `same` are copied afterwards. */
    organ_status (*fill)(void *context, organ_writing *writing, organ_error *error);
    /* Restores from `results`, which organ_write_finish received in an earlier run or in another rank, the results of
     * this item's unit. Returns false if `results` are malformed: then the unit is made again. Not called for pieces
     * that stay the same. */
    bool (*recall)(void *context, size_t item, const json_t *results);
    /* For document and journal. Returns a new object, or NULL without memory. */
    json_t *(*parameters)(void *context);
    /* Returns further members on which the output depends, for the journal, because a run is continued only if they are
     * equal. Returns a new object, or NULL without memory. */
    json_t *(*identity)(void *context);
    json_t *(*depends)(void *context); /* the same of a room between verb and driver */
    /* Called when config.json and the headers of all files are written, before any tensor: checks what does not depend
     * on the bytes of tensors, so that a long run does not end with an error that was certain at its begin. The output
     * is in the directory `to` and opens by `path`. NULL: there is nothing to check. */
    organ_status (*begun)(void *context, const char *to, const char *path, organ_error *error);
    /* Called when all tensors are written and cuts->xxh3 is complete: checks the output in the directory `to`, which
     * opens by `path`. */
    organ_status (*check)(void *context, const char *to, const char *path, organ_error *error);
    /* Returns the report, or NULL without memory. With `schema` the driver adds "schema", "definition", "organ",
     * "dry_run", the model, "parameters" and, if it is missing, "run". */
    json_t *(*document)(void *context, const organ_writing *writing);
    /* Changes the same report once the evaluation is in it. Returns -1 without memory. */
    int (*finish_report)(void *context, json_t *report);
} organ_write;

/* Members that the job of each such verb has. */
#define ORGAN_WRITE_BY(job)     .progress = (job)->progress, .engine = (job)->engine, .context = (job)
#define ORGAN_WRITE_PIECES(job) .pieces = (job)->pieces, .piece_count = (job)->piece_count, .units = (job)->units

/* Writes the output. *report is for the caller to release, and NULL after an error; but if the output is whole and its
 * evaluation failed, *report is set and the status is that of the evaluation.
 *
 * After an interruption, a full disk or a lack of memory the unfinished output stays with its journal, and `resume`
 * continues it to the same bytes. After any other error nothing of the output is left. A dry run writes nothing.
 *
 * Returns ORGAN_USAGE if
 *   - the output exists, or is the input or inside the input;
 *   - an unfinished run is found and neither `resume` nor `force` is set;
 *   - that run had other parameters, inputs, definition, plan or another version of organ;
 * ORGAN_BAD_INPUT if a model changed during the run or config.json is no JSON object; ORGAN_IO; ORGAN_INTERRUPTED; else
 * the status that a callback returned. */
organ_status organ_write_run(const organ_write *write, json_t **report, organ_error *error);

#endif

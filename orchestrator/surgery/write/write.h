/* SPDX-License-Identifier: MIT
 * Writes a model that a verb makes from another one. The verb fills one organ_write and calls
 * organ_write_run, which does everything that verbs share: dry run, journal and --resume, division among ranks, files
 * without tensors, config.json, evaluation, reports, publishing.
 *
 * An output is a list of pieces: tensors, or parts of tensors, that are copied from a model or made by the verb. The
 * members that are set decide in which files the pieces are:
 *   replaced   copies of the model's files in which some tensors get other bytes of the same length
 *   pieces     new shards (or one GGUF file), with config.json edited; if the user named one of the model's files, only
 *              the new file is written
 *   layout     files that a verb has laid out (output/layout.h), or an organ directory, which gets no reports */
#ifndef ORGAN_SURGERY_WRITE_WRITE_H
#define ORGAN_SURGERY_WRITE_WRITE_H

#include "formats/base/json.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/stream/read_ahead.h"
#include "orchestrator/stream/write_behind.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <organ/options.h>
#include <organ/stream.h>

/* Work on the rows of replaced tensors: organ_write_run reads each row, calls the verb's `row` on it, writes it back
 * and finishes the units. */

/* One row of a replaced tensor, as a worker passes it to `row`. */
typedef struct organ_row {
    const organ_kernels *kernels;
    size_t index; /* index of the tensor among the replaced tensors */
    const organ_tensor *tensor;
    uint64_t number; /* of the row in its tensor */
    void *data; /* the stored row, `units` storage units of the tensor's type (organ_dtype_info.elements values each) */
    size_t units;
    float *values; /* the row in FP32, `cols` values, 64-byte aligned */
    size_t cols;
    void *scratch; /* buffer of the worker, organ_row_work.scratch_bytes long */
    double *sums;  /* ORGAN_ROW_SUMS sums of the tile that `row` adds to; 0 before the first row of a tile */
} organ_row;

/* Converts `values` to the tensor's type into `data`, then converts them back, so that `values` has the rounded
 * values. */
void organ_row_store(const organ_row *row);

/* Result of a row range or, after organ_row_work_fold, of a tensor. */
#define ORGAN_ROW_SUMS 4
typedef struct organ_row_result {
    double sums[ORGAN_ROW_SUMS]; /* sums of its tiles (or of its row ranges), added in order of rows */
    char xxh3[17];               /* XXH3 of its bytes in the output, 16 hexadecimal digits */
} organ_row_result;

/* The verb's work on rows. The functions get organ_write.context. */
typedef struct organ_row_work {
    size_t scratch_bytes; /* bytes of organ_row.scratch */
    uint64_t least;       /* bytes that the verb needs for other purposes, as organ_pass.least */
    void (*row)(void *context, const organ_row *row); /* changes the row; on any worker */
    /* Checks the sums of a row range, which cover its rows so far. Called at the same time for different tensors.
     * `index`: index of the tensor among the replaced tensors. An error, such as ORGAN_BAD_INPUT, ends the run. NULL:
     * no check. */
    organ_status (*judge)(void *context, size_t index, const double *sums, organ_error *error);
    void (*remark)(const double *sums,
                   char remark[64]); /* writes a remark on a finished row range for the progress. NULL: no remark */
    /* Set and owned by the driver: results of the row ranges; after the last one is written, of the tensors. */
    organ_row_result *results;
} organ_row_work;

/* Returns the number of elements of the longest row of the chosen tensors. `chosen` has a flag for each tensor of the
 * model. */
size_t organ_row_longest(const organ_model *model, const bool *chosen);

/* Tensors are divided into row ranges at multiples of this number of rows. Each range is divided into tiles of as many
 * rows. */
#define ORGAN_STRETCH_ROWS 8

/* ---- functions for the callbacks ---- */

/* Functions that the callbacks of organ_write call while organ_write_run writes an output. The output is divided into
 * units: one piece (a tensor, or a row range of a tensor) or several consecutive pieces, which are made together; the
 * index of a unit is that of its first piece. The journal has a line for each finished unit with digests of its bytes.
 * A run that continues an interrupted one makes only those units again whose bytes in the output do not have these
 * digests. */

typedef struct organ_writing organ_writing; /* state of organ_write_run for one output (writing.h) */

/* Returns organ_piece.done of the unit. */
bool organ_write_done(const organ_writing *writing, size_t unit);

/* Writes bytes [at, at + bytes) of a piece into the output and keeps their XXH3 for the journal. `scratch`: as in
 * organ_layout_put. May be called by several threads at the same time. Returns ORGAN_IO if the bytes cannot be
 * written or memory runs out. */
organ_status organ_write_put(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                             void *scratch, organ_error *error);

/* organ_write_put for workers that do not wait for the disk. The output must consist of pieces. Before
 * organ_write_finish of a unit, each worker that wrote bytes of it calls organ_behind_wait. */
organ_status organ_write_put_behind(organ_writing *writing, organ_behind *behind, size_t worker, size_t piece,
                                    const void *data, size_t bytes, uint64_t at, organ_error *error);

/* The two halves of organ_write_put for an output with replaced tensors: organ_write_bytes only writes, and
 * organ_write_digest only keeps the XXH3. */
organ_status organ_write_bytes(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                               organ_error *error);
organ_status organ_write_digest(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                                organ_error *error);

/* Returns what copies the tensors that are not replaced, for organ_pass.moves of a pass over the replaced ones, and
 * sets *behind for organ_pass.behind. */
const organ_pass_moves *organ_write_moves(organ_writing *writing, bool *behind);

/* Reads back bytes [at, at + bytes) of a piece that organ_write_put wrote, in this run or in the one that it continues.
 * Returns ORGAN_IO if they cannot be read. */
organ_status organ_write_read(const organ_writing *writing, size_t piece, void *data, size_t bytes, uint64_t at,
                              organ_error *error);

/* Appends to the journal the line of a unit whose bytes are all written. `results`: an object with the verb's results
 * of the unit, which a run that continues passes to `recall`. The function takes it over; NULL means that the caller
 * had no memory. Call it from one thread at a time. Returns ORGAN_IO if the journal cannot be written or memory ran
 * out. */
organ_status organ_write_finish(organ_writing *writing, size_t unit, json_t *results, organ_error *error);

/* Appends a line to the journal for a value that took long to compute and belongs to no unit. The function takes `line`
 * over; NULL means that the caller had no memory. A dry run appends nothing. `keep_if_interrupted`: if the run is
 * interrupted before a unit is done, the output is still kept for --resume, because of this line. Returns ORGAN_IO if
 * the journal cannot be written or memory ran out. */
organ_status organ_write_note(organ_writing *writing, json_t *line, bool keep_if_interrupted, organ_error *error);
/* Appends a line for a value that all ranks have computed: rank 0 calls organ_write_note with keep_if_interrupted, all
 * other ranks release `line`. Returns ORGAN_IO on rank 0 if the journal cannot be written or memory ran out. */
organ_status organ_write_note_once(organ_writing *writing, json_t *line, organ_error *error);

/* Returns the array of journal lines that the interrupted run wrote before this run continued it; empty in a new run.
 * Owned by `writing`. */
const json_t *organ_write_lines(const organ_writing *writing);

/* Returns the output, for `document`. Owned by `writing`. */
const organ_output *organ_write_output(const organ_writing *writing);
/* Returns the files of the output, for `document`; NULL for an output with replaced tensors, which has the files of the
 * model. Owned by `writing`. */
const organ_layout *organ_write_files(const organ_writing *writing);

/* Returns whether an earlier run has completed the output, so that it only needs its name. */
bool organ_write_is_whole(const organ_writing *writing);

/* Returns the path of a file in which the run may keep values of its choices until the output has its name. It does not
 * exist in a new run. Owned by `writing`; valid in `decide` and later. */
const char *organ_write_choices(const organ_writing *writing);

/* Returns what the output does with finite values beyond the range of the type in which it stores them: with
 * organ_write_options.saturate it limits them, and organ_write_run prints their number at the end. */
organ_overflow *organ_write_overflow(organ_writing *writing);

/* Returns the context of `fill`: organ_write.inner, or organ_write.context if that is NULL. */
void *organ_write_inner(const organ_writing *writing);

/* Returns, for `document` of a layout, the list of the files without tensors that are copied. Owned by `writing`. */
const organ_file_list *organ_write_extra_files(const organ_writing *writing);

/* A file without tensors that the verb has made. */
typedef struct organ_written_file {
    const char *name;
    char *bytes;   /* owned by the verb */
    size_t length; /* of `bytes`; 0 for a text that ends with NUL */
    bool exact;    /* exactly these `length` bytes: the file gets no seal */
} organ_written_file;

/* Where the model of a run comes from that is temporary: an earlier step of the command has made it. */
typedef struct organ_write_origin {
    const char *scored;     /* path of the model with which an evaluation compares the output */
    const char *name;       /* file name of a report of the earlier step, "recipe.yaml", for an output of one file; a
                               directory has it among the files of the model. NULL: none */
    const char *text;       /* content of that report */
    const json_t *document; /* becomes the member `member` of the report; NULL: none */
    const char *member;
} organ_write_origin;

/* Names of definition, files and progress. */
typedef struct organ_write_names {
    const char *definition; /* name and version of the definition, "quantize/1", for document and journal */
    /* View of the document, which names the schema and the files of the reports; never NULL. make.check writes the
     * report view->files.lines. */
    const organ_view *view;
    const char *stage;      /* label of the progress bar: "dequantizing" */
    const char *model;      /* key of the model in document and journal: "model", "base" */
    const char *resumed_by; /* option that messages name to continue the run; NULL: "--resume" */
} organ_write_names;

/* Phase check: what identifies the run. A run is continued only if all of this is equal. */
typedef struct organ_write_check {
    /* Returns the verb's parameters for document and journal, a new object. NULL if memory runs out. */
    json_t *(*parameters)(void *context);
    /* Returns a new object with further members of the journal's first line on which choices and output depend. NULL
     * if memory runs out. */
    json_t *(*identity)(void *context);
    /* Adds the files that the run reads besides the models: adapters, texts, recipes, importance matrices,
     * measurements. A file that the run itself completes is none of them. NULL: there are none. */
    organ_status (*inputs)(void *context, organ_run_inputs *inputs, organ_error *error);
    /* The verb has checked the path of the output before a long first phase: if another process has created it
     * meanwhile, organ_write_run returns ORGAN_IO, not ORGAN_USAGE. */
    bool early;
} organ_write_check;

/* An output of copies of the model's files. */
typedef struct organ_write_replaced {
    /* A flag for each tensor of the model: its bytes are replaced. NULL: the output is of another kind. */
    const bool *chosen;
    /* Row ranges of these tensors: unit k and piece k are row range k. NULL with `rows`: the driver then makes the row
     * ranges. */
    organ_stretches *stretches;
    bool calib;           /* value of organ_piece.calib for all units */
    organ_row_work *rows; /* work on each row; replaces `fill` and `recall`. NULL: `fill` writes the bytes */
} organ_write_replaced;

/* An output of new files, whose tensors are pieces. */
typedef struct organ_write_pieces {
    organ_piece *list;
    size_t count;
    organ_gguf_writer *gguf; /* writer that has the key-values of a GGUF output; NULL: the output is safetensors */
    /* Texts to write as files; the list ends with a NULL name. If it is set, no other file of the model is copied and
     * config.json is not edited. NULL: the files of the model are copied. */
    const organ_written_file *files;
    /* The model's config.json does not describe how the output stores its weights; an output of one file, which has no
     * config.json, can then not be evaluated. */
    bool repacked;
} organ_write_pieces;

/* Phase make: the files and tensors of the output. */
typedef struct organ_write_make {
    /* Edits the config.json of an output whose pieces are not all copied from `model`. Not called if the model has
     * none, or for a layout of GGUF files. Gets `inner`. */
    organ_status (*edit)(void *inner, organ_json_edit *config, organ_error *error);
    /* Returns a new object with members of the journal that the plan of the output depends on. They must be equal in a
     * continued run. Gets `inner`. NULL: there are none. The function returns NULL if memory runs out. */
    json_t *(*depends)(void *inner);
    /* Called after config.json and the headers of all files were written, before any tensor: checks everything that
     * does not depend on the bytes of tensors, so that a long run does not end with an error that was predictable at
     * its start. `to` is the directory with the output, `path` the path by which it opens as a model. NULL: no
     * check. */
    organ_status (*begun)(void *context, const char *to, const char *path, organ_error *error);
    /* Makes the units for which organ_write_done returns false: writes their bytes with organ_write_put, calls
     * organ_write_finish for each, and advances the progress. The driver then copies the pieces whose `same` is set.
     * Gets `inner`. */
    organ_status (*fill)(void *inner, organ_writing *writing, organ_error *error);
    /* Restores the results of the unit of source tensor `item` from `results`, the object that organ_write_finish
     * received in an interrupted run or in another rank. Returns false if `results` is malformed; the unit is then made
     * again. Not called for pieces whose `same` is set. Gets `inner`. NULL: there are no results to restore. */
    bool (*recall)(void *inner, size_t item, const json_t *results);
    /* Called after all tensors were written, before `check`, for a room between verb and driver; gets `inner`. `path`:
     * by which the output opens as a model. NULL: nothing to do. */
    organ_status (*written)(void *inner, const char *path, organ_error *error);
    /* Called after all tensors were written and stretches->xxh3 is complete: checks the finished output. `to` and
     * `path` as in `begun`. */
    organ_status (*check)(void *context, const char *to, const char *path, organ_error *error);
} organ_write_make;

/* The report, after the phase make or of a dry run. */
typedef struct organ_write_report {
    /* Returns the members of the report, a new object; NULL if memory runs out. If it lacks "schema" and
     * check.parameters is set, the driver adds "schema", "definition", "organ", "dry_run", the model, "parameters" and,
     * if it is missing, "run". */
    json_t *(*document)(void *context, const organ_writing *writing);
    /* Edits the report after the evaluation was added to it. Returns -1 if memory runs out. */
    int (*finish)(void *context, json_t *report);
    /* Predicted work of a dry run, in addition to reading the model and writing the output. NULL: there is none. */
    const organ_plan *plan;
    organ_type_change made_as;        /* how the verb changes the weights, for the evaluation */
    bool runs_blocks;                 /* the verb runs the model's blocks for multi-token prediction */
    bool made_rounds;                 /* the output declares that servers round inputs, for the evaluation */
    const organ_write_origin *origin; /* NULL: the model is an input of the command */
} organ_write_report;

/* The output of organ_write_run, and the verb that makes it. Everything that members point to must outlive the call.
 * Members may be zero unless their comment says otherwise. Callbacks run on the thread of organ_write_run.
 *
 * A run has three phases.
 *   check    compares the path of the output with other files and the inputs, opens the evaluation, begins the output
 *            under its hidden name and opens the journal. A continued run must have the same `check` members.
 *   decide   calls `decide`.
 *   make     plans the files, writes them and their tensors, publishes the output with its report.
 * A dry run checks, decides by what it can know without running the model, and plans. */
typedef struct organ_write {
    const organ_model *model; /* never NULL */
    /* Path of the output, --resume, --force, --dry-run, --evaluate, and the shard limit of `pieces`. The output is one
     * file if its path ends in .safetensors or .gguf, else a directory. Never NULL. */
    const organ_write_options *requested;
    const organ_progress *progress;
    /* It may be NULL if all pieces are copied and the output is not evaluated; the tensors are then copied on threads
     * that are started for the run. */
    const organ_engine *engine;
    void *context; /* first argument of the callbacks */
    /* of those that get `inner`, for a room between verb and driver (verbs/shrink/cut_parts.h). NULL: `context` */
    void *inner;
    /* Of an output of pieces, write the headers, the index and the files without tensors. The files have their full
     * size, but holes in place of the tensors. `fill` and `check` are not called, and there are no reports. */
    bool outline;
    const char *const *left_out; /* names of files of the model that are not copied; ends with NULL. NULL: none */
    organ_write_names names;
    organ_write_check check;
    /* Makes the choices that take long, such as those that run the model, and completes *pieces. Choices that the
     * journal has (organ_write_lines) are taken from there; new ones are appended as soon as they are made
     * (organ_write_note_once). All ranks call it. In a dry run, choices that need a run of the model stay
     * open: the document says so. Gets `inner`. NULL: there is nothing to decide. */
    organ_status (*decide)(void *inner, organ_writing *writing, organ_write_pieces *pieces, organ_error *error);
    organ_write_replaced replaced;
    organ_write_pieces pieces;
    /* Files and pieces that the verb has laid out, and releases; `pieces` then has only files. Its `model` is
     * the same. If not all pieces are copied, a unit may write fewer bytes than its piece has, from the first on, and
     * `written` completes the file. NULL: the driver plans the files of `pieces`. */
    organ_layout *layout;
    const organ_model *source; /* second model from which the output takes tensors; NULL: none. --force recognises no
                                  copies of the model's files in an earlier output of two models that work has made */
    /* If all pieces of the layout are copied: used in place of those of `engine`. */
    organ_ranks *ranks;
    const organ_stop *stop;
    organ_write_make make;
    organ_write_report report;
} organ_write;

/* Initialisers of organ_write from members that the job of every verb has. */
#define ORGAN_WRITE_BY(job)     .progress = (job)->progress, .engine = (job)->engine, .context = (job)
#define ORGAN_WRITE_PIECES(job) .pieces.list = (job)->pieces, .pieces.count = (job)->piece_count

/* Writes the output and returns its report in *report, which the caller releases. After an error *report is NULL; but
 * if the output is complete and only its evaluation failed, *report is set and the status is that of the evaluation.
 *
 * After an interruption, a full disk or a lack of memory the unfinished output stays with its journal, and `resume`
 * continues it to the same bytes. After any other error nothing of the output is left. A dry run writes nothing.
 *
 * Returns ORGAN_USAGE if
 *   - the output exists, or is an input, contains one or is inside the model;
 *   - an unfinished run is found and neither `resume` nor `force` is set;
 *   - that run had other parameters, inputs, definition, plan or another version of organ.
 * Returns ORGAN_BAD_INPUT if a model changed during the run or config.json is not a JSON object, ORGAN_IO if reading,
 * writing or memory fails, ORGAN_INTERRUPTED if a stop was requested; otherwise the status that a callback returned. */
organ_status organ_write_run(const organ_write *write, json_t **report, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * The state of organ_write_run, shared by the files of this folder: write_driver.c runs, prepare.c plans the output,
 * units.c writes and records units, units_recall.c restores those of an interrupted run and divides units among ranks,
 * row_work.c processes rows, card.c writes the model card. */
#ifndef ORGAN_WRITING_H
#define ORGAN_WRITING_H

#include "orchestrator/output/model_copy.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/report/view/views.h"

#include <pthread.h>
#include <stdio.h>

/* Bytes [at, at + bytes) of a piece that one call of organ_write_put wrote, and their digest. */
typedef struct organ_unit_extent {
    uint64_t at, bytes, xxh3;
} organ_unit_extent;

typedef struct organ_unit_extents {
    organ_unit_extent *list;
    size_t count, capacity;
} organ_unit_extents;

/* The extents of pieces whose unit is not finished yet, and the division of units among ranks. */
typedef struct organ_unit_log {
    pthread_mutex_t lock;         /* guards of_piece: any thread may call organ_write_put */
    bool open;                    /* organ_units_begin was called, so organ_units_end must release the log */
    organ_unit_extents *of_piece; /* extents of each piece */
    bool *elsewhere; /* a flag for each unit: another rank makes it, and its `done` is set until organ_units_join */
    FILE *own_lines; /* stream that collects in `text` the journal lines of this rank's units; NULL: one process */
    char *text;      /* these lines */
    size_t length;   /* bytes of `text` */
} organ_unit_log;

struct organ_writing {
    const organ_write *write; /* the verb's description of the output, owned by the caller */
    organ_write_pieces made;  /* write->pieces as the verb has completed them in `decide` */
    organ_output output;
    organ_run_inputs inputs; /* all files that the run reads */
    organ_run_journal journal;
    organ_layout *plan;      /* files and pieces of the output, once it is planned */
    organ_layout own_plan;   /* what `plan` points to, unless the verb has laid out the files */
    size_t unit_count, done; /* number of units, and of those that are done */
    organ_unit_log log;
    uint64_t source_bytes;      /* sum of the source bytes of all units, for the progress */
    uint64_t rows_memory;       /* in a dry run: least memory of organ_row_work_run */
    organ_stretches *stretches; /* row ranges of replaced tensors; NULL for other kinds of output */
    /* Released by organ_write_run: */
    organ_stretches own_stretches; /* for organ_write.rows: made by the driver; `stretches` then points here */
    const organ_tensor **tensors;  /* the tensors of own_stretches */
    organ_file_list extra;         /* files without tensors to copy */
    char *choices;                 /* path of organ_write_choices; NULL: nothing is written */
    char *root;                    /* directory from which they are copied */
    char *config_path;             /* path of the model's config.json; NULL: the output gets none from here */
    organ_json_edit config;
    bool config_changed; /* `config` differs from the file */
    size_t stripped;     /* number of obsolete settings removed from config.json */
    organ_evaluation evaluation;
    organ_overflow overflow;
};

/* Runs the statement for the index of each unit, that of its first piece. */
#define ORGAN_EACH_UNIT(u, w) for (size_t u = 0; u < (w)->plan->piece_count; u += 1 + (w)->plan->pieces[u].more)

/* Returns whether the output gets the report of an earlier step, as it has no `lines` of its own. */
static inline bool organ_writing_has_origin(const organ_writing *w)
{
    return w->write->report.origin && w->output.single && !w->write->names.view->files.lines;
}

/* Returns whether the verb has laid out files whose pieces are all copied, and has checked their path. */
static inline bool organ_writing_only_copies(const organ_writing *w)
{
    return w->write->layout && w->write->layout->only_copies;
}

/* Returns whether the output is an organ directory. */
static inline bool organ_writing_is_apart(const organ_writing *w)
{
    return w->write->layout && w->write->layout->apart;
}

/* Returns the names of the reports; all are NULL for an organ directory, whose manifest lists all files. */
static inline organ_report_files organ_writing_files(const organ_writing *w)
{
    organ_report_files files = w->write->names.view->files;
    if (organ_writing_has_origin(w))
        files.lines = w->write->report.origin->name;
    return organ_writing_is_apart(w) ? (organ_report_files){0} : files;
}

/* ---- prepare.c ---- */

/* Returns whether the output is a GGUF file, apart from a copy with replaced tensors. */
bool organ_writing_makes_gguf(const organ_write *write);
/* Checks the output's path, lists the inputs and opens the evaluation. Writes nothing. */
organ_status organ_writing_check(organ_writing *w, organ_error *error);

/* Plans files and units, and edits config.json, after the verb has decided. Writes nothing. */
organ_status organ_writing_plan(organ_writing *w, organ_error *error);

/* Writes config.json and the other files without tensors into the directory `to`. */
organ_status organ_writing_begin(const organ_writing *w, const char *to, organ_error *error);

/* ---- units.c ---- */

/* Returns the first line of the journal: definition, parameters, identity and input files. NULL if memory runs out. */
json_t *organ_writing_head(const organ_writing *w);
/* Returns the line of the journal with the digest of the plan and what else the output depends on after the decision.
 * NULL if memory runs out. */
json_t *organ_writing_plan_line(const organ_writing *w);

/* Evaluates the output at `path`, makes the report and returns it in *report. Rank 0 also writes the report into the
 * output, if the verb gives it a name. `path` is NULL in a dry run: nothing is evaluated or written. */
organ_status organ_writing_report(organ_writing *w, const char *path, json_t **report, organ_error *error);

/* Copies the pieces whose `same` is set and whose unit this rank must still make. For a copy of the model's files,
 * copies the bytes that are not replaced. Returns the errors of organ_transfer_run and organ_model_copy_finish.
 */
organ_status organ_units_copy(organ_writing *w, organ_error *error);

uint64_t organ_units_bytes(const organ_writing *w, size_t unit); /* bytes of the unit's pieces in the output */

/* ---- units_recall.c ---- */

/* Allocates the log and marks the units that the journal lists as done, after comparing their bytes in the output with
 * the digests; each rank compares its share. Call organ_units_end whatever it returns. Returns ORGAN_IO if reading or
 * memory fails, ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_units_begin(organ_writing *w, organ_error *error);
void organ_units_end(organ_writing *w); /* releases the log, if organ_units_begin was called */

/* Divides the units that are not done among the ranks by bytes. Units of other ranks count as done until
 * organ_units_join. */
organ_status organ_units_assign(organ_writing *w, organ_error *error);

/* Waits until all ranks have made their units, and restores the results of the units of other ranks. Every rank calls
 * it, also after an error; it returns that error or the first new one. */
organ_status organ_units_join(organ_writing *w, organ_error *error);

/* ---- row_work.c ---- */

/* Returns the least memory with which organ_row_work_run is not refused, for a plan of all units. */
uint64_t organ_row_work_enough(organ_writing *w, organ_error *error);

/* Processes the rows of the units that this rank must still make. Returns errors of organ_pass_run, organ_write_put and
 * `judge`. */
organ_status organ_row_work_run(organ_writing *w, organ_error *error);

/* Restores sums and digest of row range `stretch` from `line`, the "results" of its journal line. Returns false if they
 * are incomplete. */
bool organ_row_work_recall(organ_writing *w, size_t stretch, const json_t *line);

/* Replaces the results of row ranges by those of tensors: results[t] is the sum over the ranges of tensor t. */
void organ_row_work_fold(const organ_writing *w);

/* ---- card.c ---- */

/* Writes README.md of an output that is a directory: the donor's model card, with members that state what the run has
 * made. Prints a note, and leaves the copy of the donor's card, if that cannot be edited. */
organ_status organ_writing_card(const organ_writing *w, const json_t *report, organ_error *error);

#endif

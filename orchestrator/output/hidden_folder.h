/* SPDX-License-Identifier: MIT
 * Hidden directories next to an output, ".NAME.organ-ENDING", for what a run makes before the output: the outline of a
 * model, a merged or a converted model. The run that uses such a directory holds its lock until it removes the
 * directory; no other run opens, empties or removes it meanwhile. */
#ifndef ORGAN_OUTPUT_HIDDEN_FOLDER_H
#define ORGAN_OUTPUT_HIDDEN_FOLDER_H

#include "orchestrator/output/facts.h"
#include "orchestrator/output/run_inputs.h"
#include "orchestrator/output/run_names.h"

/* A locked directory. All zero: none. */
typedef struct organ_hidden_folder {
    char *path;         /* NULL: none */
    organ_partial held; /* the directory and its lock; valid if `path` is set and `shared` is not */
    bool shared;        /* rank 0 holds the lock */
} organ_hidden_folder;

/* Returns ".NAME.ENDING" next to `output`, whose slashes at the end do not count; NULL if memory runs out. The caller
 * frees it. */
char *organ_hidden_path(const char *output, const char *ending);

/* Makes the directory `path`, or takes the one that an earlier run left, and locks it; only rank 0 does, and each rank
 * may use it after the ranks have agreed. `final` is the output, for messages. Returns ORGAN_IO if another process has
 * locked it (errnum EBUSY; the message names the process) or it cannot be made, ORGAN_USAGE if the path is a symbolic
 * link or not a directory. The caller ends it with organ_hidden_folder_remove or organ_hidden_folder_leave, also after
 * an error. */
organ_status organ_hidden_folder_open(const char *path, const char *final, organ_ranks *ranks,
                                      organ_hidden_folder *folder, organ_error *error);

/* Makes an empty locked directory for the outline of a model: organ_hidden_path(output, ending) or, if `output` is
 * NULL, as in a dry run without -o, a new directory in TMPDIR or /tmp. Removes what a killed run left in it. Each rank
 * gets its own. Returns the errors of organ_hidden_folder_open, ORGAN_IO if the rest cannot be removed. */
organ_status organ_outline_folder_open(const char *output, const char *ending, organ_ranks *ranks,
                                       organ_hidden_folder *folder, organ_error *error);

/* Removes the directory with all that is in it, then releases the lock. If that fails and `error` is not set yet, sets
 * it to ORGAN_IO. Allocates nothing. */
organ_status organ_hidden_folder_remove(organ_hidden_folder *folder, organ_error *error);

/* Releases the lock; the directory stays for --resume. */
void organ_hidden_folder_leave(organ_hidden_folder *folder);

/* Returns ORGAN_USAGE if `path` is a symbolic link or a file where a run would have its hidden directory. */
organ_status organ_hidden_path_check(const char *path, organ_error *error);

/* ---- a run of two steps: the first makes a temporary model, which the last reads and which is removed at the end ----
 *
 * All ranks call the functions below: the model must have its name before a rank opens it, and all ranks must have
 * closed it before it is removed. A last step may have two steps of its own. */

/* The caller sets the members up to `partial`, and frees them with organ_hidden_model_close. */
typedef struct organ_hidden_model {
    const char *output;          /* path of the output of the last step */
    organ_ranks *ranks;          /* NULL: one process */
    char *folder;                /* path of the hidden directory; NULL: there is no temporary model */
    char *path, *partial;        /* of the model in it, and of its partial directory (organ_publish_partial) */
    organ_run_names names;       /* the outputs, reserved for this run */
    organ_hidden_folder sketch;  /* hidden directory of the outline, the same model without data */
    char *outline;               /* the outline; NULL: there is none */
    organ_hidden_folder entered; /* `folder`, locked by this run */
    bool begun;                  /* the ranks have begun to use it */
    bool refused;                /* the model there is of another run and stays */
} organ_hidden_model;

/* The two steps. */
typedef struct organ_steps {
    const organ_run_inputs *inputs; /* all files from which the model is made */
    bool resume;                    /* keep a finished model, or continue an unfinished one, with the same inputs */
    const char *key;                /* of the model in the record of its directory (organ_run_record_begin) */
    const organ_view *report;       /* of the verb that makes it */
    const char *sketch; /* ending of the directory of the outline; NULL: the last step is tried without one */
    const char *name;   /* of the outline in it */
    bool tries;         /* try the last step before the model is made; a dry run only does that */
    bool dry;
    void *context; /* first argument of the functions */
    /* Writes the outline to m->outline, or finds errors of the first step before it begins. NULL: nothing to do */
    organ_status (*outline)(void *context, const organ_progress *progress, organ_error *error);
    /* Called when m->folder is locked; `begun`: an earlier run has made it. May be NULL. */
    organ_status (*enter)(void *context, bool begun, organ_error *error);
    /* Writes the model to m->path, and gives its report. */
    organ_status (*make)(void *context, bool resume, json_t **report, organ_error *error);
    /* The last step with the model at `path`; a dry run if it is tried (`try`), with the outline or, if there is none,
     * NULL. */
    organ_status (*last)(void *context, const char *path, bool try, const organ_progress *progress, json_t **report,
                         organ_error *error);
} organ_steps;

/* Sets m->folder to organ_hidden_path(output, ending), m->path to `name` in it, and m->partial. Returns the errors of
 * organ_hidden_path_check. */
organ_status organ_hidden_model_name(organ_hidden_model *m, const char *output, const char *ending, const char *name,
                                     organ_error *error);

/* Runs the steps: both on the outline first, so that errors of options, models, paths and memory are found before the
 * first step, which may take long; then with the model. A model that an earlier run has finished is kept, and its
 * warnings are repeated. *made becomes the report of the model, *report that of the last step, or of its try if the run
 * is dry. Returns the errors of the steps, ORGAN_USAGE if the model in m->folder is of other inputs. */
organ_status organ_steps_run(organ_hidden_model *m, const organ_steps *steps, const organ_progress *progress,
                             json_t **made, json_t **report, organ_error *error);

/* Removes outline and model, and releases `m`. The model stays after an interruption or ORGAN_IO with `keep`, and
 * without it if it is of another run. Allocates nothing: memory may have run out. */
void organ_hidden_model_close(organ_hidden_model *m, bool keep, organ_error *error);

#endif

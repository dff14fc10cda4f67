/* SPDX-License-Identifier: MIT
 * An output directory that appears complete or not at all: it is written under a hidden name next to the final one
 * (".NAME.organ-partial") and renamed at the end. */
#ifndef ORGAN_OUTPUT_PUBLISH_H
#define ORGAN_OUTPUT_PUBLISH_H

#include "formats/base/files.h"
#include "orchestrator/output/partial.h"

#define ORGAN_PUBLISH_FILES ORGAN_NAMING_MAX /* a model in a single file or in several, and its reports */

/* How complete an output is. */
typedef enum organ_publish_stage {
    ORGAN_OUTPUT_GROWING, /* incomplete */
    ORGAN_OUTPUT_KEPT,    /* complete, but still under the temporary name, because the final one was not available */
    ORGAN_OUTPUT_NAMED,   /* complete, under its final name */
    ORGAN_OUTPUT_LOST     /* another run has taken over the partial directory */
} organ_publish_stage;

/* An output that a run writes. */
typedef struct organ_publish {
    char *final;   /* final path of the output, without trailing slashes */
    char *partial; /* path of the partial directory, in which the output is written */
    char *note;    /* path of the note */
    char *parent;  /* directory of all these paths */
    /* descriptor that locks the partial directory against other processes; -1: not locked (other ranks) */
    int lock;
    int folder; /* descriptor of the partial directory in each rank, `lock` where that is open; -1: not open */
    int mark;   /* descriptor of the mark of an unfinished output, which locks it against other hosts too; -1: none */
    char token[ORGAN_PARTIAL_TOKEN]; /* the text that this run has written into the mark */
    organ_held_folder *held;         /* the directory, in which paths below `partial` are looked up */
    bool resumed;                    /* the partial directory existed and is continued */
    bool whole; /* the partial directory contains the complete output of an earlier run, which only needs its name */
    bool force; /* replace an existing output if organ_check_replaceable accepts it */
    const char *like;          /* argument of organ_check_replaceable; belongs to the caller */
    bool empty;                /* `final` is an empty directory that organ_publish_commit may remove */
    organ_publish_stage stage; /* how complete the output is */
    unsigned closed;           /* permission bits that no file of the output may have */
    size_t writers;            /* ranks that write the output together; 0: one */
} organ_publish;

/* How organ_publish_begin treats outputs of earlier runs. */
typedef struct organ_publish_mode {
    bool resume;     /* continue an unfinished run */
    bool force;      /* replace an existing output, discard an unfinished run */
    bool discard;    /* discard an unfinished run, because it cannot be continued */
    bool journal;    /* the caller can continue an output that has a journal */
    unsigned closed; /* organ_publish.closed */
} organ_publish_mode;
/* Creates the partial directory, or reopens the one of an interrupted run, and locks it. An empty directory at `final`
 * is allowed. If an earlier run was killed after it wrote all of the output, organ_publish_begin continues that output
 * even without `resume`, so that it gets its name; without a journal the output is begun again.
 *
 * Returns ORGAN_USAGE if
 *   - `final` exists and is not empty, unless `force` is set and organ_check_replaceable accepts it with the same
 *     `like`;
 *   - it finds an unfinished run, unless `resume` continues that run or `force` or `discard` discards it;
 *   - it finds a finished output that could not get this name.
 * Returns ORGAN_IO if the directory cannot be created or another process has locked it. */
organ_status organ_publish_begin(const char *final, const char *like, organ_publish_mode way, organ_publish *publish,
                                 organ_error *error);

/* For a dry run: returns the errors that organ_publish_begin would return because of existing files, and changes
 * nothing that organ_publish_check does not change. Does not determine whether another process has locked the
 * directory. */
organ_status organ_publish_try(const char *final, const char *like, organ_publish_mode way, organ_error *error);

/* Allows other ranks to write into this output: stores `token`, a text of less than 64 bytes, in the mark of the
 * unfinished output (ORGAN_GROWING_MARK), where organ_publish_join reads it. */
organ_status organ_publish_set_token(organ_publish *publish, const char *token, organ_error *error);
/* Opens, in another rank, the output that rank 0 has begun. Returns ORGAN_IO if its mark is not visible or has another
 * token, because the ranks do not share a file system. */
organ_status organ_publish_join(const char *final, const char *token, organ_publish *publish, organ_error *error);
/* First half of a check that the file system supports several writers of one file: writes the mark of this rank to a
 * file of the output. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_publish_mark(const organ_publish *publish, size_t rank, organ_error *error);
/* Second half, after all `count` ranks have called organ_publish_mark: reads the marks of all ranks. Returns ORGAN_IO
 * if one is missing; the message names its rank. */
organ_status organ_publish_verify(const organ_publish *publish, size_t count, organ_error *error);

/* Returns ORGAN_USAGE if organ_publish_begin would reject `final` because of an existing file or directory, ORGAN_IO if
 * its parent is no directory. Changes
 * files in one case only: if an earlier run was killed after its output got the name `final`, renames the other files
 * of the output or removes the empty partial directory (organ_naming_finish). */
organ_status organ_publish_check(const char *final, const char *like, bool force, organ_error *error);

/* Finishes the renaming of an earlier run that was killed after its output got the name `final`: removes the run's note
 * and the former output. Does nothing if there is no note. Returns ORGAN_IO if that fails. */
organ_status organ_publish_finish(const char *final, organ_error *error);

/* Returns ORGAN_OK if `state` is ORGAN_PARTIAL_LOCKED, else ORGAN_IO: another process writes the output `final` (errnum
 * EBUSY), or the directory at `path` cannot be opened or locked. */
organ_status organ_partial_judge(organ_partial_state state, const char *path, const char *final, int fault,
                                 organ_error *error);

/* Returns whether an unfinished run has left files in the partial directory of `final`. False also if this cannot be
 * determined. */
bool organ_publish_is_begun(const char *final);
/* The same for the path of a partial directory. Allocates nothing. */
bool organ_partial_is_begun(const char *partial);

/* Returns the path of the partial directory of `final`; NULL if memory runs out. The caller frees it. */
char *organ_publish_partial(const char *final);

/* Returns whether a finished output with its journal waits for the name `final`, because its run was killed: then
 * organ_publish_begin continues it even without `resume`. False also if this cannot be determined. */
bool organ_publish_waits(const char *final);

/* Removes such an output, with its note, from its partial directory; keeps the directory and its lock `own`. Returns
 * ORGAN_IO if that fails. */
organ_status organ_publish_discard_waiting(const char *final, organ_partial *own, organ_error *error);

/* Removes a complete output of an earlier run that could not be renamed to `final`, for callers that can repeat the
 * run. Keeps incomplete outputs. Returns ORGAN_IO if another process writes the output, or if the output cannot be
 * removed. */
organ_status organ_publish_give_up(const char *final, organ_error *error);

/* Removes `folder` if it is left of a run that was killed after it had written `final`: `made`, the temporary model in
 * it from which that run made `final`, is complete and older, or is removed already. */
void organ_publish_tidy(const char *final, const char *folder, const char *made);

/* Returns the path of file `name` in the partial directory; NULL if memory runs out. The caller frees the path. */
char *organ_publish_path(const organ_publish *publish, const char *name);

/* Renames the partial directory to `final` and synchronises the rename. Files in the partial directory must have been
 * synchronised before. Without `force` the function never replaces an existing file. With `force` it checks the
 * existing output before it removes that output; an output that was changed meanwhile is kept under another name.
 * `journal` is a file of the partial directory, or NULL; it is removed when the rename can no longer fail, with the
 * journals of other ranks and with ORGAN_JOURNAL_FOLDER if that is then empty. After ORGAN_IO, publish->stage is the
 * state of the output, and the message says what the user can do. */
organ_status organ_publish_commit(organ_publish *publish, const char *journal, organ_error *error);

/* Publishes an output that consists of single files, as organ_publish_commit publishes a directory. `names` are up to
 * ORGAN_PUBLISH_FILES files of the partial directory, terminated by NULL and synchronised before. The first is renamed
 * to `final`, the others to their names next to it; then the partial directory is removed. For `journal` see
 * organ_publish_commit. */
organ_status organ_publish_commit_files(organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error);

/* Leaves a finished output (publish->whole) of another run, which organ_publish_begin has found, under its temporary
 * name. Always returns an error: ORGAN_USAGE, with the command that renames the output in the message, or ORGAN_IO. */
organ_status organ_publish_keep(organ_publish *publish, const char *journal, organ_error *error);

/* Removes the partial directory, unless it contains a complete output. */
void organ_publish_abandon(organ_publish *publish);

/* Frees the structure and releases the lock; keeps files. Always the last call; allowed on a zeroed structure. */
void organ_publish_end(organ_publish *publish);

/* Synchronises a directory (fsync). */
organ_status organ_sync_directory(const char *path, organ_error *error);

/* ---- for the files that finish and share outputs ---- */

/* Renames the journal, a file in the partial directory, to the note next to that directory; with `back`, renames the
 * note to the journal. */
organ_status organ_publish_move_journal(const organ_publish *publish, const char *journal, bool back,
                                        organ_error *error);

/* Fails with ORGAN_USAGE because the partial directory contains a finished output without its name. The message has the
 * shell command that renames the output. */
organ_status organ_publish_fail_awaiting(const organ_publish *publish, organ_error *error);

/* Removes a file, or a directory with everything below it, without following links. Returns 0, or -1 with errno; some
 * files may then remain. Allocates nothing. */
int organ_remove_tree(const char *path);

#endif

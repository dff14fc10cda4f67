/* SPDX-License-Identifier: MIT
 * Reads the rows of one matrix, or of the same matrix in several models.
 *
 * The rows are divided into sets, and each set into units. For each set in order, first the workers read its units;
 * then they run its tasks, which may use the rows of all units; then the calling thread retires the set. Within a set,
 * units and tasks run in any order. The caller owns the memory of the rows.
 *
 * organ_pass_run and stream/weight_pass.h differ: they read ahead across the tensors of a whole model and never wait
 * for the end of a set. */
#ifndef ORGAN_STREAM_ROWS_H
#define ORGAN_STREAM_ROWS_H

#include <organ/stream.h>

/* ---- a walk over all rows of a matrix ---- */

/* Rows that one worker reads in one call. */
typedef struct organ_row_unit {
    size_t index;   /* index within the set */
    uint64_t first; /* row of the matrix */
    size_t rows;    /* number of rows */
} organ_row_unit;

/* Rows that are in memory together. */
typedef struct organ_row_set {
    uint64_t first;     /* row of the matrix */
    size_t rows, units; /* number of rows; number of units */
} organ_row_set;

/* The division of a matrix and the callbacks of a walk. */
typedef struct organ_row_walk {
    uint64_t rows;              /* of the matrix */
    size_t set_rows, unit_rows; /* at least 1; the last set, and the last unit of each set, may be shorter */
    size_t readers;             /* at least 1: workers 0 .. readers-1 call `unit` */
    size_t helpers;             /* at least 1 if there are tasks: workers 0 .. helpers-1 call `task` */
    void *context;              /* first argument of the callbacks */
    /* Reads the rows of a unit and processes them. Called on workers below `readers`, with the worker's number. */
    organ_status (*unit)(void *context, const organ_row_unit *unit, size_t worker, organ_error *error);
    /* Runs one of the tasks 0 .. tasks - 1 of a set, after all its units were read. Called on workers below `helpers`.
     * NULL if `tasks` is 0. */
    void (*task)(void *context, const organ_row_set *set, size_t task, size_t worker);
    size_t tasks; /* tasks of each set */
    /* Combines the results of a set, on the calling thread. May be NULL. */
    void (*retire)(void *context, const organ_row_set *set);
} organ_row_walk;

/* Processes all rows once. If units fail, returns the error of the failed unit with the lowest rows, for any number of
 * workers; ORGAN_INTERRUPTED if a stop is requested. Sets before the set of that unit have been retired; later sets are
 * not begun. */
organ_status organ_row_walk_run(const organ_row_walk *walk, const organ_engine *engine, organ_error *error);

/* ---- the same rows of several weights ---- */

/* Upper bound on the weights of organ_row_sources. */
#define ORGAN_ROW_SOURCES 5

/* Weights with the same number of rows and columns, such as one matrix in several models. The caller sets all members
 * but `reader`. */
typedef struct organ_row_sources {
    const organ_kernels *kernels;
    size_t count;        /* number of weights, at most ORGAN_ROW_SOURCES */
    uint64_t rows, cols; /* of each weight, its matrices one after another */
    const organ_model *model[ORGAN_ROW_SOURCES];
    const organ_weight *weight[ORGAN_ROW_SOURCES];
    organ_weight_reader *reader[ORGAN_ROW_SOURCES]; /* NULL until organ_row_sources_open */
} organ_row_sources;

/* Sets *rows to the number of rows to read at once for about `values` values: the largest result of
 * organ_weight_reader_step of all sources, at most all rows. Reads headers only; returns the errors of
 * organ_weight_reader_step_of. */
organ_status organ_row_sources_step(const organ_row_sources *sources, size_t values, size_t *rows, organ_error *error);

/* Sets *bytes to the scratch memory that is enough to read `rows` rows of any one source. Reads headers only. */
organ_status organ_row_sources_scratch(const organ_row_sources *sources, size_t rows, size_t *bytes,
                                       organ_error *error);

/* Opens a reader for each source and passes the readers' notes to `progress`. The caller closes the readers with
 * organ_row_sources_close, also after an error. */
organ_status organ_row_sources_open(organ_row_sources *sources, const organ_progress *progress, organ_error *error);
void organ_row_sources_close(organ_row_sources *sources);

/* Returns about how many bytes are read from files for `rows` rows of all sources, for the progress. */
uint64_t organ_row_sources_bytes(const organ_row_sources *sources, size_t rows);

/* ---- rows of one weight, on one thread ---- */

/* An open weight with memory for some of its rows as FP32. A buffer whose members are all zero is closed. */
typedef struct organ_row_buffer {
    organ_weight_reader *reader;
    uint64_t rows; /* rows of the weight */
    size_t cols;
    size_t capacity; /* of `values`, in rows */
    float *values;   /* the rows of the last read: [rows][cols] */
    void *scratch;   /* for organ_weight_read */
} organ_row_buffer;

/* Opens a weight and allocates a buffer for `capacity` of its rows. With `whole_steps`, rounds `capacity` up to a
 * multiple of the rows that are best read at once (organ_weight_reader_step). A buffer has at most all rows. Returns
 * the errors of organ_weight_reader_open. The caller closes the buffer, also after an error. */
organ_status organ_row_buffer_open(organ_row_buffer *buffer, const organ_model *model, const organ_weight *weight,
                                   const organ_kernels *kernels, size_t capacity, bool whole_steps, organ_error *error);
void organ_row_buffer_close(organ_row_buffer *buffer);

/* Reads rows [first, first + rows), at most `capacity`, to buffer->values. */
organ_status organ_row_buffer_read(organ_row_buffer *buffer, uint64_t first, size_t rows, organ_error *error);
/* Reads rows from `first` on to buffer->values: up to row `end`, at most `capacity` rows. Returns their number, 0 if
 * `first` is not below `end`. Returns 0 also after an error and if `error` is set already. */
size_t organ_row_buffer_next(organ_row_buffer *buffer, uint64_t first, uint64_t end, organ_error *error);

/* ---- stages that walk a text, and report windows of it in place of tensors ---- */

#define ORGAN_STAGE_SCORING       "scoring"
#define ORGAN_STAGE_CONTINUATIONS "continuing"
#define ORGAN_STAGE_PREDICTING    "Predicting"
#define ORGAN_STAGE_CHUNKS        "running the text"
#define ORGAN_STAGE_LAYERS        "running both models"

/* Returns what the stage with this name counts: "tensors", "windows", "continuations", "chunks" or "layers". */
const char *organ_stage_unit(const char *what);

#endif

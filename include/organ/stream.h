/* SPDX-License-Identifier: MIT
 * Reading models on all cores in bounded memory: the engine of a run, passes over tensors, requests to stop,
 * progress, rows of packed weights. */
#ifndef ORGAN_API_STREAM_H
#define ORGAN_API_STREAM_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <organ/machine.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* ---- a request to end a run early, made by a signal handler or another thread ---- */

/* A request to stop; all members are zero at first. */
typedef struct organ_stop {
    int requested; /* the user or the caller requested a stop */
    int halted;    /* another rank of the run has failed */
} organ_stop;

/* Requests a stop. Safe in a signal handler. */
static inline void organ_stop_request(organ_stop *stop) { __atomic_store_n(&stop->requested, 1, __ATOMIC_RELAXED); }

/* Clears an earlier request to stop. */
static inline void organ_stop_clear(organ_stop *stop) { __atomic_store_n(&stop->requested, 0, __ATOMIC_RELAXED); }

/* Returns whether a stop was requested here or another rank of the run has failed; false if `stop` is NULL. */
static inline bool organ_stop_is_requested(const organ_stop *stop)
{
    return stop &&
           (__atomic_load_n(&stop->requested, __ATOMIC_RELAXED) || __atomic_load_n(&stop->halted, __ATOMIC_RELAXED));
}

/* Returns whether a stop was requested, not counting organ_stop_set_halted. */
static inline bool organ_stop_is_pending(const organ_stop *stop)
{
    return stop && __atomic_load_n(&stop->requested, __ATOMIC_RELAXED);
}
/* Records whether another rank of the run has failed. */
static inline void organ_stop_set_halted(organ_stop *stop, bool halted)
{
    __atomic_store_n(&stop->halted, halted, __ATOMIC_RELAXED);
}

/* ---- progress ---- */

/* Callbacks of the receiver of progress; any may be NULL. Calls never overlap, but may come from different threads. */
typedef struct organ_progress {
    void *context; /* first argument of the callbacks */
    /* Begins a stage named `what` ("pruning") that will process `bytes` bytes and `tensors` tensors, or, where a text
     * is run, windows of it. */
    void (*begin)(void *context, const char *what, uint64_t bytes, size_t tensors);
    /* Reports that `bytes` more bytes were processed. `tensor` is the tensor that was just finished (NULL: none), with
     * a short remark ("22.4 % killed"; NULL: none). */
    void (*advance)(void *context, uint64_t bytes, const char *tensor, const char *remark);
    /* The stage has ended, complete or not. */
    void (*end)(void *context);
    /* A message for the user, one sentence: a downgrade, a resumed run. */
    void (*note)(void *context, const char *text);
    /* The same for a message that the result may not be what the user expects. NULL: `note` gets it. */
    void (*warn)(void *context, const char *text);
    bool follows; /* this rank is not rank 0: organ_progress_note_once reports nothing, because rank 0 does */
} organ_progress;

/* The functions below call the callback of the same name; `progress` and the callback may be NULL. */
void organ_progress_begin(const organ_progress *progress, const char *what, uint64_t bytes, size_t tensors);
void organ_progress_advance(const organ_progress *progress, uint64_t bytes, const char *tensor, const char *remark);
void organ_progress_end(const organ_progress *progress);
void organ_progress_note(const organ_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports a note that all ranks have: only rank 0 calls the callback `note`. */
void organ_progress_note_once(const organ_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void organ_progress_warn(const organ_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports each warning about the model's files. */
void organ_progress_warn_of_model(const organ_progress *progress, const organ_model *model);
/* Notes the remarks on the weights of a model, the last of their notes. `path` names the model; NULL: no name. */
void organ_progress_note_remarks(const organ_progress *progress, const char *path, const organ_weights *weights);

/* ---- the work of a pass: tensors are divided into bands, bands into tiles ---- */

/* A unit is an element of a tensor, or a block of a block type. */

/* One tensor to process. `other` is NULL or its counterpart in another model, with the same number of bytes. */
typedef struct organ_pass_item {
    const organ_tensor *tensor, *other;
    bool elsewhere; /* another rank processes the tensor, so this pass skips it */
} organ_pass_item;

/* A rectangle of units of one item: the piece of work of one call of organ_pass.work. */
typedef struct organ_tile {
    size_t item; /* index into organ_pass.items */
    /* the first unit of the tile in the tensor and in its counterpart (NULL without one). `work` may change `data` in
     * place; `retire` gets the changed bytes */
    void *data, *other;
    size_t rows, cols; /* in units; in a flat pass one row of `bytes` bytes */
    size_t stride;     /* units from one row to the next */
    size_t bytes;      /* bytes of all units of the tile */
    uint64_t at;       /* bytes of the item before the first unit of the tile */
} organ_tile;

/* A whole number of tiles of one item, contiguous in its file. */
typedef struct organ_band {
    size_t item;
    const void *data;    /* address and file offset are congruent modulo 4096 */
    uint64_t offset;     /* file offset of the band */
    size_t bytes, tiles; /* number of bytes; number of tiles */
    const void *results; /* result_bytes for each tile, in tile order (row by row, left to right) */
    bool last;           /* the last band of its item */
    const void *other;   /* the same bytes of the counterpart; NULL without one */
} organ_band;

/* Bytes that a pass moves but does not process, such as tensors that an output copies. */
typedef struct organ_pass_span {
    size_t file; /* file of organ_pass.model; a `given` span has any number that `move` accepts */
    uint64_t offset, bytes;
    bool given; /* `move` copies the bytes itself, for example inside the kernel: the pass does not read them */
} organ_pass_span;

/* The spans of a pass, and the function that moves them. */
typedef struct organ_pass_moves {
    /* in file order, like the items. The pass divides them into parts and begins these in the order of both lists. A
     * span of 0 bytes must be `given`; it is passed whole, before all others. */
    const organ_pass_span *spans;
    size_t count;
    void *context; /* first argument of `move` */
    /* Moves a part of a span. `data`: its bytes, at an address that is congruent to the file offset modulo 4096; NULL
     * if the span is `given`. Called like organ_pass.write. */
    organ_status (*move)(void *context, const organ_pass_span *part, const void *data, organ_error *error);
} organ_pass_moves;

/* The tensors and the callbacks of a pass. */
typedef struct organ_pass {
    const organ_model *model, *other; /* `other`: NULL if no item has a counterpart */
    const organ_pass_item
        /* in file order of `model`, so that reads are sequential; tensors without bytes are skipped */
        *items;
    size_t item_count;
    /* Tiles are tile_rows x tile_cols units, clipped at the edges of each matrix of the tensor. tile_cols = 0: whole
     * rows. tile_rows = 0: a flat pass, whose tiles are runs of consecutive whole units, regardless of the shape. */
    size_t tile_rows, tile_cols;
    size_t scratch_bytes; /* for each worker, 4096-byte aligned, on the worker's node */
    size_t result_bytes;  /* for each tile, zeroed before `work` */
    /* bytes of memory that the caller needs after the pass: if the engine has less, the pass fails at its start */
    uint64_t least;
    void *context; /* first argument of the callbacks */
    /* Processes a tile. Called on any worker, in any order. */
    void (*work)(void *context, const organ_tile *tile, void *scratch, void *result);
    /* Receives a band when all its tiles are processed. Called for the bands of a chain in order of items and offsets,
     * one at a time, on any worker. An error ends the pass. */
    organ_status (*retire)(void *context, const organ_band *band, organ_error *error);
    /* The members below may be zero. Returns whether `item` belongs to the chain of the item before it. Chains are
     * retired independently of each other, also at the same time. NULL: all items are one chain. */
    bool (*follows)(const void *context, size_t item);
    /* Receives a processed band on the worker that processed it last, at the same time as other bands and in any order,
     * before `write` and `retire` get it. */
    organ_status (*store)(void *context, const organ_band *band, organ_error *error);
    /* Writes a processed band. Called for several bands at the same time, in any order, before or after `retire`; with
     * `behind` on a thread that only writes, otherwise on a worker, for one band of a file at a time. */
    organ_status (*write)(void *context, const organ_band *band, organ_error *error);
    /* Receives an item whose bands are all retired and written, in any order, one at a time, on the thread that runs
     * organ_pass_run. Not called if a band of the item failed. */
    organ_status (*finish)(void *context, size_t item, organ_error *error);
    /* Receives the finished items in their order, on the same thread as `finish`: for messages. */
    void (*tell)(void *context, size_t item);
    /* Receives the bytes of the bands that were retired and written since the last call, on the same thread as
     * `finish`. */
    void (*advance)(void *context, uint64_t bytes);
    const organ_pass_moves *moves; /* NULL: none */
    /* Direct I/O: a worker passes its band to a companion thread, which calls `write` or `move`, and continues with
     * the next band. */
    bool behind;
} organ_pass;

/* ---- the pass ---- */

/* One pass over tensors of a model in their stored types, in bounded memory. Each worker takes the next band in file
 * order, reads it into memory of its own NUMA node, processes its tiles, and passes it to the callbacks that write it
 * and add up its results. No other thread moves bytes of tensors, except that with organ_pass.behind each worker has a
 * companion that waits in its writes. A worker that cannot take a band helps with the tiles of another worker's band.
 * The thread that runs organ_pass_run only receives finished items.
 *
 * A write with O_DIRECT returns when the device has the bytes. A thread that waits in pwrite overlaps this with
 * computing on every system; io_uring would save the thread, but container runtimes block it by default, so that a
 * second way would be needed in any case. A companion costs two changes of thread for each band of about a mebibyte. */

/* The memory of an engine that was created without an amount (--memory auto). Operations raise `bytes` to what their
 * plan needs to run well, at most to `ceiling`. */
typedef struct organ_memory_share {
    uint64_t bytes;   /* what the run may use now: 512 MiB at first, or the ceiling if that is less */
    uint64_t ceiling; /* half of `free`, divided by `ranks`, at most `limit`; at least 8 MiB */
    uint64_t free;    /* bytes that the machine, or a control group of the process, had free at the start */
    uint64_t limit;   /* upper bound that a server has set for its job; 0: none */
    size_t ranks;     /* processes of the run on this machine */
    char group[256]; /* path of the control group whose limit leaves the least; "": none leaves less than the machine */
} organ_memory_share;

/* The resources of a run: threads, memory, kernels, ranks. */
typedef struct organ_engine {
    const organ_topology *topology;
    organ_workers *workers;
    /* --memory: upper bound on the bytes of buffers and scratch together; 0: that of `share`. Read it by
     * organ_engine_memory */
    uint64_t memory;
    const organ_kernels *kernels; /* kernel table chosen for this CPU */
    const organ_stop *stop;       /* request to stop; NULL: never */
    organ_compute compute;        /* arithmetic of products of the forward pass; exact by default */
    const organ_dots *dots;       /* kernels for `compute`; NULL if it is exact */
    struct organ_ranks *ranks;    /* the ranks (processes) of this run; NULL: a single process */
    /* the seconds of CLOCK_MONOTONIC at the start of the run, for "seconds" in reports; 0: use the start of the output
     */
    double began;
    size_t readers;            /* upper bound on the threads that read tensors at the same time; 0: all threads */
    organ_memory_share *share; /* NULL if `memory` is an amount; copies of the engine have the same one */
} organ_engine;

/* Returns the bytes that buffers and scratch may take together now. */
static inline uint64_t organ_engine_memory(const organ_engine *engine)
{
    return engine->memory || !engine->share ? engine->memory : engine->share->bytes;
}

/* Runs the pass. Returns ORGAN_OK if every band was retired and written and every item finished; ORGAN_USAGE if two
 * bands and the workers' scratch do not fit the memory; ORGAN_IO if a read failed; ORGAN_BAD_INPUT if a file ended
 * early; ORGAN_INTERRUPTED if stopped; otherwise the error of a callback. If several bands fail, the error is that of
 * the first of them in file order, for any number of threads: bands before it are completed, and none after it is
 * begun. No thread uses *pass after the return. */
organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error);

/* ---- engines ---- */

/* Creates an engine: finds the topology of the machine, starts pinned threads and chooses kernels. `kernels` NULL: the
 * best for this CPU. `threads` 0: one per core. `memory` 0: what each operation needs to run well, at most half of the
 * free memory of the machine, or of the process's control group (organ_memory_share). engine->stop is NULL until the
 * caller sets it. Returns ORGAN_IO if the system refuses a thread or memory, or if the free memory cannot be read;
 * *engine is then NULL. */
organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error);

/* Ends the threads and frees an engine of organ_engine_create. NULL is allowed. */
void organ_engine_destroy(organ_engine *engine);

/* Returns the engine's kernels or their twin (organ_kernels_other_tile), whichever computes tiles of the pruning method
 * physarum faster on this CPU. Times both for half a millisecond. Both give the same results. */
const organ_kernels *organ_engine_choose_tile(const organ_engine *engine);

/* ---- rows of a weight as numbers, in whatever form the weight is stored ---- */

typedef struct organ_weight_reader organ_weight_reader;

/* Opens a weight: checks the properties that only its bytes show, and loads the values that every row needs (a g_idx,
 * the scale of a tensor). Returns ORGAN_BAD_INPUT for companions with impossible values: a g_idx that is negative or
 * beyond the groups (in compressed-tensors a -1 is allowed: the g_idx is not used, and columns are in the order of
 * their groups). Returns ORGAN_IO if a read failed. If `note` is not NULL, it is set to a sentence for the user about
 * the weight, without its name (GPTQ: the data contradict the version of the label), else to "". All arguments but
 * `note` must outlive the reader. *reader is NULL on error. */
organ_status organ_weight_reader_open(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, char note[256], organ_weight_reader **reader,
                                      organ_error *error);
void organ_weight_reader_close(organ_weight_reader *reader); /* NULL is allowed */

/* Returns the number of rows of all matrices of the weight together. */
uint64_t organ_weight_reader_rows(const organ_weight_reader *reader);
/* Returns the number of columns, which is the same for all matrices. */
uint64_t organ_weight_reader_cols(const organ_weight_reader *reader);

/* Returns the bytes of scratch memory that organ_weight_read needs for `rows` rows, a multiple of 64. */
size_t organ_weight_reader_scratch(const organ_weight_reader *reader, size_t rows);

/* Returns the best number of rows to read at once: `rows`, rounded up to whole steps. A step is the number of rows
 * that share stored scales or words; the result is at least one step. */
size_t organ_weight_reader_step(const organ_weight_reader *reader, size_t rows);

/* Decodes rows [first, first + rows) to `values`, contiguously, as FP32 or rounded from it to BF16 or F16 (`as`);
 * `values` is 64-byte aligned. Plain values of that type keep their bits. Several threads may call it at once, each
 * with its own `scratch`, 64-byte aligned (organ_weight_reader_scratch). Returns ORGAN_IO if a read failed,
 * ORGAN_BAD_INPUT if the file was cut. */
organ_status organ_weight_read(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                               void *values, void *scratch, organ_error *error);

/* Sets *step to the result of organ_weight_reader_step for a reader of this weight. Uses the headers alone, without
 * I/O. Returns those errors of organ_weight_reader_open that the headers show. */
organ_status organ_weight_reader_step_of(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, size_t rows, size_t *step, organ_error *error);
/* Sets *scratch likewise to the result of organ_weight_reader_scratch; 0 on error. */
organ_status organ_weight_reader_size(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, size_t rows, size_t *scratch, organ_error *error);

/* Reads all stored bytes of `count` matrices of the weight, from matrix `first` on, into `memory`, 64-byte aligned.
 * Later calls of organ_weight_read decode rows of these matrices from there. This helps if files are slow to read in
 * small pieces, or if rows are decoded more than once. Replaces the matrices of an earlier call; no other thread may
 * use the reader during the call. `memory` must stay valid until the next call or the close of the reader. */
organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t first, uint64_t count, void *memory,
                                      organ_error *error);
/* Returns the bytes of memory that organ_weight_reader_hold needs for `count` matrices, a multiple of 64. */
uint64_t organ_weight_held_bytes(const organ_weight *weight, uint64_t count);

/* Returns about how many bytes organ_weight_read reads from files for `rows` rows, for the progress. */
uint64_t organ_weight_reader_bytes(const organ_weight_reader *reader, size_t rows);

ORGAN_API_END

#endif

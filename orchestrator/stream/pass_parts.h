/* SPDX-License-Identifier: MIT
 * The state of organ_pass_run, shared by its files: stream/pass.c has the calling thread, pass_work.c the workers.
 * Slots say which band may be begun, retired, written and forgotten. */
#ifndef ORGAN_STREAM_PASS_PARTS_H
#define ORGAN_STREAM_PASS_PARTS_H

#include "orchestrator/stream/direct_file.h"

#include <organ/stream.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- division of tensors into bands of whole tile rows that fit the memory, and of bands into tiles ---- */

/* Limits that apply to all bands of a pass. */
typedef struct organ_band_plan {
    size_t band_bytes;    /* upper bound on the bytes of a band */
    size_t band_tiles;    /* upper bound on the tiles of a band */
    size_t slots;         /* bands in memory at the same time, >= 2 */
    uint64_t total_bytes; /* bytes of all items, without counterparts */
    bool moves;           /* the pass has spans */
} organ_band_plan;

/* Chooses the limits for the memory of `engine` and `workers` threads. Returns ORGAN_USAGE, with the needed amount in
 * the message, if two bands and the scratch of the workers do not fit, or if the memory is less than pass->least. */
organ_status organ_band_plan_make(const organ_pass *pass, const organ_engine *engine, size_t workers,
                                  organ_band_plan *plan, organ_error *error);

/* Returns the least memory for which organ_band_plan_make succeeds. */
uint64_t organ_band_plan_enough(const organ_pass *pass, size_t workers);

/* Returns an upper bound of plan->slots for that many workers: two bands for each worker, one that is processed and
 * one that is written or waits for bands before it, and six more. More bands would not make a pass faster. */
size_t organ_band_max_slots(size_t workers);

/* The position of the next band. All members are zero at the start of a pass. */
typedef struct organ_band_cursor {
    size_t item;    /* index into organ_pass.items */
    uint64_t done;  /* bytes of the item in earlier bands */
    size_t span;    /* index into the spans of organ_pass.moves */
    uint64_t moved; /* bytes of the span in earlier bands */
} organ_band_cursor;

/* The place of a band in its tensor and its division into tiles, without data. A part of a span is a band without
 * tiles. */
typedef struct organ_band_shape {
    bool is_span; /* the band is the part `part` of a span; of the other members only `bytes` is set */
    organ_pass_span part;
    size_t item;                 /* index into organ_pass.items */
    uint64_t from;               /* first byte, within the tensor */
    size_t bytes;                /* bytes of the band */
    size_t unit;                 /* bytes of an element or block, 1 for flat passes */
    size_t rows, cols;           /* in units; flat: one row of `bytes` columns */
    size_t tile_rows, tile_cols; /* of a tile, in units; tiles at the edges may have fewer */
    size_t tiles_across, tiles;  /* tiles in a row of tiles; tiles of the band */
    bool last;                   /* the last band of its item */
} organ_band_shape;

/* Sets *shape to the next band of the pass and moves the cursor past it; returns false after the last band. */
bool organ_band_next(const organ_pass *pass, const organ_band_plan *plan, organ_band_cursor *cursor,
                     organ_band_shape *shape);

/* Returns tile t < shape->tiles of the band. `data`: the bytes of the band; `other`: those of its counterpart, or NULL.
 */
organ_tile organ_band_tile(const organ_band_shape *shape, size_t t, void *data, void *other);

#define ORGAN_PASS_PAGE 4096

/* An item from the claim of its first band until it is finished. */
typedef struct organ_pass_open {
    size_t item;     /* index into organ_pass.items */
    uint64_t number; /* of its last band that was claimed */
    size_t bands;    /* claimed bands that are not complete yet */
    bool all;        /* its last band was claimed */
    bool failed;     /* a band failed or was given up */
    struct organ_pass_open *next;
} organ_pass_open;

/* The memory of one band, and its state. */
typedef struct organ_pass_slot {
    organ_queued_write queued; /* first member: companions have a pointer to it */
    organ_band_shape shape;
    uint64_t number;     /* of the band, from 1 in the order in which bands are begun; 0: the slot is free */
    organ_pass_open *of; /* its item; NULL: part of a span */
    char *memory[2];     /* buffers of the tensor and of its counterpart */
    char *data[2];       /* start of the band in each buffer: congruent to the file offset modulo a page */
    char *results;       /* result_bytes for each tile */
    unsigned node;       /* NUMA node of the buffers */
    atomic_size_t taken; /* tiles given to workers */
    atomic_size_t done;  /* tiles processed, and one more when its reader takes no more tiles */
    bool filled;         /* the tiles can be taken */
    bool worked;         /* `store` has returned */
    bool held;           /* the worker that writes its file will write it */
    bool written;        /* needs no more writing */
    bool turn;           /* the bands before it in its chain are retired */
    bool retired;        /* needs no more retiring */
    struct organ_pass_slot *successor; /* slot of the next band of its chain; NULL: not claimed yet */
} organ_pass_slot;

/* Memory and descriptors of one worker. */
typedef struct organ_pass_hand {
    void *scratch;
    int fd[2];      /* descriptor by which it reads from the model and from the other one; -1: none */
    size_t file[2]; /* index of the file of each */
} organ_pass_hand;

/* A running pass. `lock` guards all members below it, and all members of slots except the atomic ones and those that
 * belong to the thread that reads, processes, writes or retires the band. */
typedef struct organ_pass_run {
    const organ_pass *pass;
    const organ_engine *engine;
    organ_band_plan plan;
    size_t buffer_bytes;       /* of each buffer of a slot */
    organ_pass_slot *slots;    /* [plan.slots] */
    organ_pass_hand *hands;    /* per worker */
    organ_writers *companions; /* threads that write; NULL: the workers write */
    /* number of the first band that failed in file order, 0 after a stop, UINT64_MAX before: later bands are given up
     */
    _Atomic uint64_t failed;
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* wakes workers: a slot became free or got tiles, reading ended, or the pass ends */
    pthread_cond_t finished; /* wakes the calling thread: an item is complete, or the pass ends */
    organ_error error;       /* of the band `failed` */
    organ_band_cursor cursor, ahead;    /* of the next band; of the next band to be announced to the kernel */
    uint64_t cursor_bytes, ahead_bytes; /* bytes of bands before them */
    bool more, more_ahead;
    uint64_t claimed;      /* number of bands claimed so far */
    size_t active;         /* claimed bands that are not complete */
    size_t reading;        /* of these, bands that are being read */
    size_t idle;           /* workers that wait for `changed` */
    organ_pass_slot *tail; /* slot of the band claimed last if it is an item's and not retired, else NULL */
    organ_pass_open *open; /* item of the band claimed last; NULL: complete, or none */
    size_t last_item;      /* index of the item of which a band was claimed last; SIZE_MAX: none */
    size_t writing;        /* bands that companions write or will write, and those that are held */
    bool *writes;          /* for each file of the model, and one for all other files: a worker writes a band of it */
    organ_pass_open *complete, **complete_end; /* items to be finished by the calling thread */
    size_t unfinished;                         /* items of the queue, and those that the calling thread took off it */
    bool *ended;                               /* for each item: it is finished */
    size_t told;                               /* items before this one were passed to `tell` */
    uint64_t bytes;                            /* of complete bands, to be passed to `advance` */
} organ_pass_run_state;

/* Returns whether the band of this slot is given up, because it failed or an earlier one did. */
static inline bool organ_pass_given_up(organ_pass_run_state *r, const organ_pass_slot *s)
{
    return s->number >= atomic_load_explicit(&r->failed, memory_order_relaxed);
}

/* ---- slots; call all with the lock held ---- */

/* Records that the band with this number failed; 0: the run was stopped. */
void organ_pass_fail(organ_pass_run_state *r, uint64_t number, const organ_error *error);

/* Calls `write` or `move` for the band, without the lock, and then releases the slot if the band is retired. */
void organ_pass_write(organ_pass_run_state *r, organ_pass_slot *s);

/* ---- pass_work.c ---- */

/* Runs on each worker: begins bands and processes tiles until the pass ends. `run` is the organ_pass_run_state. */
void organ_pass_work(void *run, size_t worker);

#endif

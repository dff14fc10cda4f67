/* SPDX-License-Identifier: MIT
 * Announces reads of tensors to the system, and limits how many workers read at the same time. */
#ifndef ORGAN_READ_AHEAD_H
#define ORGAN_READ_AHEAD_H

#include <organ/models.h>
#include <organ/stream.h>

#include <pthread.h>

/* ---- announcements ----
 * The system reads announced bytes into the page cache before the workers need them. Its own read-ahead expects one
 * reader of a file that reads it in order. */

/* A tensor of a model. */
typedef struct organ_read_range {
    const organ_model *model;
    const organ_tensor *tensor; /* NULL: nothing to read */
} organ_read_range;

/* The position of announcements in a list of tensors. The caller sets the first three members, and the others to
 * zero. */
typedef struct organ_read_ahead {
    size_t count; /* number of tensors */
    organ_read_range (*range)(const void *context, size_t index);
    const void *context;
    pthread_mutex_t lock;         /* protects the members below */
    size_t next;                  /* index of the tensor with the next announcement */
    uint64_t offset;              /* its offset in the tensor */
    uint64_t announced;           /* bytes announced so far, of all tensors */
    const organ_model_file *file; /* the file of descriptor `fd`; NULL: none */
    int fd;                       /* -1: announcements for `file` have no effect, such as for a file at a URL */
} organ_read_ahead;

void organ_read_ahead_open(organ_read_ahead *ahead);
void organ_read_ahead_close(organ_read_ahead *ahead);

/* Announces bytes in the order of the list until 64 MiB more than `read` are announced; `read` is the number of bytes
 * that the workers have read, or begin to read. Does nothing if another thread runs this function. Errors are left to
 * the reads themselves. */
void organ_read_ahead_move(organ_read_ahead *ahead, uint64_t read);

/* ---- the limit ----
 * organ_engine.readers: a spinning disk and some network file systems read slower when many threads read different
 * places. */

/* A gate through which a limited number of workers may be at a time. */
typedef struct organ_reader_gate {
    bool limits; /* false: every worker may pass, and the members below are not used */
    size_t free; /* workers that may still enter; protected by `lock` */
    pthread_mutex_t lock;
    pthread_cond_t left; /* a worker has left */
} organ_reader_gate;

/* Makes a gate for engine->readers workers. The caller ends it with organ_reader_gate_close. */
void organ_reader_gate_open(organ_reader_gate *gate, const organ_engine *engine);
void organ_reader_gate_close(organ_reader_gate *gate);

/* Waits until this worker may read. It calls organ_reader_gate_leave after the read, and never waits for another worker
 * in between. */
void organ_reader_gate_enter(organ_reader_gate *gate);
void organ_reader_gate_leave(organ_reader_gate *gate);

#endif

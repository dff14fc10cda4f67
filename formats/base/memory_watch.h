/* SPDX-License-Identifier: MIT
 * Counts refused allocations in places that cannot return an error: inside jansson and in text buffers. If jansson
 * gets no memory it may drop a character that it reads, so that a valid text looks malformed or different, and a
 * document (JSON tree) that it builds may lack a member. A function that makes a document or a page of HTML therefore
 * checks at the end whether an allocation was refused.
 *
 * jansson has one pair of allocation functions for the whole process, which belong to the program: liborgan does not
 * change them unless the program calls organ_json_watch. Without that call liborgan notices a refusal inside jansson
 * only if jansson returns an error, so a document or configuration may lack a member, or a valid text be reported as
 * malformed, if memory runs out; weights are not affected, and no memory is used that was not granted. A program
 * that must rely on its outputs even then calls organ_json_watch, or sets allocation functions of its own that call
 * organ_memory_refused when they return NULL. */
#ifndef ORGAN_MEMORY_WATCH_H
#define ORGAN_MEMORY_WATCH_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

/* Puts functions around the allocation functions of jansson that count refusals and pass on every call; with false,
 * removes them unless the program has replaced them. Call it while no other thread uses jansson, and with false before
 * the library is unloaded. Memory from either state may be freed in the other, except that documents in files
 * (json_spool.h) need the state in which they were made. */
void organ_json_watch(bool on);

/* Counts one refusal on this thread. Call it when an allocation for part of a document or page fails and no error can
 * be returned. */
void organ_memory_refused(void);

/* Returns the number of refusals on this thread so far; callers compare the values before and after an operation. */
unsigned long organ_memory_refusals(void);

/* Parse JSON like json_loadb and json_loadfd, which may abort if memory is exhausted; the two functions here do not. If
 * an allocation was refused, they set *no_memory and return NULL; `fault` may then describe a fault that the text does
 * not have. */
json_t *organ_json_load(const char *bytes, size_t length, size_t flags, json_error_t *fault, bool *no_memory);
json_t *organ_json_load_fd(int fd, size_t flags, json_error_t *fault, bool *no_memory);

/* A piece of work on one thread that makes documents or pages; refusals between its begin and end are attributed to
 * it. The library's own functions use it; works may be nested. */
typedef struct organ_memory_work {
    unsigned long outer; /* value of organ_memory_refusals when the surrounding work began */
    bool within;         /* this work is nested in a surrounding one */
} organ_memory_work;

/* Begins a work inside the innermost open one. Returns the state that organ_memory_work_end restores. */
organ_memory_work organ_memory_work_begin(void);

/* Reports ORGAN_IO, "WHAT: no memory for a document", if an allocation was refused since the innermost open work
 * began: values built since then may be incomplete and must not be used. Does nothing outside of any work. Returns
 * the status of `error`. */
organ_status organ_memory_work_check(const char *what, organ_error *error);

/* Ends the work, with the check of organ_memory_work_check. If an allocation was refused, *document is released and
 * set to NULL (`document` and *document may be NULL), and ORGAN_IO replaces an earlier error that blames the input,
 * because lack of memory may have caused that error. */
organ_status organ_memory_work_end(const organ_memory_work *work, json_t **document, const char *what,
                                   organ_error *error);

ORGAN_API_END

#endif

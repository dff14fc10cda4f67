/* SPDX-License-Identifier: MIT
 * Counts the allocations that were refused where no error can be returned: in jansson and in pieces of text. When
 * jansson gets no memory it may drop the character that it reads, so that a good text looks malformed or like another
 * one, and a document that is built lacks a member. Whoever makes a document or a page asks at the end whether
 * something was refused.
 *
 * jansson has one pair of allocation functions for the whole process. When liborgan is loaded it puts functions of its
 * own around those that it finds; they pass every call on and count what is refused. A program that calls
 * json_set_alloc_funcs itself does so before any document is made, as jansson demands, and calls organ_memory_refused
 * where its malloc gives NULL: otherwise liborgan cannot tell, and may call a text malformed when memory ran out.
 * Memory from its malloc must be such that free() takes it back. */
#ifndef ORGAN_MEMORY_WATCH_H
#define ORGAN_MEMORY_WATCH_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

/* Counts one refusal on this thread. Called where memory ran out for a part of a document or page, and no error can be
 * returned. */
void organ_memory_refused(void);

/* How many refusals there were on this thread so far. Compare before and after. */
unsigned long organ_memory_refusals(void);

/* json_loadb and json_loadfd, which also tell whether memory ran out: then there is no value, and `fault` may blame the
 * text for what it is not. jansson alone may abort then. */
json_t *organ_json_load(const char *bytes, size_t length, size_t flags, json_error_t *fault, bool *no_memory);
json_t *organ_json_load_fd(int fd, size_t flags, json_error_t *fault, bool *no_memory);

/* A piece of work that makes documents and pages, on one thread. Functions of the library that do begin one; one may
 * lie within another. */
typedef struct organ_memory_work {
    unsigned long outer;
    bool within; /* other work */
} organ_memory_work;
organ_memory_work organ_memory_work_begin(void);

/* ORGAN_IO "WHAT: no memory for ..." if there was a refusal since the innermost work that has not ended began: what was
 * built since then may lack something and must not be used. Outside of any work it does nothing. The status of `error`.
 */
organ_status organ_memory_work_check(const char *what, organ_error *error);

/* The same for work, which ends with this call: *document (NULL is allowed, twice) is then released and NULL. A fault
 * of the input that was found before is not believed. */
organ_status organ_memory_work_end(const organ_memory_work *work, json_t **document, const char *what,
                                   organ_error *error);

ORGAN_API_END

#endif

/* SPDX-License-Identifier: MIT
 * Declares what other headers of liborgan use: the macros that make functions visible, status and error of a call, and
 * the functions by which a program notices a lack of memory. */
#ifndef ORGAN_API_BASE_H
#define ORGAN_API_BASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* ORGAN_API_BEGIN and ORGAN_API_END surround the declarations of a public header. These declarations have C linkage in
 * C++, and the shared library exports no others. */
#ifdef __cplusplus
#define ORGAN_API_BEGIN                                                                                                \
    extern "C" {                                                                                                       \
    _Pragma("GCC visibility push(default)")
#define ORGAN_API_END                                                                                                  \
    _Pragma("GCC visibility pop")                                                                                      \
    }
#else
#define ORGAN_API_BEGIN _Pragma("GCC visibility push(default)")
#define ORGAN_API_END   _Pragma("GCC visibility pop")
#endif

ORGAN_API_BEGIN

/* ---- status and error ---- */

/* The values are the exit codes of the command line (docs/troubleshooting.md). */
typedef enum organ_status {
    ORGAN_OK = 0,
    ORGAN_CHECK_FAILED = 1, /* the requested check did not pass (audit, autopsy, ...) */
    ORGAN_USAGE = 2,        /* invalid call: unknown option or name, value out of range, output exists */
    ORGAN_BAD_INPUT = 3,    /* a file is malformed, unfit or changed while it was read, or a text too short */
    ORGAN_IO = 4,           /* a path is missing or cannot be read or written; no space, no memory */
    ORGAN_INTERRUPTED = 130 /* stopped on request; --resume can continue the output */
} organ_status;

/* An error; functions accept NULL for it. All members are zero before the first fault; verbs clear it first. */
typedef struct organ_error {
    organ_status status;
    char message[1000];
    int errnum; /* for ORGAN_IO the errno, or 0 if there is none; ENOMEM also if the format has the words "no memory" */
} organ_error;

/* Formats the message and returns `status`, so that callers can write `return organ_fail(error, ORGAN_BAD_INPUT,
 * ...)`. The message names the file, the tensor and field if there are any, and both values; it has no final newline.
 * If `error` is set it stays unchanged: the first fault is the cause. It may be NULL. Names come from files, so
 * control characters, invisible marks that reorder text and invalid UTF-8 are written as \xNN. A
 * message that is too long is cut. */
organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reports a failed allocation like organ_fail: "WHAT: Cannot allocate memory", ORGAN_IO, errnum ENOMEM. */
organ_status organ_fail_memory(organ_error *error, const char *what);

/* Reports a failed system call like organ_fail: appends ": " and the text of `errnum`; the status is ORGAN_IO. */
organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Records that a run has written the complete output `path` and renamed it to its final name. If `error` later receives
 * a fault with ORGAN_IO or ORGAN_INTERRUPTED, its message begins with "PATH is complete, but a later step failed: ".
 * Until then the status stays ORGAN_OK, and only the functions of this header may use message and errnum. Does nothing
 * if `error` is set or already records an output. */
void organ_error_set_output(organ_error *error, const char *path);

/* ---- lack of memory ---- */

/* Counts refused allocations in places that cannot return an error: inside jansson and in text buffers. If jansson
 * gets no memory it may drop a character that it reads, so that a valid text looks malformed or different, and a
 * document (JSON tree) that it builds may lack a member. A function that makes a document or a page of HTML therefore
 * checks at the end whether an allocation was refused.
 *
 * jansson has one pair of allocation functions for the whole process, which belong to the program: liborgan does not
 * change them unless the program calls organ_json_watch. Without that call liborgan notices a refusal inside jansson
 * only if jansson returns an error, so a document or configuration may lack a member, or a valid text be reported as
 * malformed, if memory runs out; weights are not affected, and no memory is used that was not granted. A program that
 * must rely on its outputs even then calls organ_json_watch, or sets allocation functions of its own that call
 * organ_memory_count_refusal when they return NULL. */

/* Puts functions around the allocation functions of jansson that count refusals and pass on every call; with false,
 * removes them unless the program has replaced them. Call it while no other thread uses jansson, and with false before
 * the library is unloaded. Memory from either state may be freed in the other. */
void organ_json_watch(bool on);

/* Counts one refusal on this thread. Call it when an allocation for part of a document or page fails and no error can
 * be returned. */
void organ_memory_count_refusal(void);

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

/* SPDX-License-Identifier: MIT
 * Files with values that a run has measured, so that a later run need not measure them again.
 *
 * Each file begins with a schema and an identity: digests of the model and the text, and the parameters that change
 * the values. A run uses a file only if all members of the identity have the values of this run. This room reads and
 * writes documents, which are one JSON object; journal.h writes journals, which get a line as soon as a
 * value is measured. Callers describe the values of a row by a table (ORGAN_STRUCT_FIELD), which serves both
 * directions. */
#ifndef ORGAN_OUTPUT_CACHE_H
#define ORGAN_OUTPUT_CACHE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/report_text.h"

#include <jansson.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

#define ORGAN_CACHE_LIMIT ((size_t)256 << 20) /* bytes of a document */

/* ---- identity ---- */

enum { ORGAN_CACHE_SHOWN = 300 }; /* bytes of a value in a message */

/* A member of the identity that differs: its values in the file and in this run. */
typedef struct organ_cache_difference {
    const char *key;                                            /* points into the identity, or is constant */
    char was[ORGAN_CACHE_SHOWN + 1], is[ORGAN_CACHE_SHOWN + 1]; /* JSON, or "missing" */
} organ_cache_difference;

/* Finds the first member of `identity` that `head` lacks or has with another value, and returns whether there is one.
 * Further members of `head` are ignored, but if `identity` states a text, a member differs that identities have only
 * with options of the run on that text: compute, compute_isa, moments, all_experts. */
bool organ_cache_differs(const json_t *head, const json_t *identity, organ_cache_difference *found);

/* ---- documents ---- */

/* A file of measured values. */
typedef struct organ_cache {
    const char *path;
    const char *schema;     /* "organ.allocation/1" */
    const json_t *identity; /* object whose members the file must have with equal values */
    const char *content;    /* for messages: "curves of another run" */
    const char *remedy;     /* for messages: what the user can do if the identity differs */
    bool start_over;        /* treat a file that cannot be used as if there were none; false: it is an error */
    bool unversioned;       /* the head has no member "organ", the version that wrote the file */
    bool unbounded;         /* also read files larger than ORGAN_CACHE_LIMIT */
    /* Ranks that all have the same values, of which only the first writes; NULL: this process writes. */
    organ_ranks *ranks;
    bool meets; /* all ranks call organ_cache_write, also after an error, which every rank then returns */
} organ_cache;

/* Reads the document at cache->path and checks its schema and identity. *document is for the caller to release; NULL
 * if there is no file, on error, or if start_over is set and the file cannot be used.
 * Returns ORGAN_BAD_INPUT if the file is too large, no JSON object or of another schema; ORGAN_USAGE if the identity
 * differs (the message names the first member, both values and the remedy); ORGAN_IO if it cannot be read. */
organ_status organ_cache_read(const organ_cache *cache, json_t **document, organ_error *error);

/* The two steps of organ_cache_read, for callers that check more. organ_cache_load reads the file and checks the
 * schema; it also accepts a document that contains the cached one as its member `within` (NULL: none).
 * organ_cache_belongs checks the identity. */
organ_status organ_cache_load(const organ_cache *cache, const char *within, json_t **document, organ_error *error);
organ_status organ_cache_belongs(const organ_cache *cache, const json_t *document, organ_error *error);

/* Returns {"schema", "organ", the identity, the members of `body`}. Releases `body`. NULL if an allocation failed or
 * `body` is NULL. */
json_t *organ_cache_document(const organ_cache *cache, json_t *body);
/* Replaces the file by organ_cache_document in one rename (organ_document_write) and releases `body`. Ranks after the
 * first write nothing; they get an error of the first at the next exchange of the ranks, with cache->meets before they
 * return. Does not write after an error, or with a NULL path. Returns ORGAN_IO if the file
 * cannot be written. */
organ_status organ_cache_write(const organ_cache *cache, json_t *body, organ_error *error);

/* Checks on the first rank, before a long measurement, that a new file can be made at `path`; NULL: no check. All ranks
 * call it, also after an error, which every rank then returns. Returns ORGAN_IO, naming `option`, if not. */
organ_status organ_cache_check_place(const char *path, const char *option, organ_ranks *ranks, organ_error *error);

/* ---- values ---- */

/* A JSON array of `count` numbers in [0, max], stored contiguously in memory. */
typedef struct organ_cache_numbers {
    const char *name;      /* member of a row */
    organ_field_type type; /* U32, U64 or REAL */
    size_t count;
    void *values;
    double max;
} organ_cache_numbers;

/* Returns the array as JSON; NULL if an allocation failed. */
json_t *organ_cache_numbers_json(const organ_cache_numbers *numbers);
/* Reads `array` into numbers->values. Returns false unless it has `count` numbers in the range, integers for U32 and
 * U64. */
bool organ_cache_numbers_read(const organ_cache_numbers *numbers, const json_t *array);
/* Reads member numbers->name of `row`, which is number `k` of the array `rows` of the document at `path`. Returns
 * ORGAN_BAD_INPUT, naming the member, if organ_cache_numbers_read rejects the member. */
organ_status organ_cache_numbers_take(const organ_cache_numbers *numbers, const json_t *row, const char *rows, size_t k,
                                      const char *path, organ_error *error);

#endif

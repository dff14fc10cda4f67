/* SPDX-License-Identifier: MIT
 * JSON Schemas (draft 2020-12) of the documents that organ prints and writes. documents/ has a
 * text for each (schema_text.h), and common.txt with the parts that several of them have; the program contains them. */
#ifndef ORGAN_REPORT_SCHEMA_SCHEMA_H
#define ORGAN_REPORT_SCHEMA_SCHEMA_H

#include <jansson.h>
#include <organ/base.h>
#include <stddef.h>

/* Returns the names of all schemas, in the order of the alphabet: "organ.prune/1" is the schema of documents whose
 * member "schema" is this text. *count becomes their number. */
const char *const *organ_schema_names(size_t *count);

/* Returns the schema of this name as a document that refers to no other: its "$defs" has the common parts that it
 * uses. The caller releases it. Returns NULL with ORGAN_USAGE and a suggestion if there is no such schema, with
 * ORGAN_IO if memory runs out. */
json_t *organ_schema_of(const char *name, organ_error *error);

/* Returns the list of all schemas, a document organ.schemas/1. The caller releases it. Returns NULL with ORGAN_IO if
 * memory runs out. */
json_t *organ_schema_list(organ_error *error);

/* Returns sentences of a document: the part `part` of the text of schema `name` ("organ.prune/1"), or of common.txt,
 * with the conditions and placeholders of `facts`, an object, which the function releases; NULL: none. A new array or
 * object. Returns NULL if memory runs out. */
json_t *organ_sentences(const char *name, const char *part, json_t *facts);

/* Sets the member of this name to these sentences (report_text.h). */
#define SET_SENTENCES(name, part, facts) SET(part, organ_sentences(name, part, facts))

#endif

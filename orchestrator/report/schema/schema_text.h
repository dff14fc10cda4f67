/* SPDX-License-Identifier: MIT
 * The texts in documents/, from which JSON Schemas and explanations in documents are made. The first line is the title.
 * Each other line is one member of the document:
 *
 *     NAME  KIND  DESCRIPTION
 *
 * with two blanks between the parts. [NAME] may be missing. Lines with more blanks before them are the members of an
 * object. NAME (others) is the kind of all other members, | one of several kinds, and $PART a part to which kinds
 * refer. Kinds:
 *
 *     text, flag, number, integer, count       a count is an integer from 0 on
 *     number>=0, number>0, integer>=1
 *     text "a"|"b", text /PATTERN/             allowed texts
 *     "a"|"b"|null, ="a"                       allowed values, the only value
 *     any                                      any value
 *     own name                                 the name of the schema
 *     list of KIND, object, map                a map is an object with (others) alone
 *     object...                                an object that may have other members, too
 *     either                                   one of the following lines |
 *     @PART, @#PART                            a part of common.txt, of this text
 *     object &PART, object?... &PART           an object with the members of PART, and those of the following lines
 *
 * The line &PART alone stands for all members of PART, a part of kind "members" of this text or of common.txt. If
 * members have the same name, the last kind is valid, at the place of the first.
 *
 * Documents also have sentences, which explain their figures. A part of kind "sentences" has one a line,
 *
 *     SENTENCE  CONDITION
 *
 * one of kind "sentences by name" puts "NAME  " before each. The sentence is a template, and the condition, which may
 * be missing, as in templates (report_text.h).
 *
 * A word with '?' after it may be null: "text?", "list? of count". */
#ifndef ORGAN_REPORT_SCHEMA_SCHEMA_TEXT_H
#define ORGAN_REPORT_SCHEMA_SCHEMA_TEXT_H

#include <jansson.h>
#include <organ/base.h>

/* Returns the schema `name` ("organ.prune/1") of a text, whose first members are those of the part "document"; NULL: it
 * has only parts. `common` is the text with parts of several schemas. References to them begin with
 * "common.json#/$defs/"; "$defs" has the parts of the text. The caller releases it. Returns NULL with ORGAN_IO if
 * memory runs out, with ORGAN_BAD_INPUT and the number of the line for a malformed text. */
json_t *organ_schema_expand(const char *name, const char *text, const char *common, organ_error *error);

/* Returns the sentences of the part `name`: an array, or an object for the kind "sentences by name". `facts` is the
 * object in which placeholders and conditions look for members; NULL: none has either. The caller releases the result.
 * Returns NULL if there is no such part, or if memory runs out. */
json_t *organ_schema_sentences(const char *text, const char *common, const char *name, const json_t *facts);

/* Returns the title of a text. The caller releases it. Returns NULL if memory runs out. */
json_t *organ_schema_title(const char *text);

#endif

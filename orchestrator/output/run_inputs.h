/* SPDX-License-Identifier: MIT
 * The list of all files that a run reads: weights, configurations, tokenizers, templates, adapters, recipes and the
 * files that they name, texts, importance matrices and measurements. Journals and records of hidden steps contain the
 * list, so that a continued run refuses inputs that have changed; it also gives the permission bits that no output may
 * have, and the paths that no output may replace. */
#ifndef ORGAN_OUTPUT_RUN_INPUTS_H
#define ORGAN_OUTPUT_RUN_INPUTS_H

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>

#define ORGAN_RUN_INPUTS "inputs" /* the list as a member of a journal's first line or of a record */

/* A list of files. All zero: empty. */
typedef struct organ_run_inputs {
    json_t *rows;    /* see organ_run_inputs_json; NULL: none yet */
    unsigned closed; /* permission bits that an output must not have, because the inputs lack them */
} organ_run_inputs;

/* Adds the files of a model: its files with weights, and the other files of its directory or, if the user named single
 * files, those next to them that describe a model (config.json, tokenizer.json, ...). `what` is the word for the model
 * in messages: "base". Returns ORGAN_IO if a file cannot be read or memory cannot be allocated. */
organ_status organ_run_inputs_add_model(organ_run_inputs *inputs, const char *what, const organ_model *model,
                                        organ_error *error);

/* Adds a file, or all files below a directory. A NULL path, "-", a URL and a path without a file add nothing: whatever
 * opens the path reports that. */
organ_status organ_run_inputs_add(organ_run_inputs *inputs, const char *what, const char *path, organ_error *error);

/* Returns a new reference to the rows: {"what", "file", "path", "bytes", "inode", "modified_ns", "changed_ns", "mode",
 * "xxh3"}. "file" is the name below the directory of its model. A file with weights, or of more than 64 MiB, has no
 * "xxh3". One at a URL has only "what", "file", "bytes" and "validator" (organ_http_validator). NULL if memory cannot
 * be allocated. */
json_t *organ_run_inputs_json(const organ_run_inputs *inputs);

#define ORGAN_RUN_INPUTS_TEXT 700

/* Compares the descriptions of two runs: the list of inputs, then all other members of `now`. Returns ORGAN_USAGE if
 * they differ; the message names `output` and the file or member that differs. */
organ_status organ_run_heads_compare(const json_t *was, const json_t *now, const char *output, organ_error *error);

void organ_run_inputs_release(organ_run_inputs *inputs); /* a zeroed one is allowed */

/* ---- records ---- */

/* A record tells later runs of what a hidden step, or one of several outputs, was made: a file with the inputs and
 * options of the run, and the state of each file or directory that is complete, under a key. The callers remove it. */

/* Writes the record without complete files. Takes over `options`, an object; NULL means that the caller had no memory.
 * Returns ORGAN_IO if the file cannot be written. */
organ_status organ_run_record_begin(const char *record, const organ_run_inputs *inputs, json_t *options,
                                    organ_error *error);

/* Sets *noted to whether the record has the key: what it stands for is begun or complete. Without a record it is false.
 * Returns ORGAN_IO or ORGAN_BAD_INPUT if the record cannot be read. */
organ_status organ_run_record_has(const char *record, const char *key, bool *noted, organ_error *error);

/* Adds the state of the file or directory `made`, which is complete; NULL: the run begins to make it. Returns ORGAN_IO
 * if a file cannot be read or written, ORGAN_BAD_INPUT if the record is malformed. */
organ_status organ_run_record_end(const char *record, const char *key, const char *made, organ_error *error);

/* Sets *whole to whether the record has `made` under the key in its present state. Without a record it is false.
 * Returns ORGAN_USAGE, naming `output` and the file or option, if the record is of a run with other inputs or options.
 * Takes over `options`. */
organ_status organ_run_record_check(const char *record, const organ_run_inputs *inputs, json_t *options,
                                    const char *output, const char *key, const char *made, bool *whole,
                                    organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * Models that tests write into a directory that is removed afterwards. Every function ends the test on a failure. */
#ifndef ORGAN_TEST_SCRATCH_MODEL_H
#define ORGAN_TEST_SCRATCH_MODEL_H

#include <organ/base.h>

#include <stddef.h>
#include <stdint.h>

/* Makes a new directory in $TMPDIR or /tmp. */
void scratch_begin(void);
void scratch_end(void);

/* Returns the path of `name` in the scratch directory, valid for the next 8 calls. */
const char *scratch_path(const char *name);

void scratch_file(const char *name, const void *bytes, size_t length);
void scratch_text(const char *name, const char *text);

/* Writes a safetensors file with that header and `data` bytes that count up from 0. */
void scratch_tensors(const char *name, const char *header, size_t data);

/* Returns the number of files that this process has open. */
int open_files(void);

/* Opens the model at `path`, which must fail with `status` and a message that contains each of the fragments (ending
 * with NULL). No file may stay open. */
void expect_refused(const char *path, organ_status status, const char *const *fragments);

#endif

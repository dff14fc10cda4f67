/* SPDX-License-Identifier: MIT
 * A fuzz target for each kind of untrusted input. targets.c has their table; driver.c runs one under libFuzzer,
 * tests/fuzz/replay_fuzz.c runs all of them as a test. */
#ifndef ORGAN_FUZZ_TARGET_H
#define ORGAN_FUZZ_TARGET_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Mutates `size` bytes at `data`, which has room for `room`, by the grammar of the input; returns the new size. The
 * result depends on `seed` only. */
typedef size_t fuzz_mutator(uint8_t *data, size_t size, size_t room, unsigned seed);

typedef struct fuzz_target {
    const char *name; /* name of the target, of fixtures/fuzz/NAME and of fixtures/fuzz/NAME.pack.gz */
    void (*run)(const uint8_t *data, size_t size); /* ends the process on a failure */
    fuzz_mutator *mutate;
    const char *dictionary; /* dictionary for libFuzzer, or "" */
    size_t max_len;         /* size of the longest input in bytes */
    unsigned replays;       /* number of mutations that the plain test makes of the corpus */
} fuzz_target;

extern const fuzz_target fuzz_targets[];                /* ends with a target without a name */
const fuzz_target *fuzz_target_named(const char *name); /* Returns NULL if there is none. */

/* ---- checks of targets ---- */

/* Ends the process with the message `what` if `holds` is false. */
void fuzz_require(bool holds, const char *what);

/* Prints the program's result for an input if `TELL` is set in the environment. */
void fuzz_tell(unsigned status, const char *message);

/* Checks that the status is that of the error, that the error has a message unless it is ORGAN_OK, and that it is
 * ORGAN_OK or ORGAN_BAD_INPUT: a file causes neither a system error nor a usage error. */
void fuzz_check_verdict(organ_status status, const organ_error *error);

/* ---- parts of an input ---- */

/* Separates two parts of an input; it does not occur in valid UTF-8. */
#define FUZZ_BETWEEN "\xFF\xFE"

typedef struct fuzz_part {
    const uint8_t *data;
    size_t size;
} fuzz_part;

/* Returns the next part of `rest`; empty if none is left. */
fuzz_part fuzz_next_part(fuzz_part *rest);

/* ---- files in memory ---- */

/* Makes a safetensors file with this header. If the header declares at most 64 KiB of data, `data` is repeated to that
 * length, else used once. */
void fuzz_put_tensors(const char *name, fuzz_part header, fuzz_part data);

/* Returns the descriptor of an unnamed file with these bytes and `behind` zeros. It is the same descriptor each
 * time. */
int fuzz_file(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size, size_t behind);
/* Returns a path that opens this file. */
const char *fuzz_file_path(void);

/* Returns a folder of that name in memory, which is removed at exit; each target has its own. */
const char *fuzz_folder(const char *name);
/* Writes these bytes to "FOLDER/NAME" in that directory, or removes the file if `data` is NULL. */
void fuzz_put(const char *name, const void *data, size_t size);

#endif

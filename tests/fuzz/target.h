/* SPDX-License-Identifier: MIT
 * What is fuzzed: one target for each kind of input that comes from others. targets.c has the table of them; driver.c
 * runs one under libFuzzer, tests/fuzz/replay_fuzz.c all of them as a plain test. */
#ifndef ORGAN_FUZZ_TARGET_H
#define ORGAN_FUZZ_TARGET_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes `size` bytes at `data`, which has room for `room`, as the grammar of the input has it; the new size. `seed`
 * decides everything.
 */
typedef size_t fuzz_mutator(uint8_t *data, size_t size, size_t room, unsigned seed);

typedef struct fuzz_target {
    const char *name; /* of the target, of fixtures/fuzz/NAME and of fixtures/fuzz/NAME.pack */
    void (*run)(const uint8_t *data, size_t size); /* ends the process where something does not hold */
    fuzz_mutator *mutate;
    const char *dictionary; /* of libFuzzer; "" where there is none */
    size_t max_len;         /* bytes of the longest input */
    unsigned replays;       /* mutations that the plain test makes of the corpus */
} fuzz_target;

extern const fuzz_target fuzz_targets[];                /* the last has no name */
const fuzz_target *fuzz_target_named(const char *name); /* NULL if there is none */

/* ---- what targets demand ---- */

/* Ends the process with `what`, which must hold, where it does not. */
void fuzz_require(bool holds, const char *what);

/* With TELL in the environment: prints what the program says of an input. */
void fuzz_tell(unsigned status, const char *message);

/* The status is that of the error, which has a message unless it is ORGAN_OK,
 * and it is ORGAN_OK or ORGAN_BAD_INPUT: nothing in a file makes the system refuse, and no file is a wrong call. */
void fuzz_check_verdict(organ_status status, const organ_error *error);

/* ---- parts of an input ---- */

/* Stands between two parts of an input, and in no text that is valid UTF-8. */
#define FUZZ_BETWEEN "\xFF\xFE"

typedef struct fuzz_part {
    const uint8_t *data;
    size_t size;
} fuzz_part;

/* The next part of `rest`, without what follows it; empty once there is nothing left. */
fuzz_part fuzz_next_part(fuzz_part *rest);

/* ---- files in memory ---- */

/* A safetensors file of this header. The data are as long as the header says where that is at most 64 KiB: `data` again
 * and again, else they are `data`. */
void fuzz_put_tensors(const char *name, fuzz_part header, fuzz_part data);

/* The descriptor of a file without a name that holds these bytes, then `behind` zeros. It is the same one each time. */
int fuzz_file(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size, size_t behind);
/* A path by which that file can be opened. */
const char *fuzz_file_path(void);

/* A folder of that name in a directory of this process in the memory file system, which goes with it; each target has
 * its own. */
const char *fuzz_folder(const char *name);
/* "FOLDER/NAME" in that directory gets these bytes; with NULL it goes. */
void fuzz_put(const char *name, const void *data, size_t size);

#endif

/* SPDX-License-Identifier: MIT
 * Mutators that follow a grammar: their results are mostly well-formed, with one fault. */
#ifndef ORGAN_FUZZ_MUTATE_H
#define ORGAN_FUZZ_MUTATE_H

#include "tests/fuzz/target.h"

/* Changes JSON values anywhere in the input, parts of which may not be JSON. */
fuzz_mutator fuzz_mutate_json;
/* Changes the GGUF file from the first "GGUF" in the input on. */
fuzz_mutator fuzz_mutate_gguf;
/* Changes JSON or GGUF, depending on the input. */
fuzz_mutator fuzz_mutate_any;
/* Changes words of 8 bytes: pointers into the block, counts. The first word is the address of the block that
 * follows. */
fuzz_mutator fuzz_mutate_block;
/* Changes bytes and inserts texts that often break parsers. For the plain test, which has no libFuzzer. */
fuzz_mutator fuzz_mutate_bytes;

/* ---- an input that is being mutated ---- */

typedef struct fuzz_input {
    uint8_t *data;
    size_t size, room;
    uint64_t state; /* state of the random numbers: xorshift64*, the same everywhere */
} fuzz_input;

fuzz_input fuzz_input_of(uint8_t *data, size_t size, size_t room, unsigned seed);

/* Returns a number from 0 to below - 1; 0 if `below` is 0. */
size_t fuzz_roll(fuzz_input *in, size_t below);

/* Replaces `cut` bytes at `at` by a piece, which may be part of the input. Returns false and changes nothing if
 * there is no room. */
bool fuzz_splice(fuzz_input *in, size_t at, size_t cut, const void *piece, size_t length);

/* Reads a little-endian number of `bytes` bytes. */
uint64_t fuzz_number_at(const fuzz_input *in, size_t at, size_t bytes);
void fuzz_set_number(fuzz_input *in, size_t at, size_t bytes, uint64_t value);

/* Returns a number that often breaks parsers: a power of two or a neighbour of one, of `value`, or a small number. */
uint64_t fuzz_odd_number(fuzz_input *in, uint64_t value);

#endif

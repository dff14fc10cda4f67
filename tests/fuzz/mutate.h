/* SPDX-License-Identifier: MIT
 * Mutators that know a grammar: what they make is mostly well-formed, and wrong in one place. */
#ifndef ORGAN_FUZZ_MUTATE_H
#define ORGAN_FUZZ_MUTATE_H

#include "tests/fuzz/target.h"

/* Of values anywhere in the input: parts of it may be something else than JSON. */
fuzz_mutator fuzz_mutate_json;
/* From the first "GGUF" of the input on. */
fuzz_mutator fuzz_mutate_gguf;
/* The one or the other, as the input has it. */
fuzz_mutator fuzz_mutate_any;
/* Of words of 8 bytes, the first of which is where the block that follows lay in memory: pointers into it, counts. */
fuzz_mutator fuzz_mutate_block;
/* Bytes, and pieces that parsers trip over: for the plain test, which has no libFuzzer. */
fuzz_mutator fuzz_mutate_bytes;

/* ---- an input that is being changed ---- */

typedef struct fuzz_input {
    uint8_t *data;
    size_t size, room;
    uint64_t state; /* of the random numbers: xorshift64*, the same everywhere */
} fuzz_input;

fuzz_input fuzz_input_of(uint8_t *data, size_t size, size_t room, unsigned seed);

/* A number from 0 to below - 1; 0 where `below` is 0. */
size_t fuzz_roll(fuzz_input *in, size_t below);

/* Replaces `cut` bytes at `at` by a piece, which may lie in the input itself. False, and nothing is changed, where
 * there is no room. */
bool fuzz_splice(fuzz_input *in, size_t at, size_t cut, const void *piece, size_t length);

/* A whole number of `bytes` bytes, the least significant first. */
uint64_t fuzz_number_at(const fuzz_input *in, size_t at, size_t bytes);
void fuzz_set_number(fuzz_input *in, size_t at, size_t bytes, uint64_t value);

/* A number that parsers trip over: powers of two and their neighbours, those of `value`, small ones. */
uint64_t fuzz_odd_number(fuzz_input *in, uint64_t value);

#endif

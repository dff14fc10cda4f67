/* SPDX-License-Identifier: MIT
 * The committed inputs of a target: the files of fixtures/fuzz/NAME, which somebody wrote or which broke the program
 * once, and fixtures/fuzz/NAME.pack, which fuzzing found: for each input its length (4 bytes, the least significant
 * first) and its bytes. */
#ifndef ORGAN_FUZZ_CORPUS_H
#define ORGAN_FUZZ_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_seed {
    uint8_t *data;
    size_t size;
} fuzz_seed;

/* All zeros is an empty corpus. */
typedef struct fuzz_corpus {
    fuzz_seed *seeds;
    size_t count, capacity;
} fuzz_corpus;

/* Adds the inputs; returns false and prints the reason if one cannot be read. A missing file or directory adds
 * nothing. */
bool fuzz_corpus_read_files(fuzz_corpus *corpus,
                            const char *directory); /* in the order of their names, without hidden ones */
bool fuzz_corpus_read_pack(fuzz_corpus *corpus, const char *path);

void fuzz_corpus_release(fuzz_corpus *corpus);

#endif

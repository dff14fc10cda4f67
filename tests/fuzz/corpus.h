/* SPDX-License-Identifier: MIT
 * Committed inputs of a fuzz target: the files of fixtures/fuzz/NAME, which were written by hand or once broke the
 * program, and fixtures/fuzz/NAME.pack.gz, found by fuzzing: for each input its length (4 bytes, little-endian) and its
 * bytes, compressed by gzip. */
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

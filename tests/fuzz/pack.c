/* SPDX-License-Identifier: MIT
 * pack LIMIT DIRECTORY PACK: packs the files of a directory, the shortest first, up to LIMIT bytes.
 * unpack DIRECTORY PACK.gz: writes each input of a pack that gzip compressed into a file. */
#include "tests/fuzz/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_size(const void *left, const void *right)
{
    const fuzz_seed *const a = left, *const b = right;
    return a->size != b->size ? (a->size > b->size) - (a->size < b->size) : memcmp(a->data, b->data, a->size);
}

static bool write_pack(fuzz_corpus *corpus, size_t limit, const char *path)
{
    FILE *const file = fopen(path, "wb");
    size_t used = 0, k = 0;
    bool good = file != NULL;
    if (corpus->count)
        qsort(corpus->seeds, corpus->count, sizeof *corpus->seeds, by_size);
    for (; good && k < corpus->count && used + 4 + corpus->seeds[k].size <= limit; k++) {
        const size_t size = corpus->seeds[k].size;
        const uint8_t head[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24)};
        good = fwrite(head, 1, 4, file) == 4 && fwrite(corpus->seeds[k].data, 1, size, file) == size;
        used += 4 + size;
    }
    good = file && fclose(file) == 0 && good;
    printf("%s: %zu of %zu inputs, %zu bytes\n", path, k, corpus->count, used);
    return good;
}

static bool write_files(const fuzz_corpus *corpus, const char *directory)
{
    bool good = true;
    for (size_t k = 0; k < corpus->count && good; k++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%05zu", directory, k);
        FILE *const file = fopen(path, "wb");
        good = file && fwrite(corpus->seeds[k].data, 1, corpus->seeds[k].size, file) == corpus->seeds[k].size;
        good = file && fclose(file) == 0 && good;
    }
    return good;
}

int main(int argc, char **argv)
{
    fuzz_corpus corpus = {0};
    bool good = false;
    if (argc == 5 && strcmp(argv[1], "pack") == 0)
        good = fuzz_corpus_read_files(&corpus, argv[3]) && write_pack(&corpus, strtoul(argv[2], NULL, 10), argv[4]);
    else if (argc == 4 && strcmp(argv[1], "unpack") == 0)
        good = fuzz_corpus_read_pack(&corpus, argv[3]) && write_files(&corpus, argv[2]);
    if (!good)
        fprintf(stderr, "pack: failed; pack LIMIT DIRECTORY PACK, or unpack DIRECTORY PACK.gz\n");
    fuzz_corpus_release(&corpus);
    return !good;
}

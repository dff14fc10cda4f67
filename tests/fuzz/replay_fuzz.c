/* SPDX-License-Identifier: MIT
 * Replays the committed inputs of every fuzz target, then a fixed sequence of mutations. Ends with the line "N passed,
 * N failed"; an input that crashes a target crashes this program. REPLAY=NAME replays one target, REPLAY_FILE one
 * input. */
#include "tests/fuzz/corpus.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/target.h"
#include "tests/kit/effort.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void mutate_and_run(const fuzz_target *target, const fuzz_corpus *corpus, unsigned count)
{
    uint8_t *const bytes = malloc(target->max_len + 1);
    fuzz_require(bytes != NULL, "there is memory");
    for (unsigned k = 0; k < count; k++) {
        const fuzz_seed *const seed = &corpus->seeds[k % corpus->count];
        size_t size = seed->size < target->max_len ? seed->size : target->max_len;
        memcpy(bytes, seed->data, size);
        size = (k % 2 ? target->mutate : fuzz_mutate_bytes)(bytes, size, target->max_len, k);
        target->run(bytes, size);
    }
    free(bytes);
}

/* Returns the number of replayed inputs; 0 is a failure, because the target was not tested. */
static size_t replay(const fuzz_target *target)
{
    char path[256];
    fuzz_corpus corpus = {0};
    const double began = processor_seconds();
    snprintf(path, sizeof path, "fixtures/fuzz/%s", target->name);
    bool good = fuzz_corpus_read_files(&corpus, path);
    snprintf(path, sizeof path, "fixtures/fuzz/%s.pack.gz", target->name);
    good = fuzz_corpus_read_pack(&corpus, path) && good;
    for (size_t k = 0; k < corpus.count; k++)
        target->run(corpus.seeds[k].data, corpus.seeds[k].size);
    const unsigned mutations = (unsigned)sampled(target->replays, target->replays / 8);
    if (corpus.count)
        mutate_and_run(target, &corpus, mutations);
    const size_t count = good ? corpus.count : 0;
    printf("%-16s %5zu inputs, %6u mutations, %.2f s\n", target->name, count, mutations, processor_seconds() - began);
    fflush(stdout);
    fuzz_corpus_release(&corpus);
    return count;
}

static int replay_file(const fuzz_target *target, const char *path)
{
    FILE *const file = fopen(path, "rb");
    static uint8_t bytes[1 << 24];
    if (!target || !file)
        return 2;
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    target->run(bytes, size);
    printf("1 passed, 0 failed\n");
    return 0;
}

int main(void)
{
    size_t passed = 0, failed = 0;
    const char *const one = getenv("REPLAY"), *const file = getenv("REPLAY_FILE");
    if (one && file)
        return replay_file(fuzz_target_named(one), file);
    for (const fuzz_target *target = fuzz_targets; target->name; target++) {
        if (one && strcmp(one, target->name) != 0)
            continue;
        const size_t count = replay(target);
        passed += count;
        failed += count == 0;
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

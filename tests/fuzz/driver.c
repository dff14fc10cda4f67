/* SPDX-License-Identifier: MIT
 * Entry points of libFuzzer: $TARGET names the target. TARGET=list prints the table for run.sh. */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

static const fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *const name = getenv("TARGET");
    if (name && strcmp(name, "list") == 0) {
        for (const fuzz_target *one = fuzz_targets; one->name; one++)
            printf("%s %zu %s\n", one->name, one->max_len, one->dictionary);
        exit(0);
    }
    target = name ? fuzz_target_named(name) : NULL;
    if (!target) {
        fprintf(stderr, "TARGET=%s: there is no such target\n", name ? name : "");
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    target->run(data, size);
    return 0;
}

/* Half of the mutations follow the grammar; the others are libFuzzer's own, which learn from comparisons and
 * dictionaries. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    if (target->mutate && seed % 2)
        return target->mutate(data, size, room, seed / 2);
    return LLVMFuzzerMutate(data, size, room);
}

/* SPDX-License-Identifier: MIT
 * The forward pass: the logits of transformers, whatever the threads, the memory and what else is in the batch. */
#include "tests/forward_rig.h"
#include "tests/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nothing(void) {}

/* ---- parity ---- */

static const struct {
    const char *model, *golden;
} models[] = {
    {"tiny-qwen2", "tiny-qwen2"},
    {"tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf", "tiny-qwen2"},
    {"forward/llama", "llama"},
    {"forward/llama.gguf", "llama"},
    {"forward/mistral", "mistral"},
    {"forward/mixtral", "mixtral"},
    {"forward/qwen2", "qwen2"},
    {"forward/qwen3", "qwen3"},
    {"forward/qwen3.gguf", "qwen3"},
    {"forward/qwen3moe", "qwen3moe"},
    {"forward/qwen3moe.gguf", "qwen3moe"},
    {"forward/phi3", "phi3"},
    {"forward/phi3.gguf", "phi3"},
    {"forward/gemma2", "gemma2"},
    {"forward/gemma2.gguf", "gemma2"},
    {"forward/gemma3", "gemma3"},
    {"forward/gemma3.gguf", "gemma3"},
};
enum { MODELS = sizeof models / sizeof *models };

static expected golden_of(size_t model)
{
    char path[200];
    snprintf(path, sizeof path, "fixtures/forward/%s.logits.safetensors", models[model].golden);
    return expected_read(path);
}

static float *computed(size_t model, const expected *e, unsigned threads, uint64_t memory)
{
    char path[200];
    snprintf(path, sizeof path, "fixtures/%s", models[model].model);
    return logits_of(path, e, threads, memory);
}

START_TEST(logits_are_those_of_transformers)
{
    for (size_t m = 0; m < MODELS; m++) {
        expected e = golden_of(m);
        float *logits = computed(m, &e, 2, ROOMY);
        const double far = farthest(logits, e.logits, e.rows * e.words);
        ck_assert_msg(far < 1e-4, "%s: logits are off by %g", models[m].model, far);
        free(logits);
        expected_free(&e);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"parity", {logits_are_those_of_transformers}},
    };
    Suite *const suites[] = {suite_of("forward", cases, sizeof cases / sizeof *cases, nothing, nothing), NULL};
    return run_suites(suites);
}

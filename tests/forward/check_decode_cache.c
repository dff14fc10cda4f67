/* SPDX-License-Identifier: MIT
 * A text that is continued gives the logits of a pass over the whole text. */
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nothing(void) {}

enum { MAX = 330 };

/* The texts are longer than sliding windows of 6 and 7 tokens, original contexts of 16, a tile of queries and a strip
 * of products. */
static const struct {
    const char *path;
    uint32_t words;
} models[] = {
    {"tiny-qwen2", 2048},          {"tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf", 2048},
    {"forward/llama", 96},         {"forward/llama.gguf", 96},
    {"forward/llama-dynamic", 96}, {"forward/mistral", 96},
    {"forward/mixtral", 96},       {"forward/qwen2", 96},
    {"forward/qwen3", 96},         {"forward/qwen3moe", 96},
    {"forward/glm4moe", 2048},     {"forward/phi3", 96},
    {"forward/phi3-longrope", 96}, {"forward/phi3-longrope.gguf", 96},
    {"forward/gemma2", 96},        {"forward/gemma3", 96},
    {"forward/gemma3.gguf", 96},
};

typedef struct growing {
    session s;
    organ_decode_cache *cache;
    uint32_t tokens[MAX];
    uint32_t words;
    float *logits;
} growing;

static void begin(growing *g, const char *model, uint32_t words, unsigned threads, uint64_t memory, size_t first)
{
    organ_error error;
    char path[200];
    snprintf(path, sizeof path, "fixtures/%s", model);
    ck_assert_msg(session_open(&g->s, path, threads, memory, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_decode_cache_open(g->s.forward, first, MAX, &g->cache, &error) == ORGAN_OK, "%s",
                  error.message);
    g->words = words;
    g->logits = malloc(words * sizeof *g->logits);
    for (size_t k = 0; k < MAX; k++)
        g->tokens[k] = (uint32_t)(k * k * 7 + k / 3) % words;
}

static void end(growing *g)
{
    organ_decode_cache_close(g->cache);
    session_close(&g->s);
    free(g->logits);
}

static void keep(void *context, size_t k, float *logits)
{
    const growing *const g = context;
    ck_assert_uint_eq(k, 0);
    memcpy(g->logits, logits, g->words * sizeof *logits);
}

static organ_status grow(growing *g, size_t count, organ_error *error)
{
    *error = (organ_error){0};
    const organ_status status = organ_forward_continue(g->s.forward, g->cache, g->tokens, count, g, keep, error);
    ck_assert_int_eq(status, error->status);
    return status;
}

static void compare_whole(growing *g, const char *model, size_t count)
{
    const size_t ends[2] = {0, count}, row = count - 1;
    const organ_windows whole = {g->tokens, 1, ends};
    organ_error error;
    float *const all = session_logits(&g->s, &whole, &row, 1, &error);
    ck_assert_msg(all != NULL, "%s", error.message);
    ck_assert_msg(memcmp(g->logits, all, g->words * sizeof *all) == 0, "%s: after %zu tokens logits are off by %g",
                  model, count, farthest(g->logits, all, g->words));
    free(all);
}

/* Tokens one by one and many at once, each compared with a pass over the whole text. */
START_TEST(logits_are_those_of_the_whole_text)
{
    static const size_t counts[] = {5, 6, 7, 8, 15, 16, 17, 18, 19, 63, 64, 65, 66, 160, 161, 255, 256, 257, 258, MAX};
    const size_t first = sampled(0, 1), step = sampled(1, 3);         /* 6, 15, 18, 64, 160, 256, MOST */
    for (size_t m = first; m < sizeof models / sizeof *models; m++) { /* the first model is large */
        growing g;
        organ_error error;
        begin(&g, models[m].path, models[m].words, 2, ROOMY, 5);
        for (size_t k = first; k < sizeof counts / sizeof *counts; k += step) {
            ck_assert_msg(grow(&g, counts[k], &error) == ORGAN_OK, "%s: %s", models[m].path, error.message);
            compare_whole(&g, models[m].path, counts[k]);
        }
        end(&g);
    }
}
END_TEST

/* With little memory, layers are read again for each token. */
START_TEST(threads_and_memory_of_a_growing_text_do_not_show)
{
    static const size_t counts[] = {70, 71, 72, 200, 201};
    growing one, five;
    organ_error error;
    begin(&one, "tiny-qwen2", 2048, 1, ROOMY, 70);
    begin(&five, "tiny-qwen2", 2048, 5, (uint64_t)11 << 20, 70);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        ck_assert_int_eq(grow(&one, counts[k], &error), ORGAN_OK);
        ck_assert_msg(grow(&five, counts[k], &error) == ORGAN_OK, "%s", error.message);
        ck_assert_mem_eq(one.logits, five.logits, one.words * sizeof(float));
    }
    end(&one);
    end(&five);
}
END_TEST

static long reads_of_a_token(uint64_t memory)
{
    growing g;
    organ_error error;
    begin(&g, "tiny-qwen2", 2048, 2, memory, 10);
    ck_assert_int_eq(grow(&g, 10, &error), ORGAN_OK);
    const long before = fault_count(FAULT_PREAD);
    ck_assert_int_eq(grow(&g, 11, &error), ORGAN_OK);
    const long reads = fault_count(FAULT_PREAD) - before;
    end(&g);
    return reads;
}

/* If the memory holds the model, only a token's embedding is read for it; with less memory, some layers and the head
 * are read again. */
START_TEST(what_is_held_is_not_read_again)
{
    fault_clear();
    const long all = reads_of_a_token(ROOMY), max = reads_of_a_token((uint64_t)15 << 20),
               few = reads_of_a_token((uint64_t)11 << 20);
    ck_assert_int_eq(all, 1);
    ck_assert_msg(max > 1 && few > max + 8, "%ld, %ld, %ld", all, max, few);
}
END_TEST

START_TEST(a_text_that_cannot_grow_is_refused)
{
    growing g;
    organ_error error;
    organ_decode_cache *none;
    begin(&g, "forward/mistral", 96, 2, ROOMY, 5);
    ck_assert_int_eq(grow(&g, 9, &error), ORGAN_OK);
    ck_assert_int_eq(grow(&g, 9, &error), ORGAN_USAGE);
    ck_assert_int_eq(grow(&g, MAX + 1, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "a text of 9 tokens cannot be continued to 331: the cache has room for 330"),
                  "%s", error.message);
    error = (organ_error){0};
    ck_assert_int_eq(organ_decode_cache_open(g.s.forward, 5, (size_t)1 << 40, &none, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "--memory 256M is too little for a layer of "), "%s", error.message);
    ck_assert_ptr_null(none);
    end(&g);
}
END_TEST

/* After an error the cached text is discarded. */
START_TEST(a_fault_in_a_growing_text_leaves_nothing)
{
    growing g;
    organ_error error;
    organ_stop stop = {0};
    begin(&g, "forward/gemma3", 96, 2, ROOMY, 20);
    ck_assert_int_eq(grow(&g, 20, &error), ORGAN_OK);
    g.tokens[20] = 96;
    ck_assert_int_eq(grow(&g, 21, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "token 0 is 96, outside the vocabulary of 96"), "%s", error.message);
    g.tokens[20] = 3;
    organ_stop_request(&stop);
    g.s.engine.stop = &stop;
    ck_assert_int_eq(grow(&g, 21, &error), ORGAN_INTERRUPTED);
    g.s.engine.stop = NULL;
    ck_assert_int_eq(grow(&g, 21, &error), ORGAN_OK);
    compare_whole(&g, "forward/gemma3", 21);
    end(&g);
}
END_TEST

Suite *forward_past_suite(void)
{
    const suite_case cases[] = {
        {"a text that grows",
         {logits_are_those_of_the_whole_text, threads_and_memory_of_a_growing_text_do_not_show,
          what_is_held_is_not_read_again, a_text_that_cannot_grow_is_refused,
          a_fault_in_a_growing_text_leaves_nothing}},
    };
    return suite_of("forward past", cases, sizeof cases / sizeof *cases, nothing, nothing);
}

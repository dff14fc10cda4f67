/* SPDX-License-Identifier: MIT */
#include <organ/tokenizer.h>

#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define USUAL_MEMORY ((uint64_t)512 << 20) /* default of organ_tokenizer_allow */

enum { FILE_LIMIT = 256 << 20 }; /* upper bound of the bytes of a tokenizer file */

static const struct source {
    const char *name;
    organ_tokenizer_source *read;
} sources[] = {{"tokenizer.json", organ_tokenizer_from_json},
               {"tekken.json", organ_tokenizer_from_tekken},
               {"tiktoken.model", organ_tokenizer_from_tiktoken},
               {"hy.tiktoken", organ_tokenizer_from_tiktoken}};

static organ_status read_tokenizer_file(const organ_model *model, organ_tokenizer *t, organ_error *error)
{
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
        organ_json_source text = {.label = organ_tokenizer_label(model, t, sources[k].name)};
        char *bytes = NULL;
        if (organ_model_load(model, sources[k].name, FILE_LIMIT, &bytes, &text.length, error) != ORGAN_OK)
            return error->status;
        if (!bytes)
            continue;
        text.bytes = bytes;
        sources[k].read(model, t, &text, error);
        free(bytes);
        return error->status;
    }
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: there is no tokenizer.json: copy it from the original model into this directory (tekken.json, "
        "Kimi's tiktoken.model and Hunyuan's hy.tiktoken are read too)",
        model->path);
}

/* The seed of the hash tables is random, so that a file cannot choose texts that collide; if the system has no
 * random bytes yet, the seed is the address of the tokenizer. */
organ_tokenizer *organ_tokenizer_create(const char *label, organ_error *error)
{
    organ_tokenizer *const t = calloc(1, sizeof *t);
    if (!t) {
        organ_fail_errno(error, ENOMEM, "%s: the tokenizer", label);
        return NULL;
    }
    t->unknown = ORGAN_NO_ID;
    t->memory = USUAL_MEMORY;
    t->facts.bos = t->facts.eos = -1;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) < 0)
        t->seed = (uintptr_t)t;
    return t;
}

organ_status organ_tokenizer_open(const organ_model *model, organ_tokenizer **tokenizer, organ_error *error)
{
    organ_tokenizer *const t = organ_tokenizer_create(model->path, error);
    *tokenizer = NULL;
    if (!t)
        return error->status;
    const bool inside = model->gguf && organ_gguf_find(model->gguf, "tokenizer.ggml.model");
    if (inside)
        organ_tokenizer_from_gguf(model, t, error);
    else
        read_tokenizer_file(model, t, error);
    if (!error->status)
        *tokenizer = t;
    else
        organ_tokenizer_close(t);
    return error->status;
}

void organ_tokenizer_close(organ_tokenizer *t)
{
    if (!t)
        return;
    for (size_t k = 0; k < ORGAN_STEP_LIMIT; k++) {
        pcre2_code_free(t->normalizer[k].regex);
        pcre2_code_free(t->pretokenizer[k].regex);
    }
    free(t->tokens);
    free(t->slots);
    free(t->merges);
    free(t->raw.items);
    free(t->normalized.items);
    organ_arena_release(&t->arena);
    free(t);
}

void organ_tokenizer_allow(organ_tokenizer *tokenizer, uint64_t memory) { tokenizer->memory = memory; }

const organ_tokenizer_facts *organ_tokenizer_describe(const organ_tokenizer *tokenizer) { return &tokenizer->facts; }

const char *organ_tokenizer_piece(const organ_tokenizer *tokenizer, uint32_t id, size_t *bytes)
{
    const bool there = id < tokenizer->facts.vocabulary && tokenizer->tokens[id].piece;
    *bytes = there ? tokenizer->tokens[id].piece_bytes : 0;
    return there ? tokenizer->tokens[id].piece : "";
}

/* SPDX-License-Identifier: MIT
 * Runs organ tokenize: reads a text from a file or standard input, tokenizes it and makes the report. */
#include <organ/evaluate.h>

#include "formats/base/input_file.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define FIRST ((size_t)16) /* greatest number of tokens that the report lists with their text */

static organ_status check_stop(const organ_stop *stop, organ_error *error)
{
    return organ_stop_is_requested(stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

/* Polls for 200 ms at a time, because a signal that requests a stop does not interrupt read(). */
static organ_status wait_for_input(const organ_stop *stop, organ_error *error)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = 0;
    while (ready == 0 && check_stop(stop, error) == ORGAN_OK) {
        ready = poll(&input, 1, 200);
        if (ready < 0 && errno != EINTR)
            return organ_fail_errno(error, errno, "standard input");
        ready = ready < 0 ? 0 : ready;
    }
    return error->status;
}

/* The caller frees *bytes also after an error. */
static organ_status read_stdin(const organ_stop *stop, char **bytes, size_t *length, organ_error *error)
{
    size_t capacity = 0, used = 0;
    ssize_t got = 1;
    *bytes = NULL;
    while (got > 0) {
        if (used == capacity) {
            char *larger = realloc(*bytes, capacity * 2 + 65536);
            if (!larger)
                return organ_fail_memory(error, "standard input");
            *bytes = larger;
            capacity = capacity * 2 + 65536;
        }
        if (wait_for_input(stop, error) != ORGAN_OK)
            return error->status;
        got = read(STDIN_FILENO, *bytes + used, capacity - used);
        if (got < 0)
            return organ_fail_errno(error, errno, "standard input");
        used += (size_t)got;
        if (used > ORGAN_TEXT_LIMIT)
            return organ_fail(error, ORGAN_BAD_INPUT, "standard input: more than %zu bytes of text", ORGAN_TEXT_LIMIT);
    }
    *length = used;
    return ORGAN_OK;
}

static json_t *piece_text(const char *piece, size_t bytes)
{
    json_t *plain = json_stringn(piece, bytes);
    if (plain)
        return plain;
    char *text = malloc(bytes * 4 + 1);
    if (!text)
        return NULL;
    for (size_t k = 0; k < bytes; k++)
        sprintf(text + k * 4, "\\x%02x", (unsigned char)piece[k]);
    json_t *made = json_string(text);
    free(text);
    return made;
}

static json_t *first_tokens(const organ_tokenizer *tokenizer, const uint32_t *ids, size_t count)
{
    json_t *list = json_array();
    for (size_t k = 0; k < count && k < FIRST; k++) {
        size_t bytes;
        const char *piece = organ_tokenizer_piece(tokenizer, ids[k], &bytes);
        json_array_append_new(list, ORGAN_OBJECT(SET_COUNT("id", ids[k]), SET("piece", piece_text(piece, bytes))));
    }
    return list;
}

static json_t *tokenizer_facts(const organ_tokenizer *tokenizer)
{
    const organ_tokenizer_facts *facts = organ_tokenizer_describe(tokenizer);
    return ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                        SET_INDEX("bos", facts->bos), SET_INDEX("eos", facts->eos),
                        SET_FLAG("adds_bos", facts->adds_bos), SET_TEXT("digest", facts->digest));
}

typedef struct tokenizing {
    const organ_tokenize_options *options;
    const organ_stop *stop;
    organ_model *model;
    organ_tokenizer *tokenizer;
    char *text; /* the text, `bytes` bytes */
    size_t bytes;
    uint32_t *ids; /* its tokens */
} tokenizing;

static json_t *tokenize_document(const tokenizing *t, size_t count)
{
    const organ_tokenize_options *const o = t->options;
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)XXH3_64bits(t->text, t->bytes));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.tokenize/1"), SET_TEXT("model", o->model),
        SET("text", ORGAN_OBJECT(SET_TEXT("name", strcmp(o->text, "-") == 0 ? "standard input" : o->text),
                                 SET_COUNT("bytes", t->bytes), SET_TEXT("digest", digest))),
        SET("tokenizer", tokenizer_facts(t->tokenizer)), SET_FLAG("special", o->special), SET_COUNT("tokens", count),
        SET_REAL_OF("bytes_per_token", count, (double)t->bytes / (double)count),
        SET("first", first_tokens(t->tokenizer, t->ids, count)), SET_IF(o->ids, "ids", organ_ids_json(t->ids, count)));
}

static organ_status tokenize_input(tokenizing *t, json_t **report, organ_error *error)
{
    const organ_tokenize_options *const o = t->options;
    size_t count;
    if (organ_model_open_with(o->model, o->access, &t->model, error) ||
        organ_tokenizer_open(t->model, &t->tokenizer, error))
        return error->status;
    if (strcmp(o->text, "-") == 0)
        read_stdin(t->stop, &t->text, &t->bytes, error);
    else if (organ_text_check_size(o->text, error) == ORGAN_OK)
        organ_input_load(o->text, o->text, ORGAN_TEXT_LIMIT, &t->text, &t->bytes, error);
    if (error->status || check_stop(t->stop, error) ||
        organ_tokenizer_encode(t->tokenizer, t->text, t->bytes, o->special, &t->ids, &count, error) ||
        check_stop(t->stop, error))
        return error->status;
    *report = tokenize_document(t, count);
    return ORGAN_OK;
}

static void close_tokenizing(tokenizing *t)
{
    organ_tokenizer_close(t->tokenizer);
    organ_model_close(t->model);
    free(t->text);
    free(t->ids);
}

organ_status organ_tokenize(const organ_tokenize_options *options, const organ_stop *stop, json_t **report,
                            organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_tokenize_options, options, report, error, "model", options->model, "text",
                         options->text))
        return error->status;
    tokenizing t = {.options = options, .stop = stop};
    const organ_report_work work = organ_report_begin(report);
    tokenize_input(&t, report, error);
    close_tokenizing(&t);
    return organ_report_end(&work, options->model, error);
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/text/tokenize.h"

#include "formats/base/input_file.h"
#include "formats/base/memory_watch.h"
#include "formats/tokenizer/tokenizer.h"
#include "orchestrator/report/text/members.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define TEXT_LIMIT ((size_t)1 << 30)
#define FIRST      ((size_t)16) /* tokens that are shown */

static organ_status check_stop(const organ_stop *stop, organ_error *error)
{
    return organ_stop_asked(stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

/* A signal does not end read(), so that whoever waits for more looks whether one came. */
static organ_status wait_for_more(const organ_stop *stop, organ_error *error)
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

static organ_status read_stdin(const organ_stop *stop, char **bytes, size_t *length, organ_error *error)
{
    size_t room = 0, used = 0;
    ssize_t got = 1;
    *bytes = NULL;
    while (got > 0) {
        if (used == room) {
            char *larger = realloc(*bytes, room * 2 + 65536);
            if (!larger)
                return organ_fail_errno(error, ENOMEM, "standard input");
            *bytes = larger;
            room = room * 2 + 65536;
        }
        if (wait_for_more(stop, error) != ORGAN_OK)
            return error->status;
        got = read(STDIN_FILENO, *bytes + used, room - used);
        if (got < 0)
            return organ_fail_errno(error, errno, "standard input");
        used += (size_t)got;
        if (used > TEXT_LIMIT)
            return organ_fail(error, ORGAN_BAD_INPUT, "standard input: more than %zu bytes of text", TEXT_LIMIT);
    }
    *length = used;
    return ORGAN_OK;
}

/* The bytes of a token as JSON can say them: what is not valid UTF-8 as \xNN. */
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

static json_t *all_ids(const uint32_t *ids, size_t count)
{
    json_t *list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, json_integer((json_int_t)ids[k]));
    return list;
}

static json_t *tokenizer_facts(const organ_tokenizer *tokenizer)
{
    const organ_tokenizer_facts *facts = organ_tokenizer_describe(tokenizer);
    return ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary), SET_INDEX("bos", facts->bos),
                        SET_INDEX("eos", facts->eos), SET_FLAG("adds_bos", facts->adds_bos), SET_TEXT("digest", facts->digest));
}

static organ_status tell(const organ_tokenize_options *options, const organ_tokenizer *tokenizer, const organ_stop *stop, const char *text,
                         size_t bytes, json_t **report, organ_error *error)
{
    uint32_t *ids;
    size_t count;
    char digest[17];
    if (organ_tokenizer_encode(tokenizer, text, bytes, options->special, &ids, &count, error) != ORGAN_OK)
        return error->status;
    if (check_stop(stop, error) != ORGAN_OK) {
        free(ids);
        return error->status;
    }
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)XXH3_64bits(text, bytes));
    *report = ORGAN_OBJECT(SET_TEXT("schema", "organ.tokenize/1"), SET_TEXT("model", options->model),
                           SET("text", ORGAN_OBJECT(SET_TEXT("name", strcmp(options->text, "-") == 0 ? "standard input" : options->text),
                                                    SET_COUNT("bytes", bytes), SET_TEXT("digest", digest))),
                           SET("tokenizer", tokenizer_facts(tokenizer)), SET_FLAG("special", options->special), SET_COUNT("tokens", count),
                           SET("bytes_per_token", count ? json_real((double)bytes / (double)count) : json_null()),
                           SET("first", first_tokens(tokenizer, ids, count)));
    if (*report && options->ids)
        json_object_set_new(*report, "ids", all_ids(ids, count));
    free(ids);
    return *report ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "the report");
}

organ_status organ_tokenize(const organ_tokenize_options *options, const organ_stop *stop, json_t **report, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    organ_model *model = NULL;
    organ_tokenizer *tokenizer = NULL;
    char *text = NULL;
    size_t bytes = 0;
    *report = NULL;
    organ_status status = organ_model_open_with(options->model, options->access, &model, error);
    if (status == ORGAN_OK)
        status = organ_tokenizer_open(model, &tokenizer, error);
    organ_model_close(model);
    if (status == ORGAN_OK)
        status = strcmp(options->text, "-") == 0 ? read_stdin(stop, &text, &bytes, error)
                                                 : organ_input_load(options->text, options->text, TEXT_LIMIT, &text, &bytes, error);
    if (status == ORGAN_OK)
        status = check_stop(stop, error);
    if (status == ORGAN_OK)
        status = tell(options, tokenizer, stop, text, bytes, report, error);
    organ_tokenizer_close(tokenizer);
    free(text);
    return organ_memory_work_end(&work, report, options->model, error);
}

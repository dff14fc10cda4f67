/* SPDX-License-Identifier: MIT
 * Reads the lists of new tokens, and makes their members of the report. */
#include "orchestrator/verbs/vocabulary/vocabulary_add.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

#include <string.h>

enum { LIST_BYTES = 16 << 20 }; /* of the longest file */

static organ_status take_line(vocabulary_add *job, const char *path, const char *line, size_t bytes, size_t number,
                              bool special, organ_error *error)
{
    if (bytes && line[bytes - 1] == '\r')
        bytes--;
    if (!bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu is empty: each line is a token", path, number);
    if (memchr(line, 0, bytes) || !organ_utf8_valid_within(line, bytes))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu is no text in UTF-8", path, number);
    if (bytes > ORGAN_NEW_TOKEN_BYTES)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu has %zu bytes, but a token has at most %d", path,
                          number, bytes, ORGAN_NEW_TOKEN_BYTES);
    if (job->extension.count == ORGAN_NEW_TOKENS)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu: there are more than %d new tokens", path, number,
                          ORGAN_NEW_TOKENS);
    return organ_extension_add(&job->extension, line, bytes, path, number, special) ? ORGAN_OK
                                                                                    : organ_fail_memory(error, path);
}

static organ_status read_list(vocabulary_add *job, const char *path, bool special, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    size_t length = 0, number = 0;
    if (!path || organ_input_load(path, path, LIST_BYTES, &text, &length, error))
        return error->status;
    const size_t mark = length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; /* of the order of bytes */
    if (length == mark)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is empty: each line is a token", path);
    for (size_t at = mark; at < length && !error->status;) {
        const char *const end = memchr(text + at, '\n', length - at);
        const size_t bytes = (end ? (size_t)(end - text) : length) - at;
        take_line(job, path, text + at, bytes, ++number, special, error);
        at += bytes + 1;
    }
    return error->status;
}

organ_status organ_vocabulary_add_read(vocabulary_add *job, organ_error *error)
{
    return read_list(job, job->options->add, /*special=*/false, error) ||
                   read_list(job, job->options->special, /*special=*/true, error)
               ? error->status
               : ORGAN_OK;
}

/* ---- the report ---- */

static json_t *token_json(const void *context, size_t k)
{
    const vocabulary_add *const job = context;
    const organ_new_token *const t = &job->extension.tokens[k];
    const char *const ordinary = t->part ? "part" : "token";
    json_t *const pieces = json_array();
    for (size_t n = 0; n < t->piece_count; n++)
        json_array_append_new(pieces, json_integer(t->pieces[n]));
    return ORGAN_OBJECT(SET_COUNT("id", job->extension.first + k), SET_BYTES("text", t->text),
                        SET_TEXT("kind", t->special ? "special" : ordinary), SET_COUNT_OF("line", t->file, t->line),
                        SET("pieces", pieces));
}

static json_t *reused_json(const void *context, size_t k)
{
    const vocabulary_add *const job = context;
    size_t bytes;
    const char *const text = organ_vocabulary_text(job->tokenizer, job->extension.reused[k], &bytes);
    return ORGAN_OBJECT(SET_COUNT("id", job->extension.reused[k]), SET("text", json_stringn(text ? text : "", bytes)));
}

static json_t *tables_json(const vocabulary_add *job)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < job->tables.count; k++)
        json_array_append_new(list, ORGAN_OBJECT(SET_BYTES("name", job->tables.list[k].weight->name),
                                                 SET_TEXT("use", organ_token_use_name(job->tables.list[k].use)),
                                                 SET_COUNT("rows_before", job->tables.list[k].rows),
                                                 SET_COUNT("rows", job->rows)));
    return list;
}

static size_t number_of(const vocabulary_add *job, bool special, bool part)
{
    size_t count = 0;
    for (size_t k = 0; k < job->extension.count; k++)
        count += job->extension.tokens[k].special == special && job->extension.tokens[k].part == part;
    return count;
}

json_t *organ_vocabulary_add_parameters(const vocabulary_add *job)
{
    const organ_vocabulary_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES_OF("add", o->add ? organ_path_name(o->add) : NULL),
                        SET_BYTES_OF("special", o->special ? organ_path_name(o->special) : NULL));
}

json_t *organ_vocabulary_add_members(const vocabulary_add *job)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(job->tokenizer);
    const organ_extension *const x = &job->extension;
    return ORGAN_OBJECT(
        SET("vocabulary", ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("tokens_before", facts->vocabulary),
                                       SET_COUNT("tokens", x->first + x->count),
                                       SET_COUNT("rows_before", job->tables.rows), SET_COUNT("rows", job->rows),
                                       SET_COUNT("added", number_of(job, /*special=*/false, /*part=*/false)),
                                       SET_COUNT("special", number_of(job, /*special=*/true, /*part=*/false)),
                                       SET_COUNT("parts", number_of(job, /*special=*/false, /*part=*/true)),
                                       SET_COUNT("merges", x->merges), SET_COUNT("first", x->first))),
        SET("tables", tables_json(job)), SET_HELD("settings", job->settings),
        SET("tokens", organ_json_rows(x->count, token_json, job)),
        SET("reused", organ_json_rows(x->reused_count, reused_json, job)),
        SET_SENTENCES("organ.vocabulary_add/1", "definitions", NULL));
}

/* SPDX-License-Identifier: MIT
 * Runs organ generate: encodes the prompt, generates token after token, and makes the report. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- bytes of tokens, which are collected in `held` until they are whole UTF-8 characters ---- */

organ_status organ_text_streamer_open(organ_text_streamer *streamer, organ_error *error)
{
    *streamer = (organ_text_streamer){0};
    return organ_text_open(&streamer->text, error);
}

/* Tests for the beginning of a UTF-8 character that more bytes could complete. `count` is at least 1. */
static bool may_be_completed(const unsigned char *s, size_t count)
{
    size_t whole = 0; /* bytes of the character that the first byte begins; 0: it begins none */
    if (*s >= 0xC2 && *s <= 0xF4)
        whole = 2 + (size_t)(*s >= 0xE0) + (*s >= 0xF0);
    for (size_t k = 1; k < count; k++)
        if ((s[k] & 0xC0U) != 0x80)
            return false;
    return count < whole;
}

/* The bytes are one character or one invalid byte. Control characters except newline and tab, and invalid bytes, are
 * written as \xNN. */
static void print_bytes(organ_text_streamer *streamer, size_t bytes)
{
    char one[8];
    memcpy(one, streamer->held, bytes);
    one[bytes] = '\0';
    if (*one == '\n' || *one == '\t')
        fputc(*one, streamer->text.out);
    else if (*one == '\0')
        fputs("\\x00", streamer->text.out);
    else
        organ_text_visible(streamer->text.out, one);
    streamer->count -= bytes;
    memmove(streamer->held, streamer->held + bytes, streamer->count);
}

/* An incomplete character at the end stays in `held` if `more_comes`; otherwise it is written byte by byte as \xNN. */
static void print_complete_characters(organ_text_streamer *streamer, bool more_comes)
{
    while (streamer->count) {
        streamer->held[streamer->count] = '\0';
        const unsigned char *const s = (const unsigned char *)streamer->held;
        const size_t length = *s ? organ_utf8_length(s) : 1;
        if (!length && more_comes && may_be_completed(s, streamer->count))
            return;
        print_bytes(streamer, length ? length : 1);
    }
}

/* The bytes are added one by one, so that `held` never has more than one character. */
void organ_text_streamer_add(organ_text_streamer *streamer, const char *bytes, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        streamer->held[streamer->count++] = bytes[k];
        print_complete_characters(streamer, /*more_comes=*/true);
    }
}

void organ_text_streamer_end(organ_text_streamer *streamer)
{
    print_complete_characters(streamer, /*more_comes=*/false);
}

organ_status organ_text_streamer_next(organ_text_streamer *streamer, const char **text, size_t *bytes,
                                      organ_error *error)
{
    if (fflush(streamer->text.out) != 0)
        return organ_fail_errno(error, errno, "text");
    *text = streamer->text.data + streamer->printed;
    *bytes = streamer->text.size - streamer->printed;
    streamer->printed = streamer->text.size;
    return ORGAN_OK;
}

organ_status organ_text_streamer_close(organ_text_streamer *streamer, char **text, organ_error *error)
{
    return organ_text_finish(&streamer->text, text, error);
}

typedef struct generation {
    const organ_generate_options *options;
    organ_engine engine;
    const organ_progress *progress;
    const organ_listener *listener;
    organ_model *model;
    organ_tokenizer *tokenizer;
    organ_forward *forward;
    organ_decode_cache *cache; /* keys and values of the tokens so far */
    uint32_t *ids;             /* tokens of the prompt, then generated ones */
    size_t prompt, count;      /* tokens of the prompt; all tokens so far */
    organ_stop_ids stops;      /* tokens that end the text */
    bool ended;                /* the model generated one of them */
    char *prompt_text, *text;  /* prompt and generated text for the report, control characters as \xNN */
    double seconds;            /* duration of the generation, prompt included */
} generation;

/* ---- the prompt ---- */

/* BOS comes first if the tokenizer adds it. g->ids has room for the new tokens after the prompt. */
static organ_status read_prompt(generation *g, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(g->tokenizer);
    ORGAN_OWNED uint32_t *ids = NULL;
    size_t count = 0;
    organ_tokenizer_allow(g->tokenizer, organ_engine_memory(&g->engine));
    if (organ_tokenizer_encode(g->tokenizer, g->options->prompt, strlen(g->options->prompt), /*special=*/true, &ids,
                               &count, error) != ORGAN_OK)
        return error->status;
    const size_t bos = facts->adds_bos && facts->bos >= 0;
    if (count + bos == 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the prompt has no tokens, and the tokenizer adds no BOS",
                   g->options->model);
    else if (!(g->ids = malloc((bos + count + g->options->count) * sizeof *g->ids)))
        organ_fail_memory(error, g->options->model);
    else {
        if (bos)
            g->ids[0] = (uint32_t)facts->bos;
        memcpy(g->ids + bos, ids, count * sizeof *ids);
        g->prompt = g->count = bos + count;
    }
    return error->status;
}

static organ_status open_cache_for_all_tokens(generation *g, organ_error *error)
{
    const size_t max = g->prompt + g->options->count;
    const uint64_t context = organ_forward_describe(g->forward)->context;
    if (context && max > context)
        organ_progress_warn(g->progress, "%zu tokens exceed the context of %llu that %s supports", max,
                            (unsigned long long)context, g->options->model);
    return organ_decode_cache_open(g->forward, g->prompt, max, &g->cache, error);
}

/* ---- token after token ---- */

typedef struct choice {
    size_t vocabulary; /* number of logits */
    size_t top;        /* result: the token with the largest logit */
    bool finite;       /* result: all logits are finite */
} choice;

static void choose_token(void *context, size_t k, float *logits)
{
    choice *const c = context;
    (void)k;
    c->finite = true;
    for (size_t v = 0; v < c->vocabulary; v++)
        c->finite = c->finite && isfinite(logits[v]);
    c->top = organ_logits_top(logits, c->vocabulary);
}

static organ_status next_token(generation *g, uint32_t *token, organ_error *error)
{
    choice c = {.vocabulary = (size_t)organ_forward_describe(g->forward)->vocabulary};
    if (organ_stop_is_requested(g->engine.stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "stopped after %zu tokens", g->count - g->prompt);
    if (organ_forward_continue(g->forward, g->cache, g->ids, g->count, &c, choose_token, error) != ORGAN_OK)
        return error->status;
    if (!c.finite)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: after %zu tokens its logits are not finite numbers",
                          g->options->model, g->count);
    *token = (uint32_t)c.top;
    return ORGAN_OK;
}

static organ_status print_text(const generation *g, organ_text_streamer *streamer, organ_error *error)
{
    const char *text = NULL;
    size_t bytes = 0;
    if (organ_text_streamer_next(streamer, &text, &bytes, error) == ORGAN_OK && g->listener && bytes)
        g->listener->on_text(g->listener->context, text, bytes);
    return error->status;
}

static bool is_stop(const generation *g, uint32_t token)
{
    for (unsigned k = 0; k < g->stops.count; k++)
        if (g->stops.ids[k] == token)
            return true;
    return false;
}

static organ_status generate_print_new(generation *g, organ_text_streamer *streamer, organ_error *error)
{
    for (size_t k = 0; k < g->options->count && !g->ended; k++) {
        uint32_t token = 0;
        size_t bytes = 0;
        if (next_token(g, &token, error) != ORGAN_OK)
            return error->status;
        g->ids[g->count++] = token;
        g->ended = is_stop(g, token);
        if (g->ended)
            break;
        const char *const piece = organ_tokenizer_piece(g->tokenizer, token, &bytes);
        organ_text_streamer_add(streamer, piece, bytes);
        if (print_text(g, streamer, error) != ORGAN_OK)
            return error->status;
    }
    organ_text_streamer_end(streamer);
    return print_text(g, streamer, error);
}

static organ_status continue_prompt(generation *g, organ_error *error)
{
    const double started = organ_seconds_now();
    organ_text_streamer streamer;
    if (organ_text_streamer_open(&streamer, error) != ORGAN_OK)
        return error->status;
    organ_text_streamer_add(&streamer, g->options->prompt, strlen(g->options->prompt));
    organ_text_streamer_end(&streamer);
    if (organ_text_streamer_close(&streamer, &g->prompt_text, error) != ORGAN_OK ||
        organ_text_streamer_open(&streamer, error) != ORGAN_OK)
        return error->status;
    generate_print_new(g, &streamer, error);
    organ_error ignored = {0};
    organ_text_streamer_close(&streamer, &g->text, error->status ? &ignored : error);
    g->seconds = organ_seconds_now() - started;
    return error->status ? error->status : organ_model_unchanged(g->model, error);
}

/* ---- the report ---- */

static json_t *generate_document(const generation *g)
{
    const size_t made = g->count - g->prompt;
    return ORGAN_OBJECT(
        SET_HEAD("organ.generate/1", "greedy/1"), SET("model", organ_model_json(g->model)),
        SET_TEXT("tokenizer_digest", organ_tokenizer_describe(g->tokenizer)->digest),
        SET("prompt", ORGAN_OBJECT(SET_TEXT("text", g->prompt_text), SET("ids", organ_ids_json(g->ids, g->prompt)))),
        SET("generated", ORGAN_OBJECT(SET_TEXT("text", g->text), SET("ids", organ_ids_json(g->ids + g->prompt, made)))),
        SET_TEXT("stopped", g->ended ? "eos" : "length"), SET_TEXT("compute", organ_compute_name(g->engine.compute)),
        SET_BYTES_OF("compute_isa", g->engine.dots ? g->engine.dots->isa : NULL),
        SET("run", ORGAN_OBJECT(
                       SET_REAL("seconds", organ_rounded_seconds(g->seconds)),
                       SET_REAL("tokens_per_second", g->seconds > 0 ? round((double)made / g->seconds * 10) / 10 : 0.0),
                       SET_ENGINE(&g->engine))));
}

static organ_status generate_text(generation *g, json_t **report, organ_error *error)
{
    if (organ_engine_compute(&g->engine, "compute", g->options->compute, error) ||
        organ_model_open_with(g->options->model, g->options->access, &g->model, error) ||
        organ_repair_pair_check_beside(g->model, error) || organ_forward_open(g->model, &g->engine, &g->forward, error))
        return error->status;
    organ_progress_warn_of_model(g->progress, g->model);
    organ_forward_allow_streaming(g->forward); /* allows layers whose experts do not fit in memory */
    if (organ_tokenizer_open(g->model, &g->tokenizer, error) ||
        organ_stop_ids_read(g->model, g->tokenizer, &g->stops, error) || read_prompt(g, error) ||
        open_cache_for_all_tokens(g, error) || continue_prompt(g, error))
        return error->status;
    *report = generate_document(g);
    return ORGAN_OK;
}

static void close_generation(generation *g)
{
    organ_decode_cache_close(g->cache);
    organ_forward_close(g->forward);
    organ_tokenizer_close(g->tokenizer);
    organ_model_close(g->model);
    ORGAN_FREE_ARRAYS(g->ids, g->prompt_text, g->text);
}

organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_generate_options, options, report, error, "model", options->model, "prompt",
                         options->prompt))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    generation g = {.options = options,
                    .engine = *engine,
                    .progress = organ_warnings_begin(&work.kept, progress),
                    .listener = listener};
    generate_text(&g, report, error);
    close_generation(&g);
    return organ_report_end(&work, options->model, error);
}

/* ---- organ tokenize ---- */

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
    ORGAN_OWNED char *text = malloc(bytes * 4 + 1);
    if (!text)
        return NULL;
    for (size_t k = 0; k < bytes; k++)
        sprintf(text + k * 4, "\\x%02x", (unsigned char)piece[k]);
    return json_string(text);
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
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_tokenize_options, options, report, error, "model", options->model, "text",
                         options->text))
        return error->status;
    tokenizing t = {.options = options, .stop = stop};
    const organ_report_work work = organ_report_begin(report);
    tokenize_input(&t, report, error);
    close_tokenizing(&t);
    return organ_report_end(&work, options->model, error);
}

/* SPDX-License-Identifier: MIT
 * Reads a text in the tokens of several models, and cuts it at bytes where a token of every model ends. */
#include "orchestrator/verbs/evaluate/across.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- the text ---- */

static organ_status check_text(across_job *job, const organ_text_input *text, organ_error *error)
{
    size_t at = 0;
    uint32_t code;
    for (size_t length = 1; at < text->size && length; at += length)
        length = organ_utf8_within(text->bytes + at, text->size - at, &code);
    job->text_bytes = text->size;
    snprintf(job->digest, sizeof job->digest, "%016llx", (unsigned long long)XXH3_64bits(text->bytes, text->size));
    if (organ_utf8_valid_within(text->bytes, text->size))
        return ORGAN_OK;
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: is no text in UTF-8 (byte %zu is 0x%02x): models with different vocabularies are compared by "
        "the bytes of the text",
        text->path, at, (unsigned char)text->bytes[at]);
}

static size_t bytes_of(const across_model *m, size_t token)
{
    size_t bytes;
    organ_tokenizer_piece(m->tokenizer, m->ids[token], &bytes);
    return bytes - (token ? 0 : m->skipped);
}

/* The tokens must be the bytes of the text: without normalised characters, lost bytes or unknown tokens. */
static organ_status check_spelling(across_model *m, const organ_text_input *text, organ_error *error)
{
    size_t at = 0, all = 0, bytes = 0;
    for (size_t k = 0; k < m->tokens; k++)
        all += bytes_of(m, k);
    const char *const first = m->tokens ? organ_tokenizer_piece(m->tokenizer, m->ids[0], &bytes) : "";
    m->skipped = all == text->size + 1 && bytes && *first == ' ';
    for (size_t k = 0; k < m->tokens; k++) {
        const char *const piece = organ_tokenizer_piece(m->tokenizer, m->ids[k], &bytes) + (k ? 0 : m->skipped);
        bytes -= k ? 0 : m->skipped;
        if (bytes > text->size - at || memcmp(piece, text->bytes + at, bytes) != 0)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the tokens of %s do not spell its bytes from byte %zu on ('%.*s'): the tokenizer "
                              "changes the text, so that its bytes cannot be scored",
                              text->path, m->path, at, (int)organ_min(text->size - at, 24), text->bytes + at);
        at += bytes;
    }
    return at == text->size ? ORGAN_OK
                            : organ_fail(error, ORGAN_BAD_INPUT,
                                         "%s: the tokens of %s do not spell its last %zu bytes: the tokenizer leaves "
                                         "them out, so that they cannot be scored",
                                         text->path, m->path, text->size - at);
}

/* Takes the tokenizer and the context from a scoring that is not run. */
static organ_status open_model(across_job *job, across_model *m, organ_error *error)
{
    organ_scoring scoring;
    if (organ_scoring_open_shared(&scoring, &m->path, 1, NULL, &job->experiment, job->engine, NULL, error) ==
        ORGAN_OK) {
        const organ_tokenizer_facts *const facts = organ_tokenizer_describe(scoring.tokenizer);
        m->tokenizer = scoring.tokenizer;
        scoring.tokenizer = NULL;
        m->trained = organ_forward_describe(scoring.models->forward)->context;
        job->context = organ_min(job->context ? job->context : SIZE_MAX, scoring.protocol.context);
        job->leads = job->leads || !facts->adds_bos || facts->bos < 0;
    }
    organ_scoring_close(&scoring);
    if (!error->status && m->trained && job->context > m->trained)
        organ_progress_note(job->progress, "windows of %zu tokens exceed the context of %llu that %s supports",
                            job->context, (unsigned long long)m->trained, m->path);
    return error->status;
}

uint64_t organ_across_memory(const across_job *job)
{
    uint64_t bytes = job->windows * sizeof *job->bytes;
    for (size_t k = 0; k < job->count; k++) {
        const across_model *const m = &job->models[k];
        bytes += m->tokens * sizeof *m->ids + job->windows * (sizeof *m->first + sizeof *m->lead + sizeof *m->nll) +
                 m->shared.count * sizeof *m->shared_ids;
    }
    return bytes;
}

static organ_status read_tokens(across_job *job, organ_text_input *text, organ_error *error)
{
    for (size_t k = 0; k < job->count && !error->status; k++) {
        across_model *const m = &job->models[k];
        if (open_model(job, m, error) || organ_text_encode(text, m->tokenizer, /*special=*/true, error))
            return error->status;
        m->ids = text->ids;
        m->tokens = text->tokens;
        text->ids = NULL;
        if (organ_memory_claim(job->engine, text->size + organ_across_memory(job), error,
                               "the bytes of %s and its tokens in %zu models", organ_path_name(text->path), k + 1))
            return error->status;
        check_spelling(m, text, error);
    }
    return error->status;
}

/* ---- the windows ---- */

/* A byte of the text at which a token of every model ends. */
typedef struct across_place {
    size_t *at; /* for each model, the number of tokens before it */
    size_t byte;
} across_place;

/* Goes to the next such byte. Returns false at the end of the text, or where --max-tokens ends it. */
static bool step(const across_job *job, across_place *place, size_t *reached)
{
    const size_t limit = job->experiment.max_tokens;
    size_t most = 0;
    for (size_t k = 0; k < job->count; k++) {
        if (place->at[k] == job->models[k].tokens)
            return false;
        reached[k] = place->byte + bytes_of(&job->models[k], place->at[k]++);
        most = organ_max(most, reached[k]);
    }
    for (bool equal = false; !equal;) {
        equal = true;
        for (size_t k = 0; k < job->count; k++) {
            while (reached[k] < most)
                reached[k] += bytes_of(&job->models[k], place->at[k]++);
            equal = equal && reached[k] == most;
            most = organ_max(most, reached[k]);
        }
    }
    place->byte = most;
    return !limit || place->at[0] <= limit;
}

/* A window has BOS and all of its tokens but the last, which is only predicted. */
static bool fits(const across_job *job, const across_place *from, const across_place *to)
{
    bool all = true;
    for (size_t k = 0; k < job->count; k++) {
        const organ_tokenizer_facts *const facts = organ_tokenizer_describe(job->models[k].tokenizer);
        all = all && to->at[k] - from->at[k] + (facts->adds_bos && facts->bos >= 0) <= job->context + 1;
    }
    return all;
}

static void copy_place(const across_job *job, across_place *to, const across_place *from)
{
    memcpy(to->at, from->at, job->count * sizeof *to->at);
    to->byte = from->byte;
}

/* Adds the window that ends at `end`; `begin` is its first token, `lead` the first that is scored. */
static organ_status add_window(across_job *job, const across_place *begin, const across_place *lead,
                               const across_place *end, organ_error *error)
{
    const size_t w = job->windows;
    bool room = organ_grow(&job->bytes, w, &job->bytes_room, sizeof *job->bytes);
    for (size_t k = 0; k < job->count && room; k++) {
        across_model *const m = &job->models[k];
        room = organ_grow(&m->first, w + 1, &m->first_room, sizeof *m->first) &&
               organ_grow(&m->lead, w, &m->lead_room, sizeof *m->lead);
        if (room) {
            m->first[w] = begin->at[k];
            m->first[w + 1] = end->at[k];
            m->lead[w] = lead->at[k];
        }
    }
    if (!room)
        return organ_fail_memory(error, job->experiment.text);
    job->bytes[job->windows++] = end->byte - lead->byte;
    return ORGAN_OK;
}

static organ_status fail_long(const across_job *job, const across_place *from, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "%s: from byte %zu on, windows of %zu tokens are too short to reach %s at which a token of every "
                      "model ends: `context` N",
                      job->experiment.text, from->byte, job->context, job->leads ? "two bytes" : "a byte");
}

/* begin, lead, last: places of the open window: its first token, the first scored one, the last end that fits. */
static organ_status cut_windows(across_job *job, size_t *places, organ_error *error)
{
    const size_t n = job->count, unscored = job->leads;
    across_place begin = {places, 0}, lead = {places + n, 0}, last = {places + 2 * n, 0}, next = {places + 3 * n, 0};
    size_t steps = 0;
    while (!error->status && step(job, &next, places + 4 * n)) {
        const bool full = !fits(job, &begin, &next);
        if (full && steps <= unscored)
            return fail_long(job, &begin, error);
        if (full) {
            add_window(job, &begin, &lead, &last, error);
            copy_place(job, &begin, &last);
            copy_place(job, &lead, &last);
            copy_place(job, &next, &last);
            steps = 0;
            continue;
        }
        copy_place(job, &last, &next);
        if (++steps == unscored)
            copy_place(job, &lead, &next);
    }
    if (!error->status && steps > unscored)
        add_window(job, &begin, &lead, &last, error);
    return error->status;
}

static organ_status choose_windows(across_job *job, organ_error *error)
{
    const size_t asked = job->options->max_windows;
    job->chosen = asked && asked < job->windows ? asked : job->windows;
    if (!job->windows)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is too short: it has no window that all models can score",
                          job->experiment.text);
    if (job->chosen < job->windows && organ_scoring_order(job->windows, &job->order, error))
        return error->status;
    ORGAN_OWNED size_t *const numbers = malloc((job->chosen + 1) * sizeof *numbers);
    if (!numbers)
        return organ_fail_memory(error, job->experiment.text);
    for (size_t k = 0; k <= job->chosen; k++)
        numbers[k] = k;
    for (size_t k = 0; k < job->chosen; k++)
        job->scored_bytes += job->bytes[job->order ? job->order[k] : k];
    const organ_perplexity_plan plan = {
        .begin = numbers, .windows = job->chosen, .rows = numbers, .scored = job->chosen};
    return organ_score_windows_make(&plan, job->chosen, job->order, job->windows, &job->sums, error);
}

organ_status organ_across_read(across_job *job, organ_error *error)
{
    organ_text_input text = {0};
    ORGAN_OWNED size_t *const places = calloc(5 * job->count, sizeof *places);
    if (!places)
        return organ_fail_memory(error, job->experiment.text);
    if (organ_text_load(&text, job->experiment.text, job->engine, error) == ORGAN_OK &&
        check_text(job, &text, error) == ORGAN_OK)
        read_tokens(job, &text, error);
    organ_text_release(&text);
    if (error->status || cut_windows(job, places, error) ||
        organ_memory_claim(job->engine, organ_across_memory(job), error, "tokens and windows of %s in %zu models",
                           organ_path_name(job->experiment.text), job->count))
        return error->status;
    return choose_windows(job, error);
}

/* ---- the windows in the tokens of a model ---- */

static organ_status allocate_plan(const across_job *job, const across_model *m, organ_perplexity_plan *plan,
                                  organ_error *error)
{
    size_t tokens = 0; /* of the chosen windows */
    for (size_t c = 0; c < job->chosen; c++) {
        const size_t w = job->order ? job->order[c] : c;
        tokens += m->first[w + 1] - m->first[w];
    }
    plan->tokens = malloc((tokens + job->chosen) * sizeof *plan->tokens);
    plan->begin = calloc(job->chosen + 1, sizeof *plan->begin);
    plan->rows = malloc((tokens + 1) * sizeof *plan->rows);
    plan->targets = malloc((tokens + 1) * sizeof *plan->targets);
    return plan->tokens && plan->begin && plan->rows && plan->targets ? ORGAN_OK
                                                                      : organ_fail_memory(error, job->experiment.text);
}

organ_status organ_across_plan(const across_job *job, const across_model *m, organ_perplexity_plan *plan,
                               organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(m->tokenizer);
    const bool bos = facts->adds_bos && facts->bos >= 0;
    *plan = (organ_perplexity_plan){0};
    if (allocate_plan(job, m, plan, error))
        return error->status;
    for (size_t c = 0; c < job->chosen; c++) {
        const size_t w = job->order ? job->order[c] : c, begin = plan->begin[c];
        size_t inputs = begin;
        if (bos)
            plan->tokens[inputs++] = (uint32_t)facts->bos;
        for (size_t k = m->first[w]; k < m->first[w + 1]; k++) {
            if (k >= m->lead[w]) {
                plan->rows[plan->scored] = inputs - 1;
                plan->targets[plan->scored++] = m->ids[k];
            }
            if (k + 1 < m->first[w + 1])
                plan->tokens[inputs++] = m->ids[k];
        }
        plan->begin[++plan->windows] = inputs;
    }
    return ORGAN_OK;
}

/* ---- tokens that two models share ---- */

/* Tokens without a text are padding rows if they come last. */
static size_t tokens_of(const organ_tokenizer *t)
{
    size_t count = organ_tokenizer_describe(t)->vocabulary, bytes = 0;
    while (count && (organ_tokenizer_text_of(t, (uint32_t)count - 1, &bytes), !bytes))
        count--;
    return count;
}

static void find_shared(across_model *m, const across_model *first, size_t count)
{
    for (size_t id = 0; id < count; id++) {
        size_t bytes;
        const char *const text = organ_vocabulary_text(m->tokenizer, (uint32_t)id, &bytes);
        const uint32_t there = text ? organ_vocabulary_id(first->tokenizer, text, bytes) : ORGAN_NO_ROW;
        m->shared_ids[id] = there;
        if (there != ORGAN_NO_ROW && (!id || there > m->shared_ids[id - 1]))
            continue;
        snprintf(m->why_not, sizeof m->why_not, "token %zu ('%.*s') %s %s", id, text ? (int)organ_min(bytes, 60) : 0,
                 text ? text : "", there == ORGAN_NO_ROW ? "is none of" : "has another order than in", first->path);
        return;
    }
    m->shared = (organ_shared_tokens){m->shared_ids, count};
}

organ_status organ_across_share(const across_job *job, across_model *m, organ_error *error)
{
    const size_t count = tokens_of(m->tokenizer);
    if (!(m->shared_ids = malloc((count + 1) * sizeof *m->shared_ids)))
        return organ_fail_memory(error, m->path);
    find_shared(m, job->models, count);
    return ORGAN_OK;
}

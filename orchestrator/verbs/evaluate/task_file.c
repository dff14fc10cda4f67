/* SPDX-License-Identifier: MIT
 * Reads the lines of a task file, tokenizes questions and choices, and plans their windows. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "orchestrator/stream/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct task_tokens {
    uint32_t *ids;
    size_t count;
} task_tokens;

typedef struct task_reader {
    organ_task_set *set;
    organ_scoring *scoring;
    const char *path;
    char label[512]; /* "FILE: line N", for messages */
    size_t line;
    /* Allocated entries of tokens, begin, rows and targets in the plan. */
    size_t input_room, window_room, row_room, target_room;
    /* Bytes of plan and choices, including those not stored because `full` is set. */
    uint64_t bytes;
    /* `bytes` exceeds task_memory_limit: further lines are only counted, for the message. */
    bool full;
    task_tokens context, whole; /* of the current question: context alone; context, delimiter and choice */
    uint32_t prefix;            /* BOS (EOS if there is none), in place of a context without tokens */
} task_reader;

/* The limit is half of --memory; the model's pass needs the rest. */
static uint64_t task_memory_limit(const task_reader *r) { return r->scoring->memory / 2; }

/* ---- texts and tokens ---- */

/* White space is what Python's str.rstrip cuts. */
static size_t length_without_trailing_space(const char *text)
{
    const unsigned char *const s = (const unsigned char *)text;
    size_t kept = 0;
    for (size_t at = 0; s[at];) {
        const size_t space = organ_utf8_space(s + at), length = organ_utf8_length(s + at);
        at += space + (space ? 0 : length + (length == 0));
        if (!space)
            kept = at;
    }
    return kept;
}

/* An invalid byte counts as one character. */
static size_t count_characters(const char *text)
{
    size_t count = 0;
    for (size_t at = 0; text[at]; count++) {
        const size_t length = organ_utf8_length((const unsigned char *)text + at);
        at += length ? length : 1;
    }
    return count;
}

static organ_status put_first(const task_reader *r, uint32_t id, task_tokens *tokens, organ_error *error)
{
    uint32_t *const more = realloc(tokens->ids, (tokens->count + 1) * sizeof *more);
    if (!more)
        return organ_fail_memory(error, r->path);
    memmove(more + 1, more, tokens->count * sizeof *more);
    more[0] = id;
    *tokens = (task_tokens){more, tokens->count + 1};
    return ORGAN_OK;
}

/* Frees the old ids of `tokens`. With `adds_bos`, BOS comes first unless the text begins with it. */
static organ_status task_encode(task_reader *r, const char *text, size_t bytes, bool adds_bos, task_tokens *tokens,
                                organ_error *error)
{
    const int64_t bos = r->scoring->protocol.bos;
    free(tokens->ids);
    *tokens = (task_tokens){0};
    if (organ_tokenizer_encode(r->scoring->tokenizer, text, bytes, /*special=*/true, &tokens->ids, &tokens->count,
                               error))
        return error->status;
    if (!adds_bos || bos < 0 || (tokens->count && tokens->ids[0] == (uint32_t)bos))
        return ORGAN_OK;
    return put_first(r, (uint32_t)bos, tokens, error);
}

/* ---- the plan ---- */

typedef struct task_window {
    const uint32_t *tokens; /* inputs + 1 ids: all but the last are inputs of the model */
    size_t inputs;
    size_t scored; /* the last `scored` ids are the choice: their likelihoods are computed */
} task_window;

/* A choice with one scored token can share the last window of the plan if both have the same inputs. */
static bool same_window(const organ_perplexity_plan *plan, const task_window *w)
{
    if (!plan->windows)
        return false;
    const size_t begin = plan->begin[plan->windows - 1], inputs = plan->begin[plan->windows] - begin;
    return w->scored == 1 && inputs == w->inputs &&
           memcmp(plan->tokens + begin, w->tokens, inputs * sizeof *plan->tokens) == 0 &&
           plan->rows[plan->scored - 1] == begin + inputs - 1;
}

static bool task_reserve(void *list, size_t count, size_t *capacity, size_t size)
{
    while (*capacity < count)
        if (!organ_grow(list, *capacity, capacity, size))
            return false;
    return true;
}

static organ_status store_window(task_reader *r, const task_window *w, organ_error *error)
{
    organ_perplexity_plan *const plan = &r->scoring->plan;
    const bool shared = same_window(plan, w);
    const size_t begin = plan->windows ? plan->begin[plan->windows - shared] : 0;
    if (!task_reserve(&plan->tokens, begin + w->inputs, &r->input_room, sizeof *plan->tokens) ||
        !task_reserve(&plan->begin, plan->windows + 2, &r->window_room, sizeof *plan->begin) ||
        !task_reserve(&plan->rows, plan->scored + w->scored, &r->row_room, sizeof *plan->rows) ||
        !task_reserve(&plan->targets, plan->scored + w->scored, &r->target_room, sizeof *plan->targets))
        return organ_fail_memory(error, r->path);
    memcpy(plan->tokens + begin, w->tokens, w->inputs * sizeof *plan->tokens);
    for (size_t k = w->inputs - w->scored; k < w->inputs; k++) {
        plan->rows[plan->scored] = begin + k;
        plan->targets[plan->scored++] = w->tokens[k + 1];
    }
    plan->begin[0] = 0;
    plan->windows += !shared;
    plan->begin[plan->windows] = begin + w->inputs;
    return ORGAN_OK;
}

/* The tokens of the choice are those in r->whole after as many tokens as r->context has. If memory is too small
 * (r->full), stores nothing, but counts the bytes in r->bytes. `number` is the number of the choice in messages,
 * from 1; `characters` is the length of its text. */
static organ_status add_choice(task_reader *r, size_t number, size_t characters, bool gold, organ_error *error)
{
    organ_task_set *const set = r->set;
    const size_t before = r->context.count, limit = r->scoring->protocol.context;
    if (r->whole.count <= before)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: choice %zu has no token of its own: the tokenizer merges it with the context", r->label,
                          number);
    const size_t scored = r->whole.count - before;
    if (scored > limit)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: choice %zu has %zu tokens, more than a window (`context` %zu)",
                          r->label, number, scored, limit);
    /* The model reads the tokens that the context has alone, even if the text as a whole begins with other tokens. */
    memcpy(r->whole.ids, r->context.ids, before * sizeof *r->whole.ids);
    const size_t all = r->whole.count - 1, inputs = all < limit ? all : limit;
    const task_window window = {r->whole.ids + (all - inputs), inputs, scored};
    set->cut += inputs < all;
    r->bytes += inputs * (sizeof(uint32_t) + sizeof(size_t)) + scored * (sizeof(size_t) + sizeof(uint32_t)) +
                sizeof *set->choices + sizeof *set->questions;
    r->full |= 2 * r->bytes > task_memory_limit(r); /* lists grow by doubling */
    if (r->full)
        return ORGAN_OK;
    if (!organ_grow(&set->choices, set->choice_count, &set->choice_room, sizeof *set->choices))
        return organ_fail_memory(error, r->path);
    set->choices[set->choice_count++] = (organ_task_choice){r->scoring->plan.scored, scored, characters, gold};
    return store_window(r, &window, error);
}

/* ---- a line ---- */

/* Texts point into the line's JSON. `delimiter` is " " and `task` "" if the line does not have them. */
typedef struct task_line {
    const char *context, *delimiter, *task;
    const json_t *choices, *gold;
} task_line;

/* r->label has the name of the file and the line. */
static organ_status refuse_line(const task_reader *r, const char *what, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", r->label, what);
}

static bool is_right(const json_t *gold, size_t choice)
{
    if (json_is_integer(gold))
        return json_integer_value(gold) == (json_int_t)choice;
    for (size_t k = 0; k < json_array_size(gold); k++)
        if (json_integer_value(json_array_get(gold, k)) == (json_int_t)choice)
            return true;
    return false;
}

static bool is_index(const json_t *value, size_t count)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < (json_int_t)count;
}

static bool is_valid_gold(const json_t *gold, size_t count)
{
    if (!json_is_array(gold))
        return is_index(gold, count);
    for (size_t k = 0; k < json_array_size(gold); k++)
        if (!is_index(json_array_get(gold, k), count))
            return false;
    return json_array_size(gold) > 0;
}

static organ_status read_question(const task_reader *r, const json_t *tree, task_line *line, organ_error *error)
{
    const json_t *const delimiter = json_object_get(tree, "delimiter"), *const task = json_object_get(tree, "task");
    *line = (task_line){.context = organ_json_plain(json_object_get(tree, "context")),
                        .delimiter = delimiter ? organ_json_plain(delimiter) : " ",
                        .task = task ? organ_json_plain(task) : "",
                        .choices = json_object_get(tree, "choices"),
                        .gold = json_object_get(tree, "gold")};
    const size_t count = json_array_size(line->choices);
    if (!line->context)
        return refuse_line(r, "\"context\" must be a text", error);
    if (!line->delimiter || !line->task)
        return refuse_line(r, "\"delimiter\" and \"task\" must be texts", error);
    if (task && (!*line->task || strlen(line->task) > 256))
        return refuse_line(r, "\"task\" must have 1 to 256 bytes", error);
    if (count < 2 || count > ORGAN_TASK_CHOICES)
        return refuse_line(r, "\"choices\" must be an array of 2 to 1024 texts", error);
    for (size_t k = 0; k < count; k++) {
        const char *const choice = organ_json_plain(json_array_get(line->choices, k));
        if (!choice || !*choice)
            return refuse_line(r, "each of \"choices\" must be a text that is not empty", error);
    }
    if (!is_valid_gold(line->gold, count))
        return refuse_line(r, "\"gold\" must be the index of a choice, from 0, or an array of such indices", error);
    return ORGAN_OK;
}

/* If `name` is "", the name of the file without its ending is used. The search begins at the end, because the lines
 * of a task are usually consecutive. */
static organ_status find_task(task_reader *r, const char *name, size_t *task, organ_error *error)
{
    organ_task_set *const set = r->set;
    char own[256];
    if (!*name) {
        const char *const file = organ_path_name(r->path), *const dot = strrchr(file, '.');
        snprintf(own, sizeof own, "%.*s", dot && dot > file ? (int)(dot - file) : (int)strlen(file), file);
        name = own;
    }
    for (size_t k = set->tasks; k-- > 0;)
        if (strcmp(set->names[k], name) == 0) {
            *task = k;
            return ORGAN_OK;
        }
    if (set->tasks == ORGAN_TASK_NAMES)
        return refuse_line(r, "the file has more than 1024 tasks", error);
    if (!organ_grow(&set->names, set->tasks, &set->task_room, sizeof *set->names) ||
        !(set->names[set->tasks] = strdup(name)))
        return organ_fail_memory(error, r->path);
    *task = set->tasks++;
    return ORGAN_OK;
}

static organ_status encode_choice(task_reader *r, const task_line *line, const char *choice, organ_error *error)
{
    const size_t context = strlen(line->context), delimiter = strlen(line->delimiter), own = strlen(choice);
    ORGAN_OWNED char *const text = malloc(context + delimiter + own + 1);
    if (!text)
        return organ_fail_memory(error, r->path);
    memcpy(text, line->context, context);
    memcpy(text + context, line->delimiter, delimiter);
    memcpy(text + context + delimiter, choice, own + 1);
    return task_encode(r, text, context + delimiter + own, context > 0 && r->scoring->protocol.adds_bos, &r->whole,
                       error);
}

/* The prefix is needed for a choice whose context has no tokens, unless its tokens begin with it. */
static organ_status put_prefix(task_reader *r, organ_error *error)
{
    const bool has_prefix = r->whole.count && r->whole.ids[0] == r->prefix;
    return has_prefix ? ORGAN_OK : put_first(r, r->prefix, &r->whole, error);
}

/* The model needs at least one token to predict from, so a context without tokens becomes the prefix token, as in
 * lm-evaluation-harness. */
static organ_status add_question(task_reader *r, const task_line *line, organ_error *error)
{
    organ_task_set *const set = r->set;
    const size_t count = json_array_size(line->choices);
    const bool adds_bos = *line->context && r->scoring->protocol.adds_bos;
    organ_task_question question = {.line = r->line, .first = set->choice_count, .choices = count};
    if (find_task(r, line->task, &question.task, error) ||
        task_encode(r, line->context, length_without_trailing_space(line->context), adds_bos, &r->context, error))
        return error->status;
    const bool empty = r->context.count == 0;
    if (empty && put_first(r, r->prefix, &r->context, error))
        return error->status;
    for (size_t k = 0; k < count && !error->status; k++) {
        const char *const choice = json_string_value(json_array_get(line->choices, k));
        if (encode_choice(r, line, choice, error) == ORGAN_OK && (!empty || put_prefix(r, error) == ORGAN_OK))
            add_choice(r, k + 1, count_characters(choice), is_right(line->gold, k), error);
    }
    if (error->status || r->full)
        return error->status;
    if (!organ_grow(&set->questions, set->count, &set->question_room, sizeof *set->questions))
        return organ_fail_memory(error, r->path);
    set->questions[set->count++] = question;
    return ORGAN_OK;
}

static bool is_empty_line(const char *bytes, size_t length)
{
    for (size_t k = 0; k < length; k++)
        if (!strchr(" \t\r", bytes[k]) || !bytes[k])
            return false;
    return true;
}

static organ_status add_line(task_reader *r, const char *bytes, size_t length, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *tree = NULL;
    task_line line;
    if (is_empty_line(bytes, length))
        return ORGAN_OK;
    snprintf(r->label, sizeof r->label, "%.400s: line %zu", r->path, r->line);
    const organ_json_source source = {r->label, bytes, length};
    if (organ_json_parse_object(&source, &tree, error) == ORGAN_OK && read_question(r, tree, &line, error) == ORGAN_OK)
        add_question(r, &line, error);
    return error->status;
}

/* ---- the file ---- */

static organ_status read_lines(task_reader *r, organ_error *error)
{
    const char *const text = r->scoring->text.bytes;
    const size_t size = r->scoring->text.size;
    for (size_t at = 0; at < size && !error->status;) {
        const char *const end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - text) - at : size - at;
        r->line++;
        if (organ_stop_is_requested(r->scoring->engine.stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        add_line(r, text + at, length, error);
        at += length + 1;
    }
    /* needed: twice `bytes` because lists grow by doubling, twice that because they may take half of the memory, and an
     * eighth of --memory as a margin */
    if (!error->status && r->full)
        organ_memory_claim(&r->scoring->whole, 4 * r->bytes + r->scoring->memory / 8, error,
                           "the questions of %s (%zu lines)", organ_path_name(r->path), r->line);
    else if (!error->status && !r->set->count)
        organ_fail(error, ORGAN_BAD_INPUT, "%s has no questions", r->path);
    return error->status;
}

/* A tokenizer with neither BOS nor EOS is rejected, because one of the two replaces a context without tokens. */
organ_status organ_task_set_read(organ_task_set *set, organ_scoring *scoring, organ_error *error)
{
    const organ_perplexity_protocol *const p = &scoring->protocol;
    task_reader r = {.set = set, .scoring = scoring, .path = scoring->text.path};
    *set = (organ_task_set){0};
    if (p->bos < 0 && p->eos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: a question without a context needs BOS or EOS, and the tokenizer has neither", r.path);
    r.prefix = (uint32_t)(p->bos >= 0 ? p->bos : p->eos);
    read_lines(&r, error);
    free(r.context.ids);
    free(r.whole.ids);
    return error->status;
}

void organ_task_set_release(organ_task_set *set)
{
    for (size_t k = 0; k < set->tasks; k++)
        free(set->names[k]);
    ORGAN_FREE_ARRAYS(set->names, set->questions, set->choices);
    *set = (organ_task_set){0};
}

/* SPDX-License-Identifier: MIT
 * The policies: what each keeps besides the needs of the texts, and what it saves. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/results.h"

#include <inttypes.h>

/* ---- the list ---- */

static vocabulary_extent chosen_extent(const organ_vocabulary_options *o)
{
    if (o->tokens || o->keep_all)
        return o->tokens ? VOCABULARY_LIST : VOCABULARY_ALL;
    if (o->keep_characters)
        return o->keep_merges ? VOCABULARY_BOTH : VOCABULARY_CHARACTERS;
    return o->keep_merges ? VOCABULARY_MERGES : VOCABULARY_TEXTS;
}

static void add_policy(vocabulary_job *job, vocabulary_extent extent, uint64_t merges)
{
    job->policies[job->policy_count++] = (vocabulary_policy){.extent = extent, .merges = merges};
}

/* The policies of the list, and the chosen one if it is another. */
static void list_policies(vocabulary_job *job)
{
    const organ_vocabulary_options *const o = job->options;
    const vocabulary_extent extent = chosen_extent(o);
    vocabulary_policy *chosen = NULL;
    add_policy(job, VOCABULARY_TEXTS, 0);
    add_policy(job, VOCABULARY_CHARACTERS, 0);
    for (uint64_t merges = 8000; merges <= 64000 && merges < job->groups.merges; merges *= 2)
        add_policy(job, VOCABULARY_MERGES, merges);
    add_policy(job, VOCABULARY_ALL, 0);
    for (size_t k = 0; k < job->policy_count && !chosen; k++)
        if (job->policies[k].extent == extent && job->policies[k].merges == o->keep_merges)
            chosen = &job->policies[k];
    if (!chosen) {
        add_policy(job, extent, o->keep_merges);
        chosen = &job->policies[job->policy_count - 1];
    }
    chosen->chosen = true;
}

/* ---- what a policy keeps ---- */

static organ_status keep(vocabulary_job *job, vocabulary_policy *p, organ_error *error)
{
    if (p->extent == VOCABULARY_LIST)
        return organ_kept_begin_list(&p->kept, job->tokenizer, job->listed, job->listed_count, error);
    if (organ_kept_copy(&p->kept, &job->base, error))
        return error->status;
    if (p->extent == VOCABULARY_CHARACTERS || p->extent == VOCABULARY_BOTH)
        organ_kept_characters(&p->kept, error);
    if (!error->status && (p->extent == VOCABULARY_MERGES || p->extent == VOCABULARY_BOTH))
        organ_kept_merges(&p->kept, (size_t)p->merges, error);
    if (!error->status && p->extent == VOCABULARY_ALL)
        organ_kept_all(&p->kept, error);
    return error->status;
}

static uint64_t kept_below(const vocabulary_policy *p, uint64_t rows)
{
    uint64_t kept = 0;
    for (uint64_t id = 0; id < rows; id++)
        kept += p->kept.why[id] != 0;
    return kept;
}

/* Pads with further tokens, which need no rows that the model does not have. */
static organ_status pad(const vocabulary_job *job, vocabulary_policy *p, organ_error *error)
{
    const uint64_t multiple = job->options->multiple_of ? job->options->multiple_of : 1;
    p->rows = (p->kept.count + multiple - 1) / multiple * multiple;
    return p->rows == p->kept.count ? ORGAN_OK : organ_kept_fill(&p->kept, (uint32_t)p->rows, error);
}

/* A table may have fewer rows than the vocabulary has ids (Gemma 3n): it keeps those of its own. */
static void measure(const vocabulary_job *job, vocabulary_policy *p)
{
    p->bytes = 0;
    for (size_t k = 0; k < job->tables.count; k++) {
        const organ_token_table *const table = &job->tables.list[k];
        p->bytes +=
            organ_token_table_bytes(table, table->rows < job->groups.count ? kept_below(p, table->rows) : p->rows);
    }
}

/* ---- the texts have the same ids ---- */

/* Encodes the texts with the kept tokens. */
static organ_status check_texts(const vocabulary_job *job, const vocabulary_policy *p, organ_error *error)
{
    organ_tokenizer *const cut = organ_kept_tokenizer(&p->kept, error);
    if (!cut)
        return error->status;
    for (size_t k = 0; k < job->options->text_count && !error->status; k++) {
        const vocabulary_text *const text = &job->texts[k];
        vocabulary_text again = {.path = text->path};
        if (organ_vocabulary_read(job, cut, &again, NULL, error) == ORGAN_OK &&
            (again.digest != text->digest || again.tokens != text->tokens))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: has other tokens with the kept ones (%" PRIu64 ", not %" PRIu64 "), or has changed",
                       text->path, again.tokens, text->tokens);
    }
    organ_tokenizer_close(cut);
    return error->status;
}

organ_status organ_vocabulary_policies(vocabulary_job *job, organ_error *error)
{
    list_policies(job);
    for (size_t k = 0; k < job->policy_count; k++) {
        vocabulary_policy *const p = &job->policies[k];
        if (keep(job, p, error) || pad(job, p, error) || (p->chosen && check_texts(job, p, error)))
            return error->status;
        measure(job, p);
    }
    return ORGAN_OK;
}

const char *organ_vocabulary_choice(const organ_vocabulary_options *o)
{
    const struct {
        bool given;
        const char *name;
    } choices[] = {{o->tokens != NULL, "tokens"},
                   {o->keep_all, "keep_all"},
                   {o->keep_characters, "keep_characters"},
                   {o->keep_merges > 0, "keep_merges"},
                   {o->multiple_of > 1, "multiple_of"}};
    for (size_t k = 0; k < sizeof choices / sizeof *choices; k++)
        if (choices[k].given)
            return choices[k].name;
    return NULL;
}

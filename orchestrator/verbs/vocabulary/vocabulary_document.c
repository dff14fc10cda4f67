/* SPDX-License-Identifier: MIT
 * Makes the report. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

/* ---- texts and vocabulary ---- */

static json_t *text_json(const vocabulary_text *text)
{
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(text->path)), SET_COUNT("bytes", text->bytes),
                        SET_TEXT("xxh3", text->bytes_digest), SET_COUNT("tokens", text->tokens),
                        SET_COUNT("distinct", text->distinct));
}

static json_t *text_row(const void *context, size_t k)
{
    return text_json(&((const vocabulary_job *)context)->texts[k]);
}

static json_t *lacking_json(const organ_token_groups *g)
{
    json_t *const list = json_array();
    for (unsigned byte = 0; byte < 256; byte++)
        if (g->lacks[byte])
            json_array_append_new(list, organ_json_sprintf("0x%02X", byte));
    return list;
}

static json_t *vocabulary_json(const vocabulary_job *job)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(job->tokenizer);
    const organ_token_groups *const g = &job->groups;
    const uint64_t rows = job->tables.rows;
    return ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_TEXT("digest", facts->digest), SET_COUNT("rows", rows),
                        SET_COUNT("tokens", g->tokens), SET_COUNT("added", g->added), SET_COUNT("merges", g->merges),
                        SET_COUNT("padding", rows > g->tokens ? rows - g->tokens : 0),
                        SET_COUNT("without_row", facts->vocabulary > rows ? facts->vocabulary - rows : 0),
                        SET("lacking_bytes", lacking_json(g)));
}

/* ---- groups of tokens ---- */

typedef struct group_sums {
    uint64_t tokens, used, kept, occurrences;
} group_sums;

typedef struct group_table {
    const vocabulary_job *job;
    const char *key;
    const char *(*name)(unsigned group);
    group_sums sums[64];
    uint64_t occurrences;
} group_table;

const vocabulary_policy *organ_vocabulary_chosen(const vocabulary_job *job)
{
    size_t k = 0;
    while (!job->policies[k].chosen)
        k++;
    return &job->policies[k];
}

static json_t *group_row(const void *context, size_t k)
{
    const group_table *const t = context;
    const group_sums *const s = &t->sums[k];
    return s->tokens ? ORGAN_OBJECT(SET_TEXT(t->key, t->name((unsigned)k)), SET_COUNT("tokens", s->tokens),
                                    SET_COUNT("used", s->used), SET_COUNT("kept", s->kept),
                                    SET_COUNT("occurrences", s->occurrences),
                                    SET_REAL("percent", organ_percent(s->occurrences, t->occurrences)))
                     : NULL;
}

static void add_token(const vocabulary_job *job, const vocabulary_policy *p, uint32_t id, group_sums *s)
{
    s->tokens++;
    s->used += job->uses[id] > 0;
    s->kept += p->kept.why[id] != 0;
    s->occurrences += job->uses[id];
}

static json_t *groups_json(const vocabulary_job *job, bool by_script)
{
    const vocabulary_policy *const p = organ_vocabulary_chosen(job);
    const organ_token_groups *const g = &job->groups;
    group_table t = {.job = job,
                     .key = by_script ? "script" : "kind",
                     .name = by_script ? organ_token_script_name : organ_token_kind_name};
    for (uint32_t id = 0; id < g->count; id++) {
        if (g->kinds[id] == ORGAN_TOKEN_NONE)
            continue;
        t.occurrences += job->uses[id];
        add_token(job, p, id, &t.sums[by_script ? g->scripts[id] : g->kinds[id]]);
    }
    return organ_json_rows(by_script ? organ_token_scripts() : ORGAN_TOKEN_KINDS, group_row, &t);
}

static json_t *needs_json(const vocabulary_job *job)
{
    const organ_kept_tokens *const kept = &job->base;
    uint64_t parts = 0, bytes = 0, added = 0;
    for (uint32_t id = 0; id < job->groups.count; id++) {
        const unsigned char why = kept->why[id];
        parts += why && !(why & ORGAN_KEPT_USED) && (why & ORGAN_KEPT_PART);
        bytes += why && !(why & (ORGAN_KEPT_USED | ORGAN_KEPT_PART)) && (why & ORGAN_KEPT_BYTE);
        added += why == ORGAN_KEPT_ADDED;
    }
    return ORGAN_OBJECT(SET_COUNT("texts", job->text_tokens),
                        SET_COUNT_OF("template", job->has_template, job->template_tokens), SET_COUNT("parts", parts),
                        SET_COUNT("bytes", bytes), SET_COUNT("added", added), SET_COUNT("unmade", kept->unmade),
                        SET_COUNT("tokens", kept->count), SET_COUNT("merges", kept->merge_count));
}

/* ---- tensors and policies ---- */

static json_t *table_row(const void *context, size_t k)
{
    const vocabulary_job *const job = context;
    const organ_token_table *const t = &job->tables.list[k];
    char text[128];
    return ORGAN_OBJECT(SET_BYTES("name", t->weight->name), SET_TEXT("use", organ_token_use_name(t->use)),
                        SET_TEXT("stored", organ_weight_text(t->weight, text, sizeof text)), SET_COUNT("rows", t->rows),
                        SET_COUNT("bytes", t->bytes),
                        SET_REAL("percent", organ_percent(t->bytes, organ_model_tensor_bytes(job->model))));
}

static uint64_t table_bytes(const vocabulary_job *job)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->tables.count; k++)
        bytes += job->tables.list[k].bytes;
    return bytes;
}

static json_t *policy_name(const vocabulary_policy *p)
{
    switch (p->extent) {
    case VOCABULARY_CHARACTERS:
        return json_string("+ characters");
    case VOCABULARY_MERGES:
        return organ_json_sprintf("+ %llu merges", (unsigned long long)p->merges);
    case VOCABULARY_BOTH:
        return organ_json_sprintf("+ characters, %llu merges", (unsigned long long)p->merges);
    case VOCABULARY_ALL:
        return json_string("all tokens");
    case VOCABULARY_LIST:
        return json_string("list");
    case VOCABULARY_TEXTS:
        break;
    }
    return json_string("texts");
}

static json_t *policy_row(const void *context, size_t k)
{
    const vocabulary_job *const job = context;
    const vocabulary_policy *const p = &job->policies[k];
    const uint64_t bytes = table_bytes(job), model = organ_model_tensor_bytes(job->model);
    const double saved = (double)bytes - (double)p->bytes;
    const uint64_t before = job->evaluated.tokens;
    return ORGAN_OBJECT(
        SET("policy", policy_name(p)), SET_FLAG("chosen", p->chosen),
        SET_FLAG("characters", p->extent == VOCABULARY_CHARACTERS || p->extent == VOCABULARY_BOTH),
        SET_COUNT("first_merges", p->merges), SET_COUNT("rows", p->rows), SET_COUNT("tokens", p->kept.count),
        SET_COUNT("merges", p->kept.merge_count), SET_COUNT("bytes", p->bytes), SET_COUNT("saved", (json_int_t)saved),
        SET_REAL("saved_percent", saved / (double)model * 100), SET_COUNT_OF("text_tokens", before, p->tokens),
        SET_REAL_OF("more_percent", before, organ_percent(p->tokens, before) - 100),
        SET_REAL_OF("dropped", job->scored, p->dropped), SET_REAL_OF("dropped_most", job->scored, p->most));
}

static json_t *evaluated_json(const vocabulary_job *job)
{
    if (!job->evaluated.path)
        return json_null();
    return organ_json_joined(text_json(&job->evaluated),
                             ORGAN_OBJECT(SET_COUNT("scored", job->scored), SET_COUNT("windows", job->windows)));
}

json_t *organ_vocabulary_parameters(const vocabulary_job *job)
{
    const organ_vocabulary_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES_OF("tokens", o->tokens ? organ_path_name(o->tokens) : NULL),
                        SET_FLAG("keep_all", o->keep_all), SET_FLAG("keep_characters", o->keep_characters),
                        SET_COUNT("keep_merges", o->keep_merges),
                        SET_COUNT("multiple_of", o->multiple_of ? o->multiple_of : 1),
                        SET_COUNT_OF("evaluate_tokens", o->evaluate, o->evaluate_tokens));
}

json_t *organ_vocabulary_members(const vocabulary_job *job)
{
    const uint64_t bytes = table_bytes(job), all = organ_model_tensor_bytes(job->model);
    return ORGAN_OBJECT(
        SET("texts", organ_json_rows(job->options->text_count, text_row, job)), SET("vocabulary", vocabulary_json(job)),
        SET("needs", needs_json(job)), SET("kinds", groups_json(job, /*by_script=*/false)),
        SET("scripts", groups_json(job, /*by_script=*/true)),
        SET("tables", organ_json_rows(job->tables.count, table_row, job)),
        SET("totals", ORGAN_OBJECT(SET_COUNT("bytes", bytes), SET_REAL("percent", organ_percent(bytes, all)))),
        SET("evaluated", evaluated_json(job)), SET("policies", organ_json_rows(job->policy_count, policy_row, job)),
        SET_SENTENCES("organ.vocabulary/1", "definitions",
                      ORGAN_OBJECT(SET_FLAG("evaluated", job->evaluated.path != NULL),
                                   SET_FLAG("scored", job->scored > 0), SET_FLAG("written", job->ids != NULL))));
}

json_t *organ_vocabulary_document(const vocabulary_job *job)
{
    json_t *const head =
        ORGAN_OBJECT(SET_HEAD("organ.vocabulary/1", "vocabulary/1"), SET("model", organ_model_json(job->model)),
                     SET("parameters", organ_vocabulary_parameters(job)));
    json_t *const run = ORGAN_OBJECT(
        SET("run", ORGAN_OBJECT(SET_BYTES("model", job->options->model),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - job->started)),
                                SET_ENGINE(job->engine))));
    return organ_json_joined(organ_json_joined(head, organ_vocabulary_members(job)), run);
}

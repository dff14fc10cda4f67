/* SPDX-License-Identifier: MIT
 * The vocabulary of the output, and the rows that tensors with a row for each token get from it. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include <stdlib.h>
#include <string.h>

/* ---- the vocabulary ---- */

static const organ_tokenizer *of_output(const merge_vocabulary *v)
{
    return v->made ? v->made : v->tokenizers[v->home];
}

static uint64_t embedding_rows(const merge_donor *donor)
{
    const organ_weight *const embedding = organ_merge_weight_of_role(donor, ORGAN_ROLE_EMBED);
    return embedding ? embedding->shape[0] : 0;
}

/* Opens the tokenizer of donor k. One without has that of the host, or else of the model whose ids the output has, but
 * not in a union, whose models may have other tokens. */
static organ_status open_tokenizer(model_merge *job, merge_vocabulary *v, size_t k, organ_error *error)
{
    const size_t from[] = {k, job->host, v->home};
    bool has_tokenizer = false;
    size_t tried = 0;
    while (tried < 3 && !has_tokenizer && !error->status)
        organ_merge_has_tokenizer(&job->donors[from[tried++]], &has_tokenizer, error);
    if (error->status)
        return error->status;
    const size_t at = has_tokenizer ? tried - 1 : 0; /* 0 if none has: organ_tokenizer_open says what is missing */
    if (at && (job->recipe.tokens.source == MERGE_TOKENS_UNION || k == v->home ||
               v->height[k] != embedding_rows(&job->donors[from[at]])))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s has no tokenizer, which the recipe needs: copy tokenizer.json of a model with the same "
                          "tokens there",
                          job->donors[k].path);
    if (at)
        organ_merge_say_assumed(job, &job->donors[k], &job->donors[from[at]]);
    return organ_tokenizer_open(job->donors[from[at]].model, &v->tokenizers[k], error);
}

static organ_status open_tokenizers(model_merge *job, merge_vocabulary *v, organ_error *error)
{
    const size_t count = job->recipe.donor_count;
    const organ_weight *like = NULL;
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    v->tokenizers = organ_merge_take(job, count * sizeof(void *), error);
    v->height = organ_merge_take(job, count * sizeof *v->height, error);
    v->places = organ_merge_take(job, count * sizeof(void *), error);
    for (size_t k = 0; k < count && !error->status; k++) {
        const merge_donor *const donor = &job->donors[k];
        const organ_weight *const embedding = organ_merge_weight_of_role(donor, ORGAN_ROLE_EMBED);
        like = like ? like : embedding;
        if (!embedding)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s has no embedding, whose rows are its tokens", donor->path);
        if (embedding->rank != like->rank || embedding->shape[1] != like->shape[1])
            return organ_fail(error, ORGAN_BAD_INPUT, "the embedding of %s has the shape %s, that of %s the shape %s",
                              donor->path, organ_shape_text(embedding->rank, embedding->shape, is), job->donors[0].path,
                              organ_shape_text(like->rank, like->shape, was));
        v->height[k] = embedding->shape[0];
        open_tokenizer(job, v, k, error);
    }
    return error->status;
}

static organ_status unite(model_merge *job, merge_vocabulary *v, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    const bool all = r->tokens.source == MERGE_TOKENS_UNION;
    organ_union_model *const models = organ_merge_take(job, r->donor_count * sizeof *models, error);
    const char **const extra = organ_merge_take(job, (r->tokens.rule_count + 1) * sizeof *extra, error);
    size_t count = 0;
    if (error->status)
        return error->status;
    for (size_t k = 0; k <= r->donor_count; k++) { /* `home` first, then the others in the order of the recipe */
        const size_t d = k ? k - 1 : v->home;
        if (k == 0 || (all && d != v->home))
            models[count++] = (organ_union_model){
                .name = job->donors[d].name, .model = job->donors[d].model, v->tokenizers[d], v->height[d]};
    }
    for (size_t k = 0; k < r->tokens.rule_count; k++)
        extra[k] = r->tokens.rules[k].token;
    return organ_tokenizer_unite(models, count, extra, r->tokens.rule_count, &v->json, &v->made, r->warnings, error);
}

static organ_status find_places(model_merge *job, merge_vocabulary *v, organ_error *error)
{
    size_t bytes;
    for (size_t d = 0; d < job->recipe.donor_count; d++) {
        uint32_t *const places = v->places[d] = organ_merge_take(job, v->rows * sizeof *places, error);
        if (error->status)
            break;
        for (uint32_t id = 0; id < v->rows; id++) {
            const char *const text = organ_vocabulary_text(of_output(v), id, &bytes);
            places[id] = text ? organ_vocabulary_id(v->tokenizers[d], text, bytes) : ORGAN_NO_ROW;
            if (places[id] >= v->height[d])
                places[id] = ORGAN_NO_ROW;
        }
    }
    return error->status;
}

/* Sets v->rules, and the row of each rule. Refuses rules whose model has no such row; a token that the output does not
 * have gets none. */
static organ_status find_rules(model_merge *job, merge_vocabulary *v, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    v->rules = organ_merge_take(job, (v->count + 1) * sizeof *v->rules, error);
    for (size_t k = 0; k < r->tokens.rule_count && !error->status; k++) {
        merge_token_rule *const rule = &r->tokens.rules[k];
        const uint32_t id = organ_vocabulary_id(of_output(v), rule->token, strlen(rule->token));
        if (id != ORGAN_NO_ROW)
            v->rules[id] = rule;
        if (rule->kind == MERGE_TOKEN_OF_MODEL)
            rule->id = id == ORGAN_NO_ROW ? id : v->places[rule->donor][id];
        else if (rule->kind == MERGE_TOKEN_NAMED)
            rule->id = organ_vocabulary_id(v->tokenizers[rule->donor], rule->name, strlen(rule->name));
        if (rule->kind != MERGE_TOKEN_ZERO && rule->id >= v->height[rule->donor])
            return organ_merge_fault(r, rule->line, error, "token '%.100s': %.200s has no row for %s", rule->token,
                                     r->donors[rule->donor],
                                     rule->kind == MERGE_TOKEN_OF_MODEL ? "it" : "the token that it is to be like");
    }
    return error->status;
}

/* Embeddings of all layers have a row for each token too, but may have none for the last ones. */
static organ_status check_per_layer(const model_merge *job, const merge_vocabulary *v, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    const uint64_t height = v->height[job->host];
    organ_token_use use;
    for (size_t k = 0; (v->home != job->host || v->rows != height) && k < host->weights->count; k++) {
        const organ_weight *const w = &host->weights->weights[k];
        if (organ_token_use_of(w, height, &use) && w->shape[0] != height)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s' of %s has %llu rows, but the embedding has %llu: other tokens cannot get "
                              "rows there",
                              w->name, host->path, (unsigned long long)w->shape[0], (unsigned long long)height);
    }
    return ORGAN_OK;
}

organ_status organ_merge_open_vocabulary(model_merge *job, organ_error *error)
{
    const merge_token_recipe *const t = &job->recipe.tokens;
    if (t->source == MERGE_TOKENS_UNSET)
        return ORGAN_OK;
    merge_vocabulary *const v = job->vocabulary = organ_merge_take(job, sizeof *v, error);
    if (!v)
        return error->status;
    v->home = t->source == MERGE_TOKENS_MODEL ? t->donor : job->host;
    if (job->donors[v->home].model->gguf)
        return organ_merge_fault(&job->recipe, t->line, error, "%.200s is GGUF and has no tokenizer.json to write",
                                 job->donors[v->home].name);
    if (open_tokenizers(job, v, error) || unite(job, v, error))
        return error->status;
    v->count = organ_tokenizer_describe(of_output(v))->vocabulary;
    v->rows = v->count > v->height[v->home] ? v->count : v->height[v->home];
    if (t->multiple)
        v->rows = (v->count + t->multiple - 1) / t->multiple * t->multiple;
    if (find_places(job, v, error) || find_rules(job, v, error))
        return error->status;
    return check_per_layer(job, v, error);
}

void organ_merge_close_vocabulary(model_merge *job)
{
    merge_vocabulary *const v = job->vocabulary;
    for (size_t k = 0; v && v->tokenizers && k < job->recipe.donor_count; k++)
        organ_tokenizer_close(v->tokenizers[k]);
    if (v) {
        organ_tokenizer_close(v->made);
        free(v->json);
    }
}

/* ---- tensors with a row for each token ---- */

bool organ_merge_has_tokens(const model_merge *job, size_t donor, const organ_weight *weight)
{
    organ_token_use use;
    return job->vocabulary && organ_token_use_of(weight, job->vocabulary->height[donor], &use) &&
           weight->shape[0] == job->vocabulary->height[donor];
}

typedef struct token_rows {
    const merge_vocabulary *v;
    const merge_tensor *t;
    const size_t *source_of; /* for each donor: index of its weight among the sources, or MERGE_NONE */
    size_t base;             /* donor of the base among the inputs, or MERGE_NONE */
    size_t zeros;            /* tokens without a row in any model */
} token_rows;

static organ_merge_row row_of(const token_rows *w, size_t donor, uint64_t row)
{
    return (organ_merge_row){(uint32_t)w->source_of[donor], (uint32_t)row};
}

/* Returns the row of a token that the model lacks and for which there is no rule. */
static organ_merge_row row_of_others(token_rows *w, uint32_t id)
{
    const size_t inputs = organ_merge_item_inputs(&w->t->item);
    size_t have = 0, last = 0; /* models that have the token, and the last of them */
    for (size_t k = 0; k < inputs; k++)
        if (w->v->places[w->t->donors[k]][id] != ORGAN_NO_ROW) {
            last = w->t->donors[k];
            have++;
        }
    w->zeros += have == 0;
    if (have == 0)
        return (organ_merge_row){.source = ORGAN_MERGE_ROW_ZERO};
    if (have == 1)
        return row_of(w, last, w->v->places[last][id]);
    if (w->base != MERGE_NONE && w->v->places[w->base][id] != ORGAN_NO_ROW)
        return row_of(w, w->base, w->v->places[w->base][id]);
    return (organ_merge_row){.source = ORGAN_MERGE_ROW_MEAN, .row = id};
}

/* A row without a token stays that of the model, or is that of the model whose ids the output has. */
static organ_merge_row row_without_token(const token_rows *w, size_t donor, uint32_t id)
{
    size_t bytes;
    const merge_vocabulary *const v = w->v;
    if (id >= v->height[v->home])
        return (organ_merge_row){.source = ORGAN_MERGE_ROW_PAD};
    const bool own = id < v->height[donor] && !organ_vocabulary_text(v->tokenizers[donor], id, &bytes);
    if (!own && w->source_of[v->home] == MERGE_NONE)
        return (organ_merge_row){.source = ORGAN_MERGE_ROW_ZERO};
    return row_of(w, own ? donor : v->home, id);
}

/* Returns the row that a donor gives for an id of the output. Counts tokens without a row in w->zeros. */
static organ_merge_row choose_row(token_rows *w, size_t donor, uint32_t id)
{
    size_t bytes;
    if (id >= w->v->count || !organ_vocabulary_text(of_output(w->v), id, &bytes))
        return row_without_token(w, donor, id);
    const merge_token_rule *const rule = w->v->rules[id];
    const uint32_t own = w->v->places[donor][id];
    if (own != ORGAN_NO_ROW && !(rule && rule->force))
        return row_of(w, donor, own);
    if (!rule)
        return row_of_others(w, id);
    if (rule->kind == MERGE_TOKEN_ZERO)
        return (organ_merge_row){.source = ORGAN_MERGE_ROW_ZERO};
    return row_of(w, rule->donor, rule->id);
}

/* Models of rules may be no inputs of the tensor. */
static organ_status find_sources(model_merge *job, merge_tensor *t, organ_merge_rows *rows, size_t *source_of,
                                 organ_error *error)
{
    const merge_vocabulary *const v = job->vocabulary;
    organ_merge_input *const sources = organ_merge_take(job, job->recipe.donor_count * sizeof *sources, error);
    const uint32_t **const places = organ_merge_take(job, job->recipe.donor_count * sizeof *places, error);
    bool *const averaged = organ_merge_take(job, job->recipe.donor_count * sizeof *averaged, error);
    if (error->status)
        return error->status;
    for (size_t d = 0; d < job->recipe.donor_count; d++) {
        const organ_weight *const weight = organ_merge_find_weight(job, &job->donors[d], t->name, &t->like->anatomy);
        source_of[d] = MERGE_NONE;
        if (!weight || !organ_merge_has_tokens(job, d, weight))
            continue;
        source_of[d] = rows->count;
        sources[rows->count] =
            (organ_merge_input){.model = organ_merge_stored(&job->donors[d]),
                                .weight = weight,
                                .change = organ_adapted_change(&job->donors[d].adapted, weight, t->like)};
        places[rows->count] = v->places[d];
        for (size_t k = 0; k < organ_merge_item_inputs(&t->item); k++)
            averaged[rows->count] |= t->donors[k] == d;
        rows->count++;
    }
    for (size_t k = 0; k < job->recipe.tokens.rule_count; k++) {
        const merge_token_rule *const rule = &job->recipe.tokens.rules[k];
        if (rule->kind != MERGE_TOKEN_ZERO && source_of[rule->donor] == MERGE_NONE)
            return organ_merge_fault(&job->recipe, rule->line, error, "%.200s has no tensor '%s' for token '%.100s'",
                                     job->recipe.donors[rule->donor], t->name, rule->token);
    }
    rows->sources = sources;
    rows->places = places;
    rows->averaged = averaged;
    return ORGAN_OK;
}

static organ_status choose_rows(model_merge *job, token_rows *w, organ_merge_rows *rows, organ_error *error)
{
    const size_t inputs = organ_merge_item_inputs(&w->t->item);
    const organ_merge_row **const lists = organ_merge_take(job, inputs * sizeof *lists, error);
    const uint64_t width = w->t->like->rank > 1 ? w->t->item.task.shape.cols : 1;
    bool pads = false;
    for (size_t k = 0; k < inputs && !error->status; k++) {
        organ_merge_row *const list = organ_merge_take(job, w->v->rows * sizeof *list, error);
        for (uint32_t id = 0; list && id < w->v->rows; id++) {
            list[id] = choose_row(w, w->t->donors[k], id);
            pads |= list[id].source == ORGAN_MERGE_ROW_PAD;
        }
        if (list)
            lists[k] = list;
    }
    rows->rows = lists;
    rows->padding = w->v->count;
    rows->pads = pads && !error->status ? organ_merge_take(job, inputs * sizeof *rows->pads, error) : NULL;
    for (size_t k = 0; k < inputs && rows->pads && !error->status; k++)
        rows->pads[k] = organ_merge_take(job, (size_t)width * sizeof(float), error);
    return error->status;
}

static void tell_zeros(model_merge *job, const token_rows *w)
{
    if (w->zeros && !job->vocabulary->told)
        organ_say(job->recipe.warnings, "%zu tokens have no row in any model and get zeros",
                  w->zeros / organ_merge_item_inputs(&w->t->item));
    job->vocabulary->told |= w->zeros > 0;
}

organ_status organ_merge_set_rows(model_merge *job, merge_tensor *t, organ_error *error)
{
    organ_merge_rows *const rows = organ_merge_take(job, sizeof *rows, error);
    size_t *const source_of = organ_merge_take(job, job->recipe.donor_count * sizeof *source_of, error);
    uint64_t *const shape = organ_merge_take(job, (t->like->rank + 1) * sizeof *shape, error);
    const size_t base = job->recipe.base;
    token_rows w = {.v = job->vocabulary, .t = t, .source_of = source_of, .base = MERGE_NONE};
    if (error->status || find_sources(job, t, rows, source_of, error))
        return error->status;
    for (size_t k = 0; k < organ_merge_item_inputs(&t->item); k++)
        w.base = base != MERGE_NONE && t->donors[k] == base ? base : w.base;
    if (choose_rows(job, &w, rows, error))
        return error->status;
    tell_zeros(job, &w);
    memcpy(shape, t->like->shape, t->like->rank * sizeof *shape);
    shape[0] = job->vocabulary->rows;
    t->shape = shape;
    if (t->like->rank > 1)
        t->item.task.shape.rows = shape[0];
    else
        t->item.task.shape.cols = shape[0];
    t->item.rows = rows;
    return ORGAN_OK;
}

/* SPDX-License-Identifier: MIT
 * Assigns the pairs and other tensors of the adapter to weights of the base, and plans the tensors of the output. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/config/model_config.h"
#include "formats/architecture/families.h"
#include "formats/base/format_rest.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/merge/merge_input.h"

#include <limits.h>
#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static organ_status add_unplaced(organ_merge_job *job, const organ_tensor *tensor, const char *why, organ_error *error)
{
    json_t *const row = ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_BYTES("reason", why));
    return row && json_array_append_new(job->unplaced, row) == 0 ? ORGAN_OK
                                                                 : organ_fail_memory(error, job->options->adapter);
}

static organ_status note_unplaced(organ_merge_job *job, const organ_tensor *tensor, const organ_tensor *other,
                                  organ_error *error, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The result is ORGAN_OK, so that the caller continues and finds all tensors that do not fit. */
static organ_status note_unplaced(organ_merge_job *job, const organ_tensor *tensor, const organ_tensor *other,
                                  organ_error *error, const char *format, ...)
{
    char why[512];
    ORGAN_FORMAT_REST(why, format);
    if (add_unplaced(job, tensor, why, error) == ORGAN_OK && other)
        add_unplaced(job, other, why, error);
    return error->status;
}

static organ_merge_part *part_of_weight(organ_merge_job *job, const organ_weight *weight)
{
    const size_t at = (size_t)(weight - job->weights->weights);
    if (job->part_of[at] == ORGAN_NO_PART) {
        job->parts[job->part_count] = (organ_merge_part){.weight = at};
        job->part_of[at] = job->part_count++;
    }
    return &job->parts[job->part_of[at]];
}

static const char missing[] = "the base has no such tensor";

/* ---- the output head of a tied base ---- */

static bool is_head(const organ_merge_job *job, const organ_weight *w, const char *name)
{
    return job->headless && (w ? w == job->tie.stored : organ_anatomy_of(name).role == ORGAN_ROLE_OUTPUT);
}

/* Returns the part of the head: of the base's copy of its embedding, or a new tensor. */
static organ_merge_part *part_of_head(organ_merge_job *job)
{
    if (job->tie.stored)
        return part_of_weight(job, job->tie.stored);
    if (job->head_part == ORGAN_NO_PART) {
        job->head_part = job->part_count++;
        job->parts[job->head_part] =
            (organ_merge_part){.weight = (size_t)(job->tie.embedding - job->weights->weights), .head = true};
    }
    return &job->parts[job->head_part];
}

static bool has_head(const organ_merge_job *job)
{
    const organ_weight *const stored = job->tie.stored;
    return stored ? job->part_of[stored - job->weights->weights] != ORGAN_NO_PART : job->head_part != ORGAN_NO_PART;
}

/* With --keep-tied tensors for the head are left out if peft tied them to those of the embedding. *skip is then true.
 */
static organ_status check_head(organ_merge_job *job, const organ_tensor *t, const organ_tensor *other, bool *skip,
                               organ_error *error)
{
    *skip = job->options->keep_tied;
    if (!*skip || json_is_true(json_object_get(job->stored->config, "ensure_weight_tying")))
        return ORGAN_OK;
    return note_unplaced(job, t, other, error, "it changes the output head, which `keep_tied` leaves to the embedding");
}

/* peft serves a changed embedding with the base's head, and rows of trained tokens with both. */
static organ_status settle_head(organ_merge_job *job, organ_error *error)
{
    const organ_weight *const embedding = job->tie.embedding;
    const size_t at = job->tied ? job->part_of[embedding - job->weights->weights] : ORGAN_NO_PART;
    const organ_merge_part *const changed = at == ORGAN_NO_PART ? NULL : &job->parts[at];
    if (!job->tied) {
        job->unties = job->head_part != ORGAN_NO_PART;
        return ORGAN_OK;
    }
    if (has_head(job)) {
        job->unties = true;
        return changed && changed->tokens
                   ? note_unplaced(job, changed->tokens, /*other=*/NULL, error,
                                   "trainable_token_indices of a tied embedding, and factors or a tensor of the head")
                   : ORGAN_OK;
    }
    if (!changed || (job->options->keep_tied && !job->tie.stored))
        return ORGAN_OK;
    if (job->options->keep_tied || (!changed->pair && !changed->saved)) {
        if (!job->tie.stored)
            return ORGAN_OK;
        const organ_merge_part same = *changed;
        organ_merge_part *const copy = part_of_head(job); /* the base's copy of its embedding follows it */
        copy->pair = same.pair;
        copy->saved = same.saved;
        copy->magnitudes = same.magnitudes;
        copy->transposed = same.transposed;
        copy->scale = same.scale;
        return same.tokens
                   ? note_unplaced(job, same.tokens, /*other=*/NULL, error,
                                   "trainable_token_indices: '%.200s' repeats the embedding", job->tie.stored->name)
                   : ORGAN_OK;
    }
    job->unties = true;
    if (!job->tie.stored)
        part_of_head(job);
    return ORGAN_OK;
}

/* ---- pairs ---- */

static organ_status place_pair(organ_merge_job *job, const organ_adapter_pair *p, const organ_lora_form *form,
                               organ_error *error)
{
    char shape[ORGAN_SHAPE_TEXT];
    bool transposed;
    const organ_weight *w = organ_lora_names_find(&job->names, p->weight);
    const bool head = job->tied && is_head(job, w, p->weight);
    bool skip = false;
    if (head && (check_head(job, p->a, p->b, &skip, error) || skip))
        return error->status;
    w = head && !w ? job->tie.embedding : w;
    if (!w)
        return note_unplaced(job, p->a, p->b, error, missing);
    if (!organ_weight_has_numbers(w))
        return note_unplaced(job, p->a, p->b, error, "the base stores it as %s, which is not a type of numbers",
                             organ_dtype_describe(w->codes->dtype)->name);
    if (!organ_lora_fits(form, p, w, &transposed) || p->in_features > INT_MAX || p->out_features > INT_MAX)
        return note_unplaced(job, p->a, p->b, error, "B A is %llu x %llu, but '%.200s' of the base is %s%s",
                             (unsigned long long)p->out_features, (unsigned long long)p->in_features, w->name,
                             organ_shape_text(w->rank, w->shape, shape),
                             !p->embedding && organ_lora_has_turned_shape(p, w) ? " and fan_in_fan_out is not set"
                                                                                : "");
    if (organ_lora_is_ambiguous(form, p, w))
        return note_unplaced(job, p->a, p->b, error,
                             "'%.200s' is square: with fan_in_fan_out its orientation is ambiguous", w->name);
    organ_merge_part *const part = head ? part_of_head(job) : part_of_weight(job, w);
    if (part->pair)
        return note_unplaced(job, p->a, p->b, error, "'%.200s' of the base is already changed by '%.200s'", w->name,
                             part->pair->b->name);
    part->pair = p;
    part->transposed = transposed;
    part->scale = p->scale * job->options->scale;
    return ORGAN_OK;
}

/* Returns the module in the name "base_model.model.MODULE" followed by `word`, and sets *end to its end; NULL: the name
 * is another one. */
static const char *module_before(const organ_tensor *t, const char *word, const char **end)
{
    static const char prefix[] = "base_model.model.";
    const char *const name = strncmp(t->name, prefix, sizeof prefix - 1) == 0 ? t->name + sizeof prefix - 1 : t->name;
    *end = strstr(name, word);
    return *end ? name : NULL;
}

/* ---- DoRA ---- */

/* A tensor "base_model.model.MODULE.lora_magnitude_vector" has the row norms of DoRA. */
static organ_status place_magnitudes(organ_merge_job *job, const organ_tensor *t, bool *is_one, organ_error *error)
{
    const char *at;
    const char *const name = module_before(t, ".lora_magnitude_vector", &at);
    *is_one = name != NULL;
    if (!name)
        return ORGAN_OK;
    if (!job->adapter->dora)
        return note_unplaced(job, t, /*other=*/NULL, error, "a magnitude vector of DoRA, but use_dora is not set");
    char *const module = strndup(name, (size_t)(at - name));
    if (!module)
        return organ_fail_memory(error, job->options->adapter);
    const organ_adapter_pair *const pair = organ_adapter_find(job->adapter, module);
    free(module);
    if (!pair)
        return note_unplaced(job, t, /*other=*/NULL, error, "it has no pair of factors");
    if (!organ_can_widen(t->dtype) || t->elements != pair->out_features)
        return note_unplaced(job, t, /*other=*/NULL, error,
                             "has %llu values of %s, but must have one for each of %llu rows",
                             (unsigned long long)t->elements, organ_dtype_describe(t->dtype)->name,
                             (unsigned long long)pair->out_features);
    for (size_t k = 0; k < job->part_count; k++)
        if (job->parts[k].pair == pair) {
            job->parts[k].magnitudes = t;
            return ORGAN_OK;
        }
    return note_unplaced(job, t, /*other=*/NULL, error, "its factors match no weight");
}

/* A pair needs a magnitude vector, and DoRA cannot be merged into a weight that is stored transposed. */
static organ_status check_magnitudes(organ_merge_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->part_count && job->adapter->dora && !error->status; k++) {
        const organ_merge_part *const part = &job->parts[k];
        if (part->pair && !part->magnitudes)
            note_unplaced(job, part->pair->a, part->pair->b, error,
                          "use_dora is set, but there is no magnitude vector for it");
        else if (part->pair && part->transposed)
            note_unplaced(job, part->pair->a, part->pair->b, error,
                          "DoRA of embeddings and of weights stored as in_features x out_features cannot be merged");
    }
    return error->status;
}

/* ---- tensors that are stored whole ---- */

/* trainable_token_indices is the list itself, or has it in a member that is the name of the module or its last
 * words. */
static const json_t *token_list(const json_t *config, const char *module, size_t length)
{
    const json_t *const all = json_object_get(config, "trainable_token_indices");
    ORGAN_OWNED char *const name = strndup(module, length);
    const json_t *found = json_is_array(all) ? all : NULL;
    const char *key;
    json_t *list;
    if (!name)
        organ_memory_count_refusal();
    json_object_foreach((json_t *)all, key, list)
    {
        if (name && organ_ends_in_words(name, key) && json_is_array(list))
            found = list;
    }
    return found;
}

/* Returns false if an id is not a row of the tensor or memory runs out. */
static bool read_token_ids(organ_merge_part *part, const json_t *list, uint64_t rows)
{
    const size_t count = json_array_size(list);
    free(part->token_ids); /* of a tensor that did not fit */
    bool sane = (part->token_ids = malloc((count + 1) * sizeof *part->token_ids)) != NULL;
    if (!sane)
        organ_memory_count_refusal();
    for (size_t k = 0; k < count && sane; k++) {
        const json_t *const id = json_array_get(list, k);
        sane = json_is_integer(id) && json_integer_value(id) >= 0 && (uint64_t)json_integer_value(id) < rows;
        part->token_ids[k] = sane ? (uint64_t)json_integer_value(id) : 0;
    }
    return sane;
}

/* A tensor "...MODULE.token_adapter.trainable_tokens_delta" has rows that peft puts in the place of rows of an
 * embedding. */
static organ_status place_tokens(organ_merge_job *job, const organ_tensor *t, bool *is_one, organ_error *error)
{
    const char *at;
    const char *const name = module_before(t, ".token_adapter.trainable_tokens_delta", &at);
    *is_one = name != NULL;
    if (!name)
        return ORGAN_OK;
    const size_t length = (size_t)(at - name);
    char *const weight = organ_format("%.*s.weight", (int)length, name);
    if (!weight)
        return organ_fail_memory(error, job->options->adapter);
    const organ_weight *w;
    const char *why;
    organ_adapter_place(job->stored, job->base, &job->names, weight, &w, &why, error);
    const json_t *const list = token_list(job->adapter->config, name, length);
    free(weight);
    why = why ? why : "the base has no such embedding";
    if (error->status)
        return error->status;
    if (!w || !list)
        return note_unplaced(job, t, /*other=*/NULL, error, "trainable_token_indices: %s",
                             w ? "the config has no list for this module" : why);
    organ_merge_part *const part = part_of_weight(job, w);
    if (w->rank != 2 || t->rank != 2 || t->shape[1] != w->shape[1] || t->shape[0] != json_array_size(list) ||
        !organ_can_widen(t->dtype) || !organ_weight_has_numbers(w) || part->tokens ||
        !read_token_ids(part, list, w->shape[0]))
        return note_unplaced(
            job, t, /*other=*/NULL, error,
            "trainable_token_indices: its %llu rows do not fit the %zu numbers in the config and '%.200s' "
            "of the base",
            (unsigned long long)t->shape[0], json_array_size(list), w->name);
    if (part->pair)
        return note_unplaced(job, t, /*other=*/NULL, error, "trainable_token_indices: '%.200s' also has factors",
                             w->name);
    part->tokens = t;
    return ORGAN_OK;
}

/* The whole tensor is a matrix of words in the place of `w`, with another number of words; or, if `w` is NULL, a
 * head for a base that is tied. GGUF has the number of words in its tokenizer, which an adapter cannot change. */
static bool is_vocabulary(const organ_merge_job *job, const organ_weight *w, const organ_tensor *t, const char *name)
{
    const organ_role role = organ_anatomy_of(name).role;
    if (t->rank != 2 || !organ_can_widen(t->dtype) || (w && job->base->gguf))
        return false;
    if (!w)
        return is_head(job, w, name) && (job->head_part == ORGAN_NO_PART || !job->parts[job->head_part].saved);
    return (role == ORGAN_ROLE_EMBED || role == ORGAN_ROLE_OUTPUT) && w->rank == 2 && w->shape[1] == t->shape[1] &&
           job->part_of[w - job->weights->weights] == ORGAN_NO_PART && organ_weight_has_numbers(w);
}

static void place_vocabulary(organ_merge_job *job, const organ_weight *w, const organ_tensor *t)
{
    if (!w) {
        part_of_head(job)->saved = t;
        return;
    }
    part_of_weight(job, w)->saved = t;
    job->words = t->shape[0];
}

/* Puts a tensor in the place of `w`; NULL: the base has no such weight, for the reason `why`. */
static organ_status replace_weight(organ_merge_job *job, const organ_tensor *t, const organ_weight *w, const char *why,
                                   organ_error *error)
{
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    if (!w)
        return note_unplaced(job, t, /*other=*/NULL, error, "%s", why);
    if (!ORGAN_SAME_SHAPE(w, t))
        return note_unplaced(job, t, /*other=*/NULL, error, "its shape is %s, but '%.200s' of the base has shape %s",
                             organ_shape_text(t->rank, t->shape, is), w->name,
                             organ_shape_text(w->rank, w->shape, was));
    if (!organ_can_widen(t->dtype) || !organ_weight_has_numbers(w))
        return note_unplaced(job, t, /*other=*/NULL, error,
                             "it is %s and '%.200s' of the base is %s: one of these types is not supported",
                             organ_dtype_describe(t->dtype)->name, w->name,
                             organ_dtype_describe(w->codes->dtype)->name);
    organ_merge_part *const part = part_of_weight(job, w);
    if (part->saved)
        return note_unplaced(job, t, /*other=*/NULL, error, "'%.200s' of the base is already replaced by '%.200s'",
                             w->name, part->saved->name);
    part->saved = t;
    return ORGAN_OK;
}

static organ_status place_replacement(organ_merge_job *job, const organ_tensor *t, organ_error *error)
{
    bool special, repeats = false, skip = false;
    if (place_magnitudes(job, t, &special, error) || special || place_tokens(job, t, &special, error) || special)
        return error->status;
    char *const name = organ_adapter_plain_name(t->name);
    if (!name)
        return organ_fail_memory(error, job->options->adapter);
    const organ_weight *w;
    const char *why;
    organ_adapter_place(job->stored, job->base, &job->names, name, &w, &why, error);
    why = why ? why : missing;
    const char *const reason = strstr(t->name, ".lora_B.bias") || strstr(t->name, ".lora_B.default.bias")
                                   ? "a bias of B (lora_bias) cannot be merged"
                                   : why;
    const bool head = is_head(job, w, name);
    const bool words = (!w || !ORGAN_SAME_SHAPE(w, t)) && is_vocabulary(job, w, t, name);
    free(name);
    if (error->status ||
        organ_adapter_repeats(job->stored, t, job->base, head ? job->tie.embedding : w, job->engine->kernels, &repeats,
                              error) ||
        repeats || (head && (check_head(job, t, /*other=*/NULL, &skip, error) || skip)))
        return error->status;
    if (words) {
        place_vocabulary(job, w, t);
        return ORGAN_OK;
    }
    return replace_weight(job, t, w, reason, error);
}

/* The shape of weight k in the output. */
static const uint64_t *shape_of(const organ_merge_job *job, size_t k)
{
    const size_t part = job->part_of[k];
    const organ_tensor *const saved = part == ORGAN_NO_PART ? NULL : job->parts[part].saved;
    return saved ? saved->shape : job->weights->weights[k].shape;
}

static uint64_t rows_in_output(const organ_merge_job *job, size_t k) { return shape_of(job, k)[0]; }

/* Embedding and head of the output must have the same number of rows. */
static organ_status check_vocabulary(organ_merge_job *job, organ_error *error)
{
    uint64_t words = job->words;
    for (size_t k = 0; k < job->weights->count && (job->words || job->head_part != ORGAN_NO_PART) && !error->status;
         k++) {
        const organ_weight *const w = &job->weights->weights[k];
        const bool of_words = w->rank == 2 && w->anatomy.layer < 0 &&
                              (w->anatomy.role == ORGAN_ROLE_EMBED || w->anatomy.role == ORGAN_ROLE_OUTPUT);
        if (!of_words)
            continue;
        words = words ? words : rows_in_output(job, k);
        const organ_tensor *const t = job->head_part == ORGAN_NO_PART ? NULL : job->parts[job->head_part].saved;
        for (size_t p = 0; p < job->part_count && rows_in_output(job, k) != words; p++)
            if (job->parts[p].saved && job->parts[p].saved->shape[0] == words) {
                note_unplaced(job, job->parts[p].saved, /*other=*/NULL, error,
                              "it has %llu words, but '%.200s' has %llu", (unsigned long long)words, w->name,
                              (unsigned long long)rows_in_output(job, k));
                break;
            }
        if (t && !error->status && (t->shape[0] != words || t->shape[1] != w->shape[1])) {
            note_unplaced(job, t, /*other=*/NULL, error,
                          "a head must be %llu x %llu, as the embedding, but it is %llu x %llu",
                          (unsigned long long)words, (unsigned long long)w->shape[1], (unsigned long long)t->shape[0],
                          (unsigned long long)t->shape[1]);
            return error->status;
        }
    }
    return error->status;
}

/* ---- the output ---- */

/* `bytes` is the number of bytes that are read for the piece. */
static void add_piece(organ_merge_job *job, organ_piece piece, uint64_t bytes)
{
    piece.item = job->piece_count;
    piece.cost = bytes;
    job->pieces[job->piece_count++] = piece;
}

static const char *head_name(const organ_merge_job *job)
{
    const char *embedding = "";
    for (size_t k = 0; k < job->weights->count; k++)
        if (job->weights->weights[k].anatomy.role == ORGAN_ROLE_EMBED && job->weights->weights[k].anatomy.layer < 0)
            embedding = job->weights->weights[k].name;
    return job->base->gguf ? "output.weight" : organ_text_new_head(job->base->config.architecture, embedding);
}

/* A head that only repeats the embedding of a plain base is copied. */
static void add_head(organ_merge_job *job)
{
    const organ_merge_part *const part = &job->parts[job->head_part];
    const organ_weight *const w = job->tie.embedding;
    const organ_tensor *const t = part->saved ? part->saved : w->codes;
    const bool plain = part->saved || w->scheme == ORGAN_SCHEME_PLAIN;
    const bool copied = plain && !part->saved && !part->pair;
    const bool keeps = copied || (plain && !job->options->dtype && organ_target_is_float(t));
    job->head_piece = job->piece_count;
    add_piece(job,
              (organ_piece){.name = head_name(job),
                            .dtype = keeps ? t->dtype : job->dtype,
                            .rank = w->rank,
                            .shape = part->saved ? t->shape : w->shape,
                            .same = copied ? t : NULL},
              t->bytes);
}

/* Plain weights that the adapter does not change are copied. Changed and packed weights get the type of --dtype;
 * without it, changed weights of F32, BF16 or F16 keep their type, and all others get job->dtype. Tensors that
 * belong to no weight are copied unless they are dropped. */
static void make_pieces(organ_merge_job *job)
{
    const organ_weights *const weights = job->weights;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        const bool plain = w->scheme == ORGAN_SCHEME_PLAIN, stays = plain && job->part_of[k] == ORGAN_NO_PART;
        const bool keeps = stays || (plain && !job->options->dtype && organ_target_is_float(w->codes));
        job->packed += !plain;
        add_piece(job,
                  (organ_piece){.name = w->name,
                                .dtype = keeps ? w->codes->dtype : job->dtype,
                                .rank = w->rank,
                                .shape = shape_of(job, k),
                                .same = stays ? w->codes : NULL},
                  w->codes->bytes);
    }
    for (size_t k = 0; k < weights->unmatched_count; k++) {
        if (!weights->unmatched[k].dropped)
            add_piece(job, organ_piece_same(weights->unmatched[k].tensor), weights->unmatched[k].tensor->bytes);
    }
}

static int by_weight(const void *a, const void *b)
{
    const organ_merge_part *const left = a, *const right = b;
    return ORGAN_ORDERS(ORGAN_ORDER(left->head, right->head), ORGAN_ORDER(left->weight, right->weight));
}

/* Pairs are assigned first, because magnitude vectors of DoRA belong to the parts of pairs. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error)
{
    const organ_adapter *const adapter = job->adapter;
    const size_t weights = job->weights->count, keys = adapter->pair_count + adapter->rest_count;
    job->part_of = malloc((weights + 1) * sizeof *job->part_of);
    job->parts = calloc(keys + 2, sizeof *job->parts);
    job->pieces = organ_rows_take(weights + job->weights->unmatched_count + 2, sizeof *job->pieces);
    job->unplaced = json_array();
    if (!job->part_of || !job->parts || !job->pieces || !job->unplaced)
        return organ_fail_memory(error, job->options->adapter);
    for (size_t k = 0; k < weights; k++)
        job->part_of[k] = ORGAN_NO_PART;
    job->head_part = ORGAN_NO_PART;
    if (organ_head_find(job->base, job->weights, job->engine, &job->tie, error))
        return error->status;
    job->headless = job->tie.embedding && !job->tie.own;
    job->tied = job->headless && (job->base->gguf || job->base->config.tie_word_embeddings);
    const organ_lora_form form = organ_lora_form_of(job->base, job->weights, adapter);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++)
        place_pair(job, &adapter->pairs[k], &form, error);
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        place_replacement(job, adapter->rest[k], error);
    if (!error->status && check_magnitudes(job, error) == ORGAN_OK && settle_head(job, error) == ORGAN_OK)
        check_vocabulary(job, error);
    if (job->part_count)
        qsort(job->parts, job->part_count, sizeof *job->parts, by_weight);
    for (size_t k = 0; k < job->part_count; k++)
        *(job->parts[k].head ? &job->head_part : &job->part_of[job->parts[k].weight]) = k;
    if (!error->status)
        make_pieces(job);
    if (!error->status && job->head_part != ORGAN_NO_PART)
        add_head(job);
    return error->status;
}

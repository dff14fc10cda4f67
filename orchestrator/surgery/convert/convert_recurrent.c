/* SPDX-License-Identifier: MIT
 * Recurrent layers: places of tensors whose value heads have another order in GGUF, multipliers of Falcon-H1, and
 * members of config.json. Functions that return an int return nonzero if an allocation was refused. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/convert/convert_job.h"

#include <string.h>

/* ---- value heads ---- */

static const organ_recurrent_config *recurrent_of(const organ_convert_job *job) { return &job->config.recurrent; }

/* Returns whether GGUF stores the value heads of this part of a layer in another order than safetensors. */
bool organ_convert_is_tiled(const organ_convert_job *job, int64_t layer, forward_part part)
{
    static const forward_part parts[] = {PART_MIX_IN, PART_CONV,  PART_MIX_Z,   PART_MIX_B,
                                         PART_MIX_A,  PART_A_LOG, PART_DT_BIAS, PART_MIX_OUT};
    const organ_recurrent_config *const r = recurrent_of(job);
    const forward_recurrent *const row = job->gguf_family->recurrent;
    if (!row || !row->gguf_tiled || layer < 0 || r->heads == r->groups || r->groups == 1 ||
        job->config.kinds[layer].mixer != ORGAN_MIXER_DELTA)
        return false;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (parts[k] == part)
            return true;
    return false;
}

/* Adds places that copy rows [0, first) unchanged and reorder the value heads after them, `each` rows per head:
 * place.outer x place.inner heads become inner x outer heads. A block has the greatest common divisor of `first` and
 * `each` rows, since all blocks of a source have the same size. */
static organ_status recurrent_turn_rows(organ_convert_job *job, convert_place place, uint64_t first, uint64_t each,
                                        organ_error *error)
{
    const uint64_t outer = place.outer, inner = place.inner;
    const uint64_t block = organ_common_divisor(first, each);
    place.block = place.rows = place.per_block = block;
    place.tile = 0;
    place.blocks = first / block;
    if (first && organ_convert_place(job, &place, error))
        return error->status;
    place.blocks = each / block;
    for (uint64_t h = 0; h < outer * inner && !error->status; h++) {
        place.from = (first + h * each) / block;
        place.at = first + (h % inner * outer + h / inner) * each;
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* Does the same as recurrent_turn_rows for a convolution of safetensors, whose channels are matrices of one row:
 * `first` and `each` count channels. */
static organ_status recurrent_turn_channels(organ_convert_job *job, convert_place place, uint64_t first, uint64_t each,
                                            organ_error *error)
{
    const uint64_t outer = place.outer, inner = place.inner;
    place.matrices = first;
    if (first && organ_convert_place(job, &place, error))
        return error->status;
    place.matrices = each;
    for (uint64_t h = 0; h < outer * inner && !error->status; h++) {
        place.matrix = first + h * each;
        place.at = first + (h % inner * outer + h / inner) * each;
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* Adds the places that move the value heads of a tensor to the order of the output. */
organ_status organ_convert_tiled(organ_convert_job *job, const organ_weight *weight, forward_part part, size_t piece,
                                 organ_error *error)
{
    const organ_recurrent_config *const r = recurrent_of(job);
    const uint64_t per_key = r->heads / r->groups, keys = (uint64_t)r->groups * r->key_dim;
    convert_place place = organ_convert_all(weight, piece, 0);
    place.outer = job->to_gguf
                      ? r->groups
                      : per_key; /* GGUF: the first value head of each key head, then the second of each, ... */
    place.inner = job->to_gguf ? per_key : r->groups;
    switch (part) {
    case PART_MIX_IN:
    case PART_CONV:
        if (weight->rank == 3)
            return recurrent_turn_channels(job, place, 2 * keys, r->value_dim, error);
        return recurrent_turn_rows(job, place, 2 * keys, r->value_dim, error);
    case PART_MIX_Z:
        return recurrent_turn_rows(job, place, 0, r->value_dim, error);
    case PART_MIX_OUT:
        place.tile = r->value_dim;
        place.block = place.rows = place.per_block = 1;
        return organ_convert_place(job, &place, error);
    case PART_A_LOG:
        place.function = job->to_gguf ? CONVERT_MINUS_EXP : CONVERT_LOG_MINUS;
        break;
    default:
        break;
    }
    return recurrent_turn_rows(job, place, 0, 1, error);
}

/* ---- multipliers ---- */

bool organ_convert_is_scaled(const organ_convert_job *job)
{
    return job->to_gguf && job->family->recurrent && job->family->recurrent->scaled;
}

/* Returns the multiplier `key` of config.json, or item `index` if it is a list; 1 if config.json lacks it. */
static float recurrent_multiplier(const organ_convert_job *job, const char *key, size_t index)
{
    const json_t *const member = json_object_get(job->text, key);
    const json_t *const value = json_is_array(member) ? json_array_get(member, index) : member;
    return json_is_number(value) ? (float)json_number_value(value) : 1;
}

/* Adds the places of Mamba-2's input projection, whose rows z, x, B, C and time steps have a multiplier each. */
static organ_status recurrent_scale_parts(organ_convert_job *job, convert_place place, organ_error *error)
{
    const organ_recurrent_config *const r = recurrent_of(job);
    const uint64_t inner = (uint64_t)r->heads * r->value_dim, states = (uint64_t)r->groups * r->key_dim;
    const uint64_t rows[] = {inner, inner, states, states, r->heads};
    place.block = place.rows = place.per_block = 1;
    for (size_t k = 0; k < 5 && !error->status; place.from = place.at += rows[k++]) {
        place.blocks = rows[k];
        place.factors[1] = recurrent_multiplier(job, "ssm_multipliers", k);
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* Sets `factors` to the two multipliers of a part. Returns false if config.json has no member for it. */
static bool recurrent_multipliers(const organ_convert_job *job, forward_part part, float factors[2])
{
    static const struct {
        forward_part part;
        const char *key;
        size_t index;
        const char *second;
    } rows[] = {{PART_DOWN, "mlp_multipliers", 1, ""},       {PART_GATE, "mlp_multipliers", 0, ""},
                {PART_Q, "attention_in_multiplier", 0, ""},  {PART_K, "key_multiplier", 0, "attention_in_multiplier"},
                {PART_V, "attention_in_multiplier", 0, ""},  {PART_O, "attention_out_multiplier", 0, ""},
                {PART_MIX_OUT, "ssm_out_multiplier", 0, ""}, {PART_MIX_IN, "ssm_in_multiplier", 0, ""},
                {PART_OUTPUT, "lm_head_multiplier", 0, ""},  {PART_EMBEDDING, "embedding_multiplier", 0, ""}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (rows[k].part == part) {
            factors[0] = recurrent_multiplier(job, rows[k].key, rows[k].index);
            factors[1] = recurrent_multiplier(job, rows[k].second, 0);
            return true;
        }
    return false;
}

bool organ_convert_is_multiplied(const organ_convert_job *job, forward_part part)
{
    float factors[2];
    if (!organ_convert_is_scaled(job) || !recurrent_multipliers(job, part, factors))
        return false;
    bool all_one = factors[0] == 1 && factors[1] == 1;
    for (size_t k = 0; k < 5 && part == PART_MIX_IN; k++)
        all_one = all_one && recurrent_multiplier(job, "ssm_multipliers", k) == 1;
    return !all_one;
}

organ_status organ_convert_scaled(organ_convert_job *job, convert_place place, forward_part part, organ_error *error)
{
    if (recurrent_multipliers(job, part, place.factors))
        place.function = CONVERT_SCALE;
    return part == PART_MIX_IN ? recurrent_scale_parts(job, place, error) : organ_convert_place(job, &place, error);
}

/* ---- members ---- */

/* Adds the member `key`, or releases `value` if the architecture lacks this member (NULL). */
static int recurrent_put(json_t *config, const char *key, json_t *value)
{
    if (key)
        return json_object_set_new(config, key, value);
    json_decref(value);
    return 0;
}

static int recurrent_put_count(json_t *config, const char *key, uint64_t count)
{
    return key ? json_object_set_new(config, key, json_integer((json_int_t)count)) : 0;
}

/* Returns whether a layer has the feed-forward that its word in config.json implies. FEED_USUAL fits every
 * feed-forward, except a mixture in a layer without a mixer. */
static bool recurrent_fits(forward_word_feed feed, const organ_layer_kind *kind)
{
    switch (feed) {
    case FEED_NONE:
        return !kind->feed;
    case FEED_EXPERTS:
        return kind->feed && kind->mixture;
    case FEED_USUAL:
        break;
    }
    return kind->feed && (kind->mixer || !kind->mixture);
}

/* Returns the word that names a layer in config.json: the first in the table with its mixers and feed-forward. */
static const char *recurrent_word(const forward_recurrent *r, const organ_layer_kind *kind)
{
    const forward_layer_word *w = r->words;
    while (w->word && (w->mixer != kind->mixer || w->second != kind->second || !recurrent_fits(w->feed, kind)))
        w++;
    return w->word ? w->word : "";
}

static bool recurrent_attends(const organ_layer_kind *kind) { return kind->mixer == ORGAN_MIXER_ATTENTION; }
static bool recurrent_mixes(const organ_layer_kind *kind) { return kind->mixture; }

/* Adds `period`, the distance between layers for which `is` is true, and `offset`, the index of the first. If layers do
 * not follow this pattern, organ_convert_check finds it after the conversion. */
static int recurrent_put_period(const organ_forward_config *c, bool (*is)(const organ_layer_kind *), const char *period,
                                const char *offset, json_t *config)
{
    unsigned first = 0, second;
    while (first < c->layers && !is(&c->kinds[first]))
        first++;
    for (second = first + 1; second < c->layers && !is(&c->kinds[second]);)
        second++;
    const unsigned apart = second < c->layers ? second - first : c->layers + 1;
    return recurrent_put_count(config, period, apart) | recurrent_put_count(config, offset, first);
}

/* Adds the member from which loaders get the kind of each layer: a list of words, a list of the indices of one kind, or
 * period and offset. */
static int recurrent_put_kinds(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const forward_recurrent *const r = job->family->recurrent;
    const bool listed = r->indices && !r->indices_needed;
    if (r->alike)
        return 0;
    if (r->offset.key)
        return recurrent_put_period(c, recurrent_attends, r->interval.key, r->offset.key, config);
    const char *const words = r->types ? r->types : "layer_types";
    json_t *const list = json_array();
    int failed = list == NULL;
    for (unsigned l = 0; l < c->layers; l++) {
        if (!listed)
            failed |= json_array_append_new(list, json_string(recurrent_word(r, &c->kinds[l])));
        else if (strcmp(recurrent_word(r, &c->kinds[l]), r->words[0].word) == 0)
            failed |= json_array_append_new(list, json_integer(l));
    }
    return failed | json_object_set_new(config, listed ? r->indices : words, list);
}

/* Adds the sizes of the recurrent mixers (Mamba, gated delta nets) to config.json, under the architecture's names.
 * Returns nonzero if an allocation was refused. */
static int recurrent_put_sizes(const organ_convert_job *job, json_t *config)
{
    const organ_recurrent_config *const c = recurrent_of(job);
    const forward_recurrent *const r = job->family->recurrent;
    const uint64_t inner = (uint64_t)c->heads * c->value_dim;
    int failed = recurrent_put_count(config, r->heads.key, c->heads) |
                 recurrent_put_count(config, r->groups.key, c->groups) |
                 recurrent_put_count(config, r->key_dim.key, c->key_dim) |
                 recurrent_put_count(config, r->value_dim.key, c->value_dim) |
                 recurrent_put_count(config, r->kernel.key, c->kernel) | recurrent_put_count(config, r->rank, c->rank) |
                 recurrent_put_count(config, r->inner, inner);
    /* transformers accepts only whole numbers if the width is no multiple of the hidden size. Falcon-H1 has another
     * member for the width, so `expand` is rounded. */
    if (r->expand.key && (inner % job->config.hidden == 0 || (r->inner && !job->family->attention_free)))
        failed |= recurrent_put_count(config, r->expand.key, (inner + job->config.hidden - 1) / job->config.hidden);
    else if (r->expand.key)
        failed |= json_object_set_new(config, r->expand.key, json_real((double)inner / (double)job->config.hidden));
    return failed;
}

/* Adds intermediate_size, the largest width of dense feed-forwards, since the file may have 0 for its first layer; and
 * the numbers of experts, 0, of a dense model whose architecture requires them. */
static int recurrent_put_feed(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const forward_mixture *const m = job->family->mixture;
    uint64_t width = 0;
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].feed && !c->kinds[l].mixture && c->kinds[l].intermediate > width)
            width = c->kinds[l].intermediate;
    int failed = width ? recurrent_put_count(config, "intermediate_size", width) : 0;
    if (m && m->optional && c->experts == 0)
        failed |= recurrent_put_count(config, m->experts, 0) | recurrent_put_count(config, m->used, 0) |
                  recurrent_put_count(config, m->shared_width, width);
    return failed;
}

/* Adds the factors of MiniMax 1's residual branches and the rotated dimensions of a head. */
static int recurrent_put_lightning(const organ_forward_config *c, json_t *config)
{
    const double alpha = (double)c->kinds[0].alpha[0];
    return !ORGAN_ADD(config, SET_REAL("full_attn_alpha_factor", alpha), SET_REAL("linear_attn_alpha_factor", alpha),
                      SET_REAL("mlp_alpha_factor", alpha), SET_REAL("full_attn_beta_factor", 1),
                      SET_REAL("linear_attn_beta_factor", 1), SET_REAL("mlp_beta_factor", 1),
                      SET_COUNT("rotary_dim", c->rope.dimensions));
}

/* Adds the members of recurrent layers to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_recurrent(const organ_convert_job *job, json_t *config)
{
    const organ_recurrent_config *const c = recurrent_of(job);
    const forward_family *const f = job->family;
    const forward_recurrent *const r = f->recurrent;
    if (!r)
        return 0;
    if (f->attention_free) { /* GGUF files have 0 for these; config.json must lack them */
        json_object_del(config, "num_attention_heads");
        json_object_del(config, "intermediate_size");
    }
    int failed = f->attention_free || f->latent
                     ? 0
                     : recurrent_put_count(config, "num_key_value_heads", job->config.kv_heads) |
                           recurrent_put_count(config, "head_dim", job->config.head_dim);
    failed |= recurrent_put_sizes(job, config) | recurrent_put_kinds(job, config) |
              organ_convert_put_flag(config, r->conv_bias, c->conv_biased) |
              organ_convert_put_flag(config, r->bias, c->biased) |
              organ_convert_put_flag(config, r->out_bias, c->out_biased) |
              organ_convert_put_flag(config, r->normed, c->normed) |
              organ_convert_put_flag(config, r->norm_first, c->norm_first) |
              recurrent_put(config, f->eps_key ? f->eps_key : "rms_norm_eps", json_real(job->config.rms_eps)) |
              recurrent_put(config, r->norm_eps_key, json_real(c->norm_eps)) |
              recurrent_put(config, r->least_step, json_real(c->step_min));
    failed |= recurrent_put_feed(job, config) | (r->lightning ? recurrent_put_lightning(&job->config, config) : 0);
    if (f->mixture && f->mixture->dense == DENSE_PERIOD)
        failed |=
            recurrent_put_period(&job->config, recurrent_mixes, "expert_layer_period", "expert_layer_offset", config);
    return failed;
}

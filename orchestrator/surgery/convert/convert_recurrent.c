/* SPDX-License-Identifier: MIT
 * Conversion of recurrent layers: places of tensors whose value heads have another order in GGUF, multipliers of
 * Falcon-H1, and members of config.json. A place (organ_row_place) copies some rows of a weight to some rows of a
 * tensor of the output. `r` is the configuration of recurrent mixers, or the row of the architecture with the names of
 * its members. Functions that return an int return nonzero if memory runs out. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <string.h>

/* ---- value heads ---- */

static const organ_recurrent_config *recurrent_of(const organ_convert_job *job) { return &job->config.recurrent; }

/* Rows [0, first) stay unchanged; the value heads after them have `each` rows. The source has place.outer x
 * place.inner heads; head (o, i) becomes head (i, o). All blocks of a source must have the same number of rows, so a
 * block has the greatest common divisor of `first` and `each` rows. */
static organ_status recurrent_reorder_rows(organ_convert_job *job, organ_row_place place, uint64_t first, uint64_t each,
                                           organ_error *error)
{
    const uint64_t outer = place.outer, inner = place.inner;
    const uint64_t block = organ_common_divisor(first, each);
    place.block = place.rows = place.per_block = block;
    place.tile = 0;
    place.blocks = first / block; /* place.from and place.at are 0 */
    if (first && organ_convert_place(job, &place, error))
        return error->status;
    place.blocks = each / block;
    for (uint64_t h = 0; h < outer * inner && !error->status; h++) {
        place.from = (first + h * each) / block;
        place.at = first + (h % inner * outer + h / inner) * each; /* head (outer, inner) becomes (inner, outer) */
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* In a convolution of safetensors each channel is a matrix of one row. Channels are reordered as
 * recurrent_reorder_rows does with rows. */
static organ_status recurrent_reorder_channels(organ_convert_job *job, organ_row_place place, uint64_t first,
                                               uint64_t each, organ_error *error)
{
    const uint64_t outer = place.outer, inner = place.inner;
    place.matrices = first;
    if (first && organ_convert_place(job, &place, error))
        return error->status;
    place.matrices = each;
    for (uint64_t h = 0; h < outer * inner && !error->status; h++) { /* head (outer, inner) becomes (inner, outer) */
        place.matrix = first + h * each;
        place.at = first + (h % inner * outer + h / inner) * each;
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* safetensors has all value heads of a key head in sequence, GGUF the first value head of each key head, then the
 * second of each, and so on. */
organ_status organ_convert_tiled(organ_convert_job *job, const organ_weight *weight, const place_layout *layout,
                                 size_t piece, organ_error *error)
{
    const organ_recurrent_config *const r = recurrent_of(job);
    const uint64_t per_key = r->heads / r->groups; /* value heads for each key head */
    organ_row_place place = organ_convert_all(weight, piece, 0);
    place.outer = job->to_gguf ? r->groups : per_key;
    place.inner = job->to_gguf ? per_key : r->groups;
    if (layout->function == PLACE_MINUS_EXP)
        place.function = job->to_gguf ? ORGAN_ROW_MINUS_EXP : ORGAN_ROW_LOG_MINUS;
    if (layout->by_value) { /* the output projection has the heads as columns */
        place.tile = layout->each;
        place.block = place.rows = place.per_block = 1;
        return organ_convert_place(job, &place, error);
    }
    return weight->rank == 3 ? recurrent_reorder_channels(job, place, layout->plain, layout->each, error)
                             : recurrent_reorder_rows(job, place, layout->plain, layout->each, error);
}

/* ---- multipliers ---- */

bool organ_convert_is_scaled(const organ_convert_job *job)
{
    return job->to_gguf && job->family->recurrent && job->family->recurrent->scaled;
}

static float recurrent_multiplier(const organ_convert_job *job, const char *key, size_t index)
{
    const json_t *const member = json_object_get(job->text, key);
    const json_t *const value = json_is_array(member) ? json_array_get(member, index) : member;
    return json_is_number(value) ? (float)json_number_value(value) : 1;
}

/* Each group of rows has a multiplier of its own: z, x, B, C and dt (time steps). place.factors[0] is the multiplier
 * of the whole tensor. */
static organ_status recurrent_scale_parts(organ_convert_job *job, organ_row_place place, organ_error *error)
{
    const organ_recurrent_config *const r = recurrent_of(job);
    const uint64_t inner = (uint64_t)r->heads * r->value_dim, states = (uint64_t)r->groups * r->key_dim;
    const uint64_t rows[] = {inner, inner, states, states, r->heads}; /* of z, x, B, C, dt */
    place.block = place.rows = place.per_block = 1;
    for (size_t k = 0; k < 5 && !error->status; place.from = place.at += rows[k++]) {
        place.blocks = rows[k];
        place.factors[1] = recurrent_multiplier(job, "ssm_multipliers", k);
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

/* A multiplier that the part or config.json lacks is 1. Returns false, with `factors` unchanged, if none applies to
 * the part. */
static bool recurrent_multipliers(const organ_convert_job *job, forward_part part, float factors[2])
{
    static const struct {
        forward_part part;
        const char *key;    /* member with the first multiplier */
        size_t index;       /* its element, if it is a list */
        const char *second; /* member with the second multiplier; "": none */
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
    for (size_t k = 0; k < 5 && part == PART_MIX_IN; k++) /* one for each group of recurrent_scale_parts */
        all_one = all_one && recurrent_multiplier(job, "ssm_multipliers", k) == 1;
    return !all_one;
}

/* PART_MIX_IN, the input projection of Mamba-2, has a multiplier for each group of rows (recurrent_scale_parts). */
organ_status organ_convert_scaled(organ_convert_job *job, organ_row_place place, forward_part part, organ_error *error)
{
    if (recurrent_multipliers(job, part, place.factors))
        place.function = ORGAN_ROW_SCALE;
    return part == PART_MIX_IN ? recurrent_scale_parts(job, place, error) : organ_convert_place(job, &place, error);
}

/* ---- members ---- */

/* Takes over the reference, also if the architecture lacks this member (`key` NULL). */
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

/* FEED_USUAL is any feed-forward, except a mixture of experts in a layer without a mixer. */
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

static const char *recurrent_word(const forward_recurrent *r, const organ_layer_kind *kind)
{
    const forward_layer_word *w = r->words;
    while (w->word && (w->mixer != kind->mixer || w->second != kind->second || !recurrent_fits(w->feed, kind)))
        w++;
    return w->word ? w->word : "";
}

static bool recurrent_is_attention(const organ_layer_kind *kind) { return kind->mixer == ORGAN_MIXER_ATTENTION; }
static bool recurrent_is_mixture(const organ_layer_kind *kind) { return kind->mixture; }

/* `period` is the distance from the first such layer to the second, `offset` the index of the first. If there is
 * only one such layer, the distance is larger than the number of layers. If the layers do not follow this pattern,
 * organ_convert_check fails after the conversion. */
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

/* Loaders get the kind of each layer from a list with a word for each layer, a list with the indices of the layers
 * that have the first word, or period and offset. r->alike: there is only one kind of layer. */
static int recurrent_put_kinds(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const forward_recurrent *const r = job->family->recurrent;
    /* whether config.json gets the list of indices; LFM2 (indices_needed) also accepts the list of words, and gets
     * that */
    const bool listed = r->indices && !r->indices_needed;
    if (r->alike)
        return 0;
    if (r->offset.key)
        return recurrent_put_period(c, recurrent_is_attention, r->interval.key, r->offset.key, config);
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

static int recurrent_put_sizes(const organ_convert_job *job, json_t *config)
{
    const organ_recurrent_config *const c = recurrent_of(job);
    const forward_recurrent *const r = job->family->recurrent;
    const uint64_t inner = (uint64_t)c->heads * c->value_dim; /* the mixer's width */
    int failed = recurrent_put_count(config, r->heads.key, c->heads) |
                 recurrent_put_count(config, r->groups.key, c->groups) |
                 recurrent_put_count(config, r->key_dim.key, c->key_dim) |
                 recurrent_put_count(config, r->value_dim.key, c->value_dim) |
                 recurrent_put_count(config, r->kernel.key, c->kernel) | recurrent_put_count(config, r->rank, c->rank) |
                 recurrent_put_count(config, r->inner, inner);
    /* `expand` is the mixer's width divided by the hidden size: a real number if the quotient is not whole. Mamba and
     * Falcon-H1 get the quotient rounded up, because transformers accepts only whole numbers there, and `inner` has
     * the width. */
    if (r->expand.key && (inner % job->config.hidden == 0 || r->inner))
        failed |= recurrent_put_count(config, r->expand.key, (inner + job->config.hidden - 1) / job->config.hidden);
    else if (r->expand.key)
        failed |= json_object_set_new(config, r->expand.key, json_real((double)inner / (double)job->config.hidden));
    return failed;
}

/* intermediate_size is the largest width, because the key-value of the GGUF file, which would be copied, may be 0,
 * the width of the first layer. A dense model of an architecture that requires members of a mixture
 * (forward_mixture.optional) also gets 0 experts and the width of the shared expert. */
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

/* The factors of MiniMax 1's residual branches are alpha (that of the first layer) and beta (1). */
static int recurrent_put_lightning(const organ_forward_config *c, json_t *config)
{
    const double alpha = (double)c->kinds[0].alpha[0];
    return !ORGAN_ADD(config, SET_REAL("full_attn_alpha_factor", alpha), SET_REAL("linear_attn_alpha_factor", alpha),
                      SET_REAL("mlp_alpha_factor", alpha), SET_REAL("full_attn_beta_factor", 1),
                      SET_REAL("linear_attn_beta_factor", 1), SET_REAL("mlp_beta_factor", 1),
                      SET_COUNT("rotary_dim", c->rope.dimensions));
}

static int recurrent_put_bounded(const organ_recurrent_config *c, json_t *config)
{
    return !ORGAN_ADD(config, SET_REAL("kda_lower_bound", c->decay_limit), SET_FLAG("kda_safe_gate", true),
                      SET_COUNT("short_conv_kernel_size", c->kernel));
}

int organ_convert_put_recurrent(const organ_convert_job *job, json_t *config)
{
    const organ_recurrent_config *const c = recurrent_of(job);
    const forward_family *const f = job->family;
    const forward_recurrent *const r = f->recurrent;
    if (!r)
        return 0;
    if (f->attention_free) { /* GGUF files have 0 for these members, but config.json must lack them */
        json_object_del(config, "num_attention_heads");
        json_object_del(config, "intermediate_size");
    }
    int failed = f->attention_free || f->latent ? 0
                                                : organ_convert_put_kv_heads(config, job->config.kv_heads) |
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
    failed |= recurrent_put_feed(job, config) | (r->lightning ? recurrent_put_lightning(&job->config, config) : 0) |
              (r->bounded ? recurrent_put_bounded(c, config) : 0);
    if (f->mixture && f->mixture->dense == DENSE_PERIOD)
        failed |= recurrent_put_period(&job->config, recurrent_is_mixture, "expert_layer_period", "expert_layer_offset",
                                       config);
    return failed;
}

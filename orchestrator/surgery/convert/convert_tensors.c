/* SPDX-License-Identifier: MIT
 * Plans which tensors of the output each tensor of the model becomes. The table of formats/architecture/pairing.h
 * describes each kind of tensor towards GGUF; to safetensors this file inverts its strips. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/architecture/config_readers.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROPE_FREQS "rope_freqs.weight"

typedef struct tensor_move {
    organ_convert_job *job;
    const organ_weight *weight;
    int64_t layer; /* -1: it belongs to no layer */
    pairing_part part;
    place_layout layout;
    organ_error *error;
} tensor_move;

static organ_status tensor_refuse(const tensor_move *t, const char *why)
{
    return organ_convert_unknown(t->job, t->weight->name, why, t->error);
}

/* ---- pieces and places ---- */

static bool tensor_name(const tensor_move *t, const pairing_part *part, char name[ORGAN_PLACE_NAME])
{
    const place_model model = organ_convert_model(t->job);
    if (organ_place_name(&model, t->job->to_gguf, t->layer, part, name))
        return true;
    tensor_refuse(t, t->job->to_gguf ? "has no name in GGUF" : "has no name in safetensors");
    return false;
}

static size_t tensor_piece(const tensor_move *t, const place_tensor *made)
{
    char name[ORGAN_PLACE_NAME];
    return tensor_name(t, &made->part, name) ? organ_convert_piece(t->job, name, made->rank, made->shape, t->error)
                                             : SIZE_MAX;
}

static organ_row_function tensor_function(const tensor_move *t)
{
    static const organ_row_function functions[][2] = {[PLACE_SAME] = {ORGAN_ROW_SAME, ORGAN_ROW_SAME},
                                                      [PLACE_PLUS_ONE] = {ORGAN_ROW_MINUS_ONE, ORGAN_ROW_PLUS_ONE},
                                                      [PLACE_EXP] = {ORGAN_ROW_LOG, ORGAN_ROW_EXP},
                                                      [PLACE_MINUS_EXP] = {ORGAN_ROW_LOG_MINUS, ORGAN_ROW_MINUS_EXP}};
    return functions[t->layout.function][t->job->to_gguf];
}

/* Rows keep their order, but for the rotated rows of a head (layout.turned). Weights of Falcon-H1 are multiplied by the
 * multipliers of config.json. */
static organ_status tensor_straight(const tensor_move *t, const organ_weight *w, size_t piece)
{
    organ_convert_job *const job = t->job;
    organ_row_place all = organ_convert_all(w, piece, 0);
    all.function = tensor_function(t);
    if (t->layout.turned.head) {
        all.block = all.rows = all.per_block = t->layout.turned.head;
        all.turned = t->layout.turned.rotated;
        all.pairs = job->to_gguf;
        all.halves = !job->to_gguf;
    }
    if (t->layout.kind == PLACE_WHOLE && organ_convert_is_scaled(job))
        return organ_convert_scaled(job, all, t->part.part, t->error);
    return organ_convert_place(job, &all, t->error);
}

static organ_row_place tensor_place(const organ_weight *w, const place_strip *s, size_t piece)
{
    organ_row_place place = organ_convert_all(w, piece, s->at);
    place.per_matrix = s->block ? place.rows / s->block * s->step : 0;
    place.block = s->block;
    place.first = s->first;
    place.rows = s->rows;
    place.per_block = s->step;
    place.transposed = s->transposed;
    place.column_slice = s->slice;
    place.col = s->col;
    place.col_step = s->col_step;
    place.cols = s->cols;
    return place;
}

/* The rows are those of llama.cpp's converter, which says nothing of them; the file has no place for the rule. */
static void tensor_pad(const tensor_move *t, size_t piece)
{
    if (piece == SIZE_MAX || t->layout.zeros == 0)
        return;
    t->job->facts[piece].zeros = t->layout.zeros;
    t->job->facts[piece].filled += t->layout.zeros;
    organ_progress_warn(t->job->progress,
                        "the row of token 0, which transformers gives to the %llu tokens without a row in %s, is lost: "
                        "they get zeros, as llama.cpp's converter writes them, and texts with them other scores",
                        (unsigned long long)t->layout.zeros, t->weight->name);
}

static organ_status tensor_forward(const tensor_move *t, const organ_weight *w)
{
    const place_layout *const l = &t->layout;
    if (l->kind == PLACE_TILED)
        return organ_convert_tiled(t->job, w, l, tensor_piece(t, &l->gguf[0]), t->error);
    if (l->strip_count == 0) {
        const size_t piece = tensor_piece(t, &l->gguf[0]);
        tensor_pad(t, piece);
        return tensor_straight(t, w, piece);
    }
    for (unsigned k = 0; k < l->strip_count && !t->error->status; k++) {
        const organ_row_place place = tensor_place(w, &l->strips[k], tensor_piece(t, &l->gguf[l->strips[k].to]));
        organ_convert_place(t->job, &place, t->error);
    }
    return t->error->status;
}

/* ---- the way back ---- */

/* Returns whether the columns of a strip share rows of safetensors with those of another strip. */
static bool tensor_is_joined(const place_layout *l)
{
    return l->count == 2 && (l->kind == PLACE_TRANSPOSED || l->kind == PLACE_COLUMNS);
}

/* Returns the rows of GGUF that a block of the strip becomes. */
static uint64_t tensor_made(const place_strip *s) { return s->transposed ? s->cols : s->rows; }

static uint64_t tensor_rows(const place_tensor *tensor)
{
    uint64_t rows = tensor->shape[0];
    for (unsigned d = 1; d + 1 < tensor->rank; d++)
        rows *= tensor->shape[d];
    return rows;
}

/* Rows `at` to at + blocks x step of GGUF come from the strip. All places of a source have blocks of `unit` rows; if
 * a block of the strip is larger, each of its blocks gets a place. */
static organ_status tensor_invert(const tensor_move *t, const organ_weight *w, const place_strip *s, uint64_t at,
                                  uint64_t unit, size_t piece)
{
    const organ_matrices m = organ_row_place_matrices(w);
    const uint64_t made = tensor_made(s), blocks = t->layout.numbers ? 1 : tensor_rows(&t->layout.hf) / s->block;
    organ_row_place place = organ_convert_all(w, piece, s->first);
    place.block = place.rows = unit;
    place.transposed = s->transposed;
    place.column_slice = s->slice;
    place.cols = s->transposed ? s->rows : s->cols;
    place.col_step = 1;
    if (tensor_is_joined(&t->layout))
        place.join = s->col_step == 2 ? ORGAN_JOIN_PAIRS : ORGAN_JOIN_ENDS;
    place.per_block = s->block;
    if (made == unit && at % m.rows == 0 && blocks * made % m.rows == 0) { /* whole matrices */
        place.matrix = at / m.rows;
        place.matrices = blocks * made / m.rows;
        place.per_matrix = m.rows / made * s->block;
        return organ_convert_place(t->job, &place, t->error);
    }
    const bool one = made == unit;
    place.per_block = one ? s->block : unit;
    place.blocks = one ? blocks : made / unit;
    for (uint64_t b = 0; b < (one ? 1 : blocks) && !t->error->status; b++) {
        place.from = (at + b * s->step) / unit;
        place.at = b * s->block + s->first;
        organ_convert_place(t->job, &place, t->error);
    }
    return t->error->status;
}

/* Sets convert_source.other to the other GGUF tensor of the layout, so that both are read together. */
static organ_status tensor_join(const tensor_move *t)
{
    const place_model model = organ_convert_model(t->job);
    char name[ORGAN_PLACE_NAME];
    const bool is_named = organ_place_name(&model, /*gguf=*/true, t->layer, &t->layout.gguf[1].part, name);
    const organ_weight *const found = is_named ? organ_weights_named(t->job->weights, name) : NULL;
    if (!found || !ORGAN_SAME_SHAPE(t->weight, found))
        return tensor_refuse(t, "has no counterpart of the same shape");
    t->job->sources[t->job->source_count].other = found;
    return ORGAN_OK;
}

/* Returns whether the codes of a stack are copied in the form of gpt-oss. */
static bool tensor_keeps_codes(const tensor_move *t)
{
    const convert_source *const source = &t->job->sources[t->job->source_count];
    return t->layout.kind == PLACE_TRANSPOSED && t->weight->rank == 3 && source->codes &&
           t->weight->codes->dtype == ORGAN_MXFP4 && (!source->other || source->other->codes->dtype == ORGAN_MXFP4) &&
           t->job->family->mixture && t->job->family->mixture->pairs;
}

/* A tensor NAME_blocks has the codes, a tensor NAME_scales the scales. Rows of gate and up alternate. */
static organ_status tensor_mxfp4(const tensor_move *t)
{
    const organ_weight *const w = t->weight;
    const bool both = t->layout.count == 2;
    /* shape of the codes: experts, rows, groups of a row, bytes of a group; the scales have the first three axes */
    const uint64_t rows = t->layout.count * w->shape[1],
                   shape[] = {w->shape[0], rows, w->shape[2] / ORGAN_CONVERT_GROUP, ORGAN_CONVERT_GROUP / 2};
    char name[ORGAN_PLACE_NAME], part[ORGAN_PLACE_NAME + 8];
    if (!tensor_name(t, &t->layout.hf.part, name))
        return t->error->status;
    for (unsigned scales = 0; scales < 2 && !t->error->status; scales++) {
        const organ_piece made = {.name = part, .dtype = ORGAN_U8, .rank = scales ? 3 : 4, .shape = shape};
        snprintf(part, sizeof part, "%s%s", name, scales ? "_scales" : "_blocks");
        organ_row_place place = organ_convert_all(
            w, organ_convert_part(t->job, &made, shape[0] * rows, scales ? CONVERT_SCALES : CONVERT_CODES, t->error),
            0);
        place.block = place.rows = 1;
        place.per_block = both ? 2 : 1;
        place.per_matrix = rows;
        place.join = both ? ORGAN_JOIN_PAIRS : ORGAN_JOIN_NONE;
        organ_convert_place(t->job, &place, t->error);
    }
    return t->error->status;
}

/* The rows of q, of k and of v become a tensor each. */
static organ_status tensor_split(const tensor_move *t, const organ_weight *w)
{
    const place_layout *const l = &t->layout;
    uint64_t unit = 0;
    for (unsigned k = 0; k < l->strip_count; k++)
        unit = unit ? organ_common_divisor(unit, l->strips[k].rows) : l->strips[k].rows;
    for (unsigned k = 0; k < l->strip_count && !t->error->status; k++) {
        place_tensor hf = l->hf;
        hf.part.part = (forward_part)(PART_Q + k); /* with part.bias: the bias */
        hf.shape[0] = l->strips[k].rows;
        organ_row_place place = organ_convert_all(w, tensor_piece(t, &hf), 0);
        place.block = place.rows = place.per_block = unit;
        place.from = l->strips[k].at / unit;
        place.blocks = hf.shape[0] / unit;
        organ_convert_place(t->job, &place, t->error);
    }
    return t->error->status;
}

static organ_status tensor_backward(const tensor_move *t, const organ_weight *w)
{
    const place_layout *const l = &t->layout;
    const unsigned own = l->count == 2 && l->gguf[1].part.part == t->part.part;
    place_tensor hf = l->hf;
    uint64_t unit = 0;
    if (tensor_is_joined(l) && own == 1) /* planned with the first */
        return ORGAN_OK;
    if (tensor_is_joined(l) && tensor_join(t))
        return t->error->status;
    if (tensor_keeps_codes(t))
        return tensor_mxfp4(t);
    if (l->kind == PLACE_TILED)
        return organ_convert_tiled(t->job, w, l, tensor_piece(t, &hf), t->error);
    if (l->kind == PLACE_JOINED)
        return tensor_split(t, w);
    if (l->strip_count == 0)
        return tensor_straight(t, w, tensor_piece(t, &hf));
    for (unsigned k = 0; k < l->strip_count; k++)
        if (l->strips[k].to == own)
            unit = unit ? organ_common_divisor(unit, tensor_made(&l->strips[k])) : tensor_made(&l->strips[k]);
    for (uint64_t n = 0; n < (l->numbers ? l->numbers : 1) && !t->error->status; n++) {
        if (l->numbers)
            hf.part.number = (int64_t)n;
        for (unsigned k = 0; k < l->strip_count && !t->error->status; k++)
            if (l->strips[k].to == own)
                tensor_invert(t, w, &l->strips[k], l->strips[k].at + n * l->strips[k].step, unit, tensor_piece(t, &hf));
    }
    return t->error->status;
}

/* ---- one weight ---- */

static void count_dropped(organ_convert_job *job, const organ_weight *weight)
{
    if (job->dropped++ == 0)
        job->dropped_name = weight->name;
}

/* Returns whether the output does not have the weight. Counts those of vision, audio and multi-token prediction in
 * job->dropped. Blocks of a GGUF file for multi-token prediction are layers (tensor_pass_over). */
static bool tensor_drop(organ_convert_job *job, const organ_weight *weight)
{
    const place_model model = organ_convert_model(job);
    const organ_role role = weight->anatomy.role;
    const char *const name = weight->name;
    const bool other = organ_role_is_tower(role) || organ_convert_is_tower(job, weight) ||
                       (job->to_gguf && role == ORGAN_ROLE_MTP && job->blocks == 0);
    if (job->to_gguf ? organ_place_is_left_out(&model, weight)
                     : strcmp(name, ROPE_FREQS) == 0 || strcmp(name, ORGAN_ROPE_LONG) == 0 ||
                           strcmp(name, ORGAN_ROPE_SHORT) == 0)
        return true;
    if (other)
        count_dropped(job, weight);
    return other;
}

/* Returns whether the output lacks a weight whose part is found, or fails: it is of a block that is left out or a copy
 * in one, or the output has only what the block needs. */
static bool tensor_pass_over(const tensor_move *t)
{
    organ_convert_job *const job = t->job;
    const bool block = t->layer >= (int64_t)job->config.layers;
    if (block && job->blocks == 0)
        count_dropped(job, t->weight);
    if (block && t->layer >= (int64_t)job->config.layers + job->blocks)
        return true;
    if (block && organ_convert_is_copy(job, t->weight, t->part.draft)) {
        job->copies++;
        return true;
    }
    return job->only && !block &&
           (!job->to_gguf || t->layer >= 0 ||
            (t->part.part != PART_EMBEDDING && t->part.part != PART_FINAL_NORM && t->part.part != PART_OUTPUT));
}

/* convert_keys.c writes the parameters of all layers as an array. */
static organ_status tensor_xielu(const tensor_move *t)
{
    if (t->weight->elements != 1)
        return tensor_refuse(t, "is not a single number");
    return organ_convert_values(t->job, t->weight, &t->job->config.kinds[t->layer].xielu[t->part.part - PART_XIELU_P],
                                t->error);
}

/* A weight whose codes cannot be copied is described again, because the axes of codes may have another order. */
static organ_status tensor_describe(tensor_move *t)
{
    organ_convert_job *const job = t->job;
    const place_model model = organ_convert_model(job);
    const organ_weight *w = t->weight;
    const char *why = NULL;
    for (bool again = true; again && !why;) {
        const place_source source = {.gguf = !job->to_gguf,
                                     .coded = job->sources[job->source_count].codes,
                                     .name = w->name,
                                     .rank = w->rank,
                                     .shape = w->shape,
                                     .layer = t->layer,
                                     .part = t->part};
        why = organ_place_describe(&model, &source, &t->layout);
        const bool by_value =
            t->layout.by_value || (t->layout.kind == PLACE_WHOLE && organ_convert_is_multiplied(job, t->part.part));
        const organ_weight *const values = !why && by_value ? organ_convert_dequantised(job) : w;
        again = values != w;
        w = values;
    }
    if (why)
        return tensor_refuse(t, why);
    return job->to_gguf ? tensor_forward(t, w) : tensor_backward(t, w);
}

organ_status organ_convert_tensor(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    tensor_move move = {.job = job, .weight = weight, .error = error};
    const place_model model = organ_convert_model(job);
    const char *const name = weight->name;
    if (tensor_drop(job, weight))
        return ORGAN_OK;
    const bool found = organ_place_find(&model, !job->to_gguf, name, &move.layer, &move.part);
    const bool copy =
        move.layer >= (int64_t)job->config.layers && job->drafts && organ_convert_is_copy(job, weight, move.part.draft);
    if (!found && !copy && (move.layer < (int64_t)job->config.layers || job->blocks))
        return tensor_refuse(&move, job->to_gguf ? "has no known name in GGUF" : "has no known name in safetensors");
    if (tensor_pass_over(&move))
        return ORGAN_OK;
    return move.part.part >= PART_XIELU_P && move.part.part <= PART_XIELU_EPS && job->to_gguf ? tensor_xielu(&move)
                                                                                              : tensor_describe(&move);
}

/* ---- computed tensors ---- */

/* rope_freqs.weight has the divisors of Llama 3's rotation, or those of Gemma 4's rotation, which are 1 for rotated
 * pairs and ORGAN_CONVERT_STILL for the others. If only half of a head is rotated, 1 stands for the other pairs. */
static organ_status tensor_rope_freqs(organ_convert_job *job, organ_error *error)
{
    const organ_rope_config *const r = &job->config.rope;
    const unsigned pairs = r->dimensions / 2, count = organ_forward_divisors(job->family, r);
    ORGAN_OWNED float *const divisors = malloc(((size_t)count + 1) * sizeof *divisors);
    if (!divisors)
        return organ_fail_memory(error, ROPE_FREQS);
    if (r->kind == ORGAN_ROPE_LLAMA3)
        organ_convert_llama3(r, divisors);
    for (unsigned k = 0; k < pairs && r->kind == ORGAN_ROPE_PROPORTIONAL; k++)
        divisors[k] = k < r->angles ? 1 : ORGAN_CONVERT_STILL;
    for (unsigned k = pairs; k < count; k++)
        divisors[k] = 1;
    organ_convert_computed_piece(job, ROPE_FREQS, 1, divisors, count, error);
    return error->status;
}

static organ_status tensor_divisors(organ_convert_job *job, organ_error *error)
{
    const organ_rope_config *const r = &job->config.rope;
    const unsigned count = r->dimensions / 2;
    if (r->kind == ORGAN_ROPE_DEFAULT || r->kind == ORGAN_ROPE_LINEAR || r->kind == ORGAN_ROPE_YARN)
        return ORGAN_OK;
    if (r->kind == ORGAN_ROPE_LLAMA3 || (r->kind == ORGAN_ROPE_PROPORTIONAL && r->factor == 1))
        return tensor_rope_freqs(job, error);
    if (r->kind != ORGAN_ROPE_LONGROPE || !organ_convert_has_longrope(job))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: config.json: the rope_type cannot be expressed in a GGUF file of %s", job->model->path,
                          job->pairing->gguf);
    if (organ_convert_computed_piece(job, ORGAN_ROPE_LONG, 1, r->long_factors, count, error) != SIZE_MAX)
        organ_convert_computed_piece(job, ORGAN_ROPE_SHORT, 1, r->short_factors, count, error);
    return error->status;
}

void organ_convert_xielu_name(const organ_convert_job *job, unsigned layer, unsigned number,
                              char name[ORGAN_PLACE_NAME])
{
    const place_model model = organ_convert_model(job);
    const pairing_part part = {.part = (forward_part)(PART_XIELU_P + number), .number = -1};
    organ_place_name(&model, /*gguf=*/false, layer, &part, name);
}

/* In transformers alpha_p and alpha_n of xIELU are vectors of one number, beta and eps single numbers. */
organ_status organ_convert_computed(organ_convert_job *job, organ_error *error)
{
    if (job->to_gguf)
        return tensor_divisors(job, error);
    for (unsigned l = 0; l < job->config.layers && job->config.activation == ORGAN_XIELU; l++)
        for (unsigned k = 0; k < CONVERT_XIELU && !error->status; k++) {
            char name[ORGAN_PLACE_NAME];
            organ_convert_xielu_name(job, l, k, name);
            organ_convert_computed_piece(job, name, k <= PART_XIELU_N - PART_XIELU_P, &job->config.kinds[l].xielu[k], 1,
                                         error);
        }
    return error->status;
}

/* ---- members of config.json of Gemma 3n and Gemma 4 ---- */

/* Each layer has the width of its feed-forward and the share of its gates that become 0. The model has the rank of
 * Laurel, the flag altup_correct_scale and the number of per-layer embeddings. */
int organ_convert_put_streams(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    json_t *widths, *parts;
    int failed = 0;
    if (!c->streams)
        return 0;
    widths = json_array();
    parts = json_array();
    for (unsigned l = 0; l < c->layers; l++) {
        const organ_layer_kind *const kind = &c->kinds[l];
        failed |= json_array_append_new(widths, json_integer((json_int_t)kind->intermediate));
        failed |=
            json_array_append_new(parts, json_real(kind->gate_is_cut ? organ_forward_gate_part(kind->gate_cut) : 0.0));
    }
    return failed | !ORGAN_ADD(config, SET("intermediate_size", widths), SET("activation_sparsity_pattern", parts),
                               SET_COUNT("laurel_rank", c->laurel_rank),
                               SET_FLAG("altup_correct_scale", c->streams_scaled),
                               SET_COUNT("vocab_size_per_layer_input", c->per_layer_vocabulary));
}

int organ_convert_put_gemma(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    if (!job->family->global_heads)
        return 0;
    const organ_layer_kind *const full = organ_pairing_kind(c, /*windowed=*/false);
    const organ_layer_kind *const local = organ_pairing_kind(c, /*windowed=*/true);
    const bool wide = c->kinds[c->layers - 1].intermediate > c->kinds[0].intermediate, equal = full->value_is_key;
    const uint64_t rows = c->per_layer_width ? c->per_layer_vocabulary : c->vocabulary;
    int failed =
        !ORGAN_ADD(config, SET_COUNT("head_dim", local->head_dim), SET_COUNT("global_head_dim", full->head_dim));
    failed |= organ_convert_put_kv_heads(config, local->kv_heads);
    return failed | !ORGAN_ADD(config, SET_FLAG("attention_k_eq_v", equal),
                               SET_COUNT_OF("num_global_key_value_heads", equal, full->kv_heads),
                               SET_COUNT("intermediate_size", c->kinds[0].intermediate),
                               SET_FLAG("use_double_wide_mlp", wide), SET_FLAG("enable_moe_block", c->dual_ffn),
                               SET_COUNT("vocab_size_per_layer_input", rows));
}

/* ---- the architectures of llama.cpp ---- */

/* The architectures of llama.cpp, as values of general.architecture (src/llama-arch.cpp and
 * gguf-py/gguf/constants.py). A conversion by name must not write a file with one of these names. */

/* Tables are laid out by hand. */
/* clang-format off */
static const char *const reserved[] = {
    "afmoe", "apertus", "arcee", "arctic", "arwkv7", "baichuan", "bailingmoe", "bailingmoe2", "bailingmoe3", "bert",
    "bitnet", "bloom", "chameleon", "chatglm", "clip", "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r",
    "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr", "deepseek32", "deepseek4", "dflash", "dots1",
    "dots3note", "dream", "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "exaone-moe", "exaone4",
    "falcon", "falcon-h1", "gemma", "gemma-embedding", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma4-assistant",
    "glm-dsa", "glm4", "glm4moe", "glm5-next", "gpt-oss", "gpt2", "gptj", "gptneox", "granite", "granite_swa",
    "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe",
    "hunyuan_vl", "hy_v3", "hy_v4", "internlm2", "jais", "jais2", "jamba", "jina-bert-v2", "jina-bert-v3",
    "kimi-k3", "kimi-linear", "laguna", "lfm2", "lfm2moe", "llada", "llada-moe", "llama", "llama-embed", "llama4",
    "maincoder", "mamba", "mamba2", "maple", "mellum", "mimo2", "minicpm", "minicpm3", "minimax-01", "minimax-m2",
    "minimax-m3", "mistral3", "mistral4", "modern-bert", "mpt", "muse-glimmer", "nanbeige", "nemotron",
    "nemotron_h", "nemotron_h_moe", "neo-bert", "nomic-bert", "nomic-bert-moe", "olmo", "olmo2", "olmoe", "openelm",
    "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plamo2", "plamo3", "plm",
    "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next",
    "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "rwkv6", "rwkv6qwen2", "rwkv7", "seed_oss",
    "smallthinker", "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "step35", "t5", "t5encoder",
    "talkie", "wavtokenizer-dec", "xverse"};
/* clang-format on */

enum { RESERVED_LETTERS = 96 }; /* bytes for the letters of a name with their NUL */

/* Keeps letters and digits in lower case, without a "_text" at the end. Two names are similar if these are equal. */
static void reserved_letters(const char *name, char letters[RESERVED_LETTERS])
{
    size_t count = 0, length = strlen(name);
    organ_cut_end(name, &length, "_text");
    for (size_t k = 0; k < length && count + 1 < RESERVED_LETTERS; k++)
        if (isalnum((unsigned char)name[k]))
            letters[count++] = (char)tolower((unsigned char)name[k]);
    letters[count] = '\0';
}

const char *organ_convert_reserved(const char *name)
{
    char own[RESERVED_LETTERS], other[RESERVED_LETTERS];
    reserved_letters(name, own);
    for (size_t k = 0; k < sizeof reserved / sizeof *reserved; k++) {
        reserved_letters(reserved[k], other);
        if (strcmp(own, other) == 0)
            return reserved[k];
    }
    return NULL;
}

/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
static const organ_role_info roles[ORGAN_ROLE_COUNT] = {
    [ORGAN_ROLE_OTHER] = {"other", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_EMBED] = {"embed", ORGAN_GROUP_EMBED, false},
    [ORGAN_ROLE_OUTPUT] = {"lm_head", ORGAN_GROUP_EMBED, false},
    [ORGAN_ROLE_NORM] = {"norm", ORGAN_GROUP_NORM, false},
    [ORGAN_ROLE_Q] = {"q_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_K] = {"k_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_V] = {"v_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_QKV] = {"qkv_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_O] = {"o_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_ATTENTION] = {"attention", ORGAN_GROUP_SKELETON, false},
    [ORGAN_ROLE_GATE] = {"gate_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_UP] = {"up_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_GATE_UP] = {"gate_up_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_DOWN] = {"down_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_ROUTER] = {"router", ORGAN_GROUP_ORGAN, false},
    [ORGAN_ROLE_BIAS] = {"bias", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_COMPANION] = {"companion", ORGAN_GROUP_OTHER, false},
};

/* What the roles are called that experts have, routed and shared. */
static const char *const expert_names[ORGAN_ROLE_COUNT][2] = {
    [ORGAN_ROLE_GATE] = {"experts.gate_proj", "shared_experts.gate_proj"},
    [ORGAN_ROLE_UP] = {"experts.up_proj", "shared_experts.up_proj"},
    [ORGAN_ROLE_GATE_UP] = {"experts.gate_up_proj", "shared_experts.gate_up_proj"},
    [ORGAN_ROLE_DOWN] = {"experts.down_proj", "shared_experts.down_proj"},
    [ORGAN_ROLE_BIAS] = {"experts.bias", "shared_experts.bias"},
    [ORGAN_ROLE_COMPANION] = {"experts.companion", "shared_experts.companion"},
};
/* clang-format on */

typedef enum anatomy_place { TOP, LAYER } anatomy_place;

/* The table of names. A pattern is the end of a module's name, whole words between dots, without the numbers of layer
 * and expert and without ".weight", ".bias" or "_bias"; where it begins with '*' the last word only has to end so. The
 * first row that fits counts. Rows have the names of Hugging Face first, where most architectures share them; then
 * those of Mixtral and of Meta and Mistral themselves (1 = gate, 2 = down, 3 = up) and of Granite; then those of GGUF,
 * where all architectures share theirs. */
static const struct anatomy_row {
    anatomy_place where;
    organ_role role;
    const char *patterns[20]; /* NULL ends them */
} table[] = {
    {LAYER, ORGAN_ROLE_Q, {"self_attn.q_proj", "attention.wq", "attn_q"}},
    {LAYER, ORGAN_ROLE_K, {"self_attn.k_proj", "attention.wk", "attn_k"}},
    {LAYER, ORGAN_ROLE_V, {"self_attn.v_proj", "attention.wv", "attn_v"}},
    {LAYER, ORGAN_ROLE_QKV, {"self_attn.qkv_proj", "attn_qkv"}},
    {LAYER, ORGAN_ROLE_O, {"self_attn.o_proj", "attention.wo", "attn_output"}},
    /* Gates and sinks; latent attention of DeepSeek and Kimi: low-rank pairs, whose product is the projection. embed_q
     * and unembed_out are the two halves of kv_b_proj, head by head, in MLX. */
    {LAYER,
     ORGAN_ROLE_ATTENTION,
     {"self_attn.gate_proj", "self_attn.sinks", "self_attn.q_a_proj", "self_attn.q_b_proj",
      "self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj", "self_attn.embed_q", "self_attn.unembed_out", "attn_gate",
      "attn_sinks", "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_k_b", "attn_v_b"}},
    /* Plain, numbered, shared, and all experts in one 3-D tensor */
    {LAYER,
     ORGAN_ROLE_GATE,
     {"gate_proj", "experts.w1", "feed_forward.w1", "ffn_gate", "ffn_gate_exps", "ffn_gate_shexp"}},
    {LAYER, ORGAN_ROLE_UP, {"up_proj", "experts.w3", "feed_forward.w3", "ffn_up", "ffn_up_exps", "ffn_up_shexp"}},
    {LAYER,
     ORGAN_ROLE_GATE_UP,
     {"gate_up_proj", "block_sparse_moe.input_linear", "shared_mlp.input_linear", "ffn_gate_up_exps"}},
    {LAYER,
     ORGAN_ROLE_DOWN,
     {"down_proj", "experts.w2", "feed_forward.w2", "block_sparse_moe.output_linear", "shared_mlp.output_linear",
      "ffn_down", "ffn_down_exps", "ffn_down_shexp"}},
    /* What chooses the experts */
    {LAYER,
     ORGAN_ROLE_ROUTER,
     {"mlp.gate", "mlp.gate.wg", "mlp.router", "feed_forward.router", "feed_forward.gate", "block_sparse_moe.gate",
      "block_sparse_moe.router.layer", "shared_expert_gate", "e_score_correction", "ffn_gate_inp", "ffn_gate_inp_shexp",
      "exp_probs_b"}},
    /* input_layernorm, post_attention_layernorm, pre_feedforward_layernorm, q_norm, kv_a_layernorm, attention_norm, ...
     */
    {LAYER, ORGAN_ROLE_NORM, {"*norm", "attn_norm_2", "ffn_norm_exps"}},
    {TOP, ORGAN_ROLE_NORM, {"*norm"}},
    /* The prediction layers of DeepSeek carry embeddings of their own. */
    {LAYER, ORGAN_ROLE_EMBED, {"embed_tokens"}},
    {LAYER, ORGAN_ROLE_OUTPUT, {"shared_head.head", "nextn.shared_head_head"}},
    {TOP,
     ORGAN_ROLE_EMBED,
     {"embed_tokens", "embed_tokens_per_layer", "tok_embeddings", "token_embd", "per_layer_token_embd", "token_types",
      "position_embd"}},
    {TOP, ORGAN_ROLE_OUTPUT, {"lm_head", "output"}},
};

/* Words that the number of an expert follows in GGUF files of Mixtral that were made before experts were stacked. */
static const char *const crowds[] = {"ffn_gate", "ffn_up", "ffn_down"};

/* Words that may stand before the layers of a language model, in any order. A name with any other word there belongs to
 * something else: a vision or audio tower, a projector, a draft head. */
static const char *const trunks[] = {"model", "language_model", "transformer", "thinker",
                                     "llm",   "base_model",     "backbone",    "module"};

/* Words that a layer number follows. */
static const char *const ladders[] = {"layers", "h", "blocks", "blk"};

/* Prefixes of layer names in architectures whose modules are not in the table: GPT-NeoX, OPT, BERT and its relatives. A
 * layer number follows the prefix. Such a tensor gets that layer and the role ORGAN_ROLE_OTHER. */
static const char *const foreign_layers[] = {
    "gpt_neox.layers.",       "model.decoder.layers.",  "decoder.layers.",
    "encoder.layer.",         "bert.encoder.layer.",    "roberta.encoder.layer.",
    "electra.encoder.layer.", "deberta.encoder.layer.", "distilbert.transformer.layer."};

/* What the tensors of a packed weight are called: after the last dot of the name, or, where there is none of the
 * module's own, after an underscore ("experts.down_proj_scales"). */
static const char *const leaves[] = {
    /* codes */
    "weight_packed", "qweight", "blocks",
    /* companions */
    "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point", "weight_shape", "weight_g_idx",
    "weight_global_scale", "qzeros", "scales", "biases", "g_idx", "qscale_weight", "scale_weight", "scale", "scale_inv",
    "zero_point", "global_scale",
    /* of activations and caches */
    "input_scale", "input_scale_inv", "input_global_scale", "input_zero_point", "input_amax", "activation_scale",
    "act_scale", "qscale_act", "scale_input", "output_scale", "output_zero_point", "k_scale", "v_scale", "q_scale",
    "kv_scale", "k_zero_point", "v_zero_point", "q_zero_point"};
enum { CODES = 3 }; /* come first */

/* A name taken apart: perhaps a trunk and "layers.N.", then [module, end), then perhaps ".weight" or a bias suffix. */
typedef struct parts {
    const char *module, *end;
    const char *expert_dot; /* the dot before the number of the expert, NULL if there is none */
    const char *expert_end; /* the dot after it */
    int32_t layer, expert;
    bool in_trunk, has_layer, bias;
} parts;

static bool is_word(const char *begin, const char *end, const char *word)
{
    const size_t length = (size_t)(end - begin);
    return strlen(word) == length && memcmp(begin, word, length) == 0;
}

static bool is_among(const char *begin, const char *end, const char *const *words, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (is_word(begin, end, words[k]))
            return true;
    return false;
}

static const char *word_end(const char *word) { return word + strcspn(word, "."); }

/* The number that the word is: -1 if it does not fit; false if it is none. */
static bool read_decimal(const char *begin, const char *end, int32_t *number)
{
    int64_t value = 0;
    for (const char *s = begin; s < end; s++) {
        if (*s < '0' || *s > '9')
            return false;
        value = value > INT32_MAX ? value : value * 10 + (*s - '0');
    }
    *number = value > INT32_MAX ? -1 : (int32_t)value;
    return end > begin;
}

/* Cuts `suffix` off [.., *end) if it is there. */
static bool cut_suffix(const char *begin, const char **end, const char *suffix)
{
    const size_t length = strlen(suffix);
    if ((size_t)(*end - begin) <= length || memcmp(*end - length, suffix, length) != 0)
        return false;
    *end -= length;
    return true;
}

/* "experts.7.down_proj" of HF, "ffn_down.7" of GGUF. */
static void find_expert(parts *p)
{
    for (const char *word = p->module; word < p->end;) {
        const char *end = word_end(word);
        const bool crowd = is_among(word, end, crowds, sizeof crowds / sizeof *crowds);
        if (end < p->end && (crowd || is_word(word, end, "experts"))) {
            const char *number_end = word_end(end + 1);
            int32_t number;
            if ((crowd ? number_end == p->end : number_end < p->end) && read_decimal(end + 1, number_end, &number)) {
                p->expert = number;
                p->expert_dot = end;
                p->expert_end = number_end;
                return;
            }
        }
        word = *end ? end + 1 : end;
    }
}

/* Sets the layer of a name with one of the prefixes in foreign_layers. */
static void find_foreign_layer(parts *p, const char *name)
{
    for (size_t k = 0; k < sizeof foreign_layers / sizeof *foreign_layers && !p->has_layer; k++) {
        const size_t length = strlen(foreign_layers[k]);
        if (strncmp(name, foreign_layers[k], length) != 0)
            continue;
        const char *const number_end = word_end(name + length);
        if (number_end < p->end && read_decimal(name + length, number_end, &p->layer)) {
            p->has_layer = true;
            p->module = number_end + 1;
        }
    }
}

static parts take_name_apart(const char *name, const char *end_of_name)
{
    parts p = {.module = name, .end = end_of_name, .layer = -1, .expert = -1, .in_trunk = true};
    if (!cut_suffix(name, &p.end, ".weight"))
        p.bias = cut_suffix(name, &p.end, ".bias") || cut_suffix(name, &p.end, "_bias");
    for (const char *word = name; p.in_trunk && !p.has_layer;) {
        const char *end = word_end(word);
        if (end >= p.end)
            return p;
        const char *number_end = word_end(end + 1);
        if (is_among(word, end, ladders, sizeof ladders / sizeof *ladders) && number_end < p.end &&
            read_decimal(end + 1, number_end, &p.layer)) {
            p.has_layer = true;
            p.module = number_end + 1;
        } else {
            p.in_trunk = is_among(word, end, trunks, sizeof trunks / sizeof *trunks);
            word = end + 1;
        }
    }
    if (!p.in_trunk)
        find_foreign_layer(&p, name);
    if (p.has_layer)
        find_expert(&p);
    return p;
}

/* Writes the module without the number of the expert; false if it was cut. */
static bool write_module(const parts *p, char *out, size_t size)
{
    const char *begin[2] = {p->module, p->expert_end};
    const char *end[2] = {p->expert_dot ? p->expert_dot : p->end, p->expert_dot ? p->end : p->expert_end};
    size_t used = 0;
    bool whole = true;
    for (int k = 0; k < 2 && begin[k]; k++) {
        size_t length = (size_t)(end[k] - begin[k]);
        if (length > size - 1 - used) {
            length = size - 1 - used;
            whole = false;
        }
        memcpy(out + used, begin[k], length);
        used += length;
    }
    out[used] = '\0';
    return whole;
}

static bool fits_pattern(const char *module, const char *pattern)
{
    const char *end = module + strlen(module);
    const bool open = *pattern == '*';
    if (open)
        return cut_suffix(module, &end, pattern + 1) || strcmp(module, pattern + 1) == 0;
    return strcmp(module, pattern) == 0 || (cut_suffix(module, &end, pattern) && end[-1] == '.');
}

#define MODULE 256

/* The role of the weight or of that to which the bias belongs; writes its module. */
static organ_role role_of_parts(const parts *p, char module[MODULE])
{
    if (!p->in_trunk || !write_module(p, module, MODULE))
        return ORGAN_ROLE_OTHER;
    for (const struct anatomy_row *row = table; row < table + sizeof table / sizeof *table; row++)
        for (const char *const *pattern = row->patterns; row->where == (p->has_layer ? LAYER : TOP) && *pattern;
             pattern++)
            if (fits_pattern(module, *pattern))
                return row->role;
    return ORGAN_ROLE_OTHER;
}

/* Cuts the leaf of a packed weight off [name, *end) and returns it; NULL if it has none. */
static const char *const *cut_leaf(const char *name, const char **end)
{
    const char *const *found = NULL;
    const char *best = *end;
    for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++) {
        const char *at = *end;
        if (cut_suffix(name, &at, leaves[k]) && (at[-1] == '.' || at[-1] == '_') && at < best) {
            best = at;
            found = &leaves[k];
        }
    }
    *end = found ? best - 1 : *end;
    return found;
}

bool organ_anatomy_companion(const char *tensor_name, size_t *length)
{
    const char *end = tensor_name + strlen(tensor_name);
    const bool plain = cut_suffix(tensor_name, &end, ".weight");
    const char *const *const leaf = plain ? NULL : cut_leaf(tensor_name, &end);
    *length = (size_t)(end - tensor_name);
    return leaf && leaf >= leaves + CODES;
}

/* Whether the module is in an expert, by the words of its name. */
static organ_experts experts_of(const parts *p, const char *module)
{
    static const char *const shared[] = {"shared_expert", "shared_experts", "shared_mlp"}, *const routed[] = {
                                                                                               "experts", "switch_mlp",
                                                                                               "switch_glu"};
    organ_experts found = p->expert_dot ? ORGAN_EXPERTS_ROUTED : ORGAN_EXPERTS_NONE;
    for (const char *word = module; *word;) {
        const char *end = word_end(word), *tail = end;
        if (is_among(word, end, shared, sizeof shared / sizeof *shared) || cut_suffix(word, &tail, "_shexp"))
            return ORGAN_EXPERTS_SHARED;
        if (is_among(word, end, routed, sizeof routed / sizeof *routed) || cut_suffix(word, &tail, "_exps"))
            found = ORGAN_EXPERTS_ROUTED;
        word = *end ? end + 1 : end;
    }
    return fits_pattern(module, "block_sparse_moe.input_linear") ||
                   fits_pattern(module, "block_sparse_moe.output_linear")
               ? ORGAN_EXPERTS_ROUTED
               : found;
}

const organ_role_info *organ_role_describe(organ_role role) { return &roles[role]; }

const char *organ_group_name(organ_group group)
{
    static const char *const names[] = {"skeleton", "organ", "embed", "norm", "other"};
    return names[group];
}

/* Norms are not packed, and routers have parameters that are called scale: such a tensor is none of a packed weight. */
static bool can_have(organ_role role, const char *leaf)
{
    return role != ORGAN_ROLE_NORM && !(role == ORGAN_ROLE_ROUTER && strcmp(leaf, "scale") == 0);
}

/* Of a name whose module, written out, is `module`. */
static organ_anatomy anatomy_of(const parts *p, const char *module, organ_role role, bool companion)
{
    const bool bias = p->bias && role != ORGAN_ROLE_NORM && role != ORGAN_ROLE_OTHER;
    organ_anatomy a = {role, roles[role].group, ORGAN_EXPERTS_NONE, p->layer, p->expert};
    if (bias || (companion && role != ORGAN_ROLE_OTHER))
        a.role = bias ? ORGAN_ROLE_BIAS : ORGAN_ROLE_COMPANION;
    if (a.group == ORGAN_GROUP_ORGAN && expert_names[a.role][0])
        a.experts = experts_of(p, module);
    return a;
}

organ_anatomy organ_anatomy_of(const char *tensor_name)
{
    char module[MODULE];
    const char *end = tensor_name + strlen(tensor_name);
    parts p = take_name_apart(tensor_name, end);
    const organ_role role = role_of_parts(&p, module);
    const char *const *const leaf = role == ORGAN_ROLE_OTHER && !p.bias ? cut_leaf(tensor_name, &end) : NULL;
    if (!leaf)
        return anatomy_of(&p, module, role, false);
    const parts whole = p;
    p = take_name_apart(tensor_name, end);
    const organ_role owner = role_of_parts(&p, module);
    return can_have(owner, *leaf) && !p.bias ? anatomy_of(&p, module, owner, leaf >= leaves + CODES)
                                             : anatomy_of(&whole, "", ORGAN_ROLE_OTHER, false);
}

unsigned organ_anatomy_row(const organ_anatomy *anatomy)
{
    return 3 * (unsigned)anatomy->role + (unsigned)anatomy->experts;
}

const char *organ_anatomy_row_name(unsigned row)
{
    const unsigned role = row / 3, experts = row % 3;
    return experts ? expert_names[role][experts - 1] : roles[role].name;
}

const char *organ_anatomy_role_name(const organ_anatomy *anatomy)
{
    return organ_anatomy_row_name(organ_anatomy_row(anatomy));
}

unsigned organ_anatomy_row_named(const char *name)
{
    unsigned row = 0;
    for (; row < ORGAN_ANATOMY_ROWS; row++)
        if (organ_anatomy_row_name(row) && strcmp(organ_anatomy_row_name(row), name) == 0)
            break;
    return row;
}

organ_role organ_anatomy_row_role(unsigned row)
{
    return row < ORGAN_ANATOMY_ROWS ? (organ_role)(row / 3) : ORGAN_ROLE_OTHER;
}

void organ_anatomy_module(const char *tensor_name, char *out, unsigned long size)
{
    parts p = take_name_apart(tensor_name, tensor_name + strlen(tensor_name));
    if (size == 0)
        return;
    if (p.bias)
        p.end = tensor_name + strlen(tensor_name);
    write_module(&p, out, size);
}

bool organ_anatomy_renumber(const char *tensor_name, int32_t layer, int32_t expert, char *out, size_t size)
{
    const parts p = take_name_apart(tensor_name, tensor_name + strlen(tensor_name));
    const char *const layer_end = p.has_layer && layer >= 0 ? p.module - 1 : tensor_name;
    const char *layer_begin = layer_end;
    while (layer_begin > tensor_name && layer_begin[-1] != '.')
        layer_begin--;
    const char *const expert_begin = p.expert_dot && expert >= 0 ? p.expert_dot + 1 : layer_end;
    const char *const rest = p.expert_dot && expert >= 0 ? p.expert_end : layer_end;
    char layer_text[16] = "", expert_text[16] = "";
    if (layer_end > tensor_name)
        snprintf(layer_text, sizeof layer_text, "%d", (int)layer);
    if (rest > layer_end)
        snprintf(expert_text, sizeof expert_text, "%d", (int)expert);
    const int length = snprintf(out, size, "%.*s%s%.*s%s%s", (int)(layer_begin - tensor_name), tensor_name, layer_text,
                                (int)(expert_begin - layer_end), layer_end, expert_text, rest);
    return length >= 0 && (size_t)length < size;
}

/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor_list.h"

#include "formats/tensor/drafts.h"
#include "formats/base/text.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
/* A row has the name in reports, the group, and whether pruning changes the role by default. */
static const organ_role_info roles[ORGAN_ROLE_COUNT] = {
    [ORGAN_ROLE_OTHER] = {"other", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_EMBED] = {"embed", ORGAN_GROUP_EMBED, false},
    [ORGAN_ROLE_POSITION] = {"position_embed", ORGAN_GROUP_EMBED, false},
    [ORGAN_ROLE_OUTPUT] = {"lm_head", ORGAN_GROUP_EMBED, false},
    [ORGAN_ROLE_NORM] = {"norm", ORGAN_GROUP_NORM, false},
    [ORGAN_ROLE_Q] = {"q_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_K] = {"k_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_V] = {"v_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_QKV] = {"qkv_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_KV] = {"kv_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_O] = {"o_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_Q_A] = {"q_a_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_Q_B] = {"q_b_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_KV_A] = {"kv_a_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_KV_B] = {"kv_b_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_K_B] = {"k_b_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_V_B] = {"v_b_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_ATTN_GATE] = {"attn_gate", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_INDEXER] = {"indexer", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_ATTENTION] = {"attention", ORGAN_GROUP_SKELETON, false},
    [ORGAN_ROLE_IN_PROJ] = {"in_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_X_PROJ] = {"x_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_DT_PROJ] = {"dt_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_OUT_PROJ] = {"out_proj", ORGAN_GROUP_SKELETON, true},
    [ORGAN_ROLE_STATE_GATE] = {"state_gate", ORGAN_GROUP_SKELETON, false},
    [ORGAN_ROLE_CONV] = {"conv1d", ORGAN_GROUP_SKELETON, false},
    [ORGAN_ROLE_STATE] = {"state", ORGAN_GROUP_SKELETON, false},
    [ORGAN_ROLE_GATE] = {"gate_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_UP] = {"up_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_GATE_UP] = {"gate_up_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_DOWN] = {"down_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_ROUTER] = {"router", ORGAN_GROUP_ORGAN, false},
    [ORGAN_ROLE_LATENT] = {"latent_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_PER_LAYER] = {"per_layer_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_LOW_RANK] = {"low_rank", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_STREAM_PROJ] = {"stream_proj", ORGAN_GROUP_ORGAN, true},
    [ORGAN_ROLE_STREAMS] = {"streams", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_SCALE] = {"scale", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_VISION] = {"vision", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_AUDIO] = {"audio", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_MTP] = {"mtp", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_BIAS] = {"bias", ORGAN_GROUP_OTHER, false},
    [ORGAN_ROLE_COMPANION] = {"companion", ORGAN_GROUP_OTHER, false},
};

/* [0] is for routed experts, [1] for shared experts; NULL is for roles that no expert tensor has. */
static const char *const expert_names[ORGAN_ROLE_COUNT][2] = {
    [ORGAN_ROLE_GATE] = {"experts.gate_proj", "shared_experts.gate_proj"},
    [ORGAN_ROLE_UP] = {"experts.up_proj", "shared_experts.up_proj"},
    [ORGAN_ROLE_GATE_UP] = {"experts.gate_up_proj", "shared_experts.gate_up_proj"},
    [ORGAN_ROLE_DOWN] = {"experts.down_proj", "shared_experts.down_proj"},
    [ORGAN_ROLE_BIAS] = {"experts.bias", "shared_experts.bias"},
    [ORGAN_ROLE_COMPANION] = {"experts.companion", "shared_experts.companion"},
};
/* clang-format on */

/* Old GGUF files of Mixtral have one tensor for each expert, whose number follows these words: "ffn_gate.7.weight". */
static const char *const numbered_words[] = {"ffn_gate", "ffn_up", "ffn_down"};

/* These words may precede the layer number in the name of a language model's tensor, in any order. A tensor with a
 * different word there belongs to another part of the model: a vision tower, a projector, a draft head. */
static const char *const trunk_words[] = {"model",
                                          "language_model",
                                          "transformer",
                                          "thinker",
                                          "llm",
                                          "base_model",
                                          "backbone",
                                          "module",
                                          "gpt_neox",
                                          "decoder",
                                          "biogpt",
                                          "rwkv",
                                          "hc_head",
                                          "hc_pre",
                                          "altup_projections",
                                          "altup_unembed_projections"};

static const char *const layer_words[] = {"layers", "h", "blocks", "blk"};

/* The text forward pass does not run these parts, nor those of drafts.h. A tensor belongs to one, and has its role, if
 * the first word of its name after the trunk words is `word`. */
static const struct anatomy_part {
    const char *word;
    organ_role role;
} non_text_parts[] = {
    {"visual", ORGAN_ROLE_VISION},
    {"vision_tower", ORGAN_ROLE_VISION},
    {"vision_embedder", ORGAN_ROLE_VISION},
    {"vision_model", ORGAN_ROLE_VISION},
    {"vision_encoder", ORGAN_ROLE_VISION},
    {"embed_vision", ORGAN_ROLE_VISION},
    {"multi_modal_projector", ORGAN_ROLE_VISION},
    {"mm_projector", ORGAN_ROLE_VISION},
    {"vit_large_projector", ORGAN_ROLE_VISION},
    {"patch_merge_mlp", ORGAN_ROLE_VISION},
    {"v", ORGAN_ROLE_VISION},
    {"mm", ORGAN_ROLE_VISION},
    {"audio_tower", ORGAN_ROLE_AUDIO},
    {"audio_model", ORGAN_ROLE_AUDIO},
    {"audio_encoder", ORGAN_ROLE_AUDIO},
    {"embed_audio", ORGAN_ROLE_AUDIO},
    {"a", ORGAN_ROLE_AUDIO},
    {"nextn_predict", ORGAN_ROLE_MTP},
};

/* BERT and its relatives have these prefixes before the layer number. organ_anatomy_of sets only the layer of their
 * tensors, because module_names.c does not list their modules: the role is ORGAN_ROLE_OTHER. */
static const char *const bert_prefixes[] = {"encoder.layer.",         "bert.encoder.layer.",
                                            "roberta.encoder.layer.", "electra.encoder.layer.",
                                            "deberta.encoder.layer.", "distilbert.transformer.layer."};

/* A suffix follows the last dot of the name or, if the tensors have no module of their own, an underscore
 * ("experts.down_proj_scales"). */
static const char *const packed_suffixes[] = {
    /* codes */
    "weight_packed", "qweight", "blocks", "_weight_qdata",
    /* companions */
    "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point", "weight_shape", "weight_g_idx",
    "weight_global_scale", "qzeros", "scales", "biases", "g_idx", "qscale_weight", "scale_weight", "scale", "scale_inv",
    "zero_point", "global_scale", "_weight_scale", "_weight_zero_point", "pre_quant_scale", "SCB", "weight_format",
    "absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4",
    "quant_state.bitsandbytes__fp4",
    /* scales and zero points of activations and of the key/value cache */
    "input_scale", "input_scale_inv", "input_global_scale", "input_zero_point", "input_amax", "activation_scale",
    "act_scale", "qscale_act", "scale_input", "output_scale", "output_zero_point", "input_scale_2", "k_scale",
    "v_scale", "q_scale", "kv_scale", "k_zero_point", "v_zero_point", "q_zero_point"};
/* The first CODE_SUFFIXES suffixes belong to codes, all later ones to companions. */
enum { CODE_SUFFIXES = 4 };

/* A name has optional trunk words, an optional "layers.N.", the module (the bytes from `module` to before `end`),
 * and an optional ".weight", ".bias" or "_bias". All pointers point into the name. */
typedef struct parts {
    const char *module, *end;
    const char *expert_dot; /* the dot before the number of the expert, NULL if there is none */
    const char *expert_end; /* the dot after that number, or the end of the name */
    int32_t layer, expert;  /* -1 if the name has no such number, or if the number exceeds INT32_MAX */
    bool in_trunk;          /* all words before the layer are trunk words */
    bool has_layer, bias;   /* the name has a layer number; it ends with ".bias" or "_bias" */
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

/* Returns false unless the text consists of digits. A number above INT32_MAX becomes -1. */
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

/* The number is in "experts.7.down_proj" of Hugging Face names and in "ffn_down.7" of GGUF names. p->expert_dot and
 * p->expert_end are the places before and after it. */
static void find_expert(parts *p)
{
    for (const char *word = p->module; word < p->end;) {
        const char *end = word_end(word);
        const bool numbered = is_among(word, end, numbered_words, sizeof numbered_words / sizeof *numbered_words);
        if (end < p->end && (numbered || is_word(word, end, "experts"))) {
            const char *number_end = word_end(end + 1);
            int32_t number;
            /* one of numbered_words and its number end the name; after "experts" and a number the module continues */
            if ((numbered ? number_end == p->end : number_end < p->end) && read_decimal(end + 1, number_end, &number)) {
                p->expert = number;
                p->expert_dot = end;
                p->expert_end = number_end;
                return;
            }
        }
        word = *end ? end + 1 : end;
    }
}

static void find_bert_layer(parts *p, const char *name)
{
    for (size_t k = 0; k < sizeof bert_prefixes / sizeof *bert_prefixes && !p->has_layer; k++) {
        const size_t length = strlen(bert_prefixes[k]);
        if (strncmp(name, bert_prefixes[k], length) != 0)
            continue;
        const char *const number_end = word_end(name + length);
        if (number_end < p->end && read_decimal(name + length, number_end, &p->layer)) {
            p->has_layer = true;
            p->module = number_end + 1;
        }
    }
}

/* If a word before the layer is no trunk word, in_trunk is false, and a layer is found only after a prefix in
 * bert_prefixes. */
static parts split_tensor_name(const char *name, size_t length)
{
    parts p = {.module = name, .layer = -1, .expert = -1, .in_trunk = true};
    if (!organ_cut_end(name, &length, ".weight"))
        p.bias = organ_cut_end(name, &length, ".bias") || organ_cut_end(name, &length, "_bias");
    p.end = name + length;
    for (const char *word = name; p.in_trunk && !p.has_layer;) {
        const char *end = word_end(word);
        if (end >= p.end)
            return p;
        const char *number_end = word_end(end + 1);
        if (is_among(word, end, layer_words, sizeof layer_words / sizeof *layer_words) && number_end < p.end &&
            read_decimal(end + 1, number_end, &p.layer)) {
            p.has_layer = true;
            p.module = number_end + 1;
        } else {
            p.in_trunk = is_among(word, end, trunk_words, sizeof trunk_words / sizeof *trunk_words);
            word = end + 1;
        }
    }
    if (!p.in_trunk)
        find_bert_layer(&p, name);
    if (p.has_layer)
        find_expert(&p);
    return p;
}

/* Writes the name without the number of the expert. Returns false if it was cut off. */
static bool write_module(const parts *p, char *out, size_t size)
{
    const char *begin[2] = {p->module, p->expert_end};
    const char *end[2] = {p->expert_dot ? p->expert_dot : p->end, p->expert_dot ? p->end : p->expert_end};
    size_t used = 0;
    bool complete = true;
    for (int k = 0; k < 2 && begin[k]; k++) {
        size_t length = (size_t)(end[k] - begin[k]);
        if (length > size - 1 - used) {
            length = size - 1 - used;
            complete = false;
        }
        memcpy(out + used, begin[k], length);
        used += length;
    }
    out[used] = '\0';
    return complete;
}

#define MODULE 256 /* bytes of a module's name with its NUL; a tensor with a longer one has no role */

/* The table of roles has no numbers. The numbers of a module are indices of the attentions or feed-forwards of one
 * layer [LongCat], of norms for each head [StableLM] or of residual streams. */
static void remove_numbers(char *module)
{
    char *out = module;
    for (const char *word = module; *word;) {
        const char *const end = word_end(word);
        const size_t length = (size_t)(end - word);
        if (strspn(word, "0123456789") < length || length == 0) {
            if (out > module)
                *out++ = '.';
            memmove(out, word, length);
            out += length;
        }
        word = *end ? end + 1 : end;
    }
    *out = '\0';
}

static organ_role role_outside(const char *name)
{
    const char *word = name, *end = word_end(word);
    while (*end && is_among(word, end, trunk_words, sizeof trunk_words / sizeof *trunk_words)) {
        word = end + 1;
        end = word_end(word);
    }
    for (size_t k = 0; *end && k < sizeof non_text_parts / sizeof *non_text_parts; k++)
        if (is_word(word, end, non_text_parts[k].word))
            return non_text_parts[k].role;
    return *end && organ_draft_begins(word, end) ? ORGAN_ROLE_MTP : ORGAN_ROLE_OTHER;
}

/* A bias has the role of its weight. If the name is outside the trunk or the module is too long, the contents of
 * `module` are undefined. */
static organ_role role_of_parts(const parts *p, char module[MODULE])
{
    if (!p->in_trunk || !write_module(p, module, MODULE))
        return ORGAN_ROLE_OTHER;
    remove_numbers(module);
    return organ_anatomy_module_role(module, p->has_layer);
}

/* The longest suffix counts. It follows a '.' or '_', which *length then excludes too. Returns a pointer into
 * `packed_suffixes`, or NULL. */
static const char *const *cut_packed_suffix(const char *name, size_t *length)
{
    const char *const *found = NULL;
    size_t best = *length;
    for (size_t k = 0; k < sizeof packed_suffixes / sizeof *packed_suffixes; k++) {
        size_t at = *length;
        if (organ_cut_end(name, &at, packed_suffixes[k]) && (name[at - 1] == '.' || name[at - 1] == '_') && at < best) {
            best = at;
            found = &packed_suffixes[k];
        }
    }
    *length = found ? best - 1 : *length;
    return found;
}

bool organ_anatomy_companion(const char *tensor_name, size_t *length)
{
    *length = strlen(tensor_name);
    const bool plain = organ_cut_end(tensor_name, length, ".weight");
    const char *const *const suffix = plain ? NULL : cut_packed_suffix(tensor_name, length);
    return suffix && suffix >= packed_suffixes + CODE_SUFFIXES;
}

/* The four names at the end are Granite's stacked routed experts, `stacks` those of Step 3.7. */
static organ_expert_kind experts_of(const parts *p, const char *module)
{
    static const char *const shared[] = {"shared_expert", "shared_experts", "share_expert", "shared_mlp"};
    static const char *const stacks[] = {"moe.gate_proj", "moe.up_proj", "moe.down_proj"};
    static const char *const routed[] = {"experts", "switch_mlp", "switch_glu"};
    organ_expert_kind found = p->expert_dot ? ORGAN_EXPERTS_ROUTED : ORGAN_EXPERTS_NONE;
    for (const char *word = module; *word;) {
        const char *const end = word_end(word);
        size_t length = (size_t)(end - word);
        if (is_among(word, end, shared, sizeof shared / sizeof *shared) || organ_cut_end(word, &length, "_shexp"))
            return ORGAN_EXPERTS_SHARED;
        if (is_among(word, end, routed, sizeof routed / sizeof *routed) || organ_cut_end(word, &length, "_exps"))
            found = ORGAN_EXPERTS_ROUTED;
        word = *end ? end + 1 : end;
    }
    const size_t length = strlen(module);
    const bool granite = organ_anatomy_ends(module, length, "block_sparse_moe.input_linear") ||
                         organ_anatomy_ends(module, length, "block_sparse_moe.output_linear") ||
                         organ_anatomy_ends(module, length, "mlp.input_linear") ||
                         organ_anatomy_ends(module, length, "mlp.output_linear");
    return granite || is_among(module, module + length, stacks, sizeof stacks / sizeof *stacks) ? ORGAN_EXPERTS_ROUTED
                                                                                                : found;
}

const organ_role_info *organ_role_describe(organ_role role) { return &roles[role]; }

const char *organ_group_name(organ_group group)
{
    static const char *const names[] = {"skeleton", "organ", "embed", "norm", "other"};
    return names[group];
}

/* Packed files store a weight W as several tensors "W.suffix". Packers leave norms unpacked, and "scale" of routers
 * is a parameter of its own. */
static bool role_can_be_packed(organ_role role, const char *suffix)
{
    return role != ORGAN_ROLE_NORM && !(role == ORGAN_ROLE_ROUTER && strcmp(suffix, "scale") == 0);
}

/* The group is always that of `role`. A bias of a norm keeps the role of the norm, and ORGAN_ROLE_OTHER stays. */
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

/* If the whole name has no role, the function removes a suffix of packed weights ("weight_scale", "qweight") and
 * looks up the name before it. */
organ_anatomy organ_anatomy_of(const char *tensor_name)
{
    char module[MODULE];
    size_t length = strlen(tensor_name);
    parts p = split_tensor_name(tensor_name, length);
    const organ_role role = role_of_parts(&p, module),
                     outside = role != ORGAN_ROLE_OTHER || p.has_layer ? ORGAN_ROLE_OTHER : role_outside(tensor_name);
    if (outside != ORGAN_ROLE_OTHER)
        return (organ_anatomy){outside, ORGAN_GROUP_OTHER, ORGAN_EXPERTS_NONE, -1, -1};
    const char *const *const suffix =
        role == ORGAN_ROLE_OTHER && !p.bias ? cut_packed_suffix(tensor_name, &length) : NULL;
    if (!suffix)
        return anatomy_of(&p, module, role, /*companion=*/false);
    const parts whole = p;
    p = split_tensor_name(tensor_name, length);
    const organ_role owner = role_of_parts(&p, module);
    return role_can_be_packed(owner, *suffix) && !p.bias
               ? anatomy_of(&p, module, owner, suffix >= packed_suffixes + CODE_SUFFIXES)
               : anatomy_of(&whole, "", ORGAN_ROLE_OTHER, /*companion=*/false);
}

/* Reports have three rows for each role: of tensors outside of experts, of routed experts and of shared experts. */
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
    parts p = split_tensor_name(tensor_name, strlen(tensor_name));
    if (size == 0)
        return;
    if (p.bias)
        p.end = tensor_name + strlen(tensor_name);
    write_module(&p, out, size);
}

bool organ_anatomy_renumber(const char *tensor_name, int32_t layer, int32_t expert, char *out, size_t size)
{
    const parts p = split_tensor_name(tensor_name, strlen(tensor_name));
    /* The result is name[0, layer_begin), layer, name[layer_end, expert_begin), expert, rest. Without a number to
     * replace, its range in the name is empty. */
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

/* ---- tensors with an entry for each expert ---- */

bool organ_anatomy_is_router(const char *tensor_name)
{
    static const char *const ends[] = {".bias", "_bias"};
    char module[512];
    size_t length;
    organ_anatomy_companion(tensor_name, &length);
    for (size_t k = 0; k < 2; k++)
        organ_cut_end(tensor_name, &length, ends[k]);
    if (length >= sizeof module || strstr(tensor_name, "shared_expert_gate") || strstr(tensor_name, "_shexp") ||
        strstr(tensor_name, "tid2eid") || strstr(tensor_name, "router.scale") ||
        strstr(tensor_name, "per_expert_scale"))
        return false;
    memcpy(module, tensor_name, length);
    module[length] = '\0';
    return organ_anatomy_of(module).role == ORGAN_ROLE_ROUTER;
}

bool organ_anatomy_follows_experts(const char *tensor_name, const organ_anatomy *anatomy)
{
    return (anatomy->experts == ORGAN_EXPERTS_ROUTED && anatomy->expert < 0) ||
           strstr(tensor_name, "per_expert_scale") || organ_anatomy_is_router(tensor_name);
}

unsigned organ_expert_axis(unsigned rank, const uint64_t *shape) { return rank == 2 && shape[0] == 1 ? 1 : 0; }

/* SPDX-License-Identifier: MIT
 * Recipes: which block type each tensor of a GGUF model gets in the files that llama-quantize calls Q4_K_M, IQ3_XS and
 * so on. The rules are those of llama.cpp 0c1e57098 (src/llama-quant.cpp), as tables. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "formats/architecture/mtp_types.h"
#include "orchestrator/surgery/layers/layer_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the recipes ---- */

/* For each recipe: AT_ID, its index in `recipes`. OF(ID) is its bit in the rules. */
#define AT(id, name, base, file_type)  AT_##id,
#define ROW(id, name, base, file_type) {name, base, file_type},
enum { ORGAN_RECIPES(AT, AT) RECIPE_COUNT };
static const organ_recipe recipes[] = {ORGAN_RECIPES(ROW, ROW)};
#undef AT
#undef ROW
typedef uint64_t recipe_set;
_Static_assert(RECIPE_COUNT < 64, "each recipe has a bit");
#define OF(id)      ((recipe_set)1 << AT_##id)
#define ALL         (((recipe_set)1 << RECIPE_COUNT) - 1)
#define IQ1         (OF(IQ1_S) | OF(IQ1_M))
#define SMALL_IQ2   (OF(IQ2_XXS) | OF(IQ2_XS))
#define LARGE_IQ2   (OF(IQ2_S) | OF(IQ2_M))
#define UP_TO_IQ2   (IQ1 | SMALL_IQ2 | LARGE_IQ2)
#define FEW_LEVELS  (OF(TQ1_0) | OF(TQ2_0) | OF(Q2_0))
#define WITHOUT_IQ2 (ALL & ~UP_TO_IQ2)

/* ---- the rules ---- */

/* Kinds of tensors. HEAD is the output head, or the token embeddings if there is no head; ATTN_V also has q, k and v in
 * one matrix. */
enum {
    HEAD = 1 << 0,
    TOKENS = 1 << 1,
    ATTN_V = 1 << 2,
    ATTN_K = 1 << 3,
    ATTN_Q = 1 << 4,
    ATTN_OUT = 1 << 5,
    UP = 1 << 6,
    GATE = 1 << 7,
    DOWN = 1 << 8,
    OTHER = 1 << 9,
    ANY = (1 << 10) - 1
};

/* Conditions of a rule: on the model, the imatrix, the rows of the tensor, and on its place. The place is i of n: the
 * number of an ATTN_V tensor among all of these, else the layer among all layers. */
enum {
    GQA_4 = 1 << 0,           /* at least 4 heads share a key and value */
    EXPERTS_4 = 1 << 1,       /* at least 4 experts */
    EXPERTS_8 = 1 << 2,       /* exactly 8 experts */
    FALCON = 1 << 3,          /* the architecture is falcon */
    NOT_FALCON = 1 << 4,      /* another architecture */
    WEIGHED = 1 << 5,         /* with an imatrix */
    UNWEIGHED = 1 << 6,       /* without one */
    RAGGED = 1 << 7,          /* the rows are not whole blocks of the recipe's base type */
    STACK = 1 << 8,           /* a stack of matrices, those of experts */
    EIGHTH = 1 << 9,          /* i < n / 8 */
    SIXTEENTH = 1 << 10,      /* i < n / 16 */
    MIDDLE = 1 << 11,         /* n / 8 <= i < 7 n / 8 */
    MORE_BITS = 1 << 12,      /* the first and the last eighth, and every third between */
    FIRST_2 = 1 << 13,        /* i < 2 */
    FIRST_4 = 1 << 14,        /* i < 4 */
    COUNTED_EIGHTH = 1 << 15, /* EIGHTH, with i counting the DOWN tensors */
    NEVER_SMALL = 1 << 16,    /* a tensor of glm5-next that gets at least 8 bits */
    BIG = 1 << 17             /* the size that llama.cpp calls 70B */
};

/* The first rule applies whose recipes and kinds include those of the tensor and whose conditions are all met. NULL:
 * the recipe's base type. */
static const struct recipe_rule {
    recipe_set recipes;
    int kinds, conditions;
    const char *type;
} rules[] = {
    {ALL, ANY, NEVER_SMALL, "q8_0"},

    {OF(MXFP4_MOE) | OF(Q8_0), HEAD, 0, "q8_0"},
    {ALL, HEAD, FALCON, "q8_0"},
    {ALL, HEAD, RAGGED, "q8_0"},
    {UP_TO_IQ2 | OF(IQ3_XXS), HEAD, 0, "q5_k"},
    {ALL, HEAD, 0, "q6_k"},

    {OF(MXFP4_MOE), ANY, STACK, "mxfp4"},
    {OF(MXFP4_MOE), ANY, 0, "q8_0"},

    {IQ1 | SMALL_IQ2, TOKENS, 0, "q2_k"},
    {LARGE_IQ2 | OF(IQ3_XXS), TOKENS, 0, "iq3_s"},
    {FEW_LEVELS, TOKENS, 0, "q4_k"},
    {ALL, TOKENS, 0, NULL},

    {UP_TO_IQ2, ATTN_V, GQA_4, "q4_k"},
    {UP_TO_IQ2, ATTN_V, EXPERTS_4, "q4_k"},
    {LARGE_IQ2, ATTN_V, 0, "iq3_s"},
    {UP_TO_IQ2, ATTN_V, 0, "q2_k"},
    {UP_TO_IQ2, ATTN_K, EXPERTS_8, "q4_k"},
    {LARGE_IQ2, DOWN, COUNTED_EIGHTH, "iq3_s"},
    {UP_TO_IQ2, DOWN, COUNTED_EIGHTH, "q2_k"},
    {UP_TO_IQ2, ATTN_OUT, EXPERTS_8, "q5_k"},
    {LARGE_IQ2, ATTN_OUT, 0, "iq3_s"},
    {IQ1, ATTN_OUT, 0, "iq2_xxs"},
    {UP_TO_IQ2, ANY, 0, NULL},

    {ALL, ATTN_V, EXPERTS_8, "q8_0"},
    {OF(Q2_K) | OF(Q2_K_S) | OF(IQ3_XXS) | OF(IQ3_XS) | OF(IQ3_S), ATTN_V, GQA_4, "q4_k"},
    {OF(Q2_K), ATTN_V, 0, "q3_k"},
    {OF(IQ3_XXS), ATTN_V, UNWEIGHED, "iq3_s"},
    {OF(IQ3_M), ATTN_V, 0, "q4_k"},
    {OF(Q3_K_M), ATTN_V, FIRST_2, "q5_k"},
    {OF(Q3_K_M), ATTN_V, 0, "q4_k"},
    {OF(Q3_K_L), ATTN_V, 0, "q5_k"},
    {OF(IQ4_NL) | OF(IQ4_XS), ATTN_V, GQA_4, "q5_k"},
    {OF(Q4_K_M) | OF(Q5_K_M), ATTN_V, MORE_BITS, "q6_k"},
    {OF(Q4_K_S), ATTN_V, FIRST_4, "q5_k"},

    {ALL, ATTN_K, EXPERTS_8, "q8_0"},
    {OF(IQ3_XS), ATTN_K | ATTN_Q, 0, "iq3_xxs"},
    {OF(IQ3_XXS), ATTN_K | ATTN_Q, 0, "iq2_s"},

    {OF(Q2_K), DOWN, 0, "q3_k"},
    {OF(Q2_K_S), DOWN, EIGHTH, "q4_k"},
    {OF(IQ3_XXS), DOWN, UNWEIGHED | EIGHTH, "q4_k"},
    {OF(IQ3_XXS), DOWN, UNWEIGHED, "q3_k"},
    {OF(Q3_K_M), DOWN, SIXTEENTH, "q5_k"},
    {OF(Q3_K_M), DOWN, NOT_FALCON, "q4_k"},
    {OF(Q3_K_M), DOWN, MORE_BITS, "q4_k"},
    {OF(Q3_K_L), DOWN, FALCON, "q4_k"},
    {OF(Q3_K_L), DOWN, 0, "q5_k"},
    {OF(IQ3_M), DOWN, EIGHTH, "q4_k"},
    {OF(IQ3_M), DOWN, EXPERTS_8 | MORE_BITS, "q4_k"},
    {OF(Q4_K_S), DOWN, NOT_FALCON | EIGHTH, "q5_k"},
    {OF(Q4_K_M), DOWN, FALCON | SIXTEENTH, "q6_k"},
    {OF(Q4_K_M), DOWN, FALCON | MORE_BITS, "q5_k"},
    {OF(Q4_K_M), DOWN, NOT_FALCON | MORE_BITS, "q6_k"},
    {OF(Q5_K_M), DOWN, MORE_BITS, "q6_k"},
    {OF(IQ4_NL) | OF(IQ4_XS), DOWN, UNWEIGHED | EIGHTH, "q5_k"},
    {OF(Q4_0), DOWN, WEIGHED | EIGHTH, "q4_1"},
    {OF(Q5_0), DOWN, WEIGHED | EIGHTH, "q5_1"},

    {OF(Q3_K_L), ATTN_OUT, FALCON, "q4_k"},
    {ALL, ATTN_OUT, FALCON, NULL},
    {OF(Q2_K) | OF(Q3_K_S) | OF(Q3_K_M) | OF(Q4_K_S) | OF(Q4_K_M) | OF(IQ3_XXS) | OF(IQ3_XS) | OF(IQ3_S) | OF(IQ3_M) |
         OF(IQ4_NL) | OF(IQ4_XS),
     ATTN_OUT, EXPERTS_8, "q5_k"},
    {ALL, ATTN_OUT, EXPERTS_8, NULL},
    {OF(Q2_K), ATTN_OUT, 0, "q3_k"},
    {OF(Q3_K_M) | OF(IQ3_M), ATTN_OUT, 0, "q4_k"},
    {OF(Q3_K_L), ATTN_OUT, 0, "q5_k"},
    {OF(IQ3_XXS), ATTN_OUT, 0, "iq3_s"},

    {OF(IQ3_XS), GATE | UP, MIDDLE, "iq3_xxs"},
};

/* Types that a rule has chosen and that other conditions replace. */
static const struct recipe_promotion {
    recipe_set recipes;
    int kinds, conditions;
    const char *from, *to;
} promotions[] = {{WITHOUT_IQ2, ATTN_V, BIG, "q3_k", "q5_k"}, {WITHOUT_IQ2, ATTN_V, BIG, "q4_k", "q5_k"}};

/* Kinds by parts of names; the first that occurs in a name decides. */
static const struct recipe_name {
    const char *part;
    int kind;
} names[] = {{"attn_qkv.weight", ATTN_V},
             {"attn_kv_b.weight", ATTN_V},
             {"attn_v.weight", ATTN_V},
             {"attn_k.weight", ATTN_K},
             {"attn_q.weight", ATTN_Q},
             {"attn_output.weight", ATTN_OUT},
             {"ffn_up", UP},
             {"ffn_gate", GATE},
             {"ffn_down", DOWN}};

/* Parts of the names of tensors that llama-quantize never quantises: they are small, or routers, norms, positions. */
static const char *const never[] = {"_norm.weight",
                                    "ffn_gate_inp.weight",
                                    "ffn_gate_tid2eid.weight",
                                    "altup",
                                    "laurel",
                                    "per_layer_model_proj",
                                    "ssm_conv1d",
                                    "shortconv.conv.weight",
                                    "indexer.k_proj.weight",
                                    "indexer.q_proj.weight",
                                    "time_mix_first.weight",
                                    "time_mix_w0.weight",
                                    "time_mix_w1.weight",
                                    "time_mix_w2.weight",
                                    "time_mix_v0.weight",
                                    "time_mix_v1.weight",
                                    "time_mix_v2.weight",
                                    "time_mix_a0.weight",
                                    "time_mix_a1.weight",
                                    "time_mix_a2.weight",
                                    "time_mix_g1.weight",
                                    "time_mix_g2.weight",
                                    "time_mix_decay_w1.weight",
                                    "time_mix_decay_w2.weight",
                                    "attn_rel_b.weight",
                                    ".position_embd",
                                    "time_mix_lerp_fused.weight",
                                    "sam.pos_embd",
                                    "sam.neck.",
                                    "sam.net_",
                                    ".rel_pos",
                                    ".patch_embd",
                                    ".patch_merger",
                                    "a.rvq.codebook",
                                    "mm.a.code_embd"};
static const char *const never_whole[] = {"position_embd.weight", "token_types.weight"};
static const char *const never_glm5[] = {"hc_",
                                         "indexer.attn_q_b",
                                         "indexer.attn_k",
                                         "indexer.proj",
                                         "indexer_compressor_gate",
                                         "ssm_f_a.weight",
                                         "ssm_f_b.weight",
                                         "ssm_g_a.weight",
                                         "ssm_g_b.weight",
                                         "indexer_compressor_ape",
                                         "ssm_beta.weight",
                                         "attn_kv_a_mqa.weight",
                                         "attn_k_b.weight",
                                         "attn_v_b.weight"};
static const char *const never_small[] = {"attn_q_a", "attn_q_b", "nextn.eh_proj"};

/* Architecture and number of layers of the models whose size llama.cpp calls 70B. */
static const struct recipe_size {
    const char *architecture;
    int64_t layers;
} big[] = {{"llama", 80}, {"llama-embed", 80}, {"qwen2", 80}, {"deci", 80}, {"olmo", 80}, {"jais2", 68}};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- names ---- */

const organ_encoding *organ_quantize_type_named(const char *name) { return organ_encoding_for(name, ORGAN_KIND_GGUF); }

static const organ_recipe *recipe_of(const char *name)
{
    for (size_t k = 0; k < COUNT(recipes); k++)
        if (strcasecmp(name, recipes[k].name) == 0)
            return &recipes[k];
    return NULL;
}

static bool is_writable(const char *type) { return organ_quantize_type_named(type) != NULL; }

/* A rule may name a type for which organ has no encoder. */
static bool all_writable(const organ_recipe *recipe)
{
    const recipe_set bit = (recipe_set)1 << (recipe - recipes);
    for (size_t k = 0; k < COUNT(rules); k++)
        if (rules[k].recipes & bit && rules[k].type && !is_writable(rules[k].type))
            return false;
    return is_writable(recipe->base);
}

const organ_recipe *organ_recipe_named(const char *scheme)
{
    static const char prefix[] = "recipe:";
    const bool prefixed = strncasecmp(scheme, prefix, strlen(prefix)) == 0;
    const organ_recipe *const recipe = recipe_of(prefixed ? scheme + strlen(prefix) : scheme);
    /* a name that is also a scheme's, such as q4_0, needs the prefix */
    return recipe && all_writable(recipe) && (prefixed || !is_writable(recipe->name)) ? recipe : NULL;
}

const organ_recipe *organ_recipe_at(size_t k) { return k < COUNT(recipes) ? &recipes[k] : NULL; }

/* ---- embeddings and output head ---- */

static bool name_starts_with(const char *name, const char *start) { return strncmp(name, start, strlen(start)) == 0; }

/* Returns whether the tensor is a table of tokens. Those of positions and types are small and stay unchanged. */
bool organ_quantize_gguf_is_table(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_EMBED &&
           (name_starts_with(tensor->name, "token_embd.") || name_starts_with(tensor->name, "per_layer_token_embd."));
}

bool organ_quantize_gguf_is_embedding(const organ_tensor *tensor)
{
    return tensor->anatomy.layer < 0 && name_starts_with(tensor->name, "token_embd.");
}

static bool has_head(const organ_model *model)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.role == ORGAN_ROLE_OUTPUT && model->tensors[t].anatomy.layer < 0)
            return true;
    return false;
}

bool organ_quantize_gguf_is_head(const organ_model *model, const organ_tensor *tensor)
{
    if (tensor->anatomy.role == ORGAN_ROLE_OUTPUT)
        return true;
    return name_starts_with(tensor->name, "token_embd.") && !has_head(model);
}

/* ---- tensors that stay unquantised ---- */

static bool has_part(const char *name, const char *const *parts, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (strstr(name, parts[k]))
            return true;
    return false;
}

static bool is_of(const organ_model *model, const char *architecture)
{
    return organ_gguf_text_equals(model->gguf, "general.architecture", architecture);
}

/* Axes of one element at the front do not count. */
static bool is_vector(const organ_tensor *tensor)
{
    return tensor->elements == (tensor->rank ? tensor->shape[tensor->rank - 1] : 1);
}

/* llama.cpp's programs transpose the projection of Gemma 3 when they load it, which quantised rows do not survive:
 * every embedding would be NaN. Convolutions have no rows that they multiply. */
static bool is_plain_part_of_tower(const organ_model *model, const organ_tensor *tensor)
{
    if (!is_of(model, "clip"))
        return false;
    return tensor->rank > 2 || strstr(tensor->name, ".conv_dw.") ||
           (strcmp(tensor->name, "mm.input_projection.weight") == 0 &&
            (organ_gguf_text_equals(model->gguf, "clip.projector_type", "gemma3") ||
             organ_gguf_text_equals(model->gguf, "clip.vision.projector_type", "gemma3")));
}

bool organ_recipe_quantises(const organ_model *model, const organ_tensor *tensor)
{
    const char *const name = tensor->name;
    if (is_plain_part_of_tower(model, tensor))
        return false;
    const size_t length = strlen(name), end = strlen("weight");
    if (is_vector(tensor) || !tensor->elements || length < end || strcmp(name + length - end, "weight") != 0)
        return false;
    for (size_t k = 0; k < COUNT(never_whole); k++)
        if (strcmp(name, never_whole[k]) == 0)
            return false;
    return !has_part(name, never, COUNT(never)) &&
           !(is_of(model, "glm5-next") && has_part(name, never_glm5, COUNT(never_glm5)));
}

/* ---- the state of a recipe ---- */

typedef struct recipe_state {
    const organ_recipe *recipe;
    recipe_set bit;     /* of the recipe */
    int model;          /* conditions that the model and the imatrix meet */
    bool experts;       /* more than one expert: places are layers, not counts */
    bool bailing, glm5; /* architectures with rules of their own */
    bool has_head;
    int layers, v_count;               /* n of layers and of ATTN_V tensors */
    int v_at, down_at, gate_at, up_at; /* how many of each kind came before */
    uint64_t block;                    /* elements of a block of the base type */
} recipe_state;

/* Returns that of the first layer if the key-value is an array. */
static int64_t number_of(const organ_settings *settings, const char *setting, int64_t fallback)
{
    const organ_gguf_kv *const kv = organ_settings_kv(settings, setting);
    int64_t value;
    return kv && organ_gguf_integer_at(kv, 0, &value) ? value : fallback;
}

static int layer_of(const char *name)
{
    int layer;
    return sscanf(name, "blk.%d.", &layer) == 1 ? layer : -1;
}

static int kind_of(const recipe_state *s, const char *name)
{
    if (strcmp(name, "output.weight") == 0)
        return HEAD;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return s->has_head ? TOKENS : HEAD;
    for (size_t k = 0; k < COUNT(names); k++)
        if (strstr(name, names[k].part))
            return names[k].kind;
    return OTHER;
}

const organ_encoding *organ_recipe_block_type(const organ_model *model, const organ_tensor *tensor,
                                              const organ_encoding *usual)
{
    const organ_settings settings = organ_settings_of(model, /*writer=*/NULL, /*error=*/NULL);
    const int64_t blocks = (int64_t)organ_settings_get(&settings, ORGAN_SETTING_DRAFTS),
                  layers = (int64_t)organ_settings_get(&settings, ORGAN_SETTING_LAYERS);
    const bool projection = tensor->anatomy.role == ORGAN_ROLE_MTP;
    if (blocks == 0 || tensor->anatomy.layer < layers - blocks || !organ_recipe_quantises(model, tensor) ||
        !(projection || organ_role_describe(tensor->anatomy.role)->projection))
        return NULL;
    return projection && !organ_encoding_is_plain(usual) ? organ_quantize_type_named("q8_0") : usual;
}

/* `shared`: heads share keys and values. */
static bool is_big(const organ_model *model, int64_t layers, int64_t experts, bool shared)
{
    for (size_t k = 0; k < COUNT(big); k++)
        if (layers == big[k].layers && is_of(model, big[k].architecture))
            return strncmp(big[k].architecture, "llama", 5) != 0 || (experts != 8 && shared);
    return false;
}

static recipe_state state_of(const organ_recipe *recipe, const organ_model *model, bool weighed)
{
    const organ_settings settings = organ_settings_of(model, /*writer=*/NULL, /*error=*/NULL);
    const int64_t experts = number_of(&settings, ORGAN_SETTING_EXPERTS, 0),
                  heads = number_of(&settings, ORGAN_SETTING_HEADS, 0),
                  shared = number_of(&settings, ORGAN_SETTING_KV_HEADS, heads),
                  layers = number_of(&settings, ORGAN_SETTING_LAYERS, 0);
    const bool falcon = is_of(model, "falcon");
    recipe_state s = {
        .recipe = recipe, .bit = (recipe_set)1 << (recipe - recipes), .layers = (int)layers, .experts = experts > 1};
    s.block = organ_dtype_describe(organ_quantize_type_named(recipe->base)->codes)->elements;
    s.bailing = is_of(model, "bailingmoe3");
    s.glm5 = is_of(model, "glm5-next");
    s.model = (falcon ? FALCON : NOT_FALCON) | (weighed ? WEIGHED : UNWEIGHED);
    s.model |= (shared && heads / shared >= 4 ? GQA_4 : 0) | (experts >= 4 ? EXPERTS_4 : 0);
    s.model |= (experts == 8 ? EXPERTS_8 : 0) |
               (is_big(model, organ_mtp_trunk_layers(model), experts, heads != shared) ? BIG : 0);
    for (size_t t = 0; t < model->tensor_count; t++)
        s.has_head |= strcmp(model->tensors[t].name, "output.weight") == 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        s.v_count += kind_of(&s, model->tensors[t].name) == ATTN_V;
    return s;
}

/* Returns the conditions that place i of n meets. */
static int place_conditions(int i, int n)
{
    int met = (i < 2 ? FIRST_2 : 0) | (i < 4 ? FIRST_4 : 0) | (i < n / 8 ? EIGHTH : 0) | (i < n / 16 ? SIXTEENTH : 0);
    met |= i >= n / 8 && i < 7 * n / 8 ? MIDDLE : 0;
    return met | (i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2 ? MORE_BITS : 0);
}

/* Returns the conditions that follow from the place, and counts the tensor. */
static int count_place(recipe_state *s, const char *name, int kind)
{
    int *const counts[] = {&s->v_at, &s->down_at, &s->gate_at, &s->up_at};
    static const int kinds[] = {ATTN_V, DOWN, GATE, UP};
    for (size_t k = 0; k < COUNT(kinds); k++)
        if (kind == kinds[k]) {
            const int at = (*counts[k])++;
            const bool by_layer = s->experts && kind != ATTN_V;
            return place_conditions(by_layer ? layer_of(name) : at, kind == ATTN_V ? s->v_count : s->layers) |
                   (at < s->layers / 8 ? COUNTED_EIGHTH : 0);
        }
    return 0;
}

static int tensor_conditions(recipe_state *s, const organ_tensor *tensor, int kind)
{
    const bool stacked = organ_tensor_matrices(tensor).count > 1, feeds = kind & (UP | GATE | DOWN);
    int met = s->model | count_place(s, tensor->name, kind);
    met |= organ_tensor_matrices(tensor).cols % s->block ? RAGGED : 0;
    met |= stacked && (!s->bailing || feeds) ? STACK : 0;
    return met | (s->glm5 && has_part(tensor->name, never_small, COUNT(never_small)) ? NEVER_SMALL : 0);
}

static const char *choose_type(recipe_state *s, const organ_tensor *tensor)
{
    const int kind = kind_of(s, tensor->name), met = tensor_conditions(s, tensor, kind);
    const char *type = s->recipe->base;
    for (size_t k = 0; k < COUNT(rules); k++)
        if (rules[k].recipes & s->bit && rules[k].kinds & kind && (rules[k].conditions & met) == rules[k].conditions) {
            type = rules[k].type ? rules[k].type : type;
            break;
        }
    for (size_t k = 0; k < COUNT(promotions); k++)
        if (promotions[k].recipes & s->bit && promotions[k].kinds & kind &&
            (promotions[k].conditions & met) == promotions[k].conditions && strcmp(type, promotions[k].from) == 0)
            return promotions[k].to;
    return type;
}

/* ---- the order ---- */

/* llama-quantize counts tensors in the order of layer number and name; tensors outside of layers come first. */
static int compare_names(const void *a, const void *b)
{
    const organ_tensor *const one = *(const organ_tensor *const *)a, *const other = *(const organ_tensor *const *)b;
    const int layer = layer_of(one->name), other_layer = layer_of(other->name);
    return layer != other_layer ? (layer > other_layer) - (layer < other_layer) : strcmp(one->name, other->name);
}

organ_status organ_recipe_types(const organ_recipe *recipe, const organ_model *model, bool weighed,
                                const organ_encoding *const *fixed, const organ_encoding **types, organ_error *error)
{
    ORGAN_OWNED const organ_tensor **const order = calloc(model->tensor_count + 1, sizeof *order);
    recipe_state s = state_of(recipe, model, weighed);
    if (!order)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        order[t] = &model->tensors[t];
    qsort(order, model->tensor_count, sizeof *order, compare_names);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const size_t t = (size_t)(order[k] - model->tensors);
        types[t] = organ_recipe_quantises(model, order[k]) && !(fixed && fixed[t])
                       ? organ_quantize_type_named(choose_type(&s, order[k]))
                       : NULL;
    }
    return ORGAN_OK;
}

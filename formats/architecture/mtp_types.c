/* SPDX-License-Identifier: MIT */
#include "formats/architecture/mtp_types.h"

#include "formats/base/rows.h"
#include "formats/base/word_lists.h"

#include <stdio.h>
#include <string.h>

#define NEXTN "num_nextn_predict_layers"
#define QWEN  "mtp_num_hidden_layers"

#define RAW_IN_VLLM                                                                                                    \
    "vLLM gives the next step the outputs before the norm of the head; organ, llama.cpp and SGLang give it those "     \
    "after the norm"

/* The row of a text's first token gets no embedding there (deepseek_mtp.py in vLLM, mimo_mtp.py in SGLang). */
#define ZEROS_IN_VLLM                                                                                                  \
    "vLLM replaces the embedding in the block's first row by zeros; organ, llama.cpp and SGLang do not"
#define ZEROS_IN_BOTH "vLLM and SGLang replace the embedding in the block's first row by zeros; organ does not"

/* vLLM gives the block of these types the number after those of the model's layers. */
#define NUMBERED ".*\\.layers\\.#\\."

/* Reasons follow "llama.cpp ". */
#define NO_GRAPH "has no graph for the block of this architecture"

/* The sources are llama.cpp (supports_mtp_export in conversion/ *.py and graph_mtp in src/models, as of
 * llama-cpp-python 0.3.36), vLLM 0.33 and SGLang 0.5.23. llama.cpp's converter leaves out the block of DeepSeek-V3, but
 * its graph of deepseek2, made for GLM-4.7-Flash, computes it. The first row with a type counts. */
static const organ_mtp_type types[] = {
    {.types = "glm4_moe glm4moe",
     .family = "DeepSeek",
     .name = "GLM-4.5",
     .counter = NEXTN,
     .runs = 1,
     .dispute = RAW_IN_VLLM "; " ZEROS_IN_VLLM},
    {.types = "glm4_moe_lite",
     .family = "DeepSeek",
     .name = "GLM-4.7-Flash",
     .architecture = "deepseek2",
     .counter = NEXTN,
     .runs = 1,
     .dispute = RAW_IN_VLLM "; " ZEROS_IN_VLLM},
    {.types = "glm_moe_dsa glm-dsa",
     .family = "DeepSeek",
     .name = "GLM-5",
     .counter = NEXTN,
     .runs = 1,
     .dispute = "llama.cpp runs the block's attention without its indexer, on all tokens; " ZEROS_IN_VLLM},
    {.types = "deepseek_v32 deepseek32",
     .family = "DeepSeek",
     .name = "DeepSeek-V3.2",
     .counter = NEXTN,
     .runs = 1,
     .dispute = ZEROS_IN_VLLM},
    {.types = "deepseek_v3 deepseek2 kimi_k2 kimi_k25",
     .family = "DeepSeek",
     .name = "DeepSeek-V3",
     .architecture = "deepseek2",
     .counter = NEXTN,
     .runs = 1,
     .dispute = ZEROS_IN_VLLM},
    {.types = "deepseek_v4 deepseek4",
     .family = "DeepSeek-V4",
     .name = "DeepSeek-V4",
     .counter = NEXTN,
     .reason = "runs the block of DeepSeek-V4, but organ does not convert that model"},
    {.types = "qwen3_next qwen3next",
     .family = "Qwen",
     .name = "Qwen3-Next",
     .counter = QWEN,
     .optional = true,
     .runs = 1,
     .like_first = true},
    {.types = "qwen3_5 qwen3_5_text qwen3_5_moe qwen3_5_moe_text qwen35 qwen35moe",
     .family = "Qwen",
     .name = "Qwen3.5",
     .counter = QWEN,
     .optional = true,
     .runs = 1},
    {.types = "mellum", .family = "Mellum", .name = "Mellum", .counter = NEXTN, .reason = NO_GRAPH},
    {.types = "exaone_moe exaone-moe exaone4_5 exaone4_5_text",
     .family = "Qwen",
     .name = "EXAONE",
     .counter = NEXTN,
     .reason = "stores the block of EXAONE, but has no graph that runs it",
     .like_first = true},
    {.types = "mimo_v2_flash mimo_v2 mimo_v2_pro mimo2",
     .family = "MiMo-V2",
     .name = "MiMo-V2",
     .optional = true,
     .runs = 3,
     .dispute = "vLLM gives the block the model's state after its final norm; organ, llama.cpp and SGLang give it the "
                "state before the norm; organ and llama.cpp give a later block the outputs of the one before, without "
                "the norm of the head, SGLang gives it the model's state, and vLLM runs only the first block",
     .served = ".*mtp ^model\\.decoder\\."},
    {.types = "mimo",
     .family = "MiMo",
     .name = "MiMo-7B",
     .counter = NEXTN,
     .reason = NO_GRAPH,
     .dispute = ZEROS_IN_BOTH,
     .served = ".*mtp " NUMBERED " ^self_attn\\. ^mlp\\."},
    {.types = "step3p5 step3p7 step35",
     .family = "Step",
     .name = "Step-3.5",
     .counter = NEXTN,
     .runs = 3,
     .dispute =
         "transformers gives the block of Step-3.7 the model's state after its final norm; organ, llama.cpp, vLLM "
         "and SGLang give it the state before the norm"},
    {.types = "ernie4_5 ernie4_5_moe ernie4_5-moe",
     .family = "ERNIE",
     .name = "ERNIE 4.5",
     .counter = NEXTN,
     .reason = NO_GRAPH,
     .dispute = ZEROS_IN_BOTH,
     .served = ".*mtp " NUMBERED " ^model\\.mtp_block\\."},
    {.types = "nemotron_h_moe nemotron_h",
     .family = "Nemotron-H",
     .name = "Nemotron-H",
     .counter = NEXTN,
     .runs = 1,
     .dispute = "the norm before the head is RMSNorm in vLLM and LayerNorm in llama.cpp"},
    {.types = "longcat_flash longcat-flash",
     .family = "LongCat-Flash",
     .name = "LongCat-Flash",
     .counter = NEXTN,
     .reason = NO_GRAPH,
     .served = ".*mtp " NUMBERED " ^self_attn\\. ^mlps\\. ^eh_proj"},
    {.types = "hy_v3", .family = "HY", .name = "HY-3", .counter = NEXTN, .runs = 16, .dispute = ZEROS_IN_VLLM},
    {.types = "bailing_hybrid bailing_moe_v3 bailingmoe3",
     .family = "HY",
     .name = "Bailing",
     .counter = NEXTN,
     .runs = 1,
     .dispute = ZEROS_IN_VLLM},
    {.types = "sarvam_moe sarvam_mla", .family = "HY", .name = "Sarvam", .counter = NEXTN, .reason = NO_GRAPH},
};

const organ_mtp_type *organ_mtp_type_of(const char *type)
{
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (organ_lists_word(types[k].types, ' ', type, strlen(type)))
            return &types[k];
    return NULL;
}

const organ_draft_family *organ_mtp_family_of(const char *type)
{
    const organ_mtp_type *const row = organ_mtp_type_of(type);
    const organ_draft_family *const family = row ? organ_draft_family_named(row->family) : NULL;
    return family && family->listed ? family : NULL;
}

const char *organ_mtp_key(const char *architecture, char key[ORGAN_MTP_KEY_ROOM])
{
    snprintf(key, ORGAN_MTP_KEY_ROOM, "%.100s.%s", architecture, ORGAN_MTP_KEY);
    return key;
}

int64_t organ_mtp_stated(const organ_gguf *gguf, const char *architecture)
{
    char key[ORGAN_MTP_KEY_ROOM];
    return organ_gguf_integer(gguf, organ_mtp_key(architecture, key), -1);
}

bool organ_mtp_is_counter(const char *member)
{
    char key[ORGAN_MEMBER_ROOM];
    return organ_pairing_key_of(member, key) && strcmp(key, ORGAN_MTP_KEY) == 0;
}

int64_t organ_mtp_counted(const organ_mtp_type *type, const json_t *config, char member[ORGAN_MEMBER_ROOM])
{
    snprintf(member, ORGAN_MEMBER_ROOM, "%s", type->counter ? type->counter : "");
    bool stated = json_is_integer(json_object_get(config, member));
    for (size_t k = 0; *member && !stated && organ_pairing_member(ORGAN_MTP_KEY, k, member); k++)
        stated = json_is_integer(json_object_get(config, member));
    if (stated)
        return json_integer_value(json_object_get(config, member));
    snprintf(member, ORGAN_MEMBER_ROOM, "%s", type->counter ? type->counter : "");
    return -1;
}

/* Nemotron-H of transformers 5 has no number of layers; its blocks have names of their own. */
static int32_t layers_of_tensors(const organ_model *model)
{
    const organ_mtp_type *const type = organ_mtp_type_of(model->config.model_type);
    const organ_draft_family *const family = type ? organ_draft_family_named(type->family) : NULL;
    int32_t layers = 0;
    for (size_t t = 0; t < model->tensor_count && family && family->layer_prefix; t++)
        if (model->tensors[t].anatomy.layer >= layers && model->tensors[t].anatomy.layer < INT32_MAX)
            layers = model->tensors[t].anatomy.layer + 1;
    return layers;
}

int32_t organ_mtp_trunk_layers(const organ_model *model)
{
    const int64_t stated = model->gguf ? organ_mtp_stated(model->gguf, model->config.model_type) : 0;
    const int64_t trunk = model->config.num_hidden_layers - (stated > 0 ? stated : 0);
    return model->gguf || trunk > 0 ? (int32_t)(trunk < 0 ? 0 : trunk) : layers_of_tensors(model);
}

/* Finds the family whose blocks have a tensor of this name outside the sequence of layers; NULL: none. */
static const organ_draft_family *find_outside(const char *name, unsigned *layer, organ_draft_part *part,
                                              const char **tail)
{
    const organ_draft_family *f;
    for (size_t k = 0; (f = organ_draft_family_at(k)); k++)
        if (f->layer_prefix && organ_draft_find(f, /*gguf=*/false, name, layer, part, tail))
            return f;
    return NULL;
}

int64_t organ_mtp_block_of(const char *name, const organ_anatomy *anatomy, int32_t trunk)
{
    organ_draft_part part;
    unsigned layer;
    const char *tail;
    if (anatomy->layer >= 0)
        return trunk > 0 && anatomy->layer >= trunk ? anatomy->layer - trunk : -1;
    if (anatomy->role != ORGAN_ROLE_MTP)
        return -1;
    const organ_draft_family *const f = find_outside(name, &layer, &part, &tail);
    return f ? layer / f->layers : 0; /* 0: parts of packed weights that all blocks share */
}

const char *organ_mtp_served(const organ_mtp_type *type, bool outside)
{
    if (type && type->served)
        return type->served;
    return outside ? ".*mtp" : NUMBERED " ^model\\.decoder\\.";
}

const char *organ_mtp_tail_of(const char *name, const organ_anatomy *anatomy)
{
    organ_draft_part part;
    unsigned layer;
    const char *tail;
    char inside[32];
    if (anatomy->layer < 0)
        return find_outside(name, &layer, &part, &tail) && part == DRAFT_PARTS ? tail : NULL;
    snprintf(inside, sizeof inside, ".%d.", (int)anatomy->layer);
    tail = strstr(name, inside);
    return tail ? tail + strlen(inside) : NULL;
}

/* Returns the role of a part outside of the block's layers. */
static organ_role role_of_part(organ_draft_part part)
{
    switch (part) {
    case DRAFT_NORM_EMBEDDING:
    case DRAFT_NORM_HIDDEN:
    case DRAFT_NORM_HEAD:
    case DRAFT_NORM_FEED:
        return ORGAN_ROLE_NORM;
    case DRAFT_HEAD:
        return ORGAN_ROLE_OUTPUT;
    default:
        return ORGAN_ROLE_MTP;
    }
}

organ_anatomy organ_mtp_anatomy_in_layer(const char *name, const organ_anatomy *anatomy)
{
    char inside[512];
    organ_draft_part part;
    unsigned layer;
    const char *tail;
    organ_anatomy made = *anatomy;
    if (anatomy->layer >= 0 || !find_outside(name, &layer, &part, &tail))
        return made;
    if (part == DRAFT_PARTS) {
        snprintf(inside, sizeof inside, "model.layers.0.%s", tail);
        made = organ_anatomy_of(inside);
        made.layer = anatomy->layer;
    } else {
        made.role = role_of_part(part);
        made.group = organ_role_describe(made.role)->group;
    }
    return made;
}

organ_role organ_mtp_role_of(const char *name, const organ_anatomy *anatomy)
{
    return organ_mtp_anatomy_in_layer(name, anatomy).role;
}

bool organ_mtp_is_projection(const organ_tensor *tensor)
{
    return organ_role_describe(organ_mtp_role_of(tensor->name, &tensor->anatomy))->projection;
}

size_t organ_mtp_name_prefix(const char *name, unsigned *layer)
{
    organ_draft_part part;
    const char *tail;
    const bool fits = strlen(name) + 32 < ORGAN_MTP_NAME_ROOM; /* with the number of a layer */
    return fits && find_outside(name, layer, &part, &tail) && part == DRAFT_PARTS ? (size_t)(tail - name) : 0;
}

const char *organ_mtp_layer_name(const char *name, int32_t trunk, char room[ORGAN_MTP_NAME_ROOM])
{
    unsigned layer;
    const size_t prefix = organ_mtp_name_prefix(name, &layer);
    if (!prefix)
        return name;
    snprintf(room, ORGAN_MTP_NAME_ROOM, "model.layers.%lld.%s", (long long)trunk + layer, name + prefix);
    return room;
}

organ_anatomy organ_mtp_anatomy(const organ_tensor *tensor, int32_t trunk)
{
    char room[ORGAN_MTP_NAME_ROOM];
    organ_draft_part part = DRAFT_PARTS;
    organ_anatomy anatomy = tensor->anatomy;
    unsigned layer;
    const char *tail;
    if (anatomy.layer >= 0 || anatomy.role != ORGAN_ROLE_MTP || trunk <= 0)
        return anatomy;
    const organ_draft_family *const f = find_outside(tensor->name, &layer, &part, &tail);
    if (f && part == DRAFT_PROJECT)
        anatomy.layer = trunk + (int32_t)(f->shared ? 0 : layer / f->layers);
    return part == DRAFT_PROJECT ? anatomy : organ_anatomy_of(organ_mtp_layer_name(tensor->name, trunk, room));
}

void organ_mtp_number_layers(organ_model *model)
{
    const int32_t trunk = organ_mtp_trunk_layers(model);
    for (size_t t = 0; t < model->tensor_count && !model->gguf && trunk > 0; t++) {
        organ_tensor *const tensor = (organ_tensor *)&model->tensors[t]; /* the model is the caller's to change */
        const organ_anatomy anatomy = organ_mtp_anatomy(tensor, trunk);
        if (anatomy.role != ORGAN_ROLE_MTP) /* the projection is outside of the block's layers */
            tensor->anatomy = anatomy;
        organ_rows_passed();
    }
}

bool organ_mtp_is_alone(const organ_model *model)
{
    const int64_t blocks = model->gguf ? organ_mtp_stated(model->gguf, model->config.model_type) : 0;
    const int32_t trunk = blocks > 0 ? organ_mtp_trunk_layers(model) : 0;
    bool any = false, others = false;
    for (size_t k = 0; k < model->tensor_count && blocks > 0; k++) {
        const int32_t layer = model->tensors[k].anatomy.layer;
        any = any || layer >= 0;
        others = others || (layer >= 0 && layer < trunk);
    }
    return any && !others;
}

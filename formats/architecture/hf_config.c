/* SPDX-License-Identifier: MIT */

#include "formats/architecture/config_readers.h"
#include "formats/architecture/sizes.h"
#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/quant_sections.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Members that are strings. If several fill one field, the first of this table that the file has is used. */
static const struct word_field {
    const char *key;
    size_t at, capacity; /* offset and size of the member in organ_hf_config */
} word_fields[] = {
/* clang-format off */
#define WORD(key, member) {key, offsetof(organ_hf_config, member), sizeof(((organ_hf_config *)0)->member)}
    /* clang-format on */
    WORD("model_type", model_type),
    WORD("torch_dtype", torch_dtype),
    WORD("dtype", torch_dtype),
#undef WORD
};

static organ_status read_word(const organ_json_object *from, const char *key, const json_t *value, char *out,
                              size_t capacity, organ_error *error)
{
    const char *word = organ_json_plain(value);
    if (!word || strlen(word) >= capacity)
        return organ_json_refuse(from, key, word ? "a short string" : "a string", error);
    strcpy(out, word);
    return ORGAN_OK;
}

/* A list, such as that of Gemma 3n with a number for each layer, leaves *out unknown. */
static organ_status read_size(const organ_json_object *from, const char *key, const json_t *value, int64_t *out,
                              organ_error *error)
{
    if (json_is_array(value))
        return ORGAN_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return organ_json_refuse(from, key, "a whole number from 0", error);
    *out = json_integer_value(value);
    return ORGAN_OK;
}

/* A field that an earlier member or an outer object has set stays. */
static organ_status read_word_field(const organ_json_object *from, const struct word_field *field,
                                    organ_hf_config *config, organ_error *error)
{
    const json_t *const value = organ_json_value(from, field->key);
    char *const out = (char *)config + field->at;
    return value && !*out ? read_word(from, field->key, value, out, field->capacity, error) : ORGAN_OK;
}

static organ_status read_size_field(const organ_json_object *from, const organ_size *size, const char *key,
                                    organ_hf_config *config, organ_error *error)
{
    const json_t *const value = organ_json_value(from, key);
    int64_t *const out = (int64_t *)(void *)((char *)config + size->at);
    return value && *out < 0 ? read_size(from, key, value, out, error) : ORGAN_OK;
}

/* A member that is missing may have one of several other names. */
static organ_status read_size_fields(const organ_json_object *from, const organ_size *size, organ_hf_config *config,
                                     organ_error *error)
{
    char key[64];
    read_size_field(from, size, size->member, config, error);
    for (const char *at = size->others; !error->status && organ_next_word(&at, key, sizeof key);)
        read_size_field(from, size, key, config, error);
    return error->status;
}

static organ_status read_architecture(const organ_json_object *from, organ_hf_config *config, organ_error *error)
{
    const json_t *list = organ_json_value(from, "architectures");
    if (!list || *config->architecture)
        return ORGAN_OK;
    if (!json_is_array(list))
        return organ_json_refuse(from, "architectures", "a list of strings", error);
    if (json_array_size(list) == 0)
        return ORGAN_OK;
    return read_word(from, "architectures", json_array_get(list, 0), config->architecture, sizeof config->architecture,
                     error);
}

/* The result has no tree if the member is missing or null, or with an error if it is not an object. */
static organ_json_object enter_member(const organ_json_object *from, const char *key, organ_error *error)
{
    const json_t *value = organ_json_value(from, key);
    if (json_is_object(value))
        return (organ_json_object){from->text, organ_json_member(from->text, from->span, key), value};
    if (value)
        organ_json_refuse(from, key, "an object", error);
    return (organ_json_object){.text = from->text};
}

static organ_status read_quantisation(const organ_json_object *from, organ_hf_config *config, organ_error *error)
{
    const organ_quant_section *section;
    for (size_t k = 0; (section = organ_quant_section_at(k)) && !*config->quant_method && !error->status; k++) {
        if (!section->methods)
            continue;
        const organ_json_object inner = enter_member(from, section->key, error);
        const json_t *const method = organ_json_value(&inner, "quant_method");
        if (method)
            read_word(&inner, "quant_method", method, config->quant_method, sizeof config->quant_method, error);
    }
    return error->status;
}

static organ_status read_fields(const organ_json_object *from, organ_hf_config *config, organ_error *error)
{
    if (read_architecture(from, config, error) == ORGAN_OK)
        read_quantisation(from, config, error);
    for (size_t k = 0; !error->status && k < sizeof word_fields / sizeof *word_fields; k++)
        read_word_field(from, &word_fields[k], config, error);
    for (size_t k = 0; !error->status && k < ORGAN_SIZES; k++)
        read_size_fields(from, &organ_sizes[k], config, error);
    return error->status;
}

/* ---- the text part of a multimodal model ---- */

/* Published files of Gemma 3 leave out what transformers' Gemma3TextConfig has by default. */
#define GEMMA3_DEFAULTS                                                                                                \
    "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, \"num_hidden_layers\": 26, "         \
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"rms_norm_eps\": 1e-6, "              \
    "\"max_position_embeddings\": 131072, \"sliding_window\": 4096}"

/* Missing members of GLM-4V differ from those of the classes whose layers its text part has. */
#define GLM4V_DEFAULTS     "{\"partial_rotary_factor\": 1.0}"
#define GLM4V_MOE_DEFAULTS "{\"attention_bias\": true}"

/* The text part of Gemma 4 Unified has a wider window by default, and no embeddings by layer. */
#define GEMMA4_UNIFIED_DEFAULTS "{\"sliding_window\": 1024, \"hidden_size_per_layer_input\": 0}"

/* The architecture of the text part of multimodal models, by model_type of the text part, where it is not the class
 * that transformers has for this type. */
/* clang-format off */
static const struct {
    /* defaults: missing members with their values, as a JSON object; NULL: published files are complete */
    const char *model_type, *architecture, *defaults;
} text_models[] = {
    {"glm4v_text",         "Glm4ForCausalLM",       GLM4V_DEFAULTS},
    {"glm4v_moe_text",     "Glm4MoeForCausalLM",    GLM4V_MOE_DEFAULTS},
    {"paddleocr_vl_text",   "LlamaForCausalLM",      NULL},
    {"qwen2_5_omni_text",  "Qwen2ForCausalLM", NULL},
    {"qwen3_omni_moe_text","Qwen3MoeForCausalLM", NULL},
    {"granite_docling_text","GraniteForCausalLM", NULL},
    {"qwen2_vl",            "Qwen2ForCausalLM",      NULL}, /* these two: published files have no text_config */
    {"qwen2_5_vl",          "Qwen2ForCausalLM",      NULL},
    {"qwen2_vl_text",       "Qwen2ForCausalLM",      NULL},
    {"qwen2_5_vl_text",     "Qwen2ForCausalLM",      NULL},
    {"qwen3_vl_text",       "Qwen3ForCausalLM",      NULL},
    {"qwen3_vl_moe_text",   "Qwen3VLMoeForConditionalGeneration", NULL},
    {"gemma3_text",         "Gemma3ForCausalLM",     GEMMA3_DEFAULTS},
    {"gemma4_unified_text", "Gemma4ForCausalLM",     GEMMA4_UNIFIED_DEFAULTS},
    {"kimi_k2",             "DeepseekV3ForCausalLM", NULL},
};
/* clang-format on */

static const char *word_in(const json_t *value) { return json_is_string(value) ? organ_json_plain(value) : NULL; }

static void add_defaults(json_t *text, const char *defaults)
{
    bool no_memory = false;
    json_error_t fault;
    ORGAN_OWNED_JSON json_t *const missing =
        defaults ? organ_json_load(defaults, strlen(defaults), 0, &fault, &no_memory) : NULL;
    if (missing)
        json_object_update_missing(text, missing);
}

/* The heads of GLM-4V are as wide as hidden_size allows; those of the class whose layers it has are 128 wide. */
static void add_head_dim(json_t *text)
{
    const json_int_t hidden = json_integer_value(json_object_get(text, "hidden_size")),
                     heads = json_integer_value(json_object_get(text, "num_attention_heads"));
    if (!json_is_integer(json_object_get(text, "head_dim")) && heads > 0)
        json_object_set_new(text, "head_dim", json_integer(hidden / heads));
}

/* The architecture of these model types is not the one in `architectures`: transformers saves such models with the
 * class of another architecture, but with the published names of tensors. */
static const struct {
    const char *model_type, *architecture;
} published[] = {{"exaone", "ExaoneForCausalLM"}, {"sarvam_moe", "SarvamMoEForCausalLM"}};

/* Returns the class of a text model that has this model_type, or NULL. */
static const char *text_class(const char *type)
{
    const char *const usual = organ_class_of_type(type);
    for (size_t k = 0; k < sizeof published / sizeof *published; k++)
        if (strcmp(type, published[k].model_type) == 0)
            return NULL;
    return usual && organ_ends_with(usual, "ForCausalLM") ? usual : NULL;
}

json_t *organ_config_text(json_t *root, const char **architecture)
{
    json_t *const nested = json_object_get(root, "text_config");
    const bool has_text = json_object_size(nested) > 0;
    json_t *const text = has_text ? nested : root;
    const char *const type = word_in(json_object_get(text, "model_type"));
    for (size_t k = 0; type && k < sizeof published / sizeof *published; k++)
        if (strcmp(type, published[k].model_type) == 0)
            *architecture = published[k].architecture;
    if (!has_text && !strstr(*architecture, "ForConditionalGeneration"))
        return root;
    const char *const own = word_in(json_array_get(json_object_get(nested, "architectures"), 0));
    /* transformers ignores the model_type of the text part */
    if (strcmp(*architecture, "Step3p7ForConditionalGeneration") == 0) {
        organ_config_step(text);
        return text;
    }
    if (strcmp(*architecture, "MiniMaxM3SparseForConditionalGeneration") == 0) {
        organ_config_m3(text);
        return text;
    }
    /* That class of transformers does not cap its logits; Gemma3ForCausalLM does. */
    if (strcmp(*architecture, "Gemma3ForConditionalGeneration") == 0)
        json_object_del(text, "final_logit_softcapping");
    const char *const usual = type ? text_class(type) : NULL;
    if (own || usual)
        *architecture = usual ? usual : own;
    for (size_t k = 0; type && k < sizeof text_models / sizeof *text_models; k++)
        if (strcmp(type, text_models[k].model_type) == 0) {
            *architecture = text_models[k].architecture;
            add_defaults(text, text_models[k].defaults);
            if (strcmp(type, "glm4v_text") == 0)
                add_head_dim(text);
        }
    return text;
}

/* ---- the whole file ---- */

/* transformers chooses the class by model_type if config.json names none, or only that of the model without its
 * head. */
static void choose_class(organ_hf_config *config)
{
    const char *const usual = organ_class_of_type(config->model_type);
    if (usual && (!*config->architecture || organ_class_is_base(config->architecture)))
        snprintf(config->architecture, sizeof config->architecture, "%s", usual);
}

/* Changes `root` (organ_config_text). */
static void read_tie(const char *label, json_t *root, organ_hf_config *config, organ_error *error)
{
    const char *name = config->architecture;
    const json_t *const text = organ_config_text(root, &name);
    const config_hf_source source = {label, root, text, organ_forward_family_named(name, /*gguf=*/false), error};
    config->tie_word_embeddings = organ_config_is_tied(&source);
}

/* Multimodal models have the rest of the fields in "text_config". */
static organ_status read_document(const organ_json_source *text, organ_hf_config *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_json_parse_object(text, &root, error) != ORGAN_OK)
        return error->status;
    const organ_json_object top = {text, {0, text->length}, root};
    if (read_fields(&top, config, error) == ORGAN_OK) {
        const organ_json_object inner = enter_member(&top, "text_config", error);
        if (inner.tree)
            read_fields(&inner, config, error);
        choose_class(config);
        if (error->status == ORGAN_OK)
            read_tie(text->label, root, config, error);
    }
    return error->status;
}

/* transformers writes a length without limit as 1000000000000000019884624838656. A number of more than 64 bits becomes
 * a real number of as many characters; returns the number of characters of the number at `s`. */
static size_t shorten_integer(char *s, size_t length)
{
    char number[128], real[128];
    size_t digits = 0, all = 0;
    while (digits < length && s[digits] >= '0' && s[digits] <= '9')
        digits++;
    for (all = digits; all < length && s[all] && strchr("0123456789.eE+-", s[all]);)
        all++;
    if (all > digits || digits < 19 || digits >= 100)
        return all;
    memcpy(number, s, digits);
    number[digits] = '\0';
    errno = 0;
    if ((strtoll(number, NULL, 10), errno) &&
        organ_snprintf(real, sizeof real, "%.*e", (int)digits - 6, organ_strtod(number, NULL)) == (int)digits)
        memcpy(s, real, digits);
    return all;
}

/* The number 1e99 exceeds the FP32 range. Padding keeps the positions in messages. Published models contain these
 * words ("time_step_limit": [0.0, Infinity]); functions that read numbers reject the replacements, except for limits
 * that may be infinite. */
void organ_hf_config_tidy(char *s, size_t length)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    static const char *const plain[] = {"-1e99    ", "1e99    ", "\"\" "};
    bool quoted = false;
    for (size_t k = 0; k < length; k++) {
        if (quoted && s[k] == '\\') {
            k++;
        } else if (s[k] == '"') {
            quoted = !quoted;
        } else if (!quoted && s[k] >= '0' && s[k] <= '9') {
            k += shorten_integer(s + k, length - k) - 1;
        } else if (!quoted) {
            for (size_t w = 0; w < 3; w++)
                if (strncmp(s + k, words[w], strlen(words[w])) == 0) {
                    memcpy(s + k, plain[w], strlen(plain[w]));
                    k += strlen(words[w]) - 1;
                    break;
                }
        }
    }
}

organ_status organ_hf_config_read(const char *path, organ_hf_config *config, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return organ_hf_config_parse(NULL, 0, path, config, error);
    const char *label = organ_path_name(path);
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (organ_input_load(path, label, ORGAN_CONFIG_LIMIT, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    organ_hf_config_parse(bytes, length, label, config, error);
    return error->status;
}

organ_status organ_hf_config_parse(char *bytes, size_t length, const char *label, organ_hf_config *config,
                                   organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *config = organ_hf_config_unknown;
    if (!bytes)
        return ORGAN_OK;
    organ_hf_config_tidy(bytes, length);
    const organ_json_source text = {label, bytes, length};
    read_document(&text, config, error);
    config->present = !error->status;
    return error->status;
}

/* SPDX-License-Identifier: MIT
 * Applies the flags of tokenizer_config.json that change ids in transformers 5.24. The table `flags` has all of them;
 * docs/formats.md (Tokenizers) has the same list for users. A flag of a class acts only if AutoTokenizer of
 * transformers loads the tokenizer.json in this class: the class then builds the pre-tokenizer by the flag. */
#include "formats/base/text.h"
#include "formats/base/word_lists.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 8 }; /* levels of Sequence */

/* ---- the class in which transformers loads a tokenizer.json ---- */

/* The pre-tokenizer that a class builds by its flags. */
typedef enum class_form {
    FORM_FILE,   /* nothing: the tokenizer.json decides */
    FORM_BYTES,  /* ByteLevel with add_prefix_space, after the other members of the row */
    FORM_LLAMA,  /* Metaspace by add_prefix_space and legacy */
    FORM_GEMMA,  /* words that end at a blank */
    FORM_PIECES, /* Metaspace by add_prefix_space, which puts a blank only before the beginning of a text */
} class_form;

typedef struct class_row {
    const char *name; /* without the ending "Fast" */
    class_form form;
    const char *types; /* model types whose tokenizers transformers registers with this class */
    const char *pre;   /* FORM_BYTES: value of tokenizer.ggml.pre with the same pattern; NULL: that of ByteLevel */
    bool nfc, digits;  /* FORM_BYTES: normalises texts to NFC; a step makes each digit a word */
} class_row;

/* TOKENIZER_MAPPING_NAMES of transformers 5.24 (models/auto/tokenization_auto.py), as far as flags depend on it.
 * TokenizersBackend has the types for which transformers loads it whatever class is declared, MistralCommonBackend
 * without the package mistral-common included. */
static const class_row classes[] = {
    {"TokenizersBackend", FORM_FILE,
     .types = "aria arctic beam bigbird_pegasus camembertv2-base canary chatlm cohere_asr ernie4_5 ernie4_5_moe "
              "flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe glm_image glmasr got_ocr2 gpt_bigcode "
              "gradium_phonon_tts granite granitemoe granitemoehybrid granitemoeshared h2ovl_chat hyperclovax "
              "hyperclovax_vlm internlm2 internlm3 iquestcoder jamba kimi_k25 kimi_linear kosmos-2 llava llava_next "
              "mimo_v2_flash minicpm3 minicpm_ocr minicpmv minicpmv4_6 minicpmv4_7 minimax_m2 ministral ministral3 "
              "mistral mistral3 mistral_large4 mixtral modernbert modernbert-decoder molmo molmo2 nemo_speechlm "
              "nemotron nvfp4 nystromformer olmo2 olmo3 olmo_hybrid omniasr opencua openvla paddleocr_vl pegasus_x "
              "persimmon phi3 phi3_v phimoe pix2struct pixtral pocket_tts smolvlm stablelm step3_vl umt5 vipllava "
              "voxtral voxtral_realtime xlm-roberta-xl"},
    {"Qwen2Tokenizer", FORM_BYTES,
     .types = "audioflamingo3 colqwen2 cosmos3_omni dots3_note fun_asr_nano hunyuan_vl internvl lighton_ocr "
              "moss_transcribe_diarize ovis2 qianfan_ocr qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe "
              "qwen2_vl qwen3 qwen3_asr qwen3_moe qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe vibevoice",
     .pre = "qwen2", .nfc = true},
    {"Qwen3_5Tokenizer", FORM_BYTES, .types = "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp",
     .pre = "qwen35", .nfc = true},
    {"GPT2Tokenizer", FORM_BYTES,
     .types = "blip-2 codegen dbrx emu3 gpt2 gpt_neo gptj hyperclovax_vision_v2 instructblip instructblipvideo "
              "jais2 opt phi starcoder2"},
    {"GPTNeoXTokenizer", FORM_BYTES, .types = "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm",
     .nfc = true},
    {"CohereTokenizer", FORM_BYTES, .types = "aya_vision cohere cohere2", .nfc = true, .digits = true},
    {"CodeGenTokenizer", FORM_BYTES, .types = ""},
    {"RobertaTokenizer", FORM_BYTES, .types = ""},
    {"LlamaTokenizer", FORM_LLAMA, .types = "idefics idefics2"},
    {"CodeLlamaTokenizer", FORM_PIECES, .types = "code_llama"},
    {"GemmaTokenizer", FORM_GEMMA,
     .types = "diffusion_gemma gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 "
              "t5gemma zaya"},
};
enum { CLASSES = sizeof classes / sizeof *classes };

/* Model types whose registered class transformers uses even if tokenizer_class declares another
 * (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS). Those of TokenizersBackend are in its row. */
static const char overruling[] = "hyperclovax_vision_v2 qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp";

static const class_row *class_named(const char *name)
{
    const size_t length = strlen(name), end = strlen("Fast");
    const bool fast = length > end && strcmp(name + length - end, "Fast") == 0;
    for (size_t k = 0; k < CLASSES; k++)
        if (strlen(classes[k].name) == length - (fast ? end : 0) &&
            memcmp(classes[k].name, name, strlen(classes[k].name)) == 0)
            return &classes[k];
    return NULL;
}

static const class_row *class_registered(const char *type)
{
    for (size_t k = 0; type && k < CLASSES; k++)
        if (organ_lists_word(classes[k].types, ' ', type, strlen(type)))
            return &classes[k];
    return NULL;
}

/* Returns NULL for a class without a row, such as PreTrainedTokenizerFast. */
static const class_row *class_of(const json_t *config, const json_t *model, bool byte_level)
{
    const char *const type = json_string_value(json_object_get(model, "model_type"));
    const char *declared = json_string_value(json_object_get(config, "tokenizer_class"));
    if (!declared)
        declared = json_string_value(json_object_get(model, "tokenizer_class"));
    const class_row *const registered = class_registered(type), *const named = declared ? class_named(declared) : NULL;
    const bool overrules = type && organ_lists_word(overruling, ' ', type, strlen(type));
    if (!declared || (registered && registered == &classes[0]) || overrules)
        return registered;
    return named && named->form == FORM_LLAMA && byte_level ? &classes[0] : named;
}

/* ---- the parts of a tokenizer.json that flags change ---- */

/* Returns the first step of this type in `step`, a pre-tokenizer or a Sequence of them; NULL if there is none. */
static json_t *step_of_type(json_t *step, const char *type, unsigned depth)
{
    const char *const own = json_string_value(json_object_get(step, "type"));
    if (own && strcmp(own, type) == 0)
        return step;
    json_t *const list = depth < DEPTH_LIMIT ? json_object_get(step, "pretokenizers") : NULL;
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *const found = step_of_type(json_array_get(list, k), type, depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

/* State of applying the flags of one tokenizer. */
typedef struct flags_reading {
    organ_tokenizer *t;
    organ_tokenizer_beside beside;
    json_t *document; /* small members of tokenizer.json, which are changed */
    organ_error *error;
} flags_reading;

static json_t *splitter(const flags_reading *r) { return json_object_get(r->document, "pre_tokenizer"); }

/* Takes ownership of the value. */
static organ_status set_splitter(const flags_reading *r, json_t *value)
{
    if (json_object_set_new(r->document, "pre_tokenizer", value))
        organ_fail_memory(r->error, r->beside.config_label);
    return r->error->status;
}

/* Returns the flag, or `fallback` if it is missing. transformers also takes null for `fallback` if `null` is true. */
static bool flag_value(const flags_reading *r, const char *name, bool fallback, bool null)
{
    const json_t *const value = json_object_get(r->beside.config, name);
    if (value && !json_is_boolean(value) && !(null && json_is_null(value)))
        organ_refuse(r->error, r->beside.config_label, "'%s' is neither true nor false", name);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

/* Returns true for a value that Python takes for true. */
static bool is_truthy(const json_t *value)
{
    return json_is_true(value) || json_string_length(value) > 0 || json_array_size(value) > 0 ||
           json_object_size(value) > 0 || (json_is_number(value) && json_number_value(value) != 0.0);
}

/* ---- add_prefix_space and legacy ---- */

static json_t *split_by(const char *pre)
{
    return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                     organ_pretokenizer_named(pre, strlen(pre))->patterns[0], "behavior", "Isolated", "invert", 0);
}

/* Such a class takes the vocabulary, the merges, the added tokens and the post-processor of tokenizer.json alone. */
static organ_status apply_to_bytes(const flags_reading *r, const class_row *class)
{
    const bool null = strncmp(class->name, "Qwen", 4) == 0;
    const bool prefix = flag_value(r, "add_prefix_space", /*fallback=*/false, null);
    if (r->error->status)
        return r->error->status;
    json_t *const bytes = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", prefix,
                                    "trim_offsets", 1, "use_regex", class->pre == NULL);
    r->t->ignore_merges = r->t->byte_fallback = r->t->fuse_unknown = false;
    json_object_del(r->document, "normalizer");
    if (class->nfc && json_object_set_new(r->document, "normalizer", json_pack("{s:s}", "type", "NFC")))
        organ_fail_memory(r->error, r->beside.config_label);
    if (!class->pre && !class->digits)
        return set_splitter(r, bytes);
    json_t *const first =
        class->pre ? split_by(class->pre) : json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1);
    return set_splitter(r, json_pack("{s:s,s:[o,o]}", "type", "Sequence", "pretokenizers", first, bytes));
}

/* These classes replace the whole normalizer and pre-tokenizer of tokenizer.json. */
static organ_status apply_to_pieces(const flags_reading *r, const class_row *class)
{
    const bool prefix = flag_value(r, "add_prefix_space", /*fallback=*/true, /*null=*/true);
    const bool legacy = class->form == FORM_LLAMA && is_truthy(json_object_get(r->beside.config, "legacy"));
    if (r->error->status)
        return r->error->status;
    const char *const scheme = legacy ? "always" : "first";
    r->t->blanks_by_class = true;
    json_object_del(r->document, "normalizer");
    return set_splitter(r, json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", ORGAN_BLANK,
                                     "prepend_scheme", prefix ? scheme : "never", "split", 0));
}

static organ_status apply_gemma(const flags_reading *r)
{
    r->t->ignore_merges = false;
    r->t->byte_fallback = r->t->fuse_unknown = true;
    if (json_object_set_new(
            r->document, "normalizer",
            json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ", "content", ORGAN_BLANK)))
        organ_fail_memory(r->error, r->beside.config_label);
    return set_splitter(r, json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "String", " ", "behavior",
                                     "MergedWithPrevious", "invert", 0));
}

static organ_status apply_class(const flags_reading *r)
{
    const class_row *const class =
        class_of(r->beside.config, r->beside.model, step_of_type(splitter(r), "ByteLevel", 0) != NULL);
    r->t->adds_nothing = class && strcmp(class->name, "GPTNeoXTokenizer") == 0;
    if (!class || class->form == FORM_FILE)
        return ORGAN_OK;
    if (class->form == FORM_GEMMA)
        return apply_gemma(r);
    return class->form == FORM_BYTES ? apply_to_bytes(r, class) : apply_to_pieces(r, class);
}

/* ---- fix_mistral_regex ---- */

/* Returns -1, 0 or 1 as the version (PEP 440) is before, equal to or after 5.0.0; sets *valid to false if it is no
 * version. */
static int version_order(const char *text, bool *valid)
{
    static const char digits[] = "0123456789";
    size_t at = *text == 'v';
    int order = 0;
    *valid = text[at] && strchr(digits, text[at]);
    for (long wanted = 5; *valid && text[at] && strchr(digits, text[at]); wanted = 0) {
        const long number = strtol(text + at, NULL, 10);
        at += strspn(text + at, digits);
        order = order ? order : ORGAN_ORDER(number, wanted);
        at += text[at] == '.' && text[at + 1] && strchr(digits, text[at + 1]);
    }
    const char *const rest = text + at + strspn(text + at, "._-");
    const bool before = strncmp(rest, "dev", 3) == 0 || *rest == 'a' || *rest == 'b' || strncmp(rest, "rc", 2) == 0;
    return order == 0 && before ? -1 : order;
}

/* Returns true if transformers corrects the pattern of a model with this config.json: it is one of Mistral's types, or
 * states none, and was saved by a version before 5. */
static bool needs_correction(const flags_reading *r)
{
    static const char types[] = "mistral mistral3 voxtral ministral pixtral";
    const char *const version = json_string_value(json_object_get(r->beside.model, "transformers_version"));
    const char *const type = json_string_value(json_object_get(r->beside.model, "model_type"));
    bool valid = true;
    const bool older = !version || !*version || version_order(version, &valid) < 0;
    if (!valid)
        organ_refuse(r->error, r->beside.model_label,
                     "transformers_version '%.40s' is not a version; fix_mistral_regex of %s depends on it", version,
                     r->beside.config_label);
    return r->beside.model && valid && older && (!type || organ_lists_word(types, ' ', type, strlen(type)));
}

/* The correct pattern replaces the first element of a Sequence, and precedes any other pre-tokenizer. */
static organ_status apply_mistral(const flags_reading *r)
{
    enum { LARGE = 100000 }; /* tokens above which transformers looks at the flag */
    json_t *const step = splitter(r), *const list = json_object_get(step, "pretokenizers");
    const json_t *const type = json_object_get(step, "type");
    if (!is_truthy(json_object_get(r->beside.config, "fix_mistral_regex")) || r->t->text_count <= LARGE ||
        !json_is_object(step) || !needs_correction(r))
        return r->error->status;
    if (json_array_size(list) > 0) {
        if (json_array_set_new(list, 0, split_by("tekken")))
            organ_fail_memory(r->error, r->beside.config_label);
        return r->error->status;
    }
    const bool marks = organ_json_is(type, "Metaspace");
    json_t *const bytes = marks ? json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                            "trim_offsets", 1, "use_regex", 0)
                                : json_incref(step);
    return set_splitter(r, json_pack("{s:s,s:[o,o]}", "type", "Sequence", "pretokenizers", split_by("tekken"), bytes));
}

/* ---- all flags ---- */

static organ_status apply_split_special(const flags_reading *r)
{
    r->t->splits_special = flag_value(r, "split_special_tokens", /*fallback=*/false, /*null=*/false);
    return r->error->status;
}

/* All flags that change ids in transformers, in the order in which it applies them. A row without a function is applied
 * by that of the row before it. organ_tokenizer_settings reads add_bos_token of other files than tokenizer.json;
 * config_tokens.c reads the members that list tokens. tests/check_definitions.sh compares the names with
 * docs/formats.md. */
static const struct flag_row {
    const char *name;
    organ_status (*apply)(const flags_reading *r);
} flags[] = {
    {"add_prefix_space", apply_class},
    {"legacy", NULL},
    {"split_special_tokens", apply_split_special},
    {"fix_mistral_regex", apply_mistral},
};

organ_status organ_tokenizer_flags(organ_tokenizer *t, const organ_tokenizer_beside *beside, json_t *document,
                                   organ_error *error)
{
    const flags_reading r = {.t = t, .beside = *beside, .document = document, .error = error};
    for (size_t k = 0; k < sizeof flags / sizeof *flags && !error->status; k++)
        if (flags[k].apply)
            flags[k].apply(&r);
    return error->status;
}

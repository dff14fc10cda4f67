/* SPDX-License-Identifier: MIT
 * Each key of the GGUF files of many architectures is replaced by values that cannot be right. The forward pass must
 * refuse the file with a message that names the key. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- values ---- */

/* Types and values that are tried in the place of a key whose type matches `types`. Those in capitals are made from the
 * value of the key itself. */
static const struct {
    const char *types, *type, *value;
} hostile[] = {
    {"u32 f32 bool", "string", "4"},
    {"u32", "[u32]", "4"},
    {"u32", "u32", "0"},
    {"u32", "i32", "-1"},
    {"u32", "u32", "1000000000"},
    {"u32", "u32", "4294967295"},
    {"u32", "u64", "4294967297"},
    {"u32", "f32", "1.5"},
    {"f32", "[f32]", "4"},
    {"f32", "f32", "nan"},
    {"f32", "f32", "inf"},
    {"f32", "f32", "-1"},
    {"bool", "u32", "2"},
    {"bool", "[bool]", "1"},
    {"string", "u32", "7"},
    {"string", "string", "unheard of"},
    {"[[]*", "string", "word"},
    {"[[]*", "SAME", "SHORTER"},
    {"[[]*", "SAME", "LONGER"},
    {"[[]*", "[string]", "WORDS"},
};

/* ---- keys that may have such a value ---- */

/* Lists of patterns of fnmatch, divided by spaces. Keys are without the name of the architecture. */
typedef struct exception {
    const char *types, *keys, *values;
} exception;

#define ANY "*"

/* The forward pass does not read these keys, at least not in these files. */
static const exception unread[] = {
    {ANY,
     "vocab_size rope.dimension_sections full_attention_interval attention.recurrent_layers n_deepstack_layers "
     "tensor_data_layout",
     ANY},
    {"*mamba*", "attention.head_count", ANY},
    {"stablelm*", "use_parallel_residual", ANY},
    {"cohere2_moe-rms", "attention.layer_norm_epsilon", ANY},
    {"nemotron", "attention.layer_norm_rms_epsilon", ANY},
    {"gemma4_text-dense gemma4_text-shared granitemoehybrid-dense", "expert_*", ANY},
    {"kimi_linear-gguf nemotron_h-latent-gguf", "expert_group_used_count", ANY},
    {"deepseek* glm4_moe_lite glm_moe_dsa mistral3-mistral4 kimi_linear-gguf",
     "attention.key_length attention.value_length", ANY},
    {"hunyuan_v1_moe nemotron_h*", "expert_shared_count", ANY},
    {"cohere2_moe* ernie4_5_moe exaone_moe", "expert_shared_feed_forward_length", ANY},
    {"hunyuan*", "rope.scaling.factor rope.scaling.original_context_length", ANY},
    {"nemotron_h*", "rope.scaling.finetuned", ANY},
};

/* These values have a meaning, or change nothing in that file. */
static const exception harmless[] = {
    {ANY, "context_length rope.scaling.original_context_length attention.sliding_window",
     "1000000000 4294967295 4294967297"},
    {ANY,
     "expert_group_count expert_gating_func attention.sliding_window attention.shared_kv_layers altup.active_idx "
     "embedding_length_per_layer_input nextn_predict_layers",
     "0"},
    {ANY, "attention.temperature_scale attention.value_scale residual_scale rope.scaling.yarn_log_multiplier", "-1"},
    {"ernie4_5_moe minimax_m3_vl-sparse", "leading_dense_block_count", "0"},
    {"minimax_m3_vl*", "attention.indexer.top_k attention.indexer.block_size", "1000000000 4294967295 4294967297"},
    {"minimax_m3_vl*", "attention.indexer.local_blocks", "0"},
    {"deepseek* glm4_moe_lite glm_moe_dsa mistral3-mistral4", "attention.head_count_kv",
     "0 1000000000 4294967295 4294967297"},
    {"*mamba* gpt_oss* granitemoehybrid-dense hunyuan_v1_moe mellum* minimax_m2 minimax_m3_vl-sparse qwen2_moe "
     "qwen3_*moe* qwen3_next",
     "feed_forward_length", "0 1000000000 4294967295 4294967297"},
};

/* Words of messages that stand for a key; those of a row are divided by bars. */
static const struct {
    const char *keys, *words;
} worded[] = {
    {ANY, "the config requires|' is missing|exists, but the config states"},
};

static bool matches(const char *patterns, const char *text)
{
    char copy[1024], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", patterns);
    for (const char *one = strtok_r(copy, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        if (fnmatch(one, text, 0) == 0)
            return true;
    return false;
}

static bool is_among(const exception *list, size_t count, const char *type, const char *key, const char *value)
{
    for (size_t k = 0; k < count; k++)
        if (matches(list[k].types, type) && matches(list[k].keys, key) && matches(list[k].values, value))
            return true;
    return false;
}

/* Returns whether the message names the key, or a word that stands for it. */
static bool is_named(const char *message, const char *key)
{
    char copy[256], *rest = NULL;
    if (strstr(message, key))
        return true;
    for (size_t k = 0; k < sizeof worded / sizeof *worded; k++) {
        if (!matches(worded[k].keys, key))
            continue;
        snprintf(copy, sizeof copy, "%s", worded[k].words);
        for (const char *one = strtok_r(copy, "|", &rest); one; one = strtok_r(NULL, "|", &rest))
            if (strstr(message, one))
                return true;
    }
    return false;
}

/* ---- trying them ---- */

typedef struct attempt {
    const char *type, *path;
    organ_engine engine;
    size_t tried, key, step; /* of the values of a key every step-th is tried, from another one on each time */
    FILE *faults;
} attempt;

static organ_status open_forward(const attempt *a, organ_error *error)
{
    organ_model *model = NULL;
    organ_forward *forward = NULL;
    if (organ_model_open(a->path, &model, error) == ORGAN_OK)
        organ_forward_open(model, &a->engine, &forward, error);
    organ_forward_close(forward);
    organ_model_close(model);
    return error->status;
}

/* Writes a new file each time, because some file systems flush a file that is truncated and written again. */
static void try_value(attempt *a, const char *key, const char *type, const char *value)
{
    char line[1024];
    organ_error error = {0};
    const char *const dot = strchr(key, '.'), *const own = dot ? dot + 1 : key;
    snprintf(line, sizeof line, "key\t%s\t%s\t%s", key, type, value);
    unlink(a->path);
    arch_reference reference = arch_outline_gguf(a->type, a->path, line);
    arch_reference_free(&reference);
    a->tried++;
    const organ_status status = open_forward(a, &error);
    const bool may = is_among(harmless, sizeof harmless / sizeof *harmless, a->type, own, value);
    if (status == ORGAN_OK ? !may : status != ORGAN_BAD_INPUT || !is_named(error.message, own))
        fprintf(a->faults, "%s: %s %s %s: %s\n", a->type, key, type, value,
                status == ORGAN_OK ? "is accepted" : error.message);
}

/* Tries the hostile values in the place of a key. */
static void try_key(attempt *a, const char *key, const char *type, const char *value)
{
    for (size_t k = a->key++ % a->step; k < sizeof hostile / sizeof *hostile; k += a->step) {
        char text[512], *const comma = strchr(value, ',');
        const char *const made = hostile[k].value;
        if (!matches(hostile[k].types, type) || (strcmp(made, "SHORTER") == 0 && !comma))
            continue;
        snprintf(text, sizeof text, "%s", made);
        if (strcmp(made, "SHORTER") == 0)
            snprintf(text, sizeof text, "%s", comma + 1);
        else if (strcmp(made, "LONGER") == 0)
            snprintf(text, sizeof text, "%s,%s", value, value);
        try_value(a, key, strcmp(hostile[k].type, "SAME") == 0 ? type : hostile[k].type, text);
    }
}

/* Tries the keys of the description of a file. */
static void try_keys(attempt *a)
{
    char path[256], line[4096];
    snprintf(path, sizeof path, "fixtures/architectures/%s/gguf.tsv", a->type);
    FILE *const file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        char *rest = NULL;
        const char *const kind = strtok_r(line, "\t\n", &rest), *const key = strtok_r(NULL, "\t\n", &rest),
                          *const type = strtok_r(NULL, "\t\n", &rest), *const value = strtok_r(NULL, "\t\n", &rest);
        const char *const dot = key ? strchr(key, '.') : NULL;
        if (dot && strcmp(kind, "key") == 0 && !is_among(unread, sizeof unread / sizeof *unread, a->type, dot + 1, ""))
            try_key(a, key, type, value);
    }
    fclose(file);
}

#define MAX_TYPES 256
static char types[MAX_TYPES][64];
static int type_count;
static size_t step;

START_TEST(hostile_keys_are_refused)
{
    session s;
    organ_error error;
    attempt a = {.type = types[_i], .path = scratch_path("model.gguf"), .key = (size_t)_i, .step = step};
    char *faults = NULL;
    size_t length;
    arch_reference reference = arch_outline_gguf(a.type, a.path, "");
    arch_reference_free(&reference);
    a.faults = open_memstream(&faults, &length);
    ck_assert_ptr_nonnull(a.faults);
    ck_assert_msg(session_open(&s, a.path, 1, ROOMY, &error) == ORGAN_OK, "%s: %s", a.type, error.message);
    a.engine = s.engine;
    try_keys(&a);
    ck_assert_int_eq(fclose(a.faults), 0);
    ck_assert_uint_gt(a.tried, 5);
    ck_assert_msg(length == 0, "%.4000s", faults);
    free(faults);
    session_close(&s);
}
END_TEST

/* Lists the directories of fixtures/architectures with the description of a GGUF file; without EFFORT=all one of
 * three. */
static void list_types(void)
{
    struct dirent **entries;
    const int count = scandir("fixtures/architectures", &entries, NULL, alphasort);
    for (int k = 0, found = 0; k < count; k++) {
        char path[512];
        snprintf(path, sizeof path, "fixtures/architectures/%s/gguf.tsv", entries[k]->d_name);
        if (access(path, R_OK) == 0 && (effort_is("all") || found++ % 3 == 0) && type_count < MAX_TYPES)
            snprintf(types[type_count++], sizeof *types, "%.63s", entries[k]->d_name);
        free(entries[k]);
    }
    free(entries);
}

Suite *hostile_keys_suite(void)
{
    Suite *const suite = suite_create("hostile_keys");
    TCase *const cases = tcase_create("hostile");
    list_types();
    step = sampled(1, 6);
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, hostile_keys_are_refused, 0, type_count);
    suite_add_tcase(suite, cases);
    return suite;
}

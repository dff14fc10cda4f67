/* SPDX-License-Identifier: MIT
 * Each member of the config.json of each architecture is replaced by values that cannot be right. The forward pass must
 * refuse the model with a message that names the member. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"

#include <dirent.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- values ---- */

enum { WHOLE = 1, REAL = 2, FLAG = 4, WORD = 8, LIST = 16, OBJECT = 32 };

static unsigned kind_of(const json_t *value)
{
    static const unsigned kinds[] = {
        [JSON_OBJECT] = OBJECT, [JSON_ARRAY] = LIST, [JSON_STRING] = WORD, [JSON_INTEGER] = WHOLE,
        [JSON_REAL] = REAL,     [JSON_TRUE] = FLAG,  [JSON_FALSE] = FLAG,  [JSON_NULL] = 0};
    return kinds[json_typeof(value)];
}

/* Values that are tried in the place of a member of these kinds. Those in capitals are made from the list itself. */
static const struct {
    unsigned kinds;
    const char *value;
} hostile[] = {
    {WHOLE | REAL, "\"4\""},
    {WHOLE | REAL | FLAG | WORD, "[4]"},
    {WHOLE | REAL | FLAG | WORD, "{}"},
    {WHOLE | REAL | WORD, "true"},
    {WHOLE | REAL, "-1"},
    {WHOLE | REAL, "1e39"},
    {WHOLE | REAL, "NaN"},
    {WHOLE | REAL, "Infinity"},
    {REAL, "-1e39"},
    {WHOLE, "1000000000"},
    {WHOLE, "4294967297"},
    {WHOLE, "1.5"},
    {WHOLE, "0"},
    {FLAG, "2"},
    {FLAG, "\"true\""},
    {WORD, "7"},
    {WORD, "\"unheard of\""},
    {LIST, "{}"},
    {LIST, "7"},
    {LIST, "\"word\""},
    {LIST, "[]"},
    {LIST, "SHORTER"},
    {LIST, "LONGER"},
    {LIST, "AN OBJECT IN IT"},
    {OBJECT, "7"},
    {OBJECT, "[]"},
    {OBJECT, "\"word\""},
};

/* Returns the value as a new reference; numbers that JSON does not have are strings, which write_config unquotes. */
static json_t *value_of(const char *text, const json_t *old)
{
    if (strcmp(text, "NaN") == 0 || strcmp(text, "Infinity") == 0)
        return json_pack("s+", "@", text);
    if (strchr("SLA", text[0]) == NULL)
        return json_loads(text, JSON_DECODE_ANY, NULL);
    json_t *const list = json_array_size(old) ? json_deep_copy(old) : NULL;
    if (text[0] == 'S')
        json_array_remove(list, 0);
    else if (text[0] == 'L')
        json_array_append(list, json_array_get(old, 0));
    else
        json_array_set_new(list, 0, json_object());
    return list;
}

/* ---- members that may have such a value ---- */

/* Names and values are lists of patterns of fnmatch, divided by spaces. */
typedef struct exception {
    const char *types, *members, *values;
} exception;

#define ANY "*"

/* The forward pass does not read these members, at least not in these models. */
static const exception unread[] = {
    {ANY,
     "*dropout* *initializer_range init_std *_pdrop *token_id transformers_version *use_cache output_router_logits "
     "pretraining_tp router_aux_loss_coef num_logits_to_keep num_nextn_predict_layers mtp_* layerdrop use_mambapy "
     "use_associative_scan use_mamba_kernels rescale_prenorm_residual residual_in_fp32 summary_* vision_config* "
     "*_config.id2label* *_config.label2id* *_config._name_or_path *_config.model_type *_config.output_* "
     "*_config.return_dict *_config.is_encoder_decoder *_config.chunk_size_feed_forward rope_parameters.mrope_section "
     "qk_head_dim *chunk_size input_jitter_noise",
     ANY},
    {"mpt* dbrx",
     "embedding_fraction init_device learned_pos_emb attn_config.attn_impl attn_config.attn_uses_sequence_id "
     "attn_config.rope_theta ffn_config.hidden_size ffn_config.ffn_act_fn* ffn_config.moe_loss_weight",
     ANY},
    {"gpt2 gpt_* bloom* codegen",
     "reorder_and_upcast_attn *softmax_in_fp32 slow_but_exact n_ctx is_decoder attention_types", ANY},
    {"nemotron_h*",
     "attention_bias mamba_proj_bias mamba_ssm_cache_dtype moe_shared_expert_overlap n_shared_experts sliding_window "
     "time_step_floor time_step_limit time_step_max expand",
     ANY},
    {"nemotron_h nemotron_h-gguf",
     "moe_* n_routed_experts n_group topk_group norm_topk_prob num_experts_per_tok routed_scaling_factor mlp_bias",
     ANY},
    {"*mamba*",
     "time_step_init_scheme time_step_scale time_step_floor time_step_max time_step_min time_step_rank expand", ANY},
    {"olmo_hybrid*", "linear_a_log_* linear_dt_*", ANY},
    {"gemma3*", "_sliding_window_pattern altup_coef_clip", ANY},
    {"gemma4_text-dense gemma4_text-shared", "moe_intermediate_size num_experts top_k_experts", ANY},
    {"gemma4_text-dense gemma4_text-equal", "vocab_size_per_layer_input", ANY},
    {"deepseek_v32* glm_moe_dsa* exaone_moe*", "first_k_dense_replace layer_types mlp_bias", ANY},
    {"afmoe", "global_attn_every_n_layers", ANY},
    {"hy_v3*", "enable_moe_fp32_combine", ANY},
    {"deepseek_v4*", "router_jitter_noise", ANY}, /* of training */
    {"lfm2", "block_ffn_dim_multiplier block_multiple_of", ANY},
    {"bamba", "z_loss_coefficient", ANY},
    {"falcon*", "mamba_expand num_kv_heads multi_query", ANY},
    {"opt-post", "_remove_final_layer_norm", ANY},
    {"biogpt cohere2_moe-sigmoid", "layer_norm_eps", ANY},
    {"dots1* qwen*", "max_window_layers sliding_window", ANY},
    {"cohere2_moe* exaone*", "sliding_window_pattern", ANY},
    {"minicpm3* youtu granitemoehybrid-dense", "num_experts_per_tok n_routed_experts n_group topk_group", ANY},
    {"smollm3*", "sliding_window", ANY},
    {"hunyuan*", "rope_parameters.factor", ANY},
    {"phi3 phimoe*", "original_max_position_embeddings", ANY},
    {"llama4* minimax* mixtral* jamba gpt_oss* granitemoe* olmoe*", "router_jitter_noise block_size", ANY},
    {"dbrx gpt_bigcode*", "num_key_value_heads", ANY},
    {"internvl", "max_window_layers", ANY},
    {"bailing_hybrid*", "first_k_dense_replace layer_group_size short_conv_kernel_size", ANY}, /* others say the same */
    {"hy_v4*", "layer_types learnable_sink_init", ANY},
    {"step3p7*", "model_type yarn_only_types", ANY},
    {"step3p7", "partial_rotary_factors rope_scaling rope_theta share_expert_dim", ANY},
    {"step3p7",
     "attention_other_setting.attention_type attention_other_setting.head_dim "
     "attention_other_setting.num_attention_groups",
     ANY},
    {"minimax_m3_vl*", "model_type hidden_act rotary_dim", ANY},
    {"minimax_m3_vl",
     "sparse_attention_config.use_sparse_attention sparse_attention_config.sparse_init_block "
     "sparse_attention_config.sparse_score_type",
     ANY},
};

/* These values have a meaning, or change nothing in that model. */
static const exception harmless[] = {
    {ANY, "dtype model_type quantization_config.quant_method", "\"unheard*"},
    {ANY, "architectures moe_layers mlp_only_layers", "LONGER"},
    /* without a class the model_type chooses */
    {ANY, "architectures", "SHORTER [[][]]"},
    {ANY, "mlp_only_layers", "SHORTER [[][]]"},
    {"bamba", "attn_layer_indices", "LONGER"},
    {"exaone sarvam_moe", "architectures", ANY},
    {"qwen3_vl_moe*", "model_type", ANY},
    {ANY, "*multiplier *scale* *factor *scaling* moe_layer_end_index *rope_theta", "-1"},
    {ANY, "max_position_embeddings n_positions max_seq_len model_max_length *original_max_position_embeddings",
     "1000000000 4294967297 1.5"},
    {ANY, "dim_model_base scale_emb floor_scale query_pre_attn_scalar", "1000000000 4294967297 1.5"},
    {ANY, "sliding_window window_size attention_chunk_size moe_layer_end_index *_pattern", "1000000000 4294967297"},
    {ANY,
     "n_group topk_group num_expert_group altup_active_idx hidden_size_per_layer_input num_shared_experts "
     "num_kv_shared_layers moe_layer_start_index scale_emb sliding_window *_pattern num_local_experts",
     "0"},
    {ANY, "topk_group n_group no_rope_layer_interval interleave_moe_layer_step", "0 1000000000 4294967297"},
    {"*", "head_dim intermediate_size", "0 1000000000 4294967297"},
    {"laguna*", "gating", "true"},
    {"minimax_m3_vl*", "*block_size *topk_blocks", "1000000000 4294967297"}, /* all keys, all blocks */
    {"minimax_m3_vl*", "*local_block*", "0"},
    {"bailing_hybrid*", "kda_lower_bound", "-1"},
    {"llama4*", "no_rope_layers", "[[][]]"},
};

/* Words of messages that stand for a member; those of a row are divided by bars. */
static const struct {
    const char *members, *words;
} worded[] = {
    {ANY, "the config requires|' is missing|exists, but the config states"},
    {"architectures model_type", "is not supported by the forward pass"},
    {"*eps *epsilon", "eps of norms"},
    {"hidden_size d_model n_embd", "head_dim|heads|rotated dimensions|hidden_size|multiplier"},
    {"*head_dim mamba_d_head",
     "head_dim|query_pre_attn_scalar|heads of|width of their|dimensions are rotated|short_factor has"},
    {"*heads *n_head", "num_attention_heads|num_key_value_heads|heads of|rotated dimensions|multiplier"},
    {"*groups *group", "n_group|key heads|num_key_value_heads|heads of"},
    {"*state_size mamba_d_state", "width of their keys"},
    {"*conv*", "kernel of"},
    {"*rank", "rank of their time steps"},
    {"*intermediate* *ffn* n_inner block_*",
     "intermediate size|intermediate_size|shared expert|block_multiple_of|heads of recurrent"},
    {"*expand mamba_d_ssm", "heads of"},
    {"*tok* moe_k *topk *top_k*", "num_experts_per_tok"},
    {"*experts", "n_routed_experts|number of experts|num_experts_per_tok|n_group|shared expert"},
    {"first_k_dense_replace num_dense_layers", "layers have no experts"},
    {"num_layers layers_block_type", "num_hidden_layers"},
    {"n_positions max_seq_len model_max_length", "max_position_embeddings"},
    {"*rotary*", "are rotated"},
    {"floor_scale *original_max_position_embeddings", "queries are scaled|rope scaling factor"},
    {"*softcapping", "soft cap"},
    {"*clip_qkv", "clipping limit"},
    {"*multiplier *softmax_scale", "scale of attention scores"},
    {"*scal*", "scale of the experts|routed_scaling_factor"},
    {"moe_norm_min", "least sum"},
    {"moe_latent_size", "experts read vectors"},
    {"time_step_min", "limits of the time steps"},
    {"per_layer_config*", "per_layer_config|layers of the same kind"},
    {"sliding_window", "sliding window"},
    {"moe_layer_freq", "mlp_layer_types"},
    {"*sparse_attention_freq", "layer_types"},
    {"*sparse_index_dim", "index_head_dim"},
    {"*sparse_num_index_heads", "index_n_heads"},
    {"*sparse_block_size", "index_block_size"},
    {"*sparse_topk_blocks *local_block*", "index_topk_blocks|index_local_blocks"},
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

static bool is_among(const exception *list, size_t count, const char *type, const char *member, const char *value)
{
    for (size_t k = 0; k < count; k++)
        if (matches(list[k].types, type) && matches(list[k].members, member) && matches(list[k].values, value))
            return true;
    return false;
}

/* Returns whether the text contains one of the words, which are divided by bars. */
static bool contains(const char *text, const char *words)
{
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", words);
    for (const char *one = strtok_r(copy, "|", &rest); one; one = strtok_r(NULL, "|", &rest))
        if (strstr(text, one))
            return true;
    return false;
}

static bool is_named(const char *message, const char *member)
{
    const char *const dot = strrchr(member, '.');
    if (strstr(message, dot ? dot + 1 : member))
        return true;
    for (size_t k = 0; k < sizeof worded / sizeof *worded; k++)
        if (matches(worded[k].members, member) && contains(message, worded[k].words))
            return true;
    return false;
}

/* ---- trying them ---- */

typedef struct attempt {
    const char *type, *path;
    json_t *root;
    session s;
    size_t tried, member, step; /* of the values of a member every step-th is tried, from another one on each time */
    FILE *faults;
} attempt;

/* Writes a new file each time, because some file systems flush a file that is truncated and written again. */
static void write_config(const attempt *a)
{
    char path[512], *const text = json_dumps(a->root, 0);
    ck_assert_ptr_nonnull(text);
    char *const at = strstr(text, "\"@");
    if (at) {
        at[0] = at[1] = ' ';
        *strchr(at, '"') = ' ';
    }
    snprintf(path, sizeof path, "%s/config.json", a->path);
    unlink(path);
    FILE *const file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    free(text);
}

static organ_status open_forward(attempt *a, organ_error *error)
{
    organ_model *model = NULL;
    organ_forward *forward = NULL;
    if (organ_model_open(a->path, &model, error) == ORGAN_OK)
        organ_forward_open(model, &a->s.engine, &forward, error);
    organ_forward_close(forward);
    organ_model_close(model);
    return error->status;
}

static void try_value(attempt *a, const char *member, const char *value)
{
    organ_error error = {0};
    write_config(a);
    a->tried++;
    const organ_status status = open_forward(a, &error);
    const bool may = is_among(harmless, sizeof harmless / sizeof *harmless, a->type, member, value);
    if (status == ORGAN_OK ? !may : status != ORGAN_BAD_INPUT || !is_named(error.message, member))
        fprintf(a->faults, "%s: %s %s: %s\n", a->type, member, value,
                status == ORGAN_OK ? "is accepted" : error.message);
}

static void try_object(attempt *a, json_t *object, const char *place)
{
    json_t *const members = json_copy(object), *old;
    const char *key;
    json_object_foreach(members, key, old)
    {
        char member[128];
        snprintf(member, sizeof member, "%s%s%s", place, *place ? "." : "", key);
        const bool read = !is_among(unread, sizeof unread / sizeof *unread, a->type, member, "");
        for (size_t k = a->member++ % a->step; read && k < sizeof hostile / sizeof *hostile; k += a->step) {
            json_t *const value = hostile[k].kinds & kind_of(old) ? value_of(hostile[k].value, old) : NULL;
            if (value && json_object_set_new(object, key, value) == 0)
                try_value(a, member, hostile[k].value);
        }
        json_object_set(object, key, old);
        if (read && json_is_object(old))
            try_object(a, old, member);
    }
    json_decref(members);
}

#define MAX_TYPES 256
static char types[MAX_TYPES][64];
static int type_count;
static size_t step;

START_TEST(hostile_members_are_refused)
{
    const char *const path = scratch_path("model");
    attempt a = {.type = types[_i], .path = path, .member = (size_t)_i, .step = step};
    arch_reference reference = arch_outline(a.type, path);
    organ_error error;
    char config[512], *faults = NULL;
    size_t length;
    snprintf(config, sizeof config, "%s/config.json", path);
    a.root = json_load_file(config, 0, NULL);
    a.faults = open_memstream(&faults, &length);
    ck_assert(a.root && a.faults);
    ck_assert_msg(session_open(&a.s, path, 1, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    json_t *const text = json_object_get(a.root, "text_config");
    try_object(&a, text ? text : a.root, "");
    ck_assert_int_eq(fclose(a.faults), 0);
    ck_assert_uint_gt(a.tried, 5);
    ck_assert_msg(length == 0, "%.2000s", faults);
    free(faults);
    json_decref(a.root);
    session_close(&a.s);
    arch_reference_free(&reference);
}
END_TEST

/* Lists the directories of fixtures/architectures; variants of an architecture, whose names have a hyphen, only with
 * EFFORT=all. */
static void list_types(void)
{
    struct dirent **entries;
    const int count = scandir("fixtures/architectures", &entries, NULL, alphasort);
    for (int k = 0; k < count; k++) {
        const bool tried = effort_is("all") || !strchr(entries[k]->d_name, '-');
        if (tried && !strchr(entries[k]->d_name, '.') && type_count < MAX_TYPES)
            snprintf(types[type_count++], sizeof *types, "%.63s", entries[k]->d_name);
        free(entries[k]);
    }
    free(entries);
}

Suite *hostile_configurations_suite(void)
{
    Suite *const suite = suite_create("hostile_configurations");
    TCase *const cases = tcase_create("hostile");
    list_types();
    step = sampled(1, 8);
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, hostile_members_are_refused, 0, type_count);
    suite_add_tcase(suite, cases);
    return suite;
}

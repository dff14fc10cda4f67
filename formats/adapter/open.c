/* SPDX-License-Identifier: MIT
 * Opens a LoRA adapter: finds its files and puts its factors A and B into pairs. */

#include "formats/adapter/adapter_config.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX_NAME  ORGAN_ADAPTER_WEIGHTS ".index.json"
#define PICKLE_NAME "adapter_model.bin"

typedef struct open_state {
    organ_adapter adapter;     /* first member: a pointer to it is a pointer to the state */
    organ_adapter_rules rules; /* rank_pattern and alpha_pattern */
    organ_model *model;        /* adapter.model, owned */
    organ_adapter_pair *pairs; /* adapter.pairs, owned; an array of rows.h */
    const organ_tensor **rest; /* adapter.rest, owned; an array of rows.h */
    organ_name_table names;    /* module -> index into pairs */
    organ_arena arena;         /* paths and names */
    bool conv;                 /* factors of convolutions are accepted */
    bool mlx;                  /* an adapter of mlx-lm, with `scale` */
    double scale;
    organ_adapter_remarks remarks; /* fields and keys that users should know of */
} open_state;

/* ---- files ---- */

/* For adapter_model.safetensors or its index, adapter.path is the directory that contains the file. */
static organ_status set_adapter_path(open_state *s, const char *path, organ_error *error)
{
    struct stat info;
    if (organ_http_is_url(path))
        return organ_fail(error, ORGAN_USAGE, "adapters at URLs are not supported: download the adapter first");
    if (stat(path, &info) != 0)
        return organ_fail_errno(error, errno, "%s: cannot be opened", path);
    size_t length = strlen(path);
    if (!S_ISDIR(info.st_mode)) {
        const char *const name = organ_path_name(path);
        if (organ_ends_with(path, ".gguf")) {
            s->adapter.gguf = true;
            s->adapter.path = organ_arena_copy(&s->arena, path, length);
            return s->adapter.path ? ORGAN_OK : organ_fail_memory(error, path);
        }
        static const char *const files[] = {ORGAN_ADAPTER_WEIGHTS, INDEX_NAME, ORGAN_ADAPTER_MLX, NULL};
        if (!organ_is_one_of(name, files))
            return organ_refuse(error, path,
                                "is not an adapter: expected a directory with " ORGAN_ADAPTER_CONFIG
                                " and " ORGAN_ADAPTER_WEIGHTS ", or a GGUF file");
        length = (size_t)(name - path);
        path = length ? path : ".";
        length = length ? length : 1;
    }
    while (length > 1 && path[length - 1] == '/')
        length--;
    s->adapter.path = organ_arena_copy(&s->arena, path, length);
    return s->adapter.path ? ORGAN_OK : organ_fail_memory(error, path);
}

static organ_status find_adapter_file(open_state *s, const char *name, char **path, bool *exists, organ_error *error)
{
    struct stat info;
    *path = organ_path_join(&s->arena, s->adapter.path, name);
    if (!*path)
        return organ_fail_memory(error, s->adapter.path);
    *exists = stat(*path, &info) == 0;
    return *exists || errno == ENOENT || errno == ENOTDIR
               ? ORGAN_OK
               : organ_fail_errno(error, errno, "%s: cannot be opened", *path);
}

static organ_status open_gguf(open_state *s, const char *path, organ_error *error)
{
    s->adapter.gguf = true;
    s->adapter.config = json_object();
    s->adapter.base = "";
    if (!s->adapter.config)
        return organ_fail_memory(error, path);
    if (organ_model_open(path, &s->model, error))
        return error->status;
    const organ_gguf *const gguf = s->model->gguf;
    if (!gguf || !organ_gguf_text_equals(gguf, "general.type", "adapter") ||
        !organ_gguf_text_equals(gguf, "adapter.type", "lora"))
        return organ_refuse(error, path,
                            "is not an adapter: general.type must be \"adapter\" and adapter.type \"lora\"");
    s->remarks.label = path;
    if (organ_adapter_keys_check(gguf, &s->remarks, error) != ORGAN_OK)
        return error->status;
    s->adapter.architecture = s->model->config.model_type;
    s->adapter.alpha = organ_gguf_real(gguf, "adapter.lora.alpha", 0);
    if (!isfinite(s->adapter.alpha))
        return organ_refuse(error, path, "adapter.lora.alpha is not finite");
    return ORGAN_OK;
}

static organ_status open_weights(open_state *s, organ_error *error)
{
    enum { CONFIG, SINGLE, INDEX, PICKLE, GGUF, MLX, KINDS };
    static const char *const names[KINDS] = {ORGAN_ADAPTER_CONFIG, ORGAN_ADAPTER_WEIGHTS, INDEX_NAME,
                                             PICKLE_NAME,          ORGAN_ADAPTER_GGUF,    ORGAN_ADAPTER_MLX};
    char *paths[KINDS];
    bool has[KINDS];
    if (s->adapter.gguf)
        return open_gguf(s, s->adapter.path, error);
    for (size_t k = 0; k < KINDS; k++)
        if (find_adapter_file(s, names[k], &paths[k], &has[k], error) != ORGAN_OK)
            return error->status;
    if (!has[SINGLE] && !has[INDEX] && has[PICKLE])
        return organ_refuse(error, paths[PICKLE],
                            "is a Python pickle, which organ does not read because it can run code: load the adapter "
                            "with peft and save it again with safe_serialization=True");
    if (!has[SINGLE] && !has[INDEX] && has[GGUF])
        return open_gguf(s, paths[GGUF], error);
    s->mlx = has[MLX] && !has[SINGLE] && !has[INDEX];
    if (!has[SINGLE] && !has[INDEX] && !has[MLX])
        return organ_refuse(error, s->adapter.path, "is not an adapter: there is no " ORGAN_ADAPTER_WEIGHTS);
    if (!has[CONFIG])
        return organ_refuse(error, s->adapter.path, "is not an adapter: there is no " ORGAN_ADAPTER_CONFIG);
    s->remarks.label = ORGAN_ADAPTER_CONFIG;
    if (s->mlx)
        return organ_adapter_config_read_mlx(paths[CONFIG], &s->adapter, &s->scale, &s->remarks, error)
                   ? error->status
                   : organ_model_open(paths[MLX], &s->model, error);
    if (organ_adapter_config_read(paths[CONFIG], &s->adapter, &s->rules, &s->remarks, error) == ORGAN_OK)
        organ_model_open(paths[has[SINGLE] ? SINGLE : INDEX], &s->model, error);
    return error->status;
}

/* ---- factors ---- */

static organ_status fail_tensor(const open_state *s, const organ_tensor *t, const char *why, organ_error *error)
{
    return organ_refuse(error, s->model->files[t->file].name, "tensor '%s': %s", t->name, why);
}

static organ_status check_factor(const open_state *s, const organ_tensor *t, organ_error *error)
{
    char why[160];
    if (t->dtype != ORGAN_F32 && t->dtype != ORGAN_F16 && t->dtype != ORGAN_BF16 && t->dtype != ORGAN_F64) {
        snprintf(why, sizeof why, "dtype is %s, but a factor must be F32, F16, BF16 or F64",
                 organ_dtype_name(t->dtype));
        return fail_tensor(s, t, why, error);
    }
    const unsigned most = s->conv && !s->mlx ? 4 : 2; /* dimensions */
    if (t->rank >= 2 && t->rank <= (s->adapter.gguf ? 3 : most) && t->elements > 0)
        return ORGAN_OK;
    snprintf(why, sizeof why, "has %u dimensions and %" PRIu64 " elements, but a factor must be a non-empty matrix%s",
             t->rank, t->elements,
             t->elements == 0 ? " (sharded training saves empty tensors unless the shards are gathered first)" : "");
    return fail_tensor(s, t, why, error);
}

static organ_status add_factor(open_state *s, const organ_tensor *t, const organ_adapter_name *k, organ_error *error)
{
    if (check_factor(s, t, error) != ORGAN_OK)
        return error->status;
    const char *module = organ_arena_copy(&s->arena, k->module, k->length);
    bool parameter = false;
    if (module && !s->adapter.gguf)
        module = organ_adapter_parameter(s->adapter.config, module, &s->arena, &parameter, error);
    if (error->status)
        return error->status;
    const size_t *const index = module ? organ_name_table_put(&s->names, module, s->adapter.pair_count) : NULL;
    if (!index)
        return organ_fail_memory(error, s->adapter.path);
    organ_adapter_pair *const pair = &s->pairs[*index];
    if (*index == s->adapter.pair_count) {
        *pair = (organ_adapter_pair){
            .module = module, .weight = parameter ? module : NULL, .embedding = k->embedding, .experts = 1};
        s->adapter.pair_count++;
    }
    const organ_tensor **const factor = k->is_b ? &pair->b : &pair->a;
    if (*factor || pair->embedding != k->embedding) {
        const organ_tensor *const first_factor = pair->a ? pair->a : pair->b;
        const organ_tensor *const known = *factor ? *factor : first_factor;
        const char *const role = k->is_b ? "the B" : "the A";
        return organ_refuse(error, s->model->files[t->file].name,
                            "tensors '%s' and '%s' both claim to be %s of one module", known->name, t->name,
                            *factor ? role : "factors");
    }
    *factor = t;
    return ORGAN_OK;
}

static organ_status sort_tensors(open_state *s, organ_error *error)
{
    const size_t count = s->model->tensor_count;
    s->pairs = organ_rows_take(count + 1, sizeof *s->pairs);
    s->rest = organ_rows_take(count + 1, sizeof *s->rest);
    if (!s->pairs || !s->rest)
        return organ_fail_memory(error, s->adapter.path);
    for (size_t k = 0; k < count; k++) {
        const organ_tensor *const t = &s->model->tensors[k];
        organ_adapter_name name;
        organ_rows_passed();
        if (!(s->mlx ? organ_adapter_name_read_mlx(t->name, &name)
                     : organ_adapter_name_read(t->name, s->adapter.gguf, &name)))
            s->rest[s->adapter.rest_count++] = t;
        else if (add_factor(s, t, &name, error) != ORGAN_OK)
            return error->status;
    }
    if (count == 0)
        return organ_refuse(error, s->adapter.path, "%s: contains no tensor",
                            s->mlx ? ORGAN_ADAPTER_MLX : ORGAN_ADAPTER_WEIGHTS);
    return ORGAN_OK;
}

/* ---- pairs ---- */

/* In the layout ORGAN_FACTORS_PARAMETER the caller must have set the rank, because the shapes state only experts *
 * rank. */
static bool find_sizes(organ_adapter_pair *p)
{
    const organ_tensor *const a = p->a, *const b = p->b;
    const unsigned first_axis = a->rank - 2; /* axis of the rows: 1 in a stack of matrices, else 0 */
    if (p->layout == ORGAN_FACTORS_PARAMETER) {
        p->experts = a->shape[0] / p->rank;
        p->in_features = a->shape[1];
        p->out_features = b->shape[0];
        return p->experts * p->rank == a->shape[0] && b->shape[1] == a->shape[0];
    }
    const bool transposed = p->layout == ORGAN_FACTORS_TURNED;
    if (p->layout == ORGAN_FACTORS_CONV) {
        p->rank = a->shape[0];
        p->in_features = a->elements / a->shape[0];
        p->out_features = b->shape[0];
        return !p->weight && !p->embedding && b->rank == a->rank && b->shape[1] == p->rank &&
               b->elements == b->shape[0] * b->shape[1];
    }
    if (p->layout == ORGAN_FACTORS_MLX) {
        p->in_features = a->shape[0];
        p->rank = a->shape[1];
        p->out_features = b->shape[1];
        return b->shape[0] == p->rank;
    }
    p->rank = a->shape[first_axis + transposed];
    p->in_features = a->shape[first_axis + !transposed];
    p->experts = first_axis ? a->shape[0] : 1;
    p->out_features = b->rank == a->rank ? b->shape[first_axis] : 0;
    return b->rank == a->rank && b->shape[first_axis + 1] == p->rank && (!first_axis || b->shape[0] == a->shape[0]);
}

/* In an adapter of peft or, of mlx-lm, with its one rank and scale. */
static organ_status finish_peft(open_state *s, organ_adapter_pair *pair, organ_error *error)
{
    char why[300];
    int64_t rank = s->adapter.r;
    pair->scale = s->scale;
    if (!s->mlx && organ_adapter_rules_of(&s->rules, &s->adapter, pair->module, &rank, &pair->scale, error) != ORGAN_OK)
        return error->status;
    pair->layout = pair->weight ? ORGAN_FACTORS_PARAMETER : ORGAN_FACTORS_PLAIN;
    if (s->mlx)
        pair->layout = ORGAN_FACTORS_MLX;
    else if (pair->a->rank > 2 || pair->b->rank > 2)
        pair->layout = ORGAN_FACTORS_CONV;
    pair->rank = (uint64_t)rank;
    if (!find_sizes(pair)) {
        snprintf(why, sizeof why, "has rank %" PRIu64 ", but '%.160s' has %" PRIu64, pair->a->shape[s->mlx],
                 pair->b->name, pair->b->shape[!s->mlx]);
        return fail_tensor(s, pair->a, why, error);
    }
    if (pair->rank != (uint64_t)rank) {
        snprintf(why, sizeof why, "has rank %" PRIu64 ", but " ORGAN_ADAPTER_CONFIG " states %" PRId64, pair->rank,
                 rank);
        return fail_tensor(s, pair->a, why, error);
    }
    return ORGAN_OK;
}

/* The scale is alpha / rank, or 1 if alpha is 0, as in llama.cpp. */
static organ_status finish_gguf(open_state *s, organ_adapter_pair *pair, organ_error *error)
{
    char why[300];
    pair->embedding = strcmp(pair->module, "token_embd") == 0;
    pair->layout = pair->embedding ? ORGAN_FACTORS_TURNED : ORGAN_FACTORS_PLAIN;
    if (!find_sizes(pair)) {
        snprintf(why, sizeof why, "its shape does not fit that of '%.160s'", pair->b->name);
        return fail_tensor(s, pair->a, why, error);
    }
    pair->scale = s->adapter.alpha == 0 ? 1 : s->adapter.alpha / (double)pair->rank;
    s->adapter.r = (int64_t)pair->rank > s->adapter.r ? (int64_t)pair->rank : s->adapter.r;
    return ORGAN_OK;
}

static organ_status finish_pair(open_state *s, organ_adapter_pair *pair, organ_error *error)
{
    if (!pair->a || !pair->b)
        return fail_tensor(s, pair->a ? pair->a : pair->b,
                           pair->a ? "there is no lora_B for it" : "there is no lora_A for it", error);
    if ((s->adapter.gguf ? finish_gguf(s, pair, error) : finish_peft(s, pair, error)) != ORGAN_OK)
        return error->status;
    if (!pair->weight) {
        char *const weight = organ_arena_take(&s->arena, strlen(pair->module) + sizeof ".weight");
        if (!weight)
            return organ_fail_memory(error, s->adapter.path);
        sprintf(weight, "%s.weight", pair->module);
        pair->weight = weight;
    }
    pair->anatomy = organ_anatomy_of(pair->weight);
    pair->embedding = pair->embedding || (s->mlx && pair->anatomy.role == ORGAN_ROLE_EMBED);
    return ORGAN_OK;
}

static int by_layer_and_name(const void *left, const void *right)
{
    const organ_adapter_pair *const a = left, *const b = right;
    return ORGAN_ORDERS(ORGAN_ORDER(a->anatomy.layer, b->anatomy.layer), strcmp(a->module, b->module));
}

/* organ_rows_passed and organ_rows_rest hand the memory of the array of pairs back to the system; its contents stay
 * in a file. */
static organ_status finish_pairs(open_state *s, organ_error *error)
{
    if (organ_adapter_rules_check_limit(&s->rules, s->adapter.pair_count, error) != ORGAN_OK)
        return error->status;
    /* the table is made again after sorting; releasing it now lowers the peak of memory */
    organ_name_table_release(&s->names);
    s->names = (organ_name_table){0};
    for (size_t k = 0; k < s->adapter.pair_count; k++) {
        if (finish_pair(s, &s->pairs[k], error) != ORGAN_OK)
            return error->status;
        organ_rows_passed();
    }
    organ_rows_rest();
    qsort(s->pairs, s->adapter.pair_count, sizeof *s->pairs, by_layer_and_name);
    organ_rows_rest();
    for (size_t k = 0; k < s->adapter.pair_count; k++)
        if (!organ_name_table_put(&s->names, s->pairs[k].module, k))
            return organ_fail_memory(error, s->adapter.path);
    return ORGAN_OK;
}

static organ_status open_adapter(const char *path, bool conv, organ_adapter **adapter, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *adapter = NULL;
    open_state *const s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, path);
    s->adapter.architecture = "";
    s->conv = conv;
    s->remarks.arena = &s->arena;
    if (set_adapter_path(s, path, error) != ORGAN_OK || open_weights(s, error) != ORGAN_OK ||
        sort_tensors(s, error) != ORGAN_OK || finish_pairs(s, error) != ORGAN_OK ||
        organ_adapter_selection_check(s->adapter.config, s->pairs, s->adapter.pair_count, &s->remarks, error)) {
        organ_adapter_close(&s->adapter);
        return error->status;
    }
    s->adapter.model = s->model;
    s->adapter.pairs = s->pairs;
    s->adapter.rest = s->rest;
    *adapter = &s->adapter;
    return ORGAN_OK;
}

organ_status organ_adapter_open(const char *path, organ_adapter **adapter, organ_error *error)
{
    return open_adapter(path, /*conv=*/false, adapter, error);
}

organ_status organ_adapter_open_with_conv(const char *path, organ_adapter **adapter, organ_error *error)
{
    return open_adapter(path, /*conv=*/true, adapter, error);
}

void organ_adapter_close(organ_adapter *adapter)
{
    ORGAN_OWNED open_state *const s = (open_state *)adapter;
    if (!s)
        return;
    organ_model_close(s->model);
    organ_adapter_rules_release(&s->rules);
    json_decref(s->adapter.config);
    organ_name_table_release(&s->names);
    organ_arena_release(&s->arena);
    organ_rows_free(s->pairs);
    organ_rows_free(s->rest);
}

const organ_adapter_remarks *organ_adapter_remarks_of(const organ_adapter *adapter)
{
    return &((const open_state *)adapter)->remarks;
}

const organ_adapter_pair *organ_adapter_find(const organ_adapter *adapter, const char *module)
{
    const open_state *const s = (const open_state *)adapter;
    const size_t *const at = organ_name_table_find(&s->names, module);
    return at ? &s->pairs[*at] : NULL;
}

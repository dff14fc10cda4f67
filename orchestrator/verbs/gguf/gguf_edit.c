/* SPDX-License-Identifier: MIT
 * organ gguf edit: sets and removes key-values. */
#include "orchestrator/verbs/gguf/gguf_job.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_VALUE ((size_t)256 << 20) /* bytes of a file with a value: the largest header that organ reads */

/* ---- keys that are not edited ---- */

/* Patterns of keys, and what each states. The tensors are copied, so their number, shapes and encoding stay. */
static const struct {
    const char *pattern, *states;
} structural[] = {
    {"general.architecture", "what the tensors and the other keys mean"},
    {"general.alignment", "at which offsets the tensors are"},
    {"general.quantization_version", "how the blocks of quantised tensors are encoded"},
    {"split.*", "in which files the tensors are (organ gguf split and join change that)"},
    {"*.block_count", "how many layers there are"},
    {"*.nextn_predict_layers", "how many layers there are"},
    {"*.leading_dense_block_count", "which tensors a layer has"},
    {"*.embedding_length", "which shape the tensors have"},
    {"*.feed_forward_length", "which shape the tensors have"},
    {"*.expert_feed_forward_length", "which shape the tensors have"},
    {"*.expert_shared_feed_forward_length", "which shape the tensors have"},
    {"*.expert_count", "which shape the tensors have"},
    {"*.vocab_size", "which shape the tensors have"},
    {"*.attention.head_count", "which shape the tensors have"},
    {"*.attention.head_count_kv", "which shape the tensors have"},
    {"*.attention.key_length", "which shape the tensors have"},
    {"*.attention.value_length", "which shape the tensors have"},
};
enum { STRUCTURAL = sizeof structural / sizeof *structural };

static organ_status check_editable(const organ_gguf_job *job, const char *key, organ_error *error)
{
    for (size_t k = 0; k < STRUCTURAL; k++)
        if (fnmatch(structural[k].pattern, key, 0) == 0)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: key '%s' cannot be edited: it states %s, and edit copies the tensors unchanged",
                              job->path, key, structural[k].states);
    return ORGAN_OK;
}

/* llama.cpp loads no model without these keys. */
static organ_status check_removable(const organ_gguf_job *job, const char *key, organ_error *error)
{
    static const char *const needed[] = {"*.context_length", "*.attention.layer_norm_rms_epsilon",
                                         "*.attention.layer_norm_epsilon", "tokenizer.ggml.model",
                                         "tokenizer.ggml.tokens"};
    for (size_t k = 0; k < sizeof needed / sizeof *needed; k++)
        if (fnmatch(needed[k], key, 0) == 0)
            return organ_fail(
                error, ORGAN_USAGE,
                "%s: key '%s' cannot be removed: llama.cpp loads no model without it; --metadata changes it", job->path,
                key);
    return ORGAN_OK;
}

/* `needs` is what else is wrong, for the message. */
static organ_status refuse_unknown(const organ_gguf_job *job, const char *key, const char *needs, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    ORGAN_OWNED const char **const names = calloc(gguf->kv_count + 1, sizeof *names);
    char hint[ORGAN_HINT_ROOM] = "";
    for (size_t k = 0; k < gguf->kv_count && names; k++)
        names[k] = gguf->kvs[k].key;
    if (names)
        organ_nearest_hint(key, names, gguf->kv_count, "", hint);
    return organ_fail(error, ORGAN_USAGE, "%s: has no key '%.100s'%s%s", job->path, key, needs, hint);
}

/* ---- settings ---- */

/* "KEY=VALUE" or "KEY:TYPE=VALUE". */
typedef struct key_setting {
    char *key; /* owned by the job's arena */
    const char *value;
    bool typed;
    organ_gguf_kind kind; /* if `typed` */
} key_setting;

/* The key ends at the first '='. A word after its last ':' is a type, unless the model has a key with ':'. */
static organ_status parse_setting(organ_gguf_job *job, const char *text, key_setting *made, organ_error *error)
{
    const char *const equals = strchr(text, '=');
    if (!equals || equals == text)
        return organ_fail(error, ORGAN_USAGE, "`metadata`: '%.100s' is no KEY=VALUE or KEY:TYPE=VALUE", text);
    *made = (key_setting){.key = organ_arena_copy(&job->arena, text, (size_t)(equals - text)), .value = equals + 1};
    if (!made->key)
        return organ_fail_memory(error, job->path);
    char *const colon = strrchr(made->key, ':');
    if (!colon || organ_gguf_find(job->model->gguf, made->key))
        return ORGAN_OK;
    if (!organ_gguf_kind_parse(colon + 1, strlen(colon + 1), &made->kind))
        return organ_fail(error, ORGAN_USAGE, "`metadata`: '%.100s': '%s' is no type; the types are " ORGAN_GGUF_KINDS,
                          text, colon + 1);
    *colon = '\0';
    made->typed = true;
    return *made->key ? ORGAN_OK : organ_fail(error, ORGAN_USAGE, "`metadata`: '%.100s' has no key", text);
}

/* An existing key keeps its type. */
static organ_status settle_kind(const organ_gguf_job *job, key_setting *s, organ_error *error)
{
    const organ_gguf_kv *const old = organ_gguf_find(job->model->gguf, s->key);
    char is[ORGAN_GGUF_KIND_ROOM], asked[ORGAN_GGUF_KIND_ROOM];
    if (!old)
        return s->typed ? ORGAN_OK
                        : refuse_unknown(job, s->key, ", and a new key needs its type: KEY:TYPE=VALUE", error);
    const organ_gguf_kind kind = organ_gguf_kind_of(old);
    if (s->typed && (s->kind.type != kind.type || s->kind.array != kind.array))
        return organ_fail(error, ORGAN_USAGE, "%s: key '%s' has the type %s, which it keeps: %s is another one",
                          job->path, s->key, organ_gguf_kind_name(kind, is), organ_gguf_kind_name(s->kind, asked));
    s->kind = kind;
    return ORGAN_OK;
}

static bool is_from_file(const key_setting *s)
{
    return *s->value == '@' && (s->kind.array || s->kind.type == ORGAN_GGUF_STRING);
}

/* These arrays have an element for each row of the embedding. */
static organ_status check_count(const organ_gguf_job *job, const char *key, organ_error *error)
{
    static const char *const tokens[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type",
                                         NULL};
    const organ_gguf_kv *const old = organ_gguf_find(job->model->gguf, key);
    const organ_gguf_kv *const now = organ_gguf_writer_find(job->parts[0].writer, key);
    if (old && organ_is_one_of(key, tokens) && old->count != now->count)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "key '%s': the array has %llu elements, but the vocabulary has %llu tokens", key,
                          (unsigned long long)now->count, (unsigned long long)old->count);
    return ORGAN_OK;
}

static organ_status apply_setting(organ_gguf_job *job, const char *text, organ_error *error)
{
    ORGAN_OWNED char *loaded = NULL;
    key_setting s;
    if (parse_setting(job, text, &s, error) || check_editable(job, s.key, error) || settle_kind(job, &s, error))
        return error->status;
    size_t length = strlen(s.value);
    if (is_from_file(&s) &&
        organ_input_load(s.value + 1, s.value + 1, LARGEST_VALUE, &loaded, &length, error) != ORGAN_OK)
        return error->status;
    if (organ_gguf_set_typed(job->parts[0].writer, s.key, s.kind, loaded ? loaded : s.value, length, error) == ORGAN_OK)
        check_count(job, s.key, error);
    if (error->status == ORGAN_BAD_INPUT && !loaded)
        error->status = ORGAN_USAGE; /* the value is a word of the command line */
    return error->status;
}

static organ_status remove_key(const organ_gguf_job *job, const char *key, organ_error *error)
{
    if (check_editable(job, key, error) || check_removable(job, key, error))
        return error->status;
    if (!organ_gguf_find(job->model->gguf, key))
        return refuse_unknown(job, key, "", error);
    organ_gguf_writer_remove(job->parts[0].writer, key);
    return ORGAN_OK;
}

/* Returns ORGAN_USAGE if two of the settings and removals have the same key. */
static organ_status check_distinct(organ_gguf_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table seen = {0};
    const organ_gguf_edit_options *const o = job->options;
    const size_t count = o->metadata_count + o->removed_count;
    for (size_t k = 0; k < count && !error->status; k++) {
        key_setting s = {0};
        if (k < o->metadata_count && parse_setting(job, o->metadata[k], &s, error))
            return error->status;
        const char *const key = k < o->metadata_count ? s.key : o->removed[k - o->metadata_count];
        const size_t *const first = organ_name_table_put(&seen, key, k);
        if (!first)
            organ_fail_memory(error, job->path);
        else if (*first != k)
            organ_fail(error, ORGAN_USAGE, "key '%s' is set or removed twice", key);
    }
    return error->status;
}

/* ---- the run ---- */

static organ_status plan_edit(organ_gguf_job *job, organ_error *error)
{
    const organ_gguf_edit_options *const o = job->options;
    if (o->metadata_count + o->removed_count == 0)
        return organ_fail(error, ORGAN_USAGE, "gguf edit: nothing to do: give `metadata` or `removed`");
    check_distinct(job, error);
    for (size_t k = 0; k < o->metadata_count && !error->status; k++)
        apply_setting(job, o->metadata[k], error);
    for (size_t k = 0; k < o->removed_count && !error->status; k++)
        remove_key(job, o->removed[k], error);
    return error->status ? error->status : organ_gguf_name_single(job, error);
}

static json_t *text_row(const void *texts, size_t k) { return organ_document_string(((const char *const *)texts)[k]); }

static json_t *edit_parameters(void *context)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_edit_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("operation", job->operation),
                        SET("metadata", organ_json_rows(o->metadata_count, text_row, o->metadata)),
                        SET("removed", organ_json_rows(o->removed_count, text_row, o->removed)));
}

/* A value that begins with '@' names a file only for some types; another path is no file, and adds nothing. */
static organ_status edit_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_edit_options *const o = job->options;
    for (size_t k = 0; k < o->metadata_count && !error->status; k++) {
        const char *const equals = strchr(o->metadata[k], '=');
        if (equals && equals[1] == '@')
            organ_run_inputs_add(inputs, "value", equals + 2, error);
    }
    return error->status;
}

organ_status organ_gguf_edit(const organ_gguf_edit_options *options, const organ_progress *progress,
                             const organ_stop *stop, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_gguf_edit_options, options, report, error, "model", options->model, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_gguf_job job = {.operation = "edit",
                          .path = options->model,
                          .write = options->write,
                          .access = options->access,
                          .ranks = options->ranks,
                          .engine = options->engine,
                          .options = options,
                          .plan = plan_edit,
                          .parameters = edit_parameters,
                          .inputs = edit_inputs};
    return organ_gguf_job_run(&job, progress, stop, report, error);
}

/* SPDX-License-Identifier: MIT
 * Key-values of GGUF files that organ does not know and that look like settings by layer. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"

#include <stdio.h>
#include <string.h>

/* Keys, without the architecture, that have no row in formats/architecture: other functions change them, or they
 * describe blocks of a sequence. */
static const char *const known[] = {"moe_every_n_layers",
                                    "n_deepstack_layers",
                                    "attention.indexer.block_size",
                                    "attention.indexer.local_blocks",
                                    "block_size",
                                    NULL};
static const char *const others[] = {"general.", "tokenizer.", "split.", "quantize.", "imatrix.", "organ.", NULL};

/* Returns the name of a key without the architecture before it; NULL for keys that do not describe the model. */
static const char *name_of(const organ_model *model, const char *key)
{
    const char *const architecture = model->config.model_type;
    const size_t length = strlen(architecture);
    for (size_t k = 0; others[k]; k++)
        if (strncmp(key, others[k], strlen(others[k])) == 0)
            return NULL;
    return strncmp(key, architecture, length) == 0 && key[length] == '.' ? key + length + 1 : key;
}

/* `why` completes "key 'KEY' is VALUE: ". */
static void refuse(const organ_model *model, const organ_gguf_kv *kv, const char *why, organ_error *error)
{
    char value[32] = "a list";
    double real;
    if (kv->type != ORGAN_GGUF_ARRAY && organ_gguf_real_at(kv, 0, &real))
        organ_snprintf(value, sizeof value, "%.9g", real);
    organ_fail(error, ORGAN_BAD_INPUT,
               "%s: key '%s' is %s: %s; layers can be moved after the key was removed, if it does not depend on them",
               model->path, kv->key, value, why);
}

static bool is_number(const organ_gguf_kv *kv)
{
    return kv->type != ORGAN_GGUF_ARRAY && kv->type != ORGAN_GGUF_STRING && kv->type != ORGAN_GGUF_BOOL;
}

organ_status organ_layers_check_keys(const organ_model *model, organ_error *error)
{
    const organ_gguf *const gguf = model->gguf;
    char key[160];
    snprintf(key, sizeof key, "%s.block_count", model->config.model_type);
    const uint64_t layers = (uint64_t)organ_gguf_integer(gguf, key, 0);
    const int64_t stated = organ_mtp_stated(gguf, model->config.model_type);
    const uint64_t drafts = stated > 0 ? (uint64_t)stated : 0;
    for (size_t k = 0; k < gguf->kv_count && !error->status; k++) {
        const organ_gguf_kv *const kv = &gguf->kvs[k];
        const char *const name = name_of(model, kv->key);
        if (!name || organ_is_one_of(name, known) || organ_pairing_has_key(name))
            continue;
        if (kv->type == ORGAN_GGUF_ARRAY &&
            (kv->count == layers || kv->count == layers - drafts || strstr(name, "layer")))
            refuse(model, kv, ORGAN_LAYERS_LISTS, error);
        else if (is_number(kv) && organ_layers_is_suggestive(name))
            refuse(model, kv, ORGAN_LAYERS_SUGGESTS, error);
    }
    return error->status;
}

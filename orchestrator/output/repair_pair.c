/* SPDX-License-Identifier: MIT
 * The digest that a model and its repair adapter share. A run that ends between the names of both can leave a model and
 * an adapter of different runs. */
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/facts.h"

#include <string.h>
#include <unistd.h>

#define BEGINNING ((uint64_t)4096) /* bytes of a header that are read: organ writes "__metadata__" first */

/* Copies the text to `pair` if it is a digest of 16 hexadecimal digits; else `pair` stays as it is. `text` may be NULL.
 */
static void copy_digest(const char *text, size_t length, char pair[17])
{
    if (text && length == 16 && strspn(text, "0123456789abcdef") == 16) {
        memcpy(pair, text, 16);
        pair[16] = '\0';
    }
}

/* `header` begins like that of a safetensors file, whose first member is "__metadata__". */
static organ_status find_digest(const char *header, size_t length, const char *label, char pair[17], organ_error *error)
{
    static const char member[] = "{\"__metadata__\":";
    const size_t begin = sizeof member - 1;
    json_error_t fault;
    bool no_memory = false;
    if (length <= begin || memcmp(header, member, begin) != 0)
        return ORGAN_OK;
    ORGAN_OWNED_JSON json_t *const metadata =
        organ_json_load(header + begin, length - begin, JSON_DISABLE_EOF_CHECK, &fault, &no_memory);
    const json_t *const digest = json_object_get(metadata, ORGAN_REPAIR_PAIR);
    copy_digest(json_string_value(digest), json_string_length(digest), pair);
    return no_memory ? organ_fail_memory(error, label) : ORGAN_OK;
}

organ_status organ_repair_pair_of(const organ_adapter *adapter, char pair[17], organ_error *error)
{
    const organ_model *const model = adapter->model;
    size_t length = 0;
    *pair = '\0';
    if (model->gguf) {
        const char *const text = organ_gguf_string(model->gguf, ORGAN_REPAIR_PAIR_KEY, &length);
        copy_digest(text, length, pair);
        return ORGAN_OK;
    }
    const uint64_t end = model->file_count == 1 ? model->files[0].data_offset : 0,
                   bytes = end < BEGINNING ? end : BEGINNING;
    char header[BEGINNING];
    enum { AT = sizeof(uint64_t) }; /* the file begins with the length of the header */
    if (bytes <= AT || organ_model_read(model, 0, header, bytes - AT, AT, error))
        return error->status;
    return find_digest(header, (size_t)bytes - AT, adapter->path, pair, error);
}

organ_status organ_repair_pair_check(const organ_adapter *adapter, const organ_model *base, organ_error *error)
{
    char pair[17];
    const char *const own = organ_model_repair_pair(base);
    if (organ_repair_pair_of(adapter, pair, error) || !*pair || (own && strcmp(own, pair) == 0))
        return error->status;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: this adapter repairs another model than %s: their " ORGAN_REPAIR_PAIR " are %s and %s; an "
                      "interrupted quantize --repair-rank --force leaves such files, and --resume completes it",
                      adapter->path, base->path, pair, own ? own : "missing");
}

/* Returns the path of `name` next to the model; NULL if memory runs out. */
static char *path_beside(const organ_model *model, const char *name)
{
    size_t length = organ_path_length(model->path);
    while (length && model->path[length - 1] != '/')
        length--;
    return model->path[length] == '.' ? organ_format("%s/../%s", model->path, name)
                                      : organ_format("%.*s%s", (int)length, model->path, name);
}

organ_status organ_repair_pair_check_beside(const organ_model *model, organ_error *error)
{
    const char *const name = organ_model_adapter(model);
    organ_adapter *adapter = NULL;
    if (!name || !organ_model_repair_pair(model) || strchr(name, '/'))
        return ORGAN_OK;
    ORGAN_OWNED char *const path = path_beside(model, name);
    if (!path)
        return organ_fail_memory(error, model->path);
    if (access(path, F_OK) == 0 && organ_adapter_open(path, &adapter, error) == ORGAN_OK)
        organ_repair_pair_check(adapter, model, error);
    organ_adapter_close(adapter);
    return error->status;
}

organ_status organ_repair_pair_forget(organ_json_edit *config, organ_error *error)
{
    if (organ_json_edit_remove(config, ORGAN_REPAIR_ADAPTER, NULL, error))
        return error->status;
    return organ_json_edit_remove(config, ORGAN_REPAIR_PAIR, NULL, error);
}

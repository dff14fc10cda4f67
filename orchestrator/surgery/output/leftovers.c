/* SPDX-License-Identifier: MIT
 * Removes sparsity_config from config.json if no tensor is stored as it describes. */
#include "orchestrator/surgery/output/leftovers.h"

#include "formats/base/file_calls.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEFTOVER "sparsity_config"
#define CONFIG   "config.json"

/* Sparse tensors are stored as a bitmask and the values that are not zero, which sparsity_config describes. */
static bool has_sparse_tensors(const organ_model *model)
{
    static const char *const leaves[] = {".bitmask", ".compressed", ".row_offsets"};
    for (size_t t = 0; t < model->tensor_count; t++)
        for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++) {
            const size_t length = strlen(model->tensors[t].name), own = strlen(leaves[k]);
            if (length > own && strcmp(model->tensors[t].name + length - own, leaves[k]) == 0)
                return true;
        }
    return false;
}

organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error)
{
    return has_sparse_tensors(model) ? ORGAN_OK : organ_json_edit_remove(config, LEFTOVER, stripped, error);
}

static organ_status replace_config(const char *to, const organ_json_edit *config, organ_error *error)
{
    char *const path = organ_format("%s/" CONFIG, to);
    if (!path)
        return organ_fail_memory(error, to);
    if (organ_remove_file(path) == 0) /* organ_text_write creates files and does not replace them */
        organ_text_write(path, config->bytes, error);
    else if (errno != ENOENT)
        organ_fail_errno(error, errno, "%s: cannot be replaced", path);
    free(path);
    return error->status;
}

/* The copy is written only if a setting was removed. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0, found = 0;
    organ_json_edit config = {0};
    if (model->gguf || model->manifest || organ_model_load(model, CONFIG, ORGAN_CONFIG_LIMIT, &bytes, &length, error) ||
        !bytes)
        return error->status;
    if (memmem(bytes, length, LEFTOVER, strlen(LEFTOVER)) &&
        organ_json_edit_begin(&config, CONFIG, bytes, length, error) == ORGAN_OK &&
        organ_leftovers_strip(model, &config, &found, error) == ORGAN_OK && found && to)
        replace_config(to, &config, error);
    *stripped += found;
    organ_json_edit_release(&config);
    free(bytes);
    return error->status;
}

void organ_leftovers_note(const organ_progress *progress, size_t stripped)
{
    if (stripped)
        organ_progress_note(progress, CONFIG
                            ": " LEFTOVER
                            " is removed: no tensor is stored as it describes, and servers reject a model with it");
}

void organ_leftovers_report(json_t *document, size_t stripped)
{
    if (stripped)
        ORGAN_ADD(document, SET("left_out_settings", json_pack("[s]", LEFTOVER)));
}

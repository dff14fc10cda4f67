/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/untrusted_weights.h"

#include "formats/base/text_buffer.h"
#include "formats/gguf/file.h"
#include <organ/models.h>
#include "formats/safetensors/safetensors.h"
#include "orchestrator/surgery/untrusted/growth.h"
#include "orchestrator/surgery/untrusted/untrusted_names.h"
#include "orchestrator/surgery/untrusted/template.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Largest general.alignment, in bytes, that is no finding; real files have 32. */
enum { ALIGNMENT_MAX = 1 << 24 };

static void add_tensor_fault(void *context, const char *message)
{
    organ_error fault = {.status = ORGAN_BAD_INPUT};
    memcpy(fault.message, message, strlen(message) + 1);
    organ_findings_add_error(context, ORGAN_FINDING_TENSOR, &fault);
}

static void check_tensor_names(organ_findings *findings, const organ_tensor_list *list)
{
    unsigned code;
    for (size_t k = 0; k < list->count; k++)
        if (organ_names_hide(list->tensors[k].name, &code))
            organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                               "the name of tensor '%.200s' has U+%04X, which is invisible", list->tensors[k].name,
                               code);
}

void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size)
{
    organ_model_file file = {.name = findings->file, .path = findings->file, .fd = fd, .size = size};
    const organ_faults faults = {add_tensor_fault, findings};
    organ_tensor_list list = {0};
    organ_error error = {0};
    organ_safetensors_survey(&file, 0, &list, &faults, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_HEADER, &error);
    check_tensor_names(findings, &list);
    organ_tensor_list_release(&list);
}

static void check_templates(organ_findings *findings, const organ_gguf *gguf)
{
    static const char key[] = "tokenizer.chat_template";
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, key, sizeof key - 1) == 0 && gguf->kvs[k].type == ORGAN_GGUF_STRING)
            organ_template_check(findings, gguf->kvs[k].key, (const char *)gguf->kvs[k].bytes + 8,
                                 gguf->kvs[k].size - 8);
}

void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data)
{
    organ_model_file file = {.name = findings->file, .path = findings->file, .fd = fd, .size = size};
    const organ_faults faults = {add_tensor_fault, findings};
    organ_gguf_header header = {0};
    organ_tensor_list list = {0};
    organ_error error = {0};
    if (data)
        organ_gguf_survey(&file, 0, &header, &list, &faults, &error);
    else
        organ_gguf_read_header(&file, 0, &header, &list, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_HEADER, &error);
    check_tensor_names(findings, &list);
    if (header.view.alignment > ALIGNMENT_MAX)
        organ_findings_add(findings, ORGAN_FINDING_HEADER, "general.alignment",
                           "%llu: readers that pad sizes to multiples of it overflow",
                           (unsigned long long)header.view.alignment);
    check_templates(findings, &header.view);
    organ_growth_check_gguf(findings, &header.view);
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
}

static void add_once(organ_findings *findings, const char *message)
{
    organ_error fault = {.status = ORGAN_BAD_INPUT};
    if (organ_findings_have(findings, message))
        return;
    memcpy(fault.message, message, strnlen(message, sizeof fault.message - 1));
    organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &fault);
}

void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder)
{
    organ_error error = {0};
    organ_shards shards = {0};
    if (organ_shards_read(path, findings->file, &shards, &error) != ORGAN_OK)
        organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &error);
    for (size_t k = 0; k < shards.file_count && !error.status; k++) {
        char *const shard = organ_format("%s/%s", folder, shards.files[k]);
        if (shard && access(shard, F_OK) != 0)
            organ_findings_add(findings, ORGAN_FINDING_MODEL, "", "names '%s', which does not exist", shards.files[k]);
        free(shard);
    }
    organ_shards_release(&shards);
}

void organ_weights_check_model(organ_findings *findings, const char *path)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_model_open(path, &model, &error);
    if (error.status == ORGAN_BAD_INPUT)
        add_once(findings, error.message);
    else
        organ_findings_add_error(findings, ORGAN_FINDING_MODEL, &error);
    for (size_t k = 0; model && k < model->problem_count; k++)
        add_once(findings, model->problems[k]);
    for (size_t k = 0; model && k < model->warning_count; k++)
        add_once(findings, model->warnings[k]);
    organ_model_close(model);
}

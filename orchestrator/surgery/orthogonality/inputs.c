/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/orthogonality/inputs.h"

#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/lora/factors.h"

organ_status organ_compared_model_open(const organ_compared_inputs *in, const char *path, organ_model **model,
                                       organ_weights **weights, organ_error *error)
{
    if (organ_model_open_with(path, in->access, model, error) || organ_weights_find(*model, weights, error) ||
        (in->output && organ_output_spares(in->output, *model, error)))
        return error->status;
    for (size_t k = 0; k < (*weights)->note_count; k++)
        organ_progress_note(in->progress, "%s", (*weights)->notes[k]);
    return ORGAN_OK;
}

organ_status organ_compared_adapter_open(const organ_compared_inputs *in, const char *path, organ_adapter **adapter,
                                         organ_error *error)
{
    if (organ_adapter_open(path, adapter, error) || (in->output && organ_adapter_spares(in->output, *adapter, error)))
        return error->status;
    if ((*adapter)->dora)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: use_dora is true: such an adapter also rescales each weight, which is no matrix of low rank",
            (*adapter)->path);
    if (organ_adapter_changed_base(*adapter))
        organ_progress_note(in->progress,
                            "%s: %s changed the base before training began: B A alone is not what training changed",
                            (*adapter)->path, organ_adapter_changed_base(*adapter));
    return ORGAN_OK;
}

/* SPDX-License-Identifier: MIT
 * Compares the headers of the model that organ patch apply makes with the manifest of the patch: together they say
 * where the bytes of each tensor are, and a reader of the model believes the headers. */
#include "formats/model/recognise.h"
#include "orchestrator/verbs/patch/patch_apply.h"

#include <string.h>

static organ_status refuse_place(const apply_job *job, const organ_patch_tensor *says, const char *what,
                                 organ_error *error)
{
    return organ_refuse(error, job->patch.path,
                        "is damaged: tensor '%s' has %s in " ORGAN_PATCH_MANIFEST " than in the header of %s",
                        says->name, what, job->patch.files[says->file].name);
}

/* A single file has the name of the output. */
static organ_status check_tensor(const apply_job *job, const organ_model *made, const organ_patch_tensor *says,
                                 organ_error *error)
{
    const organ_tensor *const is = organ_model_find(made, says->name);
    const organ_patch_file *const file = &job->patch.files[says->file];
    if (!is)
        return organ_refuse(error, job->patch.path,
                            "is damaged: " ORGAN_PATCH_MANIFEST " has tensor '%s', but the header of %s lacks it",
                            says->name, file->name);
    if (strcmp(organ_dtype_name(is->dtype), says->dtype) != 0 || is->bytes != says->bytes)
        return refuse_place(job, says, "another type or size", error);
    if (!organ_shape_equal(is->rank, is->shape, says->rank, says->shape))
        return refuse_place(job, says, "another shape", error);
    if (is->offset != says->offset || (made->file_count > 1 && strcmp(made->files[is->file].name, file->name) != 0))
        return refuse_place(job, says, "another place", error);
    return ORGAN_OK;
}

organ_status organ_patch_check_result(void *context, const char *to, const char *path, organ_error *error)
{
    const apply_job *const job = context;
    const organ_patch *const p = &job->patch;
    organ_model *made = NULL;
    organ_error fault = {0};
    if (!p->has_manifest)
        return ORGAN_OK;
    const bool single = organ_output_is_file(job->options->write.output);
    if (organ_model_open_codes(single ? path : to, NULL, &made, &fault) == ORGAN_BAD_INPUT)
        organ_refuse(error, p->path, "is damaged: the files that it describes are no model: %s", fault.message);
    else if (fault.status)
        *error = fault;
    for (size_t t = 0; t < p->tensor_count && !error->status; t++)
        check_tensor(job, made, &p->tensors[t], error);
    if (!error->status && made->tensor_count != p->tensor_count)
        organ_refuse(error, p->path,
                     "is damaged: " ORGAN_PATCH_MANIFEST " has %zu tensors, but the headers of the result have %zu",
                     p->tensor_count, made->tensor_count);
    organ_model_close(made);
    return error->status;
}

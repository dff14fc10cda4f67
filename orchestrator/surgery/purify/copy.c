/* SPDX-License-Identifier: MIT
 * A donor of shards is copied as pruning does it; of an organ directory, whose files are as many as its tensors, one is open at a time. */
#include "orchestrator/surgery/purify/job.h"

#include "formats/model/organ_directory.h"
#include "orchestrator/machine/take_name.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct organ_purify_copy {
    organ_purify_job *job;
    organ_model_copy *shards;    /* NULL for an organ directory */
    const organ_tensor *current; /* whose file is open */
    char *path;                  /* of it */
    organ_direct_file file;
};

static const organ_model *donor_of(const organ_purify_copy *copy) { return copy->job->donor; }

static organ_status make_folders(const organ_purify_copy *copy, organ_error *error)
{
    const organ_publish *publish = &copy->job->output.publish;
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER && !error->status; g++) {
        char *path = organ_publish_path(publish, organ_group_folder(g));
        if (!path)
            organ_fail_errno(error, ENOMEM, "%s", publish->final);
        else if (mkdir(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be made", path);
        free(path);
    }
    return error->status;
}

/* Tensors that stay as they are. */
static organ_status transfer_rest(const organ_purify_copy *copy, organ_error *error)
{
    const organ_model *donor = donor_of(copy);
    organ_transfer *transfers = calloc(donor->tensor_count + 1, sizeof *transfers);
    size_t count = 0;
    if (!transfers)
        return organ_fail_errno(error, ENOMEM, "%s", donor->path);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++) {
        if (copy->job->chosen[t])
            continue;
        const organ_tensor *tensor = &donor->tensors[t];
        char *path = organ_publish_path(&copy->job->output.publish, donor->files[tensor->file].name);
        if (path)
            transfers[count++] = (organ_transfer){.model = donor, .tensor = tensor, .path = path, .whole = true, .as = tensor->dtype};
        else
            organ_fail_errno(error, ENOMEM, "%s", donor->path);
    }
    if (!error->status)
        organ_transfer_run(transfers, count, NULL, copy->job->engine->stop, error);
    for (size_t k = 0; k < count; k++)
        free((char *)transfers[k].path);
    free(transfers);
    return error->status;
}

/* As in a copy of shards, a record of what was done to the donor goes to organ/donor/. */
static organ_status copy_beside(const organ_purify_copy *copy, organ_error *error)
{
    const organ_file_list *beside = &copy->job->beside;
    for (size_t k = 0; k < beside->count && !error->status; k++) {
        const char *name = beside->names[k];
        const bool record = strncmp(name, "organ/", 6) == 0;
        char *to = NULL;
        if (asprintf(&to, "%s%s", record ? "organ/donor/" : "", record ? name + 6 : name) < 0)
            return organ_fail_errno(error, ENOMEM, "%s", name);
        organ_copy_file(donor_of(copy)->directory, name, copy->job->output.publish.partial, to, error);
        free(to);
    }
    return error->status;
}

organ_status organ_purify_copy_begin(organ_purify_job *job, organ_purify_copy **result, organ_error *error)
{
    organ_purify_copy *copy = *result = calloc(1, sizeof *copy);
    if (!copy)
        return organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    *copy = (organ_purify_copy){.job = job, .file = {.fd = -1, .direct = -1}};
    if (!job->donor->manifest) {
        organ_model_copy_begin(job->donor, &job->output.publish, job->chosen, job->engine->stop, &copy->shards, error);
    } else if (make_folders(copy, error) == ORGAN_OK && copy_beside(copy, error) == ORGAN_OK)
        transfer_rest(copy, error);
    return error->status;
}

static void close_file(organ_purify_copy *copy)
{
    organ_direct_close(&copy->file);
    free(copy->path);
    copy->path = NULL;
    copy->current = NULL;
}

static organ_status open_file(organ_purify_copy *copy, const organ_tensor *tensor, organ_error *error)
{
    const organ_model *donor = donor_of(copy);
    close_file(copy);
    if (!(copy->path = organ_publish_path(&copy->job->output.publish, donor->files[tensor->file].name)))
        return organ_fail_errno(error, ENOMEM, "%s", tensor->name);
    if (organ_direct_open(copy->path, 0666, &copy->file, error) == ORGAN_OK)
        organ_direct_resize(&copy->file, donor->files[tensor->file].size, error);
    copy->current = tensor;
    return error->status;
}

organ_status organ_purify_copy_write(organ_purify_copy *copy, const organ_tensor *tensor, const void *data, size_t bytes, uint64_t offset,
                                     organ_error *error)
{
    if (copy->shards)
        return organ_model_copy_write(copy->shards, tensor, data, bytes, offset, error);
    if (copy->current != tensor && open_file(copy, tensor, error))
        return error->status;
    return organ_direct_write(&copy->file, data, bytes, offset, error);
}

/* A single file gets the name that was asked for. */
static organ_status rename_single(const organ_purify_copy *copy, organ_error *error)
{
    const organ_output *output = &copy->job->output;
    int fault;
    if (!output->single || strcmp(organ_output_name(output), donor_of(copy)->files[0].name) == 0)
        return ORGAN_OK;
    char *from = organ_publish_path(&output->publish, donor_of(copy)->files[0].name),
         *to = organ_publish_path(&output->publish, organ_output_name(output));
    if (!from || !to)
        organ_fail_errno(error, ENOMEM, "%s", output->path);
    else if ((fault = organ_take_name(from, to)) != 0)
        organ_fail_errno(error, fault, "%s: cannot be renamed", from);
    free(from);
    free(to);
    return error->status;
}

organ_status organ_purify_copy_finish(organ_purify_copy *copy, organ_error *error)
{
    close_file(copy);
    if (copy->shards && organ_model_copy_finish(copy->shards, error))
        return error->status;
    return rename_single(copy, error);
}

void organ_purify_copy_end(organ_purify_copy *copy)
{
    if (!copy)
        return;
    organ_model_copy_end(copy->shards);
    close_file(copy);
    free(copy);
}

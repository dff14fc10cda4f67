/* SPDX-License-Identifier: MIT
 * Outputs in GGUF: the entry of the importance matrix for each tensor, and the key-values of the file. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/layout.h"

#include <stdlib.h>
#include <string.h>

/* general.quantization_version: ggml's version of the block layouts. */
enum { QUANTIZATION_VERSION = 2 };

/* ---- types that need an importance matrix ---- */

static bool is_among(organ_dtype type, const organ_dtype *types, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (types[k] == type)
            return true;
    return false;
}

/* llama-quantize refuses these types without an imatrix. It also refuses IQ2_S, IQ3_XXS and some uses of Q2_K, of which
 * organ warns. */
static const organ_dtype weighed_only[] = {ORGAN_IQ2_XS, ORGAN_IQ2_XXS, ORGAN_IQ1_S, ORGAN_IQ1_M};

/* Embeddings and head need none. The types by size are chosen by their measured cost. */
organ_status organ_quantize_gguf_check_weighed(const organ_quantize_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->list.part_count && !job->types; k++) {
        const organ_quantize_part *const part = &job->list.parts[k];
        const organ_tensor *const tensor = part->weight->codes;
        if (!organ_quantize_gguf_is_table(tensor) && tensor->anatomy.role != ORGAN_ROLE_OUTPUT &&
            is_among(part->encoding->codes, weighed_only, sizeof weighed_only / sizeof *weighed_only))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: %s for %s needs `imatrix`, as in llama-quantize, or `method` 'gptq': if all columns "
                              "count the same, the type loses too much",
                              job->options->model, part->encoding->name, tensor->name);
    }
    return ORGAN_OK;
}

/* ---- its entries ---- */

static organ_status find_entry(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_tensor *const tensor = part->weight->codes;
    const uint64_t matrices = organ_weight_matrices(part->weight).count;
    ORGAN_OWNED float *const norms = malloc((size_t)part->cols * sizeof *norms);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    for (uint64_t k = 0; k < matrices && !error->status; k++)
        if (organ_importance_norms(job->imatrix.file, job->model, tensor, k, part->experts, norms, &count, &part->entry,
                                   error) == ORGAN_OK &&
            count == 0)
            organ_calibration_note_expert(&part->unreached, tensor, k);
    return error->status;
}

/* llama.cpp quantises to other types without an entry, and never uses one for those of `plain`. */
static bool type_needs_entry(const organ_encoding *encoding, bool fixed)
{
    static const organ_dtype rough[] = {ORGAN_IQ1_S, ORGAN_IQ1_M,   ORGAN_IQ2_XXS, ORGAN_IQ2_XS,
                                        ORGAN_IQ2_S, ORGAN_IQ3_XXS, ORGAN_Q2_K};
    static const organ_dtype plain[] = {ORGAN_Q8_0,  ORGAN_MXFP4, ORGAN_NVFP4, ORGAN_TQ1_0,
                                        ORGAN_TQ2_0, ORGAN_Q1_0,  ORGAN_Q2_0};
    return fixed ? is_among(encoding->codes, rough, sizeof rough / sizeof *rough)
                 : !is_among(encoding->codes, plain, sizeof plain / sizeof *plain);
}

organ_status organ_quantize_gguf_check_entry(const organ_quantize_job *job, const organ_tensor *tensor,
                                             uint64_t experts, organ_error *error)
{
    organ_error missing = {0};
    if (organ_importance_check(job->imatrix.file, tensor, experts, &missing) == ORGAN_OK)
        return ORGAN_OK;
    return organ_fail(error, missing.status,
                      "%s; `type_of` '%s=q8_0', or another type but those of iq1, iq2, iq3_xxs and q2_k, quantises it "
                      "without weights",
                      missing.message, tensor->name);
}

/* A type that --type-of fixes is the user's choice; other types need an entry for every matrix, since a file without
 * them may be that of another model. */
static organ_status find_own_entry(organ_quantize_job *job, organ_quantize_part *part, organ_expert_census *known,
                                   organ_error *error)
{
    const organ_tensor *const tensor = part->weight->codes;
    const bool fixed = job->fixed && job->fixed[tensor - job->model->tensors];
    part->experts = organ_experts_of_role(job->model, tensor, known);
    organ_error missing = {0};
    if (organ_quantize_gguf_check_entry(job, tensor, part->experts, &missing) == ORGAN_OK)
        return find_entry(job, part, error);
    if (type_needs_entry(part->encoding, fixed)) {
        *error = missing;
        return error->status;
    }
    job->imatrix.unweighted++;
    job->imatrix.first_unweighted = job->imatrix.first_unweighted ? job->imatrix.first_unweighted : tensor;
    return ORGAN_OK;
}

/* Embeddings never need an entry. An output head, and a matrix that only a recipe or --type-of selects, may lack one,
 * because llama.cpp does not collect the inputs of the head by default, nor those of draft layers; an entry that exists
 * is used. */
static bool needs_entry(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    if (role != ORGAN_ROLE_OUTPUT && job->targets.chosen[tensor - job->model->tensors])
        return true;
    for (size_t k = 0; k < job->imatrix.file->entry_count; k++)
        if (role != ORGAN_ROLE_EMBED && strcmp(job->imatrix.file->entries[k].name, tensor->name) == 0)
            return true;
    return false;
}

/* An entry of a layer that the model lacks shows that the file was made from another model. */
static organ_status check_layers(const organ_quantize_job *job, organ_error *error)
{
    int32_t last = -1;
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const int32_t layer = job->model->tensors[t].anatomy.layer;
        last = layer > last ? layer : last;
    }
    for (size_t k = 0; k < job->imatrix.file->entry_count; k++)
        if (job->imatrix.file->entries[k].anatomy.layer > last)
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s: entry '%s' is of a layer that %s does not have: the file was made from another model",
                job->imatrix.file->path, job->imatrix.file->entries[k].name, job->model->path);
    return ORGAN_OK;
}

organ_status organ_quantize_gguf_open_imatrix(organ_quantize_job *job, organ_error *error)
{
    organ_expert_census known = {0};
    if (!job->options->gguf.imatrix)
        return ORGAN_OK;
    if (!job->imatrix.file &&
        (organ_imatrix_open(job->options->gguf.imatrix, &job->imatrix.file, error) || check_layers(job, error) ||
         organ_importance_digest(job->imatrix.file, job->imatrix.digest, error)))
        return error->status;
    for (size_t k = 0; k < job->list.part_count && !error->status; k++)
        if (!organ_encoding_is_plain(job->list.parts[k].encoding) && needs_entry(job, job->list.parts[k].weight->codes))
            find_own_entry(job, &job->list.parts[k], &known, error);
    return error->status;
}

/* ---- key-values ---- */

/* The keys are those of llama-quantize. */
static organ_status note_imatrix(const organ_quantize_job *job, organ_error *error)
{
    organ_gguf_writer *const w = job->writer;
    const organ_imatrix *const m = job->imatrix.file;
    const char *const name = organ_path_name(m->path);
    organ_gguf_writer_set_string(w, "quantize.imatrix.file", name, strlen(name), error);
    if (m->dataset_count && !error->status)
        organ_gguf_writer_set_string(w, "quantize.imatrix.dataset", m->datasets[0], strlen(m->datasets[0]), error);
    if (!error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.entries_count", ORGAN_GGUF_U32, (int64_t)m->entry_count,
                                      error);
    if (m->chunks >= 0 && !error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.chunks_count", ORGAN_GGUF_U32, m->chunks, error);
    return error->status;
}

static int64_t file_type_of(const organ_quantize_job *job)
{
    if (job->types)
        return job->types->file_type;
    return job->recipe ? job->recipe->file_type : job->encoding->file_type;
}

organ_status organ_quantize_gguf_metadata(organ_quantize_job *job, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    if (organ_layout_metadata(gguf, &job->writer, error))
        return error->status;
    /* keys of an earlier quantisation describe another imatrix */
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, "quantize.", strlen("quantize.")) == 0)
            organ_gguf_writer_remove(job->writer, gguf->kvs[k].key);
    if (organ_gguf_writer_set_integer(job->writer, "general.file_type", ORGAN_GGUF_U32, file_type_of(job), error) ||
        organ_gguf_writer_set_integer(job->writer, "general.quantization_version", ORGAN_GGUF_U32, QUANTIZATION_VERSION,
                                      error))
        return error->status;
    const char *const adapter = job->repair.adapter ? organ_path_name(job->repair.output) : NULL;
    if (adapter &&
        (organ_gguf_writer_set_string(job->writer, ORGAN_REPAIR_ADAPTER_KEY, adapter, strlen(adapter), error) ||
         organ_gguf_writer_set_string(job->writer, ORGAN_REPAIR_PAIR_KEY, job->repair.pair, strlen(job->repair.pair),
                                      error)))
        return error->status;
    return job->imatrix.file ? note_imatrix(job, error) : ORGAN_OK;
}

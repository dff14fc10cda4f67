/* SPDX-License-Identifier: MIT
 * Makes the names of factors, and writes factors in the layouts of peft and of llama.cpp. */
#include "formats/adapter/adapter_names.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/surgery/lora/adapter_write_parts.h"

#include <stdlib.h>
#include <string.h>

/* Returns the name of factor A or B of a pair, in GGUF or in peft's format. */
char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor)
{
    organ_adapter_name stored = {.module = pair->module, .length = strlen(pair->module)};
    if (gguf)
        return organ_format("%s.weight.lora_%c", pair->module, factor == 'A' ? 'a' : 'b');
    /* Factors of a parameter (ORGAN_FACTORS_PARAMETER) keep the module name of the stored A, the name of peft's
     * ParamWrapper, because `module` has the name of the parameter instead. */
    if (pair->layout == ORGAN_FACTORS_PARAMETER && !pair->origin)
        organ_adapter_name_read(pair->a->name, false, &stored);
    return organ_format("base_model.model.%.*s.lora_%s%c%s", (int)stored.length, stored.module,
                        pair->embedding ? "embedding_" : "", factor, pair->embedding ? "" : ".weight");
}

/* Appends A and B of a pair in the layout of the new adapter's format. `f` has A as [experts][rank][in] and B as
 * [experts][out][rank]. A single matrix is written without the dimension of experts. GGUF has A of embeddings
 * transposed. For a parameter, peft joins experts and rank to one dimension of A and of B. */
organ_status organ_adapter_writer_factors(organ_adapter_writer *w, const organ_kernels *kernels,
                                          const organ_adapter_pair *pair, organ_dtype dtype,
                                          const organ_lora_factors *f, organ_error *error)
{
    const bool gguf = w->architecture != NULL, transpose_a = gguf && pair->embedding,
               parameter = !gguf && pair->layout == ORGAN_FACTORS_PARAMETER;
    const unsigned rank = gguf && f->experts > 1 ? 3 : 2; /* dimensions of the written tensors */
    const uint64_t experts = f->experts;
    uint64_t a_shape[3] = {experts, f->rank, f->in}, b_shape[3] = {experts, f->out, f->rank};
    char *const a = organ_adapter_key(pair, gguf, 'A'), *const b = organ_adapter_key(pair, gguf, 'B');
    float *const transposed_a = transpose_a ? organ_lora_transposed(f->a, f->rank, f->in) : NULL;
    /* ORGAN_FACTORS_PARAMETER: B changes from [experts][out x rank] to [out x rank][experts], so that the columns of
     * one expert are every experts-th column of the written matrix */
    float *const parameter_b = parameter ? organ_lora_transposed(f->b, f->experts, f->out * f->rank) : NULL;
    if (transpose_a) {
        a_shape[1] = f->in;
        a_shape[2] = f->rank;
    } else if (parameter) {
        a_shape[1] *= experts;
        b_shape[2] *= experts;
    }
    if (!a || !b || (transpose_a && !transposed_a) || (parameter && !parameter_b))
        organ_fail_memory(error, pair->module);
    else if (organ_adapter_writer_add(w, kernels, a, dtype, rank, a_shape + 3 - rank, transpose_a ? transposed_a : f->a,
                                      error) == ORGAN_OK)
        organ_adapter_writer_add(w, kernels, b, dtype, rank, b_shape + 3 - rank, parameter ? parameter_b : f->b, error);
    free(a);
    free(b);
    free(transposed_a);
    free(parameter_b);
    return error->status;
}

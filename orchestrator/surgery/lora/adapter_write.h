/* SPDX-License-Identifier: MIT
 * Writes adapter directories in the format of peft (adapter_config.json, adapter_model.safetensors) or of llama.cpp
 * (adapter_model.gguf) through organ_write, which adds journal, --resume, ranks, reports and publishing. The verb lists
 * units: groups of tensors that are made together, such as the factors of a module. The ranks of factors need not be
 * known in advance. */
#ifndef ORGAN_ADAPTER_WRITE_H
#define ORGAN_ADAPTER_WRITE_H

#include <organ/weights.h>
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/write/write.h"

/* Returns the name of a factor of `pair` in an adapter's file. `factor` is 'A' or 'B'. The name is
 * "base_model.model.MODULE.lora_A.weight" or, for embeddings, "base_model.model.MODULE.lora_embedding_A" in peft's
 * format, "MODULE.weight.lora_a" in GGUF. Uses only the members module, embedding, layout, origin and, for
 * ORGAN_FACTORS_PARAMETER, a->name. The caller frees the name; NULL if out of memory. */
char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor);

/* Returns a name as a key of rank_pattern, a regular expression that matches only this name ("model\.layers\.0"). The
 * caller frees it; NULL if out of memory. */
char *organ_adapter_pattern(const char *name);

/* Returns an adapter_config.json with all members that peft, transformers and vLLM require. r and lora_alpha are `r`,
 * base_model_name_or_path is `base` (NULL: null), target_modules is the list `targets`, which the function takes over,
 * and the other members have the values of a plain LoRA adapter of a causal model. NULL if out of memory. */
json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets);

/* Returns a value of target_modules that selects the `count` modules of the given names: a list of the last words of
 * the names ("q_proj"), each word once, in alphabetical order. It also selects all other modules whose names end in
 * these words. NULL if out of memory. */
json_t *organ_adapter_targets(const char *const *modules, size_t count);

/* A unit of an adapter. */
typedef struct organ_adapter_unit {
    const char *name;      /* in the journal; the names of all units differ */
    uint64_t source_bytes; /* bytes that are read for it, for the progress */
    uint64_t most;         /* upper bound of the bytes of its tensors */
    /* The unit is a copy of this tensor of `model`, which gets the name `key`. `key` may be set as late as in `config`.
     * NULL: `fill` makes the unit. */
    const organ_tensor *same;
    const organ_model *model;
    const char *key;
} organ_adapter_unit;

typedef struct organ_adapter_writer organ_adapter_writer;

/* An adapter that organ_adapter_make makes. The callbacks get write.context. */
typedef struct organ_adapter_making {
    organ_write write; /* with the members that no comment of organ_adapter_make names */
    /* In the order of the adapter: units of wider elements first, because readers require aligned tensors. */
    const organ_adapter_unit *units;
    size_t unit_count;
    size_t tensors, name_bytes;    /* upper bounds of the number of tensors, and of the bytes of all their names */
    const char *architecture;      /* general.architecture of a GGUF adapter; NULL: an adapter of peft */
    const organ_adapter *files_of; /* adapter whose tokenizer and similar files are copied; NULL: none */
    /* Makes the units that are no copies and for which organ_adapter_done returns false, in any order: calls
     * organ_adapter_begin, organ_adapter_add and organ_adapter_end, and advances the progress. */
    organ_status (*fill)(void *context, organ_adapter_writer *writer, organ_error *error);
    /* Restores the results of a unit that organ_adapter_end got in another run or rank. Returns false if they are
     * malformed: the unit is then made again. */
    bool (*recall)(void *context, size_t unit, const json_t *results);
    /* Returns adapter_config.json, a new object, after all units are made; NULL with an error. All ranks call it. */
    json_t *(*config)(void *context, organ_error *error);
    uint64_t bytes; /* set before write.document is called: bytes of all tensors */
} organ_adapter_making;

/* Writes the adapter. Sets the members of organ_write that list and fill pieces and files. Returns the errors of
 * organ_write_run, of the callbacks and of organ_adapter_open for the finished adapter; ORGAN_BAD_INPUT if two tensors
 * have one name. */
organ_status organ_adapter_make(organ_adapter_making *making, json_t **report, organ_error *error);

/* ---- for `fill` ---- */

/* Returns whether this rank need not make the unit. */
bool organ_adapter_done(const organ_adapter_writer *writer, size_t unit);

/* Begins a unit. Returns ORGAN_IO if memory runs out. */
organ_status organ_adapter_begin(organ_adapter_writer *writer, size_t unit, organ_error *error);

/* Adds a tensor of `rank` dimensions to the unit. Rounds `values` to `dtype` (F32, F16 or BF16), ties to even. Returns
 * ORGAN_BAD_INPUT, with the tensor's name, if a value is not finite or exceeds the range of the type, or the unit has
 * no room for the tensor; ORGAN_IO if writing or memory fails. */
organ_status organ_adapter_add(organ_adapter_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                               const uint64_t *shape, const float *values, organ_error *error);

/* Adds A and B of a pair in the layout of the new adapter's format. Of `pair`, uses the members that organ_adapter_key
 * uses. Returns errors of organ_adapter_add. */
organ_status organ_adapter_add_factors(organ_adapter_writer *writer, const organ_adapter_pair *pair, organ_dtype dtype,
                                       const organ_lora_factors *factors, organ_error *error);

/* Completes the unit with its results, an object, which the function takes over. Returns ORGAN_IO if the journal cannot
 * be written or memory ran out. */
organ_status organ_adapter_end(organ_adapter_writer *writer, json_t *results, organ_error *error);

/* Returns a copy of the adapter's model that stands for its whole directory. */
organ_model organ_adapter_whole(const organ_adapter *adapter);

/* Returns ORGAN_USAGE if the output would be this adapter, be inside it or contain it. */
organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error);

#endif

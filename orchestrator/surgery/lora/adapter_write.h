/* SPDX-License-Identifier: MIT
 * Writes adapter directories in the format of peft (adapter_config.json, adapter_model.safetensors) or of llama.cpp
 * (adapter_model.gguf), with a report. The directory is published complete or not at all. The caller appends tensors
 * one by one, so that only one tensor is in memory and ranks of factors need not be known in advance.
 *
 * A turn is the number of a group of tensors, such as those of one module. One process of the run (rank, ranks.h)
 * appends all tensors of a turn. At the end the writer merges the files of all ranks in the order of turns, so that the
 * adapter does not depend on the number of ranks. */
#ifndef ORGAN_ADAPTER_WRITE_H
#define ORGAN_ADAPTER_WRITE_H

#include <organ/weights.h>
#include <organ/kernels.h>
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/output/output.h"

typedef struct organ_adapter_writer organ_adapter_writer;

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

/* Arguments of the writer for an adapter that a later run can continue. */
typedef struct organ_adapter_resumable {
    bool resume;  /* continue an interrupted run */
    size_t units; /* number of turns that organ_adapter_writer_done completes, for the message after an interruption */
    /* First line of the journal: everything that the adapter depends on, including the number of ranks. NULL: out of
     * memory. */
    json_t *head;
} organ_adapter_resumable;

/* Starts the output. `path` must be free, unless `force` is set and organ_check_replaceable accepts the output there
 * (`like`, `closed`: as in organ_output). The disk must have room for `bytes` bytes of data, with several ranks for
 * twice as many. `ranks` NULL: one process. The header gets room for at most `tensors` tensors, whose names
 * (organ_adapter_key) have `name_bytes` bytes in total. `resumable` is used only during the call, which takes over its
 * head; NULL: a later run cannot continue this one, and a failed run removes the output. Returns ORGAN_USAGE if the
 * path is taken or organ_run_journal_begin rejects continuing the interrupted run; ORGAN_IO if files or memory fail.
 * *writer is NULL on error; otherwise call organ_adapter_writer_end. */
organ_status organ_adapter_writer_begin(const char *path, const char *like, bool force, unsigned closed,
                                        organ_ranks *ranks, size_t tensors, size_t name_bytes, uint64_t bytes,
                                        const organ_adapter_resumable *resumable, organ_adapter_writer **writer,
                                        organ_error *error);

/* Sets the turn of the tensors that are appended next. The turns that one rank sets must not decrease. */
void organ_adapter_writer_turn(organ_adapter_writer *writer, size_t turn);

/* Sets the turn, in place of organ_adapter_writer_turn, if the writer has a journal. If the file still has the bytes
 * that an interrupted run appended in this turn, keeps them and returns the results that the interrupted run passed to
 * organ_adapter_writer_done; the writer owns them. Returns NULL if not: then the caller appends the tensors of the
 * turn, unless `error` is set. */
const json_t *organ_adapter_writer_recall(organ_adapter_writer *writer, size_t turn, organ_error *error);

/* Writes a completed turn, with the digest of its bytes and `results`, to the journal. Call it after all tensors of the
 * turn, if the writer has a journal. Takes over `results`, an object. Returns ORGAN_IO if reading or writing fails. */
organ_status organ_adapter_writer_done(organ_adapter_writer *writer, json_t *results, organ_error *error);

/* Appends a tensor of `rank` dimensions, shape[0] to shape[rank - 1]. Rounds `values` to `dtype` (F32, F16 or BF16),
 * ties to even. On one rank, tensors of wider element types must be appended before those of narrower types, because
 * readers require aligned tensors. Returns ORGAN_BAD_INPUT, with the tensor's name, if a value is not finite or exceeds
 * the range of the type, or organ_adapter_enter rejects the tensor; ORGAN_IO if writing or memory fails. */
organ_status organ_adapter_writer_add(organ_adapter_writer *writer, const organ_kernels *kernels, const char *name,
                                      organ_dtype dtype, unsigned rank, const uint64_t *shape, const float *values,
                                      organ_error *error);

/* Appends A and B of a pair, as `dtype`, in the layout of the new adapter's format: GGUF after
 * organ_adapter_writer_gguf, else peft's. Of `pair`, uses the members that organ_adapter_key uses. Returns errors of
 * organ_adapter_writer_add. */
organ_status organ_adapter_writer_factors(organ_adapter_writer *writer, const organ_kernels *kernels,
                                          const organ_adapter_pair *pair, organ_dtype dtype,
                                          const organ_lora_factors *factors, organ_error *error);

/* Makes the writer write adapter_model.gguf in place of adapter_model.safetensors and adapter_config.json.
 * `architecture`, the general.architecture of the base, must stay valid until the writer ends. Call it before a tensor
 * is appended. */
void organ_adapter_writer_gguf(organ_adapter_writer *writer, const char *architecture);

/* Appends a tensor of `model` byte for byte under the name `name`. On one rank, its elements must not be wider than
 * those of the tensor before. Returns ORGAN_BAD_INPUT if organ_adapter_enter rejects the tensor; ORGAN_IO if reading,
 * writing or memory fails. */
organ_status organ_adapter_writer_copy(organ_adapter_writer *writer, const organ_model *model,
                                       const organ_tensor *tensor, const char *name, organ_error *error);

/* Copies the files of `adapter` such as tokenizer and README to the new adapter, but not its adapter_config.json, its
 * weights (safetensors, their index, adapter_model.bin) and its folder organ/. Only rank 0 copies. Does nothing if the
 * old or the new adapter is GGUF. Returns ORGAN_IO if copying fails. */
organ_status organ_adapter_writer_copy_files(organ_adapter_writer *writer, const organ_adapter *adapter,
                                             organ_error *error);

/* Merges the files of all ranks, writes the header, and writes `config` as adapter_config.json or, after
 * organ_adapter_writer_gguf, the GGUF file. Then opens the result as an adapter, so that no unreadable adapter is
 * published. Returns ORGAN_IO if files or memory fail, and errors of organ_adapter_open. */
organ_status organ_adapter_writer_finish(organ_adapter_writer *writer, const json_t *config, organ_error *error);

/* Returns the bytes of tensor data that were appended so far; after organ_adapter_writer_finish, those of all ranks. */
uint64_t organ_adapter_writer_bytes(const organ_adapter_writer *writer);

/* Returns the writer's output, for organ_output_run. */
const organ_output *organ_adapter_writer_output(const organ_adapter_writer *writer);

/* Flushes all files to disk, so that the times of organ_adapter_writer_output include the flush. */
organ_status organ_adapter_writer_sync(organ_adapter_writer *writer, organ_error *error);

/* Writes the report as OUT/organ/NAME, as Markdown in OUT/organ/MARKDOWN_NAME, and as an HTML page next to it. */
organ_status organ_adapter_writer_report(organ_adapter_writer *writer, const char *name, const json_t *report,
                                         const char *markdown_name, organ_error *error);

/* Publishes the adapter or, if `error` is set, removes it, and frees the writer. NULL is allowed. */
organ_status organ_adapter_writer_end(organ_adapter_writer *writer, organ_error *error);

/* Returns ORGAN_USAGE if the output would be this adapter, be inside it or contain it. */
organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error);

#endif

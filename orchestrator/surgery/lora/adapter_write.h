/* SPDX-License-Identifier: MIT
 * Writes adapter directories in the format of peft (adapter_config.json, adapter_model.safetensors) or of llama.cpp
 * (adapter_model.gguf), with a report. The directory is published complete or not at all. Tensors are appended one by
 * one, so that only one tensor is in memory, and the rank of its factors need not be known in advance.
 *
 * A turn is a number for the tensors of one module. Each turn belongs to one rank, which appends its tensors; at the
 * end the writer merges the files of all ranks in the order of turns, so that the adapter does not depend on the number
 * of ranks. */
#ifndef ORGAN_ADAPTER_WRITE_H
#define ORGAN_ADAPTER_WRITE_H

#include "formats/adapter/adapter.h"
#include "kernels/kernels.h"
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/output/output.h"

typedef struct organ_adapter_writer organ_adapter_writer;

/* Returns the name of a factor ('A' or 'B') of a module in an adapter's file: "base_model.model.MODULE.lora_A.weight"
 * or "base_model.model.MODULE.lora_embedding_A" in peft's format, "MODULE.weight.lora_a" in GGUF. The caller frees it;
 * NULL if out of memory. */
char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor);

/* Returns an adapter_config.json with all members that peft, transformers and vLLM require: peft_type, r, lora_alpha =
 * r, base_model_name_or_path (`base`; NULL: null), target_modules, task_type "CAUSAL_LM", bias "none", modules_to_save
 * null and others. Takes over `targets`, a list. NULL if out of memory. */
json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets);

/* Returns target_modules that select every module of the given names: the last word of each name ("q_proj"), each once,
 * in alphabetical order. NULL if out of memory. */
json_t *organ_adapter_targets(const char *const *modules, size_t count);

/* Arguments of the writer for an adapter that a later run can continue. */
typedef struct organ_adapter_resumable {
    bool resume;  /* continue an interrupted run */
    size_t units; /* number of modules, for the message after an interruption */
    /* First line of the journal: everything that the adapter depends on, including the number of ranks. NULL: out of
     * memory. */
    json_t *head;
} organ_adapter_resumable;

/* Starts the output. `path` must be free, unless `force` is set and organ_check_replaceable accepts it (see there for
 * `like`). The disk must have room for `bytes` bytes of data, with several ranks for twice as many. `ranks` NULL: one
 * process. The header gets room for at most `tensors` tensors, whose names (organ_adapter_key) have `name_bytes` bytes
 * in total. `resumable` is used only during the call, and its head is taken over; NULL: a failed run removes the
 * output. Returns ORGAN_USAGE if the path is taken or organ_run_journal_begin refuses to continue, ORGAN_IO if files or
 * memory fail. *writer is NULL on error; otherwise call organ_adapter_writer_end. */
organ_status organ_adapter_writer_begin(const char *path, const char *like, bool force, organ_ranks *ranks,
                                        size_t tensors, size_t name_bytes, uint64_t bytes,
                                        const organ_adapter_resumable *resumable, organ_adapter_writer **writer,
                                        organ_error *error);

/* Sets the turn of the tensors that are appended next. On one rank, turns must not decrease. */
void organ_adapter_writer_turn(organ_adapter_writer *writer, size_t turn);

/* For adapters that can be continued. organ_adapter_writer_recall sets the turn. If the file has the bytes that an
 * interrupted run appended in this turn, the function keeps the bytes and returns the results that the run passed to
 * organ_adapter_writer_done (owned by the writer). If it returns NULL, the caller must append the tensors, or `error`
 * is set. organ_adapter_writer_done, called after all tensors of a turn, writes the turn to the journal with `results`,
 * an object that it takes over; returns ORGAN_IO if that fails. */
const json_t *organ_adapter_writer_recall(organ_adapter_writer *writer, size_t turn, organ_error *error);
organ_status organ_adapter_writer_done(organ_adapter_writer *writer, json_t *results, organ_error *error);

/* Appends a tensor of `rank` dimensions; `values` are rounded to `dtype` (F32, F16, BF16), ties to even. Four-byte
 * types must precede two-byte types, because readers require aligned tensors. Returns ORGAN_BAD_INPUT, with the
 * tensor's name, if a value is not finite or exceeds the range of the type; ORGAN_IO if writing fails. */
organ_status organ_adapter_writer_add(organ_adapter_writer *writer, const organ_kernels *kernels, const char *name,
                                      organ_dtype dtype, unsigned rank, const uint64_t *shape, const float *values,
                                      organ_error *error);

/* Appends both factors of a pair, in the layout of the adapter's format. Returns errors of organ_adapter_writer_add. */
organ_status organ_adapter_writer_factors(organ_adapter_writer *writer, const organ_kernels *kernels,
                                          const organ_adapter_pair *pair, organ_dtype dtype,
                                          const organ_lora_factors *factors, organ_error *error);

/* Makes the adapter a GGUF file for a base with this general.architecture, which must stay valid until the writer ends:
 * adapter_model.gguf replaces adapter_model.safetensors and adapter_config.json. Call it before a tensor is
 * appended. */
void organ_adapter_writer_gguf(organ_adapter_writer *writer, const char *architecture);

/* Appends a tensor of `model` byte for byte under the name `name`. The order of types is as in
 * organ_adapter_writer_add. */
organ_status organ_adapter_writer_copy(organ_adapter_writer *writer, const organ_model *model,
                                       const organ_tensor *tensor, const char *name, organ_error *error);

/* Copies the other files of an adapter, such as tokenizer and README, but not its config, its weights and the folder
 * organ/. Only rank 0 copies. Does nothing if the old or the new adapter is GGUF. */
organ_status organ_adapter_writer_copy_files(organ_adapter_writer *writer, const organ_adapter *adapter,
                                             organ_error *error);

/* Merges the tensors of all ranks, writes the header and adapter_config.json or the GGUF file, and opens the result as
 * an adapter, so that no unreadable adapter is published. */
organ_status organ_adapter_writer_finish(organ_adapter_writer *writer, const json_t *config, organ_error *error);

/* Return the bytes of tensor data in adapter_model.safetensors so far, and the output, for organ_output_run. */
uint64_t organ_adapter_writer_bytes(const organ_adapter_writer *writer);
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

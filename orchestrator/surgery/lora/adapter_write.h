/* SPDX-License-Identifier: MIT
 * A new adapter directory as peft reads it: adapter_config.json, adapter_model.safetensors, a report; there whole or
 * not at all. Tensors are appended one after the other, so that only one of them is in memory and its rank need not be
 * known before. Of several processes each appends what it has made, and in the end all of it stands in the order of
 * turns. */
#ifndef ORGAN_ADAPTER_WRITE_H
#define ORGAN_ADAPTER_WRITE_H

#include "formats/adapter/adapter.h"
#include "kernels/kernels.h"
#include "orchestrator/surgery/output/output.h"

typedef struct organ_adapter_writer organ_adapter_writer;

/* The keys that peft gives the factors of a module, as "base_model.model.MODULE.lora_A.weight" ('A' or 'B'); of an
 * embedding "base_model.model.MODULE.lora_embedding_A". To be freed; NULL without memory. */
char *organ_adapter_key(const char *module, char factor, bool embedding);

/* A config with all that peft, transformers and vLLM ask for: peft_type, r, lora_alpha = r, base_model_name_or_path
 * (NULL: null), target_modules, task_type "CAUSAL_LM", bias "none", modules_to_save null and so on. Takes the reference
 * to `targets`, a list. NULL without memory. */
json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets);

/* The last words of the modules ("q_proj"), each once, in the order of the alphabet: target_modules where every module
 * of those names is meant. NULL without memory. */
json_t *organ_adapter_targets(const char *const *modules, size_t count);

/* Of an adapter that a later run can continue. */
typedef struct organ_adapter_resumable {
    bool resume;  /* continue what an earlier run has left */
    size_t units; /* turns that there will be, for messages */
    json_t *head; /* what the adapter depends on, the number of ranks included: the first line of the journal. NULL: no
                     memory */
} organ_adapter_resumable;

/* Starts the output, for which the place must be free (or `force` given; `like` as in organ_check_replaceable) and the
 * disk have room for `bytes`, for ranks (NULL: this process alone) twice. At most `tensors` tensors may come, whose
 * names have `name_bytes` bytes together (organ_adapter_key gives them): room for the header is kept. `resumable`
 * (NULL: the output goes with a run that fails) is read here alone, its head taken over. ORGAN_USAGE, also as
 * organ_run_journal_begin; ORGAN_IO. *writer is NULL on error, else organ_adapter_writer_end must follow. */
organ_status organ_adapter_writer_begin(const char *path, const char *like, bool force, organ_ranks *ranks,
                                        size_t tensors, size_t name_bytes, uint64_t bytes,
                                        const organ_adapter_resumable *resumable, organ_adapter_writer **writer,
                                        organ_error *error);

/* What is appended next has this turn, of which each belongs to one of the ranks, and none is lower than the one
 * before. */
void organ_adapter_writer_turn(organ_adapter_writer *writer, size_t turn);

/* For adapters that can be resumed. Recall does what organ_adapter_writer_turn does; if the file has the bytes that an
 * earlier run appended in this turn, it takes them over and returns the results that the run gave to
 * organ_adapter_writer_done (which belong to the writer). NULL: the caller must append, or `error` is set. Done, after
 * all of a turn was appended: writes it into the journal with `results`, an object, taken over. ORGAN_IO. */
const json_t *organ_adapter_writer_recall(organ_adapter_writer *writer, size_t turn, organ_error *error);
organ_status organ_adapter_writer_done(organ_adapter_writer *writer, json_t *results, organ_error *error);

/* Appends a tensor of `rank` dimensions; `values` are rounded to `dtype` (F32, F16, BF16) to nearest even. Types of
 * four bytes must come before those of two: readers want tensors aligned. ORGAN_BAD_INPUT, naming the tensor, if a
 * value is not finite or leaves the range of the type; ORGAN_IO. */
organ_status organ_adapter_writer_add(organ_adapter_writer *writer, const organ_kernels *kernels, const char *name,
                                      organ_dtype dtype, unsigned rank, const uint64_t *shape, const float *values,
                                      organ_error *error);

/* Appends a tensor byte for byte. The same order holds. */
organ_status organ_adapter_writer_copy(organ_adapter_writer *writer, const organ_model *model,
                                       const organ_tensor *tensor, const char *name, organ_error *error);

/* Copies the other files of an adapter: the tokenizer, its README; not its config, weights and what is in organ/. */
organ_status organ_adapter_writer_beside(organ_adapter_writer *writer, const organ_adapter *adapter,
                                         organ_error *error);

/* Brings together what the ranks have appended, writes the header and adapter_config.json and opens what was made as an
 * adapter, so that nothing is published that could not be read. */
organ_status organ_adapter_writer_finish(organ_adapter_writer *writer, const json_t *config, organ_error *error);

/* Bytes of adapter_model.safetensors so far, and what organ_output_run takes. */
uint64_t organ_adapter_writer_bytes(const organ_adapter_writer *writer);
const organ_output *organ_adapter_writer_output(const organ_adapter_writer *writer);

/* Brings everything to the disk: what organ_adapter_writer_output says of its time is then right. */
organ_status organ_adapter_writer_sync(organ_adapter_writer *writer, organ_error *error);

/* Writes OUT/organ/NAME, OUT/organ/MARKDOWN_NAME, which has what `markdown` makes of the report, and its page beside
 * it. */
organ_status organ_adapter_writer_report(organ_adapter_writer *writer, const char *name, const json_t *report,
                                         const char *markdown_name, organ_error *error);

/* Publishes the adapter or, if `error` is set, removes it, and frees the writer. NULL is allowed. */
organ_status organ_adapter_writer_end(organ_adapter_writer *writer, organ_error *error);

/* ORGAN_USAGE if the output would be this adapter, lie in it or swallow it. */
organ_status organ_adapter_spares(const char *path, const organ_adapter *adapter, organ_error *error);

#endif

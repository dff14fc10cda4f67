/* SPDX-License-Identifier: MIT
 * Moves tensors between models without changing their values. */
#ifndef ORGAN_API_ORGANS_H
#define ORGAN_API_ORGANS_H

#include <organ/base.h>
#include <organ/options.h>

ORGAN_API_BEGIN

/* ---- extract: splits a model into an organ directory, with one file for each tensor ---- */

typedef struct organ_extract_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    organ_write_options write;
    const char *resumed_by;           /* how a user continues an interrupted run, for its message; NULL: "--resume" */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;  /* the processes that share the work (room ranks); NULL: this process does it alone */
    const organ_engine *engine; /* its workers copy the tensors; NULL: threads that are started for the run */
    /* "mtp": only the blocks for multi-token prediction, of a GGUF model also embedding, final norm and output head;
     * NULL or "all": all tensors */
    const char *select;
} organ_extract_options;
ORGAN_DEFAULTS(extract, )

/* Extracts all tensors and creates the report of schema organ.extract/1, which the caller releases (NULL on error).
 * With write.dry_run nothing is written.
 *
 * Returns ORGAN_USAGE if the output exists or would overwrite the model, or if an unfinished run is found that is not
 * continued or has other options; ORGAN_BAD_INPUT if the model is malformed or changed during the run (the output is
 * removed); ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. After the last two
 * statuses the unfinished output is kept with a journal, and write.resume continues it to the same bytes. */
organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop,
                           json_t **report, organ_error *error);

/* ---- assemble: restores the files of a model from an organ directory ---- */

typedef struct organ_assemble_options {
    size_t size;           /* see ORGAN_DEFAULTS */
    const char *directory; /* an organ directory, or another model, whose split files can be merged */
    organ_write_options write;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;  /* the processes that share the work (room ranks); NULL: this process does it alone */
    const organ_engine *engine; /* its workers copy the tensors; NULL: threads that are started for the run */
    const char
        *select; /* as in organ_extract_options: "mtp" makes the file mtp-NAME.gguf that llama.cpp loads as a draft */
} organ_assemble_options;
ORGAN_DEFAULTS(assemble, )

/* Assembles the model and creates the report of schema organ.assemble/1, which the caller releases (NULL on error). An
 * output that ends in .gguf or .safetensors is one file. If the donor had one file, the output has the same bytes; if
 * it had several, the output has all their tensors and a new header. Any other output is a directory with the files of
 * the donor, byte for byte, and with the other files of the donor's folder. If the bytes of a tensor were changed since
 * they were extracted, the changed bytes are used and the report lists the tensor. Returns ORGAN_USAGE if the output
 * exists, would overwrite an input or has another format than the donor, or if an unfinished run is found that is not
 * continued or has other options; ORGAN_BAD_INPUT if the directory is malformed or changed during the run; ORGAN_IO if
 * reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. write.resume continues a run that ended
 * with one of the last two statuses. */
organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress,
                            const organ_stop *stop, json_t **report, organ_error *error);

/* ---- gguf: writes the tensors of a GGUF model into other files, or with other key-values ---- */

typedef struct organ_gguf_split_options {
    size_t size;       /* see ORGAN_DEFAULTS */
    const char *model; /* a GGUF model; if it is split already, its files are divided again */
    /* write.output is the beginning of the names of the files: PREFIX-00001-of-00003.gguf and so on.
     * write.max_shard_size: upper bound of the bytes of tensors in a file, each padded to 32 bytes; 0: none */
    organ_write_options write;
    unsigned max_tensors;             /* largest number of tensors in a file; 0: any. Exactly one bound is needed */
    bool no_tensor_first_split;       /* the first file has key-values and no tensors */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;  /* the processes that share the work (room ranks); NULL: this process does it alone */
    const organ_engine *engine; /* its workers copy the tensors; NULL: threads that are started for the run */
} organ_gguf_split_options;
ORGAN_DEFAULTS(gguf_split, )

typedef struct organ_gguf_join_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *model;         /* a split GGUF model: any of its files, or a directory */
    organ_write_options write; /* write.output: the file X.gguf */
    const organ_model_access *access;
    struct organ_ranks *ranks;
    const organ_engine *engine; /* these three as in organ_gguf_split_options */
} organ_gguf_join_options;
ORGAN_DEFAULTS(gguf_join, )

typedef struct organ_gguf_edit_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *model;         /* a GGUF model; a split one becomes one file */
    organ_write_options write; /* write.output: the file X.gguf */
    /* `metadata_count` settings "KEY=VALUE" or "KEY:TYPE=VALUE". An existing key keeps its type; a new one needs TYPE:
     * uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64, bool, string, or one of them with
     * "[]". VALUE is a number, true or false, a text, for arrays a JSON array, or for texts and arrays "@" and the path
     * of a file with it. */
    const char *const *metadata;
    size_t metadata_count;
    const char *const *removed; /* `removed_count` keys to remove */
    size_t removed_count;
    const organ_model_access *access;
    struct organ_ranks *ranks;
    const organ_engine *engine; /* these three as in organ_gguf_split_options */
} organ_gguf_edit_options;
ORGAN_DEFAULTS(gguf_edit, )

/* Write the tensors of the model byte for byte, and create the report of schema organ.gguf/1, which the caller releases
 * (NULL on error). organ_gguf_split divides them as llama-gguf-split does: the first file has all key-values, and each
 * has split.no, split.count and split.tensors.count. organ_gguf_join leaves out split.*.
 *
 * Return ORGAN_USAGE if the model is not GGUF, if the output exists, would overwrite the model or is no .gguf file, if
 * an unfinished run is found that is not continued or has other options, if a tensor is larger than
 * write.max_shard_size or the model would have more than 1,025 files, or if a setting has no meaning: an unknown key
 * without TYPE, another type than the key has, or a key that describes tensors or files. Return ORGAN_BAD_INPUT if the
 * model is malformed, not split (organ_gguf_join) or changed during the run, if a value does not fit its type, or if
 * the model does not open with the new key-values; ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a
 * stop was requested. write.resume continues a run that ended with one of the last two statuses. */
organ_status organ_gguf_split(const organ_gguf_split_options *options, const organ_progress *progress,
                              const organ_stop *stop, json_t **report, organ_error *error);
organ_status organ_gguf_join(const organ_gguf_join_options *options, const organ_progress *progress,
                             const organ_stop *stop, json_t **report, organ_error *error);
organ_status organ_gguf_edit(const organ_gguf_edit_options *options, const organ_progress *progress,
                             const organ_stop *stop, json_t **report, organ_error *error);

/* ---- patch: stores a model as its changes from another one, and makes it again ---- */

typedef struct organ_patch_extract_options {
    size_t size;       /* see ORGAN_DEFAULTS */
    const char *base;  /* the model from which the changes are taken */
    const char *tuned; /* the model to which they lead: local files */
    /* write.output: a new directory. write.max_shard_size: upper bound of the bytes of changes in a file */
    organ_write_options write;
    const char *encoding; /* "xor": new bytes ^ old bytes; "overwrite": positions and new bytes; NULL: xor */
    const char *checksum; /* of the new bytes of a tensor: "xxh3-128", "adler32"; NULL: xxh3-128 */
    unsigned level;       /* of Zstandard, 1 to 9; 0: 1 */
    const char *version, *base_version; /* labels of both models in the patch; NULL: "000001", "000000" */
    const organ_model_access *access;   /* access to a base behind a URL; NULL: defaults */
} organ_patch_extract_options;
ORGAN_DEFAULTS(patch_extract, o.level = 1)

typedef struct organ_patch_apply_options {
    size_t size;                      /* see ORGAN_DEFAULTS */
    const char *base;                 /* the model of which the patch was made */
    const char *patch;                /* a directory of organ_patch_extract, or weight deltas of slime */
    organ_write_options write;        /* write.output: a directory or, for a model of one file, a file of its format */
    const organ_model_access *access; /* access to a base or patch behind a URL; NULL: defaults */
} organ_patch_apply_options;
ORGAN_DEFAULTS(patch_apply, )

/* organ_patch_extract compares all tensors of both models and writes the changes in the directory layout of slime's
 * weight deltas, with a manifest of all files of the tuned model. A dry run reads both models, too. organ_patch_apply
 * writes the tuned model again, byte for byte, and compares each tensor of base and result with the checksums of the
 * patch. Both create the report of schema organ.patch/1, which the caller releases (NULL on error).
 *
 * Return ORGAN_USAGE if the output exists or would overwrite an input, if an unfinished run is found that is not
 * continued or has other options, if an option has a wrong value, or if `write.output` cannot have the form of the
 * result; ORGAN_BAD_INPUT if a model or the patch is malformed, or the base is another one than that of the patch, with
 * the first tensor or file that differs in the message; ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED
 * if a stop was requested. write.resume continues a run that ended with one of the last two statuses. */
organ_status organ_patch_extract(const organ_patch_extract_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);
organ_status organ_patch_apply(const organ_patch_apply_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

/* ---- graft: replaces tensors in a copy of one model by those of another ---- */

typedef struct organ_graft_options {
    size_t size;        /* see ORGAN_DEFAULTS */
    const char *source; /* path of the model whose tensors are copied */
    const char *target; /* path of the model whose copy gets these tensors */
    const char *types; /* groups of tensors of the source to copy, comma-separated: skeleton, organ, embed, norm, other;
                        * NULL or "all": all; "mtp" alone: the blocks for multi-token prediction, in place of
                        * those of the target */
    const char *layers;        /* layers of the source to copy: "5-20", "0-3,8"; NULL: all layers, and tensors
                                * outside of layers */
    const char *map;           /* layer number in the target of each source layer ("5-20:6-21,30:31"); NULL: the same */
    organ_write_options write; /* output in the format of the target: .gguf, .safetensors, a directory of either, an
                                * organ directory */
    /* Its workers copy the tensors and run write.evaluate, which needs it. NULL: threads that are started for the run
     */
    const organ_engine *engine;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks; /* the processes that share the work (room ranks); NULL: this process does it alone */
    /* With types "mtp": changes the projection of each block by least squares, so that on `calibration` the block's
     * layer gets from the target's states what it gets from the source's. Both models must be complete, and `engine`
     * set. */
    bool refit;
    organ_calibration_text calibration;
} organ_graft_options;
ORGAN_DEFAULTS(graft, o.calibration.samples = ORGAN_SAMPLES_DEFAULT; o.calibration.context = ORGAN_CONTEXT_DEFAULT)

/* Writes a copy of the target with tensors of the source; both models are opened read-only. Creates the report of
 * schema organ.graft/1, which the caller releases. Finds all mismatches of the two models before it writes anything: if
 * there are any, returns ORGAN_BAD_INPUT, with all of them as "mismatches" in *report.
 *
 * If the target is GGUF and its header can be rewritten, a copied tensor keeps the type that it has in the source;
 * otherwise it is converted by `kernels` to the type of the replaced tensor. Other errors: ORGAN_USAGE if the output
 * exists or would overwrite an input, if an unfinished run is found that is not continued or has other options, or if
 * the selection is invalid; ORGAN_BAD_INPUT if a model is malformed or changed during the run; ORGAN_IO if reading,
 * writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. With write.evaluate also the errors of
 * organ_perplexity. Errors of the evaluation that can be found early are returned before anything is written; after a
 * later error the complete output is kept and *report has the reason. */
organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels,
                         const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif

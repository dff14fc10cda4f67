/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of a graft: graft.c is the verb, graft_match.c pairs tensors and finds
 * mismatches. A mismatch is a reason, in
 * one sentence, why tensors of the source do not fit into the target. */
#ifndef ORGAN_VERBS_GRAFT_GRAFT_PARTS_H
#define ORGAN_VERBS_GRAFT_GRAFT_PARTS_H

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/pairing.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/surgery/layers/layer_settings.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/organs.h>

/* Layer `from` of the source and its number `to` in the output. If the target has a layer `to`, the selected tensors of
 * `from` replace those of `to`; otherwise they are added as a new layer. */
typedef struct organ_layer_pair {
    int32_t from, to;
    int32_t like; /* layer of the target whose settings the layer gets; -1: see organ_graft_is_described */
} organ_layer_pair;

/* config.json of a model. */
typedef struct organ_graft_config {
    json_t *root;         /* the document; NULL: the model has none, or is GGUF */
    const json_t *object; /* the object that describes the layers; NULL: none is known */
    size_t layers;        /* number of layers without draft layers */
} organ_graft_config;

/* Blocks for multi-token prediction of a model. */
typedef struct graft_block_side {
    const organ_model *model;
    const char *label; /* "source" or "target" */
    organ_graft_config *config;
    const organ_mtp_type *type; /* NULL: organ knows no blocks of the model */
    const organ_draft_family *family;
    int32_t trunk, blocks;           /* layers without those of blocks; blocks that have tensors */
    int64_t stated;                  /* blocks that the model states; -1: it states none */
    char member[ORGAN_MTP_KEY_ROOM]; /* where it states them */
} graft_block_side;

/* A graft of blocks (--select mtp). */
typedef struct graft_block {
    bool chosen; /* false: another graft */
    graft_block_side source, target;
    organ_weights *sources, *targets; /* their weights */
    bool removed;                     /* the target has tensors that the output lacks */
    organ_weight *quantised;          /* packed weights of the output, with their names there */
    size_t quantised_count;
} graft_block;

/* One graft. */
typedef struct organ_graft_job {
    const organ_graft_options *options;
    const char *source_path; /* of the model that is opened as the source: options->source, or its converted block */
    organ_model *source, *target;
    organ_selection selection; /* options->types and options->layers, parsed */
    unsigned groups;           /* bit k: tensors of organ_group k are selected */
    organ_layer_moves map;     /* options->map, parsed */
    organ_layout layout;       /* of the output: pieces[k] is tensor k of the target, added tensors follow */
    bool single;               /* the output is one file */
    const organ_kernels *kernels;
    const organ_progress *progress;
    const organ_stop *stop;
    organ_layer_pair *pairs; /* one for each source layer with selected tensors, ordered by `to` */
    size_t pair_count;
    int32_t source_layers, target_layers; /* numbers of layers: one more than the highest layer number of a tensor */
    int32_t layers_after;                 /* number of layers of the output */
    bool *taken;                          /* taken[k]: piece k is from the source and replaces a tensor or is added */
    bool packed;                          /* a model has packed weights */
    size_t added, removed;                /* numbers of tensors that layers of another kind add and remove */
    size_t converted;                     /* number of tensors that are converted to another type */
    bool names_differ;                    /* exactly one of the models is GGUF, so the names of their tensors differ */
    bool written_again; /* the header is rewritten: types, layers or metadata change, or files are merged */
    /* arrays of sentences for the report; those in `metadata` describe changes of key-values */
    json_t *mismatches, *notes, *metadata;
    json_t *clashes; /* rows of organ_settings_compare */
    organ_graft_config source_config, target_config;
    graft_block block;
    struct organ_graft_refit *refit; /* NULL: none */
    bool editable;  /* whole layers are grafted, and the output has a config.json that can say what they are */
    bool described; /* editable, and both models have a config.json of one model_type */
} organ_graft_job;

/* Returns whether the output can have another header than the target, so that types of tensors and the number of layers
 * may change: the target is GGUF, and the output is one file or an organ directory. */
bool organ_graft_header_is_free(const organ_graft_job *job);

/* Pairs layers of both models; appends mismatches to job->mismatches. Returns ORGAN_USAGE if two source layers would
 * get the same number; ORGAN_IO if memory runs out. */
organ_status organ_graft_pair_layers(organ_graft_job *job, organ_error *error);
/* Pairs tensors of both models and changes the layout; appends mismatches to job->mismatches. Needs the results of
 * organ_graft_pair_layers, organ_graft_packed and organ_graft_load_configs. Returns ORGAN_USAGE if no tensor is
 * selected; ORGAN_IO if memory runs out. */
organ_status organ_graft_match(organ_graft_job *job, organ_error *error);
/* Writes to `counterpart` the name that the source tensor `name` has in the target, in the target's format and at the
 * layer to which --map moves it. `anatomy` is that of the source tensor. Returns false if the format has no such
 * name. */
bool organ_graft_counterpart(const organ_graft_job *job, const char *name, const organ_anatomy *anatomy,
                             char counterpart[ORGAN_COUNTERPART_SIZE]);

/* Appends a mismatch for each size in which the models differ and that tensors of the group have. */
void organ_graft_compare_sizes(const organ_graft_job *job, organ_group group);
/* Appends a mismatch if GGUF models have as many tokens, but others. */
void organ_graft_compare_tokens(const organ_graft_job *job);
/* Returns the piece `name` that is copied from a tensor of the source. Its name is NULL if memory runs out. */
organ_piece organ_graft_piece(organ_graft_job *job, const organ_tensor *from, const char *name);

/* Removes the pieces without a model. Tensors of the target then no longer have the indices of their pieces. */
void organ_graft_remove_pieces(organ_graft_job *job);
/* Returns whether two packed weights have one scheme, equal groups and types, so that one can replace the other. */
bool organ_graft_packed_alike(const organ_weight *a, const organ_weight *b);

/* Compares the settings of both models: fills job->clashes and adds notes. Returns ORGAN_IO if memory runs out. */
organ_status organ_graft_compare_settings(organ_graft_job *job, organ_error *error);

/* Returns whether whole layers are grafted, so that key-values with a value for each layer become those of the source.
 */
bool organ_graft_whole_layers(const organ_graft_job *job);
/* Appends a mismatch for each grafted layer of another kind than the target's settings state for it, unless config.json
 * of the output can state it, and for settings that count the last layers if layers are added. Models whose
 * architecture organ does not know are not compared. */
void organ_graft_compare_layers(organ_graft_job *job, bool whole);

/* Reads both config.json, and sets `editable` and `described`. Returns errors of reading. */
organ_status organ_graft_load_configs(organ_graft_job *job, organ_error *error);
/* Returns whether the output's config.json gets what that of the source says of the layer. */
bool organ_graft_is_described(const organ_graft_job *job, const organ_layer_pair *pair);
/* Edits config.json of the output (organ_write.edit). `context` is the job. Returns errors of organ_layers_edit. */
organ_status organ_graft_edit_config(void *context, organ_json_edit *config, organ_error *error);
/* Edits a copy of config.json in memory, appends a sentence for each changed member to job->metadata, and compares the
 * result, unless the block is grafted, with the kinds of the output's layers. kinds[n] NULL: unknown; `kinds` NULL:
 * they are not compared. Returns errors of organ_layers_edit and organ_layers_check. */
organ_status organ_graft_try_config(organ_graft_job *job, const organ_layer_kind *const *kinds, organ_error *error);
/* If a layer gets another number, appends a mismatch for a setting by layer that organ does not know. */
void organ_graft_check_unknown(organ_graft_job *job);

/* Checks that packed weights are grafted only between models that pack them in the same way, sets job->packed, and adds
 * a note for each weight of the target that has entries for each layer, which stay. Returns ORGAN_BAD_INPUT if
 * source and target pack a selected weight differently, or if only one of them packs it; also the errors of
 * organ_weights_find. Models without packed weights pass. */
organ_status organ_graft_packed(organ_graft_job *job, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of a graft: graft.c is the verb, graft_match.c pairs tensors and finds
 * mismatches, graft_metadata.c adapts key-values. */
#ifndef ORGAN_GRAFT_JOB_H
#define ORGAN_GRAFT_JOB_H

#include "formats/tensor/counterpart.h"
#include "orchestrator/surgery/organs/graft.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/inputs/inputs.h"

/* A layer of the source, and the layer of the target that it replaces, or that some of its tensors replace. */
typedef struct organ_layer_pair {
    int32_t from, to;
} organ_layer_pair;

/* One graft. */
typedef struct organ_graft_job {
    const organ_graft_options *options;
    organ_model *source, *target;
    organ_selection selection;
    organ_layer_moves map; /* options->map, parsed */
    organ_layout layout;   /* of the output: pieces[k] is tensor k of the target, added tensors follow */
    bool single;           /* the output is one file */
    const organ_kernels *kernels;
    const organ_progress *progress;
    const organ_stop *stop;
    organ_layer_pair *pairs; /* ordered by `to`, each layer once */
    size_t pair_count;
    int32_t source_layers, target_layers; /* number of layers: one more than the highest layer number */
    int32_t layers_after;                 /* number of layers of the output */
    bool *taken;                          /* for each piece: its bytes are those of the source */
    size_t converted;                     /* number of tensors that are converted to another type */
    bool names_differ;                    /* exactly one of the models is GGUF, so the names of their tensors differ */
    bool written_again; /* the header is rewritten: types, layers or metadata change, or files are merged */
    json_t *mismatches, *notes, *metadata; /* arrays of sentences */
} organ_graft_job;

/* Appends a sentence to job->mismatches, job->notes or job->metadata. */
void organ_graft_add_sentence(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns whether the header of the output can differ from that of the target, so that types and layers may change: the
 * target is GGUF, and the output is one file or an organ directory. */
bool organ_graft_header_is_free(const organ_graft_job *job);

/* Pairs layers and tensors and changes the layout; appends mismatches to job->mismatches. Returns ORGAN_USAGE if two
 * layers would get the same position or no tensor is selected; ORGAN_IO without memory. */
organ_status organ_graft_match(organ_graft_job *job, organ_error *error);
/* Writes the name in the target of a source tensor `name`, at its position in the target. Returns false if the format
 * of the target has no name for it. */
bool organ_graft_counterpart(const organ_graft_job *job, const char *name, const organ_anatomy *anatomy,
                             char counterpart[ORGAN_COUNTERPART_SIZE]);

/* Checks that packed weights are grafted only between models that pack them in the same way. Returns ORGAN_BAD_INPUT if
 * source and target pack a selected weight differently, or if only one of them packs it; also the errors of
 * organ_weights_find. Models without packed weights pass. */
organ_status organ_graft_packed(organ_graft_job *job, organ_error *error);

/* Creates the key-values of the output: those of the target, in which arrays with one value for each layer are adapted
 * to the new layers. Sets *writer to NULL if nothing changes and the header of the target is used. Appends to
 * job->metadata and job->mismatches. */
organ_status organ_graft_metadata(organ_graft_job *job, organ_gguf_writer **writer, organ_error *error);

#endif

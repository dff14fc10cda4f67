/* SPDX-License-Identifier: MIT
 * Private to surgery/cut: plan and state of a smaller model. A piece is a tensor of the output. A refitted tensor is
 * one whose kept part gets new values (organ_cut_out.refitted). */
#ifndef ORGAN_CUT_JOB_H
#define ORGAN_CUT_JOB_H

#include "formats/base/arena.h"
#include <organ/weights.h>
#include "orchestrator/surgery/cut/cut.h"

#include <pthread.h>

#define ORGAN_CUT_AXES ((size_t)6) /* most axes of a tensor that can be cut */

/* A tensor of the output that has only some of the bytes of the donor's tensor, or new ones. */
typedef struct organ_cut_part {
    const organ_tensor *tensor;          /* in the donor */
    size_t piece;                        /* index in organ_cut_run.pieces */
    uint64_t shape[ORGAN_CUT_AXES];      /* shape in the output */
    organ_cut_keep axes[ORGAN_CUT_AXES]; /* kept entries of each axis; on the last axis of GGUF blocks, kept blocks */
    /* For each entry of the first axis in the donor (an expert), the kept entries of axis `each_axis`: the same number,
     * at different positions. NULL: all entries keep the same positions. */
    const organ_cut_keep *each;
    unsigned each_axis;          /* used with `each` */
    const unsigned char *values; /* the bytes in the output if the plan computes them (a weight_shape), in the arena;
                                    NULL: kept bytes of the donor */
    size_t matrices;             /* number of matrices in the output of a refitted tensor; 0: not refitted */
    size_t put;                  /* how many of them organ_cut_put has stored so far */
    uint64_t xxh3;               /* XXH3 of the bytes of a refitted tensor in the output; set after all were written */
} organ_cut_part;

/* Properties of a layer of the donor, from its tensors and the configuration. */
typedef struct organ_cut_facts {
    int32_t becomes;       /* layer number in the output, -1: removed */
    uint32_t experts;      /* number of routed experts in the donor, 0: none */
    uint32_t kept_experts; /* number of them in the output */
    int32_t *expert_of;    /* for each expert of the donor its number in the output, -1: removed; NULL: all are kept */
} organ_cut_facts;

/* The plan of a smaller model, and its state while it is written. */
struct organ_cut_run {
    const organ_cut_out *cut;
    const organ_model *model; /* the donor */
    organ_weights *weights;   /* the weights of the donor, each with its codes, scales and other companions */
    size_t *weight_of;        /* for each tensor of the model, the index in `weights` of its weight; SIZE_MAX: none */
    size_t layer_count;       /* layers of the donor */
    organ_cut_facts *facts;   /* for each layer of the donor */
    size_t layers_after;      /* layers of the output */
    /* true: the output has fewer parts of this kind than the donor. */
    bool cuts_experts, cuts_blocks, cuts_channels, cuts_heads, cuts_expert_channels, cuts_shared_channels;
    uint32_t experts_before, experts_after; /* experts in each layer that has experts; 0: no layer has experts */
    /* Numbers of channels and of heads in each layer, in the donor and in the output; 0: no layer has a cut of this
     * kind. */
    uint64_t channels_before, channels_after, kv_heads_before, kv_heads_after;
    uint64_t expert_channels_before, expert_channels_after, shared_channels_before, shared_channels_after;
    organ_shard_piece *pieces; /* the tensors of the output */
    organ_unit *units;         /* for each piece, its unit of work and of the journal */
    size_t piece_count;
    organ_cut_part *parts; /* the pieces that are not copies of whole tensors of the donor */
    size_t part_count;
    size_t *part_of;         /* for each tensor of the model, the index in `parts`; SIZE_MAX: removed or copied whole */
    organ_gguf_writer *gguf; /* the key-values of the output; NULL unless the donor is GGUF */
    bool digested;           /* `xxh3` of the refitted parts is set */
    json_t *settings;        /* the changed settings, member "settings" of organ_cut_json */
    organ_writing *writing;  /* the output that is written; set by organ_cut_begin */
    organ_arena arena;       /* memory of names, lists of kept entries and facts */
    pthread_mutex_t lock;    /* protects `writing` and the progress display in organ_cut_copy */
};

/* ---- plan of a smaller model (cut.c), used for cutting and for audits ---- */

/* Plans all tensors of the output and its key-values. Before the call, the caller zeroes *run, then sets run->cut,
 * run->model and run->settings = json_array(). After it, even after an error, the caller calls organ_cut_release, which
 * also frees run->settings. Returns ORGAN_USAGE or ORGAN_BAD_INPUT for a cut that organ_cut_make (cut.h) rejects,
 * ORGAN_IO if memory runs out, also if run->settings is NULL because json_array() has failed, and errors of reading the
 * model. */
organ_status organ_cut_prepare(organ_cut_run *run, organ_error *error);
void organ_cut_release(organ_cut_run *run);

/* Returns the document of organ_cut_json for a plan whose tensors have `bytes_after` bytes. */
json_t *organ_cut_document(const organ_cut_run *run, uint64_t bytes_after);

/* ---- facts of layers (facts.c) ---- */

/* Checks that the parts which run->cut keeps exist in the model. Sets run->facts of each layer, the numbers of experts,
 * channels and heads of a layer before and after the cut, and the cuts_ flags. Returns ORGAN_USAGE if the indices of
 * kept parts do not ascend or do not exist in their layer, if layers would keep different numbers of parts or none, if
 * run->cut does not have one entry per layer, or if nothing would be cut and no tensor is refitted. Returns
 * ORGAN_BAD_INPUT if the donor's experts differ in width, or if its number of query heads is unknown or no multiple of
 * its number of heads of K and V. */
organ_status organ_cut_resolve(organ_cut_run *run, organ_error *error);

/* Returns the number of channels of a layer: of its feed-forward without experts (ORGAN_EXPERTS_NONE), its shared
 * expert (ORGAN_EXPERTS_SHARED), or each routed expert (ORGAN_EXPERTS_ROUTED). 0: there is none, or widths differ. */
uint64_t organ_cut_channels(const organ_model *model, const organ_weights *weights, size_t layer,
                            organ_expert_kind experts);

/* Returns whether the tensor is a router, its bias or another part of a router; false for the gate of a shared
 * expert. */
bool organ_cut_is_router(const char *name);

/* Returns the axis of a tensor that has one entry for each expert: the first axis; for a matrix of one row the second
 * (ERNIE 4.5 stores the correction of its router as such a matrix). */
unsigned organ_cut_expert_axis(const organ_tensor *tensor);

/* ---- pieces (cut_plan.c) ---- */

/* Sets pieces, units, parts and part_of of `run`. Errors are those of organ_cut_make. */
organ_status organ_cut_plan(organ_cut_run *run, organ_error *error);

/* ---- parts of a tensor (select.c) ---- */

/* Kept rows and columns of a weight, for a tensor that stores the weight or a part of the weight. */
typedef struct organ_cut_shares {
    organ_cut_keep experts;    /* kept entries on the axis of experts (organ_cut_expert_axis) */
    organ_cut_keep rows, cols; /* kept rows and columns of the weight, or of each matrix of a stack */
    /* For each matrix of a stack its own kept rows or columns, instead of `rows` and `cols`; NULL: all. */
    const organ_cut_keep *each_rows, *each_cols;
    uint32_t count; /* number of matrices in the stack; 0: each_rows and each_cols are unused */
} organ_cut_shares;

/* Sets axes, each, shape and values of `part`, whose tensor the caller has set, so that the shares are kept. Returns
 * ORGAN_BAD_INPUT if only a part of a packed word or of a block would be kept, or if the tensor's layout is unknown. */
organ_status organ_cut_select(organ_cut_run *run, const organ_cut_shares *shares, organ_cut_part *part,
                              organ_error *error);

/* ---- configurations (cut_config.c, cut_layer_settings.c, renumber_names.c, cut_gguf_keys.c) ---- */

/* organ_cut_edit_config edits config.json (`context` is the organ_cut_run), organ_cut_edit_keys the key-values in
 * run->gguf, so that they describe the smaller model. Both append the changes to run->settings. They return
 * ORGAN_BAD_INPUT, naming the setting, if a setting cannot describe the smaller model. */
organ_status organ_cut_edit_config(void *context, organ_json_edit *config, organ_error *error);
organ_status organ_cut_edit_keys(organ_cut_run *run, organ_error *error);

/* Returns ORGAN_BAD_INPUT if a quantisation file next to config.json, which is copied unchanged, names modules by
 * numbers that change. */
organ_status organ_cut_check_quant_files(const organ_cut_run *run, organ_error *error);

/* ---- bytes (gather.c, copy.c, put.c) ---- */

#define ORGAN_CUT_WINDOW ((size_t)1 << 20) /* bytes of each buffer of a reader */

/* Reads the kept bytes of a part in their order. */
typedef struct organ_cut_reader {
    const organ_model *model;
    const organ_cut_part *part;
    /* Buffers of ORGAN_CUT_WINDOW bytes each. `window` has consecutive bytes of the donor's tensor, `out` kept bytes,
     * joined. */
    unsigned char *window, *out;
    /* Private to gather.c. A line is a combination of entries of the axes before `deepest`; the kept entries of axis
     * `deepest` in a line form runs of consecutive bytes. */
    uint64_t window_from, window_bytes; /* range of the tensor's bytes in the window */
    uint64_t strides[ORGAN_CUT_AXES];   /* bytes between consecutive entries of each axis */
    unsigned deepest;                   /* last axis that is cut; 0: no axis is cut, or only the first axis */
    size_t place[ORGAN_CUT_AXES]; /* position of the current line: index among the kept entries of each axis before
                                   * `deepest` */
    bool begun, ended;            /* the first line was started; the current line is the last */
    uint64_t line;                /* offset of the line in the tensor */
    const organ_cut_keep *keep;   /* kept entries of axis `deepest` in the current line */
    size_t count, next;  /* number of entries in `keep`; index in `keep` of the first one after the current run */
    uint64_t from, left; /* the unread bytes of the current run: offset in the tensor, and number */
} organ_cut_reader;

/* Returns a reader that begins with the first kept byte. `bytes`: the size of the part in the output. `window` and
 * `out` have ORGAN_CUT_WINDOW bytes each. All pointers must stay valid while the reader is used; the reader needs no
 * release. */
organ_cut_reader organ_cut_reader_of(const organ_model *model, const organ_cut_part *part, uint64_t bytes,
                                     unsigned char *window, unsigned char *out);

/* Sets *bytes to the next kept bytes, joined, which stay valid until the next call. Returns their number, at most
 * ORGAN_CUT_WINDOW; all bytes at once if the plan computed them (part->values). Returns 0 after the last byte, and with
 * *error set if the model cannot be read. */
size_t organ_cut_read(organ_cut_reader *reader, const unsigned char **bytes, organ_error *error);

uint64_t organ_cut_copy_memory(void); /* returns the bytes of the buffers of a worker */

#endif

/* SPDX-License-Identifier: MIT
 * Removes parts of a model (routed experts, blocks, channels of feed-forwards, groups of heads)
 * and writes a smaller model. Kept weights keep their bytes, also in packed types: codes, scales and other
 * companions, GGUF blocks. Names, config.json and key-values are changed to match the smaller model. It
 * builds on surgery/write: new shards, journal, ranks, evaluation. */
#ifndef ORGAN_VERBS_SHRINK_CUT_H
#define ORGAN_VERBS_SHRINK_CUT_H

#include "formats/architecture/mtp_types.h"
#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/layers/layer_settings.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/prune.h>
#include <organ/weights.h>
#include <pthread.h>

/* The kept entries of an axis: experts, channels, heads, rows, ... Zero-initialised: all entries are kept. */
typedef struct organ_cut_keep {
    const uint32_t *numbers; /* indices of the kept entries in the donor, from 0, ascending; NULL: all are kept */
    size_t count;            /* number of kept entries; 0 if `numbers` is NULL */
} organ_cut_keep;

/* The kept parts of a layer of the donor. All zero: the whole layer is kept. */
typedef struct organ_cut_layer {
    bool dropped;            /* the whole block is removed and later blocks are renumbered */
    organ_cut_keep experts;  /* kept routed experts; the router loses the rows of removed ones */
    organ_cut_keep channels; /* channels of a feed-forward without experts: rows of gate and up, columns of down */
    organ_cut_keep kv_heads; /* heads of K and V, each with its query heads: rows of Q, K and V, columns of O */
    /* For each routed expert of the donor its kept channels, the same number in each expert: rows of its gate and up,
     * columns of its down. Entries of removed experts are ignored. NULL: all channels are kept. */
    const organ_cut_keep *expert_channels;
    organ_cut_keep shared_channels; /* channels of the shared expert: rows of its gate and up, columns of its down */
} organ_cut_layer;

typedef struct organ_cut_run organ_cut_run; /* plan and state of a cut while organ_cut_make runs */

/* Input of organ_cut_make. All pointers must stay valid during the call. */
typedef struct organ_cut_out organ_cut_out;
struct organ_cut_out {
    /* The caller sets `model`, `requested`, `names` without `model`, `progress`, `engine`, `context`, check.parameters
     * and report.document; if needed also the other members of `check`, report.plan (the memory of a copy is added)
     * and report.finish. organ_cut_make sets the other members. */
    organ_write write;
    /* Implements organ_write.decide: chooses the kept parts and completes the members below. NULL: they are complete.
     */
    organ_status (*decide)(organ_cut_out *cut, organ_writing *writing, organ_error *error);
    const organ_cut_layer *layers; /* one for each layer of the donor */
    size_t layer_count;            /* must equal organ_cut_layers */
    /* A flag for each tensor of the donor: true for a refitted tensor, whose kept part gets new values from
     * `refit` (organ_cut_put) instead of the donor's bytes. NULL: no tensor is refitted. */
    const bool *refitted;
    /* First argument of the functions below; `decide` may set it. */
    void *refit_context;
    /* Stores each kept matrix of refitted tensors with organ_cut_put, before all other tensors are copied. NULL: no
     * tensor is refitted. */
    organ_status (*refit)(void *context, organ_cut_run *run, organ_error *error);
    /* `results` returns the object that the journal stores with a complete refitted tensor. `recall` reads it when a
     * run is resumed and returns false if the object is malformed. NULL: the journal stores nothing. */
    json_t *(*results)(void *context, const organ_tensor *tensor);
    bool (*recall)(void *context, const organ_tensor *tensor, const json_t *results);
};

/* Returns one plus the highest layer number in the names of the model's tensors, including layers of multi-token
 * prediction. */
size_t organ_cut_layers(const organ_model *model);
/* Returns whether the tensor belongs to a block for multi-token prediction outside the sequence of layers. */
static inline bool organ_cut_is_draft(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_MTP && tensor->anatomy.layer < 0;
}

/* Returns whether the tensor belongs to a layer of a block with names of its own, such as mtp.layers.0, which
 * organ_mtp_number_layers has numbered. */
bool organ_cut_is_own(const organ_tensor *tensor);
/* Returns the number of layers before those of such blocks; organ_cut_layers if the model has none. */
size_t organ_cut_own_layers(const organ_model *model);
/* Returns the name of the tensor, or of a part of its name, with such a block's beginning replaced by that of a layer
 * of the model, in `room`. */
const char *organ_cut_layer_name(const organ_anatomy *anatomy, const char *name, char room[ORGAN_MTP_NAME_ROOM]);

/* Returns the number of routed experts of a layer, from the rows of its router; 0 if it has no router. */
uint64_t organ_cut_experts(const organ_model *model, size_t layer);

/* Writes the smaller model. Errors, and the files that remain after them, are those of organ_write_run. In addition,
 * before any tensor is written:
 *   - ORGAN_USAGE if indices of kept parts do not ascend or do not exist in the layer, if a layer would keep no
 *     expert, if layers would keep different numbers of experts or of expert channels (config.json and key-values have
 *     one number for all layers), if nothing would be cut, or if `refitted` names a tensor whose type cannot be
 *     rewritten;
 *   - ORGAN_BAD_INPUT, with tensor, key and reason, if the smaller model cannot be described: a tensor of unknown
 *     relation to experts, a cut through a quantised block, or a pattern of layers that the configuration cannot
 *     express. */
organ_status organ_cut_make(organ_cut_out *cut, json_t **report, organ_error *error);

/* Checks whether config.json can describe the model with these kept layers. Returns ORGAN_BAD_INPUT, naming the
 * setting, if it cannot. Returns ORGAN_OK for a GGUF file, whose keys organ_cut_make checks. Writes nothing. */
organ_status organ_cut_describes(const organ_model *model, const organ_cut_layer *layers, size_t layer_count,
                                 organ_error *error);

/* Returns the errors of such a cut before a long decision, with kept parts that have the numbers of the chosen ones. */
organ_status organ_cut_try(organ_cut_out *cut, organ_error *error);

/* ---- functions for organ_cut_out.refit ---- */

/* Returns whether organ_cut_put can store new values in this type: BF16, F16, F32, and the GGUF block types for which
 * the engine has a kernel that fits scales. */
bool organ_cut_takes(const organ_engine *engine, organ_dtype type);

/* Returns whether no matrix of the refitted tensor must be stored: an interrupted run has written the tensor, or the
 * output has no part of it. */
bool organ_cut_done(const organ_cut_run *run, const organ_tensor *tensor);

/* Stores new FP32 values of a matrix of a refitted tensor: kept rows x kept columns, rows in the order of the file;
 * with `transposed`, of a tensor that the file stores as in_features x out_features, `weights` are out_features x
 * in_features. The function rounds them to the type of the donor (BF16, F16, F32; GGUF blocks with best-fit scales) and
 * overwrites `weights` with the rounded values. `matrix` is the index of a kept matrix in the donor's stack, or 0.
 * After the last kept matrix of a tensor, the function writes the tensor's line to the journal. `own` false: another
 * rank writes the tensor, and this rank only rounds the values. `weights` NULL: copies the bytes of the donor; all rows
 * and columns of the matrix must be kept. Returns ORGAN_BAD_INPUT for a value that is not finite before or after
 * rounding. */
organ_status organ_cut_put(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own, bool transposed,
                           float *weights, organ_error *error);

/* Like organ_cut_put for a matrix whose values all ranks have: rank 0 writes them. `weights` are out_features x
 * in_features, also if the file stores the transpose (organ_tensor_is_crossed). */
organ_status organ_cut_put_once(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                                organ_error *error);

/* Reads back into `weights`, as FP32, the matrix that organ_cut_put stored in the interrupted run that this one
 * continues. Shape and order of rows are those of organ_cut_put. */
organ_status organ_cut_get(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool transposed,
                           float *weights, organ_error *error);

/* ---- functions for `document` ---- */

/* Returns the common part of the documents: {"bytes_before", "bytes_after", "elements_before", "elements_after",
 * "layers_after", "experts_before", "experts_after", "layers": [{"layer", "becomes", "experts", "kept_experts",
 * "channels", "kept_channels", "kv_heads", "kept_kv_heads"}], "settings": [{"where", "key", "before", "after"}]}. A
 * layer whose experts lose channels also has "expert_channels" and "expert_channels_after", the numbers per expert; a
 * layer whose shared expert loses channels has "shared_channels" and "kept_shared_channels". Members that do not apply
 * to a layer are null, and so are lists of axes that are kept whole; "becomes" is null for a removed block, "before"
 * for a new setting, "after" for a removed one. "refitted" has {"tensor", "xxh3"} for each refitted tensor of the
 * output, by which an audit recognises its bytes; null if there is none, and in a dry run. NULL if out of memory. */
json_t *organ_cut_json(const organ_writing *made);

/* ---- plan and state of a smaller model ---- */

/* Plan and state of a smaller model. A piece is a tensor of the output. A refitted tensor is
 * one whose kept part gets new values (organ_cut_out.refitted). */

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
    char xxh3[17];               /* XXH3 of the bytes of a refitted tensor in the output; set after all were written */
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
    organ_cut_out *cut;
    organ_plan plan;          /* of a dry run */
    const organ_model *model; /* the donor */
    organ_weights *weights;   /* the weights of the donor, each with its codes, scales and other companions */
    size_t *weight_of;        /* for each tensor of the model, the index in `weights` of its weight; SIZE_MAX: none */
    size_t layer_count;       /* layers of the donor */
    organ_cut_facts *facts;   /* for each layer of the donor */
    size_t own_layers;        /* layers of the donor before those of blocks with names of their own */
    size_t layers_after;      /* layers of the output */
    /* true: the output has fewer parts of this kind than the donor. */
    bool drops_drafts; /* blocks for multi-token prediction outside the sequence of layers */
    bool cuts_experts, cuts_blocks, cuts_channels, cuts_heads, cuts_expert_channels, cuts_shared_channels;
    uint32_t experts_before, experts_after; /* experts in each layer that has experts; 0: no layer has experts */
    /* Numbers of channels and of heads in each layer, in the donor and in the output; 0: no layer has a cut of this
     * kind. */
    uint64_t channels_before, channels_after, kv_heads_before, kv_heads_after;
    uint64_t expert_channels_before, expert_channels_after, shared_channels_before, shared_channels_after;
    organ_piece *pieces; /* the tensors of the output */
    size_t piece_count;
    organ_cut_part *parts; /* the pieces that are not copies of whole tensors of the donor */
    size_t part_count;
    size_t *part_of;         /* for each tensor of the model, the index in `parts`; SIZE_MAX: removed or copied whole */
    organ_gguf_writer *gguf; /* the key-values of the output; NULL unless the donor is GGUF */
    bool digested;           /* `xxh3` of the refitted parts is set */
    json_t *settings;        /* the changed settings, member "settings" of organ_cut_json */
    organ_writing *writing;  /* the output that is written; set before organ_cut_out.refit is called */
    organ_arena arena;       /* memory of names, lists of kept entries and facts */
    pthread_mutex_t lock;    /* protects `writing` and the progress display in organ_cut_copy */
};

/* ---- plan of a smaller model (cut.c), used for cutting and for audits ---- */

/* Plans all tensors of the output and its key-values. Before the call, the caller zeroes *run, then sets run->cut,
 * run->model and run->settings = json_array(). After it, even after an error, the caller calls organ_cut_release, which
 * also frees run->settings. Returns ORGAN_USAGE or ORGAN_BAD_INPUT for a cut that organ_cut_make (cut_parts.h) rejects,
 * ORGAN_IO if memory runs out, also if run->settings is NULL because json_array() has failed, and errors of reading the
 * model. */
organ_status organ_cut_prepare(organ_cut_run *run, organ_error *error);
void organ_cut_release(organ_cut_run *run);

/* Returns the document of organ_cut_json for a plan whose tensors have `bytes_after` bytes. */
json_t *organ_cut_document(const organ_cut_run *run, uint64_t bytes_after);

/* ---- facts of layers ---- */

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

/* ---- pieces (cut_plan.c) ---- */

/* Sets pieces, parts and part_of of `run`. Errors are those of organ_cut_make. */
organ_status organ_cut_plan(organ_cut_run *run, organ_error *error);

/* ---- parts of a tensor (select.c) ---- */

/* Kept rows and columns of a weight, for a tensor that stores the weight or a part of the weight. */
typedef struct organ_cut_shares {
    organ_cut_keep experts;    /* kept entries on the axis of experts (organ_expert_axis) */
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

/* ---- bytes (gather.c) ---- */

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

/* Copies the kept bytes of all cut tensors that are not refitted. Returns ORGAN_INTERRUPTED if the engine is stopped,
 * and errors of reading and writing. */
organ_status organ_cut_copy(organ_cut_run *run, organ_error *error);

/* ---- settings of the smaller model ---- */

/* Functions store the first error in c->s.error. */
typedef struct organ_cut_config {
    organ_cut_run *run;
    organ_settings s; /* the object of config.json that describes the layers, or the key-values */
    size_t layers;    /* layers of the donor without those of multi-token prediction, which follow after them */
} organ_cut_config;

/* Implements organ_settings.changed: appends the change to run->settings (organ_cut_json); `context` is the run. */
void organ_cut_note(void *context, const organ_settings *settings, const char *name, json_t *before, json_t *after);

/* ---- cut_settings.c ---- */

/* Returns how many of the first `count` layers are kept, which is the new number of layer `count`. Numbers beyond the
 * last layer count as kept. */
size_t organ_cut_kept_before(const organ_cut_run *run, size_t count);

/* Returns whether each kept layer keeps its phase in a pattern of layers: (l + shift) % period is 0 for the new number
 * if and only if it is 0 for the old one. */
bool organ_cut_period_holds(const organ_cut_run *run, size_t layers, uint64_t period, uint64_t shift);

/* Checks that each of the router's `groups` groups keeps the same number of experts, at least two, and that the `used`
 * groups from which the router chooses a token's `chosen` experts keep at least that many. Returns NULL if so, or if
 * there are fewer than two groups; else a sentence with the reason, a constant string. */
const char *organ_cut_groups_fault(const organ_cut_run *run, uint64_t groups, uint64_t used, uint64_t chosen);

/* Returns whether shared experts keep the same share of their channels as routed experts do; false if a width is
 * unknown. ORGAN_CUT_SHARED_FOLLOW is the reason in an error for configurations that state the width of shared experts
 * as a multiple of the routed width. */
bool organ_cut_shared_follow(const organ_cut_run *run);
#define ORGAN_CUT_SHARED_FOLLOW                                                                                        \
    "the width of shared experts is a multiple of the routed ones': both must keep the same share of channels"

/* ---- cut_layer_settings.c ---- */

/* Edits all settings that depend on the indices of layers. Called if blocks are dropped. */
void organ_cut_edit_layers(const organ_cut_config *c);

/* Refuses key-values, and architectures of GGUF files, that would give kept layers another kind. */
void organ_cut_check_keys(const organ_cut_config *c);

/* Checks that the edited config.json gives each kept layer its structure. `layers`: the donor's, without draft layers.
 * Returns the errors of organ_layers_check. */
organ_status organ_cut_check_layers(const organ_cut_run *run, const organ_json_edit *config, size_t layers,
                                    organ_error *error);

/* ---- renumber_names.c ---- */

/* Returns a copy of the JSON `value` in which names of modules have the layer and expert numbers of the smaller model,
 * for the caller to release. Elements and members that name removed modules are left out. Sets *changed if anything
 * differs. Returns NULL on error, and without an error only for a string that names a removed module. Errors name
 * `where`. */
json_t *organ_cut_renamed(const organ_cut_run *run, const char *where, const json_t *value, bool *changed,
                          organ_error *error);

/* ---- audit of a cut model (audit_cut.c, recover.c) ---- */

/* The comparison of one tensor that the copy should have. */
typedef struct organ_cut_verdict {
    const organ_tensor *donor;  /* the donor's tensor */
    const organ_cut_part *part; /* the kept part of it; NULL: all of its bytes are kept */
    bool missing;               /* the copy has no such tensor */
    bool mismatch;              /* the copy's tensor has another type or shape */
    uint64_t different;         /* number of the copy's bytes that differ from the kept bytes; 0 if not compared */
    uint64_t xxh3;              /* XXH3 of the copy's bytes, if they were compared */
} organ_cut_verdict;

/* A model of an audit. */
typedef struct organ_cut_side {
    organ_model *model;
    organ_weights *weights;
    const organ_kernels *kernels;
    size_t layers;
} organ_cut_side;

/* The comparison of a cut model with its donor. */
typedef struct organ_cut_audit {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_cut_side donor, copy;
    organ_cut_layer *kept; /* for each layer of the donor, the parts that the copy has kept */
    organ_arena arena;     /* memory of the lists of kept parts */
    organ_cut_out cut;     /* a cut of the donor to these parts, and its plan */
    organ_cut_run run;
    organ_cut_verdict *verdicts; /* one for each piece of the run */
    organ_problems problems;
    size_t after_recovery;   /* number of problems after organ_cut_recover */
    size_t identical;        /* number of tensors whose bytes are the kept bytes of the donor */
    size_t changed;          /* number of tensors with other bytes that a refit may have written */
    json_t *changed_names;   /* names of the `changed` tensors */
    json_t *report;          /* the report of the cut in the copy, if it lists refitted tensors; else NULL */
    organ_name_table listed; /* names of these tensors, with their index in the list */
    size_t refitted;         /* number of tensors with other bytes and the digest that the report has for them */
    bool settings_hold;      /* config.json or the key-values are those that the cut would write */
    double started;          /* organ_seconds_now() at the beginning */
} organ_cut_audit;

/* Returns whether the copy may be a cut of the donor: it has fewer blocks, or one of its blocks has a tensor that is
 * shorter along an axis, and longer along none, than the donor's tensor of this name. */
bool organ_cut_is_smaller(const organ_model *donor, const organ_model *copy);

/* Sets audit->kept: finds blocks by the bytes of norms and of K and V; experts by the rows of routers, and by the
 * experts' matrices if rows are equal; channels and heads by rows of matrices. Each part of the copy without
 * counterpart in the donor is a problem. */
organ_status organ_cut_recover(organ_cut_audit *audit, organ_error *error);

/* Adds a problem for each member of config.json, or each key-value, that differs from the one that the planned cut
 * would write. Returns an error only if config.json cannot be read or memory runs out. */
organ_status organ_cut_judge_settings(organ_cut_audit *audit, organ_error *error);

#endif

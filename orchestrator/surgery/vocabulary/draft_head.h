/* SPDX-License-Identifier: MIT
 * The head of an EAGLE-3 draft, which may have rows for some tokens of its target alone: the lists that map its rows to
 * ids of the target. */
#ifndef ORGAN_SURGERY_VOCABULARY_DRAFT_HEAD_H
#define ORGAN_SURGERY_VOCABULARY_DRAFT_HEAD_H

#include <organ/models.h>

typedef struct organ_draft_head {
    bool gguf;
    const organ_tensor *head; /* rows of the draft's tokens */
    const organ_tensor *d2t;  /* for each row: id of the target - row; in GGUF the id. NULL: row k is token k */
    const organ_tensor *t2d;  /* for each id of the target whether the draft has it; NULL: none, as in GGUF */
    uint64_t rows;            /* of `head` */
    uint64_t vocabulary;      /* ids of the target */
    bool stated;              /* only config.json states `vocabulary`: no tensor has this length */
    uint32_t *ids;            /* of each row, owned; set by organ_draft_head_read */
} organ_draft_head;

/* Returns whether the model is an EAGLE-3 draft: its GGUF architecture is eagle3, or it has a projection `fc` of states
 * of the target and a layer with the norm `hidden_norm`. */
bool organ_draft_is_eagle3(const organ_model *model);

/* Finds the head of such a draft. Returns ORGAN_BAD_INPUT, naming the tensor, for a draft without a head of its own,
 * for a packed head, and for a number of ids that does not fit the head. The caller releases *head in any case. */
organ_status organ_draft_head_find(const organ_model *model, organ_draft_head *head, organ_error *error);

/* Returns the bytes of the lists that organ_draft_head_read, organ_draft_d2t and organ_draft_t2d allocate. */
uint64_t organ_draft_head_memory(const organ_draft_head *head);

/* Reads the lists of a head that was found. Returns ORGAN_BAD_INPUT for lists that are not those of the head: another
 * type or length, an id that the target lacks or that two rows have. */
organ_status organ_draft_head_read(const organ_model *model, organ_draft_head *head, organ_error *error);
void organ_draft_head_release(organ_draft_head *head);

/* Return the bytes of the lists of a head with rows of the ascending `ids`, in the type of the draft's own lists:
 * numbers of 8 bytes (I64) for each row, and a byte for each id of the target. The caller frees them; NULL: no memory.
 */
int64_t *organ_draft_d2t(const organ_draft_head *head, const uint32_t *ids, size_t count);
unsigned char *organ_draft_t2d(const organ_draft_head *head, const uint32_t *ids, size_t count);

#endif

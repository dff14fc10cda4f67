/* SPDX-License-Identifier: MIT
 * Room surgery/audit: compares what a model and its copy with fewer tokens make of texts. */
#ifndef ORGAN_SURGERY_AUDIT_AUDIT_TEXTS_H
#define ORGAN_SURGERY_AUDIT_AUDIT_TEXTS_H

#include <organ/models.h>
#include <organ/stream.h>
#include <organ/tokenizer.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct organ_kept_pair {
    const organ_model *donor, *copy;
    organ_tokenizer *whole, *made; /* of the donor and of the copy */
    const uint32_t *ids;           /* the kept ids, ascending */
    size_t count;                  /* number of kept ids */
    const uint32_t *new_ids;       /* by id of the donor: the id in the copy, or UINT32_MAX */
} organ_kept_pair;

typedef struct organ_audited_text {
    const char *path;
    uint64_t bytes;
    size_t tokens;      /* in the donor */
    size_t same;        /* first tokens that are equal but for their ids; `tokens` if all are */
    bool same_tokens;   /* all are, and the copy has no more */
    size_t compared;    /* first tokens whose logits were compared; 0 if the tokens differ */
    size_t same_logits; /* those after which the logits of all kept tokens have the same bits in both models */
} organ_audited_text;

/* Sets the members of each text but `path`. Encodes the texts with both tokenizers, and runs the first tokens of each
 * text, 512 with BOS or fewer if the model's context is shorter, through both models, one after the other. Returns
 * ORGAN_BAD_INPUT for a text that is empty or not UTF-8, and errors of organ_forward_run. */
organ_status organ_audit_texts(const organ_kept_pair *pair, const organ_engine *engine, const organ_progress *progress,
                               organ_audited_text *texts, size_t count, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * The model card of an output, README.md: Markdown after lines of YAML between two lines "---", whose members the hub
 * of Hugging Face reads (modelcard.md and docs/hub/model-cards.md of huggingface/hub-docs). */
#ifndef ORGAN_OUTPUT_MODEL_CARD_H
#define ORGAN_OUTPUT_MODEL_CARD_H

#include <jansson.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

#define ORGAN_CARD_NAME  "README.md"
#define ORGAN_CARD_BYTES ((size_t)16 << 20) /* of the longest card that is read */

/* Facts about the model that a run writes, for its card. */
typedef struct organ_card {
    const char *name;         /* name of the donor */
    const char *own_name;     /* of the output, for its figures */
    const json_t *base;       /* array of the donors' names at the hub, "ORG/NAME"; empty: not known */
    bool inherits;            /* the donor's card is of an output of organ: its base_model holds for this output, too */
    const char *relation;     /* one of the hub's words: "quantized", "merge", "finetune", "adapter" */
    const json_t *tags;       /* array of texts */
    const char *library;      /* which program loads the output, "transformers"; NULL: not known */
    bool other_library;       /* the donor's library does not load the output */
    const char *task;         /* "text-generation"; NULL: not known */
    const json_t *evaluation; /* member "evaluation" of the report; NULL: there is none */
    const char *made;         /* a sentence that begins with "`organ ", the text of the card if the donor has none */
} organ_card;

/* Returns whether the text is a name at the hub, "ORG/NAME". */
bool organ_card_is_hub_name(const char *text);

/* Returns the text of the output's card. `donor` are the `length` bytes of the donor's card, followed by a NUL, or
 * NULL. Its text and the members of its YAML stay as they are, with these exceptions: tags are added; base_model and
 * base_model_relation are replaced if `base` is known; model-index has only figures of the output. The caller frees the
 * text.
 * Returns NULL with ORGAN_OK if the first lines of the donor's card are no YAML that can be edited line by line; `why`
 * gets the reason. Returns NULL with ORGAN_IO if memory ran out. */
#define ORGAN_CARD_WHY 512
char *organ_card_text(const char *donor, size_t length, const organ_card *card, char why[ORGAN_CARD_WHY],
                      organ_error *error);

#endif

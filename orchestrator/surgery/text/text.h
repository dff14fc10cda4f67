/* SPDX-License-Identifier: MIT
 * Room surgery/text: models and a text. tokenize shows its tokens, generate lets a model go on from it, perplexity and
 * evaluate score how well models predict it. Out comes a report. */
#ifndef ORGAN_SURGERY_TEXT_H
#define ORGAN_SURGERY_TEXT_H

#include "orchestrator/surgery/text/evaluate.h"
#include "orchestrator/surgery/text/generate.h"
#include "orchestrator/surgery/text/tokenize.h"

#endif

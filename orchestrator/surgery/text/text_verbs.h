/* SPDX-License-Identifier: MIT
 * Room surgery/text: verbs that apply models to a text. tokenize lists the tokens of a text, generate continues a
 * prompt, perplexity and evaluate score how well models predict a text. Each makes a report. */
#ifndef ORGAN_TEXT_VERBS_H
#define ORGAN_TEXT_VERBS_H

#include "orchestrator/surgery/text/evaluate.h"
#include "orchestrator/surgery/text/generate.h"
#include "orchestrator/surgery/text/tokenize.h"

#endif

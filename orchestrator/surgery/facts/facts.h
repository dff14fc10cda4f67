/* SPDX-License-Identifier: MIT
 * Room surgery/facts: parts of the documents of several verbs. Counts in total and by layer, experiments that are
 * named, errata, failures that an audit found, and the end of a verb that returns a document. */
#ifndef ORGAN_SURGERY_FACTS_H
#define ORGAN_SURGERY_FACTS_H

#include "orchestrator/surgery/facts/by_layer.h"
#include "orchestrator/surgery/facts/errata.h"
#include "orchestrator/surgery/facts/experiment.h"
#include "orchestrator/surgery/facts/problems.h"
#include "orchestrator/surgery/facts/report_work.h"
#include "orchestrator/surgery/facts/tally.h"

#endif

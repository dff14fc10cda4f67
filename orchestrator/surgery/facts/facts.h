/* SPDX-License-Identifier: MIT
 * Room surgery/facts: parts of the documents of several verbs. These are counts in total and by layer, the experiment
 * of a pruned model, how a model was made and is stored, errata, failures that an audit found, shares of a run's
 * time, and the start and end of a verb that returns a document. */
#ifndef ORGAN_SURGERY_FACTS_H
#define ORGAN_SURGERY_FACTS_H

#include "orchestrator/surgery/facts/by_layer.h"
#include "orchestrator/surgery/facts/errata.h"
#include "orchestrator/surgery/facts/experiment.h"
#include "orchestrator/surgery/facts/own_report.h"
#include "orchestrator/surgery/facts/problems.h"
#include "orchestrator/surgery/facts/report_work.h"
#include "orchestrator/surgery/facts/run_activity.h"
#include "orchestrator/surgery/facts/tally.h"

#endif

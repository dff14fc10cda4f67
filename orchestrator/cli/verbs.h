/* SPDX-License-Identifier: MIT
 * What the verbs do that have no file of their own. */
#ifndef ORGAN_VERBS_H
#define ORGAN_VERBS_H

#include "formats/base/status.h"

/* What each verb does; `call` is an organ_call. Results go to stdout, whose errors stay in its error flag; progress goes to stderr. */
organ_status organ_run_inspect(void *call, organ_error *error);
organ_status organ_run_prune(void *call, organ_error *error);
organ_status organ_run_audit(void *call, organ_error *error);
organ_status organ_run_extract(void *call, organ_error *error);
organ_status organ_run_assemble(void *call, organ_error *error);
organ_status organ_run_measure(void *call, organ_error *error);
organ_status organ_run_purify(void *call, organ_error *error);
organ_status organ_run_fleet(void *call, organ_error *error);
organ_status organ_run_graft(void *call, organ_error *error);
organ_status organ_run_version(void *call, organ_error *error);
organ_status organ_run_help(void *call, organ_error *error);

#endif

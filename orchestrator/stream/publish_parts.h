/* SPDX-License-Identifier: MIT
 * Functions that publish.c has for the files that finish and share outputs. */
#ifndef ORGAN_PUBLISH_PARTS_H
#define ORGAN_PUBLISH_PARTS_H

#include "orchestrator/stream/publish.h"

/* Makes all paths below publish->partial lead into the open directory publish->folder (held_folder.h), until
 * organ_publish_end or until the directory is renamed. */
organ_status organ_publish_hold(organ_publish *publish, organ_error *error);

/* Renames the journal, a file in the partial directory, to the note next to that directory; with `back`, renames the
 * note to the journal. */
organ_status organ_publish_move_journal(const organ_publish *publish, const char *journal, bool back,
                                        organ_error *error);

/* Fails with ORGAN_USAGE because the partial directory contains a finished output without its name. The message has the
 * shell command that renames the output. */
organ_status organ_publish_fail_awaiting(const organ_publish *publish, organ_error *error);

#endif

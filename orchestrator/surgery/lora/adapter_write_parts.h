/* SPDX-License-Identifier: MIT
 * Structures that adapter_write.c (writes an adapter) shares with adapter_resume.c (continues an adapter of an
 * interrupted run). */
#ifndef ORGAN_ADAPTER_WRITE_PARTS_H
#define ORGAN_ADAPTER_WRITE_PARTS_H

#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/lora/adapter_write.h"

struct organ_adapter_writer {
    organ_output output;
    organ_run_journal journal; /* used if output.journal is set */
    organ_direct_file file;    /* of several ranks each has its own until all is known */
    char *path;                /* of the file */
    json_t *header;            /* what came so far */
    uint64_t room, bytes;      /* of the header's JSON, of the data */
    unsigned narrowest;        /* bytes of an element of the last tensor */
    unsigned char *piece;      /* elements on their way */
    size_t turn;               /* of what comes next */
    uint64_t since;            /* `bytes` when that turn began */
    json_t
        *of_turn; /* with a journal: what was appended since then, [name, bytes of an element, entry of the header] */
    json_t *told; /* of several ranks: what this one has, [turn, bytes of an element, name, entry of the header] */
};

/* Begins or continues the journal, on all ranks, and removes other files of the run that is continued. Takes `head`
 * over. */
organ_status organ_adapter_journal_begin(organ_adapter_writer *writer, json_t *head, organ_error *error);

/* The file in which this rank appends, for messages and for the next run: of several ranks each has its own. */
void organ_adapter_file_name(const organ_adapter_writer *writer, char name[64]);

/* Enters a tensor of `bytes` bytes, which follow those that came so far, into the header and the lists of the writer.
 */
organ_status organ_adapter_enter(organ_adapter_writer *writer, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error);

#endif

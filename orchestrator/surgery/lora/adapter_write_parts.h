/* SPDX-License-Identifier: MIT
 * Structures that adapter_write.c (writes an adapter) shares with adapter_resume.c (continues an adapter of an
 * interrupted run). */
#ifndef ORGAN_ADAPTER_WRITE_PARTS_H
#define ORGAN_ADAPTER_WRITE_PARTS_H

#include "formats/base/name_table.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/lora/adapter_write.h"

struct organ_adapter_writer {
    organ_output output;
    organ_run_journal journal;   /* used if output.journal is set */
    const char *architecture;    /* of a GGUF adapter; NULL: one of peft */
    organ_direct_file file;      /* with several ranks each has its own file until the merge */
    char *path;                  /* of the file */
    char *header;                /* 8 + room bytes in paged rows: the length, then JSON without its last brace */
    uint64_t header_room, bytes; /* bytes of the header's JSON, and of the data */
    size_t header_end;           /* where the next entry of the header begins */
    char *names;                 /* room for the names of all tensors, each with its NUL, in paged rows */
    size_t names_room, names_end;
    organ_name_table entered; /* the names so far */
    size_t *lines;            /* by turn: 1 + the index of the journal line of this rank, 0 if none; paged rows */
    size_t line_count;        /* turns that `lines` has room for */
    unsigned narrowest;       /* bytes of an element of the last tensor */
    unsigned char *piece;     /* elements on their way */
    size_t turn;              /* of the tensors that are appended next */
    uint64_t since;           /* `bytes` when that turn began */
    json_t *of_turn;      /* with a journal: the tensors appended in this turn, [name, bytes of an element, entry of the
                           * header] */
    json_t *tensors_json; /* with several ranks: the tensors of this rank, [turn, bytes of an element, name, entry of
                           * the header] */
};

/* Begins or resumes the journal on all ranks, and removes other files of the resumed run. All turns are below `turns`.
 * Takes over `head`. */
organ_status organ_adapter_journal_begin(organ_adapter_writer *writer, json_t *head, size_t turns, organ_error *error);

/* Writes the name of the file that this rank appends to. With several ranks each has its own. */
void organ_adapter_file_name(const organ_adapter_writer *writer, char name[64]);

/* Allocates the header and the tables of names, for `tensors` tensors whose names have `name_bytes` bytes together.
 * ORGAN_IO. */
organ_status organ_adapter_header_begin(organ_adapter_writer *writer, size_t tensors, size_t name_bytes,
                                        organ_error *error);

/* Removes all entries. */
void organ_adapter_header_clear(organ_adapter_writer *writer);

/* Writes the header, padded with blanks to its room, to the beginning of the file. ORGAN_IO. */
organ_status organ_adapter_header_write(organ_adapter_writer *writer, organ_error *error);

void organ_adapter_header_release(organ_adapter_writer *writer);

/* Enters a tensor whose `bytes` bytes follow the data so far into the header and the lists of the writer: sets
 * "data_offsets" of `entry`, which has its "dtype" and "shape". ORGAN_BAD_INPUT if the name was entered before, if
 * `width`, the bytes of an element, exceeds that of the tensor before, or if the header has no room; ORGAN_IO. */
organ_status organ_adapter_enter(organ_adapter_writer *writer, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error);

/* Writes adapter_model.gguf from the finished safetensors file, which it removes. */
organ_status organ_adapter_gguf_write(const organ_adapter_writer *writer, organ_error *error);

#endif

/* SPDX-License-Identifier: MIT
 * The writer, which adapter_write.c shares with adapter_header.c, adapter_gguf.c and adapter_resume.c (continues an
 * interrupted adapter). */
#ifndef ORGAN_ADAPTER_WRITE_PARTS_H
#define ORGAN_ADAPTER_WRITE_PARTS_H

#include "formats/base/name_table.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/lora/adapter_write.h"

struct organ_adapter_writer {
    organ_output output;
    organ_run_journal journal; /* only used if output.journal is set */
    const char *architecture;  /* general.architecture of a GGUF adapter; NULL: an adapter of peft */
    /* File to which tensors are appended; with several ranks each has its own until the merge. */
    organ_direct_file file;
    char *path;                  /* path of the file */
    char *header;                /* 8 + header_room bytes in paged rows: the length, then JSON without its last brace */
    uint64_t header_room, bytes; /* bytes reserved for the header's JSON; bytes of data appended so far */
    size_t header_end;           /* offset in `header` of the next entry */
    /* Names of the tensors so far, each with its NUL; names_room bytes in paged rows, names_end of them used. */
    char *names;
    size_t names_room, names_end;
    organ_name_table entered; /* the names so far, for finding duplicates */
    /* For each turn: 1 + index of its journal line; 0: none. Paged rows; NULL: not continuing. */
    size_t *lines;
    size_t line_count;    /* entries of `lines` */
    unsigned narrowest;   /* bytes of an element of the last tensor: later tensors must not have more */
    unsigned char *piece; /* buffer of CHUNK elements that are written next */
    size_t turn;          /* turn of the tensors that are appended next */
    uint64_t since;       /* value of `bytes` when that turn began */
    /* With a journal: the tensors of this turn as rows [name, bytes of an element, entry of the header]. */
    json_t *of_turn;
    /* With several ranks: all tensors of this rank as rows [turn, bytes of an element, name, entry of the header]. */
    json_t *tensors_json;
};

/* Begins or continues the journal on all ranks, and removes other files of the interrupted run. All turns are below
 * `turns`. Takes over `head`. */
organ_status organ_adapter_journal_begin(organ_adapter_writer *writer, json_t *head, size_t turns, organ_error *error);

/* Writes to `name` the name of the file to which this rank appends tensors. */
void organ_adapter_file_name(const organ_adapter_writer *writer, char name[64]);

/* Allocates the header and the table of names, for `tensors` tensors whose names have `name_bytes` bytes in total.
 * Returns ORGAN_IO without memory. */
organ_status organ_adapter_header_begin(organ_adapter_writer *writer, size_t tensors, size_t name_bytes,
                                        organ_error *error);

/* Removes all entries from the header. */
void organ_adapter_header_clear(organ_adapter_writer *writer);

/* Writes the header, padded with blanks to header_room bytes, to the beginning of the file. Returns ORGAN_IO if writing
 * fails. */
organ_status organ_adapter_header_write(organ_adapter_writer *writer, organ_error *error);

void organ_adapter_header_release(organ_adapter_writer *writer);

/* Adds a tensor whose `bytes` bytes follow the data so far to the header and the lists of the writer: sets
 * "data_offsets" of `entry`, which has its "dtype" and "shape". `width`: bytes of an element. Returns ORGAN_BAD_INPUT
 * if the name was added before, if `width` exceeds that of the previous tensor, or if the header has no room; ORGAN_IO
 * without memory. */
organ_status organ_adapter_enter(organ_adapter_writer *writer, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error);

/* Writes adapter_model.gguf from the finished safetensors file, which it removes. */
organ_status organ_adapter_gguf_write(const organ_adapter_writer *writer, organ_error *error);

#endif

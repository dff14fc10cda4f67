/* SPDX-License-Identifier: MIT
 * The struct of the adapter writer and the functions that its sources share: adapter_write.c appends tensors and merges
 * the files of ranks, adapter_header.c makes the safetensors header, adapter_gguf.c writes GGUF, adapter_resume.c
 * continues an interrupted adapter. Paged rows are the arrays of formats/base/paged_rows.h. */
#ifndef ORGAN_ADAPTER_WRITE_PARTS_H
#define ORGAN_ADAPTER_WRITE_PARTS_H

#include "formats/base/name_table.h"
#include "orchestrator/stream/disk/direct_file.h"
#include "orchestrator/surgery/lora/adapter_write.h"

/* An adapter that is being written. */
struct organ_adapter_writer {
    organ_output output;
    organ_run_journal journal; /* only used if output.journal is set */
    const char *architecture;  /* general.architecture of a GGUF adapter; NULL: an adapter of peft */
    /* File to which this rank appends tensors. With several ranks each has a file of its own until the ranks' files are
     * merged. */
    organ_direct_file file;
    char *path;   /* path of `file`; owned */
    char *header; /* 8 + header_room bytes in paged rows: 8 for the length, then JSON without its last brace */
    uint64_t header_room, bytes; /* bytes reserved for the header's JSON; bytes of data appended so far */
    size_t header_end;           /* offset in `header` at which the next entry is appended */
    /* Names of the appended tensors, each with its NUL: names_room bytes in paged rows, of which names_end are used. */
    char *names;
    size_t names_room, names_end;
    organ_name_table known_names; /* the same names, to find duplicates */
    /* turn_lines[t]: 1 + index of the journal line of turn t; 0: none. Paged rows; NULL: no run is continued. */
    size_t *turn_lines;
    size_t line_count;     /* entries of `turn_lines` */
    unsigned last_width;   /* bytes of an element of the last tensor; the next tensor must not have more */
    unsigned char *buffer; /* 65,536 elements of up to 4 bytes that are written next */
    size_t turn;           /* turn of the tensors that are appended next */
    uint64_t turn_begin;   /* value of `bytes` when this turn began */
    /* With a journal: tensors of this turn, as rows [name, bytes of an element, entry of the header]; else NULL. */
    json_t *turn_tensors;
    /* With several ranks: all tensors of this rank, as rows [turn, bytes of an element, name, entry of the header];
     * else NULL. */
    json_t *rank_tensors;
};

/* Begins or continues the journal on all ranks. In a continued run, rank 0 also removes all files of the interrupted
 * run that are not files of tensors. All turns are below `turns`. Takes over `head`, the first line of the journal. */
organ_status organ_adapter_journal_begin(organ_adapter_writer *writer, json_t *head, size_t turns, organ_error *error);

/* Sets `name` to the name, without directory, of the file to which this rank appends tensors. */
void organ_adapter_file_name(const organ_adapter_writer *writer, char name[64]);

/* Allocates the header (8 + writer->header_room bytes) and writes its length and metadata. Allocates room for the names
 * of `tensors` tensors; these names have `name_bytes` bytes in total without NULs. Returns ORGAN_IO if memory runs
 * out. */
organ_status organ_adapter_header_begin(organ_adapter_writer *writer, size_t tensors, size_t name_bytes,
                                        organ_error *error);

/* Removes all entries and names of tensors from the header, which then has only its length and the metadata. */
void organ_adapter_header_clear(organ_adapter_writer *writer);

/* Completes the header with its last brace and blanks up to header_room bytes, and writes it to the beginning of the
 * file. Call it once. Returns ORGAN_IO if writing fails. */
organ_status organ_adapter_header_write(organ_adapter_writer *writer, organ_error *error);

/* Frees the header, the names, and turn_lines. */
void organ_adapter_header_release(organ_adapter_writer *writer);

/* Adds a tensor to the header, turn_tensors and rank_tensors. Its `bytes` bytes of data begin at writer->bytes, which
 * the function does not change. `entry` has the tensor's "dtype" and "shape" and gets its "data_offsets"; the function
 * does not take it over. `width` is the number of bytes of an element. Returns ORGAN_BAD_INPUT if the name was added
 * before, if `width` exceeds that of the previous tensor, or if the header has no room; ORGAN_IO if memory runs out. */
organ_status organ_adapter_enter(organ_adapter_writer *writer, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error);

/* Writes adapter_model.gguf with the tensors of the finished safetensors file, then removes that file. Returns errors
 * of opening the safetensors file, and ORGAN_IO if writing or memory fails. */
organ_status organ_adapter_gguf_write(const organ_adapter_writer *writer, organ_error *error);

#endif

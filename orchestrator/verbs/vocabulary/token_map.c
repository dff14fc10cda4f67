/* SPDX-License-Identifier: MIT
 * Writes a list of ids as an archive of torch.save. */
#include "orchestrator/verbs/vocabulary/token_map.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the pickle ---- */

enum { PICKLE_ID = 5, PICKLE_ENDS = 16 }; /* most bytes of an id, and of what surrounds the list */

static size_t put_little(unsigned char *out, uint64_t value, unsigned bytes)
{
    for (unsigned k = 0; k < bytes; k++)
        out[k] = (unsigned char)(value >> 8 * k);
    return bytes;
}

/* Protocol 2: an empty list, a mark, the numbers, and "append all of them". */
static size_t pickle(unsigned char *out, const uint32_t *ids, size_t count)
{
    static const unsigned char begin[] = {0x80, 2, ']', 'q', 0, '('}, end[] = {'e', '.'};
    size_t at = sizeof begin;
    memcpy(out, begin, sizeof begin);
    for (size_t k = 0; k < count; k++) {
        unsigned bytes = ids[k] < 0x10000 ? 2 : 4;
        out[at] = bytes == 2 ? 'M' : 'J';
        if (ids[k] < 0x100) {
            bytes = 1;
            out[at] = 'K';
        }
        at++;
        at += put_little(out + at, ids[k], bytes);
    }
    memcpy(out + at, end, sizeof end);
    return at + sizeof end;
}

/* ---- the archive ---- */

typedef struct map_entry {
    const char *name;
    const unsigned char *bytes;
    size_t length;
    uint32_t crc;
    size_t at; /* of its header */
} map_entry;

enum { ENTRIES = 3 };

static uint32_t crc_of(const unsigned char *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (size_t k = 0; k < length; k++) {
        crc ^= bytes[k];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* The fields that the header of an entry and its line in the directory have in common: stored, without a date. */
static size_t put_facts(unsigned char *out, const map_entry *e)
{
    size_t at = put_little(out, 0, 4);         /* flags, method */
    at += put_little(out + at, 0x5A210000, 4); /* time, date: 1 January 2025 */
    at += put_little(out + at, e->crc, 4);
    at += put_little(out + at, e->length, 4);
    at += put_little(out + at, e->length, 4);
    at += put_little(out + at, strlen(e->name), 2);
    return at + put_little(out + at, 0, 2);
}

static size_t print_entry(const map_entry *e, FILE *out)
{
    unsigned char head[64];
    size_t at = put_little(head, 0x04034B50, 4);
    at += put_little(head + at, 20, 2);
    at += put_facts(head + at, e);
    fwrite(head, 1, at, out);
    fputs(e->name, out);
    fwrite(e->bytes, 1, e->length, out);
    return at + strlen(e->name) + e->length;
}

static size_t print_line(const map_entry *e, FILE *out)
{
    unsigned char line[64];
    size_t at = put_little(line, 0x02014B50, 4);
    at += put_little(line + at, 20, 2);
    at += put_little(line + at, 20, 2);
    at += put_facts(line + at, e);
    at += put_little(line + at, 0, 8); /* comment, disk, attributes inside */
    at += put_little(line + at, 0, 2); /* rest of the attributes outside, low */
    at += put_little(line + at, e->at, 4);
    fwrite(line, 1, at, out);
    fputs(e->name, out);
    return at + strlen(e->name);
}

static organ_status print_archive(const void *context, FILE *out, organ_error *error)
{
    map_entry entries[ENTRIES];
    unsigned char end[32];
    size_t at = 0, directory = 0;
    memcpy(entries, context, sizeof entries);
    for (size_t k = 0; k < ENTRIES; k++) {
        entries[k].at = at;
        at += print_entry(&entries[k], out);
    }
    for (size_t k = 0; k < ENTRIES; k++)
        directory += print_line(&entries[k], out);
    size_t length = put_little(end, 0x06054B50, 4);
    length += put_little(end + length, 0, 4);
    length += put_little(end + length, ENTRIES, 2);
    length += put_little(end + length, ENTRIES, 2);
    length += put_little(end + length, directory, 4);
    length += put_little(end + length, at, 4);
    length += put_little(end + length, 0, 2);
    fwrite(end, 1, length, out);
    return error->status;
}

organ_status organ_token_map_write(const char *path, const uint32_t *ids, size_t count, organ_error *error)
{
    ORGAN_OWNED unsigned char *const bytes = malloc(count * PICKLE_ID + PICKLE_ENDS);
    if (!bytes)
        return organ_fail_memory(error, path);
    map_entry entries[ENTRIES] = {{.name = "map/data.pkl", .bytes = bytes, .length = pickle(bytes, ids, count)},
                                  {.name = "map/byteorder", .bytes = (const unsigned char *)"little", .length = 6},
                                  {.name = "map/version", .bytes = (const unsigned char *)"3\n", .length = 2}};
    for (size_t k = 0; k < ENTRIES; k++)
        entries[k].crc = crc_of(entries[k].bytes, entries[k].length);
    return organ_printed_write(path, print_archive, entries, error);
}

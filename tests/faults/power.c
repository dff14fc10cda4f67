/* SPDX-License-Identifier: MIT */
#include "tests/faults/power.h"

#include "tests/faults/leavings.h"
#include "tests/faults/power_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, TEXT = LEAVINGS_TEXT };

/* Ways in which operations that were not synchronised survive. */
enum way { NOTHING, EVERYTHING, HALF, MAX, NAMES_ALONE, NAMES_AND_SIZES };

typedef struct node node;
typedef struct entry {
    char *name;
    node *of;
} entry;

struct node {
    uint64_t id;   /* inode during the run */
    uint64_t made; /* inode on the built disk */
    bool folder, dated;
    struct timespec modified;
    char *bytes;
    size_t size;
    entry *entries;
    size_t count;
};

typedef struct disk {
    node **nodes; /* the last node with an id is the current one */
    size_t count;
} disk;

typedef struct step {
    const power_record *record;
    const char *names[2];
    size_t lengths[2];
    const char *bytes;
} step;

struct power {
    disk begun; /* nodes[0] is the root */
    char *log;
    step *steps;
    size_t count;
};

static void *more(void *block, size_t size)
{
    void *const grown = realloc(block, size ? size : 1);
    if (!grown)
        give_up("memory");
    return grown;
}

/* ---- a disk in memory ---- */

static node *add_node(disk *d, uint64_t id, bool folder)
{
    node *const made = more(NULL, sizeof *made);
    *made = (node){.id = id, .folder = folder};
    d->nodes = more(d->nodes, (d->count + 1) * sizeof *d->nodes);
    return d->nodes[d->count++] = made;
}

static node *find_node(const disk *d, uint64_t id)
{
    for (size_t k = d->count; k > 0; k--)
        if (d->nodes[k - 1]->id == id)
            return d->nodes[k - 1];
    return NULL;
}

static void set_size(node *n, size_t size)
{
    n->bytes = more(n->bytes, size);
    if (size > n->size)
        memset(n->bytes + n->size, 0, size - n->size);
    n->size = size;
}

/* Links the name to a node, or removes it if `of` is NULL. */
static void set_name(node *folder, const char *name, size_t length, node *of)
{
    size_t k = 0;
    if (!folder)
        return;
    while (k < folder->count &&
           (strlen(folder->entries[k].name) != length || memcmp(folder->entries[k].name, name, length) != 0))
        k++;
    if (k < folder->count && of) {
        folder->entries[k].of = of;
    } else if (k < folder->count) {
        free(folder->entries[k].name);
        folder->entries[k] = folder->entries[--folder->count];
    } else if (of) {
        folder->entries = more(folder->entries, (folder->count + 1) * sizeof *folder->entries);
        folder->entries[folder->count++] = (entry){strndup(name, length), of};
    }
}

static void read_folder(disk *d, node *folder, const char *path)
{
    DIR *const entries = opendir(path);
    if (!entries)
        give_up(path);
    for (struct dirent *e; (e = readdir(entries));) {
        char below[TEXT];
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        join(below, path, e->d_name);
        if (stat(below, &info))
            give_up(below);
        node *const n = add_node(d, info.st_ino, S_ISDIR(info.st_mode));
        set_name(folder, e->d_name, strlen(e->d_name), n);
        n->dated = true;
        n->modified = info.st_mtim;
        if (n->folder)
            read_folder(d, n, below);
        else
            n->bytes = load(below, &n->size);
    }
    closedir(entries);
}

static void free_disk(disk *d)
{
    for (size_t k = 0; k < d->count; k++) {
        for (size_t e = 0; e < d->nodes[k]->count; e++)
            free(d->nodes[k]->entries[e].name);
        free(d->nodes[k]->entries);
        free(d->nodes[k]->bytes);
        free(d->nodes[k]);
    }
    free(d->nodes);
}

static disk copy_of(const disk *from)
{
    disk d = {0};
    for (size_t k = 0; k < from->count; k++) {
        const node *const n = from->nodes[k];
        node *const made = add_node(&d, n->id, n->folder);
        made->dated = n->dated;
        made->modified = n->modified;
        set_size(made, n->size);
        if (n->size)
            memcpy(made->bytes, n->bytes, n->size);
    }
    for (size_t k = 0; k < from->count; k++)
        for (size_t e = 0; e < from->nodes[k]->count; e++) {
            const entry *const at = &from->nodes[k]->entries[e];
            set_name(d.nodes[k], at->name, strlen(at->name), find_node(&d, at->of->id));
        }
    return d;
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *const out = fopen(path, "w");
    if (!out || (size && fwrite(bytes, 1, size, out) != size) || fclose(out))
        give_up(path);
}

static void write_tree(const node *folder, const char *path)
{
    for (size_t k = 0; k < folder->count; k++) {
        node *const n = folder->entries[k].of;
        struct stat info;
        char below[TEXT];
        join(below, path, folder->entries[k].name);
        if (!n->folder)
            write_file(below, n->bytes, n->size);
        else if (mkdir(below, 0777) && errno != EEXIST)
            give_up(below);
        if (stat(below, &info))
            give_up(below);
        n->made = info.st_ino;
        if (n->folder)
            write_tree(n, below);
        const struct timespec times[2] = {n->modified, n->modified};
        if (!n->folder && n->dated && utimensat(AT_FDCWD, below, times, 0))
            give_up(below);
    }
}

/* Writes the numbers of a list "[1,2]" that begins at `at`: inodes during the run become those on the built disk.
 * Returns the end of the list. */
static const char *put_inodes(FILE *out, const disk *d, const char *at)
{
    for (; *at && *at != ']'; at++)
        if (*at >= '0' && *at <= '9') {
            char *end;
            const uint64_t id = strtoull(at, &end, 10);
            const node *const n = find_node(d, id);
            fprintf(out, "%llu", (unsigned long long)(n && n->made ? n->made : id));
            at = end - 1;
        } else
            putc(*at, out);
    return at;
}

/* Adapts the notes of finished outputs below a folder (orchestrator/output/partial.h) to the built disk:
 * they name files by inode. */
static void renumber_notes(const disk *d, const node *folder, const char *path)
{
    static const char words[] = "{\"finished\":";
    for (size_t k = 0; k < folder->count; k++) {
        const node *const n = folder->entries[k].of;
        char below[TEXT];
        join(below, path, folder->entries[k].name);
        if (n->folder) {
            renumber_notes(d, n, below);
            continue;
        }
        size_t length;
        const char *const list = n->size ? memmem(n->bytes, n->size, words, sizeof words - 1) : NULL;
        if (!list)
            continue;
        char *const text = load(below, &length), *changed = NULL;
        FILE *const out = open_memstream(&changed, &length);
        if (!out)
            give_up("memory");
        fwrite(text, 1, (size_t)(list - n->bytes) + sizeof words - 1, out);
        const char *const rest = put_inodes(out, d, text + (list - n->bytes) + sizeof words - 1);
        fwrite(rest, 1, n->size - (size_t)(rest - text), out);
        if (fclose(out))
            give_up("memory");
        write_file(below, changed, length);
        free(changed);
        free(text);
    }
}

/* ---- the log ---- */

power *power_of(const char *directory)
{
    power *const p = more(NULL, sizeof *p);
    struct stat info;
    *p = (power){.log = NULL};
    if (stat(directory, &info))
        give_up(directory);
    read_folder(&p->begun, add_node(&p->begun, info.st_ino, true), directory);
    return p;
}

void power_load(power *p, const char *log)
{
    size_t size;
    p->log = load(log, &size);
    for (const char *at = p->log; at < p->log + size;) {
        power_record *const record = more(NULL, sizeof *record);
        memcpy(record, at, sizeof *record);
        const char *const names = at + sizeof *record;
        p->steps = more(p->steps, (p->count + 1) * sizeof *p->steps);
        p->steps[p->count++] = (step){.record = record,
                                      .names = {names, names + record->names[0]},
                                      .lengths = {record->names[0], record->names[1]},
                                      .bytes = names + record->names[0] + record->names[1]};
        at = names + record->names[0] + record->names[1] + record->bytes;
    }
}

size_t power_records(const power *p) { return p->count; }

/* ---- the disk after the power cut ---- */

static bool is_about_bytes(uint32_t act) { return act == POWER_WRITE || act == POWER_SIZE; }

/* Marks the steps before `count` that are durable. */
static bool *find_durable(const power *p, size_t count)
{
    bool *const durable = calloc(count + 1, 1);
    if (!durable)
        give_up("memory");
    for (size_t k = 0; k < count; k++) {
        const power_record *const sync = p->steps[k].record;
        for (size_t j = 0; j < k && (sync->act == POWER_SYNC || sync->act == POWER_ALL); j++) {
            const power_record *const r = p->steps[j].record;
            durable[j] = durable[j] || sync->act == POWER_ALL ||
                         (is_about_bytes(r->act) ? r->node == sync->node
                                                 : r->folders[0] == sync->node || r->folders[1] == sync->node);
        }
    }
    return durable;
}

static uint64_t mixed(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static bool survives(uint64_t seed, size_t at, size_t sector, uint32_t act)
{
    const uint64_t chance = mixed(seed ^ mixed(at ^ mixed(sector))) % 8;
    switch ((enum way)(seed % POWER_WAYS)) {
    case NOTHING:
        return false;
    case EVERYTHING:
        return true;
    case HALF:
        return chance < 4;
    case MAX:
        return chance < 7;
    case NAMES_ALONE:
        return !is_about_bytes(act);
    default:
        return act != POWER_WRITE;
    }
}

/* Writes the bytes of one step. Sectors that do not survive keep their old content or become zeros. */
static void write_bytes(node *n, const step *s, size_t at, bool durable, uint64_t seed)
{
    const size_t begin = s->record->offset, end = begin + s->record->bytes;
    for (size_t from = begin, to; from < end; from = to) {
        to = (from / SECTOR + 1) * SECTOR < end ? (from / SECTOR + 1) * SECTOR : end;
        if (!durable && !survives(seed, at, from / SECTOR, POWER_WRITE))
            continue;
        if (n->size < to)
            set_size(n, to);
        memcpy(n->bytes + from, s->bytes + (from - begin), to - from);
    }
    if (!durable && seed % POWER_WAYS == NAMES_AND_SIZES && n->size < end)
        set_size(n, end);
}

static void apply(disk *d, const step *s, size_t at, bool durable, uint64_t seed)
{
    const power_record *const r = s->record;
    node *const made =
        r->act == POWER_MAKE || r->act == POWER_FOLDER ? add_node(d, r->node, r->act == POWER_FOLDER) : NULL;
    node *const n = made ? made : find_node(d, r->node), *const from = find_node(d, r->folders[0]),
                *const to = find_node(d, r->folders[1]);
    if (r->act == POWER_WRITE && n && !n->folder)
        write_bytes(n, s, at, durable, seed);
    if (r->act == POWER_WRITE || !n || !(durable || survives(seed, at, 0, r->act)))
        return;
    if (r->act == POWER_SIZE)
        set_size(n, r->offset);
    else if (r->act == POWER_MAKE || r->act == POWER_FOLDER || r->act == POWER_LINK)
        set_name(from, s->names[0], s->lengths[0], n);
    else if (r->act == POWER_REMOVE)
        set_name(from, s->names[0], s->lengths[0], NULL);
    else if (r->act == POWER_RENAME || r->act == POWER_TRADE) {
        set_name(from, s->names[0], s->lengths[0], r->act == POWER_TRADE ? find_node(d, r->other) : NULL);
        set_name(to, s->names[1], s->lengths[1], n);
    }
}

void power_build(const power *p, size_t count, uint64_t seed, const char *directory)
{
    disk d = copy_of(&p->begun);
    bool *const durable = find_durable(p, count);
    for (size_t k = 0; k < count; k++)
        apply(&d, &p->steps[k], k, durable[k], seed);
    write_tree(d.nodes[0], directory);
    renumber_notes(&d, d.nodes[0], directory);
    free(durable);
    free_disk(&d);
}

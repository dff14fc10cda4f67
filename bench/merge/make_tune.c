/* SPDX-License-Identifier: MIT
 * make_tune MODEL OUT dense|sparse|adapter SEED: writes a tune of a model of make_model, whose tensors are BF16. Normal
 * noise of a twentieth of the weights' deviation is added to all elements (dense), to three of ten (sparse), or to the
 * projections of queries and values only, as by an adapter. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STEP 65536 /* bytes for each read */

static uint64_t state;
static double share;

static void die(const char *what)
{
    perror(what);
    exit(4);
}

static uint32_t draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* Adds noise to a share of the values; a sum of four uniform numbers is nearly normal. */
static void change(uint16_t *values, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const uint64_t bits = (uint64_t)draw() << 32 | draw();
        if ((double)draw() >= share * 4294967296.0)
            continue;
        const double sum = (double)(bits & 0xffff) + (double)(bits >> 16 & 0xffff) + (double)(bits >> 32 & 0xffff) +
                           (double)(bits >> 48);
        const uint32_t old = (uint32_t)values[k] << 16;
        float value;
        memcpy(&value, &old, sizeof value);
        value += (float)((sum / 65536 - 2) * 1.7320508 * 0.001);
        uint32_t wide;
        memcpy(&wide, &value, sizeof wide);
        values[k] = (uint16_t)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
    }
}

static void copy_bytes(FILE *from, FILE *to, uint64_t n, int changed)
{
    static uint16_t buffer[STEP / 2];
    for (uint64_t done = 0, some; done < n; done += some) {
        some = n - done < STEP ? n - done : STEP;
        some = fread(buffer, 1, (size_t)some, from);
        if (!some && (feof(from) || ferror(from)))
            die("read");
        if (changed)
            change(buffer, (size_t)some / 2);
        if (fwrite(buffer, 1, (size_t)some, to) != some)
            die("write");
    }
}

/* make_model writes each tensor of a header as "name":{...,"data_offsets":[FIRST,END]}, in the order of the data. */
static void copy_tensors(FILE *from, FILE *to, int adapter)
{
    uint64_t length;
    if (fread(&length, sizeof length, 1, from) != 1 || length > (uint64_t)1 << 26)
        die("header");
    char *const header = calloc(length + 1, 1);
    if (!header || fread(header, 1, length, from) != length || fwrite(&length, sizeof length, 1, to) != 1 ||
        fwrite(header, 1, length, to) != length)
        die("header");
    for (char *at = header, *offsets; (offsets = strstr(at, "\"data_offsets\":[")); at = offsets) {
        char *end;
        *offsets = '\0';
        const int chosen = !adapter || strstr(at, "q_proj.weight") || strstr(at, "v_proj.weight");
        offsets += strlen("\"data_offsets\":[");
        const uint64_t first = strtoull(offsets, &end, 10);
        copy_bytes(from, to, strtoull(end + 1, &offsets, 10) - first, chosen);
    }
    free(header);
}

static void copy_file(const char *directory, const char *out, const char *name, int adapter)
{
    char path[4096];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *const from = fopen(path, "rb");
    if (!from || fstat(fileno(from), &info))
        die(path);
    snprintf(path, sizeof path, "%s/%s", out, name);
    FILE *const to = fopen(path, "wbx");
    if (!to)
        die(path);
    const char *const ending = strrchr(name, '.');
    if (ending && strcmp(ending, ".safetensors") == 0)
        copy_tensors(from, to, adapter);
    else
        copy_bytes(from, to, (uint64_t)info.st_size, /*changed=*/0);
    if (fclose(to) || fclose(from))
        die(path);
}

int main(int argc, char **argv)
{
    const int sparse = argc == 5 && strcmp(argv[3], "sparse") == 0,
              adapter = argc == 5 && strcmp(argv[3], "adapter") == 0;
    if (argc != 5 || (!sparse && !adapter && strcmp(argv[3], "dense") != 0)) {
        fprintf(stderr, "make_tune MODEL OUT dense|sparse|adapter SEED\n");
        return 2;
    }
    share = sparse ? .3 : 1;
    state = strtoull(argv[4], NULL, 10);
    DIR *const files = opendir(argv[1]);
    if (!files || mkdir(argv[2], 0777))
        die(argv[2]);
    for (const struct dirent *file; (file = readdir(files));)
        if (file->d_name[0] != '.')
            copy_file(argv[1], argv[2], file->d_name, adapter);
    return closedir(files) ? 4 : 0;
}

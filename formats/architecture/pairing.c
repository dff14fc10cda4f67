/* SPDX-License-Identifier: MIT
 * Functions that find rows of the table of architectures for conversions, and the parts of names. */
#include "formats/architecture/pairing.h"

#include "formats/architecture/family_rows.h"
#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* clang-format off */
/* llama.cpp's converter does not have these architectures of the forward pass. */
static const char *const absent[] = {
    "BioGpt", "CodeGen", "Cwm", "FlexOlmo", "GPTJ", "GPTNeo", "Helium", "HyperCLOVAX", "Lfm3", "LongcatFlash",
    "Ministral", "NanoChat", "OPT", "OlmoHybrid", "Persimmon", "Phimoe", "VaultGemma", "XGLM"};
/* clang-format on */

static bool row_has_experts(const forward_pairing *row)
{
    const forward_family *const family = organ_forward_family_named(row->gguf, /*gguf=*/true);
    return family && family->gguf_experts && strcmp(family->gguf_experts, row->gguf) == 0;
}

/* General.architecture of text models that llama.cpp runs beside a tower. */
static const struct {
    const char *type, *gguf;
} beside_towers[] = {{"qwen2_vl", "qwen2vl"}, {"qwen2_5_vl", "qwen2vl"}, {"qwen3_vl", "qwen3vl"}};

const forward_pairing *organ_pairing_named(const char *architecture, const char *model_type, bool experts)
{
    const char *gguf = NULL;
    for (size_t k = 0; k < sizeof beside_towers / sizeof *beside_towers; k++)
        if (strcmp(beside_towers[k].type, model_type) == 0)
            gguf = beside_towers[k].gguf;
    for (const forward_pairing *row = organ_pairing_rows; row->architecture && gguf; row++)
        if (strcmp(row->architecture, architecture) == 0 && strcmp(row->gguf, gguf) == 0)
            return row;
    for (const forward_pairing *row = organ_pairing_rows; row->architecture; row++)
        if (strcmp(row->architecture, architecture) == 0 && (experts || !row_has_experts(row)))
            return row;
    return NULL;
}

const forward_pairing *organ_pairing_of_gguf(const organ_gguf *gguf, const char *architecture)
{
    for (const forward_pairing *row = organ_pairing_rows; row->architecture; row++) {
        char key[128];
        if (!row->model_type || strcmp(row->gguf, architecture) != 0)
            continue;
        const char *const when = row->when;
        const bool lacks = when && *when == '!';
        snprintf(key, sizeof key, "%s.%s", architecture, when ? when + lacks : "");
        if (!when || (organ_gguf_real(gguf, key, 0) != 0) != lacks)
            return row;
    }
    return NULL;
}

const forward_pairing *organ_pairing_names_of_gguf(const organ_gguf *gguf, const char *architecture)
{
    const forward_pairing *const both = organ_pairing_of_gguf(gguf, architecture);
    for (const forward_pairing *row = organ_pairing_rows; row->architecture && !both; row++)
        if (strcmp(row->gguf, architecture) == 0)
            return row;
    return both;
}

organ_status organ_pairing_refuse(const char *label, const char *architecture, bool gguf, organ_error *error)
{
    for (size_t k = 0; k < COUNT(absent) && !gguf; k++)
        if (strncmp(architecture, absent[k], strlen(absent[k])) == 0 &&
            strcmp(architecture + strlen(absent[k]), "ForCausalLM") == 0)
            return organ_refuse(error, label,
                                "architecture '%s' cannot be converted: llama.cpp has no architecture for it",
                                architecture);
    if (strcmp(architecture, "DeepseekV4ForCausalLM") == 0 && !gguf)
        return organ_refuse(error, label,
                            "architecture '%s' cannot be converted: organ has no rules for llama.cpp's 'deepseek4'",
                            architecture);
    char known[sizeof error->message] = "";
    const char *last = ""; /* of adjacent rows of one name only the first is listed */
    size_t used = 0;
    for (const forward_pairing *row = organ_pairing_rows; row->architecture && used < sizeof known; row++) {
        const char *const name = gguf ? row->gguf : row->architecture;
        if ((gguf ? !row->model_type : row_has_experts(row)) || strcmp(name, last) == 0)
            continue;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%.*s", used ? ", " : "",
                                 organ_architecture_short_length(name), name);
        last = name;
    }
    return organ_refuse(error, label, "architecture '%.100s' cannot be converted, only %s",
                        *architecture ? architecture : "(none)", known);
}

/* ---- parts by name ---- */

/* A name may stand for another part in another architecture. */
static bool family_has_part(const forward_family *f, forward_part part)
{
    const bool after = f->norms == ORGAN_NORMS_AFTER, around = f->norms == ORGAN_NORMS_AROUND;
    if (part == PART_NORM_ATTENTION || part == PART_NORM_FFN)
        return !after;
    if (part == PART_NORM_POST_ATTENTION || part == PART_NORM_POST_FFN)
        return after || around;
    if (part >= PART_MIX_IN && part <= PART_NORM_MIXED)
        return f->recurrent != NULL;
    if (part == PART_HEAD_GATE)
        return f->gate != ORGAN_UNGATED && !f->gate_in_q;
    return true;
}

/* A '#' in the pattern matches a number; without a '#' *number is -1. */
static bool matches_pattern(const char *name, const char *pattern, int64_t *number)
{
    *number = -1;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern)
                return false;
            continue;
        }
        char *end;
        if (*name < '0' || *name > '9')
            return false;
        *number = strtol(name, &end, 10);
        if (*number > INT32_MAX)
            return false;
        name = end;
    }
    return *name == 0;
}

static bool part_matches(const char *tail, const char *pattern, bool bias, forward_part part, pairing_part *found)
{
    char bias_name[256];
    if (!pattern ||
        !matches_pattern(tail, bias ? organ_forward_bias_name(pattern, bias_name) : pattern, &found->number))
        return false;
    found->part = part;
    found->bias = bias;
    return true;
}

/* `top`: the name is outside all layers. Names that only this family has come first. */
static bool find_part_of_name(const forward_family *f, bool gguf, bool top, const char *tail, bool bias,
                              pairing_part *found)
{
    const forward_part first = top ? PART_EMBEDDING : 0, end = top ? PART_NAMES : PART_EMBEDDING;
    const forward_name *const own = gguf ? f->gguf_names : f->names;
    for (const forward_name *n = own; n && n->name; n++) {
        const forward_part part = organ_name_part(n);
        if (part >= first && part < end && part_matches(tail, n->name, bias, part, found))
            return true;
    }
    for (forward_part part = first; part < end; part++)
        if (family_has_part(f, part) &&
            part_matches(tail, organ_forward_part_name(own, part, gguf, /*index=*/0), bias, part, found))
            return true;
    return false;
}

bool organ_pairing_has_name(const forward_name *names, forward_part part)
{
    for (; names && names->name; names++)
        if (organ_name_part(names) == part)
            return true;
    return false;
}

bool organ_pairing_find_part(const forward_family *family, bool gguf, bool top, const char *tail, pairing_part *found)
{
    found->first = found->in_block = false;
    found->draft = 0;
    if (find_part_of_name(family, gguf, top, tail, /*bias=*/false, found))
        return true;
    return organ_ends_with(tail, ".bias") && find_part_of_name(family, gguf, top, tail, /*bias=*/true, found);
}

void organ_pairing_attend(pairing_part *part)
{
    static const forward_part both[][2] = {{PART_MIX_Q, PART_Q},
                                           {PART_MIX_K, PART_K},
                                           {PART_MIX_V, PART_V},
                                           {PART_MIX_OUT, PART_O},
                                           {PART_MIX_Z, PART_HEAD_GATE}};
    for (size_t k = 0; k < COUNT(both); k++)
        if (part->part == both[k][0]) {
            part->part = both[k][1];
            return;
        }
}

bool organ_pairing_part_name(const forward_family *family, bool gguf, const pairing_part *part, char name[256])
{
    const forward_name *const own = gguf ? family->gguf_names : family->names;
    const forward_name_use in_layer = part->in_block ? NAME_DRAFT : NAME_WRITTEN;
    const forward_name_use use = part->first ? NAME_ONE_NORM : in_layer;
    const char *pattern = organ_forward_written_name(own, part->part, gguf, gguf ? NAME_WRITTEN : use);
    char bias_name[256];
    if (!pattern)
        return false;
    pattern = part->bias ? organ_forward_bias_name(pattern, bias_name) : pattern;
    const char *const mark = strchr(pattern, '#');
    if (mark)
        snprintf(name, 256, "%.*s%lld%s", (int)(mark - pattern), pattern, (long long)part->number, mark + 1);
    else
        snprintf(name, 256, "%s", pattern);
    return true;
}

/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/adapter/adapter.h"

#include "formats/config/model_config.h"
#include "formats/architecture/pairing.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct translated {
    organ_adapter adapter;     /* first member: organ_adapter_translated_free casts its address to this struct */
    organ_adapter_pair *pairs; /* adapter.pair_count translated pairs */
    size_t capacity;           /* pairs for which `pairs` has room */
    organ_name_table names;    /* maps the name of a weight to an index into `pairs` */
    organ_arena arena;         /* memory of the names and origins of the pairs */
} translated;

typedef struct translation {
    const organ_adapter *from;
    const organ_weights *weights;  /* weights of the base */
    const organ_lora_names *names; /* finds them by names of the adapter */
    bool to_gguf;                  /* the base is GGUF */
    /* The base's architecture, with its names of tensors in safetensors and in GGUF; NULL: unknown. */
    const forward_family *family, *gguf_family;
    bool norms_plus_one;         /* PAIRING_NORMS_PLUS_ONE */
    organ_forward_config config; /* of the base; only read if base and adapter have different formats */
    translated *to;
    organ_error *error;
} translation;

typedef struct translated_part {
    const organ_adapter_pair *pair;
    int64_t layer;     /* -1: a weight outside of layers */
    pairing_part part; /* with the number of the expert, if the name has one */
} translated_part;

/* ---- names ---- */

/* Returns the end of the name after "layers.N." (or the word that the architecture has for "layers") and sets *layer to
 * N. If the name has no such number, *layer becomes -1 and the result is the name without the prefix of the text
 * model. */
static const char *tail_of(const translation *t, const char *name, int64_t *layer)
{
    static const char *const prefixes[] = {"model.language_model.", "language_model.model.", "model."};
    const char *const layer_list = t->family->layer_list ? t->family->layer_list : "layers";
    const size_t length = strlen(layer_list);
    for (const char *at = name; (at = strstr(at, layer_list)); at++)
        if ((at == name || at[-1] == '.') && at[length] == '.' && at[length + 1] >= '0' && at[length + 1] <= '9') {
            char *end;
            *layer = strtol(at + length + 1, &end, 10);
            return *end == '.' ? end + 1 : name;
        }
    *layer = -1;
    if (t->family->prefix && strncmp(name, t->family->prefix, strlen(t->family->prefix)) == 0)
        return name + strlen(t->family->prefix);
    for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes; k++)
        if (strncmp(name, prefixes[k], strlen(prefixes[k])) == 0)
            return name + strlen(prefixes[k]);
    return name;
}

/* Sets p->layer and p->part from the name of p->pair, which is one of llama.cpp if the adapter is GGUF, else one of
 * peft. Returns false if no part has the name. */
static bool translate_find_part(const translation *t, translated_part *p)
{
    static const char block[] = "blk.";
    const char *name = p->pair->weight;
    char *end;
    if (t->from->gguf) {
        p->layer = -1;
        if (strncmp(name, block, strlen(block)) == 0 && name[strlen(block)] >= '0' && name[strlen(block)] <= '9') {
            p->layer = strtol(name + strlen(block), &end, 10);
            name = *end == '.' ? end + 1 : name;
        }
        const bool found = organ_pairing_find_part(t->gguf_family, /*gguf=*/true, p->layer < 0, name, &p->part);
        /* parts of attention and of recurrent mixers can have the same name in GGUF */
        if (p->layer >= 0 && p->layer < (int64_t)t->config.layers &&
            t->config.kinds[p->layer].mixer == ORGAN_MIXER_ATTENTION)
            organ_pairing_attend(&p->part);
        return found;
    }
    const organ_role role = organ_anatomy_of(name).role;
    if (role == ORGAN_ROLE_VISION || role == ORGAN_ROLE_AUDIO) /* towers have layers of their own */
        return false;
    if (strcmp(name, "lm_head.weight") == 0) {
        p->layer = -1;
        p->part = (pairing_part){.part = PART_OUTPUT, .number = -1};
        return true;
    }
    name = tail_of(t, name, &p->layer);
    return organ_pairing_find_part(t->family, /*gguf=*/false, p->layer < 0, name, &p->part);
}

/* Returns the base's weight that has the part; NULL if there is none. `layer` -1 means the model outside its layers.
 * `number` is the index of the expert for parts of numbered experts, else -1. */
static const organ_weight *weight_of(const translation *t, int64_t layer, forward_part part, int64_t number)
{
    const forward_family *const family = t->to_gguf ? t->gguf_family : t->family;
    const forward_name *const own = t->to_gguf ? family->gguf_names : family->names;
    const char *const prefix = t->to_gguf ? "" : organ_text_prefix(family, t->weights);
    const char *pattern;
    char tail[256], name[600];
    for (unsigned k = 0; (pattern = organ_forward_part_name(own, part, t->to_gguf, k)); k++) {
        const char *const mark = strchr(pattern, '#'); /* stands for the number of the expert */
        snprintf(tail, sizeof tail, "%s", pattern);
        if (mark)
            snprintf(tail, sizeof tail, "%.*s%lld%s", (int)(mark - pattern), pattern, (long long)number, mark + 1);
        if (t->to_gguf && layer >= 0)
            snprintf(name, sizeof name, "blk.%lld.%s", (long long)layer, tail);
        else if (t->to_gguf || part == PART_OUTPUT)
            snprintf(name, sizeof name, "%s", tail);
        else if (layer < 0)
            snprintf(name, sizeof name, "%s%s", prefix, tail);
        else
            snprintf(name, sizeof name, "%s%s.%lld.%s", prefix, family->layer_list ? family->layer_list : "layers",
                     (long long)layer, tail);
        const organ_weight *const found = organ_weights_named(t->weights, name);
        if (found)
            return found;
    }
    /* the head of a safetensors model has several names without the prefix of its text model */
    return part == PART_OUTPUT && !t->to_gguf ? organ_weights_named(t->weights, organ_text_head(t->weights)) : NULL;
}

/* ---- pairs ---- */

/* If no pair changes the weight, one with only names and anatomy is appended. The pointer is valid until the next pair
 * is appended; NULL if memory cannot be allocated. */
static organ_adapter_pair *find_or_add_pair(translation *t, const char *weight)
{
    translated *const to = t->to;
    const size_t *const known = organ_name_table_find(&to->names, weight);
    const size_t length = strlen(weight), count = to->adapter.pair_count;
    if (known)
        return &to->pairs[*known];
    if (!organ_grow(&to->pairs, count, &to->capacity, sizeof *to->pairs))
        return NULL;
    size_t of_module = length;
    organ_cut_end(weight, &of_module, ".weight");
    char *const kept = organ_arena_copy(&to->arena, weight, length);
    char *const module = organ_arena_copy(&to->arena, weight, of_module);
    if (!kept || !module || !organ_name_table_put(&to->names, kept, count))
        return NULL;
    to->pairs[count] = (organ_adapter_pair){.module = module, .weight = kept, .anatomy = organ_anatomy_of(weight)};
    to->adapter.pair_count++;
    return &to->pairs[count];
}

/* The rows of a stored B change a weight of the base. */
typedef struct translated_rows {
    const organ_weight *weight;
    const organ_adapter_pair *pair;
    int64_t expert;           /* expert of the stored stack; -1: all experts */
    uint64_t first, step;     /* the rows of the stored B that change it are first, first + step, ... */
    uint64_t rows;            /* number of these rows */
    organ_turned_rows turned; /* head, rotated and halves as in organ_adapter_origin; head 0: no reordering */
    bool halves;
} translated_rows;

/* peft stores the factors of stacks as those of parameters, except of stacks that it takes for experts x in_features x
 * out_features although the factors of the base's matrices are for their transpose. */
static organ_adapter_layout layout_of_stack(const translation *t, uint64_t experts)
{
    const forward_mixture *const mixture = t->family->mixture;
    const bool other = mixture && mixture->transposed && !organ_lora_stacks_are_turned(mixture);
    return experts > 1 && !t->to_gguf && !other ? ORGAN_FACTORS_PARAMETER : ORGAN_FACTORS_PLAIN;
}

static organ_status no_memory(translation *t) { return organ_fail_memory(t->error, t->from->path); }

static organ_status fail_twice_changed(translation *t, const organ_adapter_pair *pair, const organ_adapter_pair *made)
{
    return organ_fail(t->error, ORGAN_BAD_INPUT, "%s: '%s' and '%s' change the same weight, '%s'", t->from->path,
                      made->b->name, pair->b->name, made->weight);
}

static organ_status add_translated_pair(translation *t, const translated_rows *s)
{
    const organ_adapter_pair *const from = s->pair;
    organ_adapter_pair *const made = find_or_add_pair(t, s->weight->name);
    organ_adapter_origin *const origin = organ_arena_take(&t->to->arena, sizeof *origin);
    const organ_adapter_pair **const list = organ_arena_take(&t->to->arena, sizeof *list);
    if (!made || !origin || !list)
        return no_memory(t);
    if (made->a)
        return fail_twice_changed(t, from, made);
    list[0] = from;
    *origin = (organ_adapter_origin){.pairs = list,
                                     .count = 1,
                                     .expert = s->expert,
                                     .first = s->first,
                                     .step = s->step,
                                     .head = s->turned.head,
                                     .halves = s->halves,
                                     .rotated = s->turned.rotated};
    made->a = from->a;
    made->b = from->b;
    made->rank = from->rank;
    made->in_features = from->in_features;
    made->out_features = s->rows;
    made->scale = from->scale;
    made->embedding = from->embedding;
    made->experts = s->expert < 0 ? from->experts : 1;
    made->layout = layout_of_stack(t, made->experts);
    made->origin = origin;
    return ORGAN_OK;
}

/* Ranks of experts may differ; the translated pair gets the largest. */
static organ_status add_to_stack(translation *t, const translated_part *p, const organ_weight *stack)
{
    const organ_adapter_pair *const from = p->pair;
    const uint64_t experts = stack->shape[0];
    organ_adapter_pair *const made = find_or_add_pair(t, stack->name);
    if (!made)
        return no_memory(t);
    if (stack->rank != 3 || experts < 2 || p->part.number < 0 || (uint64_t)p->part.number >= experts ||
        (made->origin && (made->in_features != from->in_features || made->out_features != from->out_features)))
        return organ_fail(t->error, ORGAN_BAD_INPUT, "%s: '%s' does not fit the other experts of '%s'", t->from->path,
                          from->b->name, stack->name);
    if (!made->origin) {
        organ_adapter_origin *const origin = organ_arena_take(&t->to->arena, sizeof *origin);
        const organ_adapter_pair **const list = organ_arena_take(&t->to->arena, (size_t)experts * sizeof *list);
        if (!origin || !list)
            return no_memory(t);
        for (uint64_t e = 0; e < experts; e++)
            list[e] = NULL;
        *origin = (organ_adapter_origin){.pairs = list, .count = (size_t)experts, .expert = -1, .step = 1};
        made->a = from->a;
        made->b = from->b;
        made->in_features = from->in_features;
        made->out_features = from->out_features;
        made->scale = 1; /* the scales of the experts may differ; reading applies them */
        made->experts = experts;
        made->layout = layout_of_stack(t, experts);
        made->origin = origin;
    }
    made->origin->pairs[p->part.number] = from;
    made->rank = from->rank > made->rank ? from->rank : made->rank;
    return ORGAN_OK;
}

/* Fills the pair `made`, which is new, for a fused weight of two parts. */
static organ_status begin_fused(translation *t, const translated_part *p, const organ_weight *fused,
                                organ_adapter_pair *made)
{
    const organ_adapter_pair *const from = p->pair;
    const uint64_t experts = fused->rank == 3 ? fused->shape[0] : 1;
    organ_lora_fused *const origin = organ_arena_take(&t->to->arena, sizeof *origin);
    const organ_adapter_pair **const list = organ_arena_take(&t->to->arena, 2 * (size_t)experts * sizeof *list);
    if (!origin || !list)
        return no_memory(t);
    for (uint64_t k = 0; k < 2 * experts; k++)
        list[k] = NULL;
    *origin = (organ_lora_fused){.origin = {.pairs = list, .count = 2 * (size_t)experts, .expert = -1},
                                 .interleaved = experts > 1 && t->family->mixture && t->family->mixture->pairs};
    made->a = from->a;
    made->b = from->b;
    made->in_features = from->in_features;
    made->out_features = 2 * from->out_features;
    made->scale = 1; /* the scales of the parts may differ; reading applies them */
    made->experts = experts;
    made->layout = layout_of_stack(t, experts);
    made->origin = &origin->origin;
    return ORGAN_OK;
}

/* Adds the pair as part `part` of a weight that is fused of gate (0) and up (1): as that of one expert, if the part has
 * a number, else as that of all matrices. */
static organ_status add_to_fused(translation *t, const translated_part *p, const organ_weight *fused, size_t part)
{
    const organ_adapter_pair *const from = p->pair;
    organ_adapter_pair *const made = find_or_add_pair(t, fused->name);
    const uint64_t experts = fused->rank == 3 ? fused->shape[0] : 1;
    const int64_t number = p->part.number;
    if (!made)
        return no_memory(t);
    if ((fused->rank != 2 && fused->rank != 3) || number >= (int64_t)experts || (fused->rank == 3 && experts < 2) ||
        (number < 0 && from->experts != experts) || (made->origin && !organ_lora_fused_of(made)) ||
        (made->origin && (made->in_features != from->in_features || made->out_features != 2 * from->out_features)))
        return organ_fail(t->error, ORGAN_BAD_INPUT, "%s: '%s' does not fit the other parts of '%s'", t->from->path,
                          from->b->name, fused->name);
    if (!made->origin && made->a)
        return fail_twice_changed(t, from, made);
    if (!made->origin && begin_fused(t, p, fused, made))
        return t->error->status;
    const uint64_t first = number < 0 ? 0 : (uint64_t)number, end = number < 0 ? experts : first + 1;
    for (uint64_t e = first; e < end; e++) {
        if (made->origin->pairs[2 * e + part])
            return fail_twice_changed(t, from, made);
        made->origin->pairs[2 * e + part] = from;
    }
    made->rank = organ_lora_part_rank(made->origin, 0) + organ_lora_part_rank(made->origin, 1);
    return ORGAN_OK;
}

/* The rows of the stored B are first, first + step, ... If the base has no such stack, each expert gets a pair for
 * the part `numbered` instead. Returns false if the base has neither; true also if adding failed, with t->error set. */
static bool add_stack(translation *t, const translated_part *p, forward_part stack, forward_part numbered,
                      uint64_t first, uint64_t step, uint64_t rows)
{
    translated_rows s = {.pair = p->pair, .expert = -1, .first = first, .step = step, .rows = rows};
    if ((s.weight = weight_of(t, p->layer, stack, /*number=*/-1))) {
        add_translated_pair(t, &s);
        return true;
    }
    for (uint64_t e = 0; e < p->pair->experts && !t->error->status; e++) {
        s.expert = (int64_t)e;
        s.weight = weight_of(t, p->layer, numbered, s.expert);
        if (!s.weight && e == 0)
            return false;
        if (!s.weight)
            organ_fail(t->error, ORGAN_BAD_INPUT, "%s: '%s' is for %llu experts, but the base has %llu", t->from->path,
                       p->pair->b->name, (unsigned long long)p->pair->experts, (unsigned long long)e);
        else
            add_translated_pair(t, &s);
    }
    return true;
}

/* The gate gets the first half of the rows, or with `alternate` the rows 0, 2, ... `parts` has the parts of stacks
 * for gate and up, then the parts of numbered experts for gate and up. Returns false if the base has no weight for
 * the gate or for the up projection; true also if adding failed, with t->error set. */
static bool add_halves(translation *t, const translated_part *p, const forward_part parts[4], bool alternate)
{
    const uint64_t rows = p->pair->out_features / 2;
    for (uint64_t k = 0; k < 2 && !t->error->status; k++)
        if (!add_stack(t, p, parts[k], parts[2 + k], alternate ? k : k * rows, alternate ? 2 : 1, rows))
            return false;
    return true;
}

/* Returns false if `part` is no gate or up projection, or the base has no fused weight of both; true also if adding
 * failed, with t->error set. */
static bool add_fused(translation *t, const translated_part *p)
{
    static const struct {
        forward_part gate, up, fused;
    } rows[] = {{PART_GATE, PART_UP, PART_GATE_UP},
                {PART_SHARED_GATE, PART_SHARED_UP, PART_SHARED_GATE_UP},
                {PART_EXPERTS_GATE, PART_EXPERTS_UP, PART_EXPERTS_GATE_UP},
                {PART_EXPERT_GATE, PART_EXPERT_UP, PART_EXPERTS_GATE_UP}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        if (p->part.part != rows[k].gate && p->part.part != rows[k].up)
            continue;
        const organ_weight *const fused = weight_of(t, p->layer, rows[k].fused, /*number=*/-1);
        if (fused)
            add_to_fused(t, p, fused, p->part.part == rows[k].up);
        return fused != NULL;
    }
    return false;
}

/* Returns false if the base has no stack for the expert's matrix. */
static bool add_expert(translation *t, const translated_part *p)
{
    const organ_weight *const stack =
        weight_of(t, p->layer, p->part.part - PART_EXPERT_GATE + PART_EXPERTS_GATE, /*number=*/-1);
    if (stack)
        add_to_stack(t, p, stack);
    return stack != NULL;
}

/* Returns false if the base has no weight for the pair; true also if adding failed, with t->error set. The parts of
 * stacks (PART_EXPERTS_...) and those of numbered experts (PART_EXPERT_...) have the same order: gate, up, down. */
static bool add_part(translation *t, const translated_part *p)
{
    static const forward_part experts[] = {PART_EXPERTS_GATE, PART_EXPERTS_UP, PART_EXPERT_GATE, PART_EXPERT_UP},
                              dense[] = {PART_GATE, PART_UP, PART_GATE, PART_UP},
                              shared[] = {PART_SHARED_GATE, PART_SHARED_UP, PART_SHARED_GATE, PART_SHARED_UP};
    const organ_adapter_pair *const pair = p->pair;
    const forward_part part = p->part.part;
    const organ_weight *const same = weight_of(t, p->layer, part, p->part.number);
    if (same) {
        translated_rows s = {.weight = same, .pair = pair, .expert = -1, .step = 1, .rows = pair->out_features};
        /* gguf_pairs: llama.cpp stores the rows of Q and K of this architecture in another order */
        if ((part == PART_Q || part == PART_K) && t->gguf_family && t->gguf_family->gguf_pairs &&
            t->to_gguf != t->from->gguf && p->layer >= 0 && p->layer < (int64_t)t->config.layers) {
            s.turned = organ_rope_rows(&t->config, &t->config.kinds[p->layer]);
            s.halves = t->from->gguf;
        }
        add_translated_pair(t, &s);
        return true;
    }
    if (add_fused(t, p))
        return true;
    switch (part) {
    case PART_EXPERT_GATE:
    case PART_EXPERT_UP:
    case PART_EXPERT_DOWN:
        return add_expert(t, p);
    case PART_EXPERTS_GATE:
    case PART_EXPERTS_UP:
    case PART_EXPERTS_DOWN:
        return add_stack(t, p, part, part - PART_EXPERTS_GATE + PART_EXPERT_GATE, /*first=*/0, /*step=*/1,
                         pair->out_features);
    case PART_EXPERTS_GATE_UP:
        return add_halves(t, p, experts, t->family->mixture && t->family->mixture->pairs);
    case PART_GATE_UP:
    case PART_SHARED_GATE_UP:
        return add_halves(t, p, part == PART_GATE_UP ? dense : shared, /*alternate=*/false);
    default:
        return false;
    }
}

/* ---- the adapter ---- */

static organ_status keep_pair(translation *t, const organ_adapter_pair *pair)
{
    organ_adapter_pair *const made = find_or_add_pair(t, pair->weight);
    if (!made)
        return no_memory(t);
    if (made->a)
        return fail_twice_changed(t, pair, made);
    *made = *pair;
    return ORGAN_OK;
}

/* t->family is NULL if the architecture is unknown, or if base or adapter is GGUF and llama.cpp lacks the
 * architecture: names then cannot be translated. */
static organ_status translate_find_families(translation *t, const organ_model *base)
{
    const bool gguf = base->gguf != NULL;
    /* `true`: only names matter here, and those of models with and without experts are the same */
    const forward_pairing *const pairing =
        gguf ? organ_pairing_names_of_gguf(base->gguf, base->config.model_type)
             : organ_pairing_named(base->config.architecture, base->config.model_type, /*experts=*/true);
    t->family = organ_forward_family_named(pairing ? pairing->architecture : base->config.architecture, /*gguf=*/false);
    t->gguf_family = pairing ? organ_forward_family_named(pairing->gguf, /*gguf=*/true) : NULL;
    t->norms_plus_one = pairing && pairing->traits & PAIRING_NORMS_PLUS_ONE;
    if (!t->gguf_family && (gguf || t->from->gguf))
        t->family = NULL;
    if (!t->family || gguf == t->from->gguf)
        return ORGAN_OK;
    return organ_forward_config_read(base, &t->config, t->error);
}

/* A pair stays unchanged if base and adapter have the same format and the base has the weight of the pair, or if the
 * pair cannot be translated to a weight of the base. */
static organ_status translate_all(translation *t)
{
    for (size_t k = 0; k < t->from->pair_count && !t->error->status; k++) {
        translated_part p = {.pair = &t->from->pairs[k]};
        const bool named = t->from->gguf == t->to_gguf && organ_lora_names_find(t->names, p.pair->weight);
        if (named || !translate_find_part(t, &p) || !add_part(t, &p))
            keep_pair(t, p.pair);
    }
    return t->error->status;
}

/* For an adapter with DoRA only a difference in format counts (`gguf`: the base is GGUF); make_translated then
 * rejects the adapter. peft applies DoRA to layers, not to bare parameters, so that its pairs need no stacks. */
static bool needs_translation(const organ_adapter *adapter, bool gguf, const organ_lora_names *names)
{
    if (adapter->dora && adapter->gguf == gguf)
        return false;
    for (size_t k = 0; k < adapter->pair_count; k++)
        if (adapter->gguf != gguf || !organ_lora_names_find(names, adapter->pairs[k].weight))
            return true;
    return false;
}

static organ_status make_translated(translation *t, const organ_model *base)
{
    const organ_adapter *const from = t->from;
    if (from->dora)
        return organ_fail(t->error, ORGAN_BAD_INPUT,
                          "%s: use_dora is set: its norms of rows cannot be translated to the weights of %s",
                          from->path, base->path);
    organ_adapter *const made = &t->to->adapter;
    *made = *from;
    made->gguf = t->to_gguf;
    made->architecture = t->to_gguf ? base->config.model_type : "";
    made->fan_in_fan_out = !t->to_gguf && (from->gguf ? t->family->transposed : from->fan_in_fan_out);
    made->pair_count = 0;
    translate_all(t);
    made->pairs = t->to->pairs;
    return t->error->status;
}

organ_status organ_adapter_translate(const organ_adapter *adapter, const organ_model *base,
                                     const organ_lora_names *names, organ_adapter **made, organ_error *error)
{
    translation t = {
        .from = adapter, .weights = names->weights, .names = names, .to_gguf = base->gguf != NULL, .error = error};
    *made = NULL;
    if (needs_translation(adapter, t.to_gguf, names) && translate_find_families(&t, base) == ORGAN_OK && t.family) {
        if (!(t.to = calloc(1, sizeof *t.to)))
            no_memory(&t);
        else if (make_translated(&t, base) == ORGAN_OK)
            *made = &t.to->adapter;
        else
            organ_adapter_translated_free(&t.to->adapter);
    }
    organ_forward_config_release(&t.config);
    return error->status;
}

/* Returns a sentence on how GGUF stores the part differently; NULL if it has the values and the order of rows of
 * safetensors. */
static const char *obstacle_of(const translation *t, const pairing_part *part, const char *name)
{
    if (organ_anatomy_of(name).role == ORGAN_ROLE_NORM && t->norms_plus_one)
        return "GGUF files of this architecture store 1 + the weights of norms: merge into the safetensors model and "
               "convert the result";
    if ((part->part == PART_Q || part->part == PART_K || part->part == PART_BIAS_Q || part->part == PART_BIAS_K) &&
        t->gguf_family->gguf_pairs)
        return "GGUF files of this architecture store its rows in another order: merge into the safetensors model and "
               "convert the result";
    return NULL;
}

organ_status organ_adapter_place(const organ_adapter *adapter, const organ_model *base, const organ_lora_names *names,
                                 const char *name, const organ_weight **weight, const char **why, organ_error *error)
{
    translation t = {
        .from = adapter, .weights = names->weights, .names = names, .to_gguf = base->gguf != NULL, .error = error};
    const organ_adapter_pair pair = {.weight = name};
    translated_part p = {.pair = &pair};
    *why = NULL;
    *weight = organ_lora_names_find(names, name);
    if (*weight || !t.to_gguf || adapter->gguf || translate_find_families(&t, base) || !t.family)
        return error->status;
    if (translate_find_part(&t, &p) &&
        (p.layer < 0 || p.part.part <= PART_NORM_POST_FFN || organ_part_is_plain(p.part.part) || p.part.bias))
        *weight = weight_of(&t, p.layer, p.part.part, p.part.number);
    else
        *why = "organ knows no tensor of GGUF with the same rows: merge into the safetensors model and convert the "
               "result";
    if (*weight && (*why = obstacle_of(&t, &p.part, name)))
        *weight = NULL;
    organ_forward_config_release(&t.config);
    return error->status;
}

void organ_adapter_translated_free(organ_adapter *made)
{
    ORGAN_OWNED translated *const t = (translated *)made;
    if (!t)
        return;
    organ_name_table_release(&t->names);
    organ_arena_release(&t->arena);
    free(t->pairs);
}

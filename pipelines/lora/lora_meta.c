// SPDX-License-Identifier: Apache-2.0
// Fields and their meaning: peft tuners/lora/config.py and model.py, get_pattern_key in utils/other.py.
#include "pipelines/lora/lora_meta.h"

#include "core/base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_ALPHA 1e9
#define USUAL_ALPHA 8 // LoraConfig's own

static struct at_json get(struct at_json config, const char *prefix, const char *field)
{
    char key[128];
    snprintf(key, sizeof(key), "%s%s", prefix, field);
    return at_json_get(config, key);
}

// Keys of alpha_pattern are regular expressions; what peft and diffusers write are names, and so a dot is any
// character, ^ holds the start, and nothing else is special.
static bool plain_pattern(const char *key)
{
    return !key[strcspn(key, "*+?()[]{}|\\$")];
}

// re.match("(.*\.)?(KEY)$", name)
static bool matches(const char *key, const char *name)
{
    bool held = key[0] == '^';
    key += held;
    size_t n = strlen(name), m = strlen(key);
    if (n < m || (held && n != m) || (n > m && name[n - m - 1] != '.'))
        return false;
    for (size_t i = 0; i < m; i++)
        if (key[i] != '.' && key[i] != name[n - m + i])
            return false;
    return true;
}

static bool read_alpha(struct at_json value, double *alpha)
{
    if (!at_json_as_num(value, alpha))
        return false;
    return fabs(*alpha) <= MOST_ALPHA || at_json_fail(value, "%g is out of range", *alpha);
}

static bool alpha_of(struct at_json patterns, const char *name, double *alpha)
{
    for (struct at_json p = at_json_first(patterns); p.item; p = at_json_next(p))
        if (matches(at_json_key(p), name))
            return read_alpha(p, alpha);
    return true;
}

static bool read_flag(struct at_json config, const char *prefix, const char *field, bool *out)
{
    struct at_json value = get(config, prefix, field);
    *out = false;
    return !at_json_present(value) || at_json_as_bool(value, out);
}

// What changes the meaning of the weights and is not understood.
static bool check(struct at_json config, const char *prefix)
{
    bool dora, bias;
    if (!read_flag(config, prefix, "use_dora", &dora) || !read_flag(config, prefix, "lora_bias", &bias))
        return false;
    if (dora)
        return at_json_fail(get(config, prefix, "use_dora"), "a DoRA is not supported, only plain LoRA");
    if (bias)
        return at_json_fail(get(config, prefix, "lora_bias"), "an adapter with biases is not supported");
    struct at_json type = get(config, prefix, "peft_type");
    const char *word = "LORA";
    if (at_json_present(type) && !at_json_as_str(type, &word))
        return false;
    return strcmp(word, "LORA") == 0 || at_json_fail(type, "\"%s\" is not supported, only \"LORA\"", word);
}

bool at_lora_meta_read(struct at_json config, const char *prefix, struct at_lora_data *d, enum at_component component)
{
    struct at_json patterns = get(config, prefix, "alpha_pattern"), usual = get(config, prefix, "lora_alpha");
    if (!at_json_present(usual) && !at_json_present(get(config, prefix, "r")))
        return true;
    double alpha = USUAL_ALPHA;
    bool rslora;
    bool ok = check(config, prefix) && read_flag(config, prefix, "use_rslora", &rslora) &&
              (!at_json_present(usual) || read_alpha(usual, &alpha));
    if (ok && at_json_present(patterns) && !at_json_is_object(patterns))
        ok = at_json_fail(patterns, "expected an object of alphas by layer");
    for (struct at_json p = at_json_first(patterns); ok && p.item; p = at_json_next(p))
        if (!plain_pattern(at_json_key(p)))
            ok = at_json_fail(p, "regular expressions are not supported, only names of layers");
    for (int i = 0; ok && i < d->count; i++) {
        struct at_lora_layer *layer = &d->list[i];
        double own = alpha;
        if (layer->component != component)
            continue;
        ok = alpha_of(patterns, layer->name, &own);
        layer->alpha = (float)(rslora ? own * sqrt(layer->rank) : own);
    }
    return ok;
}

bool at_lora_usual(const struct at_lora_data *d, enum at_component component, struct at_lora_usual *out)
{
    int most_rank = 0, most_alpha = 0;
    for (int i = 0; i < d->count; i++) {
        const struct at_lora_layer *a = &d->list[i];
        int ranks = 0, alphas = 0;
        for (int k = 0; a->component == component && k < d->count; k++) {
            const struct at_lora_layer *b = &d->list[k];
            ranks += b->component == component && b->rank == a->rank;
            alphas += b->component == component && b->alpha == a->alpha;
        }
        if (ranks > most_rank || (ranks == most_rank && ranks && a->rank < out->rank))
            out->rank = a->rank, most_rank = ranks;
        if (alphas > most_alpha || (alphas == most_alpha && alphas && a->alpha < out->alpha))
            out->alpha = a->alpha, most_alpha = alphas;
    }
    return most_rank > 0;
}

// A layer as a pattern: without "text_model.", which some versions of transformers have and some have not; peft matches
// the end of a name.
static const char *pattern_of(const char *name)
{
    return strncmp(name, "text_model.", 11) == 0 ? name + 11 : name;
}

static struct at_json put(struct at_json into, const char *prefix, const char *field, bool array)
{
    char key[128];
    snprintf(key, sizeof(key), "%s%s", prefix, field);
    return array ? at_json_put_array(into, key) : at_json_put_object(into, key);
}

void at_lora_meta_write(struct at_json into, const char *prefix, const struct at_lora_data *d,
                        enum at_component component)
{
    struct at_lora_usual usual = {0};
    if (!at_lora_usual(d, component, &usual))
        return;
    char key[128];
    snprintf(key, sizeof(key), "%sr", prefix);
    at_json_put_int(into, key, usual.rank);
    snprintf(key, sizeof(key), "%slora_alpha", prefix);
    at_json_put_float(into, key, usual.alpha);
    struct at_json ranks = put(into, prefix, "rank_pattern", false), alphas = put(into, prefix, "alpha_pattern", false);
    struct at_json modules = put(into, prefix, "target_modules", true);
    for (int i = 0; i < d->count; i++) {
        const struct at_lora_layer *l = &d->list[i];
        if (l->component != component)
            continue;
        if (l->rank != usual.rank)
            at_json_put_int(ranks, pattern_of(l->name), l->rank);
        if (l->alpha != usual.alpha)
            at_json_put_float(alphas, pattern_of(l->name), l->alpha);
        at_json_put_str(modules, NULL, pattern_of(l->name));
    }
}

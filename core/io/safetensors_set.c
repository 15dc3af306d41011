// SPDX-License-Identifier: Apache-2.0
// Sharded weights and the file names of a model folder.
#include "core/base/alloc.h"
#include "core/io/json.h"
#include "core/io/safetensors_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One line of the weight_map, and whether its shard held the tensor.
struct place {
    const char *tensor, *file;
    bool found;
};

static int by_file(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    return order ? order : strcmp(x->tensor, y->tensor);
}

// A shard's name comes from untrusted text: it must stay in the folder.
static bool plain_name(const char *file)
{
    return file[0] && file[0] != '.' && !strchr(file, '/') && !strchr(file, '\\');
}

static bool read_places(struct at_json map, struct place *places)
{
    size_t n = 0;
    for (struct at_json v = at_json_first(map); v.item; v = at_json_next(v), n++) {
        if (!at_json_as_str(v, &places[n].file))
            return false;
        if (!plain_name(places[n].file))
            return at_json_fail(v, "\"%.80s\" is not the name of a file in the same folder", places[n].file);
        places[n].tensor = at_json_key(v);
    }
    if (n)
        qsort(places, n, sizeof(*places), by_file);
    return true;
}

// Loads the shard of places[0 .. n-1] and keeps those of its tensors that the map puts there.
static bool load_shard(struct at_safetensors *st, const char *dir, struct place *places, size_t n)
{
    size_t first = st->count, kept = first;
    char *path = at_path_join(dir, places[0].file);
    if (!path)
        return at_fail_memory(st->log, strlen(dir));
    bool ok = at_st_add_file(st, path);
    for (size_t i = first; ok && i < st->count; i++) {
        struct place key = {.tensor = st->tensors[i].name, .file = places[0].file};
        struct place *place = bsearch(&key, places, n, sizeof(*places), by_file);
        if (place) {
            place->found = true;
            st->tensors[kept++] = st->tensors[i];
        }
    }
    if (ok)
        st->count = kept;
    for (size_t i = 0; ok && i < n; i++)
        if (!places[i].found)
            ok = at_fail(st->log, AT_ERROR_INPUT, "%s: tensor \"%.200s\", which the index puts here, is missing", path,
                         places[i].tensor);
    at_free(path);
    return ok;
}

static bool load_shards(struct at_safetensors *st, const char *dir, struct at_json map)
{
    size_t n = at_json_count(map);
    struct place *places = at_calloc(n, sizeof(*places));
    if (!places)
        return at_fail_memory(st->log, n * sizeof(*places));
    bool ok = read_places(map, places);
    for (size_t i = 0, end; ok && i < n; i = end) {
        for (end = i + 1; end < n && strcmp(places[end].file, places[i].file) == 0;)
            end++;
        ok = load_shard(st, dir, places + i, end - i);
    }
    at_free(places);
    return ok;
}

struct at_safetensors *at_safetensors_open_index(struct at_log *log, const char *path)
{
    struct at_json map;
    struct at_json_doc *doc = at_json_load(log, path);
    struct at_safetensors *st = doc ? at_st_create(log) : NULL;
    char *dir = at_path_dir(path);
    bool ok = st && dir && at_json_need(at_json_root(doc), "weight_map", &map) &&
              at_json_object(at_json_root(doc), "weight_map", &map) && load_shards(st, dir, map);
    if (!dir)
        at_fail_memory(log, strlen(path));
    if (ok)
        at_st_sort(st);
    else
        at_safetensors_destroy(&st);
    at_free(dir);
    at_json_destroy(&doc);
    return st;
}

// dir/base.VARIANT.safetensors and dir/base.safetensors.index.VARIANT.json ("" = no variant), which of them there is:
// 1, 2, or 0 for neither. The caller frees *path, which is NULL where memory ran out.
static int find_variant(const char *dir, const char *base, const char *variant, char **path)
{
    const char *dot = variant[0] ? "." : "";
    char *plain = at_strf("%s/%s%s%s.safetensors", dir, base, dot, variant);
    char *index = at_strf("%s/%s.safetensors.index%s%s.json", dir, base, dot, variant);
    bool ok = plain && index;
    int found = ok && at_file_exists(plain) ? 1 : ok && at_file_exists(index) ? 2 : 0;
    *path = !ok ? NULL : found == 2 ? index : plain;
    if (*path != plain)
        at_free(plain);
    if (*path != index)
        at_free(index);
    return found;
}

bool at_weights_exist(const char *dir, const char *base, const char *variant)
{
    char *path;
    int found = find_variant(dir, base, variant, &path);
    at_free(path);
    return found;
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

// What a folder without the weights holds in their place.
struct instead {
    char variants[200]; // "bf16, ema"
    const char *pickle, *shard;
};

static void look(struct instead *in, const char *name, const char *base)
{
    static const char *const pickles[] = {".bin", ".ckpt", ".pt", ".pth"};
    size_t m = strlen(base), n = strlen(name), used = strlen(in->variants);
    for (size_t i = 0; i < sizeof(pickles) / sizeof(*pickles); i++)
        if (ends(name, pickles[i]))
            in->pickle = name;
    if (strncmp(name, base, m) != 0 || !ends(name, ".safetensors"))
        return;
    if (name[m] == '-')
        in->shard = name;
    else if (name[m] == '.' && n > m + 1 + 12 && !strstr(name + m, "-of-"))
        snprintf(in->variants + used, sizeof(in->variants) - used, "%s%.*s", used ? ", " : "", (int)(n - m - 13),
                 name + m + 1);
}

bool at_weights_missing(struct at_log *log, const char *dir, const char *base, const char *variant)
{
    struct instead in = {0};
    char **names = NULL;
    size_t count = 0;
    if (!at_dir_exists(dir))
        return at_fail(log, AT_ERROR_INPUT, "%s: there is no such folder; is the model complete?", dir);
    if (!at_dir_list(log, dir, &names, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        look(&in, names[i], base);
    const char *dot = variant[0] ? "." : "";
    if (in.variants[0])
        at_fail(log, AT_ERROR_INPUT, "%s: no %s%s%s.safetensors (nor its .index.json), but there are variants: %s; choose "
                "with --variant", dir, base, dot, variant, in.variants);
    else if (in.shard && !variant[0])
        at_fail(log, AT_ERROR_INPUT, "%s/%s: there are shards, but not their %s.safetensors.index.json; download it too",
                dir, in.shard, base);
    else if (in.pickle)
        at_fail(log, AT_ERROR_INPUT, "%s/%s: the only weights here are a pickle, which is not read: loading one can run "
                "any code in it; convert it to safetensors, or download the safetensors files", dir, in.pickle);
    else
        at_fail(log, AT_ERROR_INPUT, "%s: no %s%s%s.safetensors (nor its .index.json); is the model folder complete?",
                dir, base, dot, variant);
    at_names_free(&names, count);
    return false;
}

struct at_safetensors *at_weights_open(struct at_log *log, const char *dir, const char *base, const char *variant)
{
    char *path;
    const char *asked = variant ? variant : "";
    int found = find_variant(dir, base, asked, &path);
    if (!found && !variant && path) {
        at_free(path);
        found = find_variant(dir, base, "fp16", &path);
    }
    struct at_safetensors *st = NULL;
    if (!path)
        at_fail_memory(log, strlen(dir) + strlen(base));
    else if (found)
        st = found == 1 ? at_safetensors_open(log, path) : at_safetensors_open_index(log, path);
    else
        (void)at_weights_missing(log, dir, base, asked);
    at_free(path);
    return st;
}

// SPDX-License-Identifier: Apache-2.0
// attune lora: adapters as files.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "tools/cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define LORA_FILE "pytorch_lora_weights.safetensors"

// The two halves of a layer in the naming of each family of tools.
struct dialect {
    const char *name, *down, *up;
};
static const struct dialect dialects[] = {
    {"diffusers (PEFT)", ".lora_A.weight", ".lora_B.weight"},
    {"kohya", ".lora_down.weight", ".lora_up.weight"},
    {"diffusers (old)", ".lora.down.weight", ".lora.up.weight"},
};
#define DIALECTS (sizeof(dialects) / sizeof(dialects[0]))

struct layer {
    char *name;
    uint64_t rank, in, out;
    double most_down, most_up; // largest absolute values; -1: one is not finite, or of a type that is not read
    bool has_alpha;
    float alpha;
};

struct totals {
    const struct dialect *dialect;
    struct layer *list;
    size_t capacity;
    size_t layers, lone, others;
    uint64_t parameters, bytes, min_rank, max_rank;
};

static size_t ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0 ? n - m : 0;
}

// Largest absolute value, or -1 if a value is not finite or the type is not read.
static double largest(const struct at_safetensors *file, const struct at_st_tensor *t)
{
    float *values = at_calloc(t->elements, sizeof(float));
    double most = values && at_safetensors_to_f32(file, t, values) ? 0 : -1;
    for (uint64_t i = 0; most >= 0 && i < t->elements; i++)
        most = isfinite(values[i]) ? fmax(most, fabs((double)values[i])) : -1;
    at_free(values);
    return most;
}

// One layer, found by its first half. Says what is odd.
static bool add_layer(const struct at_safetensors *file, const struct at_st_tensor *down, size_t stem,
                      struct totals *t, struct at_log *log)
{
    char *up_name = at_strf("%.*s%s", (int)stem, down->name, t->dialect->up);
    char *alpha_name = at_strf("%.*s.alpha", (int)stem, down->name);
    const struct at_st_tensor *up = up_name ? at_safetensors_find(file, up_name) : NULL;
    const struct at_st_tensor *alpha = alpha_name ? at_safetensors_find(file, alpha_name) : NULL;
    at_free(up_name);
    at_free(alpha_name);
    if (!up) {
        at_warn(log, "%s: there is no %s beside it", down->name, t->dialect->up);
        t->lone++;
        return true;
    }
    if (down->rank < 2 || up->rank < 2 || down->shape[0] == 0 || down->shape[0] != up->shape[1])
        return at_fail(log, AT_ERROR_INPUT, "%.*s: its two halves have ranks that differ", (int)stem, down->name);
    if (!at_grow((void **)&t->list, &t->capacity, t->layers + 1, sizeof(*t->list)))
        return at_fail_memory(log, sizeof(*t->list));
    struct layer *l = &t->list[t->layers];
    *l = (struct layer){.name = at_strf("%.*s", (int)stem, down->name), .rank = down->shape[0], .out = up->shape[0],
                        .in = down->elements / down->shape[0], .most_down = largest(file, down),
                        .most_up = largest(file, up)};
    if (!l->name)
        return at_fail_memory(log, stem);
    l->has_alpha = alpha && alpha->elements == 1 && at_safetensors_to_f32(file, alpha, &l->alpha);
    if (l->most_down < 0 || l->most_up < 0)
        at_warn(log, "%s: a value is not finite", l->name);
    t->min_rank = t->layers == 0 || l->rank < t->min_rank ? l->rank : t->min_rank;
    t->max_rank = l->rank > t->max_rank ? l->rank : t->max_rank;
    t->layers++;
    return true;
}

static const struct dialect *find_dialect(const struct at_safetensors *file)
{
    for (size_t i = 0; i < at_safetensors_count(file); i++)
        for (size_t d = 0; d < DIALECTS; d++)
            if (ends_in(at_safetensors_at(file, i)->name, dialects[d].down))
                return &dialects[d];
    return NULL;
}

static bool read_all(const char *path, const struct at_safetensors *file, struct totals *t, struct at_log *log)
{
    bool ok = true;
    if (!(t->dialect = find_dialect(file)))
        return at_fail(log, AT_ERROR_INPUT, "%s: no tensor is named like one half of an adapter (%s, %s, %s)", path,
                       dialects[0].down, dialects[1].down, dialects[2].down);
    for (size_t i = 0; ok && i < at_safetensors_count(file); i++) {
        const struct at_st_tensor *tensor = at_safetensors_at(file, i);
        size_t stem = ends_in(tensor->name, t->dialect->down);
        t->parameters += tensor->elements;
        t->bytes += tensor->bytes;
        if (stem) {
            ok = add_layer(file, tensor, stem, t, log);
        } else if (!ends_in(tensor->name, t->dialect->up) && !ends_in(tensor->name, ".alpha")) {
            at_warn(log, "%s: no known part of an adapter", tensor->name);
            t->others++;
        }
    }
    return ok;
}

static bool print_json(struct at_cli *cli, const char *path, const struct at_safetensors *file, const struct totals *t)
{
    struct at_json_doc *doc = at_json_create(&cli->log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_str(root, "path", path);
    at_json_put_str(root, "dialect", t->dialect->name);
    at_json_put_int(root, "parameters", (int64_t)t->parameters);
    at_json_put_int(root, "bytes", (int64_t)t->bytes);
    at_json_put_int(root, "lone_halves", (int64_t)t->lone);
    at_json_put_int(root, "other_tensors", (int64_t)t->others);
    struct at_json layers = at_json_put_array(root, "layers"), metadata = at_json_put_object(root, "metadata");
    for (size_t i = 0; i < t->layers; i++) {
        const struct layer *l = &t->list[i];
        struct at_json out = at_json_put_object(layers, NULL);
        at_json_put_str(out, "name", l->name);
        at_json_put_int(out, "rank", (int64_t)l->rank);
        at_json_put_int(out, "in", (int64_t)l->in);
        at_json_put_int(out, "out", (int64_t)l->out);
        at_json_put_num(out, "largest_down", l->most_down);
        at_json_put_num(out, "largest_up", l->most_up);
        if (l->has_alpha)
            at_json_put_float(out, "alpha", l->alpha);
    }
    for (size_t i = 0; i < at_safetensors_metadata_count(file); i++) {
        const char *key, *value;
        at_safetensors_metadata_at(file, i, &key, &value);
        at_json_put_str(metadata, key, value);
    }
    bool ok = at_cli_print_json(cli, doc);
    at_json_destroy(&doc);
    return ok;
}

static void print_text(const char *path, const struct at_safetensors *file, const struct totals *t)
{
    printf("%s\n  names of %s, %zu layers, rank %" PRIu64, path, t->dialect->name, t->layers, t->min_rank);
    if (t->max_rank != t->min_rank)
        printf(" to %" PRIu64, t->max_rank);
    printf(", %" PRIu64 " parameters, %.2f MiB\n", t->parameters, (double)t->bytes / 1048576);
    for (size_t i = 0; i < at_safetensors_metadata_count(file); i++) {
        const char *key, *value;
        at_safetensors_metadata_at(file, i, &key, &value);
        printf("  %s: %.200s%s\n", key, value, strlen(value) > 200 ? "..." : "");
    }
    for (size_t i = 0; i < t->layers; i++) {
        const struct layer *l = &t->list[i];
        printf("  %6" PRIu64 " -> %" PRIu64 " -> %-6" PRIu64 " |up| <= %-10.3g %s\n", l->in, l->rank, l->out,
               l->most_up, l->name);
    }
}

static bool inspect(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora inspect",
        .summary = "what is in an adapter's file",
        .synopsis = "FILE [--json]",
        .about = "Naming, rank, layers and metadata. An adapter whose up halves are all 0 does nothing: it was not "
                 "trained.",
        .example = "  attune lora inspect runs/warm\n",
        .arguments = 1,
    };
    bool json = false;
    const struct at_option rows[] = {
        {"json", 0, AT_OPTION_FLAG, &json, NULL, "print it as JSON", .here = true},
        {0},
    };
    struct at_log *log = &cli->log;
    struct at_options *o = at_options_create(&usage, log);
    struct totals totals = {0};
    struct at_safetensors *file = NULL;
    char *path = NULL;
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count == 0)
        ok = at_fail(log, AT_ERROR_USAGE, "attune lora inspect needs a file, or the folder of a run");
    if (ok) {
        const char *word = o->arguments.items[0];
        path = at_dir_exists(word) ? at_path_join(word, LORA_FILE) : at_strdup(word);
    }
    ok = ok && path && (file = at_safetensors_open(log, path)) && read_all(path, file, &totals, log);
    if (ok && json)
        ok = print_json(cli, path, file, &totals);
    else if (ok)
        print_text(path, file, &totals);
    for (size_t i = 0; i < totals.layers; i++)
        at_free(totals.list[i].name);
    at_free(totals.list);
    at_safetensors_destroy(&file);
    at_free(path);
    at_options_destroy(&o);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command inspect_command = {"inspect", "what is in an adapter's file", inspect};
    static const struct at_command *const commands[] = {&inspect_command, NULL};
    static const struct at_command_group group = {
        .name = "attune lora", .about = "Looks into adapters.", .commands = commands};
    return at_group_run(cli, &group, argc, argv);
}

const struct at_command at_command_lora = {"lora", "looks into adapters", run};

// SPDX-License-Identifier: Apache-2.0
// attune lora inspect: what is in an adapter's file.
#include "core/base/alloc.h"
#include "pipelines/lora/lora_data.h"
#include "tools/lora_command.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct inspection {
    struct at_lora_fit fit;
    struct at_lora_data *data;
    double *down, *up; // the largest absolute value of each layer's halves; -1: one is not finite
    uint64_t parameters, bytes;
    bool json;
};

static double largest(const struct at_lora_data *d, const struct at_st_tensor *t)
{
    float *values = at_calloc((size_t)t->elements, sizeof(float));
    double most = values && at_safetensors_to_f32(d->file, t, values) ? 0 : -1;
    for (uint64_t i = 0; most >= 0 && i < t->elements; i++)
        most = isfinite(values[i]) ? fmax(most, fabs((double)values[i])) : -1;
    at_free(values);
    return most;
}

static bool measure(struct inspection *n)
{
    struct at_lora_data *d = n->data;
    n->down = at_calloc((size_t)d->count, sizeof(*n->down));
    n->up = at_calloc((size_t)d->count, sizeof(*n->up));
    if (!n->down || !n->up)
        return at_fail_memory(d->log, (size_t)d->count * sizeof(*n->down));
    for (int i = 0; i < d->count; i++) {
        const struct at_lora_layer *l = &d->list[i];
        n->parameters += l->down->elements + l->up->elements;
        n->bytes += l->down->bytes + l->up->bytes;
        n->down[i] = largest(d, l->down);
        n->up[i] = largest(d, l->up);
        if (n->down[i] < 0 || n->up[i] < 0)
            at_warn(d->log, "%s: %s: a value is not finite", d->path, l->id);
    }
    return true;
}

static int layers_of(const struct at_lora_data *d, int component)
{
    int n = 0;
    for (int i = 0; i < d->count; i++)
        n += (int)d->list[i].component == component;
    return n;
}

static bool print_json(struct at_cli *cli, const struct inspection *n)
{
    const struct at_lora_data *d = n->data;
    struct at_json_doc *doc = at_json_create(&cli->log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_str(root, "path", d->path);
    at_json_put_str(root, "dialect", at_lora_dialect_words[d->dialect]);
    at_json_put_bool(root, "mixed_dialects", d->mixed);
    at_json_put_str(root, "fits", n->fit.layers ? n->fit.name : NULL);
    at_json_put_int(root, "parameters", (int64_t)n->parameters);
    at_json_put_int(root, "bytes", (int64_t)n->bytes);
    at_json_put_int(root, "unknown_tensors", d->unknown);
    at_json_put_int(root, "lacking_tensors", d->lacking);
    struct at_json components = at_json_put_object(root, "components");
    for (int c = 0; c < AT_COMPONENTS; c++)
        at_json_put_int(components, at_component_name((enum at_component)c), layers_of(d, c));
    struct at_json layers = at_json_put_array(root, "layers"), metadata = at_json_put_object(root, "metadata");
    for (int i = 0; i < d->count; i++) {
        const struct at_lora_layer *l = &d->list[i];
        struct at_json out = at_json_put_object(layers, NULL);
        at_json_put_str(out, "component", at_component_name(l->component));
        at_json_put_str(out, "name", l->name);
        at_json_put_int(out, "rank", l->rank);
        at_json_put_float(out, "alpha", l->alpha);
        at_json_put_int(out, "in", l->in);
        at_json_put_int(out, "out", l->out);
        at_json_put_int(out, "kernel", l->kernel);
        at_json_put_str(out, "dtype", at_st_dtype_name(l->down->dtype));
        at_json_put_num(out, "largest_down", n->down[i]);
        at_json_put_num(out, "largest_up", n->up[i]);
    }
    for (size_t i = 0; i < at_safetensors_metadata_count(d->file); i++) {
        const char *key, *value;
        at_safetensors_metadata_at(d->file, i, &key, &value);
        at_json_put_str(metadata, key, value);
    }
    bool ok = at_cli_print_json(cli, doc);
    at_json_destroy(&doc);
    return ok;
}

static void print_ranges(const struct at_lora_data *d)
{
    int low = d->list[0].rank, high = low;
    float least = d->list[0].alpha, most = least;
    for (int i = 1; i < d->count; i++) {
        low = d->list[i].rank < low ? d->list[i].rank : low;
        high = d->list[i].rank > high ? d->list[i].rank : high;
        least = fminf(least, d->list[i].alpha);
        most = fmaxf(most, d->list[i].alpha);
    }
    printf("rank %d", low);
    if (high != low)
        printf(" to %d", high);
    printf(", alpha %g", (double)least);
    if (most != least)
        printf(" to %g", (double)most);
}

static void print_text(const struct inspection *n)
{
    const struct at_lora_data *d = n->data;
    printf("%s\n  names of %s%s, ", d->path, at_lora_dialect_name(d->dialect), d->mixed ? " and others" : "");
    print_ranges(d);
    printf(", %" PRIu64 " parameters, %.2f MiB\n ", n->parameters, (double)n->bytes / 1048576);
    for (int c = 0; c < AT_COMPONENTS; c++)
        if (layers_of(d, c))
            printf(" %s: %d layers;", at_component_name((enum at_component)c), layers_of(d, c));
    printf(n->fit.layers ? " fits %s\n" : " fits no model that is known here; -m MODEL tells which\n", n->fit.name);
    for (size_t i = 0; i < at_safetensors_metadata_count(d->file); i++) {
        const char *key, *value;
        at_safetensors_metadata_at(d->file, i, &key, &value);
        printf("  %s: %.200s%s\n", key, value, strlen(value) > 200 ? "..." : "");
    }
    for (int i = 0; i < d->count; i++) {
        const struct at_lora_layer *l = &d->list[i];
        printf("  %6lld -> %d -> %-6lld alpha %-5g |up| <= %-10.3g %s\n", (long long)l->in, l->rank, (long long)l->out,
               (double)l->alpha, n->up[i], l->id);
    }
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora inspect",
        .summary = "what is in an adapter's file",
        .synopsis = "FILE [-m MODEL] [--json]",
        .about = "Naming, ranks, alphas, layers and metadata, and which model it is for; what fits no layer is listed. "
                 "An adapter whose up halves are all 0 does nothing: it was not trained.",
        .example = "  attune lora inspect runs/warm\n"
                   "  attune lora inspect pixel-art.safetensors -m sdxl-base --json\n",
        .arguments = 1,
    };
    const char *model = NULL;
    struct inspection n = {0};
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &model, "DIR", "the model it is for", .zero = "whichever fits best"},
        {"json", 0, AT_OPTION_FLAG, &n.json, NULL, "print it as JSON", .here = true},
        {0},
    };
    struct at_log *log = &cli->log;
    struct at_options *o = at_options_create(&usage, log);
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count == 0)
        ok = at_fail(log, AT_ERROR_USAGE, "attune lora inspect needs a file, or the folder of a run");
    if (ok) {
        const char *path = o->arguments.items[0];
        ok = at_lora_fit(log, path, model, &n.fit);
        struct at_lora_data_params p = {.layers = n.fit.layers, .ignore_unknown = true, .drop_missing = true};
        ok = ok && (n.data = at_lora_data_open(log, path, &p)) && measure(&n);
    }
    if (ok && n.json)
        ok = print_json(cli, &n);
    else if (ok)
        print_text(&n);
    at_lora_data_destroy(&n.data);
    at_lora_fit_finish(&n.fit);
    at_free(n.down);
    at_free(n.up);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_inspect = {"inspect", "what is in an adapter's file", run};

// SPDX-License-Identifier: Apache-2.0
// attune lora diff: how far two adapters are apart.
#include "pipelines/lora/lora_diff.h"
#include "tools/lora_command.h"

#include <math.h>

struct job {
    const char *model;
    bool json;
    struct at_lora_fit fit[2];
    struct at_lora_data *data[2];
    int only[2], common;
    double squares[2], square, worst; // over all common layers
    struct at_json_doc *doc;
};

static const struct at_lora_layer *find(const struct at_lora_data *d, const char *id)
{
    int i = at_index_find(&d->index, d->list, sizeof(*d->list), id);
    return i < 0 ? NULL : &d->list[i];
}

static bool compare(struct job *j, const struct at_lora_layer *a, const struct at_lora_layer *b, struct at_json layers)
{
    struct at_lora_distance d;
    if (!at_lora_layer_distance(j->data[0], a, j->data[1], b, &d))
        return false;
    j->common++;
    j->squares[0] += d.a * d.a;
    j->squares[1] += d.b * d.b;
    j->square += d.difference * d.difference;
    j->worst = fmax(j->worst, d.relative);
    struct at_json out = at_json_put_object(layers, NULL);
    at_json_put_str(out, "layer", a->id);
    at_json_put_num(out, "norm_a", d.a);
    at_json_put_num(out, "norm_b", d.b);
    at_json_put_num(out, "relative_difference", d.relative);
    if (!j->json)
        printf("  %-10.3g |A| %-10.3g |B| %-10.3g %s\n", d.relative, d.a, d.b, a->id);
    return true;
}

static void list_only(struct job *j, int side, struct at_json into)
{
    const struct at_lora_data *here = j->data[side], *there = j->data[1 - side];
    for (int i = 0; i < here->count; i++)
        if (!find(there, here->list[i].id)) {
            j->only[side]++;
            at_json_put_str(into, NULL, here->list[i].id);
            if (!j->json)
                printf("  only in %s: %s\n", side ? "B" : "A", here->list[i].id);
        }
}

static bool report(struct at_cli *cli, struct job *j)
{
    struct at_json root = at_json_root(j->doc);
    if (!j->json)
        printf("A %s\nB %s\n", j->data[0]->path, j->data[1]->path);
    at_json_put_str(root, "a", j->data[0]->path);
    at_json_put_str(root, "b", j->data[1]->path);
    list_only(j, 0, at_json_put_array(root, "only_in_a"));
    list_only(j, 1, at_json_put_array(root, "only_in_b"));
    struct at_json layers = at_json_put_array(root, "layers");
    bool ok = true;
    for (int i = 0; ok && i < j->data[0]->count; i++) {
        const struct at_lora_layer *a = &j->data[0]->list[i], *b = find(j->data[1], a->id);
        ok = !b || compare(j, a, b, layers);
    }
    double larger = sqrt(fmax(j->squares[0], j->squares[1])), relative = larger > 0 ? sqrt(j->square) / larger : 0;
    at_json_put_num(root, "relative_difference", relative);
    at_json_put_num(root, "largest_relative_difference", j->worst);
    ok = ok && at_json_complete(j->doc);
    if (ok && j->json)
        return at_cli_print_json(cli, j->doc);
    if (ok)
        printf("%d layers in both, %d only in A, %d only in B; relative difference %.3g in all, %.3g at most in a "
               "layer\n", j->common, j->only[0], j->only[1], relative, j->worst);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora diff",
        .summary = "how far two adapters are apart",
        .synopsis = "A B [-m MODEL] [--json]",
        .about = "Layers that only one of them has; and of the others the Frobenius norm of the difference of what "
                 "they add to a weight, alpha / rank * up down, relative to the larger of the two. Names, ranks and "
                 "types of values may differ.",
        .example = "  attune lora diff runs/warm warm-kohya.safetensors\n",
        .arguments = 2,
    };
    struct job j = {0};
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j.model, "DIR", "the model they are for", .zero = "whichever fits best"},
        {"json", 0, AT_OPTION_FLAG, &j.json, NULL, "print it as JSON", .here = true},
        {0},
    };
    struct at_log *log = &cli->log;
    struct at_options *o = at_options_create(&usage, log);
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count != 2)
        ok = at_fail(log, AT_ERROR_USAGE, "attune lora diff needs two adapters");
    for (int i = 0; ok && i < 2; i++) {
        ok = at_lora_fit(log, o->arguments.items[i], j.model, &j.fit[i]);
        struct at_lora_data_params p = {.layers = j.fit[i].layers};
        ok = ok && (j.data[i] = at_lora_data_open(log, o->arguments.items[i], &p));
    }
    ok = ok && (j.doc = at_json_create(log, false)) && report(cli, &j);
    for (int i = 0; i < 2; i++) {
        at_lora_data_destroy(&j.data[i]);
        at_lora_fit_finish(&j.fit[i]);
    }
    at_json_destroy(&j.doc);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_diff = {"diff", "how far two adapters are apart", run};

// SPDX-License-Identifier: Apache-2.0
// attune lora: adapters as files.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/lora/lora.h"
#include "tools/lora_command.h"
#include "tools/models.h"

#include <string.h>

// Tensors of the file that are halves of layers in the list, of their size; 0 if they are fewer than half of it.
static int fitting(const struct at_safetensors *file, const struct at_layers *layers)
{
    int n = 0, halves = 0;
    for (size_t i = 0; i < at_safetensors_count(file); i++) {
        const struct at_st_tensor *t = at_safetensors_at(file, i);
        struct at_lora_key key;
        size_t name = strlen(t->name);
        halves += name > 6 && strcmp(t->name + name - 6, ".alpha") != 0;
        if (at_lora_key_parse(t->name, layers, &key) != AT_LORA_KNOWN || key.half == AT_LORA_ALPHA || t->rank < 2)
            continue;
        bool down = key.half == AT_LORA_DOWN;
        n += t->shape[down ? 1 : 0] == (uint64_t)(down ? key.layer->in : key.layer->out);
    }
    return 2 * n > halves ? n : 0;
}

static struct at_layers *model_layers(struct at_log *log, const char *path)
{
    struct at_model *m = at_model_open(NULL, &(struct at_model_params){.path = path, .check = true, .wordless = true}, log);
    struct at_layers *layers = m ? at_lora_layers(m) : NULL;
    at_model_destroy(&m);
    return layers;
}

// Takes the candidate if it fits more of the file than the best so far.
static void consider(const struct at_safetensors *file, struct at_lora_fit candidate, int *most, struct at_lora_fit *best)
{
    int n = candidate.layers ? fitting(file, candidate.layers) : 0;
    if (n > *most) {
        at_layers_destroy(&best->layers);
        *best = candidate;
        *most = n;
    } else {
        at_layers_destroy(&candidate.layers);
    }
}

bool at_lora_fit(struct at_log *log, const char *path, const char *model, struct at_lora_fit *out)
{
    *out = (struct at_lora_fit){.family = AT_FAMILIES};
    if (model) {
        out->name = model;
        return (out->layers = model_layers(log, at_model_word(model)));
    }
    struct at_log quiet = {.write = at_log_drop};
    char *name = at_lora_data_path(path);
    struct at_safetensors *file = name ? at_safetensors_open(log, name) : NULL;
    int most = 0;
    bool ok = file;
    for (int f = 0; ok && f < AT_FAMILIES; f++)
        consider(file, (struct at_lora_fit){at_layers_family(log, (enum at_family)f), at_family_name((enum at_family)f), f},
                 &most, out);
    if (ok)
        consider(file, (struct at_lora_fit){model_layers(&quiet, NULL), "the embedded model", AT_FAMILIES}, &most, out);
    at_safetensors_destroy(&file);
    at_free(name);
    return ok;
}

void at_lora_fit_finish(struct at_lora_fit *fit)
{
    at_layers_destroy(&fit->layers);
}

bool at_lora_may_write(struct at_log *log, const char *path, bool force)
{
    if (at_file_exists(path) && !force)
        return at_fail(log, AT_ERROR_INPUT, "%s is there already; --force replaces it", path);
    char *dir = at_path_dir(path);
    bool ok = dir ? at_dir_make(log, dir) : at_fail_memory(log, 1);
    at_free(dir);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command *const commands[] = {&at_command_lora_inspect, &at_command_lora_convert,
                                                        &at_command_lora_merge, &at_command_lora_extract,
                                                        &at_command_lora_diff, NULL};
    static const struct at_command_group group = {
        .name = "attune lora",
        .about = "Works on adapters: LoRA files of diffusers, kohya's sd-scripts, ComfyUI and peft, for the UNet and the "
                 "text encoders.",
        .commands = commands,
        .example = "  attune lora convert runs/warm warm.safetensors --to kohya\n"};
    return at_group_run(cli, &group, argc, argv);
}

const struct at_command at_command_lora = {"lora", "looks into adapters, converts, merges, extracts and compares them", run};

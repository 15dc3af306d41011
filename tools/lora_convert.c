// SPDX-License-Identifier: Apache-2.0
// attune lora convert: an adapter in the naming of another program.
#include "core/base/listing.h"
#include "pipelines/lora/lora_write.h"
#include "tools/lora_command.h"

#include <string.h>

static const char *const dtype_words[] = {"as-is", "f32", "f16", "bf16", NULL};
static const enum at_st_dtype dtypes[] = {AT_ST_F32, AT_ST_F32, AT_ST_F16, AT_ST_BF16};

struct job {
    const char *model;
    int to, dtype;
    bool ignore_unknown, drop_missing, force;
};

// Layers that programs lose where names have underscores: diffusers#14005 (and label_emb of SDXL, in 0.42 still).
static void warn_of_lost(const struct at_lora_data *d, enum at_lora_dialect to)
{
    static const char *const starts[] = {"conv_in", "conv_out", "time_embedding.", "add_embedding."};
    struct at_listing lost = {0};
    if (to != AT_LORA_KOHYA && to != AT_LORA_KOHYA_DIFFUSERS)
        return;
    for (int i = 0; i < d->count; i++)
        for (size_t k = 0; k < sizeof(starts) / sizeof(*starts); k++)
            if (d->list[i].component == AT_COMPONENT_UNET &&
                strncmp(d->list[i].name, starts[k], strlen(starts[k])) == 0)
                at_listing_add(&lost, d->list[i].id);
    at_listing_warn(&lost, d->log, "versions of diffusers do not read %d layers under kohya's names (diffusers#14005)",
                    lost.count);
}

static bool convert(struct at_log *log, const struct job *j, const char *in, const char *out)
{
    static const char *const bases[] = {"sd_v1", "sd_v2", "sdxl_base_v1-0", NULL};
    static const char *const architectures[] = {"stable-diffusion-v1/lora", NULL, "stable-diffusion-xl-v1-base/lora",
                                                NULL};
    struct at_lora_fit fit;
    struct at_lora_data *data = NULL;
    enum at_lora_dialect to = (enum at_lora_dialect)j->to;
    bool ok = at_lora_fit(log, in, j->model, &fit);
    if (ok && !fit.layers)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: fits none of SD 1.x, SD 2.x, SDXL and the embedded model; give the "
                     "model it is for with -m", in);
    struct at_lora_data_params p = {.layers = fit.layers, .ignore_unknown = j->ignore_unknown,
                                    .drop_missing = j->drop_missing};
    struct at_lora_write_params w = {.path = out, .dialect = to, .convert = j->dtype > 0, .dtype = dtypes[j->dtype],
                                     .base = bases[fit.family], .architecture = architectures[fit.family]};
    ok = ok && (data = at_lora_data_open(log, in, &p)) && at_lora_may_write(log, out, j->force);
    if (ok)
        warn_of_lost(data, to);
    ok = ok && at_lora_write(data, &w);
    if (ok)
        at_info(log, "%s: %d layers of %s, named as by %s", out, data->count, fit.name, at_lora_dialect_name(to));
    at_lora_data_destroy(&data);
    at_lora_fit_finish(&fit);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora convert",
        .summary = "an adapter in the naming of another program",
        .synopsis = "IN OUT --to DIALECT [-m MODEL]",
        .about = "diffusers: today's names, ranks and alphas in the metadata. diffusers-old: of 2023, alpha goes into "
                 "the weights. kohya: of sd-scripts and most UIs; for SDXL with the original names of layers, as "
                 "sd-scripts writes them. kohya-diffusers: the same with diffusers' names of layers. comfyui: original "
                 "names with dots. peft: OUT is a folder for PeftModel.from_pretrained, its text encoder named as in "
                 "transformers 5. Names with underscores can only be read against a list of layers: of the model given "
                 "with -m, or of the one that fits best.",
        .example = "  attune lora convert runs/warm warm.safetensors --to kohya --dtype f16\n"
                   "  attune lora convert pixel-art.safetensors pixel-art-peft --to peft -m sdxl-base\n",
        .arguments = 2,
    };
    struct job j = {.to = AT_LORA_DIFFUSERS};
    const struct at_option rows[] = {
        {"to", 0, AT_OPTION_CHOICE, &j.to, "DIALECT", "how OUT names its tensors", .choices = at_lora_dialect_words},
        {"model", 'm', AT_OPTION_TEXT, &j.model, "DIR", "the model it is for", .zero = "whichever fits best"},
        {"dtype", 0, AT_OPTION_CHOICE, &j.dtype, "TYPE", "of the values", .choices = dtype_words},
        {"ignore-unknown", 0, AT_OPTION_FLAG, &j.ignore_unknown, NULL, "leave out tensors that fit no layer"},
        {"drop-missing", 0, AT_OPTION_FLAG, &j.drop_missing, NULL,
         "leave out what is for a text encoder that the model lacks"},
        {"force", 0, AT_OPTION_FLAG, &j.force, NULL, "replace OUT if it is there", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count != 2)
        ok = at_fail(&cli->log, AT_ERROR_USAGE, "attune lora convert needs two names: the adapter, and what to write");
    ok = ok && convert(&cli->log, &j, o->arguments.items[0], o->arguments.items[1]);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_convert = {"convert", "an adapter in the naming of another program", run};

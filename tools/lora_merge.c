// SPDX-License-Identifier: Apache-2.0
// attune lora merge: adapters put into the weights of a model.
#include "pipelines/lora/lora.h"
#include "pipelines/lora/lora_merge.h"
#include "tools/lora_command.h"
#include "tools/models.h"

static const char *const dtype_words[] = {"as-is", "f32", "f16", "bf16", NULL};
static const enum at_st_dtype dtypes[] = {AT_ST_F32, AT_ST_F32, AT_ST_F16, AT_ST_BF16};

struct job {
    struct at_cli *cli;
    const char *model, *out;
    struct at_source_options reading;
    int dtype;
    bool quiet;
};

static bool progress(void *priv, double done)
{
    struct at_cli *cli = priv;
    at_progress_update(&cli->progress, done, 1, NULL);
    return !at_interrupted();
}

static bool merge(struct job *j, const struct at_texts *files)
{
    struct at_log *log = &j->cli->log;
    struct at_loaded l;
    struct at_lora_data *data[AT_LOADED_LORAS] = {0};
    struct at_lora_share shares[AT_LOADED_LORAS];
    struct at_model *m = NULL;
    struct at_layers *layers = NULL;
    struct at_model_params open = {.reading = &j->reading, .check = true};
    bool ok = at_loaded_parse(log, j->model, files, &l);
    open.path = l.path;
    ok = ok && (m = at_model_open(NULL, &open, log)) && (layers = at_lora_layers(m));
    for (int i = 0; ok && i < l.count; i++) {
        ok = (data[i] = at_lora_data_open(log, l.files[i].path, &(struct at_lora_data_params){.layers = layers}));
        shares[i] = (struct at_lora_share){data[i], (double)l.files[i].scale};
    }
    if (ok) {
        struct at_lora_merge_params p = {.shares = shares, .count = l.count, .out = j->out, .convert = j->dtype > 0,
                                         .dtype = dtypes[j->dtype], .progress = progress, .priv = j->cli};
        at_progress_begin(&j->cli->progress, "merging", NULL, j->quiet);
        ok = at_lora_merge(m, &p);
        at_progress_end(&j->cli->progress);
    }
    if (ok && !j->quiet)
        at_info(log, "%s: the model with %d adapter%s in its weights", j->out, l.count, l.count == 1 ? "" : "s");
    for (int i = 0; i < AT_LOADED_LORAS; i++)
        at_lora_data_destroy(&data[i]);
    at_layers_destroy(&layers);
    at_model_destroy(&m);
    at_loaded_finish(&l);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora merge",
        .summary = "adapters put into the weights of a model",
        .synopsis = "FILE[:SCALE]... -o FOLDER [-m MODEL]",
        .about = "Writes the whole model as a folder in the layout of diffusers. Each weight becomes W + scale * alpha "
                 "/ rank * up down, computed in double and rounded once, to the type the model is stored in or to "
                 "--dtype.",
        .example = "  attune lora merge runs/warm:0.8 style.safetensors:0.5 -m stable-diffusion-v1-5 -o warm-model\n",
        .arguments = AT_LOADED_LORAS,
    };
    struct job j = {.cli = cli};
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j.model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file",
         .zero = "the embedded model"},
        {"out", 'o', AT_OPTION_TEXT, &j.out, "FOLDER", "where the merged model goes; not there yet, or empty",
         .required = true},
        {"dtype", 0, AT_OPTION_CHOICE, &j.dtype, "TYPE", "of all weights", .choices = dtype_words},
        {"quiet", 'q', AT_OPTION_FLAG, &j.quiet, NULL, "no progress", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_reading_options(o, &j.reading);
    }
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count == 0)
        ok = at_fail(&cli->log, AT_ERROR_USAGE, "attune lora merge needs at least one adapter");
    ok = ok && merge(&j, &o->arguments);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_merge = {"merge", "adapters put into the weights of a model", run};

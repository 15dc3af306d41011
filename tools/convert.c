// SPDX-License-Identifier: Apache-2.0
#include "tools/convert.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/lora/lora.h"
#include "pipelines/lora/lora_merge.h"
#include "pipelines/source/source_write.h"
#include "tools/models.h"

static const char *const dtype_words[] = {"as-is", "f32", "f16", "bf16", NULL};
static const enum at_st_dtype dtypes[] = {AT_ST_F32, AT_ST_F32, AT_ST_F16, AT_ST_BF16};

void at_convert_options(struct at_options *o, struct at_convert *c)
{
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &c->model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file, with adapters as "
         "MODEL+FILE:SCALE", .zero = "the embedded model"},
        {"out", 'o', AT_OPTION_TEXT, &c->out, "PATH", "NAME.safetensors: one file; anything else: a folder, which must "
         "not be there yet, or be empty", .required = true},
        {"dtype", 0, AT_OPTION_CHOICE, &c->dtype, "TYPE", "of all weights", .choices = dtype_words},
        {"force", 0, AT_OPTION_FLAG, &c->force, NULL, "replace a file of that name", .here = true},
        {"quiet", 'q', AT_OPTION_FLAG, &c->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
    at_reading_options(o, &c->reading);
}

static bool progress(void *priv, double done)
{
    struct at_cli *cli = priv;
    at_progress_update(&cli->progress, done, 1, NULL);
    return !at_interrupted();
}

// Opens the adapters and writes.
static bool merge(struct at_cli *cli, const struct at_convert *c, const struct at_model *m, const struct at_loaded *l)
{
    struct at_lora_data *data[AT_LOADED_LORAS] = {0};
    struct at_lora_share shares[AT_LOADED_LORAS];
    struct at_layers *layers = l->count ? at_lora_layers(m) : NULL;
    bool ok = layers || !l->count;
    for (int i = 0; ok && i < l->count; i++) {
        ok = (data[i] = at_lora_data_open(&cli->log, l->files[i].path, &(struct at_lora_data_params){.layers = layers}));
        shares[i] = (struct at_lora_share){data[i], (double)l->files[i].scale};
    }
    if (ok) {
        struct at_lora_merge_params p = {.shares = shares, .count = l->count, .out = c->out, .replace = c->force,
                                         .convert = c->dtype > 0, .dtype = dtypes[c->dtype], .progress = progress,
                                         .priv = cli};
        at_progress_begin(&cli->progress, l->count ? "merging" : "writing", NULL, c->quiet);
        ok = at_lora_merge(m, &p);
        at_progress_end(&cli->progress);
    }
    for (int i = 0; i < AT_LOADED_LORAS; i++)
        at_lora_data_destroy(&data[i]);
    at_layers_destroy(&layers);
    return ok;
}

bool at_convert_run(struct at_cli *cli, const struct at_convert *c, const struct at_texts *loras)
{
    struct at_log *log = &cli->log;
    struct at_loaded l;
    struct at_model *m = NULL;
    bool ok = at_loaded_parse(log, c->model, loras, &l) &&
              at_source_write_check(log, &(struct at_source_write_params){.out = c->out, .replace = c->force});
    char *dir = ok ? at_path_dir(c->out) : NULL;
    struct at_model_params open = {.path = l.path, .reading = &c->reading, .check = true,
                                   .wordless = at_source_write_is_file(c->out)};
    ok = ok && dir && (m = at_model_open(NULL, &open, log)) && at_dir_make(log, dir) && merge(cli, c, m, &l);
    if (ok && !c->quiet && l.count)
        at_info(log, "%s: the model with %d adapter%s in its weights", c->out, l.count, l.count == 1 ? "" : "s");
    else if (ok && !c->quiet)
        at_info(log, "%s: the model", c->out);
    at_free(dir);
    at_model_destroy(&m);
    at_loaded_finish(&l);
    return ok;
}

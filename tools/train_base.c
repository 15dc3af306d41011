// SPDX-License-Identifier: Apache-2.0
// attune train base: a denoiser and its text encoder, all weights.
#include "tools/models.h"
#include "tools/train_command.h"
#include "tools/train_options.h"

static bool start(struct at_device *dev, const void *params, struct at_log *log)
{
    return at_train_base(dev, params, log);
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune train base",
        .summary = "a denoiser and its text encoder, on a trained autoencoder",
        .synopsis = "-m MODEL -o RUN [-d FOLDER] [options]",
        .about = "MODEL holds the configs, the tokenizer and the trained autoencoder (the result of attune train vae). "
                 "The last part of the decay brings most of the gain: choose --steps first, and run to the end.",
        .example = "  attune train vae -o runs/vae --steps 1500\n"
                   "  attune train base -m runs/vae -o runs/base --steps 12000\n",
    };
    struct at_source_options reading = {0};
    struct at_train_base_params p = {
        .reading = &reading,
        .views = 48,
        .caption_dropout = 0.1,
        .data = {.size = 32},
        .train = {
            .steps = 12000,
            .batch = 32,
            .accumulate = 1,
            .lr = 1.5e-3,
            .schedule = {.kind = AT_LR_COSINE, .warmup = 100, .floor = 0.03},
            .optimizer = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01, .clip = 1, .ema = 0.997},
        },
    };
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &p.model, "MODEL", "folder with configs, tokenizer and a trained autoencoder",
         .required = true},
        {"batch", 'b', AT_OPTION_INT, &p.train.batch, "N", "pictures a batch", .min = 1, .max = 4096},
        {"pretrained", 0, AT_OPTION_FLAG, &p.pretrained, NULL, "begin with MODEL's weights instead of random ones"},
        {"views", 0, AT_OPTION_INT, &p.views, "N", "latents kept a picture", .min = 1, .max = 100000},
        {"caption-dropout", 0, AT_OPTION_REAL, &p.caption_dropout, "X", "share of captions replaced by nothing",
         .min = 0, .max = 1},
        {0},
    };
    struct at_train_job job = {.cli = cli, .method = "base", .params = &p, .train = &p.train, .start = start};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_reading_options(o, &reading);
        at_picture_options(o, &p.data);
        at_train_options(o, &job);
    }
    return at_train_run(&job, o, argc, argv);
}

const struct at_command at_command_train_base = {"base", "a denoiser and text encoder, all weights", run};

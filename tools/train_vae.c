// SPDX-License-Identifier: Apache-2.0
// attune train vae: an autoencoder from scratch.
#include "tools/train_command.h"
#include "tools/train_options.h"

#include "pipelines/model/tiles.h"

static bool start(struct at_device *dev, const void *params, struct at_log *log)
{
    return at_train_vae(dev, params, log);
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune train vae",
        .summary = "an autoencoder from random weights",
        .synopsis = "-o RUN [-m CONFIG] [-d FOLDER] [options]",
        .about = "Loss of a picture, e being the difference in -1 .. 1: mean |e| + mean e^2 + gradient * mean "
                 "|difference of e along x and y| + kl * KL.",
        .example = "  attune train vae -o runs/vae --steps 1500 --size 32\n",
    };
    struct at_train_vae_params p = {
        .gradient = 0.5,
        .kl = 1e-5,
        .data = {.size = 32},
        .train = {
            .steps = 1500,
            .batch = 32,
            .accumulate = 1,
            .lr = 1.5e-3,
            .vae_tile = AT_TILE_NONE,
            .schedule = {.kind = AT_LR_COSINE, .warmup = 50, .floor = 0.03},
            .optimizer = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 1e-4, .clip = 1},
        },
    };
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &p.config, "DIR", "model folder whose configs are taken",
         .zero = "the embedded model's"},
        {"batch", 'b', AT_OPTION_INT, &p.train.batch, "N", "pictures a batch", .min = 1, .max = 4096},
        {"gradient", 0, AT_OPTION_REAL, &p.gradient, "X", "weight of the gradient term", .min = 1e-9, .max = 1e3},
        {"kl", 0, AT_OPTION_REAL, &p.kl, "X", "weight of the KL term", .min = 1e-12, .max = 1e3},
        {0},
    };
    struct at_train_job job = {.cli = cli, .method = "vae", .params = &p, .train = &p.train, .start = start};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_picture_options(o, &p.data);
        at_train_options(o, &job);
    }
    return at_train_run(&job, o, argc, argv);
}

const struct at_command at_command_train_vae = {"vae", "an autoencoder from scratch", run};

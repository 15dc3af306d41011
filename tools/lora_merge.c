// SPDX-License-Identifier: Apache-2.0
// attune lora merge: adapters put into the weights of a model.
#include "tools/convert.h"
#include "tools/lora_command.h"
#include "tools/models.h"

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune lora merge",
        .summary = "adapters put into the weights of a model",
        .synopsis = "FILE[:SCALE]... -o PATH [-m MODEL]",
        .about = "Writes the whole model as a folder in the layout of diffusers, or as one file in the original layout, "
                 "which web interfaces and ComfyUI read (attune convert says more of it). Each weight becomes W + scale * "
                 "alpha / rank * up down, computed in double and rounded once, to the type it is stored in or to --dtype. "
                 "It takes little memory, whatever the model's size. Stopped, it leaves nothing behind.",
        .example = "  attune lora merge runs/warm:0.8 style.safetensors:0.5 -m stable-diffusion-v1-5 -o warm-model\n"
                   "  attune lora merge runs/warm -m sdxl.safetensors -o warm.safetensors --dtype f16\n",
        .arguments = AT_LOADED_LORAS,
    };
    struct at_convert c = {0};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        at_convert_options(o, &c);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count == 0)
        ok = at_fail(&cli->log, AT_ERROR_USAGE, "attune lora merge needs at least one adapter; attune convert writes a "
                     "model without one");
    ok = ok && at_convert_run(cli, &c, &o->arguments);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_lora_merge = {"merge", "adapters put into the weights of a model", run};

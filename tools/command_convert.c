// SPDX-License-Identifier: Apache-2.0
// attune convert: a model as a folder, as one file, in another type.
#include "tools/convert.h"

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune convert",
        .summary = "a model as one file, as a folder, in another type",
        .synopsis = "-m MODEL -o PATH [--dtype TYPE]",
        .about = "From a folder in the layout of diffusers or a checkpoint in one .safetensors file to either of them. A "
                 "file is in the original layout of SD 1.x, SD 2.x or SDXL, with modelspec metadata, as diffusers' "
                 "from_single_file, ComfyUI and the web interfaces read it; it has no tokenizer and no safety checker. "
                 "Weights stay bit for bit what they are, but for --dtype. What a file cannot say, such as other heads or "
                 "another noise schedule than the family's, is refused: such a model must stay a folder. Stopped, it "
                 "leaves nothing behind.",
        .example = "  attune convert -m stable-diffusion-v1-5 -o sd15.safetensors --dtype f16\n"
                   "  attune convert -m sdxl.safetensors --tokenizer clip -o sdxl\n"
                   "  attune convert -m sdxl+runs/warm:0.8 -o warm.safetensors\n",
    };
    struct at_convert c = {0};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        at_convert_options(o, &c);
    bool ok = at_cli_parse(cli, o, argc, argv) && at_convert_run(cli, &c, NULL);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_convert = {"convert", "a model as one file, as a folder, in another type", run};

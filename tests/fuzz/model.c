// SPDX-License-Identifier: Apache-2.0
// The config files of a model. First byte: U denoiser, C text encoder, V autoencoder, else scheduler; then the JSON.
#include "core/diffusion/schedule.h"
#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>

static void ignore(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level, (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_log log = {.write = ignore};
    struct at_unet_config unet = {.blocks = 1};
    struct at_clip_config clip = {0};
    struct at_vae_config vae = {.blocks = 1};
    struct at_json_doc *doc = size ? at_json_parse(&log, "fuzz", data + 1, size - 1, NULL) : NULL;
    struct at_json root = at_json_root(doc);
    struct at_schedule *schedule = NULL;
    bool ok = false;
    if (doc && data[0] == 'U')
        ok = at_unet_config_parse(root, &unet) && unet.blocks > 0 && unet.blocks <= AT_UNET_BLOCKS;
    else if (doc && data[0] == 'C')
        ok = at_clip_config_parse(root, &clip) && clip.width % clip.heads == 0 && clip.eps > 0;
    else if (doc && data[0] == 'V')
        ok = at_vae_config_parse(root, &vae) && vae.blocks > 0 &&
             (vae.tiny.stages ? vae.tiny.encoder_width > 0 && vae.tiny.decoder_width > 0
                              : vae.channels[vae.blocks - 1] % vae.groups == 0);
    else if (doc)
        ok = (schedule = at_schedule_parse((const char *)data + 1, size - 1, "fuzz", &log)) != NULL;
    if (size && ok != (log.error == AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    at_schedule_destroy(&schedule);
    at_json_destroy(&doc);
    return 0;
}

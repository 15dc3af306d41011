// SPDX-License-Identifier: Apache-2.0
// An adapter's file, read for a small denoiser.
#include "core/cpu/cpu.h"
#include "pipelines/lora.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

static void ignore(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level, (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "{\"block_out_channels\":[4],\"down_block_types\":[\"CrossAttnDownBlock2D\"],"
                                 "\"up_block_types\":[\"CrossAttnUpBlock2D\"],\"layers_per_block\":1,"
                                 "\"attention_head_dim\":1,\"norm_num_groups\":2,\"cross_attention_dim\":4}";
    static struct at_device *dev;
    struct at_log log = {.write = ignore};
    struct at_model m = {.log = &log};
    if (!dev && !(dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, NULL)))
        abort();
    m.dev = dev;
    m.unet_params = at_params_create(&log);
    struct at_json_doc *doc = at_json_parse(&log, "config", config, strlen(config), NULL);
    if (!m.unet_params || !doc || !at_unet_config_parse(at_json_root(doc), &m.unet))
        abort();
    struct at_lora *lora = at_lora_parse(&m, "fuzz", data, size, 1);
    if (!lora != (log.error != AT_ERROR_NONE) || (lora && !lora->part[AT_COMPONENT_UNET].count))
        abort(); // a failure without a word, or the other way round
    at_lora_destroy(&lora);
    at_params_destroy(&m.unet_params);
    at_json_destroy(&doc);
    return 0;
}

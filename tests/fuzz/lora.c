// SPDX-License-Identifier: Apache-2.0
// An adapter's file in any dialect, read for a small model with two text encoders, written in all of them, and given to
// the denoiser.
#include "core/cpu/cpu.h"
#include "pipelines/lora/lora.h"
#include "pipelines/lora/lora_write.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

static struct at_device *dev;
static struct at_unet_config unet;
static struct at_layers *layers;

static void set_up(void)
{
    static const char config[] = "{\"block_out_channels\":[4],\"down_block_types\":[\"CrossAttnDownBlock2D\"],"
                                 "\"up_block_types\":[\"CrossAttnUpBlock2D\"],\"layers_per_block\":1,"
                                 "\"attention_head_dim\":1,\"norm_num_groups\":2,\"cross_attention_dim\":4}";
    struct at_clip_config clip = {.vocab = 4, .width = 4, .mlp = 8, .layers = 1, .heads = 1, .positions = 2,
                                  .eps = 1e-5f, .act = AT_ACT_GELU};
    struct at_json_doc *doc = at_json_parse(NULL, "config", config, strlen(config), NULL);
    dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, NULL);
    if (!dev || !doc || !at_unet_config_parse(at_json_root(doc), &unet) || !(layers = at_layers_create(NULL)) ||
        !at_layers_add_unet(layers, &unet) || !at_layers_add_text(layers, AT_COMPONENT_TEXT, &clip) ||
        !at_layers_add_text(layers, AT_COMPONENT_TEXT_2, &clip))
        abort();
    at_json_destroy(&doc);
}

static void read_and_write(const uint8_t *data, size_t size, const struct at_lora_data_params *p)
{
    struct at_log log = {.write = at_log_drop};
    struct at_lora_data *d = at_lora_data_parse(&log, "fuzz", data, size, p);
    if (!d != (log.error != AT_ERROR_NONE) || (d && !d->count))
        abort(); // a failure without a word, or the other way round
    for (int i = 0; d && i < d->count; i++)
        if (!d->list[i].down || !d->list[i].up || d->list[i].rank < 1 || (p->layers && !d->list[i].layer))
            abort();
    for (int to = 0; d && p->layers && to < AT_LORA_DIALECTS; to++)
        if (to != AT_LORA_PEFT) {
            struct at_lora_write_params w = {.path = "/dev/null", .dialect = (enum at_lora_dialect)to};
            if (!at_lora_write(d, &w) && log.error == AT_ERROR_NONE)
                abort();
            log.error = AT_ERROR_NONE;
        }
    at_lora_data_destroy(&d);
}

static void load(const uint8_t *data, size_t size)
{
    struct at_log log = {.write = at_log_drop};
    struct at_model m = {.log = &log, .dev = dev, .unet = unet, .unet_params = at_params_create(&log)};
    if (!m.unet_params)
        abort();
    struct at_lora *lora = at_lora_parse(&m, "fuzz", data, size, 1);
    if (!lora != (log.error != AT_ERROR_NONE) || (lora && !lora->part[AT_COMPONENT_UNET].count))
        abort();
    at_lora_destroy(&lora);
    at_params_destroy(&m.unet_params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!dev)
        set_up();
    struct at_lora_data_params strict = {.layers = layers}, none = {0};
    struct at_lora_data_params lax = {.layers = layers, .ignore_unknown = true, .drop_missing = true};
    read_and_write(data, size, &strict);
    read_and_write(data, size, &lax);
    read_and_write(data, size, &none);
    load(data, size);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/train_lora.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/sha256.h"

#include <stdio.h>
#include <string.h>

void at_train_lora(struct at_train_method *method, const struct at_lora *l, const struct at_train_params *p)
{
    method->lora = l;
    method->set_count = at_lora_sets(l, method->sets, method->set_names);
    for (int s = 0; s < method->set_count; s++)
        if (method->sets[s] != l->part[AT_COMPONENT_UNET].params && p->text_lr > 0)
            method->rates[s] = p->text_lr / p->lr;
}

bool at_train_lora_save(const struct at_lora *l, const char *dir, float *const *values)
{
    char *path = at_path_join(dir, "pytorch_lora_weights.safetensors");
    bool ok = path && at_lora_save(l, path, values);
    at_free(path);
    return ok;
}

void at_train_lora_hash(const struct at_lora *l, char text[65])
{
    struct at_sha256 hash;
    uint8_t digest[32];
    at_sha256_init(&hash);
    for (int c = 0; c < AT_COMPONENTS; c++)
        for (int i = 0; i < l->part[c].count; i++) {
            const struct at_adapter_layer *layer = &l->part[c].layers[i];
            char numbers[64];
            int n = snprintf(numbers, sizeof(numbers), "%d %d %.9g,", c, layer->rank, (double)layer->alpha);
            at_sha256_add(&hash, layer->name, strlen(layer->name) + 1);
            at_sha256_add(&hash, numbers, (size_t)n);
        }
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, text);
}

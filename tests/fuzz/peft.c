// SPDX-License-Identifier: Apache-2.0
// An adapter as a folder of peft's: adapter_config.json, the byte 0x1e, adapter_model.safetensors.
#include "pipelines/lora/lora_data.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    struct at_log log = {.write = at_log_drop};
    fuzz_files(data, size, names, 2);
    struct at_lora_data *d = at_lora_data_open(&log, fuzz_folder(), &(struct at_lora_data_params){0});
    if (!d != (log.error != AT_ERROR_NONE) || (d && !d->count))
        abort(); // a failure without a word, or the other way round
    for (int i = 0; d && i < d->count; i++)
        if (!isfinite(d->list[i].alpha) || d->list[i].rank < 1)
            abort();
    at_lora_data_destroy(&d);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// The folder of a model: index, configs, the index of sharded weights and a shard, divided by the byte 0x1e. Its graphs
// are built as the configs say.
#include "pipelines/model/model.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

static void set_up(void)
{
    static const char vocab[] = "{\"a\":0,\"b</w>\":1,\"ab</w>\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}";
    static const char merges[] = "#version: 0.2\na b</w>\n";
    for (int i = 0; i < 2; i++) {
        fuzz_file(i ? "tokenizer_2/vocab.json" : "tokenizer/vocab.json", vocab, sizeof(vocab) - 1);
        fuzz_file(i ? "tokenizer_2/merges.txt" : "tokenizer/merges.txt", merges, sizeof(merges) - 1);
    }
}

static void open_model(const char *path)
{
    struct at_log log = {.write = at_log_drop};
    struct at_model_params p = {.path = path, .check = true, .untrained = true};
    struct at_model *m = at_model_open(NULL, &p, &log);
    if (!m != (log.error != AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    at_model_destroy(&m);
}

static void open_weights(const char *path)
{
    struct at_log log = {.write = at_log_drop};
    struct at_model_source *s = at_source_open(&log, path, NULL);
    struct at_safetensors *file = s ? at_source_weights(s, "unet") : NULL;
    char hash[65];
    if (!file != (log.error != AT_ERROR_NONE) || (s && !at_source_hash(s, "unet", hash) && !log.error))
        abort();
    for (size_t i = 0; file && i < at_safetensors_count(file); i++)
        if (at_safetensors_find(file, at_safetensors_at(file, i)->name) != at_safetensors_at(file, i))
            abort();
    at_safetensors_destroy(&file);
    at_source_destroy(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "model_index.json", "text_encoder/config.json", "text_encoder_2/config.json", "unet/config.json",
        "vae/config.json", "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/shard.safetensors"};
    if (!fuzz_root[0])
        set_up();
    fuzz_files(data, size, names, sizeof(names) / sizeof(*names));
    open_model(fuzz_folder());
    open_weights(fuzz_folder());
    return 0;
}

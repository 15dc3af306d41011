// SPDX-License-Identifier: Apache-2.0
// An adapter as data: layers with their halves, whatever its file calls them.
//
//     struct at_lora_data_params p = {.layers = layers};
//     struct at_lora_data *d = at_lora_data_open(log, "adapter.safetensors", &p);
//     for (int i = 0; d && i < d->count; i++)
//         printf("%s rank %d\n", d->list[i].id, d->list[i].rank);
//     at_lora_data_destroy(&d);
#ifndef PIPELINES_LORA_LORA_DATA_H
#define PIPELINES_LORA_LORA_DATA_H

#include "core/io/safetensors.h"
#include "pipelines/lora/lora_names.h"

struct at_lora_layer {
    char *id;         // "unet.mid_block.attentions.0.proj_in"; unique
    const char *name; // the end of it
    enum at_component component;
    const struct at_layer *layer; // NULL: read without a list of layers
    int rank, kernel;             // kernel 1: linear, or a convolution of one tap
    int64_t in, out;
    float alpha; // the adapter acts times alpha / rank
    const struct at_st_tensor *down, *up; // (rank,in[,kernel,kernel]), (out,rank[,1,1])
};

struct at_lora_data {
    struct at_log *log;
    char *path;
    const struct at_layers *layers; // what it was read with
    struct at_lora_layer *list;     // in the order of the file's names
    int count;
    enum at_lora_dialect dialect; // of most tensors
    bool mixed;                   // some have names of another one
    int unknown, lacking;         // tensors left out
    struct at_safetensors *file;
    size_t capacity;
    struct at_index index;
};

struct at_lora_data_params {
    const struct at_layers *layers; // must outlive the data. NULL: names are not looked up
    bool ignore_unknown;            // leave tensors out that fit no layer
    bool drop_missing;              // leave parts out whose component `layers` lacks
};

// From a file, or a folder that holds pytorch_lora_weights.safetensors or adapter_model.safetensors. alpha is taken
// from its .alpha tensors (kohya: 0 or absent is the rank), from lora_adapter_metadata (diffusers), or from
// adapter_config.json beside the file (peft). All that is wrong is listed by name: keys that fit nothing, missing
// halves, shapes, a layer under two names; other kinds of adapters are refused by what they are.
struct at_lora_data *at_lora_data_open(struct at_log *log, const char *path, const struct at_lora_data_params *params);
// The same from memory, which must outlive the data; `name` stands for the file in messages.
struct at_lora_data *at_lora_data_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                        const struct at_lora_data_params *params);
void at_lora_data_destroy(struct at_lora_data **data);

// The file of an adapter that is named by its folder: a fresh path; anything else comes back as it is.
char *at_lora_data_path(const char *path);
// One half in the file's layout: rank * in * kernel^2, or out * rank floats. Values that are not finite are errors.
AT_NODISCARD bool at_lora_data_read(const struct at_lora_data *data, const struct at_st_tensor *half, float *out);

#endif

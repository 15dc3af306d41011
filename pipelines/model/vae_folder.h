// SPDX-License-Identifier: Apache-2.0
// An autoencoder alone, from a folder with config.json and diffusion_pytorch_model.safetensors.
#ifndef PIPELINES_MODEL_VAE_FOLDER_H
#define PIPELINES_MODEL_VAE_FOLDER_H

#include "pipelines/model/model.h"

// A model that can encode and decode and nothing else; at_model_destroy frees it. On a dry device no weights are read.
// NULL with the reason in the log.
struct at_model *at_vae_folder_open(struct at_device *dev, const char *dir, struct at_log *log);

#endif

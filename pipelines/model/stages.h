// SPDX-License-Identifier: Apache-2.0
// Internal to pipelines/model*.c: the compiled text encoder and autoencoder of a model, made at first use.
#ifndef PIPELINES_MODEL_STAGES_H
#define PIPELINES_MODEL_STAGES_H

#include "core/base/log.h"

struct at_model_stages;
struct at_model_stages *at_model_stages_create(struct at_log *log);
void at_model_stages_destroy(struct at_model_stages **stages);
// Frees the graphs of parts (bits of enum at_part); they are made again when needed.
void at_model_stages_drop(struct at_model_stages *stages, unsigned parts);

#endif

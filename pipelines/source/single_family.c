// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/single_family.h"

#include "core/base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define V_SPREAD 0.09 // deviation of the bias above which SD 2.x is taken to predict v

static bool has(const struct at_safetensors *file, const char *name)
{
    return at_safetensors_find(file, name);
}

static bool any_begins(const struct at_safetensors *file, const char *start)
{
    size_t n = strlen(start);
    for (size_t i = 0; i < at_safetensors_count(file); i++)
        if (strncmp(at_safetensors_at(file, i)->name, start, n) == 0)
            return true;
    return false;
}

static bool any_has(const struct at_safetensors *file, const char *part)
{
    for (size_t i = 0; i < at_safetensors_count(file); i++)
        if (strstr(at_safetensors_at(file, i)->name, part))
            return true;
    return false;
}

// Files that are no checkpoint of a whole model. The first that fits is told.
static const char *kind_of_part(const struct at_safetensors *file)
{
    static const struct {
        const char *part;
        bool start; // of a name; else anywhere in it
        const char *what;
    } kinds[] = {
        {".lora_A.", false, "an adapter (LoRA), not a model; give it with --lora FILE, or as MODEL+FILE"},
        {".lora_down.", false, "an adapter (LoRA), not a model; give it with --lora FILE, or as MODEL+FILE"},
        {".lora.down.", false, "an adapter (LoRA), not a model; give it with --lora FILE, or as MODEL+FILE"},
        {".hada_w1_a", false, "an adapter (LoHa), not a model, and of a kind that is not supported"},
        {".lokr_w1", false, "an adapter (LoKr), not a model, and of a kind that is not supported"},
        {"control_model.", true, "a ControlNet, which is not supported"},
        {"controlnet_cond_embedding.", true, "a ControlNet, which is not supported"},
        {"ip_adapter.", true, "an IP-Adapter, which is not supported"},
        {"emb_params", true, "an embedding (textual inversion), which is not supported"},
        {"joint_blocks.", false, "Stable Diffusion 3, which is not supported"},
        {"double_blocks.", false, "FLUX or a model of its kind, which is not supported"},
        {"double_stream_blocks.", false, "HiDream, which is not supported"},
        {"cap_embedder.", false, "Lumina 2 or a model of its kind, which is not supported"},
        {"adaln_single.", false, "PixArt, LTX or a model of their kind, which is not supported"},
        {"time_stack.", false, "Stable Video Diffusion, which is not supported"},
        {"motion_modules.", false, "a motion module (AnimateDiff), which is not supported"},
        {"clip_txt_mapper.", false, "Stable Cascade, which is not supported"},
        {"head.modulation", false, "Wan or a model of its kind, which is not supported"},
        {"edm_mean", true, "Playground 2.5, whose schedule (EDM) is not supported"},
        {"edm_vpred", true, "a model with an EDM schedule, which is not supported"},
        {"noise_augmentor.", true, "an unCLIP model, which is not supported"},
        {"cc_projection.", true, "Zero123, which is not supported"},
        {"time_embedding.linear_1.", true, "the denoiser of a diffusers folder; give the folder with model_index.json"},
        {"text_model.", true, "the text encoder of a diffusers folder; give the folder with model_index.json"},
        {"down_blocks.", true, "one component of a diffusers folder; give the folder with model_index.json"},
        {"encoder.down_blocks.", true, "the autoencoder of a diffusers folder; give the folder with model_index.json"},
        {"input_blocks.", true, "a denoiser alone; give the whole checkpoint"},
        {"encoder.down.", true, "an autoencoder alone; give the whole checkpoint"},
        {"decoder.up.", true, "an autoencoder alone; give the whole checkpoint"},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (kinds[i].start ? any_begins(file, kinds[i].part) : any_has(file, kinds[i].part))
            return kinds[i].what;
    return NULL;
}

// What a whole checkpoint lacks.
static const char *missing_part(const struct at_safetensors *file)
{
    bool unet = any_begins(file, "model.diffusion_model."), vae = any_begins(file, "first_stage_model.");
    if (!unet)
        return vae ? "an autoencoder alone; give the whole checkpoint"
                   : "no checkpoint of Stable Diffusion that attune knows";
    if (!has(file, "model.diffusion_model.input_blocks.0.0.weight"))
        return "a denoiser of a kind that attune does not know; SD 1.x, SD 2.x and SDXL are supported";
    if (!vae)
        return "a model without its autoencoder (first_stage_model); give the whole checkpoint";
    return NULL;
}

static bool find_texts(const struct at_safetensors *file, enum at_family *family, const char **what)
{
    bool first = any_begins(file, "conditioner.embedders.0.transformer.");
    if (first && any_begins(file, "conditioner.embedders.1.model."))
        *family = AT_FAMILY_SDXL;
    else if (any_begins(file, "cond_stage_model.model."))
        *family = AT_FAMILY_SD2;
    else if (any_begins(file, "cond_stage_model.transformer."))
        *family = AT_FAMILY_SD1;
    else if (any_begins(file, "conditioner.embedders.0.model."))
        *what = "a refiner of SDXL, which is not supported; use the base model";
    else
        *what = "a model without its text encoder (cond_stage_model, conditioner); give the whole checkpoint";
    return !*what;
}

static const char *odd_inputs(const struct at_safetensors *file)
{
    const struct at_st_tensor *in = at_safetensors_find(file, "model.diffusion_model.input_blocks.0.0.weight");
    uint64_t channels = in && in->rank == 4 ? in->shape[1] : 0;
    return channels == 9   ? "an inpainting model (9 input channels), which is not supported; use the one it was made from"
           : channels == 8 ? "an editing model as InstructPix2Pix (8 input channels), which is not supported"
           : channels == 7 ? "an upscaler (7 input channels), which is not supported"
           : channels == 5 ? "a depth model (5 input channels), which is not supported"
                           : NULL;
}

bool at_single_family_find(struct at_log *log, const char *path, const struct at_safetensors *file,
                           enum at_family *family)
{
    const char *what = kind_of_part(file);
    *family = AT_FAMILY_SD1;
    if (!what)
        what = missing_part(file);
    if (!what && find_texts(file, family, &what)) {
        what = odd_inputs(file);
        if (!what && *family == AT_FAMILY_SD2 && any_begins(file, "model.diffusion_model.label_emb."))
            what = "an unCLIP model or an upscaler of SD 2.x, which is not supported";
    }
    if (!what)
        return true;
    const struct at_st_tensor *first = at_safetensors_at(file, 0);
    if (!first)
        return at_fail(log, AT_ERROR_INPUT, "%s: holds no tensors", path);
    return at_fail(log, AT_ERROR_INPUT, "%s: this is %s (%zu tensors, the first is \"%.100s\")", path, what,
                   at_safetensors_count(file), first->name);
}

// The deviation of a tensor's values.
static bool spread(const struct at_safetensors *file, const struct at_st_tensor *t, double *out)
{
    float *values = at_calloc((size_t)t->elements + 1, sizeof(float));
    bool ok = values && at_safetensors_to_f32(file, t, values);
    double sum = 0, squares = 0, n = (double)t->elements;
    for (uint64_t i = 0; ok && i < t->elements; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    *out = n > 0 ? sqrt(fmax(0, squares / n - sum / n * (sum / n))) : 0;
    at_free(values);
    return ok;
}

// The norm before the last self-attention of the denoiser; NULL: there is none.
static const struct at_st_tensor *last_norm(const struct at_safetensors *file)
{
    char name[128];
    for (int i = AT_SINGLE_BLOCKS - 1; i >= 0; i--) {
        snprintf(name, sizeof(name), "model.diffusion_model.output_blocks.%d.1.transformer_blocks.0.norm1.bias", i);
        const struct at_st_tensor *t = at_safetensors_find(file, name);
        if (t)
            return t;
    }
    return NULL;
}

bool at_single_prediction_find(const struct at_safetensors *file, enum at_family family,
                               struct at_single_prediction *out)
{
    const char *type = at_safetensors_metadata(file, "modelspec.prediction_type");
    const char *kind = at_safetensors_metadata(file, "modelspec.architecture");
    double deviation = 0;
    *out = (struct at_single_prediction){.type = "epsilon", .zero_snr = has(file, "ztsnr")};
    if (has(file, "v_pred")) {
        out->type = "v_prediction";
        out->reason = "its key v_pred";
    } else if (type && (type[0] == 'v' || type[0] == 'e')) {
        out->type = type[0] == 'v' ? "v_prediction" : "epsilon";
        out->reason = "its metadata (modelspec.prediction_type)";
    } else if (family == AT_FAMILY_SD2 && kind && strstr(kind, "v2-768-v")) {
        out->type = "v_prediction";
        out->reason = "its metadata (modelspec.architecture)";
    } else if (family == AT_FAMILY_SD2) {
        const struct at_st_tensor *norm = last_norm(file);
        if (norm && !spread(file, norm, &deviation))
            return false;
        out->type = deviation > V_SPREAD ? "v_prediction" : "epsilon";
        out->reason = "the spread of its last attention's bias, a rule of thumb";
    }
    return true;
}

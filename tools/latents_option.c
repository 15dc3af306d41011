// SPDX-License-Identifier: Apache-2.0
#include "tools/latents_option.h"

#include "core/base/alloc.h"

#include <string.h>

void at_latents_options(struct at_options *o, struct at_latents_option *l)
{
    const struct at_option rows[] = {
        {"latents", 0, AT_OPTION_TEXT, &l->path, "FILE",
         "begin from these latents (.safetensors, as of attune invert) instead of noise from the seed; without a prompt "
         "those of the file are drawn", .zero = "none"},
        {0},
    };
    at_options_add(o, rows);
}

// Every picture from its own latents under the prompt that these were made with.
static bool take_prompts(struct at_latents_option *l, struct at_request *r, struct at_log *log)
{
    if (!l->latents.prompts)
        return at_fail(log, AT_ERROR_USAGE, "%s says nothing of its pictures: give a prompt with -p", l->path);
    for (int i = 0; i < l->latents.count; i++)
        if (!at_texts_add(&r->texts, l->latents.prompts[i]))
            return at_fail_memory(log, sizeof(char *));
    if (r->count != 1)
        return at_fail(log, AT_ERROR_USAGE, "--count %d: there is one picture for each of the file's latents", r->count);
    r->latents_by_prompt = true;
    return true;
}

bool at_latents_apply(struct at_latents_option *l, const struct at_options *o, struct at_request *r, struct at_log *log)
{
    if (!l->path)
        return true;
    if (!at_latents_read(log, l->path, &l->latents))
        return false;
    const struct at_latents *x = &l->latents;
    r->latents = x;
    r->latents_path = l->path;
    if (!r->file && r->texts.count == 0) {
        if (!take_prompts(l, r, log))
            return false;
        if (!at_options_given(o, "cfg"))
            r->cfg = x->cfg;
        if (!at_options_given(o, "negative"))
            r->negative = x->negative;
    } else if (at_options_given(o, "count") && r->count != x->count) {
        return at_fail(log, AT_ERROR_USAGE, "--count %d: the file holds %d latents, and every prompt is drawn from each",
                       r->count, x->count);
    } else {
        r->count = x->count;
    }
    if (!at_options_given(o, "sampler") && x->about)
        r->sampler = AT_SAMPLER_DDIM;
    if (!at_options_given(o, "steps") && x->steps)
        r->steps = x->steps;
    else if (x->steps && r->steps != x->steps)
        at_warn(log, "%s was made with %d steps; with %d its noise is a little off", l->path, x->steps, r->steps);
    return true;
}

void at_latents_option_finish(struct at_latents_option *l)
{
    at_latents_finish(&l->latents);
}

bool at_latents_check(const struct at_request *r, const struct at_loaded *loaded, struct at_picture_note *notes, int total,
                      struct at_log *log)
{
    const struct at_latents *l = r->latents;
    if (!l)
        return true;
    int factor = at_vae_factor(&loaded->model->vae), width = l->width * factor, height = l->height * factor;
    if (l->channels != loaded->model->unet.in_channels)
        return at_fail(log, AT_ERROR_INPUT, "%s: the latents have %d channels, the model's %d; they are of another model",
                       r->latents_path, l->channels, loaded->model->unet.in_channels);
    for (int i = 0; i < total; i++) {
        if ((notes[i].width && notes[i].width != width) || (notes[i].height && notes[i].height != height))
            return at_fail(log, AT_ERROR_USAGE, "%s: its latents are of %dx%d pixels, not of %dx%d; leave out --width and "
                           "--height", r->latents_path, width, height, notes[i].width ? notes[i].width : width,
                           notes[i].height ? notes[i].height : height);
        notes[i].width = width;
        notes[i].height = height;
    }
    if (l->unet_sha256 && loaded->sha256[0] && strcmp(l->unet_sha256, loaded->sha256) != 0)
        at_warn(log, "%s was made with other weights (%.10s) than these (%.10s)", r->latents_path, l->unet_sha256,
                loaded->sha256);
    return true;
}

float *at_latents_gather(const struct at_latents *l, const struct at_picture_note *notes, int count, struct at_log *log)
{
    size_t size = (size_t)l->height * (size_t)l->width * (size_t)l->channels;
    float *out = at_calloc((size_t)count * size, sizeof(float));
    if (!out)
        at_fail_memory(log, (size_t)count * size * sizeof(float));
    for (int i = 0; out && i < count; i++)
        memcpy(out + (size_t)i * size, l->values + (size_t)notes[i].latent * size, size * sizeof(float));
    return out;
}

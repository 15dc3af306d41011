// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/train_samples.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "core/io/file.h"
#include "datasets/prompts.h"
#include "pipelines/model/stages.h"
#include "pipelines/sample/sample.h"
#include "pipelines/train/train.h"

#include <inttypes.h>

struct at_train_samples {
    struct at_model *m;
    struct at_lora *const *lora;
    const struct at_train_params *p;
    struct at_prompts prompts;
    struct at_sample_item items[AT_TRAIN_SAMPLES];
    int size;
    float *pixels;
};

static bool read_prompts(struct at_train_samples *s)
{
    const struct at_train_samples_params *p = &s->p->samples;
    struct at_log *log = s->m->log;
    if (!p->prompts)
        return at_fail(log, AT_ERROR_USAGE, "--sample-every needs --sample-prompts FILE: what to draw");
    if (!at_prompts_read(log, p->prompts, &s->prompts))
        return false;
    if (s->prompts.count > AT_TRAIN_SAMPLES)
        return at_fail(log, AT_ERROR_INPUT, "%s: %zu prompts; at most %d are drawn while training", p->prompts,
                       s->prompts.count, AT_TRAIN_SAMPLES);
    for (size_t i = 0; i < s->prompts.count; i++) {
        const struct at_prompt *one = &s->prompts.items[i];
        if (one->width || one->height || one->steps || one->sampler || one->has_cfg)
            return at_fail(log, AT_ERROR_INPUT, "%s:%zu: size, steps, sampler and guidance are the same for all "
                           "pictures while training; only negative and seed may stand here", p->prompts, one->line);
        s->items[i] = (struct at_sample_item){one->text, one->negative, one->has_seed ? one->seed : i};
    }
    return true;
}

struct at_train_samples *at_train_samples_open(struct at_model *m, struct at_lora *const *lora, int size,
                                               const struct at_train_params *params)
{
    struct at_train_samples *s = at_calloc(1, sizeof(*s));
    if (!s) {
        at_fail_memory(m->log, sizeof(*s));
        return NULL;
    }
    s->m = m;
    s->lora = lora;
    s->p = params;
    s->size = size;
    bool ok = read_prompts(s);
    size_t floats = s->prompts.count * (size_t)size * (size_t)size * 3;
    if (ok && !(s->pixels = at_calloc(floats, sizeof(float))))
        ok = at_fail_memory(m->log, floats * sizeof(float));
    if (!ok)
        at_train_samples_close(&s);
    return s;
}

void at_train_samples_close(struct at_train_samples **samples)
{
    if (!*samples)
        return;
    at_prompts_finish(&(*samples)->prompts);
    at_free((*samples)->pixels);
    at_free(*samples);
    *samples = NULL;
}

bool at_train_samples_due(const struct at_train_samples *s, int64_t step)
{
    return s && (step % s->p->samples.every == 0 || step == s->p->steps);
}

static bool write_sheet(struct at_train_samples *s, int64_t step)
{
    struct at_log *log = s->m->log;
    struct at_image sheet = {0};
    size_t n = s->prompts.count * (size_t)s->size * (size_t)s->size * 3;
    for (size_t i = 0; i < n; i++)
        s->pixels[i] = 2 * s->pixels[i] - 1;
    struct at_sheet_params sp = {.pixels = s->pixels, .count = (int)s->prompts.count, .height = s->size,
                                 .width = s->size, .to_height = s->size, .to_width = s->size};
    char *folder = at_path_join(s->p->run, "samples"), *name = at_strf("%06" PRId64 ".png", step);
    char *path = folder && name ? at_path_join(folder, name) : NULL;
    bool ok = path && at_dir_make(log, folder) && at_sheet_draw(log, &sp, &sheet) &&
              at_png_write(log, path, &sheet, NULL, 0);
    at_image_finish(&sheet);
    at_free(folder);
    at_free(name);
    at_free(path);
    return ok || at_fail_unsaid(log);
}

static bool goes_on(void *priv, double done)
{
    const struct at_train_params *p = ((const struct at_train_samples *)priv)->p;
    (void)done;
    return !p->interrupted || !p->interrupted(p->priv);
}

bool at_train_samples_draw(struct at_train_samples *s, int64_t step)
{
    const struct at_train_samples_params *p = &s->p->samples;
    bool dry = at_is_dry(s->m->dev);
    struct at_sample_params sp = {.items = s->items, .count = (int)s->prompts.count, .steps = dry ? 1 : p->steps,
                                  .cfg = p->cfg != 0 ? p->cfg : at_sample_cfg(s->m), .width = s->size,
                                  .height = s->size, .memory_limit = s->p->memory_limit, .vae_tile = s->p->vae_tile, .resident = true,
                                  .loras = s->lora, .lora_count = s->lora && *s->lora ? 1 : 0, .progress = goes_on,
                                  .priv = s};
    bool ok = at_sample(s->m, &sp, s->pixels, NULL);
    at_model_stages_drop(s->m->stages, AT_PART_TEXT | AT_PART_VAE);
    if (!ok && s->m->log->error == AT_ERROR_INTERRUPTED) {
        s->m->log->error = AT_ERROR_NONE; // the training's own stop saves what is there
        return true;
    }
    return ok && (dry || write_sheet(s, step));
}

// SPDX-License-Identifier: Apache-2.0
#include "pipelines/latent_cache.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "core/io/sha256.h"

#include <string.h>

struct at_latent_cache {
    char *dir;      // NULL: nothing is kept
    char model[65]; // identity of the autoencoder
};

struct at_latent_cache *at_latent_cache_open(struct at_model *m, const char *dir)
{
    struct at_latent_cache *c = at_calloc(1, sizeof(*c));
    float *values = NULL;
    size_t bytes = (size_t)m->vae_params->total * sizeof(float);
    bool ok = c;
    if (ok && dir)
        ok = (values = at_calloc(bytes, 1)) && (c->dir = at_strdup(dir));
    if (!ok)
        at_fail_memory(m->log, bytes);
    if (ok && dir && (ok = at_dir_make(m->log, dir) && at_params_read(m->vae_params, values)))
        at_sha256_text(values, bytes, c->model);
    at_free(values);
    if (!ok)
        at_latent_cache_close(&c);
    return c;
}

void at_latent_cache_close(struct at_latent_cache **cache)
{
    if (!*cache)
        return;
    at_free((*cache)->dir);
    at_free(*cache);
    *cache = NULL;
}

static char *file_of(const struct at_latent_cache *c, const float *image, size_t pixels)
{
    struct at_sha256 hash;
    uint8_t digest[32];
    char key[65];
    at_sha256_init(&hash);
    at_sha256_add(&hash, c->model, sizeof(c->model));
    at_sha256_add(&hash, image, pixels * sizeof(float));
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, key);
    return at_strf("%s/%s.safetensors", c->dir, key);
}

// True if the file holds `count` moments; a broken one counts as missing.
static bool read_moments(const char *path, float *moments, size_t count)
{
    if (!at_file_exists(path))
        return false;
    struct at_safetensors *st = at_safetensors_open(NULL, path);
    const struct at_st_tensor *t = st ? at_safetensors_find(st, "moments") : NULL;
    bool ok = t && t->elements == count && at_safetensors_to_f32(st, t, moments);
    at_safetensors_destroy(&st);
    return ok;
}

static bool write_moments(struct at_log *log, const char *path, const float *moments, size_t count)
{
    uint64_t shape = count;
    struct at_st_item item = {.name = "moments", .dtype = AT_ST_F32, .rank = 1, .shape = &shape, .data = moments};
    return at_safetensors_write(log, path, &(struct at_st_content){.items = &item, .count = 1});
}

// Encodes the pictures listed in `missing` and stores them under their files' names.
static bool encode_missing(struct at_model *m, const float *images, const int *missing, int count, int size,
                           char *const *files, float *moments, size_t row)
{
    size_t pixels = (size_t)size * (size_t)size * 3;
    float *in = at_calloc((size_t)count * pixels, sizeof(float)), *out = at_calloc((size_t)count * row, sizeof(float));
    bool ok = in && out;
    if (!ok)
        at_fail_memory(m->log, (size_t)count * (pixels + row) * sizeof(float));
    for (int i = 0; ok && i < count; i++)
        memcpy(in + (size_t)i * pixels, images + (size_t)missing[i] * pixels, pixels * sizeof(float));
    ok = ok && at_model_encode(m, in, count, size, size, out);
    for (int i = 0; ok && i < count; i++) {
        memcpy(moments + (size_t)missing[i] * row, out + (size_t)i * row, row * sizeof(float));
        ok = write_moments(m->log, files[missing[i]], out + (size_t)i * row, row);
    }
    at_free(in);
    at_free(out);
    return ok;
}

bool at_latent_cache_encode(struct at_latent_cache *c, struct at_model *m, const float *images, int n, int size,
                            float *moments)
{
    if (!c->dir)
        return at_model_encode(m, images, n, size, size, moments);
    int side = size / at_vae_factor(&m->vae), count = 0;
    size_t pixels = (size_t)size * (size_t)size * 3;
    size_t row = 2 * (size_t)side * (size_t)side * (size_t)m->vae.latent_channels;
    char **files = at_calloc((size_t)n, sizeof(*files));
    int *missing = at_calloc((size_t)n, sizeof(*missing));
    bool ok = files && missing;
    for (int i = 0; ok && i < n; i++) {
        if (!(files[i] = file_of(c, images + (size_t)i * pixels, pixels)))
            ok = at_fail_memory(m->log, 256);
        else if (!read_moments(files[i], moments + (size_t)i * row, row))
            missing[count++] = i;
    }
    ok = ok && (!count || encode_missing(m, images, missing, count, size, files, moments, row));
    for (int i = 0; files && i < n; i++)
        at_free(files[i]);
    at_free(files);
    at_free(missing);
    return ok;
}

// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/cache.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/sha256.h"

#include <string.h>

struct at_cache {
    struct at_log *log;
    char *dir; // NULL: nothing is kept
    const char *what;
    char weights[65];
};

static bool hash_weights(struct at_cache *c, struct at_params *const *weights, int count)
{
    struct at_sha256 hash;
    uint8_t digest[32];
    bool ok = true;
    at_sha256_init(&hash);
    for (int i = 0; ok && i < count; i++)
        ok = at_params_hash(weights[i], &hash);
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, c->weights);
    return ok;
}

struct at_cache *at_cache_open(struct at_params *const *weights, int count, const char *what, const char *dir)
{
    struct at_log *log = weights[0]->log;
    struct at_cache *c = at_calloc(1, sizeof(*c));
    bool ok = c && (!dir || (c->dir = at_strdup(dir)));
    if (ok) {
        c->log = log;
        c->what = what;
        ok = !dir || (at_dir_make(log, dir) && hash_weights(c, weights, count));
    } else {
        at_fail_memory(log, sizeof(*c));
    }
    if (!ok)
        at_cache_close(&c);
    return c;
}

void at_cache_close(struct at_cache **cache)
{
    if (!*cache)
        return;
    at_free((*cache)->dir);
    at_free(*cache);
    *cache = NULL;
}

static char *file_of(const struct at_cache *c, const void *in, size_t bytes)
{
    struct at_sha256 hash;
    uint8_t digest[32];
    char key[65];
    at_sha256_init(&hash);
    at_sha256_add(&hash, c->weights, sizeof(c->weights));
    at_sha256_add(&hash, c->what, strlen(c->what));
    at_sha256_add(&hash, in, bytes);
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, key);
    return at_strf("%s/%s.safetensors", c->dir, key);
}

// True if the file holds the row; a broken one counts as missing.
static bool read_row(const struct at_cache *c, const char *path, float *out, size_t floats)
{
    if (!at_file_exists(path))
        return false;
    struct at_safetensors *st = at_safetensors_open(NULL, path);
    const struct at_st_tensor *t = st ? at_safetensors_find(st, c->what) : NULL;
    bool ok = t && t->elements == floats && at_safetensors_to_f32(st, t, out);
    at_safetensors_destroy(&st);
    return ok;
}

static bool write_row(const struct at_cache *c, const char *path, const float *row, size_t floats)
{
    uint64_t shape = floats;
    struct at_st_item item = {.name = c->what, .dtype = AT_ST_F32, .rank = 1, .shape = &shape, .data = row};
    return at_safetensors_write(c->log, path, &(struct at_st_content){.items = &item, .count = 1});
}

// Computes the rows listed in `missing` and stores them under their files' names.
static bool compute_missing(const struct at_cache *c, const struct at_cache_rows *r, const int *missing, int count,
                            char *const *files)
{
    unsigned char *in = at_calloc((size_t)count, r->bytes);
    float *out = at_calloc((size_t)count * r->floats, sizeof(float));
    bool ok = (in && out) || at_fail_memory(c->log, (size_t)count * (r->bytes + r->floats * sizeof(float)));
    for (int i = 0; ok && i < count; i++)
        memcpy(in + (size_t)i * r->bytes, (const unsigned char *)r->in + (size_t)missing[i] * r->bytes, r->bytes);
    ok = ok && r->compute(r->priv, in, count, out);
    for (int i = 0; ok && i < count; i++) {
        memcpy(r->out + (size_t)missing[i] * r->floats, out + (size_t)i * r->floats, r->floats * sizeof(float));
        ok = write_row(c, files[missing[i]], out + (size_t)i * r->floats, r->floats);
    }
    at_free(in);
    at_free(out);
    return ok;
}

bool at_cache_rows(struct at_cache *c, const struct at_cache_rows *r)
{
    if (!c->dir)
        return r->compute(r->priv, r->in, r->n, r->out);
    int count = 0;
    char **files = at_calloc((size_t)r->n, sizeof(*files));
    int *missing = at_calloc((size_t)r->n, sizeof(*missing));
    bool ok = files && missing;
    for (int i = 0; ok && i < r->n; i++) {
        if (!(files[i] = file_of(c, (const unsigned char *)r->in + (size_t)i * r->bytes, r->bytes)))
            ok = at_fail_memory(c->log, 256);
        else if (!read_row(c, files[i], r->out + (size_t)i * r->floats, r->floats))
            missing[count++] = i;
    }
    ok = ok && (!count || compute_missing(c, r, missing, count, files));
    for (int i = 0; files && i < r->n; i++)
        at_free(files[i]);
    at_free(files);
    at_free(missing);
    return ok;
}

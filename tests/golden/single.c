// SPDX-License-Identifier: Apache-2.0
// A single file shows what diffusers makes of it: names, shapes and values of every weight, and the configs. Tiny models
// with values; SD 1.5, SD 2.1 and SDXL base in full size, as files with holes for their values.
#include "tests/golden/single.h"

#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "pipelines/source/model_source.h"
#include "pipelines/source/single_names.h"

#include <fcntl.h>

static struct capture capture;

static const char *const parts[] = {"unet", "vae", "text_encoder", "text_encoder_2"};

// A document with the member `key` of `object` alone.
static struct at_json_doc *document(struct at_json object, const char *key)
{
    struct at_json_doc *doc = at_json_create(NULL, false);
    at_json_put_copy(at_json_root(doc), "it", at_json_get(object, key));
    return doc;
}

static void same_config(const struct single_model *m, const struct at_model_source *s, const char *part)
{
    struct at_json_doc *ours = at_source_config(s, part);
    struct at_json theirs = at_json_get(at_json_get(single_root(m), "configs"), part), mine = at_json_root(ours);
    struct at_unet_config u[2];
    struct at_vae_config v[2];
    struct at_clip_config c[2];
    memset(u, 0, sizeof(u)), memset(v, 0, sizeof(v)), memset(c, 0, sizeof(c));
    if (strcmp(part, "unet") == 0) {
        AT_CHECK(at_unet_config_parse(theirs, &u[0]) && at_unet_config_parse(mine, &u[1]));
        AT_CHECK(memcmp(&u[0], &u[1], sizeof(*u)) == 0);
    } else if (strcmp(part, "vae") == 0) {
        AT_CHECK(at_vae_config_parse(theirs, &v[0]) && at_vae_config_parse(mine, &v[1]));
        AT_CHECK(memcmp(&v[0], &v[1], sizeof(*v)) == 0);
    } else {
        AT_CHECK(at_clip_config_parse(theirs, &c[0]) && at_clip_config_parse(mine, &c[1]));
        AT_CHECK(memcmp(&c[0], &c[1], sizeof(*c)) == 0);
    }
    at_json_destroy(&ours);
}

static void same_schedule(const struct single_model *m, const struct at_model_source *s)
{
    struct at_json_doc *doc = document(at_json_get(single_root(m), "configs"), "scheduler");
    char *text = NULL, *whole = at_json_text(doc, false);
    size_t n = whole ? strlen(whole) : 0;
    struct at_schedule *a = NULL, *b = at_source_schedule(s);
    if (n > 7) { // {"it":...}
        whole[n - 1] = '\0';
        text = strchr(whole, ':') + 1;
        a = at_schedule_parse(text, strlen(text), "theirs", NULL);
    }
    if (AT_CHECK(a && b)) {
        AT_CHECK_INT(b->config.sampler, a->config.sampler);
        AT_CHECK_INT(b->config.spacing, a->config.spacing);
        AT_CHECK_INT(b->config.steps_offset, a->config.steps_offset);
        AT_CHECK_INT(b->config.prediction, a->config.prediction);
        AT_CHECK_INT(b->config.clip_sample, a->config.clip_sample);
        AT_CHECK_NEAR(b->final_alpha, a->final_alpha, 0);
        AT_CHECK(memcmp(a->alphas, b->alphas, 1000 * sizeof(float)) == 0);
    }
    at_free(whole);
    at_schedule_destroy(&a);
    at_schedule_destroy(&b);
    at_json_destroy(&doc);
}

// Weight for weight; without values where the model has none.
static void same_weights(const struct single_model *m, const struct at_safetensors *st, const char *part)
{
    struct at_json rows = at_json_get(at_json_get(single_root(m), "weights"), part);
    AT_CHECK_INT(at_safetensors_count(st), at_json_count(rows));
    int wrong = 0;
    for (struct at_json row = at_json_first(rows); row.item; row = at_json_next(row)) {
        struct single_tensor want = single_row(m, row);
        const struct at_st_tensor *have = at_safetensors_find(st, want.name);
        bool ok = have && have->rank == want.rank && have->elements == want.elements &&
                  memcmp(have->shape, want.shape, sizeof(uint64_t) * (size_t)want.rank) == 0 &&
                  (!want.values || memcmp(have->data, want.values, (size_t)have->bytes) == 0);
        if (!ok && wrong++ < 5)
            printf("%s: %s is %s\n", part, want.name, have ? "another" : "missing");
        at_free(want.values);
    }
    AT_CHECK_INT(wrong, 0);
}

// Every weight gets the name it has in the file: the way back from at_single_place.
static void same_originals(const struct single_model *m)
{
    const char *family;
    struct at_json configs = at_json_get(single_root(m), "configs");
    struct at_unet_config unet;
    struct at_vae_config vae;
    int wrong = 0;
    if (!AT_CHECK(at_json_str(single_root(m), "family", "", &family) &&
                  at_unet_config_parse(at_json_get(configs, "unet"), &unet) &&
                  at_vae_config_parse(at_json_get(configs, "vae"), &vae)))
        return;
    enum at_family f = strcmp(family, "sd1") == 0 ? AT_FAMILY_SD1 : strcmp(family, "sd2") == 0 ? AT_FAMILY_SD2 : AT_FAMILY_SDXL;
    for (int part = 0; part < AT_SINGLE_PARTS; part++) {
        struct at_json rows = at_json_get(at_json_get(single_root(m), "weights"), parts[part]);
        for (struct at_json row = at_json_first(rows); row.item; row = at_json_next(row)) {
            struct at_single_original o;
            struct single_tensor t = single_row(m, row);
            const char *old = "";
            int64_t first = 0;
            bool transposed = false;
            AT_CHECK(at_json_as_str(at_json_at(row, 2), &old) && at_json_as_int(at_json_at(row, 3), 0, 1 << 24, &first) &&
                     at_json_as_bool(at_json_at(row, 4), &transposed));
            const struct single_tensor *there = single_find(m, old);
            bool ok = at_single_original(f, (enum at_single_part)part, &unet, vae.blocks, t.name, &o) &&
                      strcmp(o.name, old) == 0 && o.transpose == transposed && there->rank == (o.rank ? o.rank : t.rank) &&
                      (o.third > 0 ? o.third * (int64_t)t.shape[0] : 0) == first &&
                      (o.third >= 0) == (there->shape[0] == 3 * t.shape[0]);
            if (!ok && wrong++ < 5)
                printf("%s: %s\n", t.name, o.name);
            at_free(t.values);
        }
    }
    AT_CHECK_INT(wrong, 0);
    struct at_single_original o;
    AT_CHECK(!at_single_original(f, AT_SINGLE_UNET, &unet, vae.blocks, "time_embedding.cond_proj.weight", &o));
    AT_CHECK(!at_single_original(f, AT_SINGLE_VAE, &unet, vae.blocks, "decoder.layers.1.weight", &o));
    AT_CHECK(!at_single_original(f, AT_SINGLE_VAE, &unet, vae.blocks, "decoder.up_blocks.9.resnets.0.norm1.weight", &o));
    AT_CHECK(!at_single_original(f, AT_SINGLE_TEXT_2, &unet, vae.blocks, "text_model.encoder.layers.0.other.weight", &o));
}

static void check_all(const struct single_model *m, const char *path)
{
    same_originals(m);
    struct at_log *log = capture_start(&capture);
    struct at_model_source *s = at_source_open(log, path, NULL);
    struct at_safetensors *weights[4] = {0};
    if (!AT_CHECK(s)) {
        printf("%s\n", capture.text);
        return;
    }
    for (int i = 0; i < 4; i++)
        if (at_json_present(at_json_get(at_json_get(single_root(m), "weights"), parts[i]))) {
            same_config(m, s, parts[i]);
            weights[i] = at_source_weights(s, parts[i]);
        }
    same_schedule(m, s);
    AT_CHECK_INT(capture.messages, 0);
    at_source_destroy(&s); // weights outlive it
    for (int i = 0; i < 4; i++)
        if (weights[i])
            same_weights(m, weights[i], parts[i]);
    for (int i = 0; i < 4; i++)
        at_safetensors_destroy(&weights[i]);
}

static void tiny_models(void)
{
    static const char *const names[] = {"tiny_sd1", "tiny_sd2", "tiny_sdxl"};
    for (int i = 0; i < 3; i++) {
        struct single_model m;
        if (single_load(&m, names[i], true) && AT_CHECK(single_write(&m, scratch_path("one.safetensors"), NULL, NULL, 0, NULL)))
            check_all(&m, scratch_path("one.safetensors"));
        single_finish(&m);
    }
}

// The header of the whole file, then a hole of so many bytes.
static bool write_hole(const struct single_model *m, const char *path)
{
    struct at_json_doc *doc = at_json_create(NULL, false);
    uint64_t offset = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct single_tensor *t = &m->file[i];
        struct at_json entry = at_json_put_object(at_json_root(doc), t->name);
        at_json_put_str(entry, "dtype", "F16");
        struct at_json shape = at_json_put_array(entry, "shape"), offsets = at_json_put_array(entry, "data_offsets");
        for (int k = 0; k < t->rank; k++)
            at_json_put_int(shape, NULL, (int64_t)t->shape[k]);
        at_json_put_int(offsets, NULL, (int64_t)offset);
        at_json_put_int(offsets, NULL, (int64_t)(offset += 2 * t->elements));
    }
    char *text = at_json_text(doc, false);
    uint64_t length = text ? strlen(text) : 0;
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    bool ok = fd >= 0 && write(fd, &length, 8) == 8 && write(fd, text, length) == (ssize_t)length &&
              ftruncate(fd, (off_t)(8 + length + offset)) == 0;
    if (fd >= 0)
        close(fd);
    at_free(text);
    at_json_destroy(&doc);
    return ok;
}

static void full_sizes(void)
{
    static const char *const names[] = {"sd1", "sd2", "sdxl"};
    for (int i = 0; i < 3; i++) {
        struct single_model m;
        const char *path = scratch_path("hole.safetensors");
        if (single_load(&m, names[i], false) && write_hole(&m, path))
            check_all(&m, path);
        else
            printf("%s: no file of that size here\n", names[i]);
        single_finish(&m);
        (void)unlink(path);
    }
}

int main(void)
{
    scratch_make();
    AT_RUN(tiny_models);
    AT_RUN(full_sizes);
    scratch_remove();
    return at_test_end();
}

// SPDX-License-Identifier: Apache-2.0
#include "tools/picture_file.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "tools/cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define SLUG 48

// A value that holds a comma or colon is quoted, as the web UIs do, so that the list can be taken apart again.
static char *quoted(const char *text)
{
    if (!strpbrk(text, ",:\n\""))
        return at_strdup(text);
    char *out = at_calloc(2 * strlen(text) + 3, 1);
    size_t n = 0;
    if (!out)
        return NULL;
    out[n++] = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text == '\n' ? ' ' : *text;
    }
    out[n] = '"';
    return out;
}

// ", Lora hashes: "a: 0123456789ab, b: ..."", empty without adapters.
static char *lora_hashes(const struct at_loaded *l)
{
    char *text = at_strdup(l->count ? ", Lora hashes: \"" : "");
    for (int i = 0; text && i < l->count; i++) {
        const char *end = i + 1 < l->count ? ", " : "\"";
        char *name = at_lora_label(l->files[i].path);
        char *longer = name ? at_strf("%s%s: %.12s%s", text, name, l->files[i].sha256, end) : NULL;
        at_free(text);
        at_free(name);
        text = longer;
    }
    return text;
}

char *at_picture_parameters(const struct at_picture_note *n)
{
    bool negative = n->negative && n->negative[0];
    char *name = quoted(at_loaded_name(n->loaded)), *hashes = lora_hashes(n->loaded), *text = NULL;
    char *rescale = n->cfg_rescale > 0 ? at_strf(", CFG rescale: %g", n->cfg_rescale) : at_strdup("");
    char *skip = n->clip_skip ? at_strf(", Clip skip: %d", n->clip_skip + 1) : at_strdup(""); // web UIs count from 1
    if (name && hashes && rescale && skip)
        text = at_strf("%s%s%s\nSteps: %d, Sampler: %s%s, CFG scale: %g%s, Seed: %" PRIu64
                       ", Size: %dx%d, Model hash: %.10s, Model: %s%s, Eta: %g%s%s, Version: " AT_VERSION_TEXT,
                       n->prompt, negative ? "\nNegative prompt: " : "", negative ? n->negative : "", n->steps,
                       at_sampler_label(n->sampler), n->karras ? " Karras" : "", n->cfg, rescale, n->seed, n->width, n->height,
                       n->loaded->sha256, name, hashes, n->eta, skip, n->rng == AT_RNG_TORCH ? ", RNG: CPU" : "");
    at_free(name);
    at_free(hashes);
    at_free(rescale);
    at_free(skip);
    return text;
}

char *at_picture_json(struct at_log *log, const struct at_picture_note *n)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return NULL;
    struct at_json root = at_json_root(doc), model, device, loras;
    at_json_put_str(root, "version", AT_VERSION);
    at_json_put_str(root, "prompt", n->prompt);
    if (n->negative) // "" is not the same as none, for SDXL
        at_json_put_str(root, "negative", n->negative);
    at_json_put_int(root, "seed", (int64_t)n->seed);
    at_json_put_str(root, "sampler", at_sampler_names[n->sampler]);
    at_json_put_bool(root, "karras", n->karras);
    at_json_put_int(root, "steps", n->steps);
    at_json_put_num(root, "cfg", n->cfg);
    at_json_put_num(root, "cfg_rescale", n->cfg_rescale);
    at_json_put_num(root, "eta", n->eta);
    at_json_put_str(root, "rng", at_rng_names[n->rng]);
    if (n->latents) {
        struct at_json latents = at_json_put_object(root, "latents");
        at_json_put_str(latents, "path", n->latents);
        at_json_put_int(latents, "index", n->latent);
    }
    at_json_put_int(root, "width", n->width);
    at_json_put_int(root, "height", n->height);
    at_json_put_int(root, "clip_skip", n->clip_skip);
    if (n->original_width) {
        at_json_put_int(root, "original_width", n->original_width);
        at_json_put_int(root, "original_height", n->original_height);
    }
    at_json_put_int(root, "crop_top", n->crop_top);
    at_json_put_int(root, "crop_left", n->crop_left);
    at_json_put_int(root, "vae_tile", n->vae_tile);
    model = at_json_put_object(root, "model");
    at_json_put_str(model, "path", n->loaded->path ? n->loaded->path : "embedded");
    at_json_put_str(model, "unet_sha256", n->loaded->sha256);
    loras = at_json_put_array(root, "loras");
    for (int i = 0; i < n->loaded->count; i++) {
        struct at_json lora = at_json_put_object(loras, NULL);
        at_json_put_str(lora, "path", n->loaded->files[i].path);
        at_json_put_str(lora, "sha256", n->loaded->files[i].sha256);
        at_json_put_float(lora, "scale", n->loaded->files[i].scale);
    }
    device = at_json_put_object(root, "device");
    at_json_put_str(device, "kind", n->dev->kind);
    at_json_put_str(device, "name", n->dev->name);
    char *text = at_json_text(doc, false);
    at_json_destroy(&doc);
    return text;
}

bool at_picture_save(struct at_log *log, const char *path, const struct at_image *image,
                     const struct at_picture_note *note)
{
    char key[2][12] = {"parameters", "attune"};
    struct at_png_text texts[] = {{key[0], at_picture_parameters(note)}, {key[1], at_picture_json(log, note)}};
    bool ok = texts[0].value && texts[1].value ? at_png_write(log, path, image, texts, 2)
                                               : at_fail_memory(log, sizeof(texts));
    at_free(texts[0].value);
    at_free(texts[1].value);
    return ok;
}

bool at_picture_next_number(struct at_log *log, const char *dir, int64_t *number)
{
    char **names;
    size_t count;
    *number = 1;
    if (!at_dir_exists(dir))
        return true;
    if (!at_dir_list(log, dir, &names, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t digits = strspn(names[i], "0123456789");
        int64_t x = 0;
        for (size_t k = 0; k < digits && digits <= 15; k++)
            x = 10 * x + (names[i][k] - '0');
        if (digits && names[i][digits] == '-' && x >= *number)
            *number = x + 1;
    }
    at_names_free(&names, count);
    return true;
}

char *at_picture_name(int64_t number, uint64_t seed, const char *prompt)
{
    char slug[SLUG + 8];
    size_t n = 0, left = strlen(prompt);
    while (left && n < SLUG) {
        uint32_t code;
        size_t step = at_utf8_step(prompt, left, &code);
        bool word = step > 1 || (step == 1 && isalnum((unsigned char)prompt[0]));
        if (word && step == 1)
            slug[n++] = (char)tolower((unsigned char)prompt[0]);
        else if (word)
            memcpy(slug + n, prompt, step), n += step;
        else if (n && slug[n - 1] != '-')
            slug[n++] = '-';
        step += step == 0;
        prompt += step;
        left -= step;
    }
    while (n && slug[n - 1] == '-')
        n--;
    slug[n] = '\0';
    return at_strf("%05" PRId64 "-%" PRIu64 "%s%s.png", number, seed, n ? "-" : "", slug);
}

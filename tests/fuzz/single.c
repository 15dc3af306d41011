// SPDX-License-Identifier: Apache-2.0
// A checkpoint in one file, as names and shapes: a line is NAME SIZE,SIZE,... The first byte: options.
#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "pipelines/source/single_file.h"
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES = 1 << 18 };

static void ignore(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level, (void)text;
}

// One line as an entry of the header; false if it would be no valid one.
static bool put_entry(FILE *f, const char *line, size_t n, uint64_t *offset, bool first)
{
    const char *space = memchr(line, ' ', n);
    uint64_t elements = 1, sizes[8];
    int rank = 0;
    for (size_t i = 0; space && i < (size_t)(space - line); i++)
        if (line[i] < 32 || line[i] > 126 || line[i] == '"' || line[i] == '\\')
            return false;
    for (const char *p = space ? space + 1 : line + n; p < line + n && rank < 8; p++, rank++) {
        for (sizes[rank] = 0; p < line + n && *p >= '0' && *p <= '9' && sizes[rank] <= VALUES; p++)
            sizes[rank] = 10 * sizes[rank] + (uint64_t)(*p - '0');
        elements = sizes[rank] > VALUES || elements > VALUES ? VALUES + 1 : elements * sizes[rank];
    }
    if (!space || elements > VALUES || *offset + 2 * elements > 2 * VALUES)
        return false;
    fprintf(f, "%s\"%.*s\":{\"dtype\":\"F16\",\"shape\":[", first ? "" : ",", (int)(space - line), line);
    for (int i = 0; i < rank; i++)
        fprintf(f, "%s%llu", i ? "," : "", (unsigned long long)sizes[i]);
    fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*offset, (unsigned long long)(*offset + 2 * elements));
    *offset += 2 * elements;
    return true;
}

static char *compose(const char *text, size_t size, size_t *bytes)
{
    char *file = NULL;
    uint64_t offset = 0;
    bool first = true;
    FILE *f = open_memstream(&file, bytes);
    fprintf(f, "xxxxxxxx{");
    for (const char *p = text, *end = text + size; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        first = !put_entry(f, p, n, &offset, first) && first;
        p += n + 1;
    }
    fputc('}', f);
    fflush(f);
    uint64_t length = *bytes - 8;
    for (uint64_t i = 0; i < offset; i++)
        fputc(0, f);
    fclose(f);
    memcpy(file, &length, 8);
    return file;
}

static void look(const struct at_single *s, const char *component)
{
    struct at_json_doc *doc = at_single_component_config(s, component);
    struct at_safetensors *weights = at_single_component_weights(s, component);
    struct at_unet_config unet;
    struct at_vae_config vae;
    struct at_clip_config clip;
    struct at_json root = at_json_root(doc);
    bool ok = component[0] == 'u'   ? at_unet_config_parse(root, &unet)
              : component[0] == 'v' ? at_vae_config_parse(root, &vae)
                                    : at_clip_config_parse(root, &clip);
    (void)ok;
    for (size_t i = 0; weights && i < at_safetensors_count(weights); i++) { // every value can be read, and is zero
        const struct at_st_tensor *t = at_safetensors_at(weights, i);
        for (uint64_t k = 0; k < t->bytes; k++)
            if (t->data[k])
                abort();
    }
    at_safetensors_destroy(&weights);
    at_json_destroy(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_log log = {.write = ignore};
    size_t bytes = 0;
    if (size < 1 || size > 1 << 17)
        return 0;
    char *file = compose((const char *)data + 1, size - 1, &bytes);
    const struct at_source_options options = {.allow_unexpected = data[0] & 1, .prediction = data[0] >> 1 & 3};
    struct at_single *s = at_single_parse(&log, "fuzz", file, bytes, &options);
    if (!s != (log.error != AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    if (s) {
        look(s, "unet"), look(s, "vae"), look(s, "text_encoder"), look(s, "text_encoder_2");
        struct at_schedule *schedule = at_single_noise_schedule(s);
        if (!schedule)
            abort();
        at_schedule_destroy(&schedule);
    }
    at_single_destroy(&s);
    free(file);
    return 0;
}

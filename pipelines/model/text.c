// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/text.h"

#include "core/base/alloc.h"

#include <string.h>

#define LEFT_OUT 200 // bytes of a prompt that a warning quotes

static bool is_pooled(const struct at_model *m)
{
    return m->texts > 1;
}

int at_text_tokens(const struct at_model *m)
{
    const struct at_text_encoder *e = &m->text[0];
    int length = (int)at_clip_tokenizer_length(e->tokenizer);
    return length < e->config.positions ? length : e->config.positions;
}

int at_text_ids(const struct at_model *m)
{
    return m->texts * at_text_tokens(m) + is_pooled(m);
}

size_t at_text_floats(const struct at_model *m)
{
    int width = 0;
    for (int i = 0; i < m->texts; i++)
        width += m->text[i].config.width;
    int pooled = is_pooled(m) ? m->text[m->texts - 1].config.projection : 0;
    return (size_t)at_text_tokens(m) * (size_t)width + (size_t)pooled;
}

static void warn_of_cut(const struct at_model *m, const char *prompt, const struct at_clip_encoding *e)
{
    size_t bytes = strlen(prompt), shown = bytes - e->cut < LEFT_OUT ? bytes - e->cut : LEFT_OUT;
    while (shown < bytes - e->cut && ((unsigned char)prompt[e->cut + shown] & 0xc0) == 0x80)
        shown++; // to the end of a character
    at_warn(m->log, "the prompt has %zu tokens, the model reads %d; left out: \"%.*s\"%s", e->tokens, at_text_tokens(m),
            (int)shown, prompt + e->cut, e->cut + shown < bytes ? "..." : "");
}

bool at_text_tokenize(const struct at_model *m, const char *prompt, int32_t *ids)
{
    size_t bytes = strlen(prompt);
    int length = at_text_tokens(m);
    for (int i = 0; i < m->texts; i++, ids += length) {
        struct at_clip_encoding e;
        if (!at_clip_tokenizer_encode(m->text[i].tokenizer, prompt, bytes, ids, (size_t)length, &e))
            return false;
        if (e.cut < bytes && i == 0) // the others cut alike
            warn_of_cut(m, prompt, &e);
    }
    if (is_pooled(m))
        *ids = at_clip_end(&m->text[m->texts - 1].config, ids - length, length);
    return true;
}

bool at_text_check(const struct at_model *m, const struct at_text_params *params)
{
    int most = m->text[0].config.layers;
    for (int i = 1; i < m->texts; i++)
        most = m->text[i].config.layers < most ? m->text[i].config.layers : most;
    most -= is_pooled(m);
    return (params->clip_skip >= 0 && params->clip_skip <= most) ||
           at_fail(m->log, AT_ERROR_USAGE, "clip skip %d: the text encoder has %d layers to leave out",
                   params->clip_skip, most);
}

bool at_text_embed(struct at_model *m, const char *const *prompts, int n, const struct at_text_params *params,
                   float *rows)
{
    size_t length = (size_t)at_text_ids(m), floats = at_text_floats(m);
    int32_t *ids = at_calloc((size_t)n * length, sizeof(*ids));
    bool ok = ids || at_fail_memory(m->log, (size_t)n * length * sizeof(*ids));
    for (int i = 0; ok && i < n; i++)
        ok = at_text_tokenize(m, prompts[i] ? prompts[i] : "", ids + (size_t)i * length);
    ok = ok && at_text_encode(m, ids, n, params, rows);
    for (int i = 0; ok && i < n; i++)
        if (!prompts[i] && m->zero_empty)
            memset(rows + (size_t)i * floats, 0, floats * sizeof(float));
    at_free(ids);
    return ok;
}

int at_text_inputs(const struct at_model *m, struct at_graph *g, int batch, struct at_node **in)
{
    int n = 0;
    for (; n < m->texts; n++)
        in[n] = at_graph_input(g, "ids", AT_SHAPE(batch, at_text_tokens(m)), AT_I32);
    if (is_pooled(m))
        in[n++] = at_graph_input(g, "end", AT_SHAPE(batch), AT_I32);
    return n;
}

// SDXL reads the state before the last layer, and without the final norm; SD the normed one.
struct at_node *at_text_graph(const struct at_model *m, const struct at_builder *like,
                              const struct at_text_params *params, struct at_node *const *in, struct at_node **pooled)
{
    struct at_node *all = NULL;
    bool two = is_pooled(m);
    *pooled = NULL;
    for (int i = 0; i < m->texts; i++) {
        const struct at_text_encoder *e = &m->text[i];
        struct at_builder b = {.g = like->g, .params = e->params, .replica = like->replica, .gate = like->gate,
                               .adapters = e->adapters, .adapter_count = e->adapter_count};
        struct at_clip_inputs clip = {.ids = in[i], .skip = (params ? params->clip_skip : 0) + two, .raw = two,
                                      .end = two && i == m->texts - 1 ? in[m->texts] : NULL};
        struct at_node *hidden = at_clip_text(&b, &e->config, &clip, pooled);
        all = i ? at_concat(like->g, all, hidden) : hidden;
    }
    return all;
}

int at_text_split(const struct at_model *m, const int32_t *ids, int n, int32_t *store, const void **out)
{
    int length = at_text_tokens(m), row = at_text_ids(m), ports = m->texts + is_pooled(m);
    for (int port = 0; port < ports; port++) {
        int width = port < m->texts ? length : 1;
        out[port] = store;
        for (int i = 0; i < n; i++, store += width)
            memcpy(store, ids + (size_t)i * (size_t)row + (size_t)port * (size_t)length,
                   (size_t)width * sizeof(*store));
    }
    return ports;
}

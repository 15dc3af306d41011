// SPDX-License-Identifier: Apache-2.0
#include "core/models/layers.h"

#include "core/base/alloc.h"
#include "core/models/clip.h"
#include "core/models/unet.h"

#include <stdio.h>
#include <string.h>

#define KEY 600 // bytes of a name

// A name with underscores, after the digit of its component, and whose it is.
struct at_layer_key {
    char *name;
    int layer;
};

const char *at_component_name(enum at_component component)
{
    static const char *const names[AT_COMPONENTS] = {"unet", "text_encoder", "text_encoder_2"};
    return names[component];
}

struct at_layers *at_layers_create(struct at_log *log)
{
    struct at_layers *l = at_calloc(1, sizeof(*l));
    if (l)
        l->log = log;
    else
        at_fail_memory(log, sizeof(*l));
    return l;
}

void at_layers_destroy(struct at_layers **layers)
{
    struct at_layers *l = *layers;
    if (!l)
        return;
    for (int i = 0; i < l->count; i++) {
        at_free(l->list[i].name);
        at_free(l->list[i].original);
    }
    for (int i = 0; i < l->key_count; i++)
        at_free(l->keys[i].name);
    at_free(l->list);
    at_free(l->keys);
    at_index_finish(&l->index);
    at_free(l);
    *layers = NULL;
}

// False: longer than any name is.
static bool key_of(enum at_component component, const char *name, char key[KEY])
{
    int n = snprintf(key, KEY, "%d%s", (int)component, name);
    for (char *c = key; *c; c++)
        *c = *c == '.' ? '_' : *c;
    return n < KEY;
}

static bool add_key(struct at_layers *l, enum at_component component, const char *name)
{
    if (!name)
        return true;
    char text[KEY], *key = key_of(component, name, text) ? at_strdup(text) : NULL;
    if (!key || !at_grow((void **)&l->keys, &l->key_capacity, (size_t)l->key_count + 1, sizeof(*l->keys))) {
        at_free(key);
        return false;
    }
    l->keys[l->key_count++] = (struct at_layer_key){key, l->count - 1};
    return at_index_add(&l->index, l->keys, sizeof(*l->keys), l->key_count);
}

// What a build of a component tells its layers to.
struct listing {
    struct at_layers *layers;
    enum at_component component;
    const struct at_unet_config *unet; // NULL: a text encoder
    bool ok;
};

static void add_layer(void *priv, const char *name, struct at_shape w)
{
    struct listing *list = priv;
    struct at_layers *l = list->layers;
    char *copy = list->ok ? at_strdup(name) : NULL;
    list->ok = copy && at_grow((void **)&l->list, &l->capacity, (size_t)l->count + 1, sizeof(*l->list));
    if (!list->ok) {
        at_free(copy);
        return;
    }
    char text[KEY], *original = NULL;
    bool has = list->unet && at_unet_original_name(list->unet, name, text, sizeof(text));
    if (has)
        list->ok = (original = at_strdup(text));
    struct at_layer *layer = &l->list[l->count++];
    *layer = (struct at_layer){.component = list->component, .name = copy, .out = w.dim[0], .in = w.dim[w.rank - 1],
                               .kernel = w.rank == 4 ? (int)w.dim[1] : 1, .conv = w.rank == 4,
                               .original = original};
    list->ok = list->ok && add_key(l, list->component, layer->name) && add_key(l, list->component, layer->original);
}

// A component is built once, on no device, for its layers to be named.
struct sketch {
    struct listing list;
    struct at_params *params;
    struct at_graph *g;
    struct at_builder b;
};

static bool sketch_begin(struct sketch *s)
{
    s->list.ok = true;
    s->params = at_params_create(s->list.layers->log);
    s->g = at_graph_create(s->list.layers->log);
    s->b = (struct at_builder){.g = s->g, .params = s->params, .layer = add_layer, .layer_priv = &s->list};
    return s->params && s->g;
}

static bool sketch_end(struct sketch *s)
{
    bool ok = s->params && s->g && at_graph_ok(s->g);
    if (ok && !s->list.ok)
        ok = at_fail_memory(s->list.layers->log, sizeof(struct at_layer));
    at_graph_destroy(&s->g);
    at_params_destroy(&s->params);
    return ok;
}

bool at_layers_add_unet(struct at_layers *l, const struct at_unet_config *c)
{
    struct sketch s = {.list = {.layers = l, .component = AT_COMPONENT_UNET, .unet = c}};
    if (sketch_begin(&s)) {
        int side = 1 << (c->blocks - 1);
        struct at_unet_inputs in = {
            .x = at_graph_input(s.g, "x", AT_SHAPE(1, side, side, c->in_channels), AT_F32),
            .t = at_graph_input(s.g, "t", AT_SHAPE(1), AT_F32),
            .context = at_graph_input(s.g, "text", AT_SHAPE(1, 1, c->context[0]), AT_F32),
        };
        if (c->guidance_dim)
            in.guidance = at_graph_input(s.g, "guidance", AT_SHAPE(1, c->guidance_dim), AT_F32);
        if (c->addition_time) {
            in.time_ids = at_graph_input(s.g, "time_ids", AT_SHAPE(1, 6), AT_F32);
            int64_t pooled = c->addition_input - 6 * (int64_t)c->addition_time;
            in.pooled = at_graph_input(s.g, "pooled", AT_SHAPE(1, pooled < 1 ? 1 : pooled), AT_F32);
        }
        at_unet(&s.b, c, &in);
    }
    return sketch_end(&s);
}

bool at_layers_add_text(struct at_layers *l, enum at_component component, const struct at_clip_config *config)
{
    struct sketch s = {.list = {.layers = l, .component = component}};
    struct at_clip_config c = *config;
    c.bare = false;
    if (sketch_begin(&s)) {
        struct at_node *ids = at_graph_input(s.g, "ids", AT_SHAPE(1, 1), AT_I32);
        at_clip_text(&s.b, &c, &(struct at_clip_inputs){.ids = ids}, NULL);
    }
    return sketch_end(&s);
}

const struct at_layer *at_layers_find(const struct at_layers *l, enum at_component component, const char *name)
{
    for (int i = 0; !name && i < l->count; i++)
        if (l->list[i].component == component)
            return &l->list[i];
    char key[KEY];
    int i = name && key_of(component, name, key) ? at_index_find(&l->index, l->keys, sizeof(*l->keys), key) : -1;
    return i < 0 ? NULL : &l->list[l->keys[i].layer];
}

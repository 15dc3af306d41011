// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora.h"

#include "core/base/alloc.h"
#include "pipelines/lora/lora_write.h"

#include <stdio.h>
#include <string.h>

// A half in the layout of a file, as a reader of one would give it.
struct half {
    struct at_st_tensor tensor;
    uint64_t shape[AT_RANK];
    float *values;
};

static bool make_half(const struct at_params *params, const char *layer, const char *end, const float *memory,
                      struct half *out)
{
    char name[AT_LORA_NAME + 32];
    snprintf(name, sizeof(name), "%s%s", layer, end);
    const struct at_param *p = at_params_find(params, name);
    size_t n = p ? (size_t)at_shape_count(p->shape) : 0;
    float *values = p ? at_calloc(n, sizeof(*values)) : NULL;
    if (!values)
        return at_fail_memory(params->log, n * sizeof(*values));
    struct at_shape shape = at_param_file_shape(p);
    at_param_to_file(p, memory + p->offset, values);
    for (int i = 0; i < shape.rank; i++)
        out->shape[i] = (uint64_t)shape.dim[i];
    out->values = values;
    out->tensor = (struct at_st_tensor){.name = p->name, .dtype = AT_ST_F32, .rank = shape.rank, .shape = out->shape,
                                        .elements = n, .data = (const uint8_t *)values, .bytes = n * sizeof(*values),
                                        .file = "adapter"};
    return true;
}

// A text encoder's layers are called as in most checkpoints, whatever its own file has.
static char *id_of(enum at_component component, const char *name)
{
    bool bare = component != AT_COMPONENT_UNET && strncmp(name, "text_model.", 11) != 0;
    return at_strf("%s.%s%s", at_component_name(component), bare ? "text_model." : "", name);
}

static bool fill_part(const struct at_adapter *a, enum at_component component, const float *memory,
                      struct at_lora_layer *list, struct half *halves)
{
    bool ok = true;
    for (int i = 0; ok && i < a->count; i++) {
        struct at_lora_layer *l = &list[i];
        const char *name = a->layers[i].name;
        *l = (struct at_lora_layer){.id = id_of(component, name), .component = component, .rank = a->layers[i].rank,
                                    .alpha = a->layers[i].alpha, .down = &halves[2 * i].tensor,
                                    .up = &halves[2 * i + 1].tensor};
        ok = (l->id || at_fail_memory(a->params->log, strlen(name))) &&
             make_half(a->params, name, ".lora_A.weight", memory, &halves[2 * i]) &&
             make_half(a->params, name, ".lora_B.weight", memory, &halves[2 * i + 1]);
        l->name = ok ? l->id + strlen(at_component_name(component)) + 1 : NULL;
    }
    return ok;
}

// The same with the weights as they are on the device.
static bool read_part(const struct at_adapter *a, enum at_component component, struct at_lora_layer *list,
                      struct half *halves)
{
    float *memory = at_calloc((size_t)a->params->total, sizeof(*memory));
    bool ok = (memory || at_fail_memory(a->params->log, (size_t)a->params->total * sizeof(*memory))) &&
              at_params_read(a->params, memory) && fill_part(a, component, memory, list, halves);
    at_free(memory);
    return ok;
}

bool at_lora_save(const struct at_lora *lora, const char *path, float *const *values)
{
    struct at_lora_data d = {0};
    size_t n = 0, at = 0;
    for (int c = 0; c < AT_COMPONENTS; c++) {
        n += (size_t)lora->part[c].count;
        d.log = lora->part[c].params ? lora->part[c].params->log : d.log;
    }
    struct half *halves = at_calloc(2 * n, sizeof(*halves));
    d.list = at_calloc(n, sizeof(*d.list));
    d.count = (int)n;
    bool ok = (halves && d.list) || at_fail_memory(d.log, n * (sizeof(*d.list) + 2 * sizeof(*halves)));
    for (int c = 0; ok && c < AT_COMPONENTS; at += (size_t)lora->part[c++].count) {
        const struct at_adapter *a = &lora->part[c];
        if (a->params)
            ok = values ? fill_part(a, (enum at_component)c, *values++, d.list + at, halves + 2 * at)
                        : read_part(a, (enum at_component)c, d.list + at, halves + 2 * at);
    }
    ok = ok && at_lora_write(&d, &(struct at_lora_write_params){.path = path, .dialect = AT_LORA_DIFFUSERS});
    for (size_t i = 0; i < n; i++) {
        if (d.list)
            at_free(d.list[i].id);
        for (size_t k = 0; halves && k < 2; k++)
            at_free(halves[2 * i + k].values);
    }
    at_free(d.list);
    at_free(halves);
    return ok;
}

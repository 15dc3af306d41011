// SPDX-License-Identifier: Apache-2.0
// Every key of every dialect for SD 1.x, SD 2.x and SDXL, written and read, against data/lora_keys.json
// (make_lora_keys.py).
// Arguments FAMILY DIALECT print the lines of one hash, as the script does.
#include "core/base/alloc.h"
#include "core/io/sha256.h"
#include "pipelines/lora/lora_names.h"
#include "tests/golden.h"

static const char *const halves[] = {"down", "up", "alpha"};

struct lines {
    char **list;
    size_t count, capacity;
};

static void add(struct lines *l, char *line)
{
    if (AT_CHECK(line && at_grow((void **)&l->list, &l->capacity, l->count + 1, sizeof(*l->list))))
        l->list[l->count++] = line;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void finish(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++)
        at_free(l->list[i]);
    at_free(l->list);
    *l = (struct lines){0};
}

static void layer_lines(const struct at_layers *layers, struct lines *out)
{
    for (int i = 0; i < layers->count; i++) {
        const struct at_layer *l = &layers->list[i];
        add(out, at_strf("%s %s %lld %lld %d %d", at_component_name(l->component), l->name, (long long)l->out,
                         (long long)l->in, l->kernel, l->conv ? 4 : 2));
    }
}

// What is written must read back as the same layer, half and dialect.
static void check_reading(const struct at_layers *layers, const struct at_layer *layer, int half, int dialect,
                          const char *text)
{
    struct at_lora_key key;
    bool same = at_lora_key_parse(text, layers, &key) == AT_LORA_KNOWN && key.layer == layer && (int)key.half == half;
    // One that both dialects write alike is kohya's; the others' alphas have no mark of the dialect beside the prefix.
    bool kohya = dialect == AT_LORA_KOHYA_DIFFUSERS && key.dialect == AT_LORA_KOHYA;
    if (!AT_CHECK(same) || !AT_CHECK((int)key.dialect == dialect || kohya))
        printf("%s is read as %s, %s\n", text, key.name, at_lora_dialect_name(key.dialect));
}

static void key_lines(const struct at_layers *layers, int dialect, struct lines *out)
{
    bool alphas = dialect == AT_LORA_KOHYA || dialect == AT_LORA_KOHYA_DIFFUSERS || dialect == AT_LORA_COMFYUI;
    bool sdxl = at_layers_find(layers, AT_COMPONENT_TEXT_2, NULL);
    for (int i = 0; i < layers->count; i++) {
        const struct at_layer *l = &layers->list[i];
        for (int half = 0; half < 2 + alphas; half++) {
            char *key = at_lora_key_print((enum at_lora_dialect)dialect, layers, l, (enum at_lora_half)half);
            if (dialect == AT_LORA_PEFT && sdxl && l->component != AT_COMPONENT_UNET) {
                at_free(key);
                continue; // two text encoders have the same names, in files of their own
            }
            if (AT_CHECK(key)) {
                check_reading(layers, l, half, dialect, key);
                add(out, at_strf("%s %s %s %s", key, at_component_name(l->component), l->name, halves[half]));
            }
            at_free(key);
        }
    }
}

static void check_hash(const char *family, const char *what, struct lines *l, const cJSON *golden)
{
    struct at_sha256 hash;
    uint8_t digest[32];
    char text[65];
    qsort(l->list, l->count, sizeof(*l->list), by_bytes);
    at_sha256_init(&hash);
    for (size_t i = 0; i < l->count; i++) {
        at_sha256_add(&hash, l->list[i], strlen(l->list[i]));
        at_sha256_add(&hash, "\n", 1);
    }
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, text);
    const cJSON *want = cJSON_GetObjectItem(cJSON_GetObjectItem(golden, family), what);
    const cJSON *count = cJSON_GetObjectItem(want, "count"), *sha = cJSON_GetObjectItem(want, "sha256");
    if (!AT_CHECK(cJSON_IsNumber(count) && cJSON_IsString(sha)))
        return;
    printf("%s %s: %zu lines\n", family, what, l->count);
    AT_CHECK_INT(l->count, count->valueint);
    AT_CHECK_STR(text, sha->valuestring);
}

static void check_family(const cJSON *golden, enum at_family family)
{
    struct at_layers *layers = at_layers_family(NULL, family);
    struct lines l = {0};
    if (!AT_CHECK(layers))
        return;
    layer_lines(layers, &l);
    check_hash(at_family_name(family), "layers", &l, golden);
    finish(&l);
    for (int d = 0; d < AT_LORA_DIALECTS; d++) {
        key_lines(layers, d, &l);
        check_hash(at_family_name(family), at_lora_dialect_words[d], &l, golden);
        finish(&l);
    }
    at_layers_destroy(&layers);
}

// Keys that are read and never written.
static void other_spellings(void)
{
    static const struct {
        const char *key, *id;
        enum at_lora_half half;
        enum at_lora_dialect dialect;
    } keys[] = {
        {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
         "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", AT_LORA_DOWN, AT_LORA_DIFFUSERS_OLD},
        {"mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight",
         "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", AT_LORA_UP, AT_LORA_DIFFUSERS_OLD},
        {"text_encoder.text_model.encoder.layers.3.self_attn.to_k_lora.down.weight",
         "text_encoder.text_model.encoder.layers.3.self_attn.k_proj", AT_LORA_DOWN, AT_LORA_DIFFUSERS_OLD},
        {"text_encoder.text_model.encoder.layers.3.self_attn.to_out_lora.up.weight",
         "text_encoder.text_model.encoder.layers.3.self_attn.out_proj", AT_LORA_UP, AT_LORA_DIFFUSERS_OLD},
        {"text_encoder.encoder.layers.0.mlp.fc1.lora_A.weight", "text_encoder.text_model.encoder.layers.0.mlp.fc1",
         AT_LORA_DOWN, AT_LORA_DIFFUSERS},
        {"base_model.model.encoder.layers.0.mlp.fc1.lora_B.default.weight",
         "text_encoder.text_model.encoder.layers.0.mlp.fc1", AT_LORA_UP, AT_LORA_PEFT},
        {"up_blocks.1.attentions.2.proj_in.lora_A.weight", "unet.up_blocks.1.attentions.2.proj_in", AT_LORA_DOWN,
         AT_LORA_PEFT},
        {"lora_te1_text_model_encoder_layers_11_mlp_fc2.alpha", "text_encoder.text_model.encoder.layers.11.mlp.fc2",
         AT_LORA_ALPHA, AT_LORA_KOHYA},
        {"lora_unet_input_blocks_1_1_proj_in.lora_up.weight", "unet.down_blocks.0.attentions.0.proj_in", AT_LORA_UP,
         AT_LORA_KOHYA},
        {"diffusion_model.output_blocks.5.2.conv.lora_up.weight", "unet.up_blocks.1.upsamplers.0.conv", AT_LORA_UP,
         AT_LORA_COMFYUI},
        {"model.diffusion_model.out.2.lora_down.weight", "unet.conv_out", AT_LORA_DOWN, AT_LORA_COMFYUI},
    };
    struct at_layers *layers = at_layers_family(NULL, AT_FAMILY_SD1);
    for (size_t i = 0; layers && i < sizeof(keys) / sizeof(*keys); i++) {
        struct at_lora_key key;
        char id[AT_LORA_NAME + 32];
        AT_CHECK_INT(at_lora_key_parse(keys[i].key, layers, &key), AT_LORA_KNOWN);
        snprintf(id, sizeof(id), "%s.%s", at_component_name(key.component), key.name);
        AT_CHECK_STR(id, keys[i].id);
        AT_CHECK_INT(key.half, keys[i].half);
        AT_CHECK_INT(key.dialect, keys[i].dialect);
    }
    at_layers_destroy(&layers);
}

static void no_spellings(void)
{
    static const char *const unknown[] = {"", ".alpha", "unet.", "unet..lora_A.weight", "lora_unet_.lora_up.weight",
                                          "unet.mid_block.attentions.7.proj_in.lora_A.weight", "conv_in.weight",
                                          "unet.conv_in.lora_A", "lora_unet_conv_in.lora_down.bias",
                                          "base_model.model.conv_norm_out.lora_A.weight"};
    struct at_layers *layers = at_layers_family(NULL, AT_FAMILY_SD1);
    struct at_lora_key key;
    char longest[2000];
    memset(longest, 'x', sizeof(longest));
    strcpy(longest + sizeof(longest) - 20, ".lora_A.weight");
    for (size_t i = 0; layers && i < sizeof(unknown) / sizeof(*unknown); i++)
        AT_CHECK_INT(at_lora_key_parse(unknown[i], layers, &key), AT_LORA_UNKNOWN);
    AT_CHECK_INT(at_lora_key_parse(longest, layers, &key), AT_LORA_UNKNOWN);
    AT_CHECK_INT(at_lora_key_parse(longest, NULL, &key), AT_LORA_UNKNOWN);
    const char *second = "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha";
    AT_CHECK_INT(at_lora_key_parse(second, layers, &key), AT_LORA_LACKING);
    AT_CHECK_INT(key.component, AT_COMPONENT_TEXT_2);
    at_layers_destroy(&layers);
}

static int print(const char *family, const char *what)
{
    struct lines l = {0};
    for (int f = 0; f < AT_FAMILIES; f++) {
        struct at_layers *layers = strcmp(at_family_name((enum at_family)f), family) == 0
                                       ? at_layers_family(NULL, (enum at_family)f) : NULL;
        if (layers && strcmp(what, "layers") == 0)
            layer_lines(layers, &l);
        for (int d = 0; layers && d < AT_LORA_DIALECTS; d++)
            if (strcmp(what, at_lora_dialect_words[d]) == 0)
                key_lines(layers, d, &l);
        at_layers_destroy(&layers);
    }
    qsort(l.list, l.count, sizeof(*l.list), by_bytes);
    for (size_t i = 0; i < l.count; i++)
        puts(l.list[i]);
    finish(&l);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return print(argv[1], argv[2]);
    cJSON *golden = at_golden_load("lora_keys.json");
    for (int f = 0; golden && f < AT_FAMILIES; f++) {
        at_test_name = at_family_name((enum at_family)f);
        check_family(golden, (enum at_family)f);
    }
    cJSON_Delete(golden);
    AT_RUN(other_spellings);
    AT_RUN(no_spellings);
    return at_test_end();
}

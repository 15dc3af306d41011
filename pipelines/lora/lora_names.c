// SPDX-License-Identifier: Apache-2.0
// Key names: diffusers loaders/lora_base.py, loaders/lora_conversion_utils.py and utils/state_dict_utils.py; sd-scripts
// networks/lora.py; ComfyUI comfy/lora.py; peft utils/save_and_load.py; LyCORIS for what is refused.
#include "pipelines/lora/lora_names.h"

#include "core/base/alloc.h"

#include <stdio.h>
#include <string.h>

const char *const at_lora_dialect_words[AT_LORA_DIALECTS + 1] = {
    "diffusers", "diffusers-old", "kohya", "kohya-diffusers", "comfyui", "peft", NULL};

const char *at_lora_dialect_name(enum at_lora_dialect dialect)
{
    static const char *const names[AT_LORA_DIALECTS] = {
        "diffusers (PEFT)", "diffusers (old)", "kohya", "kohya, diffusers' layer names", "ComfyUI", "PEFT"};
    return names[dialect];
}

static const struct suffix {
    const char *text;
    enum at_lora_half half;
    bool processor; // the word before it is an attention processor's: to_q for the layer to_q, to_out for to_out.0
    bool peft;      // as diffusers writes it today, too
} suffixes[] = {
    {".lora_A.weight", AT_LORA_DOWN, false, true},
    {".lora_B.weight", AT_LORA_UP, false, true},
    {".lora_A.default.weight", AT_LORA_DOWN, false, true},
    {".lora_B.default.weight", AT_LORA_UP, false, true},
    {".lora_down.weight", AT_LORA_DOWN, false, false},
    {".lora_up.weight", AT_LORA_UP, false, false},
    {".lora.down.weight", AT_LORA_DOWN, false, false},
    {".lora.up.weight", AT_LORA_UP, false, false},
    {".lora_linear_layer.down.weight", AT_LORA_DOWN, false, false},
    {".lora_linear_layer.up.weight", AT_LORA_UP, false, false},
    {"_lora.down.weight", AT_LORA_DOWN, true, false},
    {"_lora.up.weight", AT_LORA_UP, true, false},
    {".alpha", AT_LORA_ALPHA, false, true},
};

static const struct prefix {
    const char *text;
    int component; // AT_COMPONENTS: the name of the layer tells
    enum at_lora_dialect dialect;
} prefixes[] = {
    {"lora_unet_", AT_COMPONENT_UNET, AT_LORA_KOHYA},
    {"lora_te_", AT_COMPONENT_TEXT, AT_LORA_KOHYA},
    {"lora_te1_", AT_COMPONENT_TEXT, AT_LORA_KOHYA},
    {"lora_te2_", AT_COMPONENT_TEXT_2, AT_LORA_KOHYA},
    {"diffusion_model.", AT_COMPONENT_UNET, AT_LORA_COMFYUI},
    {"model.diffusion_model.", AT_COMPONENT_UNET, AT_LORA_COMFYUI},
    {"text_encoders.clip_l.transformer.", AT_COMPONENT_TEXT, AT_LORA_COMFYUI},
    {"text_encoders.clip_h.transformer.", AT_COMPONENT_TEXT, AT_LORA_COMFYUI},
    {"text_encoders.clip_g.transformer.", AT_COMPONENT_TEXT_2, AT_LORA_COMFYUI},
    {"unet.", AT_COMPONENT_UNET, AT_LORA_DIFFUSERS},
    {"text_encoder.", AT_COMPONENT_TEXT, AT_LORA_DIFFUSERS},
    {"text_encoder_2.", AT_COMPONENT_TEXT_2, AT_LORA_DIFFUSERS},
    {"base_model.model.", AT_COMPONENTS, AT_LORA_PEFT},
    {"", AT_COMPONENTS, AT_LORA_PEFT},
};

static size_t ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0 ? n - m : 0;
}

// Takes `word` out of the name wherever it stands.
static void cut(char *name, const char *word)
{
    for (char *at; (at = strstr(name, word));)
        memmove(at, at + strlen(word), strlen(at + strlen(word)) + 1);
}

// Puts another end in the place of `end`, if the name has it.
static bool swap_end(char *name, const char *end, const char *put)
{
    size_t n = ends_in(name, end);
    if (!n || n + strlen(put) >= AT_LORA_NAME)
        return false;
    strcpy(name + n, put);
    return true;
}

// Attention processors name their parts as the UNet does, in text encoders too.
static void leave_processor(char *name, bool text)
{
    static const char *const parts[][3] = {{".to_q", ".q_proj", ".to_q"},
                                           {".to_k", ".k_proj", ".to_k"},
                                           {".to_v", ".v_proj", ".to_v"},
                                           {".to_out", ".out_proj", ".to_out.0"}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (swap_end(name, parts[i][0], parts[i][text ? 1 : 2]))
            return;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

// A text encoder's layer with "text_model." in front, as its checkpoint has it; transformers 5 leaves it out.
static void complete(char *name)
{
    char text[AT_LORA_NAME];
    if (starts_with(name, "encoder.") && snprintf(text, sizeof(text), "text_model.%s", name) < (int)sizeof(text))
        strcpy(name, text);
}

// Without a list: what the name itself says.
static enum at_component guess(const char *name)
{
    return starts_with(name, "text_model.") || starts_with(name, "encoder.") || starts_with(name, "text_projection")
               ? AT_COMPONENT_TEXT
               : AT_COMPONENT_UNET;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '.' ? '_' : *a) != (*b == '.' ? '_' : *b))
            return false;
    return *a == *b;
}

// The component that has the layer; `component` AT_COMPONENTS asks all of them.
static enum at_lora_known look_up(struct at_lora_key *key, const struct at_layers *layers, int component)
{
    if (component < AT_COMPONENTS && !at_layers_find(layers, key->component, NULL))
        return AT_LORA_LACKING;
    for (int c = 0; c < AT_COMPONENTS && !key->layer; c++)
        if (component == c || component == AT_COMPONENTS)
            key->layer = at_layers_find(layers, (enum at_component)c, key->name);
    if (!key->layer)
        return AT_LORA_UNKNOWN;
    key->component = key->layer->component;
    if (key->dialect == AT_LORA_KOHYA && key->component == AT_COMPONENT_UNET && key->layer->original &&
        !same_name(key->name, key->layer->original) && at_layers_find(layers, AT_COMPONENT_TEXT_2, NULL))
        key->dialect = AT_LORA_KOHYA_DIFFUSERS;
    snprintf(key->name, sizeof(key->name), "%s", key->layer->name);
    return AT_LORA_KNOWN;
}

enum at_lora_known at_lora_key_parse(const char *text, const struct at_layers *layers, struct at_lora_key *key)
{
    *key = (struct at_lora_key){0};
    const struct suffix *end = NULL;
    const struct prefix *start = prefixes;
    size_t stem = 0;
    for (size_t i = 0; !stem && i < sizeof(suffixes) / sizeof(*suffixes); i++)
        if ((stem = ends_in(text, suffixes[i].text)))
            end = &suffixes[i];
    while (!starts_with(text, start->text))
        start++;
    size_t skip = strlen(start->text);
    if (!stem || stem <= skip || stem - skip >= AT_LORA_NAME)
        return AT_LORA_UNKNOWN;
    snprintf(key->name, sizeof(key->name), "%.*s", (int)(stem - skip), text + skip);
    key->half = end->half;
    key->dialect = start->dialect;
    if (!end->peft && key->dialect != AT_LORA_KOHYA && key->dialect != AT_LORA_COMFYUI)
        key->dialect = AT_LORA_DIFFUSERS_OLD;
    cut(key->name, ".processor");
    key->component = start->component < AT_COMPONENTS ? (enum at_component)start->component : guess(key->name);
    bool unet = key->component == AT_COMPONENT_UNET;
    if (end->processor)
        leave_processor(key->name, !unet);
    if (!unet)
        complete(key->name);
    if (!layers)
        return AT_LORA_KNOWN;
    return look_up(key, layers, start->component);
}

static char *with_underscores(char *text)
{
    for (char *c = text; c && *c; c++)
        *c = *c == '.' ? '_' : *c;
    return text;
}

static char *kohya(const struct at_layers *layers, const struct at_layer *layer, bool diffusers, const char *end)
{
    bool sdxl = at_layers_find(layers, AT_COMPONENT_TEXT_2, NULL);
    static const char *const starts[2][AT_COMPONENTS] = {{"lora_unet_", "lora_te_", "lora_te2_"},
                                                         {"lora_unet_", "lora_te1_", "lora_te2_"}};
    const char *name = sdxl && !diffusers && layer->original ? layer->original : layer->name;
    char *stem = with_underscores(at_strf("%s%s", starts[sdxl][layer->component], name));
    char *key = stem ? at_strf("%s%s", stem, end) : NULL;
    at_free(stem);
    return key;
}

// As transformers 5 names the modules of a CLIPTextModel; its CLIPTextModelWithProjection has kept "text_model.".
static const char *module_name(const struct at_layer *layer)
{
    bool bare = layer->component == AT_COMPONENT_TEXT && starts_with(layer->name, "text_model.");
    return layer->name + (bare ? strlen("text_model.") : 0);
}

static bool is_clip_h(const struct at_layers *layers)
{
    const struct at_layer *first = at_layers_find(layers, AT_COMPONENT_TEXT, NULL);
    return first && first->in == 1024;
}

char *at_lora_key_print(enum at_lora_dialect dialect, const struct at_layers *layers, const struct at_layer *layer,
                        enum at_lora_half half)
{
    static const char *const peft[] = {".lora_A.weight", ".lora_B.weight", ".alpha"};
    static const char *const sd_scripts[] = {".lora_down.weight", ".lora_up.weight", ".alpha"};
    static const char *const old_unet[] = {".lora.down.weight", ".lora.up.weight", ".alpha"};
    static const char *const old_text[] = {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", ".alpha"};
    static const char *const comfy[AT_COMPONENTS] = {"diffusion_model", "text_encoders.clip_l.transformer",
                                                     "text_encoders.clip_g.transformer"};
    static const char clip_h[] = "text_encoders.clip_h.transformer"; // OpenCLIP's H, of SD 2.x
    bool unet = layer->component == AT_COMPONENT_UNET, projection = starts_with(layer->name, "text_projection");
    switch (dialect) {
    case AT_LORA_KOHYA:
    case AT_LORA_KOHYA_DIFFUSERS:
        return kohya(layers, layer, dialect == AT_LORA_KOHYA_DIFFUSERS, sd_scripts[half]);
    case AT_LORA_COMFYUI:
        return at_strf("%s.%s%s", layer->component == AT_COMPONENT_TEXT && is_clip_h(layers) ? clip_h
                                  : comfy[layer->component],
                       unet && layer->original ? layer->original : layer->name, peft[half]);
    case AT_LORA_PEFT:
        return at_strf("base_model.model.%s%s", module_name(layer), peft[half]);
    case AT_LORA_DIFFUSERS_OLD:
        return at_strf("%s.%s%s", at_component_name(layer->component), layer->name,
                       unet || projection ? old_unet[half] : old_text[half]);
    default:
        return at_strf("%s.%s%s", at_component_name(layer->component), layer->name, peft[half]);
    }
}

const char *at_lora_foreign(const char *key)
{
    static const struct {
        const char *part, *kind;
        bool end;
    } signs[] = {
        {"emb_params", "a textual inversion", false},
        {".hada_", "a LoHa (LyCORIS, peft)", false},
        {".lokr_", "a LoKr (LyCORIS, peft)", false},
        {".dora_scale", "a DoRA", true},
        {".lora_magnitude_vector", "a DoRA", false},
        {".on_input", "an (IA)^3", true},
        {".ia3_l", "an (IA)^3", false},
        {".boft_", "a BOFT", false},
        {".oft_", "an OFT", false},
        {".a1.weight", "a GLoRA (LyCORIS)", true},
        {".a2.weight", "a GLoRA (LyCORIS)", true},
        {".b1.weight", "a GLoRA (LyCORIS)", true},
        {".b2.weight", "a GLoRA (LyCORIS)", true},
        {".lora_mid.weight", "a LoCon with a Tucker core (lora_mid)", true},
        {".lora_E", "an AdaLoRA", false},
        {".vera_lambda_", "a VeRA", false},
        {".lora_embedding_", "an adapter of an embedding", false},
        {".lora_B.bias", "a LoRA with a bias", true},
        {".lora_up.bias", "a LoRA with a bias", true},
        {".diff", "a set of differences of whole weights", true},
        {".diff_b", "a set of differences of whole weights", true},
        {".w_norm", "a set of differences of norms", true},
        {".b_norm", "a set of differences of norms", true},
        {"bundle_emb.", "an adapter with textual inversions", false},
        {"_double_blocks_", "an adapter of a transformer model (FLUX, SD3 and the like)", false},
        {"_single_blocks_", "an adapter of a transformer model (FLUX, SD3 and the like)", false},
        {"_joint_blocks_", "an adapter of a transformer model (FLUX, SD3 and the like)", false},
    };
    if (starts_with(key, "transformer.") || starts_with(key, "lora_transformer_"))
        return "an adapter of a transformer model (FLUX, SD3 and the like)";
    for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++)
        if (signs[i].end ? ends_in(key, signs[i].part) != 0 : strstr(key, signs[i].part) != NULL)
            return signs[i].kind;
    return NULL;
}

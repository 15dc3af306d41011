// SPDX-License-Identifier: Apache-2.0
// Adapter files that are odd or wrong: alphas, ranks, halves, names, other kinds of adapters.
#include "core/models/unet.h"
#include "pipelines/lora/lora_data.h"
#include "pipelines/lora/lora_write.h"
#include "tests/unit/capture.h"

#include <string.h>

static struct capture capture;
static struct at_layers *layers;

// A file in the making: tensors of one value.
struct builder {
    struct at_st_item items[16];
    uint64_t shapes[16][4];
    struct at_st_text texts[4];
    size_t count, text_count;
};

static void add(struct builder *b, const char *name, float value, int rank, const uint64_t *shape)
{
    uint64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= b->shapes[b->count][i] = shape[i];
    float *values = at_calloc((size_t)n, sizeof(*values));
    for (uint64_t i = 0; values && i < n; i++)
        values[i] = value;
    b->items[b->count] = (struct at_st_item){.name = name, .dtype = AT_ST_F32, .rank = rank,
                                             .shape = b->shapes[b->count], .data = values};
    b->count++;
}
#define ADD(b, name, value, ...)                                                                                       \
    add(b, name, value, (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)), (uint64_t[]){__VA_ARGS__})

static void text(struct builder *b, const char *key, const char *value)
{
    b->texts[b->text_count++] = (struct at_st_text){key, value};
}

static const char *save(struct builder *b, const char *name)
{
    const char *path = scratch_path(name);
    struct at_st_content content = {b->items, b->count, b->texts, b->text_count};
    AT_CHECK(at_safetensors_write(NULL, path, &content));
    for (size_t i = 0; i < b->count; i++)
        at_free((void *)(uintptr_t)b->items[i].data);
    *b = (struct builder){0};
    return path;
}

static struct at_lora_data *open_file(const char *path)
{
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora_data *d = at_lora_data_open(capture_start(&capture), path, &p);
    if (!AT_CHECK(d))
        printf("%s\n", capture.text);
    return d;
}

static void refused(struct builder *b, const char *part)
{
    const char *path = save(b, "refused.safetensors");
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora_data *d = at_lora_data_open(capture_start(&capture), path, &p);
    AT_CHECK(!d && capture_says(&capture, part));
    at_lora_data_destroy(&d);
}

#define TIME "lora_unet_time_embedding_linear_1"
#define CONV "lora_unet_conv_in"
#define QUERY "lora_te_text_model_encoder_layers_0_self_attn_q_proj"

static void halves(struct builder *b, const char *down, const char *up, uint64_t rank)
{
    ADD(b, down, 0.5f, rank, 320);
    ADD(b, up, 2, 1280, rank);
}

static double scale_of(const struct at_lora_data *d, const char *id)
{
    int i = at_index_find(&d->index, d->list, sizeof(*d->list), id);
    return AT_CHECK(i >= 0) ? (double)d->list[i].alpha / d->list[i].rank : -1;
}

static void alpha_absent_or_0_is_the_rank(void)
{
    struct builder b = {0};
    halves(&b, TIME ".lora_down.weight", TIME ".lora_up.weight", 4);
    ADD(&b, CONV ".lora_down.weight", 1, 2, 4, 3, 3);
    ADD(&b, CONV ".lora_up.weight", 1, 320, 2, 1, 1);
    ADD(&b, CONV ".alpha", 0, 1);
    ADD(&b, QUERY ".lora_down.weight", 1, 8, 768);
    ADD(&b, QUERY ".lora_up.weight", 1, 768, 8);
    add(&b, QUERY ".alpha", 2, 0, NULL);
    struct at_lora_data *d = open_file(save(&b, "alphas.safetensors"));
    if (d) {
        AT_CHECK_INT(d->count, 3);
        AT_CHECK_INT(d->dialect, AT_LORA_KOHYA);
        AT_CHECK_NEAR(scale_of(d, "unet.time_embedding.linear_1"), 1, 0);
        AT_CHECK_NEAR(scale_of(d, "unet.conv_in"), 1, 0);
        AT_CHECK_NEAR(scale_of(d, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"), 0.25, 0);
    }
    at_lora_data_destroy(&d);
}

#define A "unet.time_embedding.linear_1.lora_A.weight"
#define B "unet.time_embedding.linear_1.lora_B.weight"

static double metadata_scale(const char *metadata)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    text(&b, "lora_adapter_metadata", metadata);
    struct at_lora_data *d = open_file(save(&b, "metadata.safetensors"));
    double scale = d ? scale_of(d, "unet.time_embedding.linear_1") : -1;
    at_lora_data_destroy(&d);
    return scale;
}

static void alpha_in_metadata_is_as_peft_reads_it(void)
{
    AT_CHECK_NEAR(metadata_scale("{}"), 1, 0);
    AT_CHECK_NEAR(metadata_scale("{\"text_encoder.r\":4,\"text_encoder.lora_alpha\":9}"), 1, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.r\":4,\"unet.lora_alpha\":6}"), 1.5, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.r\":4}"), 2, 0); // LoraConfig's own alpha is 8
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":0}"), 0, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.r\":4,\"unet.lora_alpha\":6,\"unet.use_rslora\":true}"), 3, 1e-6);
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":6,\"unet.alpha_pattern\":{\"conv_in\":1,\"linear_1\":2}}"),
                  0.5, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":6,\"unet.alpha_pattern\":{\"^linear_1\":2}}"), 1.5, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":6,\"unet.alpha_pattern\":{\"^time_embedding.linear_1\":2}}"),
                  0.5, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":6,\"unet.alpha_pattern\":{\"near_1\":2}}"), 1.5, 0);
    AT_CHECK_NEAR(metadata_scale("{\"unet.lora_alpha\":6,\"unet.alpha_pattern\":{\"time_embedding.linear_1\":2,"
                                 "\"linear_1\":4}}"), 0.5, 0); // the first that matches
}

static void bad_metadata(void)
{
    static const struct {
        const char *metadata, *part;
    } bad[] = {
        {"{", "lora_adapter_metadata"},
        {"[]", NULL},
        {"{\"unet.lora_alpha\":\"four\"}", "unet.lora_alpha"},
        {"{\"unet.lora_alpha\":1e300}", "out of range"},
        {"{\"unet.r\":4,\"unet.use_dora\":true}", "DoRA"},
        {"{\"unet.r\":4,\"unet.peft_type\":\"LOHA\"}", "\"LOHA\" is not supported"},
        {"{\"unet.r\":4,\"unet.lora_bias\":true}", "biases"},
        {"{\"unet.r\":4,\"unet.alpha_pattern\":{\".*linear_1\":2}}", "regular expressions"},
        {"{\"unet.r\":4,\"unet.alpha_pattern\":[1]}", "expected an object"},
        {"{\"unet.r\":4,\"unet.alpha_pattern\":{\"linear_1\":null}}", "alpha_pattern"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct builder b = {0};
        halves(&b, A, B, 4);
        text(&b, "lora_adapter_metadata", bad[i].metadata);
        if (bad[i].part)
            refused(&b, bad[i].part);
        else
            save(&b, "unused.safetensors");
    }
}

static void halves_must_fit(void)
{
    struct builder b = {0};
    ADD(&b, A, 1, 4, 320);
    refused(&b, A " has no other half");
    ADD(&b, A, 1, 4, 320);
    ADD(&b, B, 1, 1280, 3);
    refused(&b, "two halves of different rank");
    ADD(&b, A, 1, 4, 321);
    ADD(&b, B, 1, 1280, 4);
    refused(&b, "the layer takes 320 and gives 1280");
    ADD(&b, A, 1, 4, 320, 3, 3);
    ADD(&b, B, 1, 1280, 4, 1, 1);
    refused(&b, "the layer takes 320 and gives 1280");
    ADD(&b, A, 1, 4, 320);
    ADD(&b, B, 1, 1280);
    refused(&b, "are no halves");
    ADD(&b, A, 1, 0, 320);
    ADD(&b, B, 1, 1280, 0);
    refused(&b, "are no halves");
    ADD(&b, TIME ".alpha", 1, 1);
    refused(&b, "has an alpha but no halves");
    halves(&b, A, B, 4);
    ADD(&b, "unet.time_embedding.linear_1.alpha", 1, 2);
    refused(&b, "is no single number");
    halves(&b, A, B, 4);
    ADD(&b, "unet.time_embedding.linear_1.alpha", NAN, 1);
    refused(&b, "out of range");
    refused(&b, "no tensor is named");
}

static void one_layer_under_two_names(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    halves(&b, TIME ".lora_down.weight", TIME ".lora_up.weight", 4);
    refused(&b, "2 tensors occur under two names");
    halves(&b, TIME ".lora_down.weight", TIME ".lora_up.weight", 4);
    halves(&b, "lora_unet_time_embed_0.lora_down.weight", "lora_unet_time_embed_0.lora_up.weight", 4);
    refused(&b, TIME ".lora_down.weight is lora_unet_time_embed_0.lora_down.weight again");
}

static void unknown_keys_are_listed_and_may_be_left_out(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    ADD(&b, "unet.mid_block.attentions.9.proj_in.lora_A.weight", 1, 4, 4);
    ADD(&b, "strange", 1, 4);
    const char *path = save(&b, "unknown.safetensors");
    struct at_lora_data_params p = {.layers = layers};
    AT_CHECK(!at_lora_data_open(capture_start(&capture), path, &p));
    AT_CHECK(capture_says(&capture, "2 tensors fit no layer"));
    AT_CHECK(strstr(capture.text, "\n  strange\n  unet.mid_block.attentions.9.proj_in.lora_A.weight") != NULL);
    p.ignore_unknown = true;
    struct at_lora_data *d = at_lora_data_open(capture_start(&capture), path, &p);
    AT_CHECK(d && d->count == 1 && d->unknown == 2 && strstr(capture.text, "are left out") != NULL);
    at_lora_data_destroy(&d);
}

static void a_text_encoder_that_is_not_there(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    ADD(&b, "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 1, 2, 1280);
    ADD(&b, "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", 1, 5120, 2);
    const char *path = save(&b, "lacking.safetensors");
    struct at_lora_data_params p = {.layers = layers, .ignore_unknown = true};
    AT_CHECK(!at_lora_data_open(capture_start(&capture), path, &p));
    AT_CHECK(capture_says(&capture, "2 tensors are of the text_encoder_2, which the model lacks"));
    p.drop_missing = true;
    struct at_lora_data *d = at_lora_data_open(capture_start(&capture), path, &p);
    AT_CHECK(d && d->count == 1 && d->lacking == 2 && d->unknown == 0);
    at_lora_data_destroy(&d);
}

static void other_kinds_are_refused_by_name(void)
{
    static const char *const kinds[][2] = {
        {TIME ".hada_w1_a", "LoHa"}, {TIME ".lokr_w1", "LoKr"}, {TIME ".dora_scale", "DoRA"},
        {"unet.conv_in.lora_magnitude_vector.weight", "DoRA"}, {TIME ".on_input", "(IA)^3"},
        {TIME ".oft_blocks", "OFT"}, {TIME ".a1.weight", "GLoRA"}, {CONV ".lora_mid.weight", "Tucker"},
        {"emb_params", "textual inversion"}, {TIME ".diff", "differences of whole weights"},
        {"unet.conv_in.lora_B.bias", "bias"}, {"transformer.x.lora_A.weight", "transformer model"},
        {"lora_unet_double_blocks_0_img_mod_lin.lora_up.weight", "transformer model"},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct builder b = {0};
        halves(&b, A, B, 4);
        ADD(&b, kinds[i][0], 1, 4);
        refused(&b, kinds[i][1]);
    }
}

static void values_must_be_finite(void)
{
    struct builder b = {0};
    ADD(&b, A, NAN, 4, 320);
    ADD(&b, B, 1, 1280, 4);
    struct at_lora_data *d = open_file(save(&b, "nan.safetensors"));
    struct at_lora_write_params p = {.path = scratch_path("out.safetensors"), .dialect = AT_LORA_KOHYA};
    AT_CHECK(d && !at_lora_write(d, &p));
    AT_CHECK(capture_says(&capture, A ": value 0 is not finite"));
    AT_CHECK(!at_file_exists(p.path));
    at_lora_data_destroy(&d);
}

// alpha 0 switches a layer off in peft, and stands for the rank in kohya's files: the weights have to say it there.
static void alpha_0_survives(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    text(&b, "lora_adapter_metadata", "{\"unet.r\":4,\"unet.lora_alpha\":0}");
    struct at_lora_data *d = open_file(save(&b, "off.safetensors"));
    char path[256];
    snprintf(path, sizeof(path), "%s", scratch_path("off-kohya.safetensors"));
    AT_CHECK(d && at_lora_write(d, &(struct at_lora_write_params){.path = path, .dialect = AT_LORA_KOHYA}));
    struct at_lora_data *back = open_file(path);
    float up[1280 * 4];
    if (back && AT_CHECK(at_lora_data_read(back, back->list[0].up, up)))
        AT_CHECK(up[0] == 0 && up[1280 * 4 - 1] == 0);
    at_lora_data_destroy(&back);
    at_lora_data_destroy(&d);
}

static void half_precision(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    struct at_lora_data *d = open_file(save(&b, "f32.safetensors"));
    static const enum at_st_dtype types[] = {AT_ST_F16, AT_ST_BF16, AT_ST_F32};
    for (int i = 0; d && i < 3; i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s", scratch_path("type.safetensors"));
        struct at_lora_write_params p = {.path = path, .dialect = AT_LORA_COMFYUI, .convert = true, .dtype = types[i]};
        AT_CHECK(at_lora_write(d, &p));
        struct at_lora_data *back = open_file(path);
        float down[320 * 4];
        if (back && AT_CHECK(at_lora_data_read(back, back->list[0].down, down)))
            AT_CHECK(back->list[0].down->dtype == types[i] && down[7] == 0.5f);
        at_lora_data_destroy(&back);
    }
    at_lora_data_destroy(&d);
    halves(&b, A, B, 4);
    b.items[1].dtype = AT_ST_F32;
    ((float *)(uintptr_t)b.items[1].data)[3] = 1e6f; // more than f16 holds
    d = open_file(save(&b, "large.safetensors"));
    struct at_lora_write_params p = {.path = scratch_path("large-out.safetensors"), .convert = true,
                                     .dtype = AT_ST_F16};
    AT_CHECK(d && !at_lora_write(d, &p) && strstr(capture.text, "which F16 cannot"));
    AT_CHECK(!at_file_exists(p.path));
    at_lora_data_destroy(&d);
}

static void every_allocation_may_fail(void)
{
    struct builder b = {0};
    halves(&b, A, B, 4);
    text(&b, "lora_adapter_metadata", "{\"unet.r\":4,\"unet.lora_alpha\":2}");
    char path[256], out[256];
    snprintf(path, sizeof(path), "%s", save(&b, "faults.safetensors"));
    snprintf(out, sizeof(out), "%s", scratch_path("faults-out.safetensors"));
    for (size_t n = 1; n < 1000; n++) {
        struct at_log *log = capture_start(&capture);
        at_alloc_fail_at(n, false);
        struct at_lora_data *d = at_lora_data_open(log, path, &(struct at_lora_data_params){.layers = layers});
        bool ok = d && at_lora_write(d, &(struct at_lora_write_params){.path = out, .dialect = AT_LORA_KOHYA});
        bool failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok ? d->list[0].alpha == 2 : log->error != AT_ERROR_NONE);
        AT_CHECK(ok || failed);
        at_lora_data_destroy(&d);
        if (!failed)
            break;
    }
}

// Without memory a layer must not lose the name of the original implementation: then its file would find no layer.
static void layers_keep_their_original_names_or_fail(void)
{
    static const struct at_unet_config config = {
        .in_channels = 4, .out_channels = 4, .blocks = 1, .channels = {4}, .layers = {1}, .transformer_layers = {1},
        .heads = {1}, .context = {4}, .down_attention = {true}, .up_attention = {true}, .has_mid = true, .groups = 2,
        .eps = 1e-5f, .time_dim = 8, .flip_sin_to_cos = true, .downsample_padding = 1};
    int named = -1;
    for (size_t n = 0;; n++) {
        struct at_layers *l = at_layers_create(capture_start(&capture));
        at_alloc_fail_at(n, false);
        bool ok = l && at_layers_add_unet(l, &config), failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(!ok == failed);
        int count = 0;
        for (int i = 0; l && i < l->count; i++)
            count += l->list[i].original != NULL;
        if (n == 0)
            named = count;
        AT_CHECK(!ok || count == named);
        at_layers_destroy(&l);
        if (n && !failed)
            break;
    }
    AT_CHECK(named > 20);
}

int main(void)
{
    scratch_make();
    layers = at_layers_family(capture_start(&capture), AT_FAMILY_SD1);
    if (AT_CHECK(layers)) {
        AT_RUN(alpha_absent_or_0_is_the_rank);
        AT_RUN(alpha_in_metadata_is_as_peft_reads_it);
        AT_RUN(bad_metadata);
        AT_RUN(halves_must_fit);
        AT_RUN(one_layer_under_two_names);
        AT_RUN(unknown_keys_are_listed_and_may_be_left_out);
        AT_RUN(a_text_encoder_that_is_not_there);
        AT_RUN(other_kinds_are_refused_by_name);
        AT_RUN(values_must_be_finite);
        AT_RUN(alpha_0_survives);
        AT_RUN(half_precision);
        AT_RUN(every_allocation_may_fail);
        AT_RUN(layers_keep_their_original_names_or_fail);
    }
    at_layers_destroy(&layers);
    scratch_remove();
    return at_test_end();
}

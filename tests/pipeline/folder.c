// SPDX-License-Identifier: Apache-2.0
// Model folders as users have them: variants, shards, old names, parts that are missing or of another kind.
#include "tests/pipeline/tiny.h"

#define UNET "unet/diffusion_pytorch_model.safetensors"
#define VAE "vae/diffusion_pytorch_model.safetensors"

static struct capture capture;

static const char *in_model(const char *tail)
{
    static char path[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/model/%s", scratch, tail);
    return path[turn];
}

static void copy(const char *from, const char *to)
{
    struct at_map map;
    AT_CHECK(at_file_map(NULL, from, &map) && at_file_replace(NULL, to, map.data, map.size));
    at_file_unmap(&map);
}

// A fresh copy of the tiny model in scratch/model.
static void make(void)
{
    static const char *const files[] = {
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
        "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json", UNET, "vae/config.json", VAE};
    AT_CHECK(at_path_remove(NULL, in_model("")));
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        char from[128], *dir = at_path_dir(in_model(files[i]));
        snprintf(from, sizeof(from), "model/%s", files[i]);
        AT_CHECK(dir && at_dir_make(NULL, dir));
        copy(tiny_path(from), in_model(files[i]));
        at_free(dir);
    }
}

// Whether the model's files are all that is needed.
static bool opens(const struct at_source_options *reading)
{
    struct at_model *m = at_model_open(
        NULL, &(struct at_model_params){.path = in_model(""), .reading = reading, .check = true}, capture_start(&capture));
    bool ok = m;
    at_model_destroy(&m);
    return ok;
}

static bool fails(const struct at_source_options *reading, const char *part)
{
    return !opens(reading) && capture_says(&capture, part);
}

static void move(const char *from, const char *to)
{
    copy(in_model(from), in_model(to));
    AT_CHECK(at_path_remove(NULL, in_model(from)));
}

// model_index.json with one field of other text.
static void set_index(const char *key, const char *value)
{
    struct at_json_doc *old = at_json_load(NULL, tiny_path("model/model_index.json"));
    struct at_json_doc *new = at_json_create(NULL, false), *doc = at_json_parse(NULL, "value", value, strlen(value), NULL);
    for (struct at_json v = at_json_first(at_json_root(old)); v.item; v = at_json_next(v))
        if (strcmp(at_json_key(v), key) != 0)
            at_json_put_copy(at_json_root(new), at_json_key(v), v);
    at_json_put_copy(at_json_root(new), key, at_json_get(at_json_root(doc), "v"));
    AT_CHECK(old && new && doc && at_json_save(new, in_model("model_index.json"), true));
    at_json_destroy(&old);
    at_json_destroy(&new);
    at_json_destroy(&doc);
}

static void entries_of_the_index(void)
{
    make();
    AT_CHECK(opens(NULL));
    set_index("vae", "{\"v\": [null, null]}");
    AT_CHECK(fails(NULL, "field \"vae\": is empty: this model comes without its vae"));
    set_index("vae", "{\"v\": null}");
    AT_CHECK(fails(NULL, "field \"vae\": is empty"));
    set_index("unet", "{\"v\": \"UNet2DConditionModel\"}");
    AT_CHECK(fails(NULL, "field \"unet\": expected the library and the class"));
    set_index("unet", "{\"v\": [\"diffusers\", 3]}");
    AT_CHECK(fails(NULL, "field \"unet\": expected the library and the class"));
    set_index("unet", "{\"v\": [\"diffusers\", \"UNetMotionModel\"]}");
    AT_CHECK(fails(NULL, "field \"unet\": \"UNetMotionModel\" is not supported, only UNet2DConditionModel"));
    set_index("vae", "{\"v\": [\"diffusers\", \"AsymmetricAutoencoderKL\"]}");
    AT_CHECK(fails(NULL, "is not supported, only AutoencoderKL and AutoencoderTiny"));
    set_index("text_encoder", "{\"v\": [\"transformers\", \"T5EncoderModel\"]}");
    AT_CHECK(fails(NULL, "field \"text_encoder\": \"T5EncoderModel\" is not supported"));
    set_index("tokenizer", "{\"v\": [\"transformers\", \"T5Tokenizer\"]}");
    AT_CHECK(fails(NULL, "field \"tokenizer\": \"T5Tokenizer\" is not supported"));
    set_index("_class_name", "{\"v\": \"FluxPipeline\"}");
    AT_CHECK(fails(NULL, "\"FluxPipeline\" is not supported"));
    set_index("safety_checker", "{\"v\": [\"stable_diffusion\", \"StableDiffusionSafetyChecker\"]}");
    AT_CHECK(opens(NULL));
    set_index("image_encoder", "{\"v\": [\"transformers\", \"CLIPVisionModelWithProjection\"]}");
    AT_CHECK(opens(NULL));
    set_index("feature_extractor", "{\"v\": [\"transformers\", \"CLIPImageProcessor\"]}");
    AT_CHECK(opens(NULL));
}

// As the Hugging Face hub and its cache name models.
static void what_is_no_folder_may_be_one_elsewhere(void)
{
    struct at_model_params p = {.path = "stabilityai/stable-diffusion-2-1", .check = true};
    AT_CHECK(!at_model_open(NULL, &p, capture_start(&capture)) && capture_says(&capture, "nothing is downloaded here"));
    make();
    const char *cache = scratch_path("models--a--b");
    AT_CHECK(at_dir_make(NULL, scratch_path("models--a--b/snapshots")));
    AT_CHECK(rename(in_model(""), scratch_path("models--a--b/snapshots/0123")) == 0);
    p.path = cache;
    AT_CHECK(!at_model_open(NULL, &p, capture_start(&capture)));
    AT_CHECK(capture_says(&capture, "this is a cache; the model in it is"));
    AT_CHECK(capture_says(&capture, "models--a--b/snapshots/0123"));
    AT_CHECK(at_path_remove(NULL, cache));
}

static void missing_parts(void)
{
    static const char *const parts[] = {"unet", "vae", "text_encoder", "tokenizer", "scheduler"};
    for (size_t i = 0; i < 5; i++) {
        char message[64];
        snprintf(message, sizeof(message), "%s: there is no such folder", parts[i]);
        make();
        AT_CHECK(at_path_remove(NULL, in_model(parts[i])) && fails(NULL, message));
    }
    make();
    AT_CHECK(at_path_remove(NULL, in_model("unet/config.json")) && fails(NULL, "config.json"));
    make();
    AT_CHECK(at_path_remove(NULL, in_model("model_index.json")) && fails(NULL, "model_index.json: there is no such file"));
    move(UNET, "v1-5-pruned.safetensors");
    AT_CHECK(fails(NULL, "v1-5-pruned.safetensors is a whole checkpoint, give that file"));
    AT_CHECK(at_path_remove(NULL, in_model("")) && fails(NULL, "no such model folder or file"));
}

static void variants(void)
{
    const struct at_source_options bf16 = {.variant = "bf16"}, fp16 = {.variant = "fp16"}, slip = {.variant = "fp61"};
    make();
    move(UNET, "unet/diffusion_pytorch_model.fp16.safetensors");
    AT_CHECK(opens(NULL) && capture.messages == 0); // the one that is tried by itself
    AT_CHECK(opens(&fp16) && strstr(capture.text, "no variant fp16 of these weights; the plain ones are read"));
    AT_CHECK(fails(&slip, "no diffusion_pytorch_model.fp61.safetensors (nor its .index.json), but there are variants: fp16"));
    make();
    move(UNET, "unet/diffusion_pytorch_model.bf16.safetensors");
    copy(in_model(VAE), in_model("unet/diffusion_pytorch_model.non_ema.safetensors"));
    AT_CHECK(fails(NULL, "there are variants: bf16, non_ema; choose with --variant"));
    AT_CHECK(opens(&bf16));
    make(); // the plain weights would not do: it is the variant that is read
    move(UNET, "unet/diffusion_pytorch_model.bf16.safetensors");
    copy(in_model(VAE), in_model(UNET));
    AT_CHECK(opens(&bf16) && fails(NULL, "tensors are not part of this model"));
}

// Every other tensor of the unet in each of two shards.
static void write_shards(const char *index_name)
{
    struct at_safetensors *st = at_safetensors_open(NULL, tiny_path("model/" UNET));
    struct at_st_item items[2][400];
    size_t count[2] = {0};
    struct at_json_doc *index = at_json_create(NULL, false);
    struct at_json map = at_json_put_object(at_json_root(index), "weight_map");
    for (size_t i = 0; i < at_safetensors_count(st); i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        items[i % 2][count[i % 2]++] = (struct at_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank,
                                                           .shape = t->shape, .raw = t->data};
        at_json_put_str(map, t->name, i % 2 ? "diffusion_pytorch_model-00002-of-00002.safetensors"
                                            : "diffusion_pytorch_model-00001-of-00002.safetensors");
    }
    for (int i = 0; i < 2; i++) {
        char name[96];
        snprintf(name, sizeof(name), "unet/diffusion_pytorch_model-0000%d-of-00002.safetensors", i + 1);
        AT_CHECK(at_safetensors_write(NULL, in_model(name), &(struct at_st_content){.items = items[i], .count = count[i]}));
    }
    AT_CHECK(at_json_save(index, in_model(index_name), true) && at_path_remove(NULL, in_model(UNET)));
    at_json_destroy(&index);
    at_safetensors_destroy(&st);
}

static void shards(void)
{
    make();
    write_shards("unet/diffusion_pytorch_model.safetensors.index.json");
    AT_CHECK(opens(NULL));
    AT_CHECK(at_path_remove(NULL, in_model("unet/diffusion_pytorch_model-00002-of-00002.safetensors")));
    AT_CHECK(fails(NULL, "diffusion_pytorch_model-00002-of-00002.safetensors"));
    AT_CHECK(at_path_remove(NULL, in_model("unet/diffusion_pytorch_model.safetensors.index.json")));
    AT_CHECK(fails(NULL, "there are shards, but not their diffusion_pytorch_model.safetensors.index.json"));
    make();
    write_shards("unet/diffusion_pytorch_model.safetensors.index.bf16.json");
    AT_CHECK(opens(&(struct at_source_options){.variant = "bf16"}));
}

static void pickles(void)
{
    static const char *const names[] = {"unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.bin",
                                        "unet/model.ckpt", "unet/weights.pt"};
    for (size_t i = 0; i < 4; i++) {
        make();
        copy(in_model(UNET), in_model(names[i]));
        AT_CHECK(opens(NULL)); // beside safetensors it does no harm
        AT_CHECK(at_path_remove(NULL, in_model(UNET)) && fails(NULL, "can run any code in it"));
        AT_CHECK(strstr(capture.text, names[i]) != NULL);
    }
}

// The tensors of a file with one left out, one added and one renamed; NULL: none.
static void rewrite(const char *file, const char *without, const char *added, const char *from, const char *to)
{
    struct at_safetensors *st = at_safetensors_open(NULL, in_model(file));
    struct at_st_item items[400];
    uint64_t one = 1;
    size_t n = 0;
    for (size_t i = 0; i < at_safetensors_count(st); i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        if (without && strcmp(t->name, without) == 0)
            continue;
        items[n] = (struct at_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .shape = t->shape, .raw = t->data};
        if (from && strcmp(t->name, from) == 0)
            items[n].name = to;
        n++;
    }
    static const float zero[4];
    if (added)
        items[n++] = (struct at_st_item){.name = added, .dtype = AT_ST_F32, .rank = 1, .shape = &one, .data = zero};
    AT_CHECK(at_safetensors_write(NULL, in_model("new"), &(struct at_st_content){.items = items, .count = n}));
    at_safetensors_destroy(&st);
    move("new", file);
}

static void tensors_by_name(void)
{
    const struct at_source_options lenient = {.allow_unexpected = true};
    make();
    rewrite(UNET, "conv_in.bias", NULL, NULL, NULL);
    AT_CHECK(fails(NULL, "1 tensors are missing:\n  conv_in.bias") && !opens(&lenient));
    make();
    rewrite(UNET, NULL, "conv_in.extra", NULL, NULL);
    AT_CHECK(fails(NULL, "1 tensors are not part of this model:\n  conv_in.extra"));
    AT_CHECK(opens(&lenient) && strstr(capture.text, "are not used:\n  conv_in.extra"));
    make();
    rewrite(UNET, "conv_in.bias", "conv_in.bias", NULL, NULL);
    AT_CHECK(fails(NULL, "wrong shape:\n  conv_in.bias is (1), expected (8)") && !opens(&lenient));
}

static void harmless_tensors(void)
{
    static const char *const names[] = {"text_model.embeddings.position_ids", "embeddings.position_ids", "logit_scale",
                                        "text_projection.weight", "vision_model.embeddings.class_embedding"};
    make();
    for (size_t i = 0; i < 5; i++) {
        rewrite("text_encoder/model.safetensors", NULL, names[i], NULL, NULL);
        AT_CHECK(opens(NULL) && capture.messages == 0);
    }
}

// Autoencoders saved by diffusers before 0.17, as SD 1.5's own.
static void old_attention_names(void)
{
    static const char *const places[] = {"encoder", "decoder"};
    static const char *const names[][2] = {{"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    make();
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 2; k++) {
                char from[96], to[96];
                const char *end = k ? "bias" : "weight";
                snprintf(from, sizeof(from), "%s.mid_block.attentions.0.%s.%s", places[p], names[i][0], end);
                snprintf(to, sizeof(to), "%s.mid_block.attentions.0.%s.%s", places[p], names[i][1], end);
                rewrite(VAE, NULL, NULL, from, to);
            }
    AT_CHECK(opens(NULL));
    struct at_model_source *s = at_source_open(capture_start(&capture), in_model(""), NULL);
    struct at_safetensors *now = s ? at_source_weights(s, "vae") : NULL;
    at_source_destroy(&s); // the weights outlive it
    struct at_safetensors *then = at_safetensors_open(NULL, tiny_path("model/" VAE));
    AT_CHECK(now && then && at_safetensors_count(now) == at_safetensors_count(then));
    for (size_t i = 0; now && then && i < at_safetensors_count(then); i++) {
        const struct at_st_tensor *b = at_safetensors_at(then, i), *a = at_safetensors_find(now, b->name);
        AT_CHECK(a && a->bytes == b->bytes && a->rank == b->rank && memcmp(a->data, b->data, a->bytes) == 0);
    }
    at_safetensors_destroy(&now);
    at_safetensors_destroy(&then);
}

static void prediction_is_overridden(void)
{
    make();
    for (int i = 0; i < 4; i++) {
        struct at_model_source *s =
            at_source_open(capture_start(&capture), in_model(""), &(struct at_source_options){.prediction = i});
        struct at_schedule *schedule = s ? at_source_schedule(s) : NULL;
        if (AT_CHECK(schedule))
            AT_CHECK_INT(schedule->config.prediction, i ? i - 1 : AT_PREDICTION_V);
        at_schedule_destroy(&schedule);
        at_source_destroy(&s);
    }
}

int main(void)
{
    scratch_make();
    AT_RUN(entries_of_the_index);
    AT_RUN(what_is_no_folder_may_be_one_elsewhere);
    AT_RUN(missing_parts);
    AT_RUN(variants);
    AT_RUN(shards);
    AT_RUN(pickles);
    AT_RUN(tensors_by_name);
    AT_RUN(harmless_tensors);
    AT_RUN(old_attention_names);
    AT_RUN(prediction_is_overridden);
    scratch_remove();
    return at_test_end();
}

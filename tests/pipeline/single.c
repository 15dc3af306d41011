// SPDX-License-Identifier: Apache-2.0
// Checkpoints in one file: they draw what their folder draws, become one, find their tokenizer, say what they predict; and
// files that are something else.
#include "pipelines/model/model_folder.h"
#include "pipelines/source/source_state.h"
#include "pipelines/source/source_write.h"
#include "tests/golden/single.h"
#include "tests/pipeline/tiny.h"

static struct capture capture;
static struct at_device *dev;
static char small[512]; // a tokenizer's folder
static struct single_model sd1, sd2, sdxl;

static const char *one_file(void)
{
    return scratch_path("one.safetensors");
}

// The table's components as a folder.
static bool write_component(const struct single_model *m, const char *part)
{
    struct at_json rows = at_json_get(at_json_get(single_root(m), "weights"), part);
    size_t n = at_json_count(rows), i = 0;
    struct single_tensor *tensors = at_calloc(n + 1, sizeof(*tensors));
    struct at_st_item *items = at_calloc(n + 1, sizeof(*items));
    char path[512];
    bool text = strncmp(part, "text", 4) == 0;
    for (struct at_json row = at_json_first(rows); tensors && items && row.item; row = at_json_next(row), i++) {
        tensors[i] = single_row(m, row);
        items[i] = single_item(&tensors[i]);
    }
    snprintf(path, sizeof(path), "%s/folder/%s/%s.safetensors", scratch, part, text ? "model" : "diffusion_pytorch_model");
    bool ok = i == n && at_safetensors_write(NULL, path, &(struct at_st_content){.items = items, .count = n});
    for (i = 0; i < n; i++)
        at_free(tensors[i].values);
    at_free(tensors);
    at_free(items);
    return ok;
}

static bool write_config(const struct single_model *m, const char *part)
{
    struct at_json config = at_json_get(at_json_get(single_root(m), "configs"), part);
    struct at_json_doc *doc = at_json_create(NULL, false);
    char path[512];
    for (struct at_json v = at_json_first(config); v.item; v = at_json_next(v))
        at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    snprintf(path, sizeof(path), "%s/folder/%s/%s.json", scratch, part,
             strcmp(part, "scheduler") == 0 ? "scheduler_config" : "config");
    char *dir = at_path_dir(path);
    bool ok = dir && at_dir_make(NULL, dir) && at_json_save(doc, path, true);
    at_free(dir);
    at_json_destroy(&doc);
    return ok;
}

static bool write_folder(const struct single_model *m, bool xl, const char *pad)
{
    static const char *const parts[] = {"unet", "vae", "text_encoder", "text_encoder_2"};
    const char *index = xl ? "{\"_class_name\": \"StableDiffusionXLPipeline\"}" : "{\"_class_name\": \"StableDiffusionPipeline\"}";
    struct at_clip_tokenizer *t[] = {at_clip_tokenizer_load_clip(small, pad, NULL),
                                     at_clip_tokenizer_load_clip(small, "!", NULL)};
    bool ok = t[0] && t[1] && at_path_remove(NULL, scratch_path("folder")) && write_config(m, "scheduler");
    for (int i = 0; ok && i < (xl ? 4 : 3); i++)
        ok = write_config(m, parts[i]) && write_component(m, parts[i]);
    ok = ok && at_clip_tokenizer_save(t[0], scratch_path("folder/tokenizer")) &&
         (!xl || at_clip_tokenizer_save(t[1], scratch_path("folder/tokenizer_2"))) &&
         at_file_replace(NULL, scratch_path("folder/model_index.json"), index, strlen(index));
    at_clip_tokenizer_destroy(&t[0]);
    at_clip_tokenizer_destroy(&t[1]);
    return ok;
}

static struct at_model *open_model(const char *path, const struct at_source_options *reading)
{
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = path, .reading = reading}, capture_start(&capture));
    if (!m)
        printf("%s\n", capture.text);
    return m;
}

#define PIXELS (32 * 32 * 3)

static bool draw(const char *path, float pixels[PIXELS])
{
    const struct at_source_options reading = {.tokenizer = strstr(path, ".safetensors") ? small : NULL};
    struct at_model *m = open_model(path, &reading);
    struct at_sample_item item = {"a red kite! two", "dull", 3};
    struct at_sample_params p = {.items = &item, .count = 1, .steps = 2, .cfg = 3, .width = 32, .height = 32};
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    return ok;
}

// The file draws what its folder draws, and so does the folder that is saved from it.
static void check_drawing(const struct single_model *m, bool xl, const char *pad)
{
    static float pixels[3][PIXELS];
    double spread = 0;
    if (!AT_CHECK(write_folder(m, xl, pad) && single_write(m, one_file(), NULL, NULL, 0, NULL) &&
                  draw(scratch_path("folder"), pixels[0]) && draw(one_file(), pixels[1])))
        return;
    for (int i = 0; i < PIXELS; i++)
        spread = fmax(spread, fabs((double)pixels[0][i] - (double)pixels[0][0]));
    AT_CHECK(spread > 0.05); // not one colour
    AT_CHECK(memcmp(pixels[0], pixels[1], sizeof(pixels[0])) == 0);
    struct at_model *model = open_model(one_file(), &(struct at_source_options){.tokenizer = small});
    struct at_model_folder how = {.dtype = AT_ST_F16};
    AT_CHECK(at_path_remove(NULL, scratch_path("saved")));
    AT_CHECK(model && at_model_folder_save(model, scratch_path("saved"), &how));
    at_model_destroy(&model);
    if (AT_CHECK(draw(scratch_path("saved"), pixels[2])))
        AT_CHECK(memcmp(pixels[0], pixels[2], sizeof(pixels[0])) == 0);
}

static void sd1_draws_as_its_folder(void)
{
    check_drawing(&sd1, false, "<|endoftext|>");
}

static void sd2_draws_as_its_folder(void)
{
    check_drawing(&sd2, false, "!");
}

static void sdxl_draws_as_its_folder(void)
{
    check_drawing(&sdxl, true, "<|endoftext|>");
}

// What is said, and the schedule's prediction and end.
static void predicts(const struct at_source_options *reading, int prediction, bool zero_snr, const char *said)
{
    struct at_log *log = capture_start(&capture);
    log->level = AT_LEVEL_INFO;
    struct at_model_source *s = at_source_open(log, one_file(), reading);
    struct at_schedule *schedule = s ? at_source_schedule(s) : NULL;
    if (AT_CHECK(schedule)) {
        AT_CHECK_INT(schedule->config.prediction, prediction);
        AT_CHECK_INT(schedule->config.zero_snr, zero_snr);
        AT_CHECK(said ? strstr(capture.text, said) != NULL : capture.messages == 0);
    }
    at_schedule_destroy(&schedule);
    at_source_destroy(&s);
}

// --- writing ----------------------------------------------------------------------------------------------------------

static bool write_model(const char *from, const struct at_source_options *reading, struct at_source_write_params p)
{
    struct at_source_options given = reading ? *reading : (struct at_source_options){0};
    if (strstr(from, ".safetensors"))
        given.tokenizer = small;
    struct at_model_source *s = at_source_open(capture_start(&capture), from, &given);
    bool ok = s && at_source_write(s, &p);
    at_source_destroy(&s);
    return ok;
}

// All that a component of both has is the same, bit for bit.
static void same_component(const char *a, const char *b, const char *component)
{
    struct at_source_options given = {.tokenizer = small};
    struct at_model_source *s[2] = {at_source_open(&capture.log, a, &given), at_source_open(&capture.log, b, &given)};
    struct at_safetensors *w[2] = {s[0] ? at_source_weights(s[0], component) : NULL,
                                   s[1] ? at_source_weights(s[1], component) : NULL};
    if (AT_CHECK(w[0] && w[1])) {
        AT_CHECK_INT(at_safetensors_count(w[0]), at_safetensors_count(w[1]));
        for (size_t i = 0; i < at_safetensors_count(w[0]) && i < at_safetensors_count(w[1]); i++) {
            const struct at_st_tensor *x = at_safetensors_at(w[0], i), *y = at_safetensors_at(w[1], i);
            bool same = strcmp(x->name, y->name) == 0 && x->dtype == y->dtype && x->rank == y->rank &&
                        memcmp(x->shape, y->shape, (size_t)x->rank * sizeof(*x->shape)) == 0 &&
                        memcmp(x->data, y->data, (size_t)x->bytes) == 0;
            if (!AT_CHECK(same))
                printf("%s: %s\n", component, x->name);
        }
    }
    for (int i = 0; i < 2; i++) {
        at_safetensors_destroy(&w[i]);
        at_source_destroy(&s[i]);
    }
}

// What the original repository's file has, but for averages and buffers of training, is in ours and of the same shape.
static void has_all_names(const struct single_model *m, const char *path)
{
    struct at_safetensors *st = at_safetensors_open(&capture.log, path);
    int wrong = 0;
    for (size_t i = 0; AT_CHECK(st) && i < m->count; i++) {
        const struct single_tensor *t = &m->file[i];
        const char *const absent[] = {"model_ema.", "betas", "alphas_cumprod", "denoiser."};
        bool left_out = false;
        for (int k = 0; k < 4; k++)
            left_out = left_out || strncmp(t->name, absent[k], strlen(absent[k])) == 0;
        const struct at_st_tensor *have = at_safetensors_find(st, t->name);
        bool same = have && have->rank == t->rank &&
                    memcmp(have->shape, t->shape, (size_t)t->rank * sizeof(*t->shape)) == 0;
        if (left_out ? have != NULL : !same && wrong++ < 5)
            printf("%s: %s\n", t->name, have ? "of another shape" : "missing");
    }
    AT_CHECK_INT(wrong, 0);
    at_safetensors_destroy(&st);
}

static void check_writing(const struct single_model *m, bool xl, const char *pad, const char *architecture)
{
    static float pixels[2][PIXELS];
    char folder[256], one[256], back[256];
    snprintf(folder, sizeof(folder), "%s", scratch_path("folder"));
    snprintf(one, sizeof(one), "%s", scratch_path("written.safetensors"));
    snprintf(back, sizeof(back), "%s", scratch_path("back"));
    AT_CHECK(at_path_remove(NULL, back) && at_path_remove(NULL, one) && write_folder(m, xl, pad));
    AT_CHECK(write_model(folder, NULL, (struct at_source_write_params){.out = one}));
    has_all_names(m, one);
    AT_CHECK(write_model(one, NULL, (struct at_source_write_params){.out = back}));
    static const char *const parts[] = {"unet", "vae", "text_encoder", "text_encoder_2"};
    for (int i = 0; i < (xl ? 4 : 3); i++) {
        same_component(folder, one, parts[i]);
        same_component(folder, back, parts[i]);
    }
    if (AT_CHECK(draw(folder, pixels[0]) && draw(one, pixels[1])))
        AT_CHECK(memcmp(pixels[0], pixels[1], sizeof(pixels[0])) == 0);
    struct at_safetensors *st = at_safetensors_open(NULL, one);
    if (AT_CHECK(st)) {
        AT_CHECK_STR(at_safetensors_metadata(st, "modelspec.architecture"), architecture);
        AT_CHECK_STR(at_safetensors_metadata(st, "modelspec.prediction_type"), "epsilon");
        AT_CHECK_STR(at_safetensors_metadata(st, "modelspec.title"), "written");
        AT_CHECK(!at_safetensors_find(st, "v_pred"));
    }
    at_safetensors_destroy(&st);
    AT_CHECK(!write_model(folder, NULL, (struct at_source_write_params){.out = one}));
    AT_CHECK(capture_says(&capture, "--force"));
    AT_CHECK(write_model(folder, NULL, (struct at_source_write_params){.out = one, .replace = true, .convert = true,
                                                                       .dtype = AT_ST_BF16}));
    st = at_safetensors_open(NULL, one);
    for (size_t i = 0; AT_CHECK(st) && i < at_safetensors_count(st); i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        AT_CHECK(t->dtype == AT_ST_BF16 || strstr(t->name, "position_ids") || strstr(t->name, "logit_scale"));
    }
    at_safetensors_destroy(&st);
}

static void sd1_is_written(void)
{
    check_writing(&sd1, false, "<|endoftext|>", "stable-diffusion-v1");
}

static void sd2_is_written(void)
{
    check_writing(&sd2, false, "!", "stable-diffusion-v2-512");
}

static void sdxl_is_written(void)
{
    check_writing(&sdxl, true, "<|endoftext|>", "stable-diffusion-xl-v1-base");
}

// Files that others converted from diffusers have no last layer of OpenCLIP and no projection: all layers are read.
static void sd2_without_its_last_layer(void)
{
    struct single_model m = sd2;
    m.file = at_calloc(sd2.count, sizeof(*m.file));
    m.count = 0;
    for (size_t i = 0; m.file && i < sd2.count; i++)
        if (!strstr(sd2.file[i].name, ".resblocks.2.") && !strstr(sd2.file[i].name, ".text_projection"))
            m.file[m.count++] = sd2.file[i];
    AT_CHECK(m.file && write_folder(&sd2, false, "!") && single_write(&m, one_file(), NULL, NULL, 0, NULL));
    same_component(scratch_path("folder"), one_file(), "text_encoder");
    at_free(m.file);
}

// What is predicted, and a schedule that ends in noise, come along.
static void marks_are_written(void)
{
    static const float mark[1];
    const struct at_st_item marks[] = {{.name = "v_pred", .dtype = AT_ST_F32, .data = mark},
                                       {.name = "ztsnr", .dtype = AT_ST_F32, .data = mark}};
    char folder[256];
    snprintf(folder, sizeof(folder), "%s", scratch_path("marked"));
    AT_CHECK(single_write(&sdxl, one_file(), NULL, marks, 2, NULL));
    AT_CHECK(write_model(one_file(), NULL, (struct at_source_write_params){.out = folder}));
    AT_CHECK(write_model(folder, NULL, (struct at_source_write_params){.out = one_file(), .replace = true}));
    predicts(NULL, AT_PREDICTION_V, true, "by its key v_pred");
}

static bool same_fields(const char *path, const char *field, const char *value)
{
    struct at_json_doc *old = at_json_load(NULL, path), *doc = old ? at_json_create(NULL, false) : NULL;
    for (struct at_json v = at_json_first(at_json_root(old)); doc && v.item; v = at_json_next(v))
        if (strcmp(at_json_key(v), field) != 0)
            at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    struct at_json_doc *given = at_json_parse(NULL, "value", value, strlen(value), NULL);
    if (doc && given)
        at_json_put_copy(at_json_root(doc), field, at_json_first(at_json_root(given)));
    bool ok = doc && given && at_json_save(doc, path, true);
    at_json_destroy(&given);
    at_json_destroy(&doc);
    at_json_destroy(&old);
    return ok;
}

// What a file cannot say is refused by name, and nothing is written.
static void what_a_file_cannot_say(void)
{
    static const struct {
        const char *file, *field, *value, *said;
    } changes[] = {
        {"unet/config.json", "attention_head_dim", "[4]", "attention_head_dim of the unet is not what readers"},
        {"unet/config.json", "norm_eps", "[0.001]", "the config of the unet is not"},
        {"vae/config.json", "scaling_factor", "[0.5]", "scaling_factor of the vae"},
        {"text_encoder/config.json", "hidden_act", "[\"gelu\"]", "write a folder instead"},
        {"scheduler/scheduler_config.json", "beta_end", "[0.02]", "the noise schedule is not that of SD 1.x"},
        {"scheduler/scheduler_config.json", "prediction_type", "[\"sample\"]", "the prediction (sample)"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/folder/%s", scratch, changes[i].file);
        AT_CHECK(write_folder(&sd1, false, "<|endoftext|>") && same_fields(path, changes[i].field, changes[i].value));
        AT_CHECK(!write_model(scratch_path("folder"), NULL,
                              (struct at_source_write_params){.out = scratch_path("refused.safetensors")}));
        AT_CHECK(capture_says(&capture, changes[i].said));
        AT_CHECK(!at_file_exists(scratch_path("refused.safetensors")));
    }
}

static size_t left_over(const char *part)
{
    char **names;
    size_t n = 0, left = 0;
    AT_CHECK(at_dir_list(NULL, scratch, &names, &n));
    for (size_t i = 0; i < n; i++)
        left += strstr(names[i], part) != NULL;
    at_names_free(&names, n);
    return left;
}

static bool stop(void *priv, double done)
{
    double *last = priv;
    AT_CHECK(done >= *last && done <= 1);
    *last = done;
    return false;
}

static void nothing_is_left_of_what_stops(void)
{
    static const char *const outs[] = {"stopped", "stopped.safetensors"};
    AT_CHECK(write_folder(&sdxl, true, "<|endoftext|>"));
    for (int i = 0; i < 2; i++) {
        double last = 0;
        AT_CHECK(!write_model(scratch_path("folder"), NULL,
                              (struct at_source_write_params){.out = scratch_path(outs[i]), .progress = stop, .priv = &last}));
        AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
        AT_CHECK(last > 0);
        AT_CHECK_INT(left_over("stopped"), 0);
    }
}

static struct at_model_source *tested;

static bool write_once(void)
{
    struct at_log quiet = {.write = at_log_drop};
    tested->log = &quiet;
    return at_source_write(tested, &(struct at_source_write_params){.out = scratch_path("fault-out.safetensors"), .replace = true});
}

static void writing_survives_allocation_faults(void)
{
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, NULL));
    tested = at_source_open(capture_start(&capture), one_file(), &(struct at_source_options){.tokenizer = small});
    struct at_log quiet = {.write = at_log_drop};
    for (size_t n = 1; AT_CHECK(tested) && n < 20000; n = n < 40 ? n + 1 : n * 5 / 4) {
        at_alloc_fail_at(n, false);
        bool ok = write_once();
        bool failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok || failed);
        AT_CHECK_INT(left_over("fault-out"), ok);
        AT_CHECK(at_path_remove(&quiet, scratch_path("fault-out.safetensors")));
        if (!failed)
            break;
    }
    if (tested)
        tested->log = &quiet;
    at_source_destroy(&tested);
}

// --- reading what is not as it should be --------------------------------------------------------------------------------

static bool fails(const char *path, const struct at_source_options *reading, const char *part)
{
    struct at_model *m = at_model_open(NULL, &(struct at_model_params){.path = path, .reading = reading, .check = true},
                                       capture_start(&capture));
    bool opened = m;
    at_model_destroy(&m);
    return !opened && capture_says(&capture, part);
}

static void tokenizers(void)
{
    char merges[600], none[] = "/nonexistent";
    struct at_model_source *s;
    struct at_clip_tokenizer *t;
    const struct at_source_options given[] = {{.tokenizer = small}, {.tokenizer = merges}};
    snprintf(merges, sizeof(merges), "%s/merges.txt", small);
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, NULL) && unsetenv("ATTUNE_TOKENIZER") == 0);
    AT_CHECK(fails(one_file(), NULL, "a single file has no tokenizer"));
    AT_CHECK(fails(one_file(), &(struct at_source_options){.tokenizer = none}, none));
    AT_CHECK(fails(one_file(), &(struct at_source_options){.tokenizer = scratch}, "holds no tokenizer"));
    for (int i = 0; i < 3; i++) { // a folder, a list of merges alone, the environment
        AT_CHECK(i < 2 || setenv("ATTUNE_TOKENIZER", small, 1) == 0);
        s = at_source_open(capture_start(&capture), one_file(), i < 2 ? &given[i] : NULL);
        t = s ? at_source_tokenizer(s, "tokenizer") : NULL;
        if (AT_CHECK(t)) {
            AT_CHECK_INT(at_clip_tokenizer_size(t), 837);
            AT_CHECK_INT(at_clip_tokenizer_pad(t), 0);
        }
        at_clip_tokenizer_destroy(&t);
        at_source_destroy(&s);
    }
    // Beside the file comes before the environment.
    AT_CHECK(setenv("ATTUNE_TOKENIZER", none, 1) == 0 && fails(one_file(), NULL, none));
    AT_CHECK((t = at_clip_tokenizer_load_clip(small, "!", NULL)) && at_clip_tokenizer_save(t, scratch_path("tokenizer")));
    at_clip_tokenizer_destroy(&t);
    s = at_source_open(capture_start(&capture), one_file(), NULL);
    AT_CHECK(s && (t = at_source_tokenizer(s, "tokenizer")));
    at_clip_tokenizer_destroy(&t);
    at_source_destroy(&s);
    AT_CHECK(at_path_remove(NULL, scratch_path("tokenizer")) && unsetenv("ATTUNE_TOKENIZER") == 0);
}

static void predictions(void)
{
    static const float mark[1];
    const struct at_st_item marks[] = {{.name = "v_pred", .dtype = AT_ST_F32, .data = mark},
                                       {.name = "ztsnr", .dtype = AT_ST_F32, .data = mark}};
    const struct at_st_text v = {"modelspec.prediction_type", "v"}, epsilon = {"modelspec.prediction_type", "epsilon"},
                            kind = {"modelspec.architecture", "stable-diffusion-v2-768-v"};
    struct single_tensor *norm = NULL;
    for (size_t i = 0; i < sd2.count; i++)
        if (strstr(sd2.file[i].name, "output_blocks.3.1.transformer_blocks.0.norm1.bias"))
            norm = &sd2.file[i];
    AT_CHECK(norm && single_write(&sd1, one_file(), NULL, NULL, 0, NULL));
    predicts(NULL, AT_PREDICTION_EPSILON, false, NULL); // all SD 1.x do
    AT_CHECK(single_write(&sd1, one_file(), NULL, marks, 1, NULL));
    predicts(NULL, AT_PREDICTION_V, false, "by its key v_pred");
    AT_CHECK(single_write(&sd1, one_file(), NULL, marks, 2, NULL));
    predicts(NULL, AT_PREDICTION_V, true, "by its key v_pred");
    predicts(&(struct at_source_options){.prediction = 1 + AT_PREDICTION_SAMPLE}, AT_PREDICTION_SAMPLE, true, NULL);
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, NULL));
    predicts(NULL, AT_PREDICTION_EPSILON, false, "--prediction v_prediction if pictures are noise");
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, &kind));
    predicts(NULL, AT_PREDICTION_V, false, "modelspec.architecture");
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, &v));
    predicts(NULL, AT_PREDICTION_V, false, "modelspec.prediction_type");
    for (uint64_t i = 0; norm && i < norm->elements; i++) // wide, as in SD 2.1
        norm->values[i] = at_f16_from_f32(i % 2 ? 0.2f : -0.2f);
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, NULL));
    predicts(NULL, AT_PREDICTION_V, false, "--prediction epsilon if pictures are noise");
    AT_CHECK(single_write(&sd2, one_file(), NULL, NULL, 0, &epsilon));
    predicts(NULL, AT_PREDICTION_EPSILON, false, "modelspec.prediction_type");
    if (norm) {
        at_free(norm->values);
        single_fill(norm, 1);
    }
}

static void unexpected_and_missing(void)
{
    static const float zero[1];
    const struct at_st_item more[] = {
        {.name = "model.diffusion_model.input_blocks.1.0.extra.weight", .dtype = AT_ST_F32, .data = zero},
        {.name = "some.thing", .dtype = AT_ST_F32, .data = zero}};
    const struct at_source_options plain = {.tokenizer = small}, lenient = {.tokenizer = small, .allow_unexpected = true};
    AT_CHECK(single_write(&sd1, one_file(), NULL, more, 2, NULL));
    AT_CHECK(fails(one_file(), &plain, "2 tensors are no part of SD 1.x:\n  model.diffusion_model.input_blocks.1.0.extra"));
    struct at_model *m = open_model(one_file(), &lenient);
    AT_CHECK(m && strstr(capture.text, "some.thing"));
    at_model_destroy(&m);
    AT_CHECK(single_write(&sd1, one_file(), "middle_block.1.transformer_blocks.0.attn1.to_q", NULL, 0, NULL));
    AT_CHECK(fails(one_file(), &lenient, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"));
    AT_CHECK(single_write(&sd1, one_file(), "decoder.conv_in", NULL, 0, NULL));
    AT_CHECK(fails(one_file(), &lenient, "decoder.conv_in"));
}

// Names that belong to other things than a whole checkpoint, and what is said of them.
static void other_files(void)
{
    static const struct {
        const char *names[3], *said;
    } files[] = {
        {{"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "x.alpha"}, "an adapter (LoRA), not a model"},
        {{"unet.down_blocks.0.attentions.0.to_q.lora_A.weight"}, "give it with --lora FILE"},
        {{"encoder.down.0.block.0.conv1.weight", "decoder.conv_in.weight"}, "an autoencoder alone"},
        {{"first_stage_model.decoder.conv_in.weight"}, "an autoencoder alone"},
        {{"model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"}, "without its text encoder"},
        {{"model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer.x"}, "without its autoencoder"},
        {{"model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.0.model.ln_final.bias", "first_stage_model.x"}, "a refiner of SDXL"},
        {{"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"}, "Stable Diffusion 3"},
        {{"double_blocks.0.img_attn.qkv.weight"}, "FLUX"},
        {{"control_model.input_hint_block.0.bias"}, "a ControlNet"},
        {{"emb_params"}, "textual inversion"},
        {{"edm_mean", "model.diffusion_model.input_blocks.0.0.weight"}, "Playground"},
        {{"down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight"}, "give the folder with model_index.json"},
        {{"model.diffusion_model.transformer.x"}, "a denoiser of a kind that attune does not know"},
        {{"a", "b"}, "no checkpoint of Stable Diffusion that attune knows (2 tensors, the first is \"a\")"},
        {{NULL}, "holds no tensors"},
    };
    static const float zero[1];
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        struct at_st_item items[3];
        size_t n = 0;
        for (; n < 3 && files[i].names[n]; n++)
            items[n] = (struct at_st_item){.name = files[i].names[n], .dtype = AT_ST_F32, .data = zero};
        AT_CHECK(at_safetensors_write(NULL, one_file(), &(struct at_st_content){.items = items, .count = n}));
        AT_CHECK(fails(one_file(), NULL, files[i].said));
    }
}

static void other_shapes_and_types(void)
{
    static const struct {
        uint64_t channels;
        const char *said;
    } inputs[] = {{9, "an inpainting model"}, {8, "InstructPix2Pix"}, {7, "an upscaler"}, {5, "a depth model"}};
    static float zero[32 * 9 * 9];
    const char *conv = "model.diffusion_model.input_blocks.0.0.weight";
    for (int i = 0; i < 4; i++) {
        uint64_t shape[] = {32, inputs[i].channels, 3, 3};
        struct at_st_item item = {.name = conv, .dtype = AT_ST_F32, .rank = 4, .shape = shape, .data = zero};
        AT_CHECK(single_write(&sd1, one_file(), conv, &item, 1, NULL) && fails(one_file(), NULL, inputs[i].said));
    }
    uint64_t shape[] = {32, 4, 3, 3};
    struct at_st_item item = {.name = conv, .dtype = AT_ST_F8_E4M3, .rank = 4, .shape = shape, .raw = zero};
    AT_CHECK(single_write(&sd1, one_file(), conv, &item, 1, NULL));
    AT_CHECK(fails(one_file(), NULL, "1 weights are stored as F8_E4M3"));
    uint64_t odd[] = {191};
    item = (struct at_st_item){.name = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias", .dtype = AT_ST_F32,
                               .rank = 1, .shape = odd, .data = zero};
    AT_CHECK(single_write(&sd2, one_file(), "resblocks.0.attn.in_proj_bias", &item, 1, NULL));
    AT_CHECK(fails(one_file(), NULL, "no multiple of 3"));
    uint64_t kernel[] = {64, 64, 3, 3};
    static float wide[64 * 64 * 9];
    item = (struct at_st_item){.name = "first_stage_model.decoder.mid.attn_1.q.weight", .dtype = AT_ST_F32, .rank = 4,
                               .shape = kernel, .data = wide};
    AT_CHECK(single_write(&sd1, one_file(), "decoder.mid.attn_1.q.weight", &item, 1, NULL));
    AT_CHECK(fails(one_file(), NULL, "has a kernel larger than 1"));
}

static void damaged_files(void)
{
    struct at_map map;
    AT_CHECK(single_write(&sd1, one_file(), NULL, NULL, 0, NULL) && at_file_map(NULL, one_file(), &map));
    AT_CHECK(at_file_replace(NULL, scratch_path("cut.safetensors"), map.data, map.size / 2));
    at_file_unmap(&map);
    AT_CHECK(fails(scratch_path("cut.safetensors"), NULL, "it is cut short or damaged"));
    static const struct {
        const char *bytes;
        size_t size;
        const char *said;
    } files[] = {{"", 0, "no .safetensors file"}, {"hello, world\n", 13, "no .safetensors file and no model folder"},
                 {"PK\3\4archive/data.pkl", 20, "a pickle"}, {"\x80\2}q\1X\5\0\0\0", 10, "can run any code in it"},
                 {"GGUF\3\0\0\0\0\0", 10, "a GGUF file"}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        AT_CHECK(at_file_replace(NULL, scratch_path("other.ckpt"), files[i].bytes, files[i].size));
        AT_CHECK(fails(scratch_path("other.ckpt"), NULL, files[i].said));
    }
}

static bool open_once(void)
{
    struct at_log quiet = {.write = at_log_drop};
    struct at_model_source *s = at_source_open(&quiet, scratch_path("fault.safetensors"), NULL);
    struct at_safetensors *st = s ? at_source_weights(s, "text_encoder_2") : NULL;
    struct at_json_doc *config = st ? at_source_config(s, "text_encoder_2") : NULL;
    bool ok = config;
    at_json_destroy(&config);
    at_safetensors_destroy(&st);
    at_source_destroy(&s);
    return ok;
}

// Transposed copies and all; a file of a few tensors, as every allocation fails once.
static void memory_runs_out(void)
{
    static const char *const kept[] = {"embedders.1.model.", "input_blocks.0.", "embedders.0.transformer.text_model.final",
                                       "decoder.conv_in"};
    struct single_model few = sdxl;
    few.file = at_calloc(sdxl.count, sizeof(*few.file));
    few.count = 0;
    for (size_t i = 0; few.file && i < sdxl.count; i++)
        for (int k = 0; k < 4; k++)
            if (strstr(sdxl.file[i].name, kept[k])) {
                few.file[few.count++] = sdxl.file[i];
                break;
            }
    AT_CHECK(single_write(&few, scratch_path("fault.safetensors"), NULL, NULL, 0, NULL));
    fail_each_allocation(open_once);
    at_free(few.file);
}

int main(void)
{
    const char *golden = getenv("AT_TEST_GOLDEN");
    snprintf(small, sizeof(small), "%s/clip_small", golden ? golden : "tests/golden/data");
    scratch_make();
    dev = tiny_device(capture_start(&capture), 2);
    if (single_load(&sd1, "tiny_sd1", true) && single_load(&sd2, "tiny_sd2", true) && single_load(&sdxl, "tiny_sdxl", true)) {
        AT_RUN(sd1_draws_as_its_folder);
        AT_RUN(sd2_draws_as_its_folder);
        AT_RUN(sdxl_draws_as_its_folder);
        AT_RUN(sd1_is_written);
        AT_RUN(sd2_is_written);
        AT_RUN(sdxl_is_written);
        AT_RUN(sd2_without_its_last_layer);
        AT_RUN(marks_are_written);
        AT_RUN(what_a_file_cannot_say);
        AT_RUN(nothing_is_left_of_what_stops);
        AT_RUN(writing_survives_allocation_faults);
        AT_RUN(tokenizers);
        AT_RUN(predictions);
        AT_RUN(unexpected_and_missing);
        AT_RUN(other_files);
        AT_RUN(other_shapes_and_types);
        AT_RUN(damaged_files);
        AT_RUN(memory_runs_out);
    }
    single_finish(&sd1);
    single_finish(&sd2);
    single_finish(&sdxl);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}

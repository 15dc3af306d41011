// SPDX-License-Identifier: Apache-2.0
// Training runs with the tiny model: how they begin, stop, go on and fail.
#include "tests/pipeline/tiny.h"

#include "core/io/image.h"
#include "core/io/safetensors.h"
#include "pipelines/model/model_folder.h"
#include "pipelines/train/checkpoint.h"

static struct capture capture;
static struct at_device *dev;

static bool run_dpo(const struct at_train_dpo_params *p)
{
    return at_train_dpo(dev, p, capture_start(&capture));
}

static void begins_at_ln_2(void)
{
    struct at_train_dpo_params lora = tiny_dpo(scratch_path("lora"), 2), full = tiny_dpo(scratch_path("full"), 2);
    full.full = true;
    full.held_out = lora.held_out = 0.3;
    AT_CHECK(run_dpo(&lora));
    AT_CHECK_NEAR(tiny_metric(lora.train.run, 1, "loss"), 0.693147181, 1e-9); // of nine digits
    AT_CHECK_NEAR(tiny_metric(lora.train.run, 1, "margin"), 0, 0);
    AT_CHECK_NEAR(tiny_metric(lora.train.run, 1, "accuracy"), 0.5, 0);
    AT_CHECK(run_dpo(&full));
    AT_CHECK_NEAR(tiny_metric(full.train.run, 1, "loss"), 0.69314718, 1e-6);
    AT_CHECK_NEAR(tiny_metric(full.train.run, 1, "accuracy"), 0.5, 0);
    AT_CHECK(tiny_metric(full.train.run, 2, "loss") != tiny_metric(full.train.run, 1, "loss"));
    AT_CHECK(at_file_exists(scratch_path("lora/held_out.json")));
    AT_CHECK(at_file_exists(scratch_path("full/unet/diffusion_pytorch_model.safetensors")));
}

// 2 + 2 steps are 4 steps, bit for bit.
static void goes_on_where_it_stopped(bool full, const char *whole, const char *halves)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path(whole), 4), b = tiny_dpo(scratch_path(halves), 2);
    a.full = b.full = full;
    AT_CHECK(run_dpo(&a) && run_dpo(&b));
    b.train.steps = 4;
    b.train.resume = true;
    AT_CHECK(run_dpo(&b));
    char x[256], y[256];
    snprintf(x, sizeof(x), "%s/checkpoint-000004/state.safetensors", a.train.run);
    snprintf(y, sizeof(y), "%s/checkpoint-000004/state.safetensors", b.train.run);
    AT_CHECK(tiny_same_files(x, y));
    AT_CHECK(tiny_same_metrics(a.train.run, b.train.run));
}

// Whatever the device rounds frozen weights to.
static void the_reference_is_what_the_policy_begins_as(void)
{
    dev->weights = AT_WEIGHTS_BF16;
    struct at_train_dpo_params p = tiny_dpo(scratch_path("rounded"), 1);
    p.full = true;
    AT_CHECK(at_train_dpo(dev, &p, &capture.log));
    AT_CHECK_NEAR(tiny_metric(scratch_path("rounded"), 1, "loss"), 0.69314718, 1e-6);
    AT_CHECK_NEAR(tiny_metric(scratch_path("rounded"), 1, "margin"), 0, 1e-9);
    dev->weights = AT_WEIGHTS_STORED;
}

static void resumes_an_adapter(void)
{
    goes_on_where_it_stopped(false, "a1", "a2");
}

static void resumes_all_weights(void)
{
    goes_on_where_it_stopped(true, "f1", "f2");
}

static void note_step(void *priv, int64_t step, int64_t steps, const char *line)
{
    (void)steps, (void)line;
    *(bool *)priv = step > 0;
}

static bool is_set(void *priv)
{
    return *(bool *)priv;
}

static void an_interrupt_saves(void)
{
    bool stop = false;
    struct at_train_dpo_params p = tiny_dpo(scratch_path("stopped"), 5);
    p.train.progress = note_step;
    p.train.interrupted = is_set;
    p.train.priv = &stop;
    AT_CHECK(!run_dpo(&p));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
    AT_CHECK_INT(at_checkpoint_newest(p.train.run, NULL), 1);
}

static void an_interrupt_while_data_are_read_leaves_nothing(void)
{
    bool stop = true;
    struct at_train_dpo_params p = tiny_dpo(scratch_path("early"), 5);
    p.train.interrupted = is_set;
    p.train.priv = &stop;
    AT_CHECK(!run_dpo(&p));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
    AT_CHECK(!at_dir_exists(p.train.run));
}

static void refuses_the_wrong_run(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("lora"), 3);
    AT_CHECK(!run_dpo(&p)); // the folder holds a run
    AT_CHECK_INT(capture.log.error, AT_ERROR_USAGE);
    p.train.resume = true;
    p.train.seed = 6;
    AT_CHECK(!run_dpo(&p) && capture_says(&capture, "seed"));
    p = tiny_dpo(scratch_path("nothing"), 3);
    p.train.resume = true;
    AT_CHECK(!run_dpo(&p) && capture_says(&capture, "no checkpoint"));
}

static void a_coin_is_another_label(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("coin1"), 3), b = tiny_dpo(scratch_path("coin2"), 3);
    struct at_train_dpo_params plain = tiny_dpo(scratch_path("plain"), 3);
    a.coin = b.coin = true;
    AT_CHECK(run_dpo(&a) && run_dpo(&b) && run_dpo(&plain));
    AT_CHECK(tiny_same_metrics(a.train.run, b.train.run));
    AT_CHECK(!tiny_same_metrics(a.train.run, plain.train.run));
}

static void accumulated_batches_are_one_batch(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("acc1"), 2), b = tiny_dpo(scratch_path("acc2"), 2);
    a.train.batch = 4;
    b.train.accumulate = 2;
    AT_CHECK(run_dpo(&a) && run_dpo(&b));
    AT_CHECK_NEAR(tiny_metric(a.train.run, 2, "loss"), tiny_metric(b.train.run, 2, "loss"), 1e-4);
    AT_CHECK_NEAR(tiny_metric(a.train.run, 2, "grad_norm") / tiny_metric(b.train.run, 2, "grad_norm"), 1, 1e-3);
}

static void a_cache_changes_nothing(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("cache1"), 2), b = tiny_dpo(scratch_path("cache2"), 2);
    a.cache = b.cache = scratch_path("latents");
    AT_CHECK(run_dpo(&a));
    struct at_train_dpo_params warm = tiny_dpo(scratch_path("cache3"), 2);
    warm.cache = a.cache;
    AT_CHECK(run_dpo(&warm));
    AT_CHECK(tiny_same_metrics(a.train.run, warm.train.run));
    char **names = NULL;
    size_t count = 0, moments = 0, hidden = 0;
    AT_CHECK(at_dir_list(NULL, a.cache, &names, &count) && count > 0);
    for (size_t i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", a.cache, names[i]);
        struct at_safetensors *st = at_safetensors_open(NULL, path);
        moments += st && at_safetensors_find(st, "moments");
        hidden += st && at_safetensors_find(st, "hidden");
        at_safetensors_destroy(&st);
        if (i % 3 == 0)
            AT_CHECK(at_file_replace(NULL, path, "broken", 6));
    }
    AT_CHECK(moments > 1 && hidden > 1 && moments + hidden == count);
    at_names_free(&names, count);
    AT_CHECK(run_dpo(&b)); // the broken ones are computed anew, in other company: equal but for rounding
    AT_CHECK_NEAR(tiny_metric(b.train.run, 2, "policy_win"), tiny_metric(a.train.run, 2, "policy_win"), 1e-5);
}

// Winner and loser share noise, timestep, caption and mirroring: pictures that differ by a shade of one pixel have all but
// the same error.
static void a_pair_shares_its_draws(void)
{
    struct at_image image = {0};
    AT_CHECK(at_image_read(&capture.log, tiny_path("pictures/red-ball-poor.png"), 3, &image));
    AT_CHECK(at_png_write(&capture.log, scratch_path("one.png"), &image, NULL, 0));
    image.pixels[100] ^= 1;
    AT_CHECK(at_png_write(&capture.log, scratch_path("other.png"), &image, NULL, 0));
    at_image_finish(&image);
    const char *text = "{\"prompt\": \"a red ball\", \"win\": \"one.png\", \"lose\": \"other.png\"}\n";
    AT_CHECK(at_file_replace(NULL, scratch_path("twins.jsonl"), text, strlen(text)));
    char pairs[256];
    snprintf(pairs, sizeof(pairs), "%s", scratch_path("twins.jsonl"));
    struct at_train_dpo_params p = tiny_dpo(scratch_path("twins"), 12);
    p.pairs = pairs;
    p.train.batch = 1;
    p.sample_posterior = false; // its noise is each picture's own
    p.caption_dropout = 0.5;
    AT_CHECK(run_dpo(&p));
    double least = INFINITY, most = 0;
    for (int i = 1; i <= 12; i++) {
        double win = tiny_metric(p.train.run, i, "policy_win"), lose = tiny_metric(p.train.run, i, "policy_lose");
        AT_CHECK_NEAR(lose / win, 1, 1e-3);
        least = fmin(least, win);
        most = fmax(most, win);
    }
    AT_CHECK(most / least > 1.05); // the draws themselves differ from step to step
}

static void metrics_are_as_many_as_steps(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("kept"), 5);
    p.train.save_every = 1;
    p.train.keep = 2;
    p.held_out = 0.5;
    p.train.optimizer.ema = 0.5;
    AT_CHECK(run_dpo(&p));
    AT_CHECK(!isnan(tiny_metric(p.train.run, 5, "loss")) && isnan(tiny_metric(p.train.run, 6, "loss")));
    AT_CHECK(!at_dir_exists(scratch_path("kept/checkpoint-000003")));
    AT_CHECK(at_dir_exists(scratch_path("kept/checkpoint-000004")));
    AT_CHECK(at_file_exists(scratch_path("kept/checkpoint-000005/pytorch_lora_weights.safetensors")));
}

static double held_out_margin(const char *run)
{
    char path[512];
    double margin = NAN;
    snprintf(path, sizeof(path), "%s/held_out.json", run);
    struct at_json_doc *doc = at_json_load(NULL, path);
    if (!doc || !at_json_num(at_json_root(doc), "margin", NAN, &margin))
        margin = NAN;
    at_json_destroy(&doc);
    return margin;
}

// held_out.json speaks of the weights in the folder. An average that hardly moves is the reference: no margin.
static void held_out_measures_what_is_saved(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("live"), 4), b = tiny_dpo(scratch_path("average"), 4);
    a.held_out = b.held_out = 0.5;
    a.train.lr = b.train.lr = 1e-2;
    b.train.optimizer.ema = 0.999999;
    AT_CHECK(run_dpo(&a) && run_dpo(&b));
    AT_CHECK(fabs(held_out_margin(a.train.run)) > 1e-2);
    AT_CHECK_NEAR(held_out_margin(b.train.run), 0, 1e-3);
    AT_CHECK(tiny_same_metrics(a.train.run, b.train.run)); // measuring changed nothing
}

static void threads_do_not_matter(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("two"), 3), b = tiny_dpo(scratch_path("alone"), 3);
    AT_CHECK(run_dpo(&a));
    struct at_device *two = dev;
    dev = tiny_device(&capture.log, 1);
    AT_CHECK(run_dpo(&b));
    at_device_close(&dev);
    dev = two;
    AT_CHECK_NEAR(tiny_metric(a.train.run, 3, "policy_win"), tiny_metric(b.train.run, 3, "policy_win"), 1e-5);
    AT_CHECK_NEAR(tiny_metric(a.train.run, 3, "loss"), tiny_metric(b.train.run, 3, "loss"), 1e-3);
}

// --- bad input --------------------------------------------------------------------------------------------------------

// All messages of the last run, one after the other.
static char said[4096];

static void listen(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    size_t used = strlen(said);
    snprintf(said + used, sizeof(said) - used, "%s\n", text);
}

static enum at_error run_listening(const struct at_train_dpo_params *p)
{
    struct at_log log = {.level = AT_LEVEL_WARN, .write = listen};
    said[0] = 0;
    return at_train_dpo(dev, p, &log) ? AT_ERROR_NONE : log.error;
}

static void says(const char *part)
{
    if (!AT_CHECK(strstr(said, part) != NULL))
        printf("\"%s\" is not in: %s", part, said);
}

static void pairs_are_named_by_line(void)
{
    struct at_image small = {0};
    AT_CHECK(at_image_init(&capture.log, &small, 16, 32, 3) &&
             at_png_write(&capture.log, scratch_path("small.png"), &small, NULL, 0));
    at_image_finish(&small);
    const char *good = tiny_path("pictures/red-ball-good.png"), *poor = tiny_path("pictures/red-ball-poor.png");
    char text[4096];
    snprintf(text, sizeof(text),
             "{\"prompt\": \"a\", \"win\": \"%s\", \"lose\": \"%s\"}\n"
             "{\"prompt\": \"a\", \"win\": \"%s\", \"lose\": \"nowhere.png\"}\n"
             "{\"prompt\": \"a\", \"win\": \"small.png\", \"lose\": \"%s\"}\n"
             "{\"prompt\": \"a\", \"win\": \"%s\", \"lose\": \"copy.png\"}\n",
             good, poor, good, poor, good);
    struct at_image copy = {0};
    AT_CHECK(at_image_read(&capture.log, good, 3, &copy) &&
             at_png_write(&capture.log, scratch_path("copy.png"), &copy, NULL, 0));
    at_image_finish(&copy);
    AT_CHECK(at_file_replace(NULL, scratch_path("bad.jsonl"), text, strlen(text)));
    char pairs[256];
    snprintf(pairs, sizeof(pairs), "%s", scratch_path("bad.jsonl"));
    struct at_train_dpo_params p = tiny_dpo(scratch_path("bad"), 1);
    p.pairs = pairs;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("bad.jsonl:2");
    says("nowhere.png");
    says("bad.jsonl:3");
    says("same size");
    says("bad.jsonl:4");
    says("the same picture");
    AT_CHECK(strstr(said, "bad.jsonl:1:") == NULL);
    AT_CHECK(!at_dir_exists(p.train.run));
}

// A copy of the tiny model in the scratch folder.
static const char *model_copy(const char *name)
{
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    const char *dir = scratch_path(name);
    struct at_model_folder how = {.dtype = AT_ST_F32};
    AT_CHECK(m && at_model_folder_save(m, dir, &how));
    at_model_destroy(&m);
    return dir;
}

static void weights_that_are_not_numbers_are_named(void)
{
    char path[512];
    size_t size;
    const char *dir = model_copy("nan");
    snprintf(path, sizeof(path), "%s/unet/diffusion_pytorch_model.safetensors", dir);
    struct at_safetensors *file = at_safetensors_open(&capture.log, path);
    const struct at_st_tensor *t = file ? at_safetensors_find(file, "mid_block.resnets.0.conv1.weight") : NULL;
    char *text = tiny_text(path, &size);
    if (AT_CHECK(t && text && t->dtype == AT_ST_F16)) {
        char *at = memmem(text, size, t->data, (size_t)t->bytes);
        AT_CHECK(at != NULL);
        memcpy(at + 6, "\x00\x7e", 2);
        at_safetensors_destroy(&file);
        AT_CHECK(at_file_replace(NULL, path, text, size));
        struct at_train_dpo_params p = tiny_dpo(scratch_path("nanrun"), 1);
        p.model = dir;
        AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
        says("mid_block.resnets.0.conv1.weight");
        says("unet/diffusion_pytorch_model.safetensors");
    }
    at_free(text);
    at_safetensors_destroy(&file);
}

static void bad_settings_are_refused(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("settings"), 1);
    p.train.batch = 0;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_USAGE);
    says("batch 0");
    p = tiny_dpo(scratch_path("settings"), 1);
    p.size = 33;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_USAGE);
    says("size 33");
    p = tiny_dpo(scratch_path("settings"), 1);
    p.held_out = 0.999999;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("hold out fewer");
    static const char *const nothing[] = {"no_such_layer", NULL};
    p = tiny_dpo(scratch_path("settings"), 1);
    p.lora.targets = nothing;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_USAGE);
    says("no_such_layer");
    AT_CHECK(!at_dir_exists(p.train.run));
}

static void broken_checkpoints_are_named(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("broken"), 1);
    char path[512];
    size_t size;
    AT_CHECK(run_dpo(&p));
    p.train.resume = true;
    p.train.steps = 2;
    p.lora.rank = 4; // another shape than the checkpoint's
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("\"lora\" had other names or shapes");
    p.lora.rank = 2;
    p.train.lr = 2e-3;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_NONE);
    says("learning rate was 0.001");
    snprintf(path, sizeof(path), "%s/checkpoint-000002/state.safetensors", p.train.run);
    char *text = tiny_text(path, &size);
    AT_CHECK(text && at_file_replace(NULL, path, text, size / 2));
    at_free(text);
    p.train.steps = 3;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("checkpoint-000002/state.safetensors");
    says("to go on from step 1");
    AT_CHECK(!isnan(tiny_metric(p.train.run, 2, "loss"))); // what was there stays
}

static void edited_settings_are_reported(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("edited"), 1);
    struct at_json_doc *doc = at_json_create(&capture.log, false);
    at_json_put_num(at_json_root(doc), "caption_dropout", 0.3);
    at_json_put_str(at_json_root(doc), "model", "tiny");
    p.train.config = at_json_root(doc);
    AT_CHECK(run_dpo(&p));
    at_json_destroy(&doc);
    doc = at_json_create(&capture.log, false);
    at_json_put_num(at_json_root(doc), "caption_dropout", 0.1);
    at_json_put_str(at_json_root(doc), "model", "tiny");
    p.train.config = at_json_root(doc);
    p.train.resume = true;
    p.train.steps = 2;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_NONE);
    says("\"caption_dropout\" was 0.3, and is 0.1 now");
    AT_CHECK(strstr(said, "\"model\"") == NULL);
    at_json_destroy(&doc);
}

// The checkpoint of step 2 with one text in its state exchanged, as long as it was.
static void spoil_state(const char *run, const char *file, const char *from, const char *to, size_t n)
{
    char path[512];
    size_t size;
    snprintf(path, sizeof(path), "%s/checkpoint-000002/%s", run, file);
    char *text = tiny_text(path, &size), *at = text ? memmem(text, size, from, n) : NULL;
    if (AT_CHECK(at != NULL)) {
        memcpy(at, to, n);
        AT_CHECK(at_file_replace(NULL, path, text, size));
        memcpy(at, from, n);
    }
    at_free(text);
}

static void damaged_checkpoints_are_refused(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("damaged"), 2);
    char path[512];
    p.train.save_every = 1;
    AT_CHECK(run_dpo(&p));
    p.train.resume = true;
    p.train.steps = 1;
    AT_CHECK_INT(run_listening(&p), AT_ERROR_USAGE);
    says("step 2 is done already");
    p.train.steps = 3;
    spoil_state(p.train.run, "state.json", "\"step\":\t2", "\"step\":\t7", 9);
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("is of step 7");
    spoil_state(p.train.run, "state.json", "\"step\":\t7", "\"step\":\t2", 9);
    // A weight that is not finite: the last four bytes.
    snprintf(path, sizeof(path), "%s/checkpoint-000002/state.safetensors", p.train.run);
    FILE *f = fopen(path, "r+b");
    AT_CHECK(f && fseek(f, -4, SEEK_END) == 0 && fwrite("\xff\xff\xff\xff", 4, 1, f) == 1 && fclose(f) == 0);
    AT_CHECK_INT(run_listening(&p), AT_ERROR_INPUT);
    says("not finite");
    says("remove that folder to go on from step 1");
    AT_CHECK(at_path_remove(NULL, scratch_path("damaged/checkpoint-000002")));
    // Names that are not of checkpoints are passed over.
    AT_CHECK(at_dir_make(NULL, scratch_path("damaged/checkpoint-999")));
    AT_CHECK(at_file_replace(NULL, scratch_path("damaged/checkpoint-000009"), "", 0));
    AT_CHECK_INT(at_checkpoint_newest(p.train.run, NULL), 1);
    AT_CHECK_INT(run_listening(&p), AT_ERROR_NONE);
    AT_CHECK_INT(at_checkpoint_newest(p.train.run, NULL), 3);
}

int main(void)
{
    dev = tiny_device(capture_start(&capture), 2);
    scratch_make();
    AT_RUN(begins_at_ln_2);
    AT_RUN(the_reference_is_what_the_policy_begins_as);
    AT_RUN(resumes_an_adapter);
    AT_RUN(resumes_all_weights);
    AT_RUN(an_interrupt_saves);
    AT_RUN(an_interrupt_while_data_are_read_leaves_nothing);
    AT_RUN(refuses_the_wrong_run);
    AT_RUN(a_coin_is_another_label);
    AT_RUN(accumulated_batches_are_one_batch);
    AT_RUN(a_cache_changes_nothing);
    AT_RUN(a_pair_shares_its_draws);
    AT_RUN(metrics_are_as_many_as_steps);
    AT_RUN(held_out_measures_what_is_saved);
    AT_RUN(threads_do_not_matter);
    AT_RUN(pairs_are_named_by_line);
    AT_RUN(weights_that_are_not_numbers_are_named);
    AT_RUN(bad_settings_are_refused);
    AT_RUN(broken_checkpoints_are_named);
    AT_RUN(edited_settings_are_reported);
    AT_RUN(damaged_checkpoints_are_refused);
    scratch_remove();
    at_device_close(&dev);
    return at_test_end();
}

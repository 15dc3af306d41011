// SPDX-License-Identifier: Apache-2.0
// attune train base: a denoiser and its text encoders, all weights; or an adapter.
#include "tools/adapter_option.h"
#include "tools/models.h"
#include "tools/train_command.h"
#include "tools/train_options.h"

#define LR_ALL 1.5e-3
#define LR_ADAPTER 1e-4

struct base {
    struct at_train_base_params params;
    struct at_source_options reading;
    struct at_adapter_choice adapter;
    struct at_train_job job;
    struct at_options *options;
};

// An adapter begins with a model that knows much: what suits random weights does not suit it.
static void set_adapter_defaults(struct base *b)
{
    const struct at_options *o = b->options;
    struct at_train_params *t = &b->params.train;
    t->steps = at_options_given(o, "steps") ? t->steps : 1000;
    t->batch = at_options_given(o, "batch") ? t->batch : 4;
    t->optimizer.ema = at_options_given(o, "ema") ? t->optimizer.ema : 0;
    t->schedule.warmup = at_options_given(o, "warmup") ? t->schedule.warmup : 0;
    b->job.schedule = at_options_given(o, "lr-schedule") ? b->job.schedule : AT_LR_CONSTANT;
    b->params.data.size = at_options_given(o, "size") ? b->params.data.size : 0;
}

static bool complete(void *priv, struct at_log *log)
{
    struct base *b = priv;
    struct at_train_base_params *p = &b->params;
    if (at_adapter_given(&b->adapter) && !b->adapter.lora.rank && !b->adapter.lora.file)
        return at_fail(log, AT_ERROR_USAGE, "--alpha, --target, --text-encoder and --text-lr are of an adapter: ask for one with --rank N, or go on "
                       "with one by --lora FILE; without, all weights are trained");
    if (!at_adapter_complete(&b->adapter, log))
        return false;
    p->lora = b->adapter.lora;
    p->train.text_lr = b->adapter.text_lr;
    p->adapter = at_adapter_given(&b->adapter);
    if (p->adapter)
        p->model = at_model_word(p->model);
    else if (!p->model)
        return at_fail(log, AT_ERROR_USAGE, "attune train base needs --model MODEL: a folder with configs, tokenizer and "
                       "a trained autoencoder");
    if (p->train.lr == 0)
        p->train.lr = p->adapter ? LR_ADAPTER : LR_ALL;
    if (p->adapter)
        set_adapter_defaults(b);
    return true;
}

static bool start(struct at_device *dev, const void *priv, struct at_log *log)
{
    return at_train_base(dev, &((const struct base *)priv)->params, log);
}

static void add_options(struct at_options *o, struct base *b)
{
    struct at_train_base_params *p = &b->params;
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &p->model, "MODEL",
         "folder with configs, tokenizer and a trained autoencoder; for an adapter a whole model, also in one file",
         .zero = "the embedded model, for an adapter"},
        {"batch", 'b', AT_OPTION_INT, &p->train.batch, "N", "pictures a batch", .min = 1, .max = 4096},
        {"pretrained", 0, AT_OPTION_FLAG, &p->pretrained, NULL,
         "begin with MODEL's weights instead of random ones (an adapter always does)"},
        {"views", 0, AT_OPTION_INT, &p->views, "N", "latents kept a picture", .min = 1, .max = 100000},
        {"caption-dropout", 0, AT_OPTION_REAL, &p->caption_dropout, "X", "share of captions replaced by nothing",
         .min = 0, .max = 1},
        {0},
    };
    at_options_add(o, rows);
    at_adapter_options(o, &b->adapter);
    at_reading_options(o, &b->reading);
    at_picture_options(o, &p->data);
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune train base",
        .summary = "a denoiser and its text encoders, all weights; or an adapter",
        .synopsis = "-o RUN -m MODEL [-d FOLDER] [options]",
        .about = "MODEL holds the configs, the tokenizer and the trained autoencoder (the result of attune train vae). "
                 "The last part of the decay brings most of the gain: choose --steps first, and run to the end. With "
                 "--rank or --lora an adapter of the denoiser (LoRA) is trained, on MODEL's own weights, which stay as "
                 "they are; --text-encoder adapts what reads the captions as well. RUN gets pytorch_lora_weights.safetensors. The defaults are "
                 "then --steps 1000, --batch 4, --lr 1e-4, --lr-schedule constant without --warmup, no --ema, and "
                 "pictures of the model's size.",
        .example = "  attune train vae -o runs/vae --steps 1500\n"
                   "  attune train base -m runs/vae -o runs/base --steps 12000\n"
                   "  attune train base -m v1-5.safetensors --tokenizer clip -d pictures -o runs/style --rank 16 \\\n"
                   "      --steps 800 --save-every 200\n"
                   "  attune train base -m sdxl -d pictures -o runs/word --rank 8 --text-encoder --text-lr 5e-5\n"
                   "  attune train base -m v1-5.safetensors --tokenizer clip -d more -o runs/more \\\n"
                   "      --lora runs/style/pytorch_lora_weights.safetensors --steps 200\n",
    };
    struct base b = {.adapter = {.no_rank = "no adapter: all weights are trained"}, .params = {
        .views = 48,
        .caption_dropout = 0.1,
        .data = {.size = 32},
        .train = {
            .steps = 12000,
            .batch = 32,
            .accumulate = 1,
            .schedule = {.kind = AT_LR_COSINE, .warmup = 100, .floor = 0.03},
            .optimizer = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01, .clip = 1, .ema = 0.997},
        },
    }};
    b.params.reading = &b.reading;
    b.job = (struct at_train_job){.cli = cli, .method = "base", .params = &b, .train = &b.params.train,
                                  .complete = complete, .start = start, .lr_default = "1.5e-3; 1e-4 of an adapter"};
    struct at_options *o = b.options = at_options_create(&usage, &cli->log);
    if (o) {
        add_options(o, &b);
        at_train_options(o, &b.job);
    }
    bool ok = at_train_run(&b.job, o, argc, argv);
    at_adapter_choice_finish(&b.adapter);
    return ok;
}

const struct at_command at_command_train_base = {"base", "a denoiser and text encoders: all weights, or an adapter", run};

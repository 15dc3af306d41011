// SPDX-License-Identifier: Apache-2.0
// attune train dpo: Diffusion-DPO from preference pairs.
#include "tools/adapter_option.h"
#include "tools/models.h"
#include "tools/train_command.h"
#include "tools/train_options.h"

#include "core/base/alloc.h"
#include "core/io/file.h"

#define LR_LORA 5e-4
#define LR_FULL 2e-5
#define CFG_EMBEDDED 4

struct dpo {
    struct at_train_dpo_params params;
    struct at_source_options reading;
    struct at_adapter_choice adapter;
    char *shipped; // pairs beside the embedded model
};

static void add_options(struct at_options *o, struct dpo *d)
{
    struct at_train_dpo_params *p = &d->params;
    const struct at_option rows[] = {
        {"data", 'd', AT_OPTION_TEXT, &p->pairs, "PAIRS",
         "preference pairs: a JSONL file, or a folder with pairs.jsonl or with w/ and l/",
         .zero = "those of the embedded model"},
        {"model", 'm', AT_OPTION_TEXT, &p->model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file",
         .zero = "the embedded model"},
        {"beta", 0, AT_OPTION_REAL, &p->objective.beta, "X",
         "pull to the reference, with the factor 1/2 inside (half of it in tools that leave the 1/2 out)", .min = 1e-6,
         .max = 1e9},
        {"label-smoothing", 0, AT_OPTION_REAL, &p->objective.label_smoothing, "X", "share of labels taken to be wrong",
         .min = 0, .max = 0.499},
        {"full", 0, AT_OPTION_FLAG, &p->full, NULL, "train all weights of the denoiser instead of an adapter"},
        {"batch", 'b', AT_OPTION_INT, &p->train.batch, "N", "pairs a batch", .min = 1, .max = 1024},
        {"size", 0, AT_OPTION_INT, &p->size, "N", "pixels of the shorter side", .zero = "the model's own", .min = 0,
         .max = 8192},
        {"clip-skip", 0, AT_OPTION_INT, &p->clip_skip, "N",
         "last layers of the text encoders to leave out for all captions, counted as in diffusers (web UIs say N + 1)",
         .min = 0, .max = 1000},
        {"caption-dropout", 0, AT_OPTION_REAL, &p->caption_dropout, "X", "share of captions replaced by nothing",
         .min = 0, .max = 1},
        {"flip", 0, AT_OPTION_FLAG, &p->flip, NULL, "mirror half of the pairs, both pictures alike"},
        {"posterior", 0, AT_OPTION_FLAG, &p->sample_posterior, NULL,
         "draw latents from the encoder's distribution instead of its mean"},
        {"held-out", 0, AT_OPTION_REAL, &p->held_out, "X", "share of the prompts kept apart to measure accuracy",
         .min = 0, .max = 0.9},
        {"coin", 0, AT_OPTION_FLAG, &p->coin, NULL, "labels by coin: the control to compare a result with"},
        {"cache", 0, AT_OPTION_TEXT, &p->cache, "FOLDER", "where encoded pictures and texts are kept, by content", .zero = "none"},
        {0},
    };
    at_options_add(o, rows);
    at_adapter_options(o, &d->adapter);
    at_reading_options(o, &d->reading);
}

// The pairs that come with the embedded model; NULL (logged) if they are not there.
static char *shipped_pairs(struct at_log *log)
{
    char *model = at_model_embedded_path(log), *dir = model ? at_path_dir(model) : NULL;
    char *pairs = dir ? at_path_join(dir, "pairs") : NULL;
    at_free(model);
    at_free(dir);
    return pairs;
}

static bool complete(void *priv, struct at_log *log)
{
    struct dpo *d = priv;
    struct at_train_dpo_params *p = &d->params;
    p->model = at_model_word(p->model);
    if (!p->model && p->train.samples.cfg == 0)
        p->train.samples.cfg = CFG_EMBEDDED;
    p->reading = &d->reading;
    if (p->full && at_adapter_given(&d->adapter))
        return at_fail(log, AT_ERROR_USAGE, "--full trains all weights and makes no adapter, to which --rank, --alpha, "
                       "--target, --text-encoder, --text-lr and --lora belong; leave one or the other out");
    if (!at_adapter_complete(&d->adapter, log))
        return false;
    p->lora = d->adapter.lora;
    p->train.text_lr = d->adapter.text_lr;
    if (p->train.lr == 0)
        p->train.lr = p->full ? LR_FULL : LR_LORA;
    if (!p->pairs && p->model)
        return at_fail(log, AT_ERROR_USAGE, "attune train dpo needs --data PAIRS: preference pairs for %s", p->model);
    if (!p->pairs)
        p->pairs = d->shipped = shipped_pairs(log);
    return p->pairs != NULL;
}

static bool start(struct at_device *dev, const void *priv, struct at_log *log)
{
    const struct dpo *d = priv;
    return at_train_dpo(dev, &d->params, log);
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune train dpo",
        .summary = "Diffusion-DPO: from pairs of pictures, one of which is preferred",
        .synopsis = "-o RUN [-d PAIRS] [-m MODEL] [options]",
        .about = "A row of PAIRS is {\"prompt\": \"...\", \"win\": \"a.png\", \"lose\": \"b.png\"}; attune data check "
                 "looks a file over. Before the first step the loss is ln 2 = 0.6931 and the accuracy one half. Beside "
                 "a result, train a control on the same pairs with --coin. RUN gets pytorch_lora_weights.safetensors "
                 "(with --full a model folder), and run.json: --config RUN/run.json repeats the settings. With "
                 "--text-encoder the prompts are read with adapters too, and by the reference without. --lora goes on "
                 "from an adapter; the reference is the model without it, so that the first loss is not ln 2.",
        .example = "  attune train dpo -o runs/warm --steps 100\n"
                   "  attune train dpo -o runs/coin --steps 100 --coin\n"
                   "  attune train dpo -o runs/seen --steps 100 --sample-every 25 --sample-prompts prompts.txt \\\n"
                   "      --sample-steps 20 --sample-cfg 4 --vae-tile off\n"
                   "  attune train dpo -m v1-5.safetensors --tokenizer clip -d pairs --size 512 --batch 2 -o runs/v15\n"
                   "  attune train dpo -m sdxl -d pairs --batch 1 -o runs/xl --text-encoder --text-lr 1e-4\n"
                   "  attune train dpo -m sdxl -d pairs --size 1024 --batch 1 --accumulate 8 --device vulkan \\\n"
                   "      --weights f16 --offload --activations f16 --memory-limit 1G -o runs/small\n"
                   "  attune train dpo -o runs/on --lora runs/warm --steps 50\n"
                   "  attune grid -m embedded -m embedded+runs/warm -m embedded+runs/coin -p \"red apple\" -o grid\n",
    };
    struct dpo d = {.params = {
        .objective = {.method = AT_OBJECTIVE_DPO, .beta = 2000},
        .train = {
            .steps = 100,
            .batch = 16,
            .accumulate = 1,
            .schedule = {.kind = AT_LR_CONSTANT_WITH_WARMUP, .warmup = 10},
            .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1},
        },
    }, .adapter = {.no_rank = "8"}};
    struct at_train_job job = {.cli = cli, .method = "dpo", .params = &d, .train = &d.params.train,
                               .complete = complete, .start = start, .lr_default = "5e-4; 2e-5 with --full"};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        add_options(o, &d);
        at_train_options(o, &job);
    }
    bool ok = at_train_run(&job, o, argc, argv);
    at_free(d.shipped);
    at_adapter_choice_finish(&d.adapter);
    return ok;
}

const struct at_command at_command_train_dpo = {"dpo", "Diffusion-DPO from preference pairs", run};

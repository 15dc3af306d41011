// SPDX-License-Identifier: Apache-2.0
// attune data make tokenizer: a vocabulary for a new text encoder.
#include "core/base/alloc.h"
#include "datasets/emoji_tokenizer.h"
#include "datasets/imagefolder.h"
#include "tools/make_command.h"

struct job {
    const char *data, *out;
    int64_t merges;
    int length;
};

static struct at_bpe *from_folder(struct at_log *log, const struct job *j)
{
    struct at_imagefolder folder = {0};
    struct at_bpe *bpe = NULL;
    if (!at_imagefolder_read(log, j->data, &(struct at_imagefolder_params){.skip_images = true}, &folder))
        return NULL;
    const char **captions = at_calloc(folder.count, sizeof(*captions));
    for (size_t i = 0; captions && i < folder.count; i++)
        captions[i] = folder.rows[i].text;
    if (captions)
        bpe = at_bpe_train(log, &(struct at_bpe_params){captions, folder.count, (size_t)j->merges});
    else
        at_fail_memory(log, folder.count * sizeof(*captions));
    at_free(captions);
    at_imagefolder_finish(&folder);
    return bpe;
}

static struct at_bpe *from_emoji(struct at_log *log, const struct job *j)
{
    struct at_emoji_set *set = at_emoji_open(log, &(struct at_emoji_params){0});
    struct at_bpe *bpe = NULL;
    if (set && at_emoji_select(log, set, &(struct at_emoji_rule){0}))
        bpe = at_emoji_tokenizer(log, set, (size_t)j->merges);
    at_emoji_close(&set);
    return bpe;
}

static bool make(struct at_log *log, const struct job *j)
{
    struct at_bpe *bpe = j->data ? from_folder(log, j) : from_emoji(log, j);
    bool ok = bpe && at_bpe_save(bpe, j->out, j->length);
    if (ok) {
        size_t size = at_bpe_size(bpe);
        at_info(log, "%zu tokens in %s", size, j->out);
        at_info(log,
                "text_encoder/config.json needs: vocab_size %zu, bos_token_id %zu, eos_token_id and pad_token_id "
                "%zu, max_position_embeddings %d or more",
                size, size - 2, size - 1, j->length);
    }
    at_bpe_destroy(&bpe);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune data make tokenizer",
        .summary = "a tokenizer learnt from captions, for a model from scratch",
        .synopsis = "-o FOLDER [-d FOLDER] [options]",
        .about =
            "Learns byte-pair merges from the captions and writes them in CLIP's format, as transformers reads it. "
            "Replaces an older tokenizer.",
        .example = "  attune data make tokenizer -d my-pictures -o my-model/tokenizer\n",
    };
    struct job j = {.length = AT_EMOJI_TOKENS};
    const struct at_option rows[] = {
        {"out", 'o', AT_OPTION_TEXT, &j.out, "FOLDER", "where it goes", .required = true},
        {"data", 'd', AT_OPTION_TEXT, &j.data, "FOLDER", "pictures with captions in metadata.jsonl",
         .zero = "the emoji of the embedded model"},
        {"length", 0, AT_OPTION_INT, &j.length, "N", "tokens a prompt is padded to, with start and end", .min = 3,
         .max = 4096},
        {"merges", 0, AT_OPTION_I64, &j.merges, "N", "most merges", .zero = "until every word is one token", .min = 0,
         .max = 1000000},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv) && make(&cli->log, &j);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_make_tokenizer = {"tokenizer", "a vocabulary learnt from captions", run};

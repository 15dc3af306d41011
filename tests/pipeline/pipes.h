// SPDX-License-Identifier: Apache-2.0
// The pipelines of tests/data/pipes (tests/golden/make_pipelines.py) as whole folders: what one lacks is linked from
// another.
#ifndef TESTS_PIPELINE_PIPES_H
#define TESTS_PIPELINE_PIPES_H

#include "tests/pipeline/tiny.h"

#include <unistd.h>

static inline const char *pipes_path(const char *tail)
{
    static char path[4][512];
    static int turn;
    const char *dir = getenv("AT_TEST_DATA");
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/pipes/%s", dir ? dir : "tests/data", tail);
    return path[turn];
}

// Puts "scratch/NAME" together, if it is not there yet, and writes its path into `path`.
static inline void pipes_folder(const char *name, char *path, size_t size)
{
    static const struct {
        const char *name, *part, *from;
    } lent[] = {
        {"lcm_xl", "tokenizer", "pipes/xl/tokenizer"},     {"lcm_xl", "tokenizer_2", "pipes/xl/tokenizer_2"},
        {"lcm_xl", "text_encoder", "pipes/xl/text_encoder"}, {"lcm_xl", "text_encoder_2", "pipes/xl/text_encoder_2"},
        {"lcm_xl", "vae", "pipes/xl/vae"},                 {"lcm", "tokenizer", "pipes/xl/tokenizer"},
        {"lcm", "text_encoder", "pipes/xl/text_encoder"},  {"lcm", "vae", "pipes/xl/vae"},
        {"sd2", "tokenizer", "pipes/xl/tokenizer_2"},      {"sd2", "vae", "pipes/xl/vae"},
        {"sd2", "text_encoder/model.safetensors", "pipes/xl/text_encoder/model.safetensors"},
        {"sd15", "tokenizer", "tiny/model/tokenizer"},     {"sd15", "text_encoder", "tiny/model/text_encoder"},
        {"sd15", "unet", "tiny/model/unet"},               {"sd15", "vae", "tiny/model/vae"},
    };
    snprintf(path, size, "%s", scratch_path(name));
    if (at_dir_exists(path))
        return;
    char *root = realpath(pipes_path(".."), NULL);
    char *command = at_strf("cp -r '%s/pipes/%s' '%s' && chmod -R u+w '%s'", root ? root : "", name, path, path);
    AT_CHECK(root && command && system(command) == 0);
    at_free(command);
    for (size_t i = 0; i < sizeof(lent) / sizeof(*lent); i++)
        if (strcmp(lent[i].name, name) == 0) {
            char *target = at_strf("%s/%s", root, lent[i].from), *link = at_strf("%s/%s", path, lent[i].part);
            AT_CHECK(target && link && symlink(target, link) == 0);
            at_free(target);
            at_free(link);
        }
    free(root);
}

#endif

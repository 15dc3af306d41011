// SPDX-License-Identifier: Apache-2.0
#include "tools/tile_option.h"

#include "pipelines/model/tiles.h"

#include <string.h>

struct at_option at_tile_option(const char **text)
{
    return (struct at_option){
        "vae-tile", 0, AT_OPTION_TEXT, text, "auto|off|N",
        "pixels of the tiles in which the autoencoder works, such as 512: less memory, but not quite the same pictures",
        .zero = "auto: tiles only if nothing else fits into memory"};
}

bool at_tile_read(const char *text, int *setting, struct at_log *log)
{
    int64_t n = 0;
    if (!text || strcmp(text, "auto") == 0) {
        *setting = AT_TILE_AUTO;
        return true;
    }
    if (strcmp(text, "off") == 0) {
        *setting = AT_TILE_OFF;
        return true;
    }
    if (!at_text_int(text, &n) || n < 1 || n > 32768)
        return at_fail(log, AT_ERROR_USAGE, "--vae-tile %s: must be auto, off, or pixels from 1 to 32768", text);
    *setting = (int)n;
    return true;
}

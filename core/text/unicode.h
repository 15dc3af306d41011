// SPDX-License-Identifier: Apache-2.0
// The Unicode properties that a tokenizer needs: classes, lower case and composition (NFC).
#ifndef CORE_TEXT_UNICODE_H
#define CORE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A character and the byte of the source text it came from.
struct at_char {
    uint32_t code;
    uint32_t at;
};

bool at_unicode_is_letter(uint32_t code); // general category L*
bool at_unicode_is_number(uint32_t code); // N*
bool at_unicode_is_space(uint32_t code);  // White_Space
// Lower case without context; returns how many characters (1 or 2) went to out.
size_t at_unicode_lower(uint32_t code, uint32_t out[2]);

// Room that at_unicode_nfc needs for n characters.
enum { AT_NFC_GROWTH = 4 };
// Canonical decomposition, ordering and composition of `text` into `out` (room for AT_NFC_GROWTH * n); returns the new
// length. A composed character keeps the source position of its first part.
size_t at_unicode_nfc(const struct at_char *text, size_t n, struct at_char *out);

#endif

// SPDX-License-Identifier: Apache-2.0
// UTF-8, as far as checking untrusted bytes needs it (Unicode 15, table 3-7: well-formed byte sequences).
#ifndef CORE_BASE_UTF8_H
#define CORE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of the well-formed sequence that starts at text[0] (1 .. 4), its code point into *code (NULL: not wanted).
// 0 when n is 0 or the bytes are not UTF-8.
size_t at_utf8_step(const char *text, size_t n, uint32_t *code);
bool at_utf8_valid(const char *text, size_t n);
// Writes the 1 .. 4 bytes of a code point below 0x110000 and returns how many.
size_t at_utf8_put(char out[4], uint32_t code);

#endif

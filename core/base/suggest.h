// SPDX-License-Identifier: Apache-2.0
// "Did you mean ...?" for keys, options and enum values.
#ifndef CORE_BASE_SUGGEST_H
#define CORE_BASE_SUGGEST_H

#include <stddef.h>

// Single-byte insertions, deletions, replacements and swaps of neighbours that turn a into b (Damerau 1964, restricted
// form). Case is ignored, and '-' equals '_'. Only the first 64 bytes of each are looked at.
size_t at_edit_distance(const char *a, const char *b);
// The nearest of n choices, or NULL when none is near enough to be a slip of the fingers (or
// the word is longer than 63 bytes).
const char *at_suggest(const char *word, const char *const *choices, size_t n);

#endif

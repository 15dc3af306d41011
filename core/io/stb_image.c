// SPDX-License-Identifier: Apache-2.0
// The one translation unit of stb_image. A system header: its warnings are not shown.
#include "core/base/alloc.h"
#include "core/io/image.h"

#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS AT_IMAGE_MAX_SIDE
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(size) at_calloc((size), 1)
#define STBI_REALLOC(block, size) at_realloc((block), (size), 1)
#define STBI_FREE(block) at_free(block)
#include <stb/stb_image.h>

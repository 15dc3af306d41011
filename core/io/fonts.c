// SPDX-License-Identifier: Apache-2.0
#include "core/io/fonts.h"

#include "core/base/alloc.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILES 4096
#define MAX_DEPTH 6
#define CACHE_SLOTS 1024        // a power of two
#define BLOCKS (0x110000 / 256) // of 256 characters

struct file {
    char *path;
    int rank;             // lower is tried first
    struct at_face *face; // &own, or NULL until a character needed it
    struct at_face own;
    bool opened;          // once at least, so that `blocks` is known
    uint64_t blocks[BLOCKS / 64];
};

// An answer already given.
struct known {
    uint32_t key; // character * 2 + emoji, 0: empty
    struct at_face *face;
};

struct at_fonts {
    struct at_log *log;
    FT_Library library;
    struct file *files;
    size_t count, capacity;
    struct known cache[CACHE_SLOTS];
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

// 0 .. 3 for faces that serve many scripts, 4 for the plain cut of others, 9 for cuts that labels do not use.
static int rank_of(const char *name)
{
    static const char *const first[] = {"NotoSans-Regular.", "DejaVuSans.", "NotoColorEmoji.", "NotoSansCJK-Regular."};
    for (int i = 0; i < 4; i++)
        if (strncmp(name, first[i], strlen(first[i])) == 0)
            return i;
    if (strstr(name, "Bold") || strstr(name, "Italic") || strstr(name, "Oblique"))
        return 9;
    return strstr(name, "Sans") ? 4 : 5;
}

static bool add_file(struct at_fonts *f, const char *path, const char *name)
{
    if (!at_grow((void **)&f->files, &f->capacity, f->count + 1, sizeof(*f->files)))
        return false;
    f->files[f->count] = (struct file){.path = at_strdup(path), .rank = rank_of(name)};
    return f->files[f->count++].path != NULL;
}

// False only when memory runs out; what cannot be read is passed over.
static bool scan(struct at_fonts *f, const char *dir, int depth)
{
    DIR *handle = depth < MAX_DEPTH ? opendir(dir) : NULL;
    if (!handle)
        return true;
    bool ok = true;
    for (struct dirent *e; ok && f->count < MAX_FILES && (e = readdir(handle));) {
        struct stat info;
        char *path = e->d_name[0] == '.' ? NULL : at_strf("%s/%s", dir, e->d_name);
        if (!path) {
            ok = e->d_name[0] == '.';
            continue;
        }
        if (stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                ok = scan(f, path, depth + 1);
            else if (ends_with(path, ".ttf") || ends_with(path, ".otf") || ends_with(path, ".ttc"))
                ok = add_file(f, path, e->d_name);
        }
        at_free(path);
    }
    closedir(handle);
    return ok;
}

static int by_rank(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    return x->rank != y->rank ? x->rank - y->rank : strcmp(x->path, y->path);
}

static bool scan_all(struct at_fonts *f, const char *const *dirs)
{
    static const char *const usual[] = {"/usr/share/fonts", "/usr/local/share/fonts", NULL};
    for (const char *const *d = dirs ? dirs : usual; *d; d++)
        if (!scan(f, *d, 0))
            return false;
    const char *home = dirs ? NULL : getenv("HOME");
    char *own = home ? at_strf("%s/.local/share/fonts", home) : NULL;
    bool ok = home ? own && scan(f, own, 0) : true;
    at_free(own);
    return ok;
}

struct at_fonts *at_fonts_open(struct at_log *log, const char *const *dirs)
{
    struct at_fonts *f = at_calloc(1, sizeof(*f));
    if (!f || !scan_all(f, dirs)) {
        (void)at_fail_memory(log, sizeof(*f));
        at_fonts_close(&f);
        return NULL;
    }
    f->log = log;
    if (f->count == 0 || FT_Init_FreeType(&f->library)) {
        at_warn(log,
                "no fonts found, labels are left out; install the Debian package fonts-noto-core or fonts-dejavu-core");
        return f;
    }
    qsort(f->files, f->count, sizeof(*f->files), by_rank);
    return f;
}

struct at_log *at_fonts_log(const struct at_fonts *fonts)
{
    return fonts->log;
}

static void close_face(struct at_face **face)
{
    if (!*face)
        return;
    hb_font_destroy((*face)->shaper);
    FT_Done_Face((*face)->ft);
    *face = NULL;
}

void at_fonts_close(struct at_fonts **fonts)
{
    struct at_fonts *f = *fonts;
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++) {
        close_face(&f->files[i].face);
        at_free(f->files[i].path);
    }
    at_free(f->files);
    if (f->library)
        FT_Done_FreeType(f->library);
    at_free(f);
    *fonts = NULL;
}

bool at_face_has(const struct at_face *face, uint32_t character)
{
    return FT_Get_Char_Index(face->ft, character) != 0;
}

// Opens a file's first face, or NULL when it is no usable font.
static struct at_face *open_face(struct at_fonts *f, struct file *file)
{
    struct at_face *face = &file->own;
    *face = (struct at_face){.zoom = 1};
    if (FT_New_Face(f->library, file->path, 0, &face->ft)) {
        at_debug(f->log, "%s: not a font that FreeType reads", file->path);
        return NULL;
    }
    face->colour = FT_HAS_COLOR(face->ft) && face->ft->num_fixed_sizes > 0;
    face->shaper = hb_ft_font_create_referenced(face->ft);
    if (!face->ft->charmap || (!FT_IS_SCALABLE(face->ft) && !face->colour))
        close_face(&face);
    return face;
}

// Notes which blocks the face has a character of, so that a file is not opened again for one it cannot have.
static void note_blocks(struct file *file, const struct at_face *face)
{
    FT_UInt glyph;
    file->opened = true;
    for (FT_ULong c = face ? FT_Get_First_Char(face->ft, &glyph) : 0; c && c < 0x110000;) {
        file->blocks[c >> 14] |= (uint64_t)1 << (c >> 8 & 63);
        c = FT_Get_Next_Char(face->ft, c | 255, &glyph); // the first one of the next block
    }
}

// Opens the file if need be; keeps the face open only if it has the character (or is wanted anyway).
static struct at_face *try_file(struct at_fonts *f, struct file *file, uint32_t character, bool anyway)
{
    if (file->face)
        return anyway || at_face_has(file->face, character) ? file->face : NULL;
    if (file->opened && !anyway && !(file->blocks[character >> 14] >> (character >> 8 & 63) & 1))
        return NULL;
    struct at_face *face = open_face(f, file);
    if (!file->opened)
        note_blocks(file, face);
    if (face && !anyway && !at_face_has(face, character))
        close_face(&face);
    return file->face = face;
}

static struct at_face *search(struct at_fonts *f, uint32_t character, bool emoji)
{
    struct at_face *face = NULL;
    for (size_t i = 0; emoji && !face && i < f->count && f->files[i].rank <= 2; i++)
        if (f->files[i].rank == 2)
            face = try_file(f, &f->files[i], character, false);
    for (size_t i = 0; !face && i < f->count; i++)
        face = try_file(f, &f->files[i], character, false);
    for (size_t i = 0; !face && i < f->count; i++)
        face = try_file(f, &f->files[i], character, true);
    return face;
}

struct at_face *at_fonts_face(struct at_fonts *fonts, uint32_t character, bool emoji)
{
    if (!fonts->library || fonts->count == 0 || character >= 0x110000)
        return NULL;
    uint32_t key = character * 2 + emoji;
    struct known *slot = &fonts->cache[(key * 2654435761u >> 16) & (CACHE_SLOTS - 1)];
    if (slot->key == key && slot->face)
        return slot->face;
    slot->key = key;
    return slot->face = search(fonts, character, emoji);
}

void at_face_resize(struct at_face *face, int size)
{
    if (face->size == size)
        return;
    face->size = size;
    if (FT_IS_SCALABLE(face->ft) && !face->colour) {
        FT_Set_Pixel_Sizes(face->ft, 0, (FT_UInt)size);
    } else {
        FT_Select_Size(face->ft, 0);
        int own = (int)(face->ft->available_sizes[0].y_ppem >> 6);
        face->zoom = own > 0 ? (double)size / own : 1;
    }
    hb_ft_font_changed(face->shaper);
}

// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/half.h"

#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#define VECTORS 4 // of a panel: 6 x 4 sums, 4 of b and 1 of a fill 29 of 32 registers
#elif defined(__AVX__)
#define BYTES 32
#define VECTORS 2
#else
#define BYTES 16
#define VECTORS 2
#endif
#define LANES (BYTES / (int)sizeof(real))
#define PANEL (LANES * VECTORS)
#define ROWS 6
#define DEPTH 128 // of a packed panel: it stays in the L1 cache
#define COLS 256  // packed at a time
#define BLOCK 240 // rows that meet them; a multiple of ROWS
#define CHUNK 960 // rows whose addresses are listed at a time

typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))

// What tiles of one panel share: `taps` x [from, from + depth) of a meets the panel.
struct strip {
    const real *panel; // (taps depth, vectors LANES), a row every `step` reals
    int64_t step;
    int64_t stride, taps, from, depth;
    int64_t column, width; // of c; width <= vectors LANES
    bool add;
};

// Elements i .. i + LANES - 1 of b.
INLINE vec load(const void *b, enum at_dtype type, int64_t i)
{
    if (!at_dtype_half(type))
        return *(const loose *)(const void *)((const real *)b + i);
    const uint16_t *h = (const uint16_t *)b + i;
#if !AT_DOUBLE && defined(__AVX512F__)
    __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)h);
    return type == AT_F16 ? (vec)_mm512_cvtph_ps(bits) : (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);
#elif !AT_DOUBLE && defined(__F16C__)
    __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)h);
    return type == AT_F16 ? (vec)_mm256_cvtph_ps(bits) : (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
#else
    vec x;
    for (int j = 0; j < LANES; j++)
        x[j] = at_element_value(h, type, j);
    return x;
#endif
}

// The first elements of a vector.
INLINE void store_part(real *c, vec part, int64_t width, bool add)
{
#if !AT_DOUBLE && defined(__AVX512F__)
    __mmask16 mask = (__mmask16)((1u << width) - 1);
    if (add)
        part += (vec)_mm512_maskz_loadu_ps(mask, c);
    _mm512_mask_storeu_ps(c, mask, (__m512)part);
#else
    for (int j = 0; j < width; j++)
        c[j] = add ? c[j] + part[j] : part[j];
#endif
}

INLINE void store(real *c, const vec *sums, int vectors, int64_t width, bool add)
{
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++, c += LANES, width -= LANES) {
        if (width >= LANES) {
            loose *to = (loose *)(void *)c;
            *to = add ? (vec)*to + sums[v] : sums[v];
            continue;
        }
        store_part(c, sums[v], width, add);
    }
}

INLINE void tile(int rows, int vectors, const struct strip *s, const real *const *a, real *const *c)
{
    vec sums[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (vec){0};
    const real *b = s->panel;
    for (int64_t t = 0; t < s->taps; t++, a += s->stride) {
        const real *x[ROWS];
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
            x[i] = a[i] + s->from;
        for (int64_t q = 0; q < s->depth; q++, b += s->step) {
            vec y[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                y[v] = *(const loose *)(const void *)(b + v * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sums[i][v] += x[i][q] * y[v];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        store(c[i] + s->column, sums[i], vectors, s->width, s->add);
}

typedef void tile_fn(const struct strip *s, const real *const *a, real *const *c);
#define TILE(rows, vectors)                                                                                            \
    static void tile_##rows##_##vectors(const struct strip *s, const real *const *a, real *const *c)                   \
    {                                                                                                                  \
        tile(rows, vectors, s, a, c);                                                                                  \
    }
#define TILES(vectors)                                                                                                 \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors) TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define TILE_NAMES(vectors)                                                                                            \
    {tile_1_##vectors, tile_2_##vectors, tile_3_##vectors, tile_4_##vectors, tile_5_##vectors, tile_6_##vectors}
TILES(1)
TILES(2)
#if VECTORS == 4
TILES(3)
TILES(4)
#endif
static tile_fn *const tiles[VECTORS][ROWS] = {TILE_NAMES(1), TILE_NAMES(2),
#if VECTORS == 4
                                              TILE_NAMES(3), TILE_NAMES(4),
#endif
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Vectors of the panel that begins `rest` columns before the end.
static int panel_vectors(int64_t rest)
{
    return rest >= PANEL ? VECTORS : (int)((rest + LANES - 1) / LANES);
}

#if BYTES / AT_REAL_BYTES == 16
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif BYTES / AT_REAL_BYTES == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif BYTES / AT_REAL_BYTES == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#else
#define ZIP_LOW 0, 2
#define ZIP_HIGH 1, 3
#endif

// to[j ldt + i] = scale from[i ldf + j] for i, j < LANES: log2(LANES) perfect shuffles.
INLINE void transpose_square(const void *from, enum at_dtype type, int64_t ldf, real *to, int64_t ldt, real scale)
{
    vec a[LANES], b[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        a[i] = scale * load(from, type, i * ldf);
#pragma GCC unroll 4
    for (int round = LANES; round > 1; round /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + LANES / 2], ZIP_LOW);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + LANES / 2], ZIP_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            a[i] = b[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        *(loose *)(void *)(to + i * ldt) = a[i];
}

INLINE void transpose_typed(const void *from, enum at_dtype type, int64_t ldf, int64_t rows, int64_t cols, real *to,
                            int64_t ldt, real scale)
{
    if (rows < LANES || cols < LANES) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                to[j * ldt + i] = scale * at_element_value(from, type, i * ldf + j);
        return;
    }
    // The last squares of a row and a column may overlap those before them.
    for (int64_t i = 0; i < rows; i += LANES) {
        int64_t row = least(i, rows - LANES);
        for (int64_t j = 0; j < cols; j += LANES) {
            int64_t col = least(j, cols - LANES);
            transpose_square(at_element(from, type, row * ldf + col), type, ldf, to + col * ldt + row, ldt, scale);
        }
    }
}

// to (cols, rows; row stride ldt) = scale times the transpose of from (rows, cols).
static void transpose(const void *from, enum at_dtype type, int64_t ldf, int64_t rows, int64_t cols, real *to,
                      int64_t ldt, real scale)
{
    if (type == AT_F16)
        transpose_typed(from, AT_F16, ldf, rows, cols, to, ldt, scale);
    else if (type == AT_BF16)
        transpose_typed(from, AT_BF16, ldf, rows, cols, to, ldt, scale);
    else
        transpose_typed(from, AT_F32, ldf, rows, cols, to, ldt, scale);
}

INLINE void pack_rows_typed(const void *const *rows, enum at_dtype type, int64_t column, int64_t depth, int64_t n,
                            int64_t kc, real scale, real *packed)
{
    for (int64_t j = 0; j < n; j += PANEL, packed += kc * PANEL) {
        int64_t padded = panel_vectors(n - j) * LANES, width = least(n - j, PANEL);
        for (int64_t q = 0; q < depth; q++) {
            const void *from = at_element(rows[q], type, column + j);
            real *to = packed + q * padded;
            int64_t i = 0;
            for (; i + LANES <= width; i += LANES)
                *(loose *)(void *)(to + i) = scale * load(from, type, i);
            for (; i < width; i++)
                to[i] = scale * at_element_value(from, type, i);
            for (; i < padded; i++)
                to[i] = 0;
        }
    }
}

// Panels of rows[q][0 .. n), each (depth, vectors LANES), one behind the other; at[q] is row `first` of a panel.
static void pack_rows(const void *const *rows, enum at_dtype type, int64_t column, int64_t depth, int64_t n, int64_t kc,
                      real scale, real *packed)
{
    if (type == AT_F16)
        pack_rows_typed(rows, AT_F16, column, depth, n, kc, scale, packed);
    else if (type == AT_BF16)
        pack_rows_typed(rows, AT_BF16, column, depth, n, kc, scale, packed);
    else
        pack_rows_typed(rows, AT_F32, column, depth, n, kc, scale, packed);
}

// The same of columns: element (q, j) is at b[j ldb + q].
static void pack_columns(const void *b, enum at_dtype type, int64_t ldb, int64_t depth, int64_t n, int64_t kc,
                         int64_t row, real scale, real *packed)
{
    for (int64_t j = 0; j < n; j += PANEL, packed += kc * PANEL) {
        int64_t padded = panel_vectors(n - j) * LANES, width = least(n - j, PANEL);
        real *to = packed + row * padded;
        transpose(at_element(b, type, j * ldb), type, ldb, width, depth, to, padded, scale);
        for (int64_t q = 0; width < padded && q < depth; q++)
            memset(to + q * padded + width, 0, (size_t)(padded - width) * sizeof(real));
    }
}

// m rows of a against packed columns [column, column + n) of c.
static void multiply(struct strip s, int64_t m, int64_t n, const real *const *a, real *const *c)
{
    const real *packed = s.panel;
    int64_t kc = s.taps * s.depth, column = s.column;
    for (int64_t block = 0; block < m; block += BLOCK) {
        int64_t end = least(m, block + BLOCK);
        for (int64_t j = 0; j < n; j += PANEL) {
            tile_fn *const *by_rows = tiles[panel_vectors(n - j) - 1];
            s.panel = packed + j * kc;
            s.step = panel_vectors(n - j) * LANES;
            s.column = column + j;
            s.width = least(n - j, PANEL);
            for (int64_t i = block; i < end; i += ROWS)
                by_rows[least(end - i, ROWS) - 1](&s, a + i, c + i);
        }
    }
}

// Packs the part of g's b that s describes, at tap `tap` and columns [column, column + n).
static void pack_taps(const struct gemm_taps *g, const struct strip *s, int64_t tap, int64_t n, real *packed)
{
    const void *rows[DEPTH];
    int64_t kc = s->taps * s->depth;
    for (int64_t t = 0; t < s->taps; t++) {
        const void *b = at_element(g->b[tap + t], g->type, s->from * g->b_row + s->column * g->b_col);
        if (g->b_col == 1)
            for (int64_t q = 0; q < s->depth; q++)
                rows[t * s->depth + q] = at_element(b, g->type, q * g->b_row);
        else
            pack_columns(b, g->type, g->b_col, s->depth, n, kc, t * s->depth, g->alpha, packed);
    }
    if (g->b_col == 1)
        pack_rows(rows, g->type, 0, kc, n, kc, g->alpha, packed);
}

void gemm_by_taps(const struct gemm_taps *g)
{
    real packed[DEPTH * COLS] __attribute__((aligned(64)));
    // Pieces of a tap, or several taps at once.
    int64_t pieces = (g->depth + DEPTH - 1) / DEPTH, piece = (g->depth + pieces - 1) / pieces;
    int64_t together = pieces > 1 ? 1 : DEPTH / g->depth;
    if (!g->taps && !g->add)
        for (int64_t i = 0; i < g->m; i++)
            memset(g->c[i], 0, (size_t)g->n * sizeof(real));
    for (int64_t j = 0; j < g->n; j += COLS) {
        int64_t n = least(g->n - j, COLS);
        struct strip s = {.panel = packed, .stride = g->m, .column = j, .add = g->add};
        for (int64_t t = 0; t < g->taps; t += together) {
            s.taps = least(together, g->taps - t);
            for (s.from = 0; s.from < g->depth; s.from += piece) {
                s.depth = least(piece, g->depth - s.from);
                pack_taps(g, &s, t, n, packed);
                multiply(s, g->m, n, g->a + t * g->m, g->c);
                s.add = true;
            }
        }
    }
}

// Rows [p, p + s->depth) of a and b, for the rows of c whose part of a is in `a`.
static void outer_block(const struct gemm_outer *g, struct strip s, int64_t p, int64_t m, const real *const *a,
                        real *const *c)
{
    real packed[DEPTH * COLS] __attribute__((aligned(64)));
    const void *rows[DEPTH];
    for (int64_t j = g->from; j < g->to;) {
        int64_t tap = j / g->n, column = j % g->n;
        int64_t n = least(least(g->n - column, COLS), g->to - j);
        for (int64_t q = 0; q < s.depth; q++)
            rows[q] = g->b ? g->b[tap * g->k + p + q] : at_element(g->dense, g->type, (p + q) * g->ldb);
        pack_rows(rows, g->type, column, s.depth, n, s.depth, 1, packed);
        s.panel = packed;
        s.column = j;
        multiply(s, m, n, a, c);
        j += n;
    }
}

void gemm_by_outer(const struct gemm_outer *g)
{
    real turned[BLOCK * DEPTH] __attribute__((aligned(64)));
    const real *a[BLOCK];
    real *c[BLOCK];
    int64_t pieces = (g->k + DEPTH - 1) / DEPTH, piece = (g->k + pieces - 1) / pieces;
    for (int64_t p = 0; p < g->k; p += piece) {
        struct strip s = {.taps = 1, .depth = least(piece, g->k - p), .add = g->add || p};
        for (int64_t i = 0; i < g->m; i += BLOCK) {
            int64_t m = least(g->m - i, BLOCK);
            transpose(g->a + p * g->lda + i, AT_F32, g->lda, s.depth, m, turned, DEPTH, g->alpha);
            for (int64_t r = 0; r < m; r++) {
                a[r] = turned + r * DEPTH;
                c[r] = g->c + (i + r) * g->ldc;
            }
            outer_block(g, s, p, m, a, c);
        }
    }
}

// As mixed_gemm with both transposed: the rows of a block of op(a) are gathered first.
static void both_transposed(int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda, const void *b,
                            enum at_dtype type, int64_t ldb, bool add, real *c, int64_t ldc)
{
    real turned[BLOCK * DEPTH] __attribute__((aligned(64)));
    for (int64_t p = 0; p < k; p += DEPTH) {
        int64_t depth = least(k - p, DEPTH);
        for (int64_t i = 0; i < m; i += BLOCK) {
            int64_t rows = least(m - i, BLOCK);
            transpose(a + p * lda + i, AT_F32, lda, depth, rows, turned, DEPTH, 1);
            mixed_gemm(false, true, rows, n, depth, alpha, turned, DEPTH, at_element(b, type, p), type, ldb, add || p,
                       c + i * ldc, ldc);
        }
    }
}

// Where the rows from i on lie, CHUNK at most; returns how many.
static int64_t chunk_at(int64_t i, int64_t m, const real *a, int64_t lda, const real **from, real *c, int64_t ldc,
                        real **to)
{
    int64_t rows = least(m - i, CHUNK);
    for (int64_t r = 0; r < rows; r++) {
        from[r] = a + (i + r) * lda;
        to[r] = c + (i + r) * ldc;
    }
    return rows;
}

void near_gemm(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb, bool add,
               real *c, int64_t ldc)
{
    const real *from[CHUNK];
    real *to[CHUNK];
    for (int64_t i = 0; i < m; i += CHUNK) {
        int64_t rows = chunk_at(i, m, a, lda, from, c, ldc, to);
        for (int64_t j = 0; j < n; j += PANEL) {
            struct strip s = {b + j, ldb, 0, 1, 0, k, j, least(n - j, PANEL), add};
            tile_fn *const *by_rows = tiles[panel_vectors(n - j) - 1];
            for (int64_t r = 0; r < rows; r += ROWS)
                by_rows[least(rows - r, ROWS) - 1](&s, from + r, to + r);
        }
    }
}

void real_turn(int64_t rows, int64_t cols, real scale, const real *from, int64_t ldf, real *to, int64_t ldt)
{
    transpose(from, AT_F32, ldf, rows, cols, to, ldt, scale);
}

void real_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
               const real *b, int64_t ldb, bool add, real *c, int64_t ldc)
{
    mixed_gemm(ta, tb, m, n, k, alpha, a, lda, b, AT_F32, ldb, add, c, ldc);
}

void mixed_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                const void *b, enum at_dtype type, int64_t ldb, bool add, real *c, int64_t ldc)
{
    if (ta && tb) {
        both_transposed(m, n, k, alpha, a, lda, b, type, ldb, add, c, ldc);
        return;
    }
    if (ta) {
        gemm_by_outer(&(struct gemm_outer){m, n, k, a, lda, NULL, b, ldb, 0, n, c, ldc, alpha, add, type});
        return;
    }
    const real *from[CHUNK];
    real *to[CHUNK];
    for (int64_t i = 0; i < m; i += CHUNK) {
        int64_t rows = chunk_at(i, m, a, lda, from, c, ldc, to);
        gemm_by_taps(&(struct gemm_taps){rows, n, 1, k, from, &b, tb ? 1 : ldb, tb ? ldb : 1, to, alpha, add, type});
    }
}

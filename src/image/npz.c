/* .npz: the archive is read from its directory at the end, as the zip format asks; members are stored or deflated (zlib).
 * numpy marks all members as possibly large (zip64) in their own headers, but the directory holds plain sizes. */
#include "image/npz.h"

#include <string.h>

#include "base/memory.h"

void gm_npy_free(gm_npy *a)
{
    gm_free(a->bytes);
    *a = (gm_npy) { 0 };
}

double gm_npy_at(const gm_npy *a, size_t row, size_t column)
{
    const char *p = a->data + (a->by_column ? column * a->rows + row : row * a->columns + column) * a->width;
    float f;
    double d;
    uint64_t bits = 0;
    memcpy(&bits, p, a->width); /* little-endian, as this program's machines are */
    if (a->kind == 'f' && a->width == 4) return memcpy(&f, p, 4), f;
    if (a->kind == 'f') return memcpy(&d, p, 8), d;
    if (a->kind != 'i') return (double)bits;
    const unsigned unused = 64 - 8 * (unsigned)a->width;
    return (double)((int64_t)(bits << unused) >> unused); /* the sign spreads */
}

#if GM_HAVE_ZLIB

#include <zlib.h>

typedef struct archive {
    const char *place;
    const unsigned char *bytes;
    size_t size;
    size_t directory, end; /* offsets */
    gm_err *err;
} archive;

typedef struct member {
    const char *name; /* for messages */
    size_t offset, packed, unpacked;
    uint32_t crc;
    unsigned method, flags;
} member;

static unsigned u16(const unsigned char *p) { return p[0] | (unsigned)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }

static gm_status broken(const archive *a, const char *what)
{
    return gm_fail(a->err, GM_ERR_FORMAT, "%s: is no whole .npz: %s", a->place, what);
}

/* The record at the end that says where the directory lies; behind it stands at most a comment. */
static gm_status find_directory(archive *a)
{
    if (a->size < 22) return broken(a, "it is shorter than an empty archive");
    const size_t lowest = a->size > 22 + 65535 ? a->size - 22 - 65535 : 0;
    for (size_t at = a->size - 22 + 1; at-- > lowest;) {
        const unsigned char *p = a->bytes + at;
        if (memcmp(p, "PK\5\6", 4) != 0 || at + 22 + u16(p + 20) != a->size) continue;
        const size_t length = u32(p + 12);
        a->directory = u32(p + 16);
        if (a->directory == 0xffffffffu) return broken(a, "it is an archive of more than 4 GB (zip64)");
        if (a->directory > at || length > at - a->directory) return broken(a, "its directory lies outside of it");
        a->end = a->directory + length;
        return GM_OK;
    }
    return broken(a, "it has no directory at its end; is it cut short?");
}

static gm_status find_member(const archive *a, const char *name, member *m, bool *have)
{
    const size_t wanted = strlen(name);
    *have = false;
    for (size_t at = a->directory; at < a->end;) {
        const unsigned char *p = a->bytes + at;
        if (a->end - at < 46 || memcmp(p, "PK\1\2", 4) != 0) return broken(a, "its directory is damaged");
        const size_t n = u16(p + 28), whole = 46 + n + u16(p + 30) + u16(p + 32);
        if (whole > a->end - at) return broken(a, "its directory is damaged");
        if (n == wanted + 4 && memcmp(p + 46, name, wanted) == 0 && memcmp(p + 46 + wanted, ".npy", 4) == 0) {
            if (*have) return gm_fail(a->err, GM_ERR_FORMAT, "%s: holds \"%s\" twice", a->place, name);
            *m = (member) { name, u32(p + 42), u32(p + 20), u32(p + 24), u32(p + 16), u16(p + 10), u16(p + 8) };
            *have = true;
        }
        at += whole;
    }
    return GM_OK;
}

static gm_status unpack(const archive *a, const member *m, const unsigned char *from, char *to)
{
    if (m->method == 0) {
        memcpy(to, from, m->unpacked);
    } else {
        z_stream z = { .zalloc = NULL };
        if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return gm_fail(a->err, GM_ERR_NOMEM, "%s: out of memory", a->place);
        z.next_in = (z_const Bytef *)from;
        z.avail_in = (uInt)m->packed;
        z.next_out = (Bytef *)to;
        z.avail_out = (uInt)m->unpacked;
        const int result = inflate(&z, Z_FINISH);
        const bool is_whole = result == Z_STREAM_END && z.avail_out == 0;
        inflateEnd(&z);
        if (!is_whole)
            return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" does not unpack to its %zu bytes", a->place, m->name, m->unpacked);
    }
    if (crc32(0, (const Bytef *)to, (uInt)m->unpacked) != m->crc)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" has the wrong checksum: the file is damaged", a->place, m->name);
    return GM_OK;
}

/* The member's bytes, unpacked, with a NUL behind. */
static gm_status take_member(const archive *a, const member *m, char **bytes)
{
    const unsigned char *p = a->bytes + m->offset;
    if (m->offset > a->directory || a->directory - m->offset < 30 || memcmp(p, "PK\3\4", 4) != 0)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is not where the directory says", a->place, m->name);
    const size_t head = 30 + (size_t)u16(p + 26) + u16(p + 28), room = a->directory - m->offset;
    if (m->flags & 1) return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is encrypted", a->place, m->name);
    if (m->method != 0 && m->method != 8)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is packed by method %u; stored (0) and deflated (8) are read", a->place,
                       m->name, m->method);
    if (head > room || m->packed > room - head)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is cut short: %zu bytes of it are said to be here", a->place, m->name,
                       m->packed);
    if (m->unpacked > GM_NPZ_MAX_BYTES)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" has %zu bytes; %zu are the limit", a->place, m->name, m->unpacked,
                       GM_NPZ_MAX_BYTES);
    /* Deflate makes at most 1032 bytes of one. */
    if (m->method == 0 ? m->unpacked != m->packed : m->unpacked / 1032 > m->packed)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" cannot be %zu bytes packed in %zu", a->place, m->name, m->unpacked,
                       m->packed);
    *bytes = gm_malloc(m->unpacked + 1);
    if (*bytes == NULL) return gm_fail(a->err, GM_ERR_NOMEM, "%s: out of memory for \"%s\"", a->place, m->name);
    (*bytes)[m->unpacked] = '\0';
    return unpack(a, m, p + head, *bytes);
}

/* The header is a Python dictionary of three members in any order; this walks it. */
typedef struct cursor { const char *at, *end; } cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n')) c->at++;
}

static bool take(cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

/* A quoted word without escapes, shorter than `room`. */
static bool take_quoted(cursor *c, char *to, size_t room)
{
    skip_blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    const char quote = *c->at++;
    const char *stop = memchr(c->at, quote, (size_t)(c->end - c->at));
    if (stop == NULL || (size_t)(stop - c->at) >= room) return false;
    memcpy(to, c->at, (size_t)(stop - c->at));
    to[stop - c->at] = '\0';
    c->at = stop + 1;
    return true;
}

/* (), (3,) or (3, 4). Numbers stop growing far below overflow. */
static bool take_shape(cursor *c, gm_npy *a)
{
    size_t shape[2] = { 1, 1 };
    a->dims = 0;
    if (!take(c, "(")) return false;
    while (!take(c, ")")) {
        if (a->dims == 2 || c->at == c->end || *c->at < '0' || *c->at > '9') return false;
        size_t n = 0;
        for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && n <= GM_NPZ_MAX_BYTES; c->at++) n = 10 * n + (size_t)(*c->at - '0');
        shape[a->dims++] = n;
        if (!take(c, ",") && !(a->dims == 2 && c->at < c->end && *c->at == ')')) return false;
    }
    a->rows = shape[0];
    a->columns = shape[1];
    return a->rows <= GM_NPZ_MAX_BYTES && a->columns <= GM_NPZ_MAX_BYTES;
}

static bool take_header(cursor c, gm_npy *a, char descr[16])
{
    char key[16];
    bool have_descr = false, have_order = false, have_shape = false;
    if (!take(&c, "{")) return false;
    while (!take(&c, "}")) {
        if (!take_quoted(&c, key, sizeof key) || !take(&c, ":")) return false;
        bool *have = strcmp(key, "descr") == 0           ? &have_descr
                     : strcmp(key, "fortran_order") == 0 ? &have_order
                     : strcmp(key, "shape") == 0         ? &have_shape
                                                         : NULL;
        if (have == NULL || *have) return false;
        if (have == &have_descr) *have = take_quoted(&c, descr, 16);
        if (have == &have_shape) *have = take_shape(&c, a);
        if (have == &have_order) *have = (a->by_column = take(&c, "True")) || take(&c, "False");
        if (!*have) return false;
        if (!take(&c, ",") && (c.at == c.end || *c.at != '}')) return false;
    }
    skip_blanks(&c);
    return have_descr && have_order && have_shape && c.at == c.end;
}

static bool take_type(const char *descr, gm_npy *a)
{
    static const char *const known[] = { "<f4", "<f8", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "|i1", "|u1", "|b1" };
    for (size_t i = 0; i < GM_LEN(known); i++) {
        if (strcmp(descr, known[i]) != 0) continue;
        a->kind = descr[1];
        a->width = (size_t)(descr[2] - '0');
        return true;
    }
    return false;
}

static gm_status parse_array(const archive *a, const member *m, gm_npy *to)
{
    const unsigned char *p = (const unsigned char *)to->bytes;
    char descr[16];
    if (m->unpacked < 12 || memcmp(p, "\x93NUMPY", 6) != 0 || (p[6] != 1 && p[6] != 2) || p[7] != 0)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is no .npy of version 1.0 or 2.0", a->place, m->name);
    const size_t at = p[6] == 1 ? 10 : 12, length = p[6] == 1 ? u16(p + 8) : u32(p + 8);
    if (length > m->unpacked - at) return gm_fail(a->err, GM_ERR_FORMAT, "%s: the header of \"%s\" is cut short", a->place, m->name);
    if (!take_header((cursor) { to->bytes + at, to->bytes + at + length }, to, descr))
        return gm_fail(a->err, GM_ERR_FORMAT,
                       "%s: the header of \"%s\" is not that of an array of numbers with at most two dimensions: %.*s", a->place, m->name,
                       (int)(length < 120 ? length : 120), to->bytes + at);
    if (!take_type(descr, to))
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is of type \"%s\"; 32 and 64 bit floats and integers are read: save it as float32",
                       a->place, m->name, descr);
    const size_t room = m->unpacked - at - length; /* rows and columns are at most 2^26: no overflow */
    if (to->rows * to->columns > GM_NPZ_MAX_BYTES || to->rows * to->columns * to->width != room)
        return gm_fail(a->err, GM_ERR_FORMAT, "%s: \"%s\" is [%zu, %zu] of %zu bytes each, but %zu bytes are there", a->place, m->name,
                       to->rows, to->columns, to->width, room);
    to->data = to->bytes + at + length;
    return GM_OK;
}

gm_status gm_npz_find(const char *place, const void *bytes, size_t size, const char *name, gm_npy *to, gm_err *err)
{
    archive a = { .place = place, .bytes = bytes, .size = size, .err = err };
    member m = { 0 };
    bool have;
    *to = (gm_npy) { 0 };
    if (size > GM_NPZ_MAX_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%s: has %zu bytes; %zu are the limit", place, size, GM_NPZ_MAX_BYTES);
    GM_TRY(find_directory(&a));
    GM_TRY(find_member(&a, name, &m, &have));
    if (!have) return GM_OK;
    gm_status status = take_member(&a, &m, &to->bytes);
    if (status == GM_OK) status = parse_array(&a, &m, to);
    if (status != GM_OK) gm_npy_free(to);
    return status;
}

#else

gm_status gm_npz_find(const char *place, const void *bytes, size_t size, const char *name, gm_npy *to, gm_err *err)
{
    (void)bytes, (void)size, (void)name;
    *to = (gm_npy) { 0 };
    return gm_fail(err, GM_ERR_MISSING, "%s: .npz needs zlib, which this build lacks: install zlib1g-dev and build again", place);
}

#endif

/* A model file is a protocol buffer (sentencepiece_model.proto): pieces in field 1, in field 3 the normaliser, whose
 * field 2 is a table: the size of a double-array trie (darts-clone) as 32 bits, the trie, and texts that end with NUL. */
#include "text/sentencepiece_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PIECES = 1, NORMALIZER = 3, TABLE = 2, UNIT_BYTES = 4 };

typedef struct span {
    const unsigned char *bytes;
    size_t size;
} span;

typedef struct field {
    uint64_t number;
    int wire;     /* 0 number, 1 eight bytes, 2 a size and as many bytes, 5 four bytes */
    span content; /* of wire 2 */
} field;

/* A base-128 number; false where none ends before the end. */
static bool read_number(span s, size_t *at, uint64_t *number)
{
    *number = 0;
    for (int shift = 0; shift < 64 && *at < s.size; shift += 7) {
        const unsigned char byte = s.bytes[(*at)++];
        *number |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* Moves *at behind the field that begins there; false where no whole one does. */
static bool read_field(span s, size_t *at, field *f)
{
    uint64_t tag, size = 0;
    if (!read_number(s, at, &tag)) return false;
    *f = (field){ .number = tag >> 3, .wire = (int)(tag & 7) };
    switch (f->wire) {
    case 0: return read_number(s, at, &size);
    case 1: size = 8; break;
    case 2:
        if (!read_number(s, at, &size)) return false;
        break;
    case 5: size = 4; break;
    default: return false;
    }
    if (size > s.size - *at) return false;
    f->content = (span){ s.bytes + *at, (size_t)size };
    *at += (size_t)size;
    return true;
}

/* ---- the table of normalisation ---- */

static uint32_t unit_at(span trie, size_t i)
{
    const unsigned char *u = trie.bytes + i * UNIT_BYTES;
    return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

/* Where a unit's children stand: at its own index, this, and the child's label put together by exclusive or. */
static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << (unit >> 6 & 8); }

/* True where no unit leads out of the trie, by whatever byte, and no value out of the texts. */
static bool stays_inside(span trie, size_t texts)
{
    const size_t count = trie.size / UNIT_BYTES;
    for (size_t i = 0; i < count; i++) {
        const uint32_t unit = unit_at(trie, i);
        if (unit >> 31 != 0 && i > 0) continue; /* a value: nothing is looked up below it; the root is never taken for one */
        const size_t children = i ^ offset_of(unit);
        if ((children | 0xFF) >= count) return false;
        const bool has_value = unit >> 8 & 1;
        if (has_value && (unit_at(trie, children) & 0x7FFFFFFF) >= texts) return false;
    }
    return true;
}

static bool is_good_table(span table)
{
    if (table.size == 0) return true; /* the text is taken as it stands */
    if (table.size <= UNIT_BYTES) return false;
    const span trie = { table.bytes + UNIT_BYTES, unit_at(table, 0) };
    if (trie.size == 0 || trie.size % UNIT_BYTES != 0 || trie.size >= table.size - UNIT_BYTES) return false;
    return table.bytes[table.size - 1] == '\0' && stays_inside(trie, table.size - UNIT_BYTES - trie.size);
}

static bool is_good_normalizer(span spec)
{
    field f;
    for (size_t at = 0; at < spec.size;) {
        if (!read_field(spec, &at, &f)) return false;
        if (f.number == TABLE && (f.wire != 2 || !is_good_table(f.content))) return false;
    }
    return true;
}

/* ---- the file ---- */

gm_status gm_sentencepiece_check_file(const char *place, const char *bytes, size_t size, gm_err *err)
{
    const span file = { (const unsigned char *)bytes, size };
    bool has_pieces = false, has_normalizer = false;
    field f;
    for (size_t at = 0; at < size;) {
        const size_t first = at;
        if (!read_field(file, &at, &f))
            return gm_fail(err, GM_ERR_FORMAT, "%s: byte %zu begins no whole field of a SentencePiece model: is the file cut short, or no model?",
                           place, first);
        has_pieces |= f.number == PIECES;
        has_normalizer |= f.number == NORMALIZER;
        if (f.number == NORMALIZER && !is_good_normalizer(f.content))
            return gm_fail(err, GM_ERR_FORMAT, "%s: the normaliser's table is damaged: fetch the file again", place);
    }
    if (has_pieces && has_normalizer) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "%s: a SentencePiece model without %s: is the file cut short?", place,
                   has_pieces ? "its normaliser" : "pieces");
}

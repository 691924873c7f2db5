/* libsentencepiece behind C names: the only C++ of the program. No exception leaves this file. The model's own memory
 * comes from C++'s new, not from base/memory.h. */
#include <sentencepiece_processor.h>
#include <utf8proc.h>

#include <memory>
#include <new>
#include <string_view>

extern "C" {
#include "base/memory.h"
#include "text/sentencepiece.h"
#include "text/sentencepiece_file.h"
}

struct gm_sentencepiece {
    sentencepiece::SentencePieceProcessor model;
};

namespace {

/* fairseq's ids, and the model's that they stand for. */
enum { BEGIN, PAD, END, UNKNOWN, SHIFT = 1, MODEL_UNKNOWN = 0, MODEL_BEGIN = 1, MODEL_END = 2, MASK = 1 };

gm_status out_of_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for SentencePiece"); }

gm_status load(const char *place, std::string_view bytes, gm_sentencepiece *s, gm_err *err)
{
    GM_TRY(gm_sentencepiece_check_file(place, bytes.data(), bytes.size(), err));
    const auto status = s->model.LoadFromSerializedProto(bytes);
    if (!status.ok())
        return gm_fail(err, GM_ERR_FORMAT, "%s: SentencePiece cannot read it: %s", place, status.message());
    if (s->model.unk_id() != MODEL_UNKNOWN || s->model.bos_id() != MODEL_BEGIN || s->model.eos_id() != MODEL_END)
        return gm_fail(err, GM_ERR_FORMAT, "%s: <unk> <s> </s> are %d %d %d, expected 0 1 2: is this XLM-R's model?", place,
                       s->model.unk_id(), s->model.bos_id(), s->model.eos_id());
    return GM_OK;
}

/* The character at byte `at`; *next becomes the byte behind it. */
utf8proc_int32_t character(std::string_view text, size_t at, size_t *next)
{
    utf8proc_int32_t code = 0;
    const auto left = static_cast<utf8proc_ssize_t>(text.size() - at);
    *next = at + static_cast<size_t>(utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t *>(text.data()) + at, left, &code));
    return code;
}

/* What XLM-R's normalisation (nmt_nfkc) turns into blanks or drops. */
bool is_blank(utf8proc_int32_t code)
{
    const auto category = utf8proc_category(code);
    if (category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP) return true;
    return code < ' ' || code == 0x7F || code == 0x8F || code == 0x9F || code == 0x61C || code == 0x200B || code == 0x200C ||
           code == 0x200E || code == 0x200F || code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
}

/* The model's ranges take in blanks, and what is dropped, before a piece, and are empty for all but the last piece of one character that
 * becomes several. Here, as in `tokenizers`, blanks belong to no piece, and such pieces share the character, as does
 * the mark of a word's beginning where it is a piece of its own. */
gm_piece piece_of(std::string_view text, int32_t id, size_t begin, size_t end)
{
    size_t next = begin;
    while (begin < end && is_blank(character(text, begin, &next))) begin = next;
    if (begin >= end && begin < text.size()) character(text, begin, &end);
    return { id, static_cast<int32_t>(begin), static_cast<int32_t>(end) };
}

gm_status encode(const gm_sentencepiece *s, std::string_view text, gm_pieces *out, gm_err *err)
{
    sentencepiece::ImmutableSentencePieceText pieces;
    const auto status = s->model.Encode(text, pieces.mutable_proto());
    if (!status.ok()) return gm_fail(err, GM_ERR_DATA, "SentencePiece cannot encode the text: %s", status.message());
    for (const auto &piece : pieces.pieces()) {
        const int id = static_cast<int>(piece.id());
        const gm_piece own = piece_of(text, id == MODEL_UNKNOWN ? UNKNOWN : id + SHIFT, piece.begin(), piece.end());
        GM_TRY(gm_pieces_add(out, own, err));
    }
    return GM_OK;
}

} // namespace

extern "C" gm_status gm_sentencepiece_parse(const char *place, const char *bytes, size_t size, gm_sentencepiece **s, gm_err *err)
{
    *s = nullptr;
    try {
        auto made = std::make_unique<gm_sentencepiece>();
        GM_TRY(load(place, std::string_view(bytes, size), made.get(), err));
        *s = made.release();
        return GM_OK;
    } catch (const std::bad_alloc &) {
        return out_of_memory(err);
    } catch (...) {
        return gm_fail(err, GM_ERR_FORMAT, "%s: SentencePiece gives up on the file", place);
    }
}

extern "C" void gm_sentencepiece_destroy(gm_sentencepiece *s) { delete s; }

extern "C" int32_t gm_sentencepiece_size(const gm_sentencepiece *s) { return s->model.GetPieceSize() + SHIFT + MASK; }

extern "C" gm_special_ids gm_sentencepiece_special(const gm_sentencepiece *)
{
    return { BEGIN, END, PAD, UNKNOWN };
}

extern "C" gm_status gm_sentencepiece_encode(const gm_sentencepiece *s, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    const size_t before = out->count;
    gm_status status = gm_text_check(text, n, err);
    if (status != GM_OK) return status;
    try {
        status = encode(s, std::string_view(text, n), out, err);
    } catch (const std::bad_alloc &) {
        status = out_of_memory(err);
    } catch (...) {
        status = gm_fail(err, GM_ERR_DATA, "SentencePiece gives up on the text");
    }
    if (status != GM_OK) out->count = before;
    return status;
}

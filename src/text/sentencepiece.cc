/* libsentencepiece behind C names: the only C++ of the program. No exception leaves this file. The model's own memory
 * comes from C++'s new, not from base/memory.h. */
#include <sentencepiece_processor.h>

#include <memory>
#include <new>
#include <string_view>

extern "C" {
#include "base/memory.h"
#include "text/sentencepiece.h"
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
    const auto status = s->model.LoadFromSerializedProto(bytes);
    if (!status.ok())
        return gm_fail(err, GM_ERR_FORMAT, "%s: SentencePiece cannot read it: %s", place, status.message());
    if (s->model.unk_id() != MODEL_UNKNOWN || s->model.bos_id() != MODEL_BEGIN || s->model.eos_id() != MODEL_END)
        return gm_fail(err, GM_ERR_FORMAT, "%s: <unk> <s> </s> are %d %d %d, expected 0 1 2: is this XLM-R's model?", place,
                       s->model.unk_id(), s->model.bos_id(), s->model.eos_id());
    return GM_OK;
}

gm_status encode(const gm_sentencepiece *s, std::string_view text, gm_pieces *out, gm_err *err)
{
    sentencepiece::ImmutableSentencePieceText pieces;
    const auto status = s->model.Encode(text, pieces.mutable_proto());
    if (!status.ok()) return gm_fail(err, GM_ERR_DATA, "SentencePiece cannot encode the text: %s", status.message());
    for (const auto &piece : pieces.pieces()) {
        const int id = static_cast<int>(piece.id());
        const gm_piece own = { id == MODEL_UNKNOWN ? UNKNOWN : id + SHIFT, static_cast<int32_t>(piece.begin()),
                               static_cast<int32_t>(piece.end()) };
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

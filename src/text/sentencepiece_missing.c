/* What stands in for text/sentencepiece.cc in a build without libsentencepiece. */
#include "text/sentencepiece.h"

#if !GM_HAVE_SENTENCEPIECE

gm_status gm_sentencepiece_parse(const char *place, const char *bytes, size_t size, gm_sentencepiece **s, gm_err *err)
{
    (void)bytes, (void)size;
    *s = NULL;
    return gm_fail(err, GM_ERR_MISSING, "%s: XLM-R's tokenizer needs SentencePiece, which this build lacks: install libsentencepiece-dev and a C++ compiler, and build again",
                   place);
}

void gm_sentencepiece_destroy(gm_sentencepiece *s) { (void)s; }

int32_t gm_sentencepiece_size(const gm_sentencepiece *s)
{
    (void)s;
    return 0;
}

gm_special_ids gm_sentencepiece_special(const gm_sentencepiece *s)
{
    (void)s;
    return (gm_special_ids){ 0 };
}

gm_status gm_sentencepiece_encode(const gm_sentencepiece *s, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    (void)s, (void)text, (void)n, (void)out;
    return gm_fail(err, GM_ERR_MISSING, "this build lacks SentencePiece");
}

#endif

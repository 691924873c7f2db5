/* One interface over the tokenizers of the encoders that this release knows: ids and byte ranges equal to those of
 * Hugging Face `tokenizers`. Thread-safe once loaded.
 *
 *   kind            encoder (model_type)  files                        sentence
 *   bert            bert                  vocab.txt                    [CLS] x [SEP]
 *   mpnet           mpnet                 vocab.txt                    <s> x </s>
 *   roberta         roberta               vocab.json, merges.txt       <s> x </s>    needs PCRE2 at build time
 *   xlm-roberta     xlm-roberta           sentencepiece.bpe.model      <s> x </s>    needs SentencePiece at build time
 *
 * The names of special pieces are text where they stand in a text: "[SEP]" in a tweet does not end a sentence. */
#ifndef GM_TEXT_TOKENIZER_H
#define GM_TEXT_TOKENIZER_H

#include "text/pieces.h"

typedef enum gm_tokenizer_kind {
    GM_TOKENIZER_BERT,
    GM_TOKENIZER_MPNET,
    GM_TOKENIZER_ROBERTA,
    GM_TOKENIZER_XLM_ROBERTA,
    GM_TOKENIZER_KINDS
} gm_tokenizer_kind;

typedef struct gm_tokenizer gm_tokenizer;

/* Reads the tokenizer of a Hugging Face folder. Its kind is that of "tokenizer_class" in tokenizer_config.json; where
 * that is missing or says nothing (PreTrainedTokenizerFast), of "model_type" in config.json if that kind's files are
 * there, else of the files that are there. Messages name the file and the reason; a kind whose library this build lacks
 * is GM_ERR_MISSING naming the Debian package. *t is NULL after a failure. */
gm_status gm_tokenizer_load(const char *folder, gm_tokenizer **t, gm_err *err);
/* A tokenizer of kind bert from a vocab.txt in memory, which is copied; `place` stands in messages. */
gm_status gm_tokenizer_parse_bert(const char *place, const char *vocab, size_t bytes, bool lower_case, gm_tokenizer **t,
                                  gm_err *err);
void gm_tokenizer_destroy(gm_tokenizer *t); /* takes NULL */

gm_tokenizer_kind gm_tokenizer_kind_of(const gm_tokenizer *t);
const char *gm_tokenizer_kind_name(gm_tokenizer_kind kind); /* the model_type of its encoder: "xlm-roberta" */
/* Ids are below it; what config.json's "vocab_size" must reach. */
int32_t gm_tokenizer_size(const gm_tokenizer *t);
/* True where case is lost: WordPiece with lower case. */
bool gm_tokenizer_is_uncased(const gm_tokenizer *t);

gm_special_ids gm_tokenizer_special(const gm_tokenizer *t);

/* Appends the pieces of a text, without begin and end. RoBERTa's text is read as if a blank stood before it
 * (add_prefix_space), XLM-R's always has one. Bad UTF-8 or a NUL: GM_ERR_DATA with the offset; `out` stays as it was. */
gm_status gm_tokenizer_encode(const gm_tokenizer *t, const char *text, size_t n, gm_pieces *out, gm_err *err);

/* A sentence given by its words, each encoded alone (transformers' is_split_into_words; RoBERTa's each with a blank
 * before it). A word without pieces becomes one unknown piece. Words are kept while they fit whole into max_len with
 * begin and end; where not even the first one fits, its first max_len - 2 pieces are kept. */
gm_status gm_tokenizer_sentence(const gm_tokenizer *t, char *const *words, int32_t count, int32_t max_len, gm_encoded *out,
                                gm_err *err);

/* The files this tokenizer was made of, as they came; written into a folder beside config.json they make it again.
 * The tokenizer owns names and bytes. */
typedef struct gm_tokenizer_file { const char *name; const char *bytes; size_t size; } gm_tokenizer_file;
int32_t gm_tokenizer_file_count(const gm_tokenizer *t);
gm_tokenizer_file gm_tokenizer_file_at(const gm_tokenizer *t, int32_t i);

#endif

/* Samples ready for the encoder, and batches of them: packed, never padded, one block of memory each. Heads see words
 * only; gold for scoring stays in the records. */
#ifndef GM_MODEL_BATCH_H
#define GM_MODEL_BATCH_H

#include "backend/device_memory.h"
#include "data/labels.h"
#include "data/records.h"
#include "model/scene.h"
#include "tensor/tensor.h"
#include "text/shape.h"
#include "text/tokenizer.h"

enum { GM_SPAN_WIDTHS = 8 };      /* widest span of the span head, in words */
enum { GM_SHAPE_BAG = 3 };        /* shapes that a word is shown: of the word before it, its own, of the one behind it */

/* A record as the encoder reads it. */
struct gm_sample {
    const gm_record *record;      /* the caller's */
    gm_encoded text;              /* pieces; text.words may be fewer than the record's: the sentence was cut */
    gm_span *gold;                /* entities whose words were all kept, typed */
    int32_t gold_count;
    uint8_t *gold_fine;           /* [gold_count] class of the fine type or GM_NO_LABEL; NULL: not asked for */
    gm_picture picture;           /* by gm_picture_take */
    uint8_t *shape;               /* [text.words] gm_shape of each word that was kept */
    uint32_t key;                 /* FNV-1a of the id: the sample's dropout */
};

typedef struct gm_dataset {
    gm_records records;
    gm_sample *samples;           /* [records.count] */
    int64_t pieces, words, entities;
    int64_t cut_sentences, cut_words; /* lost to the model's length */
    int64_t lost_to_cut, lost_to_width; /* entities that a span head cannot learn; they stay in the gold count */
} gm_dataset;

/* with_gold: entities get types by `labels`; a type it lacks is GM_ERR_DATA naming the record. */
gm_status gm_sample_make(gm_sample *s, const gm_record *r, const gm_tokenizer *tokenizer, const gm_labels *labels, int32_t max_len,
                         bool with_gold, gm_err *err);
void gm_sample_free(gm_sample *s);

/* Takes over the records' memory, also when it fails. */
gm_status gm_dataset_make(gm_dataset *d, gm_records *records, const gm_tokenizer *tokenizer, const gm_labels *labels, int32_t max_len, gm_err *err);
/* Fine classes of all gold by these labels (none: nothing is done); a type they lack is GM_ERR_DATA naming the record. */
gm_status gm_dataset_name_fine(gm_dataset *d, const gm_labels *fine, gm_err *err);
void gm_dataset_free(gm_dataset *d);

/* Rows of the word-embedding table that a step touches, in order of first use. Nothing here is proportional to the
 * vocabulary but its two arrays, made once. */
typedef struct gm_touched {
    uint32_t *stamp;              /* [vocabulary] number of the step that met the row last */
    int32_t *slot;                /* [vocabulary] */
    int32_t *row;                 /* [count] the list itself */
    size_t capacity;
    int32_t count, vocabulary;
    uint32_t now;
} gm_touched;
gm_status gm_touched_make(gm_touched *t, int32_t vocabulary, gm_err *err);
void gm_touched_begin(gm_touched *t);
void gm_touched_free(gm_touched *t);

struct gm_batch {
    gm_pack tokens, words;        /* these nine in device memory */
    gm_pack firsts;               /* words as the encoder knows them: by the place of their first piece */
    const int32_t *ids;           /* [tokens] */
    const int32_t *slot;          /* [tokens] place of the id among the touched rows; ids themselves without gm_touched */
    const int32_t *first_piece;   /* [words] row of each word's first piece */
    const int32_t *word_row;      /* [words] row of each word: 0, 1, ... */
    const uint8_t *span_label;    /* [words * GM_SPAN_WIDTHS] 0 none, type + 1, 255 beyond the sentence */
    const int32_t *tag;           /* [words] */
    const uint8_t *token_shape;   /* [tokens, GM_SHAPE_BAG] of the word of each piece: k * GM_SHAPES + gm_shape */
    const uint8_t *word_shape;    /* [words, GM_SHAPE_BAG] */
    const int32_t *word_cu;       /* [sentences + 1] words.cu as the host reads it */
    int32_t sentences;            /* those with samples; the packs may hold empty ones behind them */
    gm_device *dev;               /* whose memory; NULL: the host's. Set before the first filling */
    gm_scene scene;               /* by gm_scene_fill, where the model sees pictures */
    gm_mirror block;              /* all of the above but the scene */
};

typedef struct gm_batch_options {
    gm_tag_scheme scheme;
    uint32_t draw;                /* of dropout: the step */
    const uint32_t *draws;        /* one for each sample instead; NULL: none */
    gm_touched *touched;          /* NULL: slot = ids */
    bool is_exact;                /* capacities are what the samples need, on the cpu: see gm_packed_serves */
    int32_t tokens, words, sequences; /* capacities of at least so many, for captured steps; 0: what the samples need */
} gm_batch_options;

/* Blocks for batches of up to these sizes, so that none of them moves later. */
gm_status gm_batch_reserve(gm_batch *b, int32_t sequences, int32_t tokens, int32_t words, gm_err *err);
/* Fills the batch from samples in this order and sends it to the device; its blocks are reused and grow only when they
 * must. On a device the copy is under way when this returns: the batch is filled again only after a sync. */
gm_status gm_batch_fill(gm_batch *b, const gm_sample *const *samples, int32_t count, gm_batch_options o, gm_err *err);
void gm_batch_free(gm_batch *b);  /* before its device */
/* So many rows, and those that round them up: products of few shapes, few plans. */
int32_t gm_batch_capacity(const gm_batch *b, int32_t rows);

#endif

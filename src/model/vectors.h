/* Vectors of texts and of whole pictures, to compare samples by (mllm/similar.h). A text's is the mean of the encoder's last states
 * over all of its pieces, the ones that begin and end it included, of unit length: what all-MiniLM-L6-v2 and all-mpnet-base-v2
 * were trained for (Reimers and Gurevych 2019). A picture's is what a frozen vision encoder makes of the whole of it. */
#ifndef GM_MODEL_VECTORS_H
#define GM_MODEL_VECTORS_H

#include "model/look.h"

enum { GM_VECTOR_PIECES = 256 }; /* of a text: what is behind them is not read, as sentence-transformers does with MiniLM */

typedef struct gm_text_encoder {
    gm_encoder encoder;
    gm_params params;
    gm_tokenizer *tokenizer;
    int32_t max_len;
} gm_text_encoder;

/* Reads the encoder of a Hugging Face folder, or of a model folder that training wrote, and places it on the workers' device. */
gm_status gm_text_encoder_open(const char *folder, gm_workers *w, gm_text_encoder *e, gm_err *err);
void gm_text_encoder_close(gm_text_encoder *e); /* before the workers; takes a zeroed one */
static inline int32_t gm_text_encoder_width(const gm_text_encoder *e) { return e->encoder.config.hidden; }

/* to [count, width]. A text's vector does not depend on the others within what conventions allow (1e-5). */
gm_status gm_text_vectors(const gm_text_encoder *e, gm_workers *w, const char *const *texts, size_t count, float *to, gm_err *err);

/* Where pictures come from and what looks at them. */
typedef struct gm_picture_vectors {
    const char *encoder; /* folder of a CLIP */
    const char *cache;   /* folder where vectors are kept, or "" */
} gm_picture_vectors;

/* *to [records, *width], gm_malloc'ed: of each record's picture, shrunk to the encoder's square as a whole, not cut to its middle. A
 * picture that is missing or broken is reported in the log and has a row of zeros. */
gm_status gm_image_vectors(const gm_picture_vectors *o, const char *images, gm_workers *w, const gm_records *records, float **to, int32_t *width, gm_err *err);

#endif

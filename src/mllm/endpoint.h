/* An endpoint: where a multimodal language model answers, and how it is to be treated. Read from a JSON file (docs/mllm.md);
 * endpoint_keys.def is the one list of its keys. The API key never stands in the file: the file names an environment
 * variable, and what stands in that is sent to the endpoint and nowhere else. */
#ifndef GM_MLLM_ENDPOINT_H
#define GM_MLLM_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "data/records.h"

/* How the answer's form is asked for. The answer is validated by the caller in any case. */
typedef enum gm_mllm_format { GM_MLLM_FORMAT_NONE, GM_MLLM_FORMAT_JSON_OBJECT, GM_MLLM_FORMAT_JSON_SCHEMA } gm_mllm_format;

/* What the model's boxes are counted in: pixels of the picture in the data set, pixels of the picture that was sent, or
 * thousandths of its sides. */
typedef enum gm_mllm_coordinates {
    GM_MLLM_COORDINATES_PIXELS,
    GM_MLLM_COORDINATES_RESIZED,
    GM_MLLM_COORDINATES_THOUSANDTHS
} gm_mllm_coordinates;

typedef enum gm_mllm_picture { GM_MLLM_PICTURE_JPEG, GM_MLLM_PICTURE_PNG } gm_mllm_picture;

typedef struct gm_mllm_endpoint {
#define GM_ENDPOINT_TEXT(field, key, start, help) char *field;
#define GM_ENDPOINT_INT(field, key, start, least, most, help) int64_t field;
#define GM_ENDPOINT_NUM(field, key, start, least, most, help) double field;
#define GM_ENDPOINT_BOOL(field, key, start, help) bool field;
#define GM_ENDPOINT_CHOICE(field, key, start, names, help) int32_t field;
#define GM_ENDPOINT_OBJECT(field, key, help) char *field;
#include "mllm/endpoint_keys.def"
} gm_mllm_endpoint;

/* All keys at their defaults: url and model are "". */
gm_status gm_mllm_endpoint_default(gm_mllm_endpoint *e, gm_err *err);
/* An unknown or repeated key, a value out of range, a key (or a password) in the url: all are errors that name the place. */
gm_status gm_mllm_endpoint_read(const char *path, gm_mllm_endpoint *e, gm_err *err);
gm_status gm_mllm_endpoint_parse(const char *place, const char *json, size_t size, gm_mllm_endpoint *e, gm_err *err);
/* Whether key_env names a key and it may go to this url: GM_ERR_CONFIG for plain http to another host (allow_plain_key). */
gm_status gm_mllm_endpoint_check_key(const gm_mllm_endpoint *e, gm_err *err);
bool gm_mllm_endpoint_is_local(const gm_mllm_endpoint *e); /* whether the url's host is this machine */
/* What its answers are kept under: its name, or its url where it has none. */
const char *gm_mllm_endpoint_name(const gm_mllm_endpoint *e);
/* Of so many tokens of requests and answers, in the currency of its prices. */
double gm_mllm_endpoint_cost(const gm_mllm_endpoint *e, double tokens_in, double tokens_out);
void gm_mllm_endpoint_free(gm_mllm_endpoint *e); /* takes a zeroed one */
/* The table of keys in Markdown, as docs/mllm.md shows it. */
gm_status gm_mllm_endpoint_markdown(gm_buffer *to, gm_err *err);

/* How a picture of width x height is shown to the model: sent at another size, and its boxes spoken of in the endpoint's
 * coordinates. */
typedef struct gm_mllm_view {
    int32_t width, height;           /* of the picture in the data set */
    int32_t sent_width, sent_height; /* of the picture that is sent */
    double scale_x, scale_y;         /* sent pixels of one pixel */
    gm_mllm_coordinates coordinates;
} gm_mllm_view;

gm_mllm_view gm_mllm_view_of(const gm_mllm_endpoint *e, int32_t width, int32_t height);
/* A box of the data set as it is written into a prompt, and four numbers of an answer as a box of the data set; whole numbers,
 * halves to even. Neither sorts corners nor clips. */
void gm_mllm_box_to_prompt(const gm_mllm_view *v, gm_box box, int32_t out[4]);
gm_box gm_mllm_box_from_answer(const gm_mllm_view *v, const double in[4]);

#endif

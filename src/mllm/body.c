/* The JSON body of a chat completion. Pictures are always decoded and written anew: what the model sees then has no EXIF
 * orientation that some servers would apply and others not, and its boxes mean the same everywhere. */
#include "mllm/request.h"

#include <string.h>

#include "base/memory.h"
#include "image/image.h"

const char *const gm_mllm_outcome_names[GM_MLLM_OUTCOMES] = { "answered", "cached", "refused", "failed", "unsent" };

static gm_status add(gm_buffer *to, const char *text, gm_err *err) { return gm_buffer_add(to, text, strlen(text), err); }

static gm_status add_text(gm_buffer *to, const char *what, const char *text, gm_err *err)
{
    size_t bad;
    if (!gm_utf8_valid(text, strlen(text), &bad)) return gm_fail(err, GM_ERR_DATA, "%s: byte %zu is not UTF-8 text", what, bad + 1);
    return gm_buffer_json_string(to, text, err);
}

static gm_status add_base64(gm_buffer *to, const uint8_t *bytes, size_t size, gm_err *err)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[4 * 256];
    for (size_t at = 0; at < size;) {
        size_t n = 0;
        for (; at < size && n < sizeof line; at += 3, n += 4) {
            const size_t left = size - at;
            const uint32_t three = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) | (left > 2 ? bytes[at + 2] : 0);
            line[n] = digit[three >> 18];
            line[n + 1] = digit[three >> 12 & 63];
            line[n + 2] = left > 1 ? digit[three >> 6 & 63] : '=';
            line[n + 3] = left > 2 ? digit[three & 63] : '=';
        }
        GM_TRY(gm_buffer_add(to, line, n, err));
    }
    return GM_OK;
}

/* The picture as it is sent: PNG or JPEG bytes. */
static gm_status prepare(const gm_mllm_endpoint *e, const gm_mllm_part *part, gm_buffer *to, gm_err *err)
{
    gm_image whole = { 0 }, sent = { 0 };
    gm_status status = part->image_path != NULL ? gm_image_read(part->image_path, &whole, err)
                                                : gm_image_decode("picture", part->image, part->image_bytes, &whole, err);
    if (status != GM_OK) return status;
    const gm_mllm_view v = gm_mllm_view_of(e, whole.width, whole.height);
    const gm_image *shown = &whole;
    if (v.sent_width != whole.width || v.sent_height != whole.height) {
        const gm_box all = { 0.0, 0.0, (double)whole.width, (double)whole.height };
        status = gm_image_resize(&whole, all, v.sent_width, v.sent_height, &sent, err);
        shown = &sent;
    }
    if (status == GM_OK && e->picture == GM_MLLM_PICTURE_PNG) status = gm_image_encode_png(shown, to, err);
    if (status == GM_OK && e->picture == GM_MLLM_PICTURE_JPEG) status = gm_image_encode_jpeg(shown, (int)e->picture_quality, to, err);
    gm_image_free(&whole);
    gm_image_free(&sent);
    return status;
}

static gm_status add_picture(const gm_mllm_endpoint *e, const gm_mllm_part *part, gm_buffer *to, gm_err *err)
{
    gm_buffer bytes = { 0 };
    gm_status status = prepare(e, part, &bytes, err);
    if (status == GM_OK)
        status = gm_buffer_printf(to, err, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/%s;base64,",
                                  e->picture == GM_MLLM_PICTURE_PNG ? "png" : "jpeg");
    if (status == GM_OK) status = add_base64(to, (const uint8_t *)bytes.data, bytes.size, err);
    if (status == GM_OK) status = add(to, "\"}}", err);
    gm_buffer_free(&bytes);
    return status;
}

/* Some servers of text models know a message only as one string, so parts are used where there is a picture. */
static gm_status add_joined(const gm_mllm_request *r, gm_buffer *to, gm_err *err)
{
    gm_buffer text = { 0 };
    gm_status status = gm_buffer_add(&text, "", 0, err);
    for (int32_t i = 0; i < r->part_count && status == GM_OK; i++)
        status = gm_buffer_printf(&text, err, "%s%s", i > 0 ? "\n" : "", r->parts[i].text);
    if (status == GM_OK) status = add_text(to, "the request's text", text.data, err);
    gm_buffer_free(&text);
    return status;
}

static gm_status add_parts(const gm_mllm_endpoint *e, const gm_mllm_request *r, gm_buffer *to, gm_err *err)
{
    for (int32_t i = 0; i < r->part_count; i++) {
        GM_TRY(add(to, i > 0 ? "," : "[", err));
        if (r->parts[i].text == NULL) {
            GM_TRY(add_picture(e, &r->parts[i], to, err));
            continue;
        }
        GM_TRY(add(to, "{\"type\":\"text\",\"text\":", err));
        GM_TRY(add_text(to, "the request's text", r->parts[i].text, err));
        GM_TRY(add(to, "}", err));
    }
    return add(to, "]", err);
}

static gm_status add_messages(const gm_mllm_endpoint *e, const gm_mllm_request *r, int32_t pictures, gm_buffer *to, gm_err *err)
{
    GM_TRY(add(to, ",\"messages\":[", err));
    if (r->system != NULL) {
        GM_TRY(add(to, "{\"role\":\"system\",\"content\":", err));
        GM_TRY(add_text(to, "the request's system text", r->system, err));
        GM_TRY(add(to, "},", err));
    }
    GM_TRY(add(to, "{\"role\":\"user\",\"content\":", err));
    GM_TRY(pictures > 0 ? add_parts(e, r, to, err) : add_joined(r, to, err));
    return add(to, "}]", err);
}

/* OpenAI's strict mode; servers that know a schema under another name take theirs from the endpoint's `extra`. */
static gm_status add_format(const gm_mllm_endpoint *e, const gm_mllm_request *r, gm_buffer *to, gm_err *err)
{
    if (e->format == GM_MLLM_FORMAT_NONE || r->schema == NULL) return GM_OK;
    if (e->format == GM_MLLM_FORMAT_JSON_OBJECT) return add(to, ",\"response_format\":{\"type\":\"json_object\"}", err);
    GM_TRY(add(to, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":", err));
    GM_TRY(add_text(to, "the schema's name", r->schema_name != NULL ? r->schema_name : "answer", err));
    return gm_buffer_printf(to, err, ",\"strict\":true,\"schema\":%s}}", r->schema);
}

/* The members of `extra`, which is a whole object, behind the others. */
static gm_status add_extra(const gm_mllm_endpoint *e, gm_buffer *to, gm_err *err)
{
    gm_json_member m;
    for (const char *at = e->extra; gm_json_next_member(&at, &m);) {
        GM_TRY(gm_buffer_printf(to, err, ",\"%.*s\":", (int)m.key_len, m.key));
        GM_TRY(gm_buffer_add(to, m.value, m.value_len, err));
    }
    return GM_OK;
}

gm_status gm_mllm_body(const gm_mllm_endpoint *e, const gm_mllm_request *r, gm_buffer *to, int64_t *tokens, gm_err *err)
{
    int32_t pictures = 0;
    size_t text_bytes = r->system != NULL ? strlen(r->system) : 0;
    for (int32_t i = 0; i < r->part_count; i++) {
        pictures += r->parts[i].text == NULL;
        text_bytes += r->parts[i].text != NULL ? strlen(r->parts[i].text) : 0;
    }
    const int64_t answer = r->max_tokens > 0 ? r->max_tokens : e->max_tokens;
    /* Three bytes a token is below what tokenizers reach on English text, and near it on Chinese. */
    *tokens = (int64_t)text_bytes / 3 + 16 + pictures * e->picture_tokens + answer;
    to->size = 0;
    GM_TRY(add(to, "{\"model\":", err));
    GM_TRY(add_text(to, "the endpoint's model", e->model, err));
    GM_TRY(add_messages(e, r, pictures, to, err));
    GM_TRY(add(to, ",", err));
    GM_TRY(add_text(to, "max_tokens_key", e->max_tokens_key, err));
    GM_TRY(gm_buffer_printf(to, err, ":%lld", (long long)answer));
    if (r->temperature >= 0.0) GM_TRY(gm_buffer_printf(to, err, ",\"temperature\":%.15g", r->temperature));
    if (r->seed >= 0) GM_TRY(gm_buffer_printf(to, err, ",\"seed\":%lld", (long long)r->seed));
    GM_TRY(add_format(e, r, to, err));
    GM_TRY(add_extra(e, to, err));
    return add(to, "}", err);
}

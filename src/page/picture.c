/* A sample's picture: made small, put into the page as text, with the boxes over it in its own pixels. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "image/image.h"
#include "page/parts.h"

enum { LONGEST = 480, QUALITY = 85 };

static gm_status add_base64(gm_buffer *out, const char *bytes, size_t n, gm_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t all =
            (uint32_t)b[i] << 16 | (i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0);
        const char four[] = { digits[all >> 18], digits[all >> 12 & 63], i + 1 < n ? digits[all >> 6 & 63] : '=',
                              i + 2 < n ? digits[all & 63] : '=' };
        GM_TRY(gm_buffer_add(out, four, sizeof four, err));
    }
    return GM_OK;
}

/* JPEG, for a page of photographs as PNG would be ten times as large; PNG where the build lacks it. */
static gm_status add_data_url(gm_buffer *out, const gm_image *image, gm_err *err)
{
    gm_buffer bytes = { 0 };
    const char *kind = "jpeg";
    gm_status status = gm_image_encode_jpeg(image, QUALITY, &bytes, err);
    if (status == GM_ERR_MISSING) {
        kind = "png";
        status = gm_image_encode_png(image, &bytes, err);
    }
    if (status == GM_OK) status = gm_buffer_printf(out, err, "data:image/%s;base64,", kind);
    if (status == GM_OK) status = add_base64(out, bytes.data, bytes.size, err);
    gm_buffer_free(&bytes);
    return status;
}

/* No larger than it is shown. */
static gm_status shrink(gm_image *image, gm_err *err)
{
    const int32_t longer = image->width > image->height ? image->width : image->height;
    if (longer <= LONGEST) return GM_OK;
    const double scale = (double)LONGEST / longer;
    const int32_t width = (int32_t)fmax(1, round(image->width * scale)),
                  height = (int32_t)fmax(1, round(image->height * scale));
    gm_image small = { 0 };
    GM_TRY(gm_image_resize(image, (gm_box) { 0, 0, image->width, image->height }, width, height, &small, err));
    gm_image_free(image);
    *image = small;
    return GM_OK;
}

static gm_status add_box(gm_buffer *out, const gm_page_sample *s, const gm_record *r, const gm_entity *e, gm_box b,
                         int32_t number, double unit, gm_err *err)
{
    const bool is_gold = r == s->gold;
    const int color = gm_page_color(s->types, e->type);
    if (!gm_box_is_valid(b)) return GM_OK;
    GM_TRY(gm_buffer_printf(out, err, "<g class=\"%s t%d\"%s", is_gold ? "gold" : "box", color,
                            is_gold ? "" : " data-entity=\""));
    if (!is_gold) GM_TRY(gm_buffer_printf(out, err, "%d\"", number));
    GM_TRY(gm_buffer_printf(out, err, "><title>%s", is_gold ? "gold: " : ""));
    GM_TRY(gm_page_name(out, r, e, err));
    GM_TRY(gm_buffer_add(out, " (", 2, err));
    GM_TRY(gm_page_text(out, e->type, err));
    GM_TRY(gm_buffer_printf(out, err, ")</title><rect x=\"%.6g\" y=\"%.6g\" width=\"%.6g\" height=\"%.6g\"/>", b.x1,
                            b.y1, b.x2 - b.x1, b.y2 - b.y1));
    if (!is_gold)
        GM_TRY(gm_buffer_printf(
            out, err,
            "<circle cx=\"%.6g\" cy=\"%.6g\" r=\"%.4g\"/><text x=\"%.6g\" y=\"%.6g\" font-size=\"%.4g\">%d</text>",
            fmax(b.x1, 0) + unit, fmax(b.y1, 0) + unit, unit, fmax(b.x1, 0) + unit, fmax(b.y1, 0) + 1.45 * unit,
            1.3 * unit, number));
    return gm_buffer_add(out, "</g>", 4, err);
}

static gm_status add_boxes(gm_buffer *out, const gm_page_sample *s, const gm_record *r, double unit, gm_err *err)
{
    for (int32_t i = 0; r != NULL && i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        for (int32_t k = 0; k < e->box_count; k++) GM_TRY(add_box(out, s, r, e, e->boxes[k], i + 1, unit, err));
    }
    return GM_OK;
}

/* `image` NULL: boxes on an empty ground of the size that the record gives. */
static gm_status add_drawing(gm_buffer *out, const gm_page_sample *s, const gm_image *image, int32_t width,
                             int32_t height, gm_err *err)
{
    const double unit = fmax(width, height) / 36.0;
    GM_TRY(gm_buffer_printf(
        out, err, "<svg viewBox=\"0 0 %d %d\" style=\"max-width:%dpx\" role=\"img\" aria-label=\"picture %d\">", width,
        height, width > height ? LONGEST : (int)((int64_t)LONGEST * width / height) + 1, s->number));
    if (image != NULL) {
        GM_TRY(gm_buffer_printf(out, err, "<image width=\"%d\" height=\"%d\" href=\"", width, height));
        GM_TRY(add_data_url(out, image, err));
        GM_TRY(gm_buffer_add(out, "\"/>", 3, err));
    } else {
        GM_TRY(gm_buffer_printf(out, err, "<rect class=\"none\" width=\"%d\" height=\"%d\"/>", width, height));
    }
    GM_TRY(add_boxes(out, s, s->gold, unit, err));
    GM_TRY(add_boxes(out, s, s->pred, unit, err));
    return gm_buffer_printf(out, err, "</svg>");
}

/* Reads the picture; `why` says what stands in the way, "" when nothing does. Only lack of memory is an error. */
static gm_status read_picture(const gm_page_options *o, const char *name, gm_image *image, gm_err *why, gm_err *err)
{
    if (!gm_image_name_is_inside(name)) {
        gm_fail(why, GM_ERR_DATA, "the picture's name \"%s\" leads outside the folder", name);
        return GM_OK;
    }
    char *path = gm_path_join(o->images, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "page: no memory for a path");
    gm_status status = gm_image_read(path, image, why);
    gm_free(path);
    if (status == GM_ERR_NOMEM) return gm_fail(err, status, "page: %s", why->text);
    return GM_OK;
}

static gm_status add_excuse(gm_buffer *out, const char *text, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "<p class=\"none\">no picture: "));
    GM_TRY(gm_page_text(out, text, err));
    return gm_buffer_printf(out, err, "</p>");
}

gm_status gm_page_picture(gm_buffer *out, const gm_page_sample *s, bool *is_shown, gm_err *err)
{
    const gm_record *r = s->pred != NULL && s->pred->image != NULL ? s->pred : s->gold != NULL ? s->gold : s->pred;
    gm_image image = { 0 };
    gm_err why = { 0 };
    *is_shown = false;
    if (r->image == NULL) return add_excuse(out, "the record names none", err);
    if (s->o->images == NULL || s->o->images[0] == '\0')
        gm_fail(&why, GM_ERR_DATA, "no folder of pictures was given");
    else
        GM_TRY(read_picture(s->o, r->image, &image, &why, err));
    gm_status status = GM_OK;
    if (image.rgb != NULL) {
        const int32_t width = image.width, height = image.height;
        *is_shown = true;
        status = shrink(&image, err);
        if (status == GM_OK) status = add_drawing(out, s, &image, width, height, err);
        gm_image_free(&image);
        return status;
    }
    if (r->width > 0) GM_TRY(add_drawing(out, s, NULL, r->width, r->height, err));
    return add_excuse(out, why.text, err);
}

/* PNG by libpng: decoding to RGB and writing. A wrong checksum, a cut file and a missing end are errors; text, profiles and
 * whatever else is no pixel is skipped unread, so that nothing small can unpack to something large. */
#include "image/decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

#if GM_HAVE_PNG

#include <png.h>

/* All that lives across a jump out of libpng stands here, in memory, never in a register. */
typedef struct reading {
    jmp_buf jump;
    const char *place;
    const unsigned char *bytes;
    size_t size, at;
    gm_err *err;
    gm_status status;
    png_structp png;
    png_infop info;
    gm_image image;
    gm_buffer *out; /* of writing */
} reading;

static void stop(png_structp png, png_const_charp text)
{
    reading *r = png_get_error_ptr(png);
    if (r->status == GM_OK) r->status = gm_fail(r->err, GM_ERR_DATA, "%s: is a damaged PNG: %s", r->place, text);
    longjmp(r->jump, 1);
}

static void ignore(png_structp png, png_const_charp text) { (void)png, (void)text; }

static png_voidp take_memory(png_structp png, png_alloc_size_t bytes) { return (void)png, gm_malloc(bytes); }
static void give_memory(png_structp png, png_voidp block) { (void)png, gm_free(block); }

static void take_bytes(png_structp png, png_bytep to, size_t n)
{
    reading *r = png_get_io_ptr(png);
    if (n > r->size - r->at) {
        r->status = gm_fail(r->err, GM_ERR_DATA, "%s: is a PNG that ends after %zu bytes, in the middle: is it cut short?",
                            r->place, r->size);
        longjmp(r->jump, 1);
    }
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
}

static gm_status open_png(reading *r)
{
    r->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, stop, ignore, NULL, take_memory, give_memory);
    if (r->png != NULL) r->info = png_create_info_struct(r->png);
    if (r->info == NULL) return gm_fail(r->err, GM_ERR_NOMEM, "%s: out of memory for libpng", r->place);
    return GM_OK;
}

static void read_header(reading *r)
{
    png_set_read_fn(r->png, r, take_bytes);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* -1: known ones that are no pixels as well */
    png_set_user_limits(r->png, 0x7fffffff, 0x7fffffff); /* so that our own message names the size */
    png_read_info(r->png, r->info);
    r->status = gm_image_check_size(r->place, png_get_image_width(r->png, r->info), png_get_image_height(r->png, r->info), r->err);
    if (r->status != GM_OK) longjmp(r->jump, 1);
    r->image.width = (int32_t)png_get_image_width(r->png, r->info);
    r->image.height = (int32_t)png_get_image_height(r->png, r->info);
}

/* Deflate makes at most 1032 bytes of one: what cannot hold its own pixels is refused before memory is taken for them. */
static void check_promise(reading *r)
{
    const uint64_t raw = (uint64_t)png_get_rowbytes(r->png, r->info) * (uint64_t)r->image.height;
    if (raw / 1032 <= r->size) return;
    r->status = gm_fail(r->err, GM_ERR_DATA, "%s: is a PNG of %d x %d pixels in %zu bytes, which cannot hold them: is it cut short?",
                        r->place, r->image.width, r->image.height, r->size);
    longjmp(r->jump, 1);
}

static void read_pixels(reading *r)
{
    check_promise(r);
    png_set_expand(r->png); /* palettes to RGB, few bits of grey to 8; transparent colours to alpha, which goes next */
    png_set_strip_16(r->png);
    png_set_gray_to_rgb(r->png);
    png_set_strip_alpha(r->png);
    const int passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    const size_t row = 3 * (size_t)r->image.width;
    if (png_get_rowbytes(r->png, r->info) != row) png_error(r->png, "its rows have an unknown form");
    r->status = gm_image_create(r->image.width, r->image.height, &r->image, r->err);
    if (r->status != GM_OK) longjmp(r->jump, 1);
    for (int pass = 0; pass < passes; pass++)
        for (int32_t y = 0; y < r->image.height; y++) png_read_row(r->png, r->image.rgb + (size_t)y * row, NULL);
    png_read_end(r->png, NULL);
}

static void decode(reading *r, bool with_pixels)
{
    if (setjmp(r->jump) != 0) return;
    read_header(r);
    if (with_pixels) read_pixels(r);
}

gm_status gm_png_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err)
{
    reading r = { .place = place, .bytes = bytes, .size = size, .err = err };
    gm_status status = open_png(&r);
    if (status == GM_OK) {
        decode(&r, true);
        status = r.status;
    }
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (status == GM_OK) *to = r.image;
    else gm_image_free(&r.image);
    return status;
}

gm_status gm_png_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err)
{
    reading r = { .place = place, .bytes = bytes, .size = size, .err = err };
    gm_status status = open_png(&r);
    if (status == GM_OK) {
        decode(&r, false);
        status = r.status;
    }
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (status != GM_OK) return status;
    *width = r.image.width;
    *height = r.image.height;
    return GM_OK;
}

static void give_bytes(png_structp png, png_bytep from, size_t n)
{
    reading *r = png_get_io_ptr(png);
    r->status = gm_buffer_add(r->out, (const char *)from, n, r->err);
    if (r->status != GM_OK) longjmp(r->jump, 1);
}

static void flush_nothing(png_structp png) { (void)png; }

/* Fast, for what is written here is drawn: flat colours and patterns pack well at any level, and the filter by the pixel above
 * with the lowest level takes less than a quarter of the time of libpng's own choices. */
static void encode(reading *r, const gm_image *image)
{
    if (setjmp(r->jump) != 0) return;
    png_set_write_fn(r->png, r, give_bytes, flush_nothing);
    png_set_compression_level(r->png, 1);
    png_set_filter(r->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_UP);
    png_set_IHDR(r->png, r->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(r->png, r->info);
    for (int32_t y = 0; y < image->height; y++) png_write_row(r->png, image->rgb + 3 * (size_t)y * (size_t)image->width);
    png_write_end(r->png, NULL);
}

gm_status gm_image_encode_png(const gm_image *image, gm_buffer *to, gm_err *err)
{
    reading r = { .place = "PNG", .err = err, .out = to, .image = *image };
    gm_status status = GM_OK;
    r.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &r, stop, ignore, NULL, take_memory, give_memory);
    if (r.png != NULL) r.info = png_create_info_struct(r.png);
    if (r.info == NULL) {
        status = gm_fail(err, GM_ERR_NOMEM, "out of memory for libpng");
    } else {
        encode(&r, image);
        status = r.status;
    }
    png_destroy_write_struct(&r.png, &r.info);
    return status;
}

gm_status gm_image_write_png(const gm_image *image, const char *path, gm_err *err)
{
    gm_out out = { 0 };
    gm_buffer bytes = { 0 };
    if (gm_image_encode_png(image, &bytes, err) != GM_OK) {
        gm_buffer_free(&bytes);
        return gm_fail_at(err, "%s", path);
    }
    gm_status status = gm_out_open(&out, path, err);
    if (status == GM_OK) status = gm_out_write(&out, bytes.data, bytes.size, err);
    gm_buffer_free(&bytes);
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

#else

static gm_status lacks(const char *place, gm_err *err)
{
    return gm_fail(err, GM_ERR_MISSING, "%s: PNG needs libpng, which this build lacks: install libpng-dev and build again", place);
}

gm_status gm_png_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err)
{
    (void)bytes, (void)size, (void)to;
    return lacks(place, err);
}

gm_status gm_png_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err)
{
    (void)bytes, (void)size, (void)width, (void)height;
    return lacks(place, err);
}

gm_status gm_image_encode_png(const gm_image *image, gm_buffer *to, gm_err *err)
{
    (void)image, (void)to;
    return lacks("PNG", err);
}

gm_status gm_image_write_png(const gm_image *image, const char *path, gm_err *err)
{
    (void)image;
    return lacks(path, err);
}

#endif

/* JPEG by libjpeg-turbo. The library goes on over most damage and fills what it lacks with grey, so each of its warnings is
 * weighed: those that mean lost pixels make the file an error, the few that mean nothing for the pixels do not. */
#include "image/decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#if GM_HAVE_JPEG

#include <jpeglib.h>
#include <jerror.h>

/* A progressive file may ask for any number of passes over all its pixels; real ones have about ten. */
enum { MAX_SCANS = 200 };

/* All that lives across a jump out of the library stands here, in memory, never in a register. `c` and its error manager
 * and progress monitor point at each other, so the struct must not be copied. */
typedef struct reading {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const char *place;
    gm_err *err;
    gm_status status;
    gm_image image;
    uint8_t *line; /* CMYK: one row */
} reading;

static void stop(j_common_ptr c)
{
    reading *r = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    r->status = c->err->msg_code == JERR_OUT_OF_MEMORY
                    ? gm_fail(r->err, GM_ERR_NOMEM, "%s: out of memory for a JPEG", r->place)
                    : gm_fail(r->err, GM_ERR_DATA, "%s: is a damaged JPEG: %s", r->place, text);
    longjmp(r->jump, 1);
}

/* level -1 is a warning, the others are talk. */
static void weigh(j_common_ptr c, int level)
{
    reading *r = c->client_data;
    if (level >= 0) return;
    switch (c->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: /* bytes between two markers */
    case JWRN_ADOBE_XFORM:     /* a colour transform taken for the usual one */
    case JWRN_JFIF_MAJOR:      /* a newer JFIF header */
    case JWRN_BOGUS_ICC:       /* a profile, which is not applied */
    case JWRN_BOGUS_PROGRESSION: /* scans in another order than the standard's */
    case JWRN_TOO_MUCH_DATA: return;
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
        r->status = gm_fail(r->err, GM_ERR_DATA, "%s: is a JPEG that ends before its pixels do: is it cut short?", r->place);
        longjmp(r->jump, 1);
    default: stop(c);
    }
}

static void say_nothing(j_common_ptr c) { (void)c; }

static void count_scans(j_common_ptr c)
{
    reading *r = c->client_data;
    if (r->c.input_scan_number <= MAX_SCANS) return;
    r->status = gm_fail(r->err, GM_ERR_DATA, "%s: is a JPEG of more than %d scans: save it again", r->place, MAX_SCANS);
    longjmp(r->jump, 1);
}

static void read_header(reading *r, const void *bytes, size_t size)
{
    jpeg_create_decompress(&r->c);
    jpeg_mem_src(&r->c, bytes, size);
    jpeg_read_header(&r->c, TRUE);
    r->status = gm_image_check_size(r->place, r->c.image_width, r->c.image_height, r->err);
    if (r->status != GM_OK) longjmp(r->jump, 1);
    r->image.width = (int32_t)r->c.image_width;
    r->image.height = (int32_t)r->c.image_height;
}

static uint8_t scale(unsigned a, unsigned b) /* a b / 255, rounded */
{
    const unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* Four inks as they stand in the file, which are inverted (Adobe's way): 255 is no ink. */
static void from_inks(const uint8_t *inks, uint8_t *rgb, int32_t width)
{
    for (int32_t x = 0; x < width; x++, inks += 4, rgb += 3)
        for (int i = 0; i < 3; i++) rgb[i] = (uint8_t)(inks[3] - scale(255u - inks[i], inks[3]));
}

static void read_pixels(reading *r)
{
    const bool has_inks = r->c.jpeg_color_space == JCS_CMYK || r->c.jpeg_color_space == JCS_YCCK;
    const size_t row = 3 * (size_t)r->image.width;
    r->c.out_color_space = has_inks ? JCS_CMYK : JCS_RGB;
    r->progress.progress_monitor = count_scans;
    r->c.progress = &r->progress;
    r->status = gm_image_create(r->image.width, r->image.height, &r->image, r->err);
    if (r->status == GM_OK && has_inks && (r->line = gm_malloc(4 * (size_t)r->image.width)) == NULL)
        r->status = gm_fail(r->err, GM_ERR_NOMEM, "%s: out of memory for a row", r->place);
    if (r->status != GM_OK) longjmp(r->jump, 1);
    jpeg_start_decompress(&r->c);
    while (r->c.output_scanline < r->c.output_height) {
        uint8_t *to = r->image.rgb + r->c.output_scanline * row;
        JSAMPROW line = has_inks ? r->line : to;
        jpeg_read_scanlines(&r->c, &line, 1);
        if (has_inks) from_inks(r->line, to, r->image.width);
    }
    jpeg_finish_decompress(&r->c);
}

static gm_status decode(reading *r, const void *bytes, size_t size, bool with_pixels)
{
    r->c.err = jpeg_std_error(&r->errors);
    r->errors.error_exit = stop;
    r->errors.emit_message = weigh;
    r->errors.output_message = say_nothing;
    r->c.client_data = r;
    if (setjmp(r->jump) == 0) {
        read_header(r, bytes, size);
        if (with_pixels) read_pixels(r);
    }
    jpeg_destroy_decompress(&r->c);
    gm_free(r->line);
    return r->status;
}

gm_status gm_jpeg_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err)
{
    reading r = { .place = place, .err = err };
    const gm_status status = decode(&r, bytes, size, true);
    if (status == GM_OK) *to = r.image;
    else gm_image_free(&r.image);
    return status;
}

gm_status gm_jpeg_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err)
{
    reading r = { .place = place, .err = err };
    GM_TRY(decode(&r, bytes, size, false));
    *width = r.image.width;
    *height = r.image.height;
    return GM_OK;
}

#else

static gm_status lacks(const char *place, gm_err *err)
{
    return gm_fail(err, GM_ERR_MISSING,
                   "%s: JPEG needs libjpeg-turbo, which this build lacks: install libjpeg62-turbo-dev and build again", place);
}

gm_status gm_jpeg_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err)
{
    (void)bytes, (void)size, (void)to;
    return lacks(place, err);
}

gm_status gm_jpeg_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err)
{
    (void)bytes, (void)size, (void)width, (void)height;
    return lacks(place, err);
}

#endif

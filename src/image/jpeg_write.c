/* Writing JPEG by libjpeg-turbo, for pictures that are looked at and not measured. */
#include "image/image.h"

#include "base/memory.h"

#if GM_HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

/* All that lives across a jump out of the library stands here, in memory, never in a register. */
typedef struct writing {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    unsigned char *bytes; /* the library's own malloc, freed below */
    unsigned long size;
    gm_err *err;
    gm_status status;
} writing;

static void stop(j_common_ptr c)
{
    writing *w = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    w->status = gm_fail(w->err, GM_ERR_NOMEM, "a JPEG cannot be written: %s", text);
    longjmp(w->jump, 1);
}

static void say_nothing(j_common_ptr c) { (void)c; }

static void encode(writing *w, const gm_image *image, int quality)
{
    if (setjmp(w->jump) != 0) return;
    jpeg_create_compress(&w->c);
    jpeg_mem_dest(&w->c, &w->bytes, &w->size);
    w->c.image_width = (JDIMENSION)image->width;
    w->c.image_height = (JDIMENSION)image->height;
    w->c.input_components = 3;
    w->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&w->c);
    jpeg_set_quality(&w->c, quality, TRUE);
    jpeg_start_compress(&w->c, TRUE);
    while (w->c.next_scanline < w->c.image_height) {
        JSAMPROW row = image->rgb + 3 * (size_t)image->width * w->c.next_scanline;
        jpeg_write_scanlines(&w->c, &row, 1);
    }
    jpeg_finish_compress(&w->c);
}

gm_status gm_image_encode_jpeg(const gm_image *image, int quality, gm_buffer *to, gm_err *err)
{
    writing w = { .err = err };
    w.c.err = jpeg_std_error(&w.errors);
    w.errors.error_exit = stop;
    w.errors.output_message = say_nothing;
    w.c.client_data = &w;
    encode(&w, image, quality);
    jpeg_destroy_compress(&w.c);
    gm_status status = w.status;
    if (status == GM_OK) status = gm_buffer_add(to, (const char *)w.bytes, (size_t)w.size, err);
    free(w.bytes);
    return status;
}

#else

gm_status gm_image_encode_jpeg(const gm_image *image, int quality, gm_buffer *to, gm_err *err)
{
    (void)image, (void)quality, (void)to;
    return gm_fail(err, GM_ERR_MISSING,
                   "JPEG needs libjpeg-turbo, which this build lacks: install libjpeg62-turbo-dev and build again");
}

#endif

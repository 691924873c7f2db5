/* Fuzzes the two files that describe an encoder of images. A config that is taken has whole patches and heads, and is written
 * as one that reads back the same; whatever is refused names its place. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/vit.h"

static void check(int holds)
{
    if (!holds) abort();
}

static gm_status judged(gm_status status, const gm_err *err)
{
    check(status == GM_OK || (err->status == status && strstr(err->text, "here") == err->text));
    return status;
}

static void check_config(const gm_vit_config *c)
{
    gm_vit_config again;
    gm_buffer out = { 0 }, second = { 0 };
    gm_err err;
    check(c->patch > 0 && c->image % c->patch == 0 && c->hidden % c->heads == 0 && gm_vit_patches(c) > 0);
    for (int k = 0; k < 3; k++) check(c->std[k] > 0.0f && c->std[k] <= 1.0f && c->mean[k] >= 0.0f && c->mean[k] <= 1.0f);
    check(gm_vit_write_config(c, &out, &err) == GM_OK);
    check(gm_vit_read_config("here", out.data, out.size, &again, &err) == GM_OK);
    check(gm_vit_write_config(&again, &second, &err) == GM_OK && strcmp(out.data, second.data) == 0);
    gm_buffer_free(&out);
    gm_buffer_free(&second);
}

/* The first byte chooses the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_vit_config c;
    gm_err err;
    if (size == 0) return 0;
    const char *json = (const char *)data + 1;
    if (data[0] == 'p') {
        check(gm_vit_preset("vit-tiny", &c, &err) == GM_OK);
        if (judged(gm_vit_read_preprocessor("here", json, size - 1, &c, &err), &err) == GM_OK) check_config(&c);
    } else if (judged(gm_vit_read_config("here", json, size - 1, &c, &err), &err) == GM_OK)
        check_config(&c);
    return 0;
}

/* Fuzzes what a server says: the first two bytes choose the HTTP status, the third whether the key below stands in the body. What
 * comes out means one of five things, is a line that the log can hold, and has the key nowhere. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "mllm/response.h"

static const char key[] = "sk-fuzz-0123";

static void check(int holds)
{
    if (!holds) abort();
}

static void check_hidden(gm_buffer *text)
{
    gm_mllm_hide(text->data, text->size, key);
    for (size_t i = 0; i + sizeof key - 1 <= text->size; i++) check(memcmp(text->data + i, key, sizeof key - 1) != 0);
}

static void check_response(const gm_mllm_response *r, long status)
{
    size_t bad;
    check((unsigned)r->meaning <= GM_MLLM_MEANS_STOP);
    check(r->text.data[r->text.size] == '\0' && r->why.data[r->why.size] == '\0');
    check(gm_utf8_valid(r->text.data, r->text.size, &bad) && gm_utf8_valid(r->why.data, r->why.size, &bad));
    check(r->tokens_in >= 0 && r->tokens_out >= 0);
    check((r->meaning == GM_MLLM_MEANS_ANSWER) == (r->why.size == 0));
    if (r->meaning != GM_MLLM_MEANS_ANSWER) check(r->text.size == 0);
    if (r->meaning == GM_MLLM_MEANS_ANSWER || r->is_refusal) check(status >= 200 && status <= 299);
    for (size_t i = 0; i < r->why.size; i++) check((unsigned char)r->why.data[i] >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gm_mllm_response r; /* used again, as a slot of the pump does */
    gm_buffer body = { 0 };
    gm_err err = { 0 };
    if (size < 3) return 0;
    const long status = 100 + ((long)data[0] << 8 | data[1]) % 500;
    check(gm_buffer_add(&body, (const char *)data + 3, size - 3, &err) == GM_OK);
    if (data[2] % 2 == 1) check(gm_buffer_printf(&body, &err, "%s", key) == GM_OK);
    check(gm_mllm_response_read(status, body.data, body.size, &r, &err) == GM_OK);
    check_response(&r, status);
    check_hidden(&r.text);
    check_hidden(&r.why);
    gm_buffer_free(&body);
    return 0;
}

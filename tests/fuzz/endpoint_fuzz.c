/* Fuzzes an endpoint's file. What is refused names its place and repeats no text of the file's values; with what is taken a
 * picture of any size has a size to be sent at, and a request has a body that is JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "mllm/endpoint.h"
#include "mllm/request.h"

static void check(int holds)
{
    if (!holds) abort();
}

static void check_views(const gm_mllm_endpoint *e)
{
    static const int32_t sides[][2] = { { 1, 1 }, { 1, 32768 }, { 32768, 3000 }, { 640, 480 } };
    for (size_t i = 0; i < GM_LEN(sides); i++) {
        int32_t box[4];
        const gm_mllm_view v = gm_mllm_view_of(e, sides[i][0], sides[i][1]);
        check(v.sent_width >= 1 && v.sent_width <= 32768 && v.sent_height >= 1 && v.sent_height <= 32768);
        check(v.sent_width <= e->picture_side || v.sent_width <= e->picture_multiple);
        gm_mllm_box_to_prompt(&v, (gm_box) { 0, 0, sides[i][0], sides[i][1] }, box);
        const gm_box back = gm_mllm_box_from_answer(&v, (const double[]) { -1e300, 1e300, box[2], box[3] });
        check(back.x1 <= 0 && back.y1 >= 0);
    }
}

static void check_body(const gm_mllm_endpoint *e)
{
    const gm_mllm_part part = { .text = "a \"text\"" };
    const gm_mllm_request r = { .id = "s", .parts = &part, .part_count = 1, .temperature = 0.5, .seed = 7, .schema = "{\"type\":\"object\"}" };
    gm_buffer body = { 0 };
    gm_err err = { 0 };
    cJSON *json = NULL;
    int64_t tokens = 0;
    if (gm_mllm_body(e, &r, &body, &tokens, &err) == GM_OK) {
        check(tokens > 0);
        check(gm_json_parse(body.data, body.size, &json, &err) == GM_OK && cJSON_IsObject(json));
        cJSON_Delete(json);
    }
    gm_buffer_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const gm_status status = gm_mllm_endpoint_parse("here", (const char *)data, size, &e, &err);
    if (status != GM_OK) {
        check(err.status == status && strstr(err.text, "here") == err.text);
        check(strstr(err.text, "sk-") == NULL || status == GM_ERR_FORMAT || strstr(err.text, "unknown key") != NULL);
        return 0;
    }
    check_views(&e);
    check_body(&e);
    gm_mllm_endpoint_is_local(&e);
    gm_mllm_endpoint_check_key(&e, &err);
    gm_mllm_endpoint_free(&e);
    return 0;
}

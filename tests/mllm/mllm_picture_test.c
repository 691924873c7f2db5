/* Pictures in requests: the bytes that a server would get are taken out of the body and decoded. A bright rectangle on the
 * picture is found again in what was sent, at the place that a prompt would name, and that place leads back to it. */
#include "tests/mllm/ask.h"

#include <math.h>

#include "image/image.h"
#include "mllm/request.h"

/* Dark grey with a white rectangle. */
static gm_image picture(int32_t width, int32_t height, const double box[4])
{
    gm_image p;
    gm_err err = { 0 };
    assert_ok(gm_image_create(width, height, &p, &err));
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++) {
            const bool inside = x >= box[0] && x < box[2] && y >= box[1] && y < box[3];
            memset(p.rgb + 3 * ((size_t)y * (size_t)width + (size_t)x), inside ? 255 : 40, 3);
        }
    return p;
}

static size_t from_base64(const char *text, size_t size, uint8_t *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, padding = 0;
    uint32_t bits = 0;
    assert_int_equal(size % 4, 0);
    for (size_t i = 0; i < size; i++) {
        const char *d = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        padding += text[i] == '=';
        if (d == NULL && text[i] != '=') fail_msg("\"%c\" is no digit of base64", text[i]);
        if (d != NULL && padding > 0) fail_msg("a digit behind the padding");
        bits = bits << 6 | (d != NULL ? (uint32_t)(d - digits) : 0);
        if (i % 4 == 3) to[n++] = (uint8_t)(bits >> 16), to[n++] = (uint8_t)(bits >> 8), to[n++] = (uint8_t)bits;
    }
    assert_true(padding <= 2);
    return n - padding;
}

/* The bytes of the only picture of a body: PNG or JPEG, as the data URL says. */
static gm_image sent_picture(const gm_buffer *body, const char *kind, uint8_t **bytes, size_t *size)
{
    char prefix[64];
    gm_image p;
    gm_err err = { 0 };
    cJSON *j = cJSON_ParseWithLength(body->data, body->size);
    const cJSON *content = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(j, "messages"), 0), "content");
    const cJSON *part = cJSON_GetArrayItem(content, 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(content, 0), "type")), "text");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(part, "type")), "image_url");
    const char *url = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(part, "image_url"), "url"));
    assert_non_null(url);
    const int n = snprintf(prefix, sizeof prefix, "data:image/%s;base64,", kind);
    assert_memory_equal(url, prefix, (size_t)n);
    *bytes = gm_malloc(strlen(url));
    assert_non_null(*bytes);
    *size = from_base64(url + n, strlen(url + n), *bytes);
    assert_ok(gm_image_decode(kind, *bytes, *size, &p, &err));
    cJSON_Delete(j);
    return p;
}

static gm_buffer body_of(const gm_mllm_endpoint *e, const gm_buffer *file)
{
    const gm_mllm_part parts[] = { { .text = "what is it?" }, { .image = file->data, .image_bytes = file->size } };
    const gm_mllm_request r = { .id = "s", .parts = parts, .part_count = 2, .temperature = -1.0, .seed = -1 };
    gm_buffer body = { 0 };
    gm_err err = { 0 };
    int64_t tokens = 0;
    assert_ok(gm_mllm_body(e, &r, &body, &tokens, &err));
    assert_true(tokens >= e->picture_tokens + e->max_tokens);
    return body;
}

/* First and last+1 column and row of what is brighter than the middle. */
static void bright_box(const gm_image *p, int32_t box[4])
{
    box[0] = p->width, box[1] = p->height, box[2] = box[3] = 0;
    for (int32_t y = 0; y < p->height; y++)
        for (int32_t x = 0; x < p->width; x++) {
            if (p->rgb[3 * ((size_t)y * (size_t)p->width + (size_t)x)] < 148) continue;
            if (x < box[0]) box[0] = x;
            if (y < box[1]) box[1] = y;
            if (x >= box[2]) box[2] = x + 1;
            if (y >= box[3]) box[3] = y + 1;
        }
}

static void near_box(const int32_t found[4], const int32_t named[4])
{
    for (int i = 0; i < 4; i++)
        if (abs(found[i] - named[i]) > 1) fail_msg("corner %d: the picture shows %d, the prompt says %d", i, found[i], named[i]);
}

/* The cases of fixture refineg, image_resize. */
static void sizes_and_boxes_are_those_of_refineg(void **state)
{
    const cJSON *it;
    gm_mllm_endpoint e = ask_nowhere("");
    gm_err err = { 0 };
    (void)state;
    cJSON_ArrayForEach(it, cJSON_GetObjectItem(gmt_fixture("refineg"), "image_resize"))
    {
        double size[2], box[4], sent_size[2], small[4], back[4];
        int32_t found[4], named[4];
        gm_buffer file = { 0 };
        uint8_t *bytes;
        size_t n;
        gmt_json_doubles(cJSON_GetObjectItem(it, "size"), size, 2);
        gmt_json_doubles(cJSON_GetObjectItem(it, "box"), box, 4);
        gmt_json_doubles(cJSON_GetObjectItem(it, "new_size"), sent_size, 2);
        gmt_json_doubles(cJSON_GetObjectItem(it, "box_small"), small, 4);
        gmt_json_doubles(cJSON_GetObjectItem(it, "box_back"), back, 4);
        gm_image whole = picture((int32_t)size[0], (int32_t)size[1], box);
        assert_ok(gm_image_encode_png(&whole, &file, &err));
        gm_buffer body = body_of(&e, &file);
        gm_image sent = sent_picture(&body, "jpeg", &bytes, &n);
        assert_int_equal(sent.width, (int)sent_size[0]);
        assert_int_equal(sent.height, (int)sent_size[1]);
        for (int i = 0; i < 4; i++) named[i] = (int32_t)small[i];
        bright_box(&sent, found);
        near_box(found, named);
        const gm_mllm_view v = gm_mllm_view_of(&e, whole.width, whole.height);
        const gm_box b = gm_mllm_box_from_answer(&v, small);
        assert_true(b.x1 == back[0] && b.y1 == back[1] && b.x2 == back[2] && b.y2 == back[3]);
        gm_image_free(&whole);
        gm_image_free(&sent);
        gm_buffer_free(&file);
        gm_buffer_free(&body);
        gm_free(bytes);
    }
    gm_mllm_endpoint_free(&e);
}

/* Qwen's sides in multiples of 28, shrunk and enlarged, in each way of speaking of boxes. */
static void boxes_are_found_again_in_each_mode(void **state)
{
    static const struct { const char *members; int32_t width, height; } cases[] = {
        { ",\"image\":{\"multiple\":28,\"max_pixels\":100000}", 900, 500 },
        { ",\"image\":{\"multiple\":28,\"min_pixels\":200000}", 300, 200 },
        { ",\"coordinates\":\"thousandths\",\"image\":{\"multiple\":28,\"max_side\":400}", 640, 480 },
        { ",\"coordinates\":\"pixels\",\"image\":{\"max_side\":200}", 640, 480 },
    };
    gm_err err = { 0 };
    (void)state;
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        const double w = cases[i].width, h = cases[i].height, box[4] = { floor(0.2 * w), floor(0.3 * h), floor(0.7 * w), floor(0.9 * h) };
        gm_mllm_endpoint e = ask_nowhere(cases[i].members);
        gm_image whole = picture(cases[i].width, cases[i].height, box);
        gm_buffer file = { 0 };
        uint8_t *bytes;
        size_t n;
        int32_t found[4], named[4];
        assert_ok(gm_image_encode_jpeg(&whole, 95, &file, &err));
        gm_buffer body = body_of(&e, &file);
        gm_image sent = sent_picture(&body, "jpeg", &bytes, &n);
        const gm_mllm_view v = gm_mllm_view_of(&e, whole.width, whole.height);
        assert_int_equal(sent.width, v.sent_width);
        assert_int_equal(sent.height, v.sent_height);
        assert_int_equal(sent.width % (int)e.picture_multiple, 0);
        assert_int_equal(sent.height % (int)e.picture_multiple, 0);
        bright_box(&sent, found);
        /* What a model that looks at the sent picture would say, in the endpoint's way of speaking. */
        double said[4];
        for (int k = 0; k < 4; k++) {
            const double side = k % 2 == 0 ? sent.width : sent.height, of = k % 2 == 0 ? w : h;
            const bool is_parts = e.coordinates == GM_MLLM_COORDINATES_THOUSANDTHS, is_whole = e.coordinates == GM_MLLM_COORDINATES_PIXELS;
            said[k] = is_parts ? 1000.0 * found[k] / side : is_whole ? found[k] * of / side : found[k];
        }
        const gm_box b = gm_mllm_box_from_answer(&v, said);
        const double least = 1.0 + fmax(w / sent.width, h / sent.height); /* a pixel of what was sent, and the rounding */
        assert_true(fabs(b.x1 - box[0]) <= least && fabs(b.y1 - box[1]) <= least && fabs(b.x2 - box[2]) <= least && fabs(b.y2 - box[3]) <= least);
        gm_mllm_box_to_prompt(&v, (gm_box) { box[0], box[1], box[2], box[3] }, named);
        for (int k = 0; k < 4; k++) assert_true(fabs(named[k] - said[k]) <= (e.coordinates == GM_MLLM_COORDINATES_RESIZED ? 1.0 : least + 4.0));
        gm_image_free(&whole);
        gm_image_free(&sent);
        gm_buffer_free(&file);
        gm_buffer_free(&body);
        gm_free(bytes);
        gm_mllm_endpoint_free(&e);
    }
}

/* PNG loses nothing: the pixels are those of the resize that the image room's tests compare with Pillow. */
static void png_is_sent_without_loss(void **state)
{
    const double box[4] = { 3, 5, 40, 30 };
    gm_mllm_endpoint e = ask_nowhere(",\"image\":{\"format\":\"png\",\"max_side\":48}");
    gm_image whole = picture(64, 48, box), want = { 0 };
    gm_buffer file = { 0 };
    gm_err err = { 0 };
    uint8_t *bytes;
    size_t n;
    (void)state;
    assert_ok(gm_image_encode_png(&whole, &file, &err));
    gm_buffer body = body_of(&e, &file);
    gm_image sent = sent_picture(&body, "png", &bytes, &n);
    assert_ok(gm_image_resize(&whole, (gm_box) { 0, 0, 64, 48 }, 48, 36, &want, &err));
    assert_int_equal(sent.width, 48);
    assert_int_equal(sent.height, 36);
    assert_memory_equal(sent.rgb, want.rgb, 3 * 48 * 36);
    gm_image_free(&whole);
    gm_image_free(&want);
    gm_image_free(&sent);
    gm_buffer_free(&file);
    gm_buffer_free(&body);
    gm_free(bytes);
    gm_mllm_endpoint_free(&e);
}

/* A JPEG with an EXIF block behind its first marker (orientation 6: lies on its side): some servers would turn it. */
static void no_orientation_is_left_in_what_is_sent(void **state)
{
    static const uint8_t exif[] = { 0xFF, 0xE1, 0x00, 0x22, 'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0 };
    const double box[4] = { 0, 0, 20, 10 };
    gm_mllm_endpoint e = ask_nowhere("");
    gm_image whole = picture(60, 40, box);
    gm_buffer plain = { 0 }, file = { 0 };
    gm_err err = { 0 };
    uint8_t *bytes;
    size_t n;
    int32_t found[4];
    (void)state;
    assert_ok(gm_image_encode_jpeg(&whole, 95, &plain, &err));
    assert_ok(gm_buffer_add(&file, plain.data, 2, &err));
    assert_ok(gm_buffer_add(&file, (const char *)exif, sizeof exif, &err));
    assert_ok(gm_buffer_add(&file, plain.data + 2, plain.size - 2, &err));
    gm_buffer body = body_of(&e, &file);
    gm_image sent = sent_picture(&body, "jpeg", &bytes, &n);
    assert_int_equal(sent.width, 60);
    assert_int_equal(sent.height, 40);
    bright_box(&sent, found);
    near_box(found, (int32_t[]) { 0, 0, 20, 10 });
    for (size_t i = 0; i + 4 <= n; i++) assert_memory_not_equal(bytes + i, "Exif", 4);
    gm_image_free(&whole);
    gm_image_free(&sent);
    gm_buffer_free(&plain);
    gm_buffer_free(&file);
    gm_buffer_free(&body);
    gm_free(bytes);
    gm_mllm_endpoint_free(&e);
}

typedef struct looked { gm_mllm_part part[2]; int next; char why[3][320]; gm_mllm_outcome outcome[3]; char broken[512], missing[512]; } looked;

static gm_status next_look(void *user, gm_mllm_request *r, bool *have, gm_err *err)
{
    looked *l = user;
    (void)err;
    *have = l->next < 3;
    if (!*have) return GM_OK;
    l->part[0] = (gm_mllm_part) { .text = "what is it?" };
    l->part[1] = l->next == 0 ? (gm_mllm_part) { .image_path = l->missing } : l->next == 1 ? (gm_mllm_part) { .image_path = l->broken } : (gm_mllm_part) { .text = "a text" };
    r->parts = l->part;
    r->part_count = 2;
    r->tag = (void *)(intptr_t)l->next++;
    return GM_OK;
}

static gm_status got_look(void *user, const gm_mllm_answer *a, gm_err *err)
{
    looked *l = user;
    const intptr_t i = (intptr_t)a->tag;
    (void)err;
    l->outcome[i] = a->outcome;
    snprintf(l->why[i], sizeof l->why[i], "%s", a->why);
    return GM_OK;
}

/* A picture that is gone or is none ends its own request and no other. */
static void a_bad_picture_is_named_and_the_rest_goes_on(void **state)
{
    looked l = { 0 };
    gm_mllm_client *c = NULL;
    gm_err err = { 0 };
    (void)state;
    snprintf(l.missing, sizeof l.missing, "%s/none.jpg", gmt_temp_dir());
    snprintf(l.broken, sizeof l.broken, "%s/broken.webp", gmt_temp_dir());
    gmt_write_file(l.broken, "RIFF\x10\0\0\0WEBPVP8 ", 16);
    gmt_server server = gmt_server_start(&(gmt_server_options) { 0 });
    gm_mllm_endpoint e = ask_endpoint(server.port, "");
    assert_ok(gm_mllm_open(&e, &(gm_mllm_options) { 0 }, &c, &err));
    assert_ok(gm_mllm_ask(c, next_look, got_look, &l, &err));
    gm_mllm_close(c);
    assert_int_equal(l.outcome[0], GM_MLLM_FAILED);
    assert_non_null(strstr(l.why[0], "none.jpg"));
    assert_int_equal(l.outcome[1], GM_MLLM_FAILED);
    assert_non_null(strstr(l.why[1], "broken.webp"));
    assert_int_equal(l.outcome[2], GM_MLLM_ANSWERED);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

int main(void)
{
    gm_image dot;
    gm_buffer bytes = { 0 };
    gm_err err = { 0 };
    ask_skip_without_parts(NULL);
    if (gm_image_create(1, 1, &dot, &err) != GM_OK) return 1;
    gm_status status = gm_image_encode_png(&dot, &bytes, &err);
    if (status == GM_OK) status = gm_image_encode_jpeg(&dot, 90, &bytes, &err);
    gm_buffer_free(&bytes);
    gm_image_free(&dot);
    if (status == GM_ERR_MISSING) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(boxes_are_found_again_in_each_mode), cmocka_unit_test(png_is_sent_without_loss),
                                        cmocka_unit_test(no_orientation_is_left_in_what_is_sent), cmocka_unit_test(a_bad_picture_is_named_and_the_rest_goes_on),
                                        cmocka_unit_test(sizes_and_boxes_are_those_of_refineg) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

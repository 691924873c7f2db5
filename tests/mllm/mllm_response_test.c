/* SHA-256 against FIPS 180-4's examples; responses as servers write them; limits a minute and waiting times. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "mllm/limits.h"
#include "mllm/response.h"
#include "mllm/sha256.h"

static void digest_is(const char *text, size_t times, const char *hex)
{
    gm_sha256 h;
    uint8_t digest[32];
    char found[65];
    gm_sha256_begin(&h);
    for (size_t i = 0; i < times; i++) gm_sha256_add(&h, text, strlen(text));
    gm_sha256_end(&h, digest);
    for (int i = 0; i < 32; i++) snprintf(found + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(found, hex);
}

static void sha256_gives_the_published_digests(void **state)
{
    (void)state;
    digest_is("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_is("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    digest_is("aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static const struct { long status; const char *body; gm_mllm_meaning meaning; const char *says; } cases[] = {
    { 200, "{\"choices\":[{\"message\":{\"content\":\"yes\"}}]}", GM_MLLM_MEANS_ANSWER, "yes" },
    { 200, "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}}]}", GM_MLLM_MEANS_ANSWER, "ab" },
    { 200, "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"I can't\"}}]}", GM_MLLM_MEANS_NEVER, "I can't" },
    { 200, "{\"choices\":[{\"message\":{\"content\":null}}]}", GM_MLLM_MEANS_AGAIN, "no choices[0].message.content" },
    { 200, "{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"length\"}]}", GM_MLLM_MEANS_ANSWER, "" },
    { 200, "{\"choices\":[]}", GM_MLLM_MEANS_AGAIN, "no choices" },
    { 200, "[1]", GM_MLLM_MEANS_AGAIN, "no JSON object" },
    { 200, "{\"error\":\"out of luck\"}", GM_MLLM_MEANS_ERROR, "out of luck" },
    { 200, "{\"error\":{\"message\":\"slow down\",\"code\":429}}", GM_MLLM_MEANS_AGAIN, "HTTP 429: slow down" },
    { 400, "{\"object\":\"error\",\"message\":\"too long\"}", GM_MLLM_MEANS_NEVER, "too long" },
    { 422, "{\"detail\":[{\"loc\":[\"body\"]}]}", GM_MLLM_MEANS_NEVER, "loc" },
    { 500, "{\"detail\":\"[json.exception.parse_error.101]\"}", GM_MLLM_MEANS_NEVER, "json.exception" },
    { 500, "Traceback\n  something\tfell", GM_MLLM_MEANS_ERROR, "HTTP 500: Traceback something fell" },
    { 503, "{\"error\":{\"message\":\"does not support this now\"}}", GM_MLLM_MEANS_AGAIN, "HTTP 503" },
    { 429, "{\"error\":{\"code\":\"insufficient_quota\"}}", GM_MLLM_MEANS_STOP, "insufficient_quota" },
    { 401, "", GM_MLLM_MEANS_STOP, "HTTP 401" },
    { 302, "", GM_MLLM_MEANS_STOP, "HTTP 302" },
};

static void responses_mean_what_servers_mean(void **state)
{
    gm_mllm_response r = { 0 };
    gm_err err = { 0 };
    (void)state;
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        assert_ok(gm_mllm_response_read(cases[i].status, cases[i].body, strlen(cases[i].body), &r, &err));
        const char *said = r.meaning == GM_MLLM_MEANS_ANSWER ? r.text.data : r.why.data;
        if (r.meaning != cases[i].meaning || strstr(said, cases[i].says) == NULL) fail_msg("%ld %s: %d \"%s\"", cases[i].status, cases[i].body, (int)r.meaning, said);
    }
    gm_mllm_response_free(&r);
}

/* Requests as fast as they may come: none of the windows of 60 seconds holds more than the limit. */
static void limits_hold_for_any_minute(void **state)
{
    static const int64_t limits[] = { 10, 60, 1000 };
    static double sent[8192];
    (void)state;
    for (size_t l = 0; l < GM_LEN(limits); l++) {
        gm_mllm_bucket b;
        int n = 0;
        gm_mllm_bucket_init(&b, limits[l], 0.0);
        for (double now = 0.0; now < 240.0;) {
            const double wait = gm_mllm_bucket_wait(&b, 1.0, now);
            now += wait;
            if (wait > 0.0) continue;
            gm_mllm_bucket_take(&b, 1.0);
            sent[n++] = now;
        }
        for (int i = 0, first = 0; i < n; i++) {
            while (sent[i] - sent[first] >= 60.0) first++;
            assert_true(i - first + 1 <= limits[l] + 1);
        }
        assert_true(n > 3 * (int)limits[l]);
    }
}

static void waits_double_and_vary(void **state)
{
    (void)state;
    for (int32_t next = 2; next < 12; next++) {
        const double wait = gm_mllm_backoff(0.5, 30.0, next, 1, "a"), whole = next < 8 ? 0.5 * (double)(1 << (next - 2)) : 30.0;
        assert_true(wait >= 0.5 * whole && wait <= whole);
        assert_true(wait == gm_mllm_backoff(0.5, 30.0, next, 1, "a"));
        assert_true(wait != gm_mllm_backoff(0.5, 30.0, next, 1, "b"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sha256_gives_the_published_digests), cmocka_unit_test(responses_mean_what_servers_mean),
                                        cmocka_unit_test(limits_hold_for_any_minute), cmocka_unit_test(waits_double_and_vary) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

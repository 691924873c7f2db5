/* A real model file, weights/minilm/model.safetensors (tools/get-weights minilm): every tensor is read and the whole is
 * compared with figures that the peer library (safetensors 0.8.0 with torch 2.15.0) gave for the same file. Without the
 * file the test is skipped, or fails where GM_REQUIRE names weights. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "tensor/safetensors.h"

#define WEIGHTS "weights/minilm/model.safetensors"

static gm_err err;

static gm_safetensors *open_weights(void)
{
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(WEIGHTS, &st, &err));
    return st;
}

static void position_ids_are_i64(void **state)
{
    (void)state;
    gm_safetensors *st = open_weights();
    const gm_st_entry *e = gm_safetensors_find(st, "embeddings.position_ids");
    assert_non_null(e);
    assert_int_equal(e->dtype, GM_ST_I64);
    assert_int_equal(e->dims, 2);
    assert_int_equal(e->shape[0], 1);
    assert_int_equal(e->shape[1], 512);
    for (int64_t i = 0; i < 512; i++) {
        int64_t id;
        memcpy(&id, (const char *)e->data + 8 * i, 8);
        assert_int_equal(id, i);
    }
    float to[512];
    assert_int_equal(gm_safetensors_read_f32(st, e->name, 1, 512, to, &err), GM_ERR_DATA);
    gm_safetensors_close(st);
}

/* The sum of all float32 bit patterns, modulo 2^64, sees any wrong, missing or repeated number. */
static void all_floats_equal_the_peers(void **state)
{
    (void)state;
    gm_safetensors *st = open_weights();
    uint64_t sum = 0;
    size_t total = 0;
    assert_int_equal(gm_safetensors_count(st), 104);
    assert_string_equal(gm_safetensors_metadata(st, "format"), "pt");
    for (int32_t i = 0; i < gm_safetensors_count(st); i++) {
        const gm_st_entry *e = gm_safetensors_at(st, i);
        if (e->dtype != GM_ST_F32) continue;
        const int64_t rows = e->dims == 2 ? e->shape[0] : 1, cols = e->shape[e->dims - 1];
        const size_t n = (size_t)rows * (size_t)cols;
        float *to = gm_malloc(n * sizeof *to);
        assert_non_null(to);
        assert_ok(gm_safetensors_read_f32(st, e->name, rows, cols, to, &err));
        for (size_t j = 0; j < n; j++) {
            uint32_t bits;
            memcpy(&bits, &to[j], sizeof bits);
            sum += bits;
        }
        total += n;
        gm_free(to);
    }
    assert_int_equal(total, 22713216);
    assert_true(sum == UINT64_C(0xa9126d7da05ce2));
    gm_safetensors_close(st);
}

static void chosen_numbers_equal_the_peers(void **state)
{
    (void)state;
    static float words[30522 * 384];
    float bias[384];
    gm_safetensors *st = open_weights();
    assert_ok(gm_safetensors_read_f32(st, "embeddings.word_embeddings.weight", 30522, 384, words, &err));
    assert_true(words[0] == -0x1.4780000000000p-6f && words[30522 * 384 - 1] == 0x1.2b80f2p-8f);
    assert_ok(gm_safetensors_read_f32(st, "encoder.layer.5.output.LayerNorm.bias", 1, 384, bias, &err));
    assert_true(bias[0] == -0x1.296e22p-5f && bias[383] == 0x1.0ed808p-4f);
    gm_safetensors_close(st);
}

int main(void)
{
    if (!gm_path_exists(WEIGHTS)) {
        const char *require = getenv("GM_REQUIRE");
        const int is_required = require != NULL && strstr(require, "weights") != NULL;
        fprintf(stderr, "%s: %s is missing\n", is_required ? "failed (GM_REQUIRE names weights)" : "skipped", WEIGHTS);
        return is_required ? 1 : 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(position_ids_are_i64),
        cmocka_unit_test(all_floats_equal_the_peers),
        cmocka_unit_test(chosen_numbers_equal_the_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* safetensors: one test for each way a file can be bad, the conversions against plain double arithmetic, files of the
 * peer library (tests/golden/safetensors_golden.py), the writer's exact bytes, and memory that runs out anywhere. */
#define _POSIX_C_SOURCE 200809L

#include "tests/support/support.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "tensor/safetensors.h"

#define GOLDEN GM_SOURCE_DIR "/tests/golden/safetensors/"

static gm_err err;

/* A file in memory of exactly its size, so that the address sanitizer sees a read beyond it. Headers are written with '
 * for ", to be legible. The data are zero, or `data`. */
static unsigned char *make_file(const char *header, const void *data, size_t data_bytes, size_t *size)
{
    const uint64_t n = strlen(header);
    *size = 8 + (size_t)n + data_bytes;
    unsigned char *bytes = calloc(*size, 1);
    assert_non_null(bytes);
    memcpy(bytes, &n, 8);
    for (size_t i = 0; i < n; i++) bytes[8 + i] = (unsigned char)(header[i] == '\'' ? '"' : header[i]);
    if (data != NULL) memcpy(bytes + 8 + n, data, data_bytes);
    return bytes;
}

static void assert_refused(gm_status found, gm_status wanted, const char *message)
{
    if (found != wanted) fail_msg("gave %s, expected %s", gm_status_name(found), gm_status_name(wanted));
    if (strstr(err.text, message) == NULL) fail_msg("the message is \"%s\", expected \"%s\" in it", err.text, message);
}

static void refuses(const char *header, size_t data_bytes, const char *message)
{
    size_t size;
    gm_safetensors *st;
    unsigned char *bytes = make_file(header, NULL, data_bytes, &size);
    const gm_status status = gm_safetensors_parse("bad.safetensors", bytes, size, &st, &err);
    free(bytes);
    assert_null(st);
    assert_refused(status, GM_ERR_FORMAT, message);
    assert_int_equal(strncmp(err.text, "bad.safetensors: ", 17), 0);
}

static gm_safetensors *parse(const unsigned char *bytes, size_t size)
{
    gm_safetensors *st;
    assert_ok(gm_safetensors_parse("test.safetensors", bytes, size, &st, &err));
    return st;
}

#define A "'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}"
#define SHAPE(shape) "{'a':{'dtype':'U8','shape':" shape ",'data_offsets':[0,8]}}"
#define OFFSETS(offsets) "{'a':{'dtype':'U8','shape':[8],'data_offsets':" offsets "}}"
#define U8(name, n, from, to) "'" name "':{'dtype':'U8','shape':[" n "],'data_offsets':[" from "," to "]}"

/* Each row is a test of its own, named by its first column. */
static const struct bad_header {
    const char *test, *header;
    size_t data_bytes;
    const char *message; /* must stand in the message */
} bad_headers[] = {
    { "header_empty", "", 0, "does not begin with \"{\"" },
    { "header_an_array", "[1]", 0, "does not begin with \"{\"" },
    { "header_behind_a_blank", " {}", 0, "does not begin with \"{\"" },
    { "header_behind_a_byte_order_mark", "\xEF\xBB\xBF{}", 0, "does not begin with \"{\"" },
    { "header_not_utf8", "{'\xC3(':1}", 0, "header: 1:3: the byte 0xC3 is not UTF-8" },
    { "header_not_json", "{'a':}", 0, "header: 1:6: expected a value" },
    { "header_cut_short", "{" A, 8, "header: 1:" },
    { "header_with_more_behind", "{} {}", 0, "header: 1:4: expected the end of the text" },
    { "header_padded_with_nul", "{}\\0", 0, "header: 1:3" },
    { "name_with_nul", "{'a\\u0000':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", 8,
      "\\u0000 cannot stand in a string" },
    { "name_twice", "{" A "," A "}", 8, "tensor \"a\" stands twice" },
    { "name_twice_without_overlap", "{" U8("a", "4", "0", "4") "," U8("a", "4", "4", "8") "}", 8,
      "tensor \"a\" stands twice" },
    { "name_twice_by_an_escape", "{" U8("a", "4", "0", "4") "," U8("\\u0061", "4", "4", "8") "}", 8,
      "tensor \"a\" stands twice" },
    { "entry_no_object", "{'a':[0,8]}", 8, "tensor \"a\" is described by no object" },
    { "entry_empty", "{'a':{}}", 0, "tensor \"a\" has no \"dtype\"" },
    { "shape_missing", "{'a':{'dtype':'U8','data_offsets':[0,8]}}", 8, "tensor \"a\" has no \"shape\"" },
    { "offsets_missing", "{'a':{'dtype':'U8','shape':[8]}}", 8, "tensor \"a\" has no \"data_offsets\"" },
    { "field_twice", "{'a':{'dtype':'U8','shape':[8],'dtype':'U8','data_offsets':[0,8]}}", 8,
      "\"dtype\" stands twice" },
    { "field_unknown", "{'a':{'dtype':'U8','shape':[8],'data_offsets':[0,8],'strides':[1]}}", 8,
      "unknown field \"strides\"" },
    { "dtype_no_string", "{'a':{'dtype':7,'shape':[8],'data_offsets':[0,8]}}", 8, "\"dtype\" is 7, expected a string" },
    { "dtype_unknown", "{'a':{'dtype':'F8_E4M3','shape':[8],'data_offsets':[0,8]}}", 8, "unknown dtype \"F8_E4M3\"" },
    { "dtype_in_small_letters", "{'a':{'dtype':'f32','shape':[2],'data_offsets':[0,8]}}", 8, "unknown dtype \"f32\"" },
    { "shape_no_list", SHAPE("8"), 8, "\"shape\" is 8, expected a list of whole numbers" },
    { "shape_null", SHAPE("null"), 8, "\"shape\" is null, expected a list" },
    { "shape_nested", SHAPE("[[8]]"), 8, "\"shape\" is [[8]], expected a list" },
    { "dimension_a_string", SHAPE("['8']"), 8, "\"shape\" is [\"8\"], expected a list" },
    { "dimension_negative", SHAPE("[-8]"), 8, "\"shape\" is [-8], expected a list of whole numbers from 0" },
    { "dimension_negative_twice", SHAPE("[-2,-4]"), 8,
      "\"shape\" is [-2,-4], expected a list of whole numbers from 0" },
    { "dimension_negative_zero", SHAPE("[-0]"), 0, "\"shape\" is [-0], expected a list of whole numbers from 0" },
    { "dimension_with_leading_zero", SHAPE("[08]"), 8, "header: 1:" },
    { "dimension_with_fraction", SHAPE("[8.5]"), 8, "\"shape\" is [8.5], expected a list of whole numbers" },
    { "dimension_with_point", SHAPE("[8.0]"), 8, "\"shape\" is [8.0], expected a list of whole numbers" },
    { "dimension_with_exponent", SHAPE("[8e0]"), 8, "\"shape\" is [8e0], expected a list of whole numbers" },
    { "dimension_beyond_2_53", SHAPE("[9007199254740993]"), 8, "\"shape\" is [9007199254740993], expected a list" },
    { "dimension_beyond_64_bits", SHAPE("[18446744073709551624]"), 8,
      "\"shape\" is [18446744073709551624], expected a list" },
    { "dimensions_too_many", SHAPE("[1,1,1,1,1,1,1,1,8]"), 8, "\"shape\" has more than 8 dimensions" },
    { "shape_overflows", SHAPE("[4294967296,4294967296]"), 8, "\"shape\" overflows" },
    { "shape_overflows_to_the_right_size", "{'a':{'dtype':'U8','shape':[4503599627370496,4096],'data_offsets':[0,0]}}",
      0, "\"shape\" overflows" },
    { "offsets_no_list", OFFSETS("'0,8'"), 8, "\"data_offsets\" is \"0,8\", expected two whole numbers" },
    { "offsets_one_number", OFFSETS("[8]"), 8, "\"data_offsets\" is [8], expected two whole numbers" },
    { "offsets_three_numbers", OFFSETS("[0,4,8]"), 8, "\"data_offsets\" is [0,4,8], expected two whole numbers" },
    { "offsets_negative", OFFSETS("[-8,0]"), 8, "\"data_offsets\" is [-8,0], expected two whole numbers" },
    { "offsets_with_fraction", OFFSETS("[0,8.0]"), 8, "\"data_offsets\" is [0,8.0], expected two whole numbers" },
    { "offsets_backwards", OFFSETS("[8,0]"), 8, "\"data_offsets\" run backwards, from 8 to 0" },
    { "offsets_beyond_the_file", OFFSETS("[0,8]"), 7, "\"data_offsets\" end at 8, but the file has 7 bytes of data" },
    { "offsets_far_beyond_the_file", OFFSETS("[9007199254740984,9007199254740992]"), 8,
      "\"data_offsets\" end at 9007199254740992" },
    { "offsets_shorter_than_shape", OFFSETS("[0,7]"), 7,
      "\"data_offsets\" span 7 bytes, but shape and dtype (U8) make 8" },
    { "offsets_longer_than_shape", OFFSETS("[0,9]"), 9,
      "\"data_offsets\" span 9 bytes, but shape and dtype (U8) make 8" },
    { "overlap", "{" U8("a", "5", "0", "5") "," U8("b", "4", "4", "8") "}", 8,
      "\"b\" begins at 4 and overlaps \"a\", which ends at 5" },
    { "overlap_in_full", "{" U8("a", "8", "0", "8") "," U8("b", "8", "0", "8") "}", 8, "overlaps" },
    { "empty_tensor_inside_another", "{" U8("a", "8", "0", "8") "," U8("b", "0", "4", "4") "}", 8,
      "\"b\" begins at 4 and overlaps" },
    { "gap_at_the_front", "{" U8("a", "4", "4", "8") "}", 8, "\"a\" begins at 4, which leaves a gap behind byte 0" },
    { "gap_between", "{" U8("b", "3", "5", "8") "," U8("a", "4", "0", "4") "}", 8,
      "\"b\" begins at 5, which leaves a gap behind byte 4" },
    { "bytes_behind_the_data", "{" A "}", 11, "3 bytes stand behind the data" },
    { "bytes_without_a_tensor", "{}", 1, "1 bytes stand behind the data" },
    { "metadata_no_object", "{'__metadata__':'pt'}", 0, "\"__metadata__\" is no object" },
    { "metadata_null", "{'__metadata__':null}", 0, "\"__metadata__\" is no object" },
    { "metadata_a_number", "{'__metadata__':{'k':1}}", 0, "\"__metadata__\": the value of \"k\" is no string" },
    { "metadata_key_twice", "{'__metadata__':{'k':'1','j':'','k':'2'}}", 0, "\"__metadata__\": \"k\" stands twice" },
    { "metadata_twice", "{'__metadata__':{},'__metadata__':{}}", 0, "\"__metadata__\" stands twice" },
};

static void bad_header_is_refused(void **state)
{
    const struct bad_header *bad = *state;
    refuses(bad->header, bad->data_bytes, bad->message);
}

static void shorter_than_8_bytes(void **state)
{
    (void)state;
    gm_safetensors *st;
    for (size_t size = 0; size < 8; size++) {
        unsigned char *bytes = calloc(size + 1, 1);
        const gm_status status = gm_safetensors_parse("x", bytes, size, &st, &err);
        free(bytes);
        assert_refused(status, GM_ERR_FORMAT, "a safetensors file begins with 8 bytes");
    }
}

static void header_longer_than_the_file(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 3, 1000, UINT64_C(1) << 40, UINT64_MAX - 7, UINT64_MAX };
    unsigned char bytes[10] = { [8] = '{', [9] = '}' };
    gm_safetensors *st;
    for (size_t i = 0; i < GM_LEN(sizes); i++) {
        memcpy(bytes, &sizes[i], 8);
        assert_refused(gm_safetensors_parse("x", bytes, sizeof bytes, &st, &err), GM_ERR_FORMAT, "but only 2 follow");
    }
}

/* A file with a hole: it has the size and takes no room. */
static void header_longer_than_100_mb(void **state)
{
    (void)state;
    const uint64_t n = 100000001;
    char *path = gm_path_join(gmt_temp_dir(), "long.safetensors");
    gm_safetensors *st;
    gmt_write_file(path, &n, 8);
    assert_int_equal(truncate(path, (off_t)n + 8), 0);
    assert_refused(gm_safetensors_open(path, &st, &err), GM_ERR_FORMAT,
                   "the header has 100000001 bytes, the format allows 100000000");
    gm_free(path);
}

static void open_refuses(const char *name, gm_status wanted, const char *message)
{
    char *path = gm_path_join(gmt_temp_dir(), name);
    const bool is_root = geteuid() == 0;
    gm_safetensors *st;
    if (strcmp(name, "folder") == 0) assert_int_equal(mkdir(path, 0777), 0);
    if (strcmp(name, "pipe") == 0) assert_int_equal(mkfifo(path, 0600), 0);
    if (strcmp(name, "empty") == 0) gmt_write_file(path, "", 0);
    if (strcmp(name, "locked") == 0) {
        gmt_write_file(path, "12345678", 8);
        assert_int_equal(chmod(path, 0), 0);
        if (is_root) assert_int_equal(seteuid(65534), 0); /* root reads everything: become nobody for a moment */
    }
    const gm_status status = gm_safetensors_open(path, &st, &err);
    if (is_root) assert_int_equal(seteuid(0), 0);
    assert_refused(status, wanted, message);
    assert_int_equal(strncmp(err.text, path, strlen(path)), 0);
    assert_null(st);
    gm_free(path);
}

static void file_missing(void **state)
{
    (void)state;
    open_refuses("missing", GM_ERR_IO, "cannot be opened: No such file");
}

static void file_a_folder(void **state)
{
    (void)state;
    open_refuses("folder", GM_ERR_IO, "is a folder");
}

static void file_a_pipe(void **state)
{
    (void)state;
    open_refuses("pipe", GM_ERR_IO, "is a pipe or a device");
}

static void file_empty(void **state)
{
    (void)state;
    open_refuses("empty", GM_ERR_FORMAT, "is empty");
}

static void file_not_readable(void **state)
{
    (void)state;
    open_refuses("locked", GM_ERR_IO, "cannot be opened: Permission denied");
}

static void good_header_is_read(void **state)
{
    (void)state;
    static const char header[] =
        "{'b':{'shape':[ 1 , 2\t],'dtype':'F16','data_offsets':[8,12]},'__metadata__':{'z':'1','\\u00e9\\n':''},"
        "'e':{'dtype':'I8','shape':[0,9007199254740992],'data_offsets':[8,8]}," A "}   ";
    size_t size;
    unsigned char *bytes = make_file(header, NULL, 12, &size);
    gm_safetensors *st = parse(bytes, size);
    assert_int_equal(gm_safetensors_count(st), 3);
    assert_string_equal(gm_safetensors_at(st, 0)->name, "a");
    assert_string_equal(gm_safetensors_at(st, 1)->name, "e");
    const gm_st_entry *b = gm_safetensors_at(st, 2);
    assert_string_equal(b->name, "b");
    assert_ptr_equal(b, gm_safetensors_find(st, "b"));
    assert_int_equal(b->dtype, GM_ST_F16);
    assert_int_equal(b->dims, 2);
    assert_int_equal(b->shape[0], 1);
    assert_int_equal(b->shape[1], 2);
    assert_int_equal(b->bytes, 4);
    assert_ptr_equal(b->data, bytes + size - 4);
    assert_null(gm_safetensors_at(st, 3));
    assert_null(gm_safetensors_at(st, -1));
    assert_null(gm_safetensors_find(st, "c"));
    assert_null(gm_safetensors_find(st, "__metadata__"));
    assert_string_equal(gm_safetensors_metadata(st, "z"), "1");
    assert_string_equal(gm_safetensors_metadata(st, "\xC3\xA9\n"), "");
    assert_null(gm_safetensors_metadata(st, "y"));
    gm_safetensors_close(st);
    free(bytes);
}

static void file_without_tensors_is_read(void **state)
{
    (void)state;
    size_t size;
    unsigned char *bytes = make_file("{}", NULL, 0, &size);
    gm_safetensors *st = parse(bytes, size);
    assert_int_equal(gm_safetensors_count(st), 0);
    assert_null(gm_safetensors_find(st, "a"));
    assert_null(gm_safetensors_metadata(st, "format"));
    gm_safetensors_close(st);
    gm_safetensors_close(NULL);
    free(bytes);
}

/* The value of a 16-bit float by its definition, in double. */
static double plain_value(unsigned bits, int exponent_bits, int fraction_bits)
{
    const int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    const int exponent = (int)(bits >> fraction_bits) & top, fraction = (int)bits & ((1 << fraction_bits) - 1);
    const double sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == top) return fraction != 0 ? (double)NAN : sign * HUGE_VAL;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

/* Every finite pattern at once, at an odd address; then each of the others alone, which must be refused. */
static void all_patterns(const char *dtype, int exponent_bits, int fraction_bits)
{
    static uint16_t patterns[65536];
    static float found[65536];
    int n = 0, refused = 0;
    char header[128];
    for (unsigned bits = 0; bits < 65536; bits++)
        if (isfinite(plain_value(bits, exponent_bits, fraction_bits))) patterns[n++] = (uint16_t)bits;
    const int length =
        snprintf(header, sizeof header, "{'x':{'dtype':'%s','shape':[%d],'data_offsets':[0,%d]}}", dtype, n, 2 * n);
    if (length % 2 == 0) snprintf(header + length, sizeof header - (size_t)length, " ");
    size_t size;
    unsigned char *bytes = make_file(header, patterns, 2 * (size_t)n, &size);
    gm_safetensors *st = parse(bytes, size);
    assert_int_equal((uintptr_t)gm_safetensors_at(st, 0)->data % 2, 1);
    assert_ok(gm_safetensors_read_f32(st, "x", 1, n, found, &err));
    for (int i = 0; i < n; i++) {
        const double wanted = plain_value(patterns[i], exponent_bits, fraction_bits);
        if ((double)found[i] != wanted || !signbit(found[i]) != !signbit(wanted))
            fail_msg("%s %04X is %a, expected %a", dtype, patterns[i], (double)found[i], wanted);
    }
    gm_safetensors_close(st);
    free(bytes);
    snprintf(header, sizeof header, "{'x':{'dtype':'%s','shape':[1],'data_offsets':[0,2]}}", dtype);
    for (unsigned bits = 0; bits < 65536; bits++) {
        const double value = plain_value(bits, exponent_bits, fraction_bits);
        const uint16_t pattern = (uint16_t)bits;
        if (isfinite(value)) continue;
        bytes = make_file(header, &pattern, 2, &size);
        st = parse(bytes, size);
        assert_refused(gm_safetensors_read_f32(st, "x", 1, 1, found, &err), GM_ERR_NUMERIC,
                       isnan(value) ? "tensor \"x\" is NaN at index 0" : "tensor \"x\" is infinite at index 0");
        gm_safetensors_close(st);
        free(bytes);
        refused++;
    }
    assert_int_equal(refused, 2 << fraction_bits);
    assert_int_equal(n + refused, 65536);
}

static void all_f16_patterns(void **state)
{
    (void)state;
    all_patterns("F16", 5, 10);
}

static void all_bf16_patterns(void **state)
{
    (void)state;
    all_patterns("BF16", 8, 7);
}

static gm_status read_one_f64(double value, float *to)
{
    size_t size;
    unsigned char *bytes = make_file("{'x':{'dtype':'F64','shape':[],'data_offsets':[0,8]}}", &value, 8, &size);
    gm_safetensors *st = parse(bytes, size);
    const gm_status status = gm_safetensors_read_f32(st, "x", 1, 1, to, &err);
    gm_safetensors_close(st);
    free(bytes);
    return status;
}

/* Expected values follow from round-to-nearest-even on 24 bits, written out by hand. */
static void f64_is_rounded_to_nearest(void **state)
{
    (void)state;
    static const struct {
        double from;
        float to;
    } cases[] = {
        { 0.0, 0.0f },
        { -0.0, -0.0f },
        { 0.1, 0x1.99999ap-4f },
        { 0x1.000001p0, 1.0f },
        { 0x1.000003p0, 0x1.000004p0f },
        { 0x1.0000010000001p0, 0x1.000002p0f },
        { 0x1.fffffep127, 0x1.fffffep127f },
        { 0x1.fffffefffffffp127, 0x1.fffffep127f },
        { -0x1p-149, -0x1p-149f },
        { 0x1p-150, 0.0f },
        { 0x1.8p-150, 0x1p-149f },
        { 1e-300, 0.0f },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        float found;
        assert_ok(read_one_f64(cases[i].from, &found));
        if (found != cases[i].to || !signbit(found) != !signbit(cases[i].to))
            fail_msg("%a became %a, expected %a", cases[i].from, (double)found, (double)cases[i].to);
    }
}

static void f64_beyond_float32_is_refused(void **state)
{
    (void)state;
    static const double cases[] = { 0x1.ffffffp127, -0x1.ffffffp127, 1e300, (double)INFINITY, -(double)INFINITY };
    float found;
    for (size_t i = 0; i < GM_LEN(cases); i++)
        assert_refused(read_one_f64(cases[i], &found), GM_ERR_NUMERIC, "\"x\" is infinite at index 0");
    assert_refused(read_one_f64((double)NAN, &found), GM_ERR_NUMERIC, "\"x\" is NaN at index 0");
}

static void f32_not_finite_names_tensor_and_index(void **state)
{
    (void)state;
    float values[6] = { 1, 2, 3, 4, INFINITY, NAN }, found[6];
    size_t size;
    unsigned char *bytes =
        make_file("{'w':{'dtype':'F32','shape':[2,3],'data_offsets':[0,24]}}", values, sizeof values, &size);
    gm_safetensors *st = parse(bytes, size);
    assert_refused(gm_safetensors_read_f32(st, "w", 2, 3, found, &err), GM_ERR_NUMERIC,
                   "test.safetensors: tensor \"w\" is infinite at index 4 (row 1, column 1)");
    gm_safetensors_close(st);
    free(bytes);
}

static void read_checks_name_dtype_and_shape(void **state)
{
    (void)state;
    static const char header[] = "{'m':{'dtype':'F32','shape':[2,3],'data_offsets':[0,24]},'v':{'dtype':'F32','shape':["
                                 "4],'data_offsets':[24,40]},"
                                 "'d':{'dtype':'F32','shape':[2,1,3],'data_offsets':[40,64]},'s':{'dtype':'F32','shape'"
                                 ":[],'data_offsets':[64,68]},"
                                 "'i':{'dtype':'I32','shape':[2,3],'data_offsets':[68,92]},'e':{'dtype':'F32','shape':["
                                 "0,3],'data_offsets':[92,92]}}";
    float to[6];
    size_t size;
    unsigned char *bytes = make_file(header, NULL, 92, &size);
    gm_safetensors *st = parse(bytes, size);
    assert_ok(gm_safetensors_read_f32(st, "m", 2, 3, to, &err));
    assert_ok(gm_safetensors_read_f32(st, "v", 1, 4, to, &err));
    assert_ok(gm_safetensors_read_f32(st, "v", 4, 1, to, &err));
    assert_ok(gm_safetensors_read_f32(st, "d", 2, 3, to, &err));
    assert_ok(gm_safetensors_read_f32(st, "s", 1, 1, to, &err));
    assert_ok(gm_safetensors_read_f32(st, "e", 0, 3, NULL, &err));
    assert_refused(gm_safetensors_read_f32(st, "q", 2, 3, to, &err), GM_ERR_DATA, "no tensor \"q\" among its 6");
    assert_refused(gm_safetensors_read_f32(st, "i", 2, 3, to, &err), GM_ERR_DATA, "tensor \"i\" is I32, expected F32");
    assert_refused(gm_safetensors_read_f32(st, "m", 3, 2, to, &err), GM_ERR_SHAPE,
                   "tensor \"m\" is [2, 3], expected [3, 2]");
    assert_refused(gm_safetensors_read_f32(st, "m", 1, 6, to, &err), GM_ERR_SHAPE,
                   "tensor \"m\" is [2, 3], expected [1, 6]");
    assert_refused(gm_safetensors_read_f32(st, "v", 2, 2, to, &err), GM_ERR_SHAPE,
                   "tensor \"v\" is [4], expected [2, 2]");
    assert_refused(gm_safetensors_read_f32(st, "v", 4, 2, to, &err), GM_ERR_SHAPE, "\"v\" is [4], expected [4, 2]");
    assert_refused(gm_safetensors_read_f32(st, "d", 1, 3, to, &err), GM_ERR_SHAPE,
                   "\"d\" is [2, 1, 3], expected [1, 3]");
    assert_refused(gm_safetensors_read_f32(st, "d", 3, 3, to, &err), GM_ERR_SHAPE,
                   "tensor \"d\" is [2, 1, 3], expected [3, 3]");
    assert_refused(gm_safetensors_read_f32(st, "s", 1, 0, to, &err), GM_ERR_SHAPE,
                   "tensor \"s\" is [], expected [1, 0]");
    assert_refused(gm_safetensors_read_f32(st, "m", -2, -3, to, &err), GM_ERR_SHAPE, "expected [-2, -3]");
    gm_safetensors_close(st);
    free(bytes);
}

static void peer_floats_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        float largest, smallest;
    } files[] = {
        { GOLDEN "F32.safetensors", 0x1.fffffep127f, 0x1p-149f },
        { GOLDEN "F16.safetensors", 65504.0f, 0x1p-24f },
        { GOLDEN "BF16.safetensors", 0x1.fep127f, 0x1p-133f },
        { GOLDEN "F64.safetensors", 0x1.fffffep127f, 0x1p-149f },
    };
    for (size_t i = 0; i < GM_LEN(files); i++) {
        const float wanted[6] = { 0.0f, -0.0f, 1.0f, -1.5f, files[i].largest, files[i].smallest };
        float found[6];
        gm_safetensors *st;
        assert_ok(gm_safetensors_open(files[i].path, &st, &err));
        assert_ok(gm_safetensors_read_f32(st, "x", 2, 3, found, &err));
        assert_memory_equal(found, wanted, sizeof wanted);
        gm_safetensors_close(st);
    }
}

static void peer_integers_are_read(void **state)
{
    (void)state;
    const struct {
        const char *path;
        gm_dtype dtype;
        const void *wanted;
    } files[] = {
        { GOLDEN "I64.safetensors", GM_ST_I64, (const int64_t[]) { 0, 1, 42, INT64_MIN, INT64_MAX, 7 } },
        { GOLDEN "I32.safetensors", GM_ST_I32, (const int32_t[]) { 0, 1, 42, INT32_MIN, INT32_MAX, 7 } },
        { GOLDEN "I16.safetensors", GM_ST_I16, (const int16_t[]) { 0, 1, 42, INT16_MIN, INT16_MAX, 7 } },
        { GOLDEN "I8.safetensors", GM_ST_I8, (const int8_t[]) { 0, 1, 42, INT8_MIN, INT8_MAX, 7 } },
        { GOLDEN "U8.safetensors", GM_ST_U8, (const uint8_t[]) { 0, 1, 42, 0, UINT8_MAX, 7 } },
        { GOLDEN "BOOL.safetensors", GM_ST_BOOL, (const uint8_t[]) { 0, 1, 1, 0, 0, 1 } },
    };
    for (size_t i = 0; i < GM_LEN(files); i++) {
        gm_safetensors *st;
        assert_ok(gm_safetensors_open(files[i].path, &st, &err));
        const gm_st_entry *x = gm_safetensors_find(st, "x");
        assert_non_null(x);
        assert_int_equal(x->dtype, files[i].dtype);
        assert_int_equal(x->dims, 2);
        assert_int_equal(x->bytes, 6 * gm_dtype_bytes(x->dtype));
        assert_memory_equal(x->data, files[i].wanted, x->bytes);
        gm_safetensors_close(st);
    }
}

static void peer_mixed_file_is_read(void **state)
{
    (void)state;
    float value[2];
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(GOLDEN "mixed.safetensors", &st, &err));
    assert_int_equal(gm_safetensors_count(st), 5);
    assert_string_equal(gm_safetensors_metadata(st, "note"), "two\nlines");
    assert_ok(gm_safetensors_read_f32(st, "scalar", 1, 1, value, &err));
    assert_true(value[0] == 2.5f);
    assert_ok(gm_safetensors_read_f32(st, "half", 1, 2, value, &err));
    assert_true(value[0] == 0.5f && value[1] == -2.0f);
    assert_ok(gm_safetensors_read_f32(st, "empty", 0, 3, value, &err));
    const gm_st_entry *deep = gm_safetensors_find(st, "deep"),
                      *named = gm_safetensors_find(st, "\xC3\xBCn\xC3\xAF \"quoted\"\n");
    assert_non_null(deep);
    assert_non_null(named);
    assert_int_equal(deep->dims, 8);
    assert_int_equal(deep->shape[1] * 10 + deep->shape[4], 22);
    assert_memory_equal(deep->data, ((const int16_t[]) { 0, 1, 2, 3 }), 8);
    assert_memory_equal(named->data, "\1\2\3", 3);
    gm_safetensors_close(st);
}

static const float weight[4] = { 1.0f, -0.5f, 0.25f, 3e38f };
static const int64_t steps = -(INT64_C(1) << 62);
static const gm_st_spec written[] = {
    { "small", GM_ST_U8, 1, { 3 }, "\1\2\377" },
    { "weight", GM_ST_F32, 2, { 2, 2 }, weight },
    { "steps", GM_ST_I64, 0, { 0 }, &steps },
    { "none", GM_ST_F16, 2, { 0, 5 }, NULL },
};
static const char *const written_metadata[] = { "kind", "a \"test\"" };

static void assert_same_files(const char *path, const char *wanted_path)
{
    char *found, *wanted;
    size_t found_size, wanted_size;
    assert_ok(gm_file_read(path, &found, &found_size, &err));
    assert_ok(gm_file_read(wanted_path, &wanted, &wanted_size, &err));
    assert_int_equal(found_size, wanted_size);
    assert_memory_equal(found, wanted, wanted_size);
    gm_free(found);
    gm_free(wanted);
}

/* The stored bytes were read by the peer library when they were made; they also are what every later run must give. */
static void writer_makes_the_bytes_that_the_peer_reads(void **state)
{
    (void)state;
    char *path = gm_path_join(gmt_temp_dir(), "w.safetensors"),
         *part = gm_path_join(gmt_temp_dir(), "w.safetensors.part");
    assert_ok(gm_safetensors_write(path, written, GM_LEN(written), written_metadata, 2, &err));
    assert_same_files(path, GOLDEN "written.safetensors");
    assert_false(gm_path_exists(part));
    assert_ok(gm_safetensors_write(path, written, GM_LEN(written), written_metadata, 2, &err));
    assert_same_files(path, GOLDEN "written.safetensors");
    gm_free(path);
    gm_free(part);
}

/* Thousands of tensors with names of every length, read back by name and in order; the header is always padded. */
static void many_tensors_come_back(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static char names[COUNT][32];
    static float values[COUNT];
    static gm_st_spec specs[COUNT];
    char *path = gm_path_join(gmt_temp_dir(), "many.safetensors");
    for (int count = 0; count <= COUNT; count = count < 20 ? count + 1 : count * 250) {
        gm_safetensors *st;
        for (int i = 0; i < count; i++) {
            snprintf(names[i], sizeof names[i], "%.*s%d", i % 19, "layer.attention.head", (i * 7919) % COUNT);
            values[i] = (float)i;
            specs[i] = (gm_st_spec) { names[i], GM_ST_F32, 1, { 1 }, &values[i] };
        }
        assert_ok(gm_safetensors_write(path, specs, count, NULL, 0, &err));
        assert_ok(gm_safetensors_open(path, &st, &err));
        assert_int_equal(gm_safetensors_count(st), count);
        assert_string_equal(gm_safetensors_metadata(st, "format"), "pt");
        for (int i = 0; i < count; i++) {
            float found;
            assert_ok(gm_safetensors_read_f32(st, names[i], 1, 1, &found, &err));
            assert_true(found == values[i]);
            assert_string_equal(gm_safetensors_at(st, i)->name, names[i]);
            assert_int_equal((uintptr_t)gm_safetensors_at(st, i)->data % 4, 0); /* the mapping begins at a page */
        }
        gm_safetensors_close(st);
    }
    gm_free(path);
}

static void write_refuses(const gm_st_spec *specs, int32_t count, const char *const *metadata, int32_t metadata_count,
                          gm_status wanted, const char *message)
{
    char *path = gm_path_join(gmt_temp_dir(), "refused.safetensors"),
         *part = gm_path_join(gmt_temp_dir(), "refused.safetensors.part");
    assert_refused(gm_safetensors_write(path, specs, count, metadata, metadata_count, &err), wanted, message);
    assert_int_equal(strncmp(err.text, path, strlen(path)), 0);
    assert_false(gm_path_exists(path));
    assert_false(gm_path_exists(part));
    gm_free(path);
    gm_free(part);
}

static void writer_refuses_a_name_twice(void **state)
{
    (void)state;
    const gm_st_spec specs[] = { { "a", GM_ST_U8, 1, { 1 }, "x" },
                                 { "b", GM_ST_U8, 1, { 1 }, "x" },
                                 { "a", GM_ST_U8, 1, { 1 }, "x" } };
    write_refuses(specs, 3, NULL, 0, GM_ERR_DATA, "tensor \"a\" is given twice");
}

static void writer_refuses_sizes_that_overflow(void **state)
{
    (void)state;
    const int64_t half = INT64_C(1) << 52;
    const gm_st_spec one = { "a", GM_ST_F32, 2, { half, 2 }, "x" };
    const gm_st_spec sum[] = { { "a", GM_ST_U8, 1, { half }, "x" },
                               { "b", GM_ST_U8, 1, { half }, "x" },
                               { "c", GM_ST_U8, 1, { 1 }, "x" } };
    write_refuses(&one, 1, NULL, 0, GM_ERR_SHAPE, "the size of tensor \"a\" overflows");
    write_refuses(sum, 3, NULL, 0, GM_ERR_SHAPE, "the sizes of the tensors overflow at \"c\"");
}

static void writer_refuses_bad_specs(void **state)
{
    (void)state;
    const gm_st_spec reserved = { "__metadata__", GM_ST_U8, 1, { 1 }, "x" }, unnamed = { NULL, GM_ST_U8, 1, { 1 }, "x" };
    const gm_st_spec latin = { "\xE9", GM_ST_U8, 1, { 1 }, "x" }, dtype = { "a", GM_DTYPE_COUNT, 1, { 1 }, "x" };
    const gm_st_spec deep = { "a", GM_ST_U8, 9, { 1 }, "x" }, negative = { "a", GM_ST_U8, 2, { 1, -1 }, "x" };
    const gm_st_spec bare = { "a", GM_ST_U8, 1, { 1 }, NULL };
    write_refuses(&reserved, 1, NULL, 0, GM_ERR_DATA, "keeps the name \"__metadata__\"");
    write_refuses(&unnamed, 1, NULL, 0, GM_ERR_DATA, "a tensor's name is NULL");
    write_refuses(&latin, 1, NULL, 0, GM_ERR_DATA, "is not UTF-8 at byte 0");
    write_refuses(&dtype, 1, NULL, 0, GM_ERR_DATA, "unknown dtype");
    write_refuses(&deep, 1, NULL, 0, GM_ERR_SHAPE, "has 9 dimensions");
    write_refuses(&negative, 1, NULL, 0, GM_ERR_SHAPE, "dimension 1 of tensor \"a\" is -1");
    write_refuses(&bare, 1, NULL, 0, GM_ERR_DATA, "tensor \"a\" has no data");
}

static void writer_refuses_bad_metadata(void **state)
{
    (void)state;
    const char *const format[] = { "format", "np" }, *const twice[] = { "k", "1", "k", "2" },
                      *const latin[] = { "k", "\xE9" };
    write_refuses(NULL, 0, twice, 3, GM_ERR_DATA, "3 metadata strings, expected pairs");
    write_refuses(NULL, 0, format, 2, GM_ERR_DATA, "metadata key \"format\" is given twice");
    write_refuses(NULL, 0, twice, 4, GM_ERR_DATA, "metadata key \"k\" is given twice");
    write_refuses(NULL, 0, latin, 2, GM_ERR_DATA, "is not UTF-8");
}

static void failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char *path = gm_path_join(gmt_temp_dir(), "kept.safetensors"),
         *below = gm_path_join(gmt_temp_dir(), "no/folder.safetensors");
    gmt_write_file(path, "old", 3);
    const gm_st_spec bad[] = { written[0], written[0] };
    assert_int_equal(gm_safetensors_write(path, bad, 2, NULL, 0, &err), GM_ERR_DATA);
    char *bytes;
    size_t size;
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    assert_string_equal(bytes, "old");
    assert_refused(gm_safetensors_write(below, written, 1, NULL, 0, &err), GM_ERR_IO, "No such file");
    gm_free(bytes);
    gm_free(path);
    gm_free(below);
}

static void full_disk_is_reported(void **state)
{
    (void)state;
    static float block[1 << 18]; /* more than a file's buffer, so that the write fails before the commit */
    const gm_st_spec big = { "big", GM_ST_F32, 1, { 1 << 18 }, block };
    if (!gm_path_exists("/dev/full")) skip();
    assert_refused(gm_safetensors_write("/dev/full", &big, 1, NULL, 0, &err), GM_ERR_IO, "No space left");
    assert_refused(gm_safetensors_write("/dev/full", written, 1, NULL, 0, &err), GM_ERR_IO, "No space left");
}

/* The leak check does not see mappings, so the system's own list is searched for the file. */
static bool is_mapped(const char *path)
{
    char *maps;
    size_t size;
    assert_ok(gm_file_read("/proc/self/maps", &maps, &size, &err));
    const bool found = strstr(maps, path) != NULL;
    gm_free(maps);
    return found;
}

static void mapping_ends_with_close_and_with_failure(void **state)
{
    (void)state;
    char *path = gm_path_join(gmt_temp_dir(), "mapped.safetensors");
    gm_safetensors *st;
    assert_ok(gm_safetensors_write(path, written, 1, NULL, 0, &err));
    assert_ok(gm_safetensors_open(path, &st, &err));
    assert_true(is_mapped(path));
    gm_safetensors_close(st);
    assert_false(is_mapped(path));
    gmt_write_file(path, "0123456789", 10);
    assert_refused(gm_safetensors_open(path, &st, &err), GM_ERR_FORMAT, "but only 2 follow");
    assert_false(is_mapped(path));
    gm_free(path);
}

/* Each allocation of opening fails once: a clean message, nothing leaked (the address sanitizer looks). */
static void opening_survives_every_failed_allocation(void **state)
{
    (void)state;
    gm_safetensors *st = NULL;
    gm_status status = GM_ERR_NOMEM;
    int k = 0;
    for (; status != GM_OK && k < 1000; k++) {
        gm_alloc_fail_at(k);
        status = gm_safetensors_open(GOLDEN "mixed.safetensors", &st, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_refused(status, GM_ERR_NOMEM, "out of memory");
    }
    assert_int_equal(status, GM_OK);
    assert_true(k > 10);
    gm_safetensors_close(st);
}

static void writing_survives_every_failed_allocation(void **state)
{
    (void)state;
    char *path = gm_path_join(gmt_temp_dir(), "k.safetensors"),
         *part = gm_path_join(gmt_temp_dir(), "k.safetensors.part");
    gm_status status = GM_ERR_NOMEM;
    int k = 0;
    for (; status != GM_OK && k < 1000; k++) {
        gm_alloc_fail_at(k);
        status = gm_safetensors_write(path, written, GM_LEN(written), written_metadata, 2, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_refused(status, GM_ERR_NOMEM, "out of memory");
        assert_false(gm_path_exists(part));
    }
    assert_int_equal(status, GM_OK);
    assert_true(k > 3);
    assert_same_files(path, GOLDEN "written.safetensors");
    gm_free(path);
    gm_free(part);
}

static void messages_are_optional(void **state)
{
    (void)state;
    gm_safetensors *st;
    assert_int_equal(gm_safetensors_open("/", &st, NULL), GM_ERR_IO);
    assert_int_equal(gm_safetensors_parse("x", "\1\0\0\0\0\0\0\0{", 9, &st, NULL), GM_ERR_FORMAT);
}

int main(void)
{
    struct CMUnitTest bad[GM_LEN(bad_headers)];
    for (size_t i = 0; i < GM_LEN(bad); i++)
        bad[i] = (struct CMUnitTest) { .name = bad_headers[i].test,
                                       .test_func = bad_header_is_refused,
                                       .initial_state = (void *)(uintptr_t)&bad_headers[i] };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shorter_than_8_bytes),
        cmocka_unit_test(header_longer_than_the_file),
        cmocka_unit_test(header_longer_than_100_mb),
        cmocka_unit_test(file_missing),
        cmocka_unit_test(file_a_folder),
        cmocka_unit_test(file_a_pipe),
        cmocka_unit_test(file_empty),
        cmocka_unit_test(file_not_readable),
        cmocka_unit_test(good_header_is_read),
        cmocka_unit_test(file_without_tensors_is_read),
        cmocka_unit_test(all_f16_patterns),
        cmocka_unit_test(all_bf16_patterns),
        cmocka_unit_test(f64_is_rounded_to_nearest),
        cmocka_unit_test(f64_beyond_float32_is_refused),
        cmocka_unit_test(f32_not_finite_names_tensor_and_index),
        cmocka_unit_test(read_checks_name_dtype_and_shape),
        cmocka_unit_test(peer_floats_are_read),
        cmocka_unit_test(peer_integers_are_read),
        cmocka_unit_test(peer_mixed_file_is_read),
        cmocka_unit_test(writer_makes_the_bytes_that_the_peer_reads),
        cmocka_unit_test(many_tensors_come_back),
        cmocka_unit_test(writer_refuses_a_name_twice),
        cmocka_unit_test(writer_refuses_sizes_that_overflow),
        cmocka_unit_test(writer_refuses_bad_specs),
        cmocka_unit_test(writer_refuses_bad_metadata),
        cmocka_unit_test(failed_write_leaves_the_old_file),
        cmocka_unit_test(full_disk_is_reported),
        cmocka_unit_test(mapping_ends_with_close_and_with_failure),
        cmocka_unit_test(opening_survives_every_failed_allocation),
        cmocka_unit_test(writing_survives_every_failed_allocation),
        cmocka_unit_test(messages_are_optional),
    };
    const int failed = cmocka_run_group_tests(bad, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}

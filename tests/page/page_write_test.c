/* The page: everything of a tweet's that a browser would take for its own is escaped, and what a page says is what the
 * records say. It is parsed as XML by libxml2. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/draw.h"
#include "page/page.h"
#include "page/parts.h"

#if GM_HAVE_LIBXML2
#include <libxml/parser.h>
#include <libxml/xpath.h>
#endif

static gm_records records(const char *lines)
{
    gm_err err = { 0 };
    gm_records all = { 0 };
    while (*lines != '\0') {
        gm_record r;
        const size_t n = strcspn(lines, "\n");
        assert_ok(gm_record_parse(lines, n, &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        lines += n + (lines[n] == '\n');
    }
    return all;
}

static char *read_all(const char *path)
{
    gm_err err = { 0 };
    char *text;
    size_t size;
    assert_ok(gm_file_read(path, &text, &size, &err));
    return text;
}

static const gm_page_options usual = { .limit = 200, .how = { .iou = 0.5 } };

/* The page as text, the caller's to gm_free. */
static char *page(const char *pred_lines, const char *gold_lines, gm_page_options o)
{
    gm_err err = { 0 };
    gm_records pred = records(pred_lines), gold = { 0 };
    char path[512];
    snprintf(path, sizeof path, "%s/page.html", gmt_temp_dir());
    if (gold_lines != NULL) gold = records(gold_lines);
    assert_ok(gm_page_write(&pred, gold_lines != NULL ? &gold : NULL, &o, path, &err));
    gm_records_free(&pred);
    gm_records_free(&gold);
    return read_all(path);
}

static void has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) fail_msg("the page lacks \"%s\"", part);
}

static void lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) fail_msg("the page has \"%s\"", part);
}

static int occurrences(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) n++;
    return n;
}

/* How many nodes of the parsed page an XPath expression finds; -1 without libxml2. */
static int count_nodes(const char *text, const char *path)
{
#if GM_HAVE_LIBXML2
    xmlDoc *doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_PARSE_NONET | XML_PARSE_HUGE);
    if (doc == NULL) fail_msg("the page is not well-formed");
    xmlXPathContext *context = xmlXPathNewContext(doc);
    xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)path, context);
    assert_non_null(found);
    const int n = found->type == XPATH_NUMBER ? (int)found->floatval
                  : found->nodesetval != NULL ? found->nodesetval->nodeNr
                                              : 0;
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
    xmlFreeDoc(doc);
    return n;
#else
    (void)text, (void)path;
    return -1;
#endif
}

static void finds(const char *text, const char *path, int wanted)
{
    const int n = count_nodes(text, path);
    if (n >= 0 && n != wanted) fail_msg("%s: %d, expected %d", path, n, wanted);
}

static void text_is_escaped(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "<script>alert(\"&'\")</script>", "&lt;script&gt;alert(&quot;&amp;&#39;&quot;)&lt;/script&gt;" },
        { "&amp;", "&amp;amp;" },
        { "a\x01"
          "b\x1B",
          "a\xEF\xBF\xBD"
          "b\xEF\xBF\xBD" },
        { "\x7F", "\xEF\xBF\xBD" },
        { "\xC2\x92\xC2\xA0", "\xEF\xBF\xBD\xC2\xA0" }, /* U+0092 occurs in tweets; U+00A0 may stay */
        { "\xEF\xBF\xBE\xEF\xBF\xBD", "\xEF\xBF\xBD\xEF\xBF\xBD" },
        { "\xF0\x9F\x98\x80\t\n", "\xF0\x9F\x98\x80\t\n" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        gm_buffer out = { 0 };
        assert_ok(gm_page_text(&out, cases[i][0], &err));
        assert_string_equal(out.data != NULL ? out.data : "", cases[i][1]);
        gm_buffer_free(&out);
    }
}

/* Types, fine types, ids and image names come from files as well. */
static void nothing_of_a_record_becomes_markup(void **state)
{
    (void)state;
    char *text =
        page("{\"id\":\"<i>&\\\"'\",\"tokens\":[\"<b>\",\"]]>\",\"<!--\"],\"image\":\"<u>.png\",\"size\":[10,10],"
             "\"entities\":[{\"start\":0,\"end\":2,\"type\":\"<P'\\\">\",\"fine\":\"<q>\",\"boxes\":[[1,1,5,5]]}]}",
             NULL, usual);
    static const char *const never[] = { "<i>", "<b>]", "<!--", "<u>", "<P", "<q>", "]]>" };
    for (size_t i = 0; i < GM_LEN(never); i++) lacks(text, never[i]);
    has(text, "data-id=\"&lt;i&gt;&amp;&quot;&#39;\"");
    finds(text, "//mark[.='<b> ]]> <!--']", 1);
    gm_free(text);
}

static char *sentence(const char *line)
{
    gm_err err = { 0 };
    gm_labels types = { 0 };
    gm_buffer out = { 0 };
    gm_records all = records(line);
    assert_ok(gm_labels_parse("LOC,ORG,PER", &types, &err));
    assert_ok(gm_page_sentence(&out, &all.items[0], &types, &err));
    gm_labels_free(&types);
    gm_records_free(&all);
    return out.data;
}

#define ENTITY(start, end, type) "{\"start\":" #start ",\"end\":" #end ",\"type\":\"" type "\"}"
#define TOKENS(entities) "{\"id\":\"1\",\"tokens\":[\"a\",\"b\",\"c\",\"d\"],\"entities\":[" entities "]}"
#define MARK(color, type, inside) "<mark class=\"t" color "\" data-type=\"" type "\">" inside "</mark>"

static void entities_are_marked_nested_ones_too(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { TOKENS(""), "a b c d" },
        { TOKENS(ENTITY(1, 2, "PER")), "a " MARK("2", "PER", "b c") " d" },
        { TOKENS(ENTITY(3, 3, "LOC") "," ENTITY(0, 0, "ORG")), MARK("1", "ORG", "a") " b c " MARK("0", "LOC", "d") },
        { TOKENS(ENTITY(1, 1, "LOC") "," ENTITY(0, 2, "ORG")), MARK("1", "ORG", "a " MARK("0", "LOC", "b") " c") " d" },
        { TOKENS(ENTITY(0, 1, "LOC") "," ENTITY(0, 3, "ORG")), MARK("1", "ORG", MARK("0", "LOC", "a b") " c d") },
        { TOKENS(ENTITY(0, 1, "PER") "," ENTITY(1, 2, "ORG")),
          MARK("2", "PER", "a b") " c d" }, /* one crosses the other */
        { TOKENS(ENTITY(0, 0, "PER") "," ENTITY(0, 0, "ORG")), MARK("2", "PER", MARK("1", "ORG", "a")) " b c d" },
        { TOKENS(ENTITY(0, 0, "GOD")), MARK("9", "GOD", "a") " b c d" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char *text = sentence(cases[i][0]);
        assert_string_equal(text, cases[i][1]);
        gm_free(text);
    }
}

static const char pred_lines[] =
    "{\"id\":\"1\",\"tokens\":[\"Emma\",\"in\",\"Paris\",\"!\"],\"image\":\"a.png\",\"size\":[60,40],\"entities\":["
    "{\"start\":0,\"end\":0,\"type\":\"PER\",\"boxes\":[[10,10,30,30]],\"score\":0.75,\"region_score\":0.5,"
    "\"uncertainty\":{\"span\":0.2,\"type\":0.3,\"region\":0.4,\"span_norm\":0.25,\"type_norm\":1.5,\"region_norm\":0}}"
    ","
    "{\"start\":2,\"end\":2,\"type\":\"ORG\",\"boxes\":[],\"score\":0.5},"
    "{\"start\":3,\"end\":3,\"type\":\"PER\",\"boxes\":[]}]}\n"
    "{\"id\":\"2\",\"tokens\":[\"no\"],\"entities\":[]}\n";
static const char gold_lines[] =
    "{\"id\":\"1\",\"tokens\":[\"Emma\",\"in\",\"Paris\",\"!\"],\"image\":\"a.png\",\"size\":[60,40],\"entities\":["
    "{\"start\":0,\"end\":0,\"type\":\"PER\",\"boxes\":[[20,10,40,30]]},"
    "{\"start\":2,\"end\":2,\"type\":\"LOC\",\"boxes\":[]},"
    "{\"start\":1,\"end\":1,\"type\":\"LOC\",\"boxes\":[[0,0,5,5]]}]}\n"
    "{\"id\":\"2\",\"tokens\":[\"no\"],\"entities\":[]}\n"
    "{\"id\":\"3\",\"tokens\":[\"lost\"],\"entities\":[]}\n";

static void what_the_page_says_is_what_the_records_say(void **state)
{
    (void)state;
    char *text = page(pred_lines, NULL, usual);
    finds(text, "//article", 2);
    finds(text, "//mark", 3);
    finds(text, "//tr[@data-entity]", 3);
    has(text, "<dt>samples</dt><dd>2</dd>");
    has(text, "<dt>entities predicted</dt><dd>3</dd>");
    has(text, "<dt>with a region</dt><dd>1</dd>");
    lacks(text, "MNER");
    has(text, "<td>0.75</td>");
    has(text, "1 box (0.50)");
    has(text, "of-span\" style=\"width:25.0%\"></span></span> 0.25");
    has(text, "of-type\" style=\"width:100.0%\"></span></span> 1.50"); /* a bar does not leave its track */
    has(text, "of-region\" style=\"width:0.0%\"></span></span> 0.00");
    has(text, "title=\"uncertainty of the span: 0.2000 nats\"");
    assert_int_equal(occurrences(text, "<p class=\"none\">no entity</p>"), 1);
    gm_free(text);
}

static void gold_tells_right_from_wrong(void **state)
{
    (void)state;
    gm_page_options o = usual;
    o.note = "drawn & seen";
    char *text = page(pred_lines, gold_lines, o);
    has(text, "<p class=\"note\">drawn &amp; seen</p>");
    has(text, "<td class=\"wrong\">region meets by 0.33</td>");
    has(text, "<td class=\"wrong\">type is LOC</td>");
    has(text, "<td class=\"wrong\">no such entity</td>");
    has(text, "there is no prediction for this sample");
    has(text, "<dt>entities in gold</dt><dd>3</dd>");
    has(text, "<dt>MNER F1</dt><dd>33.33</dd>");
    has(text, "<dt>GMNER F1</dt><dd>0.00</dd>");
    finds(text, "//tr[@class='missed']", 1);
    finds(text, "//p[@class='text goldtext']",
          2); /* of sample 1, and of 3, which has no prediction; 2 has the same twice */
    gm_free(text);
    text = page(gold_lines, gold_lines, usual);
    assert_int_equal(occurrences(text, "<td class=\"right\">right</td>"), 3);
    lacks(text, "class=\"text goldtext\"");
    has(text, "<dt>GMNER F1</dt><dd>100.00</dd>");
    gm_free(text);
}

static void only_the_first_samples_are_shown(void **state)
{
    (void)state;
    for (int limit = 0; limit < 4; limit++) {
        gm_page_options o = usual;
        o.limit = limit;
        char *text = page(pred_lines, gold_lines, o);
        finds(text, "//article", limit);
        finds(text, "//mark[@class][ancestor::article]", limit == 0 ? 0 : 6);
        has(text, "<dt>entities predicted</dt><dd>3</dd>");
        gm_free(text);
    }
}

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    return at != NULL && c != '\0' ? (int)(at - digits) : -1;
}

/* The bytes of the n-th picture. */
static gm_image embedded(const char *text, int n)
{
    gm_err err = { 0 };
    gm_image image = { 0 };
    const char *at = text;
    for (; n >= 0; n--) {
        at = strstr(at, ";base64,");
        assert_non_null(at);
        at += 8;
    }
    unsigned char *bytes = gm_malloc(strlen(at));
    size_t size = 0;
    for (; digit_of(at[0]) >= 0; at += 4) {
        const int a = digit_of(at[0]), b = digit_of(at[1]), c = digit_of(at[2]), d = digit_of(at[3]);
        bytes[size++] = (unsigned char)(a << 2 | b >> 4);
        if (c >= 0) bytes[size++] = (unsigned char)(b << 4 | c >> 2);
        if (d >= 0) bytes[size++] = (unsigned char)(c << 6 | d);
    }
    assert_ok(gm_image_decode("page", bytes, size, &image, &err));
    gm_free(bytes);
    return image;
}

static void pictures_are_in_the_page(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_image large = { 0 };
    gm_page_options o = usual;
    char path[512];
    o.images = gmt_temp_dir();
    snprintf(path, sizeof path, "%s/a.png", o.images);
    assert_ok(gm_image_create(1200, 50, &large, &err));
    gm_draw_rect(&large, (gm_box) { 0, 0, 600, 50 }, &(gm_fill) { .color = { 250, 10, 10 }, .cell = 1 });
    gm_draw_rect(&large, (gm_box) { 600, 0, 1200, 50 }, &(gm_fill) { .color = { 10, 10, 250 }, .cell = 1 });
    const gm_status written = gm_image_write_png(&large, path, &err);
    gm_image_free(&large);
    if (written == GM_ERR_MISSING) skip();
    assert_int_equal(written, GM_OK);

    char *text = page(pred_lines, gold_lines, o);
    gm_image small = embedded(text, 0);
    assert_int_equal(small.width, 480);
    assert_int_equal(small.height, 20);
    const uint8_t *left = small.rgb + (10 * 480 + 100) * 3, *right = small.rgb + (10 * 480 + 400) * 3;
    assert_true(left[0] > 240 && left[2] < 20 && right[0] < 20 && right[2] > 240);
    gm_image_free(&small);
    has(text, "viewBox=\"0 0 1200 50\""); /* the picture's own pixels, so that boxes need no scaling */
    finds(text, "//g[@class='box t2'][@data-entity='1']/rect[@x='10'][@y='10'][@width='20'][@height='20']", 1);
    finds(text, "//g[@class='gold t2']/rect[@x='20']", 1);
    finds(text, "//g[starts-with(@class,'gold')]", 2);
    assert_int_equal(occurrences(text, "data:image/"), 1);
    gm_free(text);
}

static void a_picture_that_cannot_be_shown_is_said(void **state)
{
    (void)state;
    static const char line[] =
        "{\"id\":\"%s\",\"tokens\":[\"a\"],\"image\":\"%s\",\"size\":%s,\"entities\":[{\"start\":0,\"end\":0,"
        "\"type\":\"PER\",\"boxes\":[[1,1,5,5]]}]}";
    char first[300], broken[512];
    gm_page_options o = usual;
    o.images = gmt_temp_dir();
    snprintf(first, sizeof first, line, "1", "missing.png", "[20,10]");
    char *text = page(first, NULL, o);
    has(text, "no picture: ");
    has(text, "missing.png: cannot open: No such file or directory");
    finds(text, "//g[@class='box t0']/rect", 1); /* the size is known, so the box can be shown alone */
    gm_free(text);

    snprintf(broken, sizeof broken, "%s/broken.png", o.images);
    gmt_write_file(broken, "<html>", 6);
    snprintf(first, sizeof first, line, "1", "broken.png", "null");
    text = page(first, NULL, o);
    has(text, "broken.png: is a page of HTML");
    finds(text, "//svg", 0);
    gm_free(text);

    snprintf(first, sizeof first, line, "1", "../../etc/x.png", "null");
    text = page(first, NULL, o);
    has(text, "&quot;../../etc/x.png&quot; leads outside the folder");
    gm_free(text);
    o.images = NULL;
    text = page(first, NULL, o);
    has(text, "no picture: no folder of pictures was given");
    gm_free(text);
    text = page("{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[]}", NULL, o);
    has(text, "no picture: the record names none");
    gm_free(text);
}

static void a_box_without_inside_is_not_drawn(void **state)
{
    (void)state;
    char *text = page("{\"id\":\"1\",\"tokens\":[\"a\"],\"image\":\"x.png\",\"size\":[20,10],\"entities\":[{\"start\":"
                      "0,\"end\":0,\"type\":\"PER\","
                      "\"boxes\":[[5,5,1,1]]}]}",
                      NULL, usual);
    finds(text, "//g", 0);
    has(text, "1 box (without inside)");
    gm_free(text);
}

/* Colours run out, the page does not. */
static void many_types_fit(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_buffer line = { 0 };
    assert_ok(gm_buffer_printf(&line, &err, "{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":["));
    for (int i = 0; i < 70; i++)
        assert_ok(gm_buffer_printf(&line, &err, "%s{\"start\":0,\"end\":0,\"type\":\"T%02d\"}", i > 0 ? "," : "", i));
    assert_ok(gm_buffer_printf(&line, &err, "]}"));
    char *text = page(line.data, NULL, usual);
    finds(text, "//tr[@data-entity]", 70);
    finds(text, "//mark", 70);
    has(text, "class=\"type t9\"");
    lacks(text, "class=\"type t10\"");
    gm_free(text);
    gm_buffer_free(&line);
}

static void refusals_leave_no_file(void **state)
{
    (void)state;
    gm_err err = { 0 };
    char path[512];
    gm_records pred = records("{\"id\":\"9\",\"tokens\":[\"a\"],\"entities\":[]}"), gold = records(gold_lines);
    gm_page_options o = usual;
    snprintf(path, sizeof path, "%s/none.html", gmt_temp_dir());
    assert_int_equal(gm_page_write(&pred, &gold, &o, path, &err), GM_ERR_DATA);
    has(err.text, "\"9\"");
    o.limit = -1;
    assert_int_equal(gm_page_write(&pred, NULL, &o, path, &err), GM_ERR_USAGE);
    assert_false(gm_path_exists(path));
    assert_int_equal(gm_page_write(&pred, NULL, &usual, "/nowhere/at/all.html", &err), GM_ERR_IO);
    gm_records_free(&pred);
    gm_records_free(&gold);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    char path[512];
    gm_records pred = records(pred_lines), gold = records(gold_lines);
    gm_page_options o = usual;
    o.images = gmt_temp_dir();
    snprintf(path, sizeof path, "%s/memory.html", gmt_temp_dir());
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_alloc_fail_at(k);
        status = gm_page_write(&pred, &gold, &o, path, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK && status != GM_ERR_NOMEM)
            fail_msg("allocation %lld: %s: %s", (long long)k, gm_status_name(status), err.text);
    }
    assert_true(k > 20);
    gm_records_free(&pred);
    gm_records_free(&gold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(nothing_of_a_record_becomes_markup),
        cmocka_unit_test(entities_are_marked_nested_ones_too),
        cmocka_unit_test(what_the_page_says_is_what_the_records_say),
        cmocka_unit_test(gold_tells_right_from_wrong),
        cmocka_unit_test(only_the_first_samples_are_shown),
        cmocka_unit_test(pictures_are_in_the_page),
        cmocka_unit_test(a_picture_that_cannot_be_shown_is_said),
        cmocka_unit_test(a_box_without_inside_is_not_drawn),
        cmocka_unit_test(many_types_fit),
        cmocka_unit_test(refusals_leave_no_file),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Reports of stages: the sums are those of the parts, objects of one form become rows, and texts cannot break out of the page. */
#include "tests/support/support.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "page/stages.h"

#if GM_HAVE_LIBXML2
#include <libxml/parser.h>
#include <libxml/xpath.h>
#endif

static cJSON *parsed(const char *text)
{
    gm_err err = { 0 };
    cJSON *value = NULL;
    assert_ok(gm_json_parse(text, strlen(text), &value, &err));
    return value;
}

static const char refine[] = "{\"samples\": 3, \"note\": \"<b>&\", \"span\": {\"asked\": 4, \"kept\": 1}, \"type\": {\"asked\": 5, \"kept\": 2}, "
                             "\"before\": {\"mner\": {\"p\": 0.5, \"r\": 0.25, \"f1\": 0.3333}}, \"after\": {\"mner\": {\"p\": 1, \"r\": 0.5, \"f1\": 0.6667}}, "
                             "\"curve\": [{\"share\": 0, \"f1_of\": 1}, {\"share\": 0.1, \"f1_of\": 2}, {\"share\": 0.2, \"f1_of\": 3}], \"empty\": {}, \"none\": null, "
                             "\"endpoint\": {\"requests\": 9, \"calls\": 11, \"retries\": 2, \"cached\": 1, \"tokens_in\": 100, \"tokens_out\": 10, \"cost\": 0.5, \"seconds\": 1.5}}";
static const char ground[] = "{\"endpoint\": {\"requests\": 1, \"calls\": 1, \"failed\": 1, \"tokens_in\": 7, \"cost\": 0.25}}";

static void sums(void **state)
{
    (void)state;
    cJSON *a = parsed(refine), *b = parsed(ground), *c = parsed("{}");
    const gm_stage_report parts[] = { { "refine", a }, { "ground", b }, { "train", c } };
    const gm_stage_total t = gm_stages_sum(parts, 3);
    assert_true(t.requests == 10 && t.calls == 12 && t.retries == 2 && t.cached == 1 && t.failed == 1 && t.tokens_in == 107 && t.tokens_out == 10);
    assert_true(t.cost == 0.75 && t.seconds == 1.5);
    gm_buffer text = { 0 };
    gm_err err = { 0 };
    assert_ok(gm_stages_json(parts, 3, &text, &err));
    cJSON *all = parsed(text.data);
    assert_true(cJSON_GetObjectItem(cJSON_GetObjectItem(all, "total"), "calls")->valuedouble == 12);
    assert_true(cJSON_Compare(cJSON_GetObjectItem(cJSON_GetObjectItem(all, "stages"), "refine"), a, true));
    cJSON_Delete(all);
    gm_buffer_free(&text);
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
}

#if GM_HAVE_LIBXML2
static int count(xmlDocPtr page, const char *path)
{
    xmlXPathContextPtr context = xmlXPathNewContext(page);
    xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST path, context);
    assert_non_null(found);
    const int n = found->nodesetval != NULL ? found->nodesetval->nodeNr : 0;
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
    return n;
}
#endif

static void page(void **state)
{
    (void)state;
    cJSON *a = parsed(refine), *b = parsed(ground);
    const gm_stage_report parts[] = { { "refine", a }, { "a<b>", b } };
    char *path = gm_path_join(gmt_temp_dir(), "report.html"), *text = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_stages_page("Report & more", parts, 2, path, &err));
    assert_ok(gm_file_read(path, &text, &size, &err));
    assert_non_null(strstr(text, "F1 33.33 (P 50.00, R 25.00)"));
    assert_null(strstr(text, "<b>&"));
#if GM_HAVE_LIBXML2
    xmlDocPtr doc = xmlReadMemory(text, (int)size, "report.html", NULL, XML_PARSE_NONET);
    assert_non_null(doc);
    assert_int_equal(count(doc, "//section"), 2);
    assert_int_equal(count(doc, "//section[@data-stage='a<b>']"), 1);
    assert_int_equal(count(doc, "//table"), 5); /* the parts, before and after, the curve, both endpoints */
    assert_int_equal(count(doc, "//table[1]/tbody/tr[th='span' and td[1]='4' and td[2]='1']"), 1);
    assert_int_equal(count(doc, "//table[tbody/tr[th='before']]/tbody/tr[th='after']"), 1);
    assert_int_equal(count(doc, "//h2[.='curve']/following-sibling::div[1]//tbody/tr"), 3);
    assert_int_equal(count(doc, "//dl[@class='total']/div[dt='calls' and dd='12']"), 1);
    assert_int_equal(count(doc, "//div[dt='samples' and dd='3']"), 1);
    xmlFreeDoc(doc);
#endif
    gm_free(text);
    gm_free(path);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums), cmocka_unit_test(page) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

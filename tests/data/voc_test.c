/* Pascal-VOC box files: what is read, each way one can be bad, and that nothing is printed or fetched. */
#define _DEFAULT_SOURCE /* dup, dup2 */
#include "tests/data/data_test.h"

#include <unistd.h>

#include "base/memory.h"
#include "data/readers.h"

#define SIZE "<size><width>640</width><height>480</height><depth>3</depth></size>"
#define BOX "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
#define OBJECT(name) "<object><name>" name "</name><pose>x</pose>" BOX "</object>"
#define FILE_OF(inside) "<annotation>" inside "</annotation>"

static gm_status parse(const char *text, gm_voc *voc, gm_err *err)
{
    return gm_voc_parse(text, strlen(text), voc, err);
}

static void reads_size_and_objects(void **state)
{
    (void)state;
    gm_err err;
    gm_voc voc;
    assert_ok(parse(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<annotation verified=\"yes\"><folder>\xE5\x9B\xBE</folder>" SIZE
        "<object><name>Ada Vex</name><bndbox>\n<xmin> 1.5 </xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
        "</object>" OBJECT("R&amp;B &lt;3") OBJECT("<![CDATA[a < b]]>")
            OBJECT("Caf\xC3\xA9\n") "<object><name>two</name>" BOX "</object><object><name>two</name>" BOX
                                    "</object></annotation>\n",
        &voc, &err));
    assert_int_equal(voc.width, 640);
    assert_int_equal(voc.height, 480);
    assert_int_equal(voc.count, 6);
    assert_string_equal(voc.objects[0].name, "Ada Vex");
    assert_true(voc.objects[0].box.x1 == 1.5 && voc.objects[0].box.y1 == 2);
    assert_true(voc.objects[0].box.x2 == 30 && voc.objects[0].box.y2 == 40);
    assert_string_equal(voc.objects[1].name, "R&B <3");
    assert_string_equal(voc.objects[2].name, "a < b");
    assert_string_equal(voc.objects[3].name, "Caf\xC3\xA9\n"); /* as it stands: the published counts need it */
    assert_string_equal(voc.objects[5].name, "two");
    gm_voc_free(&voc);
    assert_int_equal(voc.count, 0);
}

static void other_encodings_are_read(void **state)
{
    (void)state;
    gm_err err;
    gm_voc voc;
    assert_ok(parse("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>" FILE_OF(OBJECT("Caf\xE9")), &voc, &err));
    assert_string_equal(voc.objects[0].name, "Caf\xC3\xA9");
    gm_voc_free(&voc);
}

static void a_file_without_objects_or_size_is_fine(void **state)
{
    (void)state;
    static const char *const forms[] = { "<annotation/>", FILE_OF("<size><width>0</width><height>0</height></size>") };
    for (size_t i = 0; i < GM_LEN(forms); i++) {
        gm_err err;
        gm_voc voc;
        assert_ok(parse(forms[i], &voc, &err));
        assert_int_equal(voc.count, 0);
        assert_int_equal(voc.width, 0);
        assert_int_equal(voc.height, 0);
        gm_voc_free(&voc);
    }
}

#define DOCTYPE(inside) "<!DOCTYPE annotation [" inside "]>"

static const struct bad_file {
    const char *name, *text, *message;
} bad_files[] = {
    { "empty", "", "this is no XML" },
    { "no XML", "IMGID:1", "this is no XML" },
    { "cut off", "<annotation>\n<size>", "line 2: this is no XML" },
    { "wrong nesting", "<annotation><a></b></annotation>", "this is no XML" },
    { "bad UTF-8", FILE_OF(OBJECT("\xFF")), "this is no XML" },
    { "unknown encoding", "<?xml version=\"1.0\" encoding=\"klingon\"?>" FILE_OF(""), "this is no XML" },
    { "unknown entity", FILE_OF(OBJECT("&me;")), "this is no XML" },
    { "another document", "<html/>", "expected <annotation> as the outermost element, found <html>" },
    { "DOCTYPE", "<!DOCTYPE annotation>" FILE_OF(""), "has no DOCTYPE" },
    { "file entity", DOCTYPE("<!ENTITY e SYSTEM \"file:///etc/passwd\">") FILE_OF(OBJECT("&e;")), "has no DOCTYPE" },
    { "network DTD", "<!DOCTYPE annotation SYSTEM \"http://127.0.0.1:1/x.dtd\">" FILE_OF(""), "has no DOCTYPE" },
    { "billion laughs", DOCTYPE("<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">") FILE_OF(OBJECT("&b;")),
      "has no DOCTYPE" },
    { "object without name", FILE_OF("\n<object>" BOX "</object>"), "line 2: <object> has no <name>" },
    { "object without box", FILE_OF("<object><name>a</name></object>"), "<object> has no <bndbox>" },
    { "empty name", FILE_OF(OBJECT("")), "the name is empty" },
    { "box without ymax",
      FILE_OF("<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax></bndbox></object>"),
      "<bndbox> has no <ymax>" },
    { "number with letters", FILE_OF("<object><name>a</name><bndbox><xmin>12x</xmin></bndbox></object>"),
      "<xmin> is \"12x\", expected a number" },
    { "number missing", FILE_OF("<object><name>a</name><bndbox><xmin/></bndbox></object>"),
      "<xmin> is \"\", expected a number" },
    { "number not finite", FILE_OF("<object><name>a</name><bndbox><xmin>nan</xmin></bndbox></object>"),
      "<xmin> is \"nan\"" },
    { "number huge", FILE_OF("<object><name>a</name><bndbox><xmin>1e30</xmin></bndbox></object>"),
      "<xmin> is \"1e30\"" },
    { "box without inside",
      FILE_OF(
          "<object><name>a</name><bndbox><xmin>5</xmin><ymin>1</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object>"),
      "the box 5 1 5 9 has no inside" },
    { "size negative", FILE_OF("<size><width>-1</width><height>5</height></size>"), "the size -1 x 5 is not" },
    { "size not whole", FILE_OF("<size><width>1.5</width><height>5</height></size>"), "the size 1.5 x 5 is not" },
    { "size without height", FILE_OF("<size><width>1</width></size>"), "<size> has no <height>" },
};

/* What a library prints on its own would show here: stderr goes to a file during the tests of bad files. */
static void bad_files_are_refused_in_silence(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/stderr", gmt_temp_dir());
    fflush(stderr);
    const int before = dup(STDERR_FILENO);
    assert_true(before >= 0 && freopen(path, "wb", stderr) != NULL);
    char failure[2048] = "";
    for (size_t i = 0; i < GM_LEN(bad_files); i++) {
        gm_err err = { 0 };
        gm_voc voc;
        const gm_status status = parse(bad_files[i].text, &voc, &err);
        if (status != GM_ERR_FORMAT || strstr(err.text, bad_files[i].message) == NULL || voc.count != 0)
            snprintf(failure, sizeof failure, "%s: expected \"%s\", got %s: %s", bad_files[i].name,
                     bad_files[i].message, gm_status_name(status), err.text);
    }
    fflush(stderr);
    const long printed = ftell(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    if (failure[0] != '\0') fail_msg("%s", failure);
    assert_int_equal(printed, 0);
}

/* The same document type in UTF-16, where a search for its bytes finds nothing. */
static void doctype_in_another_encoding_is_refused(void **state)
{
    (void)state;
    const char *text = DOCTYPE("<!ENTITY e \"x\">") FILE_OF(OBJECT("a"));
    char wide[2048] = "\xFF\xFE";
    size_t n = 2;
    for (const char *c = text; *c != '\0'; c++) {
        wide[n++] = *c;
        wide[n++] = '\0';
    }
    gm_err err;
    gm_voc voc;
    assert_refused(gm_voc_parse(wide, n, &voc, &err), GM_ERR_FORMAT, "has no DOCTYPE");
}

static void too_large_files_are_refused_before_reading(void **state)
{
    (void)state;
    gm_err err;
    gm_voc voc;
    bool found;
    char path[512];
    snprintf(path, sizeof path, "%s/large.xml", gmt_temp_dir());
    gmt_write_file(path, "<", 1);
    FILE *file = fopen(path, "rb+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 5 << 20, SEEK_SET), 0);
    assert_int_equal(fputc('>', file), '>');
    fclose(file);
    assert_refused(gm_voc_read(path, &voc, &found, &err), GM_ERR_FORMAT, "large.xml: 5242881 bytes are too many");
    assert_refused(gm_voc_parse("", 5 << 20, &voc, &err), GM_ERR_FORMAT, "bytes are too many");
}

static void missing_files_are_no_error_and_bad_ones_name_the_path(void **state)
{
    (void)state;
    gm_err err;
    gm_voc voc;
    bool found = true;
    char path[512];
    assert_ok(gm_voc_read("no/such.xml", &voc, &found, &err));
    assert_false(found);
    assert_int_equal(voc.count, 0);
    snprintf(path, sizeof path, "%s/1.xml", gmt_temp_dir());
    gmt_write_file(path, "<a/>", 4);
    assert_refused(gm_voc_read(path, &voc, &found, &err), GM_ERR_FORMAT, "/1.xml: expected <annotation>");
    gmt_write_file(path, FILE_OF(SIZE), strlen(FILE_OF(SIZE)));
    assert_ok(gm_voc_read(path, &voc, &found, &err));
    assert_true(found);
    assert_int_equal(voc.width, 640);
    gm_voc_free(&voc);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    gm_status status = GM_ERR_NOMEM;
    int64_t k = 0;
    for (; status != GM_OK; k++) {
        gm_err err;
        gm_voc voc;
        gm_alloc_fail_at(k);
        status = parse(FILE_OF(SIZE OBJECT("a") OBJECT("b")), &voc, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK && status != GM_ERR_NOMEM) fail_msg("allocation %d: %s", (int)k, err.text);
        gm_voc_free(&voc);
    }
    assert_true(k > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_size_and_objects),
        cmocka_unit_test(other_encodings_are_read),
        cmocka_unit_test(a_file_without_objects_or_size_is_fine),
        cmocka_unit_test(bad_files_are_refused_in_silence),
        cmocka_unit_test(doctype_in_another_encoding_is_refused),
        cmocka_unit_test(too_large_files_are_refused_before_reading),
        cmocka_unit_test(missing_files_are_no_error_and_bad_ones_name_the_path),
        cmocka_unit_test(any_allocation_may_fail),
    };
    skip_without_xml();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

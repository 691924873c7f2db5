/* Pascal-VOC box files, read by libxml2 from memory: no network, no document type and so no entities of a file's own,
 * no file beyond MAX_BYTES. Messages of libxml2 go into the error text; nothing is printed. */
#include "data/readers.h"

#include <math.h>
#include <string.h>

#include "base/cli.h"
#include "base/memory.h"

void gm_voc_free(gm_voc *voc)
{
    for (int32_t i = 0; i < voc->count; i++) gm_free(voc->objects[i].name);
    gm_free(voc->objects);
    *voc = (gm_voc) { 0 };
}

#if GM_HAVE_LIBXML2

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlerror.h>

enum { MAX_BYTES = 4 << 20, MAX_PIXELS = 1 << 24 };

typedef struct complaint {
    int line;
    char text[256];
} complaint;

#if LIBXML_VERSION >= 21200
typedef const xmlError *xml_error;
#else
typedef xmlError *xml_error;
#endif

/* The first complaint names the cause, the next ones are consequences. libxml2 ends its text with a line feed. */
static void hear(void *user, xml_error e)
{
    complaint *c = user;
    if (c->text[0] != '\0' || e == NULL || e->message == NULL) return;
    snprintf(c->text, sizeof c->text, "%.*s", (int)strcspn(e->message, "\r\n"), e->message);
    c->line = e->line;
}

static const xmlNode *child(const xmlNode *parent, const char *name)
{
    for (const xmlNode *n = parent->children; n != NULL; n = n->next)
        if (n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0) return n;
    return NULL;
}

/* The text inside a node, gm_malloc'ed. */
static gm_status text_of(const xmlNode *node, char **text, gm_err *err)
{
    xmlChar *content = xmlNodeGetContent(node);
    *text = content != NULL ? gm_strdup((const char *)content) : NULL;
    xmlFree(content);
    return *text == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for the text of an XML file") : GM_OK;
}

/* A number of pixels; white space around it is layout. */
static gm_status number_in(const xmlNode *parent, const char *name, double *value, gm_err *err)
{
    const xmlNode *node = child(parent, name);
    if (node == NULL)
        return gm_fail(err, GM_ERR_FORMAT, "line %ld: <%s> has no <%s>", xmlGetLineNo(parent),
                       (const char *)parent->name, name);
    char *text;
    GM_TRY(text_of(node, &text, err));
    char *first = text + strspn(text, " \t\r\n");
    first[strcspn(first, " \t\r\n")] = '\0';
    gm_status status = gm_parse_num(first, value, err);
    if (status != GM_OK || fabs(*value) > MAX_PIXELS)
        status = gm_fail(err, GM_ERR_FORMAT, "line %ld: <%s> is \"%.40s\", expected a number of pixels",
                         xmlGetLineNo(node), name, first);
    gm_free(text);
    return status;
}

static gm_status read_size(const xmlNode *root, gm_voc *voc, gm_err *err)
{
    const xmlNode *size = child(root, "size");
    double width, height;
    if (size == NULL) return GM_OK;
    GM_TRY(number_in(size, "width", &width, err));
    GM_TRY(number_in(size, "height", &height, err));
    if (width < 0 || height < 0 || width != floor(width) || height != floor(height))
        return gm_fail(err, GM_ERR_FORMAT, "line %ld: the size %g x %g is not one of whole pixels", xmlGetLineNo(size),
                       width, height);
    if (width == 0 || height == 0) return GM_OK; /* some tools write 0 for "not known" */
    voc->width = (int32_t)width;
    voc->height = (int32_t)height;
    return GM_OK;
}

static gm_status read_box(const xmlNode *node, gm_box *box, gm_err *err)
{
    GM_TRY(number_in(node, "xmin", &box->x1, err));
    GM_TRY(number_in(node, "ymin", &box->y1, err));
    GM_TRY(number_in(node, "xmax", &box->x2, err));
    GM_TRY(number_in(node, "ymax", &box->y2, err));
    if (box->x2 > box->x1 && box->y2 > box->y1) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT,
                   "line %ld: the box %g %g %g %g has no inside; expected xmin < xmax and ymin < ymax",
                   xmlGetLineNo(node), box->x1, box->y1, box->x2, box->y2);
}

static gm_status read_object(const xmlNode *object, gm_voc *voc, size_t *capacity, gm_err *err)
{
    const xmlNode *name = child(object, "name"), *box = child(object, "bndbox");
    if (name == NULL || box == NULL)
        return gm_fail(err, GM_ERR_FORMAT, "line %ld: <object> has no <%s>", xmlGetLineNo(object),
                       name == NULL ? "name" : "bndbox");
    GM_TRY(gm_grow((void **)&voc->objects, capacity, (size_t)voc->count, sizeof *voc->objects, err));
    gm_voc_object *o = &voc->objects[voc->count];
    GM_TRY(read_box(box, &o->box, err));
    GM_TRY(text_of(name, &o->name, err));
    voc->count++;
    if (o->name[0] == '\0') return gm_fail(err, GM_ERR_FORMAT, "line %ld: the name is empty", xmlGetLineNo(name));
    return GM_OK;
}

static gm_status read_document(xmlDoc *doc, gm_voc *voc, gm_err *err)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset != NULL) return gm_fail(err, GM_ERR_FORMAT, "a box file has no DOCTYPE; this one has");
    if (root == NULL || strcmp((const char *)root->name, "annotation") != 0)
        return gm_fail(err, GM_ERR_FORMAT, "expected <annotation> as the outermost element, found <%.60s>",
                       root == NULL ? "" : (const char *)root->name);
    size_t capacity = 0;
    GM_TRY(read_size(root, voc, err));
    for (const xmlNode *n = root->children; n != NULL; n = n->next)
        if (n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, "object") == 0)
            GM_TRY(read_object(n, voc, &capacity, err));
    return GM_OK;
}

static bool holds(const char *bytes, size_t n, const char *word)
{
    const size_t m = strlen(word);
    for (size_t i = 0; i + m <= n; i++)
        if (bytes[i] == word[0] && memcmp(bytes + i, word, m) == 0) return true;
    return false;
}

/* Handlers are per thread in libxml2; the caller's are put back. */
static xmlDoc *parse(const char *bytes, size_t n, complaint *c)
{
    const xmlStructuredErrorFunc before = xmlStructuredError;
    void *before_user = xmlStructuredErrorContext;
    xmlSetStructuredErrorFunc(c, hear);
    xmlDoc *doc = xmlReadMemory(bytes, (int)n, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_COMPACT);
    xmlSetStructuredErrorFunc(before_user, before);
    return doc;
}

gm_status gm_voc_parse(const char *bytes, size_t n, gm_voc *voc, gm_err *err)
{
    *voc = (gm_voc) { 0 };
    if (n > MAX_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%zu bytes are too many for a box file; at most %d", n, MAX_BYTES);
    /* Refused before parsing, so that no entity is even declared; read_document sees it in other encodings. */
    if (holds(bytes, n, "<!DOCTYPE")) return gm_fail(err, GM_ERR_FORMAT, "a box file has no DOCTYPE; this one has");
    complaint c = { 0 };
    xmlDoc *doc = parse(bytes, n, &c);
    if (doc == NULL)
        return gm_fail(err, GM_ERR_FORMAT, "line %d: this is no XML: %s", c.line, c.text[0] ? c.text : "no element");
    const gm_status status = read_document(doc, voc, err);
    xmlFreeDoc(doc);
    if (status != GM_OK) gm_voc_free(voc);
    return status;
}

/* Looked at before the file is read into memory. */
static gm_status check_size(const char *path, gm_err *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return GM_OK; /* reading it says why */
    const long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    fclose(file);
    if (size <= MAX_BYTES) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "%ld bytes are too many for a box file; at most %d", size, MAX_BYTES);
}

gm_status gm_voc_read(const char *path, gm_voc *voc, bool *found, gm_err *err)
{
    char *bytes = NULL;
    size_t size;
    *voc = (gm_voc) { 0 };
    *found = gm_path_exists(path);
    if (!*found) return GM_OK;
    if (check_size(path, err) != GM_OK) return gm_fail_at(err, "%s", path);
    GM_TRY(gm_file_read(path, &bytes, &size, err));
    gm_status status = gm_voc_parse(bytes, size, voc, err);
    if (status != GM_OK) status = gm_fail_at(err, "%s", path);
    gm_free(bytes);
    return status;
}

#else

static gm_status missing(gm_err *err)
{
    return gm_fail(err, GM_ERR_MISSING,
                   "box files are XML, and this build was made without libxml2: install libxml2-dev and build again");
}

gm_status gm_voc_parse(const char *bytes, size_t n, gm_voc *voc, gm_err *err)
{
    (void)bytes;
    (void)n;
    *voc = (gm_voc) { 0 };
    return missing(err);
}

gm_status gm_voc_read(const char *path, gm_voc *voc, bool *found, gm_err *err)
{
    (void)path;
    *found = false;
    *voc = (gm_voc) { 0 };
    return missing(err);
}

#endif

/* GPT-2's pattern (Radford et al., 2019) on PCRE2, translated to machine code where PCRE2 can. Letters and numbers are
 * those of the library's Unicode tables: 14.0 in PCRE2 10.42. */
#include "text/pattern.h"

#include "base/memory.h"

#if GM_HAVE_PCRE2

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* White space is spelt out (Unicode's White_Space), because \s of PCRE2 takes U+180E for one as well. */
#define SPACES "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
static const char source[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{L}\\p{N}" SPACES "]+|[" SPACES "]+(?![^" SPACES
                             "])|[" SPACES "]+";

struct gm_pattern {
    pcre2_general_context *context;
    pcre2_code *code;
};

/* pcre2_match_data under our name. */
static pcre2_match_data *match_of(gm_pattern_memory *m) { return (pcre2_match_data *)m; }

static void *take(size_t bytes, void *unused)
{
    (void)unused;
    return gm_malloc(bytes);
}

static void give(void *block, void *unused)
{
    (void)unused;
    gm_free(block);
}

static gm_status compile(gm_pattern *p, gm_err *err)
{
    int error = 0;
    PCRE2_SIZE at = 0;
    p->context = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *settings = p->context != NULL ? pcre2_compile_context_create(p->context) : NULL;
    if (settings == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a pattern");
    p->code = pcre2_compile((PCRE2_SPTR)source, sizeof source - 1, PCRE2_UTF | PCRE2_UCP, &error, &at, settings);
    pcre2_compile_context_free(settings);
    if (p->code == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a pattern (PCRE2 %d at %zu)", error, at);
    /* Without machine code, as where memory cannot be made executable, the same parts are found more slowly. */
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    return GM_OK;
}

gm_status gm_pattern_make(gm_pattern **p, gm_err *err)
{
    *p = gm_calloc(1, sizeof **p);
    if (*p == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a pattern");
    const gm_status status = compile(*p, err);
    if (status != GM_OK) {
        gm_pattern_destroy(*p);
        *p = NULL;
    }
    return status;
}

void gm_pattern_destroy(gm_pattern *p)
{
    if (p == NULL) return;
    pcre2_code_free(p->code);
    pcre2_general_context_free(p->context);
    gm_free(p);
}

gm_status gm_pattern_memory_make(const gm_pattern *p, gm_pattern_memory **m, gm_err *err)
{
    *m = (gm_pattern_memory *)pcre2_match_data_create(1, p->context);
    return *m != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a match");
}

void gm_pattern_memory_destroy(gm_pattern_memory *m) { pcre2_match_data_free(match_of(m)); }

gm_status gm_pattern_next(const gm_pattern *p, gm_pattern_memory *m, const char *text, size_t n, size_t from, size_t *end,
                          gm_err *err)
{
    pcre2_match_data *match = match_of(m);
    const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED;
    const int found = pcre2_match(p->code, (PCRE2_SPTR)text, n, from, options, match, NULL);
    if (found == PCRE2_ERROR_NOMEMORY) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a match");
    if (found < 0) return gm_fail(err, GM_ERR_DATA, "byte %zu: PCRE2 gives up on the text with error %d", from, found);
    *end = pcre2_get_ovector_pointer(match)[1];
    return GM_OK;
}

#else

gm_status gm_pattern_make(gm_pattern **p, gm_err *err)
{
    *p = NULL;
    return gm_fail(err, GM_ERR_MISSING, "RoBERTa's tokenizer needs PCRE2, which this build lacks: install libpcre2-dev and build again");
}

void gm_pattern_destroy(gm_pattern *p) { (void)p; }

gm_status gm_pattern_memory_make(const gm_pattern *p, gm_pattern_memory **m, gm_err *err)
{
    (void)p;
    *m = NULL;
    return gm_fail(err, GM_ERR_MISSING, "this build lacks PCRE2");
}

void gm_pattern_memory_destroy(gm_pattern_memory *m) { (void)m; }

gm_status gm_pattern_next(const gm_pattern *p, gm_pattern_memory *m, const char *text, size_t n, size_t from, size_t *end,
                          gm_err *err)
{
    (void)p, (void)m, (void)text, (void)from;
    *end = n;
    return gm_fail(err, GM_ERR_MISSING, "this build lacks PCRE2");
}

#endif

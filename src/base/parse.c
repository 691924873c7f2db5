#include "base/parse.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 63 }; /* longer words are near to nothing */

gm_status gm_parse_int(const char *text, int64_t *value, gm_err *err)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
        return gm_fail(err, GM_ERR_USAGE, "expected a whole number, found \"%s\"", text);
    errno = 0;
    const long long parsed = strtoll(text, NULL, 10);
    if (errno == ERANGE) return gm_fail(err, GM_ERR_USAGE, "%s does not fit in 64 bits", text);
    *value = parsed;
    return GM_OK;
}

gm_status gm_parse_u64(const char *text, uint64_t *value, gm_err *err)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
        return gm_fail(err, GM_ERR_USAGE, "expected a whole number from 0, found \"%s\"", text);
    errno = 0;
    const unsigned long long parsed = strtoull(text, NULL, 10);
    if (errno == ERANGE) return gm_fail(err, GM_ERR_USAGE, "%s does not fit in 64 bits", text);
    *value = parsed;
    return GM_OK;
}

/* Decimal numbers only: strtod alone would also take blanks, hexadecimals, inf and nan. */
gm_status gm_parse_num(const char *text, double *value, gm_err *err)
{
    char *end = NULL;
    const bool is_decimal = text[0] != '\0' && text[strspn(text, "0123456789+-.eE")] == '\0';
    const double parsed = is_decimal ? strtod(text, &end) : 0.0;
    if (!is_decimal || end == text || *end != '\0')
        return gm_fail(err, GM_ERR_USAGE, "expected a number, found \"%s\"", text);
    if (!isfinite(parsed)) return gm_fail(err, GM_ERR_USAGE, "%s is too large for a number", text);
    *value = parsed;
    return GM_OK;
}

static int edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    int row[MAX_WORD + 1];
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *gm_nearest(const char *word, const char *const *names, int count)
{
    const size_t n = strlen(word);
    if (n == 0 || n > MAX_WORD) return NULL;
    const char *nearest = NULL;
    int best = (int)n / 4 + 2;        /* one mistake in a short word, one more for every four letters */
    if (best > (int)n) best = (int)n; /* all letters wrong is not near */
    for (int i = 0; i < count; i++) {
        const size_t m = strlen(names[i]);
        if (m > MAX_WORD) continue;
        const int distance = edit_distance(word, n, names[i], m);
        if (distance >= best) continue;
        best = distance;
        nearest = names[i];
    }
    return nearest;
}

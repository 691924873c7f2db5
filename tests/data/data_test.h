/* What the tests of src/data share. */
#ifndef GM_TESTS_DATA_TEST_H
#define GM_TESTS_DATA_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/readers.h"
#include "tests/support/support.h"

/* Ends the program as skipped where the build has no libxml2. */
static inline void skip_without_xml(void)
{
    gm_err err = { 0 };
    gm_voc voc;
    if (gm_voc_parse("<annotation/>", strlen("<annotation/>"), &voc, &err) != GM_ERR_MISSING) return;
    fprintf(stderr, "skipped: %s\n", err.text);
    exit(77);
}

/* `call` must fail with this status, and the message must hold the text. */
#define assert_refused(call, wanted, text_part)                                                                        \
    do {                                                                                                               \
        const gm_status refused_ = (call);                                                                             \
        if (refused_ != (wanted) || strstr(err.text, text_part) == NULL)                                               \
            fail_msg("expected %s with \"%s\", got %s: %s", gm_status_name(wanted), text_part,                         \
                     gm_status_name(refused_), refused_ == GM_OK ? "" : err.text);                                     \
    } while (0)

#endif

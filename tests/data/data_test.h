/* What the tests of src/data share. */
#ifndef GM_TESTS_DATA_TEST_H
#define GM_TESTS_DATA_TEST_H

#include <string.h>

#include "tests/support/support.h"

/* `call` must fail with this status, and the message must hold the text. */
#define assert_refused(call, wanted, text_part)                                                                        \
    do {                                                                                                               \
        const gm_status refused_ = (call);                                                                             \
        if (refused_ != (wanted) || strstr(err.text, text_part) == NULL)                                               \
            fail_msg("expected %s with \"%s\", got %s: %s", gm_status_name(wanted), text_part,                         \
                     gm_status_name(refused_), refused_ == GM_OK ? "" : err.text);                                     \
    } while (0)

#endif

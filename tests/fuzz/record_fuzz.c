/* Any bytes as a record: refused with a message, or written as a line that reads back and is written the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_err err = { 0 };
    gm_record r, again;
    gm_buffer first = { 0 }, second = { 0 };
    if (gm_record_parse((const char *)data, size, &r, &err) != GM_OK) {
        if (err.text[0] == '\0') abort();
        return 0;
    }
    if (gm_record_write(&r, &first, &err) != GM_OK) abort();
    if (gm_record_parse(first.data, first.size, &again, &err) != GM_OK) abort();
    if (gm_record_write(&again, &second, &err) != GM_OK) abort();
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0) abort();
    gm_record_free(&r);
    gm_record_free(&again);
    gm_buffer_free(&first);
    gm_buffer_free(&second);
    return 0;
}

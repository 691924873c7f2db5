/* See utf8proc.h beside this file. */
#include "utf8proc.h"

const utf8proc_property_t *utf8proc_get_property(utf8proc_int32_t code)
{
    static const utf8proc_property_t letter = { UTF8PROC_CATEGORY_LO, 0 };
    (void)code;
    return &letter;
}

/* Bytes taken; -1 where the text is not UTF-8 (overlong forms and surrogates are let through). */
utf8proc_ssize_t utf8proc_iterate(const utf8proc_uint8_t *text, utf8proc_ssize_t size, utf8proc_int32_t *code)
{
    const utf8proc_uint8_t first = text[0];
    const utf8proc_ssize_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    *code = -1;
    if (length > size || (first >= 0x80 && first < 0xC0)) return -1;
    utf8proc_int32_t made = length == 1 ? first : first & (0xFF >> (length + 1));
    for (utf8proc_ssize_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) return -1;
        made = made << 6 | (text[i] & 0x3F);
    }
    *code = made;
    return length;
}

utf8proc_ssize_t utf8proc_encode_char(utf8proc_int32_t code, utf8proc_uint8_t *to)
{
    const utf8proc_ssize_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const utf8proc_uint8_t mark[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (utf8proc_ssize_t i = length - 1; i > 0; i--, code >>= 6) to[i] = (utf8proc_uint8_t)(0x80 | (code & 0x3F));
    to[0] = (utf8proc_uint8_t)(mark[length] | code);
    return length;
}

utf8proc_ssize_t utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *to, utf8proc_ssize_t room, utf8proc_option_t options, int *boundary)
{
    (void)options;
    (void)boundary;
    if (room > 0) to[0] = code;
    return 1;
}

utf8proc_int32_t utf8proc_tolower(utf8proc_int32_t code) { return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code; }

const char *utf8proc_errmsg(utf8proc_ssize_t code)
{
    (void)code;
    return "not UTF-8";
}

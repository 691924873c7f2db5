/* Shapes of words: each class by words of its own and by those next to it. */
#include "tests/support/support.h"

#include "base/status.h"
#include "text/shape.h"

static const struct { const char *word; gm_shape shape; } all[] = {
    { "house", GM_SHAPE_LOWER },
    { "don't", GM_SHAPE_LOWER },
    { "caf\xC3\xA9", GM_SHAPE_LOWER },
    { "House", GM_SHAPE_CAPITALISED },
    { "Trump's", GM_SHAPE_CAPITALISED },
    { "Coca-Cola", GM_SHAPE_CAPITALISED },
    { "\"Quoted", GM_SHAPE_CAPITALISED },
    { "\xC3\x89t\xC3\xA9", GM_SHAPE_CAPITALISED },
    { "E\xCC\x81t\xC3\xA9", GM_SHAPE_CAPITALISED }, /* an accent of its own does not begin a part */
    { "\xD0\x9C\xD0\xBE\xD1\x81", GM_SHAPE_CAPITALISED }, /* Cyrillic */
    { "\xC7\x85o", GM_SHAPE_CAPITALISED }, /* title case */
    { "NASA", GM_SHAPE_UPPER },
    { "U.S.", GM_SHAPE_UPPER },
    { "AT&T", GM_SHAPE_UPPER },
    { "I", GM_SHAPE_INITIAL },
    { "J.", GM_SHAPE_INITIAL },
    { "iPhone", GM_SHAPE_MIXED },
    { "YouTube", GM_SHAPE_MIXED },
    { "e-Mail", GM_SHAPE_MIXED },
    { "2016", GM_SHAPE_DIGITS },
    { "5,000", GM_SHAPE_DIGITS },
    { "$10", GM_SHAPE_DIGITS },
    { "2nd", GM_SHAPE_DIGITS_LOWER },
    { "b4", GM_SHAPE_DIGITS_LOWER },
    { "G20", GM_SHAPE_DIGITS_UPPER },
    { "iOS9", GM_SHAPE_DIGITS_UPPER },
    { "@realDonald", GM_SHAPE_USER },
    { "@1", GM_SHAPE_USER },
    { "@", GM_SHAPE_PUNCTUATION },
    { "#tag", GM_SHAPE_TAG_LOWER },
    { "#2016", GM_SHAPE_TAG_LOWER },
    { "#Tag", GM_SHAPE_TAG_UPPER },
    { "#aTag", GM_SHAPE_TAG_UPPER },
    { "#", GM_SHAPE_PUNCTUATION },
    { "http://t.co/Ab1", GM_SHAPE_URL },
    { "HTTPS://T.CO", GM_SHAPE_URL },
    { "www.x.org", GM_SHAPE_URL },
    { "http", GM_SHAPE_LOWER },
    { ",", GM_SHAPE_PUNCTUATION },
    { "\xE2\x80\xA6", GM_SHAPE_PUNCTUATION }, /* ellipsis */
    { "+", GM_SHAPE_SYMBOL },
    { ":)~", GM_SHAPE_SYMBOL }, /* the tilde is a symbol */
    { "\xF0\x9F\x98\x82", GM_SHAPE_SYMBOL }, /* emoji */
    { "\xE4\xB8\xAD\xE5\x9B\xBD", GM_SHAPE_CASELESS }, /* Chinese */
    { "\xD9\x85\xD8\xB5\xD8\xB1", GM_SHAPE_CASELESS }, /* Arabic */
    { "\xE2\x80\x8B", GM_SHAPE_OTHER }, /* U+200B */
    { "\xEF\xB8\x8F", GM_SHAPE_OTHER }, /* U+FE0F, a mark without a letter */
    { "", GM_SHAPE_OTHER },
    { "\xFF\xFE", GM_SHAPE_OTHER }, /* not UTF-8 */
};

static void words_have_their_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(all); i++)
        if (gm_shape_of(all[i].word) != all[i].shape) fail_msg("\"%s\" has shape %d, expected %d", all[i].word, (int)gm_shape_of(all[i].word), (int)all[i].shape);
}

/* Saved models have a row for each: numbers never move. */
static void numbers_are_those_of_saved_models(void **state)
{
    (void)state;
    assert_int_equal(GM_SHAPE_NONE, 0);
    assert_int_equal(GM_SHAPE_MIXED, 5);
    assert_int_equal(GM_SHAPE_USER, 9);
    assert_int_equal(GM_SHAPE_CASELESS, 15);
    assert_int_equal(GM_SHAPES, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_have_their_shapes),
        cmocka_unit_test(numbers_are_those_of_saved_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

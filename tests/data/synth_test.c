/* Synthetic tweets: well-formed records, the same bytes each time, and a wall between the names of training and those
 * kept from it. */
#include "tests/support/support.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "data/synth.h"

static gm_records make(gm_synth_options o)
{
    gm_err err = { 0 };
    gm_records all = { 0 };
    assert_ok(gm_synth(&o, &all, &err));
    assert_int_equal(all.count, o.count);
    return all;
}

static gm_buffer bytes(gm_synth_options o)
{
    gm_err err = { 0 };
    gm_buffer out = { 0 };
    gm_records all = make(o);
    for (size_t i = 0; i < all.count; i++) assert_ok(gm_record_write(&all.items[i], &out, &err));
    gm_records_free(&all);
    return out;
}

/* The words of an entity in lower case without the blanks, so that "New York" and the tag NewYork are one name. */
static char *folded(const gm_record *r, int32_t start, int32_t end)
{
    gm_err err = { 0 };
    gm_buffer b = { 0 };
    for (int32_t i = start; i <= end; i++) assert_ok(gm_buffer_add(&b, r->tokens[i], strlen(r->tokens[i]), &err));
    for (char *c = b.data; *c; c++) *c = (char)tolower((unsigned char)*c);
    return b.data;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct names {
    char **items;
    size_t count;
} names;

/* The folded names of all entities, sorted; `only_unseen`: of those marked so. */
static names names_of(const gm_records *all, bool only_unseen)
{
    names n = { 0 };
    size_t most = 0;
    for (size_t i = 0; i < all->count; i++) most += (size_t)all->items[i].entity_count;
    n.items = gm_calloc(most, sizeof *n.items);
    for (size_t i = 0; i < all->count; i++) {
        for (int32_t e = 0; e < all->items[i].entity_count; e++) {
            const gm_entity *x = &all->items[i].entities[e];
            if (!only_unseen || x->extra != NULL) n.items[n.count++] = folded(&all->items[i], x->start, x->end);
        }
    }
    qsort(n.items, n.count, sizeof *n.items, by_text);
    return n;
}

static void free_names(names *n)
{
    for (size_t i = 0; i < n->count; i++) gm_free(n->items[i]);
    gm_free(n->items);
}

static void records_are_well_formed(void **state)
{
    (void)state;
    static const char *const splits[] = { "train", "dev", "test" };
    for (size_t s = 0; s < GM_LEN(splits) * 2; s++) {
        const char *split = splits[s / 2];
        gm_records all = make((gm_synth_options) { .split = split, .seed = 5, .count = 1000, .is_hard = s % 2 != 0 });
        for (size_t i = 0; i < all.count; i++) {
            const gm_record *r = &all.items[i];
            char id[64];
            snprintf(id, sizeof id, "synth-%s-%06zu", split, i);
            assert_string_equal(r->id, id);
            assert_true(r->token_count > 0);
            for (int32_t t = 0; t < r->token_count; t++) {
                assert_true(r->tokens[t][0] != '\0' && strpbrk(r->tokens[t], " {}~*|") == NULL);
            }
            for (int32_t e = 0; e < r->entity_count; e++) {
                const gm_entity *x = &r->entities[e];
                assert_true(x->start >= 0 && x->start <= x->end && x->end < r->token_count);
                assert_true(e == 0 || x->start > r->entities[e - 1].end);
                if (strcmp(split, "train") == 0) assert_null(x->extra);
            }
        }
        gm_records_free(&all);
    }
}

/* The text of a seed is the same with pictures as it was before there were any. The hash is FNV-1a over id, tokens, types
 * and offsets of the records, taken from the commit before. */
static void the_text_of_a_seed_stays(void **state)
{
    (void)state;
    gm_records all = make((gm_synth_options) { .split = "dev", .seed = 9, .count = 300 });
    gm_err err = { 0 };
    gm_buffer text = { 0 };
    for (size_t i = 0; i < all.count; i++) {
        const gm_record *r = &all.items[i];
        assert_ok(gm_buffer_printf(&text, &err, "%s", r->id));
        for (int32_t t = 0; t < r->token_count; t++) assert_ok(gm_buffer_printf(&text, &err, " %s", r->tokens[t]));
        for (int32_t e = 0; e < r->entity_count; e++) {
            const gm_entity *x = &r->entities[e];
            assert_ok(gm_buffer_printf(&text, &err, " %d %d %s", (int)x->start, (int)x->end, x->type));
        }
        assert_ok(gm_buffer_add(&text, "\n", 1, &err));
    }
    assert_int_equal(gm_fnv1a(text.data), 0x22bbcfe7u);
    gm_buffer_free(&text);
    gm_records_free(&all);
}

static double overlap(const gm_box *a, const gm_box *b)
{
    const double w = fmin(a->x2, b->x2) - fmax(a->x1, b->x1), h = fmin(a->y2, b->y2) - fmax(a->y1, b->y1);
    return w > 0 && h > 0 ? w * h : 0;
}

/* Boxes lie within their picture and hardly overlap; the shares are those of the page on data formats. */
static void pictures_are_well_formed(void **state)
{
    (void)state;
    gm_records all = make((gm_synth_options) { .split = "train", .seed = 5, .count = 3000 });
    int64_t without = 0, entities = 0, groundable = 0, several = 0, persons = 0, persons_seen = 0, places = 0, places_seen = 0;
    for (size_t i = 0; i < all.count; i++) {
        const gm_record *r = &all.items[i];
        const gm_box *boxes[64];
        size_t count = 0;
        char name[80];
        snprintf(name, sizeof name, "%s.png", r->id);
        without += r->image == NULL;
        if (r->image != NULL) assert_string_equal(r->image, name);
        assert_true(r->image == NULL ? r->width == 0 && r->height == 0 : r->width >= 240 && r->height >= 240);
        for (int32_t e = 0; e < r->entity_count; e++) {
            const gm_entity *x = &r->entities[e];
            const bool is_person = strcmp(x->type, "PER") == 0, is_place = strcmp(x->type, "LOC") == 0;
            entities++;
            groundable += x->box_count > 0;
            several += x->box_count > 1;
            persons += is_person;
            persons_seen += is_person && x->box_count > 0;
            places += is_place;
            places_seen += is_place && x->box_count > 0;
            assert_true(r->image != NULL || x->box_count == 0);
            for (int32_t b = 0; b < x->box_count; b++) boxes[count++] = &x->boxes[b];
        }
        for (size_t b = 0; b < count; b++) {
            assert_true(boxes[b]->x1 >= 0 && boxes[b]->y1 >= 0 && boxes[b]->x2 <= r->width && boxes[b]->y2 <= r->height);
            assert_true(boxes[b]->x2 - boxes[b]->x1 >= 40 && boxes[b]->y2 - boxes[b]->y1 >= 40);
            assert_true(fmod(boxes[b]->x1, 1) == 0 && fmod(boxes[b]->y2, 1) == 0);
            for (size_t k = 0; k < b; k++)
                assert_true(overlap(boxes[b], boxes[k]) * 20 <= fmin(overlap(boxes[b], boxes[b]), overlap(boxes[k], boxes[k])));
        }
    }
    assert_true(without * 100 > 3000 * 10 && without * 100 < 3000 * 14);
    assert_true(groundable * 100 > entities * 30 && groundable * 100 < entities * 45);
    assert_true(several > 50 && several * 4 < groundable);
    assert_true(persons_seen * 2 > persons && places_seen * 4 < places);
    gm_records_free(&all);
}

/* What is written must be read back by the strict reader, extra members included. */
static void lines_read_back(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records all = make((gm_synth_options) { .split = "dev", .seed = 5, .count = 300 });
    for (size_t i = 0; i < all.count; i++) {
        gm_buffer line = { 0 }, again = { 0 };
        gm_record r = { 0 };
        assert_ok(gm_record_write(&all.items[i], &line, &err));
        assert_ok(gm_record_parse(line.data, line.size - 1, &r, &err));
        assert_ok(gm_record_write(&r, &again, &err));
        assert_string_equal(line.data, again.data);
        gm_record_free(&r);
        gm_buffer_free(&line);
        gm_buffer_free(&again);
    }
    gm_records_free(&all);
}

static void same_bytes_twice_and_other_bytes_for_another_seed(void **state)
{
    (void)state;
    const gm_synth_options o = { .split = "dev", .seed = 9, .count = 200 };
    gm_synth_options seed = o, split = o, hard = o;
    seed.seed = 10;
    split.split = "test";
    hard.is_hard = true;
    gm_buffer a = bytes(o), b = bytes(o), others[] = { bytes(seed), bytes(split), bytes(hard) };
    assert_string_equal(a.data, b.data);
    for (size_t i = 0; i < GM_LEN(others); i++) {
        assert_string_not_equal(strchr(a.data, ','), strchr(others[i].data, ',')); /* beyond the first id */
        gm_buffer_free(&others[i]);
    }
    gm_buffer_free(&a);
    gm_buffer_free(&b);
}

static void a_record_does_not_depend_on_the_count_or_the_start(void **state)
{
    (void)state;
    gm_buffer all = bytes((gm_synth_options) { .split = "train", .seed = 3, .count = 400 });
    gm_buffer head = bytes((gm_synth_options) { .split = "train", .seed = 3, .count = 150 });
    gm_buffer rest = bytes((gm_synth_options) { .split = "train", .seed = 3, .first = 150, .count = 250 });
    assert_int_equal(all.size, head.size + rest.size);
    assert_memory_equal(all.data, head.data, head.size);
    assert_memory_equal(all.data + head.size, rest.data, rest.size);
    gm_buffer_free(&all);
    gm_buffer_free(&head);
    gm_buffer_free(&rest);
}

static void names_kept_from_training_never_occur_there(void **state)
{
    (void)state;
    gm_records train = make((gm_synth_options) { .split = "train", .seed = 1, .count = 20000 });
    names seen = names_of(&train, false);
    static const char *const splits[] = { "dev", "test" };
    for (size_t s = 0; s < GM_LEN(splits); s++) {
        gm_records held = make((gm_synth_options) { .split = splits[s], .seed = 1, .count = 5000 });
        names unseen = names_of(&held, true), all = names_of(&held, false);
        for (size_t i = 0; i < unseen.count; i++) {
            if (bsearch(&unseen.items[i], seen.items, seen.count, sizeof *seen.items, by_text) != NULL)
                fail_msg("%s: \"%s\" is marked unseen and stands in train", splits[s], unseen.items[i]);
        }
        assert_true(unseen.count * 10 > all.count * 3 && unseen.count * 10 < all.count * 6);
        free_names(&unseen);
        free_names(&all);
        gm_records_free(&held);
    }
    free_names(&seen);
    gm_records_free(&train);
}

/* "Emma" and "Stone" are names of training, "Emma Stone" is kept from it: record 130921 once put the two together. */
static void parts_do_not_make_up_a_kept_name(void **state)
{
    (void)state;
    gm_records dev = make((gm_synth_options) { .split = "dev", .seed = 1, .first = 135, .count = 1 });
    gm_records train = make((gm_synth_options) { .split = "train", .seed = 1, .first = 130921, .count = 1 });
    names unseen = names_of(&dev, true), seen = names_of(&train, false);
    char *wanted = "emmastone";
    assert_non_null(bsearch(&wanted, unseen.items, unseen.count, sizeof *unseen.items, by_text)); /* else choose anew */
    assert_null(bsearch(&wanted, seen.items, seen.count, sizeof *seen.items, by_text));
    free_names(&unseen);
    free_names(&seen);
    gm_records_free(&dev);
    gm_records_free(&train);
}

static void no_name_stands_twice_in_a_tweet(void **state)
{
    (void)state;
    gm_records all = make((gm_synth_options) { .split = "train", .seed = 6, .count = 3000 });
    for (size_t i = 0; i < all.count; i++) {
        const gm_records one = { &all.items[i], 1, 1 };
        names n = names_of(&one, false);
        for (size_t k = 1; k < n.count; k++) {
            const gm_entity *last = &all.items[i].entities[n.count - 1];
            const bool is_tag = last->start > 0 && strcmp(all.items[i].tokens[last->start - 1], "#") == 0;
            if (!is_tag)
                assert_string_not_equal(n.items[k - 1], n.items[k]); /* a tag may repeat a name of the sentence */
        }
        free_names(&n);
    }
    gm_records_free(&all);
}

/* What makes the task one of context: many mentions have a name that elsewhere has another type. */
static void all_types_occur_and_names_are_ambiguous(void **state)
{
    (void)state;
    static const char *const types[] = { "PER", "LOC", "ORG", "OTHER" };
    gm_records all = make((gm_synth_options) { .split = "train", .seed = 2, .count = 2000 });
    int64_t count[4] = { 0 }, without = 0, chelsea[4] = { 0 };
    for (size_t i = 0; i < all.count; i++) {
        const gm_record *r = &all.items[i];
        without += r->entity_count == 0;
        for (int32_t e = 0; e < r->entity_count; e++) {
            char *name = folded(r, r->entities[e].start, r->entities[e].end);
            for (size_t t = 0; t < 4; t++) {
                if (strcmp(r->entities[e].type, types[t]) != 0) continue;
                count[t]++;
                chelsea[t] += strcmp(name, "chelsea") == 0;
            }
            gm_free(name);
        }
    }
    const int64_t total = count[0] + count[1] + count[2] + count[3];
    for (size_t t = 0; t < 4; t++) assert_true(count[t] * 100 > total * 15);
    assert_true(without * 100 > 2000 * 8 && without * 100 < 2000 * 25);
    assert_true(chelsea[0] > 0 && chelsea[1] > 0 && chelsea[2] > 0);
    gm_records_free(&all);
}

static void texts_hardly_repeat(void **state)
{
    (void)state;
    gm_records all = make((gm_synth_options) { .split = "train", .seed = 4, .count = 5000 });
    names texts = { gm_calloc(all.count, sizeof(char *)), all.count };
    for (size_t i = 0; i < all.count; i++) texts.items[i] = folded(&all.items[i], 0, all.items[i].token_count - 1);
    qsort(texts.items, texts.count, sizeof *texts.items, by_text);
    size_t twice = 0;
    for (size_t i = 1; i < texts.count; i++) twice += strcmp(texts.items[i - 1], texts.items[i]) == 0;
    assert_true(twice * 100 < texts.count);
    free_names(&texts);
    gm_records_free(&all);
}

static void refuses(gm_synth_options o, const char *part)
{
    gm_err err = { 0 };
    gm_records all = { 0 };
    assert_int_equal(gm_synth(&o, &all, &err), GM_ERR_USAGE);
    assert_int_equal(all.count, 0);
    if (strstr(err.text, part) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void an_unknown_split_is_refused(void **state)
{
    (void)state;
    refuses((gm_synth_options) { .split = "valid", .count = 1 }, "\"valid\"");
    refuses((gm_synth_options) { .count = 1 }, "train, dev or test");
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    refuses((gm_synth_options) { .split = "dev", .count = -1 }, "-1 records");
    refuses((gm_synth_options) { .split = "dev", .first = -2, .count = 1 }, "number -2");
    refuses((gm_synth_options) { .split = "dev", .first = UINT32_MAX, .count = 2 }, "4294967295");
    gm_records last = make((gm_synth_options) { .split = "dev", .first = UINT32_MAX, .count = 1 });
    assert_string_equal(last.items[0].id, "synth-dev-4294967295");
    gm_records_free(&last);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    const gm_synth_options o = { .split = "dev", .seed = 1, .count = 3 };
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_records all = { 0 };
        gm_alloc_fail_at(k);
        status = gm_synth(&o, &all, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
        gm_records_free(&all);
    }
    assert_true(k > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_well_formed),
        cmocka_unit_test(the_text_of_a_seed_stays),
        cmocka_unit_test(pictures_are_well_formed),
        cmocka_unit_test(lines_read_back),
        cmocka_unit_test(same_bytes_twice_and_other_bytes_for_another_seed),
        cmocka_unit_test(a_record_does_not_depend_on_the_count_or_the_start),
        cmocka_unit_test(names_kept_from_training_never_occur_there),
        cmocka_unit_test(parts_do_not_make_up_a_kept_name),
        cmocka_unit_test(no_name_stands_twice_in_a_tweet),
        cmocka_unit_test(all_types_occur_and_names_are_ambiguous),
        cmocka_unit_test(texts_hardly_repeat),
        cmocka_unit_test(an_unknown_split_is_refused),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

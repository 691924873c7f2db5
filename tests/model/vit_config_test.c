/* What the encoder of images reads and writes beside its numbers: configs of Hugging Face, presets, names in files, and what is
 * wrong with either, by message. */
#include "tests/model/vit_test.h"

static gm_status read_config(const char *json, gm_vit_config *c) { return gm_vit_read_config("c.json", json, strlen(json), c, &err); }

static void says(gm_status got, gm_status want, const char *text)
{
    assert_int_equal(got, want);
    if (strcmp(err.text, text) != 0) fail_msg("\"%s\", expected \"%s\"", err.text, text);
}

static bool same(const gm_vit_config *a, const gm_vit_config *b)
{
    return a->image == b->image && a->patch == b->patch && a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads && a->ffn == b->ffn &&
           a->projection == b->projection && a->activation == b->activation && a->eps == b->eps && memcmp(a->mean, b->mean, sizeof a->mean) == 0 &&
           memcmp(a->std, b->std, sizeof a->std) == 0;
}

/* openai/clip-vit-base-patch32 is what transformers makes of nothing. */
static void missing_keys_have_transformers_values(void **state)
{
    (void)state;
    gm_vit_config c, of_clip;
    assert_ok(read_config("{\"model_type\":\"clip\",\"vision_config\":{}}", &c));
    assert_true(c.image == 224 && c.patch == 32 && c.hidden == 768 && c.layers == 12 && c.heads == 12 && c.ffn == 3072 && c.projection == 512);
    assert_true(c.activation == GM_LINEAR_QUICK_GELU && c.eps == 1e-5f && c.mean[0] == 0.48145466f && c.std[2] == 0.27577711f);
    assert_int_equal(gm_vit_patches(&c), 49);
    assert_ok(read_config("{}", &of_clip));
    assert_true(same(&c, &of_clip));
}

/* A CLIP's own projection_dim counts, not that of its vision_config; what the texts have is not read. */
static void keys_of_both_kinds_of_files(void **state)
{
    (void)state;
    gm_vit_config c;
    assert_ok(read_config("{\"projection_dim\":768,\"hidden_size\":1,\"text_config\":{\"hidden_size\":2},\"vision_config\":{\"projection_dim\":9,\"hidden_size\":1024,"
                          "\"num_attention_heads\":16,\"patch_size\":14,\"image_size\":336,\"hidden_act\":\"gelu\"}}", &c));
    assert_true(c.projection == 768 && c.hidden == 1024 && c.activation == GM_LINEAR_GELU);
    assert_int_equal(gm_vit_patches(&c), 576);
    assert_ok(read_config("{\"model_type\":\"clip_vision_model\",\"projection_dim\":7,\"image_size\":16,\"patch_size\":16}", &c));
    assert_true(c.projection == 7 && gm_vit_patches(&c) == 1);
}

static void written_configs_come_back(void **state)
{
    (void)state;
    gm_vit_config all[3], back;
    assert_ok(gm_vit_preset("vit-tiny", &all[0], &err));
    assert_true(all[0].image == 32 && all[0].patch == 8 && all[0].hidden == 64 && all[0].layers == 2 && all[0].heads == 4 && all[0].ffn == 128);
    assert_ok(gm_vit_read_folder("tests/golden/clip/whole", &all[1], &err));
    assert_true(all[1].mean[2] == 0.3f && all[1].std[0] == 0.2f); /* of preprocessor_config.json */
    assert_ok(gm_vit_read_folder("tests/golden/clip/vision", &all[2], &err));
    for (int i = 0; i < 3; i++) {
        gm_buffer out = { 0 };
        assert_ok(gm_vit_write_config(&all[i], &out, &err));
        assert_ok(read_config(out.data, &back));
        assert_true(same(&all[i], &back));
        gm_buffer_free(&out);
    }
}

static void wrong_configs_are_named(void **state)
{
    (void)state;
    static const struct { const char *json; gm_status status; const char *text; } all[] = {
        { "[]", GM_ERR_FORMAT, "c.json: expected a JSON object" },
        { "{\"vision_config\":3}", GM_ERR_FORMAT, "c.json: \"vision_config\" is not a JSON object" },
        { "{\"model_type\":\"siglip\"}", GM_ERR_MISSING, "c.json: \"model_type\" is siglip, this release knows clip, clip_vision_model for images" },
        { "{\"hidden_act\":\"relu\"}", GM_ERR_MISSING, "c.json: \"hidden_act\" is relu, this release knows quick_gelu, gelu" },
        { "{\"hidden_act\":1}", GM_ERR_MISSING, "c.json: \"hidden_act\" is not a string, this release knows quick_gelu, gelu" },
        { "{\"num_channels\":1}", GM_ERR_FORMAT, "c.json: \"num_channels\" is 1, expected a whole number from 3 to 3" },
        { "{\"image_size\":\"224\"}", GM_ERR_FORMAT, "c.json: \"image_size\" is not a number" },
        { "{\"image_size\":1025}", GM_ERR_FORMAT, "c.json: \"image_size\" is 1025, expected a whole number from 1 to 1024" },
        { "{\"image_size\":225}", GM_ERR_FORMAT, "c.json: \"image_size\" 225 is not a multiple of \"patch_size\" 32" },
        { "{\"patch_size\":0}", GM_ERR_FORMAT, "c.json: \"patch_size\" is 0, expected a whole number from 1 to 1024" },
        { "{\"hidden_size\":770}", GM_ERR_FORMAT, "c.json: \"hidden_size\" 770 is not a multiple of \"num_attention_heads\" 12" },
        { "{\"num_hidden_layers\":49}", GM_ERR_FORMAT, "c.json: \"num_hidden_layers\" is 49, expected a whole number from 1 to 48" },
        { "{\"layer_norm_eps\":2}", GM_ERR_FORMAT, "c.json: \"layer_norm_eps\" is not a number in [0, 1)" },
        { "{\"image_std\":[0.2,0,0.2]}", GM_ERR_FORMAT, "c.json: \"image_std\" is not three numbers from 0.001 to 1" },
        { "{\"image_mean\":[0.2,0.2]}", GM_ERR_FORMAT, "c.json: \"image_mean\" is not three numbers from 0 to 1" },
        { "{\"image_mean\":[0.2,0.2,0.2,0.2]}", GM_ERR_FORMAT, "c.json: \"image_mean\" is not three numbers from 0 to 1" },
    };
    gm_vit_config c;
    for (size_t i = 0; i < GM_LEN(all); i++) says(read_config(all[i].json, &c), all[i].status, all[i].text);
    assert_int_equal(read_config("{", &c), GM_ERR_FORMAT);
    says(gm_vit_preset("vit-huge", &c, &err), GM_ERR_CONFIG, "there is no image encoder \"vit-huge\"; to be trained from nothing there is vit-tiny");
}

static void preprocessors_must_fit(void **state)
{
    (void)state;
    static const char *const good[] = { "{}", "{\"size\":32}", "{\"size\":{\"shortest_edge\":32}}", "{\"size\":{\"height\":32,\"width\":32}}",
                                        "{\"size\":40,\"crop_size\":{\"height\":32,\"width\":32},\"resample\":3,\"do_normalize\":true}",
                                        "{\"rescale_factor\":0.00392156862745098}" };
    static const struct { const char *json; gm_status status; const char *text; } bad[] = {
        { "7", GM_ERR_FORMAT, "p.json: expected a JSON object" },
        { "{\"size\":{\"shortest_edge\":64}}", GM_ERR_FORMAT, "p.json: images are made 64 pixels wide, but config.json says \"image_size\" 32" },
        { "{\"crop_size\":16,\"size\":32}", GM_ERR_FORMAT, "p.json: images are made 16 pixels wide, but config.json says \"image_size\" 32" },
        { "{\"resample\":2}", GM_ERR_MISSING, "p.json: \"resample\" is not 3, but images are resized by bicubic interpolation" },
        { "{\"rescale_factor\":1}", GM_ERR_MISSING, "p.json: \"rescale_factor\" is not 0.00392156863, but bytes become numbers from 0 to 1" },
        { "{\"do_normalize\":false}", GM_ERR_MISSING, "p.json: \"do_normalize\" is not true, this release knows nothing else" },
        { "{\"image_std\":[1,1,2]}", GM_ERR_FORMAT, "p.json: \"image_std\" is not three numbers from 0.001 to 1" },
    };
    gm_vit_config c;
    assert_ok(gm_vit_preset("vit-tiny", &c, &err));
    for (size_t i = 0; i < GM_LEN(good); i++) assert_ok(gm_vit_read_preprocessor("p.json", good[i], strlen(good[i]), &c, &err));
    for (size_t i = 0; i < GM_LEN(bad); i++) says(gm_vit_read_preprocessor("p.json", bad[i].json, strlen(bad[i].json), &c, &err), bad[i].status, bad[i].text);
}

static void a_folder_without_preprocessor_is_clips(void **state)
{
    (void)state;
    gm_vit_config c;
    char path[512];
    gm_out out = { 0 };
    const char *folder = gmt_temp_dir();
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_ok(gm_out_open(&out, path, &err));
    assert_ok(gm_out_write(&out, "{\"hidden_size\":12}", 18, &err));
    assert_ok(gm_out_commit(&out, &err));
    gm_out_abort(&out);
    assert_ok(gm_vit_read_folder(folder, &c, &err));
    assert_true(c.hidden == 12 && c.mean[1] == 0.4578275f);
    assert_int_equal(gm_vit_read_folder("tests/golden/clip/missing", &c, &err), GM_ERR_IO);
}

/* Written under one prefix and read under another, projection and all: each class of Hugging Face has its own. */
static void names_of_every_class_are_found(void **state)
{
    (void)state;
    static const char *const theirs[] = { "vision_model.", "clip.vision_model.", "model.vision_model.", "other.vision_model." };
    char file[512];
    snprintf(file, sizeof file, "%s/w.safetensors", gmt_temp_dir());
    for (size_t i = 0; i < GM_LEN(theirs); i++) {
        eye from = { 0 }, to = { 0 };
        assert_ok(gm_vit_preset("vit-tiny", &from.vit.config, &err));
        from.vit.config.projection = 5;
        from.vit.is_projected = true;
        to.vit = from.vit;
        eye_declare(&from, theirs[i], false);
        gm_params_randomise(&from.params, 0, 7);
        assert_ok(gm_params_save(&from.params, file, NULL, 0, &err));
        eye_declare(&to, i < 3 ? "vision_model." : theirs[i], false);
        eye_load(&to, file);
        for (int32_t k = 0; k < from.params.count; k++)
            assert_memory_equal(from.params.items[k]->value, to.params.items[k]->value, from.params.items[k]->count * sizeof(float));
        gm_safetensors *st;
        assert_ok(gm_safetensors_open(file, &st, &err));
        char name[64];
        snprintf(name, sizeof name, "%.*svisual_projection.weight", (int)(strlen(theirs[i]) - strlen("vision_model.")), theirs[i]);
        assert_non_null(gm_safetensors_find(st, name));
        snprintf(name, sizeof name, "%sembeddings.patch_embedding.weight", theirs[i]);
        const gm_st_entry *patch = gm_safetensors_find(st, name);
        assert_true(patch != NULL && patch->dims == 4 && patch->shape[1] == 3 && patch->shape[2] == 8);
        gm_safetensors_close(st);
        eye_close(&from);
        eye_close(&to);
    }
}

/* A text encoder's file, a vision model without the projection that is asked for, and images of another size. */
static void wrong_files_are_named(void **state)
{
    (void)state;
    eye e = { 0 };
    gm_safetensors *st;
    assert_ok(gm_vit_preset("vit-tiny", &e.vit.config, &err));
    e.vit.is_projected = true;
    says(gm_vit_declare(&e.vit, &e.params, "vision_model.", false, &err), GM_ERR_CONFIG,
         "the image encoder has no projection: its config.json names no \"projection_dim\"");
    e.vit.is_projected = false;
    eye_declare(&e, "vision_model.", false);
    assert_ok(gm_safetensors_open("tests/golden/bert/h48/model.safetensors", &st, &err));
    assert_int_equal(gm_vit_load(&e.vit, &e.params, st, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "no tensor \"vision_model.embeddings.class_embedding\""));
    gm_safetensors_close(st);
    eye_close(&e);

    eye_open(&e, "tests/golden/clip/vision", false, false);
    eye_close(&e);
    assert_ok(gm_vit_read_folder("tests/golden/clip/vision", &e.vit.config, &err));
    e.vit.is_projected = true; /* its config says 512, but only a CLIP has the matrix */
    eye_declare(&e, "vision_model.", false);
    assert_ok(gm_safetensors_open("tests/golden/clip/vision/model.safetensors", &st, &err));
    assert_int_equal(gm_vit_load(&e.vit, &e.params, st, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "no tensor \"visual_projection.weight\""));
    eye_close(&e);
    assert_ok(gm_vit_read_folder("tests/golden/clip/vision", &e.vit.config, &err));
    e.vit.config.image = 32;
    eye_declare(&e, "vision_model.", false);
    assert_int_equal(gm_vit_load(&e.vit, &e.params, st, &err), GM_ERR_SHAPE);
    assert_non_null(strstr(err.text, "embeddings.position_embedding.weight"));
    gm_safetensors_close(st);
    eye_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_keys_have_transformers_values),
        cmocka_unit_test(keys_of_both_kinds_of_files),
        cmocka_unit_test(written_configs_come_back),
        cmocka_unit_test(wrong_configs_are_named),
        cmocka_unit_test(preprocessors_must_fit),
        cmocka_unit_test(a_folder_without_preprocessor_is_clips),
        cmocka_unit_test(names_of_every_class_are_found),
        cmocka_unit_test(wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

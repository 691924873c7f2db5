/* What Hugging Face's files say of a vision transformer: config.json and preprocessor_config.json. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/vit.h"

static const float clip_mean[3] = { 0.48145466f, 0.4578275f, 0.40821073f }, clip_std[3] = { 0.26862954f, 0.26130258f, 0.27577711f };

/* What transformers gives a key that a file leaves out: ViT-B/32. */
static const gm_vit_config usual = { .image = 224, .patch = 32, .hidden = 768, .layers = 12, .heads = 12, .ffn = 3072, .projection = 512,
                                     .activation = GM_LINEAR_QUICK_GELU, .eps = 1e-5f };

static const struct { const char *name; gm_vit_config config; } presets[] = {
    { "vit-tiny", { .image = 32, .patch = 8, .hidden = 64, .layers = 2, .heads = 4, .ffn = 128, .activation = GM_LINEAR_QUICK_GELU, .eps = 1e-5f } },
};

static const struct { const char *name; gm_activation activation; } activations[] = { { "quick_gelu", GM_LINEAR_QUICK_GELU }, { "gelu", GM_LINEAR_GELU } };

static void set_clip_norm(gm_vit_config *c)
{
    memcpy(c->mean, clip_mean, sizeof c->mean);
    memcpy(c->std, clip_std, sizeof c->std);
}

/* *value stays as it is where the key is missing. */
static gm_status read_size(const char *place, const cJSON *object, const char *key, int32_t least, int32_t most, int32_t *value, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) return GM_OK;
    if (!cJSON_IsNumber(item)) return gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is not a number", place, key);
    const double d = item->valuedouble;
    if (!(d >= least && d <= most) || floor(d) != d)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is %g, expected a whole number from %d to %d", place, key, d, least, most);
    *value = (int32_t)d;
    return GM_OK;
}

/* Three numbers for red, green and blue. */
static gm_status read_channels(const char *place, const cJSON *object, const char *key, double least, float to[3], gm_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, key), *item;
    int n = 0;
    if (list == NULL) return GM_OK;
    cJSON_ArrayForEach(item, list)
    {
        if (n == 3 || !cJSON_IsNumber(item) || !(item->valuedouble >= least && item->valuedouble <= 1.0)) {
            n = -1;
            break;
        }
        to[n++] = (float)item->valuedouble;
    }
    return n == 3 ? GM_OK : gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is not three numbers from %g to 1", place, key, least);
}

static gm_status read_activation(const char *place, const cJSON *object, gm_vit_config *c, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "hidden_act");
    if (item == NULL) return GM_OK;
    for (size_t i = 0; cJSON_IsString(item) && i < GM_LEN(activations); i++)
        if (strcmp(item->valuestring, activations[i].name) == 0) {
            c->activation = activations[i].activation;
            return GM_OK;
        }
    return gm_fail(err, GM_ERR_MISSING, "%s: \"hidden_act\" is %s, this release knows quick_gelu, gelu", place,
                   cJSON_IsString(item) ? item->valuestring : "not a string");
}

static gm_status read_eps(const char *place, const cJSON *object, gm_vit_config *c, gm_err *err)
{
    const cJSON *eps = cJSON_GetObjectItemCaseSensitive(object, "layer_norm_eps");
    if (eps == NULL) return GM_OK;
    if (!cJSON_IsNumber(eps) || !(eps->valuedouble >= 0 && eps->valuedouble < 1))
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"layer_norm_eps\" is not a number in [0, 1)", place);
    c->eps = (float)eps->valuedouble;
    return GM_OK;
}

static gm_status check_type(const char *place, const cJSON *root, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "model_type");
    if (item == NULL || (cJSON_IsString(item) && (strcmp(item->valuestring, "clip") == 0 || strcmp(item->valuestring, "clip_vision_model") == 0)))
        return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "%s: \"model_type\" is %s, this release knows clip, clip_vision_model for images", place,
                   cJSON_IsString(item) ? item->valuestring : "not a string");
}

static gm_status read_vision(const char *place, const cJSON *root, const cJSON *vision, gm_vit_config *c, gm_err *err)
{
    int32_t channels = 3;
    GM_TRY(check_type(place, root, err));
    if (!cJSON_IsObject(vision)) return gm_fail(err, GM_ERR_FORMAT, "%s: \"vision_config\" is not a JSON object", place);
    GM_TRY(read_activation(place, vision, c, err));
    GM_TRY(read_eps(place, vision, c, err));
    GM_TRY(read_size(place, vision, "num_channels", 3, 3, &channels, err));
    GM_TRY(read_size(place, vision, "image_size", 1, GM_VIT_MAX_SIDE, &c->image, err));
    GM_TRY(read_size(place, vision, "patch_size", 1, GM_VIT_MAX_SIDE, &c->patch, err));
    GM_TRY(read_size(place, vision, "hidden_size", 1, 65536, &c->hidden, err));
    GM_TRY(read_size(place, vision, "num_hidden_layers", 1, GM_VIT_MAX_LAYERS, &c->layers, err));
    GM_TRY(read_size(place, vision, "num_attention_heads", 1, 1024, &c->heads, err));
    GM_TRY(read_size(place, vision, "intermediate_size", 1, 1 << 20, &c->ffn, err));
    GM_TRY(read_size(place, root, "projection_dim", 0, 65536, &c->projection, err)); /* of a CLIP the outer one is meant */
    GM_TRY(read_channels(place, vision, "image_mean", 0.0, c->mean, err));
    GM_TRY(read_channels(place, vision, "image_std", 1e-3, c->std, err));
    if (c->image % c->patch != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"image_size\" %d is not a multiple of \"patch_size\" %d", place, c->image, c->patch);
    if (c->hidden % c->heads != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d", place, c->hidden, c->heads);
    return GM_OK;
}

gm_status gm_vit_read_config(const char *place, const char *json, size_t size, gm_vit_config *c, gm_err *err)
{
    cJSON *root = NULL;
    *c = usual;
    set_clip_norm(c);
    if (gm_json_parse(json, size, &root, err) != GM_OK) return gm_fail_at(err, "%s", place);
    const cJSON *vision = cJSON_GetObjectItemCaseSensitive(root, "vision_config");
    const gm_status status = cJSON_IsObject(root) ? read_vision(place, root, vision != NULL ? vision : root, c, err)
                                                  : gm_fail(err, GM_ERR_FORMAT, "%s: expected a JSON object", place);
    cJSON_Delete(root);
    return status;
}

/* A number, or an object that says it under one of its keys. */
static gm_status read_side(const char *place, const cJSON *root, const char *key, int32_t *side, gm_err *err)
{
    static const char *const keys[] = { "shortest_edge", "height", "width" };
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsObject(item)) return read_size(place, root, key, 1, GM_VIT_MAX_SIDE, side, err);
    for (size_t i = 0; i < GM_LEN(keys); i++) GM_TRY(read_size(place, item, keys[i], 1, GM_VIT_MAX_SIDE, side, err));
    return GM_OK;
}

static gm_status expect_number(const char *place, const cJSON *root, const char *key, double wanted, const char *because, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (item == NULL || (cJSON_IsNumber(item) && fabs(item->valuedouble - wanted) <= 1e-6)) return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "%s: \"%s\" is not %.9g, but %s", place, key, wanted, because);
}

static gm_status expect_true(const char *place, const cJSON *root, const char *key, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (item == NULL || cJSON_IsTrue(item)) return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "%s: \"%s\" is not true, this release knows nothing else", place, key);
}

static gm_status read_preprocessor(const char *place, const cJSON *root, gm_vit_config *c, gm_err *err)
{
    int32_t side = c->image;
    if (!cJSON_IsObject(root)) return gm_fail(err, GM_ERR_FORMAT, "%s: expected a JSON object", place);
    GM_TRY(read_side(place, root, cJSON_HasObjectItem(root, "crop_size") ? "crop_size" : "size", &side, err));
    if (side != c->image)
        return gm_fail(err, GM_ERR_FORMAT, "%s: images are made %d pixels wide, but config.json says \"image_size\" %d", place, side, c->image);
    GM_TRY(expect_number(place, root, "resample", 3, "images are resized by bicubic interpolation", err));
    GM_TRY(expect_number(place, root, "rescale_factor", 1.0 / 255.0, "bytes become numbers from 0 to 1", err));
    GM_TRY(expect_true(place, root, "do_rescale", err));
    GM_TRY(expect_true(place, root, "do_normalize", err));
    GM_TRY(read_channels(place, root, "image_mean", 0.0, c->mean, err));
    return read_channels(place, root, "image_std", 1e-3, c->std, err);
}

gm_status gm_vit_read_preprocessor(const char *place, const char *json, size_t size, gm_vit_config *c, gm_err *err)
{
    cJSON *root = NULL;
    if (gm_json_parse(json, size, &root, err) != GM_OK) return gm_fail_at(err, "%s", place);
    const gm_status status = read_preprocessor(place, root, c, err);
    cJSON_Delete(root);
    return status;
}

typedef gm_status (*reader)(const char *place, const char *json, size_t size, gm_vit_config *c, gm_err *err);

/* Reads folder/name; a missing file passes where it `may_miss`. */
static gm_status read_file(const char *folder, const char *name, bool may_miss, reader read, gm_vit_config *c, gm_err *err)
{
    char *path = gm_path_join(folder, name), *json = NULL;
    size_t size;
    gm_status status = path != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK && !(may_miss && !gm_path_exists(path))) {
        status = gm_file_read(path, &json, &size, err);
        if (status == GM_OK) status = read(path, json, size, c, err);
    }
    gm_free(json);
    gm_free(path);
    return status;
}

gm_status gm_vit_read_folder(const char *folder, gm_vit_config *c, gm_err *err)
{
    GM_TRY(read_file(folder, "config.json", false, gm_vit_read_config, c, err));
    return read_file(folder, "preprocessor_config.json", true, gm_vit_read_preprocessor, c, err);
}

gm_status gm_vit_write_config(const gm_vit_config *c, gm_buffer *out, gm_err *err)
{
    const char *activation = activations[c->activation == GM_LINEAR_GELU ? 1 : 0].name;
    GM_TRY(gm_buffer_printf(out, err, "{\n  \"architectures\": [\"CLIPVisionModel\"],\n  \"model_type\": \"clip_vision_model\",\n  \"hidden_act\": \"%s\",\n", activation));
    GM_TRY(gm_buffer_printf(out, err, "  \"hidden_size\": %d,\n  \"image_size\": %d,\n  \"intermediate_size\": %d,\n  \"layer_norm_eps\": %.9g,\n", c->hidden,
                            c->image, c->ffn, (double)c->eps));
    GM_TRY(gm_buffer_printf(out, err, "  \"num_attention_heads\": %d,\n  \"num_channels\": 3,\n  \"num_hidden_layers\": %d,\n  \"patch_size\": %d,\n", c->heads,
                            c->layers, c->patch));
    return gm_buffer_printf(out, err, "  \"projection_dim\": %d,\n  \"image_mean\": [%.9g, %.9g, %.9g],\n  \"image_std\": [%.9g, %.9g, %.9g]\n}\n", c->projection,
                            (double)c->mean[0], (double)c->mean[1], (double)c->mean[2], (double)c->std[0], (double)c->std[1], (double)c->std[2]);
}

gm_status gm_vit_preset(const char *name, gm_vit_config *c, gm_err *err)
{
    gm_buffer known = { 0 };
    for (size_t i = 0; i < GM_LEN(presets); i++)
        if (strcmp(name, presets[i].name) == 0) {
            *c = presets[i].config;
            set_clip_norm(c);
            return GM_OK;
        }
    for (size_t i = 0; i < GM_LEN(presets); i++) GM_TRY(gm_buffer_printf(&known, err, "%s%s", i > 0 ? ", " : "", presets[i].name));
    gm_fail(err, GM_ERR_CONFIG, "there is no image encoder \"%s\"; to be trained from nothing there is %s", name, known.data);
    gm_buffer_free(&known);
    return GM_ERR_CONFIG;
}

#include "gguf-tool/recipe.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "gguf-tool/tool.h"
#include "quant/quantize.h"

#define ALL(type) (type), (type), (type), (type), (type)

/* In the order of DS4_RECIPE_CHOICES. */
static const ds4_recipe recipes[] = {
    {"q2", DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_IQ2_XXS, DS4_TYPE_Q2_K, 19},
    {"q4", DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_Q4_K, DS4_TYPE_Q4_K, 14},
    {"q8", DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_Q8_0, DS4_TYPE_Q8_0, 7},
    {"mxfp4", DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_MXFP4, DS4_TYPE_MXFP4, 38},
    {"f16", ALL(DS4_TYPE_F16), 1},
    {"bf16", ALL(DS4_TYPE_BF16), 32},
    {"f32", ALL(DS4_TYPE_F32), 0},
};

const ds4_recipe *ds4_recipe_at(int choice) {
    return &recipes[choice];
}

static bool fits(const ds4_tensor_plan *tensor, ds4_type type) {
    return tensor->ne[0] % ds4_type_get_info((uint32_t)type)->block_elements == 0;
}

void ds4_recipe_apply(const ds4_recipe *recipe, ds4_plan *plan) {
    for (size_t i = 0; i < plan->n; i++) {
        ds4_tensor_plan *t = &plan->tensors[i];
        switch (t->part) {
        case DS4_PART_VECTOR:
            t->type = DS4_TYPE_F32;
            break;
        case DS4_PART_TABLE:
            t->type = recipe->table;
            break;
        case DS4_PART_CONTROL:
            t->type = recipe->control;
            break;
        case DS4_PART_PROJECTION:
            t->type = recipe->projection;
            break;
        case DS4_PART_GATE_UP:
            t->type = recipe->gate_up;
            break;
        case DS4_PART_DOWN:
            t->type = recipe->down;
            break;
        case DS4_PART_IDS:
            t->type = DS4_TYPE_I32;
            break;
        case DS4_PART_OTHER:
            break;
        }
        if (t->part != DS4_PART_OTHER && !fits(t, t->type)) t->type = DS4_TYPE_F16;
    }
}

/* The writable type of that name, in any case; false if there is none. */
static bool find_type(const char *name, ds4_type *type) {
    for (uint32_t id = 0; id < 64; id++) {
        if (!ds4_type_can_be_quantized(id) || strcasecmp(name, ds4_type_get_info(id)->name) != 0)
            continue;
        *type = (ds4_type)id;
        return true;
    }
    return false;
}

static ds4_status override_types(ds4_plan *plan, const char *pattern, const char *type_name,
                                 ds4_error *error) {
    ds4_type type = DS4_TYPE_F32;
    size_t n_matched = 0;
    if (!find_type(type_name, &type))
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "type '%s' of '%s' is none of f32, f16, bf16, q8_0, q4_k, q2_k, iq2_xxs, "
                        "mxfp4",
                        type_name, pattern);
    for (size_t i = 0; i < plan->n; i++) {
        ds4_tensor_plan *t = &plan->tensors[i];
        if (t->part == DS4_PART_VECTOR || t->part == DS4_PART_IDS || t->type == DS4_TYPE_I32)
            continue;
        if (fnmatch(pattern, t->name, 0) != 0) continue;
        if (!fits(t, type))
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "'%s' cannot be %s: its rows of %" PRIu64 " are no whole blocks",
                            t->name, type_name, t->ne[0]);
        t->type = type;
        n_matched++;
    }
    if (n_matched > 0) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "no matrix is called '%s'", pattern);
}

static ds4_status override_all(ds4_plan *plan, char *rules, ds4_error *error) {
    for (char *entry = rules, *next; entry != NULL; entry = next) {
        next = strchr(entry, ',');
        if (next != NULL) *next++ = '\0';
        char *type = strchr(entry, '=');
        if (type == NULL || type == entry)
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "'%s' is not of the form PATTERN=TYPE; one type for all is a --recipe",
                            entry);
        *type++ = '\0';
        ds4_status status = override_types(plan, entry, type, error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

ds4_status ds4_recipe_override(const ds4_option_list *rules, ds4_plan *plan, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < rules->n; i++) {
        size_t n = strlen(rules->items[i]) + 1;
        char *text = malloc(n);
        if (text == NULL) return ds4_fail_memory(error, n, "the types of tensors");
        memcpy(text, rules->items[i], n);
        status = override_all(plan, text, error);
        free(text);
    }
    return status;
}

void ds4_recipe_print(const ds4_plan *plan) {
    char size[64];
    uint64_t total = 0;
    for (uint32_t type = 0; type < 64; type++) {
        uint64_t n = 0, n_bytes = 0;
        for (size_t i = 0; i < plan->n; i++) {
            const ds4_tensor_plan *t = &plan->tensors[i];
            const ds4_type_info *info = ds4_type_get_info((uint32_t)t->type);
            if ((uint32_t)t->type != type) continue;
            n++;
            n_bytes += t->ne[0] / info->block_elements * info->block_bytes * t->ne[1] * t->ne[2] *
                       t->ne[3];
        }
        if (n == 0) continue;
        total += n_bytes;
        printf("  %-8s %6" PRIu64 " tensors, %s\n", ds4_type_get_info(type)->name, n,
               ds4_tool_size(n_bytes, size));
    }
    printf("  all      %6zu tensors, %s\n", plan->n, ds4_tool_size(total, size));
}

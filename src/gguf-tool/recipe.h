/* Which type each tensor of a plan is stored as: by recipe, then by patterns on names. */
#ifndef DS4_GGUF_TOOL_RECIPE_H
#define DS4_GGUF_TOOL_RECIPE_H

#include "base/options.h"
#include "gguf-tool/plan.h"

typedef struct ds4_recipe {
    const char *name;
    ds4_type table, control, projection, gate_up, down;
    uint32_t file_type; /* the informative general.file_type */
} ds4_recipe;

/* The names of all recipes as the choices of an option, and the recipe of each choice. */
#define DS4_RECIPE_CHOICES "q2|q4|q8=q8_0|mxfp4|f16|bf16|f32"
const ds4_recipe *ds4_recipe_at(int choice);

/* Types by part; vectors become F32, ids I32. A matrix whose rows are not whole blocks of its type
 * becomes F16. Tensors of parts unknown keep their type. */
void ds4_recipe_apply(const ds4_recipe *recipe, ds4_plan *plan);

/* Gives tensors other types by name. Each rule is PATTERN=TYPE with a shell pattern on the whole
 * GGUF name (fnmatch: * ? [...]), several separated by commas; of several that match, the last
 * decides. Fails when a rule is malformed, names a type that cannot be written, matches no matrix,
 * or does not fit the row width of one. After ds4_recipe_apply. */
ds4_status ds4_recipe_override(const ds4_option_list *rules, ds4_plan *plan, ds4_error *error);

/* The table that --dry-run prints: tensors and bytes by type. */
void ds4_recipe_print(const ds4_plan *plan);

#endif

#include "chat/think.h"

#define MAX_PREFIX                                                                                 \
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"                            \
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to "     \
    "resolve the root cause, rigorously stress-testing your logic against all potential paths, "   \
    "edge cases, and adversarial scenarios.\n"                                                     \
    "Explicitly write out your entire deliberation process, documenting every intermediate step, " \
    "considered alternative, and rejected hypothesis to ensure absolutely no assumption is left "  \
    "unchecked.\n\n"

#define BEYOND_MAX_PREFIX                                                                          \
    "Reasoning Effort: Beyond maximum \xE2\x80\x94 exhaustive, relentless, and uncompromising.\n"  \
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: "      \
    "exhaustively decompose the problem into its most fundamental components, trace every causal " \
    "chain to its root, and resolve the underlying cause rather than any surface symptom.\n"       \
    "Do not stop reasoning until you have independently verified the solution from multiple "      \
    "angles and are certain that no assumption remains unchecked and no error remains "            \
    "undiscovered.\n\n"

const ds4_effort_table ds4_effort_table_first = {
    .name = "first",
    .rules =
        {
            [DS4_EFFORT_DEFAULT] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_NONE] = {DS4_THINK_NONE, NULL},
            [DS4_EFFORT_MINIMAL] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_LOW] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_MEDIUM] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_HIGH] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_XHIGH] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_MAX] = {DS4_THINK_MAX, MAX_PREFIX},
        },
    .short_context = {DS4_THINK_HIGH, NULL},
};

const ds4_effort_table ds4_effort_table_refresh = {
    .name = "refresh",
    .rules =
        {
            [DS4_EFFORT_DEFAULT] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_NONE] = {DS4_THINK_NONE, NULL},
            [DS4_EFFORT_MINIMAL] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_LOW] = {DS4_THINK_HIGH, NULL},
            [DS4_EFFORT_MEDIUM] = {DS4_THINK_HIGH, MAX_PREFIX},
            [DS4_EFFORT_HIGH] = {DS4_THINK_HIGH, MAX_PREFIX},
            [DS4_EFFORT_XHIGH] = {DS4_THINK_MAX, BEYOND_MAX_PREFIX},
            [DS4_EFFORT_MAX] = {DS4_THINK_MAX, BEYOND_MAX_PREFIX},
        },
    .short_context = {DS4_THINK_HIGH, MAX_PREFIX},
};

ds4_effort_rule ds4_think_resolve(const ds4_effort_table *table, ds4_think_controls controls,
                                  uint32_t n_context) {
    if (controls.disabled) return (ds4_effort_rule){DS4_THINK_NONE, NULL};
    ds4_effort_rule rule = table->rules[controls.effort];
    if (rule.mode == DS4_THINK_MAX && n_context < DS4_THINK_MAX_CONTEXT)
        return table->short_context;
    return rule;
}

bool ds4_effort_from_name(ds4_text name, ds4_effort *effort) {
    static const struct {
        const char *name;
        ds4_effort effort;
    } names[] = {
        {"none", DS4_EFFORT_NONE},     {"minimal", DS4_EFFORT_MINIMAL}, {"low", DS4_EFFORT_LOW},
        {"medium", DS4_EFFORT_MEDIUM}, {"high", DS4_EFFORT_HIGH},       {"xhigh", DS4_EFFORT_XHIGH},
        {"max", DS4_EFFORT_MAX},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!ds4_text_equals(name, names[i].name)) continue;
        *effort = names[i].effort;
        return true;
    }
    return false;
}

bool ds4_model_name_disables_thinking(ds4_text model) {
    return ds4_text_equals(model, "deepseek-chat");
}

#include "chat/control.h"

const char *ds4_control_spelling(ds4_control control) {
    static const char *const spellings[DS4_CONTROL_COUNT] = {
        "",
        "<\xEF\xBD\x9C"
        "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
        "<\xEF\xBD\x9C"
        "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
        "<\xEF\xBD\x9CUser\xEF\xBD\x9C>",
        "<\xEF\xBD\x9C"
        "Assistant\xEF\xBD\x9C>",
        "<think>",
        "</think>",
        "\xEF\xBD\x9C"
        "DSML\xEF\xBD\x9C",
    };
    return spellings[control];
}

ds4_control ds4_control_of_id(const ds4_control_ids *ids, int32_t id) {
    for (int c = DS4_CONTROL_BOS; c < DS4_CONTROL_COUNT; c++)
        if (ids->id[c] == id && id >= 0) return (ds4_control)c;
    return DS4_CONTROL_NONE;
}

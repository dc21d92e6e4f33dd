#include "kv/stats.h"

#define DS4_KV_NAME(name, text) text,

const char *ds4_kv_source_name(ds4_kv_source source) {
    static const char *const names[] = {DS4_KV_SOURCE_LIST(DS4_KV_NAME)};
    return names[source];
}

const char *ds4_kv_miss_name(ds4_kv_miss miss) {
    static const char *const names[] = {DS4_KV_MISS_LIST(DS4_KV_NAME)};
    return names[miss];
}

const char *ds4_kv_save_name(ds4_kv_save save) {
    static const char *const names[] = {DS4_KV_SAVE_LIST(DS4_KV_NAME)};
    return names[save];
}

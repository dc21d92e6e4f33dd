/* Geometry of every GGUF tensor type: those we compute with, and those that a reader must be able
 * to size. */
#include "quant/blocks.h"

static const ds4_type_info infos[] = {
    [0] = {"F32", 1, 4, true},          [1] = {"F16", 1, 2, true},
    [2] = {"Q4_0", 32, 18, false},      [3] = {"Q4_1", 32, 20, false},
    [6] = {"Q5_0", 32, 22, false},      [7] = {"Q5_1", 32, 24, false},
    [8] = {"Q8_0", 32, 34, true},       [9] = {"Q8_1", 32, 36, false},
    [10] = {"Q2_K", 256, 84, true},     [11] = {"Q3_K", 256, 110, false},
    [12] = {"Q4_K", 256, 144, true},    [13] = {"Q5_K", 256, 176, false},
    [14] = {"Q6_K", 256, 210, false},   [15] = {"Q8_K", 256, 292, false},
    [16] = {"IQ2_XXS", 256, 66, true},  [17] = {"IQ2_XS", 256, 74, false},
    [18] = {"IQ3_XXS", 256, 98, false}, [19] = {"IQ1_S", 256, 50, false},
    [20] = {"IQ4_NL", 32, 18, false},   [21] = {"IQ3_S", 256, 110, false},
    [22] = {"IQ2_S", 256, 82, false},   [23] = {"IQ4_XS", 256, 136, false},
    [24] = {"I8", 1, 1, false},         [25] = {"I16", 1, 2, false},
    [26] = {"I32", 1, 4, false},        [27] = {"I64", 1, 8, false},
    [28] = {"F64", 1, 8, false},        [29] = {"IQ1_M", 256, 56, false},
    [30] = {"BF16", 1, 2, true},        [34] = {"TQ1_0", 256, 54, false},
    [35] = {"TQ2_0", 256, 66, false},   [39] = {"MXFP4", 32, 17, true},
    [40] = {"NVFP4", 64, 36, false},    [41] = {"Q1_0", 128, 18, false},
};

const ds4_type_info *ds4_type_get_info(uint32_t id) {
    if (id >= sizeof infos / sizeof infos[0] || infos[id].name == NULL) return NULL;
    return &infos[id];
}

size_t ds4_type_row_bytes(ds4_type type, size_t n) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    return info == NULL ? 0 : n / info->block_elements * info->block_bytes;
}

bool ds4_type_takes_int8(ds4_type type) {
    switch (type) {
    case DS4_TYPE_Q8_0:
    case DS4_TYPE_Q2_K:
    case DS4_TYPE_Q4_K:
    case DS4_TYPE_IQ2_XXS:
    case DS4_TYPE_MXFP4:
        return true;
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_I32:
    case DS4_TYPE_BF16:
        return false;
    }
    return false;
}

size_t ds4_activation_row_bytes(ds4_type type, size_t n) {
    return ds4_type_takes_int8(type) ? ds4_activation_row_layout(type, n, NULL, NULL) : 0;
}

size_t ds4_matmul_scratch_bytes(void) {
    return DS4_MATMUL_SCRATCH;
}

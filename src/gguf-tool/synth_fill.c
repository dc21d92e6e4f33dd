#include "gguf-tool/synth_fill.h"

#include <math.h>
#include <string.h>

/* ---- numbers ---- */

/* splitmix64: a counter with a good finisher. Streams are apart because their starting points are
 * finished too. */
#define WEYL 0x9E3779B97F4A7C15u

static inline uint64_t finish(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline uint64_t next(uint64_t *state) {
    *state += WEYL;
    return finish(*state);
}

static inline void put_u16(uint8_t *target, uint16_t value) {
    target[0] = (uint8_t)value;
    target[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *target, uint32_t value) {
    for (int i = 0; i < 4; i++) target[i] = (uint8_t)(value >> 8 * i);
}

static inline void put_u64(uint8_t *target, uint64_t value) {
    for (int i = 0; i < 8; i++) target[i] = (uint8_t)(value >> 8 * i);
}

/* From -1 to 1, out of 16 bits: exact in binary16's and binary32's reach. */
static inline float unit(uint16_t bits) {
    return ((float)bits - 32767.5f) * (1.0f / 32767.5f);
}

uint64_t ds4_synth_key(uint64_t seed, const char *name) {
    uint64_t hash = finish(seed + WEYL);
    for (const char *c = name; *c != '\0'; c++) hash = finish((hash ^ (uint8_t)*c) + WEYL);
    return hash;
}

/* ---- quantised rows ---- */

/* Replaces each byte 0x80 by 0, so that the int8 codes are symmetric and their mean is 0. */
static inline uint64_t without_minus_128(uint64_t v) {
    const uint64_t high = 0x8080808080808080u, low = ~high;
    uint64_t flipped = v ^ high; /* the bytes sought are now 0 */
    uint64_t nonzero = (((flipped & low) + low) | flipped) & high;
    return v ^ (~nonzero & high);
}

/* Uniform codes -127..127 have the root mean square 73.5. */
static void fill_q8_0(uint64_t state, float rms, size_t n, uint8_t *target) {
    uint16_t d = ds4_f32_to_f16(rms / 73.5f);
    for (size_t block = 0; block < n / 32; block++, target += 34) {
        put_u16(target, d);
        for (int i = 0; i < 4; i++) put_u64(target + 2 + 8 * i, without_minus_128(next(&state)));
    }
}

/* Random grid rows and signs, scale codes 8..15: the root mean square is 70.6 d. */
static void fill_iq2_xxs(uint64_t state, float rms, size_t n, uint8_t *target) {
    uint16_t d = ds4_f32_to_f16(rms / 70.6f);
    for (size_t block = 0; block < n / 256; block++, target += 66) {
        put_u16(target, d);
        for (int i = 0; i < 8; i++) put_u64(target + 2 + 8 * i, next(&state) | 1ull << 63);
    }
}

/* Codes 0..3 around 1.5: with the minimum's factor 1.5 times the scale's and equal nibbles 8..15,
 * the mean is 0 and the root mean square 13.1 d. */
static void fill_q2_k(uint64_t state, float rms, size_t n, uint8_t *target) {
    uint16_t d = ds4_f32_to_f16(rms / 13.1f), dmin = ds4_f32_to_f16(1.5f * rms / 13.1f);
    for (size_t block = 0; block < n / 256; block++, target += 84) {
        for (int i = 0; i < 2; i++) {
            uint64_t nibbles = (next(&state) & 0x0707070707070707u) | 0x0808080808080808u;
            put_u64(target + 8 * i, nibbles | nibbles << 4);
        }
        for (int i = 0; i < 8; i++) put_u64(target + 16 + 8 * i, next(&state));
        put_u16(target + 80, d);
        put_u16(target + 82, dmin);
    }
}

/* ---- plain rows ---- */

/* Uniform in [middle - reach, middle + reach]. */
static void fill_plain(uint64_t state, ds4_type type, float middle, float reach, size_t n,
                       uint8_t *target) {
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0) bits = next(&state);
        float value = middle + reach * unit((uint16_t)(bits >> 16 * (i % 4)));
        if (type == DS4_TYPE_F16) {
            put_u16(target + 2 * i, ds4_f32_to_f16(value));
        } else {
            uint32_t pattern;
            memcpy(&pattern, &value, sizeof pattern);
            put_u32(target + 4 * i, pattern);
        }
    }
}

/* Biases of a hyper-connection: half of every stream in, the result into every stream, streams kept
 * mostly apart. */
static void fill_hc_base(uint64_t state, uint32_t n_streams, uint8_t *target) {
    fill_plain(state, DS4_TYPE_F32, 0, 0.1f, (size_t)n_streams * (n_streams + 2), target);
    for (uint32_t i = 0; i < n_streams; i++) {
        float kept = 2.0f;
        uint32_t pattern;
        memcpy(&pattern, &kept, sizeof pattern);
        put_u32(target + 4 * (2 * n_streams + i * n_streams + i), pattern);
    }
}

/* Distinct experts. */
static void fill_ids(uint64_t state, uint32_t n_experts, size_t n, uint8_t *target) {
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)(next(&state) % n_experts);
        for (size_t k = 0; k < i;) { /* taken: the next one, and look again */
            uint32_t taken = (uint32_t)target[4 * k] | (uint32_t)target[4 * k + 1] << 8 |
                             (uint32_t)target[4 * k + 2] << 16 | (uint32_t)target[4 * k + 3] << 24;
            if (taken == id) {
                id = (id + 1) % n_experts;
                k = 0;
            } else {
                k++;
            }
        }
        put_u32(target + 4 * i, id);
    }
}

/* ---- by part ---- */

static void fill_matrix(const ds4_tensor_plan *tensor, uint64_t state, float rms, uint8_t *target) {
    size_t n = (size_t)tensor->ne[0];
    switch (tensor->type) {
    case DS4_TYPE_Q8_0:
        fill_q8_0(state, rms, n, target);
        break;
    case DS4_TYPE_IQ2_XXS:
        fill_iq2_xxs(state, rms, n, target);
        break;
    case DS4_TYPE_Q2_K:
        fill_q2_k(state, rms, n, target);
        break;
    default:
        fill_plain(state, tensor->type, 0, rms * 1.7320508f, n, target);
        break; /* uniform: rms = reach / sqrt 3 */
    }
}

void ds4_synth_row(const ds4_tensor_plan *tensor, const ds4_shape *shape, uint64_t key,
                   uint64_t row, uint8_t *target) {
    uint64_t state = finish(key ^ finish(row + WEYL));
    size_t n = (size_t)tensor->ne[0];
    float keeps_size = 1.0f / sqrtf((float)n);
    switch (tensor->fill) {
    case DS4_FILL_MATRIX:
        fill_matrix(tensor, state, keeps_size, target);
        break;
    case DS4_FILL_EMBEDDING:
        fill_matrix(tensor, state, 1.0f, target);
        break;
    case DS4_FILL_HEAD:
        fill_matrix(tensor, state, 2.0f * keeps_size, target);
        break;
    case DS4_FILL_POSITION:
        fill_matrix(tensor, state, 0.5f, target);
        break;
    case DS4_FILL_NORM:
        fill_plain(state, tensor->type, 1.0f, 0.1f, n, target);
        break;
    case DS4_FILL_SMALL:
        fill_plain(state, tensor->type, 0, 0.1f, n, target);
        break;
    case DS4_FILL_HC_SCALE:
        fill_plain(state, tensor->type, 0.25f, 0.05f, n, target);
        break;
    case DS4_FILL_HC_BASE:
        fill_hc_base(state, shape->n_streams, target);
        break;
    case DS4_FILL_IDS:
        fill_ids(state, shape->n_experts, n, target);
        break;
    }
}

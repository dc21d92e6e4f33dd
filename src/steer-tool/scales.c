#include "steer-tool/scales.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool add(ds4_scales *s, double value) {
    for (size_t i = 0; i < s->n; i++)
        if (s->values[i] == value) return true;
    if (s->n == DS4_SCALES_MAX) return false;
    s->values[s->n++] = value + 0.0; /* -0 is 0 */
    return true;
}

ds4_status ds4_scales_parse(const char *text, ds4_scales *s, ds4_error *error) {
    const char *at = text;
    *s = (ds4_scales){.n = 1};
    for (;;) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || !(fabs(value) <= 100) || (*end != ',' && *end != '\0'))
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "--scales %.60s: expected numbers from -100 to 100 with commas between",
                            text);
        if (!add(s, value))
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "--scales: more than %d numbers",
                            (int)DS4_SCALES_MAX);
        if (*end == '\0') break;
        at = end + 1;
    }
    qsort(s->values, s->n, sizeof *s->values, compare);
    return DS4_OK;
}

ds4_steering ds4_scales_dial(const ds4_steering *base, ds4_scale_site site, double scale,
                             ds4_steer_mode mode) {
    ds4_steering dial = *base;
    dial.mode = mode;
    dial.ffn = site != DS4_SITE_ATTN ? (float)scale : 0;
    dial.attn = site != DS4_SITE_FFN ? (float)scale : 0;
    return dial;
}

/* Directional steering of a sub-layer's output (docs/steering.md), before it goes back into the
 * streams. Each item of a step has its own dial. */
#include <math.h>
#include <string.h>

#include "backend/cpu/step.h"

void ds4_steer_row(const ds4_vector_ops *ops, ds4_steer_mode mode, float scale, const float *v,
                   float *y, size_t n) {
    double amount = mode == DS4_STEER_PROJECT ? -(double)scale * ops->dot(v, y, n)
                                              : (double)scale * sqrt(ops->dot(y, y, n));
    ops->axpy((float)amount, v, y, n);
}

typedef struct steer_loop {
    ds4_forward *f;
    const ds4_step *step;
    ds4_steer_site site;
    uint32_t layer;
} steer_loop;

static void steer_rows(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const steer_loop *loop = context;
    for (size_t r = begin; r < end; r++) {
        const ds4_steering *s = loop->step->items[loop->step->item_of_row[r]].steering;
        float scale = ds4_steering_scale(s, loop->site, loop->layer);
        const float *v = scale == 0 ? NULL : ds4_direction_row(s->direction, loop->layer);
        if (v != NULL)
            ds4_steer_row(loop->f->cpu.ops, s->mode, scale, v, loop->f->y.row[r],
                          loop->f->hp->n_embd);
    }
}

static void hand_out(const ds4_forward *f, const ds4_step_item *item, ds4_steer_site site,
                     uint32_t layer) {
    size_t n = f->hp->n_embd;
    for (uint32_t t = 0; t < item->n; t++)
        memcpy(item->outputs[site] + ((size_t)t * f->hp->n_layers + layer) * n,
               f->y.row[item->first_row + t], n * sizeof(float));
}

void ds4_forward_steer(ds4_forward *f, const ds4_step *step, ds4_steer_site site, uint32_t layer) {
    bool any = false;
    for (uint32_t i = 0; i < step->n_items; i++) {
        const ds4_step_item *item = &step->items[i];
        if (item->outputs[site] != NULL) hand_out(f, item, site, layer);
        any = any || ds4_steering_scale(item->steering, site, layer) != 0;
    }
    if (!any) return;
    steer_loop loop = {.f = f, .step = step, .site = site, .layer = layer};
    ds4_threads_for(f->cpu.threads, step->n_rows, 4, steer_rows, &loop);
}

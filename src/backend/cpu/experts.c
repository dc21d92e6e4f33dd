/* Router, routed experts and the shared expert (docs/model.md, "Experts"). */
#include <math.h>
#include <string.h>

#include "backend/cpu/step.h"

typedef struct expert_loop {
    ds4_forward *f;
    const ds4_step *step;
    const ds4_layer_weights *weights;
    uint32_t layer;
} expert_loop;

static float router_score(float z) {
    double softplus = z > 20.0f ? (double)z : z < -20.0f ? exp((double)z) : log1p(exp((double)z));
    return (float)sqrt(softplus);
}

/* The U best of score + bias, best first; ties go to the lower index. */
static void choose_top(const float *score, const float *bias, uint32_t n, uint32_t n_used,
                       uint32_t *chosen) {
    for (uint32_t u = 0; u < n_used; u++) {
        uint32_t best = UINT32_MAX;
        float best_score = -INFINITY;
        for (uint32_t e = 0; e < n; e++) {
            float s = bias == NULL ? score[e] : score[e] + bias[e];
            bool taken = false;
            for (uint32_t v = 0; v < u && !taken; v++) taken = chosen[v] == e;
            if (taken || (best != UINT32_MAX && !(s > best_score))) continue;
            best = e;
            best_score = s;
        }
        chosen[u] = best;
    }
}

static void route_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const expert_loop *loop = context;
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    uint32_t n_used = hp->n_experts_used;
    for (size_t r = begin; r < end; r++) {
        float *score = f->router.row[r], *weight = f->expert_weight + r * n_used, total = 0.0f;
        uint32_t *chosen = f->expert + r * n_used;
        for (uint32_t e = 0; e < hp->n_experts; e++) score[e] = router_score(score[e]);
        if (loop->weights->hash_experts != NULL) {
            const int32_t *row =
                loop->weights->hash_experts + (size_t)loop->step->token[r] * n_used;
            for (uint32_t u = 0; u < n_used; u++) chosen[u] = (uint32_t)row[u];
        } else {
            choose_top(score, loop->weights->router_bias, hp->n_experts, n_used, chosen);
        }
        for (uint32_t u = 0; u < n_used; u++) total += score[chosen[u]];
        if (total < 0x1p-14f) total = 0x1p-14f;
        for (uint32_t u = 0; u < n_used; u++)
            weight[u] = score[chosen[u]] / total * hp->expert_weights_scale;
    }
}

/* Sorts the (row, slot) pairs by expert, rows ascending, and builds the pointer tables of each
 * expert's products. */
static void group_by_expert(ds4_forward *f, uint32_t n_rows) {
    const ds4_hparams *hp = f->hp;
    uint32_t n_used = hp->n_experts_used, n_pairs = n_rows * n_used, *first = f->expert_first;
    memset(first, 0, (hp->n_experts + 1) * sizeof *first);
    for (uint32_t i = 0; i < n_pairs; i++) first[f->expert[i] + 1]++;
    for (uint32_t e = 0; e < hp->n_experts; e++) first[e + 1] += first[e];
    for (uint32_t i = 0; i < n_pairs; i++) {
        uint32_t row = i / n_used, place = first[f->expert[i]]++;
        f->gather_x[place] = f->x.row[row];
        f->gather_gate[place] = f->gate.row[i];
        f->gather_up[place] = f->up.row[i];
        f->gather_down[place] = f->down.row[i];
        for (int kind = 0; kind < DS4_INT8_KINDS; kind++) {
            if (f->x.int8[kind] != NULL) f->gather_x_int8[kind][place] = f->x.int8[kind][row];
            if (f->gate.int8[kind] != NULL)
                f->gather_gate_int8[kind][place] = f->gate.int8[kind][i];
        }
    }
    /* Placing moved each start to the next expert's start: shift back. */
    memmove(first + 1, first, hp->n_experts * sizeof *first);
    first[0] = 0;
}

static ds4_row_list gathered(float **row, void **const int8[DS4_INT8_KINDS], uint32_t from) {
    ds4_row_list list = {.row = row + from};
    for (int kind = 0; kind < DS4_INT8_KINDS; kind++)
        if (int8[kind] != NULL) list.int8[kind] = int8[kind] + from;
    return list;
}

static void activate_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const expert_loop *loop = context;
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    size_t n_pairs = (size_t)loop->step->n_rows * hp->n_experts_used;
    for (size_t i = begin; i < end; i++) {
        if (i < n_pairs)
            f->cpu.ops->swiglu(f->gate.row[i], f->up.row[i], hp->swiglu_clamp[loop->layer],
                               f->expert_weight[i], hp->n_ff);
        else
            f->cpu.ops->swiglu(f->gate_shared.row[i - n_pairs], f->up_shared.row[i - n_pairs],
                               hp->swiglu_clamp_shared[loop->layer], 1.0f, hp->n_ff);
    }
}

/* y holds the shared expert; the routed ones are added to their own sum, in slot order. */
static void combine_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const expert_loop *loop = context;
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    float *routed = (float *)(void *)f->cpu.scratch[thread];
    for (size_t r = begin; r < end; r++) {
        memcpy(routed, f->down.row[r * hp->n_experts_used], hp->n_embd * sizeof *routed);
        for (uint32_t u = 1; u < hp->n_experts_used; u++)
            f->cpu.ops->axpy(1.0f, f->down.row[r * hp->n_experts_used + u], routed, hp->n_embd);
        f->cpu.ops->axpy(1.0f, routed, f->y.row[r], hp->n_embd);
    }
}

void ds4_forward_experts(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *w,
                         uint32_t layer) {
    const ds4_hparams *hp = f->hp;
    uint32_t n = step->n_rows, n_pairs = n * hp->n_experts_used;
    expert_loop loop = {.f = f, .step = step, .weights = w, .layer = layer};
    ds4_product *p = f->products;
    size_t n_products = 0;

    /* The router decides like the mixers do: with float activations. */
    p[0] =
        ds4_product_make(&f->cpu, &w->router, 0, (ds4_row_list){.row = f->x.row}, n, f->router.row);
    ds4_products_run(&f->cpu, p, 1);
    ds4_threads_for(f->cpu.threads, n, 4, route_piece, &loop);
    group_by_expert(f, n);

    ds4_row_list x = ds4_rows_from(&f->x, 0);
    p[n_products++] = ds4_product_make(&f->cpu, &w->gate_shared, 0, x, n, f->gate_shared.row);
    p[n_products++] = ds4_product_make(&f->cpu, &w->up_shared, 0, x, n, f->up_shared.row);
    for (uint32_t e = 0; e < hp->n_experts; e++) {
        uint32_t from = f->expert_first[e], count = f->expert_first[e + 1] - from;
        if (count == 0) continue;
        ds4_row_list xe = gathered(f->gather_x, f->gather_x_int8, from);
        p[n_products++] =
            ds4_product_make(&f->cpu, &w->gate_experts, e, xe, count, f->gather_gate + from);
        p[n_products++] =
            ds4_product_make(&f->cpu, &w->up_experts, e, xe, count, f->gather_up + from);
    }
    ds4_rows_prepare(&f->cpu, &f->x, 0, n, p, n_products);
    ds4_products_run(&f->cpu, p, n_products);
    ds4_threads_for(f->cpu.threads, (size_t)n_pairs + n, 1, activate_piece, &loop);

    n_products = 0;
    p[n_products++] = ds4_product_make(&f->cpu, &w->down_shared, 0,
                                       ds4_rows_from(&f->gate_shared, 0), n, f->y.row);
    ds4_rows_prepare(&f->cpu, &f->gate_shared, 0, n, p, 1);
    for (uint32_t e = 0; e < hp->n_experts; e++) {
        uint32_t from = f->expert_first[e], count = f->expert_first[e + 1] - from;
        if (count == 0) continue;
        ds4_row_list mid = gathered(f->gather_gate, f->gather_gate_int8, from);
        p[n_products++] =
            ds4_product_make(&f->cpu, &w->down_experts, e, mid, count, f->gather_down + from);
    }
    ds4_rows_prepare(&f->cpu, &f->gate, 0, n_pairs, p + 1, n_products - 1);
    ds4_products_run(&f->cpu, p, n_products);
    ds4_threads_for(f->cpu.threads, n, 1, combine_piece, &loop);
}

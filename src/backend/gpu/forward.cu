#include "backend/gpu/forward.h"

#include <stdlib.h>

extern "C" {
#include "backend/cpu/rope.h"
}

namespace GPU_NAMESPACE {

enum {
    ALIGNMENT = 256,
    SCORE_BYTES = 64 << 20,
    PARTIAL_BYTES = 256 << 20,
    LOGIT_ROWS = 64,
    LEAST_TILE_ROWS = 1
};

/* ---- sizes ---- */

static bool has_indexer(const ds4_hparams *hp) {
    for (uint32_t l = 0; l < hp->n_layers; l++)
        if (hp->ratio[l] == DS4_RATIO_OVERLAP) return true;
    return false;
}

/* Rows that any query at a position below `reach` can attend to in a layer. */
static int most_visible(const ds4_hparams *hp, uint32_t layer, int reach) {
    int raw = reach < (int)hp->window ? reach : (int)hp->window;
    if (hp->ratio[layer] == 0) return raw;
    int compressed = reach / (int)hp->ratio[layer];
    if (hp->ratio[layer] == DS4_RATIO_OVERLAP && compressed > (int)hp->indexer_top_k)
        compressed = (int)hp->indexer_top_k;
    return raw + compressed;
}

static size_t split_floats(const ds4_hparams *hp, int most_rows) {
    return (size_t)attention_splits(most_rows) * hp->n_heads * hp->head_dim;
}

sizes forward_sizes(const ds4_model *model, const ds4_engine_options *options) {
    const ds4_hparams *hp = &model->hparams;
    sizes s = {};
    weights_forms(model, &s.plain, &s.split);
    size_t largest = 1;
    s.max_rows = (int)options->max_batch_tokens;
    s.max_context = (int)options->max_context;
    s.max_items = s.max_rows < 256 ? s.max_rows : 256;
    s.logit_rows = s.max_rows < LOGIT_ROWS ? s.max_rows : LOGIT_ROWS;
    s.comp_width = 1;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        int width = (int)ds4_compressor_width(hp->ratio[l], hp->head_dim);
        if (hp->ratio[l] != 0 && width > s.comp_width) s.comp_width = width;
        int most = most_visible(hp, l, s.max_context);
        size_t floats = split_floats(hp, most);
        size_t tiled = tile_attention_floats((int)hp->n_heads, most);
        if (tiled > floats) floats = tiled;
        if (floats > largest) largest = floats;
    }
    s.attention_floats = largest * (size_t)s.max_rows;
    size_t cap = PARTIAL_BYTES / sizeof(float);
    if (s.attention_floats > cap) s.attention_floats = cap > largest ? cap : largest;
    s.down_floats = (size_t)s.max_rows * hp->n_experts_used * hp->n_embd;
    s.score_stride = s.max_context / DS4_RATIO_OVERLAP + 1;
    size_t rows = SCORE_BYTES / sizeof(float) / (size_t)s.score_stride;
    s.score_rows = !has_indexer(hp)            ? 0
                   : rows < 1                  ? 1
                   : rows > (size_t)s.max_rows ? s.max_rows
                                               : (int)rows;
    return s;
}

/* Hands out places in the slab, or with base NULL only counts. */
struct carver {
    uint8_t *base;
    uint64_t at;
};

template <typename T> static void carve(carver *c, T **place, size_t n) {
    *place = c->base == nullptr ? nullptr : (T *)(void *)(c->base + c->at);
    c->at += (n * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Rows of `n` columns in the forms that are needed. */
static void carve_activation(carver *c, const sizes &s, activation *a, size_t n_rows, size_t n) {
    *a = activation{};
    a->n = (int)n;
    a->width = split_width((int)n);
    a->row_bytes = split_row_bytes((int)n);
    if (s.plain) carve(c, &a->plain, n_rows * n);
    if (s.split) carve(c, &a->split, n_rows * a->row_bytes);
}

static void carve_all(carver *c, const ds4_hparams *hp, const sizes &s, buffers *b) {
    size_t n = (size_t)s.max_rows, embd = hp->n_embd, used = hp->n_experts_used;
    size_t n_mix = ds4_mix_width(hp), slices = HYPER_SLICES(embd), rope = hp->rope_dim;
    carve(c, &b->item_of_row, n);
    carve(c, &b->position, n);
    carve(c, &b->token, n);
    carve(c, &b->items, (size_t)s.max_items);
    carve(c, &b->states, (size_t)s.max_items * hp->n_layers);
    carve(c, &b->wanted, n);
    carve(c, &b->small, 1);
    carve(c, &b->steer, 2 * n * hp->n_layers);
    carve(c, &b->angles, 4 * n * rope);
    carve(c, &b->streams, n * hp->n_streams * embd);
    carve(c, &b->mix, n * n_mix);
    carve(c, &b->partial, n * slices * (n_mix >= HYPER_SUMS ? n_mix + 1 : (size_t)HYPER_SUMS));
    carve_activation(c, s, &b->x, n, embd);
    carve_activation(c, s, &b->q_low, n, hp->q_lora);
    carve_activation(c, s, &b->heads, n, (size_t)hp->n_heads * hp->head_dim);
    b->sorted = b->heads.split;
    size_t wider = hp->n_embd > hp->n_ff ? hp->n_embd : hp->n_ff, pairs = n * used;
    if (pairs * split_row_bytes((int)wider) > n * b->heads.row_bytes && s.split)
        carve(c, &b->sorted, pairs * split_row_bytes((int)wider));
    carve_activation(c, s, &b->low, n, (size_t)hp->o_groups * hp->o_lora);
    carve_activation(c, s, &b->mid, n * used, hp->n_ff);
    carve_activation(c, s, &b->mid_shared, n, hp->n_ff);
    carve(c, &b->y, n * embd);
    carve(c, &b->total, n * embd);
    carve(c, &b->q_lora, n * hp->q_lora);
    carve(c, &b->q, n * hp->n_heads * hp->head_dim);
    carve(c, &b->kv, n * hp->head_dim);
    carve(c, &b->comp_value, n * (size_t)s.comp_width);
    carve(c, &b->comp_gate, n * (size_t)s.comp_width);
    if (s.score_rows > 0) {
        carve(c, &b->index_value, 2 * n * hp->indexer_dim);
        carve(c, &b->index_gate, 2 * n * hp->indexer_dim);
        carve(c, &b->index_query, n * hp->indexer_heads * hp->indexer_dim);
        carve(c, &b->index_weight, n * hp->indexer_heads);
        carve(c, &b->scores, (size_t)s.score_rows * (size_t)s.score_stride);
        carve(c, &b->selected, n * hp->indexer_top_k);
    }
    carve(c, &b->attention_partial, s.attention_floats);
    carve(c, &b->attention_ml, s.attention_floats / hp->head_dim * 2 + 2);
    carve(c, &b->router, n * hp->n_experts);
    carve(c, &b->down, s.down_floats);
    carve(c, &b->expert, n * used);
    carve(c, &b->expert_weight, n * used);
    size_t tiles = (size_t)most_expert_tiles((int)(n * used), (int)hp->n_experts, LEAST_TILE_ROWS);
    carve(c, &b->n_tiles, 1);
    carve(c, &b->tile_expert, tiles);
    carve(c, &b->tile_first, tiles);
    carve(c, &b->tile_count, tiles);
    carve(c, &b->pairs, n * used);
    carve(c, &b->expert_count, hp->n_experts);
    carve(c, &b->logits, (size_t)s.logit_rows * hp->n_vocab);
    carve(c, &b->frequency, rope);
    carve(c, &b->slowdown, rope);
}

uint64_t forward_bytes(const ds4_hparams *hp, const sizes &s) {
    carver c = {};
    buffers unused;
    carve_all(&c, hp, s, &unused);
    return c.at;
}

/* ---- creation ---- */

static ds4_status place_rope(forward *f, const ds4_engine_options *options, ds4_error *error) {
    int pairs = (int)f->hp->rope_dim / 2;
    ds4_status status = DS4_OK;
    for (int kind = 0; kind < 2 && status == DS4_OK; kind++) {
        ds4_rope rope = {};
        float slowdown[1024];
        status = ds4_rope_create(f->hp, kind != 0, options->rope_angles, &rope, error);
        if (status != DS4_OK) break;
        for (int i = 0; i < pairs; i++) slowdown[i] = (float)rope.slowdown[i];
        device_copy_in(f->d, f->b.frequency + kind * pairs, rope.frequency,
                       (size_t)pairs * sizeof(double));
        device_copy_in(f->d, f->b.slowdown + kind * pairs, slowdown, (size_t)pairs * sizeof(float));
        f->view.rope_ratio[kind] = rope.ratio;
        status = device_finish(f->d, error);
        ds4_rope_free(&rope);
    }
    return status;
}

static void fill_view(forward *f, const ds4_engine_options *options) {
    const ds4_hparams *hp = f->hp;
    step_view v = {};
    v.max_items = f->s.max_items;
    v.item_of_row = f->b.item_of_row;
    v.position = f->b.position;
    v.token = f->b.token;
    v.items = f->b.items;
    v.states = f->b.states;
    v.n_embd = (int)hp->n_embd;
    v.n_streams = (int)hp->n_streams;
    v.n_heads = (int)hp->n_heads;
    v.head_dim = (int)hp->head_dim;
    v.rope_dim = (int)hp->rope_dim;
    v.index_heads = (int)hp->indexer_heads;
    v.index_dim = (int)hp->indexer_dim;
    v.window = (int)hp->window;
    v.top_k = (int)hp->indexer_top_k;
    v.raw_slots = (int)hp->window + DS4_JOURNAL_TOKENS;
    v.journal = DS4_JOURNAL_TOKENS;
    v.row_stride = (int)f->codec.row_stride;
    v.index_row_stride = (int)f->codec.index_row_stride;
    v.kv_sim = (int)f->codec.kv_sim;
    v.rms_eps = hp->rms_eps;
    v.hc_eps = hp->hc_eps;
    v.sinkhorn_iterations = (int)hp->sinkhorn_iterations;
    v.frequency = f->b.frequency;
    v.slowdown = f->b.slowdown;
    v.rope_float32 = options->rope_angles == DS4_ROPE_ANGLES_FLOAT32;
    v.angles = f->b.angles;
    v.window_ratio[0] = DS4_RATIO_OVERLAP;
    v.window_ratio[1] = 1;
    for (uint32_t l = 0; l < hp->n_layers; l++)
        if (hp->ratio[l] > 1 && hp->ratio[l] != DS4_RATIO_OVERLAP)
            v.window_ratio[1] = (int)hp->ratio[l];
    f->view = v;
}

ds4_status forward_create(device *d, const ds4_model *model, const ds4_engine_options *options,
                          const ds4_row_codec *codec, const weights *w, forward *f,
                          ds4_error *error) {
    *f = forward{};
    f->d = d;
    f->hp = &model->hparams;
    f->w = w;
    f->codec = *codec;
    f->s = forward_sizes(model, options);
    uint64_t n_bytes = forward_bytes(f->hp, f->s);
    f->slab = (uint8_t *)device_allocate(d, n_bytes);
    if (f->slab == nullptr)
        return ds4_fail(error, DS4_NO_MEMORY,
                        "%.2f GiB of GPU memory for a step's buffers could not be had",
                        (double)n_bytes / (double)(1u << 30));
    carver c = {f->slab, 0};
    carve_all(&c, f->hp, f->s, &f->b);
    device_clear(d, f->slab, n_bytes); /* what pads rows of activations stays zero */
    fill_view(f, options);
    ds4_status status = place_rope(f, options, error);
    if (status != DS4_OK) forward_free(f);
    return status;
}

void forward_free(forward *f) {
    if (f->d != nullptr) device_release(f->d, f->slab);
    *f = forward{};
}

/* ---- a layer ---- */

struct pass {
    forward *f;
    const step_shape *shape;
    step_view v;
    uint32_t layer;
    const layer_weights *w;
    sub_layer_output y; /* of the last sub-layer */
};

static product make_product(const matrix &m, const activation &x, const activation &y) {
    product p = {};
    p.m = m;
    p.x = x;
    p.y = y;
    return p;
}

static activation floats(float *y, int n) {
    activation a = {};
    a.plain = y;
    a.n = n;
    return a;
}

/* Columns from `first` on. */
static activation slice(const activation &a, int first) {
    activation part = a;
    part.first += first;
    return part;
}

static void add(product_list *list, const product &p) {
    list->items[list->n++] = p;
}

/* Few rows rarely share an expert: a tile of many rows would multiply nothing for most of them. */
static int expert_tile_rows(const pass &p) {
    enum { WORTH_WIDE = 12 /* rows of an expert */ };
    int per_expert = p.v.n_rows * (int)p.f->hp->n_experts_used / (int)p.f->hp->n_experts;
    if (p.w->up_experts.tiled) {
        if (per_expert >= WORTH_WIDE) return wide_tile_rows(p.f->d);
        int pairs = p.v.n_rows * (int)p.f->hp->n_experts_used, experts = (int)p.f->hp->n_experts;
        return 2 * pairs <= experts ? 2 : pairs <= 2 * experts ? 4 : (int)NARROW_ROWS;
    }
    return products_tile_rows(per_expert < 1 ? 1 : per_expert);
}

static void run_products_in_tiles(const pass &p, const product_list &list, int tile_rows) {
    const ds4_hparams *hp = p.f->hp;
    const buffers &b = p.f->b;
    expert_tiles tiles = {b.n_tiles,       b.tile_expert, b.tile_first,
                          b.tile_count,    b.pairs,       b.expert,
                          b.expert_weight, b.sorted,      p.v.n_rows * (int)hp->n_experts_used};
    int used = (int)hp->n_experts_used, most = used;
    if (p.v.n_rows > 1) most = most_expert_tiles(p.v.n_rows * used, (int)hp->n_experts, tile_rows);
    products_run(p.f->d, list, p.v.n_rows, tile_rows, tiles, most, p.f->w->code_book);
}

static void run_products(const pass &p, const product_list &list) {
    run_products_in_tiles(p, list, products_tile_rows(p.v.n_rows));
}

/* Streams take in the last output; x = the next sub-layer's input. */
static void run_hyper(pass *p, const mixer &m, const float *norm) {
    const buffers &b = p->f->b;
    hyper_mix_run(p->f->d, p->v, b.streams, b.mix, p->y, m, b.partial);
    hyper_finish_run(p->f->d, p->v, b.streams, b.partial, m, norm, b.mix, b.x, p->v.n_rows, nullptr,
                     0);
}

static attention_inputs inputs_of(const pass &p) {
    const buffers &b = p.f->b;
    attention_inputs in = {};
    in.q_lora = b.q_lora;
    in.q_lora_dim = (int)p.f->hp->q_lora;
    in.q_low = b.q_low;
    in.q_lora_norm = p.w->q_a_norm;
    in.kv_norm = p.w->kv_norm;
    in.kv = b.kv;
    in.comp_value = b.comp_value;
    in.comp_gate = b.comp_gate;
    in.index_value = b.index_value;
    in.index_gate = b.index_gate;
    in.comp_ape = p.w->compressor.ape;
    in.comp_norm = p.w->compressor.norm;
    in.index_ape = p.w->indexer_compressor.ape;
    in.index_norm = p.w->indexer_compressor.norm;
    in.mix = b.mix;
    in.layer = (int)p.layer;
    in.ratio = (int)p.f->hp->ratio[p.layer];
    in.comp_width = (int)ds4_compressor_width(p.f->hp->ratio[p.layer], p.f->hp->head_dim);
    in.keep = p.shape->short_items;
    return in;
}

static void run_projections(const pass &p, const attention_inputs &in) {
    const ds4_hparams *hp = p.f->hp;
    const buffers &b = p.f->b;
    int index = 2 * (int)hp->indexer_dim;
    product_list list = {};
    add(&list, make_product(p.w->q_a, b.x, floats(b.q_lora, (int)hp->q_lora)));
    add(&list, make_product(p.w->kv, b.x, floats(b.kv, (int)hp->head_dim)));
    if (in.ratio != 0) {
        add(&list, make_product(p.w->compressor.kv, b.x, floats(b.comp_value, in.comp_width)));
        add(&list, make_product(p.w->compressor.gate, b.x, floats(b.comp_gate, in.comp_width)));
    }
    if (in.ratio == DS4_RATIO_OVERLAP) {
        add(&list, make_product(p.w->indexer_compressor.kv, b.x, floats(b.index_value, index)));
        add(&list, make_product(p.w->indexer_compressor.gate, b.x, floats(b.index_gate, index)));
        add(&list,
            make_product(p.w->indexer_proj, b.x, floats(b.index_weight, (int)hp->indexer_heads)));
    }
    run_products(p, list);
    prepare_run(p.f->d, p.v, in);
    list = product_list{};
    add(&list, make_product(p.w->q_b, b.q_low, floats(b.q, (int)(hp->n_heads * hp->head_dim))));
    if (in.ratio == DS4_RATIO_OVERLAP)
        add(&list, make_product(p.w->indexer_q_b, b.q_low,
                                floats(b.index_query, (int)(hp->indexer_heads * hp->indexer_dim))));
    run_products(p, list);
}

static void run_selection(const pass &p) {
    const ds4_hparams *hp = p.f->hp;
    const buffers &b = p.f->b;
    selection s = {};
    s.query = b.index_query;
    s.weight = b.index_weight;
    s.scores = b.scores;
    s.score_stride = p.f->s.score_stride;
    s.score_rows = p.f->s.score_rows;
    s.selected = b.selected;
    s.layer = (int)p.layer;
    s.most_visible = p.shape->reach / DS4_RATIO_OVERLAP;
    if (s.most_visible <= (int)hp->indexer_top_k) return; /* attention then takes all */
    index_query_run(p.f->d, p.v, s);
    index_select_run(p.f->d, p.v, s);
}

static void run_core(const pass &p, const attention_inputs &in) {
    const ds4_hparams *hp = p.f->hp;
    const buffers &b = p.f->b;
    attention a = {};
    a.q = b.q;
    a.kv = b.kv;
    a.sinks = p.w->sinks;
    a.partial = b.attention_partial;
    a.partial_ml = b.attention_ml;
    a.out = b.heads;
    a.halves = (uint8_t *)b.down; /* the experts' outputs have been taken in */
    a.halves_bytes = p.f->s.down_floats * sizeof(float);
    a.layer = (int)p.layer;
    a.ratio = in.ratio;
    a.reach = p.shape->reach;
    a.most_rows = most_visible(hp, p.layer, p.shape->reach);
    if (in.ratio == DS4_RATIO_OVERLAP &&
        p.shape->reach / DS4_RATIO_OVERLAP > (int)hp->indexer_top_k)
        a.selected = b.selected;
    bool tiled = tile_attention_suits(p.v);
    size_t floats =
        tiled ? tile_attention_floats(p.v.n_heads, a.most_rows) : split_floats(hp, a.most_rows);
    size_t tile = p.f->s.attention_floats / floats;
    if (tile > (size_t)p.v.n_rows) tile = (size_t)p.v.n_rows;
    int launches = (p.v.n_rows + (int)tile - 1) / (int)tile; /* all of about the same size */
    a.row_tile = (p.v.n_rows + launches - 1) / launches;
    if (tiled)
        tile_attention_run(p.f->d, p.v, a);
    else
        attention_run(p.f->d, p.v, a);
}

/* Group g of the heads meets only its own rows of output_a. */
static void run_output(const pass &p) {
    const ds4_hparams *hp = p.f->hp;
    const buffers &b = p.f->b;
    int groups = (int)hp->o_groups, width = (int)(hp->n_heads * hp->head_dim),
        lora = (int)hp->o_lora;
    for (int g = 0; g < groups;) {
        product_list list = {};
        for (; g < groups && list.n < MAX_PRODUCTS; g++) {
            matrix m = p.w->output_a;
            if (m.tiled) {
                m = tiles_of(m, g * lora / TILE, lora);
            } else {
                m.codes += (size_t)(g * lora) * m.code_stride;
                m.scales += (size_t)(g * lora) * m.scale_stride;
                m.n_out = lora;
            }
            add(&list,
                make_product(m, slice(b.heads, g * (width / groups)), slice(b.low, g * lora)));
        }
        run_products(p, list);
    }
    product_list list = {};
    add(&list, make_product(p.w->output_b, b.low, floats(b.y, (int)hp->n_embd)));
    run_products(p, list);
}

static void run_steering(pass *p, int site) {
    if (!p->shape->steered) return;
    const buffers &b = p->f->b;
    const steer_row *rows =
        b.steer + ((size_t)site * p->f->hp->n_layers + p->layer) * (size_t)p->v.n_rows;
    steer_run(p->f->d, p->v, p->y, rows, b.total);
    p->y = sub_layer_output{b.total, nullptr, 0};
}

static void run_attention(pass *p) {
    attention_inputs in = inputs_of(*p);
    run_hyper(p, p->w->hc_attn, p->w->attn_norm);
    run_projections(*p, in);
    if (in.ratio == DS4_RATIO_OVERLAP) run_selection(*p);
    run_core(*p, in);
    if (!in.keep) keep_run(p->f->d, p->v, in);
    run_output(*p);
    p->y = sub_layer_output{p->f->b.y, nullptr, 0};
    run_steering(p, DS4_STEER_ATTN);
}

static product make_expert(const matrix &m, const activation &x, const activation &y,
                           int x_divisor) {
    product p = make_product(m, x, y);
    p.by_expert = 1;
    p.x_divisor = x_divisor;
    return p;
}

static void run_experts(pass *p) {
    const ds4_hparams *hp = p->f->hp;
    const buffers &b = p->f->b;
    int embd = (int)hp->n_embd, used = (int)hp->n_experts_used;
    run_hyper(p, p->w->hc_ffn, p->w->ffn_norm);
    product_list list = {};
    add(&list, make_product(p->w->router, b.x, floats(b.router, (int)hp->n_experts)));
    product shared = make_product(p->w->up_shared, b.x, b.mid_shared);
    shared.gate = p->w->gate_shared;
    shared.clamp = hp->swiglu_clamp_shared[p->layer];
    add(&list, shared);
    run_products(*p, list);
    routing r = {b.router,
                 p->w->router_bias,
                 p->w->hash_experts,
                 (int)hp->n_experts,
                 used,
                 hp->expert_weights_scale,
                 b.expert,
                 b.expert_weight,
                 b.n_tiles,
                 b.tile_expert,
                 b.tile_first,
                 b.tile_count,
                 b.pairs,
                 b.expert_count,
                 expert_tile_rows(*p),
                 b.mix};
    route_run(p->f->d, p->v, r);
    list = product_list{};
    product up = make_expert(p->w->up_experts, b.x, b.mid, used);
    up.gate = p->w->gate_experts;
    up.clamp = hp->swiglu_clamp[p->layer];
    product down = make_expert(p->w->down_experts, b.mid, floats(b.down, embd), 1);
    up.y_sorted = down.x_sorted =
        up.m.tiled && down.m.tiled && keeps_rows_sorted(p->f->d, expert_tile_rows(*p));
    down.rows_known = up.m.tiled && down.m.tiled;
    add(&list, up);
    run_products_in_tiles(*p, list, expert_tile_rows(*p));
    list = product_list{};
    product down_shared = make_product(p->w->down_shared, b.mid_shared, floats(b.y, embd));
    add(&list, down);
    if (p->v.n_rows == 1) {
        add(&list, down_shared);
        run_products(*p, list);
    } else {
        run_products_in_tiles(*p, list, expert_tile_rows(*p));
        list = product_list{};
        add(&list, down_shared);
        run_products(*p, list);
    }
    p->y = sub_layer_output{b.y, b.down, used};
    run_steering(p, DS4_STEER_FFN);
}

void forward_run(forward *f, const step_shape &shape) {
    pass p = {};
    p.f = f;
    p.shape = &shape;
    p.v = f->view;
    p.v.n_rows = shape.n_rows;
    p.v.n_items = shape.n_items;
    const int *wanted = f->b.wanted;
    if (shape.n_rows <= SMALL_ROWS) {
        p.v.item_of_row = f->b.small->item_of_row;
        p.v.position = f->b.small->position;
        p.v.token = f->b.small->token;
        p.v.items = f->b.small->items;
        wanted = f->b.small->wanted;
    }
    embed_run(f->d, p.v, f->w->token_embedding, f->w->code_book, f->b.streams);
    angles_run(f->d, p.v, f->b.angles);
    for (p.layer = 0; p.layer < f->hp->n_layers; p.layer++) {
        p.w = &f->w->layers[p.layer];
        run_attention(&p);
        run_experts(&p);
    }
    if (shape.n_wanted == 0) return;
    hyper_mix_run(f->d, p.v, f->b.streams, f->b.mix, p.y, f->w->output_hc, f->b.partial);
    hyper_finish_run(f->d, p.v, f->b.streams, f->b.partial, f->w->output_hc, f->w->output_norm,
                     f->b.mix, f->b.x, shape.n_wanted, wanted, 1);
}

void forward_logits(forward *f, const step_shape &shape, int first, int n) {
    (void)shape;
    pass p = {};
    p.f = f;
    p.v = f->view;
    p.v.n_rows = n;
    product_list list = {};
    activation x = f->b.x;
    if (x.plain != nullptr) x.plain += (size_t)first * f->hp->n_embd;
    if (x.split != nullptr) x.split += (size_t)first * x.row_bytes;
    add(&list, make_product(f->w->output, x, floats(f->b.logits, (int)f->hp->n_vocab)));
    run_products(p, list);
}

} // namespace GPU_NAMESPACE

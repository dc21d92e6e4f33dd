/* The products of a decoding step at the shapes of V4 Flash, each as a chain of launches that read
 * different weights, beside what a copy moves.
 *
 *     bench_products [1|16 rows]...       (needs a GPU and 4 GiB of its memory)
 *
 * Prints for each product microseconds per launch, the bytes of weights, GB/s and their share of a
 * copy's, and a sum over the outputs' bits: the same for every way to compute them. */
#include "backend/gpu/products.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace GPU_NAMESPACE;

namespace {

enum {
    EMBD = 4096,
    LORA = 1024,
    HEADS = 32768,
    GROUPS = 8,
    LOW = GROUPS * LORA,
    EXPERTS = 256,
    USED = 6,
    EXPERT = 2048,
    CHAIN = 24
};

const size_t WEIGHT_BYTES = (size_t)3 << 30;

/* Numbers that are positive and finite as halves and as floats. */
KERNEL fill_kernel(uint32_t *to, size_t n, uint32_t seed) {
    size_t step = (size_t)(blocks_x() * block_threads());
    for (size_t i = (size_t)(block_x() * block_threads() + thread_index()); i < n; i += step) {
        uint32_t x = (uint32_t)i * 2654435761u + seed;
        x = (x ^ x >> 16) * 0x85ebca6bu;
        x = (x ^ x >> 13) * 0xc2b2ae35u;
        to[i] = (x ^ x >> 16) & 0x3fff3fffu;
    }
}

struct bench {
    device *d;
    uint8_t *weights;
    size_t taken;
    uint32_t *code_book;
    double copy; /* GB/s */
};

[[noreturn]] void stop(const char *what) {
    fprintf(stderr, "bench_products: %s\n", what);
    exit(1);
}

void *take(const bench &b, size_t n_bytes) {
    void *p = device_allocate(b.d, n_bytes);
    if (p == nullptr) stop("the GPU has too little memory left");
    return p;
}

void fill(const bench &b, void *p, size_t n_bytes, uint32_t seed) {
    launch(b.d, fill_kernel, dim3(1024), 256, 0, (uint32_t *)p, n_bytes / 4, seed);
}

double finish_ms(const bench &b) {
    ds4_error error;
    if (device_finish(b.d, &error) != DS4_OK) stop(error.message);
    return (double)device_marked_ms(b.d);
}

/* Weights from the pool, from its beginning again when it is used up. */
const uint8_t *next_weights(bench *b, size_t n_bytes) {
    n_bytes = (n_bytes + 255) / 256 * 256;
    if (b->taken + n_bytes > WEIGHT_BYTES) b->taken = 0;
    b->taken += n_bytes;
    return b->weights + b->taken - n_bytes;
}

matrix new_matrix(bench *b, int type, int n_in, int n_out, int n_experts = 1) {
    uint32_t codes, scales;
    tile_bytes(type, &codes, &scales);
    matrix m = {};
    m.type = type;
    m.n_in = m.n_padded = n_in;
    m.n_out = n_out;
    m.tiled = 1;
    m.side_tiles = n_out / TILE;
    size_t macros = (size_t)(n_in / MACRO), tiles = (size_t)n_experts * (size_t)(n_out / TILE);
    m.code_stride = codes * (uint32_t)macros;
    m.scale_stride = scales * (uint32_t)macros;
    m.codes = next_weights(b, tiles * macros * (codes + scales));
    m.scales = m.codes + tiles * m.code_stride; /* unless they lie together */
    return m;
}

/* Bytes of the weights that a product reads, of so many experts. */
double bytes_of(const matrix &m, int n_experts = 1) {
    return (double)n_experts * (m.n_out / TILE) * ((double)m.code_stride + m.scale_stride);
}

activation new_rows(const bench &b, int n, int n_rows, bool plain) {
    activation a = {};
    a.n = n;
    a.width = split_width(n);
    a.row_bytes = split_row_bytes(n);
    size_t n_bytes = (size_t)n_rows * (plain ? (size_t)n * sizeof(float) : a.row_bytes);
    void *p = take(b, n_bytes);
    fill(b, p, n_bytes, (uint32_t)n);
    (plain ? (void *&)a.plain : (void *&)a.split) = p;
    return a;
}

activation from_column(activation a, int first) {
    a.first = first;
    return a;
}

product new_product(const matrix &m, const activation &x, const activation &y) {
    product p = {};
    p.m = m;
    p.x = x;
    p.y = y;
    p.x_divisor = 1;
    return p;
}

/* Buffers of a step of n_rows. */
struct step_rows {
    int n;
    activation x, lora, heads, low, mid, mid_shared, router, y, down, heads_out, low_out,
        shared_out;
};

struct job {
    product_list list;
    int tile_rows, max_tiles;
    expert_tiles tiles;
    double bytes;
};

void add(job *j, const product &p, int n_experts = 1) {
    j->list.items[j->list.n++] = p;
    j->bytes += bytes_of(p.m, n_experts);
    if (p.gate.codes != nullptr) j->bytes += bytes_of(p.gate, n_experts);
}

const int *to_device(const bench &b, const std::vector<int> &v) {
    void *p = take(b, v.size() * sizeof(int));
    device_copy_in(b.d, p, v.data(), v.size() * sizeof(int));
    finish_ms(b);
    return (const int *)p;
}

/* Six different experts for each row, grouped as experts.cu does; returns how many meet a row. */
int choose_experts(const bench &b, int n_rows, uint32_t *random, job *j) {
    std::vector<int> chosen, tile_expert, first, count, pairs;
    for (int r = 0; r < n_rows; r++)
        for (size_t begin = chosen.size(); chosen.size() < begin + USED;) {
            *random = *random * 1664525u + 1013904223u;
            int e = (int)(*random >> 8) % EXPERTS;
            if (std::find(chosen.begin() + (long)begin, chosen.end(), e) == chosen.end())
                chosen.push_back(e);
        }
    int n_pairs = n_rows * USED, met = 0;
    j->tile_rows = n_rows == 1 ? 1 : 2;
    for (int e = 0; e < EXPERTS; e++) {
        int begin = (int)pairs.size();
        for (int p = 0; p < n_pairs; p++)
            if (chosen[(size_t)p] == e) pairs.push_back(p);
        int n = (int)pairs.size() - begin;
        met += n > 0;
        for (int k = 0; k < n; k += j->tile_rows) {
            tile_expert.push_back(e);
            first.push_back(begin + k);
            count.push_back(std::min(n - k, j->tile_rows));
        }
    }
    std::vector<float> weight((size_t)n_pairs, 0.4f);
    void *weights = take(b, weight.size() * sizeof(float));
    device_copy_in(b.d, weights, weight.data(), weight.size() * sizeof(float));
    j->max_tiles = n_pairs;
    j->tiles = expert_tiles{to_device(b, {(int)tile_expert.size()}),
                            to_device(b, tile_expert),
                            to_device(b, first),
                            to_device(b, count),
                            to_device(b, pairs),
                            to_device(b, chosen),
                            (const float *)weights,
                            nullptr,
                            n_pairs};
    return met;
}

enum kind { Q_B, OUTPUT_A, OUTPUT_B, ROUTER, UP, DOWN, SHARED_DOWN, KINDS };
const char *const names[KINDS] = {"q_b", "output_a", "output_b",   "router, shared up",
                                  "up",  "down",     "shared down"};

/* The matrices of all experts, in which each launch meets others. */
struct expert_matrices {
    matrix up, gate, down;
};

job new_job(bench *b, const step_rows &s, const expert_matrices &e, kind what, uint32_t *random) {
    job j = {};
    int met = 1;
    j.tile_rows = NARROW_ROWS;
    j.max_tiles = 1;
    if (what == UP || what == DOWN) met = choose_experts(*b, s.n, random, &j);
    if (what == Q_B)
        add(&j, new_product(new_matrix(b, DS4_TYPE_Q8_0, LORA, HEADS), s.lora, s.heads_out));
    for (int g = 0; what == OUTPUT_A && g < GROUPS; g++)
        add(&j, new_product(new_matrix(b, DS4_TYPE_Q8_0, EMBD, LORA),
                            from_column(s.heads, g * EMBD), from_column(s.low_out, g * LORA)));
    if (what == OUTPUT_B) add(&j, new_product(new_matrix(b, DS4_TYPE_Q8_0, LOW, EMBD), s.low, s.y));
    if (what == ROUTER) {
        add(&j, new_product(new_matrix(b, DS4_TYPE_F16, EMBD, EXPERTS), s.x, s.router));
        product p = new_product(new_matrix(b, DS4_TYPE_Q8_0, EMBD, EXPERT), s.x, s.shared_out);
        p.gate = new_matrix(b, DS4_TYPE_Q8_0, EMBD, EXPERT);
        add(&j, p);
    }
    if (what == UP) {
        product p = new_product(e.up, s.x, s.mid);
        p.gate = e.gate;
        p.by_expert = 1;
        p.x_divisor = USED;
        add(&j, p, met);
    }
    if (what == DOWN) {
        product p = new_product(e.down, s.mid, s.down);
        p.by_expert = p.rows_known = 1;
        add(&j, p, met);
    }
    if (what == SHARED_DOWN || (what == DOWN && s.n == 1)) /* as forward.cu puts them together */
        add(&j, new_product(new_matrix(b, DS4_TYPE_Q8_0, EXPERT, EMBD), s.mid_shared, s.y));
    return j;
}

uint64_t sum_of_bits(const bench &b, const activation &a, int n_rows) {
    size_t n = (size_t)n_rows * (a.plain != nullptr ? (size_t)a.n : a.row_bytes / 4);
    std::vector<uint32_t> words(n);
    device_copy_out(b.d, words.data(), a.plain != nullptr ? (void *)a.plain : (void *)a.split,
                    n * 4);
    finish_ms(b);
    uint64_t sum = 0;
    for (uint32_t w : words) sum = sum * 6364136223846793005u + w;
    return sum;
}

void measure(bench *b, const step_rows &s, const expert_matrices &e, kind what) {
    enum { TRIALS = 6 };
    std::vector<job> jobs;
    uint32_t random = 5;
    for (int i = 0; i < CHAIN; i++) jobs.push_back(new_job(b, s, e, what, &random));
    finish_ms(*b);
    device_record_begin(b->d);
    for (const job &j : jobs)
        products_run(b->d, j.list, s.n, j.tile_rows, j.tiles, j.max_tiles, b->code_book);
    device_graph *graph = device_record_end(b->d);
    if (graph == nullptr) stop("the launches cannot be recorded");
    double best = 1e9, bytes = 0;
    for (int i = 0; i < TRIALS; i++) {
        device_mark(b->d, 0);
        device_replay(b->d, graph);
        device_mark(b->d, 1);
        best = std::min(best, finish_ms(*b));
    }
    device_graph_release(b->d, graph);
    for (const job &j : jobs) bytes += j.bytes;
    const product &last = jobs.back().list.items[0];
    double speed = bytes / best / 1e6;
    printf("%2d rows  %-18s %8.2f us %7.1f MB %6.0f GB/s  %3.0f %% of a copy  %016llx\n", s.n,
           names[what], best * 1e3 / CHAIN, bytes / CHAIN / 1e6, speed, 100 * speed / b->copy,
           (unsigned long long)sum_of_bits(*b, last.y, last.by_expert ? s.n * USED : s.n));
}

step_rows new_step(const bench &b, int n) {
    return step_rows{n,
                     new_rows(b, EMBD, n, false),
                     new_rows(b, LORA, n, false),
                     new_rows(b, HEADS, n, false),
                     new_rows(b, LOW, n, false),
                     new_rows(b, EXPERT, n * USED, false),
                     new_rows(b, EXPERT, n, false),
                     new_rows(b, EXPERTS, n, true),
                     new_rows(b, EMBD, n, true),
                     new_rows(b, EMBD, n * USED, true),
                     new_rows(b, HEADS, n, false),
                     new_rows(b, LOW, n, false),
                     new_rows(b, EXPERT, n, false)};
}

} // namespace

int main(int argc, char **argv) {
    enum { BOOK_BYTES = 64 * 1024 };
    ds4_error error;
    bench b = {};
    if (device_create(&b.d, &error) != DS4_OK) stop(error.message);
    b.weights = (uint8_t *)take(b, WEIGHT_BYTES);
    b.code_book = (uint32_t *)take(b, BOOK_BYTES);
    if (device_measure_copy(b.d, b.weights, WEIGHT_BYTES, &b.copy, &error) != DS4_OK)
        stop(error.message);
    printf("a copy: %.0f GB/s\n", b.copy);
    fill(b, b.weights, WEIGHT_BYTES, 1);
    fill(b, b.code_book, BOOK_BYTES, 3);
    expert_matrices e = {new_matrix(&b, DS4_TYPE_IQ2_XXS, EMBD, EXPERT, EXPERTS),
                         new_matrix(&b, DS4_TYPE_IQ2_XXS, EMBD, EXPERT, EXPERTS),
                         new_matrix(&b, DS4_TYPE_Q2_K, EXPERT, EMBD, EXPERTS)};
    std::vector<int> sizes;
    for (int i = 1; i < argc; i++) sizes.push_back(atoi(argv[i]));
    if (sizes.empty()) sizes = {1, 16};
    for (int n : sizes) {
        if (n < 1 || n > NARROW_ROWS * 2) stop("1 to 16 rows");
        step_rows s = new_step(b, n);
        for (int what = 0; what < KINDS; what++) measure(&b, s, e, (kind)what);
    }
    return 0;
}

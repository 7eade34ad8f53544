// Scores of a block of edges, in the pass by target (rows are queries) or by source (rows are keys).
#pragma once

#include "rowops.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {

constexpr int kMostDim = 1024;  // channels of key and value together
constexpr int kScores = (kEntries + kSpill) * kHeads;

// Which heads of which batch a cell works on.
struct Heads {
    int64_t batch, head, kv;  // first query head, first key head
    int count;                // heads together
    int slots;                // places for them in what is stored for an edge
    int64_t share;            // query heads that share a key head
    bool by_source;
};

template <class A>
struct Scratch {
    Block block;
    // Where the rows of each entry start: of query or key, of value or the output's gradient; of the
    // column's side of the score, of the column's side of the values, of what belongs to the edge.
    int64_t row_at[kEntries + kSpill], row_value_at[kEntries + kSpill], score_at[kEntries + kKnown], value_at[kEntries + kKnown],
        edge_at[kEntries + kSpill];
    alignas(64) A scores[kScores * 4 / sizeof(A)];
    alignas(64) A changes[kScores * 4 / sizeof(A)];  // gradients of weights, then of scores
    alignas(64) A slopes[kScores * 4 / sizeof(A)];   // of the soft cap or the LeakyReLU
    alignas(64) A factors[kScores * 4 / sizeof(A)];  // of dropout
    alignas(64) A sum[kMostDim];
    alignas(64) A sum_b[kMostDim];
};

// Whether the columns of all heads stay near a core.
template <class T>
inline bool are_near(const edgewise_attention &call, int64_t columns, int64_t heads) {
    return !is_far<T>(columns, heads, call.key_dim + call.value_dim);
}

// Bytes of a group's keys and values that stay in the second cache while a pass reads them.
constexpr int64_t kNearGroup = 512 << 10;

// Where the heads of a node are adjacent and the tables of a group too large to stay near, all groups
// work on a block of edges before the next block: a node's row is then read in one piece, not a part of
// it in each of several passes. The length of blocks, and with it the order of sums, follows from the
// shapes alone; where there are too few tasks for the threads, groups stay cells of their own.
template <class T>
inline void join_groups(Groups &groups, const edgewise_attention &call, const edgewise_rows &rows,
                        int64_t heads, bool adjacent) {
    const int64_t bytes = rows.columns * groups.most * (call.key_dim + call.value_dim) * sizeof(T);
    if (!adjacent || groups.count == 1 || bytes <= kNearGroup) return;
    groups.heads_at_once = heads;
    if (call.threads == 1 || call.batch * rows.num_tasks >= 4 * call.threads) {
        groups.at_once = groups.count;
    }
}

template <class T>
Groups groups_by_target(const edgewise_attention &call) {
    const int64_t share = call.heads / call.kv_heads;
    const bool adjacent =
        call.value.head == call.value_dim &&
        (call.score == EDGEWISE_ADDITIVE ? call.key.head == 1 : call.key.head == call.key_dim);
    const bool near = are_near<T>(call, call.rows.columns, call.kv_heads);
    Groups groups = groups_of<T>(call.heads, share, larger(call.key_dim, call.value_dim),
                                 adjacent || near || share > 1);
    join_groups<T>(groups, call, call.rows, call.heads, adjacent);
    return groups;
}

// The heads of a plane: of a batch and a group, in the pass by target.
inline Heads heads_by_target(const Groups &groups, int64_t plane, int64_t share) {
    const int64_t group = plane % groups.count, head = groups.first(group);
    const int count = groups.size(group);
    return {plane / groups.count, head, head / share, count, slots_for(count), share, false};
}

// How far apart the heads of the columns are: 0 where all heads read one key.
inline int64_t column_step(const edgewise_view &view, const Heads &heads) {
    return heads.by_source || heads.share == 1 ? view.head : 0;
}

template <class A>
constexpr A infinity() {
    return A(__builtin_inf());
}
// The maximum of a row without sources is not subtracted, so that no infinity meets another. Plus
// infinity is: a row with such a score has no weights, and becomes NaN.
template <class A>
inline A finite(A x) {
    return x == -infinity<A>() ? A(0) : x;
}

inline float hyperbolic_tangent(float x) { return __builtin_tanhf(x); }
inline double hyperbolic_tangent(double x) { return __builtin_tanh(x); }

// c tanh(s / c), and its slope.
template <class A>
void cap(A *scores, A *slopes, int count, A limit) {
    for (int i = 0; i < count; ++i) {
        A t = hyperbolic_tangent(scores[i] / limit);
        scores[i] = limit * t;
        if (slopes) slopes[i] = 1 - t * t;
    }
}

// Where the numbers of the two sides, and of the edge if it has any, stand for each entry.
template <class T>
struct AdditiveCall {
    const T *x, *y, *z;
    const int64_t *xo, *yo, *zo;
    int64_t xh, yh, zh;  // from head to head
    int count;
    Coming<T> coming;
};

// x + y + z of W heads that stand side by side.
template <class T, int W>
void adjacent_sums(const AdditiveCall<T> &c, Accumulate<T> *out) {
    for (int e = 0; e < c.count; ++e) {
        c.coming(e);
        auto v = load<W>(c.x + c.xo[e]) + load<W>(c.y + c.yo[e]);
        if (c.z) v += load<W>(c.z + c.zo[e]);
        store<W>(out + e * W, v);
    }
}

template <class T>
void additive_sums(const AdditiveCall<T> &c, const Heads &heads, Accumulate<T> *out) {
    const bool adjacent = c.xh == 1 && c.yh == 1 && (!c.z || c.zh == 1);
    if (adjacent && heads.count == 8) return adjacent_sums<T, 8>(c, out);
    for (int e = 0; e < c.count; ++e) {
        c.coming(e);
        for (int h = 0; h < heads.count; ++h) {
            Accumulate<T> v = widen(c.x[c.xo[e] + h * c.xh]) + widen(c.y[c.yo[e] + h * c.yh]);
            if (c.z) v += widen(c.z[c.zo[e] + h * c.zh]);
            out[e * heads.slots + h] = v;
        }
        for (int h = heads.count; h < heads.slots; ++h) out[e * heads.slots + h] = 0;
    }
}

// LeakyReLU and its slope. Without branches: nothing foretells the sign of a score.
template <class A>
void leaky(A *scores, A *slopes, int count, A slope) {
    constexpr int W = int(kWidth * sizeof(float) / sizeof(A));
    const auto less = splat<A, W>(slope), one = splat<A, W>(1);
    for (int i = 0; i < count; i += W) {
        const auto v = load<W>(scores + i);
        store<W>(scores + i, select(v > 0, v, v * less));
        if (slopes) store<W>(slopes + i, select(v > 0, one, less));
    }
}

template <class T>
void add_bias(const edgewise_attention &call, const edgewise_rows &rows, const Heads &heads,
              Scratch<Accumulate<T>> &s) {
    const Block &b = s.block;
    const auto *bias = at<Accumulate<T>>(call.bias, heads.batch, heads.head);
    edge_offsets(b, rows, call.bias, s.edge_at);
    for (int e = 0; e < b.count; ++e) {
        for (int h = 0; h < heads.count; ++h) {
            s.scores[e * heads.slots + h] += bias[s.edge_at[e] + h * call.bias.head];
        }
    }
}

// Where the block's columns are, and whether they are far enough to be asked for beforehand.
template <class T>
struct Columns {
    const T *scores, *values;      // of the first head of the cell
    int64_t score_step, value_step;
    int64_t score_dim, value_dim;
    bool far;

    Columns(const edgewise_attention &call, const edgewise_view &values_view, const Heads &heads,
            int64_t columns, int64_t heads_at_once) {
        const edgewise_view &view = heads.by_source ? call.query : call.key;
        const int64_t head = heads.by_source ? heads.head : heads.kv;
        scores = at<T>(view, heads.batch, head);
        values = at<T>(values_view, heads.batch, head);
        score_step = column_step(view, heads);
        value_step = column_step(values_view, heads);
        score_dim = call.key_dim;
        value_dim = call.value_dim;
        far = is_far<T>(columns, heads_at_once, score_dim + value_dim);
    }

    // The same for all heads of a batch.
    void locate(const edgewise_attention &call, const edgewise_view &values_view,
                const Heads &heads, Scratch<Accumulate<T>> &s) const {
        row_offsets(s.block, heads.by_source ? call.key : call.query, s.row_at);
        column_offsets(s.block, heads.by_source ? call.query : call.key, s.score_at);
        column_offsets(s.block, values_view, s.value_at);
    }

    Coming<T> coming_scores(const Scratch<Accumulate<T>> &s, int heads) const {
        return coming(scores, s.score_at, score_step, score_dim, heads);
    }
    Coming<T> coming_values(const Scratch<Accumulate<T>> &s, int heads) const {
        return coming(values, s.value_at, value_step, value_dim, heads);
    }

   private:
    Coming<T> coming(const T *from, const int64_t *at, int64_t step, int64_t dim,
                     int heads) const {
        const int64_t together = step == dim ? heads : 1;  // adjacent heads are one piece
        const int bytes = int(together * dim * int64_t(sizeof(T)));
        // A row that begins within a line may end in one more.
        return {from, at, far ? bytes + (bytes % 64 ? 32 : 0) : 0};
    }
};

template <class T>
void score_block(const edgewise_attention &call, const edgewise_rows &rows, const Heads &heads,
                 const Columns<T> &columns, Scratch<Accumulate<T>> &s, bool wants_slopes) {
    using A = Accumulate<T>;
    const Block &b = s.block;
    const edgewise_view &row_view = heads.by_source ? call.key : call.query;
    const int64_t row_head = heads.by_source ? heads.kv : heads.head;
    const T *z = nullptr;
    if (call.edge_key.data) {
        edge_offsets(b, rows, call.edge_key, s.edge_at);
        z = at<T>(call.edge_key, heads.batch, heads.head);
    }
    const T *x = at<T>(row_view, heads.batch, row_head);
    const T *y = columns.scores;
    const int64_t xh = row_view.head, yh = columns.score_step;
    const Coming<T> coming = columns.coming_scores(s, heads.count);
    const int n = b.count * heads.slots;
    if (call.score == EDGEWISE_ADDITIVE) {
        additive_sums<T>({x, y, z, s.row_at, s.score_at, s.edge_at, xh, yh, call.edge_key.head,
                          b.count, coming},
                         heads, s.scores);
        leaky(s.scores, wants_slopes ? s.slopes : nullptr, n, A(call.slope));
    } else {
        const bool dot = call.score == EDGEWISE_DOT;
        const int64_t dim = call.key_dim;
        ProductsCall<T> c;
        c.block = &b;
        c.count = b.count;
        // Edge features are added to the key; a product does not care which side it is added to
        // as long as it is the key's. In the pass by source the key is x.
        const bool swap = heads.by_source && z;
        c.x = swap ? y : x;
        c.y = swap ? x : y;
        c.xo = swap ? s.score_at : s.row_at;
        c.yo = swap ? s.row_at : s.score_at;
        c.xh = swap ? yh : xh;
        c.yh = swap ? xh : yh;
        c.z = z;
        c.zo = s.edge_at;
        c.zh = call.edge_key.head;
        c.a = dot ? nullptr : at<T>(call.vector, 0, heads.head);
        c.ah = call.vector.head;
        c.head = b.head;
        c.slope = A(call.slope);
        c.out = s.scores;
        c.coming = coming;
        if (dot) {
            all_products<T, DotProduct>(c, heads.count, dim);
            const A scale = A(call.scale);
            for (int i = 0; i < n; ++i) s.scores[i] *= scale;
            if (call.softcap > 0) {
                cap(s.scores, wants_slopes ? s.slopes : nullptr, n, A(call.softcap));
            }
        } else {
            all_products<T, LeakyProduct>(c, heads.count, dim);
        }
    }
    if (call.bias.data) add_bias<T>(call, rows, heads, s);
}

// Whether `score_block` leaves slopes that the gradient of a score has to be multiplied by.
inline bool has_slopes(const edgewise_attention &call) {
    return call.score == EDGEWISE_ADDITIVE || (call.score == EDGEWISE_DOT && call.softcap > 0);
}

// --- Dropout: a function of (seed, head, target, source, copy) -------------------------------

inline uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x21F0AAADu;
    x ^= x >> 15;
    x *= 0xD35A2D97u;
    return x ^ (x >> 15);
}

// The hash of a head, from which those of its edges follow: by target, then by source.
inline uint32_t hash_of_head(const edgewise_attention &call, int64_t batch_and_head) {
    const uint32_t seed = mix(uint32_t(call.seed) ^ uint32_t(uint64_t(call.seed) >> 32));
    return mix(seed ^ uint32_t(batch_and_head));
}

// What a weight with that hash is multiplied by: 0 where it is dropped.
template <class A>
A factor_of(const edgewise_attention &call, uint32_t hash) {
    return int64_t(hash) >= call.threshold ? A(call.multiplier) : A(0);
}

// The factor of each weight.
template <class A>
void dropout_factors(const edgewise_attention &call, const edgewise_rows &rows, const Heads &heads,
                     const Block &b, A *factors) {
    for (int e = 0; e < b.count; ++e) {
        const uint32_t target = uint32_t(heads.by_source ? b.column[e] : b.row_of[e]);
        const uint32_t source = uint32_t(heads.by_source ? b.row_of[e] : b.column[e]);
        const uint32_t copy = rows.copy ? uint32_t(rows.copy[b.place(e)]) : 0;
        const int64_t first = heads.batch * call.heads + heads.head + b.head[e];
        for (int h = 0; h < heads.count; ++h) {
            uint32_t hash = mix(mix(hash_of_head(call, first + h) ^ target) ^ source);
            if (copy) hash = mix(hash ^ copy);
            factors[e * heads.slots + h] = factor_of<A>(call, hash);
        }
        for (int h = heads.count; h < heads.slots; ++h) factors[e * heads.slots + h] = A(1);
    }
}

// Most entries of a block: their rows should stay well within the second cache.
template <class T>
inline int block_entries(int64_t dim, int heads) {
    int64_t fits = 131072 / (dim * heads * int64_t(sizeof(T)));
    return int(larger<int64_t>(32, smaller<int64_t>(kEntries, fits)));
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

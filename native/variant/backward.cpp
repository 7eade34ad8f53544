// Attention backward, from the global output and log-sum-exp:
//
//   w = exp(s - lse)      ds = w (dropout * (dout . v) - delta)      delta = dout . out - dlse
//
// Two passes. By target: dq and what belongs to edges, from scores that are recomputed. By source, over
// the reversed rows: dk and dv, from what the first pass has kept (`numbers_kept`), or from scores that
// are recomputed once more. Every number is added up by one thread in one order.

#include "../memory.hpp"
#include "../parallel.hpp"
#include "dtypes.hpp"
#include "kernels.hpp"
#include "scores.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

// --- Gradient of GATv2: sum of p a LeakyReLU'(x + y) over the entries of each row ---------------

template <class T>
struct LeakyTotals {
    using A = Accumulate<T>;
    const Block *block;
    int heads, slots;               // heads together, and their places
    const A *p;                     // [count, slots]
    const T *x, *y, *z, *a;         // z: edge features, or null; a: the vector
    const int64_t *xo, *yo, *zo;
    int64_t xh, yh, zh, ah;
    bool shared;                    // heads that share a key: each entry has a vector of its own
    A slope;
    int columns;                    // channels that count
    T *out;                         // whole rows: written, [row, head]; or
    int64_t out_row, out_head;
    A *sum;                         // a part of a row: added to, [head, sum_head]
    int64_t sum_head;
    A *vector;                      // gradient of a, added to, [head, vector_head]; or null
    int64_t vector_head;
};

template <class A, int W>
inline void add_some(A *to, Vec<A, W> v, int count) {
    if (count >= W) {
        store<W>(to, load<W>(to) + v);
    } else {
        for (int i = 0; i < count; ++i) to[i] += v[i];
    }
}

template <class T, int W, int NC, bool PART>
void leaky_tile(const LeakyTotals<T> &c, int column, int width) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    const Partial<T, W> last(width - (NC - 1) * W);
    auto load_at = [&](const T *from, int i) EDGEWISE_INLINE_LAMBDA {
        if (!PART || i + 1 < NC) return load<W>(from + column + i * W);
        return last.load(from + column + i * W);
    };
    const Block &b = *c.block;
    const V slope = splat<A, W>(c.slope), one = splat<A, W>(1);
    for (int h = 0; h < c.heads; ++h) {
        V a[NC], of_vector[NC];
        for (int i = 0; i < NC; ++i) {
            a[i] = c.shared ? one : load_at(c.a + h * c.ah, i);
            of_vector[i] = V{};
        }
        for (int r = 0; r < b.rows; ++r) {
            V x[NC], acc[NC];
            const bool empty = b.start[r] == b.start[r + 1];
            const T *row = c.x + (empty ? 0 : c.xo[b.start[r]]);
            for (int i = 0; i < NC; ++i) {
                x[i] = load_at(row + h * c.xh, i);
                acc[i] = V{};
            }
            for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
                const A p = c.p[e * c.slots + h];
                const T *y = c.y + c.yo[e] + h * c.yh;
                const T *z = c.z ? c.z + c.zo[e] + h * c.zh : nullptr;
                for (int i = 0; i < NC; ++i) {
                    V v = x[i] + load_at(y, i);
                    if (z) v += load_at(z, i);
                    V slopes = p * select(v > 0, one, slope);
                    if (c.shared) slopes *= load_at(c.a + b.head[e] * c.ah, i);
                    acc[i] += slopes;
                    of_vector[i] += slopes * v;
                }
            }
            // A row without entries gets zero, also where a number of the vector is not finite.
            for (int i = 0; i < NC; ++i) acc[i] = empty ? V{} : acc[i] * a[i];
            for (int i = 0; i < NC; ++i) {
                const int at = column + i * W;
                if (c.sum) {
                    add_some<A, W>(c.sum + h * c.sum_head + at, acc[i], width - i * W);
                } else {
                    T *to = c.out + b.row[r] * c.out_row + h * c.out_head + at;
                    const int count = smaller(width - i * W, c.columns - at);
                    if (PART && i + 1 == NC) {
                        Partial<T, W>(count).store(to, acc[i]);
                    } else {
                        store_some<T, W>(to, acc[i], count);
                    }
                }
            }
        }
        if (!c.vector) continue;
        for (int i = 0; i < NC; ++i) {
            add_some<A, W>(c.vector + h * c.vector_head + column + i * W, of_vector[i],
                           width - i * W);
        }
    }
}

template <class T, int W, int NC>
void leaky_width(const LeakyTotals<T> &c, int column, int width) {
    if (width == NC * W) return leaky_tile<T, W, NC, false>(c, column, width);
    leaky_tile<T, W, NC, true>(c, column, width);
}

template <class T>
void leaky_totals(const LeakyTotals<T> &c, int64_t dim) {
    constexpr int W = lanes_of<T>();
    for (int column = 0; column < dim; column += 4 * W) {
        const int width = smaller(4 * W, int(dim) - column);
        switch ((width + W - 1) / W) {
            case 4: leaky_width<T, W, 4>(c, column, width); break;
            case 3: leaky_width<T, W, 3>(c, column, width); break;
            case 2: leaky_width<T, W, 2>(c, column, width); break;
            default: leaky_width<T, W, 1>(c, column, width);
        }
    }
}

// The heads of an entry: a vector, or one number.
template <int W, class A>
inline auto load_row(const A *from) {
    if constexpr (W == 1) {
        return *from;
    } else {
        return load<W>(from);
    }
}
template <int W, class A, class V>
inline void store_row(A *to, V v) {
    if constexpr (W == 1) {
        *to = v;
    } else {
        store<W>(to, v);
    }
}

// --- One pass ------------------------------------------------------------------------------

template <class T>
struct Buffers {
    using A = Accumulate<T>;
    A *stats;     // [batch, targets, 2, heads]: log-sum-exp, delta
    A *vectors;   // [tasks, batch, heads, key_dim] of GATv2
    A *targets;   // [slots, batch, heads, key_dim] of rows that were cut
    A *sources;   // [slots, batch, kv_heads, key_dim + value_dim]
    A *kept;      // [batch, edges, 2, heads]: weights and gradients of scores; or null
};

template <class T>
struct Pass {
    using A = Accumulate<T>;
    const edgewise_attention_backward &back;
    const edgewise_attention &call;
    const edgewise_rows &rows;
    Heads heads;
    Buffers<T> buffers;
    Scratch<A> &s;
    Columns<T> columns;

    const edgewise_view &value_columns() const {
        return heads.by_source ? back.grad_out : call.value;
    }

    // Where the rows of a block are; the same for all heads of a batch.
    void locate() {
        columns.locate(call, value_columns(), heads, s);
        if (buffers.kept && heads.by_source) return;
        row_offsets(s.block, heads.by_source ? call.value : back.grad_out, s.row_value_at);
    }

    // Scores and weights of a block.
    void scores() {
        score_block<T>(call, rows, heads, columns, s, true);
        weights();
    }

    const A *stats_of(int64_t target) const {
        return buffers.stats + (heads.batch * call.rows.rows + target) * 2 * call.heads;
    }

    // Log-sum-exp and delta: of all heads in one piece where they are few.
    EDGEWISE_INLINE void ask_stats(int64_t target) const {
        const A *at = stats_of(target);
        if (call.heads == heads.count) {
            ask(at, 2 * int(call.heads * sizeof(A)));
        } else {
            ask(at + heads.head, sizeof(A));
            ask(at + heads.head + call.heads, sizeof(A));
        }
    }

    // Call f with the number of slots of an entry.
    template <class F>
    void with_slots(F f) const {
        switch (heads.slots) {
            case 8: return f(Count<8>{});
            case 4: return f(Count<4>{});
            case 2: return f(Count<2>{});
            default: return f(Count<1>{});
        }
    }

    // Call f for each entry with its target's log-sum-exp; delta stands `heads` numbers further. As many
    // are read as there are slots: those of other heads, and some beyond the last.
    template <class F>
    void each(F f) const {
        const Block &b = s.block;
        const int32_t *targets = heads.by_source ? b.column : b.row_of;
        with_slots([&](auto width) {
            for (int e = 0; e < b.count; ++e) {
                f(width, e, stats_of(targets[e]) + heads.head + b.head[e]);
            }
        });
    }

    // Weights w in scores, from the scores.
    void weights() {
        const Block &b = s.block;
        each([&](auto width, int e, const A *stats) {
            constexpr int W = width;
            if (heads.by_source) ask_stats(b.column[e + kAhead]);
            A *to = s.scores + e * W;
            store_row<W>(to, load_row<W>(to) - load_row<W>(stats));
        });
        exponentials(s.scores, int64_t(b.count) * heads.slots);
        if (call.drops) dropout_factors(call, rows, heads, b, s.factors);
    }

    // dout . v in changes, then gradients of scores.
    void changes() {
        const Block &b = s.block;
        const int n = b.count * heads.slots;
        const edgewise_view &row_view = heads.by_source ? call.value : back.grad_out;
        const T *x = at<T>(row_view, heads.batch, heads.by_source ? heads.kv : heads.head);
        const T *y = columns.values;
        const int64_t xh = row_view.head, yh = columns.value_step;
        ProductsCall<T> c = {};
        c.block = &b;
        c.count = b.count;
        if (call.edge_value.data) {
            edge_offsets(b, rows, call.edge_value, s.edge_at);
            c.z = at<T>(call.edge_value, heads.batch, heads.head);
        }
        const bool swap = heads.by_source && c.z;  // features are added to the value
        c.x = swap ? y : x;
        c.y = swap ? x : y;
        c.xo = swap ? s.value_at : s.row_value_at;
        c.yo = swap ? s.row_value_at : s.value_at;
        c.xh = swap ? yh : xh;
        c.yh = swap ? xh : yh;
        c.zo = s.edge_at;
        c.zh = call.edge_value.head;
        c.out = s.changes;
        c.coming = columns.coming_values(s, heads.count);
        all_products<T, DotProduct>(c, heads.count, call.value_dim);
        if (call.drops) {
            for (int i = 0; i < n; ++i) s.changes[i] *= s.factors[i];
        }
        each([&](auto width, int e, const A *stats) {
            constexpr int W = width;
            A *to = s.changes + e * W;
            store_row<W>(to, load_row<W>(s.scores + e * W) *
                                 (load_row<W>(to) - load_row<W>(stats + call.heads)));
        });
    }

    // From gradients of scores with bias to gradients of what the score is made of.
    void through_score() {
        const int n = s.block.count * heads.slots;
        if (has_slopes(call)) {
            for (int i = 0; i < n; ++i) s.changes[i] *= s.slopes[i];
        }
        if (call.score == EDGEWISE_DOT) {
            const A scale = A(call.scale);
            for (int i = 0; i < n; ++i) s.changes[i] *= scale;
        }
    }

    // What is kept of an edge for the pass by source: of all heads, weights and then gradients of scores.
    A *kept_of(int64_t place) const {
        const int64_t edges = rows.indptr[rows.rows], edge = rows.edge ? rows.edge[place] : place;
        return buffers.kept + (heads.batch * edges + edge) * 2 * call.heads + heads.head;
    }

    void drop_weights() {
        if (!call.drops) return;
        const int n = s.block.count * heads.slots;
        for (int i = 0; i < n; ++i) s.scores[i] *= s.factors[i];
    }

    // The gradient of the row's own side of the score: of query by target, of key by source.
    void row_gradient(const edgewise_view &out, int64_t out_head, A *sum, A *vector,
                      Coming<T> coming = {}) {
        const edgewise_view &own = heads.by_source ? call.key : call.query;
        const T *y = columns.scores;
        const T *z = nullptr;
        if (call.edge_key.data && (!heads.by_source || call.score == EDGEWISE_GATV2)) {
            edge_offsets(s.block, rows, call.edge_key, s.edge_at);
            z = at<T>(call.edge_key, heads.batch, heads.head);
        }
        T *to = at_mutable<T>(out, heads.batch, out_head);
        if (call.score == EDGEWISE_ADDITIVE) {
            additive_rows(to, out, sum);
        } else if (call.score == EDGEWISE_GATV2) {
            LeakyTotals<T> c;
            c.block = &s.block;
            c.heads = heads.count;
            c.slots = heads.slots;
            c.p = s.changes;
            c.x = at<T>(own, heads.batch, heads.by_source ? heads.kv : heads.head);
            c.y = y;
            c.z = z;
            c.a = at<T>(call.vector, 0, heads.head);
            c.xo = s.row_at;
            c.yo = s.score_at;
            c.zo = s.edge_at;
            c.xh = own.head;
            c.yh = columns.score_step;
            c.zh = call.edge_key.head;
            c.ah = call.vector.head;
            c.shared = heads.by_source && heads.share > 1;
            c.slope = A(call.slope);
            c.columns = int(call.true_key_dim);
            c.out = to;
            c.out_row = out.row;
            c.out_head = out.head;
            c.sum = sum;
            c.sum_head = call.key_dim;
            c.vector = vector;
            c.vector_head = call.key_dim;
            leaky_totals<T>(c, call.key_dim);
        } else {
            totals_of(s.changes, y, s.score_at, columns.score_step, z, call.edge_key.head, to, out,
                      sum, call.key_dim, call.true_key_dim, coming);
        }
    }

    void totals_of(const A *p, const T *y, const int64_t *yo, int64_t yh, const T *z, int64_t zh,
                   T *to, const edgewise_view &out, A *sum, int64_t dim, int64_t true_dim,
                   Coming<T> coming) {
        TotalsCall<T> c;
        c.block = &s.block;
        c.p = p;
        c.slots = heads.slots;
        c.scale = nullptr;
        c.wide = nullptr;
        c.y = y;
        c.yh = yh;
        c.yo = yo;
        c.z = z;
        c.zo = s.edge_at;
        c.zh = zh;
        c.columns = int(true_dim);
        c.out = to;
        c.out_row = out.row;
        c.out_head = out.head;
        c.sum = sum;
        c.sum_head = dim;
        c.coming = coming;
        all_totals<T>(c, heads.count, dim);
    }

    void additive_rows(T *to, const edgewise_view &out, A *sum) {
        const Block &b = s.block;
        const int HC = heads.count;
        for (int r = 0; r < b.rows; ++r) {
            A total[kHeads] = {};
            for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
                for (int h = 0; h < HC; ++h) total[h] += s.changes[e * heads.slots + h];
            }
            for (int h = 0; h < HC; ++h) {
                if (sum) {
                    sum[h * call.key_dim] += total[h];
                } else {
                    narrow(total[h], to + b.row[r] * out.row + h * out.head);
                }
            }
        }
    }

    // A row that was added up block after block.
    void write_row(const edgewise_view &out, int64_t head, int64_t row, const A *sum, int64_t dim) {
        T *to = at_mutable<T>(out, heads.batch, head) + row * out.row;
        for (int64_t i = 0; i < dim; ++i) narrow(sum[i], to + i);
    }

    void clear(A *sum, int64_t count) {
        for (int64_t i = 0; i < count; ++i) sum[i] = 0;
    }
};

// --- By target: dq, and gradients of what belongs to edges ------------------------------------

template <class T>
struct ByTarget : Pass<T> {
    using Base = Pass<T>;
    using typename Base::A;
    using Base::back, Base::call, Base::heads, Base::s, Base::buffers, Base::rows, Base::columns;

    // Where the gradient of GATv2's vector is added up for a task; or null.
    A *vector_of(int64_t task) const {
        if (!buffers.vectors) return nullptr;
        const int64_t plane = (task * call.batch + heads.batch) * call.heads;
        return buffers.vectors + (plane + heads.head) * call.key_dim;
    }

    void start(int64_t task) {
        if (buffers.vectors) this->clear(vector_of(task), heads.count * call.key_dim);
    }

    void rows_of_block(int64_t task) { block(nullptr, vector_of(task)); }

    // A row that does not fit into a block, of which `walk` has given the first part.
    void long_row(Walk &walk, int64_t task) {
        this->clear(s.sum, heads.count * call.key_dim);
        for (bool last = false; !last;) {
            this->locate();
            block(s.sum, vector_of(task));
            last = walk.finished_row();
            if (!last) walk.next(s.block);
        }
        const int64_t slot = rows.tasks[5 * task + 4];
        for (int h = 0; h < heads.count; ++h) finish(slot, h, s.sum + h * call.key_dim);
    }

    void block(A *sum, A *vector) {
        this->scores();
        this->changes();
        if (back.grad_bias.data) add_edges(back.grad_bias, s.changes);
        this->through_score();
        if (back.grad_edge_key.data) edge_key_gradient();
        if (back.grad_query.data || vector) {
            // Where only the vector's gradient is wanted, the rows' own goes nowhere.
            A *rows_sum = back.grad_query.data || sum ? sum : s.sum;
            this->row_gradient(back.grad_query, heads.head, rows_sum, vector);
        }
        if (back.grad_edge_value.data || buffers.kept) this->drop_weights();
        if (back.grad_edge_value.data) edge_value_gradient();
        if (buffers.kept) keep();
    }

    A *edge_target(const edgewise_view &view) const {
        return at_mutable<A>(view, heads.batch, heads.head);
    }

    void add_edges(const edgewise_view &view, const A *values) {
        const Block &b = s.block;
        A *to = edge_target(view);
        edge_offsets(b, rows, view, s.edge_at);
        for (int e = 0; e < b.count; ++e) {
            for (int h = 0; h < heads.count; ++h) {
                to[s.edge_at[e] + h * view.head] += values[e * heads.slots + h];
            }
        }
    }

    void edge_key_gradient() {
        const edgewise_view &view = back.grad_edge_key;
        if (call.score == EDGEWISE_ADDITIVE) return add_edges(view, s.changes);
        if (call.score == EDGEWISE_DOT) {
            return outer(view, s.changes, call.query, call.true_key_dim);
        }
        const Block &b = s.block;
        A *to = edge_target(view);
        const A slope = A(call.slope);
        for (int e = 0; e < b.count; ++e) {
            const int64_t place = rows.edge ? rows.edge[b.place(e)] : b.place(e);
            for (int h = 0; h < heads.count; ++h) {
                const int64_t head = heads.head + h;
                const T *q = at<T>(call.query, heads.batch, head) + b.row_of[e] * call.query.row;
                const T *k = at<T>(call.key, heads.batch, head / heads.share) +
                             b.column[e] * call.key.row;
                const T *f =
                    at<T>(call.edge_key, heads.batch, head) + place * call.edge_key.row;
                const T *a = at<T>(call.vector, 0, head);
                A *out = to + place * view.row + h * view.head;
                const A p = s.changes[e * heads.slots + h];
                for (int64_t i = 0; i < call.true_key_dim; ++i) {
                    const A v = A(widen(q[i])) + widen(k[i]) + widen(f[i]);
                    out[i] += p * widen(a[i]) * (v > 0 ? A(1) : slope);
                }
            }
        }
    }

    void keep() {
        const Partial<A, kHeads> some(heads.count);
        const bool whole = heads.count == heads.slots;
        this->with_slots([&](auto width) {
            constexpr int W = width;
            for (int e = 0; e < s.block.count; ++e) {
                A *to = this->kept_of(s.block.first + e);
                const A *weight = s.scores + e * W, *change = s.changes + e * W;
                if (whole) {
                    store_row<W>(to, load_row<W>(weight));
                    store_row<W>(to + call.heads, load_row<W>(change));
                } else {
                    some.store(to, load<kHeads>(weight));
                    some.store(to + call.heads, load<kHeads>(change));
                }
            }
        });
    }

    void edge_value_gradient() {
        outer(back.grad_edge_value, s.scores, back.grad_out, call.true_value_dim);
    }

    // Each edge receives a multiple of its target's row.
    void outer(const edgewise_view &view, const A *p, const edgewise_view &from, int64_t dim) {
        const Block &b = s.block;
        A *to = edge_target(view);
        const T *base = at<T>(from, heads.batch, heads.head);
        edge_offsets(b, rows, view, s.edge_at);
        for (int e = 0; e < b.count; ++e) {
            for (int h = 0; h < heads.count; ++h) {
                const T *x = base + b.row_of[e] * from.row + h * from.head;
                A *out = to + s.edge_at[e] + h * view.head;
                const A factor = p[e * heads.slots + h];
                for (int64_t i = 0; i < dim; ++i) out[i] += factor * widen(x[i]);
            }
        }
    }

    A *slot_at(int64_t slot, int64_t head) const {
        return buffers.targets +
               ((slot * call.batch + heads.batch) * call.heads + head) * call.key_dim;
    }

    void finish(int64_t slot, int h, const A *sum) {
        if (!back.grad_query.data) return;
        if (slot >= 0) {
            memcpy(slot_at(slot, heads.head + h), sum, sizeof(A) * size_t(call.key_dim));
        } else {
            this->write_row(back.grad_query, heads.head + h, s.block.row[0], sum,
                            call.true_key_dim);
        }
    }

    void merge(const int64_t *cut) {
        const int32_t row = rows.order ? rows.order[cut[0]] : int32_t(cut[0]);
        this->clear(s.sum, call.key_dim);
        for (int64_t slot = cut[1]; slot < cut[2]; ++slot) {
            const A *from = slot_at(slot, heads.head);
            for (int64_t i = 0; i < call.key_dim; ++i) s.sum[i] += from[i];
        }
        this->write_row(back.grad_query, heads.head, row, s.sum, call.true_key_dim);
    }
};

// --- By source: dk and dv ---------------------------------------------------------------------

template <class T>
struct BySource : Pass<T> {
    using Base = Pass<T>;
    using typename Base::A;
    using Base::back, Base::call, Base::heads, Base::s, Base::buffers, Base::rows, Base::columns;

    void start(int64_t) {}

    void rows_of_block(int64_t) { block(nullptr, nullptr); }

    // A row that does not fit into a block, of which `walk` has given the first part.
    void long_row(Walk &walk, int64_t task) {
        this->clear(s.sum, heads.count * call.key_dim);
        this->clear(s.sum_b, heads.count * call.value_dim);
        for (bool last = false; !last;) {
            this->locate();
            block(s.sum, s.sum_b);
            last = walk.finished_row();
            if (!last) walk.next(s.block);
        }
        const int64_t slot = rows.tasks[5 * task + 4];
        for (int h = 0; h < heads.count; ++h) {
            finish(slot, h, s.sum + h * call.key_dim, s.sum_b + h * call.value_dim);
        }
    }

    // Weights and gradients of scores that the pass by target has kept.
    void take_kept() {
        const Block &b = s.block;
        const int64_t last = rows.indptr[rows.rows] - 1;
        this->with_slots([&](auto width) {
            constexpr int W = width;
            for (int e = 0; e < b.count; ++e) {
                const int64_t place = b.place(e);
                if (e % b.share == 0) ask(this->kept_of(smaller(place + kAhead, last)), 1);
                const A *from = this->kept_of(place) + b.head[e];
                store_row<W>(s.scores + e * W, load_row<W>(from));
                store_row<W>(s.changes + e * W, load_row<W>(from + call.heads));
            }
        });
    }

    void block(A *key_sum, A *value_sum) {
        if (buffers.kept) {
            take_kept();
        } else {
            this->scores();
            if (back.grad_key.data) {
                this->changes();
                this->through_score();
            }
            this->drop_weights();
        }
        if (back.grad_key.data) {
            this->row_gradient(back.grad_key, heads.kv, key_sum, nullptr,
                               coming(buffers.kept, columns.coming_scores(s, heads.count)));
        }
        if (!back.grad_value.data) return;
        // What `changes` has read is near already.
        const bool first = buffers.kept || !back.grad_key.data;
        this->totals_of(s.scores, columns.values, s.value_at, columns.value_step, nullptr, 0,
                        at_mutable<T>(back.grad_value, heads.batch, heads.kv), back.grad_value,
                        value_sum, call.value_dim, call.true_value_dim,
                        coming(first, columns.coming_values(s, heads.count)));
    }

    static Coming<T> coming(bool wanted, Coming<T> rows) { return wanted ? rows : Coming<T>{}; }

    int64_t slot_size() const { return call.key_dim + call.value_dim; }
    A *slot_at(int64_t slot, int64_t kv) const {
        const int64_t plane = (slot * call.batch + heads.batch) * call.kv_heads + kv;
        return buffers.sources + plane * slot_size();
    }

    void finish(int64_t slot, int h, const A *key_sum, const A *value_sum) {
        if (slot >= 0) {
            A *to = slot_at(slot, heads.kv + h);
            memcpy(to, key_sum, sizeof(A) * size_t(call.key_dim));
            memcpy(to + call.key_dim, value_sum, sizeof(A) * size_t(call.value_dim));
        } else {
            write(s.block.row[0], heads.kv + h, key_sum, value_sum);
        }
    }

    void write(int64_t row, int64_t kv, const A *key_sum, const A *value_sum) {
        if (back.grad_key.data) {
            this->write_row(back.grad_key, kv, row, key_sum, call.true_key_dim);
        }
        if (back.grad_value.data) {
            this->write_row(back.grad_value, kv, row, value_sum, call.true_value_dim);
        }
    }

    void merge(const int64_t *cut) {
        const int32_t row = rows.order ? rows.order[cut[0]] : int32_t(cut[0]);
        this->clear(s.sum, slot_size());
        for (int64_t slot = cut[1]; slot < cut[2]; ++slot) {
            const A *from = slot_at(slot, heads.kv);
            for (int64_t i = 0; i < slot_size(); ++i) s.sum[i] += from[i];
        }
        write(row, heads.kv, s.sum, s.sum + call.key_dim);
    }
};

// --- The whole ------------------------------------------------------------------------------

// Log-sum-exp and delta of all heads of a target side by side, as the passes read them.
template <class T>
int64_t statistics(const edgewise_attention_backward &back, Accumulate<T> *stats) {
    using A = Accumulate<T>;
    const edgewise_attention &call = back.call;
    const int64_t T_ = call.rows.rows, H = call.heads, band = 256;
    const int64_t bands = (T_ + band - 1) / band;
    const int64_t whole = call.value_dim / 8 * 8;
    const int rest = int(call.value_dim - whole);
    auto dot = [&](const T *g, auto *o) {  // in eight lanes
        Vec<A, 8> sum = {};
        for (int64_t i = 0; i < whole; i += 8) sum += load<8>(g + i) * load<8>(o + i);
        if (rest) sum += load_first<8>(g + whole, rest) * load_first<8>(o + whole, rest);
        return sum;
    };
    parallel(call.batch * bands, call.threads, [&](int64_t cell) {
        const int64_t b = cell / bands, first = cell % bands * band;
        for (int64_t t = first; t < smaller(first + band, T_); ++t) {
            A *to = stats + (b * T_ + t) * 2 * H;
            for (int64_t h = 0; h < H; h += 8) {
                const int count = int(smaller<int64_t>(8, H - h));
                Vec<A, 8> part[8] = {};
                for (int k = 0; k < count; ++k) {
                    const T *g = at<T>(back.grad_out, b, h + k) + t * back.grad_out.row;
                    const int64_t row = t * call.out.row;
                    part[k] = call.wide_out ? dot(g, at<A>(call.out, b, h + k) + row)
                                            : dot(g, at<T>(call.out, b, h + k) + row);
                }
                store_some<A, 8>(to + H + h, folded<A, 8>(part), count);
            }
            for (int64_t h = 0; h < H; ++h) {
                const int64_t at = (b * H + h) * T_ + t;
                to[h] = finite(static_cast<const A *>(call.lse)[at]);
                if (back.grad_lse) to[H + h] -= static_cast<const A *>(back.grad_lse)[at];
            }
        }
    });
    return 0;
}

bool is_shared(const edgewise_view &view, const edgewise_attention &call) {
    return view.data &&
           ((view.head == 0 && call.heads > 1) || (view.batch == 0 && call.batch > 1));
}

// A task of a pass, for the groups of heads of which `pass_of(i)` is a pass.
template <class T, class F>
void run_task(const edgewise_rows &rows, int64_t task, int64_t groups, int share, int most,
              Scratch<Accumulate<T>> &s, F pass_of) {
    Walk walk(rows, rows.tasks + 5 * task, share, most, s.block);
    for (int64_t i = 0; i < groups; ++i) pass_of(i).start(task);
    while (!walk.done()) {
        const Walk::Place place = walk.place();
        const bool whole = walk.next(s.block);
        for (int64_t i = 0; i < groups; ++i) {
            auto pass = pass_of(i);
            if (whole) {
                if (i == 0) pass.locate();
                pass.rows_of_block(task);
                continue;
            }
            if (i > 0) {
                walk.back_to(place);
                walk.next(s.block);
            }
            pass.long_row(walk, task);
        }
    }
}

template <class T>
void by_target(const edgewise_attention_backward &back, const Buffers<T> &buffers) {
    using A = Accumulate<T>;
    const edgewise_attention &call = back.call;
    const edgewise_rows &rows = call.rows;
    const int64_t share = call.heads / call.kv_heads;
    const Groups groups = groups_by_target<T>(call);
    const int64_t planes = groups.cells(call.batch);
    // Where heads or batches share an edge's gradient, one thread adds them up in order.
    const bool shared = is_shared(back.grad_bias, call) || is_shared(back.grad_edge_key, call) ||
                        is_shared(back.grad_edge_value, call);
    const int64_t inside = shared ? planes : 1, outside = shared ? 1 : planes;
    const int most = block_entries<T>(larger(call.key_dim, call.value_dim),
                                      2 * int(groups.heads_at_once));
    parallel(outside * rows.num_tasks, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        for (int64_t i = 0; i < inside; ++i) {
            const int64_t first = (cell / rows.num_tasks + i) * groups.at_once;
            run_task<T>(rows, cell % rows.num_tasks, groups.at_once, 1, most, scratch,
                        [&](int64_t group) {
                            const Heads heads = heads_by_target(groups, first + group, share);
                            return ByTarget<T>{
                                {back, call, rows, heads, buffers, scratch,
                                 Columns<T>(call, call.value, heads, rows.columns,
                                            groups.heads_at_once)}};
                        });
        }
    });
    if (back.grad_query.data) {
        parallel(rows.num_cuts * call.batch * call.heads, call.threads, [&](int64_t cell) {
            Scratch<A> scratch;
            const int64_t plane = cell / rows.num_cuts, head = plane % call.heads;
            Heads heads = {plane / call.heads, head, head / share, 1, 1, share, false};
            ByTarget<T> pass{{back, call, rows, heads, buffers, scratch,
                              Columns<T>(call, call.value, heads, rows.columns, 1)}};
            pass.merge(rows.cuts + 3 * (cell % rows.num_cuts));
        });
    }
    if (!buffers.vectors) return;
    A *vector = static_cast<A *>(back.grad_vector);
    for (int64_t p = 0; p < rows.num_tasks * call.batch; ++p) {
        for (int64_t h = 0; h < call.heads; ++h) {
            const A *from = buffers.vectors + (p * call.heads + h) * call.key_dim;
            A *to = vector + h * call.true_key_dim;
            for (int64_t i = 0; i < call.true_key_dim; ++i) to[i] += from[i];
        }
    }
}

template <class T>
void by_source(const edgewise_attention_backward &back, const Buffers<T> &buffers) {
    using A = Accumulate<T>;
    const edgewise_attention &call = back.call;
    const edgewise_rows &rows = back.reversed;
    const int64_t share = call.heads / call.kv_heads;
    const bool adjacent = back.grad_out.head == call.value_dim &&
                          (call.score == EDGEWISE_ADDITIVE ? call.query.head == 1
                                                           : call.query.head == call.key_dim);
    const int64_t dim = larger(call.key_dim, call.value_dim);
    const bool near = are_near<T>(call, rows.columns, call.heads);
    Groups groups = groups_of<T>(call.kv_heads, 1, dim, (adjacent || near) && share == 1);
    join_groups<T>(groups, call, rows, call.kv_heads, adjacent);
    const Groups alone(call.kv_heads, 1, 1);
    auto heads_of = [&](int64_t plane, const Groups &g) {
        const int64_t group = plane % g.count, kv = g.first(group);
        const int count = g.size(group);
        return Heads{plane / g.count, kv * share, kv, count, slots_for(count), share, true};
    };
    const int most = larger(int(share), block_entries<T>(dim, 2 * int(groups.heads_at_once)));
    parallel(groups.cells(call.batch) * rows.num_tasks, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        const int64_t first = cell / rows.num_tasks * groups.at_once;
        run_task<T>(rows, cell % rows.num_tasks, groups.at_once, int(share), most, scratch,
                    [&](int64_t group) {
                        const Heads heads = heads_of(first + group, groups);
                        return BySource<T>{{back, call, rows, heads, buffers, scratch,
                                            Columns<T>(call, back.grad_out, heads, rows.columns,
                                                       groups.heads_at_once)}};
                    });
    });
    parallel(rows.num_cuts * call.batch * call.kv_heads, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        Heads heads = heads_of(cell / rows.num_cuts, alone);
        BySource<T> pass{{back, call, rows, heads, buffers, scratch,
                          Columns<T>(call, back.grad_out, heads, rows.columns, 1)}};
        pass.merge(rows.cuts + 3 * (cell % rows.num_cuts));
    });
}

constexpr int64_t kAlwaysKept = 2 << 20;  // bytes

// How many numbers the pass by target keeps for the pass by source, which then has no products: a weight
// and the gradient of a score for each edge and head, if these are no larger than query, key, value and
// output together, or small. Else none, and the pass by source recomputes them.
template <class T>
int64_t numbers_kept(const edgewise_attention &call) {
    const edgewise_rows &rows = call.rows;
    const int64_t kept = 2 * rows.indptr[rows.rows] * call.batch * call.heads;
    const int64_t key = call.heads * rows.rows + call.kv_heads * rows.columns;
    const int64_t tensors = call.batch * key * (call.key_dim + call.value_dim) * int64_t(sizeof(T));
    const int64_t bytes = kept * int64_t(sizeof(Accumulate<T>));
    return bytes <= larger(tensors, kAlwaysKept) ? kept + kHeads : 0;
}

template <class T>
int64_t backward(const edgewise_attention_backward &back) {
    using A = Accumulate<T>;
    const edgewise_attention &call = back.call;
    const int64_t planes = call.batch * call.heads;
    const int64_t stats = back.stats ? 0 : 2 * planes * call.rows.rows + kHeads;
    const int64_t vectors = back.grad_vector ? call.rows.num_tasks * planes * call.key_dim : 0;
    const int64_t targets = call.rows.num_slots * planes * call.key_dim;
    const int64_t sources = back.reversed.num_slots * call.batch * call.kv_heads *
                            (call.key_dim + call.value_dim);
    const bool by_targets = back.grad_query.data || back.grad_vector || back.grad_bias.data ||
                            back.grad_edge_key.data || back.grad_edge_value.data;
    const bool by_sources = back.grad_key.data || back.grad_value.data;
    const int64_t kept = by_targets && by_sources ? numbers_kept<T>(call) : 0;
    const size_t size = size_t(stats + vectors + targets + sources + kept + 1) * sizeof(A);
    A *all = static_cast<A *>(new_table(size));
    if (!all) return 1;
    Buffers<T> buffers;
    buffers.stats = back.stats ? static_cast<A *>(back.stats) : all;
    buffers.vectors = back.grad_vector ? all + stats : nullptr;
    buffers.targets = all + stats + vectors;
    buffers.sources = all + stats + vectors + targets;
    buffers.kept = kept ? all + stats + vectors + targets + sources : nullptr;
    if (!back.stats) statistics<T>(back, all);
    if (by_targets) by_target<T>(back, buffers);
    if (by_sources) by_source<T>(back, buffers);
    free_table(all);
    return 0;
}

}  // namespace

int64_t attention_statistics(const edgewise_attention_backward &back) {
    return dispatch_dtype(back.call.dtype, [&](auto dtype) {
        using T = typename decltype(dtype)::Number;
        return statistics<T>(back, static_cast<Accumulate<T> *>(back.stats));
    });
}

int64_t attention_backward(const edgewise_attention_backward &back) {
    // Where heads or batches share a bias, tiles would add to its gradient at the same time.
    const bool alone = !is_shared(back.grad_bias, back.call);
    if (!back.stats && has_tiles(back.call) && alone) return tiles_backward(back);
    return dispatch_dtype(back.call.dtype, [&](auto dtype) {
        return backward<typename decltype(dtype)::Number>(back);
    });
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

// Attention over tiles: rows that all read the same columns, such as the nodes of a complete graph.
//
// Each tile is a small matrix product, which needs no sums across lanes: scores lie with the columns
// side by side in a vector, outputs and gradients with the channels. A tile's columns belong to no
// other tile, so one thread works out all of its gradients, in one order.

#include "../parallel.hpp"
#include "dtypes.hpp"
#include "kernels.hpp"
#include "partial.hpp"
#include "scores.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kColumns = 512;     // most columns of a tile
constexpr int kNumbers = 8192;    // most numbers of a tile's keys or values, and of its gradients
constexpr int kPairs = 4096;      // most pairs of a row and a column at a time
constexpr int kTogether = 256;    // most rows at a time

template <class A>
constexpr int lanes() {
    return int(kWidth * sizeof(float) / sizeof(A));
}

// Channels of a row in scratch memory: those of the tensor, and zeros behind them.
constexpr int64_t whole(int64_t dim) { return (dim + 7) / 8 * 8; }

template <class A>
struct TileScratch {
    const A *exact[kTogether];  // rows of one side
    int64_t query_at[kTogether], key_at[kColumns], value_at[kColumns], grad_at[kTogether];
    alignas(64) A keys[kNumbers], values[kNumbers];        // [channel, column]
    alignas(64) A key_grads[kNumbers], value_grads[kNumbers];  // [column, channel]
    alignas(64) A rows[kNumbers];                          // [row, channel]
    alignas(64) A weights[kPairs + 16], changes[kPairs + 16], slopes[kPairs + 16];
    alignas(64) A top[kTogether], total[kTogether], inverse[kTogether];
};

// --- Matrix products --------------------------------------------------------------------------

template <int D, class V, int... I>
inline void swap_lanes(V &a, V &b, Lanes<I...>) {
    constexpr int N = int(sizeof...(I));
    const V first = __builtin_shufflevector(a, b, (I & D ? N + I - D : I)...);
    b = __builtin_shufflevector(a, b, (I & D ? N + I : I + D)...);
    a = first;
}

template <int N, int D, class V>
inline void transpose_step(V *v) {
    if constexpr (D < N) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
            if (!(i & D)) swap_lanes<D>(v[i], v[i + D], typename CountLanes<N>::type{});
        }
        transpose_step<N, 2 * D>(v);
    }
}

// to[d, j] = from[at[j] + d]; the last column again up to `padded` columns.
template <class T>
void transpose(const T *from, const int64_t *at, int count, int padded, int64_t dim,
               Accumulate<T> *to) {
    using A = Accumulate<T>;
    constexpr int W = lanes<A>();
    for (int64_t d = 0; d < dim; d += W) {
        const int rest = int(smaller<int64_t>(W, dim - d));
        const Partial<T, W> some(rest);
        for (int j = 0; j < padded; j += W) {
            Vec<A, W> v[W];
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i) {
                const T *row = from + at[smaller(j + i, count - 1)] + d;
                v[i] = rest == W ? load<W>(row) : some.load(row);
            }
            transpose_step<W, 1>(v);
            if (rest == W) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i) store<W>(to + (d + i) * padded + j, v[i]);
            } else {
                for (int i = 0; i < rest; ++i) store<W>(to + (d + i) * padded + j, v[i]);
            }
        }
    }
}

// Groups of rows are worked on together; in the last group the last row stands in for those that are
// missing, and is written once.

// out[i, j] = scale sum_d x[i][d] y[d, j] for R rows and C vectors of columns.
template <class A, int R, int C>
inline void product_tile(const A *const *x, int rows, const A *y, int64_t dim, int padded, A scale,
                         A *out) {
    constexpr int W = lanes<A>();
    const A *row[R];
    for (int r = 0; r < R; ++r) row[r] = x[smaller(r, rows - 1)];
    Vec<A, W> sum[R][C] = {};
    for (int64_t d = 0; d < dim; ++d) {
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
            const auto yd = load<W>(y + d * padded + c * W);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sum[r][c] += row[r][d] * yd;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (r >= rows) break;
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) store<W>(out + r * padded + c * W, sum[r][c] * scale);
    }
}

template <class A>
void products_of(const A *const *x, int rows, const A *y, int64_t dim, int padded, A scale,
                 A *out) {
    constexpr int W = lanes<A>();
    int j = 0;
    for (; j + 2 * W <= padded; j += 2 * W) {
        for (int i = 0; i < rows; i += 4) {
            product_tile<A, 4, 2>(x + i, rows - i, y + j, dim, padded, scale, out + i * padded + j);
        }
    }
    for (int i = 0; j < padded && i < rows; i += 8) {
        product_tile<A, 8, 1>(x + i, rows - i, y + j, dim, padded, scale, out + i * padded + j);
    }
}

// out[r, :] = sum_i p[r, i] y[i, :] for R rows and C vectors of channels; p[r, i] stands at
// p[r * step + i] where the rows are `ALONG` the pairs, else at p[i * step + r]. Of the vectors of y,
// `Loads` reads as many lanes as there are channels.
template <class T, int W, int R, int C, bool ALONG, class Loads>
inline void total_tile(const Accumulate<T> *p, int step, int rows, const T *y, const int64_t *at,
                       int count, Accumulate<T> *out, int64_t dim, bool add, const Loads &loads) {
    using A = Accumulate<T>;
    const A *row[R];
    for (int r = 0; r < R; ++r) row[r] = p + smaller(r, rows - 1) * (ALONG ? step : 1);
    Vec<A, W> sum[R][C] = {};
    for (int i = 0; i < count; ++i) {
        const T *yi = y + at[i];
        const int64_t pi = ALONG ? i : i * step;
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            const Vec<A, W> v = loads.load(yi + c * W);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sum[r][c] += row[r][pi] * v;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (r >= rows) break;
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            A *to = out + r * dim + c * W;
            store<W>(to, add ? load<W>(to) + sum[r][c] : sum[r][c]);
        }
    }
}

template <class T, int W>
struct AllLanes {
    static EDGEWISE_INLINE Vec<Accumulate<T>, W> load(const T *from) {
        return edgewise::EDGEWISE_VARIANT::load<W>(from);
    }
};

template <class T, int W, int R, int C, bool ALONG, class Loads = AllLanes<T, W>>
inline void total_rows(const Accumulate<T> *p, int step, int rows, const T *y, const int64_t *at,
                       int count, Accumulate<T> *out, int64_t dim, bool add,
                       const Loads &loads = {}) {
    for (int r = 0; r < rows; r += R) {
        total_tile<T, W, R, C, ALONG>(p + r * (ALONG ? step : 1), step, rows - r, y, at, count,
                                      out + r * dim, dim, add, loads);
    }
}

// out[r, :] of `rows` rows, written or added to; their channels are `whole` there.
template <class T, bool ALONG>
void totals_of(const Accumulate<T> *p, int step, int rows, const T *y, const int64_t *at, int count,
               Accumulate<T> *out, int64_t dim, bool add) {
    constexpr int full = lanes<Accumulate<T>>(), half = full / 2;
    const int64_t row = whole(dim);
    int64_t d = 0;
    for (; d + 2 * full <= dim; d += 2 * full) {
        total_rows<T, full, 4, 2, ALONG>(p, step, rows, y + d, at, count, out + d, row, add);
    }
    for (; d + full <= dim; d += full) {
        total_rows<T, full, 8, 1, ALONG>(p, step, rows, y + d, at, count, out + d, row, add);
    }
    const int rest = int(dim - d);
    if (!rest) return;
    if constexpr (full > 8) {  // within what is whole
        if (rest <= half) {
            const Partial<T, half> some(rest);
            total_rows<T, half, 8, 1, ALONG>(p, step, rows, y + d, at, count, out + d, row, add,
                                             some);
            return;
        }
    }
    const Partial<T, full> some(rest);
    total_rows<T, full, 8, 1, ALONG>(p, step, rows, y + d, at, count, out + d, row, add, some);
}

// to[i] is the largest of row i of [rows, padded]; NaN is passed over.
template <class A>
void largest_of_rows(const A *from, int rows, int padded, A *to) {
    constexpr int W = lanes<A>();
    for (int i = 0; i < rows; i += W) {
        Vec<A, W> v[W];
        for (int r = 0; r < W; ++r) {
            v[r] = splat<A, W>(-infinity<A>());
            if (i + r >= rows) continue;
            const A *row = from + (i + r) * padded;
            for (int j = 0; j < padded; j += W) v[r] = Larger::of(load<W>(row + j), v[r]);
        }
        store<W>(to + i, folded<A, W, Larger>(v));
    }
}

// --- One tile ---------------------------------------------------------------------------------

template <class T>
struct TileWork {
    using A = Accumulate<T>;
    static constexpr int W = lanes<A>();
    const edgewise_attention &call;
    const edgewise_attention_backward *back;
    int64_t first_row, first_edge;
    int num_rows, columns, padded;
    int64_t batch, kv;
    TileScratch<A> &s;

    TileWork(const edgewise_attention &c, const edgewise_attention_backward *b, const int64_t *tile,
             int64_t plane, TileScratch<A> &scratch)
        : call(c), back(b), first_row(tile[0]), first_edge(tile[2]),
          num_rows(int(tile[1] - tile[0])), columns(int(tile[3])),
          padded((columns + W - 1) / W * W), batch(plane / c.kv_heads), kv(plane % c.kv_heads),
          s(scratch) {}

    int64_t target(int i) const {
        return call.rows.order ? call.rows.order[first_row + i] : first_row + i;
    }
    int64_t source(int j) const { return call.rows.indices[first_edge + j]; }
    int64_t edge(int i, int j) const {
        const int64_t place = first_edge + int64_t(i) * columns + j;
        return call.rows.edge ? call.rows.edge[place] : place;
    }
    // Channels in memory, any number of them.
    int64_t key_dim() const { return call.true_key_dim; }
    int64_t value_dim() const { return call.true_value_dim; }

    // Rows at a time: their pairs and their channels have to fit.
    int together() const {
        const int64_t dim = whole(larger(key_dim(), value_dim()));
        const int64_t fit = smaller<int64_t>(kPairs / padded, kNumbers / dim);
        return int(smaller<int64_t>(kTogether, fit));
    }

    template <class F>
    void each_head(F f) {
        const int64_t share = call.heads / call.kv_heads;
        for (int j = 0; j < columns; ++j) {
            s.key_at[j] = source(j) * call.key.row;
            s.value_at[j] = source(j) * call.value.row;
        }
        transpose<T>(at<T>(call.key, batch, kv), s.key_at, columns, padded, key_dim(), s.keys);
        const int most = together();
        for (int64_t head = kv * share; head < (kv + 1) * share; ++head) {
            for (int i = 0; i < num_rows; i += most) {
                f(head, i, int(smaller(most, num_rows - i)));
            }
        }
    }

    void offsets_of(const edgewise_view &view, int first, int count, int64_t *to) const {
        for (int i = 0; i < count; ++i) to[i] = target(first + i) * view.row;
    }

    // Rows in the dtype of sums: where they are, or copies of them, whole.
    void exact_rows(const T *from, const int64_t *at, int count, int64_t dim) {
        const int64_t step = whole(dim), inner = dim / 8 * 8;
        const Partial<T, 8> last(int(dim - inner));
        for (int i = 0; i < count; ++i) {
            if constexpr (__is_same(T, A)) {
                s.exact[i] = from + at[i];
                continue;
            } else {
                A *to = s.rows + i * step;
                const T *row = from + at[i];
                for (int64_t d = 0; d < inner; d += 8) store<8>(to + d, load<8>(row + d));
                if (inner < dim) store<8>(to + inner, last.load(row + inner));
                s.exact[i] = to;
            }
        }
    }

    void scores(int64_t head, int first, int count, bool wants_slopes) {
        offsets_of(call.query, first, count, s.query_at);
        exact_rows(at<T>(call.query, batch, head), s.query_at, count, key_dim());
        products_of(s.exact, count, s.keys, key_dim(), padded, A(call.scale), s.weights);
        const int n = count * padded;
        if (call.softcap > 0) cap(s.weights, wants_slopes ? s.slopes : nullptr, n, A(call.softcap));
        if (call.bias.data) {
            const A *bias = at<A>(call.bias, batch, head);
            for (int i = 0; i < count; ++i) {
                for (int j = 0; j < columns; ++j) {
                    s.weights[i * padded + j] += bias[edge(first + i, j) * call.bias.row];
                }
            }
        }
        if (columns < padded) hide_padding(count);
    }

    // Columns of padding have a weight of zero.
    void hide_padding(int count) {
        Vec<A, W> hidden;
        for (int l = 0; l < W; ++l) hidden[l] = padded - W + l < columns ? A(0) : A(1);
        const auto is_hidden = hidden > A(0);
        for (int i = 1; i <= count; ++i) {
            A *last = s.weights + i * padded - W;
            store<W>(last, select(is_hidden, splat<A, W>(-infinity<A>()), load<W>(last)));
        }
    }

    // exp(s - shift), and the sum of each row.
    void exponentials_of(int count, const A *shift, A *total) {
        for (int i = 0; i < count; i += W) {
            Vec<A, W> sum[W];
            for (int r = 0; r < W; ++r) {
                sum[r] = Vec<A, W>{};
                if (i + r >= count) continue;
                A *row = s.weights + (i + r) * padded;
                const A x = shift[i + r];
                for (int j = 0; j < padded; j += W) {
                    const auto e = exponential<W>(load<W>(row + j) - x);
                    sum[r] += e;
                    store<W>(row + j, e);
                }
            }
            store<W>(total + i, folded<A, W>(sum));
        }
    }

    void drop(int64_t head, int first, int count, A *values) const {
        const uint32_t of_head = hash_of_head(call, batch * call.heads + head);
        for (int i = 0; i < count; ++i) {
            const uint32_t of_target = mix(of_head ^ uint32_t(target(first + i)));
            for (int j = 0; j < columns; ++j) {
                values[i * padded + j] *= factor_of<A>(call, mix(of_target ^ uint32_t(source(j))));
            }
        }
    }

    int64_t plane(int64_t head) const { return (batch * call.heads + head) * call.rows.rows; }

    // --- Forward ------------------------------------------------------------------------------

    void forward() {
        each_head([&](int64_t head, int first, int count) {
            scores(head, first, count, false);
            softmax(head, first, count);
            if (call.drops) drop(head, first, count, s.weights);
            totals_of<T, true>(s.weights, padded, count, at<T>(call.value, batch, kv), s.value_at,
                               columns, s.rows, value_dim(), false);
            for (int i = 0; i < count; ++i) write_out(head, target(first + i), i);
        });
    }

    void softmax(int64_t head, int first, int count) {
        const A none = -infinity<A>();
        largest_of_rows(s.weights, count, padded, s.top);
        for (int i = 0; i < count; ++i) s.top[i] = finite(s.top[i]);
        exponentials_of(count, s.top, s.total);
        for (int i = 0; i < count; ++i) s.inverse[i] = s.total[i] == 0 ? A(0) : 1 / s.total[i];
        logarithms(s.total, count);
        A *lse = static_cast<A *>(call.lse) + plane(head);
        for (int i = 0; i < count; ++i) {
            lse[target(first + i)] = s.inverse[i] == 0 ? none : s.top[i] + s.total[i];
        }
    }

    void write_out(int64_t head, int64_t row, int i) const {
        const A *from = s.rows + i * whole(value_dim());
        const A inverse = s.inverse[i];
        if (call.wide_out) {
            write(from, inverse, value_dim(),
                  at_mutable<A>(call.out, batch, head) + row * call.out.row);
        } else {
            write(from, inverse, value_dim(),
                  at_mutable<T>(call.out, batch, head) + row * call.out.row);
        }
    }

    template <class O>
    static void write(const A *from, A factor, int64_t dim, O *to) {
        int64_t d = 0;
        for (; d + 8 <= dim; d += 8) store<8>(to + d, load<8>(from + d) * factor);
        if (d < dim) store_first<8>(to + d, load<8>(from + d) * factor, int(dim - d));
    }

    // --- Backward -----------------------------------------------------------------------------

    void backward() {
        for (int64_t i = 0; i < columns * whole(key_dim()); ++i) s.key_grads[i] = 0;
        for (int64_t i = 0; i < columns * whole(value_dim()); ++i) s.value_grads[i] = 0;
        bool located = false;
        each_head([&](int64_t head, int first, int count) {
            if (!located) {
                transpose<T>(at<T>(call.value, batch, kv), s.value_at, columns, padded,
                             value_dim(), s.values);
                located = true;
            }
            weights(head, first, count);
            changes(head, first, count);
            gradients(head, first, count);
        });
        write_columns(back->grad_key, s.key_grads, key_dim());
        write_columns(back->grad_value, s.value_grads, value_dim());
    }

    void weights(int64_t head, int first, int count) {
        scores(head, first, count, true);
        const A *lse = static_cast<const A *>(call.lse) + plane(head);
        for (int i = 0; i < count; ++i) s.top[i] = finite(lse[target(first + i)]);
        exponentials_of(count, s.top, s.total);
    }

    // Gradients of the scores in changes; in weights, the weights that multiplied the values.
    void changes(int64_t head, int first, int count) {
        const T *grad = at<T>(back->grad_out, batch, head);
        offsets_of(back->grad_out, first, count, s.grad_at);
        exact_rows(grad, s.grad_at, count, value_dim());
        products_of(s.exact, count, s.values, value_dim(), padded, A(1), s.changes);
        deltas(head, first, count);
        const A *of_lse = static_cast<const A *>(back->grad_lse);
        for (int i = 0; of_lse && i < count; ++i) {
            s.total[i] -= of_lse[plane(head) + target(first + i)];
        }
        if (call.drops) drop(head, first, count, s.changes);
        for (int i = 0; i < count; ++i) {
            A *row = s.changes + i * padded;
            const A *w = s.weights + i * padded;
            const A delta = s.total[i];
            for (int j = 0; j < padded; j += W) {
                store<W>(row + j, load<W>(w + j) * (load<W>(row + j) - delta));
            }
        }
        if (back->grad_bias.data) add_bias_gradient(head, first, count);
        const int n = count * padded;
        const A scale = A(call.scale);
        if (call.softcap > 0) {
            for (int i = 0; i < n; ++i) s.changes[i] *= s.slopes[i];
        }
        for (int i = 0; i < n; ++i) s.changes[i] *= scale;
        if (call.drops) drop(head, first, count, s.weights);
    }

    // total[i] = grad_out . out of each row.
    void deltas(int64_t head, int first, int count) {
        if (call.wide_out) {
            deltas_of(at<A>(call.out, batch, head), first, count);
        } else {
            deltas_of(at<T>(call.out, batch, head), first, count);
        }
    }
    template <class O>
    void deltas_of(const O *out, int first, int count) {
        const int64_t inner = value_dim() / 8 * 8;
        const int rest = int(value_dim() - inner);
        const Partial<O, 8> last_out(rest);
        const Partial<A, 8> last_grad(rest);
        for (int i = 0; i < count; i += 8) {
            Vec<A, 8> sum[8];
            for (int r = 0; r < 8; ++r) {
                sum[r] = Vec<A, 8>{};
                if (i + r >= count) continue;
                const O *row = out + target(first + i + r) * call.out.row;
                const A *grad = s.exact[i + r];
                for (int64_t d = 0; d < inner; d += 8) {
                    sum[r] += load<8>(row + d) * load<8>(grad + d);
                }
                if (rest) sum[r] += last_out.load(row + inner) * last_grad.load(grad + inner);
            }
            store<8>(s.total + i, folded<A, 8>(sum));
        }
    }

    void add_bias_gradient(int64_t head, int first, int count) {
        A *to = at_mutable<A>(back->grad_bias, batch, head);
        for (int i = 0; i < count; ++i) {
            for (int j = 0; j < columns; ++j) {
                to[edge(first + i, j) * back->grad_bias.row] += s.changes[i * padded + j];
            }
        }
    }

    void gradients(int64_t head, int first, int count) {
        const T *query = at<T>(call.query, batch, head), *key = at<T>(call.key, batch, kv);
        if (back->grad_key.data) {
            totals_of<T, false>(s.changes, padded, columns, query, s.query_at, count, s.key_grads,
                                key_dim(), true);
        }
        if (back->grad_value.data) {
            totals_of<T, false>(s.weights, padded, columns, at<T>(back->grad_out, batch, head),
                                s.grad_at, count, s.value_grads, value_dim(), true);
        }
        if (!back->grad_query.data) return;
        totals_of<T, true>(s.changes, padded, count, key, s.key_at, columns, s.rows, key_dim(),
                           false);
        T *to = at_mutable<T>(back->grad_query, batch, head);
        for (int i = 0; i < count; ++i) {
            write(s.rows + i * whole(key_dim()), A(1), key_dim(),
                  to + target(first + i) * back->grad_query.row);
        }
    }

    void write_columns(const edgewise_view &view, const A *from, int64_t dim) {
        if (!view.data) return;
        T *to = at_mutable<T>(view, batch, kv);
        for (int j = 0; j < columns; ++j) {
            write(from + j * whole(dim), A(1), dim, to + source(j) * view.row);
        }
    }
};

// Prefetch what a tile reads and writes, all heads at once, where they are adjacent: a single head reads
// scattered lines, which no hardware prefetcher predicts. One of several parts of it: a machine has
// no more than some dozens of pending lines, and stalls on requests beyond them.
template <class T>
void ask_tile(const edgewise_attention &call, const edgewise_attention_backward *back,
              const int64_t *tile, int64_t batch, int64_t part, int64_t parts) {
    auto ask_rows = [&](const edgewise_view &view, int64_t heads, int64_t dim, int64_t count,
                        auto row) {
        if (heads > 1 && view.head > whole(dim)) return;
        const T *from = at<T>(view, batch, 0);
        const int bytes = int(((heads - 1) * view.head + dim) * int64_t(sizeof(T)));
        const int64_t last = count * (part + 1) / parts;
        for (int64_t i = count * part / parts; i < last; ++i) ask(from + row(i) * view.row, bytes);
    };
    const edgewise_rows &rows = call.rows;
    auto target = [&](int64_t i) { return rows.order ? rows.order[tile[0] + i] : tile[0] + i; };
    auto source = [&](int64_t j) { return rows.indices[tile[2] + j]; };
    ask_rows(call.key, call.kv_heads, call.true_key_dim, tile[3], source);
    ask_rows(call.value, call.kv_heads, call.true_value_dim, tile[3], source);
    const int64_t count = tile[1] - tile[0];
    ask_rows(call.query, call.heads, call.true_key_dim, count, target);
    // Forward, the output is written: its lines have to be there first.
    if (!call.wide_out) ask_rows(call.out, call.heads, call.true_value_dim, count, target);
    if (back) ask_rows(back->grad_out, call.heads, call.true_value_dim, count, target);
}

template <class T>
int64_t run(const edgewise_attention &call, const edgewise_attention_backward *back) {
    const int64_t tiles = call.rows.num_tiles;
    parallel(tiles * call.batch * call.kv_heads, call.threads, [&](int64_t cell) {
        TileScratch<Accumulate<T>> scratch;
        const int64_t plane = cell % (call.batch * call.kv_heads);
        const int64_t *tile = call.rows.tiles + 4 * (cell / (call.batch * call.kv_heads));
        if (tile + 4 < call.rows.tiles + 4 * tiles) {
            const int64_t batch = plane / call.kv_heads, part = plane % call.kv_heads;
            ask_tile<T>(call, back, tile + 4, batch, part, call.kv_heads);
        }
        TileWork<T> work(call, back, tile, plane, scratch);
        if (back) {
            work.backward();
        } else {
            work.forward();
        }
    });
    return 0;
}

int64_t run_as(const edgewise_attention &call, const edgewise_attention_backward *back) {
    return dispatch_dtype(call.dtype, [&](auto dtype) {
        return run<typename decltype(dtype)::Number>(call, back);
    });
}

}  // namespace

bool has_tiles(const edgewise_attention &call) {
    if (!call.rows.num_tiles || call.score != EDGEWISE_DOT) return false;
    if (call.edge_key.data || call.edge_value.data) return false;
    const int64_t dim = whole(larger(call.true_key_dim, call.true_value_dim));
    for (int64_t t = 0; t < call.rows.num_tiles; ++t) {
        const int64_t padded = (call.rows.tiles[4 * t + 3] + kWidth - 1) / kWidth * kWidth;
        if (padded > kColumns || padded * dim > kNumbers) return false;
    }
    return true;
}

int64_t tiles_forward(const edgewise_attention &call) { return run_as(call, nullptr); }
int64_t tiles_backward(const edgewise_attention_backward &back) { return run_as(back.call, &back); }

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

// The two kernels everything is made of, on a block of edges:
//
//   products:  s[e, h]   = sum_d f(x[e, h, d], y[e, h, d])     one number for each edge and head
//   totals:    z[r, h, :] = sum_{e in row r} p[e, h] y[e, h, :]   one vector for each row and head
//
// x and y are given by an offset for each edge and a stride for each head, so the same code reads
// keys by target, queries by source, and edge features. Any number of channels: where a row ends within
// a vector, the lanes beyond it are loaded as zeros. Heads are stored in slots, a power of two for
// each edge; the numbers in slots without a head mean nothing.
#pragma once

#include "block.hpp"
#include "partial.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {

// What is summed over the channels.
struct DotProduct {
    template <class V>
    static V fused(V x, V y, V, V sum, V) {
        return x * y + sum;
    }
};
struct LeakyProduct {  // a . LeakyReLU(x + y)
    template <class V>
    static V fused(V x, V y, V a, V sum, V slope) {
        V z = x + y;
        return a * select(z > 0, z, z * slope) + sum;
    }
};

template <class T>
struct ProductsCall {
    const Block *block;              // whose rows x belongs to
    int count;
    const T *x, *y, *z;              // z: edge features added to y, or null
    const int64_t *xo, *yo, *zo;
    int64_t xh, yh, zh;              // head strides
    const T *a;                      // vector of GATv2 [heads, dim]
    int64_t ah;
    const int32_t *head;             // which head's vector each edge reads, where that differs
    int heads, dim;                  // heads together and channels of a row; set by `all_products`
    Accumulate<T> slope;
    Accumulate<T> *out;              // [count + kSpill, slots]
    Coming<T> coming;
};

// Whether a tensor of so many rows is larger than what stays near a core.
template <class T>
inline bool is_far(int64_t rows, int64_t heads, int64_t dim) {
    return rows * heads * dim * int64_t(sizeof(T)) > (2 << 20);
}

// Numbers in a vector of the machine.
template <class T>
constexpr int lanes_of() {
    return int(kWidth * sizeof(float) / sizeof(Accumulate<T>));
}

#if defined(__AVX512VL__) && defined(__AVX512BW__)
constexpr bool kMasks = true;
#else
constexpr bool kMasks = false;
#endif

// Places for the heads of an edge: the next power of two.
constexpr int slots_for(int heads) { return heads > 4 ? 8 : heads > 2 ? 4 : heads; }

// One vector of sums for W / slots edges. A row has NC whole vectors; with PART its last one is partial.
// With NC = 0 a row has any number of vectors, and HC is the number of slots, of which any may be empty:
// fewer instances for GCC to compile, where more work is done for each head.
template <class T, class F, int W, int HC, int NC, bool PART, bool EDGE>
void products(const ProductsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    constexpr int kSlots = slots_for(HC);
    constexpr int kEdges = kSlots >= W ? 1 : W / kSlots;  // edges for one or more vectors of sums
    constexpr int kSums = kEdges * kSlots / W;
    const int whole = PART ? (NC ? NC - 1 : c.dim / W) : NC;
    const Partial<T, W> last(c.dim - whole * W);
    const bool rest = PART && (NC || last.count);
    const V slope = splat<A, W>(c.slope);
    // Whole rows of more than one head are adjacent, and then strides are constants.
    const int64_t xh = HC > 1 && !PART ? W * NC : c.xh, yh = HC > 1 && !PART ? W * NC : c.yh;
    const int heads = NC ? HC : c.heads;
    for (int e = 0; e < c.count; e += kEdges) {
        V part[kEdges * kSlots];
#pragma GCC unroll 16
        for (int k = 0; k < kEdges; ++k) {
            c.coming(e + k);
            const T *x = c.x + c.xo[e + k], *y = c.y + c.yo[e + k];
            const T *z = EDGE ? c.z + c.zo[e + k] : nullptr;
#pragma GCC unroll 8
            for (int h = 0; h < kSlots; ++h) {
                V sum = {};
                if (h < heads) {
                    auto add = [&](auto load_row, int at) EDGEWISE_INLINE_LAMBDA {
                        V yi = load_row(y + h * yh + at);
                        if constexpr (EDGE) yi += load_row(z + h * c.zh + at);
                        V a = {};
                        if constexpr (__is_same(F, LeakyProduct)) {
                            a = load_row(c.a + (h + c.head[e + k]) * c.ah + at);
                        }
                        sum = F::fused(load_row(x + h * xh + at), yi, a, sum, slope);
                    };
#pragma GCC unroll 4
                    for (int i = 0; i < whole; ++i) {
                        add([](const T *from) EDGEWISE_INLINE_LAMBDA { return load<W>(from); }, i * W);
                    }
                    if (rest) {
                        add([&](const T *from) EDGEWISE_INLINE_LAMBDA { return last.load(from); },
                            whole * W);
                    }
                }
                part[k * kSlots + h] = sum;
            }
        }
#pragma GCC unroll 8
        for (int s = 0; s < kSums; ++s) {
            store<W>(c.out + e * kSlots + s * W, folded<A, W>(part + s * W));
        }
    }
}

// The same for dot products of wide heads, whose rows of x stay in registers while the edges of a row pass:
// that halves what is loaded. Sums of single lanes wait in memory until there is a vector of them.
template <class T, int W, int HC, int NC>
void row_products(const ProductsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    constexpr int kSlots = slots_for(HC), kEdges = kSlots >= W ? 1 : W / kSlots;
    constexpr int kSums = kEdges * kSlots / W;
    const Block &b = *c.block;
    const Partial<T, W> last(c.dim - (NC - 1) * W);
    const bool whole = !kMasks && last.count == W;
    auto load_at = [&](const T *from, int i) EDGEWISE_INLINE_LAMBDA {
        if (i + 1 < NC || whole) return load<W>(from + i * W);
        return last.load(from + i * W);
    };
    V part[kEdges * kSlots] = {};
    int waiting = 0;
    auto fold = [&](int first) EDGEWISE_INLINE_LAMBDA {
        V lanes[kEdges * kSlots];
#pragma GCC unroll 16
        for (int i = 0; i < kEdges * kSlots; ++i) lanes[i] = part[i];
#pragma GCC unroll 8
        for (int s = 0; s < kSums; ++s) {
            store<W>(c.out + first * kSlots + s * W, folded<A, W>(lanes + s * W));
        }
    };
    for (int r = 0; r < b.rows; ++r) {
        const int begin = b.start[r], end = b.start[r + 1];
        if (begin == end) continue;
        V x[HC][NC];
        const T *row = c.x + c.xo[begin];
#pragma GCC unroll 8
        for (int h = 0; h < HC; ++h) {
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) x[h][i] = load_at(row + h * c.xh, i);
        }
        for (int e = begin; e < end; ++e) {
            c.coming(e);
            const T *y = c.y + c.yo[e];
#pragma GCC unroll 8
            for (int h = 0; h < HC; ++h) {
                V sum = x[h][0] * load_at(y + h * c.yh, 0);
#pragma GCC unroll 8
                for (int i = 1; i < NC; ++i) sum = x[h][i] * load_at(y + h * c.yh, i) + sum;
                part[waiting * kSlots + h] = sum;
            }
            if (++waiting < kEdges) continue;
            fold(e + 1 - kEdges);
            waiting = 0;
        }
    }
    if (waiting) fold(b.count - waiting);  // and what is thrown away
}

// --- Several short heads in a vector ------------------------------------------------------------

// Lane i of the result is lane at[i] of v.
template <class A, int W>
EDGEWISE_INLINE Vec<A, W> permuted(Vec<A, W> v, Vec<int32_t, W> at) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return _mm512_maskz_permutexvar_ps(0xffff, bits_as<__m512i>(at), v);
#endif
#if defined(__AVX2__)
    if constexpr (W == 8) return _mm256_permutevar8x32_ps(v, bits_as<__m256i>(at));
#endif
    Vec<A, W> to = {};
    for (int i = 0; i < W; ++i) to[i] = v[at[i]];
    return to;
}

// The order in which `folded` leaves the sums of G lanes each of G vectors: those of the vectors of
// edge e, which hold its heads one after the other.
template <int W, int S, int G>
constexpr int place_of_sum(int slot) {
    constexpr int kHeadsInVector = W / G, kVectors = S / kHeadsInVector;
    const int edge = slot / S, head = slot % S;
    const int vector = edge * kVectors + head / kHeadsInVector, group = head % kHeadsInVector;
    return G == 4 ? group * 4 + vector : vector / 4 * 8 + group * 4 + vector % 4;
}
template <int S, int G, class V, int... I>
EDGEWISE_INLINE V in_order_of_heads(V v, Lanes<I...>) {
    return __builtin_shufflevector(v, v, place_of_sum<int(sizeof...(I)), S, G>(I)...);
}

// Adjacent heads of up to G channels, W / G of them in each vector, S slots for each edge: products are
// taken as the channels lie in memory, and then moved so that each head has G lanes.
template <class T, class F, int W, int S, int G, bool MOVE>
void short_products(const ProductsCall<T> &c) {
    using V = Vec<float, W>;
    constexpr int kHeadsInVector = W / G, kVectors = S / kHeadsInVector, kEdges = W / S;
    static_assert(kEdges * kVectors == G, "folds to one vector");
    const int step = kHeadsInVector * c.dim, all = c.heads * c.dim;
    const V slope = splat<float, W>(c.slope);
    Vec<int32_t, W> from = {}, counts = {};
    for (int i = 0; i < W; ++i) {
        from[i] = i % G < c.dim ? i / G * c.dim + i % G : 0;
        counts[i] = i % G < c.dim;
    }
    const auto is_channel = counts > 0;
    const Partial<T, W> row[4] = {
        Partial<T, W>(smaller(step, all)), Partial<T, W>(smaller(step, all - step)),
        Partial<T, W>(smaller(step, all - 2 * step)), Partial<T, W>(smaller(step, all - 3 * step))};
    for (int e = 0; e < c.count; e += kEdges) {
        V part[G];
#pragma GCC unroll 8
        for (int k = 0; k < kEdges; ++k) {
            c.coming(e + k);
            const T *x = c.x + c.xo[e + k], *y = c.y + c.yo[e + k];
#pragma GCC unroll 4
            for (int i = 0; i < kVectors; ++i) {
                V a = {};
                if constexpr (__is_same(F, LeakyProduct)) a = row[i].load(c.a + i * step);
                V v = F::fused(row[i].load(x + i * step), row[i].load(y + i * step), a, V{}, slope);
                if constexpr (MOVE) v = select(is_channel, permuted<float, W>(v, from), V{});
                part[k * kVectors + i] = v;
            }
        }
        V sums[G / 4];
#pragma GCC unroll 2
        for (int i = 0; i < G / 4; ++i) {
            const V *v = part + 4 * i;
            using L = typename CountLanes<W>::type;
            sums[i] = fold_lanes<W, 2>(fold_lanes<W, 1>(v[0], v[1], L{}),
                                       fold_lanes<W, 1>(v[2], v[3], L{}), L{});
        }
        if constexpr (G == 8) {
            sums[0] = fold_lanes<W, 4>(sums[0], sums[1], typename CountLanes<W>::type{});
        }
        store<W>(c.out + e * S, in_order_of_heads<S, G>(sums[0], typename CountLanes<W>::type{}));
    }
}

template <class T>
struct TotalsCall {
    const Block *block;
    const Accumulate<T> *p;          // [count, slots]
    const Accumulate<T> *scale;      // [rows, slots]: of whole rows, or null
    const T *y, *z;                  // z: edge features added to y, or null
    const int64_t *yo, *zo;
    int64_t yh, zh;
    int slots = 1;                   // from edge to edge of p, and from row to row of scale
    int columns;                     // channels of the output that count
    T *out;                          // whole rows: written
    Accumulate<T> *wide;             // instead of `out`, where the rows are kept exact
    int64_t out_row, out_head;
    Accumulate<T> *sum;              // a part of one row: added to, [heads, sum_head]; or null
    int64_t sum_head;
    Coming<T> coming;
    // The heads of an edge as one row, and what is worked on of it; set by `all_totals`.
    int heads, dim, column, width;
};

template <class T, int W>
EDGEWISE_INLINE void store_some(T *to, Vec<Accumulate<T>, W> v, int count) {
    if (count >= W) {
        store<W>(to, v);
    } else if constexpr (W == lanes_of<T>()) {
        Partial<T, W>(count).store(to, v);
    } else {
        for (int i = 0; i < count; ++i) narrow(v[i], to + i);
    }
}

// One vector of a row of totals, whose first number belongs to `column` of the row: where the numbers
// are not stored side by side, as they were computed.
template <class T, int W>
__attribute__((noinline)) void store_totals(const TotalsCall<T> &c, int32_t row, int column,
                                  Vec<Accumulate<T>, W> v) {
    using A = Accumulate<T>;
    const int left = c.column + c.width - column;
    if (c.sum) {  // its heads are adjacent
        A *to = c.sum + column;
        if (left >= W) {
            store<W>(to, load<W>(to) + v);
        } else {
            for (int i = 0; i < left; ++i) to[i] += v[i];
        }
        return;
    }
    const int64_t first = row * c.out_row;
    if (c.heads == 1 || (c.out_head == c.dim && c.columns == c.dim)) {
        const int count = c.heads == 1 ? smaller(left, c.columns - column) : left;
        if (c.wide) {
            store_some<A, W>(c.wide + first + column, v, count);
        } else {
            store_some<T, W>(c.out + first + column, v, count);
        }
        return;
    }
    for (int i = 0; i < W && i < left; ++i) {
        const int head = (column + i) / c.dim, channel = (column + i) % c.dim;
        if (channel >= c.columns) continue;
        const int64_t to = first + head * c.out_head + channel;
        if (c.wide) {
            c.wide[to] = v[i];
        } else {
            narrow(v[i], c.out + to);
        }
    }
}

// The numbers of all slots of an edge, in the first lanes of a vector.
template <int W, class A>
EDGEWISE_INLINE Vec<A, W> load_slots(const A *from) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return _mm512_castps256_ps512(load<kHeads>(from));  // within a line
#endif
    return load<W>(from);
}

template <class T, int W, int NC>
EDGEWISE_INLINE void store_row(T *to, const Vec<Accumulate<T>, W> *v, int last) {
#pragma GCC unroll 8
    for (int i = 0; i + 1 < NC; ++i) store<W>(to + i * W, v[i]);
    store_some<T, W>(to + (NC - 1) * W, v[NC - 1], last);
}

// Adjacent heads are one long row of NC vectors. OF of them belong to each head; with OF = 0, heads end
// anywhere, and the weights of an edge are moved to the lanes of their heads.
template <class T, int W, int NC, int OF, bool EDGE>
void totals(const TotalsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    const Block &b = *c.block;
    const T *base = c.y + c.column;
    const Partial<T, W> last(c.width - (NC - 1) * W);
    // Where loads have masks, a whole vector takes no longer with one.
    const bool whole = !kMasks && last.count == W;
    const bool flat = !c.sum && c.columns == c.dim &&
                      (c.heads == 1 || c.out_head == c.dim);
    Vec<int32_t, W> head[NC];
    if constexpr (OF == 0) {
        for (int i = 0; i < NC; ++i) {
            for (int l = 0; l < W; ++l) {
                const int of_lane = (c.column + i * W + l) / c.dim;
                head[i][l] = of_lane < c.heads ? of_lane : 0;
            }
        }
    }
    auto load_at = [&](const T *from, int i) EDGEWISE_INLINE_LAMBDA {
        if (i + 1 < NC || whole) return load<W>(from + i * W);
        return last.load(from + i * W);
    };
    for (int r = 0; r < b.rows; ++r) {
        V acc[NC];
#pragma GCC unroll 8
        for (int i = 0; i < NC; ++i) acc[i] = V{};
        for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
            c.coming(e);
            const T *y = base + c.yo[e];
            const T *z = EDGE ? c.z + c.zo[e] + c.column : nullptr;
            const A *weights = c.p + e * c.slots;
            V p = {};
            if constexpr (OF == 0) p = load_slots<W>(weights);
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) {
                V yi = load_at(y, i);
                if constexpr (EDGE) yi += load_at(z, i);
                if constexpr (OF == 0) {
                    acc[i] += permuted<A, W>(p, head[i]) * yi;
                } else {
                    acc[i] += weights[i / OF] * yi;
                }
            }
        }
        if (c.scale) {
            const A *scales = c.scale + r * c.slots;
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) {
                if constexpr (OF == 0) {
                    acc[i] *= permuted<A, W>(load_slots<W>(scales), head[i]);
                } else {
                    acc[i] *= scales[i / OF];
                }
            }
        }
        if (flat) {
            const int64_t to = b.row[r] * c.out_row + c.column;
            if (c.wide) {
                store_row<A, W, NC>(c.wide + to, acc, last.count);
            } else {
                store_row<T, W, NC>(c.out + to, acc, last.count);
            }
            continue;
        }
#pragma GCC unroll 8
        for (int i = 0; i < NC; ++i) {
            store_totals<T, W>(c, b.row[r], c.column + i * W, acc[i]);
        }
    }
}

// --- Choosing an instance -------------------------------------------------------------------

template <class T>
using Products = void (*)(const ProductsCall<T> &);
template <class T>
using Totals = void (*)(const TotalsCall<T> &);

// Of heads that fit into registers with three or more vectors each; null where there is none.
template <class T>
Products<T> pick_row_products(int heads, int vectors) {
    constexpr int W = lanes_of<T>();
    if (heads == 1) {
        if (vectors == 3) return row_products<T, W, 1, 3>;
        if (vectors == 4) return row_products<T, W, 1, 4>;
        if (vectors == 5) return row_products<T, W, 1, 5>;
        if (vectors == 6) return row_products<T, W, 1, 6>;
        if (vectors == 7) return row_products<T, W, 1, 7>;
        if (vectors == 8) return row_products<T, W, 1, 8>;
    }
    if (heads == 2 && vectors == 3) return row_products<T, W, 2, 3>;
    if (heads == 2 && vectors == 4) return row_products<T, W, 2, 4>;
    if constexpr (kMasks) {
        if (heads == 3 && vectors == 3) return row_products<T, W, 3, 3>;
    }
    return nullptr;
}

// Of HC heads whose rows are whole vectors or less than one; null where there is none.
template <class T, class F, int W, int HC>
Products<T> pick_of_heads(int dim, bool packed) {
    if constexpr ((HC & (HC - 1)) == 0) {
        if (packed || HC == 1) {
            if (dim == W) return products<T, F, W, HC, 1, false, false>;
            if constexpr (HC <= 4) {
                if (dim == 2 * W) return products<T, F, W, HC, 2, false, false>;
            }
            if constexpr (HC <= 2 && (W == 4 || !__is_same(F, DotProduct))) {
                if (dim == 4 * W) return products<T, F, W, HC, 4, false, false>;
            }
        }
    }
    if constexpr (W > 4 && __is_same(F, DotProduct)) {
        if (dim <= W) return products<T, F, W, HC, 1, true, false>;
        if constexpr (HC < 8) {
            if (dim > W && dim <= 2 * W) return products<T, F, W, HC, 2, true, false>;
        }
    }
    return nullptr;
}

// Of heads in S slots.
template <class T, class F, int W, int S>
Products<T> pick_of_slots(int heads, int dim, bool edge, bool packed) {
    if (edge) return products<T, F, W, S, 0, true, true>;
    Products<T> found = nullptr;
    if constexpr (sizeof(T) != 8) {
        if (heads == S) found = pick_of_heads<T, F, W, S>(dim, packed);
        if constexpr (S == 8) {
            if (heads == 7) found = pick_of_heads<T, F, W, 7>(dim, packed);
            if (heads == 6) found = pick_of_heads<T, F, W, 6>(dim, packed);
            if (heads == 5) found = pick_of_heads<T, F, W, 5>(dim, packed);
        }
        if constexpr (S == 4) {
            if (heads == 3) found = pick_of_heads<T, F, W, 3>(dim, packed);
        }
    }
    return found ? found : products<T, F, W, S, 0, true, false>;
}

// The instance for heads that are short enough to share vectors; null where there is none.
template <class T, class F, int W>
Products<T> pick_short(int heads, int dim) {
    if constexpr (W == 16) {
        if (heads > 4 && dim == 8) return short_products<T, F, W, 8, 8, false>;
        if constexpr (__is_same(F, DotProduct)) {
            if (heads > 4 && dim <= 4) return short_products<T, F, W, 8, 4, true>;
            if (heads > 2 && dim <= 4) return short_products<T, F, W, 4, 4, true>;
        }
        if (heads > 4 && dim <= 8) return short_products<T, F, W, 8, 8, true>;
        if (heads > 2 && dim <= 8) return short_products<T, F, W, 4, 8, true>;
        if (heads > 1 && dim <= 8) return short_products<T, F, W, 2, 8, true>;
    }
    if constexpr (W == 8 && __is_same(F, DotProduct)) {
        if (heads > 4 && dim <= 4) return short_products<T, F, W, 8, 4, true>;
        if (heads > 2 && dim <= 4) return short_products<T, F, W, 4, 4, true>;
    }
    return nullptr;
}

template <class T, class F>
void all_products(ProductsCall<T> c, int heads, int64_t width) {
    constexpr int W = lanes_of<T>();
    const int dim = int(width);
    c.heads = heads;
    c.dim = dim;
    const bool edge = c.z != nullptr, packed = c.xh == dim && c.yh == dim;
    if constexpr (sizeof(T) != 8) {
        if (packed && !edge) {
            if (Products<T> found = pick_short<T, F, W>(heads, dim)) return found(c);
        }
        if constexpr (W > 4 && __is_same(F, DotProduct)) {
            const int vectors = (dim + W - 1) / W;
            Products<T> found = edge ? nullptr : pick_row_products<T>(heads, vectors);
            if (found) return found(c);
        }
        if constexpr (W > 4) {
            if (heads > 4) return pick_of_slots<T, F, W, 8>(heads, dim, edge, packed)(c);
        }
        if (heads > 2) return pick_of_slots<T, F, W, 4>(heads, dim, edge, packed)(c);
        if (heads > 1) return pick_of_slots<T, F, W, 2>(heads, dim, edge, packed)(c);
    }
    pick_of_slots<T, F, W, 1>(heads, dim, edge, packed)(c);
}

constexpr int kAllVectors = 8;  // of a row: it has one head

// Vectors of a row that are added up at a time: as many as there are registers for.
constexpr int most_vectors(bool edge) { return edge ? 4 : 8; }

template <class T, int W, int OF, bool EDGE, int NC = most_vectors(EDGE)>
void run_totals(const TotalsCall<T> &c) {
    if constexpr (NC > 1) {
        if (c.width <= (NC - 1) * W) return run_totals<T, W, OF, EDGE, NC - 1>(c);
    }
    totals<T, W, NC, OF, EDGE>(c);
}

// Totals of adjacent heads, or of one.
template <class T, int OF, bool EDGE>
void row_totals(TotalsCall<T> c, int heads, int dim) {
    constexpr int W = lanes_of<T>(), most = most_vectors(EDGE) * W;
    c.heads = heads;
    c.dim = dim;
    c.column = 0;
    for (int passes = (heads * dim + most - 1) / most; passes; --passes, c.column += c.width) {
        const int left = heads * dim - c.column, vectors = (left + W - 1) / W;
        c.width = smaller((vectors + passes - 1) / passes * W, left);
        run_totals<T, W, OF, EDGE>(c);
        c.coming.bytes = 0;  // the first of several has asked for whole rows
    }
}

// A power of two of adjacent heads that have whole vectors each, the most that there are registers for.
template <class T>
Totals<T> pick_even_totals(int heads, int dim) {
    constexpr int W = lanes_of<T>();
    if (heads == 8 && dim == W) return totals<T, W, 8, 1, false>;
    if (heads == 4 && dim == W) return totals<T, W, 4, 1, false>;
    if (heads == 2 && dim == W) return totals<T, W, 2, 1, false>;
    if (heads == 4 && dim == 2 * W) return totals<T, W, 8, 2, false>;
    if (heads == 2 && dim == 2 * W) return totals<T, W, 4, 2, false>;
    if (heads == 2 && dim == 4 * W) return totals<T, W, 8, 4, false>;
    return nullptr;
}

template <class T>
void all_totals(TotalsCall<T> c, int heads, int64_t width) {
    const int dim = int(width);
    if constexpr (sizeof(T) != 8) {
        if (heads > 1 && c.yh == dim && !c.z) {
            if (Totals<T> found = pick_even_totals<T>(heads, dim)) {
                c.heads = heads;
                c.dim = dim;
                c.column = 0;
                c.width = heads * dim;
                return found(c);
            }
        }
        if constexpr (kWidth > 4) {
            if (heads > 1 && c.yh == dim && !c.z) return row_totals<T, 0, false>(c, heads, dim);
            if (heads > 1 && c.yh == dim && c.zh == dim) return row_totals<T, 0, true>(c, heads, dim);
        }
    }
    for (int h = 0; h < heads; ++h) {
        if (c.z) {
            row_totals<T, kAllVectors, true>(c, 1, dim);
        } else {
            row_totals<T, kAllVectors, false>(c, 1, dim);
        }
        c.p += 1;
        if (c.scale) c.scale += 1;
        c.y += c.yh;
        if (c.z) c.z += c.zh;
        if (c.out) c.out += c.out_head;
        if (c.wide) c.wide += c.out_head;
        if (c.sum) c.sum += c.sum_head;
        if (c.yh == 0 || c.yh == dim) c.coming.bytes = 0;  // asked for already
    }
}

// --- Heads that are worked on together --------------------------------------------------------

// Neighbours in memory, or heads that share a key, as many as fit into the registers: all of them, or a
// power of two, of which the last group has what is left.
struct Groups {
    int64_t span;   // heads that may be together
    int64_t most;   // heads in a group
    int64_t each;   // groups in a span
    int64_t count;  // groups
    int64_t at_once = 1;      // groups that are worked on at each block of edges, before the next block
    int64_t heads_at_once;    // their heads, or as if all groups were; decides how long blocks are

    Groups(int64_t heads, int64_t span_, int64_t fit) : span(span_), most(1) {
        if (span <= fit) {
            most = span;
        } else {
            while (2 * most <= fit) most *= 2;
        }
        each = (span + most - 1) / most;
        count = heads / span * each;
        heads_at_once = most;
    }
    int64_t first(int64_t group) const { return group / each * span + group % each * most; }
    int size(int64_t group) const {
        return int(smaller(most, span - group % each * most));
    }

    // A cell works on one task for `at_once` groups of one batch.
    int64_t cells(int64_t batch) const { return batch * (count / at_once); }
};

// A number that is known when the kernels are compiled.
template <int N>
struct Count {
    constexpr operator int() const { return N; }
};

// Heads that are not adjacent come one after the other where their tables are too large to stay near.
template <class T>
inline Groups groups_of(int64_t heads, int64_t share, int64_t dim, bool together) {
    if (sizeof(T) == 8 || !together) return Groups(heads, 1, 1);
    constexpr int64_t lanes = lanes_of<T>(), most = kHeads < lanes ? kHeads : lanes;
    const int64_t fit = smaller<int64_t>(8 * lanes / dim, most);
    return Groups(heads, share > 1 ? share : heads, larger<int64_t>(fit, 1));
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

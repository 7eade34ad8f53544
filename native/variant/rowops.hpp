// The two kernels everything is made of, on a block of edges:
//
//   products:  s[e, h]   = sum_d f(x[e, h, d], y[e, h, d])     one number for each edge and head
//   totals:    z[r, h, :] = sum_{e in row r} p[e, h] y[e, h, :]   one vector for each row and head
//
// x and y are given by an offset for each edge and a stride for each head, so the same code reads
// keys by target, queries by source, and edge features.
#pragma once

#include "block.hpp"

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
    int count;
    const T *x, *y, *z;              // z: edge features added to y, or null
    const int64_t *xo, *yo, *zo;
    int64_t xh, yh, zh;              // head strides
    const T *a;                      // vector of GATv2 [HC, dim]
    int64_t ah;
    const int32_t *head;             // which head's vector each edge reads, where that differs
    int chunks;                      // vectors in a row
    Accumulate<T> slope;
    Accumulate<T> *out;              // [count + kSpill, HC]
    Coming<T> coming;
};

// Whether a tensor of so many rows is larger than what stays near a core.
template <class T>
inline bool is_far(int64_t rows, int64_t heads, int64_t dim) {
    return rows * heads * dim * int64_t(sizeof(T)) > (2 << 20);
}

// With NC vectors in a row and more than one head, the heads are adjacent: strides are constants.
template <int W, int HC, int NC>
inline int64_t step(int64_t given) {
    return HC > 1 && NC ? W * NC : given;
}

template <class T, class F, int W, int HC, int NC, bool EDGE>
void products(const ProductsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    constexpr int kEdges = HC >= W ? 1 : W / HC;  // edges for one or more vectors of sums
    constexpr int kSums = kEdges * HC / W;
    const int chunks = NC ? NC : c.chunks;
    const V slope = splat<A, W>(c.slope);
    const int64_t xh = step<W, HC, NC>(c.xh), yh = step<W, HC, NC>(c.yh);
    for (int e = 0; e < c.count; e += kEdges) {
        V part[kEdges * HC];
#pragma GCC unroll 16
        for (int k = 0; k < kEdges; ++k) {
            c.coming(e + k);
            const T *x = c.x + c.xo[e + k], *y = c.y + c.yo[e + k];
            const T *z = EDGE ? c.z + c.zo[e + k] : nullptr;
#pragma GCC unroll 8
            for (int h = 0; h < HC; ++h) {
                V sum = {};
#pragma GCC unroll 4
                for (int i = 0; i < chunks; ++i) {
                    V yi = load<W>(y + h * yh + i * W);
                    if constexpr (EDGE) yi += load<W>(z + h * c.zh + i * W);
                    V a = {};
                    if constexpr (__is_same(F, LeakyProduct)) {
                        a = load<W>(c.a + (h + c.head[e + k]) * c.ah + i * W);
                    }
                    sum = F::fused(load<W>(x + h * xh + i * W), yi, a, sum, slope);
                }
                part[k * HC + h] = sum;
            }
        }
#pragma GCC unroll 8
        for (int s = 0; s < kSums; ++s) {
            store<W>(c.out + e * HC + s * W, folded<A, W>(part + s * W));
        }
    }
}

// Eight adjacent heads of eight channels, where a vector holds two heads.
template <class T, class F>
void products_8x8(const ProductsCall<T> &c) {
    using V = Vec<float, 16>;
    using L = CountLanes<16>::type;
    const V slope = splat<float, 16>(c.slope);
    for (int e = 0; e < c.count; e += 2) {
        V part[2][4];
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            c.coming(e + k);
            const T *x = c.x + c.xo[e + k], *y = c.y + c.yo[e + k];
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                V a = {};
                if constexpr (__is_same(F, LeakyProduct)) a = load<16>(c.a + 16 * i);
                part[k][i] = F::fused(load<16>(x + 16 * i), load<16>(y + 16 * i), a, V{}, slope);
            }
        }
        // In each quarter of a vector one number for each of the four vectors of an edge, ...
        V first = fold_lanes<16, 2>(fold_lanes<16, 1>(part[0][0], part[0][1], L{}),
                                    fold_lanes<16, 1>(part[0][2], part[0][3], L{}), L{});
        V second = fold_lanes<16, 2>(fold_lanes<16, 1>(part[1][0], part[1][1], L{}),
                                     fold_lanes<16, 1>(part[1][2], part[1][3], L{}), L{});
        // ... then the even heads of an edge before its odd heads.
        V all = fold_lanes<16, 4>(first, second, L{});
        store<16>(c.out + e * 8, __builtin_shufflevector(all, all, 0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9,
                                                         13, 10, 14, 11, 15));
    }
}

template <class T>
struct TotalsCall {
    const Block *block;
    const Accumulate<T> *p;          // [count, HC]
    const Accumulate<T> *scale;      // [rows, HC]: of whole rows, or null
    const T *y, *z;                  // z: edge features added to y, or null
    const int64_t *yo, *zo;
    int64_t yh, zh;
    int column;                      // first channel
    int columns;                     // channels of the output that count
    T *out;                          // whole rows: written
    Accumulate<T> *wide;             // instead of `out`, where the rows are kept exact
    int64_t out_row, out_head;
    Accumulate<T> *sum;              // a part of one row: added to, [HC, sum_head]; or null
    int64_t sum_head;
    Coming<T> coming;
};

template <class T, int W>
EDGEWISE_INLINE void store_some(T *to, Vec<Accumulate<T>, W> v, int count) {
    if (count >= W) {
        store<W>(to, v);
    } else {
        for (int i = 0; i < count; ++i) narrow(v[i], to + i);
    }
}

template <class T, int W, int HC, int NC, bool EDGE, bool PACKED = false>
void totals(const TotalsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    const Block &b = *c.block;
    const T *base = c.y + c.column;
    const int64_t yh = PACKED ? W * NC : c.yh;
    for (int r = 0; r < b.rows; ++r) {
        V acc[HC * NC];
        for (int i = 0; i < HC * NC; ++i) acc[i] = V{};
        for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
            c.coming(e);
            const T *y = base + c.yo[e];
            const T *z = EDGE ? c.z + c.zo[e] + c.column : nullptr;
            for (int h = 0; h < HC; ++h) {
                const A p = c.p[e * HC + h];
                for (int i = 0; i < NC; ++i) {
                    V yi = load<W>(y + h * yh + i * W);
                    if constexpr (EDGE) yi += load<W>(z + h * c.zh + i * W);
                    acc[h * NC + i] += p * yi;
                }
            }
        }
        if (c.scale) {
            for (int h = 0; h < HC; ++h) {
                for (int i = 0; i < NC; ++i) acc[h * NC + i] *= c.scale[r * HC + h];
            }
        }
        for (int h = 0; h < HC; ++h) {
            for (int i = 0; i < NC; ++i) {
                const int column = c.column + i * W;
                if (c.sum) {
                    A *to = c.sum + h * c.sum_head + column;
                    store<W>(to, load<W>(to) + acc[h * NC + i]);
                } else {
                    const int64_t to = b.row[r] * c.out_row + h * c.out_head + column;
                    if (c.wide) {
                        store_some<A, W>(c.wide + to, acc[h * NC + i], c.columns - column);
                    } else {
                        store_some<T, W>(c.out + to, acc[h * NC + i], c.columns - column);
                    }
                }
            }
        }
    }
}

// The weights of two neighbouring heads, eight lanes each.
template <int H>
inline Vec<float, 16> of_two_heads(const float *p) {
    Vec<float, 8> all = load<8>(p);
    return __builtin_shufflevector(all, all, H, H, H, H, H, H, H, H, H + 1, H + 1, H + 1, H + 1,
                                   H + 1, H + 1, H + 1, H + 1);
}

// Eight adjacent heads of eight channels, where a vector holds two heads.
template <class T>
void totals_8x8(const TotalsCall<T> &c) {
    using V = Vec<float, 16>;
    const Block &b = *c.block;
    for (int r = 0; r < b.rows; ++r) {
        V acc[4] = {};
        for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
            c.coming(e);
            const T *y = c.y + c.yo[e];
            acc[0] += load<16>(y) * of_two_heads<0>(c.p + e * 8);
            acc[1] += load<16>(y + 16) * of_two_heads<2>(c.p + e * 8);
            acc[2] += load<16>(y + 32) * of_two_heads<4>(c.p + e * 8);
            acc[3] += load<16>(y + 48) * of_two_heads<6>(c.p + e * 8);
        }
        if (c.scale) {
            acc[0] *= of_two_heads<0>(c.scale + r * 8);
            acc[1] *= of_two_heads<2>(c.scale + r * 8);
            acc[2] *= of_two_heads<4>(c.scale + r * 8);
            acc[3] *= of_two_heads<6>(c.scale + r * 8);
        }
        const int64_t to = b.row[r] * c.out_row;
        if (!c.sum && !c.wide && c.out_head == 8 && c.columns == 8) {
            for (int i = 0; i < 4; ++i) store<16>(c.out + to + 16 * i, acc[i]);
            continue;
        }
        for (int h = 0; h < 8; ++h) {
            for (int i = 0; i < c.columns; ++i) {
                const float x = acc[h / 2][h % 2 * 8 + i];
                if (c.sum) {
                    c.sum[h * c.sum_head + i] += x;
                } else if (c.wide) {
                    c.wide[to + h * c.out_head + i] = x;
                } else {
                    narrow(x, c.out + to + h * c.out_head + i);
                }
            }
        }
    }
}

// --- Choosing an instance -------------------------------------------------------------------

// Vectors of this many lanes: whole vectors of the machine, or halves of them.
template <class T>
inline int lanes_for(int64_t dim) {
    constexpr int full = int(kWidth * sizeof(float) / sizeof(Accumulate<T>));
    return dim % full == 0 ? full : full / 2;
}

template <class T>
using Products = void (*)(const ProductsCall<T> &);
template <class T>
using Totals = void (*)(const TotalsCall<T> &);

template <class T, class F, int W, int HC>
Products<T> pick_products_chunks(int64_t chunks, bool edge, bool packed) {
    if (edge) return products<T, F, W, HC, 0, true>;
    if (HC > 1 && !packed) return products<T, F, W, HC, 0, false>;
    if constexpr (sizeof(T) != 8) {
        if (chunks == 1) return products<T, F, W, HC, 1, false>;
        if constexpr (HC <= 4) {
            if (chunks == 2) return products<T, F, W, HC, 2, false>;
        }
        if constexpr (HC <= 2) {
            if (chunks == 4) return products<T, F, W, HC, 4, false>;
        }
    }
    return products<T, F, W, HC, 0, false>;
}

template <class T, class F, int W>
Products<T> pick_products_heads(int heads, int64_t chunks, bool edge, bool packed) {
    if constexpr (sizeof(T) != 8) {
        if (heads == 8) return pick_products_chunks<T, F, W, 8>(chunks, edge, packed);
        if (heads == 4) return pick_products_chunks<T, F, W, 4>(chunks, edge, packed);
        if (heads == 2) return pick_products_chunks<T, F, W, 2>(chunks, edge, packed);
    }
    return pick_products_chunks<T, F, W, 1>(chunks, edge, packed);
}

template <class T, class F>
void all_products(const ProductsCall<T> &c, int heads, int64_t dim) {
    constexpr int full = int(kWidth * sizeof(float) / sizeof(Accumulate<T>));
    const int lanes = lanes_for<T>(dim);
    const bool edge = c.z != nullptr, packed = c.xh == dim && c.yh == dim;
    if (lanes == full) {
        pick_products_heads<T, F, full>(heads, dim / lanes, edge, packed)(c);
    } else if constexpr (full > 8) {  // dims are multiples of 8
        if (dim == 8 && heads == 8 && packed && !edge) return products_8x8<T, F>(c);
        pick_products_heads<T, F, full / 2>(heads, dim / lanes, edge, packed)(c);
    }
}

template <class T, int W, int HC, bool EDGE>
Totals<T> totals_of_chunks(int chunks) {
    if constexpr (HC == 1) {
        if (chunks == 8) return totals<T, W, HC, 8, EDGE>;
    }
    if constexpr (HC <= 2) {
        if (chunks == 4) return totals<T, W, HC, 4, EDGE>;
    }
    if constexpr (HC <= 4) {
        if (chunks == 2) return totals<T, W, HC, 2, EDGE>;
    }
    return totals<T, W, HC, 1, EDGE>;
}

template <class T, int W, int HC>
Totals<T> pick_totals_chunks(int chunks, bool edge, bool packed) {
    if constexpr (HC > 1 && HC <= 8) {  // one tile of adjacent heads fills the registers
        constexpr int NC = 8 / HC;
        if (packed && chunks == NC) return totals<T, W, HC, NC, false, true>;
    }
    return edge ? totals_of_chunks<T, W, HC, true>(chunks) : totals_of_chunks<T, W, HC, false>(chunks);
}

template <class T, int W>
Totals<T> pick_totals_heads(int heads, int chunks, bool edge, bool packed) {
    if constexpr (sizeof(T) != 8) {
        if (heads == 8) return pick_totals_chunks<T, W, 8>(chunks, edge, packed);
        if (heads == 4) return pick_totals_chunks<T, W, 4>(chunks, edge, packed);
        if (heads == 2) return pick_totals_chunks<T, W, 2>(chunks, edge, packed);
    }
    return pick_totals_chunks<T, W, 1>(chunks, edge, packed);
}

// Totals over all channels: as many at a time as there are registers for.
template <class T>
void all_totals(TotalsCall<T> c, int heads, int64_t dim) {
    constexpr int full = int(kWidth * sizeof(float) / sizeof(Accumulate<T>));
    const int lanes = lanes_for<T>(dim), chunks = int(dim / lanes);
    const bool packed = c.yh == dim && !c.z;
    if constexpr (full == 16 && sizeof(T) != 8) {
        if (dim == 8 && heads == 8 && packed) return totals_8x8<T>(c);
    }
    for (int done = 0; done < chunks;) {
        int take = 8 / heads;
        while (take > chunks - done) take /= 2;
        const bool one_tile = packed && take == chunks;
        c.column = done * lanes;
        if (lanes == full) {
            pick_totals_heads<T, full>(heads, take, c.z != nullptr, one_tile)(c);
        } else if constexpr (full > 8) {
            pick_totals_heads<T, full / 2>(heads, take, c.z != nullptr, one_tile)(c);
        }
        c.coming.bytes = 0;  // the first of several has asked for whole rows
        done += take;
    }
}

// Heads that are worked on together: neighbours in memory, within 8 vectors.
template <class T>
inline int heads_together(int64_t heads, int64_t share, int64_t dim, bool adjacent) {
    if (sizeof(T) == 8 || !adjacent) return 1;
    const int64_t chunks = (dim + lanes_for<T>(dim) - 1) / lanes_for<T>(dim);
    int together = kHeads;
    while (together > 1 && (heads % together || together * chunks > 8 ||
                            (share > 1 && share % together))) {
        together /= 2;
    }
    return together;
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

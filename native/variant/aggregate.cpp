// Aggregation: sums and maxima of sources, and products of the rows at both ends of an edge.
//
// Channels are worked on in tiles of at most 8 vectors, so a row is added up in registers. The last
// vector of a row may have fewer channels than lanes: it is loaded and stored by `Partial`, so rows
// need no padding. The gradient of a sum is a sum over the reversed rows.

#include <stdlib.h>

#include "../parallel.hpp"
#include "dtypes.hpp"
#include "kernels.hpp"
#include "partial.hpp"
#include "rowops.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kVectors = 8;                // most vectors at a time
constexpr int kFewVectors = 4;             // the same where there is a second vector of integers
constexpr int kTile = kVectors * kWidth;   // most channels at a time

template <class T>
constexpr int kLanes = int(kWidth * sizeof(float) / sizeof(Accumulate<T>));

template <class A>
struct Scratch {
    Block block;
    int64_t column_at[kEntries + kKnown];
    alignas(64) A p[kEntries + kSpill];
    int32_t id[kEntries];
    alignas(64) A sum[kTile];
    alignas(64) int32_t winner[kTile];
    alignas(64) A other[kTile];
    alignas(64) int32_t other_winner[kTile];
};

// --- Loops over the vectors of a row ------------------------------------------------------------

// NC vectors of W lanes; with PART, the last one has fewer elements in memory.
template <class T, int W, int NC, bool PART>
struct RowOf {
    using V = Vec<Accumulate<T>, W>;
    const Partial<T, W> last;

    EDGEWISE_INLINE explicit RowOf(int width) : last(width - (NC - 1) * W) {}

    EDGEWISE_INLINE V load(const T *row, int i) const {
        if constexpr (PART) {
            if (i == NC - 1) return last.load(row + i * W);
        }
        return edgewise::EDGEWISE_VARIANT::load<W>(row + i * W);
    }
    EDGEWISE_INLINE void store(T *row, int i, V v) const {
        if constexpr (PART) {
            if (i == NC - 1) return last.store(row + i * W, v);
        }
        edgewise::EDGEWISE_VARIANT::store<W>(row + i * W, v);
    }
};

template <class T>
struct SumsCall {
    const edgewise_rows &rows;
    const T *y;
    int64_t y_row;
    const Accumulate<T> *weight;     // by edge, or null
    int64_t weight_row;
    int width;                       // channels
    T *out;
    int64_t out_row;
    int ask;                         // bytes of a row that is asked for; 0 for none
    bool mean;                       // over the number of edges

    // Ask for the rows of the edges to come, as `Coming` does.
    EDGEWISE_INLINE void prefetch(int64_t edge, int64_t num_edges) const {
        constexpr int line = 64 / int(sizeof(T));
        const int64_t first = smaller(edge + kAhead + kFirst, num_edges - 1);
        const int64_t rest = smaller(edge + kAhead, num_edges - 1);
        edgewise::EDGEWISE_VARIANT::ask(y + rows.indices[first] * y_row, 1);
        edgewise::EDGEWISE_VARIANT::ask(y + rows.indices[rest] * y_row + line, ask - 64);
    }
};

constexpr int kPart = 256;  // edges that are added up before the sum is added to that of the others

// The sum of a row's edges. Where a row has so few vectors that each addition would wait for the one
// before, every other edge is added to a sum of its own. The order follows from the row alone.
template <class T, int W, int NC, bool PART>
EDGEWISE_INLINE void sum_of_edges(const SumsCall<T> &c, const RowOf<T, W, NC, PART> &row,
                                  int64_t begin, int64_t end, Vec<Accumulate<T>, W> *sum) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    constexpr int kChains = NC <= 2 ? 2 : 1;
    const int32_t *indices = c.rows.indices, *edge = c.rows.edge;
    const int64_t num_edges = c.ask ? c.rows.indptr[c.rows.rows] : 0;
    auto add = [&](int64_t e, V *acc) __attribute__((always_inline)) {
        if (c.ask) c.prefetch(e, num_edges);
        const T *y = c.y + indices[e] * c.y_row;
        if (c.weight) {
            const A p = c.weight[(edge ? edge[e] : e) * c.weight_row];
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) acc[i] += p * row.load(y, i);
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) acc[i] += row.load(y, i);
        }
    };
    for (int i = 0; i < NC; ++i) sum[i] = V{};
    for (int64_t e = begin; e < end;) {
        const int64_t last = smaller(end, e + kPart);
        V acc[kChains][NC];
        for (int k = 0; k < kChains; ++k) {
            for (int i = 0; i < NC; ++i) acc[k][i] = V{};
        }
        for (; e + kChains <= last; e += kChains) {
#pragma GCC unroll 2
            for (int k = 0; k < kChains; ++k) add(e + k, acc[k]);
        }
        for (; e < last; ++e) add(e, acc[0]);
        for (int i = 0; i < NC; ++i) {
            if constexpr (kChains == 2) acc[0][i] += acc[1][i];
            sum[i] += acc[0][i];
        }
    }
}

// What each edge of a row counts in its mean.
template <class T>
Accumulate<T> share_of_edge(int64_t edges) {
    return edges ? 1 / Accumulate<T>(edges) : Accumulate<T>(0);
}

// The rows of a task; or of a piece of a row, the sum into `part`, in whole vectors.
template <class T, int W, int NC, bool PART>
void sums(const SumsCall<T> &c, const int64_t *task, Accumulate<T> *part) {
    const RowOf<T, W, NC, PART> row(c.width);
    Vec<Accumulate<T>, W> sum[NC];
    if (task[4] >= 0) {
        sum_of_edges(c, row, task[2], task[3], sum);
        for (int i = 0; i < NC; ++i) store<W>(part + i * W, sum[i]);
        return;
    }
    for (int64_t r = task[0]; r < task[1]; ++r) {
        const int64_t begin = c.rows.indptr[r], end = c.rows.indptr[r + 1];
        sum_of_edges(c, row, begin, end, sum);
        if (c.mean) {
            const Accumulate<T> share = share_of_edge<T>(end - begin);
            for (int i = 0; i < NC; ++i) sum[i] *= share;
        }
        T *out = c.out + (c.rows.order ? c.rows.order[r] : r) * c.out_row;
        for (int i = 0; i < NC; ++i) row.store(out, i, sum[i]);
    }
}

template <class T>
struct Whole {  // integers as wide as the numbers of a sum
    using type = int32_t;
};
template <>
struct Whole<double> {
    using type = int64_t;
};
template <class T, int W>
using Numbers = Vec<typename Whole<Accumulate<T>>::type, W>;

// The edges that won, of W channels or of the last of a row.
template <class T, int W, bool PART>
EDGEWISE_INLINE Numbers<T, W> load_winners(const int32_t *from, int count) {
    const float *bits = reinterpret_cast<const float *>(from);  // only moved
    const auto v = PART ? load_first<W>(bits, count) : load<W>(bits);
    return __builtin_convertvector((bits_as<Vec<int32_t, W>>(v)), Numbers<T, W>);
}

template <class T>
struct BestsCall {
    const Block *block;
    const Accumulate<T> *p;
    const T *y;
    const int64_t *yo;
    const int32_t *id;               // of each entry: its edge
    int width;
    Accumulate<T> *top;              // of one row, in whole vectors
    int32_t *winner;
    Coming<T> coming;
};

// The largest message of a row, and whose it is: the first of equals wins; NaN wins over numbers, the
// first NaN over the others. The row has entries.
template <class T, int W, int NC, bool PART>
void bests(const BestsCall<T> &c, int begin, int end) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    using N = Numbers<T, W>;
    const RowOf<T, W, NC, PART> row(c.width);
    V top[NC];
    N winner[NC];
    for (int i = 0; i < NC; ++i) {
        top[i] = c.p[begin] * row.load(c.y + c.yo[begin], i);
        winner[i] = N{} + c.id[begin];
    }
    c.coming(begin);
    for (int e = begin + 1; e < end; ++e) {
        c.coming(e);
        const T *y = c.y + c.yo[e];
        const A p = c.p[e];
        const N id = N{} + c.id[e];
#pragma GCC unroll 4
        for (int i = 0; i < NC; ++i) {
            const V x = p * row.load(y, i);
            const auto won = ~(x <= top[i]) & (top[i] == top[i]);
            top[i] = select(won, x, top[i]);
            winner[i] = select(won, id, winner[i]);
        }
    }
    for (int i = 0; i < NC; ++i) {
        store<W>(c.top + i * W, top[i]);
        const auto small = __builtin_convertvector(winner[i], Vec<int32_t, W>);
        memcpy(c.winner + i * W, &small, sizeof small);
    }
}

template <class T>
struct WonCall {
    const Block *block;
    const Accumulate<T> *p;
    const T *y;
    const int64_t *yo;
    const int32_t *id;
    const int32_t *winner;           // first channel of row 0
    int64_t winner_row;
    int width;
    Accumulate<T> *sum;              // of one row: added to, in whole vectors
    Coming<T> coming;
};

// The sum of what the edges of a row have won.
template <class T, int W, int NC, bool PART>
void wins(const WonCall<T> &c, int begin, int end) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    const RowOf<T, W, NC, PART> row(c.width);
    const Block &b = *c.block;
    V sum[NC];
    for (int i = 0; i < NC; ++i) sum[i] = V{};
    for (int e = begin; e < end; ++e) {
        c.coming(e);
        if (c.coming.bytes) {
            ask(c.winner + b.column[e + kAhead] * c.winner_row, c.width * int(sizeof(int32_t)));
        }
        const T *y = c.y + c.yo[e];
        const int32_t *winner = c.winner + b.column[e] * c.winner_row;
        const A p = c.p[e];
        const auto id = Numbers<T, W>{} + c.id[e];
#pragma GCC unroll 4
        for (int i = 0; i < NC; ++i) {
            const auto ids = PART && i == NC - 1
                ? load_winners<T, W, true>(winner + i * W, row.last.count)
                : load_winners<T, W, false>(winner + i * W, W);
            sum[i] += select(ids == id, p * row.load(y, i), V{});
        }
    }
    for (int i = 0; i < NC; ++i) {
        A *to = c.sum + i * W;
        store<W>(to, load<W>(to) + sum[i]);
    }
}

// One number for each entry: the sum over the channels of x[row] * y[column].
template <class T>
struct DotsCall {
    int count;
    const T *x, *y;
    const int64_t *xo, *yo;
    int width;                       // channels
    Accumulate<T> *out;              // [count + kSpill]
    bool add;                        // to what is there
    Coming<T> coming;
};

template <class T, int W, int NC, bool PART>
void dots(const DotsCall<T> &c) {
    using A = Accumulate<T>;
    using V = Vec<A, W>;
    const RowOf<T, W, NC, PART> row(c.width);
    for (int e = 0; e < c.count; e += W) {
        V part[W];
#pragma GCC unroll 4
        for (int k = 0; k < W; ++k) {
            c.coming(e + k);
            const T *x = c.x + c.xo[e + k], *y = c.y + c.yo[e + k];
            V sum = {};
#pragma GCC unroll 8
            for (int i = 0; i < NC; ++i) sum += row.load(x, i) * row.load(y, i);
            part[k] = sum;
        }
        V all = folded<A, W>(part);
        if (c.add) all += load<W>(c.out + e);
        store<W>(c.out + e, all);
    }
}

// The instance for a width of at most kVectors whole vectors: `Of` names the loop.
template <class T, int W, int NC, template <class, int, int, bool> class Of>
typename Of<T, W, NC, false>::type pick_vectors(int vectors, bool part) {
    if constexpr (NC > 1) {
        if (vectors < NC) return pick_vectors<T, W, NC - 1, Of>(vectors, part);
    }
    return part ? Of<T, W, NC, true>::loop : Of<T, W, NC, false>::loop;
}
template <class T, int W, int NC, bool PART>
struct SumsOf {
    using type = void (*)(const SumsCall<T> &, const int64_t *, Accumulate<T> *);
    static constexpr type loop = sums<T, W, NC, PART>;
};
template <class T, int W, int NC, bool PART>
struct BestsOf {
    using type = void (*)(const BestsCall<T> &, int, int);
    static constexpr type loop = bests<T, W, NC, PART>;
};
template <class T, int W, int NC, bool PART>
struct WinsOf {
    using type = void (*)(const WonCall<T> &, int, int);
    static constexpr type loop = wins<T, W, NC, PART>;
};
template <class T, int W, int NC, bool PART>
struct DotsOf {
    using type = void (*)(const DotsCall<T> &);
    static constexpr type loop = dots<T, W, NC, PART>;
};

// Vectors of the machine, or of half as many lanes where one of those is enough.
template <class T, int MOST, template <class, int, int, bool> class Of>
typename Of<T, kLanes<T>, 1, false>::type pick_loop(int width) {
    constexpr int full = kLanes<T>, half = full / 2;
    if constexpr (half >= 4) {
        if (width <= half) return pick_vectors<T, half, 1, Of>(1, width < half);
    }
    return pick_vectors<T, full, MOST, Of>((width + full - 1) / full, width % full != 0);
}

inline bool is_sum(const edgewise_aggregate &call) {
    return call.reduce == EDGEWISE_SUM || call.reduce == EDGEWISE_MEAN;
}

// --- Sums and maxima of rows ----------------------------------------------------------------------

template <class T>
struct Tile {
    using A = Accumulate<T>;
    const edgewise_aggregate &call;
    int64_t batch;
    int column, width;   // first channel, channels
    A *partial;          // [slots, batch, channels]
    int32_t *winners;    // the same, of a maximum
    Scratch<A> &s;

    const T *values() const { return at<T>(call.value, batch, 0) + column; }
    T *out_row(int64_t row) const {
        return at_mutable<T>(call.out, batch, 0) + row * call.out.row + column;
    }
    int32_t *winner_row(int64_t row) const {
        const int64_t rows = call.reduce == EDGEWISE_WON ? call.rows.columns : call.rows.rows;
        return call.winner + (batch * rows + row) * call.channels + column;
    }

    void run(const int64_t *task) {
        if (is_sum(call)) return sums_of_rows(task);
        const int most = int(larger<int64_t>(
            32, smaller<int64_t>(kEntries, 65536 / (width * int64_t(sizeof(T))))));
        Walk walk(call.rows, task, 1, most, s.block);
        bool open = false;
        while (!walk.done()) {
            const bool whole = walk.next(s.block);
            if (!whole && !open) start();
            edge_weights();
            column_offsets(s.block, call.value, s.column_at);
            if (call.reduce == EDGEWISE_MAX) {
                maxima(whole);
            } else {
                won(whole);
            }
            if (whole) continue;
            open = !walk.finished_row();
            if (open) continue;
            if (task[4] >= 0) {
                keep(task[4]);
            } else {
                write(s.block.row[0], s.sum, s.winner);
            }
        }
    }

    void start() {
        for (int i = 0; i < kTile; ++i) s.sum[i] = 0;
        for (int i = 0; i < width; ++i) s.winner[i] = -1;
    }

    void edge_weights() {
        const Block &b = s.block;
        const int32_t *edge = call.rows.edge;
        for (int e = 0; e < b.count; ++e) {
            const int64_t place = b.place(e);
            s.id[e] = edge ? edge[place] : int32_t(place);
        }
        const A *weight = at<A>(call.weight, batch, 0);
        for (int e = 0; e < b.count; ++e) {
            s.p[e] = call.weight.data ? weight[s.id[e] * call.weight.row] : A(1);
        }
    }

    Coming<T> coming() const {
        const bool far = is_far<T>(call.rows.columns, 1, call.channels);
        return {values(), s.column_at, far ? int(width * int64_t(sizeof(T))) : 0};
    }

    void sums_of_rows(const int64_t *task) const {
        const bool far = is_far<T>(call.rows.columns, 1, call.channels);
        const SumsCall<T> c = {
            call.rows,
            values(),
            call.value.row,
            call.weight.data ? at<A>(call.weight, batch, 0) : nullptr,
            call.weight.row,
            width,
            at_mutable<T>(call.out, batch, 0) + column,
            call.out.row,
            far ? int(width * int64_t(sizeof(T))) : 0,
            call.reduce == EDGEWISE_MEAN,
        };
        A *part = task[4] >= 0 ? partial + slot_at(task[4]) : nullptr;
        pick_loop<T, kVectors, SumsOf>(width)(c, task, part);
    }

    void maxima(bool whole) {
        const Block &b = s.block;
        BestsCall<T> c = {};
        c.block = &b;
        c.p = s.p;
        c.y = values();
        c.yo = s.column_at;
        c.id = s.id;
        c.width = width;
        c.top = s.other;
        c.winner = s.other_winner;
        c.coming = coming();
        const auto loop = pick_loop<T, kFewVectors, BestsOf>(width);
        for (int r = 0; r < b.rows; ++r) {
            const int begin = b.start[r], end = b.start[r + 1];
            if (begin < end) loop(c, begin, end);
            if (whole && begin < end) {
                write(b.row[r], s.other, s.other_winner);
            } else if (whole) {
                start();
                write(b.row[r], s.sum, s.winner);
            } else if (begin < end) {
                take_better(s.other, s.other_winner);
            }
        }
    }

    static bool beats(A x, A top) { return x > top || (x != x && top == top); }

    // Maxima of later entries of the row.
    void take_better(const A *top, const int32_t *winner) const {
        for (int i = 0; i < width; ++i) {
            if (s.winner[i] >= 0 && !beats(top[i], s.sum[i])) continue;
            s.sum[i] = top[i];
            s.winner[i] = winner[i];
        }
    }

    void won(bool whole) {
        const Block &b = s.block;
        WonCall<T> c = {};
        c.block = &b;
        c.p = s.p;
        c.y = values();
        c.yo = s.column_at;
        c.id = s.id;
        c.winner = winner_row(0);
        c.winner_row = call.channels;
        c.width = width;
        c.sum = s.sum;
        c.coming = coming();
        const auto loop = pick_loop<T, kFewVectors, WinsOf>(width);
        for (int r = 0; r < b.rows; ++r) {
            if (whole) start();
            loop(c, b.start[r], b.start[r + 1]);
            if (whole) write(b.row[r], s.sum, nullptr);
        }
    }

    void write(int64_t row, const A *sum, const int32_t *winner) const {
        T *out = out_row(row);
        constexpr int lanes = kLanes<T>;
        for (int i = 0; i < width; i += lanes) {
            store_first<lanes>(out + i, load<lanes>(sum + i), width - i);
        }
        if (call.reduce != EDGEWISE_MAX || !winner) return;
        int32_t *to = winner_row(row);
        for (int i = 0; i < width; ++i) to[i] = winner[i];
    }

    int64_t slot_at(int64_t slot) const {
        const int64_t padded = (call.channels + kTile - 1) / kTile * kTile;
        return (slot * call.batch + batch) * padded + column;
    }

    void keep(int64_t slot) const {
        memcpy(partial + slot_at(slot), s.sum, sizeof(A) * size_t(width));
        if (winners) memcpy(winners + slot_at(slot), s.winner, sizeof(int32_t) * size_t(width));
    }

    void merge(const int64_t *cut) {
        const int32_t row = call.rows.order ? call.rows.order[cut[0]] : int32_t(cut[0]);
        start();
        for (int64_t slot = cut[1]; slot < cut[2]; ++slot) {
            const A *from = partial + slot_at(slot);
            if (call.reduce == EDGEWISE_MAX) {
                take_better(from, winners + slot_at(slot));
            } else {
                for (int i = 0; i < width; ++i) s.sum[i] += from[i];
            }
        }
        if (call.reduce == EDGEWISE_MEAN) {
            const int64_t *ends = call.rows.indptr + cut[0];
            const A share = share_of_edge<T>(ends[1] - ends[0]);
            for (int i = 0; i < width; ++i) s.sum[i] *= share;
        }
        write(row, s.sum, s.winner);
    }
};

template <class T>
int64_t aggregate(const edgewise_aggregate &call) {
    using A = Accumulate<T>;
    const edgewise_rows &rows = call.rows;
    // Tiles of whole vectors, as even as possible.
    const int64_t vectors = (call.channels + kLanes<T> - 1) / kLanes<T>;
    const int64_t at_once = is_sum(call) ? kVectors : kFewVectors;
    const int64_t tiles = (vectors + at_once - 1) / at_once;
    const int64_t most = (vectors + tiles - 1) / tiles * kLanes<T>;
    A *partial = nullptr;
    int32_t *winners = nullptr;
    if (rows.num_slots) {
        const int64_t padded = (call.channels + kTile - 1) / kTile * kTile;
        const size_t count = size_t(rows.num_slots * call.batch * padded);
        const bool maximum = call.reduce == EDGEWISE_MAX;
        partial = static_cast<A *>(malloc(count * (sizeof(A) + (maximum ? sizeof(int32_t) : 0))));
        if (!partial) return 1;
        if (maximum) winners = reinterpret_cast<int32_t *>(partial + count);
    }
    auto tile_of = [&](int64_t plane, Scratch<A> &scratch) {
        const int64_t column = plane % tiles * most;
        const int64_t width = smaller(most, call.channels - column);
        return Tile<T>{call, plane / tiles, int(column), int(width), partial, winners, scratch};
    };
    parallel(call.batch * tiles * rows.num_tasks, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        tile_of(cell / rows.num_tasks, scratch).run(rows.tasks + 5 * (cell % rows.num_tasks));
    });
    parallel(call.batch * tiles * rows.num_cuts, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        tile_of(cell / rows.num_cuts, scratch).merge(rows.cuts + 3 * (cell % rows.num_cuts));
    });
    free(partial);
    return 0;
}

// --- Products of the rows at both ends of each edge -------------------------------------------

template <class A>
struct EdgeScratch {
    Block block;
    int64_t row_at[kEntries + kSpill], column_at[kEntries + kKnown];
    alignas(64) A out[kEntries + kSpill];
};

// Dots over all channels, as many at a time as there are registers for.
template <class T>
void all_dots(DotsCall<T> c, int64_t channels) {
    constexpr int64_t most = kVectors * kLanes<T>;
    for (int64_t done = 0; done < channels; done += most) {
        c.width = int(smaller(most, channels - done));
        pick_loop<T, kVectors, DotsOf>(c.width)(c);
        c.x += most;
        c.y += most;
        c.add = true;
        c.coming.bytes = 0;  // the first has asked for whole rows
    }
}

// A dot product over the channels that an edge has won.
template <class T>
Accumulate<T> dot_of_won(const T *x, const T *y, const int32_t *winner, int32_t id, int64_t channels) {
    using A = Accumulate<T>;
    constexpr int W = kLanes<T>;
    const auto ids = Numbers<T, W>{} + id;
    Vec<A, W> sum = {};
    int64_t i = 0;
    for (; i + W <= channels; i += W) {
        const auto won = load_winners<T, W, false>(winner + i, W) == ids;
        sum += select(won, load<W>(x + i) * load<W>(y + i), Vec<A, W>{});
    }
    if (i < channels) {
        const int rest = int(channels - i);
        const auto won = load_winners<T, W, true>(winner + i, rest) == ids;
        const auto product = load_first<W>(x + i, rest) * load_first<W>(y + i, rest);
        sum += select(won, product, Vec<A, W>{});
    }
    A total = 0;
    for (int l = 0; l < W; ++l) total += sum[l];
    return total;
}

template <class T>
void edge_block(const edgewise_products &call, int64_t batch, EdgeScratch<Accumulate<T>> &s) {
    using A = Accumulate<T>;
    const Block &b = s.block;
    row_offsets(b, call.target, s.row_at);
    column_offsets(b, call.source, s.column_at);
    DotsCall<T> c = {};
    c.count = b.count;
    c.x = at<T>(call.target, batch, 0);
    c.y = at<T>(call.source, batch, 0);
    c.xo = s.row_at;
    c.yo = s.column_at;
    c.out = s.out;
    const bool far = is_far<T>(call.rows.columns, 1, call.channels);
    c.coming = {c.y, s.column_at, far ? int(call.channels * int64_t(sizeof(T))) : 0};
    if (!call.winner) all_dots(c, call.channels);
    A *to = at_mutable<A>(call.out, batch, 0);
    for (int e = 0; e < b.count; ++e) {
        const int32_t id =
            call.rows.edge ? call.rows.edge[b.place(e)] : int32_t(b.place(e));
        if (call.winner) {
            const int32_t *winner =
                call.winner + (batch * call.rows.rows + b.row_of[e]) * call.channels;
            s.out[e] = dot_of_won(c.x + s.row_at[e], c.y + s.column_at[e], winner, id, call.channels);
        }
        to[id * call.out.row] += s.out[e];
    }
}

template <class T>
int64_t products_of_edges(const edgewise_products &call) {
    const edgewise_rows &rows = call.rows;
    const bool shared = call.out.batch == 0;  // batches are added up in order
    const int64_t outside = shared ? 1 : call.batch, inside = shared ? call.batch : 1;
    parallel(outside * rows.num_tasks, call.threads, [&](int64_t cell) {
        EdgeScratch<Accumulate<T>> scratch;
        for (int64_t i = 0; i < inside; ++i) {
            Walk walk(rows, rows.tasks + 5 * (cell % rows.num_tasks), 1, 64, scratch.block);
            while (!walk.done()) {
                const bool whole = walk.next(scratch.block);
                edge_block<T>(call, cell / rows.num_tasks + i, scratch);
                if (!whole) walk.finished_row();
            }
        }
    });
    return 0;
}

}  // namespace

int64_t aggregate_forward(const edgewise_aggregate &call) {
    return dispatch_dtype(call.dtype, [&](auto dtype) {
        return aggregate<typename decltype(dtype)::Number>(call);
    });
}

int64_t edge_products(const edgewise_products &call) {
    return dispatch_dtype(call.dtype, [&](auto dtype) {
        return products_of_edges<typename decltype(dtype)::Number>(call);
    });
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

// Aggregation: sums and maxima of sources, and products of the rows at both ends of an edge.
//
// Channels are worked on in tiles of at most 8 vectors, so a row is added up in registers. The
// gradient of a sum is a sum over the reversed rows.

#include <stdlib.h>

#include "../parallel.hpp"
#include "kernels.hpp"
#include "rowops.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kTile = 8 * kWidth;  // most channels at a time

template <class A>
struct Scratch {
    Block block;
    int64_t column_at[kEntries + kKnown];
    alignas(64) A p[kEntries + kSpill];
    alignas(64) A sum[kTile];
    int32_t winner[kTile];
};

template <class T>
struct Tile {
    using A = Accumulate<T>;
    const edgewise_aggregate &call;
    int64_t batch;
    int column, width;   // first channel, channels with padding
    A *partial;          // [slots, batch, channels]
    int32_t *winners;    // the same, of a maximum
    Scratch<A> &s;

    int columns() const { return int(smaller<int64_t>(width, call.true_channels - column)); }
    const T *values() const { return at<T>(call.value, batch, 0) + column; }
    T *out_row(int64_t row) const {
        return at_mutable<T>(call.out, batch, 0) + row * call.out.row + column;
    }
    int32_t *winner_row(int64_t row) const {
        const int64_t rows = call.reduce == EDGEWISE_WON ? call.rows.columns : call.rows.rows;
        return call.winner + (batch * rows + row) * call.true_channels + column;
    }

    void run(const int64_t *task) {
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
            } else if (call.reduce == EDGEWISE_WON) {
                won(whole);
            } else {
                sums_of_rows(whole);
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
        for (int i = 0; i < width; ++i) s.sum[i] = 0;
        for (int i = 0; i < width; ++i) s.winner[i] = -1;
    }

    int32_t edge(int e) const {
        const int64_t place = s.block.place(e);
        return call.rows.edge ? call.rows.edge[place] : int32_t(place);
    }

    void edge_weights() {
        const Block &b = s.block;
        const A *weight = at<A>(call.weight, batch, 0);
        for (int e = 0; e < b.count; ++e) {
            s.p[e] = call.weight.data ? weight[edge(e) * call.weight.row] : A(1);
        }
    }

    Coming<T> coming() const {
        const bool far = is_far<T>(call.rows.columns, 1, call.channels);
        return {values(), s.column_at, far ? int(width * int64_t(sizeof(T))) : 0};
    }

    void sums_of_rows(bool whole) {
        TotalsCall<T> c = {};
        c.block = &s.block;
        c.p = s.p;
        c.y = values();
        c.yo = s.column_at;
        c.columns = columns();
        c.out = at_mutable<T>(call.out, batch, 0) + column;
        c.out_row = call.out.row;
        c.sum = whole ? nullptr : s.sum;
        c.sum_head = 0;
        c.coming = coming();
        all_totals<T>(c, 1, width);
    }

    // The first of equals wins; NaN wins over numbers, the first NaN over the others.
    void maxima(bool whole) {
        const Block &b = s.block;
        const Coming<T> asks = coming();
        for (int r = 0; r < b.rows; ++r) {
            if (whole) start();
            for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
                asks(e);
                const T *y = values() + s.column_at[e];
                const A p = s.p[e];
                const int32_t id = edge(e);
                for (int i = 0; i < width; ++i) {
                    const A x = p * widen(y[i]);
                    const bool won = s.winner[i] < 0 || beats(x, s.sum[i]);
                    s.sum[i] = won ? x : s.sum[i];
                    s.winner[i] = won ? id : s.winner[i];
                }
            }
            if (whole) write(b.row[r], s.sum, s.winner);
        }
    }

    static bool beats(A x, A top) { return x > top || (x != x && top == top); }

    void won(bool whole) {
        const Block &b = s.block;
        const int count = columns();
        const Coming<T> asks = coming();
        for (int r = 0; r < b.rows; ++r) {
            if (whole) start();
            for (int e = b.start[r]; e < b.start[r + 1]; ++e) {
                asks(e);
                if (asks.bytes) ask(winner_row(b.column[e + kAhead]), count * int(sizeof(int32_t)));
                const T *y = values() + s.column_at[e];
                const int32_t *winner = winner_row(b.column[e]);
                const A p = s.p[e];
                const int32_t id = edge(e);
                for (int i = 0; i < count; ++i) {
                    s.sum[i] += winner[i] == id ? p * widen(y[i]) : A(0);
                }
            }
            if (whole) write(b.row[r], s.sum, nullptr);
        }
    }

    void write(int64_t row, const A *sum, const int32_t *winner) const {
        T *out = out_row(row);
        const int count = columns();
        for (int i = 0; i < count; ++i) narrow(sum[i], out + i);
        if (call.reduce != EDGEWISE_MAX || !winner) return;
        int32_t *to = winner_row(row);
        for (int i = 0; i < count; ++i) to[i] = winner[i];
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
                const int32_t *winner = winners + slot_at(slot);
                for (int i = 0; i < width; ++i) {
                    if (s.winner[i] >= 0 && !beats(from[i], s.sum[i])) continue;
                    s.sum[i] = from[i];
                    s.winner[i] = winner[i];
                }
            } else {
                for (int i = 0; i < width; ++i) s.sum[i] += from[i];
            }
        }
        write(row, s.sum, s.winner);
    }
};

template <class T>
int64_t aggregate(const edgewise_aggregate &call) {
    using A = Accumulate<T>;
    const edgewise_rows &rows = call.rows;
    constexpr int full = lanes_of<T>();
    const int64_t most = 8 * (call.channels % full ? full / 2 : full);
    const int64_t tiles = (call.channels + most - 1) / most;
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

template <class T>
void edge_block(const edgewise_products &call, int64_t batch, EdgeScratch<Accumulate<T>> &s) {
    using A = Accumulate<T>;
    const Block &b = s.block;
    row_offsets(b, call.target, s.row_at);
    column_offsets(b, call.source, s.column_at);
    ProductsCall<T> c = {};
    c.count = b.count;
    c.x = at<T>(call.target, batch, 0);
    c.y = at<T>(call.source, batch, 0);
    c.xo = s.row_at;
    c.yo = s.column_at;
    c.out = s.out;
    const bool far = is_far<T>(call.rows.columns, 1, call.channels);
    c.coming = {c.y, s.column_at, far ? int(call.channels * int64_t(sizeof(T))) : 0};
    if (!call.winner) all_products<T, DotProduct>(c, 1, call.channels);
    A *to = at_mutable<A>(call.out, batch, 0);
    for (int e = 0; e < b.count; ++e) {
        const int32_t id =
            call.rows.edge ? call.rows.edge[b.place(e)] : int32_t(b.place(e));
        if (call.winner) {
            const T *x = c.x + s.row_at[e], *y = c.y + s.column_at[e];
            const int32_t *winner =
                call.winner + (batch * call.rows.rows + b.row_of[e]) * call.true_channels;
            A sum = 0;
            for (int64_t i = 0; i < call.true_channels; ++i) {
                sum += winner[i] == id ? A(widen(x[i])) * widen(y[i]) : A(0);
            }
            s.out[e] = sum;
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
    switch (call.dtype) {
        case EDGEWISE_FLOAT64: return aggregate<double>(call);
        case EDGEWISE_FLOAT32: return aggregate<float>(call);
        case EDGEWISE_BFLOAT16: return aggregate<BFloat16>(call);
        default: return aggregate<Float16>(call);
    }
}

int64_t edge_products(const edgewise_products &call) {
    switch (call.dtype) {
        case EDGEWISE_FLOAT64: return products_of_edges<double>(call);
        case EDGEWISE_FLOAT32: return products_of_edges<float>(call);
        case EDGEWISE_BFLOAT16: return products_of_edges<BFloat16>(call);
        default: return products_of_edges<Float16>(call);
    }
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

// A block of edges: what the kernels work on at a time, small enough to stay in the first cache.
#pragma once

#include "../edgewise.h"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {

constexpr int kEntries = 256;  // most edges in a block
constexpr int kRows = 128;     // most rows in a block
constexpr int kSpill = 16;     // entries past the end that a kernel may compute and throw away
constexpr int kAhead = 32;     // so many entries before a row is read, it is asked for,
constexpr int kFirst = 16;     // and its first line so many before that
constexpr int kKnown = kSpill + kAhead + kFirst;  // entries past the end whose columns are known
constexpr int kHeads = 8;      // most heads at a time

struct Block {
    int count;  // entries
    int rows;
    int share;                  // entries for each edge
    int64_t first;              // place of the first entry's edge in the rows
    int start[kRows + 1];       // first entry of each row
    int32_t row[kRows];         // row of the tensors
    int32_t row_of[kEntries + kSpill];  // the same, for each entry
    int32_t column[kEntries + kKnown];
    int32_t head[kEntries + kKnown];  // where heads share a key: which of them; else 0

    // In the rows, to look up what belongs to the edge.
    int64_t place(int entry) const { return first + (share == 1 ? entry : entry / share); }
};

// Walks over one task: whole rows while they fit, otherwise a piece of one row at a time.
struct Walk {
    const edgewise_rows &rows;
    int share;  // entries for each edge: heads that share a key, in the pass by source
    int limit;  // edges in a block
    int64_t row, last_row, edge, last_edge, num_edges;
    bool cut;   // the task is a piece of a row

    Walk(const edgewise_rows &r, const int64_t *task, int share_, int most, Block &b)
        : rows(r), share(share_), limit(most / share_), row(task[0]), last_row(task[1]),
          edge(task[2]), last_edge(task[3]), num_edges(r.indptr[r.rows]), cut(task[4] >= 0) {
        b.share = share;
        memset(b.head, 0, sizeof b.head);
    }

    bool done() const { return row >= last_row; }

    // Where the next block begins, to read the same edges once more.
    struct Place {
        int64_t row, edge;
    };
    Place place() const { return {row, edge}; }
    void back_to(Place place) {
        row = place.row;
        edge = place.edge;
    }

    int32_t tensor_row(int64_t r) const { return rows.order ? rows.order[r] : int32_t(r); }

    // Fill the block; true when it holds whole rows, false when it holds a part of one row.
    bool next(Block &b) {
        b.rows = 0;
        b.start[0] = 0;
        b.first = edge;
        const int64_t *indptr = rows.indptr;
        const bool within = cut || edge > indptr[row];  // some of the row is done already
        while (!within && row < last_row && b.rows < kRows) {
            const int64_t end = indptr[row + 1];
            if (end - b.first > limit) break;
            add_row(b, tensor_row(row), int(end - b.first));
            ++row;
            edge = end;
        }
        const bool whole = b.rows > 0;
        if (!whole) {
            edge = smaller(cut ? last_edge : indptr[row + 1], edge + limit);
            add_row(b, tensor_row(row), int(edge - b.first));
        }
        fill_columns(b, int(edge - b.first));
        return whole;
    }

    // Whether the part of a row that `next` gave was its last.
    bool finished_row() {
        const bool last = edge >= (cut ? last_edge : rows.indptr[row + 1]);
        if (last) ++row;
        return last;
    }

   private:
    void add_row(Block &b, int32_t id, int edges) const {
        const int end = edges * share;
        for (int e = b.start[b.rows]; e < end; ++e) b.row_of[e] = id;
        b.row[b.rows++] = id;
        b.start[b.rows] = end;
    }

    void fill_columns(Block &b, int edges) const {
        const int32_t *from = rows.indices + b.first;
        b.count = edges * share;
        // Columns of the entries to come; the last one again where the graph ends.
        const int64_t left = (num_edges - b.first) * share;
        const int all = b.count + kKnown, known = int(smaller<int64_t>(all, left));
        if (share == 1) {  // without memcpy: a graph without edges has a null pointer here
            for (int e = 0; e < known; ++e) b.column[e] = from[e];
        } else {
            for (int e = 0; e < known; ++e) b.column[e] = from[e / share];
            for (int e = 0; e < all; ++e) b.head[e] = e % share;
        }
        const int32_t column = known ? b.column[known - 1] : 0;
        for (int e = known; e < all; ++e) b.column[e] = column;
        const int32_t id = b.row[b.rows - 1];
        for (int e = b.count; e < b.count + kSpill; ++e) b.row_of[e] = id;
    }
};

inline void offsets(const int32_t *index, int count, int64_t stride, int64_t *to) {
    if (stride >> 32 == 0) {  // one multiplication of 32 bits
        const uint64_t step = uint32_t(stride);
        for (int i = 0; i < count; ++i) to[i] = int64_t(uint64_t(uint32_t(index[i])) * step);
    } else {
        for (int i = 0; i < count; ++i) to[i] = index[i] * stride;
    }
}

// Where each entry's row of a tensor starts, in elements: of its source, or of its target.
inline void column_offsets(const Block &b, const edgewise_view &view, int64_t *to) {
    const int n = b.count + kKnown;
    offsets(b.column, n, view.row, to);
    if (b.share == 1) return;
    for (int i = 0; i < n; ++i) to[i] += b.head[i] * view.head;
}
inline void row_offsets(const Block &b, const edgewise_view &view, int64_t *to) {
    offsets(b.row_of, b.count + kSpill, view.row, to);
}
// Of what belongs to the edge.
inline void edge_offsets(const Block &b, const edgewise_rows &rows, const edgewise_view &view,
                         int64_t *to) {
    for (int i = 0; i < b.count; ++i) {
        const int64_t place = b.place(i), edge = rows.edge ? rows.edge[place] : place;
        to[i] = edge * view.row + b.head[i] * view.head;
    }
    const int64_t last = b.count ? to[b.count - 1] : 0;
    for (int i = b.count; i < b.count + kSpill; ++i) to[i] = last;
}

// Rows of the entries to come, which a kernel asks for while it works: loads that nothing waits for,
// as many under way as the machine can have. The first line goes ahead, so that the page has been
// looked up when the others follow: each would hold a place while it waits for the same answer.
template <class T>
struct Coming {
    const T *from;
    const int64_t *at;  // [entries + kKnown]
    int bytes;          // of a row, in one piece; 0 to ask for nothing

    EDGEWISE_INLINE void operator()(int entry) const {
        if (!bytes) return;
        constexpr int line = 64 / int(sizeof(T));
        ask(from + at[entry + kAhead + kFirst], 1);
        ask(from + at[entry + kAhead] + line, bytes - 64);
    }
};

template <class T>
inline const T *at(const edgewise_view &view, int64_t batch, int64_t head) {
    return static_cast<const T *>(view.data) + batch * view.batch + head * view.head;
}
template <class T>
inline T *at_mutable(const edgewise_view &view, int64_t batch, int64_t head) {
    return static_cast<T *>(view.data) + batch * view.batch + head * view.head;
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

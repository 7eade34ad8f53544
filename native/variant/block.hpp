// A block of edges: what the kernels work on at a time, small enough to stay in the first cache.
#pragma once

#include "../edgewise.h"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {

constexpr int kEntries = 256;  // most edges in a block
constexpr int kRows = 128;     // most rows in a block
constexpr int kAhead = 16;     // edges between a request to memory and its use
constexpr int kSpill = 16;     // entries past the end that a kernel may compute and throw away
constexpr int kHeads = 8;      // most heads at a time

struct Block {
    int count;  // entries
    int rows;
    int ahead;                  // entries that are known past `count`, to prefetch
    int start[kRows + 1];       // first entry of each row
    int32_t row[kRows];         // row of the tensors
    int32_t row_of[kEntries];   // the same, for each entry
    int32_t column[kEntries + kSpill + kAhead];
    int32_t head[kEntries + kSpill + kAhead];  // only where heads share a key: which of them
    int64_t place[kEntries];    // in the rows, to look up what belongs to the edge
};

// Walks over one task: whole rows while they fit, otherwise a piece of one row at a time.
struct Walk {
    const edgewise_rows &rows;
    int share;  // entries for each edge: heads that share a key, in the pass by source
    int most;   // entries in a block
    int64_t row, last_row, edge, last_edge;
    bool cut;   // the task is a piece of a row

    Walk(const edgewise_rows &r, const int64_t *task, int share_, int most_)
        : rows(r), share(share_), most(most_), row(task[0]), last_row(task[1]), edge(task[2]),
          last_edge(task[3]), cut(task[4] >= 0) {}

    bool done() const { return row >= last_row; }

    int32_t tensor_row(int64_t r) const { return rows.order ? rows.order[r] : int32_t(r); }

    // Fill the block; true when it holds whole rows, false when it holds a part of one row.
    bool next(Block &b) {
        const int limit = most / share;
        int count = 0;
        b.rows = 0;
        b.start[0] = 0;
        while (!cut && row < last_row && b.rows < kRows) {
            int64_t begin = rows.indptr[row], end = rows.indptr[row + 1];
            if (count + (end - begin) > limit) break;
            int32_t id = tensor_row(row);
            b.row[b.rows++] = id;
            for (int64_t e = begin; e < end; ++e) add(b, count++, e, id);
            b.start[b.rows] = count * share;
            ++row;
            edge = end;
        }
        bool whole = b.rows > 0;
        if (!whole) {
            int64_t end = smaller(cut ? last_edge : rows.indptr[row + 1], edge + limit);
            int32_t id = tensor_row(row);
            b.row[0] = id;
            b.rows = 1;
            for (; edge < end; ++edge) add(b, count++, edge, id);
            b.start[1] = count * share;
        }
        b.count = count * share;
        look_ahead(b, count);
        return whole;
    }

    // Whether the part of a row that `next` gave was its last.
    bool finished_row() {
        bool last = edge >= (cut ? last_edge : rows.indptr[row + 1]);
        if (last) ++row;
        return last;
    }

   private:
    void add(Block &b, int i, int64_t e, int32_t id) const {
        int32_t column = rows.indices[e];
        for (int s = 0; s < share; ++s) {
            int k = i * share + s;
            b.column[k] = column;
            b.head[k] = s;
            b.row_of[k] = id;
            b.place[k] = e;
        }
    }

    void look_ahead(Block &b, int count) const {
        const int64_t edges = rows.indptr[rows.rows];
        int known = 0;
        if (share == 1) {
            for (; known < kAhead && edge + known < edges; ++known) {
                b.column[count + known] = rows.indices[edge + known];
                b.head[count + known] = 0;
            }
        }
        b.ahead = known;
        int32_t column = b.count ? b.column[b.count - 1] : 0;
        for (int k = b.count + known; k < b.count + kSpill + kAhead; ++k) {
            b.column[k] = column;
            b.head[k] = 0;
        }
    }
};

// Where each entry's row of a tensor starts, in elements: of its source, or of its target.
inline void column_offsets(const Block &b, const edgewise_view &view, int64_t *to) {
    const int n = b.count + kSpill + kAhead;
    for (int i = 0; i < n; ++i) to[i] = b.column[i] * view.row + b.head[i] * view.head;
}
inline void row_offsets(const Block &b, const edgewise_view &view, int64_t *to) {
    for (int i = 0; i < b.count; ++i) to[i] = b.row_of[i] * view.row;
    const int64_t last = b.count ? to[b.count - 1] : 0;
    for (int i = b.count; i < b.count + kSpill; ++i) to[i] = last;
}
// Of what belongs to the edge.
inline void edge_offsets(const Block &b, const edgewise_rows &rows, const edgewise_view &view,
                         int64_t *to) {
    for (int i = 0; i < b.count; ++i) {
        int64_t edge = rows.edge ? rows.edge[b.place[i]] : b.place[i];
        to[i] = edge * view.row + b.head[i] * view.head;
    }
    const int64_t last = b.count ? to[b.count - 1] : 0;
    for (int i = b.count; i < b.count + kSpill; ++i) to[i] = last;
}

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

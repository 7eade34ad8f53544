// Attention forward: scores, softmax and weighted values of a block of edges at a time.
//
// Rows that fit into a block are finished in one go. Longer rows are accumulated block after block
// with a running maximum; rows longer than a task are cut, and their parts merged in order.

#include <stdlib.h>

#include "../parallel.hpp"
#include "dtypes.hpp"
#include "kernels.hpp"
#include "scores.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

inline float logarithm(float x) { return __builtin_logf(x); }
inline double logarithm(double x) { return __builtin_log(x); }

// Largest score of entries [begin, end) for each head; NaN is passed over here and met again in
// the exponential.
template <class A, int HC>
void tops(const A *s, int begin, int end, A *top) {
    if constexpr (HC == 1) {
        A m = top[0];
        for (int e = begin; e < end; ++e) m = s[e] > m ? s[e] : m;
        top[0] = m;
    } else {
        auto m = load<HC>(top);
        for (int e = begin; e < end; ++e) {
            auto v = load<HC>(s + e * HC);
            m = select(v > m, v, m);
        }
        store<HC>(top, m);
    }
}

template <class A, int HC>
void subtract(A *s, int begin, int end, const A *x) {
    if constexpr (HC == 1) {
        const A shift = x[0];
        for (int e = begin; e < end; ++e) s[e] -= shift;
    } else {
        const auto shift = load<HC>(x);
        for (int e = begin; e < end; ++e) store<HC>(s + e * HC, load<HC>(s + e * HC) - shift);
    }
}

template <class A, int HC>
void add_up(const A *s, int begin, int end, A *total) {
    if constexpr (HC == 1) {
        A t = 0;
        for (int e = begin; e < end; ++e) t += s[e];
        total[0] += t;
    } else {
        Vec<A, HC> t = {};
        for (int e = begin; e < end; ++e) t += load<HC>(s + e * HC);
        store<HC>(total, load<HC>(total) + t);
    }
}

template <class T>
struct Forward {
    using A = Accumulate<T>;
    const edgewise_attention &call;
    Heads heads;
    A *partial;  // [slots, batch, heads, value_dim + 2]
    Scratch<A> &s;
    Columns<T> columns;

    A *lse_at(int64_t row, int h) const {
        int64_t plane = heads.batch * call.heads + heads.head + h;
        return static_cast<A *>(call.lse) + plane * call.rows.rows + row;
    }

    // Call f with the number of slots of an edge, of which the last ones may hold no head.
    template <class F>
    void with_slots(F f) const {
        switch (heads.slots) {
            case 8: return f(Count<8>{});
            case 4: return f(Count<4>{});
            case 2: return f(Count<2>{});
            default: return f(Count<1>{});
        }
    }

    // A block of whole rows, of which `locate` was called.
    void rows_of_block() {
        score_block<T>(call, call.rows, heads, columns, s, false);
        with_slots([&](auto slots) { whole_rows<slots>(); });
    }

    void locate() { columns.locate(call, call.value, heads, s); }

    // A row that does not fit into a block, of which `walk` has given the first part.
    void long_row(Walk &walk, int64_t slot) {
        with_slots([&](auto slots) {
            constexpr int HC = slots;
            A top[HC], total[HC];
            start<HC>(top, total);
            for (bool last = false; !last;) {
                locate();
                score_block<T>(call, call.rows, heads, columns, s, false);
                part_of_row<HC>(top, total);
                last = walk.finished_row();
                if (!last) walk.next(s.block);
            }
            if (slot >= 0) {
                keep<HC>(slot, top, total);
            } else {
                finish<HC>(top, total);
            }
        });
    }

    template <int HC>
    void whole_rows() {
        Block &b = s.block;
        alignas(64) A shift[kRows * HC + kWidth], total[kRows * HC + kWidth];
        alignas(64) A inverse[kRows * HC + kWidth];
        const int n = b.rows * HC;
        for (int i = 0; i < n; ++i) shift[i] = -infinity<A>();
        for (int i = 0; i < n; ++i) total[i] = 0;
        for (int r = 0; r < b.rows; ++r) {
            A *top = shift + r * HC;
            tops<A, HC>(s.scores, b.start[r], b.start[r + 1], top);
            for (int h = 0; h < HC; ++h) top[h] = finite(top[h]);
            subtract<A, HC>(s.scores, b.start[r], b.start[r + 1], top);
        }
        exponentials(s.scores, int64_t(b.count) * HC);
        for (int r = 0; r < b.rows; ++r) {
            add_up<A, HC>(s.scores, b.start[r], b.start[r + 1], total + r * HC);
        }
        for (int i = 0; i < n; ++i) inverse[i] = total[i] == 0 ? A(0) : 1 / total[i];
        logarithms(total, n);
        for (int i = 0; i < n; ++i) {
            shift[i] = inverse[i] == 0 ? -infinity<A>() : shift[i] + total[i];
        }
        for (int h = 0; h < heads.count; ++h) {
            A *to = lse_at(0, h);
            for (int r = 0; r < b.rows; ++r) to[b.row[r]] = shift[r * HC + h];
        }
        if (call.drops) drop_weights();
        add_values(nullptr, inverse);
    }

    void drop_weights() {
        dropout_factors(call, call.rows, heads, s.block, s.factors);
        for (int i = 0; i < s.block.count * heads.slots; ++i) s.scores[i] *= s.factors[i];
    }

    // Weighted values: of whole rows to the output, of a part of a row to a sum.
    void add_values(A *sum, const A *scale) {
        TotalsCall<T> c;
        c.block = &s.block;
        c.p = s.scores;
        c.scale = scale;
        c.slots = heads.slots;
        c.y = columns.values;
        c.yh = columns.value_step;
        c.yo = s.value_at;
        c.z = nullptr;
        c.zo = s.edge_at;
        c.zh = call.edge_value.head;
        if (call.edge_value.data) {
            edge_offsets(s.block, call.rows, call.edge_value, s.edge_at);
            c.z = at<T>(call.edge_value, heads.batch, heads.head);
        }
        c.columns = int(call.true_value_dim);
        c.out = at_mutable<T>(call.out, heads.batch, heads.head);
        c.wide = call.wide_out ? at_mutable<A>(call.out, heads.batch, heads.head) : nullptr;
        c.out_row = call.out.row;
        c.out_head = call.out.head;
        c.sum = sum;
        c.sum_head = call.value_dim;
        c.coming = columns.coming_values(s, heads.count);
        all_totals<T>(c, heads.count, call.value_dim);
    }

    template <int HC>
    void start(A *top, A *total) {
        for (int h = 0; h < HC; ++h) {
            top[h] = -infinity<A>();
            total[h] = 0;
        }
        for (int i = 0; i < heads.count * call.value_dim; ++i) s.sum[i] = 0;
    }

    template <int HC>
    void part_of_row(A *top, A *total) {
        Block &b = s.block;
        A before[HC], shift[HC], factor[HC];
        for (int h = 0; h < HC; ++h) before[h] = top[h];
        tops<A, HC>(s.scores, 0, b.count, top);
        for (int h = 0; h < HC; ++h) {
            shift[h] = finite(top[h]);
            const bool first = before[h] == -infinity<A>();
            factor[h] = first ? A(0) : before[h] - shift[h];
        }
        exponentials_of<HC>(factor, before);
        subtract<A, HC>(s.scores, 0, b.count, shift);
        exponentials(s.scores, int64_t(b.count) * HC);
        for (int h = 0; h < HC; ++h) total[h] *= factor[h];
        for (int h = 0; h < heads.count; ++h) {
            if (factor[h] == 1) continue;
            for (int64_t i = 0; i < call.value_dim; ++i) s.sum[h * call.value_dim + i] *= factor[h];
        }
        add_up<A, HC>(s.scores, 0, b.count, total);
        if (call.drops) drop_weights();
        add_values(s.sum, nullptr);
    }

    // exp of the change of the maximum; 0 where nothing came before.
    template <int HC>
    static void exponentials_of(A *factor, const A *before) {
        constexpr int size = HC > kWidth ? HC : kWidth;  // whole vectors
        alignas(64) A x[size];
        for (int h = 0; h < size; ++h) x[h] = h < HC ? factor[h] : A(0);
        exponentials(x, HC);
        for (int h = 0; h < HC; ++h) factor[h] = before[h] == -infinity<A>() ? A(0) : x[h];
    }

    template <int HC>
    void finish(const A *top, const A *total) {
        const int32_t row = s.block.row[0];
        for (int h = 0; h < heads.count; ++h) {
            write_row(row, h, finite(top[h]), total[h], s.sum + h * call.value_dim);
        }
    }

    void write_row(int64_t row, int h, A shift, A total, const A *sum) const {
        const A inverse = total == 0 ? A(0) : 1 / total;
        if (call.wide_out) {
            A *out = at_mutable<A>(call.out, heads.batch, heads.head + h) + row * call.out.row;
            for (int64_t i = 0; i < call.true_value_dim; ++i) out[i] = sum[i] * inverse;
        } else {
            T *out = at_mutable<T>(call.out, heads.batch, heads.head + h) + row * call.out.row;
            for (int64_t i = 0; i < call.true_value_dim; ++i) narrow(sum[i] * inverse, out + i);
        }
        *lse_at(row, h) = total == 0 ? -infinity<A>() : shift + logarithm(total);
    }

    A *slot_at(int64_t slot, int h) const {
        int64_t plane = (slot * call.batch + heads.batch) * call.heads + heads.head + h;
        return partial + plane * (call.value_dim + 2);
    }

    template <int HC>
    void keep(int64_t slot, const A *top, const A *total) {
        for (int h = 0; h < heads.count; ++h) {
            A *to = slot_at(slot, h);
            to[0] = top[h];
            to[1] = total[h];
            memcpy(to + 2, s.sum + h * call.value_dim, sizeof(A) * size_t(call.value_dim));
        }
    }

    // Merge the parts of a row that was cut, in order.
    void merge(const int64_t *cut) {
        const int32_t row = call.rows.order ? call.rows.order[cut[0]] : int32_t(cut[0]);
        A top = -infinity<A>(), total = 0;
        for (int64_t slot = cut[1]; slot < cut[2]; ++slot) {
            top = larger(top, slot_at(slot, 0)[0]);
        }
        const A shift = finite(top);
        for (int64_t i = 0; i < call.value_dim; ++i) s.sum[i] = 0;
        for (int64_t slot = cut[1]; slot < cut[2]; ++slot) {
            const A *from = slot_at(slot, 0);
            const bool none = from[1] == 0;
            const A factor = none ? A(0) : A(__builtin_exp(double(finite(from[0]) - shift)));
            total += from[1] * factor;
            for (int64_t i = 0; i < call.value_dim; ++i) s.sum[i] += from[2 + i] * factor;
        }
        write_row(row, 0, shift, total, s.sum);
    }
};

template <class T>
struct ForwardCall {
    using A = Accumulate<T>;
    const edgewise_attention &call;
    const Groups &groups;
    A *partial;

    Forward<T> pass_of(int64_t plane, Scratch<A> &scratch) const {
        const Heads heads = heads_by_target(groups, plane, call.heads / call.kv_heads);
        return {call, heads, partial, scratch,
                Columns<T>(call, call.value, heads, call.rows.columns, groups.heads_at_once)};
    }

    // A task, for the groups of heads from `plane` on.
    void run(const int64_t *task, int64_t plane) const {
        Scratch<A> scratch;
        Block &block = scratch.block;
        const int64_t dim = larger(call.key_dim, call.value_dim);
        Walk walk(call.rows, task, 1, block_entries<T>(dim, int(groups.heads_at_once)), block);
        while (!walk.done()) {
            const Walk::Place place = walk.place();
            const bool whole = walk.next(block);
            for (int64_t i = 0; i < groups.at_once; ++i) {
                Forward<T> pass = pass_of(plane + i, scratch);
                if (whole) {
                    if (i == 0) pass.locate();
                    pass.rows_of_block();
                    continue;
                }
                if (i > 0) {
                    walk.back_to(place);
                    walk.next(block);
                }
                pass.long_row(walk, task[4]);
            }
        }
    }
};

template <class T>
int64_t forward(const edgewise_attention &call) {
    using A = Accumulate<T>;
    const edgewise_rows &rows = call.rows;
    A *partial = nullptr;
    if (rows.num_slots) {
        const int64_t size = rows.num_slots * call.batch * call.heads * (call.value_dim + 2);
        partial = static_cast<A *>(malloc(size_t(size) * sizeof(A)));
        if (!partial) return 1;
    }
    const int64_t share = call.heads / call.kv_heads;
    const Groups groups = groups_by_target<T>(call);
    const ForwardCall<T> all = {call, groups, partial};
    parallel(groups.cells(call.batch) * rows.num_tasks, call.threads, [&](int64_t cell) {
        const int64_t task = cell % rows.num_tasks, plane = cell / rows.num_tasks * groups.at_once;
        all.run(rows.tasks + 5 * task, plane);
    });
    parallel(rows.num_cuts * call.batch * call.heads, call.threads, [&](int64_t cell) {
        Scratch<A> scratch;
        const int64_t cut = cell % rows.num_cuts, plane = cell / rows.num_cuts;
        const int64_t head = plane % call.heads;
        Heads heads = {plane / call.heads, head, head / share, 1, 1, share, false};
        Forward<T>{call, heads, partial, scratch,
                   Columns<T>(call, call.value, heads, rows.columns, 1)}
           .merge(rows.cuts + 3 * cut);
    });
    free(partial);
    return 0;
}

}  // namespace

int64_t attention_forward(const edgewise_attention &call) {
    if (has_tiles(call)) return tiles_forward(call);
    return dispatch_dtype(call.dtype, [&](auto dtype) {
        return forward<typename decltype(dtype)::Number>(call);
    });
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

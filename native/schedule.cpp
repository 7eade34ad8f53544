// The schedule: rows as tasks of about equally many edges, so that no thread idles while another works
// on a hub; the same for any number of threads.

#include "edgewise.h"

namespace {

struct Plan {
    int64_t *tasks, *cuts;
    int64_t num_tasks = 0, num_cuts = 0, num_slots = 0;

    void task(int64_t row, int64_t last_row, int64_t edge, int64_t last_edge, int64_t slot) {
        if (tasks) {
            int64_t *t = tasks + 5 * num_tasks;
            t[0] = row;
            t[1] = last_row;
            t[2] = edge;
            t[3] = last_edge;
            t[4] = slot;
        }
        ++num_tasks;
    }

    void cut(int64_t row, int64_t begin, int64_t end, int64_t piece) {
        const int64_t parts = (end - begin + piece - 1) / piece;
        if (cuts) {
            int64_t *c = cuts + 3 * num_cuts;
            c[0] = row;
            c[1] = num_slots;
            c[2] = num_slots + parts;
        }
        ++num_cuts;
        for (int64_t p = 0; p < parts; ++p) {
            const int64_t from = begin + p * piece, to = from + piece;
            task(row, row + 1, from, to < end ? to : end, num_slots++);
        }
    }
};

}  // namespace

extern "C" int64_t edgewise_schedule(const int64_t *indptr, int64_t rows, int64_t grain,
                                     int64_t piece, int64_t *tasks, int64_t *cuts,
                                     int64_t *num_cuts, int64_t *num_slots) {
    Plan plan{tasks, cuts};
    const int64_t most_rows = grain;  // empty rows are work too
    int64_t first = 0;
    auto flush = [&](int64_t row) {
        if (row > first) plan.task(first, row, indptr[first], indptr[row], -1);
        first = row;
    };
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t degree = indptr[row + 1] - indptr[row];
        if (degree > 2 * piece) {
            flush(row);
            plan.cut(row, indptr[row], indptr[row + 1], piece);
            first = row + 1;
        } else if (indptr[row + 1] - indptr[first] >= grain || row + 1 - first >= most_rows) {
            flush(row + 1);
        }
    }
    flush(rows);
    *num_cuts = plan.num_cuts;
    *num_slots = plan.num_slots;
    return plan.num_tasks;
}

// Eigenvectors of many small symmetric matrices: a matrix in each lane of a vector.
//
// Householder reflections to tridiagonal form, then implicit QL steps with Wilkinson's shift. Lanes
// never mix, and rotations no longer change a lane that is done, so the result of a matrix does not
// depend on the matrices in the other lanes. (Golub, Van Loan. Matrix Computations. Section 8.3.)

#include "../memory.hpp"
#include "../parallel.hpp"
#include "kernels.hpp"
#include "vec.hpp"

namespace edgewise {
namespace EDGEWISE_VARIANT {
namespace {

constexpr int kLanes = kWidth / 2;  // doubles in a vector
constexpr int kSteps = 60;          // for one eigenvalue; two or three are usual
constexpr double kEpsilon = 1.0 / (int64_t(1) << 53);

using Lane = Vec<double, kLanes>;
using Mask = Vec<int64_t, kLanes>;

EDGEWISE_INLINE Lane all(double x) { return Lane{} + x; }
EDGEWISE_INLINE Lane magnitude(Lane x) { return x < 0 ? -x : x; }
EDGEWISE_INLINE Lane square_root(Lane x) {
    Lane root;
    for (int l = 0; l < kLanes; ++l) root[l] = __builtin_sqrt(x[l]);
    return root;
}
EDGEWISE_INLINE Lane dot(const Lane *x, const Lane *y, int n) {
    Lane even = {}, odd = {};
    for (int k = 0; k + 1 < n; k += 2) {
        even += x[k] * y[k];
        odd += x[k + 1] * y[k + 1];
    }
    return n % 2 ? even + odd + x[n - 1] * y[n - 1] : even + odd;
}

struct Scratch {
    int n;
    Lane *a;         // [n, n]: the matrix, then the reflections, by row
    Lane *v;         // [n, n]: eigenvectors, as rows
    Lane *diagonal;  // [n]
    Lane *beside;    // [n]: the other diagonal
    Lane *w;         // [n]

    Scratch(void *table, int n) : n(n), a(static_cast<Lane *>(table)) {
        v = a + n * n;
        diagonal = v + n * n;
        beside = diagonal + n;
        w = beside + n;
    }
    static size_t bytes(int64_t n) { return size_t((2 * n + 3) * n) * sizeof(Lane); }

    // Row i of `a` becomes a vector u, and the matrix H a H with H = I - s u u'; v becomes their product.
    void to_tridiagonal() {
        for (int i = n - 1; i > 0; --i) {
            Lane *u = a + i * n;
            const Lane square = dot(u, u, i), last = u[i - 1];
            Lane root = square_root(square);
            root = last > 0 ? -root : root;
            beside[i - 1] = root;
            u[i - 1] = last - root;
            const Lane half = square - last * root;  // of u'u; zero where there is nothing to do
            const Lane s = half > 0 ? 1 / (half > 0 ? half : all(1)) : Lane{};
            for (int j = 0; j < i; ++j) w[j] = s * dot(a + j * n, u, i);
            const Lane along = 0.5 * s * dot(w, u, i);
            for (int j = 0; j < i; ++j) w[j] -= along * u[j];
            for (int j = 0; j < i; ++j) {
                const Lane uj = u[j], wj = w[j];
                for (int k = 0; k < i; ++k) a[j * n + k] -= uj * w[k] + wj * u[k];
            }
            diagonal[i] = s;
        }
        for (int k = 0; k < n * n; ++k) v[k] = all(k / n == k % n);
        for (int i = 1; i < n; ++i) {
            const Lane *u = a + i * n;
            for (int j = 0; j < i; ++j) {
                const Lane along = diagonal[i] * dot(v + j * n, u, i);
                for (int k = 0; k < i; ++k) v[j * n + k] -= along * u[k];
            }
        }
        for (int i = 0; i < n; ++i) diagonal[i] = a[i * n + i];
        beside[n - 1] = Lane{};
    }

    // Make every lane diagonal by QL steps; false if a lane does not converge in kSteps.
    bool to_diagonal() {
        for (int low = 0; low < n - 1; ++low) {
            for (int steps = 0;; ++steps) {
                Mask end = Mask{} + (n - 1);  // of the block that begins at `low`
                for (int k = n - 2; k >= low; --k) {
                    const Lane near = magnitude(diagonal[k]) + magnitude(diagonal[k + 1]);
                    end = magnitude(beside[k]) <= kEpsilon * near ? Mask{} + k : end;
                }
                int last = low;
                for (int l = 0; l < kLanes; ++l) last = end[l] > last ? int(end[l]) : last;
                if (last == low) break;
                if (steps == kSteps) return false;
                step(low, last, end);
            }
        }
        return true;
    }

    void step(int low, int last, Mask end) {
        Mask moves = end > low;
        const Lane apart = (diagonal[low + 1] - diagonal[low]) / (moves ? 2 * beside[low] : all(1));
        const Lane far = square_root(apart * apart + 1);
        Lane g;
        for (int l = 0; l < kLanes; ++l) g[l] = diagonal[end[l]][l];
        g += beside[low] / (apart + (apart < 0 ? -far : far)) - diagonal[low];
        Lane sine = all(1), cosine = all(1), p = {};
        for (int i = last - 1; i >= low; --i) {
            Mask turns = moves & (end > i);
            const Lane f = sine * beside[i], b = cosine * beside[i];
            const Lane r = square_root(f * f + g * g);
            const Mask splits = turns & (r == 0);  // the block falls apart here
            const Lane inverse = 1 / (r == 0 ? all(1) : r);
            const Lane s = f * inverse, c = g * inverse, left = diagonal[i + 1] - p;
            const Lane t = (diagonal[i] - left) * s + 2 * c * b;
            beside[i + 1] = turns ? r : beside[i + 1];
            diagonal[i + 1] = turns ? (splits ? left : left + s * t) : diagonal[i + 1];
            moves &= ~splits;
            turns &= ~splits;
            sine = turns ? s : sine;
            cosine = turns ? c : cosine;
            p = turns ? s * t : p;
            g = turns ? c * t - b : g;
            const Lane by_sine = turns ? s : Lane{}, by_cosine = turns ? c : all(1);
            Lane *x = v + i * n, *y = x + n;
            for (int k = 0; k < n; ++k) {
                const Lane xk = x[k], yk = y[k];
                x[k] = by_cosine * xk - by_sine * yk;
                y[k] = by_sine * xk + by_cosine * yk;
            }
        }
        diagonal[low] = moves ? diagonal[low] - p : diagonal[low];
        beside[low] = moves ? g : beside[low];
        for (int l = 0; l < kLanes; ++l) {
            if (end[l] > low) beside[end[l]][l] = 0;
        }
    }

    // The eigenvectors at some places in the order of eigenvalues, of one lane.
    void write(int lane, int64_t first, int64_t count, double *out) const {
        for (int i = 0; i < n; ++i) {
            int64_t place = -first;  // how many come before
            for (int j = 0; j < n; ++j) {
                const double x = diagonal[i][lane], y = diagonal[j][lane];
                place += y < x || (y == x && j < i);
            }
            if (place < 0 || place >= count) continue;
            for (int k = 0; k < n; ++k) out[place * n + k] = v[i * n + k][lane];
        }
    }
};

}  // namespace

int64_t eigenvectors(const edgewise_eigenvectors &call) {
    const int64_t n = call.size, groups = (call.count + kLanes - 1) / kLanes;
    if (!n) return 0;
    int64_t failed = 0;
    parallel(groups, call.threads, [&](int64_t group) {
        void *table = new_table(Scratch::bytes(n));
        if (!table) {
            __atomic_store_n(&failed, int64_t(1), __ATOMIC_RELAXED);
            return;
        }
        Scratch scratch(table, int(n));
        const int64_t first = group * kLanes, rest = call.count - first;
        const int held = int(rest < kLanes ? rest : kLanes);
        const double *from = call.matrices + first * n * n;
        for (int64_t k = 0; k < n * n; ++k) {
            Lane x = {};  // zeros in the lanes that are left
            for (int l = 0; l < held; ++l) x[l] = from[l * n * n + k];
            scratch.a[k] = x;
        }
        scratch.to_tridiagonal();
        if (scratch.to_diagonal()) {
            double *out = call.out + first * call.wanted * n;
            for (int l = 0; l < held; ++l) {
                scratch.write(l, call.first, call.wanted, out + l * call.wanted * n);
            }
        } else {
            __atomic_store_n(&failed, int64_t(2), __ATOMIC_RELAXED);
        }
        free_table(table);
    });
    return failed;
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

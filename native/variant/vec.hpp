// Vectors of numbers, in the width of one instruction set: loads, stores, exp, sums across lanes.
//
// Everything lives in a namespace of its own for each instruction set, and nothing of the standard
// library that the linker could merge is used: a function compiled for AVX-512 must never be
// called on a machine without.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <initializer_list>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#ifndef EDGEWISE_VARIANT
#error "EDGEWISE_VARIANT names the instruction set this file is compiled for"
#endif

namespace edgewise {
namespace EDGEWISE_VARIANT {

#if defined(__AVX512F__)
constexpr int kWidth = 16;  // floats in a vector
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

struct BFloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

template <class T>
struct AccumulateOf {
    using type = float;
};
template <>
struct AccumulateOf<double> {
    using type = double;
};
template <class T>
using Accumulate = typename AccumulateOf<T>::type;

template <class T, int N>
struct VecOf {
    typedef T type __attribute__((vector_size(sizeof(T) * N)));
};
template <class T, int N>
using Vec = typename VecOf<T, N>::type;

// For functions of inner loops: in a file with kernels for four dtypes, GCC reaches its limit of
// inlining.
#define EDGEWISE_INLINE __attribute__((always_inline)) inline
#define EDGEWISE_INLINE_LAMBDA __attribute__((always_inline))

template <class V>
inline V raw_load(const void *from) {
    V v;
    memcpy(&v, from, sizeof(V));
    return v;
}

template <class To, class From>
inline To bits_as(const From &from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

// --- Half precision, by bits, for any machine -------------------------------------------------

inline float float_of(uint32_t bits) { return bits_as<float>(bits); }

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(BFloat16 x) { return float_of(uint32_t(x.bits) << 16); }

template <int N>
inline Vec<float, N> widen_half(Vec<uint32_t, N> h) {
    // Shift exponent and mantissa into place, multiply by 2^112: subnormals come out right.
    Vec<uint32_t, N> sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    Vec<float, N> scaled = bits_as<Vec<float, N>>(rest) * float_of(0x77800000u);
    Vec<uint32_t, N> out = bits_as<Vec<uint32_t, N>>(scaled);
    Vec<uint32_t, N> special = Vec<uint32_t, N>(rest >= 0x0f800000u);  // infinity or NaN
    out = (special & (rest | 0x7f800000u)) | (~special & out);
    return bits_as<Vec<float, N>>(out | sign);
}

inline float widen(Float16 x) {
    Vec<uint32_t, 4> h = {x.bits, 0, 0, 0};
    return widen_half<4>(h)[0];
}

inline void narrow(float x, float *to) { *to = x; }
inline void narrow(double x, double *to) { *to = x; }
inline void narrow(float x, BFloat16 *to) {
    uint32_t u = bits_as<uint32_t>(x);
    bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    to->bits = nan ? uint16_t((u >> 16) | 0x40) : uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline void narrow(float x, Float16 *to) {
    uint32_t u = bits_as<uint32_t>(x), sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    uint32_t half;
    if (u >= 0x47800000u) {  // too large, infinity or NaN
        half = u > 0x7f800000u ? 0x7e00u : 0x7c00u;
    } else if (u < 0x38800000u) {  // subnormal: let the adder round
        float aligned = float_of(u) + float_of(0x3f000000u);
        half = bits_as<uint32_t>(aligned) - 0x3f000000u;
    } else {
        half = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
    }
    to->bits = uint16_t(half | sign);
}

// --- Loads and stores ----------------------------------------------------------------------

template <int N>
inline Vec<float, N> load(const float *from) {
    return raw_load<Vec<float, N>>(from);
}
template <int N>
inline Vec<double, N> load(const double *from) {
    return raw_load<Vec<double, N>>(from);
}
template <int N>
inline Vec<float, N> load(const BFloat16 *from) {
    auto wide = __builtin_convertvector((raw_load<Vec<uint16_t, N>>(from)), Vec<uint32_t, N>);
    return bits_as<Vec<float, N>>(wide << 16);
}
template <int N>
inline Vec<float, N> load(const Float16 *from) {
#if defined(__F16C__)
    if constexpr (N == 4) {
        const __m128i four = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(from));
        return bits_as<Vec<float, N>>(_mm_cvtph_ps(four));
    }
    if constexpr (N == 8) return bits_as<Vec<float, N>>(_mm256_cvtph_ps(raw_load<__m128i>(from)));
#if defined(__AVX512F__)
    if constexpr (N == 16) return bits_as<Vec<float, N>>(_mm512_maskz_cvtph_ps(0xffff, raw_load<__m256i>(from)));
#endif
#endif
    auto wide = __builtin_convertvector((raw_load<Vec<uint16_t, N>>(from)), Vec<uint32_t, N>);
    return widen_half<N>(wide);
}

template <int N>
inline void store(float *to, Vec<float, N> v) {
    memcpy(to, &v, sizeof v);
}
template <int N>
inline void store(double *to, Vec<double, N> v) {
    memcpy(to, &v, sizeof v);
}
template <int N>
inline void store(BFloat16 *to, Vec<float, N> v) {
    auto u = bits_as<Vec<uint32_t, N>>(v);
    Vec<uint32_t, N> nan = Vec<uint32_t, N>((u & 0x7fffffffu) > 0x7f800000u);
    Vec<uint32_t, N> rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    u = (nan & ((u >> 16) | 0x40u)) | (~nan & rounded);
    auto small = __builtin_convertvector(u, Vec<uint16_t, N>);
    memcpy(to, &small, sizeof small);
}
template <int N>
inline void store(Float16 *to, Vec<float, N> v) {
#if defined(__F16C__)
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT;
    if constexpr (N == 8) return _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(v, nearest));
#if defined(__AVX512F__)
    if constexpr (N == 16) {
        return _mm256_storeu_si256((__m256i *)to, _mm512_maskz_cvtps_ph(0xffff, v, nearest));
    }
#endif
#endif
    for (int i = 0; i < N; ++i) narrow(v[i], to + i);
}

template <class A, int N>
inline Vec<A, N> splat(A x) {
    return x - Vec<A, N>{};  // x - 0 keeps the sign of zero
}

template <class V, class M>
inline V select(M mask, V yes, V no) {
    return mask ? yes : no;
}

// --- Exponential ----------------------------------------------------------------------------

constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number

// exp(x) = result * 2^n for -88 < x < 89.
template <class F>
inline F small_exponential(F x, F n) {
    F r = x - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r + 1.0f;
}

// exp to 2 units in the last place; 0 below -87.3, infinity above 88.7, NaN for NaN.
template <int N>
EDGEWISE_INLINE Vec<float, N> exponential(Vec<float, N> x) {
    using F = Vec<float, N>;
    using I = Vec<int32_t, N>;
#if defined(__AVX512F__)
    if constexpr (N == 16) {
        const __mmask16 counts = _mm512_cmp_ps_mask(x, splat<float, N>(-87.33f), _CMP_NLT_UQ);
        const F inside = _mm512_maskz_min_ps(0xffff, splat<float, N>(89.0f), x);  // the second where one is NaN
        const F n = inside * 1.44269504088896341f + kRound - kRound;
        return _mm512_maskz_scalef_ps(counts, small_exponential(inside, n), n);
    }
#endif
    F clamped = select(x < -87.33f, splat<float, N>(-87.33f), x);
    clamped = select(clamped > 88.72f, splat<float, N>(88.72f), clamped);
    F shifted = clamped * 1.44269504088896341f + kRound;
    F n = shifted - kRound;
    F p = small_exponential(clamped, n);
    // 2^n in two steps, because n may be 128.
    I whole = bits_as<I>(shifted) - bits_as<int32_t>(kRound);
    I half = whole >> 1;
    F scale_a = bits_as<F>((half + 127) << 23), scale_b = bits_as<F>((whole - half + 127) << 23);
    p = p * scale_a * scale_b;
    p = select(x < -87.33f, F{}, p);
    return select(x > 88.72f, splat<float, N>(__builtin_inff()), p);
}

template <int N>
inline Vec<double, N> exponential(Vec<double, N> x) {
    for (int i = 0; i < N; ++i) x[i] = __builtin_exp(x[i]);
    return x;
}

// In place, for `count` numbers; memory up to the next whole vector may be touched.
inline void exponentials(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i += kWidth) {
        store<kWidth>(x + i, exponential<kWidth>(load<kWidth>(x + i)));
    }
}
inline void exponentials(double *x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] = __builtin_exp(x[i]);
}

// --- Logarithm --------------------------------------------------------------------------------

// log of a positive normal number to 2 units in the last place; NaN for NaN, infinity for infinity.
template <int N>
inline Vec<float, N> natural_logarithm(Vec<float, N> x) {
    using F = Vec<float, N>;
    using I = Vec<int32_t, N>;
    // x = 2^n m with m in [sqrt(1/2), sqrt(2))
    // Unsigned, because NaN may run over.
    I bits = bits_as<I>(bits_as<Vec<uint32_t, N>>(x) + (0x3f800000u - 0x3f3504f3u));
    F n = __builtin_convertvector((bits >> 23) - 127, F);
    F m = bits_as<F>((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    F z = m * m;
    F p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * z;
    p = p + n * -2.12194440e-4f;
    p = p - 0.5f * z;
    F out = m + p + n * 0.693359375f;
    return select(x < __builtin_inff(), out, x);
}

// In place, for `count` numbers; memory up to the next whole vector may be touched.
inline void logarithms(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i += kWidth) {
        store<kWidth>(x + i, natural_logarithm<kWidth>(load<kWidth>(x + i)));
    }
}
inline void logarithms(double *x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] = __builtin_log(x[i]);
}

// --- Sums across lanes ----------------------------------------------------------------------

template <int... I>
struct Lanes {};
template <int N, int... I>
struct CountLanes : CountLanes<N - 1, N - 1, I...> {};
template <int... I>
struct CountLanes<0, I...> {
    using type = Lanes<I...>;
};

// The sums of N vectors take log N steps, each of which adds neighbours of two vectors into one. A
// step works within quarters of 128 bits as long as it can, where machines move lanes cheaply:
// places `first_of(D, i)` of two vectors side by side are added to those `gap(D)` further.
template <int N, int GROUP>
struct Fold {
    static constexpr int gap(int D) { return D < GROUP ? GROUP / 2 : GROUP; }
    static constexpr int first_of(int D, int i) {
        if (D < GROUP) {  // lanes of a and b take turns, D at a time
            const int lane = i % GROUP, rest = lane / (2 * D) * D + lane % D;
            return i - lane + rest + (lane & D ? N : 0);
        }
        const int group = 2 * (i / GROUP);  // every other group of a, then of b
        return group * GROUP + i % GROUP;
    }
};

struct Add {
    template <class V>
    static V of(V a, V b) {
        return a + b;
    }
};
struct Larger {
    template <class V>
    static V of(V a, V b) {
        return select(a > b, a, b);
    }
};

template <int N, int D, class F = Add, class V, int... I>
EDGEWISE_INLINE V fold_lanes(V a, V b, Lanes<I...>) {
    using Step = Fold<N, 16 / int(sizeof(a[0])) < N ? 16 / int(sizeof(a[0])) : N>;
    return F::of(
        __builtin_shufflevector(a, b, Step::first_of(D, I)...),
        __builtin_shufflevector(a, b, (Step::first_of(D, I) + Step::gap(D))...));
}

// From N vectors the vector of their N sums, or largest lanes. All lanes are added in one order.
template <class A, int N, class F = Add, int D = 1>
EDGEWISE_INLINE Vec<A, N> folded(Vec<A, N> *v) {
    if constexpr (D < N) {
#pragma GCC unroll 8
        for (int i = 0; i < N / (2 * D); ++i) {
            v[i] = fold_lanes<N, D, F>(v[2 * i], v[2 * i + 1], typename CountLanes<N>::type{});
        }
        return folded<A, N, F, 2 * D>(v);
    }
    return v[0];
}

// --- Small functions ------------------------------------------------------------------------

template <class T>
inline T smaller(T a, T b) {
    return b < a ? b : a;
}
template <class T>
inline T larger(T a, T b) {
    return a < b ? b : a;
}
// Software prefetch of memory that will be read soon, into the second cache: the first one has too few
// buffers for pending lines (16 against 48), and prefetching into it stalls the arithmetic.
EDGEWISE_INLINE void ask(const void *from, int bytes) {
    const char *p = static_cast<const char *>(from);
    for (; bytes > 192; bytes -= 256, p += 256) {
        __builtin_prefetch(p, 0, 2);
        __builtin_prefetch(p + 64, 0, 2);
        __builtin_prefetch(p + 128, 0, 2);
        __builtin_prefetch(p + 192, 0, 2);
    }
    for (; bytes > 0; bytes -= 64, p += 64) __builtin_prefetch(p, 0, 2);
    // GCC drops calls of functions without an effect, such as a prefetch alone. This is an effect.
    asm volatile("" : : "r"(p));
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

// The first lanes of a vector: loads and stores where a row ends within a vector.
//
// No byte outside of the `count` elements is read or written. The lanes beyond them are loaded as zeros,
// whatever lies in memory there, so a NaN of a neighbouring row or head never enters a sum.
#pragma once

#include "vec.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace edgewise {
namespace EDGEWISE_VARIANT {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
constexpr bool kLittleEndian = true;
#else
constexpr bool kLittleEndian = false;
#endif

// The first `bytes` bytes as a vector of bits (an even number, at most its size), zeros behind them. In
// registers: small stores into a buffer that is then loaded as one vector would stall that load.
template <class V>
EDGEWISE_INLINE V load_bytes(const void *from, int bytes) {
    static_assert(sizeof(V) % 8 == 0, "whole words");
    constexpr int kWords = int(sizeof(V) / 8);
    const char *p = static_cast<const char *>(from);
    Vec<uint64_t, kWords> words = {};
#pragma GCC unroll 8
    for (int w = 0; w < kWords; ++w) {
        const int rest = bytes - 8 * w;
        if (rest >= 8) {
            words[w] = raw_load<uint64_t>(p + 8 * w);
        } else if (rest > 0) {
            if (bytes >= 8) {  // the last eight bytes, without those that the word before has
                words[w] = raw_load<uint64_t>(p + bytes - 8) >> (8 * (8 - rest));
            } else if (bytes >= 4) {
                const uint64_t last = raw_load<uint32_t>(p + bytes - 4);
                words[w] = raw_load<uint32_t>(p) | last << (8 * (bytes - 4));
            } else {
                words[w] = raw_load<uint16_t>(p);
            }
        }
    }
    return bits_as<V>(words);
}

// The first `count` elements of a vector, to memory.
template <class V, class T>
EDGEWISE_INLINE void store_pieces(T *to, const V &v, int count) {
    constexpr int kLanes = int(sizeof(V) / sizeof(T));
    T all[kLanes];
    memcpy(all, &v, sizeof(V));
    int done = 0;
#pragma GCC unroll 5
    for (int piece = kLanes / 2; piece; piece /= 2) {  // a constant size for each copy
        if (count & piece) {
            if (piece == 8) memcpy(to + done, all + done, 8 * sizeof(T));
            if (piece == 4) memcpy(to + done, all + done, 4 * sizeof(T));
            if (piece == 2) memcpy(to + done, all + done, 2 * sizeof(T));
            if (piece == 1) memcpy(to + done, all + done, sizeof(T));
            done += piece;
        }
    }
}

// Loads and stores of the first `count` of N elements. Made once for a loop over rows of one width.
//
//   const Partial<T, N> last(width % N);
//   Vec<Accumulate<T>, N> v = last.load(row + width / N * N);
//   last.store(out + width / N * N, v);
template <class T, int N>
struct Partial {
    using A = Accumulate<T>;
    using V = Vec<A, N>;

    EDGEWISE_INLINE explicit Partial(int elements)
        : count(elements < 0 ? 0 : elements > N ? N : elements) {
#if defined(__AVX512VL__) && defined(__AVX512BW__)
        mask = uint32_t((uint64_t(1) << count) - 1);
#elif defined(__AVX2__)
        for (int i = 0; i < N; ++i) lanes[i] = i < count ? -1 : 0;
#endif
    }

    EDGEWISE_INLINE V load(const T *from) const {
        if constexpr (__is_same(T, float) || __is_same(T, double)) {
            return load_wide(from);
        } else {
            return load_half(from);
        }
    }

    EDGEWISE_INLINE void store(T *to, V v) const {
        if constexpr (__is_same(T, float) || __is_same(T, double)) {
#if defined(__AVX512VL__) && defined(__AVX512BW__)
            if constexpr (__is_same(T, float) && N == 16) return _mm512_mask_storeu_ps(to, mask, v);
            if constexpr (__is_same(T, float) && N == 8) return _mm256_mask_storeu_ps(to, mask, v);
            if constexpr (__is_same(T, float) && N == 4) return _mm_mask_storeu_ps(to, mask, v);
            if constexpr (__is_same(T, double) && N == 8) return _mm512_mask_storeu_pd(to, mask, v);
            if constexpr (__is_same(T, double) && N == 4) return _mm256_mask_storeu_pd(to, mask, v);
            if constexpr (__is_same(T, double) && N == 2) return _mm_mask_storeu_pd(to, mask, v);
#endif
            if (count == N) return edgewise::EDGEWISE_VARIANT::store<N>(to, v);
            store_pieces(to, v, count);
        } else {
            T all[N];  // narrowed as a whole vector
            edgewise::EDGEWISE_VARIANT::store<N>(all, v);
            const auto bits = raw_load<Vec<uint16_t, N>>(all);
#if defined(__AVX512VL__) && defined(__AVX512BW__)
            if constexpr (N == 16) return _mm256_mask_storeu_epi16(to, mask, bits_as<__m256i>(bits));
            if constexpr (N == 8) return _mm_mask_storeu_epi16(to, mask, bits_as<__m128i>(bits));
#endif
            if (count == N) {
                memcpy(to, all, sizeof all);
            } else {
                store_pieces(to, bits, count);
            }
        }
    }

    int count;

   private:
    EDGEWISE_INLINE V load_wide(const T *from) const {
#if defined(__AVX512VL__) && defined(__AVX512BW__)
        if constexpr (__is_same(T, float) && N == 16) return _mm512_maskz_loadu_ps(mask, from);
        if constexpr (__is_same(T, float) && N == 8) return _mm256_maskz_loadu_ps(mask, from);
        if constexpr (__is_same(T, float) && N == 4) return _mm_maskz_loadu_ps(mask, from);
        if constexpr (__is_same(T, double) && N == 8) return _mm512_maskz_loadu_pd(mask, from);
        if constexpr (__is_same(T, double) && N == 4) return _mm256_maskz_loadu_pd(mask, from);
        if constexpr (__is_same(T, double) && N == 2) return _mm_maskz_loadu_pd(mask, from);
#elif defined(__AVX2__)
        if constexpr (__is_same(T, float) && N == 8) {
            return _mm256_maskload_ps(from, bits_as<__m256i>(lanes));
        }
        if constexpr (__is_same(T, float) && N == 4) {
            return _mm_maskload_ps(from, bits_as<__m128i>(lanes));
        }
        if constexpr (__is_same(T, double) && N == 4) {
            return _mm256_maskload_pd(from, bits_as<__m256i>(lanes));
        }
        if constexpr (__is_same(T, double) && N == 2) {
            return _mm_maskload_pd(from, bits_as<__m128i>(lanes));
        }
#endif
        if constexpr (kLittleEndian && sizeof(V) <= 64) {
            return load_bytes<V>(from, count * int(sizeof(T)));
        } else {
            return load_each(from);
        }
    }

    EDGEWISE_INLINE V load_half(const T *from) const {
#if defined(__AVX512VL__) && defined(__AVX512BW__)
        if constexpr (N == 16) return widened(_mm256_maskz_loadu_epi16(mask, from));
        if constexpr (N == 8) return widened(_mm_maskz_loadu_epi16(mask, from));
#endif
        if constexpr (kLittleEndian && N >= 4) {
            return widened(load_bytes<Vec<uint16_t, N>>(from, 2 * count));
        } else {
            return load_each(from);
        }
    }

    // Bits of N elements in half precision as numbers.
    template <class B>
    static EDGEWISE_INLINE V widened(B bits) {
        static_assert(sizeof(B) == 2 * N, "N elements");
#if defined(__F16C__)
        if constexpr (__is_same(T, Float16) && N == 8) return _mm256_cvtph_ps(bits_as<__m128i>(bits));
#if defined(__AVX512F__)
        if constexpr (__is_same(T, Float16) && N == 16) {
            return _mm512_maskz_cvtph_ps(0xffff, bits_as<__m256i>(bits));
        }
#endif
#endif
        auto wide = __builtin_convertvector((bits_as<Vec<uint16_t, N>>(bits)), Vec<uint32_t, N>);
        if constexpr (__is_same(T, Float16)) {
            return widen_half<N>(wide);
        } else {
            return bits_as<V>(wide << 16);
        }
    }

    EDGEWISE_INLINE V load_each(const T *from) const {
        V v = {};
        for (int i = 0; i < count; ++i) v[i] = widen(from[i]);
        return v;
    }

#if defined(__AVX512VL__) && defined(__AVX512BW__)
    uint32_t mask;  // a bit for each lane
#elif defined(__AVX2__)
    static constexpr auto lane() {
        if constexpr (sizeof(A) == 8) {
            return int64_t(0);
        } else {
            return int32_t(0);
        }
    }
    Vec<decltype(lane()), N> lanes;  // all bits of the lanes that count
#endif
};

// The same for a single load or store.
template <int N, class T>
EDGEWISE_INLINE Vec<Accumulate<T>, N> load_first(const T *from, int count) {
    return Partial<T, N>(count).load(from);
}
template <int N, class T>
EDGEWISE_INLINE void store_first(T *to, Vec<Accumulate<T>, N> v, int count) {
    Partial<T, N>(count).store(to, v);
}

}  // namespace EDGEWISE_VARIANT
}  // namespace edgewise

